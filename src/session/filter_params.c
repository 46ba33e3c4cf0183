/* SPDX-License-Identifier: MIT */
/*
 * The filters that say what is told: which params a request has, and which header fields its
 * answer. basic_params and map_header only switch on what the host knows already and writes in one
 * go; set_param and the others are the operator's word, which nothing from the network outdoes.
 */
#include <errno.h>
#include <stdlib.h>

#include "session/internal.h"
#include "session/template.h"

#define NAME_LEN_MAX 256

static int run_basic_params(struct ferry_session *s, void *filter, void *local)
{
    (void)filter;
    (void)local;
    s->basic = true;
    return FERRY_STEP_NEXT;
}

int ferry_filters_basic_params(struct ferry_filters *f)
{
    static const struct ferry_filter_ops ops = {.name = "basic_params", .run = run_basic_params};

    return ferry_filters_push(f, &ops, NULL);
}

static int run_map_header(struct ferry_session *s, void *filter, void *local)
{
    (void)filter;
    (void)local;
    s->fields = true;
    return FERRY_STEP_NEXT;
}

int ferry_filters_map_header(struct ferry_filters *f)
{
    static const struct ferry_filter_ops ops = {.name = "map_header", .run = run_map_header};

    return ferry_filters_push(f, &ops, NULL);
}

/* -- names and their values -------------------------------------------------------------------- */

struct named {
    struct ferry_template *value; /* NULL: remove */
    struct ferry_slice name;
    char text[];
};

static void named_free(void *filter)
{
    struct named *n = filter;

    ferry_template_free(n->value);
    free(n);
}

/* `ops` with a name and a value, of which the name is known to be good. */
static int push_named(struct ferry_filters *f, const struct ferry_filter_ops *ops, const char *name,
                      const char *value)
{
    size_t len = strlen(name);
    struct named *n = calloc(1, sizeof *n + len + 1);
    int err = 0;

    if (!n)
        return -ENOMEM;
    memcpy(n->text, name, len);
    n->name = ferry_slice(n->text, len);
    if (value)
        err = ferry_filters_template(f, ops->name, value, FERRY_TEMPLATE_TEXT, 0, &n->value);
    if (err < 0) {
        free(n);
        return err;
    }
    return ferry_filters_push(f, ops, n);
}

static int check_param(struct ferry_filters *f, const char *filter, const char *name)
{
    size_t len = name ? strlen(name) : 0;

    if (!len)
        return ferry_filters_refuse(f, "%s: it needs the name of a param", filter);
    if (len > NAME_LEN_MAX)
        return ferry_filters_refuse(f, "%s: a name of more than %d bytes", filter, NAME_LEN_MAX);
    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '=')
            return ferry_filters_refuse(f, "%s: \"%.60s\" is no name of a param", filter, name);
    if (strcmp(name, "CONTENT_LENGTH") == 0)
        return ferry_filters_refuse(f, "%s: CONTENT_LENGTH is always the length of the body",
                                    filter);
    return 0;
}

static int run_set_param(struct ferry_session *s, void *filter, void *local)
{
    const struct named *n = filter;
    struct ferry_template_out value;
    int err = ferry_template_expand(n->value, s, NULL, &value);

    (void)local;
    if (err == 0)
        err = ferry_session_set_param(s, n->name, value.text);
    return err < 0 ? err : FERRY_STEP_NEXT;
}

int ferry_filters_set_param(struct ferry_filters *f, const char *name, const char *value)
{
    static const struct ferry_filter_ops ops = {
        .name = "set_param", .run = run_set_param, .free = named_free};
    int err = check_param(f, ops.name, name);

    return err < 0 ? err : push_named(f, &ops, name, value ? value : "");
}

static int run_remove_param(struct ferry_session *s, void *filter, void *local)
{
    const struct named *n = filter;
    int err = ferry_session_remove_param(s, n->name);

    (void)local;
    return err < 0 ? err : FERRY_STEP_NEXT;
}

int ferry_filters_remove_param(struct ferry_filters *f, const char *name)
{
    static const struct ferry_filter_ops ops = {
        .name = "remove_param", .run = run_remove_param, .free = named_free};
    int err = check_param(f, ops.name, name);

    return err < 0 ? err : push_named(f, &ops, name, NULL);
}

static int run_header(struct ferry_session *s, void *filter, void *local)
{
    const struct named *n = filter;
    struct ferry_template_out value;
    int err;

    (void)local;
    if (!n->value) {
        err = ferry_session_remove_answer_field(s, n->name);
    } else {
        err = ferry_template_expand(n->value, s, NULL, &value);
        if (err == 0)
            err = ferry_session_set_answer_field(s, n->name, value.text);
    }
    return err < 0 ? err : FERRY_STEP_NEXT;
}

int ferry_filters_header(struct ferry_filters *f, const char *name, const char *value)
{
    static const struct ferry_filter_ops ops = {
        .name = "header", .run = run_header, .free = named_free};

    if (!name || strlen(name) > NAME_LEN_MAX || !ferry__session_is_field(ferry_slice_z(name)))
        return ferry_filters_refuse(f,
                                    "header: \"%.60s\" is no field of an answer, or one that is "
                                    "the connection's own",
                                    name ? name : "");
    return push_named(f, &ops, name, value);
}
