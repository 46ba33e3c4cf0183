/* SPDX-License-Identifier: MIT */
/* A-NV: name-value pairs (specification sections 3.4, 5.2). */
#include <stdio.h>
#include <string.h>

#include "check/app_check.h"

#define LONGEST 1048576

/* -- one pair, written in any of the four ways ------------------------------------------------ */

static size_t put_len(unsigned char *p, size_t len, bool four)
{
    if (!four && len < 128) {
        p[0] = (unsigned char)len;
        return 1;
    }
    p[0] = (unsigned char)(len >> 24 | 0x80);
    p[1] = (unsigned char)(len >> 16);
    p[2] = (unsigned char)(len >> 8);
    p[3] = (unsigned char)len;
    return 4;
}

struct pair {
    struct ferry_slice name, value, coded;
};

static struct pair code(struct ferry_check *c, struct ferry_slice name, struct ferry_slice value,
                        bool name_four, bool value_four)
{
    unsigned char *p = ferry_check_alloc(c, name.len + value.len + 8);
    size_t n = put_len(p, name.len, name_four);

    n += put_len(p + n, value.len, value_four);
    if (name.len)
        memcpy(p + n, name.p, name.len);
    n += name.len;
    if (value.len)
        memcpy(p + n, value.p, value.len);
    n += value.len;
    return (struct pair){name, value, {(char *)p, n}};
}

static const char *params_word(struct ferry_check *c)
{
    return ferry__word_or_plain(c, FERRY__WORD_PARAMS, "params");
}

/* A request with the usual params and then these bytes, in records of at most `piece`. */
static struct ferry__conv *ask_with(struct ferry_check *c, struct ferry_slice more, size_t piece)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, params_word(c), -1);
    for (size_t at = 0; at < more.len; at += piece)
        ferry_wire_put_record(v->w, FERRY_PARAMS, 1, more.p + at,
                              more.len - at < piece ? more.len - at : piece);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    return v;
}

/* The argument: bit 0 a long name, bit 1 a long value. */
static void encoding(struct ferry_check *c)
{
    char *name = ferry__pattern(c, 200), *value = ferry__pattern(c, 150);
    struct pair p;

    name[0] = 'X';
    p = code(c, c->at->arg & 1 ? ferry_slice(name, 200) : FERRY_SLICE("X_SHORT"),
             c->at->arg & 2 ? ferry_slice(value, 150) : FERRY_SLICE("short"), false, false);
    ferry__conv_await_param(ask_with(c, p.coded, 65528), 1, p.name, p.value);
}

static void needless_four(struct ferry_check *c)
{
    struct pair p =
        code(c, FERRY_SLICE("X_SHORT"), FERRY_SLICE("short"), c->at->arg & 1, c->at->arg & 2);

    ferry__conv_await_param(ask_with(c, p.coded, 65528), 1, p.name, p.value);
}

static void short_form_is_sent(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);

    ferry__conv_query(v, "FCGI_MAX_CONNS FCGI_MAX_REQS FCGI_MPXS_CONNS");
    ferry__conv_send(v);
    ferry__conv_await_values(v);
    for (size_t at = 0; at < v->values_len;) {
        struct ferry_param pair;
        ssize_t took = ferry_param_decode(v->values + at, v->values_len - at, 512, &pair);

        if (took <= 0)
            ferry_check_fail(c, "expected pairs, but they are malformed");
        if ((size_t)took != ferry_param_size(pair.name.len, pair.value.len))
            ferry_check_fail(c, "expected lengths below 128 as one byte, but four were sent");
        at += (size_t)took;
    }
}

static void value_of_length(struct ferry_check *c)
{
    size_t n = (size_t)c->at->arg;
    struct pair p =
        code(c, FERRY_SLICE("X_VALUE"), ferry_slice(ferry__pattern(c, n), n), false, false);
    struct ferry__conv *v = ask_with(c, p.coded, 65528);

    if (n == LONGEST) { /* may be past its limits, but then it has to say so */
        ferry__conv_await(v, 1);
        if (ferry__conv_reply(v, 1)->protocol_status == FERRY_OVERLOADED)
            return;
    }
    ferry__conv_await_param(v, 1, p.name, p.value);
}

