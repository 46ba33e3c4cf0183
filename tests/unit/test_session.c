/* SPDX-License-Identifier: MIT */
#include "session/session.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "session_fake.h"

static char trail[256];

static void note(const char *what)
{
    size_t len = strlen(trail);

    snprintf(trail + len, sizeof trail - len, "%s", what);
}

static int pass(struct ferry_session *s, void *arg)
{
    (void)s;
    note(arg);
    return FERRY_STEP_NEXT;
}

static int say(struct ferry_session *s, void *arg)
{
    static const struct ferry_param fields[] = {FERRY_PARAM("X-A", "1"), FERRY_PARAM("X-A", "2"),
                                                FERRY_PARAM("X-B", "3")};

    note("say ");
    return ferry_session_answer(s, 201, fields, 3, ferry_slice_z(arg));
}

static int wait_here(struct ferry_session *s, void *arg)
{
    (void)s;
    note(arg);
    return FERRY_STEP_WAIT;
}

static int break_down(struct ferry_session *s, void *arg)
{
    (void)s;
    (void)arg;
    return -EIO;
}

static int call_app(struct ferry_session *s, void *arg)
{
    (void)arg;
    s->basic = s->fields = true;
    s->host->call(s, &(struct ferry_session_call){.role = s->role, .no_body = s->no_body});
    return FERRY_STEP_DONE;
}

static struct fake *start(struct ferry_filters *f)
{
    static struct fake fake;

    trail[0] = '\0';
    fake_open(&fake, f);
    return &fake;
}

static void end(struct fake *fake, struct ferry_filters *f)
{
    fake_close(fake);
    ferry_filters_free(f);
}

static void a_chain_runs_in_order_and_ends_with_404(void **state)
{
    struct ferry_filters *f = ferry_filters_new();
    struct fake *fake;

    (void)state;
    assert_int_equal(ferry_filters_add(f, pass, (char *)"a ", NULL), 0);
    assert_int_equal(ferry_filters_add(f, pass, (char *)"b ", NULL), 0);
    fake = start(f);
    fake_get(fake, f, "/");
    assert_string_equal(trail, "a b ");
    assert_int_equal(fake->did, FAKE_REFUSED);
    assert_int_equal(fake->status, 404);
    end(fake, f);
}

static void an_answer_ends_the_chain(void **state)
{
    struct ferry_filters *f = ferry_filters_new();
    struct fake *fake;

    (void)state;
    assert_int_equal(ferry_filters_add(f, say, (char *)"hello", NULL), 0);
    assert_int_equal(ferry_filters_add(f, pass, (char *)"never", NULL), 0);
    fake = start(f);
    fake_get(fake, f, "/");
    assert_string_equal(trail, "say ");
    assert_int_equal(fake->status, 201);
    assert_string_equal(fake->body, "hello");
    assert_string_equal(fake->fields, "X-A: 1\nX-A: 2\nX-B: 3\n");
    end(fake, f);
}

static void an_error_is_500(void **state)
{
    struct ferry_filters *f = ferry_filters_new();
    struct fake *fake;

    (void)state;
    assert_int_equal(ferry_filters_add(f, break_down, NULL, NULL), 0);
    fake = start(f);
    fake_get(fake, f, "/");
    assert_int_equal(fake->did, FAKE_REFUSED);
    assert_int_equal(fake->status, 500);
    end(fake, f);
}

