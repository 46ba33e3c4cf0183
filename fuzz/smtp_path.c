/* SPDX-License-Identifier: MIT */
/* A path in its normal form is a path that becomes itself, and fits into its sizes. */
#include <stdlib.h>

#include "smtp/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void check_path(const struct ferry_smtp_path *p, unsigned flags)
{
    struct ferry_slice local = ferry_smtp_path_local(p), domain = ferry_smtp_path_domain(p);
    struct ferry_smtp_path again;
    char in[FERRY_SMTP_ADDRESS_MAX + 3];

    must(strlen(p->text) == p->len && strlen(p->raw) == p->raw_len);
    must(p->len <= FERRY_SMTP_ADDRESS_MAX && p->raw_len <= FERRY_SMTP_PATH_MAX);
    must(p->null == (p->len == 0));
    for (size_t i = 0; i < p->len; i++) {
        must((unsigned char)p->text[i] >= ' ' && p->text[i] != 0x7f);
        must(p->utf8 || (unsigned char)p->text[i] < 0x80);
    }
    if (p->null) {
        must(flags & FERRY_SMTP_PATH_NULL);
        return;
    }
    must(local.len > 0 && local.len <= 2 * FERRY_SMTP_LOCAL_MAX + 2);
    must(p->no_domain == (domain.len == 0) && domain.len <= FERRY_SMTP_DOMAIN_MAX);
    must(!p->no_domain || (flags & FERRY_SMTP_PATH_POSTMASTER));
    must(p->literal == (domain.len && domain.p[0] == '['));
    in[0] = '<';
    memcpy(in + 1, p->text, p->len);
    in[p->len + 1] = '>';
    /* A quoted local part may be longer than what it was made of. */
    if (p->len + 2 > FERRY_SMTP_PATH_MAX)
        return;
    must(ferry_smtp_path_parse(ferry_slice(in, p->len + 2U), FERRY_SMTP_PATH_POSTMASTER, &again) ==
         p->len + 2);
    must(strcmp(again.text, p->text) == 0 && again.local_len == p->local_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_slice s = ferry_slice((const char *)data, n);
    struct ferry_smtp_path p;
    struct ferry_smtp_path strict;

    for (unsigned flags = 0; flags < 8; flags++) {
        ssize_t took = ferry_smtp_path_parse(s, flags, &p);

        must(took == FERRY_EUSAGE || took == FERRY_ELIMIT || (took > 0 && (size_t)took <= n));
        if (took <= 0)
            continue;
        must((size_t)took == n || s.p[took] == ' ' || s.p[took] == '\t');
        check_path(&p, flags);
        if (!(flags & FERRY_SMTP_PATH_STRICT))
            continue;
        /* What is good to the strict is the same to the lenient. */
        must(ferry_smtp_path_parse(s, flags & ~FERRY_SMTP_PATH_STRICT, &strict) == took);
        must(strcmp(strict.text, p.text) == 0);
    }
    if (ferry_smtp_is_domain(s)) {
        for (size_t i = 0; i < n; i++)
            must(data[i] > ' ' && data[i] < 0x7f && data[i] != '@' && data[i] != '_');
        must(n <= FERRY_SMTP_DOMAIN_MAX);
    }
    return 0;
}
