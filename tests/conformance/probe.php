<?php
// SPDX-License-Identifier: MIT
// Answers ferry-check with PHP, under php-fpm or php-cgi. Words that PHP has nothing for are left out: a script cannot read
// a filter's DATA, and learns of an abort only by writing.

$word = $_GET['ferry-check'] ?? '';
$n = (int)($_GET['n'] ?? 0);
$ms = (int)($_GET['ms'] ?? 0);

while (ob_get_level()) {
    ob_end_flush();
}
header('Content-Type: text/plain');

function say(string $text): void
{
    echo $text;
    flush();
}

switch ($word) {
case 'about':
    echo "ferry-check 1\necho length params get status stderr size sleep slow tiny empties none unread stray variable deny ",
        "cache\nPHP\n";
    break;
case 'echo':
    flush();
    $body = fopen('php://input', 'rb');
    while (!feof($body)) {
        say(fread($body, 65536));
    }
    break;
case 'length':
    echo strlen(file_get_contents('php://input')), "\n";
    break;
case 'params':
    foreach ($_SERVER as $name => $value) {
        if (is_string($value)) {
            echo strlen($name), ' ', strlen($value), "\n", $name, $value, "\n";
        }
    }
    break;
case 'get':
    $name = $_GET['name'] ?? '';
    echo isset($_SERVER[$name]) ? "is {$_SERVER[$name]}\n" : "none\n";
    break;
case 'status':
    echo "status\n";
    exit($n);
case 'stderr':
    for (; $n > 0; $n -= 500) {
        error_log(str_repeat('e', 500));
    }
    echo "stderr\n";
    break;
case 'size':
    echo substr(str_repeat('abcdefghijklmnopqrstuvwxyz', intdiv($n, 26) + 1), 0, $n);
    break;
case 'sleep':
    usleep($ms * 1000);
    echo "slept\n";
    break;
case 'slow':
    for ($i = 0; $i < $n && !connection_aborted(); $i++) {
        say("$i\n");
        usleep($ms * 1000);
    }
    break;
case 'tiny':
    for ($i = 0; $i < $n; $i++) {
        echo '.';
    }
    break;
case 'empties':
    foreach (['', 'a', '', "bc\n", ''] as $piece) {
        say($piece);
    }
    break;
case 'none':
    break;
case 'stray':
    foreach (['php://stdout', 'php://stderr'] as $stream) {
        $f = @fopen($stream, 'wb');
        if ($f) {
            @fwrite($f, "this is no FastCGI\n");
        }
    }
    echo "stray\n";
    break;
case 'variable':
    header("Variable-{$_GET['name']}: {$_GET['value']}");
    break;
case 'deny':
    http_response_code(403);
    echo "You may not.\n";
    break;
case 'cache':
    file_get_contents('php://input');
    echo "cached\n";
    break;
default:
    echo "hello\n";
}
