/* SPDX-License-Identifier: MIT */
/*
 * What a pool looks like: the look, and its two forms. The names in the JSON are a contract; those
 * that come later are added behind.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proc/backlog.h"
#include "proc/manager_private.h"
#include "proc/usage.h"

/* -- looking ---------------------------------------------------------------------------------- */

static enum ferry_manager_process_state state_of(const struct ferry__member *p)
{
    if (p->state == FERRY__STARTING)
        return FERRY_MANAGER_PROCESS_STARTING;
    if (p->state == FERRY__STOPPING)
        return FERRY_MANAGER_PROCESS_STOPPING;
    return p->slot->current == p && p->slot->next ? FERRY_MANAGER_PROCESS_REPLACING
                                                  : FERRY_MANAGER_PROCESS_READY;
}

static void look_at_queue(struct ferry_manager *m, struct ferry_manager_status *s)
{
    struct ferry__backlog b;

    s->queued = s->backlog = -1;
    for (unsigned i = 0; i < (m->opts.per_process ? m->nslots : 1); i++) {
        if (ferry__backlog_read(&m->diag, m->slots[i].listener, &b) < 0 || !b.exact)
            return;
        s->queued = (s->queued < 0 ? 0 : s->queued) + b.queued;
        s->backlog = b.max;
    }
}

static int by_pid(const void *a, const void *b)
{
    const struct ferry_manager_process_status *x = a, *y = b;

    return (x->pid > y->pid) - (x->pid < y->pid);
}

static int by_place(const void *a, const void *b)
{
    const struct ferry_manager_process_status *x = a, *y = b;

    if (x->slot != y->slot)
        return x->slot < y->slot ? -1 : 1;
    return (x->generation > y->generation) - (x->generation < y->generation);
}

static int look_at_processes(struct ferry_manager *m, struct ferry_manager_status *s, uint64_t now)
{
    struct ferry__usage *usage = calloc(m->nmembers ? m->nmembers : 1, sizeof *usage);
    struct ferry__member *p;
    bool known;

    s->processes = calloc(m->nmembers ? m->nmembers : 1, sizeof *s->processes);
    if (!usage || !s->processes) {
        free(usage);
        return -ENOMEM;
    }
    ferry__each_member(p, m)
    {
        struct ferry_manager_process_status *to = &s->processes[s->nprocesses];

        if (p->state == FERRY__ENDED)
            continue;
        *to = (struct ferry_manager_process_status){
            .state = state_of(p),
            .pid = p->pid,
            .slot = (unsigned)(p->slot - m->slots),
            .generation = p->generation,
            .age_ms = now - p->started_ms,
            .requests = p->requests,
            .active = p->active,
        };
        memcpy(to->said, p->said, sizeof to->said);
        s->nprocesses++;
    }
    qsort(s->processes, s->nprocesses, sizeof *s->processes, by_pid);
    for (unsigned i = 0; i < s->nprocesses; i++)
        usage[i].group = s->processes[i].pid;
    known = ferry__usage_read(usage, s->nprocesses) == 0;
    for (unsigned i = 0; i < s->nprocesses && known; i++) {
        s->processes[i].cpu_ms = usage[i].cpu_ms;
        s->processes[i].rss = usage[i].rss;
    }
    qsort(s->processes, s->nprocesses, sizeof *s->processes, by_place);
    free(usage);
    return 0;
}

int ferry_manager_status(struct ferry_manager *m, struct ferry_manager_status *out)
{
    uint64_t now = ferry__now_ms();

    *out = m->totals;
    memcpy(out->name, m->name, sizeof out->name);
    out->state = m->state;
    out->reloading = ferry_manager_is_reloading(m);
    out->generation = m->generation;
    out->processes_min = m->opts.processes_min;
    out->processes_max = m->nslots;
    out->up_ms = now - m->began_ms;
    out->last_end_ms = m->totals.last_end[0] ? now - m->last_end_ms : 0;
    look_at_queue(m, out);
    return look_at_processes(m, out, now);
}

void ferry_manager_status_fini(struct ferry_manager_status *s)
{
    free(s->processes);
    s->processes = NULL;
    s->nprocesses = 0;
}

/* -- for people ------------------------------------------------------------------------------- */

static const char *process_state_text(enum ferry_manager_process_state state)
{
    static const char *const text[] = {
#define X(name, text) [FERRY_MANAGER_PROCESS_##name] = text,
        FERRY_MANAGER_PROCESS_STATE_MAP(X)
#undef X
    };

    return text[state];
}

