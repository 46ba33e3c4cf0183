/* SPDX-License-Identifier: MIT */
/*
 * Drafts of requests: from the words of a command line to params and their records. The params are
 * written twice: by the gateway's own mapping first, and once more with the changes that were asked
 * for.
 */
#include "call/draft.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cgi/request.h"

int ferry__draft_fail(struct ferry_draft *d, int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(d->why, sizeof d->why, fmt, ap);
    va_end(ap);
    return err < 0 ? err : FERRY_ECUT;
}

static int no_memory(struct ferry_draft *d)
{
    return ferry__draft_fail(d, -ENOMEM, "no memory is left");
}

char *ferry__draft_alloc(struct ferry_draft *d, size_t n)
{
    size_t cap = d->texts_cap ? d->texts_cap * 2 : 16;
    void *grown;
    char *text;

    if (d->ntexts == d->texts_cap) {
        grown = realloc(d->texts, cap * sizeof *d->texts);
        if (!grown) {
            no_memory(d);
            return NULL;
        }
        d->texts = grown;
        d->texts_cap = cap;
    }
    text = malloc(n ? n : 1);
    if (!text) {
        no_memory(d);
        return NULL;
    }
    d->texts[d->ntexts++] = text;
    return text;
}

char *ferry__draft_print(struct ferry_draft *d, const char *fmt, ...)
{
    va_list ap;
    char *out;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    out = n < 0 ? NULL : ferry__draft_alloc(d, (size_t)n + 1);
    if (!out)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(out, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return out;
}

void ferry_draft_fini(struct ferry_draft *d)
{
    ferry_payload_fini(&d->body);
    ferry_payload_fini(&d->data);
    for (size_t i = 0; i < d->ntexts; i++)
        free(d->texts[i]);
    free(d->texts);
    free(d->edits);
    free(d->params);
    *d = (struct ferry_draft){0};
}

/* -- headers and params
 * ------------------------------------------------------------------------------------------------
 */

static int check_header(struct ferry_draft *d, const char *text, struct ferry_slice name,
                        struct ferry_slice value)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = ferry_ascii_lower(name.p[i]);

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-')
            return ferry__draft_fail(d, FERRY_EUSAGE,
                                     "-H %s: a name is made of letters, digits and dashes; -e sets "
                                     "a param of any name",
                                     text);
    }
    for (size_t i = 0; i < value.len; i++)
        if (((unsigned char)value.p[i] < 0x20 && value.p[i] != '\t') || value.p[i] == 0x7f)
            return ferry__draft_fail(d, FERRY_EUSAGE, "-H %.*s: a value has no control characters",
                                     (int)name.len, name.p);
    return 0;
}

int ferry_draft_header(struct ferry_draft *d, const char *text)
{
    struct ferry_slice all = ferry_slice_z(text), name, value;
    size_t colon = ferry_slice_find(all, ':');
    int err;

    if (colon < all.len) {
        name = ferry_slice_first(all, colon);
        value = ferry_slice_trim(ferry_slice_from(all, colon + 1));
        if (!value.len)
            value.p = NULL;
    } else if (all.len && all.p[all.len - 1] == ';') {
        name = ferry_slice_first(all, all.len - 1);
        value = FERRY_SLICE("");
    } else {
        return ferry__draft_fail(d, FERRY_EUSAGE,
                                 "-H %s: must be 'Name: value', 'Name:' or 'Name;'", text);
    }
    if (!name.len || name.len > FERRY_CGI_FIELD_NAME_MAX)
        return ferry__draft_fail(d, FERRY_EUSAGE, "-H %s: the name is %s", text,
                                 name.len ? "too long" : "empty");
    err = check_header(d, text, name, value);
    if (err < 0)
        return err;
    if (d->nfields == FERRY_DRAFT_FIELDS_MAX)
        return ferry__draft_fail(d, FERRY_ELIMIT, "-H %s: there is room for %d headers", text,
                                 FERRY_DRAFT_FIELDS_MAX);
    d->fields[d->nfields++] = (struct ferry_param){name, value};
    return 0;
}

