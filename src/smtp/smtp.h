/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SMTP_SMTP_H
#define FERRY_SMTP_SMTP_H

#include "base/machine.h"
#include "smtp/origin.h"
#include "smtp/params.h"
#include "smtp/reply.h"
#include "smtp/sasl.h"

/*
 * One SMTP or LMTP server session (RFC 5321, 2033, 2920, 3030, 3207, 4954): a sans-I/O machine, see
 * base/machine.h for the shape. It knows the dialogue and keeps the envelope; who may receive and
 * where mail goes is the owner's to answer. Commands are looked at one at a time: while an answer
 * of the owner is due no further input is taken, so replies are given in order, one for each
 * command (and in LMTP one for each recipient).
 *
 * A message ends with CR LF . CR LF, or its last chunk, and nothing else (RFC 5321, 4.1.1.4), also
 * while it is thrown away. After the end of each transaction, good or bad, nothing of it is left.
 */

/* X(name, text): what is done about line ends that are not CR LF in a message */
#define FERRY_SMTP_BARE_MAP(X)                                                                     \
    X(DEFAULT, "auto")        /* reject on SMTP, normalize on LMTP and for trusted clients */      \
    X(REJECT, "reject")       /* refused at its true end, and the connection closed */             \
    X(NORMALIZE, "normalize") /* bare LF becomes CR LF, never an end of the message; CR stays */   \
    X(KEEP, "keep")           /* passed on as it came */

enum ferry_smtp_bare {
#define X(name, text) FERRY_SMTP_BARE_##name,
    FERRY_SMTP_BARE_MAP(X)
#undef X
};

/* Every zero means the default that stands beside it. Strings outlive the machine. */
struct ferry_smtp_opts {
    struct ferry_blocks *blocks; /* outlives the machine */
    bool lmtp;
    const char *hostname; /* in the greeting and in EHLO's first line */
    bool proxy;           /* a PROXY header comes first */

    bool starttls;              /* offered */
    bool tls;                   /* TLS is there from the beginning */
    bool tls_required;          /* before MAIL */
    bool auth, auth_required;   /* offered; needed before MAIL */
    bool auth_insecure;         /* also without TLS */
    bool no_binarymime, no_dsn; /* not offered. The first: the scripts could not be given it */
    bool no_sync;               /* a client that talks out of turn is not refused */
    bool strict;                /* addresses as RFC 5321 has them, no blanks before '<' */
    bool keep_nul;              /* NUL bytes in a message are kept, not refused */
    enum ferry_smtp_bare bare_newline;
    bool one_rcpt;   /* SMTP: a second recipient is told to come with a transaction of its own */
    bool one_bounce; /* a null sender may name one recipient */

    uint64_t size_max;       /* of a message, dots unstuffed: 26,214,400; UINT64_MAX: none */
    uint32_t line_max;       /* of a command with CR LF: 2048 */
    uint32_t data_line_max;  /* of a line of a message: 1 MiB */
    uint32_t header_max;     /* of a message's header: 262,144 */
    unsigned rcpts_max;      /* 100 */
    unsigned mails_max;      /* messages in one session: 100 */
    unsigned hops_max;       /* Received fields: 100 */
    unsigned errors_soft;    /* replies 4xx and 5xx that go at once: 10; then each waits */
    unsigned error_delay_ms; /* 1000 */
    unsigned errors_max;     /* and then 421: 20 */
    unsigned junk_max;       /* NOOP, RSET, VRFY, HELO, tiny chunks; more are errors: 100 */
    unsigned auth_fails_max; /* 3 */

    uint32_t proxy_ms;       /* for the PROXY header: 5000 */
    uint32_t greet_delay_ms; /* 0: none. Who talks before the greeting is refused */
    uint32_t idle_ms;        /* until the next command: 300,000 */
    uint32_t command_ms;     /* from a command's first byte to its last: 60,000 */
    uint32_t data_idle_ms;   /* no byte of a message: 180,000 */
    uint32_t data_rate_min;  /* bytes per second over a message after 30 s: 500 */
    uint32_t data_ms;        /* a whole message: 1,800,000 */
    uint32_t session_ms;     /* 7,200,000 */
    uint32_t send_stall_ms;  /* a reply is not taken: 60,000 */
    uint32_t linger_ms;      /* input is still read after the last reply: 2000 */
};

