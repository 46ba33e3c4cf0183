/* SPDX-License-Identifier: MIT */
/*
 * Two buffers: one is filled under the lock while the thread writes the other, so the lock is never
 * held while writing. The thread never blocks in write, where nothing could end it: pipes and
 * terminals are opened again to be non-blocking for us alone, and it waits in poll.
 */
#include "trace/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
    int again_fd; /* the same, opened again, or -1 */
    int stop_fd;  /* readable: leave the rest */
    mode_t kind;  /* what fd is */
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

/* Room, or an error to be met by writing: true; false when it is to stop. */
static bool wait_for_room(const struct ferry_writer *w)
{
    struct pollfd p[] = {{.fd = w->stop_fd, .events = POLLIN},
                         {.fd = w->again_fd >= 0 ? w->again_fd : w->fd, .events = POLLOUT}};

    while (poll(p, 2, -1) < 0 && errno == EINTR)
        ;
    return !p[0].revents;
}

static ssize_t put(const struct ferry_writer *w, const char *p, size_t n)
{
    if (S_ISREG(w->kind))
        return write(w->fd, p, n);
    if (S_ISSOCK(w->kind))
        return send(w->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (w->again_fd >= 0)
        return write(w->again_fd, p, n);
    return write(w->fd, p, n < PIPE_BUF ? n : PIPE_BUF); /* for so much there is room */
}

static void *run(void *arg)
{
    struct ferry_writer *w = arg;
    bool stop = false;

    while (!stop && take_queue(w)) {
        for (size_t at = 0; !stop && at < w->writing.len;) {
            ssize_t n;

            if (!S_ISREG(w->kind) && !wait_for_room(w)) {
                stop = true;
                break;
            }
            n = put(w, w->writing.p + at, w->writing.len - at);
            if (n < 0 && errno != EINTR && errno != EAGAIN) {
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

/* A description of our own, so that nobody else's becomes non-blocking; -1 where there is none. */
static int open_again(const struct ferry_writer *w)
{
    char path[64];

    if (!S_ISFIFO(w->kind) && !S_ISCHR(w->kind))
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", w->fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
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
    struct stat st;
    int err;

    if (!w)
        return -ENOMEM;
    w->fd = fd;
    w->queue_max = queue_max;
    w->kind = fstat(fd, &st) == 0 ? st.st_mode : 0;
    w->again_fd = open_again(w);
    w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&w->more, &clock);
    pthread_cond_init(&w->done, &clock);
    pthread_condattr_destroy(&clock);
    err = w->stop_fd < 0 ? -errno : start(w);
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
        (void)eventfd_write(w->stop_fd, 1);
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
    if (w->again_fd >= 0)
        close(w->again_fd);
    if (w->stop_fd >= 0)
        close(w->stop_fd);
    free(w->queue.p);
    free(w->writing.p);
    free(w);
}
