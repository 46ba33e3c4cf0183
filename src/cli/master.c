/* SPDX-License-Identifier: MIT */
/*
 * The master process of `ferry serve`, `ferry run` and `ferry mail`: owns the listening sockets,
 * the applications and the workers, and never reads a byte from a peer. A worker that dies is
 * started again on the same sockets; an application likewise.
 *
 * There is one generation that counts, `current`, and while a reload is under way one that may
 * replace it, `next`: first its applications come up, then its worker, and only then it is the
 * current one and the worker before it is told to end. Whatever fails before that ends `next`
 * alone.
 *
 * It ends in one order: the listeners, the workers, the applications, their files. How much time
 * each has depends on the signal. Each signal may come again, and any number of times, without
 * another effect: `timeout` and the like send it to the master and then to its whole group.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/workers.h"

#define RESTART_MIN_MS 100
#define RESTART_MAX_MS 5000
#define SETTLED_MS 10000
#define APP_STOP_MS 5000
#define APP_STOP_NOW_MS 1000
#define SPOOL_MAX 100 /* what guards can be told of */

struct master {
    struct ferry_engine *engine;
    struct ferry_loop *loop;
    struct ferry_watch signals;
    int signal_fd;
    enum { RUNNING, STOPPING, STOPPING_NOW } phase;
    bool announced, reload_again, apps_stopped, closing;
    int exit_code;

    struct ferry_apps apps;
    struct ferry_workers workers;
    struct ferry_generation *current, *next;
    struct ferry_worker *next_worker; /* of `next`, or another one of `current` */
    bool replacing;                   /* the latter: to open the logs anew */
    unsigned pause_ms;
    struct ferry_timer restart, alive; /* alive: for systemd's watchdog */
    struct ferry_task look;
    char *pid_file; /* the one that was written */
    char spool[SPOOL_MAX + 16];
    int spool_fd;
};

static void read_signals(struct master *m);

/* Nobody listens where we are not guarded. */
#define TELL(m, ...)                                                                               \
    do {                                                                                           \
        if ((m)->engine->systemd.ours > 0)                                                         \
            ferry_systemd_say(&(m)->engine->systemd, __VA_ARGS__);                                 \
    } while (0)

/* -- the end ----------------------------------------------------------------------------------- */

static unsigned app_stop_ms(const struct master *m)
{
    return m->phase == STOPPING_NOW ? APP_STOP_NOW_MS : APP_STOP_MS;
}

static void stop_apps(struct master *m)
{
    if (!m->apps_stopped)
        ferry_apps_stop(&m->apps, app_stop_ms(m));
    m->apps_stopped = true;
}

/* What is next to end, now that something has. */
static void end_next(struct master *m)
{
    if (m->phase == RUNNING || ferry_workers_any(&m->workers))
        return;
    stop_apps(m);
    if (!ferry_list_empty(&m->apps.list) || m->closing)
        return;
    m->closing = true;
    ferry_watch_close(&m->signals); /* the last thing on the loop */
}

static void stop(struct master *m, bool now)
{
    uint64_t ms = (now || !m->current ? 0 : m->current->config->stop_ms) + 2 * FERRY_ENGINE_CUT_MS;

    if (m->phase >= (now ? STOPPING_NOW : STOPPING))
        return;
    if (m->phase == RUNNING)
        TELL(m, "STOPPING=1\nSTATUS=stopping");
    m->phase = now ? STOPPING_NOW : STOPPING;
    m->apps.quiet = true;
    /* So that nobody waits in a queue from which nobody is taken. */
    if (m->current)
        ferry_listening_shut(m->current);
    if (m->next)
        ferry_listening_shut(m->next);
    ferry_timer_stop(&m->restart);
    ferry_timer_stop(&m->alive);
    for (unsigned i = 0; i < FERRY_ENGINE_WORKERS_MAX; i++)
        if (m->workers.each[i].state != FERRY_WORKER_NONE)
            ferry_worker_end(&m->workers.each[i], now ? SIGINT : SIGTERM, ms);
    if (now && m->apps_stopped)
        ferry_apps_stop(&m->apps, APP_STOP_NOW_MS);
    end_next(m);
}

/* -- the pid file ---------------------------------------------------------------------------------
 */

/* As this configuration wants it; a file of the one before is removed when it is another. On
 * failure all is as it was. */
