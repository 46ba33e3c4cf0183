/* SPDX-License-Identifier: MIT */
/* A-FRM: records, however they are cut, padded and grouped (specification section 3.3). */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/app_check.h"

#define PAUSE_US 300 /* so that pieces arrive one by one, most of the time */

/* -- cut and grouped -------------------------------------------------------------------------- */

static void byte_by_byte(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_echo(v, 1, 0, "hello", 5);
    ferry_wire_flush_pieces(v->w, 1, PAUSE_US);
    ferry__conv_await_echo(v, 1, "hello", 5);
}

static void cut_once(struct ferry_check *c)
{
    size_t n = 1;

    for (size_t at = 1; at < n; at++) {
        struct ferry__conv *v = ferry__conv_open(c);

        ferry__conv_echo(v, 1, 0, "hello", 5);
        n = ferry_wire_waiting(v->w);
        ferry_talk_note(&c->talk, NULL, 0, "(cut behind byte %zu of %zu)", at, n);
        ferry_wire_flush_some(v->w, at);
        usleep(3 * PAUSE_US);
        ferry__conv_send(v);
        ferry__conv_await_echo(v, 1, "hello", 5);
        ferry_wire_close(v->w);
    }
}

static void query_byte_by_byte(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_query(v, "FCGI_MAX_CONNS FCGI_MPXS_CONNS");
    ferry_wire_flush_pieces(v->w, 1, PAUSE_US);
    ferry__conv_await_values(v);
}

static void all_at_once(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_echo(v, 1, 0, "hello", 5);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
}

static void many_records_at_once(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    const char *body = ferry__pattern(c, 300);

    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 300);
    for (int i = 0; i < 100; i++) {
        char name[24];

        snprintf(name, sizeof name, "X_PARAM_%d", i);
        ferry__conv_pair(v, 1, ferry_slice_z(name), FERRY_SLICE("value"));
    }
    ferry__conv_end(v, FERRY_PARAMS, 1);
    for (size_t i = 0; i < 300; i++)
        ferry_wire_put_record(v->w, FERRY_STDIN, 1, body + i, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, body, 300);
}

/* -- sizes ------------------------------------------------------------------------------------ */

/* One STDIN record of n bytes with so much padding; the request is answered. */
static void one_stdin(struct ferry_check *c, struct ferry__conv *v, size_t n, unsigned padding,
                      uint8_t flags)
{
    const char *body = ferry__pattern(c, n);
    struct ferry_wire_record r = {.version = 1,
                                  .type = FERRY_STDIN,
                                  .id = 1,
                                  .content_len = (uint16_t)n,
                                  .padding_len = (uint8_t)padding,
                                  .content = (const unsigned char *)body};

    ferry__conv_begin(v, 1, ferry__target(c)->role, flags);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), (long)n);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry_wire_put(v->w, &r, 0xaa);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, body, n);
}

static void stdin_of_65535(struct ferry_check *c)
{
    one_stdin(c, ferry__conv_open(c), 65535, c->at->arg ? 255 : 0, 0);
}

static void stdin_of_every_small_size(struct ferry_check *c)
{
    struct ferry__conv *v = NULL;
    bool keeps = ferry__target(c)->keeps;

    for (size_t n = 1; n <= 40; n++) {
        if (!v || !keeps)
            v = ferry__conv_open(c);
        one_stdin(c, v, n, ferry_record_padding(n), keeps ? FERRY_KEEP_CONN : 0);
        if (!keeps)
            ferry_wire_close(v->w);
    }
}

static void params_of_65535(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    size_t left = 65535 - 4 - 1 - 6;
    char *content = ferry_check_alloc(c, 65535);
    struct ferry_param pair = {FERRY_SLICE_INIT("X_LONG"), {NULL, left}};
    struct ferry_wire_record r = {.version = 1,
                                  .type = FERRY_PARAMS,
                                  .id = 1,
                                  .content_len = 65535,
                                  .padding_len = c->at->arg ? 255 : 0,
                                  .content = (const unsigned char *)content};

    pair.value.p = ferry__pattern(c, left);
    if (ferry_param_encode(&pair, content, 65535) != 65535)
        ferry_check_skip(c, "a mistake in this case");
    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, ferry__word_or_plain(c, FERRY__WORD_PARAMS, "params"), -1);
    ferry_wire_put(v->w, &r, 0xaa);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_param(v, 1, pair.name, pair.value);
}

