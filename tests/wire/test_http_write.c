/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <unistd.h>

#include "http_peer.h"

#define V11 " / HTTP/1.1\r\nHost: a\r\n\r\n"
#define V10 " / HTTP/1.0\r\n\r\n"
#define V10_KEEP " / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"

static struct peer *opened(const char *request)
{
    struct peer *c = peer_open(NULL);

    c->deaf = c->unwanted = true;
    assert_int_equal(client_sends(c, request), strlen(request));
    return c;
}

static void every_response_is_framed_by_the_book(void **state)
{
    static const struct {
        const char *request;
        int status;
        int64_t length;
        const char *want; /* behind the status line */
        bool keep;
    } cases[] = {
        {"GET" V11, 200, 4, "Content-Length: 4\r\n\r\nbody", true},
        {"GET" V11, 200, -1, "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", true},
        {"GET" V10, 200, 4, "Content-Length: 4\r\nConnection: close\r\n\r\nbody", false},
        {"GET" V10, 200, -1, "Connection: close\r\n\r\nbody", false},
        {"GET" V10_KEEP, 200, 4, "Content-Length: 4\r\nConnection: keep-alive\r\n\r\nbody", true},
        {"GET" V10_KEEP, 200, -1, "Connection: close\r\n\r\nbody", false},
        {"HEAD" V11, 200, 4, "Content-Length: 4\r\n\r\n", true},
        {"HEAD" V11, 200, -1, "\r\n", true},
        {"HEAD" V10_KEEP, 200, -1, "Connection: keep-alive\r\n\r\n", true},
        {"GET" V11, 204, -1, "\r\n", true},
        {"GET" V11, 204, 4, "\r\n", true},
        {"GET" V11, 304, -1, "\r\n", true},
        {"GET" V11, 304, 4, "Content-Length: 4\r\n\r\n", true},
        {"GET" V10_KEEP, 304, -1, "Connection: keep-alive\r\n\r\n", true},
        {"GET" V11, 599, 4, "Content-Length: 4\r\n\r\nbody", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer *c = opened(cases[i].request);
        char want[300];

        assert_int_equal(respond(c, cases[i].status, cases[i].length), 0);
        assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("body")), 0);
        assert_int_equal(ferry_http_finish(c->m), 0);
        client_reads(c);
        snprintf(want, sizeof want, "HTTP/1.1 %d %s\r\n%s", cases[i].status,
                 ferry_http_reason(cases[i].status), cases[i].want);
        assert_out(c, want);
        assert_int_equal(ferry_http_idle(c->m) && !ferry_http_finished(c->m) && !lingers(c),
                         cases[i].keep);
        peer_close(c);
    }
}

static void a_head_carries_what_it_was_given(void **state)
{
    static const struct ferry_http_field fields[] = {
        {FERRY_SLICE_INIT("Content-Type"), FERRY_SLICE_INIT("text/plain")},
        {FERRY_SLICE_INIT("X-Empty"), {NULL, 0}},
        {FERRY_SLICE_INIT("X-Tab"), FERRY_SLICE_INIT("a\tb \xff")},
    };
    static const struct ferry_http_response r = {
        .status = 200,
        .reason = FERRY_SLICE_INIT("Fine"),
        .date = FERRY_SLICE_INIT("Sun, 06 Nov 1994 08:49:37 GMT"),
        .fields = fields,
        .nfields = 3,
        .content_length = INT64_MAX,
        .close = true,
    };
    struct peer *c = opened("GET" V11);

    (void)state;
    assert_int_equal(ferry_http_respond(c->m, &r), 0);
    client_reads(c);
    assert_out(c, "HTTP/1.1 200 Fine\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                  "Content-Type: text/plain\r\nX-Empty: \r\nX-Tab: a\tb \xff\r\n"
                  "Content-Length: 9223372036854775807\r\nConnection: close\r\n\r\n");
    peer_close(c);
}

/* The longest of everything the machine itself writes, behind fields that fill a block. */
static void a_large_head_is_written_whole(void **state)
{
    static char value[100000];
    struct ferry_http_field field = {FERRY_SLICE_INIT("X"), {value, 0}};
    struct ferry_http_response r = {.status = 200, .fields = &field, .nfields = 1};

    (void)state;
    memset(value, 'v', sizeof value);
    for (size_t len = 3900; len <= sizeof value; len += len < 4200 ? 1 : 30000) {
        struct peer *c = opened("GET" V10_KEEP);

        field.value.len = len;
        r.content_length = 0;
        assert_int_equal(ferry_http_respond(c->m, &r), 0);
        client_reads(c);
        assert_int_equal(c->out_len,
                         17 + 3 + len + 2 +
                             strlen("Content-Length: 0\r\nConnection: keep-alive\r\n\r\n"));
        peer_close(c);
    }
}

