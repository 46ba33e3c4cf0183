/* SPDX-License-Identifier: MIT */
/*
 * authorizer [ADDRESS]: says who may come in (FastCGI 1.0 section 6.3). Read it from the bottom up.
 *
 * A web server asks it before it serves a page. The answer 200 lets the request pass, and its
 * variables go to whatever serves the page; any other answer is shown instead of the page. Here
 * people log in with a name and a password (RFC 7617): ann with "secret", bob with "hunter2", who
 * may not come in.
 *
 * Web servers that know no authorizers can ask it too, as an ordinary application: nginx with
 * auth_request. It then tells the name in a header.
 */
#include <stdbool.h>
#include <string.h>

#include "ferry/app.h"

/* What a browser sends is "Basic " and name:password in base64. A program of yours would look the
 * name up, and compare a hash of the password. */
static const struct {
    const char *sent, *name;
    bool may_enter;
} people[] = {
    {"Basic YW5uOnNlY3JldA==", "ann", true},
    {"Basic Ym9iOmh1bnRlcjI=", "bob", false},
};

/* Takes the same time wherever they differ, so that nobody finds a password letter by letter. */
static bool is_same(const char *a, const char *b)
{
    size_t n = strlen(a);
    unsigned differ = 0;

    if (strlen(b) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        differ |= (unsigned)(a[i] ^ b[i]);
    return differ == 0;
}

static void let_in(struct ferry_request *r, const char *name)
{
    ferry_request_status(r, 200);
    if (ferry_request_role(r) == FERRY_AUTHORIZER) {
        ferry_request_variable(r, "REMOTE_USER", name);
        ferry_request_variable(r, "AUTH_TYPE", "Basic");
    } else {
        ferry_request_header(r, "Remote-User", name);
    }
    ferry_request_finish(r, 0);
}

static void keep_out(struct ferry_request *r, int status, const char *why)
{
    ferry_request_status(r, status);
    if (status == 401)
        ferry_request_header(r, "WWW-Authenticate",
                             "Basic realm=\"the harbour\", charset=\"UTF-8\"");
    ferry_request_header(r, "Content-Type", "text/plain; charset=utf-8");
    ferry_request_printf(r, "%s\n", why);
    ferry_request_finish(r, 0);
}

static void handle(struct ferry_request *r)
{
    const char *sent = ferry_request_param_z(r, "HTTP_AUTHORIZATION");

    for (size_t i = 0; sent && i < sizeof people / sizeof *people; i++) {
        if (!is_same(sent, people[i].sent))
            continue;
        if (people[i].may_enter) {
            let_in(r, people[i].name);
        } else {
            ferry_request_log(r, "%s was kept out", people[i].name);
            keep_out(r, 403, "You may not come in.");
        }
        return;
    }
    keep_out(r, 401, "Who are you?");
}

int main(int argc, char **argv)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;

    opts.handle = handle;
    opts.roles = 1 << FERRY_AUTHORIZER | 1 << FERRY_RESPONDER;
    return ferry_app_main(&opts, argc > 1 ? argv[1] : NULL);
}
