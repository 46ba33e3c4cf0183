/* SPDX-License-Identifier: MIT */
/*
 * `ferry spawn --supervise`: the process that was started and the one below it are guards; the
 * third one listens, runs the process manager, and tells how things are.
 *
 *      ferry ──▶ guard ──▶ ferry ──▶ processes
 *
 * It ends in one order: the processes, the sockets, their files.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/log.h"
#include "cli/spawn.h"
#include "cli/status_door.h"
#include "cli/systemd.h"
#include "proc/guard.h"

#define STOP_MS 10000
#define STOP_NOW_MS 1000
#define TICK_MS 1000
#define TICK_RELOADING_MS 100

struct supervisor {
    struct ferry_spawning *s;
    pid_t first; /* the process that was started */
    struct ferry_systemd systemd;
    struct ferry_cli_log log;
    struct ferry_loop *loop;
    struct ferry_manager *manager;
    struct ferry_status_door *door;
    struct ferry_watch signals;
    struct ferry_timer tick;
    int signal_fd;
    int fds[FERRY_MANAGER_PROCESSES_MAX];
    unsigned nfds;
    pid_t pids[FERRY_MANAGER_PROCESSES_MAX * 2]; /* of its processes, two generations */
    unsigned npids;
    bool announced, stopping, reloading, wrote_pid;
    unsigned stop_ms;
    char said[128]; /* the last STATUS */
    int code;
};

static const char *name_of(const struct supervisor *v)
{
    const char *program = v->s->what.argv[0], *slash = strrchr(program, '/');

    return v->s->pool.name ? v->s->pool.name : slash ? slash + 1 : program;
}

static unsigned listeners(const struct ferry_spawning *s)
{
    return s->pool.per_process ? s->pool.processes_max : 1;
}

static unsigned stop_ms(const struct ferry_spawning *s)
{
    return s->pool.stop_ms ? s->pool.stop_ms : STOP_MS;
}

/* -- files ------------------------------------------------------------------------------------ */

