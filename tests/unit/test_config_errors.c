/* SPDX-License-Identifier: MIT */
#include "config/config.h"

#include "config_files.h"
#include "support.h"

/* -- what is said ----------------------------------------------------------------------------- */

struct wrong {
    const char *text, *want; /* with the numbers of lines */
};

static void all_is_said(const struct wrong *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ferry_config *c = (struct ferry_config *)folder;

        put("f", cases[i].text);
        if (read_file("f", &c) != FERRY_EUSAGE)
            fail_msg("%s\nwas taken", cases[i].text);
        assert_null(c);
        assert_string_equal(told, cases[i].want);
    }
}

#define ALL_IS_SAID(cases) all_is_said((cases), sizeof(cases) / sizeof *(cases))

static void slips_of_the_hand(void **state)
{
    static const struct wrong cases[] = {
        {"a", "1: 'a' needs '= VALUE' or '{ ... }' behind it\n"},
        {"threads", "1: 'threads' needs '= VALUE' or '{ ... }' behind it\n"},
        {"threads =\nuser = u\n" SITE, "1: no value stands behind 'threads ='\n"},
        {"threads = }\n" SITE,
         "1: no value stands behind 'threads ='\n1: this '}' closes nothing\n"},
        {"threads 4\n" SITE,
         "1: '=' is missing between 'threads' and its value, or '{' behind it\n"},
        {"threads x = 4\n" SITE, "1: one name is expected before '=', not 'threads x'\n"},
        {"user = a b\n" SITE, "1: 'b' stands alone; several values go into braces: { a, b }\n"},
        {"= 4\n" SITE, "1: the name of a setting is expected, not '='\n"},
        {", 4\n" SITE, "1: the name of a setting is expected, not ','\n"},
        {"{ threads = 4 }\n" SITE,
         "1: the name of a setting is expected, not '{'\n1: this '}' closes nothing\n"},
        {SITE "}\n", "2: this '}' closes nothing\n"},
        {"site {\n  listen = :80\n  route / {\n  }\n",
         "1: this block 'site' has no '}' at its end\n"},
        {"user = \"a\nthreads = 0\n" SITE,
         "1: this quote does not end on its line\n"
         "2: 'threads = 0': auto, or a number from 1 to 64, is expected\n"},
        {"user = 'a", "1: this quote does not end on its line\n"},
        {"user = \"a\\qb\"\n" SITE,
         "1: in double quotes a backslash may stand before \" \\ n t r and xHH only; single quotes "
         "take everything as it is\n"},
        {"user = \"\\x00\"\n" SITE,
         "1: in double quotes a backslash may stand before \" \\ n t r and xHH only; single quotes "
         "take everything as it is\n"},
        {"user = a\\b\n" SITE, "1: a value with a backslash must be quoted: 'a\\.b'\n"},
        {"user = \\b\n" SITE, "1: a value with a backslash must be quoted: 'a\\.b'\n"},
        {"user = a#b\n" SITE,
         "1: a value with a '#' must be quoted, and a comment needs a blank before it\n"},
        {"user = a\"b\"\n" SITE, "1: a quote in the middle of a word: quote all of it\n"},
        {"user = a;\n" SITE,
         "1: no ';' is needed: a setting ends by itself; in a value, quote it\n"},
        {"user = \xef\xbb\xbf u\n" SITE,
         "1: a byte order mark, which stands at the beginning of a file only\n"},
        {"user = \x01\n" SITE, "1: a control character, which no text file has\n"},
        {"# \x7f\n" SITE, "1: a control character, which no text file has\n"},
        {"user = '\x1b'\n" SITE, "1: a control character; write \\xHH in double quotes\n"},
        {"user = 'a\rb'\n" SITE, "1: a control character; write \\xHH in double quotes\n"},
        {"user = { a b }\n" SITE, "1: a ',' or '}' is expected in this list, not 'b'\n"},
        {"site { listen = { , a } route / {} }", "1: a value is expected in this list, not ','\n"},
        {"site { listen = { :80\n route / {}\n}\n",
         "2: a ',' or '}' is expected in this list, not 'route'\n"},
        {"site { listen = :80 route \"*\" {} x { x { x { x { x { x { x { x {} } } } } } } } }",
         "1: blocks lie 8 deep at most\n1: there is no 'x' in a site\n"},
        {"", "0: there is neither a site nor a mail service, so nothing would be served\n"},
        {"# nothing\n",
         "0: there is neither a site nor a mail service, so nothing would be served\n"},
    };

    (void)state;
    ALL_IS_SAID(cases);
}

