/* SPDX-License-Identifier: MIT */
#include "config/config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_files.h"
#include "support.h"

/* -- what is read ----------------------------------------------------------------------------- */

static void everything_is_read(void **state)
{
    struct ferry_config *c = good("# top\n"
                                  "threads = 2  io = epoll\n"
                                  "user = www-data  group = web  head-max = 16k\n"
                                  "sandbox = off  stop-timeout = 5s  pid-file = /run/f.pid\n"
                                  "application php { connect = \"unix:/run/php.sock\" }\n"
                                  "application many {\n"
                                  "    connect = { \"a.example:9000 weight=3\", \":9001\", }\n"
                                  "    balance = hash  connections = 20\n"
                                  "}\n"
                                  "application own {\n"
                                  "    spawn = { /srv/auth.fcgi, -x }  processes = { 1, 4 }\n"
                                  "    user = u  group = g  chdir = /srv\n"
                                  "    env { A = 1  B_2 = \"two words\" }\n"
                                  "}\n"
                                  "site shop.example.org *.Example.org {\n"
                                  "    listen = { \":80\", [::1]:81 }\n"
                                  "    root = /srv/shop  server-name = shop\n"
                                  "    params { APP_ENV = prod  EMPTY = '' }\n"
                                  "    body-max = 64M  error-page 404 410 { file = /e.html }\n"
                                  "    access-log = /log  log-format = json\n"
                                  "    route /build/* { header X { value = y } }\n"
                                  "    route \"*\" { call { application = php } basic_params {}\n"
                                  "        header Y {} every { names = { x, y } } }\n"
                                  "}\n");
    const struct ferry_config_application *a = c->applications;
    const struct ferry_config_site *s = c->sites;
    const struct ferry_config_filter *f;

    (void)state;
    assert_int_equal(c->threads, 2);
    assert_int_equal(c->io, FERRY_IO_EPOLL);
    assert_string_equal(c->user, "www-data");
    assert_string_equal(c->group, "web");
    assert_int_equal(c->head_max, 16384);
    assert_int_equal(c->sandbox, FERRY_CONFIG_OFF);
    assert_int_equal(c->stop_ms, 5000);
    assert_string_equal(c->pid_file, "/run/f.pid");
    assert_int_equal(c->napplications, 3);
    assert_string_equal(a[0].name, "php");
    assert_int_equal(a[0].place.line, 5);
    assert_int_equal(a[0].client.size, sizeof(struct ferry_client_opts));
    assert_int_equal(a[0].client.naddresses, 1);
    assert_string_equal(a[0].client.addresses[0].text, "unix:/run/php.sock");
    assert_int_equal(a[0].client.connections_max, 128);
    assert_int_equal(a[1].client.naddresses, 2);
    assert_string_equal(a[1].client.addresses[0].text, "a.example:9000");
    assert_int_equal(a[1].client.addresses[0].weight, 3);
    assert_int_equal(a[1].client.balance, FERRY_BALANCE_HASH);
    assert_int_equal(a[1].client.connections_max, 20);
    assert_string_equal(a[2].spawn.argv[0], "/srv/auth.fcgi");
    assert_string_equal(a[2].spawn.argv[1], "-x");
    assert_null(a[2].spawn.argv[2]);
    assert_int_equal(a[2].spawn.processes_min, 1);
    assert_int_equal(a[2].spawn.processes_max, 4);
    assert_string_equal(a[2].spawn.user, "u");
    assert_string_equal(a[2].spawn.group, "g");
    assert_string_equal(a[2].spawn.chdir, "/srv");
    assert_int_equal(a[2].spawn.nenv, 2);
    assert_string_equal(a[2].spawn.env[1], "B_2=two words");
    assert_int_equal(c->nsites, 1);
    assert_int_equal(s->nnames, 2);
    assert_string_equal(s->names[1], "*.example.org");
    assert_int_equal(s->nlisten, 2);
    assert_string_equal(s->listen[1], "[::1]:81");
    assert_string_equal(s->root, "/srv/shop");
    assert_string_equal(s->server_name, "shop");
    assert_int_equal(s->nparams, 2);
    assert_slice_equal(s->params[0].value, "prod");
    assert_int_equal(s->params[1].value.len, 0);
    assert_int_equal(s->body_max, 64 << 20);
    assert_int_equal(s->nerror_pages, 2);
    assert_int_equal(s->error_pages[1].status, 410);
    assert_string_equal(s->error_pages[1].file, "/e.html");
    assert_string_equal(s->access_log, "/log");
    assert_int_equal(s->log_format, FERRY_CONFIG_LOG_JSON);
    assert_int_equal(s->nroutes, 2);
    assert_string_equal(s->routes[0].pattern, "/build/*");
    /* In the order of the file, whatever they are. */
    assert_int_equal(s->routes[1].nfilters, 4);
    f = s->routes[1].filters;
    assert_string_equal(f[0].kind->name, "call");
    assert_string_equal(f[0].applications[0], "php");
    assert_string_equal(f[1].kind->name, "basic_params");
    assert_string_equal(f[2].kind->name, "header");
    assert_string_equal(f[2].values[0].text, "Y");
    assert_false(f[2].values[1].set);
    assert_int_equal(f[2].place.line, 23);
    assert_int_equal(f[3].values[1].nlist, 2);
    assert_string_equal(f[3].values[1].list[1], "y");
    assert_int_equal(f[3].values[4].number, 10000);
    ferry_config_free(c);
}

