/* SPDX-License-Identifier: MIT */
/*
 * events [ADDRESS [MS]]: tells any number of browsers what happens, as it happens (server-sent
 * events). What happens here is that another second has passed, or so many milliseconds.
 *
 *     GET /         a page that shows it
 *     GET /events   the stream:  curl -N http://localhost:8080/events
 *
 * The handler runs in the loop's thread. It detaches the request and hands it to the publisher, a
 * thread of ours that writes to all of them and waits for none: whoever is too slow misses events,
 * and is told how many. Read it from the bottom up.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ferry/app.h"

#define BEHIND_MAX 4096 /* bytes that wait for a client from which it misses events */

/* One who listens. It lies in the memory of its request, and goes with it. */
struct client {
    struct client *next;
    struct ferry_request *request;
    unsigned missed;
};

/* -- the publisher
 * ------------------------------------------------------------------------------------------------
 */

/* From the loop's thread to the publisher's. Nobody holds the lock for longer than that takes. */
static struct {
    pthread_mutex_t lock;
    struct client *first;
} fresh = {PTHREAD_MUTEX_INITIALIZER, NULL};

static void hand_over(struct client *c)
{
    pthread_mutex_lock(&fresh.lock);
    c->next = fresh.first;
    fresh.first = c;
    pthread_mutex_unlock(&fresh.lock);
}

static void take_fresh(struct client **end)
{
    pthread_mutex_lock(&fresh.lock);
    *end = fresh.first;
    fresh.first = NULL;
    pthread_mutex_unlock(&fresh.lock);
}

/* False when there is nobody to tell any more. */
static bool tell(struct client *c, const char *event)
{
    int is = ferry_request_wait(c->request, FERRY_WAIT_WRITABLE, 0);

    if (is & FERRY_WAIT_ABORT || ferry_app_is_stopping(ferry_request_app(c->request)))
        return false;
    if (!(is & FERRY_WAIT_WRITABLE)) {
        c->missed++;
        return true;
    }
    if (c->missed > 0 &&
        ferry_request_printf(c->request, "event: missed\ndata: %u\n\n", c->missed) < 0)
        return false;
    c->missed = 0;
    return ferry_request_write(c->request, event, strlen(event)) >= 0;
}

static void tell_all(struct client **first, const char *event)
{
    struct client **at = first;

    while (*at) {
        struct client *c = *at, *next = c->next;

        if (tell(c, event)) {
            at = &c->next;
        } else {
            ferry_request_finish(c->request, 0);
            *at = next;
        }
    }
    take_fresh(at);
}

static void *publish(void *arg)
{
    long every_ms = *(const long *)arg;
    struct timespec pause = {every_ms / 1000, every_ms % 1000 * 1000000};
    struct client *clients = NULL;

    for (unsigned long n = 1;; n++) {
        char event[100];
        time_t now = time(NULL);
        struct tm tm;

        gmtime_r(&now, &tm);
        snprintf(event, sizeof event, "id: %lu\ndata: %02d:%02d:%02d\n\n", n, tm.tm_hour, tm.tm_min,
                 tm.tm_sec);
        tell_all(&clients, event);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* -- the handler
 * ------------------------------------------------------------------------------------------------
 */

static void page(struct ferry_request *r)
{
    static const char html[] =
        "<!doctype html>\n"
        "<title>events</title>\n"
        "<h1 id=time>...</h1>\n"
        "<p id=missed></p>\n"
        "<script>\n"
        "const source = new EventSource('events');\n"
        "source.onmessage = e => document.getElementById('time').textContent = e.data;\n"
        "source.addEventListener('missed', e =>\n"
        "    document.getElementById('missed').textContent = e.data + ' missed');\n"
        "</script>\n";

    ferry_request_header(r, "Content-Type", "text/html; charset=utf-8");
    ferry_request_write_ref(r, html, sizeof html - 1, NULL, NULL);
    ferry_request_finish(r, 0);
}

static void stream(struct ferry_request *r)
{
    const char *method = ferry_request_param_z(r, "REQUEST_METHOD");
    struct client *c = ferry_request_alloc(r, sizeof *c);

    ferry_request_header(r, "Content-Type", "text/event-stream");
    ferry_request_header(r, "Cache-Control", "no-store");
    ferry_request_header(r, "X-Accel-Buffering", "no"); /* nginx would keep them for later */
    if (method && strcmp(method, "HEAD") == 0) {
        ferry_request_finish(r, 0);
        return;
    }
    /* A comment, so that the client knows at once that it is connected. */
    ferry_request_write(r, ": hello\n\n", 9);
    if (!c || ferry_request_detach(r) < 0) {
        ferry_request_finish(r, 1);
        return;
    }
    c->request = r;
    hand_over(c);
    /* From here on the request is the publisher's. */
}

static void handle(struct ferry_request *r)
{
    const char *uri = ferry_request_param_z(r, "REQUEST_URI");
    size_t n = uri ? strcspn(uri, "?") : 0;

    if (n >= 7 && memcmp(uri + n - 7, "/events", 7) == 0)
        stream(r);
    else
        page(r);
}

int main(int argc, char **argv)
{
    struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
    long every_ms = argc > 2 ? strtol(argv[2], NULL, 10) : 1000;
    pthread_t publisher;
    sigset_t stop;

    /* The publisher must not take the signals that ferry_app_main waits for. */
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    if (pthread_create(&publisher, NULL, publish, &every_ms) != 0) {
        fprintf(stderr, "events: no thread can be started\n");
        return 1;
    }
    opts.handle = handle;
    opts.conns_max = opts.requests_max = 10000;
    opts.output_mark = BEHIND_MAX;
    return ferry_app_main(&opts, argc > 1 ? argv[1] : NULL);
}