int ferry_draft_cookie(struct ferry_draft *d, const char *text)
{
    const char head[] = "Cookie: ";
    size_t len = strlen(text);
    char *line;

    if (!strchr(text, '='))
        return ferry__draft_fail(d, FERRY_EUSAGE, "-b %s: must be name=value", text);
    line = ferry__draft_alloc(d, sizeof head + len);
    if (!line)
        return -ENOMEM;
    memcpy(line, head, sizeof head - 1);
    memcpy(line + sizeof head - 1, text, len + 1);
    return ferry_draft_header(d, line);
}

int ferry_draft_param(struct ferry_draft *d, const char *text)
{
    struct ferry_slice all = ferry_slice_z(text);
    size_t equals = ferry_slice_find(all, '=');
    struct ferry_draft_edit edit = {ferry_slice_first(all, equals),
                                    ferry_slice_from(all, equals + 1), false};
    void *grown;

    if (equals == all.len && all.len > 1 && text[0] == '-') {
        edit.name = ferry_slice_from(all, 1);
        edit.remove = true;
    } else if (equals == all.len || equals == 0) {
        return ferry__draft_fail(d, FERRY_EUSAGE, "-e %s: must be NAME=VALUE, NAME= or -NAME",
                                 text);
    }
    grown = realloc(d->edits, (d->nedits + 1) * sizeof edit);
    if (!grown)
        return no_memory(d);
    d->edits = grown;
    d->edits[d->nedits++] = edit;
    return 0;
}

/* -- sealing
 * ------------------------------------------------------------------------------------------------
 */

/* What the params are made of, beside the draft. */
struct sealing {
    struct ferry_cgi_request r;
    struct ferry_param fields[FERRY_DRAFT_FIELDS_MAX + 6];
    char data_length[24], modified[24];
};

static const struct ferry_param *find_field(const struct ferry_draft *d, const char *name)
{
    for (unsigned i = 0; i < d->nfields; i++)
        if (ferry_slice_eq_nocase(d->fields[i].name, ferry_slice_z(name)))
            return &d->fields[i];
    return NULL;
}

/* A header that is there unless it was given or taken away. */
static void add_default(const struct ferry_draft *d, struct sealing *s, const char *name,
                        struct ferry_slice value)
{
    if (value.p && !find_field(d, name))
        s->fields[s->r.nfields++] = (struct ferry_param){ferry_slice_z(name), value};
}

/* RFC 7617. */
static struct ferry_slice basic(struct ferry_draft *d)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)d->user;
    size_t len = strlen(d->user), n = 6;
    char *out = ferry__draft_alloc(d, 6 + 4 * (len / 3 + 1));

    if (!out)
        return ferry_slice(NULL, 0);
    memcpy(out, "Basic ", 6);
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < len ? (uint32_t)p[i + 1] << 8 : 0) |
                     (i + 2 < len ? p[i + 2] : 0);

        out[n++] = digits[v >> 18];
        out[n++] = digits[v >> 12 & 63];
        out[n++] = i + 1 < len ? digits[v >> 6 & 63] : '=';
        out[n++] = i + 2 < len ? digits[v & 63] : '=';
    }
    return ferry_slice(out, n);
}

static int name_fields(struct ferry_draft *d, struct sealing *s)
{
    const char *agent = d->agent ? d->agent : "ferry/" FERRY_VERSION;
    struct ferry_slice none = {0};

    s->r.fields = s->fields;
    add_default(d, s, "Host", FERRY_SLICE("localhost"));
    if (d->user) {
        struct ferry_slice value = basic(d);

        if (!value.p)
            return -ENOMEM;
        add_default(d, s, "Authorization", value);
    }
    add_default(d, s, "User-Agent", *agent ? ferry_slice_z(agent) : none);
    add_default(d, s, "Accept", d->json ? FERRY_SLICE("application/json") : FERRY_SLICE("*/*"));
    add_default(d, s, "Content-Type", d->get ? none : d->type);
    for (unsigned i = 0; i < d->nfields; i++)
        if (d->fields[i].value.p)
            s->fields[s->r.nfields++] = d->fields[i];
    return 0;
}

