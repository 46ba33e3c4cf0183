/* SPDX-License-Identifier: MIT */
/*
 * authorize and auth_prepare (FastCGI 1.0 section 6.3). authorize stands in a chain as two filters:
 * the first asks, or finds the verdict among those remembered; the second comes to run only when
 * the authorizer's answer was 200 and has come whole, and puts its variables into the request.
 * Where anything is wrong, neither goes on. The values of variables are nobody's to log.
 *
 * Refusals are remembered beside the verdicts that let pass, in a table of their own: else whoever
 * sends enough bad keys would have the good ones forgotten.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/text.h"
#include "session/root.h"
#include "session/template.h"
#include "session/verdicts.h"

#define CACHE_MAX 1000000u
#define FIELDS_KEPT 8

struct authorize {
    struct ferry_client *client;
    char *script; /* NULL: none */
    struct ferry_slice *variables;
    unsigned nvariables;
    struct ferry_template *key; /* NULL: nothing is remembered */
    unsigned cache_ms, cache_max, refused_ms;
    bool as_fields, pass_cookies;
};

struct here {
    struct ferry_client_local *client;
    struct ferry_verdicts *verdicts, *refusals; /* refusals: NULL, none are remembered */
};

/* One question, from the request to its answer; in the session's memory. */
struct asked {
    const struct authorize *f;
    struct here *here;
    struct ferry_slice key; /* p == NULL: the verdict is not to be remembered */
    bool granted;
    struct ferry_param *variables;
    unsigned n, cap;
    struct ferry_slice *cookies;
    unsigned ncookies;
};

/* What describes a body or a script, and is not told to authorizers. */
static const struct ferry_slice not_told[] = {
    FERRY_SLICE_INIT("CONTENT_TYPE"),       FERRY_SLICE_INIT("SCRIPT_NAME"),
    FERRY_SLICE_INIT("PATH_INFO"),          FERRY_SLICE_INIT("PATH_TRANSLATED"),
    FERRY_SLICE_INIT("DOCUMENT_URI"),       FERRY_SLICE_INIT("FCGI_DATA_LENGTH"),
    FERRY_SLICE_INIT("FCGI_DATA_LAST_MOD"),
};
#define NOT_TOLD (sizeof not_told / sizeof *not_told)

/* -- names ------------------------------------------------------------------------------------- */

/* As names of header fields become those of params; whatever else programs fold, folds here too. */
static char folded(char c)
{
    c = ferry_ascii_lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '_';
}

static bool same_folded(struct ferry_slice a, struct ferry_slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (folded(a.p[i]) != folded(b.p[i]))
            return false;
    return true;
}

static bool starts_nocase(struct ferry_slice s, struct ferry_slice prefix)
{
    return ferry_slice_eq_nocase(ferry_slice_first(s, prefix.len), prefix);
}

/* What the variable is called where it is a header field. */
static struct ferry_slice field_name(struct ferry_slice variable)
{
    return starts_nocase(variable, FERRY_SLICE("HTTP_")) ? ferry_slice_from(variable, 5) : variable;
}

/* These are told by the gateway alone, or never. */
static bool may_be_set(struct ferry_slice name)
{
    return name.len && !same_folded(name, FERRY_SLICE("content_length")) &&
           !same_folded(name, FERRY_SLICE("http_proxy")) &&
           !starts_nocase(name, FERRY_SLICE("FCGI_"));
}

/* Takes the fields that the client sent under this name, in any spelling, out of the request. */
static int drop_fields(struct ferry_session *s, struct ferry_slice variable)
{
    struct ferry_slice name = field_name(variable);
    struct ferry_param *left;
    unsigned n = 0;

    while (n < s->rq.nfields && !same_folded(s->rq.fields[n].name, name))
        n++;
    if (n == s->rq.nfields)
        return 0;
    left = ferry_session_alloc(s, s->rq.nfields * sizeof *left);
    if (!left)
        return -ENOMEM;
    n = 0;
    for (unsigned i = 0; i < s->rq.nfields; i++)
        if (!same_folded(s->rq.fields[i].name, name))
            left[n++] = s->rq.fields[i];
    s->rq.fields = left;
    s->rq.nfields = n;
    return 0;
}

/* -- the verdict ------------------------------------------------------------------------------- */

static int set_field_param(struct ferry_session *s, struct ferry_slice variable,
                           struct ferry_slice value)
{
    struct ferry_slice name = field_name(variable);
    char *to = ferry_session_alloc(s, 5 + name.len), *at;

