/* SPDX-License-Identifier: MIT */
/*
 * The master process of `ferry serve`: owns the listening sockets, the application and the worker,
 * and never reads a byte from a peer. A worker that dies is started again on the same sockets; the
 * application likewise.
 *
 * It ends in one order: the listeners, the worker, the application, their files. How much time each
 * has depends on the signal. Each signal may come again, and any number of times, without another
 * effect: `timeout` and the like send it to the master and then to its whole group.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/serve.h"
#include "proc/php.h"
#include "proc/program.h"

#define RESTART_MIN_MS 100
#define RESTART_MAX_MS 5000
#define SETTLED_MS 10000
#define APP_STOP_MS 5000
#define APP_STOP_NOW_MS 1000

struct master {
    struct ferry_serve *serve;
    struct ferry_loop *loop;
    struct ferry_watch signals;
    int signal_fd;
    enum { RUNNING, STOPPING, STOPPING_NOW } phase;
    bool announced;
    int exit_code;

    pid_t worker;
    int worker_fd; /* pidfd */
    struct ferry_watch worker_exit;
    struct ferry_watch worker_ready;
    int ready_fd;
    uint64_t worker_since;
    unsigned worker_pause_ms;
    struct ferry_timer worker_timer; /* of its restart, or of its end */

    struct ferry_php *php;
    struct ferry_program *program; /* of --spawn */
};

/* -- the application -------------------------------------------------------------------------- */

static void php_said(void *arg, enum ferry_php_level level, struct ferry_slice line)
{
    const struct master *m = arg;

    if (level == FERRY_PHP_WARNING || m->serve->verbose ||
        (level == FERRY_PHP_OUTPUT && m->phase == RUNNING))
        ferry_cli_say("php: %.*s", (int)line.len, line.p);
}

static int start_php(struct master *m)
{
    struct ferry_serve *s = m->serve;
    struct ferry_php_opts opts = {
        .dir = s->dir, .program = s->php, .body_max = s->body_max, .log = php_said, .arg = m};
    char why[PATH_MAX + 256];
    int err = ferry_php_start(m->loop, &opts, &m->php, why, sizeof why);

    if (err < 0) {
        ferry_cli_say("%s", why);
        return err;
    }
    s->has_app = true;
    s->app_addr = *ferry_php_addr(m->php);
    s->app_connections = ferry_php_children(m->php);
    s->multiplex = FERRY_MULTIPLEX_OFF;
    if (!s->quiet)
        ferry_cli_say("%s runs the scripts of %s", ferry_php_name(m->php), s->dir);
    return 0;
}

static void program_said(void *arg, bool ours, struct ferry_slice line)
{
    (void)arg;
    ferry_cli_say("%s%.*s", ours ? "" : "app: ", (int)line.len, line.p);
}

static int start_program(struct master *m)
{
    struct ferry_serve *s = m->serve;
    struct ferry_program_opts opts = {.program = s->spawn,
                                      .processes_min = s->processes_min,
                                      .processes_max = s->processes_max,
                                      .log = program_said,
                                      .arg = m};
    char why[PATH_MAX + 256];
    int err = ferry_program_start(m->loop, &opts, &m->program, why, sizeof why);

    if (err < 0) {
        ferry_cli_say("%s", why);
        return err;
    }
    s->has_app = true;
    s->app_addr = *ferry_program_addr(m->program);
    /* Many requests on one connection would all be one process's. */
    if (s->processes_max > 1 && s->multiplex == FERRY_MULTIPLEX_AUTO)
        s->multiplex = FERRY_MULTIPLEX_OFF;
    return 0;
}

static int start_app(struct master *m)
{
    struct ferry_serve *s = m->serve;
    int err;

    if (s->spawn)
        return start_program(m);
    if (!s->wants_php) {
        if (s->dir && !s->app && !s->quiet)
            ferry_cli_say("no PHP below %s: serving its files", s->dir);
        return 0;
    }
    err = start_php(m);
    if (err == -ENOENT && !s->php && !s->script && s->has_files) {
        ferry_cli_say("serving the files of %s only", s->dir);
        return 0;
    }
    return err;
}

static void app_stopped(void *arg)
{
    struct master *m = arg;

    m->php = NULL;
    m->program = NULL;
    ferry_watch_close(&m->signals); /* the last thing on the loop */
}

static void stop_app(struct master *m)
{
    unsigned ms = m->phase == STOPPING_NOW ? APP_STOP_NOW_MS : APP_STOP_MS;

    if (m->php)
        ferry_php_stop(m->php, ms, app_stopped, m);
    else if (m->program)
        ferry_program_stop(m->program, ms, app_stopped, m);
    else
        app_stopped(m);
}

/* -- the worker ------------------------------------------------------------------------------- */

