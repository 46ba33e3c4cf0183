/* SPDX-License-Identifier: MIT */
/* What a service of the mail gateway is made of, and what its settings do: the Maildir beside a
 * script, what is remembered, what is logged, and what a session costs. */
#include "mail_world.h"

#include <dirent.h>
#include <jansson.h>
#include <malloc.h>
#include <sys/stat.h>

#include "mail/internal.h"

/* -- what is none ------------------------------------------------------------------------------ */

static int open_service(const struct ferry_mail_service *s, char *why, size_t cap)
{
    struct ferry_mail *mail = NULL;
    int err =
        ferry_mail_new(&(struct ferry_mail_opts){.services = s, .nservices = 1}, &mail, why, cap);

    ferry_mail_free(mail);
    return err;
}

static void services_that_are_none(void **state)
{
    static const char *const bad[] = {"10.0.0.0/8", "nonsense"}, *const domains[] = {"a b"};
    static const struct ferry_tls_cert cert = {.cert = "/nonexistent/cert.pem"};
    const struct ferry_mail_networks wrong = {bad, 2};
    const struct ferry_mail_script save = {.path = "/srv/save.php", .client = (void *)&cert};
    const struct {
        struct ferry_mail_service service;
        const char *why;
    } cases[] = {
        {{.name = "mx"}, "mail \"mx\": neither a save script nor a maildir"},
        {{.save = {.path = "/s.php"}}, "mail \"mail\": the script /s.php has no application"},
        {{.save = save, .deny = wrong}, "deny: \"nonsense\""},
        {{.save = save, .trusted = wrong}, "trusted: \"nonsense\""},
        {{.save = save, .proxy_from = wrong}, "proxy_from: \"nonsense\""},
        {{.save = save, .xclient_from = wrong}, "xclient_from: \"nonsense\""},
        {{.save = save, .xforward_from = wrong}, "xforward_from: \"nonsense\""},
        {{.save = save, .domains = domains, .ndomains = 1}, "domains: "},
        {{.save = save, .protocol = FERRY_MAIL_SUBMISSION}, "auth script"},
        {{.save = save, .smtp.auth_required = true}, "auth script"},
        {{.save = save, .tls = FERRY_MAIL_TLS_REQUIRED}, "TLS needs a certificate"},
        {{.save = save, .tls = FERRY_MAIL_TLS_IMPLICIT}, "TLS needs a certificate"},
        {{.save = save, .tls = FERRY_MAIL_TLS_STARTTLS, .tls_opts = {.certs = &cert, .ncerts = 1}},
         "/nonexistent/cert.pem"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[300] = "";

        if (open_service(&cases[i].service, why, sizeof why) != FERRY_EUSAGE)
            fail_msg("it is taken, in spite of: %s", cases[i].why);
        if (!strstr(why, cases[i].why))
            fail_msg("\"%s\" says nothing of \"%s\"", why, cases[i].why);
        assert_int_equal(open_service(&cases[i].service, why, 10), FERRY_EUSAGE);
        assert_int_equal(open_service(&cases[i].service, NULL, 0), FERRY_EUSAGE);
    }
}

static void scenario(void *arg)
{
    static const char *const nets[] = {"10.0.0.0/8"}, *const domains[] = {"example.com"};
    const struct ferry_mail_networks some = {nets, 1};
    const struct ferry_mail_service s = {
        .save = {.path = "/srv/save.php", .client = (void *)&some},
        .domains = domains,
        .ndomains = 1,
        .deny = some,
        .trusted = some,
        .remember_saved = true,
        .verdict_ms = 1000,
    };
    int err = open_service(&s, NULL, 0);

    (void)arg;
    if (err)
        assert_true(alloc_failed());
}

static void memory_runs_out(void **state)
{
    (void)state;
    each_alloc_fails(scenario, NULL);
}

/* -- the Maildir ------------------------------------------------------------------------------- */

struct box {
    char path[64], new_[128];
};

static void box_begin(struct box *b)
{
    memcpy(b->path, "/tmp/ferry-box-XXXXXX", 22);
    assert_non_null(mkdtemp(b->path));
    snprintf(b->new_, sizeof b->new_, "%s/new", b->path);
}

static unsigned box_count(const struct box *b)
{
    DIR *dir = opendir(b->new_);
    unsigned n = 0;

    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void box_end(struct box *b)
{
    char command[200];
    static const char *const subs[] = {"new", "cur", "tmp"};

    for (size_t i = 0; i < 3; i++) {
        DIR *dir;

        snprintf(command, sizeof command, "%s/%s", b->path, subs[i]);
        dir = opendir(command);
        for (struct dirent *e; dir && (e = readdir(dir));)
            unlinkat(dirfd(dir), e->d_name, 0);
        if (dir)
            closedir(dir);
        rmdir(command);
    }
    assert_int_equal(rmdir(b->path), 0);
}

static void a_catcher_needs_no_script(void **state)
{
    struct world *w = world_new();
    struct box box;
    int fd;

    (void)state;
    box_begin(&box);
    w->service.maildir = box.path;
    w->service.validate.path = w->service.save.path = NULL;
    w->service.accept_all = true;
    world_start(w);
    fd = client_mail(w, "250 2.0.0 Ok: saved as ");
    client_ask(fd, "MAIL FROM:<>", "250");
    client_ask(fd, "RCPT TO:<anybody@elsewhere.example>", "250");
    client_ask(fd, "DATA", "354");
    client_ask(fd, MESSAGE ".", "250 2.0.0");
    close(fd);
    assert_int_equal(box_count(&box), 2);
    assert_int_equal(atomic_load(&w->save.accepted) + atomic_load(&w->validate.accepted), 0);
    assert_adds_up(w);
    world_free(w);
    box_end(&box);
}

/* What the script does not save is no file, and what is no file is not saved. */
static void a_script_and_a_maildir(void **state)
{
    static const struct {
        const char *script, *expected;
        unsigned files;
    } cases[] = {
        {ANSWER("SAVED"), "250 2.0.0", 1},   {ANSWER("REJECT"), "554 5.7.1", 0},
        {ANSWER("DEFER"), "451 4.7.1", 0},   {ANSWER("nothing"), "451 4.3.0", 0},
        {ANSWER("DISCARD"), "250 2.0.0", 0},
    };
    struct world *w;
    struct box box;
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        w = world_new();
        box_begin(&box);
        w->service.maildir = box.path;
        atomic_store(&w->save.script, cases[i].script);
        world_start(w);
        close(client_mail(w, cases[i].expected));
        assert_int_equal(box_count(&box), cases[i].files);
        assert_int_equal(atomic_load(&w->save.requests), 1);
        world_free(w);
        box_end(&box);
    }

    w = world_new();
    box_begin(&box);
    w->service.maildir = box.path;
    world_start(w);
    fd = client_to_data(w);
    assert_int_equal(rmdir(box.new_), 0);
    client_ask(fd, MESSAGE ".", "451 4.3.0"); /* although it said SAVED */
    close(fd);
    assert_says(w, "what=\"a message cannot be written to the Maildir\"");
    assert_says(w, "result=deferred reply=451 verdict=storage");
    assert_adds_up(w);
    assert_int_equal(mkdir(box.new_, 0700), 0);
    world_free(w);
    box_end(&box);
}

/* -- what is remembered ------------------------------------------------------------------------ */

static void verdicts_are_remembered(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    w->service.verdict_ms = 60000;
    world_start(w);
    for (int i = 0; i < 3; i++)
        close(client_to_data(w));
    assert_int_equal(atomic_load(&w->validate.requests), 1);
    atomic_store(&w->validate.script, ANSWER("no"));
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO client", "250-");
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<one@example.com>", "250"); /* not asked about again */
    client_ask(fd, "RCPT TO:<two@example.com>", "550 5.1.1 <two@example.com> User unknown");
    client_ask(fd, "RCPT TO:<two@example.com>", "550 5.1.1");
    close(fd);
    assert_int_equal(atomic_load(&w->validate.requests), 2);
    world_free(w);
}

/* -- the log ----------------------------------------------------------------------------------- */

static json_t *line_with(struct world *w, const char *text)
{
    json_t *found = NULL;

    assert_says(w, text);
    pthread_mutex_lock(&w->lock);
    for (char *at = w->log, *end; !found && (end = strchr(at, '\n')); at = end + 1) {
        json_t *o = json_loadb(at, (size_t)(end - at), 0, NULL);

        assert_non_null(o);
        *end = 0;
        found = strstr(at, text) ? json_incref(o) : NULL;
        *end = '\n';
        json_decref(o);
    }
    pthread_mutex_unlock(&w->lock);
    assert_non_null(found);
    return found;
}

static const char *string(json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));

    return s ? s : "";
}

