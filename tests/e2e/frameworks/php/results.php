<?php
header('Content-Type: application/json');
$events = json_decode(file_get_contents('php://input'), true);
$results = array_map(fn($event) => [
    'id' => $event['id'],
    'status' => 'completed',
    'outcome' => 'deleted',
    'detail' => 'gelöscht: https://example.com/log',
], $events);
echo json_encode(['results' => $results]);