static void name_of_length(struct ferry_check *c)
{
    size_t n = (size_t)c->at->arg;
    char *name = ferry__pattern(c, n);
    struct pair p = code(c, ferry_slice(name, n), FERRY_SLICE("v"), false, false);

    ferry__conv_await_param(ask_with(c, p.coded, 65528), 1, p.name, p.value);
}

/* -- pairs across records --------------------------------------------------------------------- */

static void straddling(struct ferry_check *c)
{
    char *longer = ferry__pattern(c, 140);
    /* Four-byte lengths too, so that they are cut. */
    struct pair p = code(c, FERRY_SLICE("X_STRADDLE"), ferry_slice(longer, 140), true, true);
    bool keeps = ferry__target(c)->keeps;
    struct ferry__conv *v = NULL;

    for (size_t at = 1; at < p.coded.len; at++) {
        if (!v || !keeps)
            v = ferry__conv_open(c);
        ferry__conv_begin(v, 1, ferry__target(c)->role, keeps ? FERRY_KEEP_CONN : 0);
        ferry__conv_params(v, 1, params_word(c), -1);
        ferry_wire_put_record(v->w, FERRY_PARAMS, 1, p.coded.p, at);
        ferry_wire_put_record(v->w, FERRY_PARAMS, 1, p.coded.p + at, p.coded.len - at);
        ferry__conv_end(v, FERRY_PARAMS, 1);
        ferry__conv_end(v, FERRY_STDIN, 1);
        ferry__conv_send(v);
        ferry__conv_await_param(v, 1, p.name, p.value);
        if (!keeps)
            ferry_wire_close(v->w);
    }
}

static void in_small_records(struct ferry_check *c)
{
    struct pair p =
        code(c, FERRY_SLICE("X_STRADDLE"), ferry_slice(ferry__pattern(c, 300), 300), false, false);

    ferry__conv_await_param(ask_with(c, p.coded, (size_t)c->at->arg), 1, p.name, p.value);
}

static void across_full_records(struct ferry_check *c)
{
    size_t n = 200000;
    struct pair p =
        code(c, FERRY_SLICE("X_STRADDLE"), ferry_slice(ferry__pattern(c, n), n), false, false);
    struct ferry__conv *v = ask_with(c, p.coded, 65528);

    ferry__conv_await(v, 1);
    if (ferry__conv_reply(v, 1)->protocol_status != FERRY_OVERLOADED)
        ferry__conv_await_param(v, 1, p.name, p.value);
}

/* -- odd pairs -------------------------------------------------------------------------------- */

static void binary_value(struct ferry_check *c)
{
    char bytes[255];
    struct pair p;

    for (int i = 0; i < 255; i++)
        bytes[i] = (char)(i + 1);
    p = code(c, FERRY_SLICE("X_BINARY"), ferry_slice(bytes, 255), false, false);
    ferry__conv_await_param(ask_with(c, p.coded, 65528), 1, p.name, p.value);
}

static void nul_in_value(struct ferry_check *c)
{
    struct pair p = code(c, FERRY_SLICE("X_NUL"), ferry_slice("a\0b", 3), false, false);

    ferry__conv_await_param(ask_with(c, p.coded, 65528), 1, p.name, p.value);
}

static void any_order(struct ferry_check *c)
{
    struct ferry_slice pairs = ferry__conv_pairs(c, params_word(c), -1), reversed;
    char *to = ferry_check_alloc(c, pairs.len);
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry_param pair;
    size_t at = 0, end = pairs.len;

    while (at < pairs.len) {
        ssize_t took = ferry_param_decode(pairs.p + at, pairs.len - at, pairs.len, &pair);

        if (took <= 0)
            ferry_check_skip(c, "a mistake in this case");
        end -= (size_t)took;
        memcpy(to + end, pairs.p + at, (size_t)took);
        at += (size_t)took;
    }
    reversed = ferry_slice(to, pairs.len);
    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_stream(v, FERRY_PARAMS, 1, reversed.p, reversed.len);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    ferry__conv_await_param(v, 1, FERRY_SLICE("SERVER_NAME"), FERRY_SLICE("localhost"));
}

