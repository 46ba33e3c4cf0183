/* SPDX-License-Identifier: MIT */
/* Messages that two parsers could read differently. Each input carries a second request behind the
 * first; where the first is refused the second must never be seen. */
#include "http_peer.h"

#define NEXT "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(version, fields) "POST / HTTP/" version "\r\nHost: a\r\n" fields "\r\n"
#define CHUNKED POST("1.1", "Transfer-Encoding: chunked\r\n")

static void smuggling_forms_are_refused_and_end_the_connection(void **state)
{
    static const struct {
        const char *name, *input;
        int status;
    } cases[] = {
        {"CL + TE", POST("1.1", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\n",
         400},
        {"TE + CL", POST("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n") "0\r\n\r\n",
         400},
        {"TE in HTTP/1.0", POST("1.0", "Transfer-Encoding: chunked\r\n") "0\r\n\r\n", 400},
        {"unknown TE", POST("1.1", "Transfer-Encoding: gzip\r\n"), 501},
        {"unknown TE before chunked", POST("1.1", "Transfer-Encoding: x, chunked\r\n"), 501},
        {"chunked twice", POST("1.1", "Transfer-Encoding: chunked, chunked\r\n") "0\r\n\r\n", 400},
        {"chunked in two fields",
         POST("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\n",
         400},
        {"obs-fold", POST("1.1", "Transfer-Encoding:\r\n chunked\r\n") "0\r\n\r\n", 400},
        {"space before the colon", POST("1.1", "Transfer-Encoding : chunked\r\n") "0\r\n\r\n", 400},
        {"bare LF in the head", "POST / HTTP/1.1\r\nHost: a\nContent-Length: 3\r\n\r\n", 400},
        {"bare LF at its end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
        {"bare CR", POST("1.1", "X: y\rTransfer-Encoding: chunked\r\n") "0\r\n\r\n", 400},
        {"bare LF behind a size", CHUNKED "3\nabc\r\n0\r\n\r\n", 400},
        {"bare LF behind a chunk", CHUNKED "3\r\nabc\n0\r\n\r\n", 400},
        {"bare LF behind the last chunk", CHUNKED "0\n\r\n", 400},
        {"bare LF at the end", CHUNKED "0\r\n\n", 400},
        {"bare CR behind a size", CHUNKED "3\rabc\r\n0\r\n\r\n", 400},
        {"bare LF in an extension", CHUNKED "3;x\nabc\r\n0\r\n\r\n", 400},
        {"chunk longer than its size", CHUNKED "3\r\nabcd\r\n0\r\n\r\n", 400},
        {"chunk size overflows", CHUNKED "10000000000000003\r\nabc\r\n0\r\n\r\n", 400},
        {"chunk size with a sign", CHUNKED "+3\r\nabc\r\n0\r\n\r\n", 400},
        {"chunk size with 0x", CHUNKED "0x3\r\nabc\r\n0\r\n\r\n", 400},
        {"CL +5", POST("1.1", "Content-Length: +5\r\n") "hello", 400},
        {"CL with blanks in it", POST("1.1", "Content-Length: 5 5\r\n") "hello", 400},
        {"CL list", POST("1.1", "Content-Length: 5, 5\r\n") "hello", 400},
        {"CL empty", POST("1.1", "Content-Length:\r\n") "hello", 400},
        {"CL twice, equal", POST("1.1", "Content-Length: 5\r\nContent-Length: 5\r\n") "hello", 400},
        {"CL twice, not equal", POST("1.1", "Content-Length: 5\r\nContent-Length: 6\r\n") "hello",
         400},
        {"two Hosts", POST("1.1", "Host: b\r\n"), 400},
        {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char input[400], want[20];
        int n = snprintf(input, sizeof input, "%s%s", cases[i].input, NEXT);

        snprintf(want, sizeof want, "HTTP/1.1 %d ", cases[i].status);
        for (int cut = 0; cut <= n; cut++) {
            struct peer *c = peer_open(NULL);

            client_sends_n(c, guard_copy(0, input, (size_t)cut), (size_t)cut);
            client_sends_n(c, guard_copy(1, input + cut, (size_t)(n - cut)), (size_t)(n - cut));
            if (c->bads != 1 || strstr(c->log, "smuggled") || !lingers(c))
                fail_msg("%s, cut at %d: %s", cases[i].name, cut, c->log);
            assert_memory_equal(c->out, want, strlen(want));
            assert_non_null(strstr(c->out, "Connection: close\r\n"));
            peer_close(c);
        }
    }
}

/* The other side of the table: what must be let through. */
static void a_get_with_a_body_does_not_shift_the_next_request(void **state)
{
    struct peer *c = peer_open(NULL);

    (void)state;
    client_sends(c, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" NEXT
                    "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(c->heads, 2);
    assert_log(c, "head GET / 35\nbody " NEXT "\nend\nhead GET / 0\nend\n");
    peer_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smuggling_forms_are_refused_and_end_the_connection),
        cmocka_unit_test(a_get_with_a_body_does_not_shift_the_next_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