/* V10, G10 */
static void lines_that_programs_read(void **state)
{
    struct world *w = world_new();
    json_t *o;
    int fd;

    (void)state;
    w->opts.log_format = FERRY_MAIL_LOG_JSON;
    w->service.debug = true;
    atomic_store(&w->save.script,
                 "STDERR 1 'PHP \"Warning\"\nsecond'; STDOUT 1 'A: b\r\n\r\nREJECT 550 \"no\\'; "
                 "STDOUT 1; STDERR 1; " OVER);
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO \"><script>\\", "250-");
    client_ask(fd, "MAIL FROM:<\"a \\\" b\"@b.example>", "250");
    client_ask(fd, "RCPT TO:<one@example.com>", "250");
    client_ask(fd, "RCPT TO:<two@example.com>", "250");
    client_ask(fd, "DATA", "354");
    client_ask(fd, "Subject: \x1b[31m \xff\r\nMessage-ID: <a\"b@c>\r\n\r\n.", "550");
    client_ask(fd, "QUIT", "221");
    client_end(fd);
    o = line_with(w, "\"event\":\"mail\"");
    assert_string_equal(string(o, "helo"), "\"><script>\\");
    assert_string_equal(string(o, "from"), "\"a \\\" b\"@b.example");
    assert_int_equal(json_array_size(json_object_get(o, "to")), 2);
    assert_string_equal(string(o, "message_id"), "<a\"b@c>");
    assert_string_equal(string(o, "result"), "rejected");
    assert_string_equal(string(o, "verdict"), "rejected");
    assert_int_equal(json_integer_value(json_object_get(o, "reply")), 550);
    assert_int_equal(strlen(string(o, "key")), 64);
    json_decref(o);
    o = line_with(w, "\"event\":\"script\"");
    assert_string_equal(string(o, "text"), "PHP \"Warning\"");
    json_decref(o);
    o = line_with(w, "\"event\":\"header\"");
    assert_string_equal(string(o, "line"), "Subject: \x1b[31m \xef\xbf\xbd");
    json_decref(o);
    world_free(w);
}

