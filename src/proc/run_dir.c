/* SPDX-License-Identifier: MIT */
/*
 * Where the sockets of applications are. A directory of our own keeps everybody else away from the
 * socket, and its name can be told to PHP without any quoting.
 */
#include "proc/run_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARENT_MAX 80
#define NAME "/ferry-XXXXXX"

_Static_assert(PARENT_MAX + sizeof NAME <= FERRY__RUN_DIR_MAX &&
                   FERRY__RUN_DIR_MAX + FERRY__RUN_NAME_MAX <= 108,
               "a socket in it can be bound");

static bool is_private(const char *dir)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";
    struct stat st;

    return dir && dir[0] == '/' && strlen(dir) <= PARENT_MAX && strspn(dir, plain) == strlen(dir) &&
           stat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           !(st.st_mode & 077);
}

int ferry__run_dir_make(bool for_other_user, char out[FERRY__RUN_DIR_MAX])
{
    const char *parent = getenv("XDG_RUNTIME_DIR");
    int err = 0;

    /* Another user could not enter ours. */
    if (for_other_user || !is_private(parent))
        parent = "/tmp";
    snprintf(out, FERRY__RUN_DIR_MAX, "%s" NAME, parent);
    if (!mkdtemp(out)) {
        err = -errno;
        out[0] = '\0';
    }
    return err;
}
