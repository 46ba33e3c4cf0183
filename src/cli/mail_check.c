/* SPDX-License-Identifier: MIT */
/* `ferry mail check`: asks the scripts of a configuration, as the gateway would, whether they
 * answer what it understands, and tells what can be done where they do not. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/mail.h"
#include "cli/mail_probe.h"

static const char help_text[] =
    "usage: ferry mail check -c FILE [--rcpt ADDRESS]\n"
    "       ferry mail check --guerrilla FILE [--rcpt ADDRESS]\n"
    "\n"
    "Asks the scripts of each mail service in a configuration, and says what is wrong with them. "
    "Save is\n"
    "given a message of the greatest size, with the field stage=probe: it shall look at it and say "
    "SAVED,\n"
    "and need not store it.\n"
    "\n"
    "  -c, --config FILE       the configuration\n"
    "      --guerrilla FILE    a configuration of go-guerrilla, in JSON\n"
    "      --rcpt ADDRESS      a recipient for which validate shall say PASS\n"
    "  -h, --help              this text\n"
    "\n"
    "Exits with 0 when all is well, with 1 when something is not, or with 78 when the "
    "configuration is wrong.\n";

enum { OPT_GUERRILLA = 256, OPT_RCPT };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"guerrilla", required_argument, NULL, OPT_GUERRILLA},
    {"rcpt", required_argument, NULL, OPT_RCPT},
    {"help", no_argument, NULL, 'h'},
    {0},
};

/* -- what is said ------------------------------------------------------------------------------ */

static bool good(const struct ferry_mail_probe *p, const char *what)
{
    printf("%s: %s %s: ok, %s\n", p->mail->name, p->name, p->script->path, what);
    return true;
}

