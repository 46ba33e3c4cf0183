/* SPDX-License-Identifier: MIT */
/* A service from what a configuration says of it: with its defaults, and with everything read that
 * has to be read once. */
#include "mail/service.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "mail/internal.h"

#define VERDICTS_MAX 10000 /* of recipients, remembered */

#define DEFAULT(field, value) ((field) = (field) ? (field) : (value))

static int say(const struct ferry_mail_service *s, char *why, size_t cap, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int say(const struct ferry_mail_service *s, char *why, size_t cap, const char *fmt, ...)
{
    size_t at = 0;
    va_list ap;

    if (cap)
        at = (size_t)snprintf(why, cap, "mail \"%s\": ", s->name);
    va_start(ap, fmt);
    if (at < cap)
        vsnprintf(why + at, cap - at, fmt, ap);
    va_end(ap);
    return FERRY_EUSAGE;
}

static void set_defaults(struct ferry_mail_service *s, const char *hostname)
{
    static const char *const smtp[] = {"smtp", NULL}, *const lmtp[] = {"lmtp", "smtp", NULL};

    DEFAULT(s->name, "mail");
    DEFAULT(s->hostname, hostname);
    DEFAULT(s->validate.timeout_ms, 5000);
    DEFAULT(s->save.timeout_ms, 30000);
    DEFAULT(s->auth.timeout_ms, 10000);
    if (s->save.timeout_ms > 120000)
        s->save.timeout_ms = 120000;
    DEFAULT(s->queue_ms, 10000);
    DEFAULT(s->verdict_no_ms, s->verdict_ms / 10);
    DEFAULT(s->saved_ms, 3600000);
    DEFAULT(s->saved_max, 10000);
    DEFAULT(s->clients_max, 1000);
    DEFAULT(s->clients_per_ip, 20);
    DEFAULT(s->auth_fails_per_minute, 10);
    DEFAULT(s->spool_max, UINT64_C(1) << 30);
    DEFAULT(s->spool_mem, 65536);
    DEFAULT(s->tls_opts.ticket_label, s->name);
    DEFAULT(s->tls_opts.alpn, s->protocol == FERRY_MAIL_LMTP ? lmtp : smtp);
}

/* A message with lines that are none can be handed on only by formats that hold any bytes. */
static bool takes_binary(const struct ferry_mail_service *s)
{
    return s->save.path && s->format != FERRY_MAIL_FORMAT_URLENCODED;
}

static void set_dialogue(struct ferry__mail_service *out)
{
    struct ferry_mail_service *s = &out->given;
    struct ferry_smtp_opts *o = &s->smtp;

    o->lmtp = s->protocol == FERRY_MAIL_LMTP;
    o->hostname = s->hostname;
    o->starttls =
        out->tls && (s->tls == FERRY_MAIL_TLS_STARTTLS || s->tls == FERRY_MAIL_TLS_REQUIRED);
    o->tls = out->tls && s->tls == FERRY_MAIL_TLS_IMPLICIT;
    o->tls_required = s->tls == FERRY_MAIL_TLS_REQUIRED;
    o->auth = s->auth.path != NULL;
    o->auth_required |= s->protocol == FERRY_MAIL_SUBMISSION;
    o->no_binarymime |= !takes_binary(s);
    out->smtp = *o;
}

static int check(const struct ferry_mail_service *s, char *why, size_t cap)
{
    const struct ferry_mail_script *const scripts[] = {&s->validate, &s->save, &s->auth};

    if (!s->save.path && !s->maildir)
        return say(s, why, cap, "neither a save script nor a maildir: mail could not be kept");
    for (unsigned i = 0; i < 3; i++)
        if (scripts[i]->path && !scripts[i]->client)
            return say(s, why, cap, "the script %s has no application", scripts[i]->path);
    if ((s->protocol == FERRY_MAIL_SUBMISSION || s->smtp.auth_required) && !s->auth.path)
        return say(s, why, cap, "who is to log in needs an auth script that knows passwords");
    if ((s->tls == FERRY_MAIL_TLS_REQUIRED || s->tls == FERRY_MAIL_TLS_IMPLICIT) &&
        !s->tls_opts.ncerts)
        return say(s, why, cap, "TLS needs a certificate");
    return 0;
}

static int read_list(const struct ferry_mail_service *s, const struct ferry_mail_networks *from,
                     const char *name, struct ferry__networks *to, char *why, size_t cap)
{
    char wrong[256] = "";
    int err = ferry__networks_read(from, to, wrong, sizeof wrong);

    return err == FERRY_EUSAGE ? say(s, why, cap, "%s: %s", name, wrong) : err;
}

static int read_lists(struct ferry__mail_service *out, char *why, size_t cap)
{
    const struct ferry_mail_service *s = &out->given;
    int err = read_list(s, &s->proxy_from, "proxy_from", &out->proxy_from, why, cap);

    if (err == 0)
        err = read_list(s, &s->xclient_from, "xclient_from", &out->xclient_from, why, cap);
    if (err == 0)
        err = read_list(s, &s->xforward_from, "xforward_from", &out->xforward_from, why, cap);
    if (err == 0)
        err = read_list(s, &s->trusted, "trusted", &out->trusted, why, cap);
    if (err == 0)
        err = read_list(s, &s->deny, "deny", &out->deny, why, cap);
    return err;
}

static int make_limits(struct ferry__mail_service *out)
{
    const struct ferry_mail_service *s = &out->given;

    out->limits = ferry__limits_new(&(struct ferry__limits_opts){
        .clients_max = s->clients_max,
        .clients_per_ip = s->clients_per_ip,
        .per_minute = {[FERRY__RATE_CONNECTS] = s->connects_per_minute,
                       [FERRY__RATE_MAILS] = s->mails_per_minute,
                       [FERRY__RATE_RCPTS] = s->rcpts_per_minute,
                       [FERRY__RATE_AUTH_FAILS] = s->auth_fails_per_minute},
        .spool_max = s->spool_max,
    });
    return out->limits ? 0 : -ENOMEM;
}

static int make_memory(struct ferry__mail_service *out)
{
    const struct ferry_mail_service *s = &out->given;

    if (s->remember_saved)
        out->saved = ferry__memo_new(ferry__mail_saved_max(s));
    if (s->verdict_ms)
        out->verdicts = ferry__memo_new(VERDICTS_MAX);
    return (s->remember_saved && !out->saved) || (s->verdict_ms && !out->verdicts) ? -ENOMEM : 0;
}

static int read_domains(struct ferry__mail_service *out, char *why, size_t cap)
{
    const struct ferry_mail_service *s = &out->given;
    char wrong[256] = "";
    int err = ferry_mail_domains_new(s->domains, s->ndomains, &out->domains, wrong, sizeof wrong);

    return err == FERRY_EUSAGE ? say(s, why, cap, "domains: %s", wrong) : err;
}

static int read_certificates(struct ferry__mail_service *out, char *why, size_t cap)
{
    const struct ferry_mail_service *s = &out->given;
    char wrong[512] = "";
    int err;

    if (s->tls == FERRY_MAIL_TLS_OFF || !s->tls_opts.ncerts)
        return 0;
    err = ferry_tls_ctx_new(&s->tls_opts, &out->tls, wrong, sizeof wrong);
    return err == FERRY_EUSAGE ? say(s, why, cap, "TLS: %s", wrong) : err;
}

int ferry__mail_service_open(struct ferry__mail_service *out,
                             const struct ferry_mail_service *given, const char *hostname,
                             char *why, size_t cap)
{
    int err;

    out->given = *given;
    set_defaults(&out->given, hostname);
    err = check(&out->given, why, cap);
    if (err == 0)
        err = read_lists(out, why, cap);
    if (err == 0)
        err = read_domains(out, why, cap);
    if (err == 0)
        err = make_limits(out);
    if (err == 0)
        err = make_memory(out);
    if (err == 0)
        err = read_certificates(out, why, cap);
    if (err == 0)
        set_dialogue(out);
    return err;
}

void ferry__mail_service_close(struct ferry__mail_service *s)
{
    ferry__networks_fini(&s->proxy_from);
    ferry__networks_fini(&s->xclient_from);
    ferry__networks_fini(&s->xforward_from);
    ferry__networks_fini(&s->trusted);
    ferry__networks_fini(&s->deny);
    ferry__limits_free(s->limits);
    ferry_tls_ctx_free(s->tls);
    ferry_mail_domains_free(s->domains);
    ferry__memo_free(s->saved);
    ferry__memo_free(s->verdicts);
}
