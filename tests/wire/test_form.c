/* SPDX-License-Identifier: MIT */
/* The query, the cookies and the form of a request, as its handler reads them; on every back end of
 * the loop. */
#include "app_client.h"

#include <dirent.h>
#include <stdatomic.h>

#include "ferry/form.h"

#define MULTIPART "multipart/form-data; boundary=b0"
#define URLENCODED "application/x-www-form-urlencoded"

/* -- the application
 * ------------------------------------------------------------------------------------------------
 */

static atomic_uint forms_done; /* also of threads */
static unsigned aborts;

static void show(struct ferry_request *r, struct ferry_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        ferry_request_printf(r, s.p[i] ? "%c" : "^", s.p[i]);
}

static void show_pairs(struct ferry_request *r, const struct ferry_pairs *pairs)
{
    for (size_t i = 0; i < pairs->n; i++) {
        const struct ferry_param *p = &pairs->list[i];

        ferry_request_printf(r, "%s=", p->name.p[p->name.len] ? "(no NUL)" : p->name.p);
        show(r, p->value);
        ferry_request_printf(r, p->value.p[p->value.len] ? "(no NUL)" : "|");
    }
}

static void do_pairs(struct ferry_request *r)
{
    struct ferry_pairs query, cookies;
    int err = ferry_query_read(r, &query);

    if (err < 0) {
        ferry_form_refuse(r, err);
        return;
    }
    show_pairs(r, &query);
    err = ferry_cookies_read(r, &cookies);
    if (err < 0) {
        ferry_request_printf(r, " %s", ferry_errname(err));
    } else {
        const char *id = ferry_pairs_get_z(&cookies, "id"), *q = ferry_pairs_get_z(&query, "q");

        ferry_request_printf(r, " ");
        show_pairs(r, &cookies);
        ferry_request_printf(r, " id=%s q=%s", id ? id : "(none)", q ? q : "(none)");
    }
    ferry_request_finish(r, 0);
}

static void do_set_cookie(struct ferry_request *r)
{
    static char big[4090];
    struct ferry_cookie cookie = {.name = "id", .value = "7"}, bad = {.name = "a\r\nb"};
    struct ferry_cookie large = {.name = "a", .value = big};
    int good;

    memset(big, 'x', sizeof big - 1);
    good = ferry_cookie_set(r, &bad) == FERRY_EUSAGE && ferry_cookie_set(r, &cookie) == 0 &&
           ferry_cookie_set(r, &large) == FERRY_ELIMIT;
    ferry_request_printf(r, "good=%d", good);
    if (ferry_cookie_set(r, &cookie) != FERRY_EUSAGE)
        ferry_request_printf(r, ", late");
    ferry_request_finish(r, 0);
}

static unsigned open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (d && readdir(d))
        n++;
    closedir(d);
    return n;
}

static void do_facts(struct ferry_request *r)
{
    ferry_request_printf(r, "%u %u %u", open_files(), atomic_load(&forms_done), aborts);
    ferry_request_finish(r, 0);
}

static void show_part(struct ferry_request *r, const struct ferry_part *p)
{
    struct sum sum = {0};
    char some[5000];
    ssize_t n;

    if (!p->filename.p) {
        ferry_request_printf(r, "%s=", p->name.p);
        show(r, p->value);
        ferry_request_printf(r, "|");
        return;
    }
    while ((n = ferry_part_read(p, sum.len, some, sizeof some)) > 0)
        add_up(&sum, some, (size_t)n);
    ferry_request_printf(r, "%s:%s:%s:%zu:%08x:%s|", p->name.p, p->filename.p, p->type.p, sum.len,
                         n < 0 ? 0 : sum.hash, p->fd < 0 ? "memory" : "file");
}

static void show_form(struct ferry_request *r, struct ferry_form *form)
{
    const struct ferry_part *parts;
    size_t n = ferry_form_parts(form, &parts);

    for (size_t i = 0; i < n; i++)
        show_part(r, &parts[i]);
    ferry_request_finish(r, 0);
}

static void got_form(struct ferry_request *r)
{
    struct ferry_form *form;
    int err = ferry_form_read(r, NULL, &form);

    forms_done++;
    if (err < 0)
        ferry_form_refuse(r, err);
    else if (err == 1)
        show_form(r, form);
    else
        ferry_request_finish(r, 99);
}

