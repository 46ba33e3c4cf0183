<?php
/* Takes a while, and says which process it was. */
header('Content-Type: text/plain');
usleep(1000 * (int)$_GET['ms']);
echo 'slept ', getmypid();