static void words_that_are_not_known(void **state)
{
    static const struct wrong cases[] = {
        {"thraeds = 4\n" SITE,
         "1: there is no 'thraeds' at the top of a configuration; did you mean 'threads'?\n"},
        {"Threads = 4\n" SITE,
         "1: there is no 'Threads' at the top of a configuration; did you mean 'threads'?\n"},
        {"head_max = 4k\n" SITE,
         "1: there is no 'head_max' at the top of a configuration; did you mean 'head-max'?\n"},
        {"quux = 4\n" SITE, "1: there is no 'quux' at the top of a configuration\n"},
        {"server { }\n" SITE,
         "1: there is no 'server' at the top of a configuration; did you mean 'site'?\n"},
        {APP("connectons = 4"),
         "1: there is no 'connectons' in an application; did you mean 'connections'?\n"},
        {"site { listen = :80\n location / {}\n route / {} }",
         "2: there is no 'location' in a site; did you mean 'route'?\n"},
        {"site { listen = :80 route / {}\n basic_params {} }",
         "2: the filter 'basic_params' belongs into a route, not in a site\n"},
        {"site { listen = :80 route / { basic-params {} } }",
         "1: there is no filter 'basic-params'; did you mean 'basic_params'?\n"},
        {"site { listen = :80 route / { nothing_like_it {} } }",
         "1: there is no filter 'nothing_like_it'\n"},
        {"site { listen = :80 route / { every { nubmer = 4 } } }",
         "1: the filter 'every' has no 'nubmer'; did you mean 'number'?\n"},
        {"site { listen = :80 route / { basic_params { x = 4 } } }",
         "1: the filter 'basic_params' has no 'x'\n"},
        {"application abc { connect = /a }\n"
         "site { listen = :80 route / { call { application = abd } } }",
         "2: there is no application 'abd'; did you mean 'abc'?\n"},
        {"site { listen = :80 route / { call { application = abd } } }",
         "1: there is no application 'abd'\n"},
        {APP("balance = rand"),
         "1: 'balance = rand': least-connection | round-robin | hash | sticky is expected\n"},
        {APP("balance = stikcy"), "1: 'balance = stikcy': least-connection | round-robin | hash | "
                                  "sticky is expected; did you mean 'sticky'?\n"},
    };

    (void)state;
    ALL_IS_SAID(cases);
}

