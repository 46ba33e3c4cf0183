<?php
// Asked when a whole message is there: stores it below MAIL_STORE (of the environment; else ./store), and says SAVED when
// it is on the disk. What it must get right, and does:
//
// - PHP throws a POST away that is larger than post_max_size and runs the script all the same. So the message is compared
//   with its size and hash, which ferry says outside of the form, and the token goes back, which is the form's last field;
//   without a form it is the hash of what was read.
// - The same message may come again, when our answer was lost. Its message_key is the same then: it is stored once.
// - SAVED is a promise. The file is written and synced under another name first, then renamed, and its folder synced, also
//   when it was there already: who wrote it may have died before that. A "part..." older than a day is of a script that did.
header('Content-Type: text/plain');

function give_up(string $why): never
{
    error_log("save.php: $why");
    echo 'DEFER 451 4.3.0 Cannot be stored at the moment';
    exit;
}

if (($_SERVER['CONTENT_TYPE'] ?? '') === 'message/rfc822') { // format = rfc822
    $body = file_get_contents('php://input');
} elseif (isset($_FILES['body'])) { // format = multipart
    $body = $_FILES['body']['error'] === UPLOAD_ERR_OK ? file_get_contents($_FILES['body']['tmp_name']) : false;
} else {
    $body = $_POST['body'] ?? false;
}
$key = $_SERVER['MAIL_KEY'] ?? '';
if ($body === false) {
    give_up('there is no message: is post_max_size (' . ini_get('post_max_size') . '), or upload_max_filesize, too small?');
}
if (strlen($body) !== (int) ($_SERVER['MAIL_SIZE'] ?? -1) || hash('sha256', $body) !== ($_SERVER['MAIL_SHA256'] ?? '')) {
    give_up('the message is not what was sent');
}
if (!preg_match('/^[0-9a-f]{64}$/', $key)) {
    give_up('there is no key');
}

$store = getenv('MAIL_STORE') ?: __DIR__ . '/store';
$path = "$store/$key.eml";
if (($_SERVER['MAIL_STAGE'] ?? '') !== 'probe' && !file_exists($path)) {
    if (!is_dir($store) && !@mkdir($store, 0700, true) && !is_dir($store)) { // another call may be faster
        give_up("$store cannot be made");
    }
    $part = tempnam($store, 'part');
    $file = $part === false ? false : fopen($part, 'wb');
    if (!$file || fwrite($file, $body) !== strlen($body) || !fflush($file) || !fsync($file) || !fclose($file) || !rename($part, $path)) {
        if ($part !== false) {
            @unlink($part);
        }
        give_up("$path cannot be written");
    }
}
$folder = is_dir($store) ? fopen($store, 'rb') : null;
if ($folder === false || ($folder && !fsync($folder))) {
    give_up("$store cannot be synced");
}
echo 'SAVED ', $_POST['token'] ?? hash('sha256', $body);
