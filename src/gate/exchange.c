/* SPDX-License-Identifier: MIT */
/*
 * One request from its head to its log line: which site and route it is for, and how it ends. What
 * must outlive the head for the log is written into a block here, once.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/text.h"
#include "gate/internal.h"

#define SPARE_MAX 256
#define ERROR_LINE_MAX 4096

static struct ferry__exchange *exchange_new(struct ferry__gate_conn *c)
{
    struct ferry_gate_thread *t = c->thread;
    struct ferry__exchange *x = t->spare;

    if (x) {
        t->spare = x->next;
        t->nspare--;
        memset(x, 0, offsetof(struct ferry__exchange, session));
    } else {
        x = calloc(1, sizeof *x);
        if (!x)
            return NULL;
    }
    x->conn = c;
    x->thread = t;
    x->began_us = ferry_now_us();
    ferry_task_init(&x->settle, ferry__relay_settle);
    ferry_task_init(&x->resume, ferry__host_resume);
    c->x = x;
    return x;
}

void ferry__exchange_free(struct ferry__exchange *x)
{
    struct ferry_gate_thread *t = x->thread;

    ferry_task_cancel(&x->settle);
    ferry_task_cancel(&x->resume);
    if (x->has_session)
        ferry_session_fini(&x->session);
    ferry_block_unref(x->image);
    ferry__relay_forget(x);
    ferry_block_unref(x->log);
    if (x->spooling)
        ferry_spool_fini(&x->body);
    if (x->keeping)
        ferry_spool_fini(&x->kept);
    free(x->errors);
    x->conn->x = NULL;
    if (t->nspare < SPARE_MAX) {
        x->next = t->spare;
        t->spare = x;
        t->nspare++;
    } else {
        free(x);
    }
}

/* -- the log line
 * ---------------------------------------------------------------------------------------------- */

static struct ferry_slice keep(char **at, char *end, struct ferry_slice s)
{
    size_t n = s.len < (size_t)(end - *at) ? s.len : (size_t)(end - *at);
    struct ferry_slice kept = {*at, n};

    if (n)
        memcpy(*at, s.p, n);
    *at += n;
    return kept;
}

/* What the log line and the application's error lines will need of the head. */
static void keep_for_log(struct ferry__exchange *x, const struct ferry_http_head *head)
{
    char *at, *end;

    x->log = ferry_block_get(ferry_loop_blocks(x->thread->loop), FERRY_BLOCK_SMALL);
    if (!x->log)
        return;
    at = x->log->data;
    end = at + x->log->cap;
    x->log_method = keep(&at, end, ferry_slice_first(head->method, 32));
    x->log_target = keep(&at, end, ferry_slice_first(head->target, 2048));
    x->log_host = keep(&at, end, ferry_slice_first(head->host, 260));
    x->minor = head->minor;
    if (!x->site || !x->site->access_log)
        return;
    for (unsigned i = 0; i < head->nfields; i++) {
        const struct ferry_http_field *f = &head->fields[i];

        if (f->name.len == 7 && ferry_slice_eq_nocase(f->name, FERRY_SLICE("referer")))
            x->log_referer = keep(&at, end, ferry_slice_first(f->value, 1000));
        else if (f->name.len == 10 && ferry_slice_eq_nocase(f->name, FERRY_SLICE("user-agent")))
            x->log_agent = keep(&at, end, ferry_slice_first(f->value, 1000));
    }
}

/* How long the first line is, and how much to skip behind it. php-fpm puts the messages of a
 * request behind each other. */
static size_t line_end(struct ferry_slice rest, size_t *skip)
{
    size_t end = ferry_slice_find(rest, '\n');
    const char *joint = NULL;

    if (ferry_slice_starts(rest, FERRY_SLICE("PHP message: ")))
        joint = memmem(rest.p, end, "; PHP message: ", 15);
    *skip = joint ? 2 : 1;
    return joint ? (size_t)(joint - rest.p) : end;
}

static void log_errors(struct ferry__exchange *x)
{
    const struct ferry_gate_opts *o = &x->thread->gate->opts;
    struct ferry_slice rest = {x->errors, x->errors_len};
    char line[ERROR_LINE_MAX * 4 + 512];

    while (rest.len && o->log) {
        size_t skip;
        size_t end = line_end(rest, &skip);
        char *at = line;

        at = ferry__put(at, x->log_method);
        *at++ = ' ';
        at = ferry__put_escaped(at, ferry_slice_first(x->log_target, 100));
        at = FERRY_PUT(at, ": ");
        at =
            ferry__put_escaped(at, ferry_slice_first(ferry_slice_first(rest, end), ERROR_LINE_MAX));
        if (end > 0)
            o->log(o->log_arg, FERRY_GATE_APP, ferry_slice(line, (size_t)(at - line)));
        rest = ferry_slice_from(rest, end + skip);
    }
    x->errors_len = 0;
}

