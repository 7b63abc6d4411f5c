<?php
require 'functions.php';
echo json_encode(['results' => results()], JSON_PRETTY_PRINT);
