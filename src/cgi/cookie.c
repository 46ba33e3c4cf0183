/* SPDX-License-Identifier: MIT */
/*
 * Cookies: reading what browsers send back, where anything may come and nothing fails, and writing
 * what they shall keep, where nothing may pass that would end the value, the attribute or the
 * header.
 *
 * The `;` is looked for first and quotes after it. Parsers that let a quote protect a `;` can be
 * made to take a neighbour's cookie for a part of their own value.
 */
#include <stdio.h>

#include "base/slice.h"
#include "ferry/form.h"

bool ferry_cookie_next(struct ferry_slice *rest, struct ferry_param *out)
{
    while (rest->len) {
        struct ferry_slice pair = ferry_slice_first(*rest, ferry_slice_find(*rest, ';'));
        size_t equals = ferry_slice_find(pair, '=');

        *rest = ferry_slice_from(*rest, pair.len + 1);
        out->name = ferry_slice_trim(ferry_slice_first(pair, equals));
        if (equals == pair.len || !out->name.len)
            continue;
        equals++;
        out->value = ferry_slice_trim(ferry_slice(pair.p + equals, pair.len - equals));
        if (out->value.len >= 2 && out->value.p[0] == '"' &&
            out->value.p[out->value.len - 1] == '"')
            out->value = ferry_slice(out->value.p + 1, out->value.len - 2);
        return true;
    }
    return false;
}

/* -- writing
 * ------------------------------------------------------------------------------------------------
 */

/* tchar of RFC 9110 section 5.6.2 */
static bool is_token(const char *z)
{
    const char *at = z;

    for (; *at; at++)
        if (!((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') ||
              (*at >= 'A' && *at <= 'Z') || strchr("!#$%&'*+-.^_`|~", *at)))
            return false;
    return at > z;
}

/* cookie-octet of RFC 6265 section 4.1.1, and bytes past ASCII, which all browsers keep */
static bool is_value(const char *z)
{
    for (; *z; z++)
        if ((unsigned char)*z <= ' ' || *z == 0x7f || strchr("\",;\\", *z))
            return false;
    return true;
}

static bool is_path(const char *z)
{
    if (*z != '/')
        return false;
    for (; *z; z++)
        if ((unsigned char)*z < ' ' || *z == 0x7f || *z == ';')
            return false;
    return true;
}

static bool is_domain(const char *z)
{
    const char *at = z;

    for (; *at; at++)
        if (!((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') ||
              (*at >= 'A' && *at <= 'Z') || *at == '-' || *at == '.'))
            return false;
    return at > z;
}

/* Browsers compare the prefixes without regard to case (RFC 6265bis section 5.6). */
static bool has_prefix(const char *name, const char *prefix)
{
    struct ferry_slice p = ferry_slice_z(prefix);

    return ferry_slice_eq_nocase(ferry_slice_first(ferry_slice_z(name), p.len), p);
}

ssize_t ferry_cookie_format(const struct ferry_cookie *c, char *out, size_t cap)
{
    static const char *const same_site[] = {"Lax", "Strict", "None"};
    const char *value = c->value ? c->value : "", *path = c->path ? c->path : "/";
    bool host, secure;
    char age[40] = "";
    int n;

    if (!c->name || !is_token(c->name) || !is_value(value) || !is_path(path) ||
        (c->domain && !is_domain(c->domain)) || (unsigned)c->same_site > FERRY_SAME_SITE_NONE)
        return FERRY_EUSAGE;
    host = has_prefix(c->name, "__Host-");
    if (host && (c->domain || strcmp(path, "/") != 0))
        return FERRY_EUSAGE;
    secure = c->secure || c->same_site == FERRY_SAME_SITE_NONE || host ||
             has_prefix(c->name, "__Secure-");
    if (c->max_age_s)
        snprintf(age, sizeof age, "; Max-Age=%lld",
                 (long long)(c->max_age_s < 0 ? 0 : c->max_age_s));
    n = snprintf(out, cap, "%s=%s; Path=%s%s%s%s%s%s; SameSite=%s", c->name, value, path,
                 c->domain ? "; Domain=" : "", c->domain ? c->domain : "", age,
                 secure ? "; Secure" : "", c->scripts ? "" : "; HttpOnly", same_site[c->same_site]);
    return n < 0 || (size_t)n >= cap ? FERRY_ELIMIT : n;
}