static int write_pid(struct master *m, const struct ferry_config *c)
{
    const char *path = c->pid_file;
    char *copy = NULL;
    int fd, n = 0;

    if (path && m->pid_file && strcmp(path, m->pid_file) == 0)
        return 0;
    if (path && (copy = strdup(path))) {
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        n = fd < 0 ? -1 : dprintf(fd, "%d\n", (int)m->engine->first);
        if (n < 0)
            ferry_cli_say("cannot write the pid file %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    if (n < 0 || (path && !copy)) {
        free(copy);
        return -EIO;
    }
    if (m->pid_file)
        unlink(m->pid_file);
    free(m->pid_file);
    m->pid_file = copy;
    return 0;
}

/* -- reload ------------------------------------------------------------------------------------ */

static void begin_reload(struct master *m);

/* `next` is given up, or done. */
static void reload_over(struct master *m)
{
    m->next_worker = NULL;
    m->replacing = false;
    if (m->phase == RUNNING)
        TELL(m, "READY=1");
    m->apps.quiet = m->phase != RUNNING;
    if (m->reload_again && m->phase == RUNNING)
        ferry_task_defer(m->loop, &m->look);
}

static void give_up(struct master *m, const char *why, const char *which)
{
    struct ferry_generation *next = m->next;

    ferry_cli_say("%s%s%s: the configuration stays as it was", why, which ? " " : "",
                  which ? which : "");
    m->next = NULL;
    if (m->next_worker)
        ferry_worker_end(m->next_worker, SIGINT, FERRY_ENGINE_CUT_MS);
    ferry_generation_unref(next, APP_STOP_MS);
    reload_over(m);
}

/* The applications of the next generation: all up, then its worker is started. */
static void look_at_next(struct master *m)
{
    const char *which = NULL;
    int ready;

    if (!m->next || m->next_worker || m->phase != RUNNING)
        return;
    ready = ferry_generation_ready(m->next, &which);
    if (ready < 0)
        give_up(m, "reload failed, an application does not come up:", which);
    else if (ready && !(m->next_worker = ferry_worker_start(&m->workers, m->next)))
        give_up(m, "reload failed", NULL);
}

static void begin_reload(struct master *m)
{
    struct ferry_engine *e = m->engine;
    struct ferry_config *c = NULL;

    if (m->next || m->next_worker || !ferry_workers_room(&m->workers)) {
        m->reload_again = true;
        return;
    }
    m->reload_again = false;
    TELL(m, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)ferry_now_us());
    if (e->reload(e->arg, &c) < 0) {
        ferry_cli_say("reload failed: the configuration stays as it was");
        TELL(m, "READY=1");
        return;
    }
    if (ferry_generation_new(&m->apps, c, m->current, &m->next) != 0) {
        ferry_config_free(c);
        m->next = NULL;
        ferry_cli_say("reload failed: the configuration stays as it was");
        TELL(m, "READY=1");
        return;
    }
    look_at_next(m);
}

/* Logs are opened before privileges are given up: so it takes another worker to open new ones. */
static void replace_worker(struct master *m)
{
    if (m->next || m->next_worker || !ferry_workers_room(&m->workers))
        return begin_reload(m); /* which will do both, later */
    m->next_worker = ferry_worker_start(&m->workers, m->current);
    m->replacing = m->next_worker != NULL;
}

static void on_look(struct ferry_task *t)
{
    struct master *m = ferry_container(t, struct master, look);

    if (m->phase != RUNNING)
        end_next(m);
    else if (m->reload_again && !m->next && !m->next_worker)
        begin_reload(m);
    else
        look_at_next(m);
}

static void apps_changed(void *arg)
{
    struct master *m = arg;

    ferry_task_defer(m->loop, &m->look); /* it may be told while one is started */
}

/* -- workers ----------------------------------------------------------------------------------- */

static void announce(struct master *m)
{
    const struct ferry_generation *g = m->current;
    char text[FERRY_ADDR_TEXT_MAX];
    bool all = m->engine->reload || m->engine->ops->tell_all;
    unsigned first = 0;

    m->announced = true;
    TELL(m, "READY=1\nSTATUS=serving on %u address%s", g->nlisteners,
         g->nlisteners == 1 ? "" : "es");
    for (unsigned i = 0; m->engine->verbose && i < g->nlisteners; i++) {
        ferry_addr_format(&g->listeners[i]->bound, text, sizeof text);
        ferry_cli_say("listening on %s", text);
    }
    while (first < g->nlisteners && g->listeners[first]->bound.any.sa_family == AF_UNIX)
        first++;
    first = first == g->nlisteners ? 0 : first;
    for (unsigned i = all ? 0 : first; i < g->nlisteners; i++) {
        m->engine->ops->url(g, i, text, sizeof text);
        ferry_cli_escape(text, strlen(text));
        printf("%s\n", text);
        if (!all)
            break; /* one address is enough for a browser */
    }
    fflush(stdout);
}

