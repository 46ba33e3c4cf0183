/* SPDX-License-Identifier: MIT */
/*
 * The values behind the table: one function for each row, which borrows from the facts where it can
 * and writes into `buf` where it must. A text that is not there is the empty one: a script may read
 * any field without asking first whether it came.
 */
#include "mail/fields.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/text.h"

#define BUF_MAX 128

/* -- of the recipients -- */

static struct ferry_slice text_of(const struct ferry_smtp_path *path)
{
    return path ? ferry_slice(path->text, path->len) : FERRY_SLICE("");
}

static const struct ferry_smtp_envelope *envelope_of(const struct ferry__mail_about *a)
{
    static const struct ferry_smtp_envelope none;

    return a->facts->envelope ? a->facts->envelope : &none;
}

static struct ferry_slice number(char *buf, uint64_t n)
{
    return ferry_slice(buf, (size_t)(ferry__put_u64(buf, n, 1) - buf));
}

static struct ferry_slice flag(bool on)
{
    return on ? FERRY_SLICE("1") : FERRY_SLICE("0");
}

#define GET(name) static struct ferry_slice get_##name(const struct ferry__mail_about *a, char *buf)

GET(rcpt_to) /* to save, the list is made by the caller of this */
{
    (void)buf;
    return text_of(a->rcpt);
}

GET(rcpt_count)
{
    return number(buf, a->question == FERRY_MAIL_SAVE && a->one ? 1 : envelope_of(a)->nrcpts);
}

GET(rcpt_raw)
{
    (void)buf;
    return a->rcpt ? ferry_slice(a->rcpt->raw, a->rcpt->raw_len) : FERRY_SLICE("");
}

GET(rcpt_local)
{
    (void)buf;
    return a->rcpt ? ferry_smtp_path_local(a->rcpt) : FERRY_SLICE("");
}

GET(rcpt_domain)
{
    (void)buf;
    return a->rcpt ? ferry_smtp_path_domain(a->rcpt) : FERRY_SLICE("");
}

/* -- of the sender, and what MAIL said -- */

static const struct ferry_smtp_mail_params *params_of(const struct ferry__mail_about *a)
{
    static const struct ferry_smtp_mail_params none;
    const struct ferry_smtp_envelope *e = envelope_of(a);

    return e->params ? e->params : &none;
}

GET(mail_from)
{
    (void)buf;
    return text_of(envelope_of(a)->from);
}

GET(mail_from_raw)
{
    const struct ferry_smtp_path *from = envelope_of(a)->from;

    (void)buf;
    return from ? ferry_slice(from->raw, from->raw_len) : FERRY_SLICE("");
}

GET(mail_auth)
{
    (void)buf;
    return ferry_slice_z(params_of(a)->auth);
}

GET(mail_ret)
{
    enum ferry_smtp_ret ret = params_of(a)->ret;

    (void)buf;
    return ret == FERRY_SMTP_RET_FULL   ? FERRY_SLICE("FULL")
           : ret == FERRY_SMTP_RET_HDRS ? FERRY_SLICE("HDRS")
                                        : FERRY_SLICE("");
}

GET(envid)
{
    (void)buf;
    return ferry_slice_z(params_of(a)->envid);
}

GET(smtputf8)
{
    (void)buf;
    return flag(params_of(a)->smtputf8);
}

GET(body_type)
{
    enum ferry_smtp_body body = params_of(a)->body;

    (void)buf;
    return body == FERRY_SMTP_8BITMIME     ? FERRY_SLICE("8BITMIME")
           : body == FERRY_SMTP_BINARYMIME ? FERRY_SLICE("BINARYMIME")
                                           : FERRY_SLICE("7BIT");
}

GET(size_declared)
{
    return params_of(a)->has_size ? number(buf, params_of(a)->size) : FERRY_SLICE("");
}

/* -- of the session -- */

#define GET_TEXT(name, from)                                                                       \
    GET(name)                                                                                      \
    {                                                                                              \
        (void)buf;                                                                                 \
        return ferry_slice_z(from);                                                                \
    }

static struct ferry_slice port(char *buf, unsigned n)
{
    return n ? number(buf, n) : FERRY_SLICE("");
}

