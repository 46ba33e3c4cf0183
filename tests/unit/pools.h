/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_POOLS_H
#define FERRY_TESTS_POOLS_H

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ferry/app.h"
#include "proc/manager.h"

/*
 * A pool under test: its sockets, and all that was told of it. The processes are shell scripts, or
 * this test itself, run again with the name of a part to play.
 */

#define POOL_MAX 8

struct pool {
    enum ferry_io backend;
    struct ferry_loop *loop;
    struct ferry_manager *manager;
    struct ferry_manager_opts opts;
    const char *argv[4];
    int listeners[POOL_MAX];
    struct sockaddr_un addrs[POOL_MAX];
    socklen_t addr_lens[POOL_MAX];
    char events[16384], lines[16384];
    unsigned nlines, started, ended, nstates, closed;
    pid_t pids[256]; /* of those that run */
    unsigned npids;
    enum ferry_manager_state states[32];
    char why[512];
};

/* -- what is told ----------------------------------------------------------------------------- */

static inline void pool_append(char *to, size_t cap, struct ferry_slice s)
{
    size_t len = strlen(to);

    if (len + s.len + 2 < cap)
        snprintf(to + len, cap - len, "%.*s\n", (int)s.len, s.p);
}

static inline void pool_line(void *arg, pid_t pid, enum ferry_process_stream stream,
                             struct ferry_slice line)
{
    struct pool *p = arg;

    (void)stream;
    assert_true(pid > 0);
    p->nlines++;
    pool_append(p->lines, sizeof p->lines, line);
}

static inline void pool_event(void *arg, enum ferry_manager_level level, struct ferry_slice text)
{
    struct pool *p = arg;

    (void)level;
    pool_append(p->events, sizeof p->events, text);
    if (getenv("POOL_EVENTS"))
        fprintf(stderr, "# %.*s\n", (int)text.len, text.p);
}

static inline void pool_process(void *arg, pid_t pid, bool started)
{
    struct pool *p = arg;
    unsigned at = 0;

    if (started) {
        assert_true(p->npids < 256);
        p->pids[p->npids++] = pid;
        p->started++;
        return;
    }
    while (at < p->npids && p->pids[at] != pid)
        at++;
    assert_true(at < p->npids);
    p->pids[at] = p->pids[--p->npids];
    p->ended++;
}

static inline void pool_state(void *arg, enum ferry_manager_state state)
{
    struct pool *p = arg;

    if (p->nstates < 32)
        p->states[p->nstates++] = state;
}

static inline void pool_closed(void *arg)
{
    struct pool *p = arg;

    p->closed++;
    p->manager = NULL;
    ferry_loop_stop(p->loop);
}

static const struct ferry_manager_fns pool_fns = {.line = pool_line,
                                                  .event = pool_event,
                                                  .process = pool_process,
                                                  .state = pool_state,
                                                  .closed = pool_closed};

/* -- its life --------------------------------------------------------------------------------- */

static inline struct pool *pool_new(void **state)
{
    static struct pool pool;

    memset(&pool, 0, sizeof pool);
    pool.backend = *(const enum ferry_io *)*state;
    pool.opts = (struct ferry_manager_opts)FERRY_MANAGER_OPTS_INIT;
    pool.opts.fns = &pool_fns;
    pool.opts.arg = &pool;
    pool.opts.listeners = pool.listeners;
    pool.opts.pause_ms = 10;
    pool.opts.start_ms = 60;
    alarm(100);
    return &pool;
}

/* Runs a shell script, as /bin/sh -c. */
static inline void pool_script(struct pool *p, const char *script)
{
    p->argv[0] = "/bin/sh";
    p->argv[1] = "-c";
    p->argv[2] = script;
}

/* Runs this test again, in a part of its own. */
static inline void pool_part(struct pool *p, const char *part, const char *arg)
{
    p->argv[0] = "/proc/self/exe";
    p->argv[1] = part;
    p->argv[2] = arg;
}

