<?php
require 'functions.php';
ob_start('ob_gzhandler');
echo json_encode(['results' => results()]);
