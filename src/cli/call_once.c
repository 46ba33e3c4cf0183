/* SPDX-License-Identifier: MIT */
/*
 * `ferry call` of one request. The answer goes to stdout as it comes, what the application says on
 * its error stream to stderr, and what ferry says of it, to stderr too, begins with "ferry: ", or
 * with *, > and < where -v asked for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call/line.h"
#include "cgi/response.h"
#include "cli/call.h"
#include "cli/cli.h"
#include "trace/notation.h"

#define HEAD_MAX (256 << 10)
#define RECORD_TEXT_MAX 1024

struct once {
    struct ferry_cli_call *call;
    struct ferry_loop *loop;
    struct ferry_line line;
    struct ferry_notation *ours, *theirs;
    struct ferry_outcome outcome;

    char *head; /* what has come of it */
    size_t head_len, head_scanned;
    bool head_over;
    int status;
    const char *bad; /* what is wrong with the head */

    FILE *out; /* of the body; NULL until something goes there */
    int out_err;
    bool is_binary; /* and not for a terminal */
    bool has_begun;
    uint64_t body_len, errors_len;
    bool unknown; /* php-fpm has said that it does not find the script */
    bool in_line; /* of the error stream: its last line has no end yet */
};

static struct once *once_of(struct ferry_line *line)
{
    return ferry_container(line, struct once, line);
}

static double ms(uint64_t from_us, uint64_t to_us)
{
    return to_us > from_us ? (double)(to_us - from_us) / 1000 : 0;
}

/* -- stderr
 * ------------------------------------------------------------------------------------------------
 */

/* Ferry's own lines begin at the beginning of one: PHP ends none of its own. */
static void end_line(struct once *o)
{
    if (o->in_line)
        fputc('\n', stderr);
    o->in_line = false;
}

/* A line of -v; whatever it holds, it stays one line. */
static void note(struct once *o, char mark, const char *text, size_t len)
{
    char *copy;

    if (!o->call->verbose)
        return;
    copy = malloc(len + 1);
    if (!copy)
        return;
    memcpy(copy, text, len);
    ferry_cli_escape(copy, len);
    end_line(o);
    fprintf(stderr, "%c %.*s\n", mark, (int)len, copy);
    free(copy);
}

static void say(struct once *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct once *o, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    note(o, '*', text, strlen(text));
}

/* A terminal obeys what is written to it, so nothing of the application's gets there unseen. */
static void on_errors(struct ferry_line *line, struct ferry_slice s)
{
    struct once *o = once_of(line);
    char copy[512];

    o->errors_len += s.len;
    o->unknown |= memmem(s.p, s.len, "Primary script unknown", 22) != NULL;
    if (o->call->records || !s.len)
        return;
    o->in_line = s.p[s.len - 1] != '\n';
    if (!isatty(STDERR_FILENO)) {
        fwrite(s.p, 1, s.len, stderr);
        return;
    }
    for (size_t n; s.len; s = ferry_slice_from(s, n)) {
        n = s.len < sizeof copy ? s.len : sizeof copy;
        memcpy(copy, s.p, n);
        for (size_t i = 0; i < n; i++)
            if (((unsigned char)copy[i] < 0x20 && copy[i] != '\n' && copy[i] != '\t') ||
                copy[i] == 0x7f)
                copy[i] = '?';
        fwrite(copy, 1, n, stderr);
    }
}

/* -- the answer
 * ------------------------------------------------------------------------------------------------
 */

static void write_out(struct once *o, struct ferry_slice s)
{
    const char *to = o->call->output;

    o->has_begun = true;
    if (!to && s.len && memchr(s.p, 0, s.len) && isatty(STDOUT_FILENO))
        o->is_binary = true;
    if (o->out_err || o->is_binary)
        return;
    if (!o->out)
        o->out = !to || strcmp(to, "-") == 0 ? stdout : fopen(to, "we");
    if (!o->out || (s.len && fwrite(s.p, 1, s.len, o->out) < s.len) || fflush(o->out) != 0)
        o->out_err = -errno;
}

static bool shows_body(const struct once *o)
{
    return !(o->call->records && !o->call->output) && !o->call->draft.head &&
           !(o->call->fail && o->status >= 400);
}

static void body(struct once *o, struct ferry_slice s)
{
    o->body_len += s.len;
    if (s.len && shows_body(o))
        write_out(o, s);
}

static void show_head(struct once *o, struct ferry_slice block)
{
    if ((o->call->include || o->call->draft.head) && !(o->call->records && !o->call->output))
        write_out(o, block);
    while (block.len) {
        size_t end = ferry_slice_find(block, '\n');
        struct ferry_slice line = ferry_slice_first(block, end);

        if (line.len && line.p[line.len - 1] == '\r')
            line.len--;
        note(o, '<', line.p, line.len);
        block = ferry_slice_from(block, end + 1);
    }
}

