/* SPDX-License-Identifier: MIT */
/*
 * What is seen of the bytes that a relay passes. Nothing here may hold the relay up: lines are
 * pushed to a writer, which drops them when it is full, and without memory less is shown.
 */
#include "trace/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "trace/notation.h"
#include "trace/pcap.h"
#include "trace/relay.h"

#define MEMORY_MAX (64u << 20) /* of all requests under way */

struct ferry_trace {
    struct ferry_trace_opts opts;
    struct ferry_relay *relay;
    struct ferry_follow_budget budget;
    struct ferry_pcap pcap;
    FILE *out; /* lines of this moment, in `text` */
    char *text;
    size_t len;
    uint64_t dropped, dropped_now;
    bool dumb, pcap_dumb; /* writing has failed */
};

struct conn {
    struct ferry_follow *follow;
    struct ferry_notation *notations[2];
    struct ferry_pcap_conn pcap;
};

static int64_t wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* -- lines -- */

/* Where lines are written to, until push_lines: NULL when nothing is to be shown. */
static FILE *open_lines(struct ferry_trace *t)
{
    if (!t->out && !t->dumb)
        t->out = open_memstream(&t->text, &t->len);
    return t->out;
}

static bool push_dropped(struct ferry_trace *t)
{
    char note[96];
    FILE *out;
    char *text = NULL;
    size_t len = 0;
    bool took;

    if (!t->dropped_now)
        return true;
    snprintf(note, sizeof note, "%llu lines are missing here: the output is too slow for them",
             (unsigned long long)t->dropped_now);
    out = open_memstream(&text, &len);
    if (!out)
        return false;
    ferry_show_note(&t->opts.show, 0, wall_us(), note, out);
    took = fclose(out) == 0 && ferry_writer_push(t->opts.lines, text, len);
    free(text);
    if (took)
        t->dropped_now = 0;
    return took;
}

static void push_lines(struct ferry_trace *t)
{
    uint64_t lines = 0;

    if (!t->out)
        return;
    if (fclose(t->out) != 0)
        t->len = 0;
    t->out = NULL;
    for (size_t i = 0; i < t->len; i++)
        lines += t->text[i] == '\n';
    if (t->len && (!push_dropped(t) || !ferry_writer_push(t->opts.lines, t->text, t->len))) {
        t->dropped += lines;
        t->dropped_now += lines;
        if (ferry_writer_error(t->opts.lines) < 0) {
            t->dumb = true;
            t->opts.say("standard output is closed: requests are passed on, and not shown");
        }
    }
    free(t->text);
    t->text = NULL;
    t->len = 0;
}

static void note(struct ferry_trace *t, const struct ferry_relay_conn *rc, const char *text)
{
    FILE *out = open_lines(t);

    if (out)
        ferry_show_note(&t->opts.show, rc->number, wall_us(), text, out);
}

/* -- requests -- */

static void pull_events(struct ferry_trace *t, struct ferry_relay_conn *rc, uint64_t now_us)
{
    struct conn *c = rc->user;
    struct ferry_follow_event ev;
    char text[160];
    FILE *out;

    while (ferry_follow_event(c->follow, &ev)) {
        if (ev.type == FERRY_FOLLOW_EV_FAULT) {
            snprintf(text, sizeof text, "%s: %s (id %u)",
                     ev.side == FERRY_FOLLOW_APP ? "application" : "web server", ev.fault, ev.id);
            note(t, rc, text);
        } else if (ferry_filter_matches(t->opts.filter, ev.request)) {
            out = open_lines(t);
            if (out)
                ferry_show_request(&t->opts.show, rc->number,
                                   wall_us() - (int64_t)(now_us - ev.request->began_us), ev.request,
                                   out);
        }
    }
}

static void on_bytes(void *arg, struct ferry_relay_conn *rc, enum ferry_relay_side from,
                     const char *p, size_t n)
{
    struct ferry_trace *t = arg;
    struct conn *c = rc->user;
    uint64_t now_us = ferry_now_us();
    FILE *out;

    if (!c)
        return;
    if (t->opts.pcap && !t->pcap_dumb)
        ferry_pcap_bytes(&t->pcap, &c->pcap, (int)from, wall_us(), p, n);
    out = c->notations[from] ? open_lines(t) : NULL;
    if (out)
        (void)ferry_notation_bytes(c->notations[from], p, n, out);
    for (size_t took; n; p += took, n -= took) {
        took = ferry_follow_recv(c->follow, (enum ferry_follow_side)from, p, n, now_us);
        pull_events(t, rc, now_us);
    }
    push_lines(t);
}

/* -- connections -- */

static void free_conn(struct conn *c)
{
    ferry_follow_free(c->follow);
    ferry_notation_free(c->notations[0]);
    ferry_notation_free(c->notations[1]);
    free(c);
}

static struct ferry_notation *new_notation(const char *who, uint64_t number)
{
    char speaker[64];
    struct ferry_notation_opts opts = {.speaker = speaker, .ids = true, .binary = true};

    snprintf(speaker, sizeof speaker, "#%llu %s", (unsigned long long)number, who);
    return ferry_notation_new(&opts);
}