static const struct ferry_form_opts small = {
    .size = sizeof small, .total_max = 3 << 20, .file_memory_max = 1000, .field_max = 10};

static void do_form(struct ferry_request *r)
{
    int err = ferry_form_start(r, &small, got_form);

    if (err < 0)
        ferry_form_refuse(r, err);
    else if (ferry_form_start(r, &small, got_form) != FERRY_EUSAGE)
        ferry_request_finish(r, 98);
}

/* Without being called: looks whether it is there, now and then. */
static void do_poll(struct ferry_request *r)
{
    struct ferry_form *form;
    int err = ferry_form_read(r, &small, &form);

    if (err < 0)
        ferry_form_refuse(r, err);
    else if (err == 1)
        show_form(r, form);
    else
        ferry_request_after(r, 5, do_poll);
}

static void aborted(struct ferry_request *r)
{
    aborts++;
    ferry_request_finish(r, 5);
}

static void do_form_and_abort(struct ferry_request *r)
{
    ferry_request_on_abort(r, aborted);
    do_form(r);
}

static void handle_forms(struct ferry_request *r)
{
    static const struct {
        const char *name;
        ferry_request_fn fn;
    } fns[] = {
        {"pairs", do_pairs}, {"set-cookie", do_set_cookie},
        {"form", do_form},   {"form-and-abort", do_form_and_abort},
        {"poll", do_poll},   {"facts", do_facts},
    };
    const char *name = ferry_request_param_z(r, "DO");

    for (size_t i = 0; name && i < sizeof fns / sizeof *fns; i++)
        if (strcmp(fns[i].name, name) == 0) {
            fns[i].fn(r);
            return;
        }
    handle(r);
}

/* -- the tests
 * ------------------------------------------------------------------------------------------------
 */

static struct server start_forms(void)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.handle = handle_forms;
    return start(AF_UNIX, &opts);
}

static void expect_pairs(struct client *c, const char *query, const char *cookies, const char *want)
{
    const char *params[] = {"DO", "pairs", "QUERY_STRING", query, "HTTP_COOKIE", cookies, NULL};
    char text[256];

    if (!cookies)
        params[4] = NULL;
    send_begin(c, 1, FERRY_KEEP_CONN, params);
    send_end(c, 1);
    snprintf(text, sizeof text, "%s%s", TEXT, want);
    expect(c, 1, text);
}

static void queries_and_cookies(void **state)
{
    struct server s = start_forms();
    struct client *c = dial(&s);
    static char many[2 * 1001 + 1];

    (void)state;
    expect_pairs(c, "", NULL, "  id=(none) q=(none)");
    expect_pairs(c, "q=1&q=2&x=%00%&y&z=", "id=\"7\"; a=b; c=; junk;id=8",
                 "q=1|q=2|x=^%|y=|z=| id=7|a=b|c=|id=8| id=7 q=1");
    expect_pairs(c, "q=%00", "id=", "q=^| id=| id= q=(none)");
    for (size_t i = 0; i < 1001; i++)
        memcpy(many + 2 * i, "a&", 2);
    expect_pairs(c, "", many, "  id=(none) q=(none)"); /* that is no cookie */
    for (size_t i = 0; i < 1001; i++)
        memcpy(many + 2 * i, "=;", 2);
    expect_pairs(c, "", many, "  id=(none) q=(none)");
    hang_up(c);
    stop(&s);
}

static void queries_and_cookies_have_a_limit(void **state)
{
    static char query[2 * 1001 + 1], cookies[4 * 1001 + 1], text[8000];
    const char *params[] = {"DO", "pairs", "QUERY_STRING", query, "HTTP_COOKIE", cookies, NULL};
    struct server s = start_forms();
    struct client *c = dial(&s);
    char *at = text + snprintf(text, sizeof text, "%s", TEXT);

    (void)state;
    query[2000] = 0;
    for (size_t i = 0; i < 1000; i++) {
        memcpy(query + 2 * i, "a&", 2);
        at += snprintf(at, 8, "a=|");
    }
    for (size_t i = 0; i < 1001; i++)
        memcpy(cookies + 4 * i, "a=b;", 4);
    snprintf(at, 16, " LIMIT");
    send_begin(c, 1, FERRY_KEEP_CONN, params);
    send_end(c, 1);
    expect(c, 1, text);
    memcpy(query + 2000, "a", 2);
    send_begin(c, 1, FERRY_KEEP_CONN, params);
    send_end(c, 1);
    assert_non_null(strstr(reply(c, 1)->out, "Status: 413 "));
    hang_up(c);
    stop(&s);
}