static int write_pid(struct supervisor *v)
{
    const char *path = v->s->pid_file;
    int fd, n;

    if (!path)
        return 0;
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    n = fd < 0 ? -1 : dprintf(fd, "%d\n", (int)v->first);
    if (n < 0)
        ferry_cli_say("cannot write the pid file %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    v->wrote_pid = n >= 0;
    return n < 0 ? -EIO : 0;
}

/* Ours only: another one may have been started since. */
static void remove_pid(const struct supervisor *v)
{
    char text[32] = "";
    int fd = v->s->pid_file ? open(v->s->pid_file, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n;

    if (fd < 0)
        return;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n > 0 && strtol(text, NULL, 10) == v->first)
        unlink(v->s->pid_file);
}

static void remove_files(const struct supervisor *v)
{
    ferry_spawning_unlisten(v->s, listeners(v->s));
    if (v->s->has_status)
        ferry_listen_remove(&v->s->status);
    remove_pid(v);
}

/* -- the end ---------------------------------------------------------------------------------- */

static void door_closed(void *arg)
{
    struct supervisor *v = arg;

    v->door = NULL;
    ferry_watch_close(&v->signals); /* the last thing on the loop */
}

static void manager_closed(void *arg)
{
    struct supervisor *v = arg;

    v->manager = NULL;
    ferry_timer_stop(&v->tick);
    if (v->door)
        ferry_status_door_close(v->door);
    else
        door_closed(v);
}

static void stop(struct supervisor *v, bool now)
{
    if (!v->stopping)
        ferry_systemd_say(&v->systemd, "STOPPING=1\nSTATUS=stopping");
    v->stopping = true;
    v->stop_ms = now ? STOP_NOW_MS : stop_ms(v->s);
    if (v->manager)
        ferry_manager_stop(v->manager, now ? SIGTERM : 0, v->stop_ms);
}

/* -- what the manager tells ------------------------------------------------------------------- */

static void on_line(void *arg, pid_t pid, enum ferry_process_stream stream, struct ferry_slice line)
{
    struct supervisor *v = arg;

    ferry_cli_log(&v->log, "%s[%d]%s: %.*s", name_of(v), (int)pid,
                  stream == FERRY_PROCESS_OUT ? " stdout" : "", (int)line.len, line.p);
}

static void on_event(void *arg, enum ferry_manager_level level, struct ferry_slice text)
{
    struct supervisor *v = arg;

    if (level == FERRY_MANAGER_WARNING || !v->s->quiet)
        ferry_cli_log(&v->log, "%s: %.*s", name_of(v), (int)text.len, text.p);
}

static void announce(struct supervisor *v)
{
    char text[FERRY_ADDR_TEXT_MAX];
    struct ferry_addr bound;

    v->announced = true;
    for (unsigned i = 0; i < v->nfds; i++) {
        if (ferry_addr_local(v->fds[i], &bound) < 0)
            continue;
        ferry_addr_format(&bound, text, sizeof text);
        ferry_cli_escape(text, strlen(text));
        printf("%s\n", text);
    }
    fflush(stdout);
    ferry_systemd_say(&v->systemd, "READY=1");
}

static void on_state(void *arg, enum ferry_manager_state state)
{
    struct supervisor *v = arg;

    if (state == FERRY_MANAGER_READY && !v->announced && !v->stopping)
        announce(v);
    if (state == FERRY_MANAGER_FATAL && !v->stopping) {
        v->code = FERRY_EXIT_FATAL;
        stop(v, false);
    }
}

/* Who else is our child is an orphan that we were given. */
static void on_process(void *arg, pid_t pid, bool started)
{
    struct supervisor *v = arg;

    if (started && v->npids < sizeof v->pids / sizeof *v->pids)
        v->pids[v->npids++] = pid;
    for (unsigned i = 0; !started && i < v->npids; i++)
        if (v->pids[i] == pid)
            v->pids[i] = v->pids[--v->npids];
}

static const struct ferry_manager_fns manager_fns = {.line = on_line,
                                                     .event = on_event,
                                                     .process = on_process,
                                                     .state = on_state,
                                                     .closed = manager_closed};

/* -- how things are --------------------------------------------------------------------------- */

static void write_status(void *arg, bool json, FILE *f)
{
    struct supervisor *v = arg;
    struct ferry_manager_status status;

    if (!v->manager)
        return;
    if (ferry_manager_status(v->manager, &status) == 0)
        (json ? ferry_manager_status_json : ferry_manager_status_text)(&status, f);
    ferry_manager_status_fini(&status);
}

static bool is_ready(void *arg)
{
    struct supervisor *v = arg;

    return v->manager && ferry_manager_state(v->manager) == FERRY_MANAGER_READY;
}

static void log_status(struct supervisor *v)
{
    char *text = NULL, *save = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return;
    write_status(v, false, f);
    if (fclose(f) == 0)
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            ferry_cli_log(&v->log, "%s", line);
    free(text);
}

/* STATUS for `systemctl status`, when it is another one than before. */
static void tell_status(struct supervisor *v)
{
    struct ferry_manager_status status;
    char text[sizeof v->said];

    if (v->systemd.ours < 0 || v->stopping)
        return;
    if (ferry_manager_status(v->manager, &status) == 0) {
        snprintf(text, sizeof text, "%s: %s, %u processes, %lld connections waiting", name_of(v),
                 ferry_manager_state_text(status.state), status.nprocesses,
                 (long long)(status.queued > 0 ? status.queued : 0));
        ferry_cli_escape(text, strlen(text));
        if (strcmp(text, v->said) != 0)
            ferry_systemd_say(&v->systemd, "STATUS=%s", text);
        memcpy(v->said, text, sizeof text);
    }
    ferry_manager_status_fini(&status);
}

static void on_tick(struct ferry_timer *t)
{
    struct supervisor *v = ferry_container(t, struct supervisor, tick);
    uint64_t next = v->reloading ? TICK_RELOADING_MS : TICK_MS;

    if (!v->manager)
        return;
    ferry_guard_reap(v->pids, v->npids);
    if (v->reloading && !ferry_manager_is_reloading(v->manager)) {
        v->reloading = false;
        if (!v->stopping)
            ferry_systemd_say(&v->systemd, "READY=1");
    }
    if (v->systemd.watchdog_ms) {
        ferry_systemd_say(&v->systemd, "WATCHDOG=1");
        next = next < v->systemd.watchdog_ms / 2 ? next : v->systemd.watchdog_ms / 2 + 1;
    }
    tell_status(v);
    ferry_timer_set(v->loop, t, ferry_loop_now(v->loop) + next);
}

/* -- signals ---------------------------------------------------------------------------------- */

static void reload(struct supervisor *v)
{
    if (v->stopping || !v->manager)
        return;
    ferry_systemd_say(&v->systemd, "RELOADING=1\nMONOTONIC_USEC=%llu",
                      (unsigned long long)ferry_now_us());
    v->reloading = true;
    ferry_manager_reload(v->manager);
    ferry_timer_set(v->loop, &v->tick, ferry_loop_now(v->loop) + TICK_RELOADING_MS);
}

static void reopen(struct supervisor *v)
{
    int err = ferry_cli_log_reopen(&v->log);

    if (err < 0)
        ferry_cli_log(&v->log, "cannot open the log anew, the old one stays: %s",
                      ferry_strerror(err));
}

static void on_signal(struct ferry_watch *w)
{
    struct supervisor *v = ferry_container(w, struct supervisor, signals);
    struct signalfd_siginfo info;

    while (read(v->signal_fd, &info, sizeof info) == sizeof info) {
        switch (info.ssi_signo) {
        case SIGHUP:
            reload(v);
            break;
        case SIGUSR1:
            reopen(v);
            break;
        case SIGUSR2:
            log_status(v);
            break;
        default:
            stop(v, info.ssi_signo != SIGTERM);
            break;
        }
    }
}

static void signals_closed(struct ferry_watch *w)
{
    struct supervisor *v = ferry_container(w, struct supervisor, signals);

    close(v->signal_fd);
    ferry_loop_stop(v->loop);
}

static int open_signals(struct supervisor *v)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};
    struct sigaction sa;
    sigset_t set;
    int err;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
            sigaddset(&set, signals[i]);
    sigprocmask(SIG_SETMASK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log past its limit is an error of that write, not our end */
    v->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (v->signal_fd < 0)
        return -errno;
    v->signals = (struct ferry_watch){.readable = on_signal, .closed = signals_closed};
    err = ferry_watch_open(v->loop, &v->signals, v->signal_fd);
    if (err < 0)
        close(v->signal_fd);
    return err;
}

