/* SPDX-License-Identifier: MIT */
/*
 * Who the program of `ferry spawn` runs as and where it listens. With a new root the socket is made
 * inside of it, as spawn-fcgi does: by entering it for that moment, so that no link in there leads
 * out. There is one thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/spawn.h"

/* -- users ------------------------------------------------------------------------------------ */

static int refuse(char option, const char *name, const char *why)
{
    ferry_cli_say("-%c %s: %s", option, name, why);
    return FERRY_EXIT_FAILED;
}

static bool is_number(const char *text, uint64_t *out)
{
    return ferry_slice_u64(ferry_slice_z(text), UINT32_MAX - 1, out) == 0;
}

static int find_user(char option, const char *name, uid_t *uid, gid_t *gid)
{
    const struct passwd *pw;
    uint64_t id;

    if (is_number(name, &id)) {
        *uid = (uid_t)id;
        pw = getpwuid(*uid);
    } else {
        pw = getpwnam(name);
        if (!pw)
            return refuse(option, name, "there is no such user");
        *uid = pw->pw_uid;
    }
    if (pw)
        *gid = pw->pw_gid;
    return *uid ? 0 : refuse(option, name, "that is root, which it is not meant to be");
}

static int find_group(char option, const char *name, gid_t *gid)
{
    const struct group *gr;
    uint64_t id;

    if (is_number(name, &id)) {
        *gid = (gid_t)id;
    } else {
        gr = getgrnam(name);
        if (!gr)
            return refuse(option, name, "there is no such group");
        *gid = gr->gr_gid;
    }
    return *gid ? 0 : refuse(option, name, "that is root's, which it is not meant to be");
}

/* As spawn-fcgi, whose callers are used to it; but it says so. */
static int not_root(struct ferry_spawning *s)
{
    const struct {
        char option;
        const char *value;
    } needs[] = {{'u', s->user},
                 {'g', s->group},
                 {'U', s->socket_user},
                 {'G', s->socket_group},
                 {'c', s->what.root}};
    uid_t uid = 0;
    gid_t gid = 0;

    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        const char *value = needs[i].value;

        if (!value)
            continue;
        if ((needs[i].option == 'u' || needs[i].option == 'U') &&
            find_user(needs[i].option, value, &uid, &gid) == 0 && uid == geteuid())
            continue;
        if (s->supervise)
            return refuse(needs[i].option, value, "only root can do that");
        ferry_cli_say("-%c %s is ignored: only root can do that", needs[i].option, value);
    }
    s->what.root = NULL;
    return 0;
}

/* What a login would give it, where the environment is not ours anyway. */
static void tell_user(struct ferry_spawning *s)
{
    static const char *const names[] = {"HOME", "USER", "LOGNAME"};
    const struct passwd *pw = getpwuid(s->what.uid);
    const char *values[] = {pw ? pw->pw_dir : "/", pw ? pw->pw_name : "", pw ? pw->pw_name : ""};

    for (unsigned i = 0; i < 3; i++) {
        bool given = false;

        snprintf(s->user_env[i], sizeof s->user_env[i], "%s=%s", names[i], values[i]);
        for (unsigned k = 0; k < s->nenv; k++)
            given |= strncmp(s->env[k], s->user_env[i], strlen(names[i]) + 1) == 0;
        if (!given && *values[i] && s->nenv < FERRY_SPAWN_ENV_MAX)
            s->env[s->nenv++] = s->user_env[i];
    }
}

int ferry_spawning_find_users(struct ferry_spawning *s)
{
    struct ferry_spawn_opts *o = &s->what;
    uid_t owner = (uid_t)-1;
    gid_t owners = (gid_t)-1;
    int code = 0;

    if (geteuid() != 0)
        return not_root(s);
    o->gid = (gid_t)-1;
    if (s->user)
        code = find_user('u', s->user, &o->uid, &o->gid);
    if (!code && s->group)
        code = find_group('g', s->group, &o->gid);
    if (!code && s->user && o->gid == (gid_t)-1)
        code = refuse('u', s->user, "it has no name and so no group; name one with -g");
    if (!code && s->socket_user)
        code = find_user('U', s->socket_user, &owner, &owners);
    if (!code && s->socket_group)
        code = find_group('G', s->socket_group, &owners);
    if (code)
        return code;
    o->switch_user = s->user != NULL;
    o->switch_group = !s->user && s->group;
    s->how.owner = s->socket_user || !s->user ? owner : o->uid;
    s->how.group = owners != (gid_t)-1 ? owners : o->gid;
    s->how.set_owner = s->how.owner != (uid_t)-1 || s->how.group != (gid_t)-1;
    if (s->user && o->keep_env)
        tell_user(s);
    return 0;
}

/* -- the address ------------------------------------------------------------------------------ */

static int parse(struct ferry_spawning *s, const char *option, const char *text)
{
    const char *why;

    if (ferry_addr_parse(text, true, &s->addr, &why) == 0)
        return 0;
    ferry_cli_say("%s %s: %s", option, text, why);
    return FERRY_EXIT_USAGE;
}

/* The first of the sockets that systemd has for us. */
static const char *from_systemd(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t id, n;

    return pid && fds && ferry_slice_u64(ferry_slice_z(pid), INT32_MAX, &id) == 0 &&
                   (pid_t)id == getpid() &&
                   ferry_slice_u64(ferry_slice_z(fds), INT32_MAX, &n) == 0 && n > 0
               ? "fd:3"
               : NULL;
}