static void cookies_are_set(void **state)
{
    static const char *const https[] = {"DO", "set-cookie", "HTTPS", "on", NULL};
    static const char *const http[] = {"DO", "set-cookie", "HTTPS", "off", NULL};
    struct server s = start_forms();
    struct client *c = dial(&s);

    (void)state;
    send_begin(c, 1, FERRY_KEEP_CONN, https);
    send_end(c, 1);
    expect(c, 1, "Set-Cookie: id=7; Path=/; Secure; HttpOnly; SameSite=Lax\r\n" TEXT "good=1");
    send_begin(c, 1, FERRY_KEEP_CONN, http);
    send_end(c, 1);
    expect(c, 1, "Set-Cookie: id=7; Path=/; HttpOnly; SameSite=Lax\r\n" TEXT "good=1");
    hang_up(c);
    stop(&s);
}

#define BODY                                                                                       \
    "--b0\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\0y\r\n"                           \
    "--b0\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n"                       \
    "Content-Type: t\r\n\r\n\r\n--b0\r\n"                                                          \
    "Content-Disposition: form-data; name=\"b\"\r\n\r\n\r\n--b0--\r\n"

static void begin_form(struct client *c, uint16_t id, const char *deed, const char *type,
                       const char *length)
{
    const char *params[] = {"DO", deed, "CONTENT_TYPE", type, "CONTENT_LENGTH", length, NULL};

    if (!length)
        params[4] = NULL;
    send_begin(c, id, FERRY_KEEP_CONN, params);
}

static void forms_come_at_once_or_byte_by_byte(void **state)
{
    static const char *const deeds_of[] = {"form", "poll"};
    struct server s = start_forms();
    struct client *c = dial(&s);
    const char *body = BODY;

    (void)state;
    for (int i = 0; i < 2; i++) {
        size_t n = sizeof BODY - 1;

        for (size_t step = 1; step <= n; step += step < 4 ? 1 : n) {
            begin_form(c, 1, deeds_of[i], MULTIPART, NULL);
            for (size_t at = 0; at < n; at += step)
                send_record(c, FERRY_STDIN, 1, body + at, n - at < step ? n - at : step);
            send_end(c, 1);
            expect(c, 1, TEXT "a=x^y|f:n:t:0:00000000:memory|b=|");
        }
        begin_form(c, 1, deeds_of[i], URLENCODED, "9");
        send_stdin(c, 1, "a=1&", 4);
        usleep(20000);
        send_stdin(c, 1, "b=%41", 5);
        send_end(c, 1);
        expect(c, 1, TEXT "a=1|b=A|");
        /* No body, as GET has none: an empty form. */
        ask(c, 1, FERRY_KEEP_CONN, deeds_of[i]);
        expect(c, 1, "");
    }
    hang_up(c);
    stop(&s);
}

static void refusals(void **state)
{
    static const struct {
        const char *type, *length, *body, *want;
        bool early; /* the answer comes before the end of the body */
    } cases[] = {
        {URLENCODED, "4", "a=1", "Status: 400 Bad Request", false},
        {URLENCODED, "2", "a=1", "Status: 400 Bad Request", true},
        {URLENCODED, "-1", "a=1", "Status: 400 Bad Request", true},
        {URLENCODED, "x", "a=1", "Status: 400 Bad Request", true},
        {MULTIPART, NULL, "a=1", "Status: 400 Bad Request", false},
        {MULTIPART, NULL, "--b0x", "Status: 400 Bad Request", true},
        {"multipart/form-data", NULL, "--b0--", "Status: 400 Bad Request", true},
        {URLENCODED, "3145729", "a", "Status: 413 ", true},
        {URLENCODED, NULL, "a=12345678901", "Status: 413 ", false},
        {MULTIPART, NULL,
         "--b0\r\nContent-Disposition: form-data; name=a\r\n\r\n12345678901x\r\n--b0--",
         "Status: 413 ", true},
        {"text/plain", NULL, "a=1", "Status: 415 ", true},
        {"", NULL, "a=1", "Status: 415 ", true},
    };
    struct server s = start_forms();
    struct client *c = dial(&s);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin_form(c, 1, "form", cases[i].type, cases[i].length);
        send_stdin(c, 1, cases[i].body, strlen(cases[i].body));
        if (!cases[i].early)
            send_end(c, 1);
        if (!strstr(reply(c, 1)->out, cases[i].want))
            fail_msg("case %zu: %s", i, reply(c, 1)->out);
        assert_int_equal(reply(c, 1)->end.app_status, 0);
        forget(c, 1);
    }
    /* Late input of what was answered is dropped. */
    expect_hello(c, 1);
    hang_up(c);
    stop(&s);
}

