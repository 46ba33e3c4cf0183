/* SPDX-License-Identifier: MIT */
#ifndef FERRY_HTTP_HTTP_H
#define FERRY_HTTP_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/machine.h"
#include "base/slice.h"
#include "ferry/err.h"

/*
 * One HTTP/1.0 or 1.1 server connection, strict as RFC 9112 allows. A sans-I/O machine; see
 * base/machine.h for the shape. Requests are handed out one at a time: a pipelined one is not
 * looked at before the response to the one in front of it is finished.
 */

#define FERRY_HTTP_FIELDS_MAX 128

struct ferry_http_field {
    struct ferry_slice name, value;
};

/* X(name, text): methods known by name; all other tokens are OTHER */
#define FERRY_HTTP_METHOD_MAP(X)                                                                   \
    X(GET, "GET")                                                                                  \
    X(HEAD, "HEAD")                                                                                \
    X(POST, "POST")                                                                                \
    X(PUT, "PUT")                                                                                  \
    X(DELETE, "DELETE")                                                                            \
    X(OPTIONS, "OPTIONS")                                                                          \
    X(PATCH, "PATCH")                                                                              \
    X(TRACE, "TRACE")                                                                              \
    X(CONNECT, "CONNECT")

enum ferry_http_method {
    FERRY_HTTP_OTHER,
#define X(name, text) FERRY_HTTP_##name,
    FERRY_HTTP_METHOD_MAP(X)
#undef X
};

struct ferry_http_head {
    enum ferry_http_method method_id;
    struct ferry_slice method; /* as sent; methods are case-sensitive */
    struct ferry_slice target; /* the request target, raw */
    struct ferry_slice host;   /* the Host field (or the authority of an absolute target, which then
                                  stands in that field below too), checked: name or address, perhaps
                                  with a port; empty in HTTP/1.0 without one */
    uint8_t minor;             /* HTTP/1.minor: 0 or 1 */
    bool has_body;             /* a body of at least one byte, or a chunked one, follows */
    bool expects_continue;
    int64_t content_length; /* -1 when the body is chunked; 0 when there is none */
    /* All fields in order, hop-by-hop ones too; names and values trimmed, checked for forbidden
     * bytes. */
    unsigned nfields;
    struct ferry_http_field fields[FERRY_HTTP_FIELDS_MAX];
};

/* Every zero means the default that stands beside it. */
struct ferry_http_opts {
    struct ferry_blocks *blocks; /* outlives the machine */
    uint32_t head_max;           /* request line and fields: 65536 bytes. 431 past it */
    uint32_t target_max; /* the request target: 32768 bytes, never above head_max. 414 past it */
    uint64_t body_max;   /* 1 GiB. 413 past it; a chunked body is counted as it comes */
    uint32_t head_timeout_ms; /* from its first byte to its last, 30 000: 408. Stops slow heads */
    uint32_t
        idle_timeout_ms; /* between requests and before the first, 60 000: closed without a word */
    uint32_t body_grace_ms; /* 30 000; then a body must come at ... */
    uint32_t body_rate_min; /* ... 500 bytes per second on average, and some byte within twice the
                               grace: 408. Stops slow bodies */
    uint32_t send_stall_ms; /* output waits and not one byte leaves for 60 000: cut. Stops slow
                               readers */
    uint32_t
        linger_ms; /* after the last response, unread input is read and dropped this long: 2000 */
    uint32_t half_close_ms; /* how long a client that sends no more may wait for a response to begin
                               before it counts as gone: 2000 */
    uint32_t requests_max;  /* per connection: unlimited */
};

/* X(name) */
#define FERRY_HTTP_EVENT_MAP(X)                                                                    \
    X(HEAD) /* head: a request. A response is due, whatever follows */                             \
    X(BODY) /* data: bytes of its body, chunk framing removed */                                   \
    X(END)  /* the request is complete (directly after HEAD when it has no body) */                \
    X(BAD)  /* status: the request cannot be accepted; answer with this status. The connection     \
               closes after it. */                                                                 \
    /* May come after HEAD (bad chunk, 408, 413): if a response was begun, cut it instead. */      \
    X(GONE) /* the client closed or must be dropped (reset is the pump's to tell): no response can \
               be delivered */

enum ferry_http_event_type {
#define X(name) FERRY_HTTP_EV_##name,
    FERRY_HTTP_EVENT_MAP(X)
#undef X
};

struct ferry_http_event {
    enum ferry_http_event_type type;
    int status;      /* BAD */
    const char *why; /* BAD: static text for the log and the error page, e.g. "both Content-Length
                        and Transfer-Encoding" */
    struct ferry_slice
        data; /* BODY: lies in the bytes given to recv, always, and as long as they do */
    /* HEAD: slices live until the next recv and the end of the response (finish, cut). Filled only
     * then; keep one event per thread, it is large. */
    struct ferry_http_head head;
};

