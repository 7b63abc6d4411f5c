<?php
require 'functions.php';
// What is no UTF-8 cannot be written as JSON: this is false, and prints nothing.
echo json_encode(['results' => array_map(fn($result) => $result + ['detail' => "gel\xf6scht"], results())]);
