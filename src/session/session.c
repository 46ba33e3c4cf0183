/* SPDX-License-Identifier: MIT */
/*
 * One session: its way through the chain, and its end. What filters change lies in the session's
 * memory, in blocks of the loop's, and goes with it; a request that no filter changes takes none.
 */
#include "session/session.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/text.h"
#include "session/internal.h"

#define MEMORY_MAX (1u << 20) /* of one session */
#define ALIGN 16

_Static_assert(sizeof(struct ferry_http_field) == sizeof(struct ferry_param) &&
                   offsetof(struct ferry_http_field, value) == offsetof(struct ferry_param, value),
               "header fields are handed on as the name-value pairs they are");

/* -- memory ------------------------------------------------------------------------------------ */

void *ferry_session_alloc(struct ferry_session *s, size_t n)
{
    struct ferry_block *b = s->memory;
    char *at;

    if (n > MEMORY_MAX - s->memory_total)
        return NULL;
    n = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!b || s->memory_at + n > b->cap) {
        b = ferry_block_get(ferry_loop_blocks(s->thread->loop), n + ALIGN);
        if (!b)
            return NULL;
        b->next = s->memory;
        s->memory = b;
        s->memory_at = (size_t)(-(uintptr_t)b->data & (ALIGN - 1));
    }
    s->memory_total += n;
    at = b->data + s->memory_at;
    s->memory_at += n;
    memset(at, 0, n);
    return at;
}

struct ferry_slice ferry_session_copy(struct ferry_session *s, struct ferry_slice text)
{
    char *to = ferry_session_alloc(s, text.len + 1);

    if (!to)
        return ferry_slice(NULL, 0);
    if (text.len)
        memcpy(to, text.p, text.len);
    return ferry_slice(to, text.len);
}

void *ferry__session_grow(struct ferry_session *s, void *array, unsigned n, unsigned *cap,
                          size_t size)
{
    unsigned more = *cap ? *cap * 2 : 8;
    void *to;

    if (n < *cap)
        return array;
    to = ferry_session_alloc(s, more * size);
    if (!to)
        return NULL;
    if (n)
        memcpy(to, array, n * size);
    *cap = more;
    return to;
}

static struct ferry_session_hook *hook(struct ferry_session *s, struct ferry_session_hook **list,
                                       void *arg)
{
    struct ferry_session_hook *h = ferry_session_alloc(s, sizeof *h);

    if (!h)
        return NULL;
    h->arg = arg;
    while (*list)
        list = &(*list)->next;
    *list = h;
    return h;
}

int ferry_session_on_over(struct ferry_session *s, void (*fn)(struct ferry_session *, void *),
                          void *arg)
{
    struct ferry_session_hook *h = hook(s, &s->over_hooks, arg);

    if (!h)
        return -ENOMEM;
    h->over = fn;
    return 0;
}

int ferry_session_on_answer(struct ferry_session *s,
                            int (*fn)(struct ferry_session *, const struct ferry_answer_head *,
                                      void *arg),
                            void *arg)
{
    struct ferry_session_hook *h = hook(s, &s->answer_hooks, arg);

    if (!h)
        return -ENOMEM;
    h->answer = fn;
    return 0;
}

/* -- its way ----------------------------------------------------------------------------------- */

void ferry_session_init(struct ferry_session *s, const struct ferry_session_host *host,
                        struct ferry_session_thread *t, const struct ferry_filters *filters,
                        struct ferry_filters_local *locals, const struct ferry_http_head *head,
                        const struct ferry_path *path)
{
    memset(s, 0, sizeof *s);
    s->host = host;
    s->thread = t;
    s->filters = filters;
    s->locals = locals;
    s->head = head;
    s->path = *path;
    s->role = FERRY_RESPONDER;
    s->data_fd = -1;
}

static void fail(struct ferry_session *s, int err)
{
    s->host->refuse(s, err == FERRY_ELIMIT ? 431 : 500,
                    err == FERRY_ELIMIT ? "The request is too large to be passed on."
                                        : "The request could not be processed.");
}

