/* SPDX-License-Identifier: MIT */
#include "io/ping.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "loops.h"

/* An application that has its answer ready, whatever it is asked. */
struct script {
    const char *bytes; /* of the answer; NULL: none */
    size_t len;
    bool stays; /* keeps the connection open behind it */
};

#define RECORD(type, id, len) "\1" type "\0" id "\0" len "\0\0"
#define END_OK RECORD("\3", "\1", "\10") "\0\0\0\0\0\0\0\0"
#define ANSWER(text)                                                                               \
    {                                                                                              \
        text, sizeof(text) - 1, true                                                               \
    }
#define AND_CLOSE(text)                                                                            \
    {                                                                                              \
        text, sizeof(text) - 1, false                                                              \
    }

struct asked {
    struct ferry__ping ping;
    struct ferry_loop *loop;
    int err;
    unsigned done;
    char why[96];
};

static void on_done(struct ferry__ping *p, int err, const char *why)
{
    struct asked *a = ferry_container(p, struct asked, ping);

    a->done++;
    a->err = err;
    snprintf(a->why, sizeof a->why, "%s", why);
    ferry_loop_stop(a->loop);
}

static int listen_somewhere(struct ferry_addr *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(a, 0, sizeof *a);
    a->un.sun_family = AF_UNIX;
    assert_int_equal(bind(fd, &a->any, sizeof a->un.sun_family), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(ferry_addr_local(fd, a), 0);
    return fd;
}

/* Plays the script in a process of its own; what it was asked goes to `heard`. */
static pid_t play(int listener, const struct script *s, int heard)
{
    pid_t pid = fork();
    char bytes[4096];
    ssize_t n;
    int fd;

    if (pid)
        return pid;
    alarm(30);
    fd = accept(listener, NULL, NULL);
    n = read(fd, bytes, sizeof bytes);
    if (n > 0 && write(heard, bytes, (size_t)n) == n && s->bytes)
        (void)!write(fd, s->bytes, s->len);
    while (s->stays && read(fd, bytes, sizeof bytes) > 0)
        ;
    _exit(0);
}

static void ask(struct asked *a, void **state, const struct script *s,
                const struct ferry__ping_opts *opts, char *heard, size_t cap)
{
    struct ferry__ping_opts o = *opts;
    struct ferry_addr addr;
    int listener = listen_somewhere(&addr), ends[2];
    ssize_t n;
    pid_t pid;

    memset(a, 0, sizeof *a);
    a->loop = loop_for(state);
    a->ping.done = on_done;
    assert_int_equal(pipe(ends), 0);
    pid = play(listener, s, ends[1]);
    close(ends[1]);
    o.addr = &addr;
    assert_int_equal(ferry__ping_start(a->loop, &a->ping, &o), 0);
    assert_int_equal(a->done, 0);
    run(a->loop);
    assert_int_equal(a->done, 1);
    n = read(ends[0], heard, cap);
    assert_true(n >= 0);
    memset(heard + n, 0, cap - (size_t)n);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(ends[0]);
    close(listener);
    ferry_loop_free(a->loop);
}

static void values(void **state)
{
    static const struct {
        struct script s;
        int err;
    } cases[] = {
        {ANSWER(RECORD("\12", "\0", "\0")), 0},                      /* GET_VALUES_RESULT */
        {ANSWER(RECORD("\13", "\0", "\10") "\11\0\0\0\0\0\0\0"), 0}, /* UNKNOWN_TYPE */
        {AND_CLOSE(""), FERRY_ECUT},
        {AND_CLOSE("\1\12\0"), FERRY_ECUT},
        {ANSWER("HTTP/1.1 400 Bad Request\r\n\r\n"), FERRY_EPROTOCOL},
        {{NULL, 0, true}, -ETIMEDOUT},
    };
    struct ferry__ping_opts o = {.timeout_ms = 20000};
    struct asked a;
    char heard[4096];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.timeout_ms = cases[i].err == -ETIMEDOUT ? 100 : 20000;
        ask(&a, state, &cases[i].s, &o, heard, sizeof heard);
        assert_int_equal(a.err, cases[i].err);
        assert_int_equal(a.why[0] != 0, a.err != 0);
        assert_memory_equal(heard, "\1\11\0\0", 4); /* GET_VALUES, of no request */
    }
}

