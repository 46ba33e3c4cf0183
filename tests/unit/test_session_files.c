/* SPDX-License-Identifier: MIT */
/* php_fs, php, files, filter_files: from paths to scripts and files, in every order of the chain.
 */
#include "session_site.h"

#include "session/root.h"

static struct ferry_client *client;

#define OK(call) assert_int_equal((call), 0)

/* -- the chains -------------------------------------------------------------------------------- */

enum chain {
    PHP_FILES, /* as ferry serve */
    PARTS,     /* php_fs, files, call: no front controller */
    FILES_PHP,
    FILES,
    PROJECT,
    CGI, /* other suffixes and indexes */
    NO_PHP,
    APPLICATION,
};

static struct ferry_filters *chain_of(enum chain which)
{
    struct ferry_filters *f = ferry_filters_new();
    const char *root = site_at("root");
    struct ferry_php_fs php = {.root = root, .front = "/index.php"};
    struct ferry_files files = {.root = root};

    assert_non_null(f);
    switch (which) {
    case PHP_FILES:
        OK(ferry_filters_php(f, client, &php));
        OK(ferry_filters_files(f, &files));
        break;
    case PARTS:
        php.front = NULL;
        OK(ferry_filters_php_fs(f, &php));
        OK(ferry_filters_files(f, &files));
        OK(ferry_filters_call(f, client));
        break;
    case FILES_PHP:
        OK(ferry_filters_files(f, &files));
        OK(ferry_filters_php(f, client, &php));
        break;
    case FILES:
        files.suffixes_hidden = (const char *const[]){".key"};
        files.nsuffixes_hidden = 1;
        OK(ferry_filters_files(f, &files));
        break;
    case PROJECT:
        php.project_root = true;
        OK(ferry_filters_php(f, client, &php));
        OK(ferry_filters_files(f, &files));
        break;
    case CGI:
        php.front = "run.cgi";
        php.suffixes = (const char *const[]){".cgi", ".x"};
        php.nsuffixes = 2;
        php.index = (const char *const[]){"home.x", "run.cgi"};
        php.nindex = 2;
        OK(ferry_filters_files(f, &files));
        OK(ferry_filters_php(f, client, &php));
        break;
    case NO_PHP:
        OK(ferry_filters_php(f, NULL, &php));
        OK(ferry_filters_files(f, &files));
        break;
    case APPLICATION:
        OK(ferry_filters_files(f, &files));
        OK(ferry_filters_application(f, client));
        break;
    }
    return f;
}

