<?php
require 'functions.php';
foreach (str_split(json_encode(['results' => results()]), 100) as $part) {
    echo $part;
    flush();
}
