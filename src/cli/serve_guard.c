/* SPDX-License-Identifier: MIT */
/*
 * The guards of `ferry serve`: where it starts an application itself, nothing of that outlives its
 * master, and neither do the files that the master would have removed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/serve.h"
#include "proc/guard.h"

#define APP_DIR_MAX 256
#define GRACE_MS 5000 /* as the master gives an application */

/* Where the application's files are, in memory that is shared with the guards. */
static char *app_dir;

void ferry_serve_tell_guards(const struct ferry_serve *s)
{
    const char *path = s->app_addr.un.sun_path, *slash = strrchr(path, '/');

    if (app_dir && s->has_app && slash) /* its socket is in a directory of its own */
        snprintf(app_dir, APP_DIR_MAX, "%.*s", (int)(slash - path), path);
}

static void master_died(void *arg, int sig)
{
    (void)arg;
    ferry_cli_say("the master was ended by signal %d (%s); what it started is ended", sig,
                  strsignal(sig));
}

/* There is nothing but files in it. */
static void remove_app_dir(void)
{
    DIR *dir = app_dir && *app_dir ? opendir(app_dir) : NULL;
    struct dirent *e;

    if (!dir)
        return;
    while ((e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(app_dir);
}

static void tidy(void *arg)
{
    remove_app_dir();
    ferry_serve_remove_sockets(arg);
}

int ferry_serve_guarded(struct ferry_serve *s)
{
    struct ferry_guard_opts guards = {
        .grace_ms = GRACE_MS, .fd = -1, .died = master_died, .tidy = tidy, .arg = s};
    int code = 0;

    if (!s->spawn && !s->wants_php)
        return ferry_serve_master(s);
    app_dir = mmap(NULL, APP_DIR_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (app_dir == MAP_FAILED)
        app_dir = NULL;
    return ferry_cli_guards(&guards, &code) ? code : ferry_serve_master(s);
}
