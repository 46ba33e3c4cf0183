/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_DOMAINS_H
#define FERRY_MAIL_DOMAINS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/slice.h"
#include "ferry/err.h"

/*
 * Whose mail is taken: a service's `domains`, made ready to be looked up. Names are compared as the
 * DNS has them: in lower case and in punycode, whichever way they were written (IDNA 2008).
 */

#define FERRY_MAIL_DOMAIN_MAX 255

struct ferry_mail_domains;

/*
 * "example.com"; "*.example.com": all below it, not itself; "[192.0.2.1]", "[IPv6:::1]"; "." or
 * "*": any. 0 and *out, with copies of all that is needed; FERRY_EUSAGE with `why`, which names the
 * first text that is none of these and says what is wrong with it; or -ENOMEM.
 */
FERRY_MUST_CHECK
int ferry_mail_domains_new(const char *const *texts, unsigned n, struct ferry_mail_domains **out,
                           char *why, size_t cap);
void ferry_mail_domains_free(struct ferry_mail_domains *); /* takes NULL */

/* "." or "*" is among them: every domain is ours, whatever it is. */
bool ferry_mail_domains_is_any(const struct ferry_mail_domains *);

/*
 * Is the domain of a path (see smtp/path.h) among them? From any thread. 1; 0; or FERRY_EUSAGE: it
 * is no domain, since its characters have no punycode; or -ENOMEM, which is no answer. An empty
 * one, of <postmaster>, is always ours (RFC 5321, 4.5.1).
 */
FERRY_MUST_CHECK
int ferry_mail_domains_match(const struct ferry_mail_domains *, struct ferry_slice domain);

/*
 * The domain as it is compared, with a NUL: its length; FERRY_EUSAGE: its characters cannot be
 * written in punycode, or what comes of it is too long; or -ENOMEM. Literals get their usual form.
 */
FERRY_MUST_CHECK
ssize_t ferry_mail_domain_ascii(struct ferry_slice domain, char out[FERRY_MAIL_DOMAIN_MAX + 1]);

#endif
