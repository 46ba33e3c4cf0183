/* SPDX-License-Identifier: MIT */
/*
 * One FastCGI connection: reads records and hands out events.
 *
 * A record is read in three parts: its header, wherever it is cut; its content, which is skipped,
 * collected (small bodies) or handed out as it comes (streams); its padding. What a record means is
 * decided once, at its header, by conn_client.c or conn_app.c. At most one event waits; while it
 * does, no byte is taken, so its data can lie in the caller's memory.
 */
#include "fcgi/conn_private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"

#define IDLE_RECORDS_MAX 65536

struct ferry_conn *ferry_conn_new(const struct ferry_conn_opts *o)
{
    uint16_t requests_max = o->requests_max ? o->requests_max : 1;
    uint32_t ids_max = 0;
    struct ferry_conn *c;

    if (o->side == FERRY_CONN_CLIENT && requests_max == 1)
        ids_max = 1;
    else if (o->side == FERRY_CONN_CLIENT)
        ids_max = requests_max < UINT16_MAX - FERRY__IDS_SPARE ? requests_max + FERRY__IDS_SPARE
                                                               : UINT16_MAX;
    c = calloc(1, sizeof *c + FERRY__IDS_WORDS(ids_max) * sizeof c->id_words[0]);
    if (!c)
        return NULL;
    ferry_chain_init(&c->out, o->blocks);
    ferry__requests_init(&c->requests);
    ferry__ids_init(&c->ids, c->id_words, ids_max);
    c->is_app = o->side == FERRY_CONN_APP;
    c->roles = o->roles ? o->roles : 1 << FERRY_RESPONDER;
    c->requests_max = requests_max;
    c->max_conns = o->max_conns;
    c->max_reqs = o->max_reqs;
    c->idle_max = o->idle_records_max ? o->idle_records_max : IDLE_RECORDS_MAX;
    c->err_text = "";
    return c;
}

void ferry_conn_free(struct ferry_conn *c)
{
    if (!c)
        return;
    ferry_chain_clear(&c->out);
    ferry__requests_fini(&c->requests);
    free(c);
}

int ferry__conn_fail(struct ferry_conn *c, int err, const char *text)
{
    if (!c->err) {
        c->err = err;
        c->err_text = text;
    }
    return c->err;
}

int ferry__conn_output_err(struct ferry_conn *c)
{
    if (c->out.err)
        ferry__conn_fail(c, c->out.err, "memory is out");
    return c->err;
}

void ferry__conn_ignore(struct ferry_conn *c)
{
    c->content = FERRY__SKIP;
    if (++c->idle > c->idle_max)
        ferry__conn_fail(c, FERRY_ELIMIT, "too many records without progress");
}

void ferry__conn_tell(struct ferry_conn *c, enum ferry_conn_event_type type,
                      const struct ferry__request *r)
{
    ferry_assert(!c->waiting);
    c->event = (struct ferry_conn_event){.type = type};
    if (r) {
        c->event.id = r->id;
        c->event.user = r->user;
    }
    c->waiting = true;
    c->idle = 0;
}

void ferry__conn_mute(struct ferry_conn *c, uint16_t id)
{
    if (c->waiting && c->event.id == id)
        c->waiting = false;
    if (c->content == FERRY__STREAM && c->rec.id == id)
        c->content = FERRY__SKIP;
}

void ferry__conn_forget(struct ferry_conn *c, struct ferry__request *r)
{
    ferry__conn_mute(c, r->id);
    ferry__requests_remove(&c->requests, r);
}

static const uint8_t stream_event[] = {
    [FERRY_PARAMS] = FERRY_CONN_PARAMS, [FERRY_STDIN] = FERRY_CONN_STDIN,
    [FERRY_DATA] = FERRY_CONN_DATA,     [FERRY_STDOUT] = FERRY_CONN_STDOUT,
    [FERRY_STDERR] = FERRY_CONN_STDERR,
};

/* Takes what there is of the content: how many bytes. */
static size_t take_content(struct ferry_conn *c, const char *p, size_t n)
{
    size_t kept;

    if (n > c->content_left)
        n = c->content_left;
    c->content_left -= (uint32_t)n;
    if (c->content == FERRY__STREAM) {
        ferry__conn_tell(c, stream_event[c->rec.type],
                         ferry__requests_find(&c->requests, c->rec.id));
        c->event.data = ferry_slice(p, n);
    } else if (c->content == FERRY__BODY) {
        kept = sizeof c->body - c->body_len;
        if (kept > n)
            kept = n;
        memcpy(c->body + c->body_len, p, kept);
        c->body_len += (uint16_t)kept;
    }
    return n;
}

static void body_complete(struct ferry_conn *c)
{
    c->content = FERRY__SKIP;
    if (c->is_app)
        ferry__app_body(c);
    else
        ferry__client_body(c);
}

/* Takes what there is of a header and, when it is whole, what it says: how many bytes, or the
 * error.
 */
