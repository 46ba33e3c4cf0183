/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SESSION_FAKE_H
#define TESTS_SESSION_FAKE_H

#include <stdio.h>

#include "http/http.h"
#include "session/session.h"
#include "support.h"

/*
 * A host for filters under test: takes a request as text, runs a chain, and notes what the chain
 * decided. Answers of applications are played by the test, through fake_judge.
 */

enum fake_did { FAKE_NOTHING, FAKE_ANSWERED, FAKE_REFUSED, FAKE_FILE, FAKE_CALLED, FAKE_WAITS };

struct fake {
    struct ferry_session session;
    struct ferry_loop *loop;
    struct ferry_session_thread thread;
    struct ferry_filters_local *local;
    struct ferry_http *http;
    struct ferry_http_event event;
    struct ferry_path path;
    char path_mem[4096], head[8320]; /* where the session's slices lie */

    enum fake_did did;
    int status;
    char why[256];                 /* of a refusal */
    char file[512];                /* FAKE_FILE: its path below the root */
    int file_err;                  /* what `file` is to return; 0: it is sent */
    char body[1024], fields[1024]; /* of an answer; fields as "Name: value\n" */
    struct ferry_session_call call;
    char params[16384]; /* of the last call, as "NAME=value\n" */
};

static inline struct fake *fake_of(struct ferry_session *s)
{
    return ferry_container(s, struct fake, session);
}

static inline void fake_note_fields(struct fake *f, int status,
                                    const struct ferry_http_field *fields, unsigned n)
{
    size_t at = 0;

    f->status = ferry_session_edit_answer(&f->session, status, &fields, &n);
    f->fields[0] = '\0';
    for (unsigned i = 0; i < n; i++)
        at += (size_t)snprintf(f->fields + at, sizeof f->fields - at, "%.*s: %.*s\n",
                               (int)fields[i].name.len, fields[i].name.p, (int)fields[i].value.len,
                               fields[i].value.p);
}

static inline void fake_answer(struct ferry_session *s, int status,
                               const struct ferry_param *fields, unsigned nfields,
                               struct ferry_slice body)
{
    struct fake *f = fake_of(s);

    f->did = FAKE_ANSWERED;
    snprintf(f->body, sizeof f->body, "%.*s", (int)body.len, body.p);
    fake_note_fields(f, status, (const struct ferry_http_field *)fields, nfields);
}

static inline void fake_refuse(struct ferry_session *s, int status, const char *why)
{
    struct fake *f = fake_of(s);

    f->did = FAKE_REFUSED;
    snprintf(f->why, sizeof f->why, "%s", why);
    fake_note_fields(f, status, NULL, 0);
}

static inline int fake_file(struct ferry_session *s, struct ferry_docroot *root,
                            struct ferry_slice file)
{
    struct fake *f = fake_of(s);

    (void)root;
    snprintf(f->file, sizeof f->file, "%.*s", (int)file.len, file.p);
    if (f->file_err == 0)
        f->did = FAKE_FILE;
    return f->file_err;
}

static inline void fake_note_params(struct fake *f, const char *image, size_t n)
{
    char all[sizeof f->params];
    size_t len = 0, out = 0;
    struct ferry_param p;
    const char *at = all;
    ssize_t took;

    for (size_t i = 0; i + 8 <= n;) {
        const unsigned char *h = (const unsigned char *)image + i;
        size_t content = (size_t)h[4] << 8 | h[5];

        if (h[1] == FERRY_PARAMS && len + content <= sizeof all) {
            memcpy(all + len, image + i + 8, content);
            len += content;
        }
        i += 8 + content + h[6];
    }
    f->params[0] = '\0';
    while ((took = ferry_param_decode(at, len, len, &p)) > 0) {
        out += (size_t)snprintf(f->params + out, sizeof f->params - out, "%.*s=%.*s\n",
                                (int)p.name.len, p.name.p, (int)p.value.len, p.value.p);
        at += took;
        len -= (size_t)took;
    }
}

static inline void fake_call(struct ferry_session *s, const struct ferry_session_call *call)
{
    struct fake *f = fake_of(s);
    struct ferry_params_writer w;
    struct ferry_block *b;
    ssize_t n;

    f->did = FAKE_CALLED;
    f->call = *call;
    if (ferry_session_image(s, call, true, &w, &b) < 0) {
        f->did = FAKE_REFUSED;
        f->status = 500;
        return;
    }
    n = ferry_params_close(&w, 1);
    assert_true(n > 0);
    fake_note_params(f, b->data, (size_t)n);
    ferry_block_unref(b);
}

static inline int fake_wait(struct ferry_session *s)
{
    fake_of(s)->did = FAKE_WAITS;
    return ferry_session_keep(s);
}

