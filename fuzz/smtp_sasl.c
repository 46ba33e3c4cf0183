/* SPDX-License-Identifier: MIT */
/* AUTH, with the first line as its arguments and the others as responses; each is also base64. */
#include <stdlib.h>

#include "smtp/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void check_base64(struct ferry_slice s)
{
    char *out = malloc(s.len + 1), *less = malloc(s.len + 1);
    ssize_t n;

    must(out && less);
    n = ferry_smtp_base64_decode(s, out, s.len);
    must(n == FERRY_EUSAGE || (n >= 0 && (size_t)n <= s.len / 4 * 3 && s.len % 4 == 0));
    if (n > 0) {
        must(ferry_smtp_base64_decode(s, less, (size_t)n) == n);
        must(memcmp(out, less, (size_t)n) == 0);
        must(ferry_smtp_base64_decode(s, less, (size_t)n - 1) == FERRY_ELIMIT);
    }
    free(out);
    free(less);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_slice rest = ferry_slice((const char *)data, n);
    struct ferry_smtp_sasl sasl;
    int got = 0;

    for (unsigned lines = 0; got == 0 && lines < 8; lines++) {
        struct ferry_slice line = ferry_slice_first(rest, ferry_slice_find(rest, '\n'));
        enum ferry_smtp_reply why = FERRY_SMTP_NONE;
        const char *challenge = NULL;

        rest = ferry_slice_from(rest, line.len + 1);
        check_base64(line);
        got = lines ? ferry_smtp_sasl_next(&sasl, line, &challenge, &why)
                    : ferry_smtp_sasl_begin(&sasl, line, &challenge, &why);
        must(got == 0 || got == 1 || got == FERRY_EUSAGE);
        must((got == 0) == (challenge != NULL));
        must((got == FERRY_EUSAGE) == (why != FERRY_SMTP_NONE));
        must(lines < 3 || got != 0);
    }
    if (got == 1) {
        must(sasl.user[0] && strlen(sasl.user) <= FERRY_SMTP_USER_MAX);
        must(sasl.password[0] && strlen(sasl.password) <= FERRY_SMTP_PASSWORD_MAX);
        must(strlen(sasl.identity) <= FERRY_SMTP_USER_MAX);
    }
    ferry_smtp_sasl_clear(&sasl);
    must(sasl.user[0] == 0 && sasl.password[0] == 0);
    return 0;
}
