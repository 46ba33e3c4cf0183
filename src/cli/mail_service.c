/* SPDX-License-Identifier: MIT */
/*
 * Mail, for the engine of `ferry mail`. Certificates, logs and Maildirs are opened with the rights
 * of the master; all else with those that are left.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/confine.h"
#include "cli/engine.h"
#include "cli/mail.h"
#include "mail/log.h"
#include "mail/mail.h"
#include "mail/maildir.h"

#define LINE_MAX_LEN 4095 /* a pipe takes it whole, or not at all */
#define BODY_ROOM 65536   /* for the fields beside the message */

struct ferry_service {
    const struct ferry_engine *engine;
    const struct ferry_generation *generation;
    struct ferry_client **clients;
    struct ferry_mail_service *services;
    struct ferry_tls_cert **certs; /* of each service */
    struct ferry_mail *mail;
    int log; /* -1: off */
    _Atomic uint64_t lost;
};

static int complain(const char *what, const char *which, int err)
{
    ferry_cli_say("%s%s: %s", what, which, ferry_strerror(err));
    return err;
}

/* -- addresses --------------------------------------------------------------------------------- */

/* The service of the i-th address, and which of its own that is; NULL behind the last. */
static const struct ferry_config_mail *service_of(const struct ferry_config *c, unsigned i,
                                                  unsigned *own)
{
    for (unsigned m = 0; m < c->nmails; i -= c->mails[m++].nlisten)
        if (i < c->mails[m].nlisten) {
            *own = i;
            return &c->mails[m];
        }
    return NULL;
}

static const char *listen_text(const struct ferry_config *c, unsigned i)
{
    unsigned own;
    const struct ferry_config_mail *m = service_of(c, i, &own);

    return m ? m->listen[own] : NULL;
}

static void url(const struct ferry_generation *g, unsigned i, char *out, size_t cap)
{
    const struct ferry_addr *a = &g->listeners[i]->bound;
    unsigned own;
    const struct ferry_config_mail *m = service_of(g->config, g->asked[i], &own);
    const char *scheme = m->service.protocol == FERRY_MAIL_LMTP         ? "lmtp"
                         : m->service.tls == FERRY_MAIL_TLS_IMPLICIT    ? "smtps"
                         : m->service.protocol == FERRY_MAIL_SUBMISSION ? "submission"
                                                                        : "smtp";
    char text[FERRY_ADDR_TEXT_MAX];

    ferry_addr_format(a, text, sizeof text);
    snprintf(out, cap, "%s:%s%s", scheme, a->any.sa_family == AF_UNIX ? "" : "//", text);
}

/* What was inherited is only now known. */
static int look(const struct ferry_generation *g)
{
    char text[FERRY_ADDR_TEXT_MAX];

    for (unsigned i = 0; i < g->nlisteners; i++) {
        const struct ferry_addr *a = &g->listeners[i]->bound;
        unsigned own;
        const struct ferry_config_mail *m = service_of(g->config, g->asked[i], &own);

        ferry_addr_format(a, text, sizeof text);
        if (ferry_config_mail_is_open(m, a)) {
            ferry_cli_say("on %s anybody could send mail to anywhere: say whose mail is taken "
                          "(domains), or that all of it is (accept-all)",
                          text);
            return FERRY_EXIT_CONFIG;
        }
        if (m->service.protocol == FERRY_MAIL_LMTP && ferry_addr_port(a) == 25) {
            ferry_cli_say("%s: LMTP does not belong on port 25 (RFC 2033, 5)", text);
            return FERRY_EXIT_CONFIG;
        }
    }
    return 0;
}

/* -- applications ------------------------------------------------------------------------------ */

/* The application of each script of a service; NULL where there is no script. */
static void names_of(const struct ferry_config_mail *m, const char *names[3])
{
    const struct ferry_mail_service *s = &m->service;

    names[0] = m->validate_application ? m->validate_application : m->application;
    names[1] = m->save_application ? m->save_application : m->application;
    names[2] = m->auth_application ? m->auth_application : m->application;
    names[0] = s->validate.path ? names[0] : NULL;
    names[1] = s->save.path ? names[1] : NULL;
    names[2] = s->auth.path ? names[2] : NULL;
}

static bool uses(const struct ferry_config *c, unsigned application)
{
    const char *names[3];

    for (unsigned m = 0; m < c->nmails; m++) {
        names_of(&c->mails[m], names);
        for (unsigned i = 0; i < 3; i++)
            if (names[i] && strcmp(names[i], c->applications[application].name) == 0)
                return true;
    }
    return false;
}

