/* SPDX-License-Identifier: MIT */
/*
 * app_libfcgi SOCKET PROCESSES: examples/hello.c as it is written with libfcgi, for measuring it. A
 * process serves one connection at a time, so there have to be as many as connections are kept.
 */
#include <fcgiapp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static char filler[1 << 20];

static void handle(FCGX_Request *r)
{
    const char *uri = FCGX_GetParam("REQUEST_URI", r->envp);

    if (uri && strncmp(uri, "/bytes/", 7) == 0) {
        unsigned long long left = strtoull(uri + 7, NULL, 10);

        FCGX_FPrintF(r->out, "Content-Type: text/plain\r\nContent-Length: %lu\r\n\r\n",
                     (unsigned long)left);
        while (left > 0) {
            int n = left < sizeof filler ? (int)left : (int)sizeof filler;

            if (FCGX_PutStr(filler, n, r->out) < 0)
                break;
            left -= (unsigned)n;
        }
    } else {
        static const char hello[] =
            "Content-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello, ferry";

        FCGX_PutStr(hello, sizeof hello - 1, r->out);
    }
    FCGX_Finish_r(r);
}

int main(int argc, char **argv)
{
    int processes = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1, fd;
    FCGX_Request r;

    if (argc < 2 || FCGX_Init() || (fd = FCGX_OpenSocket(argv[1], 128)) < 0)
        return 1;
    memset(filler, '.', sizeof filler);
    while (--processes > 0)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            break;
        }
    signal(SIGTERM, SIG_DFL);
    FCGX_InitRequest(&r, fd, 0);
    while (FCGX_Accept_r(&r) == 0)
        handle(&r);
    return 0;
}
