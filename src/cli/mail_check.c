/* SPDX-License-Identifier: MIT */
/*
 * `ferry mail check`: asks the scripts of a configuration, as the gateway would, whether they
 * answer what it understands. The message that save is given is as large as one may become, and
 * nothing but bytes that a form makes three of; its stage is `probe`, so that a script can look at
 * all of it and store nothing.
 */
#include <errno.h>
#include <getopt.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/mail.h"
#include "mail/verdict.h"

#define TOKEN                                                                                      \
    "6665727279206d61696c20636865636b" /* known, so that a script can be tried by hand             \
                                        */
#define SENDER "ferry-check@localhost"
#define HEAD                                                                                       \
    "From: <" SENDER ">\r\nSubject: ferry mail check\r\nMessage-ID: <ferry-check@localhost>\r\n"   \
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"                             \
    "Content-Transfer-Encoding: 8bit\r\n\r\n"
#define LINE_LEN 78
#define SIZE_FALLBACK ((uint64_t)64 << 20) /* where any size is taken */
#define PARAMS_MAX 24

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

struct probe {
    const struct ferry_config_mail *mail;
    const struct ferry_config *config;
    const char *name; /* of the script: "save" */
    const struct ferry_mail_script *script;
    const char *application;
    enum ferry_mail_question question;
    const char *rcpt;
    bool named_rcpt; /* by the user: PASS is expected */

    struct ferry_param params[PARAMS_MAX];
    unsigned nparams;
    uint64_t size; /* of the message */
    char numbers[3][32], sha256[65];
};

/* -- what is said ------------------------------------------------------------------------------ */

static bool good(const struct probe *p, const char *what)
{
    printf("%s: %s %s: ok, %s\n", p->mail->name, p->name, p->script->path, what);
    return true;
}

static bool bad(const struct probe *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool bad(const struct probe *p, const char *fmt, ...)
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

static const char *address_of(const struct probe *p, char out[160])
{
    for (unsigned i = 0; i < p->config->napplications; i++) {
        const struct ferry_config_application *a = &p->config->applications[i];

        if (strcmp(a->name, p->application) == 0)
            snprintf(out, 160, "%s",
                     a->client.naddresses ? a->client.addresses[0].text : a->client.address);
    }
    return out;
}

static bool refused(const struct probe *p, int err)
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

static bool no_answer(const struct probe *p, const struct ferry_answer *a)
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
static bool too_large(const struct probe *p)
{
    uint64_t form = p->mail->service.format == FERRY_MAIL_FORMAT_URLENCODED ? 3 * p->size : p->size;
    uint64_t need = (form >> 20) + 2;

    if (p->mail->service.format == FERRY_MAIL_FORMAT_MULTIPART)
        return bad(p,
                   "it has not seen the whole message of %llu bytes: post_max_size and "
                   "upload_max_filesize of PHP must be %lluM at least, or 'size-max' less",
                   (unsigned long long)p->size, (unsigned long long)need);
    return bad(p,
               "it has not seen the whole message of %llu bytes, which is a form of up to %lluM: "
               "post_max_size of PHP must be more than that (and memory_limit twice as much), or "
               "'size-max' less, or 'format = rfc822'",
               (unsigned long long)p->size, (unsigned long long)need);
}

static bool wrong_status(const struct probe *p, const struct ferry_answer *a)
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

static bool judge_fault(const struct probe *p, const struct ferry_answer *a,
                        const struct ferry_mail_verdict *v)
{
    char text[160];

    if (has(a->errors, "exceeds the limit of") || has(a->body, "exceeds the limit of"))
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

static bool judge_no(const struct probe *p, const struct ferry_mail_verdict *v,
                     struct ferry_slice said)
{
    char text[160];

    if (p->question == FERRY_MAIL_SAVE)
        return bad(p, "it will not have the message: %s", shown(said, text));
    if (v->outcome == FERRY_MAIL_DEFER)
        return bad(p, "it knows no answer now: %s", shown(said, text));
    if (p->named_rcpt && p->question == FERRY_MAIL_VALIDATE)
        return bad(p, "it says no to %s: %s", p->rcpt, shown(said, text));
    return good(p, p->question == FERRY_MAIL_VALIDATE
                       ? "it says no to a recipient that need not be (--rcpt names one that is)"
                       : "it says no to a password that nobody has");
}

static bool judge(const struct probe *p, const struct ferry_answer *a)
{
    /* Whether the token must be there is not asked here: without it nobody knows. */
    struct ferry_slice none = ferry_slice("", 0);
    struct ferry_mail_verdict v = {0};
    bool token = has(a->body, TOKEN) || has(a->body, p->sha256);

    if (a->outcome.result != FERRY_RESULT_DONE || a->outcome.app_status ||
        a->outcome.protocol_status > 0)
        return no_answer(p, a);
    ferry_mail_verdict_read(p->question, a->head.status, a->body, none, &v, 1);
    if (ferry_mail_is_fault(v.outcome))
        return judge_fault(p, a, &v);
    if (v.outcome == FERRY_MAIL_REJECT || v.outcome == FERRY_MAIL_DEFER)
        return judge_no(p, &v, a->body);
    if (p->question == FERRY_MAIL_AUTH)
        return bad(p, "it says PASS to a password that nobody has");
    if (p->question == FERRY_MAIL_VALIDATE)
        return good(p, "PASS");
    if (has(a->errors, "exceeds the limit of"))
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

/* -- what it is asked -------------------------------------------------------------------------- */

static void param(struct probe *p, const char *name, const char *value)
{
    if (p->nparams < PARAMS_MAX)
        p->params[p->nparams++] = (struct ferry_param){ferry_slice_z(name), ferry_slice_z(value)};
}

static void usual_params(struct probe *p, const char *method, const char *query)
{
    param(p, "SCRIPT_FILENAME", p->script->path);
    param(p, "SCRIPT_NAME", p->script->path);
    param(p, "REQUEST_URI", p->script->path);
    param(p, "REQUEST_METHOD", method);
    param(p, "QUERY_STRING", query);
    param(p, "GATEWAY_INTERFACE", "CGI/1.1");
    param(p, "SERVER_PROTOCOL", "HTTP/1.1");
    param(p, "SERVER_SOFTWARE", "ferry/" FERRY_VERSION);
    param(p, "REMOTE_ADDR", "127.0.0.1");
    param(p, "REDIRECT_STATUS", "200");
    param(p, "MAIL_STAGE", "probe");
    param(p, "MAIL_API", "1");
}

/* As of application/x-www-form-urlencoded. */
static size_t encode(char *to, const char *text, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    char *at = to;

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr("-_.~", c))) {
            *at++ = (char)c;
        } else {
            *at++ = '%';
            *at++ = digits[c >> 4];
            *at++ = digits[c & 15];
        }
    }
    return (size_t)(at - to);
}

