/* SPDX-License-Identifier: MIT */
/* A-OUT: the streams that come from the application (specification sections 3.3, 6.1, 6.2). */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/app_check.h"

/* A request with a word, and all that comes until its end and a little longer. */
static struct ferry__reply *get(struct ferry__conv *v, const char *word)
{
    ferry__conv_get(v, 1, 0, word);
    ferry__conv_send(v);
    ferry__conv_await(v, 1);
    while (v->end == 1 && ferry__conv_read(v, 300) == 1)
        ;
    return ferry__conv_reply(v, 1);
}

static void nothing_before_params(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, NULL, -1);
    ferry__conv_send(v);
    ferry__conv_quiet(v, "before the end of PARAMS");
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
}

static void byte_in_byte_out(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    const char *body = ferry__pattern(c, 10);

    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, "echo", 10);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    for (size_t i = 0; i < 10; i++) {
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, body + i, 1);
        ferry__conv_send(v);
        ferry__conv_await_out(v, 1, i + 1);
    }
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_body(v, 1, body, 10);
}

static void stdout_is_ended(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r = get(v, c->at->arg ? "none" : NULL);

    if (r->out_ends == 0)
        ferry_check_fail(c,
                         "expected an empty STDOUT record before END_REQUEST, but there is none");
    if (r->out_ends > 1)
        ferry_check_fail(c, "expected one empty STDOUT record, but there are %u", r->out_ends);
}

static void stderr_unused(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r = get(v, NULL);

    if (r->err_records)
        ferry_check_skip(c, "it writes to STDERR for a plain request");
    if (r->err_ends > 1)
        ferry_check_fail(c, "expected no STDERR record or a single empty one, but there are %u",
                         r->err_ends);
}

static void stderr_used(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r = get(v, "stderr&n=1000");

    if (r->err.len < 1000)
        ferry_check_fail(c, "expected 1000 bytes on STDERR, but %zu came", r->err.len);
    if (r->err_ends != 1)
        ferry_check_fail(c, "expected one empty STDERR record, but there are %u", r->err_ends);
}

/* "o0", "o1" ... in order and nothing else? */
static void in_order(struct ferry_check *c, struct ferry_slice text, char letter, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char want[16];
        int len = snprintf(want, sizeof want, "%c%u\n", letter, i);

        if (!ferry_slice_starts(text, ferry_slice(want, (size_t)len)))
            ferry_check_fail(c, "expected line %c%u on %s, but it is missing or out of order",
                             letter, i, letter == 'o' ? "STDOUT" : "STDERR");
        text = ferry_slice_from(text, (size_t)len);
    }
}

static void streams_mixed(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r = get(v, "mixed&n=200");

    in_order(c, ferry__reply_body(r), 'o', 200);
    in_order(c, ferry_slice(r->err.p, r->err.len), 'e', 200);
}

static void one_write(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    size_t n = (size_t)c->at->arg;
    char word[32];
    struct ferry__reply *r;

    snprintf(word, sizeof word, "size&n=%zu", n);
    ferry__conv_get(v, 1, 0, word);
    ferry__conv_send(v);
    r = ferry__conv_await_body(v, 1, ferry__pattern(c, n), n);
    if (r->out_late)
        ferry_check_fail(c,
                         "expected an empty STDOUT record at the end only, but %u records follow "
                         "one",
                         r->out_late);
}

static void empty_writes(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r = get(v, "empties");

    if (r->out_late)
        ferry_check_fail(c,
                         "expected that writing nothing sends no record, but an empty STDOUT "
                         "record came and %u behind it",
                         r->out_late);
    if (!ferry_slice_eq(ferry__reply_body(r), FERRY_SLICE("abc\n")))
        ferry_check_fail(c,
                         "expected the content written around empty writes, but it is otherwise");
}

