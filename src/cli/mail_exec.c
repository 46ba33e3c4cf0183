/* SPDX-License-Identifier: MIT */
/*
 * `ferry mail` is a program of its own, since it is linked with libraries that nobody else needs:
 * it lies beside this one, or where it was installed.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "ferry/err.h"

#define PROGRAM "ferry-mail"

/* Runs it where it lies from our own folder; returns -errno when it cannot. */
static int try(const char *where, char **argv)
{
    char own[PATH_MAX], path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    char *slash;

    if (n <= 0)
        return -ENOENT;
    own[n] = 0;
    slash = strrchr(own, '/');
    if (!slash)
        return -ENOENT;
    slash[1] = 0;
    if (snprintf(path, sizeof path, "%s%s", *where == '/' ? "" : own, where) >= (int)sizeof path)
        return -ENAMETOOLONG;
    execv(path, argv);
    return -errno;
}

int ferry_cli_mail(int argc, char **argv)
{
    static const char *const places[] = {PROGRAM, "../libexec/ferry/" PROGRAM,
                                         FERRY_LIBEXEC "/" PROGRAM};
    int err = -ENOENT;

    (void)argc;
    argv[0] = (char[]){PROGRAM};
    for (size_t i = 0; err == -ENOENT && i < sizeof places / sizeof *places; i++)
        err = try(places[i], argv);
    if (err == -ENOENT)
        ferry_cli_say("the program " PROGRAM " is not there, which runs 'ferry mail': it belongs "
                      "beside ferry, or into " FERRY_LIBEXEC);
    else
        ferry_cli_say("cannot run " PROGRAM ": %s", ferry_strerror(err));
    return FERRY_EXIT_FAILED;
}
