/* SPDX-License-Identifier: MIT */
/*
 * The text of a file, laid out anew. Words, comments and the lines they stand on stay; what changes
 * is what is between them. What is laid out already stays as it is, byte for byte.
 */
#include "config/config.h"
#include "config/lex.h"

/* The value of a setting may be a list in the innermost block. */
#define DEPTH_MAX (FERRY_CONFIG_BLOCKS_MAX + 1)

struct brace {
    unsigned line;
    bool many; /* what it holds stands on several lines */
};

struct layout {
    FILE *to;
    struct ferry__lexer lexer;
    struct ferry__token token, last;
    struct brace open[DEPTH_MAX];
    unsigned depth;
    bool begun, value; /* something is written; the last word was a value */
    bool closed_many;  /* the last brace that closed held several lines */
};

static bool is_text(const struct ferry__token *t)
{
    return t->type == FERRY__TOKEN_WORD || t->type == FERRY__TOKEN_STRING;
}

/* Does a line end between this brace, which was just read, and its own end? */
static bool holds_lines(struct ferry__lexer lexer)
{
    struct ferry__token t;
    unsigned depth = 1;
    bool empty = true;

    for (; depth; empty = false) {
        ferry__lexer_next(&lexer, &t);
        if (t.type == FERRY__TOKEN_END || t.type == FERRY__TOKEN_BAD)
            return false;
        if (t.type == FERRY__TOKEN_CLOSE && empty)
            return false;
        if (t.first)
            return true;
        depth += (t.type == FERRY__TOKEN_OPEN) - (t.type == FERRY__TOKEN_CLOSE);
    }
    return false;
}

static bool breaks(const struct layout *l)
{
    const struct ferry__token *t = &l->token, *last = &l->last;
    const struct brace *in = l->depth ? &l->open[l->depth - 1] : NULL;

    if (!l->begun)
        return false;
    if (last->type == FERRY__TOKEN_COMMENT)
        return true;
    if (t->type == FERRY__TOKEN_COMMENT)
        return t->first;
    switch (t->type) {
    case FERRY__TOKEN_OPEN:
    case FERRY__TOKEN_EQUALS:
        return t->first && !is_text(last) && last->type != FERRY__TOKEN_EQUALS;
    case FERRY__TOKEN_COMMA:
        return false;
    case FERRY__TOKEN_CLOSE:
        return in->many && last->type != FERRY__TOKEN_OPEN;
    default:
        return t->first || (last->type == FERRY__TOKEN_OPEN && in->many) ||
               (last->type == FERRY__TOKEN_CLOSE && l->closed_many);
    }
}

static unsigned blanks(const struct layout *l)
{
    const struct ferry__token *t = &l->token, *last = &l->last;

    if (!l->begun || t->type == FERRY__TOKEN_COMMA ||
        (t->type == FERRY__TOKEN_CLOSE && last->type == FERRY__TOKEN_OPEN))
        return 0;
    if (t->type == FERRY__TOKEN_COMMENT)
        return 2;
    /* Between two settings on one line. */
    return is_text(t) && (last->type == FERRY__TOKEN_CLOSE || l->value) ? 2 : 1;
}

static void write_token(struct layout *l)
{
    const struct ferry__token *t = &l->token;
    unsigned indent = l->depth - (t->type == FERRY__TOKEN_CLOSE);

    if (breaks(l)) {
        fputc('\n', l->to);
        if (t->blank_line && l->last.type != FERRY__TOKEN_OPEN && t->type != FERRY__TOKEN_CLOSE)
            fputc('\n', l->to);
        fprintf(l->to, "%*s", (int)indent * 4, "");
    } else {
        fprintf(l->to, "%*s", (int)blanks(l), "");
    }
    fwrite(t->raw.p, 1, t->raw.len, l->to);
    l->begun = true;
}

/* 0 or FERRY_EUSAGE. */
static int check(const struct layout *l, struct ferry_config_place *place, const char **why)
{
    place->line = l->token.line;
    *why = NULL;
    if (l->token.type == FERRY__TOKEN_BAD)
        *why = l->token.why;
    else if (l->token.type == FERRY__TOKEN_CLOSE && l->depth == 0)
        *why = "this '}' closes nothing";
    else if (l->token.type == FERRY__TOKEN_OPEN && l->depth == DEPTH_MAX)
        *why = "blocks lie 8 deep at most";
    if (l->token.type == FERRY__TOKEN_END && l->depth) {
        place->line = l->open[l->depth - 1].line;
        *why = "this '{' has no '}' at its end";
    }
    return *why ? FERRY_EUSAGE : 0;
}

int ferry_config_format(struct ferry_slice text, FILE *out, struct ferry_config_place *place,
                        const char **why)
{
    struct layout l = {.to = out};

    ferry__lexer_init(&l.lexer, text);
    for (;; l.last = l.token) {
        ferry__lexer_next(&l.lexer, &l.token);
        if (check(&l, place, why) < 0)
            return FERRY_EUSAGE;
        if (l.token.type == FERRY__TOKEN_END)
            break;
        write_token(&l);
        l.value = is_text(&l.token) && l.last.type == FERRY__TOKEN_EQUALS;
        if (l.token.type == FERRY__TOKEN_OPEN)
            l.open[l.depth++] = (struct brace){.line = l.token.line, .many = holds_lines(l.lexer)};
        else if (l.token.type == FERRY__TOKEN_CLOSE)
            l.closed_many = l.open[--l.depth].many;
    }
    if (l.begun)
        fputc('\n', out);
    return 0;
}
