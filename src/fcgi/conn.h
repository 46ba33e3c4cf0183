/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FCGI_CONN_H
#define FERRY_FCGI_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/machine.h"
#include "ferry/record.h"
#include "ferry/slice.h"

/*
 * One FastCGI connection, either end, any number of requests at once (FastCGI 1.0 sections 3 to 5).
 * A sans-I/O machine; see base/machine.h for the shape. The end that begins requests is the client
 * (the specification's web server), the other the application.
 */

enum ferry_conn_side { FERRY_CONN_CLIENT, FERRY_CONN_APP };

struct ferry_conn_opts {
    enum ferry_conn_side side;
    struct ferry_blocks *blocks; /* where output is written; outlives the connection */
    uint16_t requests_max;       /* at once; 0 means 1. More than 1 is multiplexing */
    /* Application side, the truth told in GET_VALUES_RESULT (0 leaves the variable out). */
    uint32_t max_conns, max_reqs;
    uint8_t roles;             /* bit 1 << role for each role played; 0 means responder only */
    uint32_t idle_records_max; /* records without progress in a row before the peer is refused; 0
                                  means 65536 */
};

/* X(name): what each event carries stands beside it */
#define FERRY_CONN_EVENT_MAP(X)                                                                    \
    /* application side */                                                                         \
    X(BEGIN)      /* id, begin: a new request; give it a user pointer with ferry_conn_set_user */  \
    X(PARAMS)     /* id, user, data: more of the PARAMS stream */                                  \
    X(PARAMS_END) /* id, user */                                                                   \
    X(STDIN)      /* id, user, data */                                                             \
    X(STDIN_END)  /* id, user */                                                                   \
    X(DATA)       /* id, user, data */                                                             \
    X(DATA_END)   /* id, user */                                                                   \
    X(ABORT)      /* id, user: end the request as soon as possible; its input is dropped now */    \
    /* client side */                                                                              \
    X(STDOUT)       /* id, user, data */                                                           \
    X(STDOUT_END)   /* id, user: the empty record; some applications leave it out */               \
    X(STDERR)       /* id, user, data */                                                           \
    X(END)          /* id, user, end: the request is over and its id free again */                 \
    X(VALUES)       /* values: the answer to ferry_conn_get_values */                              \
    X(UNKNOWN_TYPE) /* unknown_type: the application does not know a management type */            \
    /* both */                                                                                     \
    X(CUT)    /* the peer closed, in the middle of a record or with requests active; an            \
                 application can still answer those whose input was whole (half-close) */          \
    X(CLOSED) /* the peer closed and nothing was active */

enum ferry_conn_event_type {
#define X(name) FERRY_CONN_##name,
    FERRY_CONN_EVENT_MAP(X)
#undef X
};

struct ferry_conn_values {
    /* -1 when the application did not say. */
    int64_t max_conns, max_reqs, mpxs_conns;
};

struct ferry_conn_event {
    enum ferry_conn_event_type type;
    uint16_t id;
    void *user;
    /* Lies in the bytes given to recv, always, and as long as they do. */
    struct ferry_slice data;
    union {
        struct ferry_begin_body begin;
        struct ferry_end_body end;
        struct ferry_conn_values values;
        uint8_t unknown_type;
    };
};

struct ferry_conn;

/* A new connection; NULL when memory is out. Options are copied. */
struct ferry_conn *ferry_conn_new(const struct ferry_conn_opts *);

/* Frees it with its output. Takes NULL. Requests still active simply end without an event. */
void ferry_conn_free(struct ferry_conn *);

/* The machine shape, for a pump; `m` is the struct ferry_conn. */
extern const struct ferry_machine ferry_conn_machine;

/*
 * See base/machine.h. recv returns FERRY_EPROTOCOL for a malformed or forbidden record and
 * FERRY_ELIMIT for a flood of records without progress; the error sticks, nothing further is
 * interpreted, and ferry_conn_finished is true. An application takes nothing (0, no event) while
 * many of the answers it gives by itself, to GET_VALUES and the like, are not sent.
 */
FERRY_MUST_CHECK
ssize_t ferry_conn_recv(struct ferry_conn *, const char *p, size_t n, uint64_t now_ms);

/* 1 with the next event, 0 when there is none, or the sticky error. */
FERRY_MUST_CHECK
int ferry_conn_event(struct ferry_conn *, struct ferry_conn_event *out);

