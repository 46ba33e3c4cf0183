/* SPDX-License-Identifier: MIT */
/*
 * Clients of tests/e2e/test_client.py, on the back end that FERRY_IO names:
 *
 *     client_tool cancel ADDRESS SCRIPT QUERY N    N exchanges, given up at any point of their
 * lives client_tool early ADDRESS                    one that is cancelled before it starts
 *     client_tool filter ADDRESS FILE              a file through a filter
 *     client_tool again ADDRESS SCRIPT QUERY N     N fetches, one after the other
 *
 * Each says on standard output what became of it.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ferry/client.h"

static struct ferry_client *client;
static struct ferry_loop *loop;

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "client_tool: %s\n", what);
    exit(2);
}

static enum ferry_io back_end(void)
{
    const char *io = getenv("FERRY_IO");

    return io && strcmp(io, "epoll") == 0   ? FERRY_IO_EPOLL
           : io && strcmp(io, "uring") == 0 ? FERRY_IO_URING
                                            : FERRY_IO_AUTO;
}

/* A turn of the loop that waits for at most so long. */
static void turn(int ms)
{
    struct pollfd p = {.fd = ferry_loop_fd(loop), .events = POLLIN};

    must(p.fd >= 0, "the loop has no descriptor");
    if (poll(&p, 1, ms) == 1)
        must(ferry_loop_step(loop) == 0, "the loop failed");
}

/* -- exchanges that are counted -- */

struct tally {
    unsigned long long out;
    unsigned over, results[16];
    char errors[200];
    struct ferry_outcome last;
};

static struct tally tally;

static void on_head(struct ferry_exchange *x)
{
    (void)x;
}

static void on_out(struct ferry_exchange *x, struct ferry_slice bytes)
{
    (void)x;
    tally.out += bytes.len;
}

static void on_errors(struct ferry_exchange *x, struct ferry_slice bytes)
{
    (void)x;
    snprintf(tally.errors, sizeof tally.errors, "%.*s", (int)bytes.len, bytes.p);
}

static void on_done(struct ferry_exchange *x, const struct ferry_outcome *outcome)
{
    tally.over++;
    tally.results[outcome->result]++;
    tally.last = *outcome;
    *(struct ferry_exchange **)ferry_exchange_user(x) = NULL;
    ferry_exchange_free(x);
}

/* `user`: where it is noted, until it is over. */
static struct ferry_exchange *make(enum ferry_role role, struct ferry_exchange **user)
{
    static const struct ferry_exchange_fns fns = {
        .head = on_head, .out = on_out, .errors = on_errors, .done = on_done};
    struct ferry_exchange_opts opts = {
        .size = sizeof opts, .fns = &fns, .user = user, .role = role};

    must(ferry_exchange_new(client, loop, &opts, user) == 0, "no exchange can be made");
    return *user;
}

static void get(struct ferry_exchange **x, const char *script, const char *query)
{
    make(FERRY_RESPONDER, x);
    must(ferry_exchange_param_z(*x, "SCRIPT_FILENAME", script) == 0 &&
             ferry_exchange_param_z(*x, "REQUEST_METHOD", "GET") == 0 &&
             ferry_exchange_param_z(*x, "QUERY_STRING", query) == 0,
         "no param can be added");
}

/* -- cancel -- */

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 4096; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static long resident_kib(void)
{
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    long kib = 0;

    must(f, "no /proc");
    while (fgets(line, sizeof line, f))
        sscanf(line, "VmRSS: %ld", &kib);
    fclose(f);
    return kib;
}

enum { BATCH = 20 };

static void cancel_batch(const char *script, const char *query, unsigned nth)
{
    struct ferry_exchange *x[BATCH];
    unsigned until = tally.over + BATCH;

    for (unsigned i = 0; i < BATCH; i++) {
        get(&x[i], script, query);
        ferry_exchange_end(x[i]);
        ferry_exchange_start(x[i]);
    }
    for (unsigned turns = nth % 4; turns > 0; turns--)
        turn(1);
    for (unsigned i = 0; i < BATCH; i++)
        if (x[i])
            ferry_exchange_cancel(x[i]);
    while (tally.over < until)
        turn(1000);
}