static void what_is_left_out_has_its_default(void **state)
{
    struct ferry_config *c = good(APP("") "");
    const struct ferry_client_opts *o = &c->applications[0].client;

    (void)state;
    assert_int_equal(c->threads, 0);
    assert_int_equal(c->io, FERRY_IO_AUTO);
    assert_int_equal(c->head_max, 65536);
    assert_int_equal(c->stop_ms, 30000);
    assert_int_equal(c->sandbox, FERRY_CONFIG_AUTO);
    assert_null(c->user);
    assert_int_equal(o->connections_max, 128);
    assert_int_equal(o->queue_max, 1024);
    assert_int_equal(o->queue_timeout_ms, 30000);
    assert_int_equal(o->idle_timeout_ms, 5000);
    assert_int_equal(o->connect_ms, 5000);
    assert_int_equal(o->first_byte_ms, 0);
    assert_int_equal(o->fails_max, 3);
    assert_int_equal(o->fail_ms, 10000);
    assert_int_equal(o->ping_ms, 10000);
    assert_null(o->ping);
    assert_false(o->no_keep);
    assert_int_equal(c->sites[0].body_max, 1 << 30);
    assert_string_equal(c->sites[0].access_log, "off");
    assert_null(c->sites[0].root);
    ferry_config_free(c);
}

static void what_is_printed_reads_the_same(void **state)
{
    static const char text[] =
        "threads = 3  stop-timeout = 90s  head-max = 1M\n"
        "application a { connect = { a:1, \"b:2 weight=2\" } keep-alive = off ping = values }\n"
        "application b { spawn = { p, \"two words\", '\\', \"\\x01\\\"\" } processes = { 0, 2 }\n"
        "    env { A = \"\" } }\n"
        "application c { spawn-php = auto chdir = / processes = 3 }\n"
        "site a.b c.d { listen = :80 error-page 404 405 { file = /x } params { A = 'b c' }\n"
        "    route /x { header A { value = \"b\\\\c\" } every { names = {} flag = on room = 3000\n"
        "        wait = 1500ms number = 0 text = '' } }\n"
        "    route \"*\" { call { application = a } } }\n"
        "site { listen = :80 root = / route / { every {} } }\n";

    (void)state;
    for (unsigned all = 0; all < 2; all++) {
        struct ferry_config *c = good(text);
        char *once = printed(c, all), *twice;

        ferry_config_free(c);
        c = good(once);
        twice = printed(c, all);
        assert_string_equal(once, twice);
        free(once);
        once = printed(c, false);
        ferry_config_free(c);
        c = good(text);
        free(twice);
        twice = printed(c, false);
        if (!all)
            assert_string_equal(once, twice);
        ferry_config_free(c);
        free(once);
        free(twice);
    }
}

/* -- many, and few ---------------------------------------------------------------------------- */