/* -- what a session costs ---------------------------------------------------------------------- */

#define IDLE 200
#define IDLE_MAX 16384

static void an_idle_session_is_small(void **state)
{
    struct world *w = world_new();
    struct mallinfo2 before, after;
    int fds[IDLE];
    size_t each;

    (void)state;
    world_start(w);
    close(client_to_data(w));
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    world_stand_still(w);
    before = mallinfo2();
    world_go_on(w);
    for (int i = 0; i < IDLE; i++) {
        fds[i] = client_connect(w);
        client_expect(fds[i], "220");
        client_ask(fds[i], "EHLO client", "250-");
    }
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, IDLE);
    world_stand_still(w);
    after = mallinfo2();
    world_go_on(w);
    each = (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / IDLE;
    print_message("%zu bytes for an idle session, %zu of its structure\n", each,
                  sizeof(struct ferry__mail_session));
    assert_in_range(sizeof(struct ferry__mail_session), 1, IDLE_MAX / 2);
    if (before.uordblks) /* sanitizers have memory of their own */
        assert_in_range(each, sizeof(struct ferry__mail_session), IDLE_MAX);
    for (int i = 0; i < IDLE; i++)
        close(fds[i]);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(services_that_are_none),    cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(a_catcher_needs_no_script), cmocka_unit_test(a_script_and_a_maildir),
        cmocka_unit_test(verdicts_are_remembered),   cmocka_unit_test(lines_that_programs_read),
        cmocka_unit_test(an_idle_session_is_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