static void a_filter_waits_and_goes_on(void **state)
{
    char head[] = "GET /a%20b?q=1 HTTP/1.1\r\nHost: example.org\r\nX-One: 1\r\n\r\n";
    struct ferry_filters *f = ferry_filters_new();
    struct fake *fake;

    (void)state;
    assert_int_equal(ferry_filters_add(f, wait_here, (char *)"w ", NULL), 0);
    assert_int_equal(ferry_filters_add(f, call_app, NULL, NULL), 0);
    fake = start(f);
    fake_request(fake, f, head);
    assert_int_equal(fake->did, FAKE_WAITS);
    memset(head, 'x', sizeof head); /* nothing of it may be needed any more */
    memset(fake->path_mem, 'x', sizeof fake->path_mem);
    ferry_session_continue(&fake->session, FERRY_STEP_WAIT);
    assert_int_equal(fake->did, FAKE_WAITS);
    ferry_session_continue(&fake->session, FERRY_STEP_NEXT);
    assert_int_equal(fake->did, FAKE_CALLED);
    assert_string_equal(fake_param(fake, "REQUEST_URI"), "/a%20b?q=1");
    assert_string_equal(fake_param(fake, "QUERY_STRING"), "q=1");
    assert_string_equal(fake_param(fake, "HTTP_X_ONE"), "1");
    assert_slice_equal(ferry_session_path(&fake->session), "/a b");
    assert_slice_equal(ferry_session_method(&fake->session), "GET");
    end(fake, f);
}

static int change(struct ferry_session *s, void *arg)
{
    (void)arg;
    assert_int_equal(ferry_session_set_param(s, FERRY_SLICE("HTTP_X_ONE"), FERRY_SLICE("ours")), 0);
    assert_int_equal(ferry_session_set_param(s, FERRY_SLICE("HTTP_X_ONE"), FERRY_SLICE("mine")), 0);
    assert_int_equal(ferry_session_remove_param(s, FERRY_SLICE("HTTP_X_TWO")), 0);
    assert_int_equal(ferry_session_set_param(s, FERRY_SLICE("APP_ENV"), FERRY_SLICE("")), 0);
    assert_int_equal(ferry_session_set_param(s, FERRY_SLICE("SERVER_NAME"), FERRY_SLICE("n")), 0);
    assert_int_equal(ferry_session_set_param(s, FERRY_SLICE("CONTENT_LENGTH"), FERRY_SLICE("7")),
                     FERRY_EUSAGE);
    assert_int_equal(ferry_session_set_param(s, FERRY_SLICE(""), FERRY_SLICE("7")), FERRY_EUSAGE);
    assert_int_equal(
        ferry_session_set_script(s, &(struct ferry_script){.filename = FERRY_SLICE("/srv/a.php"),
                                                           .name = FERRY_SLICE("/a.php"),
                                                           .path_info = FERRY_SLICE("/b"),
                                                           .root = FERRY_SLICE("/srv")}),
        0);
    return FERRY_STEP_NEXT;
}

static int bare_call(struct ferry_session *s, void *arg)
{
    (void)arg;
    s->host->call(s, &(struct ferry_session_call){.role = s->role});
    return FERRY_STEP_DONE;
}

static void params_that_are_set_win(void **state)
{
    struct ferry_filters *f = ferry_filters_new();
    struct fake *fake;

    (void)state;
    assert_int_equal(ferry_filters_add(f, change, NULL, NULL), 0);
    assert_int_equal(ferry_filters_add(f, call_app, NULL, NULL), 0);
    fake = start(f);
    fake_request(fake, f,
                 "GET / HTTP/1.1\r\nHost: example.org\r\nX-One: 1\r\nX-One: 2\r\n"
                 "X-Two: 2\r\nApp-Env: prod\r\n\r\n");
    assert_string_equal(fake_param(fake, "HTTP_X_ONE"), "mine");
    assert_null(fake_param(fake, "HTTP_X_TWO"));
    assert_string_equal(fake_param(fake, "APP_ENV"), "");
    assert_string_equal(fake_param(fake, "HTTP_APP_ENV"), "prod");
    assert_string_equal(fake_param(fake, "SERVER_NAME"), "n");
    assert_string_equal(fake_param(fake, "PATH_TRANSLATED"), "/srv/b");
    assert_slice_equal(ferry_session_param(&fake->session, "HTTP_APP_ENV"), "prod");
    assert_slice_equal(ferry_session_param(&fake->session, "HTTP_X_ONE"), "mine");
    assert_null(ferry_session_param(&fake->session, "HTTP_X_TWO").p);
    assert_null(ferry_session_param(&fake->session, "NONE").p);
    end(fake, f);
}

