/* SPDX-License-Identifier: MIT */
/* A program as people write it with libfcgi. Its twin is ferry.c beside it; docs/migrate.md shows
 * both. */
#include <fcgiapp.h>
#include <stdlib.h>

static void handle(FCGX_Request *r)
{
    const char *method = FCGX_GetParam("REQUEST_METHOD", r->envp);
    const char *length = FCGX_GetParam("CONTENT_LENGTH", r->envp);
    long long want = length ? strtoll(length, NULL, 10) : 0, got = 0;
    char some[4096];
    int n;

    while ((n = FCGX_GetStr(some, sizeof some, r->in)) > 0)
        got += n;
    FCGX_FPrintF(r->out, "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n");
    FCGX_FPrintF(r->out, "A %s with %lld bytes.\n", method ? method : "request", got);
    if (got != want)
        FCGX_FPrintF(r->err, "%lld bytes were announced\n", want);
    FCGX_SetExitStatus(got != want, r->out); /* or that of the last request stays */
}

int main(void)
{
    FCGX_Request r;

    if (FCGX_Init() != 0 || FCGX_InitRequest(&r, 0, 0) != 0)
        return 1;
    while (FCGX_Accept_r(&r) == 0) {
        handle(&r);
        FCGX_Finish_r(&r);
    }
    return 0;
}
