/* SPDX-License-Identifier: MIT */
/*
 * A program behind a private socket. What belongs to it: a directory of its own with the socket in
 * it, the listening socket, and the manager of its processes. They are made in this order and
 * removed in the opposite one.
 */
#include "proc/program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proc/manager.h"
#include "proc/run_dir.h"

struct ferry_program {
    struct ferry_manager *manager;
    struct ferry_addr addr;
    int listener;
    void (*log)(void *arg, bool ours, struct ferry_slice line);
    void (*state)(void *arg, enum ferry_manager_state);
    void *arg;
    void (*done)(void *arg);
    void *done_arg;
    char dir[FERRY__RUN_DIR_MAX], socket[FERRY__RUN_DIR_MAX + FERRY__RUN_NAME_MAX];
    const char *name; /* argv[0] */
    const char **argv, **env;
    char *cwd;
};

/* A copy of a list of texts with its end, in one piece of memory; NULL: no memory. */
static const char **copy_list(const char *const *list)
{
    size_t n = 0, len = 0;
    const char **copy;
    char *at;

    for (; list[n]; n++)
        len += strlen(list[n]) + 1;
    copy = malloc((n + 1) * sizeof *copy + len);
    if (!copy)
        return NULL;
    at = (char *)(copy + n + 1);
    for (size_t i = 0; i < n; i++) {
        copy[i] = at;
        at = stpcpy(at, list[i]) + 1;
    }
    copy[n] = NULL;
    return copy;
}

static void program_line(void *arg, pid_t pid, enum ferry_process_stream stream,
                         struct ferry_slice line)
{
    struct ferry_program *program = arg;

    (void)pid;
    (void)stream;
    if (program->log)
        program->log(program->arg, false, line);
}

static void program_event(void *arg, enum ferry_manager_level level, struct ferry_slice event)
{
    struct ferry_program *program = arg;
    char text[1024];
    int n;

    (void)level;
    if (!program->log)
        return;
    /* Of a long path the end is what names the program. */
    n = snprintf(text, sizeof text, "%s: %.*s",
                 program->name + (strlen(program->name) > 256 ? strlen(program->name) - 256 : 0),
                 (int)event.len, event.p);
    if (n > 0)
        program->log(program->arg, true, ferry_slice(text, (size_t)n));
}

static void program_state(void *arg, enum ferry_manager_state state)
{
    struct ferry_program *program = arg;

    if (program->state)
        program->state(program->arg, state);
}

static void free_program(struct ferry_program *program)
{
    if (!program)
        return;
    if (program->listener >= 0)
        close(program->listener);
    ferry_program_remove_files(program);
    free(program->argv);
    free(program->env);
    free(program->cwd);
    free(program);
}

static void program_closed(void *arg)
{
    struct ferry_program *program = arg;
    void (*done)(void *) = program->done;
    void *done_arg = program->done_arg;

    free_program(program);
    done(done_arg);
}

static const struct ferry_manager_fns manager_fns = {
    .line = program_line, .event = program_event, .state = program_state, .closed = program_closed};

static int open_socket(struct ferry_program *program, const struct ferry_program_opts *o)
{
    struct ferry_listen_opts how = {
        .set_owner = o->set_owner, .owner = o->owner, .group = (gid_t)-1};
    const char *why;
    int err = ferry__run_dir_make(o->set_owner, program->dir);

    if (err < 0)
        return err;
    /* Of two users neither owns both: the name is all that the other one needs to know. */
    if (o->set_owner && chmod(program->dir, 0711) < 0)
        return -errno;
    snprintf(program->socket, sizeof program->socket, "%s/app.sock", program->dir);
    err = ferry_addr_parse(program->socket, true, &program->addr, &why);
    if (err < 0)
        return err;
    program->listener = ferry_listen(&program->addr, &how);
    return program->listener < 0 ? program->listener : 0;
}

static int start(struct ferry_loop *loop, struct ferry_program *program,
                 const struct ferry_program_opts *given, char *why, size_t cap)
{
    struct ferry_manager_opts o = FERRY_MANAGER_OPTS_INIT;
    int err = open_socket(program, given);

    if (err < 0) {
        snprintf(why, cap, "the socket for %s cannot be made: %s", program->name,
                 ferry_strerror(err));
        return err;
    }
    o.spawn.argv = program->argv;
    o.spawn.env = program->env;
    o.spawn.dir = program->cwd;
    o.spawn.switch_user = given->switch_user;
    o.spawn.uid = given->uid;
    o.spawn.gid = given->gid;
    o.listeners = &program->listener;
    o.processes_min = given->processes_min;
    o.processes_max = given->processes_max;
    o.ready = FERRY_MANAGER_READY_TIME; /* requests come first; nobody waits for it here */
    o.fns = &manager_fns;
    o.arg = program;
    err = ferry_manager_start(loop, &o, &program->manager, why, cap);
    if (err == -ENOENT && !strchr(program->name, '/'))
        snprintf(why, cap, "%s is in no folder of PATH; elsewhere, name its folder too: ./%s",
                 program->name, program->name);
    return err;
}

static struct ferry_program *new_program(const struct ferry_program_opts *o)
{
    const char *const alone[] = {o->program, NULL};
    struct ferry_program *program = calloc(1, sizeof *program);

    if (!program)
        return NULL;
    program->listener = -1;
    program->log = o->log;
    program->state = o->state;
    program->arg = o->arg;
    program->argv = copy_list(o->argv ? o->argv : alone);
    program->env = o->env ? copy_list(o->env) : NULL;
    program->cwd = o->dir ? strdup(o->dir) : NULL;
    if (program->argv && (program->env || !o->env) && (program->cwd || !o->dir)) {
        program->name = program->argv[0];
        return program;
    }
    free_program(program);
    return NULL;
}

int ferry_program_start(struct ferry_loop *loop, const struct ferry_program_opts *o,
                        struct ferry_program **out, char *why, size_t cap)
{
    struct ferry_program *program = new_program(o);
    int err;

    if (!program) {
        snprintf(why, cap, "%s cannot be started: %s", o->argv ? o->argv[0] : o->program,
                 ferry_strerror(-ENOMEM));
        return -ENOMEM;
    }
    err = start(loop, program, o, why, cap);
    if (err < 0) {
        free_program(program);
        return err;
    }
    *out = program;
    return 0;
}

const struct ferry_addr *ferry_program_addr(const struct ferry_program *program)
{
    return &program->addr;
}

void ferry_program_stop(struct ferry_program *program, unsigned kill_after_ms,
                        void (*done)(void *arg), void *arg)
{
    program->done = done;
    program->done_arg = arg;
    ferry_manager_stop(program->manager, SIGTERM, kill_after_ms);
}

void ferry_program_remove_files(const struct ferry_program *program)
{
    if (!program->dir[0])
        return;
    unlink(program->socket);
    rmdir(program->dir);
}