static void log_access(struct ferry__exchange *x, struct ferry_access_buf *b)
{
    struct ferry_gate_thread *t = x->thread;

    ferry__gate_date(t); /* brings date_s up to date */
    ferry__gate_name(x->conn);
    ferry_access_buf_add(b,
                         &(struct ferry_access){
                             .format = x->site->log_format,
                             .client = ferry_slice_z(x->conn->remote_addr),
                             .user = x->has_session ? x->session.rq.remote_user : FERRY_SLICE(""),
                             .method = x->log_method,
                             .target = x->log_target,
                             .host = x->log_host,
                             .minor = (uint8_t)x->minor,
                             .status = x->status,
                             .bytes = x->sent,
                             .referer = x->log_referer,
                             .agent = x->log_agent,
                             .time_s = t->date_s,
                             .request_us = ferry_now_us() - x->began_us,
                             .app_us = x->app_us ? x->app_us : FERRY_ACCESS_NO_APP,
                             .end = x->end,
                         },
                         ferry_loop_now(t->loop));
    ferry__gate_accessed(t, b);
}

void ferry__exchange_over(struct ferry__exchange *x)
{
    struct ferry__gate_conn *c = x->conn;
    struct ferry_access_buf *access = ferry__gate_access(x->thread, x->site);

    if (access)
        log_access(x, access);
    if (x->errors_len) {
        if (access) /* so that they stand under their request's line */
            ferry_access_buf_flush(access, ferry_loop_now(x->thread->loop));
        log_errors(x);
    }
    ferry__exchange_free(x);
    ferry_pump_kick(&c->pump);
}

void ferry__exchange_abandon(struct ferry__exchange *x, enum ferry_access_end end)
{
    if (x->calling) {
        ferry_call_abort(&x->call);
        x->app_us = ferry_now_us() - x->called_us;
    }
    x->calling = false;
    if (!x->end)
        x->end = end;
    if (!x->status)
        x->status = 499;
    ferry__exchange_over(x);
}

/* -- where it leads ------------------------------------------------------------------------- */

static bool is_idempotent(enum ferry_http_method m)
{
    return m == FERRY_HTTP_GET || m == FERRY_HTTP_HEAD || m == FERRY_HTTP_OPTIONS ||
           m == FERRY_HTTP_PUT || m == FERRY_HTTP_DELETE;
}

/* Room for the decoded path; kept by the thread. */
static bool path_room(struct ferry_gate_thread *t, size_t need)
{
    char *mem;

    if (need <= t->path_cap)
        return true;
    mem = realloc(t->path_mem, need);
    if (!mem)
        return false;
    t->path_mem = mem;
    t->path_cap = need;
    return true;
}

static void route(struct ferry__exchange *x, const struct ferry_http_head *head)
{
    struct ferry_gate_thread *t = x->thread;
    const struct ferry_gate_route *route;
    struct ferry_path path;
    const char *why = "";

    if (head->method_id == FERRY_HTTP_TRACE || head->method_id == FERRY_HTTP_CONNECT) {
        ferry__exchange_refuse(x, 405, "This method is not offered.");
        return;
    }
    if (!path_room(t, head->target.len + 1)) {
        ferry__exchange_refuse(x, 500, "Memory is out.");
        return;
    }
    if (ferry_path_parse(head->target, t->path_mem, &path, &why) < 0) {
        x->end = FERRY_ACCESS_BAD_REQUEST;
        ferry__exchange_refuse(x, 400, why);
        return;
    }
    if (!x->site) {
        ferry__exchange_refuse(x, 404, "There is no such site here.");
        return;
    }
    if (x->site->body_max && head->content_length > (int64_t)x->site->body_max) {
        x->end = FERRY_ACCESS_LIMIT;
        ferry__exchange_refuse(x, 413, "The request's body is larger than this site takes.");
        return;
    }
    route = ferry_gate_route_find(x->site, path.path);
    if (route)
        ferry__host_begin(x, head, &path, route);
    else
        ferry__exchange_refuse(x, 404, "There is nothing at this address.");
}

void ferry__exchange_begin(struct ferry__gate_conn *c, const struct ferry_http_head *head)
{
    struct ferry__exchange *x = exchange_new(c);

    if (!x) {
        ferry_http_cut(c->http);
        return;
    }
    x->site = ferry_gate_site_find(c->thread->gate->sites, c->listener,
                                   head ? head->host : FERRY_SLICE(""));
    if (!head)
        return;
    keep_for_log(x, head);
    x->head_method = head->method_id == FERRY_HTTP_HEAD;
    x->idempotent = is_idempotent(head->method_id);
    route(x, head);
}
