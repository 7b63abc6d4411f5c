<?php
require 'functions.php';
// There is no such function. That is printed, with status 200, since errors are shown.
delete_user(events());