/* Head blocks at the front of what has come: interim ones, and the last. */
static void read_head(struct once *o)
{
    struct ferry_cgi_response response;
    ssize_t n = 1;

    while (!o->head_over && !o->bad && n > 0) {
        n = ferry_cgi_response_parse(o->head, o->head_len, HEAD_MAX, &o->head_scanned, &response,
                                     &o->bad);
        if (n <= 0)
            break;
        o->bad = NULL;
        o->status = response.status;
        o->head_over = response.status >= 200;
        show_head(o, ferry_slice(o->head, (size_t)n));
        o->head_len -= (size_t)n;
        memmove(o->head, o->head + n, o->head_len);
        o->head_scanned = 0;
    }
    if (n < 0 && !o->bad)
        o->bad = ferry_strerror((int)n);
    /* It is shown as it is: to see what is wrong with it. */
    if (o->bad && o->call->include && !o->call->records)
        write_out(o, ferry_slice(o->head, o->head_len));
    if (o->head_over)
        body(o, ferry_slice(o->head, o->head_len));
}

static void on_out(struct ferry_line *line, struct ferry_slice s)
{
    struct once *o = once_of(line);
    char *grown;

    if (o->head_over) {
        body(o, s);
    } else if (o->bad) {
        if (o->call->include && !o->call->records)
            write_out(o, s);
    } else {
        grown = realloc(o->head, o->head_len + s.len);
        if (!grown) {
            o->bad = "no memory is left for it";
            return;
        }
        memcpy(grown + o->head_len, s.p, s.len);
        o->head = grown;
        o->head_len += s.len;
        read_head(o);
    }
}

/* -- on the way
 * ------------------------------------------------------------------------------------------------
 */

