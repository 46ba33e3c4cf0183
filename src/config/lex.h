/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CONFIG_LEX_H
#define FERRY_CONFIG_LEX_H

#include <stdbool.h>

#include "base/slice.h"

/*
 * The words of a configuration file. A bare word ends at a blank or at one of { } = , # ; " ' and
 * holds none of them, nor a backslash. "..." knows the escapes \" \\ \n \t \r \xHH and no other;
 * '...' has none. Quotes end on their line. # begins a comment, to the end of the line.
 */

enum ferry__token_type {
    FERRY__TOKEN_END,
    FERRY__TOKEN_WORD,
    FERRY__TOKEN_STRING, /* with its quotes */
    FERRY__TOKEN_OPEN,
    FERRY__TOKEN_CLOSE,
    FERRY__TOKEN_EQUALS,
    FERRY__TOKEN_COMMA,
    FERRY__TOKEN_COMMENT, /* from its #, without blanks at its end */
    FERRY__TOKEN_BAD,     /* `why`; what can be skipped of it */
};

struct ferry__token {
    enum ferry__token_type type;
    struct ferry_slice raw; /* of the text that is read */
    unsigned line;
    bool first;      /* on its line */
    bool blank_line; /* at least one stands before it */
    const char *why; /* static memory */
};

struct ferry__lexer {
    struct ferry_slice rest;
    unsigned line;
    bool begun; /* something stands on this line already */
};

void ferry__lexer_init(struct ferry__lexer *, struct ferry_slice text);
void ferry__lexer_next(struct ferry__lexer *, struct ferry__token *out);

/* What a WORD or STRING means, NUL-terminated; `out` has room for raw.len + 1 bytes. Returns its
 * length. */
size_t ferry__token_text(const struct ferry__token *, char *out);

/* Can this text stand as a bare word? */
bool ferry__word_is_bare(struct ferry_slice text);

#endif
