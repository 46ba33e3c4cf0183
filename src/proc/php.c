/* SPDX-License-Identifier: MIT */
/*
 * PHP for one directory. What belongs to one ferry_php: a directory of its own with the socket (and
 * php-fpm's configuration) in it, the listening socket, and the supervised program. They are made
 * in this order and removed in the opposite one.
 *
 * php-fpm gets the socket as descriptor 3 and a FPM_SOCKETS that says it were bound to the path of
 * `listen`. That path is a stand-in: php-fpm removes it when it ends, and the real one must stay.
 */
#include "proc/php.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proc/manager.h"
#include "proc/php_user.h"
#include "proc/run_dir.h"

#define FPM_CHILDREN 16
#define CGI_CHILDREN 8
#define CHILDREN_MAX 4096
#define BODY_MAX (UINT64_C(1) << 30)
#define LINES_PER_S 2000 /* of all its children, and all scripts that they run */

struct ferry_php {
    struct ferry_manager *manager;
    struct ferry_php_program program;
    struct ferry_php_user user;
    struct ferry_addr addr;
    int listener;
    unsigned children;
    uint64_t body_max;
    bool set_owner;
    uid_t owner;
    bool in_message; /* the last line belonged to a message that its request has as well ... */
    bool cut;        /* ... and was but a piece of a line */
    void (*log)(void *arg, enum ferry_php_level, struct ferry_slice);
    void (*state)(void *arg, enum ferry_manager_state);
    void *arg;
    void (*done)(void *arg);
    void *done_arg;
    char dir[FERRY__RUN_DIR_MAX], socket[FERRY__RUN_DIR_MAX + FERRY__RUN_NAME_MAX],
        conf[FERRY__RUN_DIR_MAX + FERRY__RUN_NAME_MAX];
    char post_max[64], upload_max[64];
    char env_text[5][288];
    const char *argv[16], *env[8];
};

/* -- telling ---------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void
tell(const struct ferry_php *php, enum ferry_php_level level, const char *format, ...)
{
    char text[512];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (n > 0 && php->log)
        php->log(php->arg, level,
                 ferry_slice(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1));
}

/*
 * php-fpm writes each message of a script twice: into the FastCGI stderr of the request, where it
 * belongs, and here. The copy is left out, with the pieces of a long line and the lines of a stack
 * trace that follow.
 */
static bool is_copy(struct ferry_php *php, struct ferry_slice line)
{
    static const struct ferry_slice starts[] = {
        FERRY_SLICE_INIT("Stack trace:"), FERRY_SLICE_INIT("#"), FERRY_SLICE_INIT("  thrown in ")};
    bool piece = php->in_message && php->cut;

    php->cut = line.len == FERRY_PROCESS_LINE_MAX;
    if (piece || ferry_slice_starts(line, FERRY_SLICE("PHP message: ")) ||
        ferry_slice_starts(line, FERRY_SLICE("NOTICE: PHP message: ")))
        return php->in_message = true;
    for (size_t i = 0; php->in_message && i < sizeof starts / sizeof *starts; i++)
        if (ferry_slice_starts(line, starts[i]))
            return true;
    return php->in_message = false;
}

/* "[21-Nov-2026 00:37:38] WARNING: text" */
static enum ferry_php_level level_of(struct ferry_slice *line)
{
    static const struct {
        struct ferry_slice name;
        enum ferry_php_level level;
    } levels[] = {
        {FERRY_SLICE_INIT("] DEBUG: "), FERRY_PHP_NOTE},
        {FERRY_SLICE_INIT("] NOTICE: "), FERRY_PHP_NOTE},
        {FERRY_SLICE_INIT("] WARNING: "), FERRY_PHP_WARNING},
        {FERRY_SLICE_INIT("] ERROR: "), FERRY_PHP_WARNING},
        {FERRY_SLICE_INIT("] ALERT: "), FERRY_PHP_WARNING},
    };
    const struct ferry_slice said = FERRY_SLICE("PHP message: ");
    struct ferry_slice rest;

    if (line->len == 0 || line->p[0] != '[')
        return FERRY_PHP_OUTPUT;
    rest = ferry_slice_from(*line, ferry_slice_find(*line, ']'));
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (ferry_slice_starts(rest, levels[i].name)) {
            *line = ferry_slice_from(rest, levels[i].name.len);
            if (!ferry_slice_starts(*line, said))
                return levels[i].level;
            /* Before there are requests: an extension that cannot be loaded, for one. */
            *line = ferry_slice_from(*line, said.len);
            return FERRY_PHP_WARNING;
        }
    }
    return FERRY_PHP_OUTPUT;
}

static void php_line(void *arg, pid_t pid, enum ferry_process_stream stream,
                     struct ferry_slice line)
{
    struct ferry_php *php = arg;
    enum ferry_php_level level = FERRY_PHP_OUTPUT;

