<?php
require 'functions.php';
delete_user(events());