static void values_that_are_none(void **state)
{
    static const struct wrong cases[] = {
        {"threads = many\n" SITE,
         "1: 'threads = many': auto, or a number from 1 to 64, is expected\n"},
        {"threads = 65\n" SITE, "1: 'threads = 65': auto, or a number from 1 to 64, is expected\n"},
        {"threads = { 1, 2 }\n" SITE, "1: 'threads' takes one value, not a list of 2\n"},
        {"threads { }\n" SITE, "1: 'threads' is no block: threads = auto | NUMBER\n"},
        {"site = x\n", "1: 'site' is a block: HOST... { ... }\n"},
        {"threads = 1\nthreads = 1\n" SITE,
         "2: 'threads' is said a second time; first on line 1\n"},
        {"user = ''\n" SITE, "1: 'user' is empty\n"},
        {"head-max = 1023\n" SITE, "1: 'head-max = 1023': 1k is the least\n"},
        {"head-max = 1025k\n" SITE, "1: 'head-max = 1025k': 1M is the most\n"},
        {"head-max = 4x\n" SITE, "1: 'head-max = 4x': a size is expected: 1000, 64k, 10M or 1G\n"},
        {"stop-timeout = 30\n" SITE,
         "1: 'stop-timeout = 30': a duration needs its unit: 250ms, 30s, 5m, 2h or 1d\n"},
        {"stop-timeout = 30w\n" SITE,
         "1: 'stop-timeout = 30w': a duration is expected: 250ms, 30s, 5m, 2h or 1d\n"},
        {"stop-timeout = 25d\n" SITE, "1: 'stop-timeout = 25d': the longest duration is 24d\n"},
        {"stop-timeout = 0\n" SITE, "1: 'stop-timeout = 0': 1ms is the least\n"},
        {"stop-timeout = 99999999999999999999s\n" SITE,
         "1: 'stop-timeout = 99999999999999999999s': a duration is expected: 250ms, 30s, 5m, 2h or "
         "1d\n"},
        {APP("queue = 0"), "1: 'queue = 0': 1 is the least\n"},
        {APP("queue = -1"), "1: 'queue = -1': a whole number is expected\n"},
        {APP("queue = 1048577"), "1: 'queue = 1048577': 1048576 is the most\n"},
        {APP("keep-alive = yes"), "1: 'keep-alive = yes': 'on' or 'off' is expected\n"},
        {"site { listen = :80 body-max = 1048577G\n route / {} }",
         "1: 'body-max = 1048577G': the largest size is 1048576G\n"},
        {"site { listen = :80 route / { every { number = x wait = 5 room = k flag = 1 } } }",
         "1: 'number = x': a whole number is expected\n"
         "1: 'wait = 5': a duration needs its unit: 250ms, 30s, 5m, 2h or 1d\n"
         "1: 'room = k': a size is expected: 1000, 64k, 10M or 1G\n"
         "1: 'flag = 1': 'on' or 'off' is expected\n"},
        {"site { listen = :80 route / { every { number = { 1, 2 } } } }",
         "1: 'number' takes one value, not a list of 2\n"},
        {"site { listen = :80 route / { every { number = 1 number = 1 } } }",
         "1: 'number' is said a second time\n"},
        {"site { listen = :80 route / { every { number { } } } }",
         "1: 'number' is no block: number = VALUE\n"},
        {"site { listen = :80 route / { every = on } }",
         "1: the filter 'every' is a block: every { ... }\n"},
        {"site { listen = :80 route / { every x {} } }",
         "1: nothing stands between 'every' and its '{'\n"},
        {"site { listen = :80 route / { header a b {} } }",
         "1: one word stands between 'header' and its '{'\n"},
        {"site { listen = :80 route / { header a { name = b } } }",
         "1: 'name' is said a second time\n"},
        {"site { listen = :80 route / { header { value = b } } }",
         "1: the filter 'header' needs 'name': the field\n"},
        {"site { root = /r listen = :80\n route / { header Bad { } } }",
         "2: header: 'Bad' below /r\n"},
    };

    (void)state;
    ALL_IS_SAID(cases);
}

