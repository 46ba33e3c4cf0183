/* SPDX-License-Identifier: MIT */
/*
 * fcgi_load kept|new|mpx SOCKET CONNECTIONS SECONDS [TARGET [REQUESTS]]: loads a FastCGI
 * application as a web server would that costs nothing, over a unix socket, with the params of a
 * browser's GET.
 *
 *   kept   each connection carries one request after the other
 *   new    each request has a connection of its own, which the application closes
 *   mpx    each connection carries 32 requests at once
 *
 * Ends after SECONDS or REQUESTS. Prints the requests answered, the errors, and the seconds. An
 * answer is good when it ends with REQUEST_COMPLETE and app status 0, and is as long as the first.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/slice.h"
#include "ferry/params.h"
#include "ferry/record.h"

#define STREAMS 32
#define IMAGE_MAX 2048

struct link {
    int fd;
    unsigned active;
    uint64_t out_len[STREAMS]; /* bytes of STDOUT so far */
    char head[FERRY_RECORD_HEADER_LEN];
    unsigned head_len;
    struct ferry_record record;
    char end[FERRY_RECORD_BODY_LEN];
    size_t content_at, skip; /* in the record that arrives */
    size_t n, sent;          /* of `out` */
    char out[STREAMS * IMAGE_MAX];
};

static struct load {
    struct sockaddr_un to;
    bool fresh; /* a connection for each request */
    unsigned streams;
    int epoll;
    uint64_t requests, errors, requests_max, answer_len;
    bool over;
} load;

static const char *const params[][2] = {
    {"QUERY_STRING", ""},
    {"REQUEST_METHOD", "GET"},
    {"CONTENT_TYPE", ""},
    {"CONTENT_LENGTH", ""},
    {"SCRIPT_NAME", ""},
    {"PATH_INFO", "/"},
    {"DOCUMENT_ROOT", "/srv/www"},
    {"SERVER_PROTOCOL", "HTTP/1.1"},
    {"REQUEST_SCHEME", "http"},
    {"GATEWAY_INTERFACE", "CGI/1.1"},
    {"SERVER_SOFTWARE", "load/1.0"},
    {"REMOTE_ADDR", "127.0.0.1"},
    {"REMOTE_PORT", "40112"},
    {"SERVER_ADDR", "127.0.0.1"},
    {"SERVER_PORT", "8080"},
    {"SERVER_NAME", "localhost"},
    {"REDIRECT_STATUS", "200"},
    {"HTTP_HOST", "localhost:8080"},
    {"HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:102.0) Gecko/20100101 Firefox/102.0"},
    {"HTTP_ACCEPT", "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"},
    {"HTTP_ACCEPT_LANGUAGE", "en-US,en;q=0.5"},
    {"HTTP_ACCEPT_ENCODING", "gzip, deflate, br"},
    {"HTTP_CONNECTION", "keep-alive"},
    {"HTTP_COOKIE", "session=0123456789abcdef0123456789abcdef"},
    {"HTTP_UPGRADE_INSECURE_REQUESTS", "1"},
};

static char images[STREAMS][IMAGE_MAX];
static size_t image_len;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void make_images(const char *target, bool keep)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        struct ferry_params_writer w;
        ssize_t n;

        ferry_params_open(&w, images[i], IMAGE_MAX, (uint16_t)(i + 1));
        ferry_params_begin_request(&w, FERRY_RESPONDER, keep ? FERRY_KEEP_CONN : 0);
        for (size_t p = 0; p < sizeof params / sizeof *params; p++)
            ferry_params_add(&w, ferry_slice_z(params[p][0]), ferry_slice_z(params[p][1]));
        ferry_params_add(&w, FERRY_SLICE("REQUEST_URI"), ferry_slice_z(target));
        n = ferry_params_close(&w, true);
        if (n < 0) {
            fprintf(stderr, "fcgi_load: the target is too long\n");
            exit(64);
        }
        image_len = (size_t)n;
    }
}

static void failed(struct link *l)
{
    load.errors += l->active;
    l->active = 0;
}

static void flush(struct link *l)
{
    while (l->sent < l->n) {
        ssize_t n = send(l->fd, l->out + l->sent, l->n - l->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0)
            return; /* a broken connection says so when it is read */
        l->sent += (size_t)n;
    }
    l->sent = l->n = 0;
}

static void ask(struct link *l, unsigned stream)
{
    if (load.over)
        return;
    l->active++;
    l->out_len[stream] = 0;
    memmove(l->out, l->out + l->sent, l->n - l->sent);
    l->n -= l->sent;
    l->sent = 0;
    memcpy(l->out + l->n, images[stream], image_len);
    l->n += image_len;
}

