/* SPDX-License-Identifier: MIT */
/* The block of a mail service: what its settings must be together, and beside other services. */
#include <errno.h>
#include <stdio.h>

#include "base/slice.h"
#include "config/private.h"
#include "io/addr.h"
#include "proc/manager.h"

int ferry__read_mail_listen(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config_mail *m = block;

    return ferry__read_addresses(r, node, "a mail service", &m->listen, &m->nlisten);
}

/* -- open relays ------------------------------------------------------------------------------- */

static bool is_private4(uint32_t a)
{
    static const struct {
        uint32_t net;
        unsigned len;
    } nets[] = {{0x7f000000, 8},  {0x0a000000, 8},  {0xac100000, 12},
                {0xc0a80000, 16}, {0xa9fe0000, 16}, {0x64400000, 10}};

    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        if ((a ^ nets[i].net) >> (32 - nets[i].len) == 0)
            return true;
    return false;
}

static bool is_private(const struct ferry_addr *a)
{
    const unsigned char *b = a->in6.sin6_addr.s6_addr;

    if (a->any.sa_family == AF_INET)
        return is_private4(ntohl(a->in.sin_addr.s_addr));
    if (a->any.sa_family != AF_INET6)
        return true;
    if (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
        return is_private4((uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 |
                           b[15]);
    return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr) || (b[0] & 0xfe) == 0xfc ||
           (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

static bool takes_any(const struct ferry_config_mail *m)
{
    for (unsigned i = 0; i < m->service.ndomains; i++)
        if (strcmp(m->service.domains[i], ".") == 0 || strcmp(m->service.domains[i], "*") == 0)
            return true;
    return m->service.ndomains == 0;
}

bool ferry_config_mail_is_open(const struct ferry_config_mail *m, const struct ferry_addr *a)
{
    bool by_name = m->service.auth.path &&
                   (m->service.smtp.auth_required || m->service.protocol == FERRY_MAIL_SUBMISSION);

    return takes_any(m) && !m->service.accept_all && !by_name && !is_private(a);
}

/* -- one service ------------------------------------------------------------------------------- */

/* Where a setting was said; NULL: it was not. */
static const struct ferry__node *said(const struct ferry__node *node, const char *name)
{
    const struct ferry__node *at = node->children;

    while (at && strcmp(at->name, name) != 0)
        at = at->next;
    return at;
}

/* 'a' needs 'b': said at a. */
static void check_needs(struct ferry__reader *r, const struct ferry__node *node, const char *name,
                        bool there, const char *needs)
{
    const struct ferry__node *at = said(node, name);

    if (at && !there)
        ferry__reader_say(r, at->place, "'%s' needs %s too", name, needs);
}

static void check_listen(struct ferry__reader *r, const struct ferry_config_mail *m,
                         const struct ferry__node *node)
{
    struct ferry_addr addr;
    const char *why;

    for (const struct ferry__text *t = node->texts; t; t = t->next) {
        if (ferry_addr_parse(t->text, true, &addr, &why) < 0 || addr.fd >= 0)
            continue; /* a relative path; what is inherited is looked at when it starts */
        if (m->service.protocol == FERRY_MAIL_LMTP && ferry_addr_port(&addr) == 25)
            ferry__reader_say(r, t->place, "LMTP does not belong on port 25 (RFC 2033, 5)");
        if (ferry_config_mail_is_open(m, &addr))
            ferry__reader_say(r, t->place,
                              "on %.60s anybody could send mail to anywhere: say whose mail is "
                              "taken ('domains', or --hosts), or that all of it is ('accept-all')",
                              t->text);
    }
}

static void check_tls(struct ferry__reader *r, const struct ferry_config_mail *m,
                      const struct ferry__node *node)
{
    const struct ferry__node *keys = said(node, "tls-key"), *tls = said(node, "tls");

    if (tls && m->service.tls >= FERRY_MAIL_TLS_REQUIRED && !m->ntls_certs)
        ferry__reader_say(r, tls->place, "'tls = %s' needs 'tls-cert', a certificate",
                          tls->texts->text);
    if (keys && !m->ntls_certs)
        ferry__reader_say(r, keys->place, "'tls-key' needs 'tls-cert' too, its certificate");
    else if (keys && m->ntls_keys != m->ntls_certs)
        ferry__reader_say(r, keys->place, "'tls-cert' names %u and 'tls-key' %u: one key for each",
                          m->ntls_certs, m->ntls_keys);
    check_needs(r, node, "tls-client-ca", m->service.tls_opts.clients != FERRY_TLS_CLIENTS_NONE,
                "'tls-clients = ask' or 'tls-clients = need'");
}

static void check_scripts(struct ferry__reader *r, const struct ferry_config_mail *m,
                          const struct ferry__node *node)
{
    const struct {
        const char *name, *path, *of, *application;
    } scripts[] = {
        {"validate", m->service.validate.path, "validate-application", m->validate_application},
        {"save", m->service.save.path, "save-application", m->save_application},
        {"auth", m->service.auth.path, "auth-application", m->auth_application},
    };

    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        const struct ferry__node *of = said(node, scripts[i].of);

        if (scripts[i].path && !scripts[i].application && !m->application)
            ferry__reader_say(r, said(node, scripts[i].name)->place,
                              "'%s' needs 'application', whose script it is", scripts[i].name);
        if (of && !scripts[i].path)
            ferry__reader_say(r, of->place, "'%s' is for the script '%s', and there is none",
                              scripts[i].of, scripts[i].name);
    }
    if (!m->service.save.path && !m->service.maildir)
        ferry__reader_say(r, node->place,
                          "this mail service needs 'save' or 'maildir': where would mail go?");
    if (m->service.protocol == FERRY_MAIL_SUBMISSION && !m->service.auth.path)
        ferry__reader_say(r, node->place, "'protocol = submission' needs 'auth', its script");
    check_needs(r, node, "auth-required", !m->service.smtp.auth_required || m->service.auth.path,
                "'auth', the script,");
    check_needs(r, node, "per-recipient",
                !m->service.per_recipient || m->service.protocol == FERRY_MAIL_LMTP,
                "'protocol = lmtp'");
    check_needs(r, node, "maildir-per-user", !m->service.maildir_per_user || m->service.maildir,
                "'maildir'");
    check_needs(r, node, "errors-soft", m->service.smtp.errors_soft <= m->service.smtp.errors_max,
                "an 'errors-max' that is not less,");
}

int ferry__read_mail(struct ferry__reader *r, void *block, const struct ferry__node *node)
{
    struct ferry_config *c = block;
    struct ferry_config_mail *all, *m;
    unsigned before = r->nmessages;

    if (node->ntexts != 1 || !ferry__is_name(node->texts->text))
        return ferry__reader_say(r, node->place,
                                 "a mail service has one name, of letters, digits and . _ - behind "
                                 "the first: mail NAME { ... }");
    if (c->nmails == FERRY_CONFIG_MAILS_MAX)
        return ferry__reader_say(r, node->place, "there can be %u mail services",
                                 FERRY_CONFIG_MAILS_MAX);
    for (unsigned i = 0; i < c->nmails; i++)
        if (strcmp(c->mails[i].name, node->texts->text) == 0)
            ferry__reader_say(
                r, node->place, "there is a mail service '%s' already, on line %u%s%s",
                node->texts->text, c->mails[i].place.line,
                c->mails[i].place.file == node->place.file ? "" : " of ",
                c->mails[i].place.file == node->place.file ? "" : c->mails[i].place.file);
    all = ferry__reader_grow(r, c->mails, c->nmails, sizeof *all);
    if (!all)
        return -ENOMEM;
    c->mails = all;
    m = &all[c->nmails++];
    ferry_config_mail_init(m);
    m->name = node->texts->text;
    m->place = node->place;
    ferry__block_fill(r, FERRY__BLOCK_MAIL, m, node->children, "in a mail service");
    if (!r->sound || r->nmessages > before)
        return FERRY_EUSAGE;
    if (m->nlisten)
        check_listen(r, m, said(node, "listen"));
    else
        ferry__reader_say(r, node->place, "this mail service needs 'listen', its address");
    check_scripts(r, m, node);
    check_tls(r, m, node);
    return 0;
}

/* -- all of them ------------------------------------------------------------------------------- */

static void check_applications(struct ferry__reader *r, const struct ferry_config_mail *m)
{
    const char *const names[] = {m->application, m->validate_application, m->save_application,
                                 m->auth_application};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i])
            ferry__check_application(r, m->place, names[i]);
}

