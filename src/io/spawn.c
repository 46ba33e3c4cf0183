/* SPDX-License-Identifier: MIT */
/*
 * Starting a program. Everything that allocates or looks something up is done before fork, since
 * the child of a process with threads may only call what is safe in a signal handler. The child
 * tells which step failed through a pipe that exec closes: an empty pipe is success.
 */
#include "io/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
#define GROUPS_MAX 65536
#define FD_HIGH 10 /* above every descriptor that is put in place */

/* X(name, text) */
#define STEP_MAP(X)                                                                                \
    X(PREPARE, "cannot be prepared")                                                               \
    X(FORK, "no process can be made")                                                              \
    X(LIMIT, "cannot set its limits")                                                              \
    X(NICE, "cannot set its priority")                                                             \
    X(USER, "cannot change to its user")                                                           \
    X(ROOT, "cannot enter its root directory")                                                     \
    X(DIR, "cannot enter its directory")                                                           \
    X(FDS, "cannot set up its descriptors")                                                        \
    X(EXEC, "cannot be executed")

enum step {
#define X(name, text) STEP_##name,
    STEP_MAP(X)
#undef X
};

static const char *const step_text[] = {
#define X(name, text) [STEP_##name] = text,
    STEP_MAP(X)
#undef X
};

/* Told to us alone by systemd: a child that answered would speak for us. */
static const char *const private_env[] = {
    "NOTIFY_SOCKET", "LISTEN_FDS",    "LISTEN_PID", "LISTEN_FDNAMES",
    "WATCHDOG_PID",  "WATCHDOG_USEC", NULL};

struct report {
    enum step step;
    int err;
};

struct plan {
    const struct ferry_spawn_opts *o;
    bool in_place; /* no child: this process becomes it */
    char program[4096];
    const char *path; /* where it is to be looked for, by the child; NULL: `program` is it */
    const char **env;
    gid_t *groups;
    int ngroups;
    int report; /* the writing end that the child has */
    enum step step;
    pid_t parent;
    long open_max;
};

/* -- before fork ------------------------------------------------------------------------------ */

static int is_program(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EACCES;
    return access(path, X_OK) < 0 ? -errno : 0;
}

int ferry_spawn_find(const char *name, char *out, size_t cap)
{
    const char *path = getenv("PATH"), *end;
    int err = -ENOENT;

    if (!*name)
        return -ENOENT;
    if (strchr(name, '/')) {
        if ((size_t)snprintf(out, cap, "%s", name) >= cap)
            return -ENAMETOOLONG;
        return is_program(out);
    }
    for (path = path ? path : PATH_DEFAULT;; path = end + 1) {
        int e;

        end = strchrnul(path, ':');
        /* An empty element is the working directory. */
        if ((size_t)snprintf(out, cap, "%.*s%s%s", (int)(end - path), path, end > path ? "/" : "./",
                             name) >= cap)
            return -ENAMETOOLONG;
        e = is_program(out);
        if (e == 0)
            return 0;
        /* A directory that cannot be entered says nothing about the program. */
        if (e == -EACCES && access(out, F_OK) == 0)
            err = e;
        if (!*end)
            return err;
    }
}

static size_t name_len(const char *var)
{
    return (size_t)(strchrnul(var, '=') - var);
}

/* Does the list set or remove the variable? */
static bool names(const char *const *list, const char *var)
{
    size_t n = name_len(var);

    for (; list && *list; list++)
        if (name_len(*list) == n && memcmp(*list, var, n) == 0)
            return true;
    return false;
}

/* Is it one of ours that the program may see? */
static bool keeps(const struct plan *p, const char *var)
{
    size_t len = name_len(var);

    if (!p->in_place && names(private_env, var))
        return false;
    if (!p->o->keep_env || names(p->o->keep_env, var))
        return true;
    for (const char *const *k = p->o->keep_env; *k; k++) {
        size_t n = strlen(*k);

        if (n && (*k)[n - 1] == '*' && len >= n - 1 && memcmp(*k, var, n - 1) == 0)
            return true;
    }
    return false;
}

static int make_env(struct plan *p)
{
    const char *const *add = p->o->env;
    size_t n = 0, max = 1;

    for (char **e = environ; e && *e; e++)
        max++;
    for (const char *const *e = add; e && *e; e++)
        max++;
    p->env = calloc(max, sizeof *p->env);
    if (!p->env)
        return -ENOMEM;
    for (char **e = environ; e && *e; e++)
        if (keeps(p, *e) && !names(add, *e))
            p->env[n++] = *e;
    for (; add && *add; add++)
        if (strchr(*add, '=') && !names(add + 1, *add))
            p->env[n++] = *add;
    return 0;
}

