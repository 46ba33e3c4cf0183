/* SPDX-License-Identifier: MIT */
/*
 * PROXY headers: bytes that come one by one say "more" until the header is whole or broken, and say
 * the same as all at once. The same bytes are read as attributes of XCLIENT and XFORWARD.
 */
#include <stdlib.h>

#include "smtp/origin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void check_attrs(struct ferry_slice s, bool xforward)
{
    static struct ferry_smtp_attrs a;
    struct ferry_slice detail;
    enum ferry_smtp_reply reply = ferry_smtp_attrs_parse(s, xforward, &a, &detail);

    must(reply == FERRY_SMTP_NONE || reply == FERRY_SMTP_XCLIENT_BAD ||
         reply == FERRY_SMTP_ARGS_SYNTAX);
    if (reply)
        return;
    must(a.set && (a.unknown & ~a.set) == 0);
    for (unsigned i = 0; i < FERRY_SMTP_ATTRS; i++) {
        size_t len = strlen(a.value[i]);

        must(len <= FERRY_SMTP_ATTR_MAX);
        must((len > 0) == ((a.set & ~a.unknown) >> i & 1));
        for (size_t j = 0; j < len; j++)
            must((unsigned char)a.value[i][j] >= ' ' && a.value[i][j] != 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *p = (const char *)data;
    struct ferry_proxy all = {0}, one = {0};
    ssize_t took = ferry_proxy_parse(p, n, &all), got = 0;

    must(took == FERRY_EPROTOCOL || (took >= 0 && (size_t)took <= n && took <= FERRY_PROXY_MAX));
    for (size_t i = 0; i <= n && got == 0; i++) {
        got = ferry_proxy_parse(p, i, &one);
        must(got <= 0 || (size_t)got == i);
    }
    must(got == took);
    must(took != 0 || n < FERRY_PROXY_MAX);
    if (took > 0) {
        must(all.real == one.real);
        must(!all.real || memcmp(&all.from, &one.from, sizeof all.from) == 0);
        must(!all.real || all.from.any.sa_family == AF_INET || all.from.any.sa_family == AF_INET6);
        must(!all.real || all.to.any.sa_family == AF_INET || all.to.any.sa_family == AF_INET6);
    }
    check_attrs(ferry_slice(p, n), false);
    check_attrs(ferry_slice(p, n), true);
    return 0;
}
