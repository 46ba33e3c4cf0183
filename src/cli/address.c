/* SPDX-License-Identifier: MIT */
/* Why an address cannot be listened on, and what to do about it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "io/addr.h"

/* " (process 17, php-cgi)", or nothing when that process has ended since. */
static void name_process(pid_t pid, char *out, size_t cap)
{
    char path[64], name[32] = "";
    ssize_t n = -1;
    int fd;

    *out = 0;
    if (pid <= 0)
        return;
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, name, sizeof name - 1);
        close(fd);
    }
    if (n <= 0)
        return;
    name[strcspn(name, "\n")] = 0;
    snprintf(out, cap, " (process %d, %s)", (int)pid, name);
}

static void explain(const struct ferry_addr *a, int err, pid_t holder, const char *option,
                    char *out, size_t cap)
{
    bool is_tcp = a->fd < 0 && a->any.sa_family != AF_UNIX;
    char who[64];
    struct stat st;

    if (a->fd >= 0 && (err == -EBADF || err == -EINVAL)) {
        snprintf(out, cap, err == -EBADF ? "it is not open" : "it does not listen");
    } else if (err == -EADDRNOTAVAIL) {
        snprintf(out, cap, "this machine does not have that address");
    } else if (err == -EACCES && is_tcp && ferry_addr_port(a) < 1024) {
        snprintf(out, cap, "ports below 1024 are root's; choose another one%s", option);
    } else if (err != -EADDRINUSE) {
        snprintf(out, cap, "%s", ferry_strerror(err));
    } else if (a->any.sa_family == AF_UNIX && a->un.sun_path[0] &&
               lstat(a->un.sun_path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        snprintf(out, cap, "there is a file that is no socket");
    } else {
        name_process(holder, who, sizeof who);
        snprintf(out, cap, "another program%s already does; stop it, or choose another address%s",
                 who, option);
    }
}

void ferry_cli_cannot_listen(const struct ferry_addr *a, int err, pid_t holder, const char *option)
{
    char text[FERRY_ADDR_TEXT_MAX], why[256];

    ferry_addr_format(a, text, sizeof text);
    explain(a, err, holder, option, why, sizeof why);
    ferry_cli_say("cannot listen on %s: %s", text, why);
}