static void limits(void **state)
{
    static const struct {
        const char *head, *each, *tail;
        unsigned max;
        const char *want;
    } cases[] = {
        {"site { route / {} listen = {", " :%u,", "} }", 64,
         "1: a site listens on 64 addresses at most\n"},
        {"application a { connect = {", " :%u,", "} }\n" SITE, 256,
         "1: an application has 256 addresses at most\n"},
        {"", "application a%u { connect = /a }", SITE, 256, "1: there can be 256 applications\n"},
        {"", "site a%u { listen = :1 route / {} }", "", 1024, "1: there can be 1024 sites\n"},
        {"", "site { listen = :%u route / {} }", "", 64,
         "1: sites listen on 64 addresses at most\n"},
        {"site", " a%u", "{ listen = :1 route / {} }", 256, "1: a site has 256 names at most\n"},
        {"site { listen = :1", " route /%u {}", "}", 1024, "1: a site has 1024 routes at most\n"},
        {"site { listen = :1 route / {", " header a%u {}", "} }", 256,
         "1: a route has 256 filters at most\n"},
    };
    static char text[1 << 20];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned more = 0; more < 2; more++) {
            size_t n = (size_t)snprintf(text, sizeof text, "%s", cases[i].head);
            struct ferry_config *c;
            int err;

            for (unsigned k = 1; k <= cases[i].max + more; k++)
                n += (size_t)snprintf(text + n, sizeof text - n, cases[i].each, k);
            snprintf(text + n, sizeof text - n, "%s", cases[i].tail);
            put("f", text);
            err = read_file("f", &c);
            assert_string_equal(told, more ? cases[i].want : "");
            assert_int_equal(err, more ? FERRY_EUSAGE : 0);
            ferry_config_free(c);
        }
}

static void a_file_has_a_megabyte(void **state)
{
    size_t n = FERRY_CONFIG_FILE_MAX;
    char *text = malloc(n + 1);
    struct ferry_config *c;

    (void)state;
    assert_non_null(text);
    memset(text, '\n', n + 1);
    memcpy(text, SITE, sizeof SITE - 1);
    put_bytes("f", text, n);
    assert_int_equal(read_file("f", &c), 0);
    ferry_config_free(c);
    put_bytes("f", text, n + 1);
    assert_int_equal(read_file("f", &c), -EFBIG);
    assert_string_equal(told, "0: cannot be read: it is larger than 1 MiB\n");
    free(text);
}

static void a_hundred_things_are_told(void **state)
{
    static char text[1 << 16];
    struct ferry_config *c;
    unsigned lines = 0;
    size_t n = 0;

    (void)state;
    for (unsigned i = 0; i < 150; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "quux%u = 4\n", i);
    put("f", text);
    assert_int_equal(read_file("f", &c), FERRY_EUSAGE);
    for (const char *line = told; *line; line++)
        lines += *line == '\n';
    assert_int_equal(lines, 101);
    assert_non_null(strstr(told, "0: and 50 more like these\n"));
}

/* -- files ------------------------------------------------------------------------------------ */

static void files_include_files(void **state)
{
    struct ferry_config *c;

    (void)state;
    assert_true(mkdir(at("conf.d"), 0700) == 0 || errno == EEXIST);
    put("conf.d/2.conf", "site b { listen = :1 include ../a }\n");
    put("conf.d/1.conf", "site a { listen = :1 root = web include ../a }\n");
    put("a", "access-log = log\nroute / { include \"b\" header b {} }\n");
    put("b", "header a {}\n");
    c = good("include conf.d/*.conf\ninclude none.d/*.conf\n");
    assert_int_equal(c->nsites, 2);
    assert_string_equal(c->sites[1].names[0], "b");
    assert_int_equal(c->sites[1].routes[0].nfilters, 2);
    assert_string_equal(c->sites[1].routes[0].filters[0].values[0].text, "a");
    /* Paths start at the folder of the file they stand in. */
    assert_string_equal(c->sites[0].root, at("conf.d/web"));
    assert_string_equal(c->sites[0].access_log, at("log"));
    assert_int_equal(c->sites[0].routes[0].place.line, 2);
    assert_string_equal(strrchr(c->sites[0].routes[0].place.file, '/'), "/a");
    ferry_config_free(c);
}

static void includes_that_fail(void **state)
{
    char want[512];
    struct ferry_config *c;

    (void)state;
    put("f", "include \"none\"\n" SITE);
    assert_int_equal(read_file("f", &c), FERRY_EUSAGE);
    snprintf(want, sizeof want, "1: '%s' cannot be read: No such file or directory\n", at("none"));
    assert_string_equal(told, want);
    put("f", "include\ninclude / b\ninclude ''\ninclude /\n" SITE);
    assert_int_equal(read_file("f", &c), FERRY_EUSAGE);
    assert_string_equal(told, "1: include \"FILE\" is expected\n"
                              "2: '/' cannot be read: Is a directory\n"
                              "2: 'b' stands alone; several values go into braces: { a, b }\n"
                              "3: include \"FILE\" is expected\n"
                              "4: '/' cannot be read: Is a directory\n");
    /* A circle, and what is wrong in other files. */
    put("f", "include a\n" SITE);
    put("a", "\ninclude b\nthraeds = 4\n}\n");
    put("b", "include a\n");
    assert_int_equal(read_file("f", &c), FERRY_EUSAGE);
    snprintf(want, sizeof want,
             "a:3: there is no 'thraeds' at the top of a configuration; did you mean 'threads'?\n"
             "a:4: this '}' closes nothing\n"
             "b:1: '%s/a' is included by itself\n",
             folder);
    assert_string_equal(told, want);
    /* The same one twice is no circle. */
    put("a", "header a {}\n");
    ferry_config_free(good("site { listen = :1 route / { include a include a include 'a' } }"));
    put("f", "application a { connect = /a }\ninclude a\n" SITE);
    put("a", "application a { connect = /a }\n");
    assert_int_equal(read_file("f", &c), FERRY_EUSAGE);
    snprintf(want, sizeof want, "a:1: there is an application 'a' already, on line 1 of %s/f\n",
             folder);
    assert_string_equal(told, want);
}

