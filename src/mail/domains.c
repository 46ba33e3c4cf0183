/* SPDX-License-Identifier: MIT */
/*
 * Domains of a service, in a hash table with open addressing that is never more than half full and
 * never changes once it is made. A wildcard lies there as what follows its '*', dot and all, so
 * that no name can be taken for one: a domain is looked up whole, and then from each of its dots
 * on.
 */
#include "mail/domains.h"

#include <arpa/inet.h>
#include <errno.h>
#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "smtp/path.h"
#include "smtp/utf8.h"

struct ferry_mail_domains {
    bool any;
    unsigned slots; /* a power of two, or 0 */
    char **texts;
};

/* -- one form for each domain ------------------------------------------------------------------ */

static ssize_t literal_form(struct ferry_slice s, char *out)
{
    const struct ferry_slice tag = FERRY_SLICE("[IPv6:");
    bool six = ferry_slice_eq_nocase(ferry_slice_first(s, tag.len), tag);
    int family = six ? AF_INET6 : AF_INET;
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];

    s = ferry_slice_from(s, six ? tag.len : 1);
    if (s.len == 0 || s.len > sizeof text || s.p[s.len - 1] != ']')
        return FERRY_EUSAGE;
    *ferry__put(text, ferry_slice_first(s, s.len - 1)) = 0;
    if (inet_pton(family, text, ip) != 1 || !inet_ntop(family, ip, text, sizeof text))
        return FERRY_EUSAGE;
    return snprintf(out, FERRY_MAIL_DOMAIN_MAX + 1, "[%s%s]", six ? "ipv6:" : "", text);
}