static void applications_that_are_none(void **state)
{
    static const struct wrong cases[] = {
        {"application { connect = /a }\n" SITE,
         "1: an application has one name: application NAME { ... }\n"},
        {"application a b { connect = /a }\n" SITE,
         "1: an application has one name: application NAME { ... }\n"},
        {"application a/b { connect = /a }\n" SITE,
         "1: an application's name has letters, digits and . _ - behind the first, 63 at most\n"},
        {"application a { }\n" SITE,
         "1: the application 'a' needs 'connect', 'spawn' or 'spawn-php'\n"},
        {"application a { connect = /a\n spawn = /b }\n" SITE,
         "2: an application has one of connect, spawn and spawn-php, not two\n"},
        {"application a { connect = /a }\napplication a { connect = /b }\n" SITE,
         "2: there is an application 'a' already, on line 1\n"},
        {"application a { connect = /a }\napplication a { connect = /b }\napplication a { connect "
         "= /c "
         "}\n" SITE,
         "2: there is an application 'a' already, on line 1\n"
         "3: there is an application 'a' already, on line 1\n"},
        {"application a { connect = { /a, /a, /b, /a, /b, /b } }\n" SITE,
         "1: '/a' stands twice in 'connect'; give it a weight instead\n"
         "1: '/b' stands twice in 'connect'; give it a weight instead\n"},
        {"application a { connect = { 'srv:_fastcgi._tcp.x-y.test', 'srv:fastcgi._tcp.x', "
         "'srv:_a..b' } }\n" SITE,
         "1: 'srv:fastcgi._tcp.x' in 'connect': a service is written "
         "srv:_fastcgi._tcp.example.org\n"
         "1: 'srv:_a..b' in 'connect': a service is written srv:_fastcgi._tcp.example.org\n"},
        {"application a { connect = {} }\n" SITE, "1: 'connect' names no address\n"},
        {"application a { connect = nowhere }\n" SITE,
         "1: 'nowhere' in 'connect': not an address: unix:/path, /path, host:port, :port, "
         "[v6]:port "
         "and fd:N are\n"},
        {"application a { connect = fd:7 }\n" SITE,
         "1: 'fd:7' in 'connect': fd:N is for listening, not for connecting\n"},
        {"application a { connect = \"-x-:80\" }\n" SITE,
         "1: '-x-:80' in 'connect': the host must be a numeric address or \"localhost\"\n"},
        {"application a { connect = a.example:0 }\n" SITE,
         "1: 'a.example:0' in 'connect': nobody can be reached at port 0\n"},
        {"application a { connect = { /a, \"/b weight=0\" } }\n" SITE,
         "1: behind an address in 'connect' may stand weight=1 to weight=100, not 'weight=0'\n"},
        {"application a { connect = { /a, \"/b weight=101\" } }\n" SITE,
         "1: behind an address in 'connect' may stand weight=1 to weight=100, not "
         "'weight=101'\n"},
        {"application a { connect = \"/b backup\" }\n" SITE,
         "1: behind an address in 'connect' may stand weight=1 to weight=100, not 'backup'\n"},
        {"application a { connect = { /a, /a } }\n" SITE,
         "1: '/a' stands twice in 'connect'; give it a weight instead\n"},
        {APP("\nprocesses = 2\nuser = u"),
         "2: 'processes' is of programs that are spawned, and this one is not\n"
         "3: 'user' is of programs that are spawned, and this one is not\n"},
        {"application a { spawn = {} }\n" SITE, "1: 'spawn' names no program\n"},
        {"application a { spawn = '' }\n" SITE, "1: 'spawn' names no program\n"},
        {"application a { spawn-php = auto }\n" SITE,
         "1: 'spawn-php' needs 'chdir', the folder of the scripts, too\n"},
        {"application a { spawn-php = { a, b } }\n" SITE,
         "1: 'spawn-php' is auto, or one program\n"},
        {"application a { spawn = x processes = 0 }\n" SITE,
         "1: 'processes': from 1 to 1024 can run\n"},
        {"application a { spawn = x processes = 1025 }\n" SITE,
         "1: 'processes': from 1 to 1024 can run\n"},
        {"application a { spawn = x processes = { 3, 2 } }\n" SITE,
         "1: 'processes': the first number is the smaller one\n"},
        {"application a { spawn = x processes = { 1, 2, 3 } }\n" SITE,
         "1: 'processes' is a number, or { MIN, MAX }\n"},
        {"application a { spawn = x processes = some }\n" SITE,
         "1: 'some' in 'processes': a whole number is expected\n"},
        {"application a { spawn = x env = { A } }\n" SITE,
         "1: 'env' is a block: { NAME = VALUE ... }\n"},
        {"application a { spawn = x env { A = 1 A = 2 } }\n" SITE,
         "1: 'A' is said a second time; first on line 1\n"},
        {"application a { spawn = x env { A {} } }\n" SITE, "1: in 'env' stands A = VALUE\n"},
        {"application a { spawn = x env { 'A B' = 1 } }\n" SITE, "1: 'A B' is no name in 'env'\n"},
        {"application a { spawn = x env { '' = 1 } }\n" SITE, "1: '' is no name in 'env'\n"},
        {APP("connections = 4 connections-min = 5"),
         "1: 'connections-min' of the application 'a' is more than 'connections'\n"},
    };

    (void)state;
    ALL_IS_SAID(cases);
}