static void includes_have_limits(void **state)
{
    static char text[1 << 14];
    char path[PATH_MAX] = "a";
    struct ferry_config *c;
    size_t n = 0;

    (void)state;
    /* 256 with the first. */
    put("a", "# nothing\n");
    for (unsigned i = 0; i < 256; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "include a\n");
    put("f", text);
    assert_int_equal(read_file("f", &c), FERRY_EUSAGE);
    assert_string_equal(told, "256: a configuration has 256 files at most\n");
    /* Each is one file, by another name. */
    for (unsigned i = 2; i <= 9; i++) {
        snprintf(path, sizeof path, "%u", i);
        snprintf(text, sizeof text, "include %u\n", i + 1);
        put(path, i < 9 ? text : SITE);
    }
    put("f", "include 3\n");
    assert_int_equal(read_file("f", &c), 0);
    ferry_config_free(c);
    put("f", "include 2\n");
    assert_int_equal(read_file("f", &c), FERRY_EUSAGE);
    assert_string_equal(told, "8:1: files include each other 8 deep at most\n");
    for (unsigned i = 2; i <= 9; i++) {
        snprintf(path, sizeof path, "%u", i);
        unlink(at(path));
    }
}

static void paths_are_whole(void **state)
{
    struct ferry_config *c =
        good("pid-file = ./run/f.pid\n"
             "application a { spawn = { ./a, ./a } chdir = . }\n"
             "application b { spawn = a chdir = /x }\n"
             "application c { connect = { unix:s, unix:@s, /s, unix:/s } }\n"
             "site { listen = { :80, unix:l } root = .//web/ access-log = -\n"
             "    error-page 404 { file = e.html } route / { every { root = r text = t } } }\n");

    (void)state;
    assert_string_equal(c->pid_file, at("run/f.pid"));
    assert_string_equal(c->applications[0].spawn.argv[0], at("a"));
    assert_string_equal(c->applications[0].spawn.argv[1], "./a");
    assert_string_equal(c->applications[0].spawn.chdir, folder);
    assert_string_equal(c->applications[1].spawn.argv[0], "a");
    assert_string_equal(c->applications[2].client.addresses[0].text + 5, at("s"));
    assert_string_equal(c->applications[2].client.addresses[1].text, "unix:@s");
    assert_string_equal(c->applications[2].client.addresses[3].text, "unix:/s");
    assert_string_equal(c->sites[0].listen[1] + 5, at("l"));
    assert_string_equal(c->sites[0].root, at("web/"));
    assert_string_equal(c->sites[0].access_log, "-");
    assert_string_equal(c->sites[0].error_pages[0].file, at("e.html"));
    assert_string_equal(c->sites[0].routes[0].filters[0].values[6].text, at("r"));
    assert_string_equal(c->sites[0].routes[0].filters[0].values[0].text, "t");
    ferry_config_free(c);
}

static void a_file_that_cannot_be_read(void **state)
{
    struct ferry_config *c;

    (void)state;
    assert_int_equal(read_file("none", &c), -ENOENT);
    assert_null(c);
    assert_string_equal(told, "none:0: cannot be read: No such file or directory\n");
    assert_int_equal(read_file(".", &c), -EISDIR);
    /* And nobody need listen. */
    assert_int_equal(ferry_config_read(at("none"), &c, NULL, NULL), -ENOENT);
}