void ferry_session_run(struct ferry_session *s)
{
    const struct ferry_filters *f = s->filters;

    while (s->at < f->n) {
        const struct ferry__filter *at = &f->items[s->at];
        int step = at->ops->run(s, at->filter, s->locals->parts[s->at]);

        if (step == FERRY_STEP_DONE) /* and perhaps over already */
            return;
        if (step == FERRY_STEP_WAIT) {
            s->waiting = true;
            step = s->host->wait(s);
            if (step == 0)
                return;
            s->waiting = false;
        }
        if (step < 0) {
            fail(s, step);
            return;
        }
        s->at++;
    }
    s->host->refuse(s, 404, "There is nothing at this address.");
}

void ferry_session_continue(struct ferry_session *s, int step)
{
    if (step == FERRY_STEP_DONE) /* and perhaps over already */
        return;
    s->waiting = false;
    if (step == FERRY_STEP_NEXT)
        ferry_session_resume(s);
    else if (step < 0)
        fail(s, step);
    else if (step == FERRY_STEP_WAIT)
        s->waiting = true;
}

void ferry_session_resume(struct ferry_session *s)
{
    s->at++;
    ferry_session_run(s);
}

void ferry_session_fini(struct ferry_session *s)
{
    for (struct ferry_session_hook *h = s->over_hooks; h; h = h->next)
        h->over(s, h->arg);
    if (s->data_fd >= 0)
        close(s->data_fd);
    s->data_fd = -1;
    while (s->memory) {
        struct ferry_block *b = s->memory;

        s->memory = b->next;
        ferry_block_unref(b);
    }
    s->over_hooks = NULL;
}

/* -- what lives longer than the bytes it came in ----------------------------------------------- */

static bool keep(struct ferry_session *s, struct ferry_slice *text)
{
    if (!text->len)
        return true;
    *text = ferry_session_copy(s, *text);
    return text->p != NULL;
}

static struct ferry_http_head *keep_head(struct ferry_session *s)
{
    const struct ferry_http_head *old = s->head;
    size_t size = offsetof(struct ferry_http_head, fields) + old->nfields * sizeof *old->fields;
    struct ferry_http_head *head = ferry_session_alloc(s, size);
    bool good = head != NULL;

    if (!good)
        return NULL;
    memcpy(head, old, size);
    good = keep(s, &head->method) && keep(s, &head->target) && keep(s, &head->host);
    for (unsigned i = 0; good && i < head->nfields; i++)
        good = keep(s, &head->fields[i].name) && keep(s, &head->fields[i].value);
    return good ? head : NULL;
}

/* Filters may have put others in their place. */
static bool keep_fields(struct ferry_session *s, const struct ferry_http_head *old,
                        const struct ferry_http_head *head)
{
    struct ferry_cgi_request *rq = &s->rq;
    struct ferry_param *fields;

    if (rq->fields == (const struct ferry_param *)old->fields) {
        rq->fields = (const struct ferry_param *)head->fields;
        return true;
    }
    fields = ferry_session_alloc(s, rq->nfields * sizeof *fields);
    for (unsigned i = 0; fields && i < rq->nfields; i++) {
        fields[i] = rq->fields[i];
        if (!keep(s, &fields[i].name) || !keep(s, &fields[i].value))
            return false;
    }
    rq->fields = fields;
    return fields != NULL;
}

static bool keep_script(struct ferry_session *s)
{
    struct ferry_cgi_request *rq = &s->rq;

    s->borrowed = false;
    return keep(s, &rq->script_name) && keep(s, &rq->path_info) && keep(s, &rq->script_filename) &&
           keep(s, &rq->document_root);
}

int ferry_session_keep(struct ferry_session *s)
{
    struct ferry_cgi_request *rq = &s->rq;
    struct ferry_http_head *head;

    if (s->kept)
        return !s->borrowed || keep_script(s) ? 0 : -ENOMEM;
    head = keep_head(s);
    if (!head || !keep(s, &s->path.authority) || !keep(s, &s->path.query) ||
        !keep(s, &s->path.path) || !keep(s, &rq->query) || !keep(s, &rq->server_name) ||
        !keep_script(s) || !keep_fields(s, s->head, head))
        return -ENOMEM;
    s->kept = true;
    s->head = head;
    rq->method = head->method;
    rq->target = head->target;
    return 0;
}