static ssize_t idn_form(struct ferry_slice s, char *out)
{
    char text[1024], *ascii = NULL;
    size_t n;
    int err;

    if (s.len >= sizeof text || memchr(s.p, 0, s.len))
        return FERRY_EUSAGE;
    *ferry__put(text, s) = 0;
    err = idn2_to_ascii_8z(text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (err != IDN2_OK)
        return err == IDN2_MALLOC ? -ENOMEM : FERRY_EUSAGE;
    n = strlen(ascii);
    if (n > FERRY_MAIL_DOMAIN_MAX) {
        idn2_free(ascii);
        return FERRY_EUSAGE;
    }
    for (size_t i = 0; i <= n; i++)
        out[i] = ferry_ascii_lower(ascii[i]);
    idn2_free(ascii);
    return (ssize_t)n;
}

ssize_t ferry_mail_domain_ascii(struct ferry_slice s, char out[FERRY_MAIL_DOMAIN_MAX + 1])
{
    bool ascii = true;

    if (s.len && s.p[0] == '[')
        return literal_form(s, out);
    for (size_t i = 0; i < s.len; i++)
        ascii &= (unsigned char)s.p[i] < 0x80;
    if (!ascii)
        return idn_form(s, out);
    if (s.len > FERRY_MAIL_DOMAIN_MAX)
        return FERRY_EUSAGE;
    for (size_t i = 0; i < s.len; i++)
        out[i] = ferry_ascii_lower(s.p[i]);
    out[s.len] = 0;
    return (ssize_t)s.len;
}

/* -- the table --------------------------------------------------------------------------------- */

/* FNV-1a: only the operator puts anything in. */
static uint32_t hash(struct ferry_slice s)
{
    uint32_t h = 2166136261U;

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619U;
    return h;
}

/* Where it is, or would be. */
static char **slot_of(const struct ferry_mail_domains *d, struct ferry_slice s)
{
    unsigned at = hash(s) & (d->slots - 1);

    while (d->texts[at] && !ferry_slice_eq(ferry_slice_z(d->texts[at]), s))
        at = (at + 1) & (d->slots - 1);
    return &d->texts[at];
}

int ferry_mail_domains_match(const struct ferry_mail_domains *d, struct ferry_slice domain)
{
    char text[FERRY_MAIL_DOMAIN_MAX + 1];
    struct ferry_slice s;
    ssize_t n;

    if (domain.len == 0)
        return 1;
    n = ferry_mail_domain_ascii(domain, text);
    if (n < 0)
        return (int)n;
    if (d->any)
        return 1;
    s = ferry_slice(text, (size_t)n);
    if (d->slots == 0 || text[0] == '.')
        return 0;
    if (*slot_of(d, s))
        return 1;
    for (size_t at = 1; text[0] != '[' && at < s.len; at++)
        if (text[at] == '.' && *slot_of(d, ferry_slice_from(s, at)))
            return 1;
    return 0;
}

bool ferry_mail_domains_is_any(const struct ferry_mail_domains *d)
{
    return d->any;
}

/* -- making it --------------------------------------------------------------------------------- */

/* What is wrong with a text, in words. */
static const char *what_is_wrong(const char *text)
{
    uint8_t ip[16];

    if (!*text)
        return "it is empty";
    if (strchr(text, '@'))
        return "only what stands behind the '@' is a domain";
    if (text[0] == '.')
        return "for all domains below one write \"*.example.com\"";
    if (text[0] == '[' || inet_pton(AF_INET, text, ip) == 1 || inet_pton(AF_INET6, text, ip) == 1)
        return "an address is written \"[192.0.2.1]\" or \"[IPv6:2001:db8::1]\"";
    if (text[strlen(text) - 1] == '.')
        return "it must not end with a dot";
    if (strchr(text, '*'))
        return "a '*' stands alone, or first with a dot behind it";
    return "that is no name of a domain";
}

static int refuse(const char *text, char *why, size_t cap)
{
    snprintf(why, cap, "domain \"%s\": %s", text, what_is_wrong(text));
    return FERRY_EUSAGE;
}

static int add(struct ferry_mail_domains *d, const char *text, char *why, size_t cap)
{
    bool wild = text[0] == '*' && text[1] == '.';
    char form[1 + FERRY_MAIL_DOMAIN_MAX + 1] = ".", **slot;
    struct ferry_slice s;
    ssize_t n;

    if (strcmp(text, ".") == 0 || strcmp(text, "*") == 0) {
        d->any = true;
        return 0;
    }
    n = ferry_mail_domain_ascii(ferry_slice_z(text + 2 * wild), form + 1);
    if (n == -ENOMEM)
        return -ENOMEM;
    /* The form of a literal has the tag in lower case; it was checked when it was made. */
    if (n < 0 || !ferry__smtp_is_text(ferry_slice_z(text), true) ||
        (form[1] != '[' && !ferry_smtp_is_domain(ferry_slice(form + 1, (size_t)n))) ||
        (wild && form[1] == '['))
        return refuse(text, why, cap);
    s = wild ? ferry_slice(form, 1 + (size_t)n) : ferry_slice(form + 1, (size_t)n);
    slot = slot_of(d, s);
    if (!*slot)
        *slot = strndup(s.p, s.len);
    return *slot ? 0 : -ENOMEM;
}

int ferry_mail_domains_new(const char *const *texts, unsigned n, struct ferry_mail_domains **out,
                           char *why, size_t cap)
{
    struct ferry_mail_domains *d = calloc(1, sizeof *d);
    int err = 0;

    if (!d)
        return -ENOMEM;
    if (n) {
        for (d->slots = 4; d->slots / 2 < n && d->slots < 1U << 31; d->slots *= 2)
            ;
        d->texts = calloc(d->slots, sizeof *d->texts);
        err = d->texts ? 0 : -ENOMEM;
    }
    for (unsigned i = 0; err == 0 && i < n; i++)
        err = add(d, texts[i], why, cap);
    if (err < 0) {
        ferry_mail_domains_free(d);
        return err;
    }
    *out = d;
    return 0;
}

void ferry_mail_domains_free(struct ferry_mail_domains *d)
{
    if (!d)
        return;
    for (unsigned i = 0; d->texts && i < d->slots; i++)
        free(d->texts[i]);
    free(d->texts);
    free(d);
}
