<?php require 'functions.php'; ?>
{"results": [
<?php foreach (events() as $event): ?>
  {"id": "<?= $event['id'] ?>", "status": "completed"},
<?php endforeach ?>
]}
