/* SPDX-License-Identifier: MIT */
/*
 * What an operator should know (section 7): peers that broke the protocol or were not let in, and
 * mistakes in the environment. A peer can do wrong as often as it likes, so what is told of peers
 * has a rate.
 */
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

#include "app/app.h"

#define TEXT_MAX 512
#define WINDOW_MS 10000
#define WINDOW_MAX 10 /* lines about peers */

/* Names of sockets hold what bytes they like. */
static void to_syslog(const char *text)
{
    char clean[4 * TEXT_MAX + 1];
    size_t n = 0;

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= ' ' && c != 0x7f)
            clean[n++] = *text;
        else
            n += (size_t)snprintf(clean + n, sizeof clean - n, "\\x%02x", c);
    }
    clean[n] = 0;
    syslog(LOG_DAEMON | LOG_WARNING, "%s", clean);
}

static void tell(struct ferry_app *app, const char *text)
{
    if (app->opts.report)
        app->opts.report(app, text);
    else
        to_syslog(text);
}

void ferry__report(struct ferry_app *app, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tell(app, text);
}

/* May one more line be told? `*kept` is how many were not since the last. */
static bool has_rate(struct ferry_app *app, unsigned *kept)
{
    struct ferry__report_rate *rate = &app->rate;
    uint64_t now = ferry_loop_now(app->loop);

    *kept = rate->kept;
    if (now - rate->since_ms >= WINDOW_MS || rate->told == 0) {
        rate->since_ms = now;
        rate->told = 0;
    }
    if (rate->told == WINDOW_MAX) {
        rate->kept++;
        return false;
    }
    rate->told++;
    rate->kept = 0;
    return true;
}

void ferry__report_peer(struct ferry_app *app, int fd, const char *what)
{
    char peer[FERRY_ADDR_TEXT_MAX] = "somebody";
    struct ferry_addr addr;
    unsigned kept;

    if (!has_rate(app, &kept))
        return;
    if (ferry_addr_peer(fd, &addr) == 0)
        ferry_addr_format(&addr, peer, sizeof peer);
    if (kept)
        ferry__report(app, "%s: %s (and %u more before)", peer, what, kept);
    else
        ferry__report(app, "%s: %s", peer, what);
}
