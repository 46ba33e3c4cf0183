/* SPDX-License-Identifier: MIT */
/*
 * The guard waits for signals and for the end of its children, and nobody else reaps those: so a
 * pid that is its child's stays so until it has looked. It reads from no peer, and there is little
 * that could end it but somebody's SIGKILL.
 */
#include "proc/guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TOLD_MAX 1024
#define LOOK_MS 50       /* between two looks at what is left */
#define GIVE_UP_MS 10000 /* after SIGKILL: what cannot be killed is not waited for */
#define FOREVER UINT64_MAX

/* X(signal): passed on */
#define SIGNAL_MAP(X)                                                                              \
    X(SIGTERM)                                                                                     \
    X(SIGINT)                                                                                      \
    X(SIGQUIT)                                                                                     \
    X(SIGHUP)                                                                                      \
    X(SIGUSR1)                                                                                     \
    X(SIGUSR2)

struct guard {
    const struct ferry_guard_opts *o;
    pid_t child;
    bool ended; /* the child has */
    int status;
    int signal_fd;
    int fd;         /* of the owner, -1 when there is nothing more to read */
    uint64_t until; /* when SIGKILL comes; FOREVER while the child runs */
    unsigned ntold;
    pid_t told[TOLD_MAX]; /* have got the signal */
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* -- signals ---------------------------------------------------------------------------------- */

static void block(sigset_t *set, sigset_t *old)
{
    static const int signals[] = {
#define X(sig) sig,
        SIGNAL_MAP(X)
#undef X
    };
    struct sigaction sa;

    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    /* What is ignored, as SIGHUP is under nohup, would wake us all the same. */
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
            sigaddset(set, signals[i]);
    sigprocmask(SIG_BLOCK, set, old);
}

static void pass_on(struct guard *g, const struct signalfd_siginfo *info)
{
    int sig = (int)info->ssi_signo;

    if (sig == SIGCHLD)
        return;
    if (g->ended) {
        if (sig == SIGINT || sig == SIGQUIT)
            g->until = now_ms();
        return;
    }
    /* Sent by nobody, it means that the terminal is gone, and not that something is to be done. */
    if (sig == SIGHUP && info->ssi_code > 0)
        sig = SIGTERM;
    kill(g->child, sig);
}

static void wait_for_something(struct guard *g, int ms)
{
    struct pollfd fds[2] = {{.fd = g->signal_fd, .events = POLLIN},
                            {.fd = g->fd, .events = POLLIN}};
    struct signalfd_siginfo info;

    if (poll(fds, 2, ms) <= 0) /* of -1 it takes no notice */
        return;
    while (read(g->signal_fd, &info, sizeof info) == sizeof info)
        pass_on(g, &info);
    if (fds[1].revents & POLLIN)
        g->o->readable(g->o->arg);
    else if (fds[1].revents)
        g->fd = -1; /* the other end is closed */
}

/* -- children --------------------------------------------------------------------------------- */

/* Is there any left? */
static bool reap(struct guard *g)
{
    int status;
    pid_t pid;

    for (;;) {
        pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid <= 0)
            return pid == 0;
        if (pid == g->child) {
            g->ended = true;
            g->status = status;
        }
        for (unsigned i = 0; i < g->ntold; i++)
            if (g->told[i] == pid)
                g->told[i] = g->told[--g->ntold];
    }
}

static bool was_told(const struct guard *g, pid_t pid)
{
    for (unsigned i = 0; i < g->ntold; i++)
        if (g->told[i] == pid)
            return true;
    return false;
}

static void end_one(struct guard *g, pid_t pid, bool now)
{
    if (now) {
        kill(pid, SIGKILL);
        return;
    }
    if (was_told(g, pid))
        return;
    kill(pid, g->o->sig ? g->o->sig : SIGTERM);
    if (g->ntold < TOLD_MAX)
        g->told[g->ntold++] = pid;
}

/* The state of a process, 'Z' for one that has ended, if this is its parent; else 0. The kernel
 * writes both behind its name, which may hold anything. */
static char child_state(const char *pid, pid_t parent)
{
    char path[64], text[512];
    const char *at;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    at = strrchr(text, ')');
    return at && strlen(at) > 4 && strtol(at + 4, NULL, 10) == parent ? at[2] : 0;
}

