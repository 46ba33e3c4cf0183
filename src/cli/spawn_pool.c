/* SPDX-License-Identifier: MIT */
/* The options of `ferry spawn --supervise`, read into those of the process manager. */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/spawn.h"

#define DURATION_MAX_MS (24ull * 24 * 3600 * 1000) /* fits any field */

/* X(name) */
#define SIGNAL_MAP(X)                                                                              \
    X(TERM)                                                                                        \
    X(INT)                                                                                         \
    X(QUIT)                                                                                        \
    X(HUP)                                                                                         \
    X(USR1)                                                                                        \
    X(USR2)                                                                                        \
    X(WINCH)                                                                                       \
    X(KILL)

static const char *name_of(enum ferry_spawn_pool_option option)
{
    switch (option) {
#define X(NAME, name)                                                                              \
    case FERRY_SPAWN_OPT_##NAME:                                                                   \
        return "--" name;
        FERRY_SPAWN_POOL_MAP(X)
#undef X
    default:
        return "";
    }
}

#define SPLIT_MAX 32 /* what is longer is no number and no time */

static int wrong(enum ferry_spawn_pool_option option, const char *text, const char *why)
{
    ferry_cli_say("%s %s: %s", name_of(option), text, why);
    return FERRY_EXIT_USAGE;
}

static int take_number(enum ferry_spawn_pool_option option, const char *text, unsigned max,
                       unsigned *out)
{
    char why[64];
    uint64_t n;

    if (ferry_slice_u64(ferry_slice_z(text), max, &n) == 0) {
        *out = (unsigned)n;
        return 0;
    }
    snprintf(why, sizeof why, "must be a number, %u at most", max);
    return wrong(option, text, why);
}

static int take_time(enum ferry_spawn_pool_option option, const char *text, unsigned *out)
{
    uint64_t ms;

    if (ferry_cli_duration(text, &ms) < 0 || ms == 0 || ms > DURATION_MAX_MS)
        return wrong(option, text, "must be a time such as 500ms, 30s, 5m or 2h");
    *out = (unsigned)ms;
    return 0;
}

/* The part before the colon, whose place is in what is returned: the part behind it, or NULL. */
static const char *split(const char *text, char first[SPLIT_MAX])
{
    size_t n = strcspn(text, ":");

    snprintf(first, SPLIT_MAX, "%.*s", (int)n, text);
    return text[n] ? text + n + 1 : NULL;
}

/* MIN:MAX, or one number for both */
static int take_processes(struct ferry_manager_opts *pool, const char *text)
{
    char first[SPLIT_MAX];
    const char *second = split(text, first);
    uint64_t min, max;

    if (ferry_slice_u64(ferry_slice_z(first), FERRY_MANAGER_PROCESSES_MAX, &min) < 0 ||
        ferry_slice_u64(ferry_slice_z(second ? second : first), FERRY_MANAGER_PROCESSES_MAX, &max) <
            0)
        return wrong(FERRY_SPAWN_OPT_PROCESSES, text, "must be N or MIN:MAX, 1024 at most");
    if (max == 0)
        return wrong(FERRY_SPAWN_OPT_PROCESSES, text, "there must be one process at least");
    if (min > max)
        return wrong(FERRY_SPAWN_OPT_PROCESSES, text, "MIN is more than MAX");
    pool->processes_min = (unsigned)min;
    pool->processes_max = (unsigned)max;
    pool->on_demand = min == 0;
    return 0;
}

static int take_delay(struct ferry_manager_opts *pool, const char *text)
{
    char first[SPLIT_MAX];
    const char *second = split(text, first);

    if (take_time(FERRY_SPAWN_OPT_RESTART_DELAY, first, &pool->pause_ms) ||
        (second && take_time(FERRY_SPAWN_OPT_RESTART_DELAY, second, &pool->pause_max_ms)))
        return FERRY_EXIT_USAGE;
    if (!second && pool->pause_ms > 10000)
        pool->pause_max_ms = pool->pause_ms;
    if (second && pool->pause_ms > pool->pause_max_ms)
        return wrong(FERRY_SPAWN_OPT_RESTART_DELAY, text, "the first is longer than the longest");
    return 0;
}

static int take_ready(struct ferry_manager_opts *pool, const char *text)
{
#define X(NAME, word)                                                                              \
    if (strcmp(text, word) == 0) {                                                                 \
        pool->ready = FERRY_MANAGER_READY_##NAME;                                                  \
        return 0;                                                                                  \
    }
    FERRY_MANAGER_READY_MAP(X)
#undef X
    return wrong(FERRY_SPAWN_OPT_READY, text, "must be auto, notify, values or time");
}