static struct ferry_client *client_of(const struct ferry_service *s, const char *name)
{
    const struct ferry_config *c = s->generation->config;

    for (unsigned i = 0; name && i < c->napplications; i++)
        if (strcmp(c->applications[i].name, name) == 0)
            return s->clients[i];
    return NULL;
}

/* Of a form, in which a byte may become three. */
static uint64_t body_max(const struct ferry_config *c)
{
    uint64_t max = 0;

    for (unsigned i = 0; i < c->nmails; i++) {
        const struct ferry_mail_service *s = &c->mails[i].service;
        uint64_t size = s->smtp.size_max ? s->smtp.size_max : (uint64_t)1 << 32;
        uint64_t body = (s->format == FERRY_MAIL_FORMAT_URLENCODED ? 3 * size : size) + BODY_ROOM;

        max = body > max ? body : max;
    }
    return max;
}

/* -- the log ----------------------------------------------------------------------------------- */

static bool put(struct ferry_service *s, const char *text, size_t len)
{
    struct pollfd p = {.fd = s->log, .events = POLLOUT};
    ssize_t n;

    if (poll(&p, 1, 0) == 0)
        return false;
    do
        n = write(s->log, text, len);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

/* From any thread: so each line is one write. Nobody waits for whoever reads it. */
static void write_line(struct ferry_service *s, struct ferry_slice line)
{
    char text[LINE_MAX_LEN + 1];
    size_t n = line.len < LINE_MAX_LEN ? line.len : LINE_MAX_LEN;
    uint64_t lost;

    if (s->log < 0)
        return;
    memcpy(text, line.p, n);
    text[n] = '\n';
    if (!put(s, text, n + 1)) {
        atomic_fetch_add(&s->lost, 1);
        return;
    }
    lost = atomic_exchange(&s->lost, 0);
    if (lost)
        ferry_cli_say("the log of mail lost %llu lines, which could not be written",
                      (unsigned long long)lost);
}

static void on_log(void *arg, enum ferry_mail_level level, struct ferry_slice line)
{
    struct ferry_service *s = arg;

    if (level == FERRY_MAIL_LOG_LINE)
        write_line(s, line);
    else if (level != FERRY_MAIL_LOG_VERBOSE || s->engine->verbose)
        ferry_cli_say("%s%.*s", level == FERRY_MAIL_LOG_SCRIPT ? "script: " : "", (int)line.len,
                      line.p);
}

/* What this worker has counted: at its end, and when the log is opened anew. */
static void log_counts(struct ferry_service *s)
{
    uint64_t counts[FERRY_MAIL_COUNTS];
    struct ferry__log_line line;

    if (!s->mail || s->generation->check)
        return;
    ferry_mail_stats(s->mail, counts);
    ferry__log_begin(&line,
                     s->generation->config->mail_log_format == FERRY_CONFIG_MAIL_JSON
                         ? FERRY_MAIL_LOG_JSON
                         : FERRY_MAIL_LOG_TEXT,
                     "counts");
    for (enum ferry_mail_count i = 0; i < FERRY_MAIL_COUNTS; i++)
        ferry__log_number(&line, ferry_mail_count_name(i), counts[i]);
    write_line(s, ferry__log_end(&line));
}

static int open_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);

    return fd < 0 ? -errno : fd;
}

static int open_log(struct ferry_service *s)
{
    const char *where = s->generation->config->mail_log;

    s->log = -1;
    if (s->generation->check || strcmp(where, "off") == 0)
        return 0;
    if (strcmp(where, "-") == 0) {
        s->log = s->engine->quiet ? -1 : STDERR_FILENO;
        return 0;
    }
    s->log = open_file(where);
    return s->log < 0 ? complain("cannot write the log of mail ", where, s->log) : 0;
}

static void reopen_logs(struct ferry_service *s)
{
    const char *where = s->generation->config->mail_log;
    int fd;

    log_counts(s);
    if (s->log <= STDERR_FILENO)
        return;
    fd = open_file(where);
    if (fd < 0 || dup3(fd, s->log, O_CLOEXEC) < 0)
        complain("cannot open the log of mail anew, the old one stays: ", where,
                 fd < 0 ? fd : -errno);
    if (fd >= 0)
        close(fd);
}

/* -- what a worker keeps ----------------------------------------------------------------------- */

