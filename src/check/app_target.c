/* SPDX-License-Identifier: MIT */
/*
 * The application that is checked: an address, or a program that is started here as web servers
 * start one (specification section 2.2): a listening socket as descriptor 0 and nothing else.
 * Copies of it that one case starts in a way of its own end with that case.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check/app_check.h"
#include "io/spawn.h"

#define ARGS_MAX 256
#define STOP_MS 2000

/* -- listeners -------------------------------------------------------------------------------- */

static int listen_at(struct ferry__target *t, enum ferry__family family, struct ferry_addr *out)
{
    static const char *const tcp[] = {[FERRY__TCP4] = "127.0.0.1:0", [FERRY__TCP6] = "[::1]:0"};
    char path[128];
    struct ferry_addr addr;
    const char *why;
    int fd;

    snprintf(path, sizeof path, "%s/%u.sock", t->dir, t->nsockets++);
    if (ferry_addr_parse(family == FERRY__UNIX ? path : tcp[family], false, &addr, &why) < 0 &&
        ferry_addr_parse(family == FERRY__UNIX ? path : tcp[family], true, &addr, &why) < 0)
        return -EINVAL;
    fd = ferry_listen(&addr, NULL);
    if (fd >= 0 && family != FERRY__UNIX && ferry_addr_local(fd, &addr) < 0) {
        close(fd);
        return -EINVAL;
    }
    *out = addr;
    return fd;
}

/* -- instances -------------------------------------------------------------------------------- */

static int spawn(struct ferry__target *t, const struct ferry__start *how,
                 struct ferry__instance *in, const char **step)
{
    /* Whatever we were told ourselves is not for the program. */
    static const char *const no_env[] = {"FCGI_WEB_SERVER_ADDRS", "FERRY_MAX_REQUESTS", NULL};
    const char *argv[ARGS_MAX];
    struct ferry_spawn_opts o = FERRY_SPAWN_INIT;
    struct ferry_spawned spawned;
    size_t n = 0;
    int err;

    if (how->shell) {
        argv[n++] = "/bin/sh";
        argv[n++] = "-c";
        argv[n++] = how->shell;
        argv[n++] = "sh";
    }
    for (const char *const *a = t->opts->program; *a && n < ARGS_MAX - 1; a++)
        argv[n++] = *a;
    argv[n] = NULL;
    in->err = memfd_create("stderr", MFD_CLOEXEC);
    o.argv = argv;
    o.env = how->env ? how->env : no_env;
    o.listener = how->input > 0 ? how->input : in->listener;
    o.out = how->out > 0 ? how->out : -1;
    o.err = in->err;
    err = ferry_spawn(&o, &spawned);
    if (err < 0) {
        *step = spawned.step;
        return err;
    }
    in->pid = spawned.pid;
    in->pidfd = spawned.pidfd;
    in->ended = false;
    return 0;
}

bool ferry__instance_wait(struct ferry__instance *in, unsigned ms)
{
    struct pollfd p = {.fd = in->pidfd, .events = POLLIN};
    uint64_t deadline = ferry_check_now() + ms;

    while (in->pid && !in->ended) {
        uint64_t now = ferry_check_now();
        int n = poll(&p, 1, now < deadline ? (int)(deadline - now) : 0);

        if (n > 0 && waitpid(in->pid, &in->status, 0) == in->pid)
            in->ended = true;
        else if (n == 0)
            return false;
    }
    return true;
}

bool ferry__instance_is_over(struct ferry__instance *in)
{
    return ferry__instance_wait(in, 0);
}

size_t ferry__instance_said(const struct ferry__instance *in, char *buf, size_t cap)
{
    off_t size = in->err >= 0 ? lseek(in->err, 0, SEEK_END) : 0;
    ssize_t n;

    if (size < 0)
        size = 0;
    /* The end of it tells most. */
    n = in->err < 0
            ? 0
            : pread(in->err, buf, cap - 1, size > (off_t)cap - 1 ? size - (off_t)cap + 1 : 0);
    if (n < 0)
        n = 0;
    buf[n] = 0;
    return (size_t)n;
}

static void add_last_line(struct ferry__instance *in, char *buf, size_t cap)
{
    char said[2048], *line;
    size_t n = ferry__instance_said(in, said, sizeof said), at = strlen(buf);

    while (n && (said[n - 1] == '\n' || said[n - 1] == '\r'))
        said[--n] = 0;
    line = strrchr(said, '\n');
    if (n)
        snprintf(buf + at, cap - at, ", saying: %.200s", line ? line + 1 : said);
}

const char *ferry__instance_end(struct ferry__instance *in, char *buf, size_t cap)
{
    if (WIFSIGNALED(in->status))
        snprintf(buf, cap, "signal %d (%s)", WTERMSIG(in->status), strsignal(WTERMSIG(in->status)));
    else
        snprintf(buf, cap, "exit status %d", WEXITSTATUS(in->status));
    add_last_line(in, buf, cap);
    return buf;
}