static void paths_become(void **state)
{
    static const struct {
        enum chain chain;
        const char *path, *want;
    } cases[] = {
        {PHP_FILES, "/", "run /index.php"},
        {PHP_FILES, "/a.php", "run /a.php"},
        {PHP_FILES, "/a.php/x/y", "run /a.php /x/y"},
        {PHP_FILES, "/a.php/", "run /a.php /"},
        {PHP_FILES, "/dir", "301 /dir/"},
        {PHP_FILES, "/dir?a=b", "301 /dir/?a=b"},
        {PHP_FILES, "//dir", "404"}, /* a Location of "//dir/" is another host's */
        {PHP_FILES, "/dir/", "run /dir/index.php"},
        {PHP_FILES, "/docs/", "file /docs/index.html"},
        {PHP_FILES, "/docs", "301 /docs/"},
        {PHP_FILES, "/empty/", "run /index.php"},
        {PHP_FILES, "/route/of/the/app", "run /index.php"},
        {PHP_FILES, "/missing.php", "run /index.php"},
        {PHP_FILES, "/note.txt", "file /note.txt"},
        {PHP_FILES, "/upload/a.jpg", "file /upload/a.jpg"},
        {PHP_FILES, "/upload/a.jpg/x.php", "run /index.php"}, /* the cgi.fix_pathinfo hole */
        {PHP_FILES, "/old.php/i.txt", "file /old.php/i.txt"},
        {PHP_FILES, "/a.php.bak", "404"},
        {PHP_FILES, "/.env", "404"},
        {PHP_FILES, "/.git/config", "404"},
        {PHP_FILES, "/.missing", "404"},
        {PHP_FILES, "/.well-known/acme", "file /.well-known/acme"},
        {PHP_FILES, "/link.php", "403"},
        {PHP_FILES, "/link.txt", "file /link.txt"},
        {PHP_FILES, "/same.php", "run /same.php"},
        {PHP_FILES, "/pipe.txt", "run /index.php"},
        {PHP_FILES, "/vendor/x.php", "run /vendor/x.php"},
        {PHP_FILES, "/run.cgi", "file /run.cgi"},

        {PARTS, "/", "run /index.php"},
        {PARTS, "/a.php/x", "run /a.php /x"},
        {PARTS, "/note.txt", "file /note.txt"},
        {PARTS, "/docs/", "file /docs/index.html"},
        {PARTS, "/docs", "301 /docs/"},
        {PARTS, "/dir", "301 /dir/"},
        {PARTS, "/missing", "404"},
        {PARTS, "/missing.php", "404"},
        {PARTS, "/upload/a.jpg/x.php", "404"},
        {PARTS, "/empty/", "404"},
        {PARTS, "/a.phpx", "404"},
        {PARTS, "/.env", "404"},

        {FILES_PHP, "/", "run /index.php"},
        {FILES_PHP, "/a.php", "run /a.php"},
        {FILES_PHP, "/a.php/x", "run /a.php /x"},
        {FILES_PHP, "/note.txt", "file /note.txt"},
        {FILES_PHP, "/route", "run /index.php"},
        {FILES_PHP, "/docs/", "file /docs/index.html"},
        {FILES_PHP, "/dir/", "run /dir/index.php"},
        {FILES_PHP, "/dir", "301 /dir/"},
        {FILES_PHP, "/a.php.bak", "404"},
        {FILES_PHP, "/.git/config", "404"},
        {FILES_PHP, "/upload/a.jpg/x.php", "run /index.php"},

        {FILES, "/note.txt", "file /note.txt"},
        {FILES, "/", "404"},
        {FILES, "/docs", "301 /docs/"},
        {FILES, "/a.php", "404"},
        {FILES, "/a.php/x", "404"},
        {FILES, "/.env", "404"},
        {FILES, "/secret.key", "404"},
        {FILES, "/missing", "404"},
        {FILES, "/run.cgi", "file /run.cgi"},
        {FILES, "/vendor/x.js", "file /vendor/x.js"},

        /* what one filter says of its root holds for the other */
        {PROJECT, "/vendor/x.js", "404"},
        {PROJECT, "/vendor/x.php", "404"},
        {PROJECT, "/dump.sql", "404"},
        {PROJECT, "/note.txt", "file /note.txt"},
        {PROJECT, "/", "run /index.php"},
        {CGI, "/run.cgi", "run /run.cgi"},
        {CGI, "/run.cgi/x", "run /run.cgi /x"},
        {CGI, "/", "run /run.cgi"},
        {CGI, "/route", "run /run.cgi"},
        {CGI, "/a.php", "404"},
        {CGI, "/note.txt", "file /note.txt"},
        {CGI, "/docs/", "file /docs/index.html"},

        {NO_PHP, "/a.php", "503"},
        {NO_PHP, "/", "503"},
        {NO_PHP, "/note.txt", "file /note.txt"},

        {APPLICATION, "/note.txt", "file /note.txt"},
        {APPLICATION, "/x/y", "run  /x/y"},
        {APPLICATION, "/", "run  /"},
        {APPLICATION, "/a.php", "run  /a.php"},
    };
    struct ferry_filters *chain = NULL;
    static struct fake f;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (i == 0 || cases[i].chain != cases[i - 1].chain) {
            if (chain)
                site_close(&f, chain, client);
            client = site_client();
            chain = chain_of(cases[i].chain);
            fake_open(&f, chain);
        }
        /* Twice: what was found is remembered. */
        for (unsigned turn = 0; turn < 2; turn++) {
            fake_get(&f, chain, cases[i].path);
            if (strcmp(site_tell(&f), cases[i].want) != 0)
                fail_msg("%d %s: got \"%s\", want \"%s\"", cases[i].chain, cases[i].path,
                         site_tell(&f), cases[i].want);
        }
    }
    site_close(&f, chain, client);
}

