/* SPDX-License-Identifier: MIT */
/*
 * A gate for programs of others: its sockets, its threads and its end, behind ferry/gateway.h. The
 * threads are started by ferry_gateway_run, each with a loop of its own; the first of them also
 * listens for the word to stop, which comes as a byte in a pipe or as a signal, and passes it on.
 * When a loop fails the rest is told to stop; when it is the first one's, its thread goes on
 * without it, waiting for the others' end.
 */
#include "ferry/gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "gate/gate.h"
#include "io/addr.h"

#define THREADS_MAX 64
#define LISTENERS_MAX 16
#define STOP_MS 30000

struct thread {
    pthread_t id;
    struct ferry_gateway *gateway;
    struct ferry_loop *loop;
    struct ferry_gate_thread *gate;
    struct ferry_post drain, cut;
};

struct listener {
    struct ferry_addr bound;
    char text[FERRY_ADDR_TEXT_MAX];
    int fds[THREADS_MAX]; /* -1: none */
};

struct ferry_gateway {
    struct ferry_gateway_opts opts;
    unsigned nthreads, nlisteners;
    struct ferry_gate *gate;
    struct ferry_gate_route route;
    struct ferry_gate_site site;
    struct ferry_access_log access_log;
    struct ferry_mime *mime;
    char *server_name;
    int stop_fds[2];
    struct ferry_watch stopping, signals;
    sigset_t signal_set;
    struct ferry_timer stop_timer; /* the time of the requests under way is over */
    atomic_uint left;              /* threads that have not drained */
    struct ferry_post ended;       /* it has become 0 */
    bool told, cut;
    pthread_mutex_t going; /* threads wait for it until all there is has been opened */
    bool go;
    atomic_int err; /* of a loop that failed */
    atomic_bool first_failed;
    struct listener listeners[LISTENERS_MAX];
    struct thread threads[THREADS_MAX];
};

static void say(struct ferry_gateway *g, const char *line)
{
    if (g->opts.log)
        g->opts.log(g->opts.log_arg, line);
    else
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, line);
}

static void log_line(void *arg, enum ferry_gate_level level, struct ferry_slice line)
{
    char text[4096];

    if (level == FERRY_GATE_VERBOSE)
        return;
    snprintf(text, sizeof text, "%s%.*s", level == FERRY_GATE_APP ? "app: " : "", (int)line.len,
             line.p);
    say(arg, text);
}

/* -- threads ----------------------------------------------------------------------------------- */

/* The first thread ends last: until then it listens for more words to stop. */
static void end_first(struct ferry_gateway *g)
{
    ferry_timer_stop(&g->stop_timer);
    if (g->stopping.fd >= 0)
        ferry_watch_close(&g->stopping); /* the last things on its loop */
    else
        ferry_loop_stop(g->threads[0].loop);
}

static void on_ended(struct ferry_post *post)
{
    end_first(ferry_container(post, struct ferry_gateway, ended));
}

static void thread_ended(struct ferry_gateway *g)
{
    if (atomic_fetch_sub(&g->left, 1) != 1)
        return;
    if (g->first_failed)
        ferry_gateway_stop(g); /* it waits at the pipe */
    else
        ferry_loop_post(g->threads[0].loop, &g->ended);
}

static void drained(void *arg)
{
    struct thread *t = arg;
    struct ferry_gateway *g = t->gateway;

    if (t != g->threads)
        ferry_loop_stop(t->loop);
    if (g->go)
        thread_ended(g);
    else if (t == g->threads)
        end_first(g);
}

static void stopping_closed(struct ferry_watch *w)
{
    struct ferry_gateway *g = ferry_container(w, struct ferry_gateway, stopping);

    w->fd = -1;
    if (g->signals.fd >= 0)
        ferry_watch_close(&g->signals);
    else
        ferry_loop_stop(g->threads[0].loop);
}

static void signals_closed(struct ferry_watch *w)
{
    struct ferry_gateway *g = ferry_container(w, struct ferry_gateway, signals);

    close(w->fd);
    w->fd = -1;
    ferry_loop_stop(g->threads[0].loop);
}

static void on_drain(struct ferry_post *post)
{
    struct thread *t = ferry_container(post, struct thread, drain);

    ferry_gate_thread_drain(t->gate, drained, t);
}

static void on_cut(struct ferry_post *post)
{
    ferry_gate_thread_cut(ferry_container(post, struct thread, cut)->gate);
}

static void cut_all(struct ferry_gateway *g)
{
    if (g->cut)
        return;
    g->cut = true;
    for (unsigned i = 0; i < g->nthreads; i++)
        ferry_loop_post(g->threads[i].loop, &g->threads[i].cut);
}

