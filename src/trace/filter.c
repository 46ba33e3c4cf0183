/* SPDX-License-Identifier: MIT */
/*
 * The words that choose requests. One table says what can be asked: each key is a text (a param), a
 * number with its unit, or a flag.
 */
#include "trace/filter.h"

#include <stdio.h>

enum kind { TEXT, NUMBER, BYTES, TIME, FLAG };

/* X(word, kind, name of the param of a text) */
#define KEYS(X)                                                                                    \
    X(method, TEXT, "REQUEST_METHOD")                                                              \
    X(uri, TEXT, "REQUEST_URI")                                                                    \
    X(script, TEXT, "SCRIPT_FILENAME")                                                             \
    X(host, TEXT, "HTTP_HOST")                                                                     \
    X(client, TEXT, "REMOTE_ADDR")                                                                 \
    X(status, NUMBER, 0)                                                                           \
    X(app, NUMBER, 0)                                                                              \
    X(in, BYTES, 0)                                                                                \
    X(out, BYTES, 0)                                                                               \
    X(stderr, BYTES, 0)                                                                            \
    X(time, TIME, 0)                                                                               \
    X(first, TIME, 0)                                                                              \
    X(aborted, FLAG, 0)                                                                            \
    X(cut, FLAG, 0)                                                                                \
    X(fault, FLAG, 0)

enum key {
#define X(word, kind, param) KEY_##word,
    KEYS(X)
#undef X
};

static const struct {
    const char *word;
    enum kind kind;
    const char *param;
} keys[] = {
#define X(word, kind, param) {#word, kind, param},
    KEYS(X)
#undef X
};

/* Longer ones stand before their beginnings. IS and NOT are of flags. */
enum op { NE, LE, GE, UNLIKE, EQ, LT, GT, LIKE, IS, NOT };
static const char *const ops[] = {"!=", "<=", ">=", "!~", "=", "<", ">", "~"};

static const struct {
    const char *name;
    enum kind kind;
    uint64_t times;
} units[] = {
    {"", NUMBER, 1},       {"", BYTES, 1},        {"k", BYTES, 1 << 10},
    {"M", BYTES, 1 << 20}, {"G", BYTES, 1 << 30}, {"us", TIME, 1},
    {"ms", TIME, 1000},    {"s", TIME, 1000000},  {"m", TIME, 60000000},
};

static int wrong(char *why, size_t cap, const char *fmt, struct ferry_slice word, const char *more)
{
    snprintf(why, cap, fmt, (int)(word.len < 100 ? word.len : 100), word.p, more);
    return FERRY_EUSAGE;
}

static int find_key(struct ferry_slice name)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (ferry_slice_eq(name, ferry_slice_z(keys[i].word)))
            return (int)i;
    return -1;
}

static int unknown(struct ferry_slice word, char *why, size_t cap)
{
    char list[300];
    size_t at = 0;

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? " " : "", keys[i].word);
    return wrong(why, cap, "'%.*s' asks for nothing that a request has; it has: %s", word, list);
}

/* A number, or a class of statuses such as 4xx. */
static int read_number(struct ferry_filter_word *w, struct ferry_slice value)
{
    size_t digits = 0;
    uint64_t n;

    while (digits < value.len && value.p[digits] >= '0' && value.p[digits] <= '9')
        digits++;
    if (w->key == KEY_status && value.len == 3 && digits == 1 && value.p[1] == 'x' &&
        value.p[2] == 'x') {
        w->low = (uint64_t)(value.p[0] - '0') * 100;
        w->high = w->low + 99;
        return 0;
    }
    if (ferry_slice_u64(ferry_slice_first(value, digits), UINT64_C(1) << 34, &n) < 0)
        return FERRY_EUSAGE;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (units[i].kind == keys[w->key].kind &&
            ferry_slice_eq(ferry_slice_from(value, digits), ferry_slice_z(units[i].name))) {
            w->low = w->high = n * units[i].times;
            return 0;
        }
    return FERRY_EUSAGE;
}

static const char *example_of(enum key key)
{
    static const char *const examples[] = {[TEXT] = "a text",
                                           [NUMBER] = "a number",
                                           [BYTES] = "bytes, such as 100, 64k or 1M",
                                           [TIME] = "a time, such as 500us, 200ms or 2s"};

    return key == KEY_status ? "a status or a class of them, such as 404 or 5xx"
                             : examples[keys[key].kind];
}

static int read_flag(struct ferry_filter_word *w, struct ferry_slice word, char *why, size_t cap)
{
    struct ferry_slice name = word;
    int key;

    w->op = IS;
    if (name.len && name.p[0] == '!') {
        w->op = NOT;
        name = ferry_slice_from(name, 1);
    }
    key = find_key(name);
    if (key < 0)
        return unknown(word, why, cap);
    if (keys[key].kind != FLAG && key != KEY_stderr)
        return wrong(why, cap, "'%.*s' wants to be compared, such as %s", word,
                     keys[key].kind == TEXT     ? "uri~/login"
                     : keys[key].kind == NUMBER ? "status>=500"
                     : keys[key].kind == BYTES  ? "out>1M"
                                                : "time>200ms");
    w->key = (uint8_t)key;
    return 0;
}

