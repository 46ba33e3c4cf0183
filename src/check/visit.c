/* SPDX-License-Identifier: MIT */
/* The clients' half of the stage: HTTP requests as raw bytes, and what came back for them. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/stage.h"
#include "check/talk.h"

void ferry__visit_free(struct ferry_visit *v)
{
    if (v->fd >= 0)
        close(v->fd);
    ferry_bytes_fini(&v->in);
    ferry_bytes_fini(&v->out);
    ferry_http_response_fini(&v->response);
    free(v);
}

/* A token is a word that no other contains: it ends with a letter that stands nowhere else in it.
 */
static void renew(struct ferry_visit *v)
{
    struct ferry_stage *s = v->stage;
    const char *id = s->check->at->id;
    size_t n = 0;

    for (; id[n] && n < 16; n++)
        v->token[n] = ferry_ascii_lower(id[n]);
    snprintf(v->token + n, sizeof v->token - n, "-%uz", ++s->serial);
    snprintf(v->path, sizeof v->path, "%s%s", s->prefix, v->token);
    v->noted = false;
}

static int connect_to(struct ferry_stage *s)
{
    int fd = socket(s->web.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), flags;

    if (fd < 0)
        return -errno;
    /* To a listener of this machine it succeeds or fails at once. */
    if (connect(fd, &s->web.any, s->web.len) < 0) {
        int err = -errno;

        close(fd);
        return err;
    }
    flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    return fd;
}

static struct ferry_visit *open_visit(struct ferry_check *c, int fd)
{
    struct ferry_stage *s = ferry_stage(c);
    struct ferry_visit *v = calloc(1, sizeof *v), **at = &s->visits;

    if (!v) {
        close(fd);
        ferry_check_skip(c, "no memory is left");
    }
    v->stage = s;
    v->number = ++s->nvisits;
    ferry_bytes_init(&v->in, FERRY_STAGE_BYTES_MAX);
    ferry_bytes_init(&v->out, FERRY_STAGE_BYTES_MAX);
    ferry_http_response_init(&v->response, false, FERRY_STAGE_BYTES_MAX);
    while (*at)
        at = &(*at)->next;
    *at = v;
    v->fd = fd;
    renew(v);
    return v;
}

struct ferry_visit *ferry_visit_try(struct ferry_check *c)
{
    int fd = connect_to(ferry_stage(c));

    return fd < 0 ? NULL : open_visit(c, fd);
}

struct ferry_visit *ferry_visit_open(struct ferry_check *c)
{
    int fd = connect_to(ferry_stage(c));

    if (fd < 0)
        ferry_check_fail(c, "the web server accepts no connection: %s", ferry_strerror(fd));
    return open_visit(c, fd);
}

void ferry_visit_again(struct ferry_visit *v)
{
    size_t took = v->response.at;

    if (v->response.end != FERRY_HTTP_WHOLE)
        ferry_check_fail(v->stage->check, "expected a whole response, but got %s",
                         ferry_visit_said(v));
    ferry_bytes_drop(&v->in, took);
    ferry_http_response_fini(&v->response);
    ferry_http_response_init(&v->response, false, FERRY_STAGE_BYTES_MAX);
    renew(v);
}

/* -- asking ----------------------------------------------------------------------------------- */

void ferry_visit_send(struct ferry_visit *v, const void *p, size_t n)
{
    const char *line = p;
    size_t shown = 0;

    while (shown < n && shown < 60 && line[shown] != '\r' && line[shown] != '\n')
        shown++;
    ferry_talk_note(&v->stage->check->talk, "Client", v->number, "%.*s%s", (int)shown, line,
                    shown < n ? " ..." : "");
    ferry_bytes_add(&v->out, p, n);
    ferry_stage_turn(v->stage, 0);
}

