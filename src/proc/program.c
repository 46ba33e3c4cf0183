/* SPDX-License-Identifier: MIT */
/*
 * A program behind a private socket. What belongs to it: a directory of its own with the socket in
 * it, the listening socket, and the supervised process. They are made in this order and removed in
 * the opposite one.
 */
#include "proc/program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proc/process.h"
#include "proc/run_dir.h"

struct ferry_program {
    struct ferry_process process;
    struct ferry_addr addr;
    int listener;
    bool stopping;
    void (*log)(void *arg, bool ours, struct ferry_slice line);
    void *arg;
    void (*done)(void *arg);
    void *done_arg;
    char dir[FERRY__RUN_DIR_MAX], socket[FERRY__RUN_DIR_MAX + FERRY__RUN_NAME_MAX];
    const char *argv[2];
    char name[]; /* what argv[0] points to */
};

static void program_line(struct ferry_process *p, enum ferry_process_stream stream,
                         struct ferry_slice line)
{
    struct ferry_program *program = ferry_container(p, struct ferry_program, process);

    (void)stream;
    if (program->log)
        program->log(program->arg, false, line);
}

static void program_ended(struct ferry_process *p, const struct ferry_process_end *end)
{
    struct ferry_program *program = ferry_container(p, struct ferry_program, process);
    char text[512], how[192];
    int n;

    if ((program->stopping && !end->err) || !program->log)
        return;
    ferry_process_end_format(end, how, sizeof how);
    /* Of a long path the end is what names the program. */
    n = snprintf(text, sizeof text, "%s %s",
                 program->name + (strlen(program->name) > 256 ? strlen(program->name) - 256 : 0),
                 how);
    if (n > 0)
        program->log(program->arg, true, ferry_slice(text, (size_t)n));
}

static void free_program(struct ferry_program *program)
{
    if (program->listener >= 0)
        close(program->listener);
    ferry_program_remove_files(program);
    free(program);
}

static void program_closed(struct ferry_process *p)
{
    struct ferry_program *program = ferry_container(p, struct ferry_program, process);
    void (*done)(void *) = program->done;
    void *arg = program->done_arg;

    free_program(program);
    done(arg);
}

static const struct ferry_process_fns process_fns = {
    .line = program_line, .ended = program_ended, .closed = program_closed};

static int open_socket(struct ferry_program *program)
{
    const char *why;
    int err = ferry__run_dir_make(false, program->dir);

    if (err < 0)
        return err;
    snprintf(program->socket, sizeof program->socket, "%s/app.sock", program->dir);
    err = ferry_addr_parse(program->socket, true, &program->addr, &why);
    if (err < 0)
        return err;
    program->listener = ferry_listen(&program->addr, NULL);
    return program->listener < 0 ? program->listener : 0;
}

static int start(struct ferry_loop *loop, struct ferry_program *program, char *why, size_t cap)
{
    struct ferry_process_opts o = {.spawn = FERRY_SPAWN_INIT};
    const char *step;
    int err = open_socket(program);

    if (err < 0) {
        snprintf(why, cap, "the socket for %s cannot be made: %s", program->name,
                 ferry_strerror(err));
        return err;
    }
    o.spawn.argv = program->argv;
    o.spawn.listener = program->listener;
    err = ferry_process_start(loop, &program->process, &process_fns, &o, &step);
    if (err == -ENOENT && !strchr(program->name, '/'))
        snprintf(why, cap, "%s is in no folder of PATH; elsewhere, name its folder too: ./%s",
                 program->name, program->name);
    else if (err < 0)
        snprintf(why, cap, "%s %s: %s", program->name, step, ferry_strerror(err));
    return err;
}

int ferry_program_start(struct ferry_loop *loop, const struct ferry_program_opts *o,
                        struct ferry_program **out, char *why, size_t cap)
{
    size_t len = strlen(o->program) + 1;
    struct ferry_program *program = calloc(1, sizeof *program + len);
    int err;

    if (!program) {
        snprintf(why, cap, "%s cannot be started: %s", o->program, ferry_strerror(-ENOMEM));
        return -ENOMEM;
    }
    memcpy(program->name, o->program, len);
    program->argv[0] = program->name;
    program->listener = -1;
    program->log = o->log;
    program->arg = o->arg;
    err = start(loop, program, why, cap);
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
    program->stopping = true;
    program->done = done;
    program->done_arg = arg;
    ferry_process_stop(&program->process, SIGTERM, kill_after_ms);
}

void ferry_program_remove_files(const struct ferry_program *program)
{
    if (!program->dir[0])
        return;
    unlink(program->socket);
    rmdir(program->dir);
}