static void announce(struct master *m)
{
    const struct ferry_serve *s = m->serve;
    char text[FERRY_ADDR_TEXT_MAX];

    m->announced = true;
    for (unsigned i = 0; s->verbose && i < s->nlisteners; i++) {
        ferry_addr_format(&s->listeners[i].bound, text, sizeof text);
        ferry_cli_say("listening on %s", text);
    }
    ferry_serve_url(s, text, sizeof text);
    ferry_cli_escape(text, strlen(text));
    printf("%s\n", text);
    fflush(stdout);
}

static void worker_ready(struct ferry_watch *w)
{
    struct master *m = ferry_container(w, struct master, worker_ready);
    char c;

    if (read(m->ready_fd, &c, 1) == 1 && !m->announced)
        announce(m);
    ferry_watch_close(w);
}

static void ready_closed(struct ferry_watch *w)
{
    struct master *m = ferry_container(w, struct master, worker_ready);

    close(m->ready_fd);
}

static void read_signals(struct master *m);

static void tell_worker_end(struct master *m, int status)
{
    char again[64] = "";

    if (m->announced)
        snprintf(again, sizeof again, "; starting another in %u.%u s", m->worker_pause_ms / 1000,
                 m->worker_pause_ms % 1000 / 100);
    if (WIFSIGNALED(status))
        ferry_cli_say("the worker was ended by signal %d (%s)%s", WTERMSIG(status),
                      strsignal(WTERMSIG(status)), again);
    else if (m->announced) /* else it has said why */
        ferry_cli_say("the worker ended with status %d%s", WEXITSTATUS(status), again);
}

static void worker_ended(struct ferry_watch *w)
{
    struct master *m = ferry_container(w, struct master, worker_exit);
    int status = 0;

    if (waitpid(m->worker, &status, WNOHANG) != m->worker)
        return;
    m->worker = -1;
    ferry_watch_close(w);
    ferry_watch_close(&m->worker_ready);
    ferry_timer_stop(&m->worker_timer);
    read_signals(m); /* what ended the worker may have been meant for both */
    if (m->phase != RUNNING)
        return;
    if (ferry_loop_now(m->loop) - m->worker_since >= SETTLED_MS)
        m->worker_pause_ms = 0;
    m->worker_pause_ms = m->worker_pause_ms ? m->worker_pause_ms * 2 : RESTART_MIN_MS;
    if (m->worker_pause_ms > RESTART_MAX_MS)
        m->worker_pause_ms = RESTART_MAX_MS;
    tell_worker_end(m, status);
    if (!m->announced) { /* the next one would fare no better */
        m->exit_code = FERRY_EXIT_FAILED;
        m->phase = STOPPING;
    }
}

static void worker_exit_closed(struct ferry_watch *w)
{
    struct master *m = ferry_container(w, struct master, worker_exit);

    close(m->worker_fd);
    if (m->phase != RUNNING)
        stop_app(m);
    else
        ferry_timer_set(m->loop, &m->worker_timer, ferry_loop_now(m->loop) + m->worker_pause_ms);
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* The worker must not hold what is the master's: the application's listener and pipes above all. */
static void close_others(const struct ferry_serve *s, int ready_fd)
{
    int kept[FERRY_SERVE_LISTEN_MAX * FERRY_SERVE_THREADS_MAX + 1];
    unsigned n = 0, from = STDERR_FILENO + 1;

    for (unsigned i = 0; i < s->nlisteners; i++)
        for (unsigned t = 0; t < FERRY_SERVE_THREADS_MAX; t++)
            if (s->listeners[i].fds[t] >= 0)
                kept[n++] = s->listeners[i].fds[t];
    kept[n++] = ready_fd;
    qsort(kept, n, sizeof *kept, by_number);
    for (unsigned i = 0; i < n; from = (unsigned)kept[i++] + 1)
        if ((unsigned)kept[i] > from)
            close_range(from, (unsigned)kept[i] - 1, 0);
    close_range(from, ~0U, 0);
}

/* A master that was killed could not tidy up; its worker lives a little longer. */
static _Noreturn void be_worker(const struct master *m, pid_t master, int ready_fd)
{
    int code;

    close_others(m->serve, ready_fd);
    code = ferry_serve_worker(m->serve, master, ready_fd);
    if (getppid() != master) {
        if (m->php)
            ferry_php_remove_files(m->php);
        if (m->program)
            ferry_program_remove_files(m->program);
        ferry_serve_remove_sockets(m->serve);
    }
    exit(code); /* not _exit, so that leaks are looked for */
}

/* Its end is told by the one watch, its readiness by the other. */
static int watch_worker(struct master *m)
{
    int err;

    m->worker_fd = pidfd_open(m->worker, 0);
    if (m->worker_fd < 0)
        return -errno;
    m->worker_exit = (struct ferry_watch){.readable = worker_ended, .closed = worker_exit_closed};
    m->worker_ready = (struct ferry_watch){.readable = worker_ready, .closed = ready_closed};
    err = ferry_watch_open(m->loop, &m->worker_exit, m->worker_fd);
    if (err < 0) {
        close(m->worker_fd);
        return err;
    }
    if (ferry_watch_open(m->loop, &m->worker_ready, m->ready_fd) < 0) {
        close(m->ready_fd);
        kill(m->worker, SIGKILL);
    }
    return 0;
}

static int start_worker(struct master *m)
{
    pid_t self = getpid();
    int ends[2], err;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        err = -errno;
        ferry_cli_say("cannot start a worker: %s", ferry_strerror(err));
        return err;
    }
    fflush(NULL);
    m->worker = fork();
    if (m->worker == 0)
        be_worker(m, self, ends[1]);
    err = m->worker < 0 ? -errno : 0;
    close(ends[1]);
    m->ready_fd = ends[0];
    m->worker_since = ferry_loop_now(m->loop);
    if (err == 0)
        err = watch_worker(m);
    if (err == 0)
        return 0;
    ferry_cli_say("cannot start a worker: %s", ferry_strerror(err));
    close(ends[0]);
    if (m->worker > 0) {
        kill(m->worker, SIGKILL);
        waitpid(m->worker, NULL, 0);
    }
    m->worker = -1;
    return err;
}

