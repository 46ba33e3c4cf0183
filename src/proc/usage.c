/* SPDX-License-Identifier: MIT */
/*
 * What process groups use, in one pass over /proc for all of them. A program may be a wrapper whose
 * child does the work, so its whole group is looked at; CPU time is added up, and memory is not,
 * since that of forked children is mostly the same memory.
 */
#include "proc/usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int by_group(const void *a, const void *b)
{
    pid_t x = ((const struct ferry__usage *)a)->group, y = ((const struct ferry__usage *)b)->group;

    return (x > y) - (x < y);
}

/* Fields 5, 14 to 17 and 24 of proc(5); the name before them may hold anything. CPU in ticks,
 * memory in pages. */
static int parse(const char *text, struct ferry__usage *out)
{
    const char *at = strrchr(text, ')');
    unsigned long long user, system;
    long long child_user, child_system, pages;
    int group;

    if (!at || sscanf(at + 1,
                      " %*c %*d %d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %lld %lld %*d %*d %*d "
                      "%*d %*u %*u %lld",
                      &group, &user, &system, &child_user, &child_system, &pages) != 6)
        return -EPROTO;
    out->group = group;
    out->cpu_ms = user + system + (uint64_t)child_user + (uint64_t)child_system;
    out->rss = pages > 0 ? (uint64_t)pages : 0;
    return 0;
}

static int read_process(int proc, const char *pid, struct ferry__usage *out)
{
    char name[32], text[1024];
    ssize_t n;
    int fd;

    if ((size_t)snprintf(name, sizeof name, "%s/stat", pid) >= sizeof name)
        return -ENAMETOOLONG;
    fd = openat(proc, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return -ESRCH;
    text[n] = '\0';
    return parse(text, out);
}

int ferry__usage_read(struct ferry__usage *groups, unsigned n)
{
    long hz = sysconf(_SC_CLK_TCK), page = sysconf(_SC_PAGESIZE);
    struct dirent *e;
    DIR *proc;

    for (unsigned i = 0; i < n; i++)
        groups[i].cpu_ms = groups[i].rss = 0;
    if (n == 0)
        return 0;
    proc = opendir("/proc");
    if (!proc)
        return -errno;
    while ((e = readdir(proc))) {
        struct ferry__usage one, *to;

        if (e->d_name[0] < '1' || e->d_name[0] > '9' ||
            read_process(dirfd(proc), e->d_name, &one) < 0)
            continue;
        to = bsearch(&one, groups, n, sizeof *groups, by_group);
        if (!to)
            continue;
        to->cpu_ms += one.cpu_ms * 1000 / (hz > 0 ? (uint64_t)hz : 100);
        one.rss *= page > 0 ? (uint64_t)page : 4096;
        if (one.rss > to->rss)
            to->rss = one.rss;
    }
    closedir(proc);
    return 0;
}