    if (!to)
        return -ENOMEM;
    at = FERRY_PUT(to, "HTTP_");
    for (size_t i = 0; i < name.len; i++) {
        char c = folded(name.p[i]);

        *at++ = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    name = ferry_slice(to, (size_t)(at - to));
    if (!may_be_set(name))
        return 0;
    return ferry_session_set_param(s, name, value);
}

static int apply(struct ferry_session *s, const struct authorize *f,
                 const struct ferry_param *variables, unsigned n)
{
    int err = 0;

    for (unsigned i = 0; i < n && err == 0; i++) {
        struct ferry_slice name = variables[i].name, value = variables[i].value;

        err = drop_fields(s, name);
        if (err == 0)
            err = ferry_session_set_param(s, name, value);
        if (err == 0 && ferry_slice_eq(name, FERRY_SLICE("REMOTE_USER")))
            err = ferry_session_set_remote_user(s, value);
        if (err == 0 && f->as_fields)
            err = set_field_param(s, name, value);
    }
    return err;
}

static int add_variable(struct ferry_session *s, struct asked *a, struct ferry_slice name,
                        struct ferry_slice value)
{
    char *to, *at;

    if (!may_be_set(name))
        return 0;
    for (unsigned i = 0; i < a->n; i++) {
        struct ferry_slice *before = &a->variables[i].value;

        if (!ferry_slice_eq(a->variables[i].name, name))
            continue;
        to = ferry_session_alloc(s, before->len + 2 + value.len);
        if (!to)
            return -ENOMEM;
        at = ferry__put(to, *before);
        at = FERRY_PUT(at, ", ");
        at = ferry__put(at, value);
        *before = ferry_slice(to, (size_t)(at - to));
        return 0;
    }
    name = ferry_session_copy(s, name);
    value = ferry_session_copy(s, value);
    if (!name.p || !value.p)
        return -ENOMEM;
    a->variables[a->n++] = (struct ferry_param){name, value};
    return 0;
}

static bool holds_nocase(struct ferry_slice s, struct ferry_slice part)
{
    for (; s.len >= part.len; s = ferry_slice_from(s, 1))
        if (starts_nocase(s, part))
            return true;
    return false;
}

static bool forbids_keeping(const struct ferry_param *field)
{
    return ferry_slice_eq_nocase(field->name, FERRY_SLICE("Cache-Control")) &&
           (holds_nocase(field->value, FERRY_SLICE("no-store")) ||
            holds_nocase(field->value, FERRY_SLICE("no-cache")));
}

static int take(struct ferry_session *s, struct asked *a, const struct ferry_param *field)
{
    const struct ferry_slice prefix = FERRY_SLICE("Variable-");

    if (starts_nocase(field->name, prefix))
        return add_variable(s, a, ferry_slice_from(field->name, prefix.len), field->value);
    if (forbids_keeping(field))
        a->key.p = NULL;
    if (a->f->pass_cookies && ferry_slice_eq_nocase(field->name, FERRY_SLICE("Set-Cookie"))) {
        a->key.p = NULL; /* it is meant for this client alone */
        a->cookies[a->ncookies] = ferry_session_copy(s, field->value);
        if (!a->cookies[a->ncookies++].p)
            return -ENOMEM;
    }
    return 0;
}

/* Only what says no and nothing else: a redirect leads each client elsewhere, and cookies are one's
 * own. */
static void remember_refusal(struct ferry_session *s, const struct asked *a,
                             const struct ferry_cgi_response *r)
{
    static const struct ferry_slice kept = FERRY_SLICE_INIT("WWW-Authenticate");
    struct ferry_param fields[FIELDS_KEPT];
    unsigned n = 0;

    if (!a->key.p || !a->here->refusals || (r->status != 401 && r->status != 403))
        return;
    for (unsigned i = 0; i < r->nfields; i++) {
        const struct ferry_param *field = &r->fields[i];

        if (forbids_keeping(field) || ferry_slice_eq_nocase(field->name, FERRY_SLICE("Set-Cookie")))
            return;
        if (ferry_slice_eq_nocase(field->name, kept) && n < FIELDS_KEPT)
            fields[n++] = (struct ferry_param){kept, field->value};
    }
    ferry__verdicts_add(a->here->refusals, a->key, r->status, fields, n,
                        ferry_loop_now(s->thread->loop));
}

/* The client is shown what the authorizer says, but not what it says to us. */
static int relay(struct ferry_session *s, const struct ferry_cgi_response *r)
{
    int err = 0;

    for (unsigned i = 0; i < r->nfields && err == 0; i++)
        if (starts_nocase(r->fields[i].name, FERRY_SLICE("Variable-")))
            err = ferry_session_remove_answer_field(s, r->fields[i].name);
    return err < 0 ? err : FERRY_STEP_DONE;
}

static int judge(struct ferry_session *s, const struct ferry_cgi_response *r, void *arg)
{
    struct asked *a = arg;
    int err = 0;

    if (r->status != 200) {
        remember_refusal(s, a, r);
        return relay(s, r);
    }
    if (r->nfields) {
        a->variables = ferry_session_alloc(s, r->nfields * sizeof *a->variables);
        a->cookies = ferry_session_alloc(s, r->nfields * sizeof *a->cookies);
        if (!a->variables || !a->cookies)
            return -ENOMEM;
    }
    for (unsigned i = 0; i < r->nfields && err == 0; i++)
        err = take(s, a, &r->fields[i]);
    if (err < 0)
        return err;
    a->granted = true;
    return FERRY_STEP_NEXT;
}

/* -- asking ------------------------------------------------------------------------------------ */

static bool is_told(const struct ferry_param *p)
{
    for (size_t i = 0; i < NOT_TOLD; i++)
        if (ferry_slice_eq(p->name, not_told[i]))
            return false;
    return !ferry_slice_eq(p->name, FERRY_SLICE("SCRIPT_FILENAME"));
}

static int ask(struct ferry_session *s, const struct authorize *f, struct here *here,
               struct ferry_slice key)
{
    struct ferry_param *set = ferry_session_alloc(s, (s->rq.nset + NOT_TOLD + 1) * sizeof *set);
    struct asked *a = ferry_session_alloc(s, sizeof *a);
    unsigned n = 0;