/* The groups of the user, or only its own when the number has no name. */
static int make_groups(struct plan *p)
{
    struct passwd pw, *found = NULL;
    char buf[4096];
    int max = 64;

    if (!p->o->switch_user)
        return 0; /* and none at all with switch_group */
    if (getpwuid_r(p->o->uid, &pw, buf, sizeof buf, &found) != 0)
        found = NULL;
    for (;; max *= 4) {
        gid_t *groups = realloc(p->groups, (size_t)max * sizeof *groups);

        if (!groups)
            return -ENOMEM;
        p->groups = groups;
        p->ngroups = max;
        if (!found) {
            groups[0] = p->o->gid;
            p->ngroups = 1;
            return 0;
        }
        if (getgrouplist(found->pw_name, p->o->gid, groups, &p->ngroups) >= 0)
            return 0;
        if (max >= GROUPS_MAX)
            return -E2BIG;
    }
}

static int find_program(struct plan *p)
{
    const char *name = p->o->argv[0];

    p->step = STEP_EXEC;
    /* In another root another program may have that name. */
    if (!strchr(name, '/') && p->o->root) {
        p->path = getenv("PATH");
        p->path = p->path ? p->path : PATH_DEFAULT;
        return *name ? 0 : -ENOENT;
    }
    if (!strchr(name, '/'))
        return ferry_spawn_find(name, p->program, sizeof p->program);
    return (size_t)snprintf(p->program, sizeof p->program, "%s", name) < sizeof p->program
               ? 0
               : -ENAMETOOLONG;
}

/* FastCGI programs accept with a socket that blocks; php-cgi ends when it does not. */
static int make_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    return flags & O_NONBLOCK && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

/* -- in the child ----------------------------------------------------------------------------- */

static void default_signals(void)
{
    struct sigaction sa = {.sa_handler = SIG_DFL};

    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &sa, NULL);
}

static int become_user(const struct plan *p)
{
    const struct ferry_spawn_opts *o = p->o;

    if (!o->switch_user && !o->switch_group)
        return 0;
    return setgroups((size_t)p->ngroups, p->groups) < 0 || setresgid(o->gid, o->gid, o->gid) < 0 ||
                   (o->switch_user && setresuid(o->uid, o->uid, o->uid) < 0)
               ? -1
               : 0;
}

static void close_others_at_exec(const struct plan *p)
{
    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    for (long fd = 3; fd < p->open_max; fd++)
        fcntl((int)fd, F_SETFD, FD_CLOEXEC);
}

static int place_descriptors(const struct plan *p)
{
    const struct ferry_spawn_opts *o = p->o;
    bool at_three = o->listener_at && o->listener >= 0;
    int from[4 + FERRY_SPAWN_PASS_MAX] = {o->listener_at == 0 ? o->listener : -1, o->out, o->err};
    int to[4 + FERRY_SPAWN_PASS_MAX] = {0, 1, 2}, high[4 + FERRY_SPAWN_PASS_MAX], n = 3, null;

    if (at_three) {
        from[n] = o->listener;
        to[n++] = o->listener_at;
    }
    for (unsigned i = 0; i < o->npass; i++, n++) {
        from[n] = o->pass[i];
        to[n] = STDERR_FILENO + 1 + at_three + (int)i;
    }
    if (!p->in_place)
        close_others_at_exec(p);
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return -1;
    /* All move out of the way first: any of them may lie where another one goes. */
    for (int i = 0; i < n; i++) {
        high[i] = fcntl(from[i] >= 0 ? from[i] : null, F_DUPFD_CLOEXEC, FD_HIGH);
        if (high[i] < 0)
            return -1;
    }
    for (int i = 0; i < n; i++)
        if (dup2(high[i], to[i]) < 0)
            return -1;
    return 0;
}

static int set_limits(const struct plan *p)
{
    for (unsigned i = 0; i < p->o->nlimits; i++) {
        int err = ferry_rlimit_set(&p->o->limits[i]);

        if (err < 0) {
            errno = -err;
            return -1;
        }
    }
    return 0;
}

static int be_nice(const struct plan *p)
{
    if (p->o->nice == 0)
        return 0;
    errno = 0; /* -1 may be a good answer */
    return nice(p->o->nice) == -1 && errno ? -1 : 0;
}

/* Everything but the descriptors: the failed step, or STEP_EXEC. What only root may do comes before
 * the change of user. */
static enum step become(const struct plan *p)
{
    const struct ferry_spawn_opts *o = p->o;

