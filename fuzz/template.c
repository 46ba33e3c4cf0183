/* SPDX-License-Identifier: MIT */
/*
 * Texts with variables, and a request to fill them in from. The first line of the input is the
 * text, the second the path, the third the query, and the rest are fields "name:value". No text and
 * no request may crash it; no Location has a blank or a control byte in it or leads to a host that
 * the text does not name; what becomes of a path has no "//".
 */
#include "session/template.h"

#include <stdlib.h>

#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FIELDS_MAX 16

static struct ferry_slice line(struct ferry_slice *rest)
{
    struct ferry_slice l = ferry_slice_first(*rest, ferry_slice_find(*rest, '\n'));

    *rest = ferry_slice_from(*rest, l.len + 1);
    return l;
}

static const struct ferry_slice host = FERRY_SLICE_INIT("good.example:81");

/* Of an absolute Location: all up to the end of its host. */
static struct ferry_slice front(struct ferry_slice location)
{
    const char *colon = memmem(location.p, location.len, "//", 2);
    size_t at = colon ? (size_t)(colon - location.p) + 2 : 0;

    while (at < location.len && !memchr("/?#", location.p[at], 3))
        at++;
    return ferry_slice_first(location, at);
}

static void check_location(const struct ferry_template *t, struct ferry_session *s,
                           struct ferry_slice location)
{
    struct ferry_http_head plain = *s->head;
    struct ferry_path path = {.path = FERRY_SLICE("/")};
    const struct ferry_http_head *head = s->head;
    struct ferry_cgi_request rq = s->rq;
    struct ferry_template_out out;
    struct ferry_slice was;

    for (size_t i = 0; i < location.len; i++)
        check(location.p[i] > 0x20 && location.p[i] < 0x7f);
    check(location.len);
    if (location.p[0] == '/' && !(location.len > 1 && location.p[1] == '/'))
        return; /* on this host */
    /* A request that holds nothing but its host leads to the same one. */
    was = front(location);
    plain.target = FERRY_SLICE("/");
    s->head = &plain;
    s->rq = (struct ferry_cgi_request){.scheme = rq.scheme, .fields = rq.fields, .nfields = 1};
    path.authority = s->path.authority;
    s->path = path;
    check(ferry_template_expand(t, s, NULL, &out) == 0);
    check(ferry_slice_eq(front(out.text), was));
    s->head = head;
    s->rq = rq;
}

static void check_path(struct ferry_slice path)
{
    check(!path.len || !memmem(path.p, path.len, "//", 2));
}

static void fill(struct ferry_session *s, const char *text, enum ferry_template_use use)
{
    struct ferry_slice groups[FERRY_TEMPLATE_GROUPS];
    char buf[FERRY_TEMPLATE_WHY];
    struct ferry_template_out out;
    struct ferry_template *t;
    const char *why = NULL;
    int err = ferry_template_new(text, use, use == FERRY_TEMPLATE_PATH ? 9 : 0, &t, buf, &why);

    if (err < 0) {
        check(err == FERRY_EUSAGE && why && *why);
        return;
    }
    for (unsigned i = 0; i < FERRY_TEMPLATE_GROUPS; i++)
        groups[i] = ferry_slice_from(s->path.path, i);
    err = ferry_template_expand(t, s, groups, &out);
    if (err == 0) {
        check(out.text.len + out.query.len <= FERRY_TEMPLATE_OUT_MAX);
        if (use == FERRY_TEMPLATE_PATH)
            check_path(out.text);
        if (use == FERRY_TEMPLATE_LOCATION)
            check_location(t, s, out.text);
    } else {
        check(err == FERRY_ELIMIT);
    }
    ferry_template_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct ferry_session_host none;
    struct ferry_slice rest = ferry_slice((const char *)data, n), text = line(&rest);
    struct ferry_param fields[FIELDS_MAX] = {{FERRY_SLICE("Host"), host}};
    struct ferry_session_thread thread;
    struct ferry_loop *loop;
    struct ferry_http_head head = {.host = host, .target = line(&rest)};
    struct ferry_slice query = line(&rest);
    struct ferry_path path = {.path = head.target, .query = query};
    struct ferry_session s;
    unsigned nfields = 1;
    char *z;

    if (!path.path.len || path.path.p[0] != '/')
        path.path = FERRY_SLICE("/");
    for (; rest.len && nfields < FIELDS_MAX; nfields++) {
        struct ferry_slice field = line(&rest);
        size_t colon = ferry_slice_find(field, ':');

        fields[nfields] = (struct ferry_param){ferry_slice_first(field, colon),
                                               ferry_slice_from(field, colon + 1)};
    }
    z = malloc(text.len + 1);
    if (!z || ferry_loop_new(FERRY_IO_EPOLL, &loop) < 0)
        abort();
    if (text.len)
        memcpy(z, text.p, text.len);
    z[text.len] = 0;
    ferry_session_thread_init(&thread, loop, 0, NULL);
    for (int use = FERRY_TEMPLATE_TEXT; use <= FERRY_TEMPLATE_LOCATION; use++) {
        ferry_session_init(&s, &none, &thread, NULL, NULL, &head, &path);
        s.basic = s.fields = true;
        s.rq = (struct ferry_cgi_request){.method = FERRY_SLICE("GET"),
                                          .target = head.target,
                                          .scheme = FERRY_SLICE("http"),
                                          .query = query,
                                          .remote_addr = FERRY_SLICE("127.0.0.1"),
                                          .fields = fields,
                                          .nfields = nfields};
        fill(&s, z, (enum ferry_template_use)use);
        ferry_session_fini(&s);
    }
    ferry_loop_free(loop);
    free(z);
    return 0;
}
