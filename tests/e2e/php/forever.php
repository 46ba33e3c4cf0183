<?php
/* Writes until it finds out that nobody reads, and leaves a note about how that went. */
register_shutdown_function(function () {
    file_put_contents($_GET['note'] . '.tmp', connection_aborted() ? 'aborted' : 'finished');
    rename($_GET['note'] . '.tmp', $_GET['note']);
});
while (ob_get_level())
    ob_end_flush();
for ($i = 0; $i < 200; $i++) {
    echo str_repeat('x', 1000);
    flush();
    usleep(50000);
}
