<?php
require 'functions.php';
// What is left of a list keeps its numbers, and is written as an object.
$results = array_filter(results(), fn($result, $number) => $number > 0, ARRAY_FILTER_USE_BOTH);
echo json_encode(['results' => $results]);
