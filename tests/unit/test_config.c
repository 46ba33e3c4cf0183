/* SPDX-License-Identifier: MIT */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_kinds.h"
#include "support.h"

/* -- a folder with files ---------------------------------------------------------------------- */

static char folder[64], told[65536];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/ferry-config-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static const char *at(const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"f", "a", "b", "c", "conf.d/1.conf", "conf.d/2.conf"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(at(names[i]));
    rmdir(at("conf.d"));
    return rmdir(folder);
}

static void put_bytes(const char *name, const char *text, size_t n)
{
    FILE *f = fopen(at(name), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

/* "LINE: TEXT" for the first file, "NAME:LINE: TEXT" for others. */
static void tell(void *arg, const struct ferry_config_place *place, const char *text)
{
    size_t n = strlen(told);
    const char *slash = place->file ? strrchr(place->file, '/') : NULL;
    bool first = slash && strcmp(slash, "/f") == 0;

    (void)arg;
    snprintf(told + n, sizeof told - n, "%s%s%u: %s\n",
             first   ? ""
             : slash ? slash + 1
                     : "?",
             first ? "" : ":", place->line, text);
}

static int read_file(const char *name, struct ferry_config **out)
{
    told[0] = 0;
    return ferry_config_read(at(name), out, tell, NULL);
}

static struct ferry_config *good(const char *text)
{
    struct ferry_config *c;

    put("f", text);
    if (read_file("f", &c) != 0)
        fail_msg("%s\nwas refused: %s", text, told);
    assert_string_equal(told, "");
    return c;
}

static char *printed(const struct ferry_config *c, bool all)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    assert_non_null(f);
    ferry_config_print(c, all, f);
    assert_int_equal(fclose(f), 0);
    return text;
}

/* What stands in every file of these tests that are about something else. */
#define SITE "site { listen = :80 route \"*\" { basic_params {} } }\n"
#define APP(settings) "application a { connect = /a " settings " }\n" SITE

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_read),
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(what_is_printed_reads_the_same),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
