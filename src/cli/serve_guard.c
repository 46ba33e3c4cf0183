/* SPDX-License-Identifier: MIT */
/*
 * The guards of `ferry serve` and `ferry run`: where an application may be started, nothing of that
 * outlives its master, and neither do the files that the master would have removed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "proc/guard.h"

#define PATHS_MAX 512
#define PATH_LEN 128  /* of a unix socket, or of a folder for one */
#define GRACE_MS 5000 /* as the master gives an application */

/* Where our files are, in memory that is shared with the guards. */
static char (*paths)[PATH_LEN];

void ferry_engine_tell_guards(const char *path, bool there)
{
    const char *find = there ? "" : path;

    if (!paths || !*path || strlen(path) >= PATH_LEN)
        return;
    for (unsigned i = 0; i < PATHS_MAX; i++)
        if (strcmp(paths[i], find) == 0) {
            snprintf(paths[i], PATH_LEN, "%s", there ? path : "");
            return;
        }
}

static void master_died(void *arg, int sig)
{
    (void)arg;
    ferry_cli_say("the master was ended by signal %d (%s); what it started is ended", sig,
                  strsignal(sig));
}

/* There is nothing but files in it. */
static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;

    if (!dir)
        return;
    while ((e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(path);
}

static void remove_socket(const char *path)
{
    struct ferry_addr addr;
    const char *why;
    char text[PATH_LEN + 8];

    snprintf(text, sizeof text, "unix:%s", path);
    if (ferry_addr_parse(text, true, &addr, &why) == 0)
        ferry_listen_remove(&addr);
}

static void tidy(void *arg)
{
    const struct ferry_engine *e = arg;
    struct stat st;

    for (unsigned i = 0; paths && i < PATHS_MAX; i++)
        if (*paths[i] && lstat(paths[i], &st) == 0) {
            if (S_ISDIR(st.st_mode))
                remove_dir(paths[i]);
            else if (S_ISSOCK(st.st_mode))
                remove_socket(paths[i]);
        }
    if (e->config->pid_file)
        unlink(e->config->pid_file);
}

static void repeat(void *arg)
{
    struct ferry_engine *e = arg;

    ferry_systemd_repeat(&e->systemd);
}

int ferry_engine_guarded(struct ferry_engine *e)
{
    struct ferry_guard_opts guards = {
        .grace_ms = GRACE_MS, .died = master_died, .readable = repeat, .tidy = tidy, .arg = e};
    int code = 0;

    ferry_systemd_open(&e->systemd);
    guards.fd = e->systemd.theirs;
    paths = mmap(NULL, PATHS_MAX * sizeof *paths, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (paths == MAP_FAILED)
        paths = NULL;
    if (ferry_cli_guards(&guards, &code) == 0)
        return ferry_engine_run(e);
    ferry_config_free(e->config);
    return code;
}