    (void)pid;
    (void)stream;
    if (php->program.kind == FERRY_PHP_FPM) {
        if (is_copy(php, line))
            return;
        level = level_of(&line);
    }
    if (php->log)
        php->log(php->arg, level, line);
}

static void php_event(void *arg, enum ferry_manager_level level, struct ferry_slice text)
{
    tell(arg, level == FERRY_MANAGER_NOTE ? FERRY_PHP_NOTE : FERRY_PHP_WARNING, "%s: %.*s",
         ((struct ferry_php *)arg)->program.name, (int)text.len, text.p);
}

/* -- the directory ---------------------------------------------------------------------------- */

static int make_dir(struct ferry_php *php)
{
    int err = ferry__run_dir_make(php->user.change || php->set_owner, php->dir);

    if (err < 0)
        return err;
    snprintf(php->socket, sizeof php->socket, "%s/php.sock", php->dir);
    snprintf(php->conf, sizeof php->conf, "%s/fpm.conf", php->dir);
    /* The other user may read the one file whose name it is told, and change nothing. */
    if (php->user.change &&
        (chown(php->dir, (uid_t)-1, php->user.gid) < 0 || chmod(php->dir, 0710) < 0))
        return -errno;
    return php->set_owner && chmod(php->dir, 0711) < 0 ? -errno : 0;
}

static void remove_dir(const struct ferry_php *php)
{
    if (!php->dir[0])
        return;
    unlink(php->conf);
    unlink(php->socket);
    rmdir(php->dir);
}

static int open_socket(struct ferry_php *php)
{
    struct ferry_listen_opts how = {
        .set_owner = php->set_owner, .owner = php->owner, .group = (gid_t)-1};
    const char *why;
    int err = ferry_addr_parse(php->socket, true, &php->addr, &why);

    if (err < 0)
        return err;
    php->listener = ferry_listen(&php->addr, &how);
    return php->listener < 0 ? php->listener : 0;
}

/* -- what PHP is told ------------------------------------------------------------------------- */

static int write_conf(const struct ferry_php *php)
{
    int fd = open(php->conf, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), err = 0;

    if (fd < 0)
        return -errno;
    if (php->user.change && (fchown(fd, (uid_t)-1, php->user.gid) < 0 || fchmod(fd, 0640) < 0))
        err = -errno;
    else if (dprintf(fd,
                     "[global]\n"
                     "error_log = /dev/fd/2\n"
                     "daemonize = no\n"
                     "log_level = warning\n"
                     "log_limit = 65536\n"
                     "process_control_timeout = 5\n"
                     "[ferry]\n"
                     "%s"
                     "listen = %s/fpm\n"
                     "pm = static\n"
                     "pm.max_children = %u\n"
                     "clear_env = no\n"
                     "catch_workers_output = yes\n"
                     "decorate_workers_output = no\n",
                     geteuid() == 0 && !php->user.change ? "user = root\ngroup = root\n" : "",
                     php->dir, php->children) < 0)
        err = -errno;
    close(fd);
    return err;
}

static void set_env(struct ferry_php *php)
{
    const char **env = php->env;
    char(*text)[288] = php->env_text;

    if (php->program.kind == FERRY_PHP_FPM) {
        snprintf(*text, sizeof *text, "FPM_SOCKETS=%s/fpm=3", php->dir);
        *env++ = *text++;
    } else {
        snprintf(*text, sizeof *text, "PHP_FCGI_CHILDREN=%u", php->children);
        *env++ = *text++;
        *env++ = "PHP_FCGI_MAX_REQUESTS=0";
    }
    if (php->user.change) {
        snprintf(*text, sizeof *text, "HOME=%s", php->user.home);
        *env++ = *text++;
        snprintf(*text, sizeof *text, "USER=%s", php->user.name);
        *env++ = *text++;
        snprintf(*text, sizeof *text, "LOGNAME=%s", php->user.name);
        *env++ = *text++;
        *env++ = "XDG_RUNTIME_DIR";
    }
    *env = NULL;
}

static void set_argv(struct ferry_php *php)
{
    const char **argv = php->argv;

    snprintf(php->post_max, sizeof php->post_max, "post_max_size=%llu",
             (unsigned long long)php->body_max);
    snprintf(php->upload_max, sizeof php->upload_max, "upload_max_filesize=%llu",
             (unsigned long long)php->body_max);
    *argv++ = php->program.path;
    if (php->program.kind == FERRY_PHP_FPM) {
        *argv++ = "--nodaemonize";
        *argv++ = "--force-stderr";
        *argv++ = "--fpm-config";
        *argv++ = php->conf;
        if (geteuid() == 0 && !php->user.change)
            *argv++ = "--allow-to-run-as-root";
    }
    *argv++ = "-d";
    *argv++ = "error_log=";
    *argv++ = "-d";
    *argv++ = "log_errors=1";
    *argv++ = "-d";
    *argv++ = php->post_max;
    *argv++ = "-d";
    *argv++ = php->upload_max;
    *argv = NULL;
}