static void what_would_split_a_response_is_never_sent(void **state)
{
    static const struct {
        struct ferry_slice name, value, reason;
        int status;
    } cases[] = {
#define S(lit) FERRY_SLICE_INIT(lit)
        {S("X"), S("a\r\nb: c"), S(""), 200},
        {S("X"), S("long enough for eight at a time\n"), S(""), 200},
        {S("X"), S("a\rb"), S(""), 200},
        {S("X"), S("a\0b"), S(""), 200},
        {S("X\r\nY"), S("a"), S(""), 200},
        {S("X\0"), S("a"), S(""), 200},
        {S("X:"), S("a"), S(""), 200},
        {S("X "), S("a"), S(""), 200},
        {S(""), S("a"), S(""), 200},
        {S("Content-length"), S("1"), S(""), 200},
        {S("transfer-encoding"), S("chunked"), S(""), 200},
        {S("Connection"), S("close"), S(""), 200},
        {S("X"), S("a"), S("OK\r\nY: z"), 200},
        {S("X"), S("a"), S("OK\0"), 200},
        {S("X"), S("a"), S(""), 100},
        {S("X"), S("a"), S(""), 199},
        {S("X"), S("a"), S(""), 600},
        {S("X"), S("a"), S(""), -200},
        {S("X"), S("a"), S(""), 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_http_field field = {cases[i].name, cases[i].value};
        struct ferry_http_response r = {
            .status = cases[i].status, .reason = cases[i].reason, .fields = &field, .nfields = 1};
        struct peer *c = opened("GET" V11);

        assert_int_equal(ferry_http_respond(c->m, &r), FERRY_EUSAGE);
        client_reads(c);
        assert_out(c, "");
        /* It can still be answered. */
        answer(c, 200, "ok");
        client_reads(c);
        assert_out(c, OK);
        peer_close(c);
    }
}

static void interim_responses_come_before_the_response(void **state)
{
    static const struct ferry_http_field link[] = {
        {FERRY_SLICE_INIT("Link"), FERRY_SLICE_INIT("</a.css>")}};
    static const struct ferry_http_field bad[] = {
        {FERRY_SLICE_INIT("Link"), FERRY_SLICE_INIT("\r\n")}};
    struct peer *c = opened("GET" V11);

    (void)state;
    assert_int_equal(ferry_http_interim(c->m, 103, link, 1), 0);
    assert_int_equal(ferry_http_interim(c->m, 103, bad, 1), FERRY_EUSAGE);
    assert_int_equal(ferry_http_interim(c->m, 101, NULL, 0), FERRY_EUSAGE);
    assert_int_equal(ferry_http_interim(c->m, 200, NULL, 0), FERRY_EUSAGE);
    assert_int_equal(ferry_http_interim(c->m, 99, NULL, 0), FERRY_EUSAGE);
    answer(c, 200, "ok");
    assert_int_equal(ferry_http_interim(c->m, 103, link, 1), FERRY_EUSAGE);
    client_reads(c);
    assert_out(c, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" OK);
    peer_close(c);

    /* 100 as the owner's own: it is not said twice. */
    c = opened("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(ferry_http_interim(c->m, 100, NULL, 0), 0);
    ferry_http_body_start(c->m, c->now);
    answer(c, 200, "ok");
    client_reads(c);
    assert_out(c, "HTTP/1.1 100 Continue\r\n\r\n" OK);
    peer_close(c);

    c = opened("GET" V10);
    assert_int_equal(ferry_http_interim(c->m, 103, link, 1), 0);
    client_reads(c);
    assert_out(c, "");
    peer_close(c);
}

static void calls_at_the_wrong_time_are_refused(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    assert_int_equal(respond(c, 200, 0), FERRY_EUSAGE);
    assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("x")), FERRY_EUSAGE);
    assert_int_equal(ferry_http_finish(c->m), FERRY_EUSAGE);
    assert_int_equal(ferry_http_interim(c->m, 103, NULL, 0), FERRY_EUSAGE);
    ferry_http_cut(c->m);
    ferry_http_body_start(c->m, c->now);
    ferry_http_body_pause(c->m, true, c->now);
    assert_true(ferry_http_idle(c->m));
    c->deaf = true;
    client_sends(c, "GET" V11);
    assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("x")), FERRY_EUSAGE);
    assert_int_equal(ferry_http_finish(c->m), FERRY_EUSAGE);
    assert_int_equal(respond(c, 200, 0), 0);
    assert_int_equal(respond(c, 200, 0), FERRY_EUSAGE);
    assert_int_equal(ferry_http_finish(c->m), 0);
    assert_int_equal(ferry_http_finish(c->m), FERRY_EUSAGE);
    client_reads(c);
    assert_out(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_false(ferry_http_finished(c->m));
    peer_close(c);
}

