/* SPDX-License-Identifier: MIT */
/* Limits for programs: one table of names, and their reading. */
#include "io/rlimit.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

#include "base/slice.h"

/* X(name, resource) */
#define RESOURCE_MAP(X)                                                                            \
    X("as", RLIMIT_AS)                                                                             \
    X("core", RLIMIT_CORE)                                                                         \
    X("cpu", RLIMIT_CPU)                                                                           \
    X("data", RLIMIT_DATA)                                                                         \
    X("fsize", RLIMIT_FSIZE)                                                                       \
    X("locks", RLIMIT_LOCKS)                                                                       \
    X("memlock", RLIMIT_MEMLOCK)                                                                   \
    X("msgqueue", RLIMIT_MSGQUEUE)                                                                 \
    X("nice", RLIMIT_NICE)                                                                         \
    X("nofile", RLIMIT_NOFILE)                                                                     \
    X("nproc", RLIMIT_NPROC)                                                                       \
    X("rss", RLIMIT_RSS)                                                                           \
    X("rtprio", RLIMIT_RTPRIO)                                                                     \
    X("rttime", RLIMIT_RTTIME)                                                                     \
    X("sigpending", RLIMIT_SIGPENDING)                                                             \
    X("stack", RLIMIT_STACK)

static const struct {
    const char *name;
    int resource;
} resources[] = {
#define X(name, resource) {name, resource},
    RESOURCE_MAP(X)
#undef X
};

_Static_assert(sizeof resources / sizeof *resources <= FERRY_RLIMITS_MAX, "room for all");

static int find(struct ferry_slice name)
{
    for (size_t i = 0; i < sizeof resources / sizeof *resources; i++)
        if (ferry_slice_eq_nocase(name, ferry_slice_z(resources[i].name)))
            return resources[i].resource;
    return -1;
}

static unsigned shift_of(struct ferry_slice text)
{
    switch (text.len ? text.p[text.len - 1] : 0) {
    case 'k':
    case 'K':
        return 10;
    case 'm':
    case 'M':
        return 20;
    case 'g':
    case 'G':
        return 30;
    default:
        return 0;
    }
}

static int parse_value(struct ferry_slice text, uint64_t *out)
{
    unsigned shift = shift_of(text);
    uint64_t n;

    if (ferry_slice_eq_nocase(text, FERRY_SLICE("unlimited"))) {
        *out = UINT64_MAX;
        return 0;
    }
    if (shift)
        text.len--;
    if (ferry_slice_u64(text, (UINT64_MAX - 1) >> shift, &n) < 0)
        return FERRY_EUSAGE;
    *out = n << shift;
    return 0;
}

int ferry_rlimit_parse(const char *z, struct ferry_rlimit *out, const char **why)
{
    struct ferry_slice text = ferry_slice_z(z), value;
    size_t eq = ferry_slice_find(text, '='), colon;
    struct ferry_rlimit r;

    r.resource = find(ferry_slice_first(text, eq));
    if (r.resource < 0 || eq == text.len) {
        *why = "must be NAME=SOFT or NAME=SOFT:HARD, with the names as in setrlimit(2): nofile, "
               "nproc, core, as and so on";
        return FERRY_EUSAGE;
    }
    value = ferry_slice_from(text, eq + 1);
    colon = ferry_slice_find(value, ':');
    if (parse_value(ferry_slice_first(value, colon), &r.soft) < 0) {
        *why = "the limit must be a number, with K, M or G behind it if you like, or unlimited";
        return FERRY_EUSAGE;
    }
    r.hard = r.soft;
    if (colon < value.len && parse_value(ferry_slice_from(value, colon + 1), &r.hard) < 0) {
        *why = "the hard limit must be a number, with K, M or G behind it if you like, or "
               "unlimited";
        return FERRY_EUSAGE;
    }
    if (r.soft > r.hard) {
        *why = "the soft limit is above the hard one";
        return FERRY_EUSAGE;
    }
    *out = r;
    return 0;
}

int ferry_rlimit_set(const struct ferry_rlimit *r)
{
    struct rlimit limit = {.rlim_cur = r->soft == UINT64_MAX ? RLIM_INFINITY : (rlim_t)r->soft,
                           .rlim_max = r->hard == UINT64_MAX ? RLIM_INFINITY : (rlim_t)r->hard};

    return setrlimit((__rlimit_resource_t)r->resource, &limit) < 0 ? -errno : 0;
}
