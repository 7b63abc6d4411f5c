<?php
$event = json_decode(file_get_contents('php://input'));
$event->status = 'COMPLETED';
echo json_encode($event);
