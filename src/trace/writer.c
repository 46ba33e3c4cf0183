/* SPDX-License-Identifier: MIT */
/*
 * Two buffers: one is filled under the lock while the thread writes the other, so the lock is never
 * held while writing. A thread that is stuck in write when the time is over (a terminal that was
 * stopped, a full pipe) is cancelled: write is the only place where it can be.
 */
#include "trace/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct text {
    char *p;
    size_t len, cap;
};

struct ferry_writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, done; /* for the thread; for finish */
    struct text queue, writing;
    size_t queue_max;
    int fd, err;
    bool over, ended;
};

/* The next queue into `writing`; false when there is nothing and it is over. */
static bool take_queue(struct ferry_writer *w)
{
    struct text t;
    bool some;

    pthread_mutex_lock(&w->lock);
    while (!w->queue.len && !w->over && !w->err)
        pthread_cond_wait(&w->more, &w->lock);
    some = w->queue.len && !w->err;
    t = w->writing;
    w->writing = w->queue;
    w->queue = t;
    w->queue.len = 0;
    pthread_mutex_unlock(&w->lock);
    return some;
}

static void fail(struct ferry_writer *w, int err)
{
    pthread_mutex_lock(&w->lock);
    w->err = err;
    w->queue.len = 0;
    pthread_mutex_unlock(&w->lock);
}

static void *run(void *arg)
{
    struct ferry_writer *w = arg;
    int state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    while (take_queue(w)) {
        for (size_t at = 0; at < w->writing.len;) {
            ssize_t n;

            pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
            n = write(w->fd, w->writing.p + at, w->writing.len - at);
            pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
            if (n < 0 && errno == EAGAIN) { /* somebody else made it non-blocking */
                nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
                n = 0;
            } else if (n < 0 && errno != EINTR) {
                fail(w, -errno);
                break;
            }
            at += n > 0 ? (size_t)n : 0;
        }
    }
    pthread_mutex_lock(&w->lock);
    w->ended = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* The thread gets none of the program's signals. */
static int start(struct ferry_writer *w)
{
    sigset_t all, before;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

int ferry_writer_new(int fd, size_t queue_max, struct ferry_writer **out)
{
    struct ferry_writer *w = calloc(1, sizeof *w);
    pthread_condattr_t clock;
    int err;

    if (!w)
        return -ENOMEM;
    w->fd = fd;
    w->queue_max = queue_max;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&w->more, &clock);
    pthread_cond_init(&w->done, &clock);
    pthread_condattr_destroy(&clock);
    err = start(w);
    if (err < 0) {
        ferry_writer_free(w);
        return err;
    }
    *out = w;
    return 0;
}

static bool append(struct ferry_writer *w, const void *p, size_t n)
{
    struct text *q = &w->queue;

    if (w->err || w->over || n > w->queue_max - q->len)
        return false;
    if (n > q->cap - q->len) {
        size_t cap = q->cap ? 2 * q->cap : 4096;
        char *grown;

        while (cap < q->len + n)
            cap *= 2;
        grown = realloc(q->p, cap);
        if (!grown)
            return false;
        q->p = grown;
        q->cap = cap;
    }
    memcpy(q->p + q->len, p, n);
    q->len += n;
    return true;
}

bool ferry_writer_push(struct ferry_writer *w, const void *p, size_t n)
{
    bool took;

    if (n == 0)
        return true;
    pthread_mutex_lock(&w->lock);
    took = append(w, p, n);
    if (took)
        pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
    return took;
}

int ferry_writer_error(struct ferry_writer *w)
{
    int err;

    pthread_mutex_lock(&w->lock);
    err = w->err;
    pthread_mutex_unlock(&w->lock);
    return err;
}

bool ferry_writer_finish(struct ferry_writer *w, unsigned ms)
{
    struct timespec until;
    bool ended;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&w->lock);
    w->over = true;
    pthread_cond_signal(&w->more);
    while (!w->ended && pthread_cond_timedwait(&w->done, &w->lock, &until) == 0)
        ;
    ended = w->ended;
    pthread_mutex_unlock(&w->lock);
    if (!ended)
        pthread_cancel(w->thread);
    pthread_join(w->thread, NULL);
    return ended && !w->err;
}

void ferry_writer_free(struct ferry_writer *w)
{
    if (!w)
        return;
    pthread_cond_destroy(&w->more);
    pthread_cond_destroy(&w->done);
    pthread_mutex_destroy(&w->lock);
    free(w->queue.p);
    free(w->writing.p);
    free(w);
}