static const struct ferry_session_host fake_host = {
    .answer = fake_answer,
    .refuse = fake_refuse,
    .file = fake_file,
    .call = fake_call,
    .wait = fake_wait,
};

/* Once before all: a loop that need not run, and the chain's part of its thread. The chain and its
 * clients are the test's. */
static inline void fake_open(struct fake *f, const struct ferry_filters *filters)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(ferry_loop_new(FERRY_IO_EPOLL, &f->loop), 0);
    ferry_session_thread_init(&f->thread, f->loop, 0, NULL);
    assert_int_equal(ferry_filters_join(filters, &f->thread, &f->local), 0);
}

static inline void fake_over(struct fake *f)
{
    if (f->http) {
        ferry_session_fini(&f->session);
        ferry_http_free(f->http);
        f->http = NULL;
    }
}

static inline void fake_closed(void *loop)
{
    ferry_loop_stop(loop);
}

/* Before the clients are freed. */
static inline void fake_close(struct fake *f)
{
    fake_over(f);
    ferry_filters_leave(f->local);
    if (!ferry_list_empty(&f->thread.clients) || !ferry_list_empty(&f->thread.resolvers)) {
        ferry_session_thread_close(&f->thread, fake_closed, f->loop);
        assert_int_equal(ferry_loop_run(f->loop), 0);
    }
    ferry_session_thread_fini(&f->thread);
    ferry_loop_free(f->loop);
}

/* A request: its head as text with its empty line. What the chain decided stands in f. */
static inline void fake_request(struct fake *f, const struct ferry_filters *filters,
                                const char *head)
{
    struct ferry_http_opts opts = {.blocks = ferry_loop_blocks(f->loop)};
    const struct ferry_http_head *h = &f->event.head;
    const char *why;

    fake_over(f);
    f->did = FAKE_NOTHING;
    f->status = 0;
    f->why[0] = f->file[0] = f->body[0] = f->fields[0] = f->params[0] = '\0';
    f->http = ferry_http_new(&opts, 0);
    assert_non_null(f->http);
    assert_true(strlen(head) < sizeof f->head);
    memcpy(f->head, head, strlen(head));
    assert_true(ferry_http_recv(f->http, f->head, strlen(head), 0) > 0);
    assert_int_equal(ferry_http_event(f->http, &f->event), 1);
    assert_int_equal(f->event.type, FERRY_HTTP_EV_HEAD);
    assert_int_equal(ferry_path_parse(h->target, f->path_mem, &f->path, &why), 0);
    ferry_session_init(&f->session, &fake_host, &f->thread, filters, f->local, h, &f->path);
    f->session.rq = (struct ferry_cgi_request){
        .method = h->method,
        .target = h->target,
        .protocol = FERRY_SLICE("HTTP/1.1"),
        .scheme = FERRY_SLICE("http"),
        .query = f->path.query,
        .server_name = FERRY_SLICE("example.org"),
        .server_addr = FERRY_SLICE("127.0.0.1"),
        .server_port = FERRY_SLICE("80"),
        .remote_addr = FERRY_SLICE("127.0.0.2"),
        .remote_port = FERRY_SLICE("4711"),
        .server_software = FERRY_SLICE("ferry"),
        .fields = (const struct ferry_param *)h->fields,
        .nfields = h->nfields,
    };
    ferry_session_run(&f->session);
}

/* GET of a target. */
static inline void fake_get(struct fake *f, const struct ferry_filters *filters, const char *target)
{
    char head[8192];

    snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: example.org\r\n\r\n", target);
    fake_request(f, filters, head);
}

/* The value of a param of the last call; NULL when there is none. Static memory. */
static inline const char *fake_param(const struct fake *f, const char *name)
{
    static char value[4096];
    size_t len = strlen(name);
    const char *at = f->params;

    while (at && *at) {
        const char *end = strchr(at, '\n');

        if (strncmp(at, name, len) == 0 && at[len] == '=') {
            snprintf(value, sizeof value, "%.*s", (int)(end - at - (long)len - 1), at + len + 1);
            return value;
        }
        at = end ? end + 1 : NULL;
    }
    return NULL;
}

/* Plays the answer of an application that was called with a judge: its header block as text. What
 * the judge said; and if that is to go on, the chain has gone on. */
static inline int fake_judge(struct fake *f, const char *block)
{
    struct ferry_cgi_response response;
    size_t scanned = 0;
    const char *why = "";
    int step;

    assert_true(ferry_cgi_response_parse(block, strlen(block), 65536, &scanned, &response, &why) >
                0);
    assert_non_null(f->call.judge);
    f->did = FAKE_NOTHING;
    step = f->call.judge(&f->session, &response, f->call.judge_arg);
    if (step == FERRY_STEP_NEXT)
        ferry_session_resume(&f->session);
    return step;
}

#endif