static void on_opened(void *arg, struct ferry_relay_conn *rc)
{
    struct ferry_trace *t = arg;
    struct ferry_follow_opts opts = {.budget = &t->budget};
    struct conn *c = calloc(1, sizeof *c);

    if (c)
        c->follow = ferry_follow_new(&opts);
    if (!c || !c->follow) {
        t->opts.say("no memory is left to follow a connection; it is passed on");
        free(c);
        return;
    }
    if (t->opts.records) {
        c->notations[FERRY_RELAY_SERVER] = new_notation("Web server", rc->number);
        c->notations[FERRY_RELAY_APP] = new_notation("Application", rc->number);
    }
    rc->user = c;
    if (t->opts.pcap)
        ferry_pcap_open(&t->pcap, &c->pcap, rc->number, wall_us());
}

static void on_failed(void *arg, struct ferry_relay_conn *rc, int err)
{
    char text[160];

    snprintf(text, sizeof text, "cannot connect to the application: %s", ferry_strerror(err));
    note(arg, rc, text);
    push_lines(arg);
}

static void on_ended(void *arg, struct ferry_relay_conn *rc, enum ferry_relay_side from, int err)
{
    struct ferry_trace *t = arg;
    struct conn *c = rc->user;
    uint64_t now_us = ferry_now_us();
    char text[160];
    FILE *out;

    if (!c)
        return;
    if (t->opts.pcap && !t->pcap_dumb)
        ferry_pcap_end(&t->pcap, &c->pcap, (int)from, wall_us(), err < 0);
    out = c->notations[from] ? open_lines(t) : NULL;
    if (out)
        (void)ferry_notation_end(c->notations[from], out);
    ferry_follow_end(c->follow, (enum ferry_follow_side)from, now_us);
    if (err < 0) {
        snprintf(text, sizeof text, "%s: %s",
                 from == FERRY_RELAY_APP ? "application" : "web server", ferry_strerror(err));
        note(t, rc, text);
    }
    pull_events(t, rc, now_us);
    push_lines(t);
}

static void on_closed(void *arg, struct ferry_relay_conn *rc)
{
    struct ferry_trace *t = arg;
    struct conn *c = rc->user;
    uint64_t now_us = ferry_now_us();

    if (!c)
        return;
    if (t->opts.pcap && !t->pcap_dumb)
        ferry_pcap_close(&t->pcap, &c->pcap, wall_us());
    ferry_follow_end(c->follow, FERRY_FOLLOW_APP, now_us); /* what is open is over now */
    pull_events(t, rc, now_us);
    push_lines(t);
    free_conn(c);
    rc->user = NULL;
}

static bool is_busy(void *arg, const struct ferry_relay_conn *rc)
{
    const struct conn *c = rc->user;

    (void)arg;
    return !c || ferry_follow_open(c->follow) || ferry_follow_missed(c->follow);
}

static void on_drained(void *arg)
{
    struct ferry_trace *t = arg;

    t->opts.drained(t->opts.arg);
}

static const struct ferry_relay_fns relay_fns = {.opened = on_opened,
                                                 .failed = on_failed,
                                                 .bytes = on_bytes,
                                                 .ended = on_ended,
                                                 .closed = on_closed,
                                                 .busy = is_busy,
                                                 .drained = on_drained};

/* -- packets -- */

static bool write_packet(void *arg, const void *p, size_t n)
{
    struct ferry_trace *t = arg;
    int err;

    if (t->pcap_dumb)
        return false;
    if (ferry_writer_push(t->opts.pcap, p, n))
        return true;
    err = ferry_writer_error(t->opts.pcap);
    if (err < 0) {
        char text[160];

        t->pcap_dumb = true;
        snprintf(text, sizeof text, "the packets cannot be written, and no more are: %s",
                 ferry_strerror(err));
        t->opts.say(text);
    }
    return false;
}

/* -- the whole -- */

int ferry_trace_new(struct ferry_loop *loop, const struct ferry_trace_opts *opts, int listen_fd,
                    struct ferry_trace **out)
{
    struct ferry_trace *t = calloc(1, sizeof *t);
    struct ferry_relay_opts relay = {.to = opts->to, .fns = &relay_fns, .arg = t};
    int err;

    if (!t) {
        close(listen_fd);
        return -ENOMEM;
    }
    t->opts = *opts;
    t->budget.max = MEMORY_MAX;
    if (opts->pcap) {
        t->pcap = (struct ferry_pcap){.write = write_packet, .arg = t};
        ferry_pcap_begin(&t->pcap, opts->to_text);
    }
    err = ferry_relay_new(loop, &relay, listen_fd, &t->relay);
    if (err < 0) {
        ferry_trace_free(t);
        return err;
    }
    *out = t;
    return 0;
}

void ferry_trace_drain(struct ferry_trace *t)
{
    ferry_relay_drain(t->relay);
}

void ferry_trace_cut(struct ferry_trace *t)
{
    ferry_relay_cut(t->relay);
}

uint64_t ferry_trace_dropped(const struct ferry_trace *t)
{
    return t->dropped;
}

uint64_t ferry_trace_packets_dropped(const struct ferry_trace *t)
{
    return t->pcap.dropped;
}

void ferry_trace_free(struct ferry_trace *t)
{
    if (!t)
        return;
    ferry_relay_free(t->relay);
    ferry_pcap_fini(&t->pcap);
    free(t);
}
