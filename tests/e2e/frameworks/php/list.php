<?php
require 'functions.php';
echo json_encode(results());
