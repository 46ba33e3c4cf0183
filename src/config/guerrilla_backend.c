/* SPDX-License-Identifier: MIT */
/*
 * backend_config of go-guerrilla: the processors of a message and of a recipient, and the scripts
 * of the FastCGI processor. Where go-guerrilla would say that a message is saved and throw it away,
 * ferry does not start.
 */
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"
#include "config/guerrilla.h"
#include "config/private.h"

/* X(name, text, what): what is made of a processor in save_process */
#define PROCESSOR_MAP(X)                                                                           \
    X(HEADERSPARSER, "headersparser", NONE) /* the subject is always there */                      \
    X(HEADER, "header", NONE)               /* see `headers` */                                    \
    X(HASHER, "hasher", NONE)               /* a message has a key in any case */                  \
    X(DEBUGGER, "debugger", NONE)           /* see `debug` */                                      \
    X(COMPRESSOR, "compressor", IGNORED)                                                           \
    X(FASTCGI, "fastcgi", STORES)                                                                  \
    X(MAILDIR, "maildir", STORES)                                                                  \
    X(REDIS, "redis", UNSUPPORTED)                                                                 \
    X(SQL, "sql", UNSUPPORTED)                                                                     \
    X(MYSQL, "mysql", UNSUPPORTED)                                                                 \
    X(GUERRILLAREDISDB, "guerrillaredisdb", UNSUPPORTED)                                           \
    X(DKIM, "p_dkim", UNSUPPORTED)                                                                 \
    X(SPF, "p_spf", UNSUPPORTED)

enum processor {
#define X(name, text, what) PROCESSOR_##name,
    PROCESSOR_MAP(X)
#undef X
        PROCESSORS
};

enum what { NONE, IGNORED, STORES, UNSUPPORTED };

static const struct {
    const char *name;
    enum what what;
} processors[] = {
#define X(name, text, what) {text, what},
    PROCESSOR_MAP(X)
#undef X
};

static const char *const keys[] = {"save_process",
                                   "validate_process",
                                   "save_workers_size",
                                   "gw_save_timeout",
                                   "gw_val_rcpt_timeout",
                                   "primary_mail_host",
                                   "log_received_mails",
                                   "sleep_seconds",
                                   "fcgi_script_filename_save",
                                   "fcgi_script_filename_validate",
                                   "fcgi_connection_type",
                                   "fcgi_connection_address",
                                   "maildir_path",
                                   "maildir_user_map",
                                   NULL};

/* -- processors -------------------------------------------------------------------------------- */

/* Which of them are named in a chain, as bits; -1 when one is unknown, and said. */
static int chain_of(struct ferry__guerrilla *g, const json_t *backend, const char *key,
                    const char *fallback)
{
    const char *text = ferry__guerrilla_text(g, backend, key);
    struct ferry_slice rest = ferry_slice_z(text ? text : fallback);
    int bits = 0;

    while (rest.len) {
        size_t n = ferry_slice_find(rest, '|');
        struct ferry_slice name = ferry_slice_trim(ferry_slice_first(rest, n));
        unsigned i = 0;

        rest = n < rest.len ? ferry_slice_from(rest, n + 1) : ferry_slice("", 0);
        while (i < PROCESSORS && !ferry_slice_eq_nocase(name, ferry_slice_z(processors[i].name)))
            i++;
        if (i == PROCESSORS) {
            ferry__guerrilla_error(g, "processor [%.*s] not found",
                                   (int)(name.len < 60 ? name.len : 60), name.p);
            return -1;
        }
        bits |= 1 << i;
    }
    return bits;
}

#define HAS(bits, name) ((bits) >> PROCESSOR_##name & 1)
#define SAVE_FALLBACK "HeadersParser|Header|Debugger"

static bool check_save(struct ferry__guerrilla *g, int save)
{
    bool stores = false;

    for (unsigned i = 0; i < PROCESSORS; i++) {
        if (!(save >> i & 1))
            continue;
        stores |= processors[i].what == STORES;
        if (processors[i].what == UNSUPPORTED)
            ferry__guerrilla_error(g, "the processor '%s' is not supported", processors[i].name);
    }
    if (HAS(save, COMPRESSOR))
        ferry__guerrilla_notice(g, "the processor 'compressor' is ignored: it never changed what "
                                   "scripts and Maildirs are given");
    if (!stores)
        ferry__guerrilla_error(g,
                               "'save_process' stores nothing: FastCGI or MailDir must be in it, "
                               "or mail would be lost");
    return stores;
}

static void check_validate(struct ferry__guerrilla *g, int validate)
{
    for (unsigned i = 0; i < PROCESSORS; i++)
        if (validate >> i & 1 && i != PROCESSOR_FASTCGI)
            ferry__guerrilla_error(
                g, "the processor '%s' is not supported in 'validate_process', only FastCGI is",
                processors[i].name);
}

/* -- FastCGI ----------------------------------------------------------------------------------- */

static const char *needed(struct ferry__guerrilla *g, const json_t *backend, const char *key)
{
    const json_t *v = json_object_get(backend, key);

    if (!json_is_string(v))
        ferry__guerrilla_error(
            g, "failed to load backend config (missing/invalid: '%s' of type: string)", key);
    return json_string_value(v);
}