struct ferry_chain *ferry_conn_output(struct ferry_conn *);
void ferry_conn_sent(struct ferry_conn *, size_t n, uint64_t now_ms);

/*
 * After an error; when a request without KEEP_CONN, a drain or the peer's close says that no other
 * follows and none is active; for a client after the peer's close in any case. Not while an event
 * waits. An application that closes with a request's input still to come first lingers
 * (wants_shutdown) until that input or the peer's close has come, two seconds at most.
 */
bool ferry_conn_finished(const struct ferry_conn *);

/* What went wrong, in words for a log ("record of version 2", "STDOUT after its end"): static
 * memory, "" when nothing. */
const char *ferry_conn_error_text(const struct ferry_conn *);

/* Requests begun and not ended. Aborted ones count until their END_REQUEST. */
unsigned ferry_conn_active(const struct ferry_conn *);

void ferry_conn_set_user(struct ferry_conn *, uint16_t id, void *user);

/* -- the client side
 * ------------------------------------------------------------------------------------------- */

/*
 * Begins a request from an image: a BEGIN_REQUEST record, the PARAMS stream and perhaps the end of
 * an empty STDIN, as ferry_params_writer leaves them in `b`. The connection writes its own request
 * id and the keep flag into the image (so `b` must not be queued on another connection at the
 * time), queues it without copying, and takes a reference. Returns the id, or FERRY_ELIMIT when
 * requests_max are active, FERRY_EUSAGE for an image that is none, FERRY_ECLOSED after the peer's
 * close or without keep earlier, -ENOMEM, or the sticky error.
 */
FERRY_MUST_CHECK
int ferry_conn_begin_image(struct ferry_conn *, struct ferry_block *b, struct ferry_slice image,
                           bool keep, void *user);

/* Begins a request record by record; the PARAMS stream follows through ferry_conn_write. Returns as
 * above. */
FERRY_MUST_CHECK
int ferry_conn_begin(struct ferry_conn *, uint16_t role, bool keep, void *user);

/*
 * ABORT_REQUEST. Its output is discarded from now on (no STDOUT or STDERR event any more), END
 * still comes; nothing can be written to it. While multiplexing its id is given out again only when
 * no other is free. Twice has no further effect. 0, or FERRY_EUSAGE when the id is not active.
 */
int ferry_conn_abort(struct ferry_conn *, uint16_t id);

/* Asks for FCGI_MAX_CONNS, FCGI_MAX_REQS and FCGI_MPXS_CONNS (section 4.1): 0 or an error; answered
 * by VALUES. */
int ferry_conn_get_values(struct ferry_conn *);

/* -- both sides
 * ------------------------------------------------------------------------------------------------
 */

/*
 * Queues content of a stream the side may send (client: PARAMS, STDIN, DATA; application: STDOUT,
 * STDERR), cut into padded records. `b` is the block `bytes` lie in, referenced when copying would
 * cost more; NULL always copies. Empty bytes queue nothing. The streams of a request follow each
 * other: STDIN after the end of PARAMS, DATA (filters only) after that of STDIN, STDOUT and STDERR
 * after the end of PARAMS has come, a filter's after that of STDIN (section 6). 0, or FERRY_EUSAGE
 * (inactive id, wrong stream, too early, after its end), -ENOMEM or the sticky error.
 */
int ferry_conn_write(struct ferry_conn *, uint16_t id, enum ferry_record_type stream,
                     struct ferry_block *b, struct ferry_slice bytes);

/* The empty record that ends a stream. Ending it twice does nothing. Errors as above. */
int ferry_conn_write_end(struct ferry_conn *, uint16_t id, enum ferry_record_type stream);

/* -- the application side
 * -------------------------------------------------------------------------------------- */

/*
 * Ends a request: ends STDOUT (and STDERR if it was used) unless done or still too early for it,
 * then END_REQUEST with REQUEST_COMPLETE, in one piece with what was written before. For OVERLOADED
 * and other refusals no stream is ended. Records for the id that still arrive are skipped. 0, or an
 * error as of ferry_conn_write. After the end of a request without KEEP_CONN the connection
 * finishes when nothing else is active.
 */
int ferry_conn_end(struct ferry_conn *, uint16_t id, uint32_t app_status,
                   enum ferry_protocol_status);

/* Begins no further request (they are refused with OVERLOADED; a client's begin gives
 * FERRY_ECLOSED) and finishes when none is active. */
void ferry_conn_drain(struct ferry_conn *);

#endif