static bool bad(const struct ferry_mail_probe *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static bool bad(const struct ferry_mail_probe *p, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ferry_cli_escape(text, strlen(text));
    printf("%s: %s %s: %s\n", p->mail->name, p->name, p->script->path, text);
    return false;
}

/* The beginning of what a script said, for a line of ours. */
static const char *shown(struct ferry_slice s, char out[160])
{
    int n = s.len > 150 ? 150 : (int)s.len;

    snprintf(out, 160, "%.*s%s", n, s.p, s.len > 150 ? "..." : "");
    return out;
}

/* -- why it does not answer -------------------------------------------------------------------- */

static const char *address_of(const struct ferry_mail_probe *p, char out[160])
{
    for (unsigned i = 0; i < p->config->napplications; i++) {
        const struct ferry_config_application *a = &p->config->applications[i];

        if (strcmp(a->name, p->application) == 0)
            snprintf(out, 160, "%s",
                     a->client.naddresses ? a->client.addresses[0].text : a->client.address);
    }
    return out;
}

static bool refused(const struct ferry_mail_probe *p, int err)
{
    char address[160] = "?";

    address_of(p, address);
    if (err == -ENOENT)
        return bad(p, "there is no socket %s: start the application '%s', or mend its 'connect'",
                   address, p->application);
    if (err == -EACCES || err == -EPERM)
        return bad(p,
                   "we may not connect to %s: let its 'listen.owner', 'listen.group' or "
                   "'listen.mode' (php-fpm) admit the user that ferry runs as",
                   address);
    if (err == -ECONNREFUSED)
        return bad(p, "nobody listens on %s: start the application '%s'", address, p->application);
    return bad(p, "cannot reach %s: %s", address, ferry_strerror(err));
}

static bool no_answer(const struct ferry_mail_probe *p, const struct ferry_answer *a)
{
    const struct ferry_outcome *o = &a->outcome;
    char text[160];

    if (o->result == FERRY_RESULT_REFUSED)
        return refused(p, o->err);
    if (o->result == FERRY_RESULT_TIMEOUT || o->result == FERRY_RESULT_QUEUE_TIMEOUT)
        return bad(p,
                   "no answer within %u ms: make the script faster, or '%s-timeout' longer, or let "
                   "the application have more processes",
                   p->script->timeout_ms, p->name);
    if (o->result == FERRY_RESULT_OVERLOADED)
        return bad(p, "the application takes no more requests: let it have more processes");
    if (o->result == FERRY_RESULT_BAD_ROLE)
        return bad(p, "the application is no FastCGI responder: is 'application' the right one?");
    if (a->errors.len)
        return bad(p, "%s; it wrote: %s", ferry_result_text(o->result), shown(a->errors, text));
    return bad(p, "%s: %s%s%s; its own log may tell why", ferry_result_text(o->result), o->text,
               o->err ? ": " : "", o->err ? ferry_strerror(o->err) : "");
}

static bool has(struct ferry_slice s, const char *word)
{
    return memmem(s.p, s.len, word, strlen(word)) != NULL;
}

/* PHP says on its error stream, or in the page, what it did with a form that is too large. */
static bool too_large(const struct ferry_mail_probe *p)
{
    uint64_t form = p->mail->service.format == FERRY_MAIL_FORMAT_URLENCODED ? 3 * p->size : p->size;
    uint64_t need = (form >> 20) + 2;

    if (p->mail->service.format == FERRY_MAIL_FORMAT_MULTIPART)
        return bad(p,
                   "it has not seen the whole message of %llu bytes: post_max_size and "
                   "upload_max_filesize of PHP must be %lluM at least, or 'size-max' less",
                   (unsigned long long)p->size, (unsigned long long)need);
    if (p->mail->service.format == FERRY_MAIL_FORMAT_RFC822)
        return bad(p,
                   "it has not seen the whole message of %llu bytes: post_max_size of PHP must be "
                   "%lluM at least, or 'size-max' less",
                   (unsigned long long)p->size, (unsigned long long)need);
    return bad(p,
               "it has not seen the whole message of %llu bytes, which is a form of up to %lluM: "
               "post_max_size of PHP must be more than that (and memory_limit twice as much), or "
               "'size-max' less, or 'format = rfc822'",
               (unsigned long long)p->size, (unsigned long long)need);
}

/* What PHP says when it throws a form away. */
static bool was_too_large(const struct ferry_answer *a)
{
    return has(a->errors, "exceeds the limit of") || has(a->body, "exceeds the limit of");
}

static bool wrong_status(const struct ferry_mail_probe *p, const struct ferry_answer *a)
{
    char text[160];

    if (a->head.status == 404)
        return bad(p,
                   "there is no such script for the application (404): is the path the one that it "
                   "has there, and may its user read the file and enter the folders?");
    if (a->head.status == 403)
        return bad(p, "the application may not run it (403): see 'security.limit_extensions' of "
                      "php-fpm, and the rights of the file");
    if (has(a->errors, "Allowed memory size"))
        return bad(
            p, "PHP has too little memory for a message of %llu bytes: let memory_limit be %lluM",
            (unsigned long long)p->size, (unsigned long long)(p->size * 6 >> 20) + 64);
    return bad(p, "it fails with status %d: %s", a->head.status,
               shown(a->errors.len ? a->errors : a->body, text));
}

/* -- what it answers --------------------------------------------------------------------------- */

static bool judge_fault(const struct ferry_mail_probe *p, const struct ferry_answer *a,
                        const struct ferry_mail_verdict *v)
{
    char text[160];

    if (v->outcome != FERRY_MAIL_CONFIGURATION && was_too_large(a))
        return too_large(p);
    switch (v->outcome) {
    case FERRY_MAIL_CONFIGURATION:
    case FERRY_MAIL_STATUS:
        return wrong_status(p, a);
    case FERRY_MAIL_EMPTY:
        return bad(p, "it answers nothing%s%s: is there an error in it?",
                   a->errors.len ? ", and wrote: " : "",
                   a->errors.len ? shown(a->errors, text) : "");
    case FERRY_MAIL_TOKEN:
        return too_large(p);
    default:
        return bad(p, "it answers \"%s\", and not %s", shown(a->body, text),
                   p->question == FERRY_MAIL_SAVE ? "SAVED" : "PASS");
    }
}

static bool judge_no(const struct ferry_mail_probe *p, const struct ferry_mail_verdict *v,
                     const struct ferry_answer *a)
{
    struct ferry_slice said = a->body;
    char text[160], wrote[160];

    if (was_too_large(a))
        return too_large(p);
    if (p->question == FERRY_MAIL_SAVE || v->outcome == FERRY_MAIL_DEFER)
        return bad(p, "%s: %s%s%s",
                   p->question == FERRY_MAIL_SAVE ? "it will not have the message"
                                                  : "it says that it cannot tell now",
                   shown(said, text), a->errors.len ? "; it wrote: " : "",
                   a->errors.len ? shown(a->errors, wrote) : "");
    if (p->named_rcpt && p->question == FERRY_MAIL_VALIDATE)
        return bad(p, "it says no to %s: %s", p->rcpt, shown(said, text));
    return good(p, p->question == FERRY_MAIL_VALIDATE
                       ? "it says no to a recipient that need not be (--rcpt names one that is)"
                       : "it says no to a password that nobody has");
}

static bool judge(const struct ferry_mail_probe *p, const struct ferry_answer *a)
{
    /* Whether the token must be there is not asked here: without it nobody knows. */
    struct ferry_slice none = ferry_slice("", 0);
    struct ferry_mail_verdict v = {0};
    bool token = has(a->body, FERRY_MAIL_PROBE_TOKEN) || has(a->body, p->sha256);

    if (a->outcome.result != FERRY_RESULT_DONE || a->outcome.app_status ||
        a->outcome.protocol_status > 0)
        return no_answer(p, a);
    ferry_mail_verdict_read(p->question, a->head.status, a->body, none, &v, 1);
    if (ferry_mail_is_fault(v.outcome))
        return judge_fault(p, a, &v);
    if (v.outcome == FERRY_MAIL_REJECT || v.outcome == FERRY_MAIL_DEFER)
        return judge_no(p, &v, a);
    if (p->question == FERRY_MAIL_AUTH)
        return bad(p, "it says PASS to a password that nobody has");
    if (p->question == FERRY_MAIL_VALIDATE)
        return good(p, "PASS");
    if (!token && was_too_large(a))
        return too_large(p);
    if (p->mail->service.strict_token && !token)
        return has(a->body, "SAVED") && a->body.len < 16
                   ? bad(p, "with 'strict-token' it must answer SAVED and the token, which is the "
                            "last field of the form: echo 'SAVED ' . $_POST['token']")
                   : too_large(p);
    return good(p, token
                       ? "SAVED, and it has seen the whole message"
                       : "SAVED; but without the token nobody knows whether it has seen the whole "
                         "message: echo 'SAVED ' . $_POST['token']");
}

/* -- a script ---------------------------------------------------------------------------------- */

static bool ask(struct ferry_mail_probe *p, struct ferry_client *client)
{
    struct ferry_answer *a = NULL;
    struct ferry_fetch f;
    int err = ferry_mail_probe_make(p);
    bool ok;

    if (err == 0) {
        f = (struct ferry_fetch){.params = p->params,
                                 .nparams = p->nparams,
                                 .body = p->body,
                                 .answer_max = 1 << 20,
                                 .total_ms = p->script->timeout_ms};
        err = ferry_client_fetch(client, &f, &a);
    }
    ok = err < 0 ? bad(p, "cannot be asked: %s", ferry_strerror(err)) : judge(p, a);
    ferry_answer_free(a);
    ferry_mail_probe_fini(p);
    return ok;
}

/* -- a configuration --------------------------------------------------------------------------- */

/* Somebody of the first domain that is one. */
static const char *somebody(const struct ferry_config_mail *m, char out[320])
{
    for (unsigned i = 0; i < m->service.ndomains; i++) {
        const char *d = m->service.domains[i];

        if (strncmp(d, "*.", 2) == 0)
            d += 2;
        if (strcmp(d, ".") != 0 && strcmp(d, "*") != 0) {
            snprintf(out, 320, "postmaster@%s", d);
            return out;
        }
    }
    return "postmaster@localhost";
}

static bool check_script(struct ferry_mail_probe *p, struct ferry_client **clients)
{
    struct ferry_client *client = NULL;

    for (unsigned i = 0; i < p->config->napplications; i++) {
        const struct ferry_config_application *a = &p->config->applications[i];

        if (strcmp(a->name, p->application) != 0)
            continue;
        if (a->spawn.argv || a->spawn.php)
            return bad(p,
                       "the application '%s' is started by ferry mail itself, so there is none to "
                       "be asked now: start one and use 'connect' to check the script",
                       a->name);
        client = clients[i];
    }
    return ask(p, client);
}

static bool check_service(const struct ferry_config *c, const struct ferry_config_mail *m,
                          const char *rcpt, struct ferry_client **clients)
{
    const struct ferry_mail_service *s = &m->service;
    const struct {
        const char *name, *application;
        const struct ferry_mail_script *script;
        enum ferry_mail_question question;
    } scripts[] = {
        {"validate", m->validate_application, &s->validate, FERRY_MAIL_VALIDATE},
        {"save", m->save_application, &s->save, FERRY_MAIL_SAVE},
        {"auth", m->auth_application, &s->auth, FERRY_MAIL_AUTH},
    };
    char other[320];
    bool ok = true;

    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct ferry_mail_probe p = {
            .config = c,
            .mail = m,
            .name = scripts[i].name,
            .script = scripts[i].script,
            .application = scripts[i].application ? scripts[i].application : m->application,
            .question = scripts[i].question,
            .rcpt = rcpt ? rcpt : somebody(m, other),
            .named_rcpt = rcpt != NULL,
        };

        if (p.script->path)
            ok &= check_script(&p, clients);
    }
    if (s->maildir) {
        bool may = access(s->maildir, W_OK | X_OK) == 0 || errno == ENOENT;

        printf("%s: maildir %s: %s\n", m->name, s->maildir,
               may ? "ok" : "we may not write to it: change its owner or mode");
        ok &= may;
    }
    return ok;
}

