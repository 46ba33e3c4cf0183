/* SPDX-License-Identifier: MIT */
/*
 * `ferry call --repeat`: the same request many times over, a few lines at once, each asking again
 * when its answer is complete. Latency is counted from the asking to END_REQUEST, connecting
 * included.
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "call/histogram.h"
#include "call/line.h"
#include "cgi/response.h"
#include "cli/call.h"
#include "cli/cli.h"

#define HEAD_MAX (64 << 10)
#define PROGRESS_MS 100
#define ROWS_MAX 24
#define BAR 40
#define STATUS_MAX 600

#define RESULTS (sizeof results / sizeof *results)
static const char *const results[] = {
#define X(name, status, text) [FERRY_RESULT_##name] = text,
    FERRY_RESULT_MAP(X)
#undef X
};

struct load {
    struct ferry_cli_call *call;
    struct ferry_loop *loop;
    struct lane *lanes;
    struct ferry_line_request request;
    struct ferry_timer progress;
    uint64_t started, ended, open; /* requests; lanes that are not closed */
    uint64_t start_us, end_us;
    struct ferry_histogram latency; /* of answers, in microseconds */
    uint64_t statuses[STATUS_MAX];
    uint64_t failed[RESULTS];
    struct ferry_outcome last[RESULTS];  /* of each kind */
    uint64_t body, errors, app_statuses; /* bytes; answers with one that is not 0 */
    uint64_t sent, received, connects, again;
    bool shows_progress;
};

struct lane {
    struct ferry_line line;
    struct load *load;
    char *head;
    size_t head_len, head_scanned;
    int status; /* 0: the head is not over; -1: it is none */
};

static struct load *the_load; /* for the signal */
static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
    if (the_load)
        ferry_loop_stop(the_load->loop);
}

static struct lane *lane_of(struct ferry_line *line)
{
    return ferry_container(line, struct lane, line);
}

/* -- answers
 * ------------------------------------------------------------------------------------------------
 */

static void on_out(struct ferry_line *line, struct ferry_slice s)
{
    struct lane *lane = lane_of(line);
    struct ferry_cgi_response response;
    const char *why;
    ssize_t n = 1;
    char *grown;

    lane->load->body += s.len;
    if (lane->status)
        return;
    grown = realloc(lane->head, lane->head_len + s.len);
    if (!grown) {
        lane->status = -1;
        return;
    }
    memcpy(grown + lane->head_len, s.p, s.len);
    lane->head = grown;
    lane->head_len += s.len;
    while (lane->status == 0 && n > 0) {
        n = ferry_cgi_response_parse(lane->head, lane->head_len, HEAD_MAX, &lane->head_scanned,
                                     &response, &why);
        if (n < 0) {
            lane->status = -1;
        } else if (n > 0) {
            lane->load->body -= (uint64_t)n;
            lane->status = response.status >= 200 ? response.status : 0;
            lane->head_len -= (size_t)n;
            memmove(lane->head, lane->head + n, lane->head_len);
            lane->head_scanned = 0;
        }
    }
}

static void on_errors(struct ferry_line *line, struct ferry_slice s)
{
    lane_of(line)->load->errors += s.len;
}

static void ask(struct lane *lane)
{
    lane->head_len = lane->head_scanned = 0;
    lane->status = 0;
    lane->load->started++;
    ferry_line_ask(&lane->line, &lane->load->request);
}

static void on_done(struct ferry_line *line, const struct ferry_outcome *outcome)
{
    struct lane *lane = lane_of(line);
    struct load *l = lane->load;
    enum ferry_result result = outcome->result;

    if (result == FERRY_RESULT_DONE && lane->status <= 0)
        result = FERRY_RESULT_BAD;
    if (result == FERRY_RESULT_DONE) {
        l->statuses[lane->status]++;
        l->app_statuses += outcome->app_status != 0;
        ferry_histogram_add(&l->latency, line->done_us - line->asked_us);
    } else {
        l->failed[result]++;
        l->last[result] = *outcome;
    }
    l->ended++;
    if (l->started < l->call->repeat)
        ask(lane);
    else
        ferry_line_close(line);
}

static void on_closed(struct ferry_line *line)
{
    struct lane *lane = lane_of(line);
    struct load *l = lane->load;

    l->sent += line->sent;
    l->received += line->received;
    l->connects += line->connects;
    l->again += line->again;
    if (--l->open == 0)
        ferry_loop_stop(l->loop);
}

static const struct ferry_line_fns fns = {
    .out = on_out,
    .errors = on_errors,
    .done = on_done,
    .closed = on_closed,
};

/* -- while it runs
 * ------------------------------------------------------------------------------------------------
 */

static uint64_t failures(const struct load *l)
{
    uint64_t n = 0;

    for (size_t i = 0; i < RESULTS; i++)
        n += l->failed[i];
    return n;
}

static double seconds(const struct load *l, uint64_t until_us)
{
    return until_us > l->start_us ? (double)(until_us - l->start_us) / 1e6 : 1e-6;
}

