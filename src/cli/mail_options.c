/* SPDX-License-Identifier: MIT */
/*
 * The options of `ferry mail` as a configuration: written as the text of a file, and read like one,
 * so that what is wrong is found by the same checks.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/mail.h"
#include "io/addr.h"

#define LISTEN_FALLBACK "127.0.0.1:2525"

/* -- what is said ------------------------------------------------------------------------------ */

/* Nobody has seen the lines of that text. */
static void say_option(void *arg, const struct ferry_config_place *p, const char *text)
{
    (void)arg;
    (void)p;
    ferry_cli_say("mail: %s", text);
}

static void say_nothing(void *arg, const struct ferry_config_place *p, const char *text)
{
    (void)arg;
    (void)p;
    (void)text;
}

/* -- the text ---------------------------------------------------------------------------------- */

static void put_word(FILE *to, const char *text, size_t len)
{
    fputc('"', to);
    for (size_t i = 0; i < len; i++)
        if (text[i] == '"' || text[i] == '\\')
            fprintf(to, "\\%c", text[i]);
        else if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            fprintf(to, "\\x%02x", (unsigned char)text[i]);
        else
            fputc(text[i], to);
    fputc('"', to);
}

static void put(FILE *to, const char *name, const char *value)
{
    if (!value)
        return;
    fprintf(to, "%s = ", name);
    put_word(to, value, strlen(value));
    fputc('\n', to);
}

/* Words with commas between them: a list, but for a single one. */
static void put_list(FILE *to, const char *name, const char *words)
{
    bool many = strchr(words, ',') != NULL;

    fprintf(to, "%s = %s", name, many ? "{ " : "");
    for (const char *at = words;; at++) {
        size_t n = strcspn(at, ",");

        put_word(to, at, n);
        at += n;
        if (!*at)
            break;
        fputs(", ", to);
    }
    fprintf(to, "%s\n", many ? " }" : "");
}

static void put_listen(FILE *to, const struct ferry_mail_options *o)
{
    fputs("listen = { ", to);
    for (unsigned i = 0; i < o->nlisten; i++) {
        fputs(i ? ", " : "", to);
        put_word(to, o->listen[i], strlen(o->listen[i]));
    }
    if (!o->nlisten)
        fputs(LISTEN_FALLBACK, to);
    fputs(" }\n", to);
}

/* PHP that is started here runs in the folder of the script. */
static int put_application(FILE *to, const struct ferry_mail_options *o)
{
    const char *script = o->save ? o->save : o->validate ? o->validate : o->auth, *slash;
    char real[PATH_MAX];

    if (!script)
        return 0;
    fputs("application scripts {\n", to);
    if (o->app) {
        put(to, "connect", o->app);
    } else {
        if (!realpath(script, real)) {
            ferry_cli_say("cannot run %s: %s", script, strerror(errno));
            return FERRY_EUSAGE;
        }
        slash = strrchr(real, '/');
        fputs("spawn-php = auto\nchdir = ", to);
        put_word(to, slash == real ? "/" : real, slash == real ? 1 : (size_t)(slash - real));
        fputc('\n', to);
    }
    fputs("}\n", to);
    return 0;
}

static int put_set(FILE *to, const char *set)
{
    size_t n = strcspn(set, "=");
    char name[64];

    if (!set[n] || n == 0 || n >= sizeof name ||
        strspn(set, "abcdefghijklmnopqrstuvwxyz0123456789-_") != n) {
        ferry_cli_say("mail: --set %s: a setting is expected, as NAME=VALUE", set);
        return FERRY_EUSAGE;
    }
    memcpy(name, set, n);
    name[n] = 0;
    put_list(to, name, set + n + 1);
    return 0;
}

static bool is_set(const struct ferry_mail_options *o, const char *name)
{
    size_t n = strlen(name);

    for (unsigned i = 0; i < o->nset; i++)
        if (strncmp(o->set[i], name, n) == 0 && o->set[i][n] == '=')
            return true;
    return false;
}

static int write_text(FILE *to, const struct ferry_mail_options *o)
{
    int err;

    fputs("sandbox = off\n", to); /* as with ferry serve */
    put(to, "io", o->io);
    put(to, "threads", o->threads);
    put(to, "mail-log-format", o->log);
    err = put_application(to, o);
    fputs("mail mail {\n", to);
    put_listen(to, o);
    if (o->lmtp)
        fputs("protocol = lmtp\n", to);
    put(to, "hostname", o->hostname);
    if (o->hosts)
        put_list(to, "domains", o->hosts);
    if (o->accept_all)
        fputs("accept-all = on\n", to);
    if (o->validate || o->save || o->auth)
        fputs("application = scripts\n", to);
    put(to, "validate", o->validate);
    put(to, "save", o->save);
    put(to, "auth", o->auth);
    put(to, "maildir", o->maildir);
    put(to, "size-max", o->max_size);
    put(to, "tls", o->tls);
    put(to, "tls-cert", o->tls_cert);
    put(to, "tls-key", o->tls_key);
    /* Programs on a desk write LF, and what is only looked at is sent on to nobody. */
    if (o->maildir && !o->save && !is_set(o, "bare-newline"))
        put(to, "bare-newline", "normalize");
    for (unsigned i = 0; err == 0 && i < o->nset; i++)
        err = put_set(to, o->set[i]);
    fputs("}\n", to);
    return err;
}

/* -- the configuration ------------------------------------------------------------------------- */

static int from_options(const struct ferry_mail_options *o, struct ferry_config **out)
{
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    int err = to ? write_text(to, o) : -ENOMEM;

    if (to && fclose(to) != 0)
        err = -ENOMEM;
    if (err == -ENOMEM)
        ferry_cli_say("cannot start: %s", ferry_strerror(err));
    if (err == 0)
        err = ferry_config_parse("options", ferry_slice(text, n), out, say_option, NULL);
    free(text);
    return err;
}

int ferry_mail_options_read(const struct ferry_mail_options *o, bool quiet,
                            struct ferry_config **out)
{
    int err;

    if (o->guerrilla)
        err = ferry_config_read_guerrilla(o->guerrilla, out, ferry_cli_say_place,
                                          quiet ? say_nothing : ferry_cli_say_place, NULL);
    else if (o->config)
        err = ferry_config_read(o->config, out, ferry_cli_say_place, NULL);
    else
        err = from_options(o, out);
    if (err == 0 && (*out)->nmails == 0) {
        ferry_cli_say("%s: there is no mail service in it; its sites are for 'ferry run'",
                      o->config);
        ferry_config_free(*out);
        *out = NULL;
        err = FERRY_EUSAGE;
    }
    return err;
}
