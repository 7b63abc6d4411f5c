

<?php
// The lines around the code are printed, too.
require 'functions.php';
echo json_encode(['results' => results()], JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES), "\n";
?>