static int check(const struct ferry_mail_options *o, const char *rcpt)
{
    struct ferry_client **clients = NULL;
    struct ferry_generation g = {.threads = 1, .check = true};
    bool ok = true;

    if (ferry_mail_options_read(o, false, &g.config) < 0)
        return FERRY_EXIT_CONFIG;
    g.apps = calloc(g.config->napplications + 1, sizeof(struct ferry_app *));
    if (!g.apps || ferry_clients_open(&g, &clients) < 0) {
        ok = false;
    } else {
        for (unsigned i = 0; i < g.config->nmails; i++)
            ok &= check_service(g.config, &g.config->mails[i], rcpt, clients);
    }
    ferry_clients_close(&g, clients);
    free(g.apps);
    ferry_config_free(g.config);
    return ok ? ferry_cli_written() : FERRY_EXIT_FAILED;
}

int ferry_mail_check(int argc, char **argv)
{
    struct ferry_mail_options o = {0};
    const char *rcpt = NULL;
    int c;

    argv[0] = (char[]){"ferry mail check"}; /* getopt's messages begin with it */
    while ((c = getopt_long(argc, argv, "c:h", long_options, NULL)) != -1) {
        switch (c) {
        case 'c':
            o.config = optarg;
            break;
        case OPT_GUERRILLA:
            o.guerrilla = optarg;
            break;
        case OPT_RCPT:
            rcpt = optarg;
            break;
        case 'h':
            fputs(help_text, stdout);
            return ferry_cli_written();
        default:
            fputs("Try 'ferry mail check --help'.\n", stderr);
            return FERRY_EXIT_USAGE;
        }
    }
    if (rcpt && strlen(rcpt) > 300) {
        ferry_cli_say("mail check: --rcpt: an address is not so long");
        return FERRY_EXIT_USAGE;
    }
    if (optind < argc || !o.config == !o.guerrilla) {
        ferry_cli_say("mail check: which configuration? -c FILE");
        fputs("Try 'ferry mail check --help'.\n", stderr);
        return FERRY_EXIT_USAGE;
    }
    return check(&o, rcpt);
}