GET_TEXT(helo, a->facts->helo)
GET_TEXT(helo_verb, a->facts->helo_verb)
GET_TEXT(remote_ip, a->facts->client_ip)
GET_TEXT(remote_name, a->facts->client_name)
GET_TEXT(remote_name_status, a->facts->name_status)
GET_TEXT(listener, a->facts->service->name)
GET_TEXT(protocol, a->facts->protocol)
GET_TEXT(transaction_id, a->facts->id)
GET_TEXT(session_id, a->facts->session_id)
GET_TEXT(origin_queue_id, a->facts->origin_id)

GET(helo_valid)
{
    (void)buf;
    return flag(a->facts->helo_valid);
}

GET(remote_port)
{
    return port(buf, a->facts->client_port);
}

GET(peer_ip)
{
    return ferry_slice(buf, ferry_addr_host(&a->facts->peer, buf, BUF_MAX));
}

GET(peer_port)
{
    return port(buf, ferry_addr_port(&a->facts->peer));
}

GET(server_ip)
{
    return ferry_slice(buf, ferry_addr_host(&a->facts->server, buf, BUF_MAX));
}

GET(server_port)
{
    return port(buf, ferry_addr_port(&a->facts->server));
}

GET(origin)
{
    (void)buf;
    switch (a->facts->origin) {
#define X(name, text)                                                                              \
    case FERRY_MAIL_ORIGIN_##name:                                                                 \
        return FERRY_SLICE(text);
        FERRY_MAIL_ORIGIN_MAP(X)
#undef X
    }
    return FERRY_SLICE("");
}

GET(msg_seq)
{
    return number(buf, envelope_of(a)->number);
}

GET(received_at)
{
    time_t s = (time_t)(a->facts->time_us / 1000000);
    struct tm tm;
    char *at = buf;

    if (!gmtime_r(&s, &tm))
        return FERRY_SLICE("");
    at += strftime(at, BUF_MAX / 2, "%Y-%m-%dT%H:%M:%S.", &tm);
    at = ferry__put_u64(at, (uint64_t)(a->facts->time_us % 1000000), 6);
    *at++ = 'Z';
    return ferry_slice(buf, (size_t)(at - buf));
}

GET(stage)
{
    static const char *const stages[] = {
        [FERRY_MAIL_VALIDATE] = "rcpt", [FERRY_MAIL_SAVE] = "save", [FERRY_MAIL_AUTH] = "auth"};

    (void)buf;
    return ferry_slice_z(stages[a->question]);
}

GET_TEXT(ferry_version, (a ? FERRY_VERSION : ""))
GET_TEXT(api, (a ? "1" : ""))

/* -- of TLS and AUTH -- */

GET(tls_on)
{
    (void)buf;
    return a->facts->tls->on ? FERRY_SLICE("true") : FERRY_SLICE("false");
}

GET_TEXT(tls_version, a->facts->tls->version)
GET_TEXT(tls_cipher, a->facts->tls->cipher)
GET_TEXT(tls_sni, a->facts->tls->sni)
GET_TEXT(tls_client_subject, a->facts->tls->client_subject)
GET_TEXT(tls_client_issuer, a->facts->tls->client_issuer)
GET_TEXT(tls_client_fingerprint_sha256, a->facts->tls->client_sha256)

GET(tls_bits)
{
    return a->facts->tls->on ? number(buf, (uint64_t)a->facts->tls->bits) : FERRY_SLICE("");
}

GET(tls_client_verified)
{
    (void)buf;
    return flag(a->facts->tls->client_verified);
}

GET_TEXT(auth_user, a->sasl ? a->sasl->user : a->facts->auth_user)
GET_TEXT(auth_mech,
         a->sasl ? ferry_smtp_mechanism_name(a->sasl->mechanism) : a->facts->auth_mechanism)
GET_TEXT(auth_identity, a->sasl ? a->sasl->identity : "")
GET_TEXT(password, a->sasl ? a->sasl->password : "")

/* -- of the message -- */

#define HEADER(name) (a->message ? a->message->header.name : NULL)