struct ferry_smtp_rcpt {
    struct ferry_smtp_rcpt *next;
    const struct ferry_smtp_path *path;
    unsigned notify;
    const char *orcpt; /* "" */
    void *user;        /* the owner's; NULL at first */
};

/* The transaction: from the MAIL that was accepted to its end. */
struct ferry_smtp_envelope {
    bool begun;
    const struct ferry_smtp_path *from;
    const struct ferry_smtp_mail_params *params;
    struct ferry_smtp_rcpt *rcpts; /* accepted ones, in their order; duplicates in LMTP only */
    unsigned nrcpts;
    unsigned refused; /* recipients */
    uint64_t size;    /* of the message so far, as it is handed out */
    unsigned hops;    /* Received fields in its header */
    bool chunked;     /* it comes by BDAT */
    unsigned number;  /* of the message in this session, from 1 */
};

/* X(name): events. Those marked * want ferry_smtp_answer (or another function, named there). */
#define FERRY_SMTP_EVENT_MAP(X)                                                                    \
    X(READY) /* * the connection stands (and the PROXY header is read: `proxy`, if one was due).   \
                Answer with ferry_smtp_greet or ferry_smtp_refuse */                               \
    X(HELO)  /* the client named itself: `name`, in `helo` */                                      \
    X(MAIL)  /* * `path` is the sender: FERRY_SMTP_MAIL_OK or a refusal */                         \
    X(RCPT)  /* * `path` is a recipient, not yet in the envelope: FERRY_SMTP_RCPT_OK adds it */    \
    X(DATA) /* * a message is about to come: FERRY_SMTP_SEND_DATA, or a refusal (with BDAT too) */ \
    X(BODY) /* `data`: bytes of it, as they are to be kept */                                      \
    X(MESSAGE)  /* * it is whole, and nothing is wrong with it: SAVED with an id, or a refusal; in \
                   LMTP one answer for each recipient, in order */                                 \
    X(RESET)    /* the transaction is over without a MESSAGE (or after its answer was a refusal of \
                   the machine's own: `reply`): the owner forgets what it has of it */             \
    X(STARTTLS) /* the reply that lets it begin is written, nothing behind it was or will be taken \
                   as plain text: ferry_smtp_tls when TLS stands, or close */                      \
    X(AUTH)     /* * `sasl`: FERRY_SMTP_AUTH_OK, AUTH_WRONG or AUTH_BROKEN */                      \
    X(XCLIENT) /* * `attrs`: the client is somebody else. ferry_smtp_greet or ferry_smtp_refuse */ \
    X(XFORWARD) /* `attrs`: of this transaction */                                                 \
    X(QUIT)     /* the client said so */                                                           \
    X(GONE)     /* the session is over otherwise: `reply` says what was told, FERRY_SMTP_NONE: the \
                   client left; in the middle of a transaction RESET came before */

enum ferry_smtp_event_type {
#define X(name) FERRY_SMTP_EV_##name,
    FERRY_SMTP_EVENT_MAP(X)
#undef X
};

/* What it points to lives until the next recv or answer. */
struct ferry_smtp_event {
    enum ferry_smtp_event_type type;
    const struct ferry_proxy *proxy; /* NULL: none was due */
    struct ferry_slice name;
    const struct ferry_smtp_path *path;
    const struct ferry_smtp_rcpt_params *rcpt_params; /* of RCPT */
    struct ferry_slice data;
    enum ferry_smtp_reply reply;
    const struct ferry_smtp_sasl *sasl;
    const struct ferry_smtp_attrs *attrs;
};

struct ferry_smtp;

struct ferry_smtp *ferry_smtp_new(const struct ferry_smtp_opts *, uint64_t now_ms);
void ferry_smtp_free(struct ferry_smtp *);

extern const struct ferry_machine ferry_smtp_machine;