static int cancel(const char *script, const char *query, unsigned n)
{
    unsigned fds;
    long kib;

    for (unsigned i = 0; i < 50; i++) /* so that all that is kept for later is there */
        cancel_batch(script, query, i);
    fds = open_fds();
    kib = resident_kib();
    for (unsigned i = 50; i < 50 + n / BATCH; i++)
        cancel_batch(script, query, i);
    printf("%u cancelled, %u answered, %u others\n", tally.results[FERRY_RESULT_CANCELLED],
           tally.results[FERRY_RESULT_DONE],
           tally.over - tally.results[FERRY_RESULT_CANCELLED] - tally.results[FERRY_RESULT_DONE]);
    printf("%d descriptors more, %ld KiB more\n", (int)open_fds() - (int)fds, resident_kib() - kib);
    return 0;
}

/* -- the others -- */

static int early(void)
{
    struct ferry_exchange *x;

    get(&x, "/nowhere", "");
    ferry_exchange_cancel(x);
    ferry_exchange_start(x);
    while (!tally.over)
        turn(1000);
    printf("%s, %llu bytes, errors: %s\n", ferry_result_text(tally.last.result), tally.out,
           tally.errors);
    return 0;
}

static int filter(const char *file)
{
    struct ferry_exchange *x;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct rusage usage;
    char length[32];
    struct stat st;

    must(fd >= 0 && fstat(fd, &st) == 0, "no file");
    snprintf(length, sizeof length, "%lld", (long long)st.st_size);
    make(FERRY_FILTER, &x);
    must(ferry_exchange_param_z(x, "FCGI_DATA_LENGTH", length) == 0, "no param can be added");
    ferry_exchange_end(x);
    must(ferry_exchange_data_file(x, fd, 0, (uint64_t)st.st_size) == 0, "no data can be sent");
    ferry_exchange_start(x);
    while (!tally.over)
        turn(1000);
    getrusage(RUSAGE_SELF, &usage);
    printf("%s, %llu bytes, %ld KiB of memory\n", ferry_result_text(tally.last.result), tally.out,
           usage.ru_maxrss);
    return 0;
}

static int again(const char *script, const char *query, unsigned n)
{
    const struct ferry_param params[] = {
        {{"SCRIPT_FILENAME", 15}, {script, strlen(script)}},
        {{"QUERY_STRING", 12}, {query, strlen(query)}},
        FERRY_PARAM("REQUEST_METHOD", "GET"),
    };
    struct ferry_answer *answer;

    for (unsigned i = 0; i < n; i++) {
        must(ferry_client_fetch(client, &(struct ferry_fetch){.params = params, .nparams = 3},
                                &answer) == 0,
             "nothing can be fetched");
        printf("%s, %d, %.*s\n", ferry_result_text(answer->outcome.result), answer->head.status,
               (int)answer->body.len, answer->body.p);
        ferry_answer_free(answer);
    }
    return 0;
}

static unsigned number(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    must(*text && !*end && n < 1000000, "no such number");
    return (unsigned)n;
}

static void closed(void *arg)
{
    *(bool *)arg = true;
}

int main(int argc, char **argv)
{
    struct ferry_client_opts opts = {FERRY_CLIENT_OPTS_SIZE};
    bool is_closed = false;
    int status = 64;

    must(argc > 2, "no address");
    opts.address = argv[2];
    must(ferry_loop_new(back_end(), &loop) == 0, "no loop");
    must(ferry_client_new(&opts, &client) == 0, "no client");
    if (strcmp(argv[1], "cancel") == 0 && argc == 6)
        status = cancel(argv[3], argv[4], number(argv[5]));
    else if (strcmp(argv[1], "early") == 0)
        status = early();
    else if (strcmp(argv[1], "filter") == 0 && argc == 4)
        status = filter(argv[3]);
    else if (strcmp(argv[1], "again") == 0 && argc == 6)
        status = again(argv[3], argv[4], number(argv[5]));
    ferry_client_close(client, loop, closed, &is_closed);
    while (!is_closed)
        turn(1000);
    ferry_client_free(client);
    ferry_loop_free(loop);
    return status;
}