    if (set_limits(p) < 0)
        return STEP_LIMIT;
    if (be_nice(p) < 0)
        return STEP_NICE;
    if (o->set_umask)
        umask(o->umask);
    if (o->root && (chroot(o->root) < 0 || chdir("/") < 0))
        return STEP_ROOT;
    if (become_user(p) < 0)
        return STEP_USER;
    if (o->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return STEP_USER;
    if (o->dir && chdir(o->dir) < 0)
        return STEP_DIR;
    return STEP_EXEC;
}

/* Each place of the path in turn; sets errno. */
static void execute_by_path(struct plan *p)
{
    const char *name = p->o->argv[0], *at = p->path, *end;
    size_t len = strlen(name), n;
    int err = ENOENT;

    for (;; at = end + 1) {
        end = strchrnul(at, ':');
        n = (size_t)(end - at);
        if (n + len + 2 <= sizeof p->program) {
            memcpy(p->program, n ? at : ".", n ? n : 1);
            n = n ? n : 1;
            p->program[n] = '/';
            memcpy(p->program + n + 1, name, len + 1);
            execve(p->program, (char *const *)p->o->argv, (char *const *)p->env);
            if (errno != ENOENT && errno != ENOTDIR)
                err = errno;
        }
        if (!*end)
            break;
    }
    errno = err;
}

static void execute(struct plan *p)
{
    if (p->path)
        execute_by_path(p);
    else
        execve(p->program, (char *const *)p->o->argv, (char *const *)p->env);
}

static _Noreturn void fail(const struct plan *p, enum step step)
{
    struct report r = {step, errno};
    ssize_t n;

    do
        n = write(p->report, &r, sizeof r);
    while (n < 0 && errno == EINTR);
    _exit(127);
}

static _Noreturn void child(struct plan *p)
{
    enum step step;
    sigset_t none;

    default_signals();
    if (p->o->detach)
        setsid();
    else
        setpgid(0, 0);
    /* Before there is a limit, or another user, that forbids it. */
    if (place_descriptors(p) < 0)
        fail(p, STEP_FDS);
    step = become(p);
    if (step != STEP_EXEC)
        fail(p, step);
    /* After the change of user, which would clear it. If the parent ended before, nobody is left
     * to be told. */
    if (!p->o->detach) {
        prctl(PR_SET_PDEATHSIG, p->o->death_signal ? p->o->death_signal : SIGTERM);
        if (getppid() != p->parent)
            _exit(127);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execute(p);
    fail(p, STEP_EXEC);
}

/* -- in the parent ---------------------------------------------------------------------------- */

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* What the child said: 0 when exec closed the pipe. */
static int hear(struct plan *p, int fd)
{
    struct report r;
    ssize_t n;

    do
        n = read(fd, &r, sizeof r);
    while (n < 0 && errno == EINTR);
    if (n != sizeof r)
        return 0;
    p->step = r.step;
    return r.err ? -r.err : -EINVAL;
}

/* Signals stay blocked until the child has its own handling of them, so that no handler of ours
 * runs there. */
static pid_t fork_child(struct plan *p)
{
    sigset_t all, old;
    pid_t pid;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    p->parent = getpid();
    pid = fork();
    if (pid == 0)
        child(p);
    err = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid < 0 ? -err : pid;
}

static int run(struct plan *p, int report_end, struct ferry_spawned *out)
{
    pid_t pid = fork_child(p);
    int err;

    close(p->report);
    p->report = -1;
    if (pid < 0)
        return pid;
    err = hear(p, report_end);
    if (err == 0) {
        out->pidfd = pidfd_open(pid, 0);
        if (out->pidfd >= 0) {
            out->pid = pid;
            return 0;
        }
        err = -errno;
        kill(pid, SIGKILL);
    }
    reap(pid);
    return err;
}

/* Opens the pipe, the child's end above all the places that it fills. */
static int open_report(struct plan *p, int *report_end)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    p->report = fcntl(ends[1], F_DUPFD_CLOEXEC, FD_HIGH);
    close(ends[1]);
    if (p->report < 0) {
        int err = -errno;

        close(ends[0]);
        return err;
    }
    *report_end = ends[0];
    return 0;
}

static int prepare(struct plan *p)
{
    int err = p->o->listener >= 0 && !p->o->listener_as_is ? make_blocking(p->o->listener) : 0;

    if (p->o->npass > FERRY_SPAWN_PASS_MAX)
        return -E2BIG;
    p->open_max = sysconf(_SC_OPEN_MAX);
    if (err == 0)
        err = make_env(p);
    if (err == 0)
        err = make_groups(p);
    return err == 0 ? find_program(p) : err;
}

int ferry_spawn(const struct ferry_spawn_opts *o, struct ferry_spawned *out)
{
    struct plan p = {.o = o, .report = -1, .step = STEP_PREPARE};
    int report_end = -1, err;

    *out = (struct ferry_spawned){.pid = -1, .pidfd = -1};
    err = prepare(&p);
    if (err == 0) {
        p.step = STEP_FORK;
        err = open_report(&p, &report_end);
    }
    if (err == 0) {
        err = run(&p, report_end, out);
        close(report_end);
    }
    free(p.env);
    free(p.groups);
    out->step = err < 0 ? step_text[p.step] : NULL;
    return err;
}

int ferry_spawn_exec(const struct ferry_spawn_opts *o, const char **step)
{
    struct plan p = {.o = o, .in_place = true, .report = -1, .step = STEP_PREPARE};
    int err = prepare(&p);

    if (err == 0) {
        p.step = STEP_FDS;
        err = place_descriptors(&p) < 0 ? -errno : 0;
    }
    if (err == 0) {
        p.step = become(&p);
        if (p.step == STEP_EXEC)
            execute(&p);
        err = -errno;
    }
    free(p.env);
    free(p.groups);
    *step = step_text[p.step];
    return err;
}
