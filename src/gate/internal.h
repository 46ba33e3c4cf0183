/* SPDX-License-Identifier: MIT */
#ifndef FERRY_GATE_INTERNAL_H
#define FERRY_GATE_INTERNAL_H

#include "cgi/path.h"
#include "cgi/request.h"
#include "cgi/response.h"
#include "gate/gate.h"
#include "http/http.h"
#include "io/pump.h"
#include "io/spool.h"
#include "session/session.h"

/*
 * What the files of the gate share: gate.c (threads and connections), site.c (which site, which
 * route), exchange.c (one request from its head to its log line), host.c (what the filters of its
 * chain decide), page.c (error pages), body.c (its body on the way to the application), relay.c
 * (the application's response on the way back).
 */

struct ferry_gate {
    struct ferry_gate_opts opts;
    struct ferry_gate_sites *sites;
    struct ferry_access_log **logs; /* of all sites, each once */
    unsigned nlogs;
    struct ferry__gate_page *pages; /* error pages of all sites, each file once */
    unsigned npages;
};

struct ferry__gate_page {
    const char *file;
    _Atomic uint64_t quiet_ms; /* until then nothing is said of it */
};

#define FERRY__PIECES_MAX 8

struct ferry__door; /* one listener of one thread */

struct ferry_gate_thread {
    struct ferry_gate *gate;
    struct ferry_loop *loop;
    struct ferry_session_thread session;
    struct ferry_filters_local ***chains; /* by site and route */
    struct ferry_http_opts http_opts;
    struct ferry_access_buf *access; /* by log */
    struct ferry_timer access_timer;
    struct ferry_timer linger; /* of idle connections, while it drains */
    struct ferry_list doors, conns;
    struct ferry__exchange *spare; /* exchanges that are not in use */
    unsigned nspare;
    /* Room for one event and one response head at a time: they are large, and used up before the
     * next comes. */
    struct ferry_http_event event;
    struct ferry_cgi_response response;
    char *path_mem;
    size_t path_cap;
    int64_t date_s;
    char date[32];
    bool draining, lingering;
    void (*drained)(void *);
    void *drained_arg;
};

struct ferry__gate_conn {
    struct ferry_pump pump;
    struct ferry_http *http;
    struct ferry_gate_thread *thread;
    struct ferry_list link;
    struct ferry__exchange *x; /* the request under way */
    bool closing;
    bool named; /* the texts below are filled */
    uint8_t listener;
    char remote_addr[46], remote_port[6];
    char local_addr[46], local_port[6];
};

struct ferry__exchange {
    struct ferry_call call;
    struct ferry__gate_conn *conn;
    struct ferry_gate_thread *thread;
    struct ferry__exchange *next;       /* among the spare ones */
    const struct ferry_gate_site *site; /* NULL: the request names none */

    /* Its way through the chain. */
    bool has_session;         /* `session`, at the end, is in use */
    struct ferry_task resume; /* the judge of an answer has let the chain go on */
    int (*judge)(struct ferry_session *, const struct ferry_cgi_response *, void *arg);
    void *judge_arg;
    bool swallowing; /* the rest of an answer that was judged */

    /* The request: params being written, and the body on its way. */
    struct ferry_client_local *client;
    struct ferry_slice key;
    struct ferry_params_writer params;
    struct ferry_block *image;
    uint64_t data_at; /* of a filter's file: what is written */
    bool data_ended;
    struct ferry_spool body;
    int64_t body_len; /* -1 until known */
    uint64_t body_got;
    uint64_t body_from_ms;
    bool client_body;              /* the client's request has one */
    bool has_body;                 /* the request to the application has */
    bool spooling;                 /* `body` is in use */
    bool idempotent, wants_length; /* what the request's method says of the call, see host.c */
    bool body_ended, calling, body_paused, body_end_written;

