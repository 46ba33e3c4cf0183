/* SPDX-License-Identifier: MIT */
/* Nanoseconds per request of the HTTP machine alone: head in, small response out, no socket. */
#include "http/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 1000000

static const struct {
    const char *name, *head;
} cases[] = {
    {"wrk", "GET /hello HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"},
    {"curl", "GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/7.88.1\r\n"
             "Accept: */*\r\n\r\n"},
    {"browser",
     "GET /blog/2024/01/a-post?page=2 HTTP/1.1\r\nHost: www.example.org\r\n"
     "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0\r\n"
     "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
     "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
     "Referer: https://www.example.org/blog/2024/01/\r\nConnection: keep-alive\r\n"
     "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; seen=1%2C2%2C3%2C4\r\n\r\n"},
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void expect(bool cond)
{
    if (!cond)
        abort();
}

/* One request: its events, and a response as an application gives it or the shortest there is. */
static void serve(struct ferry_http *m, struct ferry_slice head, bool full)
{
    static const struct ferry_http_field fields[] = {
        {FERRY_SLICE_INIT("Content-Type"), FERRY_SLICE_INIT("text/plain; charset=utf-8")},
        {FERRY_SLICE_INIT("X-Powered-By"), FERRY_SLICE_INIT("PHP/8.2.7")},
    };
    static const struct ferry_http_response full_response = {
        .status = 200,
        .date = FERRY_SLICE_INIT("Sun, 06 Nov 1994 08:49:37 GMT"),
        .fields = fields,
        .nfields = 2,
        .content_length = 12};
    static const struct ferry_http_response bare = {.status = 204};
    static struct ferry_http_event ev;

    expect(ferry_http_recv(m, head.p, head.len, 0) == (ssize_t)head.len);
    expect(ferry_http_event(m, &ev) == 1 && ev.type == FERRY_HTTP_EV_HEAD);
    expect(ferry_http_event(m, &ev) == 1 && ev.type == FERRY_HTTP_EV_END);
    expect(ferry_http_event(m, &ev) == 0);
    expect(ferry_http_respond(m, full ? &full_response : &bare) == 0);
    if (full)
        expect(ferry_http_write(m, NULL, FERRY_SLICE("Hello world\n")) == 0);
    expect(ferry_http_finish(m) == 0);
    ferry_http_sent(m, ferry_http_output(m)->len, 0);
}

int main(void)
{
    struct ferry_blocks blocks;
    struct ferry_http *m;

    ferry_blocks_init(&blocks, 4, 4);
    m = ferry_http_new(&(struct ferry_http_opts){.blocks = &blocks}, 0);
    expect(m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ferry_slice head = ferry_slice_z(cases[i].head);

        for (int full = 0; full <= 1; full++) {
            uint64_t start = now_ns();

            for (int round = 0; round < ROUNDS; round++)
                serve(m, head, full);
            printf("%-8s %4zu bytes, %s: %5.0f ns\n", cases[i].name, head.len,
                   full ? "response with fields and body" : "empty response",
                   (double)(now_ns() - start) / ROUNDS);
        }
    }
    ferry_http_free(m);
    ferry_blocks_fini(&blocks);
    return 0;
}