/* "740 us", "1.24 ms", "12.3 s" */
static const char *duration(uint64_t us, char *out, size_t cap)
{
    double ms = (double)us / 1000;

    if (us < 1000)
        snprintf(out, cap, "%u us", (unsigned)us);
    else if (us < 1000000)
        snprintf(out, cap, ms < 10 ? "%.2f ms" : ms < 100 ? "%.1f ms" : "%.0f ms", ms);
    else
        snprintf(out, cap, ms < 100000 ? "%.2f s" : "%.1f s", ms / 1000);
    return out;
}

static void on_progress(struct ferry_timer *t)
{
    struct load *l = ferry_container(t, struct load, progress);
    char p50[24], p99[24];

    fprintf(stderr, "\r%llu of %llu, %.0f/s, median %s, p99 %s, %llu failed\033[K",
            (unsigned long long)l->ended, l->call->repeat,
            (double)l->ended / seconds(l, ferry_now_us()),
            duration(ferry_histogram_at(&l->latency, 0.5), p50, sizeof p50),
            duration(ferry_histogram_at(&l->latency, 0.99), p99, sizeof p99),
            (unsigned long long)failures(l));
    fflush(stderr);
    ferry_timer_set(l->loop, t, ferry_loop_now(l->loop) + PROGRESS_MS);
}

static void stop_progress(struct load *l)
{
    if (!l->shows_progress)
        return;
    ferry_timer_stop(&l->progress);
    fputs("\r\033[K", stderr);
}

/* -- the report
 * ------------------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    double share;
} percentiles[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p99.9", .999}, {"max", 1}};

#define PERCENTILES (sizeof percentiles / sizeof *percentiles)

static void print_histogram(const struct ferry_histogram *h)
{
    struct ferry_histogram_row rows[ROWS_MAX];
    unsigned n = ferry_histogram_rows(h, rows, ROWS_MAX);
    uint64_t most = 1;
    char from[24], to[24];

    for (unsigned i = 0; i < n; i++)
        most = rows[i].count > most ? rows[i].count : most;
    for (unsigned i = 0; i < n; i++) {
        int bar = (int)((rows[i].count * BAR + most - 1) / most);

        printf("  %8s to %8s  %-*.*s  %llu\n", duration(rows[i].from, from, sizeof from),
               duration(rows[i].to, to, sizeof to), BAR, bar,
               "########################################", (unsigned long long)rows[i].count);
    }
}

static void print_failures(const struct load *l)
{
    for (size_t i = 0; i < RESULTS; i++) {
        const struct ferry_outcome *o = &l->last[i];

        if (!l->failed[i])
            continue;
        printf("failed      %llu: %s%s%s%s\n", (unsigned long long)l->failed[i], results[i],
               o->err ? " (" : "", o->err ? ferry_strerror(o->err) : "", o->err ? ")" : "");
    }
}

static void print_report(const struct load *l)
{
    const struct ferry_histogram *h = &l->latency;
    double time = seconds(l, l->end_us);
    char text[24];
    const char *comma = "";

    printf("requests    %llu in %s, %llu at once: %.0f/s\n", (unsigned long long)l->ended,
           duration((uint64_t)(time * 1e6), text, sizeof text), l->call->parallel,
           (double)l->ended / time);
    printf("connections %llu", (unsigned long long)l->connects);
    if (l->again)
        printf(", closed %llu times under a request, which was sent again",
               (unsigned long long)l->again);
    printf("\nbytes       %llu sent, %llu received (%.1f MB/s)\n", (unsigned long long)l->sent,
           (unsigned long long)l->received, (double)l->received / time / 1e6);
    if (h->n) {
        printf("status      ");
        for (int i = 0; i < STATUS_MAX; i++)
            if (l->statuses[i]) {
                printf("%s%d: %llu", comma, i, (unsigned long long)l->statuses[i]);
                comma = ", ";
            }
        printf("\n");
    }
    print_failures(l);
    if (l->app_statuses)
        printf("app status  not 0: %llu\n", (unsigned long long)l->app_statuses);
    if (l->errors)
        printf("errors      %llu bytes on the error stream\n", (unsigned long long)l->errors);
    if (!h->n)
        return;
    printf("latency     min %s", duration(h->min, text, sizeof text));
    printf(", mean %s", duration((uint64_t)ferry_histogram_mean(h), text, sizeof text));
    for (size_t i = 0; i < PERCENTILES; i++)
        printf(", %s %s", percentiles[i].name,
               duration(ferry_histogram_at(h, percentiles[i].share), text, sizeof text));
    printf("\n\n");
    print_histogram(h);
}

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *latency_json(const struct ferry_histogram *h)
{
    struct ferry_histogram_row rows[ROWS_MAX];
    unsigned n = ferry_histogram_rows(h, rows, ROWS_MAX);
    json_t *all = json_object(), *list = json_array();

    json_object_set_new(all, "min", number(h->n ? h->min : 0));
    json_object_set_new(all, "mean", json_real(ferry_histogram_mean(h)));
    for (size_t i = 0; i < PERCENTILES; i++)
        json_object_set_new(all, percentiles[i].name,
                            number(ferry_histogram_at(h, percentiles[i].share)));
    for (unsigned i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{sososo}", "from", number(rows[i].from), "to",
                                              number(rows[i].to), "count", number(rows[i].count)));
    json_object_set_new(all, "histogram", list);
    return all;
}

static void print_json(const struct load *l)
{
    double time = seconds(l, l->end_us);
    json_t *statuses = json_object(), *failed = json_object(), *all;
    char name[16];

    for (int i = 0; i < STATUS_MAX; i++)
        if (l->statuses[i]) {
            snprintf(name, sizeof name, "%d", i);
            json_object_set_new(statuses, name, number(l->statuses[i]));
        }
    for (size_t i = 0; i < RESULTS; i++)
        if (l->failed[i])
            json_object_set_new(failed, results[i], number(l->failed[i]));
    all = json_pack("{so so sf sf so so so so so so so so so}", "requests", number(l->ended),
                    "parallel", number(l->call->parallel), "seconds", time, "per_second",
                    (double)l->ended / time, "connections", number(l->connects), "sent_again",
                    number(l->again), "bytes_sent", number(l->sent), "bytes_received",
                    number(l->received), "body_bytes", number(l->body), "error_bytes",
                    number(l->errors), "statuses", statuses, "failed", failed, "latency_us",
                    latency_json(&l->latency));
    if (!all || json_dumpf(all, stdout, JSON_INDENT(2)) < 0)
        ferry_cli_say("the report cannot be written");
    putchar('\n');
    json_decref(all);
}

/* -- the run
 * ------------------------------------------------------------------------------------------------
 */