    if (!set || !a || ferry_session_keep(s) < 0)
        return -ENOMEM;
    for (unsigned i = 0; i < s->rq.nset; i++)
        if (is_told(&s->rq.set[i]))
            set[n++] = s->rq.set[i];
    for (size_t i = 0; i < NOT_TOLD; i++)
        set[n++] = (struct ferry_param){not_told[i], {NULL, 0}};
    set[n++] = (struct ferry_param){FERRY_SLICE("SCRIPT_FILENAME"), ferry_slice_z(f->script)};
    *a = (struct asked){.f = f, .here = here, .key = key};
    s->asked = a;
    s->host->call(s, &(struct ferry_session_call){.client = here->client,
                                                  .role = FERRY_AUTHORIZER,
                                                  .no_body = true,
                                                  .all_params = true,
                                                  .set = set,
                                                  .nset = n,
                                                  .key = s->key,
                                                  .judge = judge,
                                                  .judge_arg = a});
    return FERRY_STEP_DONE;
}

static int refuse_again(struct ferry_session *s, const struct ferry_verdict *v)
{
    int err = 0;

    for (unsigned i = 0; i < v->n && err == 0; i++)
        err = ferry_session_add_answer_field(s, v->variables[i].name, v->variables[i].value);
    return err < 0 ? err : ferry_session_refuse(s, v->status, NULL);
}

static int authorize_run(struct ferry_session *s, void *filter, void *local)
{
    const struct authorize *f = filter;
    struct here *here = local;
    struct ferry_template_out key = {{NULL, 0}, {NULL, 0}};
    uint64_t now = ferry_loop_now(s->thread->loop);
    const struct ferry_verdict *v = NULL;
    int err = 0;

    s->asked = NULL;
    for (unsigned i = 0; i < f->nvariables && err == 0; i++)
        err = drop_fields(s, f->variables[i]);
    if (err < 0)
        return err;
    if (f->key) {
        err = ferry_template_expand(f->key, s, NULL, &key);
        if (err == FERRY_ELIMIT)
            key.text = ferry_slice(NULL, 0);
        else if (err < 0)
            return err;
        else
            v = ferry__verdicts_find(here->verdicts, key.text, now);
    }
    if (!v && key.text.p && here->refusals) {
        const struct ferry_verdict *no = ferry__verdicts_find(here->refusals, key.text, now);

        if (no)
            return refuse_again(s, no);
    }
    if (!v)
        return ask(s, f, here, key.text);
    err = apply(s, f, v->variables, v->n);
    return err < 0 ? err : FERRY_STEP_NEXT;
}

static int granted_run(struct ferry_session *s, void *filter, void *local)
{
    struct asked *a = s->asked;
    int err;

    (void)filter;
    (void)local;
    if (!a) /* the verdict was remembered */
        return FERRY_STEP_NEXT;
    s->asked = NULL;
    if (!a->granted)
        return FERRY_EREMOTE;
    err = apply(s, a->f, a->variables, a->n);
    for (unsigned i = 0; i < a->ncookies && err == 0; i++)
        err = ferry_session_add_answer_field(s, FERRY_SLICE("Set-Cookie"), a->cookies[i]);
    if (err < 0)
        return err;
    if (a->key.p && a->f->key)
        ferry__verdicts_add(a->here->verdicts, a->key, 200, a->variables, a->n,
                            ferry_loop_now(s->thread->loop));
    return FERRY_STEP_NEXT;
}

/* -- in a thread, and in a chain --------------------------------------------------------------- */

static void authorize_leave(void *local)
{
    struct here *here = local;

    if (!here)
        return;
    ferry__verdicts_free(here->verdicts);
    ferry__verdicts_free(here->refusals);
    free(here);
}

static int authorize_join(void *filter, struct ferry_session_thread *t, void **local)
{
    const struct authorize *f = filter;
    struct here *here = calloc(1, sizeof *here);

    if (!here)
        return -ENOMEM;
    here->client = ferry_session_thread_client(t, f->client);
    if (f->key)
        here->verdicts = ferry__verdicts_new(f->cache_max, f->cache_ms);
    if (f->key && f->refused_ms)
        here->refusals = ferry__verdicts_new(f->cache_max, f->refused_ms);
    if (!here->client || (f->key && (!here->verdicts || (f->refused_ms && !here->refusals)))) {
        authorize_leave(here);
        return -ENOMEM;
    }
    *local = here;
    return 0;
}

static void authorize_free(void *filter)
{
    struct authorize *f = filter;

    if (!f)
        return;
    ferry_template_free(f->key);
    free(f->script);
    free(f->variables);
    free(f);
}

static const struct ferry_filter_ops authorize_ops = {
    .name = "authorize",
    .run = authorize_run,
    .join = authorize_join,
    .leave = authorize_leave,
    .free = authorize_free,
};

static const struct ferry_filter_ops granted_ops = {.name = "authorize", .run = granted_run};

static int fill(struct ferry_filters *to, struct authorize *f, const struct ferry_authorize *o)
{
    for (unsigned i = 0; i < o->nvariables; i++)
        if (!o->variables[i][0])
            return ferry_filters_refuse(to, "authorize: the name of a variable is empty");
    if (o->cache_max > CACHE_MAX)
        return ferry_filters_refuse(to, "authorize: at most %u verdicts are remembered", CACHE_MAX);
    f->nvariables = o->nvariables;
    f->as_fields = o->as_fields;
    f->pass_cookies = o->pass_cookies;
    f->cache_ms = o->cache_ms ? o->cache_ms : 10000;
    f->cache_max = o->cache_max ? o->cache_max : 1024;
    f->refused_ms = o->cache_refused_ms ? o->cache_refused_ms : 1000;
    if (f->refused_ms == UINT_MAX)
        f->refused_ms = 0;
    else if (f->refused_ms > f->cache_ms)
        f->refused_ms = f->cache_ms;
    if (!ferry__slices_copy(o->variables, o->nvariables, &f->variables))
        return -ENOMEM;
    if (o->script) {
        f->script = ferry__text_copy(o->script);
        if (!f->script)
            return -ENOMEM;
    }
    if (!o->cache_key)
        return 0;
    return ferry_filters_template(to, "authorize", o->cache_key, FERRY_TEMPLATE_KEY, 0, &f->key);
}

int ferry_filters_authorize(struct ferry_filters *to, struct ferry_client *client,
                            const struct ferry_authorize *o)
{
    struct authorize *f;
    int err;

    if (!client)
        return ferry_filters_refuse(to, "authorize: it needs an application to ask");
    f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->client = client;
    err = fill(to, f, o ? o : &(struct ferry_authorize){0});
    if (err < 0) {
        authorize_free(f);
        return err;
    }
    err = ferry_filters_push(to, &authorize_ops, f);
    return err < 0 ? err : ferry_filters_push(to, &granted_ops, NULL);
}

/* -- auth_prepare ------------------------------------------------------------------------------ */

static int prepare_run(struct ferry_session *s, void *filter, void *local)
{
    int err = 0;

    (void)filter;
    (void)local;
    ferry_session_set_role(s, FERRY_AUTHORIZER);
    ferry_session_drop_body(s);
    for (size_t i = 0; i < NOT_TOLD && err == 0; i++)
        err = ferry_session_remove_param(s, not_told[i]);
    return err < 0 ? err : FERRY_STEP_NEXT;
}

static const struct ferry_filter_ops prepare_ops = {.name = "auth_prepare", .run = prepare_run};

int ferry_filters_auth_prepare(struct ferry_filters *to)
{
    return ferry_filters_push(to, &prepare_ops, NULL);
}
