/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_MAIL_WORLD_H
#define FERRY_TESTS_MAIL_WORLD_H

/*
 * A mail gateway of one thread with one service, two scripted applications behind it, and blocking
 * clients before it: the test's own thread is the client. `script` of an application is what it
 * answers, as records, to each request of a connection.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <semaphore.h>

#include "loops.h"
#include "mail/mail.h"
#include "mail/service.h"
#include "wire/fake_app.h"

#define LOG_MAX (1 << 18)

struct world {
    struct ferry_mail_service service;
    struct ferry_mail_opts opts;
    struct fake_app validate, save;
    struct ferry_client *clients[2];
    struct ferry_loop *loop;
    struct ferry_mail *mail;
    struct ferry_mail_thread *mail_thread;
    pthread_t thread;
    bool running;
    struct sockaddr_in at;
    pthread_mutex_t lock; /* of the log */
    char log[LOG_MAX];
    struct ferry_post drain, cut, hold;
    unsigned linger_ms;
    sem_t holding, release, drained;
};

#define OVER "END_REQUEST 1 x0000000000000000"
#define ANSWER(text) "STDOUT 1 'Content-Type: text/plain\r\n\r\n" text "'; STDOUT 1; " OVER
#define PASS ANSWER("PASS")
#define SAVED ANSWER("SAVED")

/* A handler: says app->script to each request. */
static inline void answers(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    while (fake_take(app, fd, &rq) && fake_say(app, fd, atomic_load(&app->script)))
        ;
}

/* Waits until the test lets it go on, and is answered then. */
static inline void waits(struct fake_app *app, int fd, unsigned nth)
{
    struct fake_request rq;

    (void)nth;
    if (!fake_take(app, fd, &rq))
        return;
    fake_wait_go(app);
    fake_say(app, fd, atomic_load(&app->script));
}

static inline void wait_requests(struct fake_app *app, unsigned n)
{
    for (int i = 0; i < 30000 && atomic_load(&app->requests) < n; i++)
        fake_sleep_ms(1);
    assert_int_equal(atomic_load(&app->requests), n);
}

static inline void world_log(void *arg, enum ferry_mail_level level, struct ferry_slice line)
{
    struct world *w = arg;
    size_t n;

    (void)level;
    pthread_mutex_lock(&w->lock);
    n = strlen(w->log);
    snprintf(w->log + n, sizeof w->log - n, "%.*s\n", (int)line.len, line.p);
    pthread_mutex_unlock(&w->lock);
}

/* Each test opens one, changes its service, and starts it. */
static inline struct world *world_new(void)
{
    static const char *const domains[] = {"example.com"};
    struct world *w = test_calloc(1, sizeof *w);

    signal(SIGPIPE, SIG_IGN);
    w->opts = (struct ferry_mail_opts){
        .services = &w->service, .nservices = 1, .log = world_log, .log_arg = w};
    w->service = (struct ferry_mail_service){
        .name = "test",
        .hostname = "mx.example.com",
        .domains = domains,
        .ndomains = 1,
        .validate = {.path = "/srv/validate.php"},
        .save = {.path = "/srv/save.php"},
        .clients_per_ip = 1000,
        .queue_ms = 2000,
    };
    pthread_mutex_init(&w->lock, NULL);
    sem_init(&w->holding, 0, 0);
    sem_init(&w->release, 0, 0);
    sem_init(&w->drained, 0, 0);
    w->validate.handler = w->save.handler = answers;
    atomic_store(&w->validate.script, PASS);
    atomic_store(&w->save.script, SAVED);
    fake_listen(&w->validate, 64);
    fake_listen(&w->save, 64);
    return w;
}

static inline void world_client(struct ferry_mail_script *script, const struct fake_app *app,
                                struct ferry_client **out)
{
    char addr[80];

    snprintf(addr, sizeof addr, "unix:%s", app->path);
    assert_int_equal(
        ferry_client_new(&(struct ferry_client_opts){FERRY_CLIENT_OPTS_SIZE, .address = addr,
                                                     .multiplex = FERRY_MULTIPLEX_OFF,
                                                     .fails_max = 1000000},
                         out),
        0);
    script->client = *out;
}