    /* The response. */
    struct ferry_task
        settle; /* at the end of the turn: what came is sent, whether more follows or not */
    struct ferry_block *first; /* bytes that have come and wait for the head or for `settle` */
    struct ferry_slice first_bytes;
    bool first_owned; /* `first` is the exchange's own and can take more */
    size_t scanned;
    struct ferry__piece { /* more of the body, behind a head that is whole in `first` */
        struct ferry_block *block;
        struct ferry_slice bytes;
    } more[FERRY__PIECES_MAX];
    unsigned nmore;
    size_t more_len;
    struct ferry_spool kept; /* what a slow client cannot take yet, of a shared connection */
    bool keeping, app_done, head_method, app_misframed;
    int status;
    int64_t promised;        /* bytes of body that the client will get, or -1 */
    uint64_t sent, unwanted; /* bytes of the body that went to the client, and to nobody */

    /* The log line. */
    uint64_t began_us, called_us, app_us;
    enum ferry_access_end end;
    struct ferry_block *log;
    struct ferry_slice log_method, log_target, log_host, log_referer, log_agent;
    unsigned minor;
    char *errors; /* the application's error stream, up to ERRORS_MAX */
    size_t errors_len;

    struct ferry_session session; /* the last: it is large, and not cleared with the rest */
};

/* exchange.c */
void ferry__exchange_begin(struct ferry__gate_conn *, const struct ferry_http_head *);
/* The answer is finished, cut or hopeless: logs and forgets the exchange. */
void ferry__exchange_over(struct ferry__exchange *);
/* The client is gone. */
void ferry__exchange_abandon(struct ferry__exchange *, enum ferry_access_end);
void ferry__exchange_free(struct ferry__exchange *);

/* host.c */
/* Sends the request through its chain. `path` need not live longer. */
void ferry__host_begin(struct ferry__exchange *, const struct ferry_http_head *,
                       const struct ferry_path *, const struct ferry_gate_route *);
void ferry__host_resume(struct ferry_task *);
/* What filters change of an answer's head, for whoever sends it: NULL when they change nothing. */
const struct ferry_head_edit *ferry__host_edit(struct ferry__exchange *, struct ferry_head_edit *);

/* page.c */
/* Which pages there are: 0 or -ENOMEM. */
int ferry__gate_pages_new(struct ferry_gate *);
/* Answers with an error page, the site's or the gate's own. Only before the answer has begun. */
void ferry__exchange_refuse(struct ferry__exchange *, int status, const char *why);

/* body.c */
/* Starts the call, when the body allows it. */
void ferry__body_begin(struct ferry__exchange *);
void ferry__body_data(struct ferry__exchange *, struct ferry_block *, struct ferry_slice);
void ferry__body_end(struct ferry__exchange *);
void ferry__body_started(struct ferry_call *);
void ferry__body_writable(struct ferry_call *);

/* relay.c */
void ferry__relay_out(struct ferry_call *, struct ferry_block *, struct ferry_slice);
void ferry__relay_errors(struct ferry_call *, struct ferry_slice);
void ferry__relay_done(struct ferry_call *, const struct ferry_call_result *);
void ferry__relay_settle(struct ferry_task *);
/* Drops what has come and was not relayed. */
void ferry__relay_forget(struct ferry__exchange *);
/* The client has taken bytes. */
void ferry__relay_sent(struct ferry__exchange *);

/* gate.c */
struct ferry_slice ferry__gate_date(struct ferry_gate_thread *);
void ferry__gate_log(struct ferry_gate_thread *, enum ferry_gate_level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void ferry__gate_name(struct ferry__gate_conn *);
/* The thread's part of a site's access log; NULL: it has none. And: a line was added to it. */
struct ferry_access_buf *ferry__gate_access(struct ferry_gate_thread *,
                                            const struct ferry_gate_site *);
void ferry__gate_accessed(struct ferry_gate_thread *, struct ferry_access_buf *);

#endif