static void bytes_past_the_promised_length_are_dropped(void **state)
{
    struct peer *c = opened("GET" V11);

    (void)state;
    assert_int_equal(respond(c, 200, 4), 0);
    assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("bod")), 0);
    assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("y and more")), FERRY_ELIMIT);
    assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("x")), FERRY_ELIMIT);
    assert_int_equal(ferry_http_finish(c->m), 0);
    client_reads(c);
    assert_out(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
    assert_true(ferry_http_idle(c->m) && !ferry_http_finished(c->m));
    peer_close(c);
}

static void a_cut_response_is_visibly_cut(void **state)
{
    static const struct {
        const char *request;
        int64_t length;
        bool finish; /* rather than cut */
        const char *want;
        bool reset;
    } cases[] = {
        {"GET" V11, 10, true, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbody", false},
        {"GET" V11, 10, false, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbody", false},
        {"GET" V11, -1, false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
         false},
        {"GET" V10, -1, false, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer *c = opened(cases[i].request);

        assert_int_equal(respond(c, 200, cases[i].length), 0);
        assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("body")), 0);
        if (cases[i].finish)
            assert_int_equal(ferry_http_finish(c->m), FERRY_ECUT);
        else
            ferry_http_cut(c->m);
        assert_true(ferry_http_finished(c->m));
        assert_int_equal(ferry_http_wants_reset(c->m), cases[i].reset);
        assert_int_equal(ferry_http_write(c->m, NULL, FERRY_SLICE("x")), FERRY_ECLOSED);
        client_reads(c);
        assert_out(c, cases[i].want);
        peer_close(c);
    }
}

static void a_request_may_be_cut_without_a_response(void **state)
{
    struct peer *c = opened("GET" V11);

    (void)state;
    ferry_http_cut(c->m);
    assert_true(ferry_http_finished(c->m));
    assert_int_equal(ferry_http_output(c->m)->len, 0);
    peer_close(c);
}

static void small_bodies_travel_with_their_head(void **state)
{
    static char bytes[2048];

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    for (int64_t length = -1; length <= 2048; length += 2049) {
        struct peer *c = opened("GET" V11);
        struct ferry_block *b = ferry_block_get(&c->blocks, sizeof bytes);
        struct iovec iov[4];

        memcpy(b->data, bytes, sizeof bytes);
        assert_int_equal(respond(c, 200, length), 0);
        assert_int_equal(ferry_http_write(c->m, b, ferry_slice(b->data, sizeof bytes)), 0);
        assert_int_equal(ferry_http_finish(c->m), 0);
        assert_int_equal(b->refs, 1);
        ferry_block_unref(b);
        assert_int_equal(ferry_chain_iov(ferry_http_output(c->m), iov, 4), 1);
        peer_close(c);
    }
}

static void large_bodies_are_not_copied(void **state)
{
    (void)state;
    for (int64_t length = -1; length <= 60000; length += 60001) {
        struct peer *c = opened("GET" V11);
        struct ferry_block *b = ferry_block_get(&c->blocks, 60000);
        struct iovec iov[4];
        int n;

        memset(b->data, 'x', 60000);
        assert_int_equal(respond(c, 200, length), 0);
        assert_int_equal(ferry_http_write(c->m, b, ferry_slice(b->data, 60000)), 0);
        assert_int_equal(b->refs, 2);
        ferry_block_unref(b);
        n = ferry_chain_iov(ferry_http_output(c->m), iov, 4);
        assert_int_equal(n, length < 0 ? 3 : 2);
        assert_ptr_equal(iov[1].iov_base, b->data);
        assert_int_equal(iov[1].iov_len, 60000);
        if (length < 0) {
            const char *head = iov[0].iov_base;

            assert_memory_equal(head + iov[0].iov_len - 8, "\r\nea60\r\n", 8);
            assert_memory_equal(iov[2].iov_base, "\r\n", 2);
        }
        peer_close(c);
    }
}

static void bytes_without_a_block_are_copied_in_bounded_chunks(void **state)
{
    static char bytes[150000];
    struct peer *c = opened("GET" V11);
    struct ferry__chunked decoder;
    struct ferry_slice data;
    size_t at, body = 0;

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    assert_int_equal(respond(c, 200, -1), 0);
    assert_int_equal(ferry_http_write(c->m, NULL, ferry_slice(bytes, sizeof bytes)), 0);
    assert_int_equal(ferry_http_write(c->m, NULL, ferry_slice(NULL, 0)), 0);
    assert_int_equal(ferry_http_finish(c->m), 0);
    client_reads(c);
    at = (size_t)(strstr(c->out, "\r\n\r\n") + 4 - c->out);
    ferry__chunked_init(&decoder, UINT64_MAX, 0xffff);
    while (at < c->out_len) {
        at += ferry__chunked_recv(&decoder, c->out + at, c->out_len - at, &data);
        body += data.len;
    }
    assert_int_equal(decoder.state, FERRY__CHUNK_DONE);
    assert_int_equal(body, sizeof bytes);
    peer_close(c);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void files_are_taken_over(void **state)
{
    static const struct {
        const char *request;
        int status;
        int64_t length;
        uint64_t file;
        int want;
        uint64_t queued;
    } cases[] = {
        {"GET" V11, 200, 10, 10, 0, 10},
        {"GET" V11, 200, 10, 4, 0, 4},
        {"GET" V11, 200, 10, 11, FERRY_ELIMIT, 10},
        {"GET" V11, 200, 10, 0, 0, 0},
        {"HEAD" V11, 200, 10, 10, 0, 0},
        {"GET" V11, 304, 10, 10, 0, 0},
        {"GET" V11, 200, -1, 10, FERRY_EUSAGE, 0},
        {"GET" V10, 200, -1, 10, FERRY_EUSAGE, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer *c = opened(cases[i].request);
        int fd = open("/dev/null", O_RDONLY);
        const struct ferry_seg *file;

        assert_int_equal(respond(c, cases[i].status, cases[i].length), 0);
        client_reads(c);
        assert_int_equal(ferry_http_write_file(c->m, fd, 7, cases[i].file), cases[i].want);
        assert_int_equal(ferry_http_output(c->m)->len, cases[i].queued);
        file = ferry_chain_file_first(ferry_http_output(c->m));
        assert_int_equal(is_open(fd), cases[i].queued > 0);
        if (cases[i].queued) {
            assert_int_equal(file->fd, fd);
            assert_int_equal(file->off, 7);
        }
        assert_int_equal(ferry_http_finish(c->m), cases[i].length == (int64_t)cases[i].queued ||
                                                          cases[i].want == FERRY_EUSAGE ||
                                                          cases[i].status == 304 ||
                                                          cases[i].request[0] == 'H'
                                                      ? 0
                                                      : FERRY_ECUT);
        peer_close(c);
        assert_false(is_open(fd));
    }
    /* Also at the wrong time. */
    {
        struct peer *c = peer_open(NULL);
        int fd = open("/dev/null", O_RDONLY);

        assert_int_equal(ferry_http_write_file(c->m, fd, 0, 1), FERRY_EUSAGE);
        assert_false(is_open(fd));
        peer_close(c);
    }
}

static void stream(void *arg)
{
    struct peer *c = peer_open(NULL);
    struct ferry_block *b;
    int err;

    (void)arg;
    c->deaf = c->unread = true;
    if (c->m && client_sends(c, "GET" V11) && respond(c, 200, -1) == 0) {
        for (int i = 0; i < 10; i++) {
            b = ferry_block_get(&c->blocks, 4096);
            if (!b)
                break;
            memset(b->data, 'x', 4096);
            err = ferry_http_write(c->m, b, ferry_slice(b->data, i % 2 ? 4096 : 100));
            assert_true(err == 0 || err == -ENOMEM);
            ferry_block_unref(b);
            if (err) {
                assert_true(alloc_failed());
                assert_int_equal(ferry_http_finish(c->m), FERRY_ECUT);
                assert_true(ferry_http_finished(c->m));
                break;
            }
        }
        if (!ferry_http_finished(c->m) && ferry_http_finish(c->m) == FERRY_ECUT)
            assert_true(ferry_http_finished(c->m));
        client_reads(c);
        /* What failed is not passed off as whole. */
        if (ferry_http_finished(c->m))
            assert_memory_not_equal(c->out + c->out_len - 5, "0\r\n\r\n", 5);
        else
            assert_memory_equal(c->out + c->out_len - 5, "0\r\n\r\n", 5);
    }
    peer_close(c);
}

static void memory_may_run_out_in_a_response(void **state)
{
    (void)state;
    each_alloc_fails(stream, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_response_is_framed_by_the_book),
        cmocka_unit_test(a_head_carries_what_it_was_given),
        cmocka_unit_test(a_large_head_is_written_whole),
        cmocka_unit_test(what_would_split_a_response_is_never_sent),
        cmocka_unit_test(interim_responses_come_before_the_response),
        cmocka_unit_test(calls_at_the_wrong_time_are_refused),
        cmocka_unit_test(bytes_past_the_promised_length_are_dropped),
        cmocka_unit_test(a_cut_response_is_visibly_cut),
        cmocka_unit_test(a_request_may_be_cut_without_a_response),
        cmocka_unit_test(small_bodies_travel_with_their_head),
        cmocka_unit_test(large_bodies_are_not_copied),
        cmocka_unit_test(bytes_without_a_block_are_copied_in_bounded_chunks),
        cmocka_unit_test(files_are_taken_over),
        cmocka_unit_test(memory_may_run_out_in_a_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
