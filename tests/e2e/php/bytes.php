<?php
/* n bytes in pieces, the same ones that pattern() of phpsite.py makes. */
header('Content-Type: application/octet-stream');
if (isset($_GET['length']))
    header('Content-Length: ' . (int)$_GET['n']);
while (ob_get_level())
    ob_end_clean();
for ($block = '', $i = 0; $i < 4096; $i++)
    $block .= pack('N', $i * 2654435761 & 0xffffffff);
for ($left = (int)$_GET['n']; $left > 0; $left -= 16384)
    echo $left < 16384 ? substr($block, 0, $left) : $block;