static void no_status_line(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r = get(v, NULL);

    if (r->out.len >= 5 && memcmp(r->out.p, "HTTP/", 5) == 0)
        ferry_check_fail(c, "expected CGI headers, but STDOUT begins with an HTTP status line");
    if (ferry__reply_status(r) < 0)
        ferry_check_fail(c, "expected CGI headers and an empty line, but there are none");
}

static void nothing_late(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r = get(v, ferry__word_or_plain(c, FERRY__WORD_STDERR, "stderr&n=10"));

    if (c->at->arg == 0 && r->late)
        ferry_check_fail(c, "expected nothing behind END_REQUEST, but %u records came", r->late);
    if (c->at->arg == 1 && r->out_late + r->err_late)
        ferry_check_fail(c, "expected nothing behind the end of a stream, but %u records came",
                         r->out_late + r->err_late);
}

/* -- when it comes ---------------------------------------------------------------------------- */

static void flushed(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    uint64_t start = ferry_check_now(), first;

    ferry__conv_get(v, 1, 0, "slow&n=3&ms=250");
    ferry__conv_send(v);
    ferry__conv_await_out(v, 1, 2);
    first = ferry_check_now();
    if (ferry__conv_reply(v, 1)->ends || ferry__reply_body(ferry__conv_reply(v, 1)).len >= 6)
        ferry_check_fail(c, "expected the first line when it was flushed, but all came together");
    ferry__conv_await_good(v, 1);
    if (ferry_check_now() - first < 200)
        ferry_check_fail(c,
                         "expected lines 250 ms apart, but they came %u ms after the first, "
                         "which took %u",
                         (unsigned)(ferry_check_now() - first), (unsigned)(first - start));
}

static void coalesced(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__reply *r = get(v, "tiny&n=1000");

    if (ferry__reply_body(r).len != 1000)
        ferry_check_fail(c, "expected 1000 bytes, but %zu came", ferry__reply_body(r).len);
    if (r->out_records > 20)
        ferry_check_fail(c,
                         "expected that 1000 writes of a byte are gathered, but they came in %u "
                         "records",
                         r->out_records);
}

#define LARGE "size&n=33000000"

static void unread_answer(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c), *other;

    ferry__conv_get(v, 1, 0, LARGE);
    ferry__conv_send(v);
    usleep(200000);
    other = ferry__conv_open(c);
    ferry__conv_get(other, 1, 0, NULL);
    ferry__conv_send(other);
    ferry__conv_await_good(other, 1);
}

static void unread_answers_are_bounded(struct ferry_check *c)
{
    struct ferry__instance *in = &ferry__target(c)->main;
    long before = ferry__instance_rss(in), after;
    struct ferry__conv *v;

    for (int i = 0; i < 8; i++) {
        v = ferry__conv_open(c);
        ferry__conv_get(v, 1, 0, "slow&n=100000&ms=0");
        ferry__conv_send(v);
    }
    usleep(500000);
    after = ferry__instance_rss(in);
    if (after - before > 64 << 10)
        ferry_check_fail(c,
                         "expected that answers nobody reads are not kept, but the program grew "
                         "by %ld MiB",
                         (after - before) >> 10);
}

static void gone_in_the_middle(struct ferry_check *c)
{
    for (int i = 0; i < 3; i++) {
        struct ferry__conv *v = ferry__conv_open(c);

        ferry__conv_get(v, 1, 0, LARGE);
        ferry__conv_send(v);
        ferry__conv_await_out(v, 1, 1);
        if (i == 1)
            ferry_wire_reset(v->w);
        else
            ferry_wire_close(v->w);
    }
}