static void start(struct load *l)
{
    l->start_us = ferry_now_us();
    for (unsigned i = 0; i < l->call->parallel; i++) {
        struct lane *lane = &l->lanes[i];

        lane->load = l;
        lane->line.loop = l->loop;
        lane->line.fns = &fns;
        lane->line.addr = l->call->addr;
        lane->line.connect_ms = l->call->connect_ms;
        lane->line.total_ms = l->call->total_ms;
        lane->line.keep = l->call->keep;
        l->open++;
        ask(lane);
    }
    if (l->shows_progress) {
        ferry_timer_init(&l->progress, on_progress);
        ferry_timer_set(l->loop, &l->progress, ferry_loop_now(l->loop) + PROGRESS_MS);
    }
}

static void close_all(struct load *l)
{
    for (unsigned i = 0; i < l->call->parallel; i++)
        if (!l->lanes[i].line.ended)
            ferry_line_close(&l->lanes[i].line);
}

static int run(struct load *l)
{
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    struct rlimit files;
    int err;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files); /* else connections are refused, which is told */
    }
    the_load = l;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    start(l);
    err = ferry_loop_run(l->loop);
    l->end_us = ferry_now_us();
    stop_progress(l);
    if (err == 0 && l->open > 0) { /* interrupted */
        close_all(l);
        err = ferry_loop_run(l->loop);
    }
    the_load = NULL;
    return err;
}

static int report(const struct load *l)
{
    uint64_t bad = failures(l);

    if (l->call->report_json)
        print_json(l);
    else
        print_report(l);
    if (interrupted && !l->call->silent)
        ferry_cli_say("interrupted after %llu of %llu requests", (unsigned long long)l->ended,
                      l->call->repeat);
    for (int i = 400; l->call->fail && i < STATUS_MAX; i++)
        bad += l->statuses[i];
    /* All failed in one way: what is to be done about that is worth more than a number. */
    if (bad && !l->latency.n)
        for (size_t i = 0; i < RESULTS; i++)
            if (l->failed[i] == l->ended && l->last[i].result != FERRY_RESULT_DONE)
                ferry_cli_call_failed(l->call, &l->last[i]);
    return ferry_cli_written() || bad || interrupted ? FERRY_EXIT_FAILED : FERRY_EXIT_OK;
}

int ferry_cli_call_load(struct ferry_cli_call *call)
{
    struct load *l = calloc(1, sizeof *l);
    int err = -ENOMEM, code = FERRY_EXIT_FAILED;

    if (l) {
        l->call = call;
        l->shows_progress = !call->silent && !call->report_json && isatty(STDERR_FILENO);
        l->request.image = call->draft.image;
        l->request.body = &call->draft.body;
        l->request.data = call->draft.role == FERRY_FILTER ? &call->draft.data : NULL;
        l->lanes = calloc(call->parallel, sizeof *l->lanes);
        err = l->lanes ? ferry_loop_new(call->io, &l->loop) : -ENOMEM;
    }
    if (err == 0)
        err = run(l);
    if (err < 0)
        ferry_cli_say("the event loop: %s", ferry_strerror(err));
    else
        code = report(l);
    if (l) {
        for (unsigned i = 0; l->lanes && i < call->parallel; i++)
            free(l->lanes[i].head);
        ferry_loop_free(l->loop);
        free(l->lanes);
    }
    free(l);
    return code;
}
