/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FCGI_CONN_PRIVATE_H
#define FERRY_FCGI_CONN_PRIVATE_H

#include "base/slice.h"
#include "fcgi/conn.h"
#include "fcgi/ids.h"
#include "fcgi/requests.h"

/*
 * What the files of the connection share: conn.c reads records and hands out events, conn_client.c
 * and conn_app.c know what a record means at each end, conn_write.c writes records.
 */

/* The most of a management record's body that is looked at; the rest is skipped. */
#define FERRY__BODY_MAX 512

/* Larger content is referenced where it lies, smaller is copied next to its header. */
#define FERRY__COPY_MAX 1024

/* The largest content that is a multiple of eight: never needs padding, and fits PHP's buffer. */
#define FERRY__CONTENT_FULL 65528

/* Answers the peer did not ask to read yet (to GET_VALUES, unknown types, refused requests) wait in
 * the output up to here; then its records are not read before they are gone. */
#define FERRY__REPLIES_MAX 16384

/* Ids past requests_max, so that those of aborted requests can rest (see conn_client.c). */
#define FERRY__IDS_SPARE 1024

/* How long an application waits for the peer's close when it closed with input unread. */
#define FERRY__LINGER_MS 2000

enum ferry__content {
    FERRY__SKIP,   /* nobody wants it */
    FERRY__STREAM, /* goes out as events, as it comes */
    FERRY__BODY,   /* is collected, then looked at */
};

struct ferry_conn {
    struct ferry_chain out;
    struct ferry__requests requests;

    /* options */
    bool is_app;
    uint8_t roles;
    uint16_t requests_max;
    uint32_t max_conns, max_reqs, idle_max;

    /* state of the whole connection */
    int err;
    const char *err_text;
    bool closing;   /* no request begins any more; finished when none is active */
    bool eof;       /* the peer closed its sending side */
    bool cut;       /* in the middle of a record */
    bool eof_told;  /* and CUT or CLOSED was handed out */
    bool waiting;   /* `event` waits to be pulled */
    uint32_t idle;  /* records without progress in a row */
    uint64_t sent;  /* bytes of output that have left, ever */
    uint32_t asked; /* client: GET_VALUES not answered yet */

    /* application: see REPLIES_MAX; the last of the answers ends where replies_end bytes are sent
     */
    uint32_t replies;
    uint64_t replies_end;

    /* application: requests that ended with input still to come, and what ends that of the last */
    uint32_t unread;
    uint16_t unread_id;
    uint8_t unread_stream;
    uint64_t linger_until_ms; /* 0: not lingering */

    /* the record being read */
    struct ferry_record rec;
    uint32_t content_left;
    uint8_t padding_left;
    uint8_t content; /* enum ferry__content */
    uint8_t head_len;
    uint16_t body_len;
    struct ferry_conn_event event;
    char head[FERRY_RECORD_HEADER_LEN];
    char body[FERRY__BODY_MAX];

    struct ferry__ids ids; /* client */
    uint64_t id_words[];
};

/* Keeps the first error, and returns it. */
int ferry__conn_fail(struct ferry_conn *, int err, const char *text);

/* The output may have run out of memory: what the connection then keeps as its error, or 0. */
int ferry__conn_output_err(struct ferry_conn *);

/* Skips the content of a record that brings nobody further. */
void ferry__conn_ignore(struct ferry_conn *);

/* Sets the event that waits; `r` may be NULL. */
void ferry__conn_tell(struct ferry_conn *, enum ferry_conn_event_type,
                      const struct ferry__request *r);

/* Ends a request for this side: drops what is still on its way to the user. */
void ferry__conn_forget(struct ferry_conn *, struct ferry__request *);

/* Drops events and content of `id` that were not handed out yet. */
void ferry__conn_mute(struct ferry_conn *, uint16_t id);

/* The application has nothing to do any more but wait for the peer's close. */
static inline bool ferry__conn_done(const struct ferry_conn *c)
{
    return c->closing && c->requests.n == 0;
}

static inline uint16_t ferry__bit(unsigned type)
{
    return (uint16_t)(1u << type);
}

/* A header was read into c->rec: decide about its content (c->content), or fail. */
void ferry__client_header(struct ferry_conn *);
void ferry__app_header(struct ferry_conn *);

/* The content of a record is collected in c->body. */
void ferry__client_body(struct ferry_conn *);
void ferry__app_body(struct ferry_conn *);

/* Whether this side may send on a stream now: its own streams, one after the other (section 6). */
bool ferry__conn_may_send(const struct ferry_conn *, const struct ferry__request *,
                          unsigned stream);

/* Queues a record whose content is copied; the caller looks at ferry__conn_output_err. */
void ferry__conn_put(struct ferry_conn *, uint8_t type, uint16_t id, struct ferry_slice content);

#endif
