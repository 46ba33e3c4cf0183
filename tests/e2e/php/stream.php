<?php
/* n lines, one every ms milliseconds, each flushed. */
header('Content-Type: text/plain');
while (ob_get_level())
    ob_end_flush();
for ($i = 1; $i <= (int)$_GET['n']; $i++) {
    if ($i > 1)
        usleep(1000 * (int)$_GET['ms']);
    echo "line $i\n";
    flush();
}