static void forget(struct ferry__instance *in)
{
    if (in->pidfd >= 0)
        close(in->pidfd);
    if (in->listener >= 0)
        close(in->listener);
    if (in->err >= 0)
        close(in->err);
    if (in->addr.any.sa_family == AF_UNIX && in->listener >= 0)
        unlink(in->addr.un.sun_path);
    *in = (struct ferry__instance){.pidfd = -1, .listener = -1, .err = -1};
}

void ferry__instance_stop(struct ferry__instance *in)
{
    if (in->pid) {
        /* Its process group is its own, for programs that have children. */
        kill(-in->pid, SIGTERM);
        if (!ferry__instance_wait(in, STOP_MS)) {
            kill(-in->pid, SIGKILL);
            ferry__instance_wait(in, 60000);
        }
        kill(-in->pid, SIGKILL);
    }
    forget(in);
}

long ferry__instance_rss(const struct ferry__instance *in)
{
    char path[64];
    long pages = -1;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/statm", (int)in->pid);
    f = fopen(path, "re");
    if (!f)
        return -1;
    if (fscanf(f, "%*d %ld", &pages) != 1)
        pages = -1;
    fclose(f);
    return pages < 0 ? -1 : pages * (sysconf(_SC_PAGESIZE) / 1024);
}

struct ferry__instance *ferry__instance_start(struct ferry_check *c, const struct ferry__start *how)
{
    struct ferry__target *t = ferry__target(c);
    struct ferry__instance *in = &t->own[t->nown];
    const char *step = "";
    int err;

    if (t->nown == FERRY__INSTANCES_MAX)
        ferry_check_skip(c, "too many programs for one case");
    *in = (struct ferry__instance){.pidfd = -1, .listener = -1, .err = -1};
    t->nown++;
    if (how->beside) {
        in->listener = fcntl(how->beside->listener, F_DUPFD_CLOEXEC, 3);
        in->addr = how->beside->addr;
    } else if (how->input <= 0) {
        in->listener = listen_at(t, how->family, &in->addr);
        if (in->listener < 0)
            ferry_check_skip(c, "cannot listen: %s", ferry_strerror(in->listener));
    }
    err = spawn(t, how, in, &step);
    if (err < 0)
        ferry_check_skip(c, "the program %s: %s", step, ferry_strerror(err));
    return in;
}

/* -- the target ------------------------------------------------------------------------------- */

int ferry__target_start(struct ferry__target *t, const char **step)
{
    static const struct ferry__start usual = {.family = FERRY__UNIX};
    int err;

    ferry__instance_stop(&t->main);
    t->main.listener = listen_at(t, FERRY__UNIX, &t->main.addr);
    *step = "cannot be given a socket";
    if (t->main.listener < 0)
        return t->main.listener;
    t->addr = t->main.addr;
    err = spawn(t, &usual, &t->main, step);
    return err;
}

int ferry__target_open(struct ferry__target *t, const struct ferry_check_opts *opts)
{
    const char *tmp = getenv("TMPDIR"), *why;
    int err;

    *t = (struct ferry__target){.opts = opts};
    t->main = (struct ferry__instance){.pidfd = -1, .listener = -1, .err = -1};
    t->role = opts->role ? (uint16_t)opts->role : FERRY_RESPONDER;
    for (int i = 0; i < FERRY__VALUES; i++)
        t->values[i] = -1;
    if (!opts->program) {
        err = ferry_addr_parse(opts->address, false, &t->addr, &why);
        if (err < 0 || t->addr.fd >= 0) {
            snprintf(t->why, sizeof t->why, "%s: %s", opts->address,
                     err < 0 ? why : "cannot be connected to");
            return FERRY_EUSAGE;
        }
        return 0;
    }
    /* A unix socket's path has room for about a hundred bytes. */
    if (!tmp || *tmp != '/' || strlen(tmp) > 32)
        tmp = "/tmp";
    snprintf(t->dir, sizeof t->dir, "%s/ferry-check-XXXXXX", tmp);
    if (!mkdtemp(t->dir)) {
        err = -errno;
        snprintf(t->why, sizeof t->why, "cannot make a folder in %s: %s", tmp, strerror(errno));
        t->dir[0] = 0;
        return err;
    }
    err = ferry__target_start(t, &why);
    if (err < 0)
        snprintf(t->why, sizeof t->why, "%s %s: %s", opts->program[0], why, ferry_strerror(err));
    return err;
}

void ferry__target_close(struct ferry__target *t)
{
    ferry__instance_stop(&t->main);
    if (t->dir[0]) {
        char link[80];

        snprintf(link, sizeof link, "%s/renamed", t->dir); /* of A-INI-6 */
        unlink(link);
        rmdir(t->dir);
    }
}