static void retire(struct ferry_worker *w)
{
    ferry_worker_end(w, FERRY_ENGINE_RETIRE,
                     FERRY_ENGINE_LINGER_MS + w->generation->config->stop_ms +
                         2 * FERRY_ENGINE_CUT_MS);
}

static void worker_serves(struct ferry_worker *w)
{
    struct master *m = ferry_container(w->all, struct master, workers);
    struct ferry_generation *before = m->current;

    if (m->phase != RUNNING)
        return;
    if (w == m->next_worker) {
        for (unsigned i = 0; i < FERRY_ENGINE_WORKERS_MAX; i++)
            if (&m->workers.each[i] != w && (m->workers.each[i].state == FERRY_WORKER_SERVING ||
                                             m->workers.each[i].state == FERRY_WORKER_STARTING))
                retire(&m->workers.each[i]);
        ferry_timer_stop(&m->restart);
        m->pause_ms = 0;
        if (m->next) {
            m->current = m->next;
            m->next = NULL;
            ferry_generation_unref(before, APP_STOP_MS);
            (void)write_pid(m, m->current->config);
            if (!m->engine->quiet)
                ferry_cli_say("reloaded: the new configuration is in force");
        }
        reload_over(m);
    }
    if (!m->announced)
        announce(m);
}

static void tell_worker_end(struct master *m, int status)
{
    char again[64] = "";

    if (m->announced)
        snprintf(again, sizeof again, "; starting another in %u.%u s", m->pause_ms / 1000,
                 m->pause_ms % 1000 / 100);
    if (WIFSIGNALED(status))
        ferry_cli_say("the worker was ended by signal %d (%s)%s", WTERMSIG(status),
                      strsignal(WTERMSIG(status)), again);
    else if (m->announced) /* else it has said why */
        ferry_cli_say("the worker ended with status %d%s", WEXITSTATUS(status), again);
}

/* The worker that serves, or was to be the first one, or its successor, has ended by itself. */
static void worker_crashed(struct master *m, const struct ferry_worker *w)
{
    if (ferry_loop_now(m->loop) - w->since_ms >= SETTLED_MS)
        m->pause_ms = 0;
    m->pause_ms = m->pause_ms ? m->pause_ms * 2 : RESTART_MIN_MS;
    if (m->pause_ms > RESTART_MAX_MS)
        m->pause_ms = RESTART_MAX_MS;
    tell_worker_end(m, w->status);
    if (!m->announced) { /* the next one would fare no better */
        m->exit_code =
            w->status && WIFEXITED(w->status) ? WEXITSTATUS(w->status) : FERRY_EXIT_FAILED;
        stop(m, false);
    } else {
        ferry_timer_set(m->loop, &m->restart, ferry_loop_now(m->loop) + m->pause_ms);
    }
}

static void worker_ended(struct ferry_worker *w)
{
    struct master *m = ferry_container(w->all, struct master, workers);
    struct ferry_generation *g = w->generation;

    read_signals(m); /* what ended the worker may have been meant for both */
    if (m->phase != RUNNING || w->state == FERRY_WORKER_ENDING) {
        if (w == m->next_worker)
            m->next_worker = NULL;
    } else if (w == m->next_worker && m->next) {
        m->next_worker = NULL;
        give_up(m, "reload failed, its worker did not come up", NULL);
    } else if (w == m->next_worker) {
        ferry_cli_say("another worker did not come up: the old one stays");
        reload_over(m);
    } else {
        worker_crashed(m, w);
    }
    ferry_generation_unref(g, app_stop_ms(m));
}

static void worker_gone(struct ferry_workers *all)
{
    struct master *m = ferry_container(all, struct master, workers);

    ferry_task_defer(m->loop, &m->look); /* there is room now; or nothing is left */
}

static void on_restart(struct ferry_timer *t)
{
    struct master *m = ferry_container(t, struct master, restart);

    if (m->phase == RUNNING && !ferry_worker_start(&m->workers, m->current))
        ferry_timer_set(m->loop, t, ferry_loop_now(m->loop) + RESTART_MAX_MS);
}

static void on_alive(struct ferry_timer *t)
{
    struct master *m = ferry_container(t, struct master, alive);

    TELL(m, "WATCHDOG=1");
    ferry_timer_set(m->loop, t, ferry_loop_now(m->loop) + m->engine->systemd.watchdog_ms / 2 + 1);
}

/* -- signals ----------------------------------------------------------------------------------- */

static void reopen(struct master *m)
{
    if (m->engine->reload) {
        replace_worker(m);
        return;
    }
    for (unsigned i = 0; i < FERRY_ENGINE_WORKERS_MAX; i++)
        if (m->workers.each[i].state != FERRY_WORKER_NONE && m->workers.each[i].pid > 0)
            kill(m->workers.each[i].pid, SIGUSR1);
}

