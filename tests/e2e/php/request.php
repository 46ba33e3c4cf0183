<?php
/* What PHP was told, as JSON. */
header('Content-Type: application/json');
echo json_encode([
    'server' => $_SERVER, 'get' => $_GET, 'post' => $_POST, 'cookie' => $_COOKIE, 'body' => file_get_contents('php://input'),
    'dir' => getcwd(), 'uid' => posix_geteuid(), 'sapi' => PHP_SAPI,
], JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE);