static void sites_that_are_none(void **state)
{
    static const struct wrong cases[] = {
        {"site { route / {} }", "1: this site needs 'listen', its address\n"},
        {"site { listen = :80 }", "1: this site has no route, so it would answer nothing\n"},
        {"site 'a b' { listen = :80 route / {} }",
         "1: 'a b' is no name of a host: shop.example.org and *.example.org are\n"},
        {"site a.*.b { listen = :80 route / {} }",
         "1: 'a.*.b' is no name of a host: shop.example.org and *.example.org are\n"},
        {"site a A { listen = :80 route / {} }", "1: 'A' names this site twice\n"},
        {"site a b a A a { listen = { :80, :80, :80 } error-page 404 404 404 { file = /x } route / "
         "{} "
         "}",
         "1: 'a' names this site twice\n"
         "1: ':80' stands twice in 'listen'\n"
         "1: there is an error-page for 404 already\n"},
        {"site a b { listen = { :80, :81 } route / {} }\nsite b a { listen = { :81, :80 } route / "
         "{} }\n"
         "site a { listen = :80 route / {} }",
         "2: 'b' is a site on :80 already, on line 1\n"
         "2: 'a' is a site on :80 already, on line 1\n"
         "3: 'a' is a site on :80 already, on line 1\n"},
        {"site { listen = {} route / {} }", "1: 'listen' names no address\n"},
        {"site { listen = example.org:80 route / {} }",
         "1: 'example.org:80' in 'listen': the host must be a numeric address or \"localhost\"\n"},
        {"site { listen = { :80, :80 } route / {} }", "1: ':80' stands twice in 'listen'\n"},
        {"site a { listen = :80 route / {} }\nsite b A { listen = 0.0.0.0:80 route / {} }",
         "2: 'a' is a site on 0.0.0.0:80 already, on line 1\n"},
        {"site { listen = :80 route / {} }\nsite { listen = { :81, :80 } route / {} }",
         "2: two sites without names are on :80, here and on line 1: which is it?\n"},
        {"site { listen = :80 error-page 200 { file = /x } route / {} }",
         "1: '200' is no status of an error: 400 to 599 are\n"},
        {"site { listen = :80 error-page 600 x { file = /x } route / {} }",
         "1: '600' is no status of an error: 400 to 599 are\n"
         "1: 'x' is no status of an error: 400 to 599 are\n"},
        {"site { listen = :80 error-page { file = /x } route / {} }",
         "1: an error-page names the statuses it is for: error-page 404 { file = FILE }\n"},
        {"site { listen = :80 error-page 404 { } route / {} }",
         "1: in an error-page stands one file = FILE\n"},
        {"site { listen = :80 error-page 404 { fiel = /x } route / {} }",
         "1: in an error-page stands one file = FILE\n"},
        {"site { listen = :80 error-page 404 404 { file = /x } route / {} }",
         "1: there is an error-page for 404 already\n"},
        {"site { listen = :80 params { A = { 1, 2 } } route / {} }",
         "1: in 'params' stands A = VALUE\n"},
        {"site { listen = :80 route {} }", "1: a route has one pattern: route PATTERN { ... }\n"},
        {"site { listen = :80 route a {} }",
         "1: the pattern 'a' begins with neither '/' nor '*'\n"},
        {"site { listen = :80 route '' {} }",
         "1: the pattern '' begins with neither '/' nor '*'\n"},
        {"site { listen = :80 route /*/* {} }", "1: the pattern '/*/*' has more than one '*'\n"},
        {"site { listen = :80 route /a* {} }",
         "1: in the pattern '/a*' the '*' must be its beginning, or its end behind a '/'\n"},
        {"site { listen = :80 route /*/a {} }",
         "1: in the pattern '/*/a' the '*' must be its beginning, or its end behind a '/'\n"},
        {"site { listen = :80 route /a?b {} }",
         "1: the pattern '/a?b' is for paths, which hold no '?' and no '#'\n"},
        {"site { listen = :80\n route * {}\n route / {}\n}",
         "3: this route is never taken: '*' on line 2 fits all that '/' fits\n"},
        {"site { listen = :80\n route /a/* {}\n route /a/b/* {}\n}",
         "3: this route is never taken: '/a/*' on line 2 fits all that '/a/b/*' fits\n"},
        {"site { listen = :80\n route /a/* {}\n route /a {}\n}",
         "3: this route is never taken: '/a/*' on line 2 fits all that '/a' fits\n"},
        {"site { listen = :80\n route *.php {}\n route /a.php {}\n}",
         "3: this route is never taken: '*.php' on line 2 fits all that '/a.php' fits\n"},
        {"site { listen = :80\n route *.b {}\n route *.a.b {}\n}",
         "3: this route is never taken: '*.b' on line 2 fits all that '*.a.b' fits\n"},
        {"site { listen = :80\n route / { stop {}\n header A { value = b }\n stop {} }\n}",
         "3: the filter 'header' is never reached: 'stop' on line 2 ends the chain\n"},
        {"site { listen = :80\n route /a {}\n route /a {}\n}",
         "3: this route is never taken: '/a' on line 2 fits all that '/a' fits\n"},
    };

    (void)state;
    ALL_IS_SAID(cases);
    /* These do not stand in each other's way. */
    ferry_config_free(good("site { listen = :80 route /a/b {} route /a {} route /a/* {}\n"
                           "route /ab/* {} route *.php {} route *.ph {} route \"*\" {} }\n"
                           "site a { listen = :80 route / {} } site b { listen = :80 route / {} }\n"
                           "site a { listen = :81 route / {} }\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slips_of_the_hand),    cmocka_unit_test(words_that_are_not_known),
        cmocka_unit_test(values_that_are_none), cmocka_unit_test(applications_that_are_none),
        cmocka_unit_test(sites_that_are_none),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
