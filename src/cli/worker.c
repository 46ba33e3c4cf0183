/* SPDX-License-Identifier: MIT */
/*
 * The worker process: one thread per core, each with its own loop and listeners. The main thread
 * only waits for signals and hands them on. All memory the threads share is in the gate, the
 * clients and the access logs.
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
#include "gate/gate.h"

#define THREAD_ENDED SIGUSR2 /* a thread tells the main one */

struct thread {
    pthread_t id;
    struct worker *worker;
    struct ferry_loop *loop;
    struct ferry_gate_thread *gate;
    struct ferry_post drain, cut;
};

struct worker {
    const struct ferry_engine *engine;
    const struct ferry_generation *generation;
    struct ferry_gate *gate;
    struct ferry_chains chains;
    struct ferry_mime *mime;
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

static void log_line(void *arg, enum ferry_gate_level level, struct ferry_slice line)
{
    const struct ferry_engine *e = arg;

    if (level == FERRY_GATE_VERBOSE && !e->verbose)
        return;
    ferry_cli_say("%s%.*s", level == FERRY_GATE_APP ? "app: " : "", (int)line.len, line.p);
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

    if (t->worker->retires)
        ferry_gate_thread_retire(t->gate, FERRY_ENGINE_LINGER_MS, on_drained, t);
    else
        ferry_gate_thread_drain(t->gate, on_drained, t);
}

static void on_cut(struct ferry_post *post)
{
    ferry_gate_thread_cut(ferry_container(post, struct thread, cut)->gate);
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
    const struct ferry_generation *g = t->worker->generation;

    for (unsigned l = 0; l < g->nlisteners; l++) {
        const struct ferry_listening *from = g->listeners[l];

        for (unsigned k = index; k < from->nfds || k == index; k += g->threads) {
            /* One socket for all: each thread has a descriptor of its own to close. */
            int fd = k < from->nfds ? from->fds[k] : fcntl(from->fds[0], F_DUPFD_CLOEXEC, 3);
            int err = fd < 0 ? -errno : ferry_gate_listen(t->gate, fd, l);

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
    err = ferry_gate_thread_new(w->gate, i, t->loop, &t->gate);
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

static int open_gate(struct worker *w)
{
    struct ferry_gate_opts opts = {
        .sites = w->chains.sites,
        .nsites = w->chains.nsites,
        .body_max = ferry_generation_body_max(w->generation),
        .head_max = w->generation->config->head_max,
        .mime = w->mime,
        .log = log_line,
        .log_arg = (void *)w->engine,
    };

    return ferry_gate_new(&opts, &w->gate);
}

static int open_worker(struct worker *w, const char *spool)
{
    const struct ferry_generation *g = w->generation;
    int err = ferry_chains_open_logs(&w->chains, g);

    if (err < 0)
        return err;
    err = ferry_mime_new("/etc/mime.types", &w->mime);
    if (err < 0)
        return complain("cannot start", "", err);
    err = ferry_confine(g, spool, w->engine->verbose);
    if (err < 0)
        return err;
    err = ferry_chains_init(&w->chains, g);
    if (err < 0)
        return err;
    err = open_gate(w);
    if (err < 0)
        return complain("cannot start", "", err);
    for (unsigned i = 0; err == 0 && i < g->threads; i++)
        err = open_thread(w, i);
    return err;
}

static void close_worker(struct worker *w)
{
    for (unsigned i = 0; i < w->nthreads; i++)
        pthread_join(w->threads[i].id, NULL);
    for (unsigned i = 0; i < w->nthreads; i++)
        ferry_gate_thread_free(w->threads[i].gate);
    for (unsigned i = 0; i < w->nthreads; i++)
        ferry_loop_free(w->threads[i].loop);
    ferry_gate_free(w->gate);
    ferry_chains_fini(&w->chains);
    ferry_mime_free(w->mime);
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

static void reopen_logs(struct worker *w)
{
    for (unsigned i = 0; i < w->chains.nlogs; i++) {
        struct ferry_access_log *log = &w->chains.logs[i];
        int err = ferry_access_log_reopen(log);

        if (err < 0)
            complain("cannot open the access log anew, the old one stays: ", log->path, err);
    }
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
            reopen_logs(w);
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