static void on_connected(struct ferry_line *line)
{
    struct once *o = once_of(line);
    const struct ferry_draft *d = &o->call->draft;
    char text[1024];

    say(o, "connected to %s after %.2f ms", o->call->address,
        ms(line->asked_us, line->connected_us));
    for (size_t i = 0; i < d->nparams; i++) {
        const struct ferry_param *p = &d->params[i];
        int n = snprintf(text, sizeof text, "%.*s = %.*s", (int)p->name.len, p->name.p,
                         p->value.len > 800 ? 800 : (int)p->value.len, p->value.p);

        note(o, '>', text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
    }
    if (d->body.len)
        say(o, "a body of %llu bytes", (unsigned long long)d->body.len);
    if (d->role == FERRY_FILTER)
        say(o, "a DATA stream of %llu bytes", (unsigned long long)d->data.len);
}

static void on_tap(struct ferry_line *line, bool ours, struct ferry_slice s)
{
    struct once *o = once_of(line);

    if (ferry_notation_bytes(ours ? o->ours : o->theirs, s.p, s.len, stdout) == -ENOMEM)
        o->out_err = -ENOMEM;
    fflush(stdout);
}

static void on_values(struct ferry_line *line, const struct ferry_conn_values *v)
{
    struct once *o = once_of(line);
    const struct {
        const char *name;
        int64_t value;
    } all[] = {{"FCGI_MAX_CONNS", v ? v->max_conns : -1},
               {"FCGI_MAX_REQS", v ? v->max_reqs : -1},
               {"FCGI_MPXS_CONNS", v ? v->mpxs_conns : -1}};

    if (!v)
        ferry_cli_say("%s does not know GET_VALUES", o->call->address);
    o->has_begun = v != NULL;
    for (size_t i = 0; v && !o->call->records && i < sizeof all / sizeof *all; i++)
        if (all[i].value >= 0)
            printf("%s = %lld\n", all[i].name, (long long)all[i].value);
        else
            printf("%s: not said\n", all[i].name);
}

static void on_done(struct ferry_line *line, const struct ferry_outcome *outcome)
{
    struct once *o = once_of(line);

    o->outcome = *outcome;
    ferry_line_close(line);
}

static void on_closed(struct ferry_line *line)
{
    ferry_loop_stop(once_of(line)->loop);
}

/* -- the end
 * ------------------------------------------------------------------------------------------------
 */

static void tell_times(struct once *o)
{
    const struct ferry_line *l = &o->line;
    const char *status = ferry_protocol_status_name((unsigned)o->outcome.protocol_status);

    if (o->outcome.protocol_status >= 0)
        say(o, "app status %u, %s", o->outcome.app_status, status ? status : "an unknown status");
    say(o, "status %d, a body of %llu bytes, %llu bytes of errors", o->status,
        (unsigned long long)o->body_len, (unsigned long long)o->errors_len);
    say(o, "%.2f ms until connected, %.2f ms until the first byte, %.2f ms in all",
        ms(l->asked_us, l->connected_us), ms(l->asked_us, l->first_us),
        ms(l->asked_us, l->done_us));
    say(o, "%llu bytes sent, %llu received", (unsigned long long)l->sent,
        (unsigned long long)l->received);
}

static int fail(const struct once *o, const char *what, const char *why)
{
    if (!o->call->silent)
        ferry_cli_say("%s%s%s", what, *why ? ": " : "", why);
    return FERRY_EXIT_FAILED;
}

/* Mostly the file is there, but not for php-fpm. */
static void tell_unknown(const struct ferry_cli_call *call)
{
    struct ferry_slice script = ferry_draft_value(&call->draft, "SCRIPT_FILENAME");

    ferry_cli_say("php-fpm finds no script %.*s: it looks for it in its own file system (another "
                  "container, a chroot) and as its own user; -e SCRIPT_FILENAME=... names another",
                  (int)script.len, script.p);
}

static int judge(struct once *o)
{
    const struct ferry_cli_call *call = o->call;
    char text[64];

    if (o->out_err)
        return fail(o, call->output ? call->output : "the answer cannot be written",
                    ferry_strerror(o->out_err));
    if (o->is_binary)
        return fail(o, "the answer is binary and could upset the terminal",
                    "-o FILE keeps it, and -o - shows it all the same");
    if (o->unknown && !call->silent)
        tell_unknown(call);
    if (o->outcome.result != FERRY_RESULT_DONE) {
        ferry_cli_call_failed(call, &o->outcome);
        return FERRY_EXIT_FAILED;
    }
    if (!o->head_over && !o->bad)
        o->bad = o->head_len ? "its head does not end" : "it is empty";
    if (o->bad) {
        snprintf(text, sizeof text, "the answer (app status %u) is no CGI response",
                 o->outcome.app_status);
        return fail(o, text, o->bad);
    }
    if (call->fail && o->status >= 400) {
        snprintf(text, sizeof text, "the application answered with status %d", o->status);
        return fail(o, text, "");
    }
    if (call->app_status && o->outcome.app_status)
        return o->outcome.app_status & 255 ? (int)(o->outcome.app_status & 255) : FERRY_EXIT_FAILED;
    return FERRY_EXIT_OK;
}

static int finish(struct once *o)
{
    int code;

    /* An answer without a body leaves an empty file, as one with a body a full one. */
    if (o->outcome.result == FERRY_RESULT_DONE && o->call->output && !o->out && o->head_over &&
        shows_body(o))
        write_out(o, FERRY_SLICE(""));
    if (o->out && o->out != stdout && fclose(o->out) != 0 && !o->out_err)
        o->out_err = -errno;
    if (o->ours) {
        ferry_notation_end(o->ours, stdout);
        ferry_notation_end(o->theirs, stdout);
    }
    tell_times(o);
    end_line(o);
    code = judge(o);
    return ferry_cli_written() ? FERRY_EXIT_FAILED : code;
}

static int start_records(struct once *o)
{
    struct ferry_notation_opts ours = {.speaker = "Web server", .text_max = RECORD_TEXT_MAX};
    struct ferry_notation_opts theirs = {.speaker = "Application", .text_max = RECORD_TEXT_MAX};

    if (!o->call->records)
        return 0;
    o->ours = ferry_notation_new(&ours);
    o->theirs = ferry_notation_new(&theirs);
    return o->ours && o->theirs ? 0 : -ENOMEM;
}

static int run(struct once *o, bool values)
{
    struct ferry_line_fns fns = {
        .connected = on_connected,
        .out = on_out,
        .errors = on_errors,
        .values = on_values,
        .done = on_done,
        .closed = on_closed,
    };
    struct ferry_line_request request = {
        .image = o->call->draft.image,
        .body = &o->call->draft.body,
        .data = o->call->draft.role == FERRY_FILTER ? &o->call->draft.data : NULL,
    };
    int err = ferry_loop_new(o->call->io, &o->loop);

    if (err == 0)
        err = start_records(o);
    if (err == 0) {
        fns.tap = o->ours ? on_tap : NULL;
        o->line.loop = o->loop;
        o->line.fns = &fns;
        o->line.addr = o->call->addr;
        o->line.connect_ms = o->call->connect_ms;
        o->line.total_ms = o->call->total_ms;
        if (values)
            ferry_line_values(&o->line);
        else
            ferry_line_ask(&o->line, &request);
        err = ferry_loop_run(o->loop);
    }
    if (err < 0)
        fail(o, "the event loop", ferry_strerror(err));
    return err;
}

static void release(struct once *o)
{
    ferry_loop_free(o->loop);
    ferry_notation_free(o->ours);
    ferry_notation_free(o->theirs);
    free(o->head);
}

int ferry_cli_call_once(struct ferry_cli_call *call)
{
    struct once o = {.call = call};
    int code = run(&o, false) < 0 ? FERRY_EXIT_FAILED : finish(&o);

    release(&o);
    return code;
}

int ferry_cli_call_values(struct ferry_cli_call *call)
{
    struct once o = {.call = call};
    int code = FERRY_EXIT_FAILED;

    if (!call->total_ms) /* some applications leave it without an answer */
        call->total_ms = 5000;
    if (run(&o, true) == 0) {
        if (o.outcome.result == FERRY_RESULT_TIMEOUT)
            fail(&o, call->address, "GET_VALUES is not answered; libfcgi and PHP do answer it");
        else if (o.outcome.result != FERRY_RESULT_DONE)
            ferry_cli_call_failed(call, &o.outcome);
        else if (o.has_begun)
            code = ferry_cli_written();
    }
    release(&o);
    return code;
}
