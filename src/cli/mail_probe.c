/* SPDX-License-Identifier: MIT */
/* Questions as the gateway asks them, but for a few fields. A form is written into one piece of
 * memory, which has room for the message with three bytes for each. */
#include "cli/mail_probe.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"

#define TOKEN FERRY_MAIL_PROBE_TOKEN
#define SENDER "ferry-check@localhost"
#define HEAD                                                                                       \
    "From: <" SENDER ">\r\nSubject: ferry mail check\r\nMessage-ID: <ferry-check@localhost>\r\n"   \
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"                             \
    "Content-Transfer-Encoding: 8bit\r\n\r\n"
#define LINE_LEN 78
#define SIZE_FALLBACK ((uint64_t)64 << 20) /* where any size is taken */
#define AROUND 8192                        /* the fields beside the message */

static void param(struct ferry_mail_probe *p, const char *name, const char *value)
{
    if (p->nparams < FERRY_MAIL_PROBE_PARAMS_MAX)
        p->params[p->nparams++] = (struct ferry_param){ferry_slice_z(name), ferry_slice_z(value)};
}

static void usual_params(struct ferry_mail_probe *p, const char *method, const char *query)
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

/* As of application/x-www-form-urlencoded: at most three bytes for one. */
static char *encode(char *to, const char *text, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr("-_.~", c))) {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
        }
    }
    return to;
}

static char *put(char *to, const char *text)
{
    size_t n = strlen(text);

    memcpy(to, text, n);
    return to + n;
}

/* -- the message ------------------------------------------------------------------------------- */

static void write_message(char *text, size_t size)
{
    size_t head = sizeof HEAD - 1;

    memcpy(text, HEAD, head);
    for (size_t at = head; at < size; at++) {
        size_t column = (at - head) % LINE_LEN;

        text[at] = column == LINE_LEN - 2   ? '\r'
                   : column == LINE_LEN - 1 ? '\n'
                   : column % 2             ? (char)0xbc
                                            : (char)0xc3;
    }
    text[size - 2] = '\r';
    text[size - 1] = '\n';
}

static int hash(struct ferry_mail_probe *p, const char *text)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (EVP_Digest(text, p->size, sum, &n, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    for (unsigned i = 0; i < n && i < 32; i++)
        snprintf(p->sha256 + (size_t)2 * i, 3, "%02x", sum[i]);
    return 0;
}

/* -- the form around it ------------------------------------------------------------------------ */

#define PART "--" TOKEN "\r\nContent-Disposition: form-data; name=\""

static char *put_field(char *to, const char *name, const char *value, bool multipart)
{
    if (multipart) {
        to = put(put(put(to, PART), name), "\"\r\n\r\n");
        return put(put(to, value), "\r\n");
    }
    to = put(put(to, name), "=");
    return put(encode(to, value, strlen(value)), "&");
}

static void write_form(struct ferry_mail_probe *p, const char *text, char *form, bool multipart)
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
        {"size", p->number},
        {"body_sha256", p->sha256},
        {"message_key", p->sha256},
        {"stage", "probe"},
        {"api", "1"},
    };
    char *to = form;

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        to = put_field(to, fields[i][0], fields[i][1], multipart);
    if (multipart) {
        to = put(to, PART "body\"; filename=\"message.eml\"\r\nContent-Type: message/rfc822\r\n"
                          "\r\n");
        memcpy(to, text, p->size);
        to = put(put_field(put(to + p->size, "\r\n"), "token", TOKEN, true), "--" TOKEN "--\r\n");
    } else {
        to = put(encode(put(to, "body="), text, p->size), "&token=" TOKEN);
    }
    p->body = ferry_slice(form, (size_t)(to - form));
}

/* -- the questions ----------------------------------------------------------------------------- */

static int make_save(struct ferry_mail_probe *p)
{
    enum ferry_mail_format format = p->mail->service.format;
    uint64_t max = p->mail->service.smtp.size_max;
    char *text;

    p->size = max ? max : SIZE_FALLBACK;
    if (p->size < sizeof HEAD + 2)
        p->size = sizeof HEAD + 2;
    if (p->size > SIZE_MAX / 8)
        return -ENOMEM;
    p->memory = malloc(4 * p->size + AROUND);
    if (!p->memory)
        return -ENOMEM;
    text = p->memory + 3 * p->size + AROUND;
    write_message(text, p->size);
    if (hash(p, text) < 0)
        return -ENOMEM;
    snprintf(p->number, sizeof p->number, "%llu", (unsigned long long)p->size);
    usual_params(p, "POST", "");
    param(p, "MAIL_SIZE", p->number);
    param(p, "MAIL_SHA256", p->sha256);
    param(p, "MAIL_KEY", p->sha256);
    param(p, "MAIL_FROM", SENDER);
    param(p, "MAIL_RCPT", p->rcpt);
    param(p, "CONTENT_TYPE",
          format == FERRY_MAIL_FORMAT_RFC822      ? "message/rfc822"
          : format == FERRY_MAIL_FORMAT_MULTIPART ? "multipart/form-data; boundary=" TOKEN
                                                  : "application/x-www-form-urlencoded");
    if (format == FERRY_MAIL_FORMAT_RFC822)
        p->body = ferry_slice(text, p->size);
    else
        write_form(p, text, p->memory, format == FERRY_MAIL_FORMAT_MULTIPART);
    return 0;
}

static void make_validate(struct ferry_mail_probe *p)
{
    char *to = encode(put(p->query, "rcpt_to="), p->rcpt, strlen(p->rcpt));

    *put(to, "&mail_from=" SENDER "&helo=localhost&remote_ip=127.0.0.1&tls_on=false&stage=probe") =
        0;
    usual_params(p, "GET", p->query);
    param(p, "MAIL_RCPT", p->rcpt);
}

static void make_auth(struct ferry_mail_probe *p)
{
    static const char form[] = "helo=localhost&remote_ip=127.0.0.1&tls_on=true"
                               "&auth_user=ferry-check%40localhost&auth_mech=PLAIN&auth_identity="
                               "&password=" TOKEN "&stage=probe";

    usual_params(p, "POST", "");
    param(p, "CONTENT_TYPE", "application/x-www-form-urlencoded");
    p->body = ferry_slice(form, sizeof form - 1);
}

int ferry_mail_probe_make(struct ferry_mail_probe *p)
{
    p->body = ferry_slice("", 0);
    if (p->question == FERRY_MAIL_SAVE)
        return make_save(p);
    if (p->question == FERRY_MAIL_AUTH)
        make_auth(p);
    else
        make_validate(p);
    return 0;
}

void ferry_mail_probe_fini(struct ferry_mail_probe *p)
{
    free(p->memory);
    p->memory = NULL;
}