static void scripts_are_told_by_their_real_names(void **state)
{
    struct ferry_filters *chain;
    static struct fake f;
    char want[PATH_MAX + 16];

    (void)state;
    client = site_client();
    chain = chain_of(PHP_FILES);
    fake_open(&f, chain);
    fake_get(&f, chain, "/a.php/more?q=1");
    snprintf(want, sizeof want, "%s/a.php", site_real);
    assert_string_equal(fake_param(&f, "SCRIPT_FILENAME"), want);
    snprintf(want, sizeof want, "%s/more", site_real);
    assert_string_equal(fake_param(&f, "PATH_TRANSLATED"), want);
    assert_string_equal(fake_param(&f, "DOCUMENT_ROOT"), site_real);
    assert_string_equal(fake_param(&f, "DOCUMENT_URI"), "/a.php/more");
    assert_string_equal(fake_param(&f, "QUERY_STRING"), "q=1");
    assert_string_equal(fake_param(&f, "HTTP_HOST"), "example.org");
    assert_int_equal(f.call.role, FERRY_RESPONDER);
    fake_get(&f, chain, "http://example.org/dir");
    assert_string_equal(site_tell(&f), "404"); /* nowhere to go with a slash */
    site_close(&f, chain, client);
}

/* No target leads out of the root; a filter that changed the path behind the session's back would
 * still not get there. */
static void nothing_leads_out(void **state)
{
    static const char *const paths[] = {"/../root-secret/s.php", "/dir/../../root-secret/s.php",
                                        "/..", NULL};
    struct ferry_filters *chain;
    static struct fake f;

    (void)state;
    client = site_client();
    chain = chain_of(PARTS);
    fake_open(&f, chain);
    for (unsigned i = 0; paths[i]; i++) {
        fake_get(&f, chain, "/note.txt");
        assert_int_equal(ferry_session_set_path(&f.session, ferry_slice_z(paths[i])), FERRY_EUSAGE);
        f.did = FAKE_NOTHING;
        f.session.at = 0;
        f.session.path.path = ferry_slice_z(paths[i]);
        ferry_session_run(&f.session);
        assert_string_equal(site_tell(&f), "403");
        assert_string_equal(f.why, "error: access path outside of filesystem docroot");
    }
    site_close(&f, chain, client);
}

static void files_fail_as_they_are(void **state)
{
    static const struct {
        int err;
        const char *want, *want_why;
    } cases[] = {
        {-ENOENT, "404", "There is nothing at this address."},
        {-EACCES, "403", "This file may not be read."},
        {-EMFILE, "503", "This file cannot be read at the moment."},
        {-EIO, "500", "This file cannot be read at the moment."},
        {FERRY_EUSAGE, "405", "Files can only be read."},
    };
    struct ferry_filters *chain;
    static struct fake f;

    (void)state;
    client = site_client();
    chain = chain_of(FILES);
    fake_open(&f, chain);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f.file_err = cases[i].err;
        fake_get(&f, chain, "/note.txt");
        assert_string_equal(site_tell(&f), cases[i].want);
        assert_string_equal(f.why, cases[i].want_why);
    }
    site_close(&f, chain, client);
}

/* -- the disk ---------------------------------------------------------------------------------- */

static unsigned kept(const struct fake *f)
{
    unsigned n = 0;

    for (unsigned i = 0; i < FERRY_DOCROOT_KEPT; i++)
        n += f->thread.roots->docroot.kept[i].kind != FERRY_PATH_NONE;
    return n;
}

/* One root for all filters of its name; what one has looked for in vain no other looks for. */
static void filters_share_a_root(void **state)
{
    struct ferry_filters *chain;
    static struct fake f;

    (void)state;
    client = site_client();
    chain = chain_of(FILES_PHP);
    fake_open(&f, chain);
    assert_non_null(f.thread.roots);
    assert_null(f.thread.roots->next);
    assert_int_equal(f.thread.roots->users, 2);
    fake_get(&f, chain, "/route");
    assert_ptr_equal(f.session.missed, f.thread.roots);
    assert_int_equal(kept(&f), 1); /* the front controller */

    /* The folder has the file now, but this request has asked already. */
    f.session.at = 1;
    f.session.script = FERRY_SCRIPT_OPEN;
    site_file("root/route", "x");
    ferry_session_run(&f.session);
    assert_string_equal(site_tell(&f), "run /index.php");
    fake_get(&f, chain, "/route");
    assert_string_equal(site_tell(&f), "file /route");
    assert_int_equal(unlink(site_at("root/route")), 0);
    site_close(&f, chain, client);
}

