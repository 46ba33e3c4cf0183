/* SPDX-License-Identifier: MIT */
/*
 * `ferry spawn` as spawn-fcgi: it starts the program and leaves it to itself, after a look at
 * whether it stays. What could not be executed is known at once and by its name; the look lasts
 * only as long as nothing happens.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/spawn.h"

#define LOOK_MS 100

struct once {
    struct ferry_spawning *s;
    unsigned n;
    struct ferry_spawned *children;
    struct pollfd *ends;
    int *status; /* -1: it runs */
    int pid_fd;
    bool pid_file_is_new;
};

void ferry_spawning_complain(const struct ferry_spawning *s, const char *step, int err)
{
    const char *name = s->what.argv[0];

    if (err == -ENOENT && !strchr(name, '/') && !s->what.root)
        ferry_cli_say("%s is in no folder of PATH; elsewhere, name its folder too: ./%s", name,
                      name);
    else
        ferry_cli_say("%s %s: %s", name, step, ferry_strerror(err));
}

static int open_pid_file(struct once *o)
{
    const char *path = o->s->pid_file;
    struct stat st;

    o->pid_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    o->pid_file_is_new = o->pid_fd >= 0;
    if (o->pid_fd < 0 && errno == EEXIST)
        o->pid_fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (o->pid_fd < 0) {
        ferry_cli_say("cannot write the pid file %s: %s", path, strerror(errno));
        return FERRY_EXIT_FAILED;
    }
    if (fstat(o->pid_fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        ferry_cli_say("cannot write the pid file %s: it is no regular file", path);
        return FERRY_EXIT_FAILED;
    }
    return 0;
}

static int start_all(struct once *o)
{
    for (; o->n < o->s->forks; o->n++) {
        struct ferry_spawned *child = &o->children[o->n];
        int err = ferry_spawn(&o->s->what, child);

        if (err < 0) {
            ferry_spawning_complain(o->s, child->step, err);
            return FERRY_EXIT_FAILED;
        }
        o->ends[o->n] = (struct pollfd){.fd = child->pidfd, .events = POLLIN};
        o->status[o->n] = -1;
    }
    return 0;
}

/* Until the time is over or nothing runs any more. */
static void look(struct once *o)
{
    uint64_t until = ferry_now_us() / 1000 + LOOK_MS, now;
    unsigned running = o->n;

    while (running && (now = ferry_now_us() / 1000) < until) {
        if (poll(o->ends, o->n, (int)(until - now)) <= 0)
            continue;
        for (unsigned i = 0; i < o->n; i++) {
            if (!o->ends[i].revents || waitpid(o->children[i].pid, &o->status[i], 0) < 0)
                continue;
            o->ends[i].fd = -1;
            running--;
        }
    }
}

/* The exit code is that of spawn-fcgi: of the last one that ended. */
static int tell(const struct once *o)
{
    int code = 0;

    for (unsigned i = 0; i < o->n; i++) {
        int status = o->status[i];

        if (status == -1) {
            printf("%s: child spawned successfully: PID: %d\n", ferry_cli_name(),
                   (int)o->children[i].pid);
        } else if (WIFEXITED(status)) {
            ferry_cli_say("child exited with: %d", WEXITSTATUS(status));
            code = WEXITSTATUS(status);
        } else {
            ferry_cli_say("child signaled: %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
            code = FERRY_EXIT_FAILED;
        }
    }
    return code;
}

/* With no line end behind the last one, as spawn-fcgi writes it. */
static int write_pids(const struct once *o)
{
    unsigned lines = 0;
    int err = ftruncate(o->pid_fd, 0) < 0 ? errno : 0;

    for (unsigned i = 0; i < o->n && !err; i++)
        if (o->status[i] == -1 &&
            dprintf(o->pid_fd, "%s%d", lines++ ? "\n" : "", (int)o->children[i].pid) < 0)
            err = errno;
    if (!err)
        return 0;
    ferry_cli_say("cannot write the pid file %s: %s", o->s->pid_file, strerror(err));
    return FERRY_EXIT_FAILED;
}

static unsigned still_running(const struct once *o)
{
    unsigned n = 0;

    for (unsigned i = 0; i < o->n; i++)
        n += o->status[i] == -1;
    return n;
}

/* Runs instead of us. */
static int become(struct ferry_spawning *s)
{
    const char *step;
    int err;

    s->what.out = STDOUT_FILENO;
    s->what.err = STDERR_FILENO;
    err = ferry_spawn_exec(&s->what, &step);
    ferry_spawning_complain(s, step, err);
    return FERRY_EXIT_FAILED;
}

static int run(struct once *o)
{
    int code = start_all(o), ended;

    look(o);
    ended = tell(o);
    code = code ? code : ended;
    if (o->pid_fd >= 0 && still_running(o) && write_pids(o) && !code)
        code = FERRY_EXIT_FAILED;
    if (ferry_cli_written() && !code)
        code = FERRY_EXIT_FAILED;
    return code;
}

static int with_socket(struct once *o)
{
    struct ferry_spawning *s = o->s;
    int code;

    s->what.listener = ferry_spawning_listen(s, 0, 1);
    if (s->what.listener < 0)
        return FERRY_EXIT_FAILED;
    code = s->no_fork ? become(s) : run(o);
    close(s->what.listener);
    if (!still_running(o))
        ferry_spawning_unlisten(s, 1);
    return code;
}

int ferry_spawning_once(struct ferry_spawning *s)
{
    struct once o = {.s = s, .pid_fd = -1};
    int code = 0;

    if (s->pid_file && !s->no_fork)
        code = open_pid_file(&o);
    s->what.detach = true;
    s->forks = s->forks ? s->forks : 1;
    o.children = calloc(s->forks, sizeof *o.children);
    o.ends = calloc(s->forks, sizeof *o.ends);
    o.status = calloc(s->forks, sizeof *o.status);
    if (!code && (!o.children || !o.ends || !o.status)) {
        ferry_cli_say("cannot start: %s", ferry_strerror(-ENOMEM));
        code = FERRY_EXIT_FAILED;
    }
    if (!code)
        code = with_socket(&o);
    if (o.pid_file_is_new && !still_running(&o))
        unlink(s->pid_file);
    for (unsigned i = 0; i < o.n; i++)
        close(o.children[i].pidfd);
    if (o.pid_fd >= 0)
        close(o.pid_fd);
    free(o.children);
    free(o.ends);
    free(o.status);
    return code;
}
