/* SPDX-License-Identifier: MIT */
/* The header block of an answer, and what stands behind it; on every back end of the loop. */
#include "app_client.h"

#define SLOW_HEAD "X-One: 1\r\nX-Two: 2\r\n" TEXT
#define SLOW_RAW "X-One: 1\r\n\r\n"

static void a_head_leaves_whole(void **state)
{
    static const struct {
        const char *deed, *head;
        size_t content_len;
    } cases[] = {{"slow-head", SLOW_HEAD, 4 + 5000}, {"slow-raw", SLOW_RAW, 5000 - 11 + 4}};
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reply *r = &c->replies[1];

        ask(c, 1, FERRY_KEEP_CONN, cases[i].deed);
        while (r->len == 0)
            assert_true(receive(c));
        assert_true(r->len >= strlen(cases[i].head));
        assert_memory_equal(r->out, cases[i].head, strlen(cases[i].head));
        r = reply(c, 1);
        assert_int_equal(r->len, strlen(cases[i].head) + cases[i].content_len);
        assert_memory_equal(r->out + strlen(cases[i].head), "body", 4);
        forget(c, 1);
    }
    hang_up(c);
    stop(&s);
}

/* RFC 3875 section 4.3.3. */
static void an_answer_to_head_has_no_content(void **state)
{
    static const struct {
        const char *deed, *head;
    } cases[] = {{"slow-head", SLOW_HEAD}, {"slow-raw", SLOW_RAW}, {"hello", TEXT}};
    struct server s = start(AF_UNIX, NULL);
    struct client *c = dial(&s);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *params[] = {"DO", cases[i].deed, "REQUEST_METHOD", "HEAD", NULL};

        send_begin(c, 1, FERRY_KEEP_CONN, params);
        send_end(c, 1);
        expect(c, 1, cases[i].head);
    }
    /* What was dropped was released. */
    ask(c, 1, FERRY_KEEP_CONN, "stats");
    assert_non_null(strstr(reply(c, 1)->out, "releases=2"));
    hang_up(c);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_leaves_whole),
        cmocka_unit_test(an_answer_to_head_has_no_content),
    };

    return on_every_backend(tests, sizeof tests / sizeof *tests);
}
