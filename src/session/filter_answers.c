/* SPDX-License-Identifier: MIT */
/*
 * The filters that answer at once: deny and redirect. Where a redirect may lead is settled when it
 * is made (session/template.h); what is left for a request is to fill it in.
 */
#include <errno.h>
#include <stdlib.h>

#include "session/session.h"
#include "session/template.h"

#define WHY_MAX 500

struct deny {
    int status;
    char why[];
};

static int run_deny(struct ferry_session *s, void *filter, void *local)
{
    const struct deny *d = filter;

    (void)local;
    return ferry_session_refuse(s, d->status, d->why);
}

int ferry_filters_deny(struct ferry_filters *f, int status, const char *why)
{
    static const struct ferry_filter_ops ops = {.name = "deny", .run = run_deny, .free = free};
    size_t len = why ? strlen(why) : 0;
    struct deny *d;

    if (status < 400 || status > 599)
        return ferry_filters_refuse(f, "deny: %d is no status from 400 to 599", status);
    if (len > WHY_MAX)
        return ferry_filters_refuse(f, "deny: a reason of more than %d bytes", WHY_MAX);
    d = calloc(1, sizeof *d + len + 1);
    if (!d)
        return -ENOMEM;
    d->status = status;
    if (len)
        memcpy(d->why, why, len);
    return ferry_filters_push(f, &ops, d);
}

struct redirect {
    int status;
    struct ferry_template *to;
};

/* "https://$host/" for a client that named none. */
static bool has_no_host(struct ferry_slice to)
{
    const char *slashes = to.len && to.p[0] != '/' ? memmem(to.p, to.len, "://", 3) : NULL;
    struct ferry_slice host = slashes ? ferry_slice_from(to, (size_t)(slashes - to.p) + 3) : to;

    if (!slashes)
        return false;
    return !host.len || memchr("/?#:", host.p[0], 4);
}

static int run_redirect(struct ferry_session *s, void *filter, void *local)
{
    const struct redirect *r = filter;
    struct ferry_template_out to;
    int err = ferry_template_expand(r->to, s, NULL, &to);

    (void)local;
    if (err == FERRY_ELIMIT)
        return ferry_session_refuse(s, 414, "The address is too long to be redirected.");
    if (err < 0)
        return err;
    if (has_no_host(to.text))
        return ferry_session_refuse(s, 400, "The request does not say which host it is for.");
    return ferry_session_answer(
        s, r->status, &(struct ferry_param){FERRY_SLICE("Location"), to.text}, 1, FERRY_SLICE(""));
}

static void redirect_free(void *filter)
{
    struct redirect *r = filter;

    ferry_template_free(r->to);
    free(r);
}

int ferry_filters_redirect(struct ferry_filters *f, int status, const char *to)
{
    static const struct ferry_filter_ops ops = {
        .name = "redirect", .run = run_redirect, .free = redirect_free};
    struct redirect *r;
    int err;

    if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)
        return ferry_filters_refuse(f, "redirect: %d is none of 301, 302, 303, 307 and 308",
                                    status);
    r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->status = status;
    err = ferry_filters_template(f, ops.name, to ? to : "", FERRY_TEMPLATE_LOCATION, 0, &r->to);
    if (err < 0) {
        free(r);
        return err;
    }
    return ferry_filters_push(f, &ops, r);
}
