#!/usr/bin/perl
# SPDX-License-Identifier: MIT
# Answers ferry-check with FCGI.pm. Words that it has nothing for are left out: a filter's DATA, and being told of an abort.
use strict;
use warnings;
use FCGI;

my $request = FCGI::Request();

sub argument {
    my ($name) = @_;
    return ($ENV{QUERY_STRING} // '') =~ /(?:^|&)\Q$name\E=([^&]*)/ ? $1 : '';
}

sub text { print "Content-Type: text/plain\r\n\r\n" }

sub slurp {
    my ($n, $buf) = (0, '');
    while (my $got = read STDIN, $buf, 65536) { $n += $got }
    return $n;
}

sub size {
    my ($n) = @_;
    return substr 'abcdefghijklmnopqrstuvwxyz' x ($n / 26 + 1), 0, $n;
}

my %words = (
    about => sub {
        text();
        print "ferry-check 1\necho length params get environ stderr mixed size sleep slow tiny empties none unread stray ",
            "variable deny cache\nFCGI.pm\n";
    },
    echo => sub { text(); my $c; print $c while read STDIN, $c, 1 },
    length => sub { my $n = slurp(); text(); print "$n\n" },
    params => sub {
        text();
        print length, ' ', length $ENV{$_}, "\n", $_, $ENV{$_}, "\n" for keys %ENV;
    },
    get => sub {
        text();
        my $value = $ENV{argument('name')};
        print defined $value ? "is $value\n" : "none\n";
    },
    stderr => sub { print STDERR 'e' x argument('n'); text(); print "stderr\n" },
    mixed => sub {
        text();
        for my $i (0 .. argument('n') - 1) { print "o$i\n"; print STDERR "e$i\n" }
    },
    size => sub { text(); print size(argument('n')) },
    sleep => sub { select undef, undef, undef, argument('ms') / 1000; text(); print "slept\n" },
    slow => sub {
        text();
        for my $i (0 .. argument('n') - 1) {
            print "$i\n" or return;
            $request->Flush();
            select undef, undef, undef, argument('ms') / 1000;
        }
    },
    tiny => sub { text(); print '.' for 1 .. argument('n') },
    empties => sub {
        text();
        for my $piece ('', 'a', '', "bc\n", '') { print $piece; $request->Flush() }
    },
    none => sub { },
    stray => sub {
        # The process's own descriptors: STDOUT and STDERR are tied to the request.
        for my $fd (1, 2) { require POSIX; POSIX::write($fd, "this is no FastCGI\n", 19) }
        text();
        print "stray\n";
    },
    variable => sub { print 'Variable-', argument('name'), ': ', argument('value'), "\r\n"; text() },
    deny => sub { print "Status: 403\r\n"; text(); print "You may not.\n" },
    cache => sub { slurp(); text(); print "cached\n" },
);
$words{environ} = $words{get};

while ($request->Accept() >= 0) {
    my $word = $words{argument('ferry-check')};
    if ($word) { $word->(); next }
    slurp() if ($ENV{FCGI_ROLE} // '') eq 'FILTER'; # which says nothing before its body is over
    text();
    print "hello\n";
}
