<?php
/* Of each file uploaded: its name, its length, its checksum. */
header('Content-Type: text/plain');
echo 'CONTENT_LENGTH=', $_SERVER['CONTENT_LENGTH'], "\n";
foreach ($_FILES as $field => $f)
    echo $field, ' ', $f['name'], ' ', $f['error'], ' ', $f['size'], ' ', $f['error'] ? '-' : hash_file('sha256', $f['tmp_name']), "\n";
foreach ($_POST as $name => $value)
    echo $name, '=', $value, "\n";
