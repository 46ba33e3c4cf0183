/* SPDX-License-Identifier: MIT */
/*
 * Worker processes as children of the master. Each slot has one watch of the child's end and one of
 * the pipe on which it says that it serves; the slot is free again when both are closed.
 */
#include "cli/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

#define START_MS 60000 /* a worker that does not serve by then never will */

static void free_slot(struct ferry_worker *w)
{
    struct ferry_workers *all = w->all;

    if (w->pidfd >= 0 || w->ready_fd >= 0)
        return;
    ferry_timer_stop(&w->timer);
    w->state = FERRY_WORKER_NONE;
    all->gone(all);
}

static void on_ready(struct ferry_watch *watch)
{
    struct ferry_worker *w = ferry_container(watch, struct ferry_worker, ready);
    char c;

    if (read(w->ready_fd, &c, 1) == 1 && w->state == FERRY_WORKER_STARTING) {
        w->state = FERRY_WORKER_SERVING;
        ferry_timer_stop(&w->timer);
        w->all->serves(w);
    }
    ferry_watch_close(watch);
}

static void ready_closed(struct ferry_watch *watch)
{
    struct ferry_worker *w = ferry_container(watch, struct ferry_worker, ready);

    close(w->ready_fd);
    w->ready_fd = -1;
    free_slot(w);
}

static void on_exit_(struct ferry_watch *watch)
{
    struct ferry_worker *w = ferry_container(watch, struct ferry_worker, exit);

    if (waitpid(w->pid, &w->status, WNOHANG) != w->pid)
        return;
    w->pid = -1;
    ferry_timer_stop(&w->timer);
    ferry_watch_close(watch);
    ferry_watch_close(&w->ready);
    w->all->ended(w);
}

static void exit_closed(struct ferry_watch *watch)
{
    struct ferry_worker *w = ferry_container(watch, struct ferry_worker, exit);

    close(w->pidfd);
    w->pidfd = -1;
    free_slot(w);
}

static void on_timer(struct ferry_timer *t)
{
    struct ferry_worker *w = ferry_container(t, struct ferry_worker, timer);

    if (w->state == FERRY_WORKER_STARTING)
        ferry_cli_say("a worker did not serve within %d s and is ended", START_MS / 1000);
    if (w->pid > 0)
        kill(w->pid, SIGKILL);
}

/* -- in the new process ------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* The worker must not hold what is the master's: an application's listener and pipes above all. */
static void close_others(const struct ferry_generation *g, int ready_fd)
{
    static int kept[FERRY_CONFIG_LISTEN_MAX * FERRY_ENGINE_THREADS_MAX + 1];
    unsigned n = 0, from = STDERR_FILENO + 1;

    for (unsigned i = 0; i < g->nlisteners; i++)
        for (unsigned k = 0; k < g->listeners[i]->nfds; k++)
            kept[n++] = g->listeners[i]->fds[k];
    kept[n++] = ready_fd;
    qsort(kept, n, sizeof *kept, by_number);
    for (unsigned i = 0; i < n; from = (unsigned)kept[i++] + 1)
        if ((unsigned)kept[i] > from)
            close_range(from, (unsigned)kept[i] - 1, 0);
    close_range(from, ~0U, 0);
}

/* A master that was killed could not tidy up; its worker lives a little longer. */
static _Noreturn void be_worker(const struct ferry_worker *w, pid_t master, int ready_fd)
{
    const struct ferry_workers *all = w->all;
    int code;

    close_others(w->generation, ready_fd);
    code = ferry_engine_worker(all->engine, w->generation, master, ready_fd, all->spool);
    if (getppid() != master) {
        ferry_apps_remove_files(all->apps);
        ferry_listening_remove_sockets(w->generation);
    }
    exit(code); /* not _exit, so that leaks are looked for */
}

/* -- in the master ----------------------------------------------------------------------------- */

/* Its end is told by the one watch, its readiness by the other. */
static int watch(struct ferry_worker *w)
{
    struct ferry_loop *loop = w->all->loop;
    int err;

    w->pidfd = pidfd_open(w->pid, 0);
    if (w->pidfd < 0)
        return -errno;
    w->exit = (struct ferry_watch){.readable = on_exit_, .closed = exit_closed};
    w->ready = (struct ferry_watch){.readable = on_ready, .closed = ready_closed};
    err = ferry_watch_open(loop, &w->exit, w->pidfd);
    if (err < 0) {
        close(w->pidfd);
        return err;
    }
    if (ferry_watch_open(loop, &w->ready, w->ready_fd) < 0) {
        close(w->ready_fd);
        w->ready_fd = -1;
        kill(w->pid, SIGKILL);
    }
    return 0;
}

static int start(struct ferry_worker *w)
{
    pid_t self = getpid();
    int ends[2], err;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    fflush(NULL);
    w->pid = fork();
    if (w->pid == 0)
        be_worker(w, self, ends[1]);
    err = w->pid < 0 ? -errno : 0;
    close(ends[1]);
    w->ready_fd = ends[0];
    if (err == 0)
        err = watch(w);
    if (err == 0)
        return 0;
    close(ends[0]);
    if (w->pid > 0) {
        kill(w->pid, SIGKILL);
        waitpid(w->pid, NULL, 0);
    }
    return err;
}

struct ferry_worker *ferry_worker_start(struct ferry_workers *all, struct ferry_generation *g)
{
    struct ferry_worker *w = ferry_workers_find(all, FERRY_WORKER_NONE);
    int err = -EAGAIN;

    if (w) {
        *w = (struct ferry_worker){.all = all, .generation = g, .pidfd = -1, .ready_fd = -1};
        ferry_timer_init(&w->timer, on_timer);
        err = start(w);
    }
    if (err < 0) {
        ferry_cli_say("cannot start a worker: %s", ferry_strerror(err));
        return NULL;
    }
    g->refs++;
    w->state = FERRY_WORKER_STARTING;
    w->since_ms = ferry_loop_now(all->loop);
    ferry_timer_set(all->loop, &w->timer, w->since_ms + START_MS);
    return w;
}

void ferry_worker_end(struct ferry_worker *w, int sig, uint64_t kill_after_ms)
{
    if (w->pid <= 0)
        return;
    w->state = FERRY_WORKER_ENDING;
    kill(w->pid, sig);
    ferry_timer_set(w->all->loop, &w->timer, ferry_loop_now(w->all->loop) + kill_after_ms);
}

struct ferry_worker *ferry_workers_find(struct ferry_workers *all, enum ferry_worker_state state)
{
    for (unsigned i = 0; i < FERRY_ENGINE_WORKERS_MAX; i++)
        if (all->each[i].state == state)
            return &all->each[i];
    return NULL;
}

bool ferry_workers_any(const struct ferry_workers *all)
{
    for (unsigned i = 0; i < FERRY_ENGINE_WORKERS_MAX; i++)
        if (all->each[i].state != FERRY_WORKER_NONE)
            return true;
    return false;
}

bool ferry_workers_room(const struct ferry_workers *all)
{
    unsigned n = 0;

    /* One place is left for the successor of a worker that crashes. */
    for (unsigned i = 0; i < FERRY_ENGINE_WORKERS_MAX; i++)
        n += all->each[i].state == FERRY_WORKER_NONE;
    return n > 1;
}
