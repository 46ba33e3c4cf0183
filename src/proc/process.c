/* SPDX-License-Identifier: MIT */
/*
 * The life of one supervised program:
 *
 *      start ─▶ RUNNING ─exit─▶ REAPED ─watch closed─▶ WAITING ─timer─▶ RUNNING
 *                  │ stop: signal  │                     │ stop
 *                  └───────────────┴─────────────────────┴─timer─▶ CLOSING ─▶ closed
 *
 * Its pipes are made once and outlive it, both ends held here, so a line written in its last moment
 * or by the next incarnation is never lost. The program is reaped only after what is left of its
 * group was killed: until then its pid, which names the group, cannot belong to anybody else.
 */
#include "proc/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAUSE_MS 100
#define PAUSE_MAX_MS 10000
#define SETTLED_MS 10000
#define RECYCLE_MIN_MS 100  /* an exit 0 sooner than this is no recycling but a loop */
#define READ_MAX 65536      /* of one pipe in one turn, so that a chatty program starves nobody */
#define DRAIN_MAX (1 << 20) /* after its end: the most that a pipe may hold */

enum state { RUNNING, REAPED, WAITING, CLOSING };

/* -- what it writes --------------------------------------------------------------------------- */

static void tell_lines(struct ferry_process *p, int i)
{
    struct ferry_process_pipe *pipe = &p->pipes[i];
    struct ferry_slice left = {pipe->line, pipe->len};

    for (;;) {
        size_t n = ferry_slice_find(left, '\n');

        if (n == left.len)
            break;
        p->fns->line(p, (enum ferry_process_stream)i, ferry_slice_first(left, n));
        left = ferry_slice_from(left, n + 1);
    }
    if (left.len == sizeof pipe->line) {
        p->fns->line(p, (enum ferry_process_stream)i, left);
        left.len = 0;
    }
    memmove(pipe->line, left.p, left.len);
    pipe->len = left.len;
}

