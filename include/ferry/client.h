/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLIENT_H
#define FERRY_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ferry/err.h"
#include "ferry/loop.h"
#include "ferry/params.h"
#include "ferry/record.h"
#include "ferry/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The web server's side of FastCGI: requests to an application and its answers.
 *
 *     struct ferry_client *php;
 *     struct ferry_answer *answer;
 *     const struct ferry_param params[] = {
 *         FERRY_PARAM("SCRIPT_FILENAME", "/srv/hello.php"),
 *         FERRY_PARAM("REQUEST_METHOD", "GET"),
 *     };
 *
 *     if (ferry_client_new(&(struct ferry_client_opts){FERRY_CLIENT_OPTS_SIZE,
 *                          .address = "unix:/run/php/php8.2-fpm.sock"}, &php) == 0 &&
 *         ferry_client_fetch(php, &(struct ferry_fetch){.params = params, .nparams = 2}, &answer)
 * == 0) fwrite(answer->body.p, 1, answer->body.len, stdout);
 *
 * That waits. An exchange does not: it runs on a loop, with both streams flowing as fast as the
 * slower side, and a program may have thousands of them at once.
 */

struct ferry_client;
struct ferry_exchange;

/* A pair of constant strings, for tables of params. */
#define FERRY_PARAM(name, value)                                                                   \
    {                                                                                              \
        {(name), sizeof(name) - 1},                                                                \
        {                                                                                          \
            (value), sizeof(value) - 1                                                             \
        }                                                                                          \
    }

/* -- an application
 * -------------------------------------------------------------------------------------------------
 */

/* X(name, text): which address of several is asked. One that fails is passed over for a while by
 * all of them. */
#define FERRY_BALANCE_MAP(X)                                                                       \
    X(LEAST, "least-connection")  /* the one with the fewest requests under way for its weight */  \
    X(ROUND_ROBIN, "round-robin") /* each in turn, as often as its weight says */                  \
    X(HASH, "hash")               /* the same for equal keys; a lost address moves no other key */ \
    X(STICKY, "sticky") /* the one that the key chose at first, by a table of the last keys */

enum ferry_balance {
#define X(name, text) FERRY_BALANCE_##name,
    FERRY_BALANCE_MAP(X)
#undef X
};

/* X(name, text): are many requests put on one connection? */
#define FERRY_MULTIPLEX_MAP(X)                                                                     \
    X(AUTO, "auto") /* ask the application (GET_VALUES) */                                         \
    X(ON, "on")                                                                                    \
    X(OFF, "off")

enum ferry_multiplex {
#define X(name, text) FERRY_MULTIPLEX_##name,
    FERRY_MULTIPLEX_MAP(X)
#undef X
};

struct ferry_client_address {
    const char *text; /* unix:/path, /path, host:port, :port, [v6]:port; a host's name is looked up
                         again when its DNS record expires, and each of its addresses is one.
                         srv:_fastcgi._tcp.example.org: the hosts, ports and weights of its SRV
                         records of the lowest priority */
    unsigned weight;  /* 0 means 1 */
};

/* Every zero means the default that stands beside it. Grows at its end only. Strings are copied. */
struct ferry_client_opts {
    size_t size;         /* FERRY_CLIENT_OPTS_SIZE */
    const char *address; /* the application's; or several: */
    const struct ferry_client_address *addresses;
    unsigned naddresses;
    enum ferry_balance balance;

    /* The pool of each address, in all threads together. */
    enum ferry_multiplex multiplex;
    unsigned connections_max;  /* 128 */
    unsigned connections_min;  /* kept open though idle; 0: none */
    unsigned queue_max;        /* requests that wait for a connection: 1024 */
    unsigned queue_timeout_ms; /* how long they wait: 30,000 */
    unsigned idle_timeout_ms;  /* a kept connection without a request: 5000 */
    unsigned life_ms;          /* a connection takes no request when it is older; 0: for ever */
    unsigned requests_max;     /* that one connection carries in its life; 0: any number */
    bool no_keep;              /* a connection for each request */

    /* Deadlines of one request; 0: none, but for the first. */
    unsigned connect_ms;    /* until the connection stands: 5000 */
    unsigned first_byte_ms; /* from the last byte of the request to the first of the answer */
    unsigned idle_ms;       /* no byte of the answer for so long, once it has begun */
    unsigned total_ms;      /* from its start, in the queue already, to its end */

    /* Passive health: an address that fails so often in a row (refused, reset, timed out before an
     * answer) gets no requests for fail_ms, then one to try. */
    unsigned fails_max; /* 3 */
    unsigned fail_ms;   /* 10,000 */
    /* Active health: asks for this script every ping_ms; any status below 500 is health. An empty
     * string asks GET_VALUES. NULL: no ping. */
    const char *ping;
    unsigned ping_ms; /* 10,000 */

