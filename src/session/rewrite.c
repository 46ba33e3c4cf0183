/* SPDX-License-Identifier: MIT */
/*
 * The filter rewrite: POSIX extended regular expressions over the decoded path. Back-references are
 * refused, since with them a client can choose a path that takes years to match. Each thread has an
 * expression of its own: those of libc take a lock to match.
 */
#include <errno.h>
#include <regex.h>
#include <stdlib.h>

#include "session/session.h"
#include "session/template.h"

#define PATTERN_LEN_MAX 1024

struct rewrite {
    char *pattern;
    struct ferry_template *to;
};

static int run(struct ferry_session *s, void *filter, void *local)
{
    const struct rewrite *r = filter;
    /* A copy, since expressions are held against strings. A path holds no NUL. */
    struct ferry_slice path = ferry_session_copy(s, ferry_session_path(s));
    struct ferry_slice groups[FERRY_TEMPLATE_GROUPS];
    regmatch_t at[FERRY_TEMPLATE_GROUPS];
    struct ferry_template_out to;
    int err;

    if (!path.p)
        return -ENOMEM;
    err = regexec(local, path.p, FERRY_TEMPLATE_GROUPS, at, 0);
    if (err == REG_NOMATCH)
        return FERRY_STEP_NEXT;
    if (err)
        return -ENOMEM;
    for (unsigned i = 0; i < FERRY_TEMPLATE_GROUPS; i++)
        groups[i] = at[i].rm_so < 0
                        ? FERRY_SLICE("")
                        : ferry_slice(path.p + at[i].rm_so, (size_t)(at[i].rm_eo - at[i].rm_so));
    err = ferry_template_expand(r->to, s, groups, &to);
    if (err == FERRY_ELIMIT)
        return ferry_session_refuse(s, 414, "The address is too long.");
    if (err == 0)
        err = ferry_session_set_path(s, to.text);
    if (err == FERRY_EUSAGE) /* what the groups made of it is no path */
        return ferry_session_refuse(s, 404, "There is nothing at this address.");
    if (err == 0 && to.query.p)
        err = ferry_session_set_query(s, to.query);
    return err < 0 ? err : FERRY_STEP_NEXT;
}

static int join(void *filter, struct ferry_session_thread *thread, void **local)
{
    const struct rewrite *r = filter;
    regex_t *expression = malloc(sizeof *expression);

    (void)thread;
    if (!expression)
        return -ENOMEM;
    if (regcomp(expression, r->pattern, REG_EXTENDED)) {
        free(expression); /* it was good when the filter was made */
        return -ENOMEM;
    }
    *local = expression;
    return 0;
}

static void leave(void *local)
{
    regfree(local);
    free(local);
}

static void rewrite_free(void *filter)
{
    struct rewrite *r = filter;

    ferry_template_free(r->to);
    free(r->pattern);
    free(r);
}

/* How many groups a pattern has; or refuses it. */
static int check(struct ferry_filters *f, const char *pattern)
{
    regex_t expression;
    char why[100];
    int err, groups;

    if (strlen(pattern) > PATTERN_LEN_MAX)
        return ferry_filters_refuse(f, "rewrite: a pattern of more than %d bytes", PATTERN_LEN_MAX);
    for (const char *p = pattern; (p = strchr(p, '\\')); p += p[1] ? 2 : 1)
        if (p[1] >= '1' && p[1] <= '9')
            return ferry_filters_refuse(f, "rewrite: \"%.60s\" refers back to a group with \\%c",
                                        pattern, p[1]);
    err = regcomp(&expression, pattern, REG_EXTENDED);
    if (err == REG_ESPACE)
        return -ENOMEM;
    if (err) {
        regerror(err, &expression, why, sizeof why);
        return ferry_filters_refuse(f, "rewrite: \"%.60s\": %s", pattern, why);
    }
    groups = expression.re_nsub < FERRY_TEMPLATE_GROUPS ? (int)expression.re_nsub
                                                        : FERRY_TEMPLATE_GROUPS - 1;
    regfree(&expression);
    return groups;
}

int ferry_filters_rewrite(struct ferry_filters *f, const char *pattern, const char *to)
{
    static const struct ferry_filter_ops ops = {
        .name = "rewrite", .run = run, .join = join, .leave = leave, .free = rewrite_free};
    struct rewrite *r;
    int groups, err;

    if (!pattern || !*pattern)
        return ferry_filters_refuse(f, "rewrite: it needs a pattern");
    groups = check(f, pattern);
    if (groups < 0)
        return groups;
    r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->pattern = strdup(pattern);
    err = r->pattern ? ferry_filters_template(f, ops.name, to ? to : "", FERRY_TEMPLATE_PATH,
                                              (unsigned)groups, &r->to)
                     : -ENOMEM;
    if (err < 0) {
        rewrite_free(r);
        return err;
    }
    return ferry_filters_push(f, &ops, r);
}