static void facts(struct client *c, unsigned *files, unsigned *done, unsigned *told)
{
    ask(c, 9, FERRY_KEEP_CONN, "facts");
    assert_int_equal(sscanf(reply(c, 9)->out, TEXT "%u %u %u", files, done, told), 3);
    forget(c, 9);
}

static void begin_file(struct client *c, uint16_t id, const char *deed)
{
    static const char head[] = "--b0\r\nContent-Disposition: form-data; name=f; filename=n\r\n\r\n";

    begin_form(c, id, deed, MULTIPART, NULL);
    send_stdin(c, id, head, sizeof head - 1);
}

static void large_files_arrive_and_leave_nothing_behind(void **state)
{
    struct server s = start_forms();
    struct client *c = dial(&s);
    unsigned files, now, done, told;
    struct sum sum = {0};
    char want[100];

    (void)state;
    add_up(&sum, pattern, sizeof pattern);
    add_up(&sum, pattern, sizeof pattern);
    snprintf(want, sizeof want, TEXT "f:n::%zu:%08x:file|", sum.len, sum.hash);
    facts(c, &files, &done, &told);
    for (uint16_t id = 1; id <= 3; id++) {
        begin_file(c, id, "form");
        send_stdin(c, id, pattern, sizeof pattern);
    }
    facts(c, &now, &done, &told);
    assert_int_equal(now, files + 3);
    for (uint16_t id = 1; id <= 3; id++) {
        send_stdin(c, id, pattern, sizeof pattern);
        send_stdin(c, id, "\r\n--b0--", 8);
        send_end(c, id);
        expect(c, id, want);
    }
    facts(c, &now, &done, &told);
    assert_int_equal(now, files);
    assert_int_equal(done, 3);
    /* One that is too long is refused on the way. */
    begin_file(c, 1, "form");
    for (int i = 0; i < 3; i++)
        send_stdin(c, 1, pattern, sizeof pattern);
    assert_non_null(strstr(reply(c, 1)->out, "Status: 413 "));
    facts(c, &now, &done, &told);
    assert_int_equal(now, files);
    hang_up(c);
    stop(&s);
}

static void aborted_forms_fail_once(void **state)
{
    struct server s = start_forms();
    struct client *c = dial(&s), *gone = dial(&s);
    unsigned files, now, done, told;

    (void)state;
    facts(c, &files, &done, &told);
    begin_file(c, 1, "form");
    begin_file(c, 2, "form-and-abort");
    for (uint16_t id = 1; id <= 2; id++) {
        send_stdin(c, id, pattern, 5000);
        facts(c, &now, &done, &told); /* it is under way */
        send_record(c, FERRY_ABORT_REQUEST, id, "", 0);
        assert_int_equal(reply(c, id)->end.app_status, id == 1 ? 1 : 5);
    }
    facts(c, &now, &done, &told);
    assert_int_equal(now, files);
    assert_int_equal(done, 1);
    assert_int_equal(told, 1);
    /* The connection breaks. */
    begin_file(gone, 1, "form");
    send_stdin(gone, 1, pattern, 5000);
    begin_file(gone, 2, "form-and-abort");
    facts(gone, &now, &done, &told);
    hang_up(gone);
    for (int i = 0; (done < 2 || told < 2) && i < 200; i++) {
        usleep(10000);
        facts(c, &now, &done, &told);
    }
    assert_int_equal(done, 2);
    assert_int_equal(told, 2);
    /* At a stop too nothing is left behind: under ASan the server would say so. */
    begin_file(c, 3, "form");
    send_stdin(c, 3, pattern, 5000);
    facts(c, &now, &done, &told);
    hang_up(c);
    stop(&s);
}

static void read_in_a_thread(struct ferry_request *r)
{
    if (ferry_form_start(r, NULL, got_form) == FERRY_EUSAGE)
        got_form(r);
    else
        ferry_request_finish(r, 97);
}