    unsigned threads_max;     /* that may use it: 64 */
    const char *name_servers; /* for names of hosts: "127.0.0.1:53, ..."; NULL: the system's */
};

#define FERRY_CLIENT_OPTS_SIZE .size = sizeof(struct ferry_client_opts)

/*
 * An application as its callers see it. One object for a whole process: threads share what must be
 * one (caps, queue, health), and each has its own connections on its own loop. Nothing is connected
 * yet. 0; FERRY_EUSAGE for an address that is none, or none at all; -ENOMEM.
 */
FERRY_MUST_CHECK
int ferry_client_new(const struct ferry_client_opts *, struct ferry_client **out);

/* After it has closed on every loop. Takes NULL. */
void ferry_client_free(struct ferry_client *);

/*
 * Says that the calling thread's loop will use it; also done by the first exchange on that loop.
 * 0, -ENOMEM, or FERRY_ELIMIT past threads_max.
 */
FERRY_MUST_CHECK
int ferry_client_join(struct ferry_client *, struct ferry_loop *);

/*
 * Closes its connections on this loop: idle ones at once, others when their exchanges are over. No
 * exchange may be started there any more; `closed` is called, from the loop, when nothing is left.
 */
void ferry_client_close(struct ferry_client *, struct ferry_loop *, void (*closed)(void *),
                        void *arg);

/* Why ferry_client_new said FERRY_EUSAGE: static memory, of the calling thread's last call. */
const char *ferry_client_why(void);

struct ferry_client_stats {
    unsigned connections, idle;       /* open now; without a request */
    unsigned running, waiting;        /* requests on a connection; in the queue */
    uint64_t requests, failed;        /* ended since it was made; without an answer */
    uint64_t connects, reused;        /* connections made; requests that found one open */
    uint64_t retries, timeouts, full; /* sent again; past a deadline; refused by a full queue */
    unsigned addresses, down;         /* of addresses; of those, passed over now */
};

/* From any thread; the numbers are of one moment each. */
void ferry_client_stats(const struct ferry_client *, struct ferry_client_stats *out);

/* -- an exchange: one request and its answer
 * -------------------------------------------------------------------------------------------------
 */

/* X(name, status, text): how an exchange ended, and what a gateway tells its client then */
#define FERRY_RESULT_MAP(X)                                                                        \
    X(DONE, 200, "answered")                                                                       \
    X(REFUSED, 502, "no connection could be made")                                                 \
    X(CUT, 502, "the connection failed before the answer was complete")                            \
    X(BAD, 502, "the answer is no CGI response")                                                   \
    X(BAD_ROLE, 500, "the application does not play this role")                                    \
    X(OVERLOADED, 503, "too many requests wait, or the application says so")                       \
    X(QUEUE_TIMEOUT, 503, "no connection came free in time")                                       \
    X(TIMEOUT, 504, "no answer in time")                                                           \
    X(CANCELLED, 499, "cancelled")

enum ferry_result {
#define X(name, status, text) FERRY_RESULT_##name,
    FERRY_RESULT_MAP(X)
#undef X
};

/* The words for a result, in static memory, and the status that a gateway answers. */
const char *ferry_result_text(enum ferry_result);
int ferry_result_status(enum ferry_result);

/* How an exchange, or a fetch, ended. */
struct ferry_outcome {
    enum ferry_result result;
    int err;             /* -errno or FERRY_E* behind it, or 0 */
    const char *text;    /* more, for a log; static memory, may be "" */
    uint32_t app_status; /* of END_REQUEST; 0 without one */
    int protocol_status; /* of END_REQUEST (FERRY_REQUEST_COMPLETE ...); -1 without one */
};

/* Called from the loop, never from within a call of the owner's. All but `done` may be NULL. */
struct ferry_exchange_fns {
    /* The header block of the answer is read: ferry_exchange_head. Also for each interim response
     * (status below 200). */
    void (*head)(struct ferry_exchange *);
    /* Bytes of the body; they live during the call. Without `head` set: of STDOUT as it comes. */
    void (*out)(struct ferry_exchange *, struct ferry_slice);
    /* Bytes of the application's error stream. */
    void (*errors)(struct ferry_exchange *, struct ferry_slice);
    /* Writes may go on. */
    void (*writable)(struct ferry_exchange *);
    /* It is over; exactly once, and the last call. The exchange is the owner's to free. */
    void (*done)(struct ferry_exchange *, const struct ferry_outcome *);
};

struct ferry_exchange_opts {
    size_t size; /* sizeof this */
    const struct ferry_exchange_fns *fns;
    void *user;
    enum ferry_role role; /* 0: responder */
    /* It may be sent again although an application may have seen it (GET and the like). */
    bool idempotent;
    struct ferry_slice key; /* for HASH and STICKY; empty: any address */
    /* Deadlines that replace the client's where not 0. */
    unsigned first_byte_ms, idle_ms, total_ms;
    size_t head_max; /* of the answer's header block: 256 KiB */
    /* It is sent once: an application that says that it is overloaded is believed at once, and not
     * asked again until the queue's deadline. */
    bool once;
    unsigned queue_ms; /* how long it waits for a connection, when that is less than the client's
                          queue_timeout_ms */
};