static void empty_ones(struct ferry_check *c)
{
    static const char *const coded[] = {"\0\0", "\0\5value", "\7\0X_EMPTY"};
    static const size_t lens[] = {2, 7, 9};
    bool last = c->at->arg == 2;
    struct ferry__conv *v = ask_with(c, ferry_slice(coded[c->at->arg], lens[c->at->arg]), 65528);

    if (last)
        ferry__conv_await_param(v, 1, FERRY_SLICE("X_EMPTY"), FERRY_SLICE(""));
    else
        ferry__conv_await_param(v, 1, FERRY_SLICE("SERVER_NAME"), FERRY_SLICE("localhost"));
}

static const char twice[] = "\7\5X_TWICEfirst\7\6X_TWICEsecond";

static void both_are_kept(struct ferry_check *c)
{
    struct ferry__conv *v = ask_with(c, ferry_slice(twice, sizeof twice - 1), 65528);
    struct ferry_slice first = {NULL, 0};
    unsigned n = ferry__reply_param(ferry__conv_await_good(v, 1), FERRY_SLICE("X_TWICE"), &first);

    if (n != 2)
        ferry_check_fail(c, "expected both params of one name in the list, but %u are there", n);
}

/* The answer to the word get: must be this value. */
static void look_up(struct ferry_check *c, const char *name, struct ferry_slice more,
                    const char *want, const char *reason)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry_slice body;
    char word[64];

    snprintf(word, sizeof word, "get&name=%s", name);
    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, word, -1);
    ferry__conv_stream(v, FERRY_PARAMS, 1, more.p, more.len);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    body = ferry_slice_trim(ferry__reply_body(ferry__conv_await_good(v, 1)));
    while (body.len && body.p[body.len - 1] == '\n')
        body.len--;
    if (!ferry_slice_eq(body, ferry_slice_z(want)))
        ferry_check_fail(c, "expected %s, but the look-up of %s gives '%.*s'", reason, name,
                         body.len < 60 ? (int)body.len : 60, body.p);
}

static void first_wins(struct ferry_check *c)
{
    look_up(c, "X_TWICE", ferry_slice(twice, sizeof twice - 1), "is first",
            "the first of two params of one name");
}

static void equals_in_name(struct ferry_check *c)
{
    look_up(c, "X_A", FERRY_SLICE("\5\1X_A=BC"), "none",
            "that a param called 'X_A=B' is not taken for 'X_A'");
}

static void httpoxy(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry_slice body;

    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, "environ&name=HTTP_PROXY", -1);
    ferry__conv_pair(v, 1, FERRY_SLICE("HTTP_PROXY"), FERRY_SLICE("http://evil.example"));
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    body = ferry__reply_body(ferry__conv_await_good(v, 1));
    if (memmem(body.p, body.len, "evil", 4))
        ferry_check_fail(c, "expected no HTTP_PROXY of the client's in the environment of the "
                            "process, but it is there");
}

/* -- malformed, and past all limits ----------------------------------------------------------- */

enum { CLOSES, CLOSES_OR_REFUSES };

static void broken(struct ferry_check *c, const char *p, size_t n, int how, const char *what)
{
    struct ferry__conv *v = ask_with(c, ferry_slice(p, n), 65528);
    struct ferry__reply *r = ferry__conv_reply(v, 1);

    while (ferry__conv_read(v, 0) == 1)
        ;
    if (v->end == 1)
        ferry_check_fail(c, "expected the end of the connection behind %s, but it stays open",
                         what);
    if (r->ends && r->protocol_status == FERRY_REQUEST_COMPLETE && how == CLOSES)
        ferry_check_fail(c, "expected no answer behind %s, but the request was answered", what);
    if (r->ends && r->protocol_status == FERRY_REQUEST_COMPLETE && ferry__reply_status(r) < 400)
        ferry_check_fail(c,
                         "expected OVERLOADED, an error or the end behind %s, but the request "
                         "was answered",
                         what);
}

static void truncated(struct ferry_check *c)
{
    static const char *const bad[] = {"\7\12X_SHORTval", "\7", "\200\0"};
    static const size_t lens[] = {12, 1, 2};

    broken(c, bad[c->at->arg], lens[c->at->arg], CLOSES, "a pair that is cut short");
}

