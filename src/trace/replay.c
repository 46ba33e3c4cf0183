/* SPDX-License-Identifier: MIT */
/*
 * The recorded conversations are followed as they were when they passed, but with their streams
 * kept; a request that is over is sent at once, so no more is held than was open at a time. It is
 * sent by plain blocking means: there is one at a time.
 */
#include "trace/replay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "ferry/params.h"
#include "io/loop.h"
#include "trace/compare.h"
#include "trace/pcap.h"

#define MEMORY_MAX (256u << 20) /* of what is recorded and under way; and of one answer */
#define PARAMS_LONGEST (4u << 20)
#define BUFFER (2u << 20) /* more than any block of the file */
#define RECORD_LEN 32768
#define AGAIN_MS 10

/* One recorded connection. */
struct tape {
    struct ferry_follow *follow;
    uint32_t seq[2];
};

struct replay {
    const struct ferry_replay_opts *opts;
    struct ferry_follow_budget budget, answer_budget;
    struct tape *tapes[65536]; /* by port */
    struct ferry_addr to;
    char to_text[FERRY_ADDR_TEXT_MAX];
    uint64_t number, bad;
    uint64_t same, different, cut, uncompared, unsent; /* of `number` */
    char *why;
    size_t why_cap;
};

static int64_t wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void note(struct replay *rp, const char *text)
{
    ferry_show_note(&rp->opts->show, rp->number, wall_us(), text, rp->opts->out);
}

/* -- one request -- */

/* A stream and its end, behind `at`. */
static char *put_stream(char *at, uint8_t type, const struct ferry_follow_stream *s)
{
    size_t sent = 0, n;

    do {
        struct ferry_record r = {.type = type, .id = 1};

        n = s->len - sent < RECORD_LEN ? (size_t)(s->len - sent) : RECORD_LEN;
        r.content_len = (uint16_t)n;
        ferry_record_encode(&r, at);
        at = ferry__put(at + FERRY_RECORD_HEADER_LEN, ferry_slice(s->p + sent, n));
        sent += n;
    } while (n);
    return at;
}

static size_t room_of(const struct ferry_follow_stream *s)
{
    return (size_t)s->len + (size_t)(s->len / RECORD_LEN + 2) * FERRY_RECORD_HEADER_LEN;
}

/* The request as records of id 1: to be freed; NULL without memory, or when its params cannot be
 * read. */
static char *encode(const struct ferry_follow_request *r, size_t *len)
{
    size_t room = ferry_params_room(r->params.kept);
    char *mem = malloc(room + room_of(&r->in) + room_of(&r->data)), *at;
    struct ferry_params_writer w;
    struct ferry_param pair;
    ssize_t took, n;

    if (!mem)
        return NULL;
    ferry_params_open(&w, mem, room, 1);
    ferry_params_begin_request(&w, r->role, 0);
    for (size_t i = 0; i < r->params.kept; i += (size_t)took) {
        took = ferry_param_decode(r->params.p + i, r->params.kept - i, SIZE_MAX, &pair);
        if (took <= 0) {
            free(mem);
            return NULL;
        }
        ferry_params_add(&w, pair.name, pair.value);
    }
    n = ferry_params_close(&w, 0);
    if (n < 0) {
        free(mem);
        return NULL;
    }
    at = mem + n;
    if (r->role != FERRY_AUTHORIZER || r->in.len)
        at = put_stream(at, FERRY_STDIN, &r->in);
    if (r->role == FERRY_FILTER || r->data.len)
        at = put_stream(at, FERRY_DATA, &r->data);
    *len = (size_t)(at - mem);
    return mem;
}

static int wait_for(int fd, int events, uint64_t until_us)
{
    struct pollfd p = {.fd = fd, .events = (short)events};
    uint64_t now = ferry_now_us();
    int n;

    if (now >= until_us)
        return -ETIMEDOUT;
    n = poll(&p, 1, (int)((until_us - now + 999) / 1000));
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n == 0 ? -ETIMEDOUT : p.revents;
}