static void name_server(struct ferry_draft *d, struct sealing *s)
{
    struct ferry_slice host = FERRY_SLICE("localhost");
    size_t colon;

    for (unsigned i = 0; i < s->r.nfields; i++)
        if (ferry_slice_eq_nocase(s->fields[i].name, FERRY_SLICE("Host")))
            host = s->fields[i].value;
    colon = host.len;
    while (colon > 0 && host.p[colon - 1] >= '0' && host.p[colon - 1] <= '9')
        colon--;
    s->r.server_port = FERRY_SLICE("80");
    if (colon > 0 && host.p[colon - 1] == ':') {
        if (colon < host.len)
            s->r.server_port = ferry_slice_from(host, colon);
        host.len = colon - 1;
    }
    s->r.server_name = host;
    s->r.server_addr = s->r.remote_addr = FERRY_SLICE("127.0.0.1");
    s->r.remote_port = FERRY_SLICE("0");
    s->r.server_software = FERRY_SLICE("ferry/" FERRY_VERSION);
    s->r.protocol = FERRY_SLICE("HTTP/1.1");
    s->r.scheme = FERRY_SLICE("http");
    s->r.method = ferry_slice_z(d->method                               ? d->method
                                : d->head                               ? "HEAD"
                                : !d->kind || d->get                    ? "GET"
                                : strcmp(d->kind, "--upload-file") == 0 ? "PUT"
                                                                        : "POST");
}

static int open_data(struct ferry_draft *d, struct sealing *s, struct ferry_param *out, size_t *n)
{
    struct stat st;
    int err;

    if (d->role != FERRY_FILTER)
        return d->data_file
                   ? ferry__draft_fail(d, FERRY_EUSAGE, "a DATA stream is for filters only")
                   : 0;
    if (!d->data_file)
        return ferry__draft_fail(d, FERRY_EUSAGE, "--role filter needs --data FILE");
    err = ferry_payload_add_file(&d->data, d->data_file);
    if (err < 0)
        return ferry__draft_fail(d, err, "cannot read %s: %s", d->data_file, ferry_strerror(err));
    snprintf(s->data_length, sizeof s->data_length, "%llu", (unsigned long long)d->data.len);
    if (d->data.n == 0 || fstat(d->data.pieces[0].fd, &st) < 0)
        st.st_mtime = 0;
    snprintf(s->modified, sizeof s->modified, "%lld", (long long)st.st_mtime);
    out[(*n)++] =
        (struct ferry_param){FERRY_SLICE_INIT("FCGI_DATA_LAST_MOD"), ferry_slice_z(s->modified)};
    out[(*n)++] =
        (struct ferry_param){FERRY_SLICE_INIT("FCGI_DATA_LENGTH"), ferry_slice_z(s->data_length)};
    return 0;
}

/* The pairs of an image, whose values lie in its records without a break, or in a copy. */
static int read_params(struct ferry_draft *d, const char *p, size_t n)
{
    char *flat = ferry__draft_alloc(d, n);
    struct ferry_record record;
    size_t len = 0, cap = 0;
    struct ferry_param pair;
    ssize_t took;

    if (!flat)
        return -ENOMEM;
    while (n >= FERRY_RECORD_HEADER_LEN &&
           ferry_record_decode(p, n, &record) == FERRY_RECORD_HEADER_LEN) {
        if (record.type == FERRY_PARAMS) {
            memcpy(flat + len, p + FERRY_RECORD_HEADER_LEN, record.content_len);
            len += record.content_len;
        }
        took = FERRY_RECORD_HEADER_LEN + record.content_len + record.padding_len;
        p += took;
        n -= (size_t)took;
    }
    for (size_t at = 0; at < len; at += (size_t)took) {
        took = ferry_param_decode(flat + at, len - at, len, &pair);
        if (took <= 0)
            return ferry__draft_fail(d, FERRY_EPROTOCOL, "the params cannot be read back");
        if (d->nparams == cap) {
            void *grown = realloc(d->params, (cap = cap ? 2 * cap : 64) * sizeof pair);

            if (!grown)
                return no_memory(d);
            d->params = grown;
        }
        d->params[d->nparams++] = pair;
    }
    return 0;
}

static size_t find_param(const struct ferry_draft *d, struct ferry_slice name)
{
    size_t i = 0;

    while (i < d->nparams && !ferry_slice_eq(d->params[i].name, name))
        i++;
    return i;
}

struct ferry_slice ferry_draft_value(const struct ferry_draft *d, const char *name)
{
    size_t i = find_param(d, ferry_slice_z(name));

    return i < d->nparams ? d->params[i].value : ferry_slice(NULL, 0);
}

