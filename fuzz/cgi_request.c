/* SPDX-License-Identifier: MIT */
/*
 * A request made from lines of "member byte, value" and header fields. The params must fit the room
 * that was promised, read back, and be of names that no client can choose freely; what they say is
 * compared with a slow and simple reading of the fields.
 */
#include "cgi/request.h"

#include <stdlib.h>

#include "ferry/record.h"

#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

#define FIELDS_MAX (FERRY_CGI_REQUEST_FIELDS_MAX + 2)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool name_becomes(struct ferry_slice name, struct ferry_slice param)
{
    if (param.len != name.len + 5 || memcmp(param.p, "HTTP_", 5) != 0)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i] == '-' ? '_' : name.p[i];

        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        if (c != param.p[i + 5] || name.p[i] == '_')
            return false;
    }
    return true;
}

/* A param that fields made: each is there once, holds the first field's value in front and as many
 * bytes as all of them together. */
static void check_field(const struct ferry_cgi_request *r, const struct ferry_param *p)
{
    static const char *const never[] = {"HTTP_PROXY",      "HTTP_CONTENT_LENGTH",
                                        "HTTP_CONNECTION", "HTTP_CONTENT_TYPE",
                                        "HTTP_TE",         "HTTP_TRANSFER_ENCODING"};
    const struct ferry_param *first = NULL;
    size_t len = 0;

    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        check(!ferry_slice_eq(p->name, ferry_slice_z(never[i])));
    check(!ferry_slice_starts(p->name, FERRY_SLICE("HTTP_PROXY_")));
    for (size_t i = 5; i < p->name.len; i++)
        check((p->name.p[i] >= 'A' && p->name.p[i] <= 'Z') ||
              (p->name.p[i] >= '0' && p->name.p[i] <= '9') || p->name.p[i] == '_');
    if (ferry_slice_eq(p->name, FERRY_SLICE("HTTP_HOST")) && r->target.len &&
        r->target.p[0] != '/' && ferry_slice_find(r->target, ':') < r->target.len)
        return; /* the authority */
    for (unsigned i = 0; i < r->nfields; i++) {
        if (!name_becomes(r->fields[i].name, p->name))
            continue;
        len += (first ? 2 : 0) + r->fields[i].value.len;
        if (!first)
            first = &r->fields[i];
    }
    check(first && p->value.len == len);
    check(ferry_slice_starts(p->value, first->value));
}

static unsigned check_pairs(const struct ferry_cgi_request *r, const char *pairs, size_t n)
{
    struct ferry_param params[FIELDS_MAX + 64];
    unsigned nparams = 0;
    size_t at = 0;

    while (at < n) {
        ssize_t took = ferry_param_decode(pairs + at, n - at, n, &params[nparams]);

        check(took > 0);
        at += (size_t)took;
        for (unsigned i = 0; i < nparams; i++)
            check(!ferry_slice_eq(params[i].name, params[nparams].name));
        if (ferry_slice_starts(params[nparams].name, FERRY_SLICE("HTTP_")))
            check_field(r, &params[nparams]);
        nparams++;
        check(nparams < sizeof params / sizeof *params);
    }
    check(at == n);
    return nparams;
}

static void check_stream(const struct ferry_cgi_request *r, const char *p, size_t n)
{
    char *pairs = malloc(n);
    size_t at = 0, have = 0;

    check(pairs);
    while (at < n) {
        size_t len = (size_t)(uint8_t)p[at + 4] << 8 | (uint8_t)p[at + 5];

        check(n - at >= 8);
        if (p[at + 1] == FERRY_PARAMS) {
            memcpy(pairs + have, p + at + 8, len);
            have += len;
        }
        at += 8 + len + (uint8_t)p[at + 6];
    }
    check(at == n);
    check(check_pairs(r, pairs, have) >= 12);
    free(pairs);
}

static struct ferry_slice take_line(struct ferry_slice *in)
{
    size_t end = ferry_slice_find(*in, '\n');
    struct ferry_slice line = ferry_slice_first(*in, end);

    *in = ferry_slice_from(*in, end + 1);
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_slice in = {(const char *)data, n};
    struct ferry_param fields[FIELDS_MAX];
    struct ferry_cgi_request r = {.fields = fields};
    struct ferry_params_writer w;
    size_t room;
    ssize_t len;
    char *mem;

    r.target = take_line(&in);
    r.query = take_line(&in);
    r.script_name = r.script_filename = take_line(&in);
    r.path_info = take_line(&in);
    r.scheme = r.server_name = r.document_root = take_line(&in);
    while (in.len && r.nfields < FIELDS_MAX) {
        struct ferry_slice line = take_line(&in);
        size_t colon = ferry_slice_find(line, ':');

        fields[r.nfields++] = (struct ferry_param){
            ferry_slice_first(line, colon), ferry_slice_trim(ferry_slice_from(line, colon + 1))};
    }

    room = ferry_cgi_params_room(&r);
    mem = malloc(room);
    check(mem);
    ferry_params_open(&w, mem, room, 1);
    ferry_params_begin_request(&w, FERRY_RESPONDER, 0);
    ferry_cgi_params(&r, &w);
    ferry_cgi_content_length(&w, UINT64_MAX);
    len = ferry_params_close(&w, 1);
    if (r.nfields > FERRY_CGI_REQUEST_FIELDS_MAX) {
        check(len == FERRY_ELIMIT);
    } else {
        check(len > 0 && (size_t)len <= room);
        check_stream(&r, mem, (size_t)len);
    }
    free(mem);
    return 0;
}
