/* SPDX-License-Identifier: MIT */
/*
 * The worker process: one thread per core, each with its own loop and listeners. The main thread
 * only waits for signals and hands them on. All memory the threads share is in the gate, the pool
 * and the access log.
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
#include "cli/serve.h"
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
    struct ferry_serve *serve;
    struct ferry_gate *gate;
    struct ferry_client *client;
    struct ferry_filters *chain;
    struct ferry_gate_route route;
    struct ferry_gate_site site;
    struct ferry_access_log access_log;
    struct ferry_mime *mime;
    pthread_t main;
    unsigned nthreads;
    atomic_uint running;
    atomic_bool failed; /* a loop has */
    struct thread threads[FERRY_SERVE_THREADS_MAX];
};

static int complain(const char *what, const char *which, int err)
{
    ferry_cli_say("%s%s: %s", what, which, ferry_strerror(err));
    return err;
}

static void log_line(void *arg, enum ferry_gate_level level, struct ferry_slice line)
{
    const struct ferry_serve *s = arg;

    if (level == FERRY_GATE_VERBOSE && !s->verbose)
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

static int open_doors(struct thread *t, unsigned index)
{
    struct ferry_serve *s = t->worker->serve;

    for (unsigned l = 0; l < s->nlisteners; l++) {
        int *fds = s->listeners[l].fds;
        /* One socket for all: each thread has a descriptor of its own to close. */
        int fd = fds[index] >= 0 ? fds[index] : fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
        int err = fd < 0 ? -errno : ferry_gate_listen(t->gate, fd, l);

        if (err < 0)
            return err;
    }
    return 0;
}

static int open_thread(struct worker *w, unsigned i)
{
    struct thread *t = &w->threads[i];
    struct ferry_serve *s = w->serve;
    int err = ferry_loop_new(s->io, &t->loop);

    if (err < 0)
        return complain("cannot make an event loop with ",
                        s->io == FERRY_IO_URING ? "io_uring; try --io epoll" : "epoll", err);
    t->worker = w;
    t->drain.run = on_drain;
    t->cut.run = on_cut;
    err = ferry_gate_thread_new(w->gate, i, t->loop, &t->gate);
    if (err < 0)
        return complain("cannot serve ", s->dir ? s->dir : "", err);
    err = open_doors(t, i);
    return err < 0 ? complain("cannot accept connections", "", err) : 0;
}

static int start_threads(struct worker *w)
{
    w->main = pthread_self();
    atomic_store(&w->running, w->serve->threads);
    for (unsigned i = 0; i < w->serve->threads; i++) {
        int err = pthread_create(&w->threads[i].id, NULL, run_thread, &w->threads[i]);

        if (err)
            return complain("cannot start a thread", "", -err);
        w->nthreads++;
    }
    return 0;
}

/* -- what they share -------------------------------------------------------------------------- */

static int open_client(struct worker *w)
{
    const struct ferry_serve *s = w->serve;
    char address[FERRY_ADDR_TEXT_MAX];
    struct ferry_client_opts opts = {
        FERRY_CLIENT_OPTS_SIZE, .address = address, .multiplex = s->multiplex,
        .connections_max = s->app_connections, .threads_max = s->threads};

    if (!s->has_app)
        return 0;
    ferry_addr_format(&s->app_addr, address, sizeof address);
    return ferry_client_new(&opts, &w->client);
}

static int open_gate(struct worker *w)
{
    struct ferry_serve *s = w->serve;
    struct ferry_gate_opts opts = {
        .sites = &w->site,
        .nsites = 1,
        .body_max = s->body_max,
        .head_max = (uint32_t)s->head_max,
        .mime = w->mime,
        .log = log_line,
        .log_arg = s,
    };

    w->route = (struct ferry_gate_route){.pattern = "*", .filters = w->chain};
    w->site = (struct ferry_gate_site){
        .listeners = UINT64_MAX,
        .routes = &w->route,
        .nroutes = 1,
        .server_name = s->server_name,
        .access_log = w->access_log.fd >= 0 ? &w->access_log : NULL,
    };
    return ferry_gate_new(&opts, &w->gate);
}

static int open_worker(struct worker *w)
{
    const char *log = w->serve->access_log ? w->serve->access_log : "-";
    int err = ferry_access_log_open(&w->access_log, log);

    if (err < 0)
        return complain("cannot write the access log ", log, err);
    err = ferry_mime_new("/etc/mime.types", &w->mime);
    if (err == 0)
        err = open_client(w);
    if (err == 0)
        err = ferry_serve_chain(w->serve, w->client, &w->chain);
    if (err < 0)
        return complain("cannot start", "", err);
    err = open_gate(w);
    if (err < 0)
        return complain("cannot serve ", w->serve->dir ? w->serve->dir : "", err);
    for (unsigned i = 0; err == 0 && i < w->serve->threads; i++)
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
    ferry_client_free(w->client);
    ferry_filters_free(w->chain);
    ferry_access_log_close(&w->access_log);
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

static void reopen_log(struct worker *w)
{
    int err = ferry_access_log_reopen(&w->access_log);

    if (err < 0)
        complain("cannot open the access log anew, the old one stays: ", w->access_log.path, err);
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
            reopen_log(w);
        if (!sig && phase == CUTTING)
            return false;
        if (atomic_load(&w->failed))
            return false;
        if (phase == SERVING && (sig == SIGTERM || cut)) {
            phase = DRAINING;
            until_ms = ferry_now_us() / 1000 + FERRY_SERVE_STOP_MS;
            for (unsigned i = 0; i < w->nthreads; i++)
                ferry_loop_post(w->threads[i].loop, &w->threads[i].drain);
        }
        if (cut) {
            phase = CUTTING;
            until_ms = ferry_now_us() / 1000 + FERRY_SERVE_CUT_MS;
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

int ferry_serve_worker(struct ferry_serve *s, pid_t master, int ready_fd)
{
    static struct worker worker;
    struct worker *w = &worker;
    sigset_t set;

    w->serve = s;
    block_signals(&set);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != master) /* it ended before it could be noticed */
        return FERRY_EXIT_FAILED;
    raise_limit();
    if (open_worker(w) < 0)
        return FERRY_EXIT_FAILED;
    if (s->verbose)
        ferry_cli_say("%u thread%s on %s%s%s", s->threads, s->threads == 1 ? "" : "s",
                      ferry_loop_backend(w->threads[0].loop),
                      *ferry_loop_why(w->threads[0].loop) ? ": " : "",
                      ferry_loop_why(w->threads[0].loop));
    if (start_threads(w) < 0 || write(ready_fd, "r", 1) != 1)
        _exit(FERRY_EXIT_FAILED);
    close(ready_fd);
    if (!serve_until_told(w, &set)) /* with threads still running */
        _exit(atomic_load(&w->failed) ? FERRY_EXIT_FAILED : FERRY_EXIT_OK);
    close_worker(w);
    return FERRY_EXIT_OK;
}