static inline int pool_try(struct pool *p)
{
    unsigned n = p->opts.per_process ? p->opts.processes_max : 1;

    assert_int_equal(ferry_loop_new(p->backend, &p->loop), 0);
    for (unsigned i = 0; i < n; i++) {
        p->listeners[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        p->addrs[i].sun_family = AF_UNIX;
        /* The kernel gives it an abstract name. */
        assert_int_equal(
            bind(p->listeners[i], (struct sockaddr *)&p->addrs[i], sizeof(sa_family_t)), 0);
        p->addr_lens[i] = sizeof p->addrs[i];
        assert_int_equal(
            getsockname(p->listeners[i], (struct sockaddr *)&p->addrs[i], &p->addr_lens[i]), 0);
        assert_int_equal(listen(p->listeners[i], 1024), 0);
    }
    p->opts.spawn.argv = p->argv;
    return ferry_manager_start(p->loop, &p->opts, &p->manager, p->why, sizeof p->why);
}

static inline void pool_start(struct pool *p)
{
    int err = pool_try(p);

    if (err < 0)
        fail_msg("%s", p->why);
}

static inline void pool_tidy(struct pool *p)
{
    for (unsigned i = 0; i < (p->opts.per_process ? p->opts.processes_max : 1); i++)
        close(p->listeners[i]);
    ferry_loop_free(p->loop);
    alarm(0);
}

struct pool_watch {
    struct ferry_timer timer;
    struct pool *pool;
    bool (*is)(struct pool *, const void *);
    const void *arg;
    uint64_t until_ms;
    bool done;
};

static inline void pool_look(struct ferry_timer *t)
{
    struct pool_watch *w = ferry_container(t, struct pool_watch, timer);
    uint64_t now = ferry_now_us() / 1000;

    w->done = w->is(w->pool, w->arg);
    if (w->done || now >= w->until_ms)
        ferry_loop_stop(w->pool->loop);
    else
        ferry_timer_set(w->pool->loop, t, now + 5);
}

/* Runs the loop until `is` says so: true, or false when it did not for so long. */
static inline bool pool_until(struct pool *p, unsigned ms, bool (*is)(struct pool *, const void *),
                              const void *arg)
{
    struct pool_watch w = {.pool = p, .is = is, .arg = arg, .until_ms = ferry_now_us() / 1000 + ms};

    ferry_timer_init(&w.timer, pool_look);
    ferry_timer_set(p->loop, &w.timer, ferry_now_us() / 1000);
    assert_int_equal(ferry_loop_run(p->loop), 0);
    ferry_timer_stop(&w.timer);
    return w.done || is(p, arg); /* its end stops the loop too */
}

static inline bool pool_never(struct pool *p, const void *arg)
{
    (void)p;
    (void)arg;
    return false;
}

static inline void pool_pass(struct pool *p, unsigned ms)
{
    pool_until(p, ms, pool_never, NULL);
}

#define pool_wait(p, is, arg)                                                                      \
    do {                                                                                           \
        if (!pool_until((p), 60000, (is), (arg)))                                                  \
            fail_msg("it never came; events:\n%s", (p)->events);                                   \
    } while (0)

static inline bool pool_said(struct pool *p, const void *text)
{
    return strstr(p->events, text) != NULL;
}

static inline bool pool_wrote(struct pool *p, const void *text)
{
    return strstr(p->lines, text) != NULL;
}

static inline bool pool_is(struct pool *p, const void *state)
{
    return ferry_manager_state(p->manager) == *(const enum ferry_manager_state *)state;
}

static inline bool pool_is_closed(struct pool *p, const void *arg)
{
    (void)arg;
    return p->closed > 0;
}

static inline bool pool_has(struct pool *p, const void *n)
{
    return p->npids == *(const unsigned *)n;
}

static inline bool pool_has_started(struct pool *p, const void *n)
{
    return p->started >= *(const unsigned *)n;
}

/* A look at its status as a text: "2 ready, 1 starting". */
static inline unsigned pool_count(struct pool *p, enum ferry_manager_process_state state)
{
    struct ferry_manager_status s;
    unsigned n = 0;

    assert_int_equal(ferry_manager_status(p->manager, &s), 0);
    for (unsigned i = 0; i < s.nprocesses; i++)
        n += s.processes[i].state == state;
    ferry_manager_status_fini(&s);
    return n;
}

static inline bool pool_ready(struct pool *p, const void *n)
{
    return pool_count(p, FERRY_MANAGER_PROCESS_READY) == *(const unsigned *)n;
}

#define wait_state(p, which)                                                                       \
    do {                                                                                           \
        enum ferry_manager_state state_ = FERRY_MANAGER_##which;                                   \
        pool_wait(p, pool_is, &state_);                                                            \
    } while (0)
#define wait_count(p, is, n)                                                                       \
    do {                                                                                           \
        unsigned n_ = (n);                                                                         \
        pool_wait(p, is, &n_);                                                                     \
    } while (0)

/* Is the process gone, or dead and only not reaped by whoever inherited it? */
static inline bool pool_is_dead(long pid)
{
    char name[64], text[256] = "", *after;
    ssize_t n;
    int fd;

    snprintf(name, sizeof name, "/proc/%ld/stat", pid);
    fd = open(name, O_RDONLY);
    if (fd < 0)
        return true;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    after = n > 0 ? strrchr(text, ')') : NULL;
    return !after || after[2] == 'Z' || after[2] == 'X';
}

/* Stops it, and sees that nothing is left. */
static inline void pool_stop(struct pool *p)
{
    ferry_manager_stop(p->manager, 0, 10000);
    assert_int_equal(p->closed, 0);
    if (!pool_until(p, 60000, pool_is_closed, NULL))
        fail_msg("it never closed; events:\n%s", p->events);
    assert_int_equal(p->closed, 1);
    assert_int_equal(p->npids, 0);
    assert_int_equal(p->started, p->ended);
    pool_tidy(p);
}

/* -- clients ---------------------------------------------------------------------------------- */

static inline int pool_connect(struct pool *p, unsigned i)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&p->addrs[i], p->addr_lens[i]), 0);
    return fd;
}

