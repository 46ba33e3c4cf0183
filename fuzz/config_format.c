/* SPDX-License-Identifier: MIT */
/*
 * A configuration's text, laid out: laying it out again changes nothing, and it says what it said
 * before, word for word.
 */
#include <stdint.h>
#include <stdlib.h>

#include "config/config.h"
#include "config/lex.h"

#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int format(struct ferry_slice text, struct ferry_slice *out)
{
    struct ferry_config_place place;
    const char *why;
    char *bytes = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&bytes, &n);
    int err;

    check(f);
    err = ferry_config_format(text, f, &place, &why);
    check(fclose(f) == 0);
    check((err == 0) == (why == NULL) && (err == 0 || place.line > 0));
    *out = ferry_slice(bytes, n);
    return err;
}

static void check_words(struct ferry_slice a, struct ferry_slice b)
{
    struct ferry__lexer x, y;
    struct ferry__token s, t;

    ferry__lexer_init(&x, a);
    ferry__lexer_init(&y, b);
    do {
        ferry__lexer_next(&x, &s);
        ferry__lexer_next(&y, &t);
        check(s.type == t.type && ferry_slice_eq(s.raw, t.raw));
    } while (s.type != FERRY__TOKEN_END);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_slice text = {(const char *)data, n}, once, twice;

    if (format(text, &once) == 0) {
        check_words(text, once);
        check(format(once, &twice) == 0);
        check(ferry_slice_eq(once, twice));
        free((char *)twice.p);
    }
    free((char *)once.p);
    return 0;
}
