/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CALL_LINE_H
#define FERRY_CALL_LINE_H

#include "call/payload.h"
#include "fcgi/conn.h"
#include "ferry/client.h"
#include "io/addr.h"
#include "io/pump.h"

/*
 * One connection to an application, made anew when it must be, and one request at a time on it. It
 * is what `ferry call` speaks through rather than a pool (client/pool.h): the connection and its
 * bytes can be looked at, nothing is sent that was not asked for, and each of the lines of a load
 * test is one connection and no more.
 */

struct ferry_line;

/* Called from the loop, never from within a call of the owner's. All but `done` may be NULL. */
struct ferry_line_fns {
    void (*connected)(struct ferry_line *);
    void (*out)(struct ferry_line *, struct ferry_slice);    /* of STDOUT */
    void (*errors)(struct ferry_line *, struct ferry_slice); /* of STDERR */
    /* The answer to ferry_line_values: NULL when the application does not know the question. */
    void (*values)(struct ferry_line *, const struct ferry_conn_values *);
    /* The request is over; once for each. Another may be asked from within. */
    void (*done)(struct ferry_line *, const struct ferry_outcome *);
    /* Bytes as they pass, ours as they leave: for a transcript. */
    void (*tap)(struct ferry_line *, bool ours, struct ferry_slice);
    void (*closed)(struct ferry_line *); /* after ferry_line_close */
};

struct ferry_line_request {
    struct ferry_slice image;         /* a draft's */
    const struct ferry_payload *body; /* STDIN */
    const struct ferry_payload *data; /* DATA, of a filter; NULL: no filter */
};

struct ferry_line {
    /* Set by the owner, all else zero. */
    struct ferry_loop *loop;
    const struct ferry_line_fns *fns;
    struct ferry_addr addr;
    unsigned connect_ms, total_ms; /* deadlines, from the asking on; 0: none */
    bool keep;                     /* the connection, for the next request */

    /* To be read: when things happened, of the last request, in microseconds of ferry_now_us; 0:
     * not (connected: it stood already). */
    uint64_t asked_us, connected_us, first_us, done_us;
    uint64_t sent, received; /* bytes on the wire, of all requests */
    unsigned connects;       /* connections made */
    unsigned again;          /* requests sent again: a kept connection was closed under them */

    /* The line's own. */
    struct ferry_pump pump;
    struct ferry_conn *conn;
    struct ferry_timer timer;
    struct ferry_task task;
    struct ferry_line_request request;
    struct ferry_outcome failure; /* to be told by the task */
    uint64_t asked_ms, at;        /* `at`: sent so far of the stream that is being sent */
    unsigned served;              /* requests answered on this connection */
    int state, stream;
    uint16_t id;
    bool busy, asks_values, repeated, crowded, ended;
};

/* Asks; only while no request is under way. What the request refers to stays until `done`. */
void ferry_line_ask(struct ferry_line *, const struct ferry_line_request *);

/* Asks with GET_VALUES; `values` comes before `done`. */
void ferry_line_values(struct ferry_line *);

/* Gives up the request that may be under way, without `done`, and closes. `closed` follows; it is
 * the last call. */
void ferry_line_close(struct ferry_line *);

#endif