static void without_the_filters_for_them_there_are_no_params(void **state)
{
    struct ferry_filters *f = ferry_filters_new();
    struct fake *fake;

    (void)state;
    assert_int_equal(ferry_filters_add(f, bare_call, NULL, NULL), 0);
    fake = start(f);
    fake_request(fake, f, "GET / HTTP/1.1\r\nHost: example.org\r\nX-One: 1\r\n\r\n");
    assert_int_equal(fake->did, FAKE_CALLED);
    assert_string_equal(fake->params, "");
    end(fake, f);
}

static int set_path(struct ferry_session *s, void *arg)
{
    return ferry_session_set_path(s, ferry_slice_z(arg));
}

static void a_path_is_one(void **state)
{
    static const struct {
        const char *path;
        int status; /* 404: it was taken */
    } cases[] = {{"/", 404},     {"/a/b", 404}, {"/a/..b/.c", 404}, {"", 500},
                 {"a", 500},     {"/..", 500},  {"/a/../b", 500},   {"/./a", 500},
                 {"/a\nb", 500}, {"/a/.", 500}, {"/\x7f", 500},     {"//x", 404}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_filters *f = ferry_filters_new();
        struct fake *fake;

        assert_int_equal(ferry_filters_add(f, set_path, (void *)cases[i].path, NULL), 0);
        fake = start(f);
        fake_get(fake, f, "/x");
        assert_int_equal(fake->status, cases[i].status);
        if (fake->status == 404)
            assert_true(
                ferry_slice_eq(ferry_session_path(&fake->session), ferry_slice_z(cases[i].path)));
        end(fake, f);
    }
}

static int on_answer(struct ferry_session *s, const struct ferry_answer_head *head, void *arg)
{
    (void)arg;
    assert_int_equal(head->status, 201);
    assert_int_equal(head->nfields, 3);
    assert_int_equal(ferry_session_set_answer_field(s, FERRY_SLICE("x-a"), FERRY_SLICE("only")), 0);
    return 202;
}

static int edits(struct ferry_session *s, void *arg)
{
    (void)arg;
    assert_int_equal(ferry_session_on_answer(s, on_answer, NULL), 0);
    assert_int_equal(ferry_session_add_answer_field(s, FERRY_SLICE("X-C"), FERRY_SLICE("c")), 0);
    assert_int_equal(ferry_session_remove_answer_field(s, FERRY_SLICE("X-b")), 0);
    assert_int_equal(
        ferry_session_set_answer_field(s, FERRY_SLICE("Content-Length"), FERRY_SLICE("1")),
        FERRY_EUSAGE);
    assert_int_equal(ferry_session_set_answer_field(s, FERRY_SLICE("X-D"), FERRY_SLICE("a\r\nb")),
                     FERRY_EUSAGE);
    assert_int_equal(ferry_session_set_answer_field(s, FERRY_SLICE("X D"), FERRY_SLICE("a")),
                     FERRY_EUSAGE);
    assert_int_equal(ferry_session_set_answer_field(s, FERRY_SLICE(""), FERRY_SLICE("a")),
                     FERRY_EUSAGE);
    return FERRY_STEP_NEXT;
}

static void the_head_of_an_answer_is_changed(void **state)
{
    struct ferry_filters *f = ferry_filters_new();
    struct fake *fake;

    (void)state;
    assert_int_equal(ferry_filters_add(f, edits, NULL, NULL), 0);
    assert_int_equal(ferry_filters_add(f, say, (char *)"", NULL), 0);
    fake = start(f);
    fake_get(fake, f, "/");
    assert_int_equal(fake->status, 202);
    assert_string_equal(fake->fields, "X-C: c\nx-a: only\n");
    end(fake, f);
}

