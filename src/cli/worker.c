/* SPDX-License-Identifier: MIT */
/*
 * The worker process: one thread per core, each with its own loop and listeners. The main thread
 * only waits for signals and hands them on. All memory the threads share is in the service.
 *
 * It begins with the rights of the master and has only those it needs before it looks at a folder
 * that it serves: logs are opened first, then it becomes another user, then the sandbox shuts.
 *
 * Signals are the master's to send. Those of a terminal reach the whole group of processes; the
 * worker leaves them to the master, which decides what becomes of both.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/confine.h"
#include "cli/engine.h"

#define THREAD_ENDED SIGUSR2 /* a thread tells the main one */

struct thread {
    pthread_t id;
    struct worker *worker;
    struct ferry_loop *loop;
    void *service;
    struct ferry_post drain, cut;
};

struct worker {
    const struct ferry_engine *engine;
    const struct ferry_generation *generation;
    const struct ferry_service_ops *ops;
    struct ferry_service *service;
    pthread_t main;
    unsigned nthreads;
    bool retires;
    atomic_uint running;
    atomic_bool failed; /* a loop has */
    struct thread threads[FERRY_ENGINE_THREADS_MAX];
};

static int complain(const char *what, const char *which, int err)
{
    ferry_cli_say("%s%s: %s", what, which, ferry_strerror(err));
    return err;
}

/* -- the threads ------------------------------------------------------------------------------ */

static void on_drained(void *arg)
{
    struct thread *t = arg;

    ferry_loop_stop(t->loop);
}

static void on_drain(struct ferry_post *post)
{
    struct thread *t = ferry_container(post, struct thread, drain);

    t->worker->ops->thread_drain(t->service, t->worker->retires, on_drained, t);
}

static void on_cut(struct ferry_post *post)
{
    struct thread *t = ferry_container(post, struct thread, cut);

    t->worker->ops->thread_cut(t->service);
}

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    struct worker *w = t->worker;
    int err = ferry_loop_run(t->loop);

    if (err < 0) {
        complain("the event loop failed", "", err);
        atomic_store(&w->failed, true);
    }
    atomic_fetch_sub(&w->running, 1);
    pthread_kill(w->main, THREAD_ENDED);
    return NULL;
}

/* There may be more sockets than threads, after a reload: each is somebody's. */
static int open_doors(struct thread *t, unsigned index)
{
    const struct ferry_service_ops *ops = t->worker->ops;
    const struct ferry_generation *g = t->worker->generation;

    for (unsigned l = 0; l < g->nlisteners; l++) {
        const struct ferry_listening *from = g->listeners[l];

        for (unsigned k = index; k < from->nfds || k == index; k += g->threads) {
            /* One socket for all: each thread has a descriptor of its own to close. */
            int fd = k < from->nfds ? from->fds[k] : fcntl(from->fds[0], F_DUPFD_CLOEXEC, 3);
            int err = fd < 0 ? -errno : ops->thread_listen(t->service, fd, l);

            if (err < 0)
                return err;
        }
    }
    return 0;
}

static int open_thread(struct worker *w, unsigned i)
{
    struct thread *t = &w->threads[i];
    enum ferry_io io = w->generation->config->io;
    int err = ferry_loop_new(io, &t->loop);

    if (err < 0)
        return complain("cannot make an event loop with ",
                        io == FERRY_IO_URING ? "io_uring; try --io epoll" : "epoll", err);
    t->worker = w;
    t->drain.run = on_drain;
    t->cut.run = on_cut;
    err = w->ops->thread_new(w->service, i, t->loop, &t->service);
    if (err < 0)
        return complain("cannot start a thread", "", err);
    err = open_doors(t, i);
    return err < 0 ? complain("cannot accept connections", "", err) : 0;
}

static int start_threads(struct worker *w)
{
    w->main = pthread_self();
    atomic_store(&w->running, w->generation->threads);
    for (unsigned i = 0; i < w->generation->threads; i++) {
        int err = pthread_create(&w->threads[i].id, NULL, run_thread, &w->threads[i]);

        if (err)
            return complain("cannot start a thread", "", -err);
        w->nthreads++;
    }
    return 0;
}

/* -- what they share -------------------------------------------------------------------------- */

static int open_worker(struct worker *w, const char *spool)
{
    const struct ferry_generation *g = w->generation;
    int err = w->ops->new (w->engine, g, spool, &w->service);

    if (err == 0)
        err = ferry_confine(w->engine, g, spool);
    if (err == 0)
        err = w->ops->open(w->service);
    for (unsigned i = 0; err == 0 && i < g->threads; i++)
        err = open_thread(w, i);
    return err;
}