static void open_link(struct link *l)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = l};

    l->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    l->head_len = 0;
    l->skip = 0;
    l->active = 0;
    l->n = l->sent = 0;
    if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&load.to, sizeof load.to) < 0)
        die("connect");
    for (unsigned i = 0; i < load.streams; i++)
        ask(l, i);
    flush(l);
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, l->fd, &ev) < 0)
        die("epoll_ctl");
}

static void answered(struct link *l)
{
    struct ferry_end_body end;
    unsigned stream = l->record.id - 1u;

    ferry_end_body_decode(l->end, &end);
    if (load.answer_len == 0)
        load.answer_len = l->out_len[stream];
    if (end.app_status || end.protocol_status != FERRY_REQUEST_COMPLETE ||
        l->out_len[stream] != load.answer_len)
        load.errors++;
    l->active--;
    if (++load.requests == load.requests_max)
        load.over = true;
    if (!load.fresh)
        ask(l, stream);
}

/* A record's header and an END_REQUEST are put together, all else is counted. */
static void take(struct link *l, const char *p, size_t n)
{
    while (n > 0 || (l->head_len == sizeof l->head && l->skip == 0)) {
        size_t m;

        if (l->head_len < sizeof l->head) {
            m = sizeof l->head - l->head_len < n ? sizeof l->head - l->head_len : n;
            memcpy(l->head + l->head_len, p, m);
            l->head_len += m;
            if (l->head_len == sizeof l->head) {
                if (ferry_record_decode(l->head, sizeof l->head, &l->record) < 0 ||
                    l->record.id == 0 || l->record.id > STREAMS) {
                    fprintf(stderr, "fcgi_load: not a record of ours\n");
                    exit(1);
                }
                l->content_at = 0;
                l->skip = (size_t)l->record.content_len + l->record.padding_len;
            }
        } else {
            m = l->skip < n ? l->skip : n;
            if (l->record.type == FERRY_END_REQUEST)
                for (size_t i = 0; i < m && l->content_at + i < sizeof l->end; i++)
                    l->end[l->content_at + i] = p[i];
            l->content_at += m;
            l->skip -= m;
        }
        p += m;
        n -= m;
        if (l->head_len == sizeof l->head && l->skip == 0) {
            l->head_len = 0;
            if (l->record.type == FERRY_STDOUT)
                l->out_len[l->record.id - 1] += l->record.content_len;
            else if (l->record.type == FERRY_END_REQUEST)
                answered(l);
        }
    }
}

static void readable(struct link *l)
{
    static char in[256 << 10];
    ssize_t n;

    do {
        n = recv(l->fd, in, sizeof in, MSG_DONTWAIT);
        if (n > 0) {
            take(l, in, (size_t)n);
            flush(l);
        }
    } while (n == (ssize_t)sizeof in || (n > 0 && load.fresh));
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    failed(l);
    close(l->fd);
    if (!load.over)
        open_link(l);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(double for_s)
{
    double began = seconds(), now = began;

    while (!load.over) {
        struct epoll_event ev[64];
        int n = epoll_wait(load.epoll, ev, 64, 100);

        for (int i = 0; i < n; i++) {
            struct link *l = ev[i].data.ptr;

            if (ev[i].events & EPOLLOUT)
                flush(l);
            if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                readable(l);
        }
        now = seconds();
        if (now - began >= for_s)
            load.over = true;
    }
    printf("%llu requests, %llu errors, %.3f seconds\n", (unsigned long long)load.requests,
           (unsigned long long)load.errors, now - began);
}

int main(int argc, char **argv)
{
    const char *mode = argc >= 5 ? argv[1] : "";
    bool mpx = strcmp(mode, "mpx") == 0;
    unsigned n = argc >= 5 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    struct link *links;

    load.fresh = strcmp(mode, "new") == 0;
    if (n == 0 || (!mpx && !load.fresh && strcmp(mode, "kept") != 0) ||
        strlen(argv[2]) >= sizeof load.to.sun_path) {
        fprintf(stderr, "usage: fcgi_load kept|new|mpx SOCKET CONNECTIONS SECONDS [TARGET "
                        "[REQUESTS]]\n");
        return 64;
    }
    load.to.sun_family = AF_UNIX;
    memcpy(load.to.sun_path, argv[2], strlen(argv[2]) + 1);
    load.streams = mpx ? STREAMS : 1;
    load.requests_max = argc > 6 ? strtoull(argv[6], NULL, 10) : 0;
    load.epoll = epoll_create1(0);
    make_images(argc > 5 ? argv[5] : "/", !load.fresh);
    links = calloc(n, sizeof *links);
    if (!links || load.epoll < 0)
        die("fcgi_load");
    for (unsigned i = 0; i < n; i++)
        open_link(&links[i]);
    run(strtod(argv[4], NULL));
    free(links);
    return load.errors != 0;
}
