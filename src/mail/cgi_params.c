/* SPDX-License-Identifier: MIT */
/*
 * Params of a request. They describe a request of HTTP/1.1 as far as scripts look at that, and
 * never say HTTPS: what they know of TLS is the mail client's (MAIL_TLS). Recipients stand here
 * only when no form carries them, each in a param of its own: php-fpm takes no pair that spans two
 * records, so no value may grow with their number.
 */
#include "mail/cgi_params.h"

#include <errno.h>
#include <stdlib.h>

#include "base/text.h"

struct target {
    struct ferry_exchange *x;
    const struct ferry__mail_request *rq;
};

/* Never in the middle of a character. */
static struct ferry_slice cut(struct ferry_slice s, size_t max)
{
    if (s.len <= max)
        return s;
    while (max && ((unsigned char)s.p[max] & 0xc0) == 0x80)
        max--;
    return ferry_slice_first(s, max);
}

static int add_field(void *arg, const struct ferry__mail_field *f)
{
    const struct target *t = arg;
    size_t max = f->of_rcpt ? FERRY__MAIL_LIST_PARAM_MAX : FERRY__MAIL_PARAM_MAX;

    if (!f->param.len || (f->of_rcpt && (t->rq->has_form || f->value.len > max)))
        return 0;
    return ferry_exchange_param(t->x, f->param, cut(f->value, max));
}

static const char *name_of(const char *script)
{
    const char *slash = strrchr(script, '/');

    return slash ? slash : script;
}

/* SCRIPT_NAME and REQUEST_URI: as if the script's folder were the document root. */
static int add_names(struct ferry_exchange *x, const struct ferry__mail_request *rq)
{
    struct ferry_slice name = ferry_slice_z(name_of(rq->script));
    size_t cap = name.len + rq->query.len + 3;
    char *uri = malloc(cap), *at = uri;
    int err;

    if (!uri)
        return -ENOMEM;
    if (!ferry_slice_starts(name, FERRY_SLICE("/")))
        *at++ = '/';
    at = ferry__put(at, name);
    err = ferry_exchange_param(x, FERRY_SLICE("SCRIPT_NAME"), ferry_slice(uri, (size_t)(at - uri)));
    if (rq->query.len) {
        *at++ = '?';
        at = ferry__put(at, rq->query);
    }
    if (err == 0)
        err = ferry_exchange_param(x, FERRY_SLICE("REQUEST_URI"),
                                   ferry_slice(uri, (size_t)(at - uri)));
    free(uri);
    return err;
}

static int add_cgi(struct ferry_exchange *x, const struct ferry__mail_request *rq)
{
    const struct ferry_mail_facts *facts = rq->about->facts;
    const char *hostname = facts->service->hostname;
    char length[FERRY_U64_TEXT_MAX + 1];
    const struct {
        const char *name, *value;
    } params[] = {
        {"SCRIPT_FILENAME", rq->script},
        {"REQUEST_METHOD", rq->type ? "POST" : "GET"},
        {"CONTENT_TYPE", rq->type ? rq->type : ""},
        {"CONTENT_LENGTH", length},
        {"GATEWAY_INTERFACE", "CGI/1.1"},
        {"SERVER_SOFTWARE", "ferry/" FERRY_VERSION},
        {"SERVER_PROTOCOL", "HTTP/1.1"},
        {"SERVER_NAME", hostname ? hostname : "localhost"},
        {"REMOTE_ADDR", facts->client_ip},
        {"REDIRECT_STATUS", "200"}, /* php-cgi refuses to run without it */
    };
    int err = 0;

    *ferry__put_u64(length, rq->length, 1) = 0;
    for (size_t i = 0; i < sizeof params / sizeof *params && err == 0; i++)
        err = ferry_exchange_param_z(x, params[i].name, params[i].value);
    if (err == 0 && facts->auth_user[0])
        err = ferry_exchange_param_z(x, "REMOTE_USER", facts->auth_user);
    return err == 0 ? ferry_exchange_param(x, FERRY_SLICE("QUERY_STRING"), rq->query) : err;
}

int ferry__mail_params(struct ferry_exchange *x, const struct ferry__mail_request *rq)
{
    struct target t = {x, rq};
    int err = add_cgi(x, rq);

    err = err < 0 ? err : add_names(x, rq);
    return err < 0 ? err : ferry__mail_fields(rq->about, add_field, &t);
}