static void close_worker(struct worker *w)
{
    for (unsigned i = 0; i < w->nthreads; i++)
        pthread_join(w->threads[i].id, NULL);
    for (unsigned i = 0; i < w->nthreads; i++)
        w->ops->thread_free(w->threads[i].service);
    /* What the service has threads for may still be telling a loop something. */
    w->ops->free(w->service);
    for (unsigned i = 0; i < w->nthreads; i++)
        ferry_loop_free(w->threads[i].loop);
}

/* -- until it ends ---------------------------------------------------------------------------- */

/* The next signal, or 0 when the time is over. */
static int next_signal(const sigset_t *set, uint64_t until_ms)
{
    uint64_t now = ferry_now_us() / 1000, left = until_ms > now ? until_ms - now : 0;
    struct timespec t = {.tv_sec = (time_t)(left / 1000),
                         .tv_nsec = (long)(left % 1000) * 1000000L};
    siginfo_t info;
    int sig;

    do
        sig = until_ms == UINT64_MAX ? sigwaitinfo(set, &info) : sigtimedwait(set, &info, &t);
    while ((sig < 0 && errno == EINTR) || (sig > 0 && info.si_code == SI_KERNEL));
    return sig < 0 ? 0 : sig;
}

/* Until all threads have ended: true; or the time for it is over. */
static bool serve_until_told(struct worker *w, const sigset_t *set)
{
    enum { SERVING, DRAINING, CUTTING } phase = SERVING;
    uint64_t until_ms = UINT64_MAX;

    while (atomic_load(&w->running)) {
        int sig = next_signal(set, until_ms);
        bool cut = phase != CUTTING && (sig == SIGINT || (!sig && phase == DRAINING));

        if (sig == SIGUSR1)
            w->ops->reopen_logs(w->service);
        if (!sig && phase == CUTTING)
            return false;
        if (atomic_load(&w->failed))
            return false;
        if (phase == SERVING && (sig == SIGTERM || sig == FERRY_ENGINE_RETIRE || cut)) {
            phase = DRAINING;
            w->retires = sig == FERRY_ENGINE_RETIRE;
            until_ms = ferry_now_us() / 1000 + w->generation->config->stop_ms +
                       (w->retires ? FERRY_ENGINE_LINGER_MS : 0);
            for (unsigned i = 0; i < w->nthreads; i++)
                ferry_loop_post(w->threads[i].loop, &w->threads[i].drain);
        }
        if (cut) {
            phase = CUTTING;
            until_ms = ferry_now_us() / 1000 + FERRY_ENGINE_CUT_MS;
            for (unsigned i = 0; i < w->nthreads; i++)
                ferry_loop_post(w->threads[i].loop, &w->threads[i].cut);
        }
    }
    return true;
}

static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1);
    sigaddset(set, FERRY_ENGINE_RETIRE);
    sigaddset(set, THREAD_ENDED);
    pthread_sigmask(SIG_SETMASK, set, NULL);
}

/* Each connection is a descriptor, often two. */
static void raise_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int ferry_engine_worker(const struct ferry_engine *e, const struct ferry_generation *g,
                        pid_t master, int ready_fd, const char *spool)
{
    static struct worker worker;
    struct worker *w = &worker;
    sigset_t set;

    w->engine = e;
    w->ops = e->ops;
    w->generation = g;
    block_signals(&set);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != master) /* it ended before it could be noticed */
        return FERRY_EXIT_FAILED;
    raise_limit();
    if (open_worker(w, spool) < 0)
        return FERRY_EXIT_FAILED;
    if (e->verbose)
        ferry_cli_say("%u thread%s on %s%s%s", g->threads, g->threads == 1 ? "" : "s",
                      ferry_loop_backend(w->threads[0].loop),
                      *ferry_loop_why(w->threads[0].loop) ? ": " : "",
                      ferry_loop_why(w->threads[0].loop));
    if (getppid() != master || start_threads(w) < 0 || write(ready_fd, "r", 1) != 1)
        _exit(FERRY_EXIT_FAILED);
    close(ready_fd);
    if (!serve_until_told(w, &set)) /* with threads still running */
        _exit(atomic_load(&w->failed) ? FERRY_EXIT_FAILED : FERRY_EXIT_OK);
    close_worker(w);
    return FERRY_EXIT_OK;
}