/* A connected socket or -errno. */
static int reach(const struct ferry_addr *to, uint64_t until_us)
{
    int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;
    socklen_t len = sizeof err;

    if (fd < 0)
        return -errno;
    do { /* while the backlog of a unix socket is full */
        err = connect(fd, &to->any, to->len) < 0 ? -errno : 0;
    } while (err == -EAGAIN && ferry_now_us() < until_us && poll(NULL, 0, AGAIN_MS) == 0);
    if (err == -EINPROGRESS) {
        do
            err = wait_for(fd, POLLOUT, until_us);
        while (err == 0);
        if (err > 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0)
            err = -err;
    }
    if (err >= 0)
        return fd;
    close(fd);
    return err;
}

/* Sends what is left, as much as goes now; what the application does not take, it does not want. */
static void send_some(int fd, const char **p, size_t *left)
{
    ssize_t n = send(fd, *p, *left, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    n = n < 0 ? (ssize_t)*left : n;
    *p += n;
    *left -= (size_t)n;
}

/* Sends the request and follows the answer to its end: the event in which it ended, or -errno. */
static int converse(int fd, struct ferry_follow *f, const char *p, size_t left, uint64_t until_us,
                    struct ferry_follow_event *ev)
{
    static char buffer[65536];
    const char *at;
    bool over = false;

    (void)ferry_follow_recv(f, FERRY_FOLLOW_SERVER, p, left, ferry_now_us());
    for (;;) {
        int ready = wait_for(fd, POLLIN | (left ? POLLOUT : 0), until_us);
        ssize_t n = 0;

        if (ready < 0)
            return ready;
        if (ready & POLLOUT)
            send_some(fd, &p, &left);
        if (!(ready & (POLLIN | POLLHUP | POLLERR)))
            continue;
        n = recv(fd, buffer, sizeof buffer, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0) {
            ferry_follow_end(f, FERRY_FOLLOW_APP, ferry_now_us());
            over = true;
        }
        at = buffer;
        for (size_t have = n > 0 ? (size_t)n : 0, took;; at += took, have -= took) {
            while (ferry_follow_event(f, ev))
                if (ev->type == FERRY_FOLLOW_EV_REQUEST)
                    return 0;
            if (have == 0)
                break;
            took = ferry_follow_recv(f, FERRY_FOLLOW_APP, at, have, ferry_now_us());
        }
        if (over)
            return FERRY_ECUT;
    }
}

/* What came of it is shown, and compared. */
static void show_answer(struct replay *rp, int64_t began_us,
                        const struct ferry_follow_request *recorded,
                        const struct ferry_follow_request *now)
{
    const struct ferry_replay_opts *o = rp->opts;
    char *text = NULL;
    size_t len = 0;
    bool whole = now->ended && !now->protocol_status, differs = false;
    FILE *lines;

    ferry_show_request(&o->show, rp->number, began_us, now, o->out);
    rp->bad += !whole;
    if (!o->compare)
        return;
    lines = open_memstream(&text, &len);
    differs = lines && ferry_compare(recorded, now, lines) > 0;
    rp->bad += differs;
    ++*(!whole                       ? &rp->cut
        : differs                    ? &rp->different
        : !lines || !recorded->ended ? &rp->uncompared
                                     : &rp->same);
    if (!lines || fclose(lines) != 0) {
        note(rp, "no memory is left to compare");
        return;
    }
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        note(rp, line);
    }
    free(text);
}

static bool is_whole(const struct ferry_follow_request *r)
{
    return r->params.ended && r->params.kept == r->params.len && r->in.kept == r->in.len &&
           r->data.kept == r->data.len;
}

