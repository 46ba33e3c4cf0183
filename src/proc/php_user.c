/* SPDX-License-Identifier: MIT */
/*
 * Scripts must not get root's rights because the web server was started by root. Whether a user can
 * read a directory is found out by trying it as that user: modes alone do not tell about parents,
 * ACLs and user namespaces.
 */
#include "proc/php_user.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/spawn.h"

static bool can_read(const char *dir, uid_t uid, gid_t gid)
{
    static const char *const argv[] = {
        "/bin/sh", "-c", "[ -r . ] && { [ ! -e index.php ] || [ -r index.php ]; }", NULL};
    struct ferry_spawn_opts o = FERRY_SPAWN_INIT;
    struct ferry_spawned s;
    int status;
    pid_t pid;

    o.argv = argv;
    o.dir = dir;
    o.switch_user = true;
    o.uid = uid;
    o.gid = gid;
    if (ferry_spawn(&o, &s) < 0)
        return false;
    do
        pid = waitpid(s.pid, &status, 0);
    while (pid < 0 && errno == EINTR);
    close(s.pidfd);
    return pid == s.pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void become(uid_t uid, gid_t gid, const struct passwd *pw, struct ferry_php_user *out)
{
    out->change = true;
    out->uid = uid;
    out->gid = gid;
    if (pw)
        snprintf(out->name, sizeof out->name, "%s", pw->pw_name);
    else
        snprintf(out->name, sizeof out->name, "%u", (unsigned)uid);
    snprintf(out->home, sizeof out->home, "%s", pw ? pw->pw_dir : "/");
}

static bool take(const char *dir, uid_t uid, gid_t gid, const struct passwd *pw,
                 struct ferry_php_user *out)
{
    if (!can_read(dir, uid, gid))
        return false;
    become(uid, gid, pw, out);
    return true;
}

void ferry_php_user_set(uid_t uid, gid_t gid, struct ferry_php_user *out)
{
    struct passwd pw, *found = NULL;
    char buf[4096];

    if (getpwuid_r(uid, &pw, buf, sizeof buf, &found) != 0)
        found = NULL;
    become(uid, gid, found, out);
}

void ferry_php_user_choose(const char *dir, struct ferry_php_user *out)
{
    struct passwd pw, *found = NULL;
    struct stat st;
    char buf[4096];

    *out = (struct ferry_php_user){0};
    if (geteuid() != 0 || stat(dir, &st) < 0)
        return;
    if (st.st_uid != 0) {
        if (getpwuid_r(st.st_uid, &pw, buf, sizeof buf, &found) != 0)
            found = NULL;
        if (take(dir, st.st_uid, found ? found->pw_gid : st.st_gid, found, out))
            return;
    }
    if (getpwnam_r("www-data", &pw, buf, sizeof buf, &found) == 0 && found)
        take(dir, found->pw_uid, found->pw_gid, found, out);
}
