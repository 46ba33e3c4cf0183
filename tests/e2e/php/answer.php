<?php
/* All kinds of answers. */
switch ($_GET['kind']) {
case 'location': header('Location: /elsewhere?a=b'); break;
case 'location-201': header('Location: /made', true, 201); echo 'made'; break;
case 'status': header('HTTP/1.1 404 Not Here'); echo 'nothing'; break;
case 'code': http_response_code((int)$_GET['code']); echo 'coded'; break;
case 'cookies': setcookie('a', '1'); setcookie('b', '2, 3'); echo 'sweet'; break;
case 'length': header('Content-Length: 5'); echo '12345'; break;
case 'short': header('Content-Length: 50'); echo '12345'; break;
case 'not-modified': header('ETag: "x"'); http_response_code(304); break;
case 'no-content': http_response_code(204); break;
case 'empty': break;
case 'sendfile': header('X-Sendfile: /etc/passwd'); header('X-Accel-Redirect: /request.php'); echo 'own'; break;
case 'long-header': header('X-Long: ' . str_repeat('h', (int)$_GET['len'])); echo 'long'; break;
case 'stderr': fwrite(fopen('php://stderr', 'w'), "written to stderr\n"); echo 'done'; break;
case 'terminal': error_log("red \x1b[31m and bell \x07"); echo 'done'; break;
}