static void put_application(struct ferry__guerrilla *g, const json_t *backend)
{
    const char *save = needed(g, backend, "fcgi_script_filename_save");
    const char *validate = needed(g, backend, "fcgi_script_filename_validate");
    const char *type = needed(g, backend, "fcgi_connection_type");
    const char *address = needed(g, backend, "fcgi_connection_address");
    const json_t *workers = json_object_get(backend, "save_workers_size");
    char text[320];

    if (!save || !validate || !type || !address)
        return;
    if (strcmp(type, "unix") != 0 && strncmp(type, "tcp", 3) != 0) {
        ferry__guerrilla_error(g, "dial %.20s: unknown network %.20s", type, type);
        return;
    }
    snprintf(text, sizeof text, "%s%.300s", strcmp(type, "unix") == 0 ? "unix:" : "", address);
    fputs("application fastcgi {\n", g->out);
    ferry__guerrilla_put(g, "connect", text);
    if (json_integer_value(workers) > 1)
        fprintf(g->out, "connections = %lld\n", (long long)json_integer_value(workers));
    fputs("}\n", g->out);
}

/* -- a service --------------------------------------------------------------------------------- */

/* A duration as Go writes it: "1m30s", "500ms", "1.5s". */
static bool duration(const char *text, uint64_t *ms)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"us", 0.001}, {"ns", 1e-6}};
    double all = 0;

    if (!*text)
        return false;
    while (*text) {
        double n = 0, place = 1;
        const char *from = text;
        size_t len, i = 0;

        for (; *text >= '0' && *text <= '9' && n < 1e9; text++)
            n = n * 10 + (*text - '0');
        if (*text == '.')
            for (text++; *text >= '0' && *text <= '9'; text++)
                n += (*text - '0') * (place /= 10);
        len = strspn(text, "hmnsu");
        while (i < sizeof units / sizeof *units &&
               (strlen(units[i].name) != len || strncmp(text, units[i].name, len) != 0))
            i++;
        if (text == from || i == sizeof units / sizeof *units)
            return false;
        all += n * units[i].ms;
        text += len;
    }
    *ms = all < 1 ? 1 : (uint64_t)all;
    return true;
}

static void put_timeout(struct ferry__guerrilla *g, const json_t *backend, const char *key,
                        const char *setting, uint64_t max)
{
    const char *text = ferry__guerrilla_text(g, backend, key);
    uint64_t ms;

    if (!text)
        return;
    if (!duration(text, &ms)) {
        ferry__guerrilla_error(g, "'%s' is no duration: %.40s", key, text);
        return;
    }
    if (ms > max) {
        ferry__guerrilla_notice(g, "'%s' is %u s here, which is the most", key,
                                (unsigned)(max / 1000));
        ms = max;
    }
    fprintf(g->out, "%s = %llums\n", setting, (unsigned long long)ms);
}

static void put_maildir(struct ferry__guerrilla *g, const json_t *backend)
{
    const char *path = needed(g, backend, "maildir_path"), *home = getenv("HOME");
    char text[4096];

    if (!path)
        return;
    if (strstr(path, "[user]")) {
        ferry__guerrilla_error(g,
                               "'[user]' in 'maildir_path' is not supported: maildir-per-user of "
                               "ferry stores in DOMAIN/NAME below a folder");
        return;
    }
    snprintf(text, sizeof text, "%s%s", strncmp(path, "~/", 2) == 0 && home ? home : "",
             strncmp(path, "~/", 2) == 0 && home ? path + 1 : path);
    ferry__guerrilla_put(g, "maildir", text);
    if (ferry__guerrilla_text(g, backend, "maildir_user_map"))
        ferry__guerrilla_notice(g, "'maildir_user_map' is ignored: files belong to whom ferry runs "
                                   "as");
}

void ferry__guerrilla_scripts(struct ferry__guerrilla *g, const json_t *backend)
{
    int save = chain_of(g, backend, "save_process", SAVE_FALLBACK);
    int validate = chain_of(g, backend, "validate_process", "");

    if (HAS(save, FASTCGI) || HAS(validate, FASTCGI))
        fputs("application = fastcgi\n", g->out);
    if (HAS(save, FASTCGI))
        ferry__guerrilla_put(g, "save", needed(g, backend, "fcgi_script_filename_save"));
    if (HAS(validate, FASTCGI))
        ferry__guerrilla_put(g, "validate", needed(g, backend, "fcgi_script_filename_validate"));
    if (HAS(save, MAILDIR))
        put_maildir(g, backend);
    fprintf(g->out, "headers = %s\n", HAS(save, HEADER) ? "delivered" : "none");
    if (HAS(save, DEBUGGER) && ferry__guerrilla_flag(g, backend, "log_received_mails"))
        fputs("debug = on\n", g->out);
    put_timeout(g, backend, "gw_save_timeout", "save-timeout", 120000);
    put_timeout(g, backend, "gw_val_rcpt_timeout", "validate-timeout", 300000);
}

bool ferry__guerrilla_backend(struct ferry__guerrilla *g, const json_t *backend)
{
    unsigned before = g->nerrors;
    int save, validate;

    if (backend && !json_is_object(backend)) {
        ferry__guerrilla_error(g, "'backend_config' must be an object");
        return false;
    }
    ferry__guerrilla_unknown(g, backend, "'backend_config'", keys);
    save = chain_of(g, backend, "save_process", SAVE_FALLBACK);
    validate = chain_of(g, backend, "validate_process", "");
    if (save < 0 || validate < 0 || !check_save(g, save))
        return false;
    check_validate(g, validate);
    if (HAS(save, FASTCGI) || HAS(validate, FASTCGI))
        put_application(g, backend);
    if (json_object_get(backend, "primary_mail_host"))
        ferry__guerrilla_notice(g, "'primary_mail_host' is ignored: Delivered-To has the "
                                   "recipient's own address");
    if (json_integer_value(json_object_get(backend, "sleep_seconds")) > 0)
        ferry__guerrilla_notice(g, "'sleep_seconds' is ignored: it is for tests of go-guerrilla");
    return g->nerrors == before;
}