static void time_is_over(struct ferry_timer *timer)
{
    cut_all(ferry_container(timer, struct ferry_gateway, stop_timer));
}

/* Told once: requests under way are finished. Told again: they are cut. */
static void stop(struct ferry_gateway *g)
{
    struct ferry_loop *loop = g->threads[0].loop;

    if (g->told) {
        cut_all(g);
        return;
    }
    g->told = true;
    for (unsigned i = 0; i < g->nthreads; i++)
        ferry_loop_post(g->threads[i].loop, &g->threads[i].drain);
    ferry_timer_set(loop, &g->stop_timer, ferry_loop_now(loop) + g->opts.stop_max_ms);
}

static void stop_came(struct ferry_watch *w)
{
    struct ferry_gateway *g = ferry_container(w, struct ferry_gateway, stopping);
    char byte;

    while (read(w->fd, &byte, 1) == 1)
        stop(g);
}

static void signal_came(struct ferry_watch *w)
{
    struct ferry_gateway *g = ferry_container(w, struct ferry_gateway, signals);
    struct signalfd_siginfo info;

    while (read(w->fd, &info, sizeof info) == sizeof info)
        stop(g);
}

/* The words to stop that have come. */
static unsigned words(struct ferry_gateway *g)
{
    struct signalfd_siginfo info;
    unsigned n = 0;
    char byte;

    while (read(g->stop_fds[0], &byte, 1) == 1)
        n++;
    while (g->signals.fd >= 0 && read(g->signals.fd, &info, sizeof info) == sizeof info)
        n++;
    return n;
}

static void cut_others(struct ferry_gateway *g)
{
    if (g->cut)
        return;
    g->cut = true;
    for (unsigned i = 1; i < g->nthreads; i++)
        ferry_loop_post(g->threads[i].loop, &g->threads[i].cut);
}

/* What `stop` does, by a first thread that has no loop any more. */
static void end_others(struct ferry_gateway *g)
{
    uint64_t now = ferry_now_us() / 1000, until = now + g->opts.stop_max_ms;

    atomic_store(&g->first_failed, true);
    thread_ended(g);
    if (!g->told)
        words(g); /* they say no more than what is done now */
    for (unsigned i = 1; !g->told && i < g->nthreads; i++)
        ferry_loop_post(g->threads[i].loop, &g->threads[i].drain);
    g->told = true;
    while (atomic_load(&g->left)) {
        struct pollfd fds[2] = {{.fd = g->stop_fds[0], .events = POLLIN},
                                {.fd = g->signals.fd, .events = POLLIN}};

        now = ferry_now_us() / 1000;
        if (now >= until)
            cut_others(g);
        poll(fds, 2, g->cut ? -1 : until - now > INT_MAX ? INT_MAX : (int)(until - now));
        if (words(g))
            cut_others(g);
    }
}

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    int err;

    pthread_mutex_lock(&t->gateway->going);
    pthread_mutex_unlock(&t->gateway->going);
    err = t->gateway->go ? ferry_loop_run(t->loop) : 0;
    if (err == 0)
        return NULL;
    atomic_store(&t->gateway->err, err);
    if (t == t->gateway->threads) {
        end_others(t->gateway);
    } else {
        ferry_gateway_stop(t->gateway);
        thread_ended(t->gateway);
    }
    return NULL;
}

static int open_thread(struct ferry_gateway *g, unsigned i)
{
    struct thread *t = &g->threads[i];
    int err = ferry_loop_new(g->opts.io, &t->loop);

    t->drain.run = on_drain;
    t->cut.run = on_cut;
    if (err == 0)
        err = ferry_gate_thread_new(g->gate, i, t->loop, &t->gate);
    for (unsigned l = 0; err == 0 && l < g->nlisteners; l++) {
        int *fd = &g->listeners[l].fds[i];

        err = ferry_gate_listen(t->gate, *fd, l);
        if (err == 0)
            *fd = -1;
    }
    return err;
}

static int open_threads(struct ferry_gateway *g)
{
    int err = 0;

    for (unsigned i = 0; err == 0 && i < g->nthreads; i++)
        err = open_thread(g, i);
    if (err < 0)
        return err;
    g->stopping = (struct ferry_watch){.readable = stop_came, .closed = stopping_closed};
    err = ferry_watch_open(g->threads[0].loop, &g->stopping, g->stop_fds[0]);
    if (err < 0) {
        g->stopping.fd = -1;
        return err;
    }
    if (g->signals.fd < 0)
        return 0;
    err = g->signals.fd;
    g->signals = (struct ferry_watch){.readable = signal_came, .closed = signals_closed};
    return ferry_watch_open(g->threads[0].loop, &g->signals, err);
}

