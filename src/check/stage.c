/* SPDX-License-Identifier: MIT */
/*
 * The stage's sockets: one poll moves bytes on all of them, with no limit on which side is slow. No
 * connection is ever waited for alone, so a web server that writes to both its sides at once, or to
 * neither, cannot stop us from seeing it.
 */
#include "check/stage.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check/talk.h"

#define POLL_MAX (FERRY_STAGE_CONNS_MAX + 65)

int ferry_stage_open(struct ferry_stage *s, const struct ferry_addr *app)
{
    int err;

    s->listener = ferry_listen(app, &(struct ferry_listen_opts){.mode = 0666});
    if (s->listener < 0)
        return s->listener;
    err = ferry_addr_local(s->listener, &s->app);
    if (err < 0)
        close(s->listener);
    return err;
}

void ferry_stage_close(struct ferry_stage *s)
{
    ferry_stage_clear(s);
    ferry_stage_forget(s);
    close(s->listener);
    ferry_listen_remove(&s->app);
}

void ferry_stage_begin(struct ferry_stage *s, struct ferry_check *c)
{
    s->check = c;
    s->serial++;
    s->nvisits = 0;
}

static void free_conn(struct ferry_stage_conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    ferry_bytes_fini(&conn->in);
    ferry_bytes_fini(&conn->out);
    free(conn);
}

static void sweep(struct ferry_stage *s, bool all)
{
    for (struct ferry_stage_conn **at = &s->conns; *at;) {
        struct ferry_stage_conn *conn = *at;

        if (!all && conn->fd >= 0) {
            at = &conn->next;
            continue;
        }
        *at = conn->next;
        free_conn(conn);
        s->nconns--;
    }
}

void ferry_stage_clear(struct ferry_stage *s)
{
    while (s->visits) {
        struct ferry_visit *v = s->visits;

        s->visits = v->next;
        ferry__visit_free(v);
    }
    while (s->asked) {
        struct ferry_asked *r = s->asked;

        /* A request that the case left in the middle can only end with its connection; and what is
         * still to come of one that was answered would be nobody's. */
        if (!r->ended || !r->stdin_ended)
            ferry__stage_conn_shut(r->conn, true);
        s->asked = r->next;
        ferry__asked_free(r);
    }
    for (struct ferry_stage_conn *conn = s->conns; conn; conn = conn->next) {
        conn->deaf = false;
        if (conn->fd >= 0 && (conn->gone || conn->out.err || conn->in.err))
            ferry__stage_conn_shut(conn, true);
    }
    sweep(s, false);
}

void ferry_stage_forget(struct ferry_stage *s)
{
    for (struct ferry_stage_conn *conn = s->conns; conn; conn = conn->next)
        ferry__stage_conn_shut(conn, true);
    sweep(s, true);
}

void ferry__stage_conn_shut(struct ferry_stage_conn *conn, bool by_us)
{
    if (conn->fd < 0)
        return;
    if (by_us && !conn->gone && conn->stage->check)
        ferry_talk_note(&conn->stage->check->talk, "Application", conn->number, "(closes)");
    close(conn->fd);
    conn->fd = -1;
}

static void take_connection(struct ferry_stage *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct ferry_stage_conn *conn = fd < 0 ? NULL : calloc(1, sizeof *conn);

    if (!conn) {
        if (fd >= 0)
            close(fd);
        return;
    }
    conn->stage = s;
    conn->fd = fd;
    conn->number = ++s->accepted;
    ferry_bytes_init(&conn->in, FERRY_STAGE_BYTES_MAX);
    ferry_bytes_init(&conn->out, FERRY_STAGE_BYTES_MAX);
    conn->next = s->conns;
    s->conns = conn;
    s->nconns++;
}

/* -- bytes ------------------------------------------------------------------------------------ */

/*
 * Some of what is there to read: false at the end of it, with *reset. Not all: from a peer that
 * sends as fast as it is read, a case would hear the whole body before it could stop listening.
 */
