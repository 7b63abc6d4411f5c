<?php
require 'functions.php';
// As much as an acknowledgement may bring; every slash is written as two bytes.
$evidence = ['proof' => str_repeat('/', 15900)];
echo json_encode(['results' => array_map(fn($result) => $result + ['evidence' => $evidence], results())]);