static void read_signals(struct master *m)
{
    struct signalfd_siginfo info;

    while (read(m->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGUSR1 && m->phase == RUNNING)
            reopen(m);
        else if (info.ssi_signo == SIGHUP && m->engine->reload && m->phase == RUNNING)
            begin_reload(m);
        else if (info.ssi_signo != SIGUSR1 && (info.ssi_signo != SIGHUP || !m->engine->reload))
            stop(m, info.ssi_signo == SIGINT);
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

/* -- files ------------------------------------------------------------------------------------- */

/* A sandbox leaves the worker one folder to write to: for bodies that wait, in files without names.
 * It is locked, so that nobody who tidies up old folders takes it away (systemd-tmpfiles). */
static int make_spool(struct master *m)
{
    const char *asked = m->engine->config->spool;
    const char *parents[] = {asked, getenv("TMPDIR"), "/var/tmp", "/tmp"};

    for (size_t i = 0; i < sizeof parents / sizeof *parents; i++) {
        if (!parents[i] || parents[i][0] != '/' || strlen(parents[i]) > SPOOL_MAX)
            continue;
        snprintf(m->spool, sizeof m->spool, "%s/ferry-XXXXXX", parents[i]);
        if (!mkdtemp(m->spool)) {
            if (asked && parents[i] == asked)
                break;
            continue;
        }
        ferry_engine_tell_guards(m->spool, true);
        /* The worker is somebody else, perhaps; nobody sees what is in there, or removes it. */
        if (geteuid() == 0 && chmod(m->spool, 01733) < 0)
            break;
        m->spool_fd = open(m->spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (m->spool_fd >= 0)
            (void)!flock(m->spool_fd, LOCK_SH);
        return 0;
    }
    ferry_cli_say("no folder for the bodies of requests can be made: %s", strerror(errno));
    m->spool[0] = 0;
    return -EACCES;
}

static void remove_files(struct master *m)
{
    if (m->spool[0]) {
        rmdir(m->spool);
        ferry_engine_tell_guards(m->spool, false);
        close(m->spool_fd);
    }
    if (m->pid_file)
        unlink(m->pid_file);
    free(m->pid_file);
}

/* -- the whole --------------------------------------------------------------------------------- */

static int open_loop(struct master *m)
{
    int err;

    ferry_list_init(&m->apps.list);
    ferry_timer_init(&m->restart, on_restart);
    ferry_timer_init(&m->alive, on_alive);
    ferry_task_init(&m->look, on_look);
    err = ferry_loop_new(FERRY_IO_EPOLL, &m->loop);
    if (err == 0)
        err = open_signals(m);
    m->apps.loop = m->workers.loop = m->loop;
    m->apps.engine = m->workers.engine = m->engine;
    m->apps.changed = apps_changed;
    m->apps.arg = m;
    m->workers.apps = &m->apps;
    m->workers.serves = worker_serves;
    m->workers.ended = worker_ended;
    m->workers.gone = worker_gone;
    return err;
}

static int start(struct master *m)
{
    struct ferry_config *c = m->engine->config;
    int code;

    if (c->sandbox != FERRY_CONFIG_OFF && make_spool(m) < 0)
        return FERRY_EXIT_FAILED;
    m->workers.spool = m->spool[0] ? m->spool : NULL;
    code = ferry_generation_new(&m->apps, c, NULL, &m->current);
    if (code)
        return code;
    if (m->engine->note)
        ferry_cli_say("%s", m->engine->note);
    if (write_pid(m, c) < 0 || !ferry_worker_start(&m->workers, m->current))
        return FERRY_EXIT_FAILED;
    if (m->engine->systemd.watchdog_ms)
        on_alive(&m->alive);
    return 0;
}

int ferry_engine_run(struct ferry_engine *e)
{
    static struct master master;
    struct master *m = &master;
    int err;

    *m = (struct master){.engine = e, .spool_fd = -1};
    err = open_loop(m);
    if (err < 0) {
        ferry_cli_say("cannot start: %s", ferry_strerror(err));
        ferry_loop_free(m->loop);
        return FERRY_EXIT_FAILED;
    }
    m->exit_code = start(m);
    if (m->exit_code) {
        m->phase = STOPPING;
        end_next(m);
    }
    err = ferry_loop_run(m->loop);
    if (err < 0) {
        ferry_cli_say("the master's loop failed: %s", ferry_strerror(err));
        return FERRY_EXIT_FAILED;
    }
    if (m->current)
        ferry_generation_unref(m->current, 0);
    else
        ferry_config_free(e->config);
    ferry_generation_unref(m->next, 0);
    remove_files(m);
    ferry_loop_free(m->loop);
    return m->exit_code;
}
