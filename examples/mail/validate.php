<?php
// Asked for each recipient: may this address receive? Says PASS for the addresses of recipients.txt, one to a line, of
// which "*@example.com" is every one of that domain.
//
// The answer may be REJECT or DEFER too, with words of your own; see docs/mail.md. If this script fails, the sender is told
// to try again, and nobody is refused by accident.
header('Content-Type: text/plain');

$rcpt = $_GET['rcpt_to'] ?? '';
$at = strrpos($rcpt, '@');
$known = @file(__DIR__ . '/recipients.txt', FILE_IGNORE_NEW_LINES | FILE_SKIP_EMPTY_LINES);
if ($known === false) {
    error_log('validate.php: recipients.txt cannot be read');
    echo 'DEFER 451 4.3.5 Recipients are not known at the moment';
    exit;
}
$any = $at === false ? '' : '*' . substr($rcpt, $at);
foreach ($known as $address) {
    // The domain has come in lower case; the name is compared as people expect it.
    if (strcasecmp($address, $rcpt) === 0 || strcasecmp($address, $any) === 0) {
        echo 'PASS';
        exit;
    }
}
echo 'REJECT 550 5.1.1 No such mailbox here';
