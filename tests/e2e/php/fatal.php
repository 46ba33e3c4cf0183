<?php
function inner(string $secret) { no_such_function(); }
inner('the argument');