static void keep_all(struct ferry_keep *k, const char *const *patterns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        glob_t found;

        if (glob(patterns[i], 0, NULL, &found) != 0)
            continue;
        for (size_t p = 0; p < found.gl_pathc; p++)
            ferry_keep_readable(k, found.gl_pathv[p]);
        globfree(&found);
    }
}

/* Character sets that the C library only loads when a header needs them. */
static const char *const charsets[] = {"/usr/lib/gconv", "/usr/lib64/gconv", "/usr/lib/*/gconv",
                                       "/lib/*/gconv"};
/* Authorities whose certificates are looked for when a client shows one. */
static const char *const authorities[] = {
    "/etc/ssl/certs", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"};

static void keep(struct ferry_keep *k, const struct ferry_config *c)
{
    bool asks = false;

    keep_all(k, charsets, sizeof charsets / sizeof *charsets);
    for (unsigned i = 0; i < c->nmails; i++) {
        const struct ferry_mail_service *s = &c->mails[i].service;

        if (s->maildir)
            ferry_keep_writable(k, s->maildir);
        asks |= s->tls_opts.clients != FERRY_TLS_CLIENTS_NONE && !s->tls_opts.client_ca;
    }
    if (asks)
        keep_all(k, authorities, sizeof authorities / sizeof *authorities);
}

/* A Maildir that the master makes belongs to whom the worker becomes. */
static int make_maildir(const struct ferry_generation *g, const char *path)
{
    static const char *const parts[] = {"", "/tmp", "/new", "/cur"};
    bool there[4];
    char part[4096];
    struct stat st;
    int err;

    for (unsigned i = 0; i < 4; i++) {
        snprintf(part, sizeof part, "%s%s", path, parts[i]);
        there[i] = lstat(part, &st) == 0;
    }
    err = ferry_maildir_prepare(path);
    for (unsigned i = 0; err == 0 && g->identity.set && i < 4; i++) {
        snprintf(part, sizeof part, "%s%s", path, parts[i]);
        if (!there[i] && lchown(part, g->identity.uid, g->identity.gid) < 0)
            err = -errno;
    }
    return err < 0 ? complain("cannot make the Maildir ", path, err) : 0;
}

/* -- the service ------------------------------------------------------------------------------- */

static int make_certs(struct ferry_service *s, unsigned i)
{
    const struct ferry_config_mail *m = &s->generation->config->mails[i];
    struct ferry_tls_opts *o = &s->services[i].tls_opts;

    s->certs[i] = calloc(m->ntls_certs + 1, sizeof *s->certs[i]);
    if (!s->certs[i])
        return complain("cannot start", "", -ENOMEM);
    for (unsigned k = 0; k < m->ntls_certs; k++)
        s->certs[i][k] =
            (struct ferry_tls_cert){m->tls_certs[k], k < m->ntls_keys ? m->tls_keys[k] : NULL};
    o->certs = s->certs[i];
    o->ncerts = m->ntls_certs;
    o->ticket_label = m->name;
    return 0;
}

static int make_service(struct ferry_service *s, unsigned i)
{
    const struct ferry_config_mail *m = &s->generation->config->mails[i];
    struct ferry_mail_service *out = &s->services[i];
    const char *names[3];

    *out = m->service;
    names_of(m, names);
    out->name = m->name;
    out->validate.client = client_of(s, names[0]);
    out->save.client = client_of(s, names[1]);
    out->auth.client = client_of(s, names[2]);
    if (out->ndomains == 0) /* nobody from outside could come: look() has seen to it */
        out->accept_all = true;
    if (out->smtp.size_max == 0)
        out->smtp.size_max = UINT64_MAX;
    if (out->protocol == FERRY_MAIL_SUBMISSION)
        out->smtp.auth_required = true;
    return make_certs(s, i);
}

static void service_free(struct ferry_service *s)
{
    if (!s)
        return;
    log_counts(s);
    ferry_mail_free(s->mail);
    ferry_clients_close(s->generation, s->clients);
    for (unsigned i = 0; s->certs && i < s->generation->config->nmails; i++)
        free(s->certs[i]);
    if (s->log > STDERR_FILENO)
        close(s->log);
    free(s->certs);
    free(s->services);
    free(s);
}

static int new_mail(struct ferry_service *s, const char *spool)
{
    const struct ferry_config *c = s->generation->config;
    const struct ferry_mail_opts o = {
        .services = s->services,
        .nservices = c->nmails,
        .log_format = c->mail_log_format == FERRY_CONFIG_MAIL_JSON ? FERRY_MAIL_LOG_JSON
                                                                   : FERRY_MAIL_LOG_TEXT,
        .spool = spool || s->generation->check ? spool : c->spool, /* becomes our $TMPDIR */
        .log = on_log,
        .log_arg = s,
    };
    char why[640];
    int err = ferry_mail_new(&o, &s->mail, why, sizeof why);

    if (err == FERRY_EUSAGE)
        ferry_cli_say("%s", why);
    else if (err < 0)
        complain("cannot start", "", err);
    return err;
}

static int service_new(const struct ferry_engine *e, const struct ferry_generation *g,
                       const char *spool, struct ferry_service **out)
{
    const struct ferry_config *c = g->config;
    struct ferry_service *s = calloc(1, sizeof *s);
    int err;

    *out = s;
    if (!s)
        return complain("cannot start", "", -ENOMEM);
    s->engine = e;
    s->generation = g;
    err = open_log(s);
    s->services = calloc(c->nmails + 1, sizeof *s->services);
    s->certs = calloc(c->nmails + 1, sizeof *s->certs);
    if (!s->services || !s->certs)
        return complain("cannot start", "", -ENOMEM);
    if (err == 0)
        err = ferry_clients_open(g, &s->clients);
    for (unsigned i = 0; err == 0 && i < c->nmails; i++) {
        err = make_service(s, i);
        if (err == 0 && s->services[i].maildir && !g->check)
            err = make_maildir(g, s->services[i].maildir);
    }
    return err < 0 ? err : new_mail(s, spool);
}

static int service_open(struct ferry_service *s)
{
    (void)s;
    return 0;
}

int ferry_mail_service_check(struct ferry_config *c)
{
    static const struct ferry_engine engine = {.ops = &ferry_mail_service_ops, .quiet = true};
    struct ferry_app **apps = calloc(c->napplications + 1, sizeof *apps);
    struct ferry_generation g = {
        .ops = engine.ops, .config = c, .apps = apps, .threads = 1, .check = true};
    struct ferry_service *s = NULL;
    char why[160];
    int err;

    if (!apps)
        return complain("cannot start", "", -ENOMEM);
    err = service_new(&engine, &g, NULL, &s);
    service_free(s);
    free(apps);
    if (err == 0 && ferry_identity_find(c->user, c->group, &g.identity, why, sizeof why) < 0) {
        ferry_cli_say("the workers cannot be another user: %s", why);
        err = FERRY_EUSAGE;
    }
    return err;
}

/* -- its threads ------------------------------------------------------------------------------- */

struct mail_thread {
    struct ferry_service *service;
    struct ferry_mail_thread *thread;
};

static int thread_new(struct ferry_service *s, unsigned index, struct ferry_loop *loop, void **out)
{
    struct mail_thread *t = calloc(1, sizeof *t);
    int err;

    *out = t;
    if (!t)
        return -ENOMEM;
    t->service = s;
    err = ferry_mail_thread_new(s->mail, index, loop, &t->thread);
    return err;
}

static int thread_listen(void *thread, int fd, unsigned listener)
{
    struct mail_thread *t = thread;
    const struct ferry_generation *g = t->service->generation;
    unsigned own;
    const struct ferry_config_mail *m = service_of(g->config, g->asked[listener], &own);

    return ferry_mail_listen(t->thread, fd, (unsigned)(m - g->config->mails));
}

static void thread_drain(void *thread, bool retires, void (*done)(void *), void *arg)
{
    struct mail_thread *t = thread;

    if (retires)
        ferry_mail_thread_retire(t->thread, FERRY_ENGINE_LINGER_MS, done, arg);
    else
        ferry_mail_thread_drain(t->thread, done, arg);
}

static void thread_cut(void *thread)
{
    struct mail_thread *t = thread;

    ferry_mail_thread_cut(t->thread);
}

static void thread_free(void *thread)
{
    struct mail_thread *t = thread;

    if (t)
        ferry_mail_thread_free(t->thread);
    free(t);
}

const struct ferry_service_ops ferry_mail_service_ops = {
    .port = "2525",
    .listen = listen_text,
    .apart = true,
    .tell_all = true,
    .url = url,
    .look = look,
    .uses = uses,
    .body_max = body_max,
    .keep = keep,
    .new = service_new,
    .open = service_open,
    .reopen_logs = reopen_logs,
    .free = service_free,
    .thread_new = thread_new,
    .thread_listen = thread_listen,
    .thread_drain = thread_drain,
    .thread_cut = thread_cut,
    .thread_free = thread_free,
};
