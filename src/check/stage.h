/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CHECK_STAGE_H
#define FERRY_CHECK_STAGE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "check/bytes.h"
#include "check/check.h"
#include "check/http.h"
#include "ferry/record.h"
#include "io/addr.h"

/*
 * The stage: a web server stands on it, and we play both who is before it, HTTP clients, and who is
 * behind it, the application. All in one thread: a case is a straight line of steps ("the client
 * asks; the application is asked; it says this; the client has got that"), and whenever a step
 * waits, bytes move on all connections. So no step can hold up another, and what happens in which
 * order is the case's to say.
 *
 *     struct ferry_visit *v = ferry_visit_get(c);
 *     struct ferry_asked *r = ferry_visit_asked(v);
 *
 *     ferry_asked_say(r, "Content-Type: text/plain\r\n\r\nhello");
 *     ferry_asked_finish(r, 0);
 *     ferry_visit_expect(v, 200, "hello");
 *
 * Each request carries a token in its path, by which it is known again at the application. What has
 * none (probes of health, a late repetition) is answered by the way.
 */

#define FERRY_STAGE_BYTES_MAX ((size_t)64 << 20) /* of one direction of one connection */
#define FERRY_STAGE_CONNS_MAX 256

/* X(name): how the application answers GET_VALUES */
enum ferry_stage_values {
    FERRY_VALUES_ONE,     /* FCGI_MPXS_CONNS is 0, and so on: one request at a time */
    FERRY_VALUES_MANY,    /* FCGI_MPXS_CONNS is 1 */
    FERRY_VALUES_EMPTY,   /* a GET_VALUES_RESULT without a pair */
    FERRY_VALUES_MORE,    /* with variables that nobody asked for, in two records */
    FERRY_VALUES_UNKNOWN, /* UNKNOWN_TYPE */
    FERRY_VALUES_SILENT,  /* nothing at all */
    FERRY_VALUES_CLOSE    /* it closes the connection */
};

struct ferry_stage;

/* One connection of the web server's to the application. */
struct ferry_stage_conn {
    struct ferry_stage_conn *next;
    struct ferry_stage *stage;
    int fd; /* -1 when closed, by either */
    unsigned number;
    struct ferry_bytes in, out;
    bool gone;         /* the web server has closed it */
    bool reset;        /* ... by a reset */
    bool deaf;         /* we do not read from it */
    bool closes;       /* is closed when `out` is sent */
    bool last;         /* its last request was begun without KEEP_CONN */
    bool asked_values; /* GET_VALUES came */
    unsigned begun;    /* requests that began here */
};

/* One request, as the application gets it. */
struct ferry_asked {
    struct ferry_asked *next;
    struct ferry_stage *stage;
    struct ferry_stage_conn *conn;
    uint16_t id, role;
    uint8_t flags;
    bool params_ended, stdin_ended, data_ended;
    bool aborted, ended; /* ended: by us, with END_REQUEST or with the connection */
    bool own;            /* nobody waits for it: answered by the way */
    struct ferry_bytes params, body, data;
    unsigned records[FERRY_UNKNOWN_TYPE + 1];  /* that came for it, by type */
    unsigned unpadded[FERRY_UNKNOWN_TYPE + 1]; /* whose length is no multiple of eight */
    char wrong[128];                           /* the first thing against the protocol; "" */
};

/* One client's connection, and its latest request. */
struct ferry_visit {
    struct ferry_visit *next;
    struct ferry_stage *stage;
    int fd; /* -1 when closed by us */
    unsigned number;
    char token[48], path[256];
    struct ferry_bytes in, out;
    enum ferry_http_input input;
    bool deaf; /* we do not read from it */
    bool head_only;
    struct ferry_http_response response;
    bool noted; /* the response, in the transcript */
};

struct ferry_stage {
    struct ferry_check *check; /* the case that runs */
    int listener;
    struct ferry_addr app, web; /* where we listen, and where the web server does */
    char host[FERRY_ADDR_TEXT_MAX];
    const char *prefix; /* of paths; begins and ends with a slash */
    enum ferry_stage_values values;
    unsigned timeout_ms;

    struct ferry_stage_conn *conns;
    struct ferry_asked *asked; /* in the order they began */
    struct ferry_visit *visits;
    unsigned nconns, nvisits, serial, accepted;

    const volatile sig_atomic_t *stop; /* true: the case is left; may be NULL */

    /* What was seen in the whole run. */
    bool values_seen, values_asked; /* GET_VALUES: ever, and since the web server was started */
    unsigned values_wrong;
    char values_why[128];
    unsigned requests;
    char wrong[160]; /* the first thing against the protocol in any case; "" */
};

/* Listens at `app` (a free port of 127.0.0.1 when it has port 0): 0 or -errno. */
int ferry_stage_open(struct ferry_stage *, const struct ferry_addr *app);
void ferry_stage_close(struct ferry_stage *);

/* A case begins; it is over: what it left is closed, connections that rest stay open. */
void ferry_stage_begin(struct ferry_stage *, struct ferry_check *);
void ferry_stage_clear(struct ferry_stage *);

/* All connections go, also those that rest: the web server was stopped. */
void ferry_stage_forget(struct ferry_stage *);

/* Moves bytes wherever they can move, after waiting for at most ms for any of them. */
void ferry_stage_turn(struct ferry_stage *, unsigned ms);

/* Lets ms pass. */
void ferry_stage_pass(struct ferry_check *, unsigned ms);

static inline struct ferry_stage *ferry_stage(const struct ferry_check *c)
{
    return c->user; /* the first member of the suite's target */
}

