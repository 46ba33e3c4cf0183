/* SPDX-License-Identifier: MIT */
/*
 * What an application tells about itself: three variables, asked for by name with empty values and
 * answered in decimal. The spec lets either side leave names out and send unknown ones.
 */
#include "fcgi/values.h"

#include "base/assert.h"
#include "ferry/params.h"

/* X(member of struct ferry_conn_values, name) */
#define VALUES_MAP(X)                                                                              \
    X(max_conns, "FCGI_MAX_CONNS")                                                                 \
    X(max_reqs, "FCGI_MAX_REQS")                                                                   \
    X(mpxs_conns, "FCGI_MPXS_CONNS")

static size_t put(char *out, size_t at, struct ferry_slice name, struct ferry_slice value)
{
    struct ferry_param param = {name, value};
    ssize_t n = ferry_param_encode(&param, out + at, FERRY__VALUES_LEN_MAX - at);

    ferry_assert(n > 0);
    return at + (size_t)n;
}

static size_t put_number(char *out, size_t at, struct ferry_slice name, int64_t value)
{
    char digits[20], *p = digits + sizeof digits;
    uint64_t left = (uint64_t)value;

    do
        *--p = (char)('0' + left % 10);
    while (left /= 10);
    return put(out, at, name, ferry_slice(p, (size_t)(digits + sizeof digits - p)));
}

size_t ferry__values_ask(char out[FERRY__VALUES_LEN_MAX])
{
    size_t at = 0;

#define X(member, name) at = put(out, at, FERRY_SLICE(name), ferry_slice(NULL, 0));
    VALUES_MAP(X)
#undef X
    return at;
}

static bool next(struct ferry_slice *body, struct ferry_param *out)
{
    ssize_t n = ferry_param_decode(body->p, body->len, body->len, out);

    if (n <= 0)
        return false;
    *body = ferry_slice_from(*body, (size_t)n);
    return true;
}

size_t ferry__values_answer(struct ferry_slice query, const struct ferry_conn_values *truth,
                            char out[FERRY__VALUES_LEN_MAX])
{
    struct ferry_conn_values rest = *truth;
    struct ferry_param param;
    size_t at = 0;

    while (next(&query, &param)) {
#define X(member, text)                                                                            \
    if (rest.member >= 0 && ferry_slice_eq(param.name, FERRY_SLICE(text))) {                       \
        at = put_number(out, at, param.name, rest.member);                                         \
        rest.member = -1;                                                                          \
    }
        VALUES_MAP(X)
#undef X
    }
    return at;
}

void ferry__values_read(struct ferry_slice answer, struct ferry_conn_values *out)
{
    struct ferry_param param;
    uint64_t n;

    *out = (struct ferry_conn_values){-1, -1, -1};
    while (next(&answer, &param)) {
#define X(member, text)                                                                            \
    if (ferry_slice_eq(param.name, FERRY_SLICE(text)) &&                                           \
        ferry_slice_u64(param.value, INT64_MAX, &n) == 0)                                          \
        out->member = (int64_t)n;
        VALUES_MAP(X)
#undef X
    }
}