GET_TEXT(subject, HEADER(subject))
GET_TEXT(subject_raw, HEADER(subject_raw))
GET_TEXT(message_id, HEADER(message_id))
GET_TEXT(header_from, HEADER(from))
GET_TEXT(header_to, HEADER(to))
GET_TEXT(header_date, HEADER(date))
GET_TEXT(body_sha256, a->sha256)
GET_TEXT(body_encoding, a->packed ? "zlib" : "")

GET(subject_count)
{
    return number(buf, a->message ? a->message->header.subjects : 0);
}

GET(subject_truncated)
{
    (void)buf;
    return flag(a->message && a->message->header.subject_cut);
}

GET(header_ok)
{
    (void)buf;
    return flag(a->message && a->message->header.sound);
}

GET(size)
{
    return number(buf, a->size);
}

GET(message_key)
{
    if (!a->message)
        return FERRY_SLICE("");
    if (!a->one)
        return ferry_slice_z(a->message->key);
    ferry_mail_message_rcpt_key(a->message, a->facts->envelope, a->one, buf);
    return ferry_slice(buf, FERRY_MAIL_KEY_LEN);
}

GET(received_count)
{
    return number(buf, a->message ? a->message->header.received : 0);
}

/* -- of each recipient -- */

struct rcpt {
    const struct ferry_smtp_rcpt *in_envelope; /* NULL: it is only asked about */
    unsigned notify;
    const char *orcpt;
};

#define GET_N(name)                                                                                \
    static struct ferry_slice get_##name(const struct ferry__mail_about *a, const struct rcpt *r,  \
                                         char *buf)

GET_N(rcpt_to_n)
{
    (void)a;
    (void)buf;
    return text_of(r->in_envelope->path);
}

GET_N(rcpt_key_n)
{
    if (!a->message)
        return FERRY_SLICE("");
    ferry_mail_message_rcpt_key(a->message, a->facts->envelope, r->in_envelope, buf);
    return ferry_slice(buf, FERRY_MAIL_KEY_LEN);
}

GET_N(orcpt_n)
{
    (void)a;
    (void)buf;
    return ferry_slice_z(r->orcpt);
}

GET_N(notify_n)
{
    static const struct {
        unsigned bit;
        struct ferry_slice text;
    } words[] = {
        {FERRY_SMTP_NOTIFY_NEVER, FERRY_SLICE_INIT("NEVER,")},
        {FERRY_SMTP_NOTIFY_SUCCESS, FERRY_SLICE_INIT("SUCCESS,")},
        {FERRY_SMTP_NOTIFY_FAILURE, FERRY_SLICE_INIT("FAILURE,")},
        {FERRY_SMTP_NOTIFY_DELAY, FERRY_SLICE_INIT("DELAY,")},
    };
    char *at = buf;

    (void)a;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (r->notify & words[i].bit)
            at = ferry__put(at, words[i].text);
    return ferry_slice(buf, at > buf ? (size_t)(at - buf) - 1 : 0);
}

/* -- the table -- */

