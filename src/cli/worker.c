/* SPDX-License-Identifier: MIT */
/*
 * The worker process: one thread per core, each with its own loop and listeners. The main thread
 * only waits for signals and hands them on. All memory the threads share is in the gate, the pool
 * and the access log.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/serve.h"
#include "gate/gate.h"

struct thread {
    pthread_t id;
    struct worker *worker;
    unsigned index;
    struct ferry_loop *loop;
    struct ferry_gate_thread *gate;
    struct ferry_post drain;
};

struct worker {
    struct ferry_serve *serve;
    struct ferry_gate *gate;
    struct ferry_pool *pool;
    struct ferry_access_log access_log;
    struct ferry_mime *mime;
    struct thread threads[FERRY_SERVE_THREADS_MAX];
};

static void log_line(void *arg, enum ferry_gate_level level, struct ferry_slice line)
{
    const struct ferry_serve *s = arg;

    if (level == FERRY_GATE_VERBOSE && !s->verbose)
        return;
    ferry_cli_say("%s%.*s", level == FERRY_GATE_APP ? "app: " : "", (int)line.len, line.p);
}

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

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    int err = ferry_loop_run(t->loop);

    if (err < 0) {
        ferry_cli_say("the event loop failed: %s", ferry_strerror(err));
        kill(getpid(), SIGINT);
    }
    return NULL;
}

static int open_thread(struct worker *w, unsigned i)
{
    struct thread *t = &w->threads[i];
    struct ferry_serve *s = w->serve;
    int err = ferry_loop_new(s->io, &t->loop);

    if (err < 0) {
        ferry_cli_say("cannot make an event loop with %s: %s",
                      s->io == FERRY_IO_URING ? "io_uring" : "epoll", ferry_strerror(err));
        return err;
    }
    t->worker = w;
    t->index = i;
    t->drain.run = on_drain;
    t->gate = ferry_gate_thread_new(w->gate, i, t->loop);
    if (!t->gate)
        return -ENOMEM;
    for (unsigned l = 0; l < s->nlisten; l++) {
        int fd = s->fds[l][i] >= 0 ? s->fds[l][i] : s->fds[l][0];

        err = ferry_gate_listen(t->gate, fd);
        if (err < 0)
            return err;
    }
    return 0;
}

static int open_access_log(struct worker *w)
{
    const char *to = w->serve->access_log ? w->serve->access_log : "-";
    int err = ferry_access_log_open(&w->access_log, to);

    if (err < 0)
        ferry_cli_say("cannot write the access log %s: %s", to, ferry_strerror(err));
    return err;
}

static int open_worker(struct worker *w)
{
    struct ferry_serve *s = w->serve;
    struct ferry_gate_opts opts = {
        .dir = s->dir,
        .script = s->script,
        .index = s->index,
        .server_name = s->server_name,
        .body_max = s->body_max,
        .head_max = (uint32_t)s->head_max,
        .project_root = s->project_root,
        .log = log_line,
        .log_arg = s,
    };
    int err = open_access_log(w);

    if (err < 0 || (err = ferry_mime_new("/etc/mime.types", &w->mime)) < 0)
        return err;
    opts.access_log = w->access_log.fd >= 0 ? &w->access_log : NULL;
    opts.mime = w->mime;
    if (s->has_app) {
        w->pool = ferry_pool_new(&(struct ferry_pool_opts){.addr = s->app_addr,
                                                           .multiplex = s->multiplex,
                                                           .connections_max = s->app_connections},
                                 s->threads);
        if (!w->pool)
            return -ENOMEM;
        opts.pool = w->pool;
    }
    err = ferry_gate_new(&opts, &w->gate);
    for (unsigned i = 0; err == 0 && i < s->threads; i++)
        err = open_thread(w, i);
    return err;
}

static void close_worker(struct worker *w)
{
    for (unsigned i = 0; i < w->serve->threads; i++)
        ferry_gate_thread_free(w->threads[i].gate);
    for (unsigned i = 0; i < w->serve->threads; i++)
        ferry_loop_free(w->threads[i].loop);
    ferry_gate_free(w->gate);
    ferry_pool_free(w->pool);
    ferry_access_log_close(&w->access_log);
    ferry_mime_free(w->mime);
}

int ferry_serve_worker(struct ferry_serve *s, int ready_fd)
{
    static struct worker worker;
    struct worker *w = &worker;
    sigset_t set;
    int sig, err;

    w->serve = s;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ,
           SIG_IGN); /* a file past its limit is an error of that write (EFBIG), not our end */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    err = open_worker(w);
    if (err < 0) {
        ferry_cli_say("cannot start: %s", ferry_strerror(err));
        return FERRY_EXIT_FAILED;
    }
    if (s->verbose)
        ferry_cli_say("%u threads on %s%s%s", s->threads, ferry_loop_backend(w->threads[0].loop),
                      *ferry_loop_why(w->threads[0].loop) ? ": " : "",
                      ferry_loop_why(w->threads[0].loop));
    for (unsigned i = 0; i < s->threads; i++)
        if (pthread_create(&w->threads[i].id, NULL, run_thread, &w->threads[i]) != 0)
            return FERRY_EXIT_FAILED;
    if (write(ready_fd, "r", 1) != 1)
        return FERRY_EXIT_FAILED;
    close(ready_fd);
    while (sigwait(&set, &sig) == 0) {
        if (sig == SIGUSR1) {
            if (ferry_access_log_reopen(&w->access_log) < 0)
                ferry_cli_say("cannot open the access log anew");
        } else if (sig == SIGTERM) {
            for (unsigned i = 0; i < s->threads; i++)
                ferry_loop_post(w->threads[i].loop, &w->threads[i].drain);
            break;
        } else if (sig == SIGINT) {
            _exit(FERRY_EXIT_OK);
        }
    }
    for (unsigned i = 0; i < s->threads; i++)
        pthread_join(w->threads[i].id, NULL);
    close_worker(w);
    return FERRY_EXIT_OK;
}
