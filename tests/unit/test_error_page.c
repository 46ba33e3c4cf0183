/* SPDX-License-Identifier: MIT */
#include "files/error_page.h"

#include <errno.h>
#include <stdio.h>

#include "support.h"

static char page[FERRY_ERROR_PAGE_MAX + 1];

/* The page as a string, whose guard byte behind it must survive. */
static const char *page_of(int status, struct ferry_slice why)
{
    size_t n;

    memset(page, '!', sizeof page);
    n = ferry_error_page_format(status, why, page);
    assert_true(n < FERRY_ERROR_PAGE_MAX);
    assert_int_equal(page[FERRY_ERROR_PAGE_MAX], '!');
    page[n] = 0;
    assert_int_equal(strlen(page), n);
    return page;
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in:\n%s", part, text);
}

static void it_says_status_phrase_and_sentence(void **state)
{
    const char *text = page_of(404, FERRY_SLICE("There is no such page here."));

    (void)state;
    assert_int_equal(strncmp(text, "<!doctype html>\n", 16), 0);
    assert_has(text, "<title>404 Not Found</title>");
    assert_has(text, "<b>404</b>");
    assert_has(text, "<h1>Not Found</h1>");
    assert_has(text, "<p>There is no such page here.</p>");
    assert_has(text, "prefers-color-scheme:dark");
    assert_has(text, "</html>\n");

    text = page_of(503, FERRY_SLICE(""));
    assert_has(text, "<title>503 Service Unavailable</title>");
    assert_null(strstr(text, "<p>"));
}

static void statuses_without_a_phrase_have_one_too(void **state)
{
    static const int statuses[] = {499, 599, 0, -1, 2147483647};

    (void)state;
    assert_has(page_of(499, FERRY_SLICE("")), "<h1>Request not accepted</h1>");
    assert_has(page_of(599, FERRY_SLICE("")), "<h1>Server error</h1>");
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        page_of(statuses[i], FERRY_SLICE("x"));
    for (int status = 100; status < 600; status++)
        page_of(status, FERRY_SLICE("x"));
}

static void the_sentence_is_escaped(void **state)
{
    static const char why[] = "<script>alert(\"1\" & '2')</script>\r\n\0\x7f \xc3\xa4";

    (void)state;
    assert_has(page_of(400, ferry_slice(guard_copy(0, why, sizeof why - 1), sizeof why - 1)),
               "<p>&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;     "
               "\xc3\xa4</p>");
}

static void a_long_sentence_is_cut(void **state)
{
    static const char *const pieces[] = {
        "x", "&", "\"", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x9a\xa2", "\x80"};
    char why[4000];

    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        size_t len = strlen(pieces[i]), n = 0;
        const char *end, *text;

        while (n + len <= sizeof why) {
            memcpy(why + n, pieces[i], len);
            n += len;
        }
        text = page_of(500, ferry_slice(why, n));
        end = strstr(text, "...</p>");
        assert_non_null(end);
        /* Whole characters only. */
        if (pieces[i][0] == '&' || pieces[i][0] == '"')
            assert_int_equal(end[-1], ';');
        else
            assert_memory_equal(end - len, pieces[i], len);
        assert_true(end - strstr(text, "<p>") > 400);
    }
}

static struct ferry_http *machine(struct ferry_blocks *blocks, const char *request)
{
    static struct ferry_http_event ev;
    struct ferry_http *h = ferry_http_new(&(struct ferry_http_opts){.blocks = blocks}, 1);
    size_t len = strlen(request);

    if (!h)
        return NULL;
    if (ferry_http_recv(h, request, len, 1) < 0 || ferry_http_event(h, &ev) != 1 ||
        ev.type != FERRY_HTTP_EV_HEAD) {
        ferry_http_free(h);
        return NULL;
    }
    while (ferry_http_event(h, &ev) == 1)
        assert_int_equal(ev.type, FERRY_HTTP_EV_END);
    return h;
}

static const char *output(struct ferry_http *h)
{
    static char text[8192];
    struct iovec iov[8];
    int n = ferry_chain_iov(ferry_http_output(h), iov, 8);
    size_t len = 0;

    for (int i = 0; i < n; i++) {
        assert_true(len + iov[i].iov_len < sizeof text);
        memcpy(text + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    text[len] = 0;
    return text;
}

static void it_is_sent_as_an_answer(void **state)
{
    const struct ferry_http_field allow = {FERRY_SLICE_INIT("Allow"),
                                           FERRY_SLICE_INIT("GET, HEAD")};
    struct ferry_blocks blocks;
    struct ferry_http *h;
    const char *text;
    char want[64];
    int len;

    (void)state;
    ferry_blocks_init(&blocks, 0, 0);
    for (int head = 0; head < 2; head++) {
        h = machine(&blocks, head ? "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
                                  : "PUT / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_non_null(h);
        len = ferry_error_page_send(h, 405, FERRY_SLICE("Not so."),
                                    FERRY_SLICE("Sat, 21 Nov 2026 00:00:00 GMT"), &allow, 1, NULL);
        assert_int_equal(len, strlen(page_of(405, FERRY_SLICE("Not so."))));
        text = output(h);
        assert_has(text, "HTTP/1.1 405 Method Not Allowed\r\n");
        assert_has(text, "Date: Sat, 21 Nov 2026 00:00:00 GMT\r\n");
        assert_has(text, "Content-Type: text/html; charset=utf-8\r\n");
        assert_has(text, "Allow: GET, HEAD\r\n");
        snprintf(want, sizeof want, "Content-Length: %d\r\n", len);
        assert_has(text, want);
        assert_string_equal(strstr(text, "\r\n\r\n") + 4, head ? "" : page);
        assert_true(ferry_http_idle(h)); /* finished, and the connection goes on */
        assert_int_equal(
            ferry_error_page_send(h, 404, FERRY_SLICE(""), FERRY_SLICE(""), NULL, 0, NULL),
            FERRY_EUSAGE);
        ferry_http_free(h);
    }
    ferry_blocks_fini(&blocks);
}

static void send_one(void *arg)
{
    struct ferry_blocks blocks;
    struct ferry_http *h;

    (void)arg;
    ferry_blocks_init(&blocks, 0, 0);
    h = machine(&blocks, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    if (h) {
        int len = ferry_error_page_send(h, 502, FERRY_SLICE("x"), FERRY_SLICE(""), NULL, 0, NULL);
        assert_true(len > 0 || len == -ENOMEM);
        assert_int_equal(ferry_http_responded(h) || ferry_http_idle(h), len > 0);
    }
    ferry_http_free(h);
    ferry_blocks_fini(&blocks);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    each_alloc_fails(send_one, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_status_phrase_and_sentence),
        cmocka_unit_test(statuses_without_a_phrase_have_one_too),
        cmocka_unit_test(the_sentence_is_escaped),
        cmocka_unit_test(a_long_sentence_is_cut),
        cmocka_unit_test(it_is_sent_as_an_answer),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