static void send_again(struct replay *rp, const struct ferry_follow_request *r)
{
    struct ferry_follow_opts opts = {
        .budget = &rp->answer_budget, .params_max = PARAMS_LONGEST, .whole = rp->opts->compare};
    uint64_t until_us = ferry_now_us() + rp->opts->timeout_ms * 1000;
    int64_t began_us = wall_us();
    struct ferry_follow *f = ferry_follow_new(&opts);
    struct ferry_follow_event ev;
    size_t len = 0;
    char *bytes = is_whole(r) ? encode(r, &len) : NULL, text[160];
    int fd = -1, err = f ? 0 : -ENOMEM;

    rp->number++;
    if (!bytes) {
        note(rp, "not sent again: the request is not whole in the file");
        rp->bad++;
        rp->unsent++;
        ferry_follow_free(f);
        return;
    }
    if (err == 0)
        err = fd = reach(&rp->to, until_us);
    if (fd >= 0)
        err = converse(fd, f, bytes, len, until_us, &ev);
    if (err < 0) {
        snprintf(text, sizeof text, "no answer: %s", ferry_strerror(err));
        note(rp, text);
        rp->bad++;
        rp->cut++;
    } else {
        show_answer(rp, began_us, r, ev.request);
    }
    if (fd >= 0)
        close(fd);
    free(bytes);
    ferry_follow_free(f);
    fflush(rp->opts->out);
}

/* -- the file -- */

static void pull(struct replay *rp, struct tape *t)
{
    struct ferry_follow_event ev;

    while (ferry_follow_event(t->follow, &ev))
        if (ev.type == FERRY_FOLLOW_EV_REQUEST &&
            ferry_filter_matches(rp->opts->filter, ev.request))
            send_again(rp, ev.request);
}

static void end_tape(struct replay *rp, uint16_t port, int64_t us)
{
    struct tape *t = rp->tapes[port];

    if (!t)
        return;
    ferry_follow_end(t->follow, FERRY_FOLLOW_APP, (uint64_t)us);
    pull(rp, t);
    ferry_follow_free(t->follow);
    free(t);
    rp->tapes[port] = NULL;
}

static int begin_tape(struct replay *rp, const struct ferry_pcap_packet *p)
{
    struct ferry_follow_opts opts = {
        .budget = &rp->budget, .params_max = PARAMS_LONGEST, .whole = true};
    struct tape *t;

    end_tape(rp, p->port, p->us);
    t = calloc(1, sizeof *t);
    if (t)
        t->follow = ferry_follow_new(&opts);
    if (!t || !t->follow) {
        free(t);
        return -ENOMEM;
    }
    t->seq[0] = t->seq[1] = p->seq + 1;
    rp->tapes[p->port] = t;
    return 0;
}

static int take_packet(struct replay *rp, const struct ferry_pcap_packet *p)
{
    struct tape *t = rp->tapes[p->port];
    struct ferry_slice s = p->bytes;

    if (p->event == FERRY_PCAP_OPEN)
        return begin_tape(rp, p);
    if (!t)
        return 0;
    if (p->seq != t->seq[p->from]) {
        note(rp, "bytes are missing in the file; the rest of a connection is left out");
        rp->bad++;
        end_tape(rp, p->port, p->us);
        return 0;
    }
    t->seq[p->from] += (uint32_t)s.len;
    while (s.len) {
        size_t took = ferry_follow_recv(t->follow, (enum ferry_follow_side)p->from, s.p, s.len,
                                        (uint64_t)p->us);

        pull(rp, t);
        s = ferry_slice_from(s, took);
    }
    if (p->event == FERRY_PCAP_END) {
        ferry_follow_end(t->follow, (enum ferry_follow_side)p->from, (uint64_t)p->us);
        pull(rp, t);
    }
    return 0;
}

static int explain(struct replay *rp, int err, const char *fmt, const char *more)
{
    snprintf(rp->why, rp->why_cap, fmt, rp->opts->path, more);
    return err;
}

/* Where they went, unless the caller knows better. */
static int find_address(struct replay *rp)
{
    const char *why = "the file does not say where the application was";

    if (rp->opts->to) {
        rp->to = *rp->opts->to;
        return 0;
    }
    if (!*rp->to_text || ferry_addr_parse(rp->to_text, false, &rp->to, &why) < 0)
        return explain(rp, FERRY_EUSAGE, "%s: %s; give --to ADDRESS", why);
    return 0;
}