/* recv with n == 0 is the client's end: what it had sent before is still answered when a complete
 * QUIT is in it, else it is gone, and a message without its end is lost. recv never fails. */
FERRY_MUST_CHECK
ssize_t ferry_smtp_recv(struct ferry_smtp *, const char *p, size_t n, uint64_t now_ms);
FERRY_MUST_CHECK
int ferry_smtp_event(struct ferry_smtp *, struct ferry_smtp_event *out);
struct ferry_chain *ferry_smtp_output(struct ferry_smtp *);
void ferry_smtp_sent(struct ferry_smtp *, size_t n, uint64_t now_ms);
uint64_t ferry_smtp_deadline(const struct ferry_smtp *);
void ferry_smtp_tick(struct ferry_smtp *, uint64_t now_ms);
bool ferry_smtp_finished(const struct ferry_smtp *);

/* Who the client is to us, known when its address is. */
struct ferry_smtp_client {
    bool trusted;           /* may talk out of turn, end commands with LF, send bare newlines */
    bool xclient, xforward; /* may use these; others are not even told of them */
};

/* Greets it, after the delay there may be; again after XCLIENT, which forgets all that was said. */
void ferry_smtp_greet(struct ferry_smtp *, const struct ferry_smtp_client *, uint64_t now_ms);
/* This reply, and the end. NONE: the end without a word. At READY and XCLIENT. */
void ferry_smtp_refuse(struct ferry_smtp *, enum ferry_smtp_reply, uint64_t now_ms);

/*
 * Answers what is asked. `detail` is for the reply's %s. In LMTP, for MESSAGE: the answer of the
 * next recipient, of whom the machine writes the address before the text. A 421 also ends the
 * session. Only when an answer is due: FERRY_EUSAGE otherwise, and then nothing happens.
 */
int ferry_smtp_answer(struct ferry_smtp *, enum ferry_smtp_reply, struct ferry_slice detail,
                      uint64_t now_ms);
/* The same with words of somebody else's: see ferry_smtp_reply_custom. Only a 2xx says yes; 3xx and
 * 421 are FERRY_EUSAGE. */
int ferry_smtp_answer_custom(struct ferry_smtp *, int code, struct ferry_slice enhanced,
                             struct ferry_slice text, uint64_t now_ms);

/* TLS stands: all that was said before is forgotten (RFC 3207, 4.2). */
void ferry_smtp_tls(struct ferry_smtp *, uint64_t now_ms);

/* No further input is taken while on: the owner's spool is slow. BODY events only. */
void ferry_smtp_pause(struct ferry_smtp *, bool on, uint64_t now_ms);

/* Ends it when no transaction is under way, with 421; one that is may go on until its answer, and
 * gets the 421 behind that. Twice has no further effect. */
void ferry_smtp_drain(struct ferry_smtp *, enum ferry_smtp_reply, uint64_t now_ms);
/* Ends it now: this reply, and the end; a message under way is lost (its sender has it still). */
void ferry_smtp_end(struct ferry_smtp *, enum ferry_smtp_reply, uint64_t now_ms);

/* Is the client's side still open as far as is known? Asked before a message is saved: false after
 * its end came, unless a QUIT came before that. */
bool ferry_smtp_is_there(const struct ferry_smtp *);

const struct ferry_smtp_envelope *ferry_smtp_envelope(const struct ferry_smtp *);
const char *ferry_smtp_helo(const struct ferry_smtp *); /* as sent; "" before it */
bool ferry_smtp_helo_valid(const struct ferry_smtp *);  /* it could be a host's name or address */
/* "SMTP", "ESMTPSA", "UTF8LMTPS" ...: RFC 3848, 6531; static memory. */
const char *ferry_smtp_with(const struct ferry_smtp *);
const char *ferry_smtp_helo_verb(const struct ferry_smtp *); /* "HELO", "EHLO", "LHLO" or "" */

/* What was counted since the beginning; for the log. */
struct ferry_smtp_counts {
    unsigned commands, errors, mails;
};
const struct ferry_smtp_counts *ferry_smtp_counts(const struct ferry_smtp *);

#endif