void ferry_visit_printf(struct ferry_visit *v, const char *format, ...)
{
    char text[8192];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (n > 0)
        ferry_visit_send(v, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void ferry_visit_head(struct ferry_visit *v, const char *method)
{
    v->head_only = v->response.head_only = strcmp(method, "HEAD") == 0;
    ferry_visit_printf(v, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, v->path, v->stage->host);
}

void ferry_visit_request(struct ferry_visit *v, const char *method, const char *fields)
{
    v->head_only = v->response.head_only = strcmp(method, "HEAD") == 0;
    ferry_visit_printf(v, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, v->path, v->stage->host,
                       fields ? fields : "");
}

struct ferry_visit *ferry_visit_get_with(struct ferry_check *c, const char *fields)
{
    struct ferry_visit *v = ferry_visit_open(c);

    ferry_visit_request(v, "GET", fields);
    return v;
}

struct ferry_visit *ferry_visit_get(struct ferry_check *c)
{
    return ferry_visit_get_with(c, NULL);
}

struct ferry_visit *ferry_visit_post(struct ferry_check *c, const void *body, size_t n)
{
    struct ferry_visit *v = ferry_visit_open(c);
    char fields[96];

    snprintf(fields, sizeof fields, "Content-Type: text/plain\r\nContent-Length: %zu\r\n", n);
    ferry_visit_request(v, "POST", fields);
    if (n)
        ferry_visit_send(v, body, n);
    return v;
}

void ferry_visit_close(struct ferry_visit *v)
{
    ferry_talk_note(&v->stage->check->talk, "Client", v->number, "(closes)");
    close(v->fd);
    v->fd = -1;
    v->out.len = 0;
}

void ferry_visit_reset(struct ferry_visit *v)
{
    struct linger now = {.l_onoff = 1};

    ferry_talk_note(&v->stage->check->talk, "Client", v->number, "(resets the connection)");
    setsockopt(v->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(v->fd);
    v->fd = -1;
    v->out.len = 0;
}

void ferry_visit_shutdown(struct ferry_visit *v)
{
    ferry_talk_note(&v->stage->check->talk, "Client", v->number, "(ends its direction)");
    shutdown(v->fd, SHUT_WR);
}

/* -- being answered --------------------------------------------------------------------------- */

void ferry__visit_read(struct ferry_visit *v)
{
    ferry_http_response_read(&v->response, ferry_bytes_slice(&v->in), v->input);
    if (v->response.end == FERRY_HTTP_OPEN || v->noted)
        return;
    v->noted = true;
    ferry_talk_note(&v->stage->check->talk, "Web server", 0, "(to client %u) %s", v->number,
                    ferry_visit_said(v));
}

const char *ferry_visit_said(const struct ferry_visit *v)
{
    static _Thread_local char text[128];
    const struct ferry_http_response *r = &v->response;

    switch (r->end) {
    case FERRY_HTTP_OPEN:
        if (r->status)
            snprintf(text, sizeof text, "status %d and %zu bytes, and no end", r->status,
                     r->body.len);
        else
            snprintf(text, sizeof text, "no answer");
        break;
    case FERRY_HTTP_NONE:
        snprintf(text, sizeof text, "%s without an answer",
                 v->input == FERRY_HTTP_RESET ? "a reset" : "a close");
        break;
    case FERRY_HTTP_BAD:
        snprintf(text, sizeof text, "what is no HTTP response: %s", r->why);
        break;
    default:
        snprintf(text, sizeof text, "status %d and %zu bytes, %s", r->status, r->body.len,
                 r->end == FERRY_HTTP_CUT ? "visibly cut" : "whole");
    }
    return text;
}

enum ferry_http_end ferry_visit_wait_ms(struct ferry_visit *v, unsigned ms)
{
    uint64_t end = ferry_check_now() + ms, now;
    size_t had = v->in.len;

    ferry__visit_read(v);
    while (v->response.end == FERRY_HTTP_OPEN && (now = ferry_check_now()) < end) {
        ferry_stage_turn(v->stage, (unsigned)(end - now));
        if (v->in.len > had) /* as long as it comes, it comes */
            end = ferry_check_now() + ms;
        had = v->in.len;
    }
    return v->response.end;
}

enum ferry_http_end ferry_visit_wait(struct ferry_visit *v)
{
    unsigned ms = v->stage->timeout_ms;

    if (ferry_visit_wait_ms(v, ms) == FERRY_HTTP_OPEN)
        ferry_check_fail(v->stage->check, "expected a response, but %u ms after the last byte: %s",
                         ms, ferry_visit_said(v));
    return v->response.end;
}

bool ferry_visit_body_comes(struct ferry_visit *v, size_t n, unsigned ms)
{
    uint64_t end = ferry_check_now() + ms, now;

    while (v->response.body.len < n && v->response.end == FERRY_HTTP_OPEN &&
           (now = ferry_check_now()) < end)
        ferry_stage_turn(v->stage, (unsigned)(end - now));
    return v->response.body.len >= n;
}

void ferry_visit_expect_bytes(struct ferry_visit *v, int status, struct ferry_slice body)
{
    const struct ferry_http_response *r = &v->response;
    size_t at = 0;

    if (ferry_visit_wait(v) != FERRY_HTTP_WHOLE || r->status != status)
        ferry_check_fail(v->stage->check, "expected a whole response of status %d, but got %s",
                         status, ferry_visit_said(v));
    if (!body.p)
        return;
    while (at < r->body.len && at < body.len && r->body.p[at] == body.p[at])
        at++;
    if (r->body.len != body.len)
        ferry_check_fail(v->stage->check,
                         "expected %zu bytes of body, but got %zu (the first %zu "
                         "are right)",
                         body.len, r->body.len, at);
    if (at < body.len)
        ferry_check_fail(v->stage->check, "expected other bytes in the body, from byte %zu on", at);
}

void ferry_visit_expect(struct ferry_visit *v, int status, const char *body)
{
    ferry_visit_expect_bytes(v, status, ferry_slice_z(body));
}

void ferry_visit_expect_error(struct ferry_visit *v)
{
    const struct ferry_http_response *r = &v->response;

    if (ferry_visit_wait(v) != FERRY_HTTP_WHOLE || r->status < 500 || r->status > 599)
        ferry_check_fail(v->stage->check, "expected an error of 500 to 599, but got %s",
                         ferry_visit_said(v));
}

/* -- meeting at the application --------------------------------------------------------------- */

static bool is_of(const struct ferry_asked *r, const struct ferry_visit *v)
{
    return r->params_ended && memmem(r->params.p, r->params.len, v->token, strlen(v->token));
}

static struct ferry_asked *look(struct ferry_visit *v, unsigned nth, bool whole)
{
    for (struct ferry_asked *r = v->stage->asked; r; r = r->next)
        if (is_of(r, v) && nth-- == 0)
            return !whole || r->stdin_ended ? r : NULL;
    return NULL;
}

struct ferry_asked *ferry_visit_nth(struct ferry_visit *v, unsigned nth, bool whole, unsigned ms)
{
    uint64_t end = ferry_check_now() + ms, now;
    struct ferry_asked *r;

    while (!(r = look(v, nth, whole)) && (now = ferry_check_now()) < end)
        ferry_stage_turn(v->stage, (unsigned)(end - now));
    return r;
}

static struct ferry_asked *must_come(struct ferry_visit *v, bool whole, bool may_refuse)
{
    uint64_t end = ferry_check_now() + v->stage->timeout_ms, now;
    struct ferry_asked *r;

    while (!(r = look(v, 0, whole)) && (now = ferry_check_now()) < end &&
           v->response.end == FERRY_HTTP_OPEN)
        ferry_stage_turn(v->stage, (unsigned)(end - now));
    if (r)
        return r;
    if (v->response.end != FERRY_HTTP_OPEN) {
        if (may_refuse && (v->response.end == FERRY_HTTP_NONE || v->response.status >= 400))
            return NULL;
        ferry_check_fail(v->stage->check,
                         "expected the request at the application, but the client got %s",
                         ferry_visit_said(v));
    }
    r = look(v, 0, false);
    ferry_check_fail(v->stage->check, "expected %s, but it does not come within %u ms",
                     r ? "the end of STDIN" : "the request at the application",
                     v->stage->timeout_ms);
}

struct ferry_asked *ferry_visit_asked(struct ferry_visit *v)
{
    return must_come(v, true, false);
}

struct ferry_asked *ferry_visit_params(struct ferry_visit *v)
{
    return must_come(v, false, false);
}

struct ferry_asked *ferry_visit_asked_or_refused(struct ferry_visit *v)
{
    return must_come(v, true, true);
}
