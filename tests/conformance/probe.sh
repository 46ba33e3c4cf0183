#!/bin/sh
# SPDX-License-Identifier: MIT
# Answers ferry-check as a CGI program behind fcgiwrap.

argument() { # the text behind $1= in the query string
    printf %s "&${QUERY_STRING-}" | sed -n "s/.*&$1=\([^&]*\).*/\1/p"
}

text() { printf 'Content-Type: text/plain\r\n\r\n'; }

word=$(argument ferry-check)
n=$(argument n)
case $word in
about)
    text
    printf 'ferry-check 1\necho length params get environ status stderr mixed size sleep slow tiny none unread\nfcgiwrap\n'
    ;;
echo) text && exec cat ;;
length)
    n=$(wc -c)
    text
    echo "$n"
    ;;
params)
    text
    exec perl -e 'print length, " ", length $ENV{$_}, "\n", $_, $ENV{$_}, "\n" for keys %ENV'
    ;;
get | environ)
    text
    exec perl -e 'my $v = $ENV{$ARGV[0]}; print defined $v ? "is $v\n" : "none\n"' "$(argument name)"
    ;;
status)
    text
    echo status
    # A status of the shell has eight bits; exit takes no negative ones.
    exit $((n & 255))
    ;;
stderr)
    head -c "$n" /dev/zero | tr '\0' e >&2
    text
    echo stderr
    ;;
mixed)
    text
    i=0
    while [ $i -lt "$n" ]; do
        echo o$i
        echo e$i >&2
        i=$((i + 1))
    done
    ;;
size)
    text
    yes abcdefghijklmnopqrstuvwxyz | tr -d '\n' | head -c "$n"
    ;;
sleep)
    perl -e 'select undef, undef, undef, $ARGV[0] / 1000' "$(argument ms)"
    text
    echo slept
    ;;
slow)
    text
    exec perl -e '$| = 1; for (0 .. $ARGV[0] - 1) { print "$_\n"; select undef, undef, undef, $ARGV[1] / 1000 }' \
        "$n" "$(argument ms)"
    ;;
tiny)
    text
    exec perl -e 'print "." for 1 .. $ARGV[0]' "$n"
    ;;
none) ;;
*)
    text
    echo hello
    ;;
esac