static void on_worker_timer(struct ferry_timer *t)
{
    struct master *m = ferry_container(t, struct master, worker_timer);

    if (m->worker > 0)
        kill(m->worker, SIGKILL);
    else if (m->phase == RUNNING && start_worker(m) < 0)
        ferry_timer_set(m->loop, t, ferry_loop_now(m->loop) + RESTART_MAX_MS);
}

/* -- signals, the whole ----------------------------------------------------------------------- */

static void stop(struct master *m, bool now)
{
    uint64_t wait_ms = (now ? 0 : FERRY_SERVE_STOP_MS) + 2 * FERRY_SERVE_CUT_MS;

    if (m->phase >= (now ? STOPPING_NOW : STOPPING))
        return;
    m->phase = now ? STOPPING_NOW : STOPPING;
    /* So that nobody waits in a queue from which nobody is taken. */
    ferry_serve_unlisten(m->serve);
    ferry_timer_stop(&m->worker_timer);
    if (m->worker < 0) {
        stop_app(m);
        return;
    }
    kill(m->worker, now ? SIGINT : SIGTERM);
    ferry_timer_set(m->loop, &m->worker_timer, ferry_loop_now(m->loop) + wait_ms);
}

static void read_signals(struct master *m)
{
    struct signalfd_siginfo info;

    while (read(m->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo != SIGUSR1)
            stop(m, info.ssi_signo == SIGINT);
        else if (m->worker > 0)
            kill(m->worker, SIGUSR1);
    }
}

static void on_signal(struct ferry_watch *w)
{
    read_signals(ferry_container(w, struct master, signals));
}

static void signals_closed(struct ferry_watch *w)
{
    struct master *m = ferry_container(w, struct master, signals);

    close(m->signal_fd);
    ferry_loop_stop(m->loop);
}

static int open_signals(struct master *m)
{
    struct sigaction hup;
    sigset_t set;
    int err;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    /* Under nohup it stays ignored. */
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
        sigaddset(&set, SIGHUP);
    sigprocmask(SIG_SETMASK, &set, NULL); /* a guard has blocked more */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file past its limit is an error of that write, not our end */
    m->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (m->signal_fd < 0)
        return -errno;
    m->signals = (struct ferry_watch){.readable = on_signal, .closed = signals_closed};
    err = ferry_watch_open(m->loop, &m->signals, m->signal_fd);
    if (err < 0)
        close(m->signal_fd);
    return err;
}

int ferry_serve_master(struct ferry_serve *s)
{
    static struct master master;
    struct master *m = &master;
    int err;

    *m = (struct master){.serve = s, .worker = -1};
    ferry_timer_init(&m->worker_timer, on_worker_timer);
    err = ferry_loop_new(FERRY_IO_EPOLL, &m->loop);
    if (err == 0)
        err = open_signals(m);
    if (err < 0) {
        ferry_cli_say("cannot start: %s", ferry_strerror(err));
        ferry_loop_free(m->loop);
        return FERRY_EXIT_FAILED;
    }
    err = ferry_serve_listen(s) ? -1 : start_app(m);
    ferry_serve_tell_guards(s);
    if (err < 0 || start_worker(m) < 0) {
        m->exit_code = FERRY_EXIT_FAILED;
        m->phase = STOPPING;
        stop_app(m);
    }
    err = ferry_loop_run(m->loop);
    if (err < 0) {
        ferry_cli_say("the master's loop failed: %s", ferry_strerror(err));
        return FERRY_EXIT_FAILED;
    }
    ferry_serve_unlisten(s);
    ferry_serve_remove_sockets(s);
    ferry_loop_free(m->loop);
    return m->exit_code;
}