static void over(struct ferry_session *s, void *arg)
{
    (void)s;
    note(arg);
}

static int tells_its_end(struct ferry_session *s, void *arg)
{
    (void)arg;
    assert_int_equal(ferry_session_on_over(s, over, (char *)"one "), 0);
    assert_int_equal(ferry_session_on_over(s, over, (char *)"two "), 0);
    return FERRY_STEP_WAIT;
}

static void its_end_is_told_also_when_it_waits(void **state)
{
    struct ferry_filters *f = ferry_filters_new();
    struct fake *fake;

    (void)state;
    assert_int_equal(ferry_filters_add(f, tells_its_end, NULL, NULL), 0);
    fake = start(f);
    fake_get(fake, f, "/");
    fake_over(fake);
    assert_string_equal(trail, "one two ");
    end(fake, f);
}

static int sets_data(struct ferry_session *s, void *arg)
{
    (void)arg;
    return ferry_session_set_data(s, dup(0), UINT64_C(5) << 30, -3);
}

static void a_file_is_the_data_of_a_filter(void **state)
{
    struct ferry_filters *f = ferry_filters_new();
    struct fake *fake;

    (void)state;
    assert_int_equal(ferry_filters_add(f, sets_data, NULL, NULL), 0);
    assert_int_equal(ferry_filters_add(f, call_app, NULL, NULL), 0);
    fake = start(f);
    fake_get(fake, f, "/");
    assert_int_equal(fake->call.role, FERRY_FILTER);
    assert_string_equal(fake_param(fake, "FCGI_DATA_LENGTH"), "5368709120");
    assert_string_equal(fake_param(fake, "FCGI_DATA_LAST_MOD"), "-3");
    end(fake, f);
}

static int eats_memory(struct ferry_session *s, void *arg)
{
    size_t *got = arg;

    while (ferry_session_alloc(s, 4096))
        *got += 4096;
    assert_null(ferry_session_alloc(s, SIZE_MAX - 3));
    return FERRY_STEP_NEXT;
}

static void memory_has_a_limit(void **state)
{
    struct ferry_filters *f = ferry_filters_new();
    struct fake *fake;
    size_t got = 0;

    (void)state;
    assert_int_equal(ferry_filters_add(f, eats_memory, &got, NULL), 0);
    fake = start(f);
    fake_get(fake, f, "/");
    assert_int_equal(got, 1 << 20);
    end(fake, f);
}

static void freed(void *arg)
{
    ++*(int *)arg;
}

static void memory_that_runs_out(void *arg)
{
    struct ferry_filters *f = ferry_filters_new();
    int *counts = arg;

    if (!f)
        return;
    counts[0]++;
    (void)ferry_filters_add(f, pass, &counts[1], freed);
    ferry_filters_free(f);
}

static void a_chain_frees_what_it_took_also_when_it_fails(void **state)
{
    int counts[2] = {0, 0};

    (void)state;
    each_alloc_fails(memory_that_runs_out, counts);
    assert_true(counts[0] > 1);
    assert_int_equal(counts[0], counts[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_runs_in_order_and_ends_with_404),
        cmocka_unit_test(an_answer_ends_the_chain),
        cmocka_unit_test(an_error_is_500),
        cmocka_unit_test(a_filter_waits_and_goes_on),
        cmocka_unit_test(params_that_are_set_win),
        cmocka_unit_test(without_the_filters_for_them_there_are_no_params),
        cmocka_unit_test(a_path_is_one),
        cmocka_unit_test(the_head_of_an_answer_is_changed),
        cmocka_unit_test(its_end_is_told_also_when_it_waits),
        cmocka_unit_test(a_file_is_the_data_of_a_filter),
        cmocka_unit_test(memory_has_a_limit),
        cmocka_unit_test(a_chain_frees_what_it_took_also_when_it_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