static char *make_message(struct probe *p)
{
    uint64_t max = p->mail->service.smtp.size_max;
    char *text;
    size_t at = sizeof HEAD - 1;

    p->size = max ? max : SIZE_FALLBACK;
    if (p->size < at + 2)
        p->size = at + 2;
    text = malloc(p->size);
    if (!text)
        return NULL;
    memcpy(text, HEAD, at);
    for (; at < p->size; at++) {
        size_t column = (at - (sizeof HEAD - 1)) % LINE_LEN;

        text[at] = column == LINE_LEN - 2   ? '\r'
                   : column == LINE_LEN - 1 ? '\n'
                   : column % 2             ? (char)0xbc
                                            : (char)0xc3;
    }
    text[p->size - 2] = '\r';
    text[p->size - 1] = '\n';
    return text;
}

static bool hash(struct probe *p, const char *text)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (EVP_Digest(text, p->size, sum, &n, EVP_sha256(), NULL) != 1)
        return false;
    for (unsigned i = 0; i < n && i < 32; i++)
        snprintf(p->sha256 + (size_t)2 * i, 3, "%02x", sum[i]);
    return true;
}

/* The fields around the message, in the form that the service has. */
static int write_form(const struct probe *p, const char *text, FILE *to, bool multipart)
{
    const char *const fields[][2] = {
        {"mail_from", SENDER},
        {"helo", "localhost"},
        {"remote_ip", "127.0.0.1"},
        {"tls_on", "false"},
        {"subject", "ferry mail check"},
        {"rcpt_to", p->rcpt},
        {"rcpt_to_0", p->rcpt},
        {"rcpt_count", "1"},
        {"size", p->numbers[0]},
        {"body_sha256", p->sha256},
        {"message_key", p->sha256},
        {"stage", "probe"},
        {"api", "1"},
    };
    char *encoded = malloc(3 * p->size + 1);

    if (!encoded)
        return -ENOMEM;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char value[1024];

        if (multipart) {
            fprintf(to, "--" TOKEN "\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n",
                    fields[i][0], fields[i][1]);
            continue;
        }
        value[strlen(fields[i][1]) < 300 ? encode(value, fields[i][1], strlen(fields[i][1])) : 0] =
            0;
        fprintf(to, "%s=%s&", fields[i][0], value);
    }
    if (multipart) {
        fputs("--" TOKEN "\r\nContent-Disposition: form-data; name=\"body\"; "
              "filename=\"message.eml\"\r\nContent-Type: message/rfc822\r\n\r\n",
              to);
        fwrite(text, 1, p->size, to);
        fputs("\r\n--" TOKEN "\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n" TOKEN
              "\r\n--" TOKEN "--\r\n",
              to);
    } else {
        fputs("body=", to);
        fwrite(encoded, 1, encode(encoded, text, p->size), to);
        fputs("&token=" TOKEN, to);
    }
    free(encoded);
    return 0;
}

