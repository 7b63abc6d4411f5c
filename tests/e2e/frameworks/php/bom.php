<?php
// Some editors begin a file with a byte order mark, which comes before everything that is printed.
require 'functions.php';
echo json_encode(['results' => results()], JSON_PRETTY_PRINT);
