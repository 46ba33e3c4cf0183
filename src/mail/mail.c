/* SPDX-License-Identifier: MIT */
/*
 * The gateway's services, threads and listeners. What a service is made of (lists, limits,
 * certificates) is shared by all threads and does not change; a thread has its sessions, its parts
 * of the clients and its resolver.
 */
#include "mail/mail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mail/internal.h"

/* For the last words of sessions that are cut. */
#define CUT_MS 100

struct door { /* one listener of one thread */
    struct ferry_listener listener;
    struct ferry_mail_thread *thread;
    struct ferry__mail_service *service;
    struct ferry_list link;
};

void ferry__mail_count(struct ferry_mail *m, enum ferry_mail_count which, int64_t by)
{
    atomic_fetch_add_explicit(&m->counts[which], (unsigned long long)by, memory_order_relaxed);
}

void ferry_mail_stats(const struct ferry_mail *m, uint64_t out[FERRY_MAIL_COUNTS])
{
    for (unsigned i = 0; i < FERRY_MAIL_COUNTS; i++)
        out[i] = atomic_load_explicit(&m->counts[i], memory_order_relaxed);
}

const char *ferry_mail_count_name(enum ferry_mail_count which)
{
    static const char *const names[] = {
#define X(name, text) text,
        FERRY_MAIL_COUNT_MAP(X)
#undef X
    };

    return names[which];
}

void ferry__mail_log(const struct ferry_mail *m, enum ferry_mail_level level,
                     struct ferry_slice line)
{
    if (m->opts.log)
        m->opts.log(m->opts.log_arg, level, line);
}

/* -- threads ----------------------------------------------------------------------------------- */

/* One disk thread for all, made by the first that runs: a thread does not live through a fork that
 * may lie between the gateway and its threads. */
static int want_maildir(struct ferry_mail *m)
{
    int err = 0;

    pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < m->opts.nservices && err == 0; i++) {
        const char *path = m->services[i].given.maildir;

        if (path)
            err = ferry_maildir_prepare(path);
        if (path && err == 0 && !m->maildir)
            err = ferry_maildir_new(&m->maildir);
    }
    pthread_mutex_unlock(&m->lock);
    return err;
}

static int join(struct ferry_mail_thread *t, const struct ferry_mail_script *script)
{
    return script->path && !ferry_session_thread_client(&t->session, script->client) ? -ENOMEM : 0;
}

static int join_service(struct ferry_mail_thread *t, const struct ferry_mail_service *s)
{
    int err = join(t, &s->validate);

    if (err == 0)
        err = join(t, &s->save);
    if (err == 0)
        err = join(t, &s->auth);
    if (err == 0 && s->names && !t->resolver)
        err = ferry_resolver_new(t->loop, NULL, &t->resolver);
    return err;
}

static void cut_over(struct ferry_timer *timer);
static void linger_over(struct ferry_timer *timer);

int ferry_mail_thread_new(struct ferry_mail *m, unsigned index, struct ferry_loop *loop,
                          struct ferry_mail_thread **out)
{
    struct ferry_mail_thread *t = calloc(1, sizeof *t);
    int err;

    if (!t)
        return -ENOMEM;
    t->mail = m;
    t->loop = loop;
    ferry_list_init(&t->doors);
    ferry_list_init(&t->sessions);
    ferry_timer_init(&t->cut, cut_over);
    ferry_timer_init(&t->linger, linger_over);
    ferry_session_thread_init(&t->session, loop, index, NULL);
    err = want_maildir(m);
    for (unsigned i = 0; err == 0 && i < m->opts.nservices; i++)
        err = join_service(t, &m->services[i].given);
    if (err < 0) {
        ferry_mail_thread_free(t);
        return err;
    }
    *out = t;
    return 0;
}

void ferry_mail_thread_free(struct ferry_mail_thread *t)
{
    if (!t)
        return;
    ferry_timer_stop(&t->cut);
    ferry_timer_stop(&t->linger);
    if (t->resolver)
        ferry_resolver_free(t->resolver, NULL, NULL);
    ferry_session_thread_fini(&t->session);
    free(t);
}

/* -- the end of a thread ----------------------------------------------------------------------- */

static void part_closed(void *arg)
{
    struct ferry_mail_thread *t = arg;

    if (--t->left)
        return;
    ferry_timer_stop(&t->cut);
    ferry_timer_stop(&t->linger);
    t->drained(t->drained_arg);
}

/* The clients close when their calls are over, those too that go on for sessions that have ended.
 */
void ferry__mail_maybe_drained(struct ferry_mail_thread *t)
{
    struct ferry_resolver *resolver = t->resolver;

    if (!t->draining || t->closing || !ferry_list_empty(&t->sessions) ||
        !ferry_list_empty(&t->doors))
        return;
    t->closing = true;
    t->left = 1 + (resolver != NULL);
    t->resolver = NULL;
    if (resolver)
        ferry_resolver_free(resolver, part_closed, t);
    ferry_session_thread_close(&t->session, part_closed, t);
}

