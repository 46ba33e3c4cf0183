/* SPDX-License-Identifier: MIT */
/*
 * What the filters of a request's chain decide, done: the gate's side of src/session. An answer is
 * sent, a file is sent, a request goes to an application; and when an answer is only a verdict, the
 * chain goes on behind it.
 */
#include <errno.h>

#include "ferry/record.h"
#include "files/static.h"
#include "gate/internal.h"

static struct ferry__exchange *exchange_of(struct ferry_session *s)
{
    return ferry_container(s, struct ferry__exchange, session);
}

static int edit(void *arg, int status, const struct ferry_http_field **fields, unsigned *n)
{
    struct ferry__exchange *x = arg;

    return ferry_session_edit_answer(&x->session, status, fields, n);
}

const struct ferry_head_edit *ferry__host_edit(struct ferry__exchange *x,
                                               struct ferry_head_edit *to)
{
    if (!x->has_session || !ferry_session_edits(&x->session))
        return NULL;
    *to = (struct ferry_head_edit){edit, x};
    return to;
}

/* -- answers ----------------------------------------------------------------------------------- */

static void answer(struct ferry_session *s, int status, const struct ferry_param *fields,
                   unsigned nfields, struct ferry_slice body)
{
    struct ferry__exchange *x = exchange_of(s);
    struct ferry_head_edit mem;
    struct ferry_http_response r = {
        .status = status,
        .date = ferry__gate_date(x->thread),
        .fields = (const struct ferry_http_field *)fields,
        .nfields = nfields,
        .content_length = status == 204 || status == 304 ? -1 : (int64_t)body.len,
    };
    int err = ferry_head_respond(x->conn->http, &r, ferry__host_edit(x, &mem));

    if (err < 0) {
        ferry__gate_log(x->thread, FERRY_GATE_ERROR, "%.*s: a filter's answer is unusable: %s",
                        (int)ferry_slice_first(x->log_target, 200).len, x->log_target.p,
                        ferry_strerror(err));
        x->end = FERRY_ACCESS_INTERNAL;
        ferry__exchange_refuse(x, 500, "The request could not be processed.");
        return;
    }
    x->status = r.status;
    if (!x->head_method && r.content_length > 0) {
        ferry_http_write(x->conn->http, NULL, body);
        x->sent = body.len;
    }
    ferry_http_finish(x->conn->http);
    ferry__exchange_over(x);
}

static void refuse(struct ferry_session *s, int status, const char *why)
{
    ferry__exchange_refuse(exchange_of(s), status, why);
}

static int send_file(struct ferry_session *s, struct ferry_docroot *root, struct ferry_slice file)
{
    struct ferry__exchange *x = exchange_of(s);
    struct ferry_gate_thread *t = x->thread;
    struct ferry_static_result result = {0};
    struct ferry_head_edit mem;
    int err =
        ferry_static_send(root, t->gate->opts.mime, x->conn->http, ferry_loop_blocks(t->loop),
                          s->head, file, ferry__gate_date(t), ferry__host_edit(x, &mem), &result);

    if (err < 0)
        return err;
    x->status = result.status;
    x->sent = result.bytes;
    if (result.cut)
        x->end = FERRY_ACCESS_FILE_CUT;
    ferry__exchange_over(x);
    return 0;
}

/* -- requests to applications ------------------------------------------------------------------ */

static void call(struct ferry_session *s, const struct ferry_session_call *c)
{
    struct ferry__exchange *x = exchange_of(s);
    int err;

    ferry__gate_name(x->conn);
    /* They may look at the request when the thread has long had others. */
    err = s->answer_hooks || s->over_hooks ? ferry_session_keep(s) : 0;
    if (err == 0)
        err = ferry_session_image(s, c, true, &x->params, &x->image);
    if (err < 0) {
        ferry__exchange_refuse(x, err == FERRY_ELIMIT ? 431 : 500,
                               err == FERRY_ELIMIT ? "The request's header fields are too large."
                                                   : "Memory is out.");
        return;
    }
    x->client = c->client;
    x->key = c->key.len ? c->key : ferry_slice_z(x->conn->remote_addr);
    x->judge = c->judge;
    x->judge_arg = c->judge_arg;
    x->has_body = x->client_body && !c->no_body;
    /* Some methods come with a body even if it is empty; scripts that take them look for its
     * length. */
    if (x->wants_length && !c->no_body)
        ferry_cgi_content_length(&x->params, 0);
    ferry__body_begin(x);
}

static int keep(struct ferry_session *s)
{
    return ferry_session_keep(s);
}

static const struct ferry_session_host host = {
    .answer = answer,
    .refuse = refuse,
    .file = send_file,
    .call = call,
    .wait = keep,
};

void ferry__host_resume(struct ferry_task *task)
{
    ferry_session_resume(&ferry_container(task, struct ferry__exchange, resume)->session);
}

/* -- the beginning ----------------------------------------------------------------------------- */

/* The name alone: without the port, and without the brackets' content touched. */
static struct ferry_slice host_name(struct ferry_slice name)
{
    size_t i = name.len;

    while (i > 0 && name.p[i - 1] >= '0' && name.p[i - 1] <= '9')
        i--;
    return i > 0 && name.p[i - 1] == ':' ? ferry_slice_first(name, i - 1) : name;
}

static void fill(struct ferry__exchange *x, const struct ferry_http_head *head,
                 const struct ferry_path *path)
{
    struct ferry__gate_conn *c = x->conn;
    const struct ferry_gate_site *site = x->site;

    x->session.rq = (struct ferry_cgi_request){
        .method = head->method,
        .target = head->target,
        .protocol = head->minor ? FERRY_SLICE("HTTP/1.1") : FERRY_SLICE("HTTP/1.0"),
        .scheme = FERRY_SLICE("http"),
        .query = path->query,
        .server_name = site->server_name ? ferry_slice_z(site->server_name)
                       : head->host.len  ? host_name(head->host)
                                         : ferry_slice_z(c->local_addr),
        .server_addr = ferry_slice_z(c->local_addr),
        .server_port = ferry_slice_z(c->local_port),
        .remote_addr = ferry_slice_z(c->remote_addr),
        .remote_port = ferry_slice_z(c->remote_port),
        .server_software = FERRY_SLICE("ferry/" FERRY_VERSION),
        .fields = (const struct ferry_param *)head->fields,
        .nfields = head->nfields,
        .set = site->params,
        .nset = site->nparams,
    };
}

void ferry__host_begin(struct ferry__exchange *x, const struct ferry_http_head *head,
                       const struct ferry_path *path, const struct ferry_gate_route *route)
{
    struct ferry_gate_thread *t = x->thread;
    const struct ferry_gate_site *sites = t->gate->opts.sites;
    struct ferry_filters_local *local = t->chains[x->site - sites][route - x->site->routes];

    ferry__gate_name(x->conn);
    ferry_session_init(&x->session, &host, &t->session, route->filters, local, head, path);
    x->has_session = true;
    x->client_body = head->has_body;
    x->body_len = head->content_length;
    x->wants_length = !head->has_body &&
                      (head->method_id == FERRY_HTTP_POST || head->method_id == FERRY_HTTP_PUT ||
                       head->method_id == FERRY_HTTP_PATCH);
    fill(x, head, path);
    ferry_session_run(&x->session);
}
