<?php
header('Content-Type: text/plain');
echo "said before\n";
if (isset($_GET['flush'])) {
    while (ob_get_level())
        ob_end_flush();
    flush();
}
exit(isset($_GET['status']) ? (int)$_GET['status'] : 'and at the end');
echo 'never said';
