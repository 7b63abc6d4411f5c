<?php
require 'functions.php';
header('Content-Type: application/json; charset=ISO-8859-1');
$results = array_map(fn($result) => $result + ['detail' => 'gelöscht'], results());
echo iconv('UTF-8', 'ISO-8859-1', json_encode(['results' => $results], JSON_UNESCAPED_UNICODE));