/* -- padding ---------------------------------------------------------------------------------- */

/* A request in which records of one type have 255 bytes of padding. */
static void put_padded(struct ferry__conv *v, unsigned padded, unsigned type, uint16_t id,
                       const void *p, size_t n, unsigned padding, uint8_t fill)
{
    struct ferry_wire_record r = {
        .version = 1,
        .type = (uint8_t)type,
        .id = id,
        .content_len = (uint16_t)n,
        .padding_len = type == padded || !padded ? (uint8_t)padding : ferry_record_padding(n),
        .content = n ? p : NULL};

    ferry_wire_put(v->w, &r, fill);
}

static void request_padded(struct ferry_check *c, struct ferry__conv *v, unsigned padded,
                           unsigned padding, uint8_t fill, uint8_t flags)
{
    struct ferry_slice pairs =
        ferry__conv_pairs(c, ferry__word_or_plain(c, FERRY__WORD_ECHO, "echo"), 5);
    unsigned char begin[8] = {0, (unsigned char)ferry__target(c)->role, flags};

    ferry__conv_expect(v, 1);
    put_padded(v, padded, FERRY_BEGIN_REQUEST, 1, begin, 8, padding, fill);
    put_padded(v, padded, FERRY_PARAMS, 1, pairs.p, pairs.len, padding, fill);
    put_padded(v, padded, FERRY_PARAMS, 1, NULL, 0, padding, fill);
    put_padded(v, padded, FERRY_STDIN, 1, "hello", 5, padding, fill);
    put_padded(v, padded, FERRY_STDIN, 1, NULL, 0, padding, fill);
    ferry__conv_send(v);
    ferry__conv_await_echo(v, 1, "hello", 5);
}

static void padding_of_255(struct ferry_check *c)
{
    request_padded(c, ferry__conv_open(c), (unsigned)c->at->arg, 255, 0, 0);
}

static void padding_that_looks_like_records(struct ferry_check *c)
{
    /* Every byte a version; as a header it would announce 257 bytes for id 257. */
    request_padded(c, ferry__conv_open(c), 0, 255, 1, 0);
}

static void padding_of_every_size(struct ferry_check *c)
{
    struct ferry__conv *v = NULL;
    bool keeps = ferry__target(c)->keeps;

    for (unsigned n = 0; n < 256; n += n < 16 ? 1 : 17) {
        if (!v || !keeps)
            v = ferry__conv_open(c);
        request_padded(c, v, 0, n, 0xff, keeps ? FERRY_KEEP_CONN : 0);
        if (!keeps)
            ferry_wire_close(v->w);
    }
}

