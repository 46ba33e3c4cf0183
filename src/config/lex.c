/* SPDX-License-Identifier: MIT */
/*
 * Words, one after the other; nothing is copied. Every call but the last takes at least one byte,
 * and a token never spans lines, so what is wrong on one line is over at its end.
 */
#include "config/lex.h"

#include <stdlib.h>

#define MARK FERRY_SLICE("\xef\xbb\xbf")

void ferry__lexer_init(struct ferry__lexer *l, struct ferry_slice text)
{
    if (ferry_slice_starts(text, MARK))
        text = ferry_slice_from(text, 3);
    *l = (struct ferry__lexer){.rest = text, .line = 1};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

/* What a bare word cannot hold, beside control bytes. */
static bool ends_word(char c)
{
    return is_blank(c) || c == '\n' || (c && strchr("{}=,#;\"'\\", c));
}

static int hex(char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* One escape behind its backslash: its length, or 0. NUL can be no part of a text in C. */
static size_t escape(struct ferry_slice s, char *out)
{
    static const char names[] = "\"\\ntr", values[] = "\"\\\n\t\r";
    const char *at = s.len && s.p[0] ? strchr(names, s.p[0]) : NULL;

    if (at) {
        *out = values[at - names];
        return 1;
    }
    if (s.len < 3 || s.p[0] != 'x' || hex(s.p[1]) < 0 || hex(s.p[2]) < 0)
        return 0;
    *out = (char)(hex(s.p[1]) << 4 | hex(s.p[2]));
    return *out ? 3 : 0;
}

static void take(struct ferry__lexer *l, struct ferry__token *t, enum ferry__token_type type,
                 size_t n)
{
    t->type = type;
    t->raw = ferry_slice_first(l->rest, n);
    l->rest = ferry_slice_from(l->rest, n);
}

static void bad(struct ferry__lexer *l, struct ferry__token *t, size_t n, const char *why)
{
    take(l, t, FERRY__TOKEN_BAD, n);
    t->why = why;
}

static void take_string(struct ferry__lexer *l, struct ferry__token *t)
{
    struct ferry_slice s = l->rest;
    const char *why = NULL;
    char quote = s.p[0], c;
    size_t at = 1;

    for (; at < s.len && s.p[at] != '\n' && s.p[at] != quote; at++) {
        if (is_control(s.p[at]) && s.p[at] != '\r')
            why = why ? why : "a control character; write \\xHH in double quotes";
        if (s.p[at] != '\\' || quote == '\'')
            continue;
        if (escape(ferry_slice_from(s, at + 1), &c) == 0)
            why = why ? why
                      : "in double quotes a backslash may stand before \" \\ n t r and xHH only; "
                        "single quotes take everything as it is";
        if (at + 1 < s.len && s.p[at + 1] != '\n')
            at++;
    }
    if (at >= s.len || s.p[at] != quote)
        bad(l, t, at < s.len ? at : s.len, "this quote does not end on its line");
    else if (memchr(s.p, '\r', at))
        bad(l, t, at + 1, "a control character; write \\xHH in double quotes");
    else if (why)
        bad(l, t, at + 1, why);
    else
        take(l, t, FERRY__TOKEN_STRING, at + 1);
}

static void take_word(struct ferry__lexer *l, struct ferry__token *t)
{
    struct ferry_slice s = l->rest;
    size_t n = 0;

    while (n < s.len && !ends_word(s.p[n]) && !is_control(s.p[n]))
        n++;
    if (ferry_slice_starts(s, MARK))
        bad(l, t, MARK.len, "a byte order mark, which stands at the beginning of a file only");
    else if (n == 0 && s.p[0] == ';')
        bad(l, t, 1, "no ';' is needed: a setting ends by itself; in a value, quote it");
    else if (n == 0 && s.p[0] == '\\')
        bad(l, t, 1, "a value with a backslash must be quoted: 'a\\.b'");
    else if (n == 0)
        bad(l, t, 1, "a control character, which no text file has");
    else if (n < s.len && s.p[n] == '\\')
        bad(l, t, n + 1, "a value with a backslash must be quoted: 'a\\.b'");
    else if (n < s.len && s.p[n] == '#')
        bad(l, t, n + 1,
            "a value with a '#' must be quoted, and a comment needs a blank before it");
    else if (n < s.len && (s.p[n] == '"' || s.p[n] == '\''))
        bad(l, t, n + 1, "a quote in the middle of a word: quote all of it");
    else
        take(l, t, FERRY__TOKEN_WORD, n);
}

static void take_comment(struct ferry__lexer *l, struct ferry__token *t)
{
    size_t n = ferry_slice_find(l->rest, '\n'), end = n;

    while (end && is_blank(l->rest.p[end - 1]))
        end--;
    take(l, t, FERRY__TOKEN_COMMENT, n);
    for (size_t i = 0; i < end; i++)
        if (is_control(t->raw.p[i])) {
            t->type = FERRY__TOKEN_BAD;
            t->why = "a control character, which no text file has";
        }
    t->raw.len = end;
}

void ferry__lexer_next(struct ferry__lexer *l, struct ferry__token *t)
{
    static const char signs[] = "{}=,";
    unsigned lines = 0;
    const char *sign;

    for (; l->rest.len; l->rest = ferry_slice_from(l->rest, 1)) {
        if (l->rest.p[0] == '\n') {
            lines++;
            l->line++;
        } else if (!is_blank(l->rest.p[0])) {
            break;
        }
    }
    *t = (struct ferry__token){.line = l->line, .first = lines || !l->begun};
    t->blank_line = lines > (l->begun ? 1 : 0);
    l->begun = true;
    if (l->rest.len == 0)
        return;
    sign = l->rest.p[0] ? strchr(signs, l->rest.p[0]) : NULL;
    if (sign)
        take(l, t, FERRY__TOKEN_OPEN + (enum ferry__token_type)(sign - signs), 1);
    else if (l->rest.p[0] == '#')
        take_comment(l, t);
    else if (l->rest.p[0] == '"' || l->rest.p[0] == '\'')
        take_string(l, t);
    else
        take_word(l, t);
}

size_t ferry__token_text(const struct ferry__token *t, char *out)
{
    struct ferry_slice s = t->raw;
    size_t n = 0;

    if (t->type == FERRY__TOKEN_STRING)
        s = ferry_slice(s.p + 1, s.len - 2);
    for (size_t at = 0; at < s.len; at++)
        if (t->type == FERRY__TOKEN_STRING && t->raw.p[0] == '"' && s.p[at] == '\\')
            at += escape(ferry_slice_from(s, at + 1), &out[n++]);
        else
            out[n++] = s.p[at];
    out[n] = 0;
    return n;
}

bool ferry__word_is_bare(struct ferry_slice text)
{
    size_t n = 0;

    if (ferry_slice_starts(text, MARK))
        return false;
    while (n < text.len && !ends_word(text.p[n]) && !is_control(text.p[n]))
        n++;
    return n > 0 && n == text.len;
}