/* Calls `f` for each child there is. */
static void each_child(void (*f)(void *arg, pid_t, bool has_ended), void *arg)
{
    DIR *proc = opendir("/proc");
    pid_t self = getpid();
    struct dirent *e;

    if (!proc)
        return;
    while ((e = readdir(proc))) {
        char state = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? child_state(e->d_name, self) : 0;

        if (state)
            f(arg, (pid_t)strtol(e->d_name, NULL, 10), state == 'Z');
    }
    closedir(proc);
}

static void end_gently(void *arg, pid_t pid, bool has_ended)
{
    (void)has_ended;
    end_one(arg, pid, false);
}

static void end_now(void *arg, pid_t pid, bool has_ended)
{
    (void)has_ended;
    end_one(arg, pid, true);
}

/* -- the whole -------------------------------------------------------------------------------- */

static void watch_over(struct guard *g)
{
    while (reap(g) && !g->ended)
        wait_for_something(g, -1);
}

/* What becomes an orphan by this ends in the next round. */
static void end_what_is_left(struct guard *g)
{
    g->until = now_ms() + g->o->grace_ms;
    while (reap(g)) {
        uint64_t now = now_ms();

        if (now >= g->until + GIVE_UP_MS)
            return;
        each_child(now >= g->until ? end_now : end_gently, g);
        wait_for_something(g, LOOK_MS);
    }
}

static int guard(struct guard *g)
{
    bool left;

    if (g->o->name)
        prctl(PR_SET_NAME, g->o->name);
    watch_over(g);
    if (WIFSIGNALED(g->status) && g->o->died)
        g->o->died(g->o->arg, WTERMSIG(g->status));
    left = reap(g);
    end_what_is_left(g);
    if ((WIFSIGNALED(g->status) || left) && g->o->tidy)
        g->o->tidy(g->o->arg);
    close(g->signal_fd);
    return WIFEXITED(g->status) ? WEXITSTATUS(g->status) : 1;
}

static void be_guarded(const struct ferry_guard_opts *o, pid_t parent)
{
    if (o->apart) {
        setpgid(0, 0);
        signal(SIGTTOU, SIG_IGN); /* so that it may write to the terminal all the same */
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        raise(SIGTERM);
}

int ferry_guard(const struct ferry_guard_opts *o, int *code)
{
    struct guard g = {.o = o, .fd = o->fd, .until = FOREVER};
    pid_t self = getpid();
    sigset_t set, old;
    int err;

    block(&set, &old);
    g.signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    err = g.signal_fd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ? -errno : 0;
    fflush(NULL); /* what is written only once must not be written twice */
    g.child = err == 0 ? fork() : -1;
    if (err == 0 && g.child < 0)
        err = -errno;
    if (g.child > 0) {
        *code = guard(&g);
        return 1;
    }
    if (g.signal_fd >= 0)
        close(g.signal_fd);
    if (err == 0)
        be_guarded(o, self);
    else
        sigprocmask(SIG_SETMASK, &old, NULL);
    return err;
}

/* -- in the guarded process ------------------------------------------------------------------- */

struct known {
    const pid_t *pids;
    unsigned n;
};

static void reap_unknown(void *arg, pid_t pid, bool has_ended)
{
    const struct known *known = arg;

    for (unsigned i = 0; i < known->n; i++)
        if (known->pids[i] == pid)
            return;
    if (has_ended)
        waitpid(pid, NULL, WNOHANG | __WALL);
}

void ferry_guard_adopt(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

void ferry_guard_reap(const pid_t *pids, unsigned n)
{
    struct known known = {pids, n};
    siginfo_t any = {0};

    /* Most of the time nobody has ended, and /proc need not be read. */
    if (waitid(P_ALL, 0, &any, WEXITED | WNOHANG | WNOWAIT) == 0 && any.si_pid > 0)
        each_child(reap_unknown, &known);
}

void ferry_guard_end(int sig, unsigned grace_ms)
{
    struct ferry_guard_opts o = {.sig = sig, .grace_ms = grace_ms};
    struct guard g = {.o = &o, .signal_fd = -1, .fd = -1, .ended = true};

    end_what_is_left(&g);
}
