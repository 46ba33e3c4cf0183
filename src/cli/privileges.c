/* SPDX-License-Identifier: MIT */
/*
 * Becoming somebody who may do less. What was asked for is done whole or is an error: a server that
 * meant to be another user and is still root is the worst of all outcomes.
 */
#include "cli/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/slice.h"

static bool is_number(const char *text, uint64_t *out)
{
    return ferry_slice_u64(ferry_slice_z(text), UINT32_MAX - 1, out) == 0;
}

static int find_user(const char *user, struct ferry_identity *id, bool *has_group, char *why,
                     size_t cap)
{
    const struct passwd *pw;
    uint64_t n;

    if (is_number(user, &n)) {
        pw = getpwuid((uid_t)n);
        id->uid = (uid_t)n;
    } else {
        pw = getpwnam(user);
        if (!pw)
            return snprintf(why, cap, "there is no user %s", user), FERRY_EUSAGE;
        id->uid = pw->pw_uid;
    }
    *has_group = pw != NULL;
    if (pw) {
        id->gid = pw->pw_gid;
        snprintf(id->name, sizeof id->name, "%s", pw->pw_name);
    }
    return 0;
}

static int find_group(const char *group, struct ferry_identity *id, char *why, size_t cap)
{
    const struct group *gr;
    uint64_t n;

    if (is_number(group, &n)) {
        id->gid = (gid_t)n;
        return 0;
    }
    gr = getgrnam(group);
    if (!gr)
        return snprintf(why, cap, "there is no group %s", group), FERRY_EUSAGE;
    id->gid = gr->gr_gid;
    return 0;
}

int ferry_identity_find(const char *user, const char *group, struct ferry_identity *id, char *why,
                        size_t cap)
{
    bool has_group = false;
    int err;

    *id = (struct ferry_identity){.set = user || group, .uid = geteuid(), .gid = getegid()};
    if (!id->set)
        return 0;
    err = user ? find_user(user, id, &has_group, why, cap) : 0;
    if (err == 0 && group)
        err = find_group(group, id, why, cap);
    if (err < 0)
        return err;
    if (!has_group && !group && user)
        return snprintf(why, cap, "user %s has no group of its own here; name one too", user),
               FERRY_EUSAGE;
    if (geteuid() != 0) {
        if (id->uid != geteuid() || id->gid != getegid())
            return snprintf(why, cap, "only root can become another user or group"), FERRY_EUSAGE;
        id->set = false; /* that is who we are */
        return 0;
    }
    if (id->uid == 0 || id->gid == 0)
        return snprintf(why, cap, "user and group must be others than root's"), FERRY_EUSAGE;
    return 0;
}

int ferry_identity_take(const struct ferry_identity *id)
{
    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;

    if (!id->set)
        return 0;
    if ((id->name[0] ? initgroups(id->name, id->gid) : setgroups(0, NULL)) < 0 ||
        setresgid(id->gid, id->gid, id->gid) < 0 || setresuid(id->uid, id->uid, id->uid) < 0 ||
        getresuid(&ruid, &euid, &suid) < 0 || getresgid(&rgid, &egid, &sgid) < 0)
        return -errno;
    if (ruid != id->uid || euid != id->uid || suid != id->uid || rgid != id->gid ||
        egid != id->gid || sgid != id->gid || setuid(0) == 0)
        return -EPERM;
    return 0;
}
