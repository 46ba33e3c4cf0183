/* SPDX-License-Identifier: MIT */
/* Why `ferry call` has no answer to show, and what somebody who types it can do. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/call.h"
#include "cli/cli.h"

/* Whose a socket is that we may not connect to. */
static void say_owner(const char *address, const char *path)
{
    const struct passwd *user;
    const struct group *group;
    struct stat st;

    if (stat(path, &st) < 0) {
        ferry_cli_say("cannot reach %s: %s may not look into the folder", address,
                      "the user who calls");
        return;
    }
    user = getpwuid(st.st_uid);
    group = getgrgid(st.st_gid);
    ferry_cli_say("cannot reach %s: it is for user %s and group %s (mode %04o); call as one of "
                  "these, or with sudo",
                  address, user ? user->pw_name : "?", group ? group->gr_name : "?",
                  (unsigned)st.st_mode & 07777);
}

static void say_unix(const char *address, const char *path, int err)
{
    struct stat st;

    if (err == -ENOENT)
        ferry_cli_say("cannot reach %s: there is no such socket; start the application, or give "
                      "the address that it listens on",
                      address);
    else if (err == -EACCES || err == -EPERM)
        say_owner(address, path);
    else if (err == -ECONNREFUSED && *path && stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        ferry_cli_say("cannot reach %s: this is no socket", address);
    else if (err == -ECONNREFUSED)
        ferry_cli_say("cannot reach %s: nobody listens on this socket any more; start the "
                      "application",
                      address);
    else
        ferry_cli_say("cannot reach %s: %s", address, ferry_strerror(err));
}

static void say_refused(const struct ferry_cli_call *call, int err)
{
    const struct ferry_addr *a = &call->addr;

    if (err == -EAGAIN)
        ferry_cli_say("cannot reach %s: its queue of connections is full; it is busy, or hangs",
                      call->address);
    else if (err == -ETIMEDOUT)
        ferry_cli_say("cannot reach %s: no connection within %u ms; does a firewall drop it?",
                      call->address, call->connect_ms);
    else if (a->any.sa_family == AF_UNIX)
        say_unix(call->address, a->un.sun_path, err);
    else if (err == -ECONNREFUSED)
        ferry_cli_say("cannot reach %s: nothing listens on this port; start the application, or "
                      "give the address that it listens on",
                      call->address);
    else
        ferry_cli_say("cannot reach %s: %s", call->address, ferry_strerror(err));
}

static void say_refusal(const struct ferry_cli_call *call, const struct ferry_outcome *o)
{
    const char *status = ferry_protocol_status_name((unsigned)o->protocol_status);

    ferry_cli_say("the application at %s refused the request: %s", call->address,
                  status ? status : "an unknown protocol status");
}

void ferry_cli_call_failed(const struct ferry_cli_call *call, const struct ferry_outcome *o)
{
    const char *role = ferry_role_name(call->draft.role);

    if (call->silent)
        return;
    switch (o->result) {
    case FERRY_RESULT_REFUSED:
        say_refused(call, o->err);
        break;
    case FERRY_RESULT_TIMEOUT:
        ferry_cli_say("no whole answer from %s within %u ms (-m)", call->address, call->total_ms);
        break;
    case FERRY_RESULT_BAD_ROLE:
        ferry_cli_say("the application at %s does not play the role %s (UNKNOWN_ROLE)",
                      call->address, role ? role : "?");
        break;
    case FERRY_RESULT_OVERLOADED:
        ferry_cli_say("the application at %s takes no more requests now (OVERLOADED)",
                      call->address);
        break;
    case FERRY_RESULT_BAD:
        ferry_cli_say("what %s sends is no FastCGI: %s; --records shows it", call->address,
                      o->text);
        break;
    case FERRY_RESULT_CANCELLED:
        ferry_cli_say("%s: %s", o->text, ferry_strerror(o->err));
        break;
    default:
        if (o->protocol_status > 0)
            say_refusal(call, o);
        else if (o->err == FERRY_ECUT || o->err == FERRY_ECLOSED)
            ferry_cli_say("%s: %s; its own log may tell why", call->address, o->text);
        else
            ferry_cli_say("%s: %s (%s)", call->address, o->text, ferry_strerror(o->err));
    }
}
