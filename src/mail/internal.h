/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_INTERNAL_H
#define FERRY_MAIL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "io/pump.h"
#include "io/resolver.h"
#include "mail/ask.h"
#include "mail/domains.h"
#include "mail/limits.h"
#include "mail/log.h"
#include "mail/mail.h"
#include "mail/maildir.h"
#include "mail/networks.h"
#include "mail/saved.h"
#include "mail/verdicts.h"
#include "session/session.h"

/*
 * What the files of the gateway share: mail.c (threads, listeners), service.c, session.c (one
 * connection and the events of its machine), admit.c (who the client is, and whether it may come
 * in), facts.c (what is known of it), transaction.c (sender, recipients, the message as it comes),
 * saving.c (a whole message, from its last byte to its answer), record.c (what is told of it).
 */

/* A service, and what was made of it. */
struct ferry__mail_service {
    struct ferry_mail_service given; /* with its defaults */
    struct ferry_smtp_opts smtp;     /* but for blocks, and proxy, which depends on the client */
    struct ferry__networks proxy_from, xclient_from, xforward_from, trusted, deny;
    struct ferry__limits *limits;
    struct ferry_tls_ctx *tls; /* NULL: none */
    struct ferry_mail_domains *domains;
    struct ferry__memo *saved, *verdicts; /* NULL: nothing is remembered */
};

struct ferry_mail {
    struct ferry_mail_opts opts;
    struct ferry__mail_service *services;
    char hostname[256];
    atomic_ullong counts[FERRY_MAIL_COUNTS];
    pthread_mutex_t lock; /* of maildir */
    struct ferry_maildir *maildir;
};

struct ferry_mail_thread {
    struct ferry_mail *mail;
    struct ferry_loop *loop;
    struct ferry_session_thread session; /* its parts of the clients */
    struct ferry_resolver *resolver;     /* NULL: names are not looked up */
    struct ferry_list doors, sessions;
    struct ferry_timer cut, linger;
    unsigned refusing; /* sessions past the limit that are told so */
    bool draining, lingering, closing;
    unsigned left; /* of what closes behind the sessions */
    void (*drained)(void *);
    void *drained_arg;
};

/* One message, from MAIL to what is told of it. */
struct ferry__mail_tx {
    struct ferry__mail_session *session;
    struct ferry_mail_message message;
    bool has_message;             /* from DATA on */
    bool accepted;                /* counted, and not told what came of it yet */
    enum ferry_smtp_reply broken; /* why it cannot be kept */
    uint64_t spooled;             /* bytes counted in the limits */
    uint64_t began_us, asked_us;
    char refused[FERRY_SMTP_ADDRESS_MAX + 1]; /* the last recipient that was */
    int refused_code;

    /* While it is saved: one verdict for each recipient. */
    struct ferry_mail_verdict *verdicts;
    unsigned nrcpts;
    const struct ferry_smtp_rcpt
        *one;    /* of steps taken one by one: the recipient whose turn it is */
    unsigned at; /* and which it is */
    struct ferry_task next;
    struct ferry_maildir_job job;
    bool known;                         /* it was saved before: see saved.h */
    char why[FERRY_MAIL_WORDS_MAX + 1]; /* what the script's application did */

    /* Answered with 250, until it is known whether the client has seen that. */
    char key[FERRY_MAIL_KEY_LEN + 1], id[FERRY_MAIL_ID_MAX];
    bool written;      /* all that was to be sent has left */
    bool left;         /* the client had closed its side before it was answered */
    bool told;         /* its line is written */
    unsigned commands; /* of the session, when the answer had left */

    struct ferry__log_line line;
};

/* What a session waits for from outside of its connection */
enum ferry__mail_waits {
    FERRY__MAIL_WAITS_NOT,
    FERRY__MAIL_WAITS_RCPT, /* the script's word on a recipient */
    FERRY__MAIL_WAITS_AUTH, /* on a password, or the pause behind a wrong one */
    FERRY__MAIL_WAITS_PEER, /* for what the client's end means, before its message is saved */
    FERRY__MAIL_WAITS_SAVE,
    FERRY__MAIL_WAITS_MAILDIR,
};

