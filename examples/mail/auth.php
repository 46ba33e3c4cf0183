<?php
// Asked for a name and a password: PASS, or anything else. users.txt has a line `name:hash` for each user, the hash as
// password_hash() makes it:
//
//     php -r 'echo "jo@example.com:", password_hash("secret", PASSWORD_DEFAULT), "\n";' >>users.txt
header('Content-Type: text/plain');

$user = $_POST['auth_user'] ?? '';
$password = $_POST['password'] ?? '';
$users = @file(__DIR__ . '/users.txt', FILE_IGNORE_NEW_LINES | FILE_SKIP_EMPTY_LINES);
if ($users === false) {
    error_log('auth.php: users.txt cannot be read');
    http_response_code(500); // neither yes nor no: the client may try again
    exit;
}
// Somebody who is unknown takes as long as somebody who is not.
$hash = password_hash('', PASSWORD_DEFAULT);
foreach ($users as $line) {
    [$name, $known] = explode(':', $line, 2) + ['', ''];
    if (hash_equals($name, $user)) {
        $hash = $known;
    }
}
echo $user !== '' && $password !== '' && password_verify($password, $hash) ? 'PASS' : 'no';