static inline ssize_t pool_read(int fd, char *to, size_t n)
{
    ssize_t got;

    do
        got = read(fd, to, n);
    while (got < 0 && errno == EINTR);
    return got;
}

/*
 * One request on a connection of its own, waiting for its answer as long as it takes: 0; 1 when no
 * connection could be made; 2 when it was cut before the answer's end.
 */
static inline int pool_request(const struct sockaddr_un *addr, socklen_t len)
{
    static const unsigned char request[] = {
        1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, /* BEGIN_REQUEST, responder */
        1, 4, 0, 1, 0, 0, 0, 0,                         /* the end of PARAMS */
        1, 5, 0, 1, 0, 0, 0, 0,                         /* the end of STDIN */
    };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ended = 0;
    char head[8], body[65536];

    if (fd < 0 || connect(fd, (const struct sockaddr *)addr, len) < 0) {
        close(fd);
        return 1;
    }
    if (send(fd, request, sizeof request, MSG_NOSIGNAL) == (ssize_t)sizeof request)
        while (recv(fd, head, sizeof head, MSG_WAITALL) == (ssize_t)sizeof head) {
            size_t n = (size_t)((unsigned char)head[4] << 8 | (unsigned char)head[5]) +
                       (unsigned char)head[6];

            if (n && recv(fd, body, n, MSG_WAITALL) != (ssize_t)n)
                break;
            if (head[1] == 3) { /* END_REQUEST: complete, and not refused */
                ended = body[4] == 0;
                break;
            }
        }
    close(fd);
    return ended ? 0 : 2;
}

struct pool_load {
    pid_t pid;
    int report;
};

/* What came of the requests: those that were answered, found no socket, were cut. */
struct pool_score {
    unsigned long answers, refused, cut;
};