static void fair(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    size_t before;

    ferry__conv_get(v, 1, FERRY_KEEP_CONN, "size&n=16000000");
    ferry__conv_send(v);
    ferry__conv_await_out(v, 1, 1);
    ferry__conv_get(v, 2, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    before = ferry__conv_reply(v, 1)->out.len;
    ferry__conv_await_good(v, 2);
    if (ferry__conv_reply(v, 1)->ends)
        ferry_check_fail(c,
                         "expected the small answer before the end of the large one, but %zu "
                         "bytes came first",
                         ferry__conv_reply(v, 1)->out.len - before);
}

#define MUST FERRY_MUST
#define SIZE FERRY__WORD_SIZE

static const struct ferry_check_case cases[] = {
    {"A-OUT-1a", "6.2", MUST, "nothing comes before the end of PARAMS", 0, nothing_before_params,
     0},
    {"A-OUT-1b", "6.2", FERRY_SILENT, "a body can be answered byte by byte while it comes",
     FERRY__WORD_ECHO | FERRY__NEEDS_EARLY, byte_in_byte_out, 0},
    {"A-OUT-2a", "6.1", MUST, "STDOUT ends with one empty record", 0, stdout_is_ended, 0},
    {"A-OUT-2b", "6.1", MUST, "STDOUT ends with one empty record when nothing was written",
     FERRY__WORD_NONE, stdout_is_ended, 1},
    {"A-OUT-3a", "6.1", MUST, "STDERR that is not used has no record or an empty one", 0,
     stderr_unused, 0},
    {"A-OUT-3b", "6.1", MUST, "STDERR that is used ends with one empty record", FERRY__WORD_STDERR,
     stderr_used, 0},
    {"A-OUT-4", "6.1", MUST, "STDOUT and STDERR in turn each keep their order", FERRY__WORD_MIXED,
     streams_mixed, 0},
    {"A-OUT-5a", "3.3", MUST, "a write of 0 bytes of content", SIZE, one_write, 0},
    {"A-OUT-5b", "3.3", MUST, "a write of 65535 bytes", SIZE, one_write, 65535},
    {"A-OUT-5c", "3.3", MUST, "a write of 65536 bytes is cut", SIZE, one_write, 65536},
    {"A-OUT-5d", "3.3", MUST, "a write of 131070 bytes is cut", SIZE, one_write, 131070},
    {"A-OUT-5e", "3.3", MUST, "a write of 1 MiB is cut", SIZE, one_write, 1048576},
    {"A-OUT-5f", "3.3", MUST, "a write of nothing is no end of the stream", FERRY__WORD_EMPTIES,
     empty_writes, 0},
    {"A-OUT-6", "6.1", MUST, "an answer begins with CGI headers, not an HTTP status line", 0,
     no_status_line, 0},
    {"A-OUT-7a", "3.3", FERRY_INFERRED, "nothing comes behind END_REQUEST", 0, nothing_late, 0},
    {"A-OUT-7b", "3.3", FERRY_INFERRED, "nothing of a stream comes behind its end", 0, nothing_late,
     1},
    {"A-OUT-8a", "", FERRY_SILENT, "what is flushed comes at once", FERRY__WORD_SLOW, flushed, 0},
    {"A-OUT-8b", "", FERRY_SILENT, "small writes are gathered", FERRY__WORD_TINY, coalesced, 0},
    {"A-OUT-9a", "", FERRY_SILENT, "an answer nobody reads stops no other connection",
     SIZE | FERRY__NEEDS_CONNS, unread_answer, 0},
    {"A-OUT-9b", "", FERRY_SILENT, "answers nobody reads are not kept without a limit",
     FERRY__WORD_SLOW | FERRY__NEEDS_PROGRAM | FERRY__NEEDS_CONNS, unread_answers_are_bounded, 0},
    {"A-OUT-9c", "", FERRY_SILENT, "a web server that goes in the middle harms nobody else", SIZE,
     gone_in_the_middle, 0},
    {"A-OUT-10", "", FERRY_SILENT, "a large answer does not hold up a small one",
     SIZE | FERRY__NEEDS_MPX, fair, 0},
};

FERRY__GROUP(ferry__app_output, "A-OUT", "STDOUT and STDERR", cases);