struct ferry__mail_session {
    struct ferry_pump pump;
    struct ferry_smtp *smtp;
    struct ferry_tls *tls; /* NULL: none to be had */
    struct ferry_mail_thread *thread;
    struct ferry__mail_service *service;
    struct ferry_list link;
    struct ferry_smtp_client client; /* by the connection's address */
    struct ferry_mail_facts facts;
    struct ferry__mail_forwarded *own; /* what XFORWARD has covered, of this transaction */
    struct ferry_addr addr;            /* whose limits are counted */

    enum ferry__mail_waits waits;
    struct ferry_mail_ask ask;
    struct ferry_timer timer; /* of what it waits for */
    struct ferry_lookup lookup;
    struct ferry_smtp_event held; /* what waits for the client's name */
    struct ferry__mail_tx *tx;
    struct ferry__mail_tx
        *record; /* the one before, of which it is not known whether its 250 was seen */
    struct ferry_timer record_timer;

    bool opened : 1;  /* counted in the limits */
    bool entered : 1; /* with its address */
    bool unlimited : 1;
    bool refused : 1;  /* past the limit */
    bool naming : 1;   /* the lookup is under way */
    bool has_held : 1; /* `held` is set */
    bool ready : 1;    /* it is known who the client is */
    bool quit : 1, told : 1;
    bool gone : 1;    /* nothing can be answered any more */
    bool closing : 1; /* the pump closes */
    bool closed : 1;  /* and has closed; what is being saved is waited for */
};

/* -- mail.c */
void ferry__mail_count(struct ferry_mail *, enum ferry_mail_count, int64_t by);
void ferry__mail_log(const struct ferry_mail *, enum ferry_mail_level, struct ferry_slice);
/* A session has gone. */
void ferry__mail_maybe_drained(struct ferry_mail_thread *);

/* -- service.c */
/* As ferry_mail_new. What was made is closed also after a failure. */
int ferry__mail_service_open(struct ferry__mail_service *, const struct ferry_mail_service *given,
                             const char *hostname, char *why, size_t cap);
void ferry__mail_service_close(struct ferry__mail_service *);

/* -- session.c */
void ferry__mail_session_open(struct ferry_mail_thread *, struct ferry__mail_service *, int fd);
/* Ends it now; its memory goes when the socket is closed and nothing of it is being saved. */
void ferry__mail_session_close(struct ferry__mail_session *);
void ferry__mail_session_drain(struct ferry__mail_session *);
void ferry__mail_session_cut(struct ferry__mail_session *);
/* What was being saved is over, and the connection may have been before. */
void ferry__mail_session_settle(struct ferry__mail_session *);
/* Nobody is there any more for what was asked. Not while a message is being saved. */
void ferry__mail_wait_no_more(struct ferry__mail_session *);
/* Answers what the machine has asked, and sends it. */
void ferry__mail_answer(struct ferry__mail_session *, enum ferry_smtp_reply,
                        struct ferry_slice detail);
/* The same in a script's words, where it has any: the code. */
int ferry__mail_answer_verdict(struct ferry__mail_session *, enum ferry_mail_question,
                               const struct ferry_mail_verdict *, struct ferry_slice detail);
extern const struct ferry_mail_ask_fns ferry__mail_ask_fns;

/* -- admit.c */
/* The connection stands, and the client is who it is: greets or refuses it. */
void ferry__mail_admit(struct ferry__mail_session *, const struct ferry_proxy *);
void ferry__mail_xclient(struct ferry__mail_session *, const struct ferry_smtp_attrs *);
void ferry__mail_starttls(struct ferry__mail_session *);
void ferry__mail_leave(struct ferry__mail_session *); /* its places in the limits */
/* May the event be looked at? Else it is kept until the client's name is known. */
bool ferry__mail_named(struct ferry__mail_session *, const struct ferry_smtp_event *);
void ferry__mail_event(struct ferry__mail_session *, const struct ferry_smtp_event *);

/* -- facts.c */
extern const struct ferry_tls_info ferry__mail_no_tls;
void ferry__facts_begin(struct ferry_mail_facts *, const struct ferry_mail_service *, int fd);
void ferry__facts_client(struct ferry_mail_facts *, const struct ferry_addr *,
                         enum ferry_mail_origin);