static void huge_lengths(struct ferry_check *c)
{
    static const char *const bad[] = {"\7\377\377\377\377X_LARGEv",
                                      "\377\377\377\377\377\377\377\377x",
                                      "\377\377\377\377\200\0\0\0x", "\377\377\377\375\1abcdefgh"};
    static const size_t lens[] = {13, 9, 9, 13};

    broken(c, bad[c->at->arg], lens[c->at->arg], CLOSES_OR_REFUSES, "a length of 2 GiB");
}

static void very_many(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    size_t n = 100000;
    char *p = ferry_check_alloc(c, n * 10);

    for (size_t i = 0; i < n; i++) {
        char name[9];

        snprintf(name, sizeof name, "X_%05zuv", i % 100000);
        memcpy(p + 10 * i, "\7\1", 2);
        memcpy(p + 10 * i + 2, name, 8);
    }
    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    ferry__conv_params(v, 1, NULL, -1);
    ferry__conv_stream(v, FERRY_PARAMS, 1, p, n * 10);
    ferry__conv_end(v, FERRY_PARAMS, 1);
    ferry__conv_end(v, FERRY_STDIN, 1);
    ferry__conv_send(v);
    while (ferry__conv_read(v, 0) == 1)
        ;
    if (v->end == 1 && !ferry__conv_reply(v, 1)->ends)
        ferry_check_fail(c, "expected an answer, a refusal or the end for 100,000 params, but "
                            "nothing comes");
}

/* A stream of params that never ends: how much does the program keep of it? */
static void endless(struct ferry_check *c)
{
    struct ferry__conv *v = ferry__conv_open(c);
    struct ferry__instance *in = &ferry__target(c)->main;
    long before = ferry__instance_rss(in), after;
    const char *content = ferry__pattern(c, 65528);
    unsigned sent = 0;

    ferry__conv_begin(v, 1, ferry__target(c)->role, 0);
    /* A value of 2 GiB. */
    ferry_wire_put_record(v->w, FERRY_PARAMS, 1, "\7\377\377\377\377X_LARGE", 12);
    ferry__conv_send(v);
    for (; sent < 1600 && v->end == 1; sent++) {
        ferry_wire_put_record(v->w, FERRY_PARAMS, 1, content, 65528);
        if (ferry_wire_flush(v->w) < 0)
            break;
        if (ferry_wire_stirs(v->w, 0))
            (void)ferry__conv_read(v, 1);
    }
    after = ferry__instance_rss(in);
    if (before >= 0 && after - before > 64 << 10)
        ferry_check_fail(c,
                         "expected a limit for params, but the program grew by %ld MiB with %u "
                         "MiB of them",
                         (after - before) >> 10, sent >> 4);
}

#define PARAMS FERRY__WORD_PARAMS

