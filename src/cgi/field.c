/* SPDX-License-Identifier: MIT */
/*
 * Header fields with parameters. What could be read in two ways is refused: a filter in front of
 * the application and the application itself would otherwise see two different names.
 */
#include "cgi/field.h"

struct ferry_slice ferry_field_word(struct ferry_slice *rest)
{
    struct ferry_slice word = ferry_slice_first(*rest, ferry_slice_find(*rest, ';'));

    *rest = ferry_slice_from(*rest, word.len);
    return ferry_slice_trim(word);
}

/* The length of a quoted string's inside, of which s holds all behind the first quote; or s.len
 * when it does not end. */
static size_t quoted_len(struct ferry_slice s)
{
    size_t i = 0;

    while (i < s.len && s.p[i] != '"')
        i += s.p[i] == '\\' && i + 1 < s.len && (s.p[i + 1] == '"' || s.p[i + 1] == '\\') ? 2 : 1;
    return i;
}

int ferry_field_param_next(struct ferry_slice *rest, struct ferry_field_param *out)
{
    struct ferry_slice s = ferry_slice_trim(*rest);
    size_t n;

    while (s.len && s.p[0] == ';')
        s = ferry_slice_trim(ferry_slice_from(s, 1));
    *rest = s;
    if (!s.len)
        return 0;
    n = ferry_slice_find(s, '=');
    out->name = ferry_slice_trim(ferry_slice_first(s, n));
    if (n == s.len || !out->name.len || ferry_slice_find(out->name, ';') < out->name.len ||
        ferry_slice_find(out->name, '"') < out->name.len)
        return FERRY_EPROTOCOL;
    s = ferry_slice_trim(ferry_slice_from(s, n + 1));
    out->quoted = s.len && s.p[0] == '"';
    if (out->quoted) {
        s = ferry_slice_from(s, 1);
        n = quoted_len(s);
        if (n >= s.len)
            return FERRY_EPROTOCOL;
        out->value = ferry_slice_first(s, n);
        s = ferry_slice_trim(ferry_slice_from(s, n + 1));
        if (s.len && s.p[0] != ';')
            return FERRY_EPROTOCOL;
    } else {
        n = ferry_slice_find(s, ';');
        out->value = ferry_slice_trim(ferry_slice_first(s, n));
        if (ferry_slice_find(out->value, '"') < out->value.len)
            return FERRY_EPROTOCOL;
        s = ferry_slice_from(s, n);
    }
    *rest = s;
    return 1;
}

size_t ferry_field_unquote(char *p, size_t n)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\\' && i + 1 < n && (p[i + 1] == '"' || p[i + 1] == '\\'))
            i++;
        p[len++] = p[i];
    }
    return len;
}