/* The length of the UTF-8 sequence at the front, without C1 controls; 0: it is none. */
static size_t utf8(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((*p == 0xc2 && p[1] < 0xa0) || (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
        (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

static void put_escaped(const char *text, FILE *f)
{
    while (*text) {
        size_t n = utf8(text);

        if (n == 0 || (unsigned char)*text < 0x20 || *text == 0x7f || *text == '\\') {
            fprintf(f, "\\x%02X", (unsigned char)*text++);
            continue;
        }
        fwrite(text, 1, n, f);
        text += n;
    }
}

static void put_duration(uint64_t ms, FILE *f)
{
    uint64_t s = ms / 1000;

    if (s >= 86400)
        fprintf(f, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        fprintf(f, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        fprintf(f, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
    else
        fprintf(f, "%" PRIu64 ".%" PRIu64 "s", s, ms % 1000 / 100);
}

static void put_cell(int64_t n, int width, FILE *f)
{
    if (n < 0)
        fprintf(f, " %*s", width, "-");
    else
        fprintf(f, " %*" PRId64, width, n);
}

static void put_process(const struct ferry_manager_process_status *p, FILE *f)
{
    fprintf(f, "%7d %4u %4u  %-9s %8" PRIu64 " %9.2f %8.1f", (int)p->pid, p->slot, p->generation,
            process_state_text(p->state), p->age_ms / 1000, (double)p->cpu_ms / 1000,
            (double)p->rss / (1 << 20));
    put_cell(p->requests, 9, f);
    put_cell(p->active, 6, f);
    if (p->said[0])
        fputs("  ", f);
    put_escaped(p->said, f);
    fputc('\n', f);
}

void ferry_manager_status_text(const struct ferry_manager_status *s, FILE *f)
{
    put_escaped(s->name, f);
    fprintf(f, ": %s%s, generation %u, %u of %u to %u processes, up ",
            ferry_manager_state_text(s->state), s->reloading ? " (reloading)" : "", s->generation,
            s->nprocesses, s->processes_min, s->processes_max);
    put_duration(s->up_ms, f);
    fputc('\n', f);
    if (s->queued >= 0)
        fprintf(f, "queue: %" PRId64 " waiting, %" PRId64 " may wait\n", s->queued, s->backlog);
    fprintf(f,
            "processes: %" PRIu64 " started, %" PRIu64 " crashed, %" PRIu64 " ended by themselves, "
            "%" PRIu64 " replaced, %" PRIu64 " idle, %" PRIu64 " silent, %" PRIu64
            " could not be started\n",
            s->started, s->crashed, s->exited, s->recycled, s->idled, s->unhealthy, s->unstartable);
    fprintf(f, "reloads: %" PRIu64 " done, %" PRIu64 " failed\n", s->reloads, s->reloads_failed);
    if (s->lines_dropped)
        fprintf(f, "output: %" PRIu64 " lines left out\n", s->lines_dropped);
    if (s->last_end[0]) {
        fputs("last end: ", f);
        put_escaped(s->last_end, f);
        fputs(", ", f);
        put_duration(s->last_end_ms, f);
        fputs(" ago\n", f);
    }
    if (s->nprocesses)
        fputs("\n    pid slot  gen  state        age s     cpu s  mem MiB  requests active\n", f);
    for (unsigned i = 0; i < s->nprocesses; i++)
        put_process(&s->processes[i], f);
}

/* -- for machines ----------------------------------------------------------------------------- */

/* Text that is no UTF-8 gets U+FFFD in place of each byte (RFC 8259 section 8.1). */
static void put_string(const char *text, FILE *f)
{
    fputc('"', f);
    while (*text) {
        unsigned char c = (unsigned char)*text;
        size_t n = utf8(text);

        if (n == 0) {
            fputs("\\ufffd", f);
            n = 1;
        } else if (c < 0x20 || c == 0x7f || c == '"' || c == '\\') {
            fprintf(f, "\\u%04x", c);
        } else {
            fwrite(text, 1, n, f);
        }
        text += n;
    }
    fputc('"', f);
}

static void put_number(const char *name, int64_t n, FILE *f)
{
    if (n < 0)
        fprintf(f, ",\"%s\":null", name);
    else
        fprintf(f, ",\"%s\":%" PRId64, name, n);
}

#define PUT(s, field) put_number(#field, (int64_t)(s)->field, f)

static void put_json_process(const struct ferry_manager_process_status *p, FILE *f)
{
    fprintf(f, "{\"pid\":%d,\"state\":\"%s\"", (int)p->pid, process_state_text(p->state));
    PUT(p, slot);
    PUT(p, generation);
    PUT(p, age_ms);
    PUT(p, cpu_ms);
    PUT(p, rss);
    PUT(p, requests);
    PUT(p, active);
    fputs(",\"status\":", f);
    put_string(p->said, f);
    fputc('}', f);
}

void ferry_manager_status_json(const struct ferry_manager_status *s, FILE *f)
{
    fputs("{\"pool\":", f);
    put_string(s->name, f);
    fprintf(f, ",\"state\":\"%s\",\"reloading\":%s", ferry_manager_state_text(s->state),
            s->reloading ? "true" : "false");
    PUT(s, generation);
    PUT(s, processes_min);
    PUT(s, processes_max);
    PUT(s, up_ms);
    PUT(s, queued);
    PUT(s, backlog);
    PUT(s, started);
    PUT(s, crashed);
    PUT(s, exited);
    PUT(s, recycled);
    PUT(s, idled);
    PUT(s, unhealthy);
    PUT(s, unstartable);
    PUT(s, reloads);
    PUT(s, reloads_failed);
    PUT(s, lines_dropped);
    fputs(",\"last_end\":", f);
    if (s->last_end[0])
        put_string(s->last_end, f);
    else
        fputs("null", f);
    put_number("last_end_ms", s->last_end[0] ? (int64_t)s->last_end_ms : -1, f);
    fputs(",\"processes\":[", f);
    for (unsigned i = 0; i < s->nprocesses; i++) {
        if (i)
            fputc(',', f);
        put_json_process(&s->processes[i], f);
    }
    fputs("]}\n", f);
}