/* -- start and stop --------------------------------------------------------------------------- */

static void free_php(struct ferry_php *php)
{
    if (php->listener >= 0)
        close(php->listener);
    remove_dir(php);
    free(php);
}

static void php_closed(void *arg)
{
    struct ferry_php *php = arg;
    void (*done)(void *) = php->done;
    void *done_arg = php->done_arg;

    free_php(php);
    done(done_arg);
}

static void php_state(void *arg, enum ferry_manager_state state)
{
    struct ferry_php *php = arg;

    if (php->state)
        php->state(php->arg, state);
}

static const struct ferry_manager_fns manager_fns = {
    .line = php_line, .event = php_event, .state = php_state, .closed = php_closed};

/* To the manager it is one process: php-fpm and php-cgi have children of their own, which share
 * what they have compiled. */
static int start_process(struct ferry_loop *loop, struct ferry_php *php, char *why, size_t cap)
{
    struct ferry_manager_opts o = FERRY_MANAGER_OPTS_INIT;

    set_env(php);
    set_argv(php);
    o.spawn.argv = php->argv;
    o.spawn.env = php->env;
    o.spawn.dir = "/"; /* php-cgi would read a php.ini in its working directory */
    o.spawn.listener_at = php->program.kind == FERRY_PHP_FPM ? 3 : 0;
    o.spawn.switch_user = php->user.change;
    o.spawn.uid = php->user.uid;
    o.spawn.gid = php->user.gid;
    o.listeners = &php->listener;
    o.ready = FERRY_MANAGER_READY_TIME;
    o.lines_per_s = LINES_PER_S;
    o.fns = &manager_fns;
    o.arg = php;
    return ferry_manager_start(loop, &o, &php->manager, why, cap);
}

static int prepare(struct ferry_php *php, char *why, size_t cap)
{
    int err = make_dir(php);

    if (err == 0)
        err = open_socket(php);
    if (err == 0 && php->program.kind == FERRY_PHP_FPM)
        err = write_conf(php);
    if (err < 0)
        snprintf(why, cap, "the directory for PHP's socket (%s) cannot be made: %s",
                 php->dir[0] ? php->dir : "/tmp/ferry-...", ferry_strerror(err));
    return err;
}

static void tell_user(const struct ferry_php *php, const char *dir)
{
    if (geteuid() != 0)
        return;
    if (php->user.change)
        tell(php, FERRY_PHP_NOTE, "PHP runs as user %s", php->user.name);
    else
        tell(php, FERRY_PHP_WARNING,
             "PHP runs as root, because neither its owner nor www-data can read %s", dir);
}

static struct ferry_php *new_php(const struct ferry_php_opts *o)
{
    struct ferry_php *php = calloc(1, sizeof *php);

    if (!php)
        return NULL;
    php->listener = -1;
    php->log = o->log;
    php->state = o->state;
    php->set_owner = o->set_owner;
    php->owner = o->owner;
    php->arg = o->arg;
    php->body_max = o->body_max == 0 ? BODY_MAX : o->body_max < INT64_MAX ? o->body_max : INT64_MAX;
    return php;
}

int ferry_php_start(struct ferry_loop *loop, const struct ferry_php_opts *o, struct ferry_php **out,
                    char *why, size_t cap)
{
    struct ferry_php *php = new_php(o);
    int err;

    if (!php) {
        snprintf(why, cap, "PHP cannot be started: %s", ferry_strerror(-ENOMEM));
        return -ENOMEM;
    }
    err = ferry_php_find(o->program, &php->program, why, cap);
    if (err == 0) {
        php->children = o->children                          ? o->children
                        : php->program.kind == FERRY_PHP_FPM ? FPM_CHILDREN
                                                             : CGI_CHILDREN;
        if (php->children > CHILDREN_MAX)
            php->children = CHILDREN_MAX;
        if (o->switch_user)
            ferry_php_user_set(o->uid, o->gid, &php->user);
        else
            ferry_php_user_choose(o->dir, &php->user);
        err = prepare(php, why, cap);
    }
    if (err == 0)
        err = start_process(loop, php, why, cap);
    if (err < 0) {
        free_php(php);
        return err;
    }
    tell_user(php, o->dir);
    *out = php;
    return 0;
}

const struct ferry_addr *ferry_php_addr(const struct ferry_php *php)
{
    return &php->addr;
}

const char *ferry_php_name(const struct ferry_php *php)
{
    return php->program.name;
}

unsigned ferry_php_children(const struct ferry_php *php)
{
    return php->children;
}

void ferry_php_stop(struct ferry_php *php, unsigned kill_after_ms, void (*done)(void *arg),
                    void *arg)
{
    php->done = done;
    php->done_arg = arg;
    ferry_manager_stop(php->manager, SIGTERM, kill_after_ms);
}

void ferry_php_remove_files(const struct ferry_php *php)
{
    remove_dir(php);
}