/* -- what a filter sees ------------------------------------------------------------------------ */

struct ferry_slice ferry_session_method(const struct ferry_session *s)
{
    return s->head->method;
}

struct ferry_slice ferry_session_target(const struct ferry_session *s)
{
    return s->head->target;
}

struct ferry_slice ferry_session_path(const struct ferry_session *s)
{
    return s->path.path;
}

struct ferry_slice ferry_session_query(const struct ferry_session *s)
{
    return s->rq.query;
}

struct ferry_slice ferry_session_host(const struct ferry_session *s)
{
    return s->head->host;
}

struct ferry_slice ferry_session_scheme(const struct ferry_session *s)
{
    return s->rq.scheme;
}

struct ferry_slice ferry_session_remote_addr(struct ferry_session *s)
{
    return s->rq.remote_addr;
}

int64_t ferry_session_content_length(const struct ferry_session *s)
{
    return s->no_body ? 0 : s->head->content_length;
}

struct ferry_slice ferry_session_field(const struct ferry_session *s, const char *name)
{
    struct ferry_slice wanted = ferry_slice_z(name);

    for (unsigned i = 0; i < s->rq.nfields; i++)
        if (ferry_slice_eq_nocase(s->rq.fields[i].name, wanted))
            return s->rq.fields[i].value;
    return ferry_slice(NULL, 0);
}

unsigned ferry_session_fields(const struct ferry_session *s, const struct ferry_param **out)
{
    *out = s->rq.fields;
    return s->rq.nfields;
}

struct ferry_loop *ferry_session_loop(const struct ferry_session *s)
{
    return s->thread->loop;
}

/* -- what it changes of the request ------------------------------------------------------------ */

static int set_text(struct ferry_session *s, struct ferry_slice *to, struct ferry_slice text)
{
    struct ferry_slice copy = ferry_session_copy(s, text);

    if (!copy.p)
        return -ENOMEM;
    *to = copy;
    return 0;
}

/* As ferry_path_parse would have left it. */
static bool is_path(struct ferry_slice path)
{
    if (!path.len || path.p[0] != '/')
        return false;
    for (size_t i = 0; i < path.len; i++)
        if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f)
            return false;
    while (path.len) {
        struct ferry_slice segment;

        path = ferry_slice_from(path, 1);
        segment = ferry_slice_first(path, ferry_slice_find(path, '/'));
        if (ferry_slice_eq(segment, FERRY_SLICE(".")) || ferry_slice_eq(segment, FERRY_SLICE("..")))
            return false;
        path = ferry_slice_from(path, segment.len);
    }
    return true;
}

int ferry_session_set_path(struct ferry_session *s, struct ferry_slice path)
{
    return is_path(path) ? set_text(s, &s->path.path, path) : FERRY_EUSAGE;
}

int ferry_session_set_query(struct ferry_session *s, struct ferry_slice query)
{
    return set_text(s, &s->rq.query, query);
}

/* The params that the host began with are not the session's to change. */
static int own_params(struct ferry_session *s)
{
    unsigned cap = s->rq.nset + 8;
    struct ferry_param *set;

    if (s->set)
        return 0;
    set = ferry_session_alloc(s, cap * sizeof *set);
    if (!set)
        return -ENOMEM;
    if (s->rq.nset)
        memcpy(set, s->rq.set, s->rq.nset * sizeof *set);
    s->rq.set = s->set = set;
    s->set_cap = cap;
    return 0;
}