static ssize_t take_header(struct ferry_conn *c, const char *p, size_t n)
{
    size_t took = FERRY_RECORD_HEADER_LEN;
    int got;

    if (c->head_len == 0 && n >= FERRY_RECORD_HEADER_LEN) {
        got = ferry_record_decode(p, n, &c->rec);
    } else {
        took -= c->head_len;
        if (took > n)
            took = n;
        memcpy(c->head + c->head_len, p, took);
        c->head_len += (uint8_t)took;
        got = ferry_record_decode(c->head, c->head_len, &c->rec);
    }
    if (got < 0)
        return ferry__conn_fail(c, got, "a record of another version than 1");
    if (got == 0)
        return (ssize_t)took;
    c->head_len = 0;
    c->body_len = 0;
    c->content_left = c->rec.content_len;
    c->padding_left = c->rec.padding_len;
    c->content = FERRY__SKIP;
    if (c->is_app)
        ferry__app_header(c);
    else
        ferry__client_header(c);
    if (c->content == FERRY__BODY && c->content_left == 0 && !c->err)
        body_complete(c);
    return c->err ? c->err : (ssize_t)took;
}

static void closed_by_peer(struct ferry_conn *c)
{
    bool inside = c->head_len || c->content_left || c->padding_left;

    c->cut = inside && !ferry__conn_done(c);
    c->eof = true;
    c->closing = true;
}

ssize_t ferry_conn_recv(struct ferry_conn *c, const char *p, size_t n, uint64_t now_ms)
{
    const char *at = p, *end = n ? p + n : p;

    (void)now_ms;
    if (c->err)
        return c->err;
    if (n == 0 && !c->eof)
        closed_by_peer(c);
    while (at < end && !c->waiting) {
        if (c->content_left) {
            at += take_content(c, at, (size_t)(end - at));
            if (c->content == FERRY__BODY && c->content_left == 0)
                body_complete(c);
        } else if (c->padding_left == 0) {
            ssize_t took;

            if (c->replies >= FERRY__REPLIES_MAX)
                break;
            took = take_header(c, at, (size_t)(end - at));
            if (took > 0)
                at += took;
        }
        if (c->err)
            return c->err;
        if (c->content_left == 0 && c->padding_left) {
            size_t skip = (size_t)(end - at);

            if (skip > c->padding_left)
                skip = c->padding_left;
            c->padding_left -= (uint8_t)skip;
            at += skip;
        }
    }
    return at - p;
}

/* The peer's close is told when everything before it was. */
static void tell_close(struct ferry_conn *c)
{
    c->eof_told = true;
    ferry__conn_tell(c, c->cut || c->requests.n ? FERRY_CONN_CUT : FERRY_CONN_CLOSED, NULL);
}

int ferry_conn_event(struct ferry_conn *c, struct ferry_conn_event *out)
{
    if (!c->waiting && c->eof && !c->eof_told && !c->err)
        tell_close(c);
    if (!c->waiting)
        return c->err;
    *out = c->event;
    c->waiting = false;
    return 1;
}

struct ferry_chain *ferry_conn_output(struct ferry_conn *c)
{
    return &c->out;
}

/* Nothing is left to do, but closing over unread input would turn into a reset, which can eat what
 * was sent last. */
static bool wants_shutdown(const void *m)
{
    const struct ferry_conn *c = m;

    return c->is_app && !c->err && !c->eof && c->unread && ferry__conn_done(c);
}

void ferry_conn_sent(struct ferry_conn *c, size_t n, uint64_t now_ms)
{
    ferry_chain_consume(&c->out, n);
    c->sent += n;
    if (c->sent >= c->replies_end)
        c->replies = 0;
    if (c->out.len == 0 && !c->linger_until_ms && wants_shutdown(c))
        c->linger_until_ms = now_ms + FERRY__LINGER_MS;
}

bool ferry_conn_finished(const struct ferry_conn *c)
{
    if (c->err)
        return true;
    if (c->waiting || (c->eof && !c->eof_told))
        return false;
    if (!c->is_app && c->eof)
        return true; /* no answer can come any more */
    return ferry__conn_done(c) && !wants_shutdown(c);
}

const char *ferry_conn_error_text(const struct ferry_conn *c)
{
    return c->err_text;
}

unsigned ferry_conn_active(const struct ferry_conn *c)
{
    return c->requests.n;
}

void ferry_conn_set_user(struct ferry_conn *c, uint16_t id, void *user)
{
    struct ferry__request *r = ferry__requests_find(&c->requests, id);

    if (r)
        r->user = user;
}

void ferry_conn_drain(struct ferry_conn *c)
{
    c->closing = true;
}

/* -- the machine -- */

static ssize_t machine_recv(void *m, const char *p, size_t n, uint64_t now_ms)
{
    return ferry_conn_recv(m, p, n, now_ms);
}

static struct ferry_chain *machine_output(void *m)
{
    return ferry_conn_output(m);
}

static void machine_sent(void *m, size_t n, uint64_t now_ms)
{
    ferry_conn_sent(m, n, now_ms);
}

static uint64_t machine_deadline(const void *m)
{
    const struct ferry_conn *c = m;

    /* Lingering that has not begun is due at once: tick knows the time. */
    return c->out.len == 0 && wants_shutdown(c) ? c->linger_until_ms : FERRY_NEVER;
}

static void machine_tick(void *m, uint64_t now_ms)
{
    struct ferry_conn *c = m;

    if (now_ms < machine_deadline(c))
        return;
    if (c->linger_until_ms)
        c->unread = 0;
    else
        c->linger_until_ms = now_ms + FERRY__LINGER_MS;
}

static bool machine_finished(const void *m)
{
    return ferry_conn_finished(m);
}

const struct ferry_machine ferry_conn_machine = {
    .recv = machine_recv,
    .output = machine_output,
    .sent = machine_sent,
    .deadline = machine_deadline,
    .tick = machine_tick,
    .finished = machine_finished,
    .wants_shutdown = wants_shutdown,
};