struct ferry_http_response {
    int status;
    struct ferry_slice reason; /* empty: the standard phrase */
    struct ferry_slice date;   /* IMF-fixdate; empty: no Date field */
    const struct ferry_http_field
        *fields; /* no framing or hop-by-hop fields: the machine writes those */
    unsigned nfields;
    int64_t content_length; /* -1: not known; the machine chunks, or closes after it for HTTP/1.0 */
    bool close;             /* close the connection after this response */
};

struct ferry_http; /* at most 512 bytes; no other memory is held while no request is under way */

struct ferry_http *ferry_http_new(const struct ferry_http_opts *, uint64_t now_ms);
void ferry_http_free(struct ferry_http *);

extern const struct ferry_machine ferry_http_machine;

/*
 * recv with n == 0 is the client's half-close: requests already complete are still answered when
 * that begins within half_close_ms; after that, and in the middle of a request, it gives GONE. recv
 * never fails: a bad request is a BAD event, and memory that ran out is GONE. It holds back (takes
 * 0) the body until it is wanted, what is behind a request until its response is finished, and a
 * new request while more than 64 KiB of output wait.
 */
FERRY_MUST_CHECK
ssize_t ferry_http_recv(struct ferry_http *, const char *p, size_t n, uint64_t now_ms);
FERRY_MUST_CHECK
int ferry_http_event(struct ferry_http *, struct ferry_http_event *out);
struct ferry_chain *ferry_http_output(struct ferry_http *);
void ferry_http_sent(struct ferry_http *, size_t n, uint64_t now_ms);
uint64_t ferry_http_deadline(const struct ferry_http *);
void ferry_http_tick(struct ferry_http *, uint64_t now_ms);
bool ferry_http_finished(const struct ferry_http *);

/*
 * No more events of a request come after finish or cut; after GONE, respond, write and finish
 * return FERRY_ECLOSED.
 *
 * The body is wanted: sends 100 (Continue) if the client waits for it, and BODY events begin. Until
 * then no byte of the body is taken. Only between HEAD and the end of the response.
 */
void ferry_http_body_start(struct ferry_http *, uint64_t now_ms);

/* Stops and resumes BODY events (back-pressure); while stopped the body rate is not counted against
 * the client. */
void ferry_http_body_pause(struct ferry_http *, bool paused, uint64_t now_ms);

/* An interim response such as 103 (not 101), before ferry_http_respond; does nothing for HTTP/1.0.
 * 0, FERRY_EUSAGE, or -ENOMEM. */
int ferry_http_interim(struct ferry_http *, int status, const struct ferry_http_field *,
                       unsigned n);

/*
 * Writes the head of the response. To a request whose body was not wanted or not read to its end
 * the machine adds Connection: close, unless little is left, which it then reads and drops. 0,
 * FERRY_EUSAGE (no request, or answered already; a status outside 200-599; a name that is no token
 * or frames the message; a value with CR, LF or NUL: nothing of them is ever sent), FERRY_ECLOSED,
 * or -ENOMEM (cut it then).
 */
FERRY_MUST_CHECK
int ferry_http_respond(struct ferry_http *, const struct ferry_http_response *);

/*
 * Body bytes, framed as the head promised; dropped for HEAD, 204 and 304. `b` is the block they lie
 * in, NULL to copy. Bytes past content_length are dropped and FERRY_ELIMIT is returned; the
 * response stays good. FERRY_EUSAGE, FERRY_ECLOSED, -ENOMEM (cut it then).
 */
int ferry_http_write(struct ferry_http *, struct ferry_block *b, struct ferry_slice);

/* Body bytes from a file; takes over fd, always. Only when content_length was given. */
int ferry_http_write_file(struct ferry_http *, int fd, int64_t off, uint64_t len);

/*
 * The response is complete: writes the last chunk, or, when content_length was promised and not
 * met, cuts it (FERRY_ECUT). The machine then goes on to the next request or closes.
 */
int ferry_http_finish(struct ferry_http *);

/* The response cannot be completed: nothing more is sent after the queued bytes, so that the client
 * sees it is cut. */
void ferry_http_cut(struct ferry_http *);

/* The response that was cut had no end but the connection's (HTTP/1.0, length not known): once
 * finished, close with a reset, the only sign such a client can see. */
bool ferry_http_wants_reset(const struct ferry_http *);

/* Closes when idle, at once, and otherwise after the response under way, which says so if its head
 * is not yet written. */
void ferry_http_drain(struct ferry_http *);

/* The head of the response has been written. */
bool ferry_http_responded(const struct ferry_http *);

/* No request is under way. */
bool ferry_http_idle(const struct ferry_http *);

/* The standard phrase of a status ("Not Found"), or "": static memory. */
const char *ferry_http_reason(int status);

#endif