static void padded_abort(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_get(v, 1, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
    put_padded(v, 0, FERRY_ABORT_REQUEST, 1, NULL, 0, 255, 1);
    ferry__conv_still_serves(v, 1);
}

static void padded_query(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    put_padded(v, 0, FERRY_GET_VALUES, 0, "\17\0FCGI_MPXS_CONNS", 17, 255, 1);
    ferry__conv_send(v);
    ferry__conv_await_values(v);
    ferry__conv_query(v, "FCGI_MAX_REQS");
    ferry__conv_send(v);
    ferry__conv_await_values(v);
}

/* -- reserved bytes, versions, alignment ------------------------------------------------------ */

static void reserved_in_headers(struct ferry_check *c)
{
    struct ferry_slice pairs = ferry__conv_pairs(c, NULL, -1);
    struct ferry__conv *v = ferry__conv_open(c);
    unsigned char begin[8] = {0, (unsigned char)ferry__target(c)->role};
    struct ferry_wire_record records[] = {
        {1, FERRY_BEGIN_REQUEST, 1, 8, 0, 0xff, begin},
        {1, FERRY_PARAMS, 1, (uint16_t)pairs.len, 0, 0x80, (const unsigned char *)pairs.p},
        {1, FERRY_PARAMS, 1, 0, 0, 1, NULL},
        {1, FERRY_STDIN, 1, 0, 0, 0xff, NULL},
    };

    ferry__conv_expect(v, 1);
    for (size_t i = 0; i < sizeof records / sizeof *records; i++)
        ferry_wire_put(v->w, &records[i], 0);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
}

static void reserved_in_begin(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    unsigned char begin[8] = {0, (unsigned char)ferry__target(c)->role, 0, 1, 2, 3, 4, 0xff};

    ferry__conv_expect(v, 1);
    ferry_wire_put_record(v->w, FERRY_BEGIN_REQUEST, 1, begin, 8);
    ferry__conv_params(v, 1, NULL, -1);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_good(v, 1);
}

/* A plain request with all that it has to say, and a management answer if it gives any. */
static struct ferry__conv *usual(struct ferry_check *c, bool management)
{
    struct ferry__conv *v = ferry__conv_open(c);

    if (management) {
        ferry__conv_query(v, "FCGI_MPXS_CONNS");
        ferry__conv_send(v);
        ferry__conv_await_values(v);
        return v;
    }
    ferry__conv_echo(v, 1, 0, "hello, hello", 12);
    ferry__conv_send(v);
    while (ferry__conv_read(v, 0) == 1)
        ;
    return v;
}

static void reserved_is_sent_as_zero(struct ferry_check *c)
{
    struct ferry__conv *v = usual(c, false);

    if (v->reserved)
        ferry_check_fail(c, "expected reserved bytes to be 0, but %u of %u records have others",
                         v->reserved, v->records);
}

static void version_is_one(struct ferry_check *c)
{
    struct ferry__conv *v = usual(c, c->at->arg);

    if (v->end == FERRY_EPROTOCOL)
        ferry_check_fail(c, "expected records of version 1, but one has version %u",
                         v->bad_version);
    if (!v->records)
        ferry_check_fail(c, "expected records, but none came");
}

/* One answer may be of such a length by chance: so there are eight, of different lengths from
 * programs that can. */
static void aligned(struct ferry_check *c)
{
    bool sizes = ferry__target(c)->words & FERRY__WORD_SIZE;
    unsigned unaligned = 0, records = 0;

    for (size_t n = 1; n <= (c->at->arg ? 1 : 8); n++) {
        struct ferry__conv *v;

        if (c->at->arg) {
            v = usual(c, true);
        } else {
            char text[32] = "size&n=";

            text[7] = (char)('0' + n);
            v = ferry__conv_open(c);
            ferry__conv_get(v, 1, 0, sizes ? text : NULL);
            ferry__conv_send(v);
            ferry__conv_await_good(v, 1);
        }
        unaligned += v->unaligned;
        records += v->records;
        ferry_wire_close(v->w);
    }
    if (unaligned)
        ferry_check_fail(c, "expected records of multiples of eight bytes, but %u of %u are not",
                         unaligned, records);
}

static void ids_fit_types(struct ferry_check *c)
{
    struct ferry__conv *v = usual(c, c->at->arg);

    if (v->mixed_up)
        ferry_check_fail(c,
                         "expected id 0 for management records and no others, and only types that "
                         "applications send, but %u records are otherwise",
                         v->mixed_up);
}

/* -- mistakes --------------------------------------------------------------------------------- */

static void wrong_version_first(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry_wire_record r = {(uint8_t)c->at->arg, FERRY_BEGIN_REQUEST, 1, 0, 0, 0, NULL};

    ferry_wire_put(v->w, &r, 0);
    ferry__conv_get(v, 1, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_end(v, "behind a record of another version");
    if (v->records)
        ferry_check_fail(c,
                         "expected that nothing behind a record of another version is "
                         "interpreted, but %u records came",
                         v->records);
}

static void wrong_version_later(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry_wire_record r = {3, FERRY_STDIN, 1, 0, 0, 0, NULL};

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry__conv_params(v, 1, NULL, 5);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry_wire_put(v->w, &r, 0);
    ferry__conv_get(v, 2, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_end(v, "behind a record of another version");
    if (ferry__conv_reply(v, 2)->ends)
        ferry_check_fail(c, "expected that nothing behind a record of another version is "
                            "interpreted, but the request behind it was");
}

enum { IN_HEADER, IN_CONTENT, IN_PADDING, BY_RESET };

/* That the process lives and serves others is seen behind every case. */
static void cut_off(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__conv *other = ferry__target(c)->concurrent ? ferry__conv_open(c) : NULL;
    size_t keep[] = {4, 8 + 5, 8 + 20 + 100, 8 + 10};
    size_t start;

    if (other) {
        ferry__conv_begin(other, 1, ferry__target(c)->role, 0);
        ferry__conv_params(other, 1, NULL, -1);
        ferry__conv_send(other);
    }
    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, NULL, 20);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    if (c->at->arg == BY_RESET) {
        /* A unix socket is reset when it is closed with something unread. */
        ferry_wire_put_record(v->w, 12, 0, NULL, 0);
        ferry__conv_send(v);
        (void)ferry_wire_stirs(v->w, 300);
    }
    start = ferry_wire_waiting(v->w);
    put_padded(v, 0, FERRY_STDIN, 1, ferry__pattern(c, 20), 20, 255, 0);
    ferry_wire_cut(v->w, start + keep[c->at->arg]);
    ferry__conv_send(v);
    if (c->at->arg == BY_RESET)
        ferry_wire_reset(v->w);
    else
        ferry_wire_close(v->w);
    if (other) {
        ferry__conv_end(other, FERRY_PARAMS, 1);
        ferry__conv_end(other, FERRY_STDIN, 1);
        ferry__conv_send(other);
        ferry__conv_await_good(other, 1);
    }
}

static void null_request(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_get(v, 0, FERRY_KEEP_CONN, NULL);
    ferry__conv_send(v);
    ferry__conv_await_end(v, "behind a BEGIN_REQUEST with id 0");
    if (v->records)
        ferry_check_fail(c, "expected no answer to a request with id 0, but %u records came",
                         v->records);
}

static void null_stream(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, FERRY_KEEP_CONN);
    ferry_wire_put_record(v->w, (unsigned)c->at->arg, 0, "\1\1ab", 4);
    ferry__conv_send(v);
    ferry__conv_await_end(v, "behind a record of a request with id 0");
}

static void query_with_an_id(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry_wire_put_record(v->w, FERRY_GET_VALUES, 1, "\17\0FCGI_MPXS_CONNS", 17);
    ferry__conv_send(v);
    ferry__conv_quiet(v, "behind a GET_VALUES with id 1");
    ferry__conv_still_serves(v, 1);
}

#define KEEP FERRY__NEEDS_KEEP
#define VALUES FERRY__NEEDS_VALUES

static const struct ferry_check_case cases[] = {
    {"A-FRM-1a", "3.3", FERRY_MUST, "a request that comes byte by byte is read", 0, byte_by_byte,
     0},
    {"A-FRM-1b", "3.3", FERRY_MUST, "a request cut in two anywhere is read", 0, cut_once, 0},
    {"A-FRM-1c", "3.3", FERRY_MUST, "a management record that comes byte by byte is read", VALUES,
     query_byte_by_byte, 0},
    {"A-FRM-2a", "3.3", FERRY_MUST, "a whole request in one segment is read", 0, all_at_once, 0},
    {"A-FRM-2b", "3.3", FERRY_MUST, "hundreds of small records in one segment are all read", 0,
     many_records_at_once, 0},
    {"A-FRM-3a", "3.3", FERRY_MUST, "a STDIN record may have 65535 bytes", 0, stdin_of_65535, 0},
    {"A-FRM-3b", "3.3", FERRY_MUST, "a STDIN record may have 65535 bytes and 255 of padding", 0,
     stdin_of_65535, 1},
    {"A-FRM-3c", "3.3", FERRY_MUST, "a PARAMS record may have 65535 bytes", 0, params_of_65535, 0},
    {"A-FRM-3d", "3.3", FERRY_MUST, "a PARAMS record may have 65535 bytes and 255 of padding", 0,
     params_of_65535, 1},
    {"A-FRM-3e", "3.3", FERRY_MUST, "STDIN records of 1 to 40 bytes are read", 0,
     stdin_of_every_small_size, 0},
    {"A-FRM-4a", "3.3", FERRY_MUST, "255 bytes of padding are skipped on BEGIN_REQUEST", 0,
     padding_of_255, FERRY_BEGIN_REQUEST},
    {"A-FRM-4b", "3.3", FERRY_MUST, "255 bytes of padding are skipped on PARAMS, empty ones too", 0,
     padding_of_255, FERRY_PARAMS},
    {"A-FRM-4c", "3.3", FERRY_MUST, "255 bytes of padding are skipped on STDIN, empty ones too", 0,
     padding_of_255, FERRY_STDIN},
    {"A-FRM-4d", "3.3", FERRY_MUST, "255 bytes of padding are skipped on ABORT_REQUEST", KEEP,
     padded_abort, 0},
    {"A-FRM-4e", "3.3", FERRY_MUST, "255 bytes of padding are skipped on GET_VALUES", VALUES,
     padded_query, 0},
    {"A-FRM-4f", "3.3", FERRY_MUST, "padding that looks like records is skipped", 0,
     padding_that_looks_like_records, 0},
    {"A-FRM-4g", "3.3", FERRY_MUST, "padding of every length is skipped", 0, padding_of_every_size,
     0},
    {"A-FRM-5a", "3.3", FERRY_INFERRED, "the reserved byte of headers is read past", 0,
     reserved_in_headers, 0},
    {"A-FRM-5b", "5.1", FERRY_INFERRED, "the reserved bytes of BEGIN_REQUEST are read past", 0,
     reserved_in_begin, 0},
    {"A-FRM-5c", "3.3", FERRY_INFERRED, "reserved bytes are sent as 0", 0, reserved_is_sent_as_zero,
     0},
    {"A-FRM-6a", "3.3", FERRY_MUST, "records of answers have version 1", 0, version_is_one, 0},
    {"A-FRM-6b", "3.3", FERRY_MUST, "management records have version 1", VALUES, version_is_one, 1},
    {"A-FRM-7a", "3.3", FERRY_SHOULD, "records of answers are padded to multiples of eight bytes",
     0, aligned, 0},
    {"A-FRM-7b", "3.3", FERRY_SHOULD, "management records are padded to multiples of eight bytes",
     VALUES, aligned, 1},
    {"A-FRM-8a", "", FERRY_SILENT, "a first record of version 0 closes the connection", 0,
     wrong_version_first, 0},
    {"A-FRM-8b", "", FERRY_SILENT, "a first record of version 2 closes the connection", 0,
     wrong_version_first, 2},
    {"A-FRM-8c", "", FERRY_SILENT, "a record of version 3 within a request closes the connection",
     0, wrong_version_later, 0},
    {"A-FRM-9a", "", FERRY_SILENT, "an end inside of a header harms nobody else", 0, cut_off,
     IN_HEADER},
    {"A-FRM-9b", "", FERRY_SILENT, "an end inside of content harms nobody else", 0, cut_off,
     IN_CONTENT},
    {"A-FRM-9c", "", FERRY_SILENT, "an end inside of padding harms nobody else", 0, cut_off,
     IN_PADDING},
    {"A-FRM-9d", "", FERRY_SILENT, "a reset inside of a record harms nobody else", 0, cut_off,
     BY_RESET},
    {"A-FRM-10a", "3.3", FERRY_MUST, "records of answers have an id, and a type that fits", 0,
     ids_fit_types, 0},
    {"A-FRM-10b", "3.3", FERRY_MUST, "management records have id 0", VALUES, ids_fit_types, 1},
    {"A-FRM-10c", "", FERRY_SILENT, "a BEGIN_REQUEST with id 0 closes the connection", 0,
     null_request, 0},
    {"A-FRM-10d", "", FERRY_SILENT, "PARAMS with id 0 close the connection", 0, null_stream,
     FERRY_PARAMS},
    {"A-FRM-10e", "", FERRY_SILENT, "STDIN with id 0 closes the connection", 0, null_stream,
     FERRY_STDIN},
    {"A-FRM-10f", "", FERRY_SILENT, "a GET_VALUES with an id is ignored", KEEP, query_with_an_id,
     0},
};

FERRY__GROUP(ferry__app_framing, "A-FRM", "records and their framing", cases);
