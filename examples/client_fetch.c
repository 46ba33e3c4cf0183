/* SPDX-License-Identifier: MIT */
/*
 * client_fetch ADDRESS SCRIPT [NAME=VALUE]... [BODY]: one request to an application, and its
 * answer. What has a = in it is a param, anything else a body.
 *
 *     client_fetch unix:/run/php/php8.2-fpm.sock /srv/hello.php QUERY_STRING=a=b
 *
 * The answer goes to standard output, the application's errors to standard error. Ends with 0 when
 * there was an answer, whatever its status.
 */
#include <stdio.h>
#include <string.h>

#include "ferry/client.h"

#define PARAMS_MAX 100

static struct ferry_slice text(const char *z)
{
    return (struct ferry_slice){z, strlen(z)};
}

static int show(const struct ferry_answer *answer)
{
    fprintf(stderr, "%.*s", (int)answer->errors.len, answer->errors.p);
    if (answer->outcome.result != FERRY_RESULT_DONE) {
        fprintf(stderr, "client_fetch: %s: %s\n", ferry_result_text(answer->outcome.result),
                answer->outcome.text);
        return 1;
    }
    printf("%d\n", answer->head.status);
    for (unsigned i = 0; i < answer->head.nfields; i++) {
        const struct ferry_param *f = &answer->head.fields[i];

        printf("%.*s: %.*s\n", (int)f->name.len, f->name.p, (int)f->value.len, f->value.p);
    }
    printf("\n");
    fwrite(answer->body.p, 1, answer->body.len, stdout);
    return 0;
}

/* "NAME=VALUE" as a param. */
static bool read_param(const char *arg, struct ferry_param *out)
{
    const char *eq = strchr(arg, '=');

    if (!eq)
        return false;
    out->name = (struct ferry_slice){arg, (size_t)(eq - arg)};
    out->value = text(eq + 1);
    return true;
}

int main(int argc, char **argv)
{
    struct ferry_param params[PARAMS_MAX] = {FERRY_PARAM("GATEWAY_INTERFACE", "CGI/1.1"),
                                             FERRY_PARAM("REQUEST_METHOD", "GET")};
    struct ferry_fetch fetch = {.params = params, .nparams = 3};
    struct ferry_client_opts opts = {FERRY_CLIENT_OPTS_SIZE, .total_ms = 30000};
    struct ferry_client *client;
    struct ferry_answer *answer;
    int status = 1, err;

    if (argc < 3 || argc > PARAMS_MAX) {
        fprintf(stderr, "usage: client_fetch ADDRESS SCRIPT [NAME=VALUE]... [BODY]\n");
        return 64;
    }
    params[2] = (struct ferry_param){text("SCRIPT_FILENAME"), text(argv[2])};
    for (int i = 3; i < argc; i++)
        if (read_param(argv[i], &params[fetch.nparams]))
            fetch.nparams++;
        else
            fetch.body = text(argv[i]);
    if (fetch.body.len)
        params[1].value = text("POST");
    opts.address = argv[1];
    err = ferry_client_new(&opts, &client);
    if (err < 0) {
        fprintf(stderr, "client_fetch: %s: %s\n", argv[1],
                err == FERRY_EUSAGE ? ferry_client_why() : ferry_strerror(err));
        return 64;
    }
    err = ferry_client_fetch(client, &fetch, &answer);
    if (err == 0)
        status = show(answer);
    else
        fprintf(stderr, "client_fetch: %s\n", ferry_strerror(err));
    ferry_answer_free(answer);
    ferry_client_free(client);
    return status;
}