static void read_lines(struct ferry_process *p, int i, size_t max)
{
    struct ferry_process_pipe *pipe = &p->pipes[i];

    for (size_t total = 0; total < max;) {
        ssize_t n = read(pipe->read_fd, pipe->line + pipe->len, sizeof pipe->line - pipe->len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        total += (size_t)n;
        pipe->len += (size_t)n;
        tell_lines(p, i);
    }
}

/* All that it has written, also a last line without its end. */
static void drain(struct ferry_process *p)
{
    for (int i = 0; i < 2; i++) {
        struct ferry_process_pipe *pipe = &p->pipes[i];

        read_lines(p, i, DRAIN_MAX);
        if (pipe->len)
            p->fns->line(p, (enum ferry_process_stream)i, ferry_slice(pipe->line, pipe->len));
        pipe->len = 0;
    }
}

static void out_readable(struct ferry_watch *w)
{
    read_lines(ferry_container(w, struct ferry_process, pipes[0].watch), FERRY_PROCESS_OUT,
               READ_MAX);
}

static void err_readable(struct ferry_watch *w)
{
    read_lines(ferry_container(w, struct ferry_process, pipes[1].watch), FERRY_PROCESS_ERR,
               READ_MAX);
}

static int open_pipes(struct ferry_process *p)
{
    for (int i = 0; i < 2; i++) {
        struct ferry_process_pipe *pipe = &p->pipes[i];
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
            return -errno;
        pipe->read_fd = ends[0];
        pipe->write_fd = ends[1];
        /* Our end alone must not block; the program's does. */
        if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
            return -errno;
        /* php-fpm opens its error log by the name /dev/fd/2, which asks for the owner. */
        if (p->opts.spawn.switch_user &&
            fchown(ends[1], p->opts.spawn.uid, p->opts.spawn.gid) < 0 && errno != EPERM)
            return -errno;
    }
    return 0;
}

static void close_pipe(struct ferry_process_pipe *pipe)
{
    if (pipe->read_fd >= 0)
        close(pipe->read_fd);
    if (pipe->write_fd >= 0)
        close(pipe->write_fd);
    pipe->read_fd = pipe->write_fd = -1;
}

/* -- the end of it all ------------------------------------------------------------------------ */

static void pipe_closed(struct ferry_process *p, int i)
{
    close_pipe(&p->pipes[i]);
    if (p->state == CLOSING && p->pipes[0].read_fd < 0 && p->pipes[1].read_fd < 0)
        p->fns->closed(p);
}

static void out_closed(struct ferry_watch *w)
{
    pipe_closed(ferry_container(w, struct ferry_process, pipes[0].watch), 0);
}

static void err_closed(struct ferry_watch *w)
{
    pipe_closed(ferry_container(w, struct ferry_process, pipes[1].watch), 1);
}

/* Only from the timer, so that no function of the owner is running. */
static void finish(struct ferry_process *p)
{
    bool watched[2] = {p->pipes[0].watched, p->pipes[1].watched};

    drain(p);
    p->state = CLOSING;
    ferry_timer_stop(&p->timer);
    for (int i = 0; i < 2; i++)
        if (watched[i])
            ferry_watch_close(&p->pipes[i].watch);
    for (int i = 0; i < 2; i++)
        if (!watched[i])
            pipe_closed(p, i);
}

size_t ferry_process_end_format(const struct ferry_process_end *end, char *out, size_t cap)
{
    char again[48] = "";
    int n;

    if (end->again && end->wait_ms)
        snprintf(again, sizeof again, "; started again in %u.%u s", (unsigned)(end->wait_ms / 1000),
                 (unsigned)(end->wait_ms % 1000 / 100));
    else if (end->again)
        snprintf(again, sizeof again, "; started again");
    if (end->err)
        n = snprintf(out, cap, "%s: %s%s", end->step, ferry_strerror(end->err), again);
    else if (end->signal)
        n = snprintf(out, cap, "was ended by signal %d (%s)%s", end->signal, strsignal(end->signal),
                     again);
    else
        n = snprintf(out, cap, "ended with status %d%s", end->status, again);
    return n < 0 || !cap ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;
}

/* Will nothing follow this incarnation? */
static bool is_last(const struct ferry_process *p)
{
    return p->stopping || p->opts.once;
}

/* -- one incarnation -------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
    return ferry_now_us() / 1000;
}

static void wait_for_timer(struct ferry_process *p, uint64_t wait_ms)
{
    p->state = WAITING;
    ferry_timer_set(p->loop, &p->timer, now_ms() + wait_ms);
}

/* The pause before the next start; counts the failure. */
static uint64_t next_pause(struct ferry_process *p)
{
    uint64_t first = p->opts.pause_ms ? p->opts.pause_ms : PAUSE_MS;
    uint64_t max = p->opts.pause_max_ms ? p->opts.pause_max_ms : PAUSE_MAX_MS;
    uint64_t pause = p->failures < 16 ? first << p->failures : max;

    p->failures++;
    return pause < max ? pause : max;
}

static void describe(struct ferry_process *p, const siginfo_t *info, struct ferry_process_end *end)
{
    end->ran_ms = now_ms() - p->started_ms;
    if (info->si_code == CLD_EXITED)
        end->status = info->si_status;
    else
        end->signal = info->si_status;
    if (is_last(p))
        return;
    end->again = true;
    if (end->ran_ms >= (p->opts.settled_ms ? p->opts.settled_ms : SETTLED_MS))
        p->failures = 0;
    if (p->opts.recycles && !end->signal && end->status == 0 && end->ran_ms >= RECYCLE_MIN_MS)
        p->failures = 0;
    else
        end->wait_ms = next_pause(p);
}

static void exit_readable(struct ferry_watch *w)
{
    struct ferry_process *p = ferry_container(w, struct ferry_process, exit);
    struct ferry_process_end end = {0};
    siginfo_t info = {0};

    if (p->state != RUNNING)
        return;
    if (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
        /* Somebody else has reaped it, so its group has no name any more. */
        end.err = -errno;
        end.step = "cannot be waited for";
    } else if (info.si_pid == 0) {
        return;
    } else {
        kill(-p->pid, SIGKILL);
        waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG);
    }
    p->pid = -1;
    p->state = REAPED;
    ferry_timer_stop(&p->timer);
    ferry_watch_close(&p->exit);
    describe(p, &info, &end);
    p->wait_ms = end.wait_ms;
    drain(p);
    p->fns->ended(p, &end);
}

static void exit_closed(struct ferry_watch *w)
{
    struct ferry_process *p = ferry_container(w, struct ferry_process, exit);

    close(p->pidfd);
    p->pidfd = -1;
    wait_for_timer(p, is_last(p) ? 0 : p->wait_ms);
}