static inline int world_listen(struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof w->at;

    w->at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)&w->at, sizeof w->at), 0);
    assert_int_equal(listen(fd, 1000), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&w->at, &len), 0);
    return fd;
}

static inline void world_drained(void *arg)
{
    struct world *w = arg;

    sem_post(&w->drained);
    ferry_loop_stop(w->loop);
}

static inline void world_on_drain(struct ferry_post *post)
{
    struct world *w = ferry_container(post, struct world, drain);

    if (w->linger_ms)
        ferry_mail_thread_retire(w->mail_thread, w->linger_ms, world_drained, w);
    else
        ferry_mail_thread_drain(w->mail_thread, world_drained, w);
}

static inline void world_on_cut(struct ferry_post *post)
{
    ferry_mail_thread_cut(ferry_container(post, struct world, cut)->mail_thread);
}

static inline void world_on_hold(struct ferry_post *post)
{
    struct world *w = ferry_container(post, struct world, hold);

    sem_post(&w->holding);
    while (sem_wait(&w->release) < 0)
        ;
}

static inline void *world_run(void *arg)
{
    must(ferry_loop_run(((struct world *)arg)->loop) == 0);
    return NULL;
}

static inline void world_start(struct world *w)
{
    char why[300] = "";
    int err;

    fake_start(&w->validate);
    fake_start(&w->save);
    world_client(&w->service.validate, &w->validate, &w->clients[0]);
    world_client(&w->service.save, &w->save, &w->clients[1]);
    if (!w->service.validate.path)
        w->service.validate.client = NULL;
    if (!w->service.save.path)
        w->service.save.client = NULL;
    w->service.auth.client = w->service.auth.path ? w->clients[0] : NULL;
    err = ferry_mail_new(&w->opts, &w->mail, why, sizeof why);
    if (err)
        print_error("%s\n", why);
    assert_int_equal(err, 0);
    assert_int_equal(ferry_loop_new(FERRY_IO_AUTO, &w->loop), 0);
    assert_int_equal(ferry_mail_thread_new(w->mail, 0, w->loop, &w->mail_thread), 0);
    assert_int_equal(ferry_mail_listen(w->mail_thread, world_listen(w), 0), 0);
    w->drain.run = world_on_drain;
    w->cut.run = world_on_cut;
    w->hold.run = world_on_hold;
    assert_int_equal(pthread_create(&w->thread, NULL, world_run, w), 0);
    w->running = true;
}

/* The gateway's thread stands still from here to world_go_on. */
static inline void world_stand_still(struct world *w)
{
    ferry_loop_post(w->loop, &w->hold);
    while (sem_wait(&w->holding) < 0)
        ;
}

static inline void world_go_on(struct world *w)
{
    sem_post(&w->release);
}

static inline void world_drain(struct world *w)
{
    ferry_loop_post(w->loop, &w->drain);
}

static inline void world_retire(struct world *w, unsigned linger_ms)
{
    w->linger_ms = linger_ms;
    world_drain(w);
}

/* After its drain. */
static inline void world_join(struct world *w)
{
    pthread_join(w->thread, NULL);
    w->running = false;
    ferry_mail_thread_free(w->mail_thread);
    ferry_mail_free(w->mail);
    ferry_loop_free(w->loop);
    ferry_client_free(w->clients[0]);
    ferry_client_free(w->clients[1]);
}

static inline void world_free(struct world *w)
{
    if (w->running) {
        atomic_store(&w->validate.go, true);
        atomic_store(&w->save.go, true);
        world_drain(w);
        world_join(w);
    }
    fake_stop(&w->validate);
    fake_stop(&w->save);
    pthread_mutex_destroy(&w->lock);
    sem_destroy(&w->holding);
    sem_destroy(&w->release);
    sem_destroy(&w->drained);
    test_free(w);
}

/* -- what was told ----------------------------------------------------------------------------- */

