/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_PROCESS_H
#define FERRY_PROC_PROCESS_H

#include "io/loop.h"
#include "io/spawn.h"

/*
 * One program kept running: started, started again when it ends (after a pause that doubles as long
 * as it keeps failing), stopped with all of its process group. What it writes comes back line by
 * line. All functions are called from the loop, and any ferry_process function may be called from
 * them.
 */

#define FERRY_PROCESS_LINE_MAX 8192 /* a longer line comes in pieces of this size */

enum ferry_process_stream { FERRY_PROCESS_OUT, FERRY_PROCESS_ERR };

struct ferry_process;

struct ferry_process_end {
    int err;          /* -errno when it could not be started again or be waited for, else 0 */
    const char *step; /* then, what could not be done (static text) */
    int status;       /* its exit status, when signal is 0 */
    int signal;       /* that ended it */
    uint64_t ran_ms;
    bool again;       /* it will be started again ... */
    uint64_t wait_ms; /* ... after so long */
};

/* "ended with status 1; started again in 0.1 s": the length, cut at cap and NUL-terminated. */
size_t ferry_process_end_format(const struct ferry_process_end *, char *out, size_t cap);

struct ferry_process_fns {
    /* A line without its newline; valid during the call. */
    void (*line)(struct ferry_process *, enum ferry_process_stream, struct ferry_slice);
    /* It has ended, after its last line was told. */
    void (*ended)(struct ferry_process *, const struct ferry_process_end *);
    /* After ferry_process_stop, or the end with `once`: nothing of it is left and the memory is the
     * owner's again. */
    void (*closed)(struct ferry_process *);
};

struct ferry_process_opts {
    /* out and err are set here; all that it points to must stay until `closed`. */
    struct ferry_spawn_opts spawn;
    /* Exit status 0 is a wish to be started again at once, as php-cgi does after so many requests;
     * else it counts as a failure like any other end. */
    bool recycles;
    /* It runs once: `closed` follows its end as after ferry_process_stop. */
    bool once;
    unsigned pause_ms;     /* before the first restart; 0 means 100 */
    unsigned pause_max_ms; /* 0 means 10000 */
    unsigned settled_ms;   /* having run so long, it starts from pause_ms again; 0 means 10000 */
};

struct ferry_process {
    struct ferry_loop *loop;
    const struct ferry_process_fns *fns;
    struct ferry_process_opts opts;
    pid_t pid; /* -1 while it does not run */
    int pidfd;
    uint64_t started_ms;
    unsigned failures; /* in a row */
    uint64_t wait_ms;
    int watch_err;
    uint8_t state;
    bool stopping;
    struct ferry_watch exit;
    struct ferry_timer timer; /* of the restart, or of the kill */
    struct ferry_process_pipe {
        struct ferry_watch watch;
        int read_fd, write_fd;
        bool watched;
        size_t len;
        char line[FERRY_PROCESS_LINE_MAX];
    } pipes[2];
};

/*
 * Starts it: 0; or -errno with `*step` (static text) when it cannot be started, and then nothing is
 * left and no function is called.
 */
FERRY_MUST_CHECK
int ferry_process_start(struct ferry_loop *, struct ferry_process *,
                        const struct ferry_process_fns *, const struct ferry_process_opts *,
                        const char **step);

/*
 * Sends `sig` to it, and SIGKILL to its whole process group when it still runs `kill_after_ms`
 * later; what is left of the group when it ends is killed in any case. `closed` follows. Called
 * again, it sends the new signal and sets the new deadline.
 */
void ferry_process_stop(struct ferry_process *, int sig, unsigned kill_after_ms);

/* Sends it a signal: 0, or -ESRCH while it does not run. */
int ferry_process_signal(struct ferry_process *, int sig);

#endif