/* A process of `clients` processes that ask without a pause until pool_load_end. */
static inline struct pool_load pool_load_begin(struct pool *p, unsigned clients)
{
    struct pool_load load;
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    load.pid = fork();
    if (load.pid == 0) {
        setpgid(0, 0);
        for (unsigned i = 1; i < clients && fork() != 0; i++)
            ;
        for (struct pool_score s = {0};;) {
            int r = pool_request(&p->addrs[0], p->addr_lens[0]);

            s.answers = r == 0;
            s.refused = r == 1;
            s.cut = r == 2;
            if (write(ends[1], &s, sizeof s) != (ssize_t)sizeof s)
                _exit(0);
            if (r)
                usleep(1000);
        }
    }
    setpgid(load.pid, load.pid);
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    load.report = ends[0];
    return load;
}

static inline void pool_load_read(const struct pool_load *load, struct pool_score *score)
{
    struct pool_score s;

    while (read(load->report, &s, sizeof s) == (ssize_t)sizeof s) {
        score->answers += s.answers;
        score->refused += s.refused;
        score->cut += s.cut;
    }
}

static inline void pool_load_end(const struct pool_load *load, struct pool_score *score)
{
    pool_load_read(load, score);
    kill(-load->pid, SIGKILL);
    waitpid(load->pid, NULL, 0);
    close(load->report);
}

/* -- parts: what a process of the pool does --------------------------------------------------- */

static inline void part_notify(const char *text)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const char *name = getenv("NOTIFY_SOCKET");
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    size_t n = name ? strlen(name) : 0;

    if (n < 2 || n > sizeof un.sun_path)
        _exit(99);
    memcpy(un.sun_path, name, n);
    un.sun_path[0] = '\0';
    if (sendto(fd, text, strlen(text), 0, (struct sockaddr *)&un,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
        _exit(98);
    close(fd);
}

/* One connection at a time: reads until its end. */
static inline _Noreturn void part_hold(void)
{
    char bytes[256];

    for (;;) {
        int fd = accept4(0, NULL, NULL, SOCK_CLOEXEC);

        while (fd >= 0 && pool_read(fd, bytes, sizeof bytes) > 0)
            ;
        close(fd);
    }
}

static volatile sig_atomic_t part_asked;

static inline void part_ask(int sig)
{
    (void)sig;
    part_asked = 1;
}

/* Answers a request that is sent in one piece, one connection at a time, and ends on SIGTERM when
 * it has none. */
static inline int part_polite(void)
{
    static const unsigned char answer[] = {
        1, 6, 0, 1, 0, 4, 0, 0, '\r', '\n', 'o', 'k', 1, 6, 0, 1, 0, 0,
        0, 0, 1, 3, 0, 1, 0, 8, 0,    0,    0,   0,   0, 0, 0, 0, 0, 0,
    };
    struct sigaction sa = {.sa_handler = part_ask};
    struct pollfd p = {.events = POLLIN};
    sigset_t term, none;
    char bytes[256];

    sigemptyset(&none);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    sigaction(SIGTERM, &sa, NULL);
    fcntl(0, F_SETFL, O_NONBLOCK);
    part_notify("READY=1");
    while (!part_asked) {
        int fd = -1;

        if (ppoll(&p, 1, NULL, &none) > 0)
            fd = accept4(0, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && pool_read(fd, bytes, sizeof bytes) > 0)
            (void)!write(fd, answer, sizeof answer);
        if (fd >= 0)
            close(fd);
    }
    return 0;
}

static inline void part_handle(struct ferry_request *r)
{
    ferry_request_header(r, "Content-Type", "text/plain");
    ferry_request_printf(r, "%d\n", (int)getpid());
    ferry_request_finish(r, 0);
}

static inline int part_serve(void)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    struct ferry_app *app;
    int err;

    opts.handle = part_handle;
    opts.io = "epoll";
    err = ferry_app_new(&opts, &app);
    if (err == 0)
        err = ferry_app_stop_on(app, SIGTERM);
    if (err == 0)
        err = ferry_app_listen(app, "fd:0");
    if (err == 0)
        err = ferry_app_run(app);
    ferry_app_free(app);
    return err < 0;
}

#endif