static void a_switched_root_is_seen(void **state)
{
    struct ferry_filters *chain = ferry_filters_new();
    static struct fake f;

    (void)state;
    client = site_client();
    assert_int_equal(symlink("root", site_at("current")), 0);
    OK(ferry_filters_php(chain, client,
                         &(struct ferry_php_fs){.root = site_at("current"), .front = "/s.php"}));
    fake_open(&f, chain);
    fake_get(&f, chain, "/a.php");
    assert_string_equal(fake_param(&f, "DOCUMENT_ROOT"), site_real);
    assert_int_equal(unlink(site_at("current")), 0);
    assert_int_equal(symlink("root-secret", site_at("current")), 0);
    f.thread.roots->docroot.refresh_ms = 0; /* a second later */
    fake_get(&f, chain, "/a.php");
    assert_string_equal(site_tell(&f), "run /s.php");
    assert_string_equal(fake_param(&f, "DOCUMENT_ROOT") + strlen(site_real), "-secret");
    assert_int_equal(unlink(site_at("current")), 0);
    site_close(&f, chain, client);
}

/* A script's texts lie in memory of the thread until the session waits. */
static int waits(struct ferry_session *s, void *arg)
{
    (void)s;
    (void)arg;
    return FERRY_STEP_WAIT;
}

static void a_script_outlives_a_wait(void **state)
{
    struct ferry_filters *chain = ferry_filters_new();
    struct ferry_session_root *root;
    static struct fake f;

    (void)state;
    client = site_client();
    OK(ferry_filters_add(chain, waits, NULL, NULL));
    OK(ferry_filters_php_fs(
        chain, &(struct ferry_php_fs){.root = site_at("root"), .front = "/index.php"}));
    OK(ferry_filters_add(chain, waits, NULL, NULL));
    OK(ferry_filters_call(chain, client));
    fake_open(&f, chain);
    fake_get(&f, chain, "/dir/");
    assert_int_equal(f.did, FAKE_WAITS);
    ferry_session_continue(&f.session, FERRY_STEP_NEXT);
    assert_int_equal(f.did, FAKE_WAITS);
    root = f.thread.roots;
    memset(root->script, 'x', sizeof root->script);
    memset(root->mem, 'x', root->mem_cap);
    memset(f.path_mem, 'x', sizeof f.path_mem);
    ferry_session_continue(&f.session, FERRY_STEP_NEXT);
    assert_string_equal(site_tell(&f), "run /dir/index.php");
    assert_string_equal(fake_param(&f, "SCRIPT_FILENAME") + strlen(site_real), "/dir/index.php");
    site_close(&f, chain, client);
}

/* -- the filter role --------------------------------------------------------------------------- */

static void files_go_through_a_filter(void **state)
{
    static const struct {
        const char *method, *path, *want;
    } cases[] = {
        {"GET", "/note.txt", "run /note.txt"},
        {"HEAD", "/note.txt", "run /note.txt"},
        {"POST", "/note.txt", "run /note.txt"},
        {"PUT", "/note.txt", "405"},
        {"DELETE", "/note.txt", "405"},
        {"GET", "/missing.txt", "404"},
        {"GET", "/dir", "404"},
        {"GET", "/dir/", "404"},
        {"GET", "/note.txt/x", "404"},
        {"GET", "/", "404"},
        {"GET", "/pipe.txt", "404"},
        {"GET", "/.env", "404"},
        {"GET", "/a.php", "404"},
        {"GET", "/a.php.bak", "404"},
        {"GET", "/link.txt", "run /link.txt"},
        {"GET", "/locked.txt", "403"},
    };
    struct ferry_filters *chain = ferry_filters_new();
    static struct fake f;
    struct stat st;
    char head[256], text[32];

    (void)state;
    client = site_client();
    OK(ferry_filters_filter_files(chain, site_at("root")));
    OK(ferry_filters_call(chain, client));
    fake_open(&f, chain);
    site_file("root/locked.txt", "x");
    assert_int_equal(chmod(site_at("root/locked.txt"), 0), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (geteuid() == 0 && strcmp(cases[i].want, "403") == 0)
            continue; /* to whom everything is open */
        snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
                 cases[i].method, cases[i].path);
        fake_request(&f, chain, head);
        if (strcmp(site_tell(&f), cases[i].want) != 0)
            fail_msg("%s %s: got \"%s\", want \"%s\"", cases[i].method, cases[i].path,
                     site_tell(&f), cases[i].want);
        if (f.status == 405)
            assert_non_null(strstr(f.fields, "Allow: GET, HEAD, POST\n"));
    }

    fake_get(&f, chain, "/note.txt");
    assert_int_equal(stat(site_at("root/note.txt"), &st), 0);
    assert_int_equal(f.call.role, FERRY_FILTER);
    assert_int_equal(f.session.data_len, 11);
    assert_int_equal(read(f.session.data_fd, text, sizeof text), 11);
    assert_memory_equal(text, "hello world", 11);
    assert_string_equal(fake_param(&f, "FCGI_DATA_LENGTH"), "11");
    snprintf(text, sizeof text, "%lld", (long long)st.st_mtim.tv_sec);
    assert_string_equal(fake_param(&f, "FCGI_DATA_LAST_MOD"), text);
    assert_string_equal(fake_param(&f, "DOCUMENT_ROOT"), site_real);
    site_close(&f, chain, client);
}