/* The blocks in a buffer: how many bytes of it were taken, or an error. */
static ssize_t take_blocks(struct replay *rp, const char *buffer, size_t n)
{
    struct ferry_pcap_packet packet;
    size_t at = 0;
    bool is_packet;

    for (;;) {
        ssize_t took = ferry_pcap_read(buffer + at, n - at, &packet, &is_packet, rp->to_text,
                                       sizeof rp->to_text);

        if (took < 0)
            return explain(rp, (int)took, "%s is no file that ferry trace --pcap has written%s",
                           "");
        if (took == 0)
            return (ssize_t)at;
        at += (size_t)took;
        if (is_packet) {
            int err = rp->to.len ? 0 : find_address(rp);

            if (err == 0) {
                err = take_packet(rp, &packet);
                if (err < 0)
                    explain(rp, err, "%s: %s", ferry_strerror(err));
            }
            if (err < 0)
                return err;
        }
    }
}

static int take_file(struct replay *rp, int fd, char *buffer)
{
    size_t have = 0;
    bool any = false;

    for (;;) {
        ssize_t n = read(fd, buffer + have, BUFFER - have), took;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int err = -errno;

            return explain(rp, err, "cannot read %s: %s", ferry_strerror(err));
        }
        have += (size_t)n;
        if (!any && (have < 4 || memcmp(buffer, "\n\r\r\n", 4) != 0))
            return explain(rp, FERRY_EPROTOCOL,
                           "%s is no file that ferry trace --pcap has written%s", "");
        any = true;
        took = take_blocks(rp, buffer, have);
        if (took < 0)
            return (int)took;
        have -= (size_t)took;
        memmove(buffer, buffer + took, have);
        if (n == 0)
            break;
    }
    if (have)
        note(rp, "the file ends in the middle of a packet");
    return 0;
}

static void sum_up(struct replay *rp)
{
    const struct {
        uint64_t n;
        const char *what;
    } parts[] = {{rp->same, " answered as recorded"},
                 {rp->different, " answered differently"},
                 {rp->cut, " without a whole answer"},
                 {rp->uncompared, " not compared"},
                 {rp->unsent, " not sent"}};
    const char *between = ":";
    char text[256];
    size_t at = (size_t)snprintf(text, sizeof text, "%llu request%s",
                                 (unsigned long long)rp->number, rp->number == 1 ? "" : "s");

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!parts[i].n)
            continue;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s %llu%s", between,
                               (unsigned long long)parts[i].n, parts[i].what);
        between = ",";
    }
    ferry_show_note(&rp->opts->show, 0, wall_us(), text, rp->opts->out); /* of no connection */
}

int ferry_replay(const struct ferry_replay_opts *opts, char *why, size_t cap)
{
    struct replay *rp = calloc(1, sizeof *rp);
    char *buffer = malloc(BUFFER);
    int fd = open(opts->path, O_RDONLY | O_CLOEXEC), err = fd < 0 ? -errno : 0;

    snprintf(why, cap, "no memory is left");
    if (!rp || !buffer) {
        err = -ENOMEM;
    } else {
        *rp = (struct replay){.opts = opts, .why = why, .why_cap = cap};
        rp->budget.max = rp->answer_budget.max = MEMORY_MAX;
        if (err < 0)
            explain(rp, err, "cannot read %s: %s", ferry_strerror(err));
        else
            err = take_file(rp, fd, buffer);
        for (unsigned port = 0; err == 0 && port < 65536; port++)
            end_tape(rp, (uint16_t)port, 0);
        for (unsigned port = 0; port < 65536; port++)
            if (rp->tapes[port]) {
                ferry_follow_free(rp->tapes[port]->follow);
                free(rp->tapes[port]);
            }
        if (err == 0 && opts->compare)
            sum_up(rp);
        if (err == 0)
            err = rp->bad ? 1 : 0;
    }
    if (fd >= 0)
        close(fd);
    free(buffer);
    free(rp);
    return err;
}
