/* SPDX-License-Identifier: MIT */
/*
 * Which PHP to run. Distributions name it php-fpm, php-fpm8.2 (Debian) or php-fpm82 (Alpine), and
 * keep php-fpm in an sbin that is not in the PATH of ordinary users.
 */
#include "proc/php_find.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/slice.h"
#include "io/loop.h"
#include "io/spawn.h"

#define SYSTEM_DIRS "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"
#define ASK_MS 5000

static const char *const kind_name[] = {[FERRY_PHP_FPM] = "php-fpm", [FERRY_PHP_CGI] = "php-cgi"};

struct version {
    unsigned major, minor;
};

static bool digits(struct ferry_slice s, unsigned *out)
{
    uint64_t n;

    if (ferry_slice_u64(s, 999, &n) < 0)
        return false;
    *out = (unsigned)n;
    return true;
}

/* "8.2" or "82" to its end. */
static bool parse_version(const char *text, struct version *out)
{
    struct ferry_slice s = ferry_slice_z(text);
    size_t dot = ferry_slice_find(s, '.');

    if (dot < s.len)
        return digits(ferry_slice_first(s, dot), &out->major) &&
               digits(ferry_slice_from(s, dot + 1), &out->minor);
    return s.len >= 2 && digits(ferry_slice_first(s, 1), &out->major) &&
           digits(ferry_slice_from(s, 1), &out->minor);
}

static bool newer(struct version a, struct version b)
{
    return a.major > b.major || (a.major == b.major && a.minor > b.minor);
}

/* -- looking ---------------------------------------------------------------------------------- */

/* The highest version in a directory, when higher than *best: replaces `path`. */
static void look_for_versions(const char *dir, const char *prefix, struct version *best, char *path,
                              size_t cap)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        char at[1024], found[1024];
        struct version v;

        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0 ||
            !parse_version(e->d_name + strlen(prefix), &v) || !newer(v, *best))
            continue;
        if ((size_t)snprintf(at, sizeof at, "%s/%s", dir, e->d_name) < sizeof at &&
            ferry_spawn_find(at, found, sizeof found) == 0 &&
            (size_t)snprintf(path, cap, "%s", found) < cap)
            *best = v;
    }
    if (d)
        closedir(d);
}

static bool look_in(const char *dirs, const char *prefix, struct version *best, char *path,
                    size_t cap)
{
    const char *end;

    for (; dirs && *dirs; dirs = *end ? end + 1 : end) {
        char dir[512], at[1024];

        end = strchrnul(dirs, ':');
        if ((size_t)snprintf(dir, sizeof dir, "%.*s", (int)(end - dirs), dirs) >= sizeof dir ||
            dir[0] != '/')
            continue;
        if (best) {
            look_for_versions(dir, prefix, best, path, cap);
        } else {
            snprintf(at, sizeof at, "%s/%s", dir, prefix);
            if (ferry_spawn_find(at, path, cap) == 0)
                return true;
        }
    }
    return best && best->major > 0;
}

static bool look_for(enum ferry_php_kind kind, char *path, size_t cap)
{
    struct version best = {0};
    const char *name = kind_name[kind], *env = getenv("PATH");

    return look_in(env, name, NULL, path, cap) || look_in(SYSTEM_DIRS, name, NULL, path, cap) ||
           look_in(env, name, &best, path, cap) || look_in(SYSTEM_DIRS, name, &best, path, cap);
}

/* -- telling apart ---------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static bool kind_by_name(const char *path, enum ferry_php_kind *out)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        if (strncmp(base_name(path), kind_name[kind], strlen(kind_name[kind])) == 0) {
            *out = (enum ferry_php_kind)kind;
            return true;
        }
    }
    return false;
}

/* The version by the name of the file that links lead to: /usr/bin/php-cgi is one on Debian. */
static void name_it(struct ferry_php_program *p)
{
    const char *name = kind_name[p->kind];
    char *real = realpath(p->path, NULL);
    struct version v;

    if (real && strncmp(base_name(real), name, strlen(name)) == 0 &&
        parse_version(base_name(real) + strlen(name), &v))
        snprintf(p->name, sizeof p->name, "%s %u.%u", name, v.major, v.minor);
    else
        snprintf(p->name, sizeof p->name, "%s", name);
    free(real);
}