/* The same function reads the form where reading waits. */
static void forms_are_read_in_threads(void **state)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    const char *body = BODY;
    struct server s;
    struct client *c, *gone;
    struct sum sum = {0};
    char want[100];

    (void)state;
    opts.handle = read_in_a_thread;
    opts.threads = 2;
    s = start(AF_UNIX, &opts);
    c = dial(&s);
    for (size_t n = sizeof BODY - 1, step = 1; step <= n; step += step < 4 ? 1 : n) {
        begin_form(c, 1, "", MULTIPART, NULL);
        for (size_t at = 0; at < n; at += step)
            send_record(c, FERRY_STDIN, 1, body + at, n - at < step ? n - at : step);
        send_end(c, 1);
        expect(c, 1, TEXT "a=x^y|f:n:t:0:00000000:memory|b=|");
    }
    add_up(&sum, pattern, sizeof pattern);
    snprintf(want, sizeof want, TEXT "f:n::%zu:%08x:file|", sum.len, sum.hash);
    for (uint16_t id = 1; id <= 2; id++)
        begin_file(c, id, "");
    for (uint16_t id = 1; id <= 2; id++) {
        send_stdin(c, id, pattern, sizeof pattern);
        send_stdin(c, id, "\r\n--b0--", 8);
        send_end(c, id);
        expect(c, id, want);
    }
    /* Aborts and broken connections wake those who wait; another takes their place. */
    for (int i = 0; i < 4; i++) {
        begin_file(c, 1, "");
        send_stdin(c, 1, pattern, 3000);
        usleep(i * 3000);
        send_record(c, FERRY_ABORT_REQUEST, 1, "", 0);
        reply(c, 1);
        forget(c, 1);
        gone = dial(&s);
        begin_file(gone, 1, "");
        send_stdin(gone, 1, pattern, 3000);
        usleep(i * 3000);
        hang_up(gone);
    }
    begin_form(c, 1, "", URLENCODED, "2");
    send_stdin(c, 1, "a=1", 3);
    assert_non_null(strstr(reply(c, 1)->out, "Status: 400 Bad Request"));
    hang_up(c);
    stop(&s);
}

static bool starve(struct client *c, int n)
{
    char text[16];
    const char *params[] = {"DO", "starve", "NAME", text, NULL};
    bool failed;

    snprintf(text, sizeof text, "%d", n);
    send_begin(c, 1, FERRY_KEEP_CONN, params);
    send_end(c, 1);
    failed = reply(c, 1)->end.app_status;
    forget(c, 1);
    return failed;
}

/* Some may get less than a whole answer. */
static void try_forms(const struct server *s)
{
    struct client *c = dial(s);
    static const char *const params[] = {
        "DO", "pairs", "QUERY_STRING", "a=1&b=2", "HTTP_COOKIE", "a=1; b=2", NULL};

    c->may_break = true;
    send_begin(c, 1, FERRY_KEEP_CONN, params);
    send_end(c, 1);
    begin_form(c, 2, "form", URLENCODED, NULL);
    send_stdin(c, 2, "a=1&b=2", 7);
    send_end(c, 2);
    begin_file(c, 3, "form");
    send_stdin(c, 3, pattern, 3000);
    send_stdin(c, 3, "\r\n--b0--", 8);
    send_end(c, 3);
    for (uint16_t id = 1; id <= 3; id++)
        while (!c->replies[id].ends)
            if (!receive(c)) {
                hang_up(c);
                return;
            }
    hang_up(c);
}

static void memory_may_run_out_anywhere(void **state)
{
    struct server s = start_forms();
    struct client *c = dial(&s);
    int n = 0;

    (void)state;
    do {
        assert_true(n < 500);
        starve(c, n++);
        try_forms(&s);
    } while (starve(c, -1));
    assert_true(n > 5);
    expect_hello(c, 1);
    hang_up(c);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries_and_cookies),
        cmocka_unit_test(queries_and_cookies_have_a_limit),
        cmocka_unit_test(cookies_are_set),
        cmocka_unit_test(forms_come_at_once_or_byte_by_byte),
        cmocka_unit_test(refusals),
        cmocka_unit_test(large_files_arrive_and_leave_nothing_behind),
        cmocka_unit_test(aborted_forms_fail_once),
        cmocka_unit_test(forms_are_read_in_threads),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };

    return on_every_backend(tests, sizeof tests / sizeof *tests);
}