/* The addresses of a PROXY header: ours into the facts, the client's into *client. */
void ferry__facts_proxy(struct ferry_mail_facts *, const struct ferry_proxy *,
                        struct ferry_addr *client);
void ferry__facts_name(struct ferry_mail_facts *, const struct ferry_lookup_result *);
void ferry__facts_helo(struct ferry_mail_facts *, const struct ferry_smtp *);
/* True when the address is another one, in *addr (of length 0 when it is not known). */
bool ferry__facts_xclient(struct ferry_mail_facts *, const struct ferry_smtp_attrs *,
                          struct ferry_addr *addr);
/* What of the facts is another's in this transaction; _restore puts it back, and frees it. */
int ferry__facts_xforward(struct ferry_mail_facts *, struct ferry__mail_forwarded **,
                          const struct ferry_smtp_attrs *);
void ferry__facts_restore(struct ferry_mail_facts *, struct ferry__mail_forwarded **);
void ferry__facts_transaction(struct ferry_mail_facts *, const struct ferry_smtp *);

/* -- transaction.c */
void ferry__mail_mail(struct ferry__mail_session *);
void ferry__mail_rcpt(struct ferry__mail_session *, const struct ferry_smtp_event *);
void ferry__mail_rcpt_known(struct ferry__mail_session *, const struct ferry_mail_verdict *);
void ferry__mail_data(struct ferry__mail_session *);
void ferry__mail_body(struct ferry__mail_session *, struct ferry_slice);
/* It ended without an answer of ours: `reply` is the machine's, or NONE. */
void ferry__mail_reset(struct ferry__mail_session *, enum ferry_smtp_reply);
/* Nothing of it is left, but what is needed to tell of it later. */
void ferry__mail_tx_over(struct ferry__mail_session *);

/* -- saving.c */
void ferry__mail_message(struct ferry__mail_session *);
/* Of calls for one recipient after the other, the next. */
void ferry__mail_call_next(struct ferry_task *);
/* More may be known about the client's end. */
void ferry__mail_peer_news(struct ferry__mail_session *);
void ferry__mail_saved(struct ferry__mail_session *, const struct ferry_mail_verdict *, unsigned n);
/* While it drains: its save is waited for no longer. */
void ferry__mail_save_forget(struct ferry__mail_session *);

/* -- record.c */
/* Begins a line: which session, and whose. */
void ferry__mail_line_begin(struct ferry__mail_session *, struct ferry__log_line *,
                            const char *event);
/* Begins the line of the transaction; and what is known when its message is whole. */
void ferry__mail_line_envelope(struct ferry__mail_session *);
void ferry__mail_line_message(struct ferry__mail_session *);
/* A transaction that was not answered with 250: counted and told. A verdict that was answered with
 * `code`; or a reply of ours, or none. */
void ferry__mail_line_no(struct ferry__mail_session *, int code, const struct ferry_mail_verdict *);
void ferry__mail_line_refused(struct ferry__mail_session *, enum ferry_smtp_reply, const char *why);
/* One that was: counted, and told when it is known whether the client has seen it. */
void ferry__mail_record_begin(struct ferry__mail_session *, int code,
                              const struct ferry_mail_verdict *, bool left);
void ferry__mail_record_sent(struct ferry__mail_session *);
void ferry__mail_record_look(struct ferry__mail_session *);
/* The session is over. `failed`: by an error of the connection. */
void ferry__mail_record_end(struct ferry__mail_session *, bool failed);
/* An AUTH that was not answered with yes, for those who watch for people that guess. */
void ferry__mail_auth_line(struct ferry__mail_session *, const struct ferry_smtp_sasl *,
                           enum ferry_smtp_reply);
/* A session that ended otherwise than it should; `reply` was its last word. */
void ferry__mail_session_line(struct ferry__mail_session *, const char *result,
                              enum ferry_smtp_reply, const char *why);
const char *ferry__mail_reply_word(enum ferry_smtp_reply, char out[32]);

#endif