/* What the program says of itself, as far as it fits. */
static int ask(const char *path, char *out, size_t cap)
{
    const char *argv[] = {path, "-v", NULL};
    struct ferry_spawn_opts o = FERRY_SPAWN_INIT;
    uint64_t end = ferry_now_us() / 1000 + ASK_MS, now;
    struct ferry_spawned s;
    size_t len = 0;
    int ends[2], err;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    o.argv = argv;
    o.out = ends[1];
    err = ferry_spawn(&o, &s);
    close(ends[1]);
    while (err == 0 && len < cap - 1 && (now = ferry_now_us() / 1000) < end) {
        struct pollfd pfd = {.fd = ends[0], .events = POLLIN};
        ssize_t n =
            poll(&pfd, 1, (int)(end - now)) > 0 ? read(ends[0], out + len, cap - 1 - len) : 0;

        if (n <= 0)
            break;
        len += (size_t)n;
        if (memchr(out, '\n', len))
            break;
    }
    close(ends[0]);
    out[len] = 0;
    if (err < 0)
        return err;
    kill(-s.pid, SIGKILL);
    while (waitpid(s.pid, NULL, 0) < 0 && errno == EINTR)
        ;
    close(s.pidfd);
    return 0;
}

/* "PHP 8.2.35 (fpm-fcgi) (built: ..." */
static int kind_by_asking(struct ferry_php_program *p, char *why, size_t cap)
{
    char text[256];
    unsigned major = 0, minor = 0;
    int err = ask(p->path, text, sizeof text);

    if (err < 0) {
        snprintf(why, cap, "%s: %s", p->path, ferry_strerror(err));
        return err;
    }
    if (strncmp(text, "PHP ", 4) == 0 && strstr(text, "(fpm-fcgi)")) {
        p->kind = FERRY_PHP_FPM;
    } else if (strncmp(text, "PHP ", 4) == 0 && strstr(text, "(cgi-fcgi)")) {
        p->kind = FERRY_PHP_CGI;
    } else {
        snprintf(why, cap, "%s is %s; ferry needs php-fpm or php-cgi", p->path,
                 strstr(text, "(cli)") ? "PHP for the command line"
                                       : "not a PHP that serves FastCGI");
        return FERRY_EUSAGE;
    }
    if (sscanf(text, "PHP %u.%u", &major, &minor) == 2)
        snprintf(p->name, sizeof p->name, "%s %u.%u", kind_name[p->kind], major % 1000,
                 minor % 1000);
    else
        snprintf(p->name, sizeof p->name, "%s", kind_name[p->kind]);
    return 0;
}

static int take_given(const char *given, struct ferry_php_program *p, char *why, size_t cap)
{
    char found[sizeof p->path];
    int err = ferry_spawn_find(given, found, sizeof found);

    /* Absolute, since it will run in another directory; but not the target of the link, whose name
     * may mean something to the program. */
    if (err == 0 && found[0] != '/') {
        char *cwd = getcwd(NULL, 0);

        if (!cwd ||
            (size_t)snprintf(p->path, sizeof p->path, "%s/%s", cwd, found) >= sizeof p->path)
            err = cwd ? -ENAMETOOLONG : -errno;
        free(cwd);
    } else if (err == 0) {
        memcpy(p->path, found, sizeof p->path);
    }
    if (err < 0) {
        snprintf(why, cap, "%s: %s", given, ferry_strerror(err));
        return err == -ENOENT ? FERRY_EUSAGE : err;
    }
    if (!kind_by_name(p->path, &p->kind))
        return kind_by_asking(p, why, cap);
    name_it(p);
    return 0;
}

int ferry_php_find(const char *given, struct ferry_php_program *out, char *why, size_t cap)
{
    if (given)
        return take_given(given, out, why, cap);
    for (unsigned kind = 0; kind < 2; kind++) {
        if (look_for((enum ferry_php_kind)kind, out->path, sizeof out->path)) {
            out->kind = (enum ferry_php_kind)kind;
            name_it(out);
            return 0;
        }
    }
    snprintf(
        why, cap,
        "no PHP was found, neither php-fpm nor php-cgi; install it with: sudo apt install php-fpm");
    return -ENOENT;
}
