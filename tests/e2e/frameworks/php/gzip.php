<?php
require 'functions.php';
header('Content-Encoding: gzip');
echo gzencode(json_encode(['results' => results()]));