/* An exchange on this loop; nothing is sent yet. 0, -ENOMEM, FERRY_ELIMIT (threads_max). */
FERRY_MUST_CHECK
int ferry_exchange_new(struct ferry_client *, struct ferry_loop *,
                       const struct ferry_exchange_opts *, struct ferry_exchange **out);

/* Cancels it if it runs, without calling anything. Takes NULL. */
void ferry_exchange_free(struct ferry_exchange *);
void *ferry_exchange_user(const struct ferry_exchange *);

/* One more param, copied; before ferry_exchange_start. 0, FERRY_ELIMIT or -ENOMEM. */
int ferry_exchange_param(struct ferry_exchange *, struct ferry_slice name,
                         struct ferry_slice value);
int ferry_exchange_param_z(struct ferry_exchange *, const char *name, const char *value);

/* Sends it, or queues it for a connection. `done` follows in any case. */
void ferry_exchange_start(struct ferry_exchange *);

/*
 * Bytes for STDIN, copied; also before the exchange has started, and while it waits for a
 * connection: they are kept then. 1: more may be written; 0: taken, but wait for `writable` before
 * more; or FERRY_EUSAGE behind the end, FERRY_ECLOSED when the answer is complete and nobody reads
 * any more, -ENOMEM or the -errno of the file that a long body waits in: then nothing was taken.
 * The stream must be ended: a request without a body ends it at once. A request whose body breaks
 * off is cancelled, never ended.
 */
int ferry_exchange_write(struct ferry_exchange *, const void *p, size_t n);
int ferry_exchange_end(struct ferry_exchange *);

/* The DATA stream of a filter, behind STDIN in the same way; or all of it from a file: len bytes
 * from its offset off on, and its end; takes over fd, also on failure. A file that turns out to be
 * shorter cancels the exchange (FERRY_ECUT). */
int ferry_exchange_write_data(struct ferry_exchange *, const void *p, size_t n);
int ferry_exchange_end_data(struct ferry_exchange *);
int ferry_exchange_data_file(struct ferry_exchange *, int fd, int64_t off, uint64_t len);

/* Stops and resumes reading the answer; what comes meanwhile on a shared connection is kept, in
 * memory and then in an unlinked file. */
void ferry_exchange_pause(struct ferry_exchange *, bool pause);

/*
 * Gives it up: ABORT_REQUEST is sent, and its id stays taken until the application has answered
 * END_REQUEST, or its connection is closed. `done` follows, with CANCELLED; the error stream gets
 * "ferry: cancelled" first. Before the start too.
 */
void ferry_exchange_cancel(struct ferry_exchange *);

struct ferry_answer_head {
    int status; /* 100-599: of Status, else 302 with a Location, else 200 */
    struct ferry_slice reason;
    int64_t content_length; /* -1 when not said */
    const struct ferry_param *fields;
    unsigned nfields;
};

/* From the call of `head` until that returns. */
const struct ferry_answer_head *ferry_exchange_head(const struct ferry_exchange *);

/* -- at once, and waiting
 * -------------------------------------------------------------------------------------------------
 */

struct ferry_fetch {
    enum ferry_role role; /* 0: responder */
    const struct ferry_param *params;
    size_t nparams;
    /* STDIN; CONTENT_LENGTH is added where the params have none and there is a body. */
    struct ferry_slice body;
    struct ferry_slice data; /* of a filter; FCGI_DATA_LENGTH is added as well */
    size_t answer_max;       /* bytes of body and of errors kept: 64 MiB; more is FERRY_ELIMIT */
    unsigned total_ms;       /* 0: the client's */
};

/* An answer that has come whole. */
struct ferry_answer {
    struct ferry_outcome outcome;
    struct ferry_answer_head head;   /* status 0 when there is none */
    struct ferry_slice body, errors; /* never with p == NULL */
};

/*
 * Sends a request and waits for its answer, on a loop of its own; from any thread, threads_max at
 * once. Its connection is closed afterwards: nobody would look after it until the next fetch. 0 and
 * *out, to be freed, whatever the application said, also when it failed: look at its outcome; or
 * -ENOMEM, FERRY_ELIMIT or -errno, and *out is NULL.
 */
FERRY_MUST_CHECK
int ferry_client_fetch(struct ferry_client *, const struct ferry_fetch *,
                       struct ferry_answer **out);
void ferry_answer_free(struct ferry_answer *); /* takes NULL */

/* The first field of that name, in any case; p == NULL when there is none. */
struct ferry_slice ferry_answer_field(const struct ferry_answer *, const char *name);

#ifdef __cplusplus
}
#endif

#endif
