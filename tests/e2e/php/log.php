<?php
/* Three messages into the error log, with pauses in which other requests write theirs. */
header('Content-Type: text/plain');
for ($i = 0; $i < 3; $i++) {
    error_log("message $i of {$_GET['who']}");
    usleep(30000);
}
echo 'logged';
