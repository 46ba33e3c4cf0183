<?php
/* The front controller. */
header('Content-Type: text/plain');
echo "front ", $_SERVER['REQUEST_URI'], ' ', $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['PATH_INFO'] ?? '-', ' ', json_encode($_GET), "\n";
