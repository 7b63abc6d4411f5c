<?php
echo 'OK';