/* -- a script ---------------------------------------------------------------------------------- */

static bool fetch(struct probe *p, struct ferry_client *client, struct ferry_slice body)
{
    const struct ferry_fetch f = {.params = p->params,
                                  .nparams = p->nparams,
                                  .body = body,
                                  .answer_max = 1 << 20,
                                  .total_ms = p->script->timeout_ms};
    struct ferry_answer *a = NULL;
    int err = ferry_client_fetch(client, &f, &a);
    bool ok = err < 0 ? bad(p, "cannot be asked: %s", ferry_strerror(err)) : judge(p, a);

    ferry_answer_free(a);
    return ok;
}

static bool ask_validate(struct probe *p, struct ferry_client *client)
{
    char query[1024] = "rcpt_to=";
    size_t n = strlen(query);

    if (strlen(p->rcpt) > 300)
        return bad(p, "the recipient is too long");
    n += encode(query + n, p->rcpt, strlen(p->rcpt));
    snprintf(query + n, sizeof query - n,
             "&mail_from=" SENDER "&helo=localhost&remote_ip=127.0.0.1&tls_on=false&stage=probe");
    usual_params(p, "GET", query);
    param(p, "MAIL_RCPT", p->rcpt);
    return fetch(p, client, ferry_slice("", 0));
}

static bool ask_auth(struct probe *p, struct ferry_client *client)
{
    static const char form[] = "helo=localhost&remote_ip=127.0.0.1&tls_on=true"
                               "&auth_user=ferry-check%40localhost&auth_mech=PLAIN&auth_identity="
                               "&auth_password=" TOKEN "&stage=probe";

    usual_params(p, "POST", "");
    param(p, "CONTENT_TYPE", "application/x-www-form-urlencoded");
    return fetch(p, client, ferry_slice(form, sizeof form - 1));
}

static bool ask_save(struct probe *p, struct ferry_client *client)
{
    enum ferry_mail_format format = p->mail->service.format;
    char *text = make_message(p), *form = NULL;
    size_t n = 0;
    FILE *to;
    bool ok;

    if (!text || !hash(p, text)) {
        free(text);
        return bad(p, "there is no memory for a message of %llu bytes",
                   (unsigned long long)p->size);
    }
    usual_params(p, "POST", "");
    snprintf(p->numbers[0], sizeof p->numbers[0], "%llu", (unsigned long long)p->size);
    param(p, "MAIL_SIZE", p->numbers[0]);
    param(p, "MAIL_SHA256", p->sha256);
    param(p, "MAIL_KEY", p->sha256);
    param(p, "MAIL_FROM", SENDER);
    param(p, "MAIL_RCPT", p->rcpt);
    param(p, "CONTENT_TYPE",
          format == FERRY_MAIL_FORMAT_RFC822      ? "message/rfc822"
          : format == FERRY_MAIL_FORMAT_MULTIPART ? "multipart/form-data; boundary=" TOKEN
                                                  : "application/x-www-form-urlencoded");
    if (format == FERRY_MAIL_FORMAT_RFC822) {
        ok = fetch(p, client, ferry_slice(text, p->size));
    } else {
        to = open_memstream(&form, &n);
        if (!to || write_form(p, text, to, format == FERRY_MAIL_FORMAT_MULTIPART) < 0)
            n = 0;
        if (to && fclose(to) != 0)
            n = 0;
        ok = n ? fetch(p, client, ferry_slice(form, n))
               : bad(p, "there is no memory for the form of a message of %llu bytes",
                     (unsigned long long)p->size);
    }
    free(form);
    free(text);
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

static bool check_script(struct probe *p, struct ferry_client **clients)
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
    if (p->question == FERRY_MAIL_VALIDATE)
        return ask_validate(p, client);
    return p->question == FERRY_MAIL_AUTH ? ask_auth(p, client) : ask_save(p, client);
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
        struct probe p = {
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
    if (optind < argc || !o.config == !o.guerrilla) {
        ferry_cli_say("mail check: which configuration? -c FILE");
        fputs("Try 'ferry mail check --help'.\n", stderr);
        return FERRY_EXIT_USAGE;
    }
    return check(&o, rcpt);
}
