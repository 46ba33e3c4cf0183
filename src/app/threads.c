/* SPDX-License-Identifier: MIT */
/*
 * The pool of threads that handlers run in when the option `threads` asks for it. The loop queues
 * requests, first come, first served; threads take them.
 *
 * Waking is what handing over costs, so the loop wakes once for all that a turn brought, and only
 * when nobody has been woken who did not look yet; who finds more than one request wakes the next
 * thread. That always leaves somebody on the way while requests wait and threads sleep. Each thread
 * sleeps on a semaphore of its own, and the one that fell asleep last is woken first: its stack and
 * its processor are the warmest.
 */
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

#include "app/app.h"
#include "base/assert.h"

int ferry__thread_start(pthread_t *out, void *(*run)(void *), void *arg)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t all, before;
    int err;

    sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

struct ferry__thread {
    struct ferry__threads *pool;
    struct ferry_list idle; /* in pool->idle while it sleeps */
    sem_t woken;
    pthread_t id;
};

/* Who is to be woken for what waits, taken out of the sleepers; NULL when nobody is. Locked. */
static struct ferry__thread *next_to_wake(struct ferry__threads *t)
{
    struct ferry_list *l = ferry_list_first(&t->idle);

    if (!l || t->waking || ferry_list_empty(&t->queue))
        return NULL;
    t->waking = true;
    ferry_list_remove(l);
    return ferry_container(l, struct ferry__thread, idle);
}

static void sleep_until_woken(struct ferry__thread *self)
{
    struct ferry__threads *t = self->pool;

    ferry_list_push_front(&t->idle, &self->idle);
    pthread_mutex_unlock(&t->lock);
    while (sem_wait(&self->woken) < 0)
        continue;
    pthread_mutex_lock(&t->lock);
    t->waking = false;
}

static void *work(void *arg)
{
    struct ferry__thread *self = arg, *other;
    struct ferry__threads *t = self->pool;
    struct ferry_request *r;
    struct ferry_list *l;

    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (!(l = ferry_list_first(&t->queue)) && !t->over)
            sleep_until_woken(self);
        if (!l)
            break;
        ferry_list_remove(l);
        r = ferry_container(l, struct ferry_request, queued);
        other = next_to_wake(t);
        pthread_mutex_unlock(&t->lock);
        if (other)
            sem_post(&other->woken);
        r->app->opts.handle(r);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* -- for the loop
 * ------------------------------------------------------------------------------------------------
 */

void ferry__threads_init(struct ferry__threads *t)
{
    pthread_mutex_init(&t->lock, NULL);
    ferry_list_init(&t->fresh);
    ferry_list_init(&t->queue);
    ferry_list_init(&t->idle);
}

static void join(struct ferry__threads *t)
{
    struct ferry_list *l;

    pthread_mutex_lock(&t->lock);
    t->over = true;
    while ((l = ferry_list_first(&t->idle))) {
        ferry_list_remove(l);
        sem_post(&ferry_container(l, struct ferry__thread, idle)->woken);
    }
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i < t->n; i++)
        pthread_join(t->threads[i].id, NULL);
    for (unsigned i = 0; i < t->n; i++) /* no sooner: they wake each other */
        sem_destroy(&t->threads[i].woken);
    free(t->threads);
    t->threads = NULL;
    t->n = 0;
    t->over = false;
}

int ferry__threads_start(struct ferry__threads *t, unsigned n)
{
    int err = 0;

    if (t->n == n)
        return 0;
    t->threads = calloc(n, sizeof *t->threads);
    if (!t->threads)
        return -ENOMEM;
    for (; t->n < n && err == 0; t->n++) {
        struct ferry__thread *thread = &t->threads[t->n];

        thread->pool = t;
        ferry_list_init(&thread->idle);
        sem_init(&thread->woken, 0, 0);
        err = ferry__thread_start(&thread->id, work, thread);
        if (err < 0) {
            sem_destroy(&thread->woken);
            break;
        }
    }
    if (err < 0)
        join(t);
    return err;
}

void ferry__threads_fini(struct ferry__threads *t)
{
    join(t);
    pthread_mutex_destroy(&t->lock);
}

void ferry__threads_queue(struct ferry__threads *t, struct ferry_request *r)
{
    ferry_list_push(&t->fresh, &r->queued);
}

void ferry__threads_hand_over(struct ferry__threads *t)
{
    struct ferry__thread *thread;
    struct ferry_list *l;

    if (ferry_list_empty(&t->fresh))
        return;
    pthread_mutex_lock(&t->lock);
    while ((l = ferry_list_first(&t->fresh))) {
        ferry_list_remove(l);
        ferry_list_push(&t->queue, l);
    }
    thread = next_to_wake(t);
    pthread_mutex_unlock(&t->lock);
    if (thread)
        sem_post(&thread->woken);
}

bool ferry__threads_cancel(struct ferry__threads *t, struct ferry_request *r)
{
    bool waits;

    pthread_mutex_lock(&t->lock);
    waits = !ferry_list_empty(&r->queued);
    ferry_list_remove(&r->queued);
    pthread_mutex_unlock(&t->lock);
    return waits;
}