static struct ferry__mail_session *session_at(struct ferry_list *at)
{
    return ferry_container(at, struct ferry__mail_session, link);
}

static void linger_over(struct ferry_timer *timer)
{
    struct ferry_mail_thread *t = ferry_container(timer, struct ferry_mail_thread, linger);

    t->lingering = false;
    ferry_list_each (at, next, &t->sessions)
        ferry__mail_session_drain(session_at(at));
}

void ferry_mail_thread_retire(struct ferry_mail_thread *t, unsigned linger_ms, void (*done)(void *),
                              void *arg)
{
    t->draining = true;
    t->lingering = linger_ms > 0;
    t->drained = done;
    t->drained_arg = arg;
    ferry_list_each (at, next, &t->doors) {
        struct door *door = ferry_container(at, struct door, link);

        door->listener.takes_rest = true;
        ferry_listener_close(&door->listener, true);
    }
    ferry_list_each (at, next, &t->sessions)
        if (!t->lingering || ferry_smtp_counts(session_at(at)->smtp)->mails)
            ferry__mail_session_drain(session_at(at));
    if (t->lingering)
        ferry_timer_set(t->loop, &t->linger, ferry_loop_now(t->loop) + linger_ms);
    ferry__mail_maybe_drained(t);
}

void ferry_mail_thread_drain(struct ferry_mail_thread *t, void (*done)(void *), void *arg)
{
    ferry_mail_thread_retire(t, 0, done, arg);
}

/* The last words have been sent, or will not be taken. */
static void cut_over(struct ferry_timer *timer)
{
    struct ferry_mail_thread *t = ferry_container(timer, struct ferry_mail_thread, cut);

    ferry_list_each (at, next, &t->sessions)
        ferry__mail_session_close(session_at(at));
}

void ferry_mail_thread_cut(struct ferry_mail_thread *t)
{
    t->lingering = false;
    ferry_timer_set(t->loop, &t->cut, ferry_loop_now(t->loop) + CUT_MS);
    ferry_list_each (at, next, &t->sessions)
        ferry__mail_session_cut(session_at(at));
    ferry_mail_asking_cut();
}

/* -- listeners --------------------------------------------------------------------------------- */

static void on_accepted(struct ferry_listener *listener, int fd)
{
    struct door *door = ferry_container(listener, struct door, listener);

    ferry__mail_session_open(door->thread, door->service, fd);
}

static void on_door_closed(struct ferry_listener *listener)
{
    struct door *door = ferry_container(listener, struct door, listener);
    struct ferry_mail_thread *t = door->thread;

    ferry_list_remove(&door->link);
    free(door);
    ferry__mail_maybe_drained(t);
}

int ferry_mail_listen(struct ferry_mail_thread *t, int fd, unsigned service)
{
    struct door *door = calloc(1, sizeof *door);
    int err;

    if (!door)
        return -ENOMEM;
    door->thread = t;
    door->service = &t->mail->services[service];
    door->listener.accepted = door->listener.late = on_accepted;
    door->listener.closed = on_door_closed;
    err = ferry_listener_open(t->loop, &door->listener, fd);
    if (err < 0) {
        free(door);
        return err;
    }
    ferry_list_push(&t->doors, &door->link);
    return 0;
}

/* -- the gateway ------------------------------------------------------------------------------- */

int ferry_mail_new(const struct ferry_mail_opts *opts, struct ferry_mail **out, char *why,
                   size_t cap)
{
    struct ferry_mail *m = calloc(1, sizeof *m);
    int err = 0;

    if (!m)
        return -ENOMEM;
    ferry_mail_header_begin();
    m->opts = *opts;
    pthread_mutex_init(&m->lock, NULL);
    if (gethostname(m->hostname, sizeof m->hostname - 1) < 0 || !m->hostname[0])
        snprintf(m->hostname, sizeof m->hostname, "localhost");
    if (opts->spool && setenv("TMPDIR", opts->spool, 1) < 0)
        err = -ENOMEM;
    m->services = calloc(opts->nservices ? opts->nservices : 1, sizeof *m->services);
    if (!m->services)
        err = -ENOMEM;
    for (unsigned i = 0; err == 0 && i < opts->nservices; i++)
        err = ferry__mail_service_open(&m->services[i], &opts->services[i], m->hostname, why, cap);
    if (err < 0) {
        ferry_mail_free(m);
        return err;
    }
    *out = m;
    return 0;
}

void ferry_mail_free(struct ferry_mail *m)
{
    if (!m)
        return;
    ferry_maildir_free(m->maildir);
    for (unsigned i = 0; m->services && i < m->opts.nservices; i++)
        ferry__mail_service_close(&m->services[i]);
    free(m->services);
    pthread_mutex_destroy(&m->lock);
    free(m);
}
