<?php
/* The length and checksum of a body, read without keeping it. */
header('Content-Type: text/plain');
$in = fopen('php://input', 'r');
$hash = hash_init('sha256');
for ($len = 0; ($s = fread($in, 65536)) !== false && $s !== ''; $len += strlen($s))
    hash_update($hash, $s);
echo $_SERVER['REQUEST_METHOD'], ' CONTENT_LENGTH=', $_SERVER['CONTENT_LENGTH'] ?? 'none', " read=$len ", hash_final($hash), ' ',
    $_SERVER['HTTP_TRANSFER_ENCODING'] ?? '-', "\n";