static bool take_in(int fd, struct ferry_bytes *in, bool *reset)
{
    for (int i = 0; i < 4; i++) {
        char *to = ferry_bytes_reserve(in, 65536);
        ssize_t n = to ? recv(fd, to, 65536, 0) : 0;

        if (n > 0) {
            in->len += (size_t)n;
            if (n < 65536)
                return true;
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        *reset = n < 0;
        return false;
    }
    return true;
}

/* What can be sent: false when nobody takes it any more. */
static bool let_out(int fd, struct ferry_bytes *out)
{
    size_t sent = 0;
    ssize_t n = 0;

    while (sent < out->len) {
        n = send(fd, out->p + sent, out->len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    if (sent)
        ferry_bytes_drop(out, sent);
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static void left(struct ferry_stage_conn *conn, bool reset)
{
    if (conn->gone)
        return;
    conn->gone = true;
    conn->reset = reset;
    ferry_talk_note(&conn->stage->check->talk, "Web server", conn->number,
                    reset ? "(resets the connection)" : "(closes)");
}

static void move_conn(struct ferry_stage_conn *conn, short seen)
{
    bool reset = false;

    if (seen & (POLLIN | POLLHUP | POLLERR) && !conn->gone && !conn->deaf) {
        bool more = take_in(conn->fd, &conn->in, &reset);

        ferry__stage_conn_read(conn);
        if (!more)
            left(conn, reset);
    }
    /* One that was half closed may still take its answer. */
    if (conn->fd >= 0 && conn->out.len && !let_out(conn->fd, &conn->out)) {
        left(conn, true);
        conn->out.len = 0;
    }
    if (conn->fd >= 0 && conn->closes && !conn->out.len)
        ferry__stage_conn_shut(conn, true);
}

static void move_visit(struct ferry_visit *v, short seen)
{
    bool reset = false;

    if (seen & (POLLIN | POLLHUP | POLLERR) && !v->deaf && v->input == FERRY_HTTP_MORE &&
        !take_in(v->fd, &v->in, &reset))
        v->input = reset ? FERRY_HTTP_RESET : FERRY_HTTP_EOF;
    if (v->out.len && !let_out(v->fd, &v->out))
        v->out.len = 0;
    ferry__visit_read(v);
}

void ferry_stage_turn(struct ferry_stage *s, unsigned ms)
{
    struct pollfd set[POLL_MAX];
    void *who[POLL_MAX];
    nfds_t n = 0, nconns;

    if (s->stop && *s->stop)
        ferry_check_skip(s->check, "interrupted");
    set[n++] = (struct pollfd){s->nconns < FERRY_STAGE_CONNS_MAX ? s->listener : -1, POLLIN, 0};
    for (struct ferry_stage_conn *conn = s->conns; conn && n < POLL_MAX; conn = conn->next) {
        short want =
            (short)((conn->gone || conn->deaf ? 0 : POLLIN) | (conn->out.len ? POLLOUT : 0));

        /* With nothing to wait for, poll would still report that the other end has hung up. */
        who[n] = conn;
        set[n++] = (struct pollfd){want ? conn->fd : -1, want, 0};
    }
    nconns = n;
    for (struct ferry_visit *v = s->visits; v && n < POLL_MAX; v = v->next) {
        short want = (short)((v->deaf || v->input != FERRY_HTTP_MORE ? 0 : POLLIN) |
                             (v->out.len ? POLLOUT : 0));

        who[n] = v;
        set[n++] = (struct pollfd){want ? v->fd : -1, want, 0};
    }
    if (poll(set, n, (int)ms) <= 0)
        return;
    for (nfds_t i = 1; i < n; i++) {
        if (set[i].fd < 0 || !set[i].revents)
            continue;
        if (i < nconns)
            move_conn(who[i], set[i].revents);
        else
            move_visit(who[i], set[i].revents);
    }
    if (set[0].revents)
        take_connection(s);
}

void ferry_stage_pass(struct ferry_check *c, unsigned ms)
{
    uint64_t end = ferry_check_now() + ms, now;

    while ((now = ferry_check_now()) < end)
        ferry_stage_turn(ferry_stage(c), (unsigned)(end - now));
}
