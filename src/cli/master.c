/* SPDX-License-Identifier: MIT */
/*
 * The master process of `ferry serve`: owns the listening sockets, the application and the worker,
 * and never reads a byte from a peer. A worker that dies is started again on the same sockets; the
 * application likewise.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/serve.h"
#include "proc/php.h"
#include "proc/process.h"
#include "proc/program.h"

#define RESTART_MIN_MS 100
#define RESTART_MAX_MS 5000
#define SETTLED_MS 10000
#define WORKER_STOP_MS 30000 /* for requests under way after SIGTERM */
#define APP_STOP_MS 5000

struct master {
    struct ferry_serve *serve;
    struct ferry_loop *loop;
    struct ferry_watch signals;
    int signal_fd;
    bool stopping, stopping_app, announced;
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

/* -- the application
 * ------------------------------------------------------------------------------------------- */

static void say_line(const char *who, struct ferry_slice line)
{
    char safe[FERRY_PROCESS_LINE_MAX + 1];
    size_t n = line.len < sizeof safe ? line.len : sizeof safe - 1;

    for (size_t i = 0; i < n; i++)
        safe[i] = (unsigned char)line.p[i] < 0x20 || line.p[i] == 0x7f ? '?' : line.p[i];
    ferry_cli_say("%s: %.*s", who, (int)n, safe);
}

static void php_said(void *arg, enum ferry_php_level level, struct ferry_slice line)
{
    const struct master *m = arg;

    if (level == FERRY_PHP_WARNING || m->serve->verbose ||
        (level == FERRY_PHP_OUTPUT && !m->stopping))
        say_line("php", line);
}

static void app_stopped(void *arg)
{
    struct master *m = arg;

    ferry_loop_stop(m->loop);
}

static int start_php(struct master *m)
{
    struct ferry_serve *s = m->serve;
    struct ferry_php_opts opts = {
        .dir = s->dir, .program = s->php, .body_max = s->body_max, .log = php_said, .arg = m};
    char why[512];
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
    if (ours)
        ferry_cli_say("%.*s", (int)line.len, line.p);
    else
        say_line("app", line);
}

static int start_program(struct master *m)
{
    struct ferry_serve *s = m->serve;
    struct ferry_program_opts opts = {.program = s->spawn, .log = program_said, .arg = m};
    char why[512];
    int err = ferry_program_start(m->loop, &opts, &m->program, why, sizeof why);

    if (err < 0) {
        ferry_cli_say("%s", why);
        return err;
    }
    s->has_app = true;
    s->app_addr = *ferry_program_addr(m->program);
    return 0;
}

static void stop_app(struct master *m)
{
    if (m->stopping_app)
        return;
    m->stopping_app = true;
    if (m->php)
        ferry_php_stop(m->php, APP_STOP_MS, app_stopped, m);
    else if (m->program)
        ferry_program_stop(m->program, APP_STOP_MS, app_stopped, m);
    else
        app_stopped(m);
}

/* -- the worker
 * ------------------------------------------------------------------------------------------------
 */

static void say_url(const struct ferry_serve *s)
{
    char text[FERRY_ADDR_TEXT_MAX];
    unsigned port = ferry_addr_port(&s->listen[0]);

    ferry_addr_host(&s->listen[0], text, sizeof text);
    if (!port) {
        ferry_addr_format(&s->listen[0], text, sizeof text);
        printf("%s\n", text);
    } else if (strcmp(text, "127.0.0.1") == 0 || strcmp(text, "0.0.0.0") == 0 ||
               strcmp(text, "::") == 0 || strcmp(text, "::1") == 0) {
        printf("http://localhost:%u/\n", port);
    } else {
        printf(strchr(text, ':') ? "http://[%s]:%u/\n" : "http://%s:%u/\n", text, port);
    }
    fflush(stdout);
}

static void worker_ready(struct ferry_watch *w)
{
    struct master *m = ferry_container(w, struct master, worker_ready);
    char c;

    if (read(m->ready_fd, &c, 1) == 1 && !m->announced) {
        m->announced = true;
        say_url(m->serve);
    }
    ferry_watch_close(w);
}

static void ready_closed(struct ferry_watch *w)
{
    struct master *m = ferry_container(w, struct master, worker_ready);

    close(m->ready_fd);
    m->ready_fd = -1;
}

static void worker_ended(struct ferry_watch *w)
{
    struct master *m = ferry_container(w, struct master, worker_exit);
    int status = 0;

    if (waitpid(m->worker, &status, WNOHANG) != m->worker)
        return;
    m->worker = -1;
    ferry_watch_close(w);
    ferry_timer_stop(&m->worker_timer);
    if (m->stopping)
        return;
    if (!m->announced) { /* it has said why */
        m->exit_code = FERRY_EXIT_FAILED;
        m->stopping = true;
        return;
    }
    if (ferry_loop_now(m->loop) - m->worker_since >= SETTLED_MS)
        m->worker_pause_ms = 0;
    m->worker_pause_ms = m->worker_pause_ms ? m->worker_pause_ms * 2 : RESTART_MIN_MS;
    if (m->worker_pause_ms > RESTART_MAX_MS)
        m->worker_pause_ms = RESTART_MAX_MS;
    if (WIFSIGNALED(status))
        ferry_cli_say("the worker was ended by signal %d (%s); starting another", WTERMSIG(status),
                      strsignal(WTERMSIG(status)));
    else
        ferry_cli_say("the worker ended with exit status %d; starting another",
                      WEXITSTATUS(status));
}

static int start_worker(struct master *m);

static void worker_exit_closed(struct ferry_watch *w)
{
    struct master *m = ferry_container(w, struct master, worker_exit);

    close(m->worker_fd);
    if (m->stopping)
        stop_app(m);
    else
        ferry_timer_set(m->loop, &m->worker_timer, ferry_loop_now(m->loop) + m->worker_pause_ms);
}

static void on_worker_timer(struct ferry_timer *t)
{
    struct master *m = ferry_container(t, struct master, worker_timer);

    if (m->worker > 0)
        kill(m->worker, SIGKILL);
    else if (!m->stopping && start_worker(m) < 0)
        ferry_timer_set(m->loop, t, ferry_loop_now(m->loop) + RESTART_MAX_MS);
}

/* The worker. A master that was killed could not tidy up; its worker lives a little longer. */
static _Noreturn void be_worker(const struct master *m, pid_t master, int ready_fd)
{
    int code = ferry_serve_worker(m->serve, ready_fd);

    if (getppid() != master) {
        if (m->php)
            ferry_php_remove_files(m->php);
        else if (m->program)
            ferry_program_remove_files(m->program);
    }
    _exit(code);
}

static int start_worker(struct master *m)
{
    int pipe_fds[2];
    pid_t self = getpid();
    int err;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -errno;
    fflush(NULL);
    m->worker = fork();
    if (m->worker == 0) {
        close(pipe_fds[0]);
        be_worker(m, self, pipe_fds[1]);
    }
    close(pipe_fds[1]);
    m->ready_fd = pipe_fds[0];
    m->worker_since = ferry_loop_now(m->loop);
    m->worker_fd = m->worker < 0 ? -1 : (int)syscall(SYS_pidfd_open, m->worker, 0);
    if (m->worker_fd < 0) {
        ferry_cli_say("cannot start a worker: %s", strerror(errno));
        close(m->ready_fd);
        return -errno;
    }
    m->worker_exit = (struct ferry_watch){.readable = worker_ended, .closed = worker_exit_closed};
    m->worker_ready = (struct ferry_watch){.readable = worker_ready, .closed = ready_closed};
    err = ferry_watch_open(m->loop, &m->worker_exit, m->worker_fd);
    if (err == 0)
        err = ferry_watch_open(m->loop, &m->worker_ready, m->ready_fd);
    if (err < 0) {
        ferry_cli_say("cannot watch the worker: %s", ferry_strerror(err));
        kill(m->worker, SIGKILL);
    }
    return err;
}

/* -- signals, the whole
 * ---------------------------------------------------------------------------------------- */

static void stop(struct master *m, int sig)
{
    uint64_t now = ferry_loop_now(m->loop);

    if (m->worker > 0) {
        kill(m->worker, m->stopping ? SIGKILL : sig);
        ferry_timer_set(m->loop, &m->worker_timer, now + WORKER_STOP_MS);
    } else if (!m->stopping) {
        m->stopping = true;
        stop_app(m);
    }
    m->stopping = true;
}

static void on_signal(struct ferry_watch *w)
{
    struct master *m = ferry_container(w, struct master, signals);
    struct signalfd_siginfo info;

    while (read(m->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGUSR1 && m->worker > 0)
            kill(m->worker, SIGUSR1);
        else if (info.ssi_signo == SIGINT || info.ssi_signo == SIGTERM)
            stop(m, (int)info.ssi_signo);
    }
}

static void signals_closed(struct ferry_watch *w)
{
    (void)w;
}

static int start_app(struct master *m)
{
    struct ferry_serve *s = m->serve;
    int err;

    if (s->spawn)
        return start_program(m);
    if (!s->wants_php)
        return 0;
    err = start_php(m);
    if (err < 0 && !s->php && !s->script && s->dir) {
        ferry_cli_say("serving the files of %s only", s->dir);
        return 0;
    }
    return err;
}

static int open_signals(struct master *m)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ,
           SIG_IGN); /* a file past its limit is an error of that write (EFBIG), not our end */
    m->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (m->signal_fd < 0)
        return -errno;
    m->signals = (struct ferry_watch){.readable = on_signal, .closed = signals_closed};
    return ferry_watch_open(m->loop, &m->signals, m->signal_fd);
}

int ferry_serve_master(struct ferry_serve *s)
{
    static struct master master;
    struct master *m = &master;
    int err;

    *m = (struct master){.serve = s, .worker = -1, .ready_fd = -1};
    ferry_timer_init(&m->worker_timer, on_worker_timer);
    err = ferry_loop_new(FERRY_IO_EPOLL, &m->loop);
    if (err == 0)
        err = open_signals(m);
    if (err < 0) {
        ferry_cli_say("cannot start: %s", ferry_strerror(err));
        return FERRY_EXIT_FAILED;
    }
    if (start_app(m) < 0)
        return FERRY_EXIT_FAILED;
    if (start_worker(m) < 0) {
        m->exit_code = FERRY_EXIT_FAILED;
        m->stopping = true;
        stop_app(m);
    }
    err = ferry_loop_run(m->loop);
    if (err < 0)
        ferry_cli_say("the master's loop failed: %s", ferry_strerror(err));
    return m->exit_code;
}
