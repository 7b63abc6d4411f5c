<?php
require 'functions.php';
$tenant = $_SERVER['HTTP_X_TENANT'];
echo json_encode(['results' => results()]);