static const struct row {
    struct ferry_slice field, param;
    unsigned questions, seed;
    struct ferry_slice (*get)(const struct ferry__mail_about *, char *buf);
} rows[] = {
#define X(name, field, param, questions, seed, text)                                               \
    {FERRY_SLICE_INIT(field), FERRY_SLICE_INIT(param), FERRY__OF_##questions, FERRY__OF_##seed,    \
     get_##name},
    FERRY_MAIL_FIELD_MAP(X)
#undef X
};

static const struct rcpt_row {
    struct ferry_slice field, param;
    unsigned questions, seed;
    struct ferry_slice (*get)(const struct ferry__mail_about *, const struct rcpt *, char *buf);
    bool always; /* else only when it has a value */
} rcpt_rows[] = {
#define X(name, field, param, questions, seed, text)                                               \
    {FERRY_SLICE_INIT(field),                                                                      \
     FERRY_SLICE_INIT(param),                                                                      \
     FERRY__OF_##questions,                                                                        \
     FERRY__OF_##seed,                                                                             \
     get_##name,                                                                                   \
     FERRY__OF_##questions == FERRY__OF_S},
    FERRY_MAIL_RCPT_FIELD_MAP(X)
#undef X
};

struct walk {
    const struct ferry__mail_about *about;
    int (*each)(void *arg, const struct ferry__mail_field *);
    void *arg;
    struct ferry_slice list; /* all recipients, to save */
};

static struct ferry_slice numbered(char *buf, struct ferry_slice name, unsigned n)
{
    char *at = ferry__put(buf, name);

    return ferry_slice(buf, (size_t)(ferry__put_u64(at, n, 1) - buf));
}

static int walk_rcpt(const struct walk *w, const struct rcpt *r, unsigned n)
{
    char field[64], param[64], buf[BUF_MAX];
    int err = 0;

    for (size_t i = 0; i < sizeof rcpt_rows / sizeof *rcpt_rows && err == 0; i++) {
        const struct rcpt_row *row = &rcpt_rows[i];
        struct ferry__mail_field f = {.of_seed = row->seed & 1u << w->about->question,
                                      .of_rcpt = true};

        if (!(row->questions & 1u << w->about->question))
            continue;
        f.value = row->get(w->about, r, buf);
        if (!f.value.len && !row->always)
            continue;
        f.field = numbered(field, row->field, n);
        f.param = numbered(param, row->param, n);
        err = w->each(w->arg, &f);
    }
    return err;
}

static int walk_rcpts(const struct walk *w)
{
    const struct ferry__mail_about *a = w->about;
    unsigned n = 0;
    int err = 0;

    if (a->question == FERRY_MAIL_VALIDATE) {
        struct rcpt r = {.notify = a->rcpt_params ? a->rcpt_params->notify : 0,
                         .orcpt = a->rcpt_params ? a->rcpt_params->orcpt : ""};

        return walk_rcpt(w, &r, 0);
    }
    if (a->question != FERRY_MAIL_SAVE)
        return 0;
    for (const struct ferry_smtp_rcpt *at = a->one ? a->one : envelope_of(a)->rcpts; at && err == 0;
         at = a->one ? NULL : at->next) {
        struct rcpt r = {.in_envelope = at, .notify = at->notify, .orcpt = at->orcpt};

        err = walk_rcpt(w, &r, n++);
    }
    return err;
}

static int walk_rows(const struct walk *w)
{
    const struct ferry__mail_about *a = w->about;
    char buf[BUF_MAX];
    int err = 0;

    for (size_t i = 0; i < sizeof rows / sizeof *rows && err == 0; i++) {
        struct ferry__mail_field f = {
            .field = rows[i].field,
            .param = rows[i].param,
            .of_seed = rows[i].seed & 1u << a->question,
            .of_rcpt = rows[i].get == get_rcpt_to && a->question == FERRY_MAIL_SAVE,
        };

        if (!(rows[i].questions & 1u << a->question))
            continue;
        f.value = f.of_rcpt ? w->list : rows[i].get(a, buf);
        err = w->each(w->arg, &f);
        if (err == 0 && rows[i].get == get_rcpt_to)
            err = walk_rcpts(w);
    }
    explicit_bzero(buf, sizeof buf);
    return err;
}

/* Recipients, one a line. NULL: no memory. */
static char *list_of(const struct ferry__mail_about *a, size_t *len)
{
    const struct ferry_smtp_rcpt *first = a->one ? a->one : envelope_of(a)->rcpts;
    size_t room = 1;
    char *list, *at;

    for (const struct ferry_smtp_rcpt *r = first; r; r = a->one ? NULL : r->next)
        room += r->path->len + 1u;
    list = at = malloc(room);
    if (!list)
        return NULL;
    for (const struct ferry_smtp_rcpt *r = first; r; r = a->one ? NULL : r->next) {
        if (at > list)
            *at++ = '\n';
        at = ferry__put(at, text_of(r->path));
    }
    *len = (size_t)(at - list);
    return list;
}

int ferry__mail_fields(const struct ferry__mail_about *a,
                       int (*each)(void *arg, const struct ferry__mail_field *), void *arg)
{
    struct walk w = {.about = a, .each = each, .arg = arg};
    char *list = NULL;
    int err;

    if (a->question == FERRY_MAIL_SAVE) {
        list = list_of(a, &w.list.len);
        if (!list)
            return -ENOMEM;
        w.list.p = list;
    }
    err = walk_rows(&w);
    free(list);
    return err;
}
