/* SPDX-License-Identifier: MIT */
#ifndef FERRY_GATE_ACCESS_LOG_H
#define FERRY_GATE_ACCESS_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "ferry/err.h"

/*
 * The access log: one line per request in the combined format, with the time of the request, the
 * time of the application (both in seconds) and the reason it ended behind it:
 *
 *   127.0.0.1 - - [21/Nov/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 12 "-" "curl/7.88" 0.004211
 *   0.003970 -
 */

/*
 * Or as one JSON object a line, with the same in members: time (ISO 8601), client, user, method,
 * target, protocol, host, status, bytes, referer, agent, seconds, app_seconds, end; a member that
 * would be empty is null. Bytes that are no UTF-8 become U+FFFD.
 */

/* X(name, word): why a request ended; what ended as it should has "-" */
#define FERRY_ACCESS_END_MAP(X)                                                                    \
    X(OK, "-")                                                                                     \
    X(CLIENT_GONE, "client-gone")     /* the client left before its answer was complete */         \
    X(SLOW_CLIENT, "slow-client")     /* it sent or read too slowly */                             \
    X(BAD_REQUEST, "bad-request")     /* it broke HTTP */                                          \
    X(LIMIT, "limit")                 /* a size or number was past its limit */                    \
    X(APP_DOWN, "app-down")           /* no connection to the application */                       \
    X(APP_REFUSED, "app-refused")     /* the application declined: overloaded, unknown role */     \
    X(APP_BAD, "app-bad")             /* it broke FastCGI or CGI */                                \
    X(APP_CUT, "app-cut")             /* it left before its answer was complete */                 \
    X(APP_TIMEOUT, "app-timeout")     /* it was silent for too long */                             \
    X(QUEUE_TIMEOUT, "queue-timeout") /* waited too long for a free connection */                  \
    X(QUEUE_FULL, "queue-full")                                                                    \
    X(FILE_CUT, "file-cut") /* the file became shorter while it was sent */                        \
    X(SHUTDOWN, "shutdown") /* ferry stopped */                                                    \
    X(INTERNAL, "internal") /* ferry's own failure: out of memory, descriptors */

enum ferry_access_end {
#define X(name, word) FERRY_ACCESS_##name,
    FERRY_ACCESS_END_MAP(X)
#undef X
};

const char *ferry_access_end_word(enum ferry_access_end); /* static memory */

#define FERRY_ACCESS_NO_APP UINT64_MAX

enum ferry_access_format { FERRY_ACCESS_COMBINED, FERRY_ACCESS_JSON };

/* One request. Empty slices are written as "-". */
struct ferry_access {
    enum ferry_access_format format;
    struct ferry_slice client;         /* address without port; empty for unix sockets */
    struct ferry_slice user;           /* authenticated, or empty */
    struct ferry_slice method, target; /* as sent; no method: a request that could not be read */
    struct ferry_slice host;           /* in JSON only */
    struct ferry_slice referer, agent;
    uint8_t minor;  /* HTTP/1.minor */
    int status;     /* 0 when nothing was answered: written 000 */
    uint64_t bytes; /* of response body */
    int64_t time_s; /* now, in seconds since 1970 */
    uint64_t request_us;
    uint64_t app_us; /* or FERRY_ACCESS_NO_APP */
    enum ferry_access_end end;
};

/* Where lines go: one per process. */
struct ferry_access_log {
    int fd; /* -1: off */
    bool terminal;
    char *path;                 /* of a file, else NULL */
    _Atomic uint64_t lost;      /* lines that no one was told about */
    _Atomic uint64_t losing_ms; /* since when lines are lost; 0: none are */
};

/*
 * `where` is a file (appended to, made with mode 0640), "-" for stderr, or "off". 0 or -errno. A
 * file may be a pipe: its reader never blocks ferry.
 */
FERRY_MUST_CHECK
int ferry_access_log_open(struct ferry_access_log *, const char *where);
void ferry_access_log_close(struct ferry_access_log *); /* any number of times */

/*
 * Opens the file again after it was renamed. The descriptor keeps its number, so that threads may
 * write meanwhile. 0, or -errno and the old file stays open.
 */
FERRY_MUST_CHECK
int ferry_access_log_reopen(struct ferry_access_log *);

#define FERRY_ACCESS_LINE_MAX 4096
#define FERRY_ACCESS_BUF_SIZE 16384
#define FERRY_ACCESS_BUF_KEEP_MS 100

/* The lines of one thread that are not yet written. */
struct ferry_access_buf {
    struct ferry_access_log *log;
    size_t len;
    uint64_t due_ms;  /* when `data` is to be written */
    uint64_t dropped; /* lines lost because they could not be written, since news were asked for */
    bool written;     /* since then, all that waited was written */
    int err;          /* of the last write: 0 or -errno */
    int64_t stamp_s;
    size_t stamp_len;
    char stamp[40]; /* of that second */
    char data[FERRY_ACCESS_BUF_SIZE];
};

void ferry_access_buf_init(struct ferry_access_buf *, struct ferry_access_log *);

/*
 * Adds a line of at most FERRY_ACCESS_LINE_MAX bytes; long fields are cut with "...". In fields,
 * quotes, backslashes, control bytes and bytes above 0x7E become \xHH. Writes first when the buffer
 * is full. Lines that cannot be written wait while there is room, and are then dropped and counted.
 */
void ferry_access_buf_add(struct ferry_access_buf *, const struct ferry_access *, uint64_t now_ms);

/* When to call flush: FERRY_ACCESS_BUF_KEEP_MS after the first line, at once for a terminal;
 * UINT64_MAX when nothing waits. */
static inline uint64_t ferry_access_buf_due(const struct ferry_access_buf *b)
{
    return b->len ? b->due_ms : UINT64_MAX;
}

/* Writes what waits: 0, or -errno when some still does. */
int ferry_access_buf_flush(struct ferry_access_buf *, uint64_t now_ms);

#define FERRY_ACCESS_LOSING_MS 10000

/*
 * What the operator is to be told, asked after lines were added or written. LOSING: a line was
 * lost, for the reason in `err`. RESUMED: lines are written again, `*lost` were lost. Each comes to
 * one of the threads that share the log, and there are FERRY_ACCESS_LOSING_MS between the two, so
 * that a log that comes and goes says no more than that.
 */
enum ferry_access_news { FERRY_ACCESS_NO_NEWS, FERRY_ACCESS_LOSING, FERRY_ACCESS_RESUMED };
enum ferry_access_news ferry_access_buf_news(struct ferry_access_buf *, uint64_t now_ms,
                                             uint64_t *lost);

/* The last of a thread: writes what can be written. How many lines of the log were lost and not
 * told about. */
uint64_t ferry_access_buf_end(struct ferry_access_buf *, uint64_t now_ms);

#endif
