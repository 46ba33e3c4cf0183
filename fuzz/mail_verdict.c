/* SPDX-License-Identifier: MIT */
/*
 * An answer of a script: the first bytes say which question, status, token and how many recipients.
 * Whatever it is, every verdict is set, says nothing outside its class and nothing but text; a yes
 * needs its word at the very beginning, and the token where one is asked for.
 */
#include <stdint.h>
#include <stdlib.h>

#include "mail/verdict.h"

#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

#define RCPTS_MAX 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_text(const char *text)
{
    for (; *text; text++)
        check((uint8_t)*text >= ' ' && *text != 0x7f);
}

static void check_said(enum ferry_mail_question question, const struct ferry_mail_verdict *v)
{
    static const struct ferry_mail_service service;
    struct ferry_slice enhanced, text;
    int code = ferry_mail_verdict_words(&service, question, v, &enhanced, &text);

    if (code == 0)
        return;
    check(v->outcome == FERRY_MAIL_REJECT || v->outcome == FERRY_MAIL_DEFER);
    check(code / 10 == (v->outcome == FERRY_MAIL_REJECT ? 55 : 45));
    check(text.len > 0 && text.len <= FERRY_MAIL_WORDS_MAX);
    check(enhanced.len == 0 || enhanced.p[0] - '0' == code / 100);
}

static void check_verdict(enum ferry_mail_question question, const struct ferry_mail_verdict *v,
                          int status, struct ferry_slice body, struct ferry_slice token)
{
    static const char *const yes[] = {"PASS", "SAVED", "PASS"};
    bool is_yes = v->outcome == FERRY_MAIL_OK;

    check(v->outcome <= FERRY_MAIL_INTERNAL);
    check(memchr(v->text, 0, sizeof v->text) && memchr(v->id, 0, sizeof v->id));
    check_text(v->text);
    check_text(v->id);
    check_text(v->enhanced);
    check_said(question, v);
    if (!is_yes)
        return;
    check(status >= 200 && status < 300);
    check(body.len && memmem(body.p, body.len, yes[question], strlen(yes[question])));
    if (question == FERRY_MAIL_SAVE && token.len)
        check(memmem(body.p, body.len, token.p, token.len) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const int statuses[] = {200, 200, 200, 204, 302, 403, 404, 422, 500};
    struct ferry_mail_verdict v[RCPTS_MAX];
    struct ferry_slice body, token;
    enum ferry_mail_question question;
    unsigned nrcpts;
    char *copy;
    int status;

    if (n < 2)
        return 0;
    question = (enum ferry_mail_question)(data[0] % 3);
    token = data[0] & 128 ? FERRY_SLICE("t") : FERRY_SLICE("");
    status = statuses[data[1] % (sizeof statuses / sizeof *statuses)];
    nrcpts = question == FERRY_MAIL_SAVE ? 1 + data[1] / 16 % RCPTS_MAX : 1;
    copy = malloc(n - 2 ? n - 2 : 1);
    check(copy);
    memcpy(copy, data + 2, n - 2);
    body = ferry_slice(copy, n - 2);
    memset(v, 0x55, sizeof v);
    ferry_mail_verdict_read(question, status, body, token, v, nrcpts);
    for (unsigned i = 0; i < nrcpts; i++)
        check_verdict(question, &v[i], status, body, token);
    free(copy);
    return 0;
}