static int read_word(struct ferry_filter_word *w, struct ferry_slice word, char *why, size_t cap)
{
    size_t at = 0, op = 0;
    struct ferry_slice value;
    int key;

    while (at < word.len && word.p[at] >= 'a' && word.p[at] <= 'z')
        at++;
    while (op < sizeof ops / sizeof *ops &&
           !ferry_slice_starts(ferry_slice_from(word, at), ferry_slice_z(ops[op])))
        op++;
    if (word.p[0] == '/') { /* the commonest question */
        *w = (struct ferry_filter_word){.key = KEY_uri, .op = LIKE, .text = word};
        return 0;
    }
    if (op == sizeof ops / sizeof *ops || at == 0)
        return read_flag(w, word, why, cap);
    key = find_key(ferry_slice_first(word, at));
    if (key < 0)
        return unknown(word, why, cap);
    value = ferry_slice_from(word, at + strlen(ops[op]));
    w->key = (uint8_t)key;
    w->op = (uint8_t)op;
    w->text = value;
    if (keys[key].kind == FLAG)
        return wrong(why, cap, "'%.*s': it is true or not; write %s or the same with ! in front",
                     word, keys[key].word);
    if (keys[key].kind == TEXT)
        return op == EQ || op == NE || op == LIKE || op == UNLIKE
                   ? 0
                   : wrong(why, cap, "'%.*s': a text can be compared with = != ~ !~ only%s", word,
                           "");
    if (op == LIKE || op == UNLIKE)
        return wrong(why, cap, "'%.*s': a number can be compared with = != < <= > >= only%s", word,
                     "");
    if (read_number(w, value) < 0)
        return wrong(why, cap, "'%.*s': what it is compared with must be %s", word,
                     example_of((enum key)key));
    return 0;
}

int ferry_filter_add(struct ferry_filter *filter, const char *text, char *why, size_t cap)
{
    while (*text) {
        size_t blanks = strspn(text, " \t\r\n"), len;
        int err;

        text += blanks;
        len = strcspn(text, " \t\r\n");
        if (!len)
            break;
        if (filter->n == FERRY_FILTER_WORDS_MAX) {
            snprintf(why, cap, "there are more than %d words", FERRY_FILTER_WORDS_MAX);
            return FERRY_EUSAGE;
        }
        filter->words[filter->n] = (struct ferry_filter_word){0};
        err = read_word(&filter->words[filter->n], ferry_slice(text, len), why, cap);
        if (err < 0)
            return err;
        filter->n++;
        text += len;
    }
    return 0;
}

/* -- matching -- */

static bool flag_of(enum key key, const struct ferry_follow_request *r)
{
    switch (key) {
    case KEY_aborted:
        return r->aborted;
    case KEY_cut:
        return !r->ended;
    case KEY_fault:
        return r->fault;
    default:
        return r->err.len;
    }
}

static uint64_t number_of(enum key key, const struct ferry_follow_request *r)
{
    switch (key) {
    case KEY_status:
        return r->status;
    case KEY_app:
        return r->app_status;
    case KEY_in:
        return r->in.len + r->data.len;
    case KEY_out:
        return r->out.len;
    case KEY_stderr:
        return r->err.len;
    case KEY_first: /* what never came took longer than anything */
        return r->first_us ? r->first_us - r->began_us : UINT64_MAX;
    default:
        return r->ended_us - r->began_us;
    }
}

static bool is_like(struct ferry_slice text, struct ferry_slice part)
{
    return part.len == 0 || (text.len && memmem(text.p, text.len, part.p, part.len));
}

static bool word_matches(const struct ferry_filter_word *w, const struct ferry_follow_request *r)
{
    struct ferry_slice text = {0};
    uint64_t n = 0;

    if (w->op == IS || w->op == NOT)
        return flag_of((enum key)w->key, r) == (w->op == IS);
    if (keys[w->key].kind == TEXT)
        text = ferry_follow_param(r, keys[w->key].param);
    else
        n = number_of((enum key)w->key, r);
    switch (w->op) {
    case LIKE:
        return is_like(text, w->text);
    case UNLIKE:
        return !is_like(text, w->text);
    case LT:
        return n < w->low;
    case LE:
        return n <= w->high;
    case GT:
        return n > w->high;
    case GE:
        return n >= w->low;
    default:
        return (keys[w->key].kind == TEXT ? ferry_slice_eq(text, w->text)
                                          : n >= w->low && n <= w->high) == (w->op == EQ);
    }
}

bool ferry_filter_matches(const struct ferry_filter *filter, const struct ferry_follow_request *r)
{
    for (unsigned i = 0; i < filter->n; i++)
        if (!word_matches(&filter->words[i], r))
            return false;
    return true;
}
