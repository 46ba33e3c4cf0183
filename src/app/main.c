/* SPDX-License-Identifier: MIT */
/* The main function of a small program: everything in its order, and on stderr what went wrong. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "app/app.h"

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name, what, *what ? ": " : "", why);
    return 1;
}

static int serve(struct ferry_app *app, const char *address)
{
    int status = ferry_app_listen(app, address);

    if (status < 0)
        return complain(address ? address : "", ferry_app_why(app));
    if ((status = ferry_app_stop_on(app, SIGTERM)) < 0 ||
        (status = ferry_app_stop_on(app, SIGINT)) < 0 || (status = ferry_app_run(app)) < 0)
        return complain("", ferry_strerror(status));
    return status;
}

int ferry_app_main(const struct ferry_app_opts *opts, const char *address)
{
    struct ferry_app *app;
    int status = ferry_app_new(opts, &app);

    if (status == FERRY_EUSAGE)
        return complain("cannot start", "an unknown option, or FCGI_WEB_SERVER_ADDRS is no list of "
                                        "addresses");
    if (status < 0)
        return complain("cannot start", ferry_strerror(status));
    status = serve(app, address);
    ferry_app_free(app);
    return status;
}