#define OUT(len, text) RECORD("\6", "\1", len) text

static void requests(void **state)
{
    static const struct {
        struct script s;
        int err;
        const char *why;
    } cases[] = {
        {ANSWER(OUT("\13", "A: b\r\n\r\nyes") END_OK), 0, ""},
        {ANSWER(OUT("\17", "Status: 404\r\n\r\n") END_OK), 0, ""},
        {ANSWER(OUT("\17", "Status: 503\r\n\r\n") END_OK), FERRY_EREMOTE,
         "it answered with status 503"},
        {ANSWER(OUT("\4", "no c") END_OK), FERRY_EREMOTE, "its answer has no header block"},
        {ANSWER(END_OK), FERRY_EREMOTE, "its answer has no header block"},
        {ANSWER(OUT("\11", "nonsense\n") OUT("\1", "\n") END_OK), FERRY_EREMOTE, NULL},
        {ANSWER(RECORD("\3", "\1", "\10") "\0\0\0\0\2\0\0\0"), FERRY_EREMOTE,
         "it refused the request"}, /* OVERLOADED */
        {AND_CLOSE(OUT("\10", "A: b\r\n\r\n")), FERRY_ECUT, NULL},
        {{NULL, 0, true}, -ETIMEDOUT, "it did not answer in time"},
    };
    struct ferry__ping_opts o = {.script = "/srv/www/ping.php", .uri = "/ping?x=1"};
    struct asked a;
    char heard[4096];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.timeout_ms = cases[i].err == -ETIMEDOUT ? 100 : 20000;
        ask(&a, state, &cases[i].s, &o, heard, sizeof heard);
        assert_int_equal(a.err, cases[i].err);
        if (cases[i].why)
            assert_string_equal(a.why, cases[i].why);
        assert_memory_equal(heard, "\1\1\0\1", 4);
        for (size_t n = 0; n < 2; n++) {
            const char *want =
                n ? "\14\3QUERY_STRINGx=1" : "\17\21SCRIPT_FILENAME/srv/www/ping.php";

            assert_non_null(memmem(heard, sizeof heard, want, strlen(want)));
        }
    }
}

static void nobody_there(void **state)
{
    struct ferry__ping_opts o = {.timeout_ms = 20000};
    struct ferry_addr addr;
    struct asked a = {.loop = loop_for(state), .ping.done = on_done};

    close(listen_somewhere(&addr));
    o.addr = &addr;
    assert_int_equal(ferry__ping_start(a.loop, &a.ping, &o), 0);
    run(a.loop);
    assert_int_equal(a.err, -ECONNREFUSED);
    ferry_loop_free(a.loop);
}

static void it_can_be_cancelled(void **state)
{
    struct ferry__ping_opts o = {.timeout_ms = 20000};
    struct ferry_addr addr;
    int listener = listen_somewhere(&addr);
    struct asked a = {.loop = loop_for(state), .ping.done = on_done};

    o.addr = &addr;
    assert_int_equal(ferry__ping_start(a.loop, &a.ping, &o), 0);
    ferry__ping_cancel(&a.ping);
    ferry__ping_cancel(&a.ping);
    assert_int_equal(a.done, 0);
    run(a.loop);
    assert_int_equal(a.done, 1);
    assert_int_equal(a.err, -ECANCELED);
    close(listener);
    ferry_loop_free(a.loop);
}

static void scenario(void *arg)
{
    struct ferry__ping_opts o = {.timeout_ms = 100, .script = "/x"};
    struct ferry_addr addr;
    int listener = listen_somewhere(&addr);
    struct asked a = {.ping.done = on_done};

    (void)arg;
    o.addr = &addr;
    if (ferry_loop_new(FERRY_IO_EPOLL, &a.loop) == 0) {
        if (ferry__ping_start(a.loop, &a.ping, &o) == 0) {
            run(a.loop);
            assert_int_equal(a.done, 1);
        }
        ferry_loop_free(a.loop);
    }
    close(listener);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    each_alloc_fails(scenario, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(values),
        on_both(requests),
        on_both(nobody_there),
        on_both(it_can_be_cancelled),
        cmocka_unit_test(memory_may_run_out),
    };

    alarm(100);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