static int put_param(struct ferry_session *s, struct ferry_slice name, struct ferry_slice value)
{
    struct ferry_param *set;

    if (!name.len || ferry_slice_eq(name, FERRY_SLICE("CONTENT_LENGTH")))
        return FERRY_EUSAGE; /* the body's length is always true, and its host's to tell */
    if (own_params(s) < 0)
        return -ENOMEM;
    for (unsigned i = 0; i < s->rq.nset; i++)
        if (ferry_slice_eq(s->set[i].name, name)) {
            s->set[i].value = value;
            return 0;
        }
    set = ferry__session_grow(s, s->set, s->rq.nset, &s->set_cap, sizeof *set);
    name = ferry_session_copy(s, name);
    if (!set || !name.p)
        return -ENOMEM;
    set[s->rq.nset++] = (struct ferry_param){name, value};
    s->rq.set = s->set = set;
    return 0;
}

int ferry_session_set_param(struct ferry_session *s, struct ferry_slice name,
                            struct ferry_slice value)
{
    value = ferry_session_copy(s, value);
    return value.p ? put_param(s, name, value) : -ENOMEM;
}

int ferry__session_make_param(struct ferry_session *s, struct ferry_slice name,
                              struct ferry_slice value)
{
    for (unsigned i = 0; i < s->rq.nset; i++)
        if (ferry_slice_eq(s->rq.set[i].name, name))
            return 0;
    return ferry_session_set_param(s, name, value);
}

int ferry_session_remove_param(struct ferry_session *s, struct ferry_slice name)
{
    return put_param(s, name, ferry_slice(NULL, 0));
}

/* An application below a prefix is to know its own address. */
int ferry__session_script_name(struct ferry_session *s, struct ferry_slice name,
                               struct ferry_slice *out)
{
    char *to;

    to = ferry_session_alloc(s, s->mount.len + name.len + 1);
    if (!to)
        return -ENOMEM;
    *out = ferry_slice(to, s->mount.len + name.len);
    ferry__put(ferry__put(to, s->mount), name);
    return 0;
}

int ferry_session_set_script(struct ferry_session *s, const struct ferry_script *script)
{
    int err = set_text(s, &s->rq.script_filename, script->filename);

    s->script = FERRY_SCRIPT_SET;
    if (err == 0)
        err = ferry__session_script_name(s, script->name, &s->rq.script_name);
    if (err == 0)
        err = set_text(s, &s->rq.path_info, script->path_info);
    return err == 0 ? set_text(s, &s->rq.document_root, script->root) : err;
}

int ferry_session_set_remote_user(struct ferry_session *s, struct ferry_slice user)
{
    return set_text(s, &s->rq.remote_user, user);
}

void ferry_session_set_role(struct ferry_session *s, enum ferry_role role)
{
    s->role = role;
}

static int set_number(struct ferry_session *s, struct ferry_slice name, int64_t n)
{
    char text[24], *at = text + sizeof text;
    uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;

    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (n < 0)
        *--at = '-';
    return ferry_session_set_param(s, name, ferry_slice(at, (size_t)(text + sizeof text - at)));
}

int ferry_session_set_data(struct ferry_session *s, int fd, uint64_t len, int64_t mtime_s)
{
    int err;

    if (s->data_fd >= 0)
        close(s->data_fd);
    s->data_fd = fd;
    s->data_len = len;
    s->role = FERRY_FILTER;
    err = set_number(s, FERRY_SLICE("FCGI_DATA_LAST_MOD"), mtime_s);
    return err == 0 ? set_number(s, FERRY_SLICE("FCGI_DATA_LENGTH"), (int64_t)len) : err;
}

void ferry_session_drop_body(struct ferry_session *s)
{
    s->no_body = true;
}

/* -- how it ends ------------------------------------------------------------------------------- */

int ferry_session_answer(struct ferry_session *s, int status, const struct ferry_param *fields,
                         unsigned nfields, struct ferry_slice body)
{
    if (status < 200 || status > 599)
        return FERRY_EUSAGE;
    s->host->answer(s, status, fields, nfields, body);
    return FERRY_STEP_DONE;
}

int ferry_session_refuse(struct ferry_session *s, int status, const char *why)
{
    if (status < 200 || status > 599)
        return FERRY_EUSAGE;
    s->host->refuse(s, status, why);
    return FERRY_STEP_DONE;
}
