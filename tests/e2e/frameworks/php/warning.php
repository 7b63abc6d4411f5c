<?php
require 'functions.php';
// There is no such header: the warning is printed first.
$tenant = $_SERVER['HTTP_X_TENANT'];
echo json_encode(['results' => results()]);