static int take_signal(struct ferry_manager_opts *pool, const char *text)
{
    const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;

#define X(sig)                                                                                     \
    if (strcmp(name, #sig) == 0) {                                                                 \
        pool->stop_signal = SIG##sig;                                                              \
        return 0;                                                                                  \
    }
    SIGNAL_MAP(X)
#undef X
    return wrong(FERRY_SPAWN_OPT_STOP_SIGNAL, text,
                 "must be TERM, INT, QUIT, HUP, USR1, USR2, WINCH or KILL");
}

/* SCRIPT=/URI, or /URI, or nothing: then it is GET_VALUES. */
static int take_ping(struct ferry_manager_opts *pool, char *text)
{
    char *eq;

    if (!pool->ping.interval_ms)
        pool->ping.interval_ms = 10000;
    if (!text)
        return 0;
    eq = strchr(text, '=');
    if (eq)
        *eq = 0;
    pool->ping.script = text;
    pool->ping.uri = eq ? eq + 1 : text;
    if (!*text || *pool->ping.uri != '/')
        return wrong(FERRY_SPAWN_OPT_PING, text, "must be /URI or SCRIPT=/URI");
    return 0;
}

static int take_size(enum ferry_spawn_pool_option option, const char *text, uint64_t *out)
{
    unsigned long long n;

    if (ferry_cli_size(text, &n) < 0 || n == 0)
        return wrong(option, text, "must be a size such as 500k, 64M or 2G");
    *out = n;
    return 0;
}

static int take_age(struct ferry_manager_opts *pool, const char *text)
{
    if (ferry_cli_duration(text, &pool->max_age_ms) < 0 || pool->max_age_ms == 0)
        return wrong(FERRY_SPAWN_OPT_MAX_AGE, text, "must be a time such as 500ms, 30s, 5m or 2h");
    return 0;
}

static int take_name(struct ferry_manager_opts *pool, const char *text)
{
    if (!*text || strlen(text) >= FERRY_MANAGER_NAME_MAX)
        return wrong(FERRY_SPAWN_OPT_NAME, text, "must have 1 to 63 bytes");
    pool->name = text;
    return 0;
}

static int take_status(struct ferry_spawning *s, const char *text)
{
    const char *why;

    if (ferry_addr_parse(text, true, &s->status, &why) < 0)
        return wrong(FERRY_SPAWN_OPT_STATUS, text, why);
    s->has_status = true;
    return 0;
}

/* Those that say how much and how long. */
static int take_measure(struct ferry_spawning *s, enum ferry_spawn_pool_option option, char *text)
{
    struct ferry_manager_opts *pool = &s->pool;

    switch (option) {
    case FERRY_SPAWN_OPT_MAX_LOAD:
        return take_number(option, text, 1000000, &pool->load_max);
    case FERRY_SPAWN_OPT_IDLE_TIMEOUT:
        return take_time(option, text, &pool->idle_ms);
    case FERRY_SPAWN_OPT_READY_TIME:
        return take_time(option, text, &pool->start_ms);
    case FERRY_SPAWN_OPT_READY_TIMEOUT:
        return take_time(option, text, &pool->ready_ms);
    case FERRY_SPAWN_OPT_MAX_REQUESTS:
        return take_number(option, text, INT_MAX, &pool->max_requests);
    case FERRY_SPAWN_OPT_MAX_AGE:
        return take_age(pool, text);
    case FERRY_SPAWN_OPT_MAX_RSS:
        return take_size(option, text, &pool->max_rss);
    case FERRY_SPAWN_OPT_FATAL:
        return take_number(option, text, 1000000, &pool->failures_max);
    case FERRY_SPAWN_OPT_STOP_TIMEOUT:
        return take_time(option, text, &pool->stop_ms);
    case FERRY_SPAWN_OPT_PING_INTERVAL:
        return take_time(option, text, &pool->ping.interval_ms);
    case FERRY_SPAWN_OPT_PING_TIMEOUT:
        return take_time(option, text, &pool->ping.timeout_ms);
    case FERRY_SPAWN_OPT_PING_THRESHOLD:
        return take_number(option, text, 1000, &pool->ping.failures_max);
    default:
        return FERRY_EXIT_USAGE;
    }
}

int ferry_spawning_take_pool(struct ferry_spawning *s, enum ferry_spawn_pool_option option,
                             char *text)
{
    s->needs = name_of(option);
    switch (option) {
    case FERRY_SPAWN_OPT_NAME:
        return take_name(&s->pool, text);
    case FERRY_SPAWN_OPT_PROCESSES:
        return take_processes(&s->pool, text);
    case FERRY_SPAWN_OPT_PER_PROCESS:
        s->pool.per_process = true;
        return 0;
    case FERRY_SPAWN_OPT_READY:
        return take_ready(&s->pool, text);
    case FERRY_SPAWN_OPT_RESTART_DELAY:
        return take_delay(&s->pool, text);
    case FERRY_SPAWN_OPT_STOP_SIGNAL:
        return take_signal(&s->pool, text);
    case FERRY_SPAWN_OPT_PING:
        return take_ping(&s->pool, text);
    case FERRY_SPAWN_OPT_STATUS:
        return take_status(s, text);
    case FERRY_SPAWN_OPT_LOG:
        s->log = text;
        return 0;
    case FERRY_SPAWN_OPT_QUIET:
        s->quiet = true;
        return 0;
    default:
        return take_measure(s, option, text);
    }
}