/* What has not run is run once to close what it has open. */
static void close_threads(struct ferry_gateway *g, bool ran)
{
    for (unsigned i = 0; i < g->nthreads; i++) {
        struct thread *t = &g->threads[i];

        if (!ran && t->gate) {
            ferry_gate_thread_drain(t->gate, drained, t);
            if (ferry_loop_run(t->loop) < 0)
                return;
        }
        ferry_gate_thread_free(t->gate);
        t->gate = NULL;
    }
    for (unsigned i = 0; i < g->nthreads; i++) {
        ferry_loop_free(g->threads[i].loop);
        g->threads[i].loop = NULL;
    }
}

int ferry_gateway_run(struct ferry_gateway *g)
{
    unsigned started = 1;
    int err = 0;

    for (unsigned i = 0; i < g->nthreads; i++)
        g->threads[i].gateway = g;
    pthread_mutex_lock(&g->going);
    while (err == 0 && started < g->nthreads) {
        err = -pthread_create(&g->threads[started].id, NULL, run_thread, &g->threads[started]);
        started += err == 0;
    }
    if (err == 0)
        err = open_threads(g);
    g->go = err == 0;
    atomic_store(&g->left, g->nthreads);
    pthread_mutex_unlock(&g->going);
    if (g->go)
        run_thread(&g->threads[0]);
    for (unsigned i = 1; i < started; i++)
        pthread_join(g->threads[i].id, NULL);
    if (g->err == 0) /* else there is a loop that closes nothing any more */
        close_threads(g, g->go);
    return g->go ? g->err : err;
}

void ferry_gateway_stop(struct ferry_gateway *g)
{
    int saved = errno;

    while (write(g->stop_fds[1], "", 1) < 0 && errno == EINTR)
        ;
    errno = saved;
}