static int find_port(struct ferry_spawning *s)
{
    const char *host = s->address ? s->address : "";
    bool v6 = strchr(host, ':') && host[0] != '[';
    char text[128];
    uint64_t port;

    if (ferry_slice_u64(ferry_slice_z(s->port), 65535, &port) < 0 || port == 0) {
        ferry_cli_say("-p %s: must be a port, 1 to 65535", s->port);
        return FERRY_EXIT_USAGE;
    }
    s->how.dual_stack = true; /* as spawn-fcgi */
    snprintf(text, sizeof text, v6 ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
    return parse(s, "-a", text);
}

int ferry_spawning_find_address(struct ferry_spawning *s)
{
    const char *systemd = s->socket || s->port || s->listen ? NULL : from_systemd();
    char path[256];

    if (!!s->socket + !!s->port + !!s->listen > 1) {
        ferry_cli_say("one of -s, -p and --listen says where to listen, and not several");
        return FERRY_EXIT_USAGE;
    }
    if (s->port)
        return find_port(s);
    if (s->listen || systemd)
        return parse(s, "--listen", s->listen ? s->listen : systemd);
    if (!s->socket) {
        ferry_cli_say("no socket given: use -s PATH, -p PORT or --listen ADDRESS");
        return FERRY_EXIT_USAGE;
    }
    if (strncmp(s->socket, "unix:", 5) == 0 || strncmp(s->socket, "fd:", 3) == 0)
        return parse(s, "-s", s->socket);
    if ((size_t)snprintf(path, sizeof path, "unix:%s", s->socket) >= sizeof path) {
        ferry_cli_say("-s %s: the path of a unix socket may have 107 bytes at most", s->socket);
        return FERRY_EXIT_USAGE;
    }
    return parse(s, "-s", path);
}

int ferry_spawning_check_addresses(const struct ferry_spawning *s, unsigned n)
{
    unsigned port = ferry_addr_port(&s->addr);
    struct ferry_addr last = ferry_spawning_address(s, n - 1, n);

    if ((port && port + n - 1 > 65535) || (last.fd < 0 && last.len == 0)) {
        ferry_cli_say("--per-process: there is no room for %u addresses from there on", n);
        return FERRY_EXIT_USAGE;
    }
    return 0;
}

struct ferry_addr ferry_spawning_address(const struct ferry_spawning *s, unsigned i, unsigned n)
{
    struct ferry_addr a = s->addr;
    char text[FERRY_ADDR_TEXT_MAX + 16];
    const char *why;

    if (n == 1 && a.fd < 0)
        return a;
    if (a.fd >= 0) {
        a.fd += (int)i;
    } else if (a.any.sa_family == AF_INET) {
        a.in.sin_port = htons((in_port_t)(ntohs(a.in.sin_port) + i));
    } else if (a.any.sa_family == AF_INET6) {
        a.in6.sin6_port = htons((in_port_t)(ntohs(a.in6.sin6_port) + i));
    } else {
        size_t len = ferry_addr_format(&a, text, sizeof text);

        snprintf(text + len, sizeof text - len, "-%u", i);
        if (ferry_addr_parse(text, true, &a, &why) < 0)
            a.len = 0; /* too long */
    }
    return a;
}

/* -- inside of the new root ------------------------------------------------------------------- */

struct home {
    int root, cwd;
};

static int enter(const struct ferry_spawning *s, const struct ferry_addr *a, struct home *home)
{
    int err = 0;

    *home = (struct home){-1, -1};
    if (!s->what.root || s->outside || a->fd >= 0 || a->any.sa_family != AF_UNIX)
        return 0;
    home->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    home->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (home->root < 0 || home->cwd < 0 || chroot(s->what.root) < 0 || chdir("/") < 0)
        err = -errno;
    return err;
}

static void leave(struct home *home)
{
    if (home->root >= 0) {
        if (fchdir(home->root) < 0 || chroot(".") < 0 ||
            (home->cwd >= 0 && fchdir(home->cwd) < 0)) {
            ferry_cli_say("cannot come back from the root directory: %s", strerror(errno));
            exit(FERRY_EXIT_FAILED);
        }
        close(home->root);
    }
    if (home->cwd >= 0)
        close(home->cwd);
}

int ferry_spawning_listen(struct ferry_spawning *s, unsigned i, unsigned n)
{
    struct ferry_addr a = ferry_spawning_address(s, i, n);
    mode_t old = umask(0); /* so that the mode is right at once, also where there is no /proc */
    pid_t holder = 0;
    struct home home;
    int fd;

    fd = a.fd < 0 && a.len == 0 ? -ENAMETOOLONG : enter(s, &a, &home);
    if (fd == 0)
        fd = ferry_listen(&a, &s->how);
    if (fd == -EADDRINUSE)
        holder = ferry_listen_owner(&a);
    if (a.fd >= 0 || a.len)
        leave(&home);
    umask(old);
    if (fd < 0) {
        ferry_cli_cannot_listen(&a, fd, holder, "");
        return -1;
    }
    if (a.fd > STDERR_FILENO) /* it was duplicated */
        close(a.fd);
    return fd;
}

void ferry_spawning_unlisten(const struct ferry_spawning *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct ferry_addr a = ferry_spawning_address(s, i, n);
        struct home home;

        if (a.fd >= 0 || a.len == 0)
            continue;
        if (enter(s, &a, &home) == 0)
            ferry_listen_remove(&a);
        leave(&home);
    }
}
