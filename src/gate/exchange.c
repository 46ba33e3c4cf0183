/* SPDX-License-Identifier: MIT */
/*
 * One request from its head to its log line: where its path leads, what the application is told of
 * it, and how it ends. Everything that must outlive the head (params, log fields) is written into
 * blocks here, once.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "ferry/record.h"
#include "files/error_page.h"
#include "gate/internal.h"
#include "files/static.h"
#include "base/text.h"

#define SPARE_MAX 256
#define ERROR_LINE_MAX 4096

static const struct ferry_call_fns no_body_fns = {
    .out = ferry__relay_out,
    .errors = ferry__relay_errors,
    .done = ferry__relay_done,
};

static const struct ferry_call_fns body_fns = {
    .started = ferry__body_started,
    .out = ferry__relay_out,
    .errors = ferry__relay_errors,
    .writable = ferry__body_writable,
    .done = ferry__relay_done,
};

static struct ferry__exchange *exchange_new(struct ferry__gate_conn *c)
{
    struct ferry_gate_thread *t = c->thread;
    struct ferry__exchange *x = t->spare;

    if (x) {
        t->spare = x->next;
        t->nspare--;
        memset(x, 0, sizeof *x);
    } else {
        x = calloc(1, sizeof *x);
        if (!x)
            return NULL;
    }
    x->conn = c;
    x->thread = t;
    x->began_us = ferry_now_us();
    ferry_task_init(&x->settle, ferry__relay_settle);
    c->x = x;
    return x;
}

void ferry__exchange_free(struct ferry__exchange *x)
{
    struct ferry_gate_thread *t = x->thread;

    ferry_task_cancel(&x->settle);
    ferry_block_unref(x->image);
    ferry__relay_forget(x);
    ferry_block_unref(x->log);
    if (x->has_body)
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
    x->minor = head->minor;
    if (!x->thread->gate->opts.access_log)
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

static void log_access(struct ferry__exchange *x)
{
    struct ferry_gate_thread *t = x->thread;

    ferry__gate_date(t); /* brings date_s up to date */
    ferry__gate_name(x->conn);
    ferry_access_buf_add(&t->access,
                         &(struct ferry_access){
                             .client = ferry_slice_z(x->conn->remote_addr),
                             .method = x->log_method,
                             .target = x->log_target,
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
    ferry__gate_accessed(t);
}

void ferry__exchange_over(struct ferry__exchange *x)
{
    struct ferry__gate_conn *c = x->conn;

    if (x->thread->gate->opts.access_log)
        log_access(x);
    if (x->errors_len) {
        if (x->thread->gate->opts.access_log) /* so that they stand under their request's line */
            ferry_access_buf_flush(&x->thread->access, ferry_loop_now(x->thread->loop));
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

/* -- answers of the gate's own
 * --------------------------------------------------------------------------------- */

static void answer_page(struct ferry__exchange *x, int status, const char *why,
                        const struct ferry_http_field *more, unsigned nmore)
{
    int n = ferry_error_page_send(x->conn->http, status, ferry_slice_z(why),
                                  ferry__gate_date(x->thread), more, nmore);

    x->status = status;
    if (n < 0)
        ferry_http_cut(x->conn->http);
    else if (!x->head_method)
        x->sent = (uint64_t)n;
    ferry__exchange_over(x);
}

void ferry__exchange_refuse(struct ferry__exchange *x, int status, const char *why)
{
    static const struct ferry_http_field retry = {FERRY_SLICE_INIT("Retry-After"),
                                                  FERRY_SLICE_INIT("1")};
    static const struct ferry_http_field allow = {FERRY_SLICE_INIT("Allow"),
                                                  FERRY_SLICE_INIT("GET, HEAD")};

    if (x->calling)
        ferry_call_abort(&x->call);
    x->calling = false;
    if (status == 503)
        answer_page(x, status, why, &retry, 1);
    else if (status == 405)
        answer_page(x, status, why, &allow, 1);
    else
        answer_page(x, status, why, NULL, 0);
}

static void redirect_to_slash(struct ferry__exchange *x, const struct ferry_path *path,
                              struct ferry_slice target)
{
    struct ferry_block *b;
    size_t raw = ferry_slice_find(target, '?');
    char *at;

    if (path->authority.len || target.p[0] != '/' || (target.len > 1 && target.p[1] == '/')) {
        ferry__exchange_refuse(x, 404, "There is nothing at this address.");
        return;
    }
    b = ferry_block_get(ferry_loop_blocks(x->thread->loop), target.len + 2);
    if (!b) {
        ferry__exchange_refuse(x, 500, "Memory is out.");
        return;
    }
    at = b->data;
    memcpy(at, target.p, raw);
    at[raw] = '/';
    memcpy(at + raw + 1, target.p + raw, target.len - raw);
    answer_page(x, 301, "This folder's address ends with a slash.",
                &(struct ferry_http_field){FERRY_SLICE("Location"), {b->data, target.len + 1}}, 1);
    ferry_block_unref(b);
}

static void send_static(struct ferry__exchange *x, const struct ferry_http_head *head,
                        struct ferry_slice file)
{
    struct ferry_gate_thread *t = x->thread;
    struct ferry_static_result result = {0};
    int err;

    err = ferry_static_send(&t->docroot, t->gate->opts.mime, x->conn->http,
                            ferry_loop_blocks(t->loop), head, file, ferry__gate_date(t), &result);
    if (err < 0) {
        int status = ferry_static_status(err);

        ferry__exchange_refuse(x, status,
                               status == 404   ? "There is nothing at this address."
                               : status == 403 ? "This file may not be read."
                               : status == 405 ? "Files can only be read."
                                               : "This file cannot be read at the moment.");
        return;
    }
    x->status = result.status;
    x->sent = result.bytes;
    if (result.cut)
        x->end = FERRY_ACCESS_FILE_CUT;
    ferry__exchange_over(x);
}

/* -- the application's params
 * ---------------------------------------------------------------------------------- */

static bool is_idempotent(enum ferry_http_method m)
{
    return m == FERRY_HTTP_GET || m == FERRY_HTTP_HEAD || m == FERRY_HTTP_OPTIONS ||
           m == FERRY_HTTP_PUT || m == FERRY_HTTP_DELETE;
}

/* The name alone: without the port, and without the brackets' content touched. */
static struct ferry_slice host_name(struct ferry_slice host)
{
    size_t i = host.len;

    while (i > 0 && host.p[i - 1] >= '0' && host.p[i - 1] <= '9')
        i--;
    return i > 0 && host.p[i - 1] == ':' ? ferry_slice_first(host, i - 1) : host;
}

static bool write_params(struct ferry__exchange *x, const struct ferry_http_head *head,
                         const struct ferry_cgi_request *rq)
{
    size_t room = ferry_cgi_params_room(rq);

    x->image = ferry_block_get(ferry_loop_blocks(x->thread->loop), room);
    if (!x->image)
        return false;
    ferry_params_open(&x->params, x->image->data, x->image->cap, 1);
    ferry_params_begin_request(&x->params, FERRY_RESPONDER, FERRY_KEEP_CONN);
    ferry_cgi_params(rq, &x->params);
    /* These come with a body even if it is empty; scripts that take them look for its length. */
    if (!head->has_body &&
        (head->method_id == FERRY_HTTP_POST || head->method_id == FERRY_HTTP_PUT ||
         head->method_id == FERRY_HTTP_PATCH))
        ferry_cgi_content_length(&x->params, 0);
    x->call.idempotent = is_idempotent(head->method_id);
    x->head_method = head->method_id == FERRY_HTTP_HEAD;
    return true;
}

static void run(struct ferry__exchange *x, const struct ferry_http_head *head,
                const struct ferry_path *path, const struct ferry_route *route,
                struct ferry_slice script_filename)
{
    struct ferry__gate_conn *c = x->conn;
    const struct ferry_gate_opts *o = &x->thread->gate->opts;
    struct ferry_cgi_request rq;

    ferry__gate_name(c);
    rq = (struct ferry_cgi_request){
        .method = head->method,
        .target = head->target,
        .protocol = head->minor ? FERRY_SLICE("HTTP/1.1") : FERRY_SLICE("HTTP/1.0"),
        .scheme = FERRY_SLICE("http"),
        .query = path->query,
        .script_name = route->script_name,
        .path_info = route->path_info,
        .script_filename = script_filename,
        .document_root = x->thread->has_docroot ? x->thread->docroot.real : ferry_slice(NULL, 0),
        .server_name = o->server_name   ? ferry_slice_z(o->server_name)
                       : head->host.len ? host_name(head->host)
                                        : ferry_slice_z(c->local_addr),
        .server_addr = ferry_slice_z(c->local_addr),
        .server_port = ferry_slice_z(c->local_port),
        .remote_addr = ferry_slice_z(c->remote_addr),
        .remote_port = ferry_slice_z(c->remote_port),
        .server_software = FERRY_SLICE("ferry/" FERRY_VERSION),
        .fields = (const struct ferry_param *)head->fields,
        .nfields = head->nfields,
    };
    if (!write_params(x, head, &rq)) {
        ferry__exchange_refuse(x, 500, "Memory is out.");
        return;
    }
    x->has_body = head->has_body;
    x->body_len = head->content_length;
    x->call.fns = x->has_body ? &body_fns : &no_body_fns;
    ferry__body_begin(x);
}

_Static_assert(sizeof(struct ferry_http_field) == sizeof(struct ferry_param) &&
                   offsetof(struct ferry_http_field, value) == offsetof(struct ferry_param, value),
               "header fields are handed to cgi as the name-value pairs they are");

/* -- where the path leads
 * -------------------------------------------------------------------------------------- */

static void run_script(struct ferry__exchange *x, const struct ferry_http_head *head,
                       const struct ferry_path *path, const struct ferry_route *route)
{
    struct ferry_gate_thread *t = x->thread;
    struct ferry_slice filename;
    int err;

    if (!t->pool) {
        ferry__exchange_refuse(
            x, 503,
            "No PHP runs here: there was none to run when ferry was started. Start it again.");
        return;
    }
    err = ferry_docroot_script(&t->docroot, route->file, ferry_loop_now(t->loop), &filename);
    if (err < 0) {
        ferry__exchange_refuse(x, err == -EACCES ? 403 : 404,
                               err == -EACCES ? "This script lies outside of the site."
                                              : "There is nothing at this address.");
        return;
    }
    run(x, head, path, route, filename);
}

static void route_below_dir(struct ferry__exchange *x, const struct ferry_http_head *head,
                            const struct ferry_path *path, char *mem, size_t cap)
{
    const struct ferry_gate_opts *o = &x->thread->gate->opts;
    struct ferry_path_rules rules = {
        .script_suffix = FERRY_SLICE(".php"),
        .index = ferry_slice_z(o->index),
        .index_static = FERRY_SLICE("index.html"),
        .look = ferry_docroot_look,
        .ctx = &x->thread->docroot,
        .project_root = o->project_root,
    };
    struct ferry_route route;

    if (ferry_path_route(&rules, path->path, mem, cap, &route) < 0) {
        ferry__exchange_refuse(x, 414, "The address is too long.");
        return;
    }
    switch (route.kind) {
    case FERRY_ROUTE_STATIC:
        send_static(x, head, route.file);
        break;
    case FERRY_ROUTE_SCRIPT:
        run_script(x, head, path, &route);
        break;
    case FERRY_ROUTE_REDIRECT:
        redirect_to_slash(x, path, head->target);
        break;
    case FERRY_ROUTE_HIDDEN:
    case FERRY_ROUTE_NOT_FOUND:
        ferry__exchange_refuse(x, 404, "There is nothing at this address.");
        break;
    }
}

/* Room for the decoded path and for what routing builds of it; kept by the thread. */
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
    const struct ferry_gate_opts *o = &t->gate->opts;
    size_t path_max = head->target.len + 1;
    struct ferry_path path;
    const char *why = "";

    if (head->method_id == FERRY_HTTP_TRACE || head->method_id == FERRY_HTTP_CONNECT) {
        ferry__exchange_refuse(x, 405, "This method is not offered.");
        return;
    }
    if (!path_room(t, path_max * 2 + strlen(o->index) + 256)) {
        ferry__exchange_refuse(x, 500, "Memory is out.");
        return;
    }
    if (ferry_path_parse(head->target, t->path_mem, &path, &why) < 0) {
        x->end = FERRY_ACCESS_BAD_REQUEST;
        ferry__exchange_refuse(x, 400, why);
        return;
    }
    if (o->script) {
        /* Its own name as SCRIPT_NAME, as behind a front controller: applications read REQUEST_URI.
         */
        const char *slash = strrchr(o->script, '/');
        struct ferry_route r = {.kind = FERRY_ROUTE_SCRIPT,
                                .script_name = ferry_slice_z(slash ? slash : o->script)};

        run(x, head, &path, &r, ferry_slice_z(o->script));
    } else if (o->dir) {
        ferry_docroot_refresh(&t->docroot, ferry_loop_now(t->loop));
        route_below_dir(x, head, &path, t->path_mem + path_max, t->path_cap - path_max);
    } else {
        /* The application is mounted at the root: the whole path is its PATH_INFO (RFC 3875
         * section 4.1.13). */
        struct ferry_route r = {.kind = FERRY_ROUTE_SCRIPT, .path_info = path.path};

        run(x, head, &path, &r, ferry_slice(NULL, 0));
    }
}

void ferry__exchange_begin(struct ferry__gate_conn *c, const struct ferry_http_head *head)
{
    struct ferry__exchange *x = exchange_new(c);

    if (!x) {
        ferry_http_cut(c->http);
        return;
    }
    if (!head)
        return;
    keep_for_log(x, head);
    x->head_method = head->method_id == FERRY_HTTP_HEAD;
    route(x, head);
}