/* -- the client
 * -------------------------------------------------------------------------------------------------
 */

/* Connects, and makes up a token and a path. Nothing is sent. Fails the case, or returns NULL, when
 * it cannot connect. */
struct ferry_visit *ferry_visit_open(struct ferry_check *);
struct ferry_visit *ferry_visit_try(struct ferry_check *);

/* The same with an ordinary GET, with fields "Name: value\r\n..." (NULL: none). */
struct ferry_visit *ferry_visit_get(struct ferry_check *);
struct ferry_visit *ferry_visit_get_with(struct ferry_check *, const char *fields);

/* A POST of a body that is sent whole, with its length. */
struct ferry_visit *ferry_visit_post(struct ferry_check *, const void *body, size_t n);

/* The next request on the same connection: a new token and path. */
void ferry_visit_again(struct ferry_visit *);

/* Bytes for the web server; they leave as fast as it takes them. */
void ferry_visit_send(struct ferry_visit *, const void *, size_t n);
void ferry_visit_printf(struct ferry_visit *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "METHOD path HTTP/1.1" and Host, and no end of the head yet. */
void ferry_visit_head(struct ferry_visit *, const char *method);
void ferry_visit_request(struct ferry_visit *, const char *method, const char *fields);

/* Waits until the response is over: how it ended. Fails the case when it is not in time. */
enum ferry_http_end ferry_visit_wait(struct ferry_visit *);
/* The same without failing: FERRY_HTTP_OPEN when it is not. */
enum ferry_http_end ferry_visit_wait_ms(struct ferry_visit *, unsigned ms);

/* Waits until so many bytes of the body have come; false when they do not. */
bool ferry_visit_body_comes(struct ferry_visit *, size_t n, unsigned ms);

/* The response is whole, with this status and this body (NULL: any), or the case fails. */
void ferry_visit_expect(struct ferry_visit *, int status, const char *body);
void ferry_visit_expect_bytes(struct ferry_visit *, int status, struct ferry_slice body);

/* The response is an error of the web server's own, 500 to 599, and whole. */
void ferry_visit_expect_error(struct ferry_visit *);

/* "status 200 and 17 bytes, cut", for reasons: static memory. */
const char *ferry_visit_said(const struct ferry_visit *);

void ferry_visit_close(struct ferry_visit *);
void ferry_visit_reset(struct ferry_visit *);
void ferry_visit_shutdown(struct ferry_visit *);

/* -- the application
 * -------------------------------------------------------------------------------------------------
 */

/* The request of that visit, when it is whole (its STDIN has ended), or only its params. Fails the
 * case when it does not come. */
struct ferry_asked *ferry_visit_asked(struct ferry_visit *);
struct ferry_asked *ferry_visit_params(struct ferry_visit *);

/* The nth (from 0) request that came for a visit: retries, authorizers. NULL when it does not
 * come, or is not whole, within ms. */
struct ferry_asked *ferry_visit_nth(struct ferry_visit *, unsigned nth, bool whole, unsigned ms);

/* The same, or NULL when the web server has answered by itself with 400 or more. */
struct ferry_asked *ferry_visit_asked_or_refused(struct ferry_visit *);

/* A param of it; p == NULL when there is none. `n` of that name are told, when not NULL. */
struct ferry_slice ferry_asked_param(const struct ferry_asked *, const char *name, unsigned *n);

/* Bytes on its connection, as they are, in one piece with others put in the same step. */
void ferry_asked_raw(struct ferry_asked *, const void *, size_t n);
/* A record of it with so much padding. */
void ferry_asked_record(struct ferry_asked *, unsigned type, const void *, size_t n,
                        unsigned padding);
/* A record with every field as given. */
void ferry_asked_put(struct ferry_asked *, const struct ferry_wire_record *);
/* STDOUT of any length, as large records; a string of it. */
void ferry_asked_write(struct ferry_asked *, const void *, size_t n);
void ferry_asked_say(struct ferry_asked *, const char *text);
/* Empty STDOUT and END_REQUEST. */
void ferry_asked_finish(struct ferry_asked *, uint32_t app_status);
/* END_REQUEST alone. */
void ferry_asked_end(struct ferry_asked *, uint32_t app_status, unsigned protocol_status);

/* Sends all that was put on its connection; false when the web server takes no more of it in time
 * or has closed. */
bool ferry_asked_flush(struct ferry_asked *);
/* Sends n bytes in pieces of a size, each in a send of its own. */
void ferry_asked_trickle(struct ferry_asked *, const void *, size_t n, size_t piece);

/* Closes its connection when all is sent; at once with a reset. */
void ferry_asked_close(struct ferry_asked *);
void ferry_asked_reset(struct ferry_asked *);

/* Waits until the web server has aborted it or closed its connection: which, or 0. */
enum ferry_left { FERRY_LEFT_NOT, FERRY_LEFT_ABORT, FERRY_LEFT_CLOSE };
enum ferry_left ferry_asked_left(struct ferry_asked *, unsigned ms);

/* An ordinary answer from its head to its end. */
void ferry_asked_answer(struct ferry_asked *, const char *text);

/* -- inside
 * -------------------------------------------------------------------------------------------------
 */

void ferry__stage_conn_read(struct ferry_stage_conn *);
void ferry__stage_conn_shut(struct ferry_stage_conn *, bool by_us);
void ferry__visit_read(struct ferry_visit *);
void ferry__visit_free(struct ferry_visit *);
void ferry__asked_free(struct ferry_asked *);
void ferry__asked_by_the_way(struct ferry_asked *);

#endif