int ferry_gateway_stop_on(struct ferry_gateway *g, int signo)
{
    sigset_t set = g->signal_set;
    int fd, err;

    if (sigaddset(&set, signo) < 0)
        return -errno;
    err = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (err)
        return -err;
    fd = signalfd(g->signals.fd, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    g->signal_set = set;
    g->signals.fd = fd;
    return 0;
}

/* -- before and after -------------------------------------------------------------------------- */

static int refuse(char *why, size_t cap, int err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int refuse(char *why, size_t cap, int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (why && cap)
        vsnprintf(why, cap, fmt, ap);
    va_end(ap);
    return err;
}

/* The first socket of an address binds alone, so that whoever listens there already is noticed. */
static int open_sockets(struct listener *l, const struct ferry_addr *addr, unsigned threads)
{
    bool tcp = addr->fd < 0 && addr->any.sa_family != AF_UNIX;
    int r = ferry_listen(addr, &(struct ferry_listen_opts){.mode = 0666});

    if (r < 0)
        return r;
    l->fds[0] = r;
    r = ferry_addr_local(l->fds[0], &l->bound);
    if (r == 0 && tcp)
        ferry_listen_beside(l->fds[0], &l->bound, l->fds + 1, threads - 1, &r);
    for (unsigned i = 1; r == 0 && !tcp && i < threads; i++) {
        l->fds[i] = fcntl(l->fds[0], F_DUPFD_CLOEXEC, 3);
        r = l->fds[i] < 0 ? -errno : 0;
    }
    ferry_addr_format(&l->bound, l->text, sizeof l->text);
    return r;
}

static int open_listeners(struct ferry_gateway *g, char *why, size_t cap)
{
    static const char *const usual[] = {"127.0.0.1:8080"};
    const char *const *texts = g->opts.nlisten ? g->opts.listen : usual;
    unsigned n = g->opts.nlisten ? g->opts.nlisten : 1;

    if (n > LISTENERS_MAX)
        return refuse(why, cap, FERRY_EUSAGE, "a gateway listens on %d addresses at most",
                      LISTENERS_MAX);
    for (unsigned i = 0; i < n; i++) {
        struct listener *l = &g->listeners[i];
        struct ferry_addr addr;
        const char *what;
        int err;

        for (unsigned t = 0; t < THREADS_MAX; t++)
            l->fds[t] = -1;
        if (ferry_addr_parse(texts[i], true, &addr, &what) < 0)
            return refuse(why, cap, FERRY_EUSAGE, "cannot listen on %s: %s", texts[i], what);
        g->nlisteners++;
        err = open_sockets(l, &addr, g->nthreads);
        if (err < 0)
            return refuse(why, cap, err, "cannot listen on %s: %s", texts[i], ferry_strerror(err));
    }
    return 0;
}

static unsigned processors(void)
{
    cpu_set_t cpus;
    int n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;

    return n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : (unsigned)n;
}

static int open_site(struct ferry_gateway *g, char *why, size_t cap)
{
    const char *log = g->opts.access_log ? g->opts.access_log : "off";
    int err = ferry_access_log_open(&g->access_log, log);

    if (err < 0)
        return refuse(why, cap, err, "cannot write the access log %s: %s", log,
                      ferry_strerror(err));
    if (g->opts.server_name && !(g->server_name = strdup(g->opts.server_name)))
        return -ENOMEM;
    err = ferry_mime_new("/etc/mime.types", &g->mime);
    if (err < 0)
        return err;
    g->route = (struct ferry_gate_route){.pattern = "*", .filters = g->opts.filters};
    g->site = (struct ferry_gate_site){
        .listeners = UINT64_MAX,
        .routes = &g->route,
        .nroutes = 1,
        .server_name = g->server_name,
        .access_log = g->access_log.fd >= 0 ? &g->access_log : NULL,
    };
    return ferry_gate_new(
        &(struct ferry_gate_opts){
            .sites = &g->site,
            .nsites = 1,
            .body_max = g->opts.body_max,
            .head_max = g->opts.head_max,
            .mime = g->mime,
            .log = log_line,
            .log_arg = g,
        },
        &g->gate);
}

int ferry_gateway_new(const struct ferry_gateway_opts *opts, struct ferry_gateway **out, char *why,
                      size_t cap)
{
    struct ferry_gateway *g = calloc(1, sizeof *g);
    int err;

    refuse(why, cap, 0, "%s", "memory is out");
    if (!g)
        return -ENOMEM;
    memcpy(&g->opts, opts, opts->size < sizeof g->opts ? opts->size : sizeof g->opts);
    g->access_log.fd = g->stopping.fd = g->signals.fd = -1;
    g->stop_fds[0] = g->stop_fds[1] = -1;
    sigemptyset(&g->signal_set);
    pthread_mutex_init(&g->going, NULL);
    ferry_timer_init(&g->stop_timer, time_is_over);
    g->ended.run = on_ended;
    if (!g->opts.stop_max_ms)
        g->opts.stop_max_ms = STOP_MS;
    g->nthreads = g->opts.threads ? g->opts.threads : processors();
    if (!g->opts.filters || g->nthreads > THREADS_MAX)
        err = refuse(why, cap, FERRY_EUSAGE, "a gateway needs filters, and 1 to %d threads",
                     THREADS_MAX);
    else if (pipe2(g->stop_fds, O_CLOEXEC | O_NONBLOCK) < 0)
        err = refuse(why, cap, -errno, "cannot make a pipe: %s", ferry_strerror(-errno));
    else if ((err = open_site(g, why, cap)) == 0)
        err = open_listeners(g, why, cap);
    if (err < 0) {
        ferry_gateway_free(g);
        return err;
    }
    *out = g;
    return 0;
}

void ferry_gateway_free(struct ferry_gateway *g)
{
    if (!g)
        return;
    for (unsigned i = 0; i < g->nlisteners; i++) {
        for (unsigned t = 0; t < THREADS_MAX; t++)
            if (g->listeners[i].fds[t] >= 0)
                close(g->listeners[i].fds[t]);
        ferry_listen_remove(&g->listeners[i].bound);
    }
    if (g->signals.fd >= 0)
        close(g->signals.fd);
    for (int i = 0; i < 2; i++)
        if (g->stop_fds[i] >= 0)
            close(g->stop_fds[i]);
    ferry_gate_free(g->gate);
    ferry_access_log_close(&g->access_log);
    ferry_mime_free(g->mime);
    free(g->server_name);
    pthread_mutex_destroy(&g->going);
    free(g);
}

const char *ferry_gateway_address(const struct ferry_gateway *g, unsigned i)
{
    return i < g->nlisteners ? g->listeners[i].text : NULL;
}

static int complain(const char *why)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, why);
    return 1;
}

int ferry_gateway_main(const struct ferry_gateway_opts *opts)
{
    struct ferry_gateway *g;
    char why[512];
    int err = ferry_gateway_new(opts, &g, why, sizeof why);

    if (err < 0)
        return complain(why);
    for (unsigned i = 0; i < g->nlisteners; i++) {
        bool tcp = g->listeners[i].bound.any.sa_family != AF_UNIX;

        printf("%s%s%s\n", tcp ? "http://" : "", g->listeners[i].text, tcp ? "/" : "");
    }
    fflush(stdout);
    if ((err = ferry_gateway_stop_on(g, SIGTERM)) == 0 &&
        (err = ferry_gateway_stop_on(g, SIGINT)) == 0)
        err = ferry_gateway_run(g);
    ferry_gateway_free(g);
    return err < 0 ? complain(ferry_strerror(err)) : 0;
}