static int launch(struct ferry_process *p, const char **step)
{
    struct ferry_spawned s;
    int err = ferry_spawn(&p->opts.spawn, &s);

    *step = s.step;
    if (err < 0)
        return err;
    p->pid = s.pid;
    p->pidfd = s.pidfd;
    p->state = RUNNING;
    p->started_ms = now_ms();
    return 0;
}

/* A program whose end would not be noticed cannot be kept: it counts as failed, and the next try
 * tells. */
static void give_up(struct ferry_process *p, int err)
{
    p->watch_err = err;
    kill(-p->pid, SIGKILL);
    while (waitid(P_PIDFD, (id_t)p->pidfd, &(siginfo_t){0}, WEXITED) < 0 && errno == EINTR)
        ;
    close(p->pidfd);
    p->pid = p->pidfd = -1;
    wait_for_timer(p, is_last(p) ? 0 : next_pause(p));
}

static void watch(struct ferry_process *p)
{
    int err = 0;

    for (int i = 0; i < 2 && err == 0; i++) {
        if (p->pipes[i].watched)
            continue;
        err = ferry_watch_open(p->loop, &p->pipes[i].watch, p->pipes[i].read_fd);
        p->pipes[i].watched = err == 0;
    }
    if (err == 0)
        err = ferry_watch_open(p->loop, &p->exit, p->pidfd);
    if (err < 0)
        give_up(p, err);
}

static void restart(struct ferry_process *p)
{
    struct ferry_process_end end = {.again = true};

    end.err = launch(p, &end.step);
    if (end.err == 0) {
        watch(p);
        return;
    }
    end.wait_ms = next_pause(p);
    wait_for_timer(p, end.wait_ms);
    p->fns->ended(p, &end);
}

static void timer_fired(struct ferry_timer *t)
{
    struct ferry_process *p = ferry_container(t, struct ferry_process, timer);
    struct ferry_process_end end = {.step = "cannot be watched", .again = !is_last(p)};

    if (p->state == RUNNING) {
        kill(-p->pid, SIGKILL);
        return;
    }
    if (p->state != WAITING)
        return;
    if (p->watch_err < 0) {
        end.err = p->watch_err;
        p->watch_err = 0;
        p->fns->ended(p, &end);
    }
    if (is_last(p))
        finish(p);
    else
        restart(p);
}

/* -- what the owner asks for ------------------------------------------------------------------ */

static void init(struct ferry_loop *loop, struct ferry_process *p,
                 const struct ferry_process_fns *fns, const struct ferry_process_opts *opts)
{
    *p = (struct ferry_process){.loop = loop, .fns = fns, .opts = *opts, .pid = -1, .pidfd = -1};
    p->exit.readable = exit_readable;
    p->exit.closed = exit_closed;
    p->pipes[0].watch.readable = out_readable;
    p->pipes[0].watch.closed = out_closed;
    p->pipes[1].watch.readable = err_readable;
    p->pipes[1].watch.closed = err_closed;
    for (int i = 0; i < 2; i++)
        p->pipes[i].read_fd = p->pipes[i].write_fd = -1;
    ferry_timer_init(&p->timer, timer_fired);
}

int ferry_process_start(struct ferry_loop *loop, struct ferry_process *p,
                        const struct ferry_process_fns *fns, const struct ferry_process_opts *opts,
                        const char **step)
{
    int err;

    init(loop, p, fns, opts);
    *step = "its pipes cannot be made";
    err = open_pipes(p);
    if (err == 0) {
        p->opts.spawn.out = p->pipes[0].write_fd;
        p->opts.spawn.err = p->pipes[1].write_fd;
        err = launch(p, step);
    }
    if (err < 0) {
        close_pipe(&p->pipes[0]);
        close_pipe(&p->pipes[1]);
        return err;
    }
    watch(p);
    return 0;
}

void ferry_process_stop(struct ferry_process *p, int sig, unsigned kill_after_ms)
{
    p->stopping = true;
    if (p->state == RUNNING) {
        kill(p->pid, sig);
        ferry_timer_set(p->loop, &p->timer, now_ms() + kill_after_ms);
    } else if (p->state == WAITING) {
        ferry_timer_set(p->loop, &p->timer, now_ms());
    }
}

int ferry_process_signal(struct ferry_process *p, int sig)
{
    if (p->state != RUNNING)
        return -ESRCH;
    return kill(p->pid, sig) < 0 ? -errno : 0;
}