/* Whoever asks for port 0 is given one of its own each time. */
static bool is_port_0(const char *text)
{
    struct ferry_addr addr;
    const char *why;

    return ferry_addr_parse(text, true, &addr, &why) == 0 && addr.fd < 0 &&
           addr.any.sa_family != AF_UNIX && ferry_addr_port(&addr) == 0;
}

static void check_together(struct ferry__reader *r, const struct ferry_config_mail *m,
                           const char *const *listen, unsigned n, const char *what,
                           struct ferry_config_place other)
{
    const char *where = ferry__listen_together(m->listen, m->nlisten, listen, n);

    if (where && !is_port_0(where))
        ferry__reader_say(r, m->place, "%s on line %u%s%s listens on %s already", what, other.line,
                          other.file == m->place.file ? "" : " of ",
                          other.file == m->place.file ? "" : other.file, where);
}

void ferry__mails_check(struct ferry__reader *r)
{
    const struct ferry_config *c = r->config;
    unsigned listen = 0;

    for (unsigned i = 0; i < c->nmails && !r->err; i++) {
        const struct ferry_config_mail *m = &c->mails[i];

        check_applications(r, m);
        for (unsigned k = 0; k < i; k++)
            check_together(r, m, c->mails[k].listen, c->mails[k].nlisten, "the mail service",
                           c->mails[k].place);
        for (unsigned k = 0; k < c->nsites; k++)
            check_together(r, m, c->sites[k].listen, c->sites[k].nlisten, "the site",
                           c->sites[k].place);
        if (listen + m->nlisten > FERRY_CONFIG_LISTEN_MAX) {
            ferry__reader_say(r, m->place, "mail services listen on %u addresses at most",
                              FERRY_CONFIG_LISTEN_MAX);
            return;
        }
        listen += m->nlisten;
    }
}