static inline bool world_said(struct world *w, const char *text)
{
    bool said;

    pthread_mutex_lock(&w->lock);
    said = strstr(w->log, text) != NULL;
    pthread_mutex_unlock(&w->lock);
    return said;
}

/* Waits for it: a line is written after its answer. */
static inline void assert_says(struct world *w, const char *text)
{
    for (int i = 0; i < 30000 && !world_said(w, text); i++)
        fake_sleep_ms(1);
    if (!world_said(w, text))
        fail_msg("not in the log: %s\n%s", text, w->log);
}

static inline uint64_t world_count(struct world *w, enum ferry_mail_count which)
{
    uint64_t counts[FERRY_MAIL_COUNTS];

    ferry_mail_stats(w->mail, counts);
    return counts[which];
}

static inline void assert_counts(struct world *w, enum ferry_mail_count which, uint64_t n)
{
    for (int i = 0; i < 30000 && world_count(w, which) != n; i++)
        fake_sleep_ms(1);
    if (world_count(w, which) != n)
        fail_msg("%s: %llu, not %llu\n%s", ferry_mail_count_name(which),
                 (unsigned long long)world_count(w, which), (unsigned long long)n, w->log);
}

/* What was accepted came to an end, one way or the other. */
static inline void assert_adds_up(struct world *w)
{
    assert_counts(
        w, FERRY_MAIL_COUNT_ACCEPTED,
        world_count(w, FERRY_MAIL_COUNT_SAVED) + world_count(w, FERRY_MAIL_COUNT_REJECTED) +
            world_count(w, FERRY_MAIL_COUNT_DEFERRED) + world_count(w, FERRY_MAIL_COUNT_ABORTED));
}

/* -- a client ---------------------------------------------------------------------------------- */

static inline int client_connect(struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 60};

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&w->at, sizeof w->at), 0);
    return fd;
}

static inline void client_send(int fd, const char *text)
{
    for (size_t n = strlen(text); n;) {
        ssize_t put = send(fd, text, n, MSG_NOSIGNAL);

        assert_true(put > 0);
        text += put;
        n -= (size_t)put;
    }
}

/* One reply, all its lines: its text, or "" at the end of the connection. */
static inline const char *client_reply(int fd)
{
    static char reply[8192];
    size_t n = 0, line = 0;

    for (;;) {
        ssize_t got = recv(fd, reply + n, 1, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno != ECONNRESET)
            fail_msg("no reply: %s", strerror(errno));
        if (got <= 0) {
            reply[n] = 0;
            return reply;
        }
        n++;
        assert_true(n < sizeof reply);
        if (reply[n - 1] != '\n')
            continue;
        reply[n] = 0;
        if (n - line > 3 && reply[line + 3] == ' ')
            return reply;
        line = n;
    }
}

static inline void client_expect(int fd, const char *expected)
{
    const char *reply = client_reply(fd);

    if (strncmp(reply, expected, strlen(expected)) != 0)
        fail_msg("\"%s\" instead of \"%s\"", reply, expected);
}

static inline void client_ask(int fd, const char *command, const char *expected)
{
    client_send(fd, command);
    client_send(fd, "\r\n");
    client_expect(fd, expected);
}

static inline void client_end(int fd)
{
    assert_string_equal(client_reply(fd), "");
    close(fd);
}

/* Up to DATA. */
static inline int client_to_data(struct world *w)
{
    int fd = client_connect(w);

    client_expect(fd, "220 mx.example.com");
    client_ask(fd, w->service.protocol == FERRY_MAIL_LMTP ? "LHLO client" : "EHLO client", "250-");
    client_ask(fd, "MAIL FROM:<a@b.example>", "250 2.1.0");
    client_ask(fd, "RCPT TO:<one@example.com>", "250 2.1.5");
    client_ask(fd, "DATA", "354");
    return fd;
}

#define MESSAGE "Subject: hi\r\n\r\nHello.\r\n"

/* A message, whole: the reply to it. */
static inline int client_mail(struct world *w, const char *expected)
{
    int fd = client_to_data(w);

    client_ask(fd, MESSAGE ".", expected);
    return fd;
}

#endif