static const struct ferry_check_case cases[] = {
    {"A-NV-1a", "3.4", FERRY_MUST, "a pair with two short lengths is read", 0, encoding, 0},
    {"A-NV-1b", "3.4", FERRY_MUST, "a pair with a long name and a short value is read", 0, encoding,
     1},
    {"A-NV-1c", "3.4", FERRY_MUST, "a pair with a short name and a long value is read", 0, encoding,
     2},
    {"A-NV-1d", "3.4", FERRY_MUST, "a pair with two long lengths is read", 0, encoding, 3},
    {"A-NV-2a", "3.4", FERRY_MUST, "a value may have 0 bytes", 0, value_of_length, 0},
    {"A-NV-2b", "3.4", FERRY_MUST, "a value may have 127 bytes", 0, value_of_length, 127},
    {"A-NV-2c", "3.4", FERRY_MUST, "a value may have 128 bytes", 0, value_of_length, 128},
    {"A-NV-2d", "3.4", FERRY_MUST, "a value may have 255 bytes", 0, value_of_length, 255},
    {"A-NV-2e", "3.4", FERRY_MUST, "a value may have 256 bytes", 0, value_of_length, 256},
    {"A-NV-2f", "3.4", FERRY_MUST, "a value may have 16384 bytes", 0, value_of_length, 16384},
    {"A-NV-2g", "3.4", FERRY_MUST, "a value may have 65535 bytes", 0, value_of_length, 65535},
    {"A-NV-2h", "3.4", FERRY_MUST, "a value may have 65536 bytes", 0, value_of_length, 65536},
    {"A-NV-2i", "3.4", FERRY_MUST, "a value of 1 MiB is taken, or refused with OVERLOADED", 0,
     value_of_length, LONGEST},
    {"A-NV-2j", "3.4", FERRY_MUST, "a name may have 127 bytes", 0, name_of_length, 127},
    {"A-NV-2k", "3.4", FERRY_MUST, "a name may have 128 bytes", 0, name_of_length, 128},
    {"A-NV-2l", "3.4", FERRY_MUST, "a name may have 1000 bytes", 0, name_of_length, 1000},
    {"A-NV-3a", "3.4", FERRY_INFERRED, "a short name with a four-byte length is read", 0,
     needless_four, 1},
    {"A-NV-3b", "3.4", FERRY_INFERRED, "a short value with a four-byte length is read", 0,
     needless_four, 2},
    {"A-NV-3c", "3.4", FERRY_MUST, "lengths below 128 are sent as one byte", FERRY__NEEDS_VALUES,
     short_form_is_sent, 0},
    {"A-NV-4a", "3.3", FERRY_MUST, "a pair may be cut in two at any byte", 0, straddling, 0},
    {"A-NV-4b", "3.3", FERRY_MUST, "a pair may come in records of one byte", 0, in_small_records,
     1},
    {"A-NV-4c", "3.3", FERRY_MUST, "a pair may come in records of three bytes", 0, in_small_records,
     3},
    {"A-NV-4d", "3.3", FERRY_MUST, "a pair may take several records of 64 KiB", 0,
     across_full_records, 0},
    {"A-NV-5a", "3.4", FERRY_MUST, "a value may have all bytes from 1 to 255", 0, binary_value, 0},
    {"A-NV-5b", "", FERRY_SILENT, "a value keeps a NUL and what follows it", PARAMS, nul_in_value,
     0},
    {"A-NV-6a", "5.2", FERRY_MUST, "params may come in any order", 0, any_order, 0},
    {"A-NV-6b", "3.4", FERRY_MUST, "a pair without name and value does no harm", 0, empty_ones, 0},
    {"A-NV-6c", "3.4", FERRY_MUST, "a pair without a name does no harm", 0, empty_ones, 1},
    {"A-NV-6d", "3.4", FERRY_MUST, "a pair without a value is there", 0, empty_ones, 2},
    {"A-NV-6e", "", FERRY_SILENT, "of two params of one name, both are in the list", PARAMS,
     both_are_kept, 0},
    {"A-NV-6f", "", FERRY_SILENT, "of two params of one name, a look-up finds the first",
     FERRY__WORD_GET, first_wins, 0},
    {"A-NV-7a", "", FERRY_SILENT, "a last pair whose value is cut closes the connection", 0,
     truncated, 0},
    {"A-NV-7b", "", FERRY_SILENT, "a last pair that ends behind one length closes it", 0, truncated,
     1},
    {"A-NV-7c", "", FERRY_SILENT, "a last pair that ends inside of a length closes it", 0,
     truncated, 2},
    {"A-NV-8a", "", FERRY_SILENT, "a value that claims 2 GiB does no harm", 0, huge_lengths, 0},
    {"A-NV-8b", "", FERRY_SILENT, "a name and a value that claim 2 GiB each do no harm", 0,
     huge_lengths, 1},
    {"A-NV-8c", "", FERRY_SILENT, "a name that claims 2 GiB does no harm", 0, huge_lengths, 2},
    {"A-NV-8d", "", FERRY_SILENT, "lengths whose sum passes 32 bits do no harm (CVE-2025-23016)", 0,
     huge_lengths, 3},
    {"A-NV-8e", "", FERRY_SILENT, "100,000 params are answered, refused or cut off", 0, very_many,
     0},
    {"A-NV-8f", "", FERRY_SILENT, "100 MiB of params are not kept", FERRY__NEEDS_PROGRAM, endless,
     0},
    {"A-NV-9", "", FERRY_SILENT, "a name with '=' is not taken for another name", FERRY__WORD_GET,
     equals_in_name, 0},
    {"A-NV-10", "", FERRY_SILENT, "HTTP_PROXY does not reach the process environment",
     FERRY__WORD_ENVIRON, httpoxy, 0},
};

FERRY__GROUP(ferry__app_pairs, "A-NV", "name-value pairs", cases);