/* -- the beginning ---------------------------------------------------------------------------- */

static int open_door(struct supervisor *v)
{
    struct ferry_status_door_opts o = {
        .write = write_status, .is_ready = is_ready, .closed = door_closed, .arg = v};
    const struct ferry_addr *a = &v->s->status;
    int fd, err;

    if (!v->s->has_status)
        return 0;
    fd = ferry_listen(a, NULL);
    if (fd < 0) {
        ferry_cli_cannot_listen(a, fd, fd == -EADDRINUSE ? ferry_listen_owner(a) : 0,
                                " with --status");
        return fd;
    }
    err = ferry_status_door_open(v->loop, &o, fd, &v->door);
    if (err < 0) {
        close(fd);
        ferry_cli_say("cannot answer about the status: %s", ferry_strerror(err));
    }
    return err;
}

static int start(struct supervisor *v)
{
    struct ferry_manager_opts o = v->s->pool;
    char why[4096 + 256];
    int err;

    for (unsigned n = listeners(v->s); v->nfds < n; v->nfds++) {
        v->fds[v->nfds] = ferry_spawning_listen(v->s, v->nfds, n);
        if (v->fds[v->nfds] < 0)
            return -1;
    }
    err = open_door(v);
    if (err == 0)
        err = write_pid(v);
    if (err < 0)
        return err;
    o.spawn = v->s->what;
    o.spawn.death_signal = o.stop_signal;
    o.listeners = v->fds;
    o.fns = &manager_fns;
    o.arg = v;
    err = ferry_manager_start(v->loop, &o, &v->manager, why, sizeof why);
    if (err < 0)
        ferry_cli_say("%s", why);
    else if (v->stopping) /* given up before there was a manager to be stopped */
        stop(v, false);
    else
        ferry_timer_set(v->loop, &v->tick, ferry_loop_now(v->loop) + TICK_MS);
    return err;
}

static int manage(struct supervisor *v)
{
    int err = ferry_loop_new(FERRY_IO_EPOLL, &v->loop);

    ferry_guard_adopt();
    ferry_timer_init(&v->tick, on_tick);
    if (err == 0)
        err = open_signals(v);
    if (err < 0) {
        ferry_cli_say("cannot start: %s", ferry_strerror(err));
        ferry_loop_free(v->loop);
        return FERRY_EXIT_FAILED;
    }
    if (start(v) < 0) {
        v->code = FERRY_EXIT_FAILED;
        v->stopping = true;
        manager_closed(v);
    }
    err = ferry_loop_run(v->loop);
    if (err < 0) {
        ferry_cli_say("the manager's loop failed: %s", ferry_strerror(err));
        return FERRY_EXIT_FAILED;
    }
    ferry_guard_end(v->s->pool.stop_signal, v->stop_ms);
    for (unsigned i = 0; i < v->nfds; i++)
        close(v->fds[i]);
    remove_files(v);
    ferry_loop_free(v->loop);
    ferry_cli_log_close(&v->log);
    return v->code;
}

/* -- the guards ------------------------------------------------------------------------------- */

static void manager_died(void *arg, int sig)
{
    struct supervisor *v = arg;

    ferry_cli_log(&v->log, "%s: its manager was ended by signal %d (%s); what it started is ended",
                  name_of(v), sig, strsignal(sig));
}

static void tidy(void *arg)
{
    remove_files(arg);
}

static void repeat(void *arg)
{
    struct supervisor *v = arg;

    ferry_systemd_repeat(&v->systemd);
}

int ferry_spawning_supervise(struct ferry_spawning *s)
{
    static struct supervisor supervisor;
    struct supervisor *v = &supervisor;
    struct ferry_guard_opts guards;
    int code = 0, r;

    *v = (struct supervisor){.s = s, .first = getpid()};
    r = ferry_cli_log_open(&v->log, s->log);
    if (r < 0) {
        ferry_cli_say("cannot write the log %s: %s", s->log, ferry_strerror(r));
        return FERRY_EXIT_FAILED;
    }
    ferry_systemd_open(&v->systemd);
    guards = (struct ferry_guard_opts){.sig = s->pool.stop_signal,
                                       .grace_ms = stop_ms(s),
                                       .fd = v->systemd.theirs,
                                       .readable = repeat,
                                       .died = manager_died,
                                       .tidy = tidy,
                                       .arg = v};
    return ferry_cli_guards(&guards, &code) ? code : manage(v);
}