static void remove_param(struct ferry_draft *d, struct ferry_slice name)
{
    size_t i = find_param(d, name);

    if (i < d->nparams)
        memmove(&d->params[i], &d->params[i + 1], (--d->nparams - i) * sizeof *d->params);
}

static int edit_params(struct ferry_draft *d)
{
    void *grown = realloc(d->params, (d->nparams + d->nedits + 1) * sizeof *d->params);

    if (!grown)
        return no_memory(d);
    d->params = grown;
    /* Section 6.3 of the specification. */
    if (d->role == FERRY_AUTHORIZER) {
        remove_param(d, FERRY_SLICE("CONTENT_LENGTH"));
        remove_param(d, FERRY_SLICE("PATH_INFO"));
        remove_param(d, FERRY_SLICE("PATH_TRANSLATED"));
        remove_param(d, FERRY_SLICE("SCRIPT_NAME"));
    }
    for (size_t i = 0; i < d->nedits; i++) {
        const struct ferry_draft_edit *edit = &d->edits[i];
        size_t at = find_param(d, edit->name);

        if (edit->remove) {
            remove_param(d, edit->name);
            continue;
        }
        d->nparams += at == d->nparams;
        d->params[at] = (struct ferry_param){edit->name, edit->value};
    }
    return 0;
}

static int write_image(struct ferry_draft *d)
{
    struct ferry_params_writer w;
    size_t len = 0, room;
    ssize_t n;
    char *mem;

    for (size_t i = 0; i < d->nparams; i++)
        len += ferry_param_size(d->params[i].name.len, d->params[i].value.len);
    room = ferry_params_room(len);
    mem = ferry__draft_alloc(d, room);
    if (!mem)
        return -ENOMEM;
    ferry_params_open(&w, mem, room, 1);
    ferry_params_begin_request(&w, (uint16_t)d->role, 0);
    for (size_t i = 0; i < d->nparams; i++)
        ferry_params_add(&w, d->params[i].name, d->params[i].value);
    n = ferry_params_close(&w, d->body.len == 0);
    if (n < 0)
        return ferry__draft_fail(d, (int)n, "the params are too long: %s", ferry_strerror((int)n));
    d->image = ferry_slice(mem, (size_t)n);
    return 0;
}

static int map_request(struct ferry_draft *d, struct sealing *s)
{
    struct ferry_params_writer w;
    size_t room = ferry_cgi_params_room(&s->r);
    char *mem = ferry__draft_alloc(d, room);
    ssize_t n;

    if (!mem)
        return -ENOMEM;
    ferry_params_open(&w, mem, room, 1);
    ferry_params_begin_request(&w, (uint16_t)d->role, 0);
    ferry_cgi_params(&s->r, &w);
    if (d->kind && !d->get)
        ferry_cgi_content_length(&w, d->body.len);
    n = ferry_params_close(&w, 1);
    if (n < 0)
        return ferry__draft_fail(d, (int)n, "the params are too long: %s", ferry_strerror((int)n));
    return read_params(d, mem, (size_t)n);
}

static int check(struct ferry_draft *d)
{
    if (!d->role)
        d->role = FERRY_RESPONDER;
    if (d->role == FERRY_AUTHORIZER && d->kind)
        return ferry__draft_fail(d, FERRY_EUSAGE, "%s: an authorizer gets no body", d->kind);
    if (d->get && d->kind && strcmp(d->kind, "--data") != 0)
        return ferry__draft_fail(d, FERRY_EUSAGE, "-G and %s cannot be used together", d->kind);
    if (d->method && (!*d->method || strpbrk(d->method, " \t\r\n")))
        return ferry__draft_fail(d, FERRY_EUSAGE, "-X '%s': is no method", d->method);
    return ferry__draft_end_parts(d);
}

int ferry_draft_seal(struct ferry_draft *d)
{
    struct sealing s = {0};
    struct ferry_param extra[2];
    size_t nextra = 0;
    int err = check(d);

    if (err == 0)
        err = ferry__draft_target(d, &s.r);
    if (err == 0)
        err = name_fields(d, &s);
    if (err == 0)
        err = open_data(d, &s, extra, &nextra);
    if (err < 0)
        return err;
    name_server(d, &s);
    s.r.set = extra;
    s.r.nset = (unsigned)nextra;
    err = map_request(d, &s);
    if (err == 0)
        err = edit_params(d);
    return err < 0 ? err : write_image(d);
}