static void a_large_file_is_told_in_64_bits(void **state)
{
    struct ferry_filters *chain = ferry_filters_new();
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = INT64_C(4300000000)}};
    static struct fake f;

    (void)state;
    client = site_client();
    OK(ferry_filters_filter_files(chain, site_at("root")));
    OK(ferry_filters_call(chain, client));
    fake_open(&f, chain);
    site_file("root/large.bin", "");
    assert_int_equal(truncate(site_at("root/large.bin"), INT64_C(5368709120)), 0);
    assert_int_equal(utimensat(AT_FDCWD, site_at("root/large.bin"), times, 0), 0);
    fake_get(&f, chain, "/large.bin");
    assert_string_equal(fake_param(&f, "FCGI_DATA_LENGTH"), "5368709120");
    assert_string_equal(fake_param(&f, "FCGI_DATA_LAST_MOD"), "4300000000");
    site_close(&f, chain, client);
}

/* -- options ----------------------------------------------------------------------------------- */

static void options_that_make_no_sense_are_refused(void **state)
{
    static const char *const slash[] = {"a/b"}, *const dot[] = {".x"}, *const none[] = {""};
    static const struct {
        struct ferry_php_fs o;
        const char *want;
    } cases[] = {
        {{.root = NULL}, "needs a root"},
        {{.root = ""}, "needs a root"},
        {{.root = "/", .index = slash, .nindex = 1}, "\"a/b\" is no name"},
        {{.root = "/", .index = dot, .nindex = 1}, "\".x\" is no name"},
        {{.root = "/", .index = none, .nindex = 1}, "\"\" is no name"},
        {{.root = "/", .suffixes = slash, .nsuffixes = 1}, "\"a/b\" is no suffix"},
        {{.root = "/", .suffixes = none, .nsuffixes = 1}, "\"\" is no suffix"},
        {{.root = "/", .front = "/index.html"}, "\"/index.html\" is no script"},
        {{.root = "/", .front = "/../index.php"}, "is no script below the root"},
        {{.root = "/", .front = ".hidden.php"}, "is no script below the root"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_filters *chain = ferry_filters_new();

        assert_int_equal(ferry_filters_php_fs(chain, &cases[i].o), FERRY_EUSAGE);
        if (!strstr(ferry_filters_why(chain), cases[i].want))
            fail_msg("%zu: %s", i, ferry_filters_why(chain));
        if (!cases[i].o.front && !cases[i].o.suffixes) {
            struct ferry_files o = {
                .root = cases[i].o.root, .index = cases[i].o.index, .nindex = cases[i].o.nindex};

            assert_int_equal(ferry_filters_files(chain, &o), FERRY_EUSAGE);
            assert_non_null(strstr(ferry_filters_why(chain), cases[i].want));
        }
        ferry_filters_free(chain);
    }
}

static void a_missing_root_cannot_be_joined(void **state)
{
    struct ferry_filters *chain = ferry_filters_new();
    struct ferry_filters_local *local = NULL;
    static struct fake f;

    (void)state;
    fake_open(&f, chain);
    OK(ferry_filters_files(chain, &(struct ferry_files){.root = "/nonexistent/ferry"}));
    assert_int_equal(ferry_filters_join(chain, &f.thread, &local), -ENOENT);
    assert_null(local);
    assert_null(f.thread.roots);
    site_close(&f, chain, NULL);
}

static void claims_come_and_go(void **state)
{
    static const struct ferry_slice a[] = {FERRY_SLICE_INIT(".php"), FERRY_SLICE_INIT(".x")},
                                    b[] = {FERRY_SLICE_INIT(".PHP"), FERRY_SLICE_INIT(".y")};
    struct ferry_session_claim first = {.suffixes = a, .nsuffixes = 2},
                               second = {.suffixes = b, .nsuffixes = 2, .project_root = true};
    struct ferry_filters *chain = ferry_filters_new();
    struct ferry_session_root *root, *same;
    static struct fake f;

    (void)state;
    fake_open(&f, chain);
    OK(ferry__session_root_join(&f.thread, site_at("root"), &root));
    OK(ferry__session_root_join(&f.thread, site_at("root"), &same));
    assert_ptr_equal(root, same);
    OK(ferry__session_root_claim(root, &first));
    assert_int_equal(root->nsuffixes, 2);
    OK(ferry__session_root_claim(root, &second));
    assert_int_equal(root->nsuffixes, 3);
    assert_true(root->project_root);
    ferry__session_root_unclaim(root, &first);
    assert_int_equal(root->nsuffixes, 2);
    ferry__session_root_unclaim(root, &second);
    ferry__session_root_unclaim(root, &second);
    assert_int_equal(root->nsuffixes, 0);
    assert_false(root->project_root);
    ferry__session_root_leave(same);
    assert_ptr_equal(f.thread.roots, root);
    ferry__session_root_leave(root);
    assert_null(f.thread.roots);
    site_close(&f, chain, NULL);
}

/* -- without memory ---------------------------------------------------------------------------- */

static void chain_without_memory(void *arg)
{
    static struct fake f;
    struct ferry_filters *chain = ferry_filters_new();
    struct ferry_filters_local *local = NULL;
    int err = -ENOMEM;

    memset(&f, 0, sizeof f);
    if (chain)
        err = ferry_filters_php_fs(
            chain, &(struct ferry_php_fs){.root = site_at("root"), .front = "/index.php"});
    if (err == 0)
        err = ferry_filters_files(chain, &(struct ferry_files){.root = site_at("root")});
    if (err == 0)
        err = ferry_filters_filter_files(chain, site_at("root"));
    if (err == 0 && ferry_loop_new(FERRY_IO_EPOLL, &f.loop) == 0) {
        ferry_session_thread_init(&f.thread, f.loop, 0, NULL);
        err = ferry_filters_join(chain, &f.thread, &local);
        assert_true(err == 0 || err == -ENOMEM);
        ferry_filters_leave(local);
        assert_null(f.thread.roots);
        ferry_loop_free(f.loop);
    }
    ferry_filters_free(chain);
    (void)arg;
}

static void memory_may_be_out(void **state)
{
    (void)state;
    each_alloc_fails(chain_without_memory, NULL);
}

/* A request for which memory runs out anywhere is refused, or served as if nothing had been. */
static void memory_may_be_out_on_the_way(void **state)
{
    static const char *const targets[] = {"/a.php/x", "/dir", "/docs/", "/route", NULL};
    static const char *const wants[] = {"run /a.php /x", "301 /dir/", "file /docs/index.html",
                                        "run /index.php"};
    struct ferry_filters *chain;
    static struct fake f;

    (void)state;
    for (unsigned i = 0; targets[i]; i++)
        for (long nth = 0; nth < 6; nth++) {
            client = site_client();
            chain = chain_of(PHP_FILES);
            fake_open(&f, chain);
            fake_get(&f, chain, "/note.txt"); /* the machine's memory is there */
            f.session.at = 0;
            f.session.path.path = ferry_slice_z(targets[i]);
            f.event.head.target = f.session.path.path;
            f.did = FAKE_NOTHING;
            fail_alloc_after(nth);
            ferry_session_run(&f.session);
            fail_alloc_after(-1);
            if (strcmp(site_tell(&f), "500") != 0)
                assert_string_equal(site_tell(&f), wants[i]);
            site_close(&f, chain, client);
        }
}

static int setup(void **state)
{
    (void)state;
    site_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return site_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_become),
        cmocka_unit_test(scripts_are_told_by_their_real_names),
        cmocka_unit_test(nothing_leads_out),
        cmocka_unit_test(files_fail_as_they_are),
        cmocka_unit_test(filters_share_a_root),
        cmocka_unit_test(a_switched_root_is_seen),
        cmocka_unit_test(a_script_outlives_a_wait),
        cmocka_unit_test(files_go_through_a_filter),
        cmocka_unit_test(a_large_file_is_told_in_64_bits),
        cmocka_unit_test(options_that_make_no_sense_are_refused),
        cmocka_unit_test(a_missing_root_cannot_be_joined),
        cmocka_unit_test(claims_come_and_go),
        cmocka_unit_test(memory_may_be_out),
        cmocka_unit_test(memory_may_be_out_on_the_way),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