static void blanks_and_quotes(void **state)
{
    struct ferry_config *c =
        good("\xef\xbb\xbf\r\n\tuser\t=\t\"a\\\"\\\\\\n\\t\\r\\x41\xc3\xa4\" # a comment\r\n"
             "group = 'a\\n\"'\r\nsite\r\n{\r\nlisten = {\r\n:80 # why\r\n,\r\n}\r\n"
             "route *.x/y+(z)$@:~ {} route \"*\"{header X{value=y}}}");

    (void)state;
    assert_string_equal(c->user, "a\"\\\n\t\rA\xc3\xa4");
    assert_string_equal(c->group, "a\\n\"");
    assert_string_equal(c->sites[0].routes[0].pattern, "*.x/y+(z)$@:~");
    assert_int_equal(c->sites[0].routes[1].place.line, 10);
    ferry_config_free(c);
}

/* -- by hand ---------------------------------------------------------------------------------- */

static void made_by_hand(void **state)
{
    struct ferry_config *c = ferry_config_new();
    struct ferry_config_filter *f;
    char *text;

    (void)state;
    assert_non_null(c);
    c->applications = ferry_config_alloc(c, sizeof *c->applications);
    c->sites = ferry_config_alloc(c, sizeof *c->sites);
    c->napplications = c->nsites = 1;
    ferry_config_application_init(&c->applications[0]);
    ferry_config_site_init(&c->sites[0]);
    c->applications[0].name = ferry_config_text(c, "app");
    c->applications[0].client.address = "/run/x";
    c->applications[0].client.queue_max = 0; /* the default */
    c->sites[0].listen = &(const char *const){":8080"};
    c->sites[0].nlisten = 1;
    c->sites[0].routes = ferry_config_alloc(c, sizeof *c->sites[0].routes);
    c->sites[0].nroutes = 1;
    c->sites[0].routes[0].pattern = "*";
    assert_null(ferry_config_filter_add(c, &c->sites[0].routes[0], "none"));
    f = ferry_config_filter_add(c, &c->sites[0].routes[0], "every");
    assert_non_null(f);
    assert_int_equal(f->values[4].number, 10000);
    assert_int_equal(ferry_config_filter_set(c, f, "names", "a"), 0);
    assert_int_equal(ferry_config_filter_set(c, f, "names", "b c"), 0);
    assert_int_equal(ferry_config_filter_set(c, f, "wait", "2s"), 0);
    assert_int_equal(ferry_config_filter_set(c, f, "wait", "2"), FERRY_EUSAGE);
    assert_int_equal(ferry_config_filter_set(c, f, "none", "2"), FERRY_EUSAGE);
    f = ferry_config_filter_add(c, &c->sites[0].routes[0], "call");
    assert_non_null(f);
    assert_int_equal(ferry_config_filter_set(c, f, "application", "app"), 0);
    assert_non_null(ferry_config_filter_add(c, &c->sites[0].routes[0], "basic_params"));
    text = printed(c, false);
    assert_string_equal(text, "application app {\n    connect = /run/x\n}\n\n"
                              "site {\n    listen = :8080\n\n"
                              "    route * {\n        every {\n"
                              "            names = { a, \"b c\" }\n            wait = 2s\n"
                              "        }\n        call {\n            application = app\n"
                              "        }\n        basic_params {}\n    }\n}\n");
    free(text);
    ferry_config_free(c);
    ferry_config_free(NULL);
}

static void failing_scenario(void *arg)
{
    struct ferry_config *c = NULL;
    int err = ferry_config_read(arg, &c, tell, NULL);

    if (err != 0 && err != -ENOMEM)
        abort();
    if ((err == 0) != (c != NULL))
        abort();
    ferry_config_free(c);
}

static void every_allocation_may_fail(void **state)
{
    char path[256];

    (void)state;
    put("a", "header x {}\n");
    put("f",
        "application a { spawn = { ./x, y } env { A = b } }\n"
        "application b { connect = { /x, \"h:1 weight=2\" } }\n"
        "site a b { listen = { :1, unix:x } params { A = b } error-page 404 { file = x }\n"
        "    route / { include a call { application = b } every { names = { a, b, c } } } }\n");
    snprintf(path, sizeof path, "%s", at("f"));
    told[0] = 0;
    each_alloc_fails(failing_scenario, path);
    assert_string_equal(told, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_read),
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(what_is_printed_reads_the_same),
        cmocka_unit_test(limits),
        cmocka_unit_test(a_file_has_a_megabyte),
        cmocka_unit_test(a_hundred_things_are_told),
        cmocka_unit_test(files_include_files),
        cmocka_unit_test(includes_that_fail),
        cmocka_unit_test(includes_have_limits),
        cmocka_unit_test(paths_are_whole),
        cmocka_unit_test(a_file_that_cannot_be_read),
        cmocka_unit_test(blanks_and_quotes),
        cmocka_unit_test(made_by_hand),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
