/* SPDX-License-Identifier: MIT */
/*
 * A CGI header block. Whatever comes, what is taken is clean: no line break or control byte can
 * reach a client, no field about framing is among the fields, and cutting the input anywhere
 * changes nothing.
 */
#include "cgi/response.h"

#include <stdlib.h>

#define MAX 4096
#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_clean(struct ferry_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        check(((uint8_t)s.p[i] >= 0x20 || s.p[i] == '\t') && s.p[i] != 0x7f);
}

static void check_within(struct ferry_slice s, const char *p, ssize_t n)
{
    check(s.len == 0 || (s.p >= p && s.p + s.len <= p + n));
}

static void check_response(const struct ferry_cgi_response *r, const char *p, ssize_t n)
{
    static const char *const never[] = {"Status",     "Content-Length", "Transfer-Encoding", "Date",
                                        "Connection", "X-Sendfile",     "X-Accel-Redirect"};
    unsigned locations = 0;

    check(r->status >= 100 && r->status <= 599 && r->status != 101);
    check(r->content_length >= -1);
    check(r->nfields <= FERRY_CGI_FIELDS_MAX);
    check_clean(r->reason);
    check_within(r->reason, p, n);
    check_within(r->location, p, n);
    for (unsigned i = 0; i < r->nfields; i++) {
        struct ferry_slice name = r->fields[i].name, value = r->fields[i].value;

        check(name.len > 0);
        check_within(name, p, n);
        check_within(value, p, n);
        check_clean(name);
        check_clean(value);
        for (size_t j = 0; j < name.len; j++)
            check(name.p[j] > ' ' && name.p[j] != ':');
        check(ferry_slice_eq(value, ferry_slice_trim(value)));
        for (size_t j = 0; j < sizeof never / sizeof *never; j++)
            check(!ferry_slice_eq_nocase(name, ferry_slice_z(never[j])));
        locations += ferry_slice_eq_nocase(name, FERRY_SLICE("Location"));
    }
    check(locations <= 1);
}

static bool same(const struct ferry_cgi_response *a, const struct ferry_cgi_response *b)
{
    if (a->status != b->status || a->nfields != b->nfields || a->ignored != b->ignored ||
        a->content_length != b->content_length || a->location.p != b->location.p)
        return false;
    for (unsigned i = 0; i < a->nfields; i++)
        if (a->fields[i].name.p != b->fields[i].name.p ||
            a->fields[i].value.len != b->fields[i].value.len)
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct ferry_cgi_response whole, pieces;
    const char *p = (const char *)data, *why = NULL;
    size_t scanned = 0, step = n ? 1 + data[n - 1] % 16 : 1;
    ssize_t want, got = 0;

    want = ferry_cgi_response_parse(p, n, MAX, &scanned, &whole, &why);
    check(want >= 0 ? want <= (ssize_t)n : want == FERRY_EPROTOCOL || want == FERRY_ELIMIT);
    check(want >= 0 || why);
    if (want > 0) {
        check(want <= MAX && p[want - 1] == '\n');
        check_response(&whole, p, want);
    }

    scanned = 0;
    for (size_t have = 0; got == 0; have = have + step < n ? have + step : n) {
        got = ferry_cgi_response_parse(p, have, MAX, &scanned, &pieces, &why);
        check(scanned <= have);
        if (have == n)
            break;
    }
    check(got == want);
    check(want <= 0 || same(&whole, &pieces));
    return 0;
}
