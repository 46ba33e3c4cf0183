/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SMTP_INTERNAL_H
#define FERRY_SMTP_INTERNAL_H

#include <stdlib.h>

#include "smtp/smtp.h"

/*
 * The machine: smtp.c takes input and hands out events, line.c finds command lines, commands.c has
 * their table, transaction.c MAIL, RCPT and DATA, auth.c AUTH, STARTTLS and XCLIENT, data.c reads
 * messages, chunk.c BDAT, answer.c takes the owner's answers, say.c writes replies, time.c waits.
 */

/* More of a line that is too long is not waited for. */
#define FERRY__SMTP_SKIP_MAX 65536
/* RCPTs past the limit, each told to come later, before they are taken for an attack. */
#define FERRY__SMTP_OVERSHOOT_MAX 1000
/* A smaller chunk that is not the last one counts as junk. */
#define FERRY__SMTP_TINY_CHUNK 256

#define FERRY__SMTP_BIT(ev) ((uint16_t)(1u << FERRY_SMTP_EV_##ev))

enum ferry__smtp_phase {
    FERRY__SMTP_PROXY,   /* the PROXY header is due */
    FERRY__SMTP_READY,   /* not greeted yet */
    FERRY__SMTP_DELAY,   /* the greeting is due; nothing may come before it */
    FERRY__SMTP_COMMAND, /* between commands, or an answer of the owner is due to one */
    FERRY__SMTP_SASL,    /* a response to a challenge is due */
    FERRY__SMTP_DATA,    /* a message, up to its dot */
    FERRY__SMTP_CHUNK,   /* a message, up to the end of the chunk */
    FERRY__SMTP_TLS,     /* the handshake */
    FERRY__SMTP_LINGER,  /* all is said; input is dropped */
    FERRY__SMTP_CLOSED,
};

/* Where in a line the last byte of a message was. */
enum ferry__smtp_at {
    FERRY__SMTP_AT_BOL, /* behind CR LF, or before the first byte */
    FERRY__SMTP_AT_TEXT,
    FERRY__SMTP_AT_LF, /* behind a bare LF: a dot is text here */
    FERRY__SMTP_AT_CR,
    FERRY__SMTP_AT_DOT,    /* behind CR LF . */
    FERRY__SMTP_AT_DOT_CR, /* behind CR LF . CR */
};

enum ferry__smtp_head {
    FERRY__SMTP_HEAD_BOL,
    FERRY__SMTP_HEAD_CR,    /* behind a CR at the beginning of a line */
    FERRY__SMTP_HEAD_NAME,  /* in what may be a field's name */
    FERRY__SMTP_HEAD_BLANK, /* behind it, before the colon */
    FERRY__SMTP_HEAD_LINE,  /* in the rest of a line */
    FERRY__SMTP_HEAD_DONE,
};

struct ferry__smtp_rcpt {
    struct ferry_smtp_rcpt rcpt; /* first */
    struct ferry_smtp_path path;
    char orcpt[];
};

/* From a MAIL that was good in itself; begun when the owner says yes. */
struct ferry__smtp_tx {
    struct ferry_smtp_envelope env;
    struct ferry_smtp_rcpt **tail;
    struct ferry__smtp_rcpt *asked; /* the recipient in question */
    struct ferry_smtp_rcpt *next;   /* LMTP: whose answer to the message is due */
    unsigned over;                  /* recipients past the limit */
    struct ferry_smtp_path path;
    struct ferry_smtp_mail_params params;
    struct ferry_smtp_rcpt_params rcpt_params;
};

/* BODY events that may wait at once; and how many one step of the reading may add. */
#define FERRY__SMTP_PIECES 4
#define FERRY__SMTP_STEP_PIECES 2

/* How far the reading of a message has come; all zero before it. */
struct ferry__smtp_text {
    struct ferry_slice piece[FERRY__SMTP_PIECES]; /* of the BODY events that wait */
    uint64_t line_len;                            /* of the line so far, with its CR */
    uint32_t head_len;
    uint16_t name_len; /* of the field's name so far */
    uint8_t npieces, told;
    uint8_t at;     /* enum ferry__smtp_at */
    uint8_t head;   /* enum ferry__smtp_head */
    uint8_t refuse; /* enum ferry_smtp_reply: what is wrong with it, or NONE */
    bool received;  /* the name so far begins "received"; */
    bool mbox;      /* "from" */
    bool binary;    /* BODY=BINARYMIME */
};

struct ferry_smtp {
    struct ferry_chain out;
    struct ferry_smtp_opts opts; /* zeros replaced by the defaults */
    struct ferry_smtp_client client;

    uint64_t now_ms;     /* the latest time anybody told */
    uint64_t begun_ms;   /* the session */
    uint64_t wait_since; /* when what the phase waits for began */
    uint64_t send_since; /* when output last left, or began to wait */
    uint64_t text_since; /* when the message began, with its first chunk */
    uint64_t data_since; /* DATA, CHUNK: when it began, */
    uint64_t data_last;  /* when its latest byte came, */
    uint64_t data_seen;  /* and how many did */
    uint64_t paused_since;
    uint64_t held_until;
    uint64_t chunk_left; /* CHUNK: bytes still to come */
    uint64_t chunk_len;
    unsigned chunk_rcpts; /* LMTP: replies to a last chunk that is refused, or behind such a one */

    char *line; /* a command that came in part */
    uint32_t line_len;
    uint32_t skipped; /* bytes of a line that is too long */
    char *held;       /* a reply that waits, for its time or for a chunk's end */
    struct ferry__smtp_tx *tx;
    struct ferry_smtp_sasl *sasl;
    struct ferry_smtp_attrs *attrs;
    struct ferry__smtp_text text;
    struct ferry_proxy proxy;
    struct ferry_smtp_counts counts;
    unsigned errors, junk; /* since the last message that was taken */
    unsigned auth_fails;

    uint16_t pending;  /* 1 << event type for each event that waits, BODY excepted */
    uint16_t asked;    /* 1 << event type: an answer to it is due */
    uint16_t held_len; /* 0: none */
    uint8_t phase;     /* enum ferry__smtp_phase */
    uint8_t reset;     /* enum ferry_smtp_reply of the RESET and GONE that wait */
    uint8_t gone;
    uint8_t drain;      /* the reply it ends with */
    uint8_t chunk_says; /* the reply to give behind a chunk, NONE when nothing is wrong */

    bool extended : 1; /* EHLO or LHLO */
    bool helo_valid : 1;
    bool tls : 1;
    bool authenticated : 1;
    bool login : 1;        /* XCLIENT LOGIN */
    bool chunk_last : 1;   /* of the message */
    bool chunk_held : 1;   /* the held reply waits for the chunk's end */
    bool chunk_drop : 1;   /* it is thrown away, and what is to be said is said or held */
    bool chunk_failed : 1; /* a chunk was refused; those behind it are too */
    bool forwarded : 1;    /* XFORWARD was said */
    bool more : 1;         /* more bytes wait behind the command */
    bool early : 1;        /* bytes came before the answer that they had to wait for */
    bool eof : 1;          /* the client has closed its sending side */
    bool draining : 1;
    bool paused : 1;
    bool stalled : 1; /* the output is given up */
    bool has_proxy : 1;
    bool quit : 1;
    char helo[FERRY_SMTP_DOMAIN_MAX + 1];
};

_Static_assert(sizeof(struct ferry_smtp) <= 1536, "an idle session is small");
_Static_assert(FERRY_SMTP_REPLIES < 256, "replies fit in a byte");

static inline bool ferry__smtp_in_tx(const struct ferry_smtp *m)
{
    return m->tx && m->tx->env.begun;
}

static inline bool ferry__smtp_lenient(const struct ferry_smtp *m)
{
    return m->client.trusted || m->opts.no_sync;
}

static inline bool ferry__smtp_over(const struct ferry_smtp *m)
{
    return m->phase >= FERRY__SMTP_LINGER;
}

/* -- smtp.c */

static inline void ferry__smtp_tell(struct ferry_smtp *m, enum ferry_smtp_event_type ev)
{
    m->pending |= (uint16_t)(1u << ev);
}

/* An event that wants an answer. */
static inline void ferry__smtp_ask(struct ferry_smtp *m, enum ferry_smtp_event_type ev)
{
    m->asked = (uint16_t)(1u << ev);
    m->pending |= m->asked;
    m->early = false;
}

/* The next wait begins now. */
static inline void ferry__smtp_wait(struct ferry_smtp *m, enum ferry__smtp_phase phase)
{
    m->phase = (uint8_t)phase;
    m->wait_since = m->now_ms;
}

/* The transaction is over; with an event for the owner, unless that knows. Its memory stays until
 * forget. */
void ferry__smtp_tx_end(struct ferry_smtp *, bool tell, enum ferry_smtp_reply);
/* RSET, HELO, STARTTLS: no transaction, no chunks, nothing forwarded. */
void ferry__smtp_reset(struct ferry_smtp *);
/* The end: `told` was the last reply. What is to be said is written. */
void ferry__smtp_gone(struct ferry_smtp *, enum ferry_smtp_reply told, bool linger);
/* Frees what events pointed to: at the beginning of each call that may make new ones. */
void ferry__smtp_forget(struct ferry_smtp *);
/* At the end of each call: a session that drains may end now, and one that memory lacks for must.
 */
void ferry__smtp_settle(struct ferry_smtp *);

/* -- say.c */

/* Whole lines, that were made before. */
void ferry__smtp_put(struct ferry_smtp *, struct ferry_slice);
/* A reply that says yes, or whose errors are not counted. */
void ferry__smtp_say(struct ferry_smtp *, enum ferry_smtp_reply, struct ferry_slice detail);
/* A refusal: counted; after many it waits, and then it is the end. False then. */
bool ferry__smtp_no(struct ferry_smtp *, enum ferry_smtp_reply, struct ferry_slice detail);
bool ferry__smtp_no_line(struct ferry_smtp *, struct ferry_slice line);
/* One more error: false when it was one too many, and the session has ended. */
bool ferry__smtp_error(struct ferry_smtp *);
/* The last word. */
void ferry__smtp_end(struct ferry_smtp *, enum ferry_smtp_reply, struct ferry_slice detail);
void ferry__smtp_hold(struct ferry_smtp *, struct ferry_slice line, uint64_t until_ms);
void ferry__smtp_unhold(struct ferry_smtp *);
/* The greeting, and the answers to HELO and EHLO. */
void ferry__smtp_hello(struct ferry_smtp *);
void ferry__smtp_say_helo(struct ferry_smtp *);
void ferry__smtp_say_ehlo(struct ferry_smtp *);
/* "26214400": for a detail. */
struct ferry_slice ferry__smtp_number(uint64_t, char out[20]);

/* -- line.c */

enum ferry__smtp_line {
    FERRY__SMTP_LINE_MORE,
    FERRY__SMTP_LINE_WHOLE,
    FERRY__SMTP_LINE_LONG,    /* one is over that was too long */
    FERRY__SMTP_LINE_ENDLESS, /* its end is not waited for */
    FERRY__SMTP_LINE_NOMEM,
};

/* Takes bytes up to the end of a line of at most `max` with its end: how many, and what became of
 * it. *line lies in p or in m->line, which is to be freed with line_done. */
size_t ferry__smtp_line_take(struct ferry_smtp *, const char *p, size_t n, size_t max,
                             enum ferry__smtp_line *out, struct ferry_slice *line);
void ferry__smtp_line_done(struct ferry_smtp *);
/* Cuts the end of a line off: false when it is none that this client may use. */
bool ferry__smtp_line_chop(struct ferry_slice *line, bool bare_lf);
/* No control bytes but tabs, and well-formed UTF-8. */
bool ferry__smtp_line_good(struct ferry_slice);

/* -- commands.c */

/* One line, without its end. */
void ferry__smtp_command(struct ferry_smtp *, struct ferry_slice line);
/* "HELO EHLO MAIL ...", for HELP. */
struct ferry_slice ferry__smtp_verbs(char *out, size_t cap);

/* Each command's function is given what stands behind the verb, blanks cut off. */
typedef void ferry__smtp_command_fn(struct ferry_smtp *, struct ferry_slice args);

/* -- transaction.c */

ferry__smtp_command_fn ferry__smtp_mail, ferry__smtp_rcpt, ferry__smtp_data;
void ferry__smtp_tx_free(struct ferry__smtp_tx *);
void ferry__smtp_rcpt_accept(struct ferry_smtp *);
/* Why no message can come now: NONE when it can. */
enum ferry_smtp_reply ferry__smtp_no_message(const struct ferry_smtp *);

/* -- auth.c */

ferry__smtp_command_fn ferry__smtp_auth, ferry__smtp_starttls, ferry__smtp_xclient,
    ferry__smtp_xforward;
/* Takes a response, or a part of it. */
size_t ferry__smtp_recv_sasl(struct ferry_smtp *, const char *p, size_t n);
void ferry__smtp_auth_over(struct ferry_smtp *);

/* -- data.c */

/* The message begins; and a part of it that is waited for. */
void ferry__smtp_text_begin(struct ferry_smtp *);
void ferry__smtp_text_wait(struct ferry_smtp *, enum ferry__smtp_phase);
/*
 * Takes a part of a message: how many bytes, with pieces of the message, or none when it is
 * refused. Stops behind the end (*end), when all pieces are full, or with all of n. Always takes at
 * least one of them.
 */
size_t ferry__smtp_text(struct ferry_smtp *, const char *p, size_t n, bool dots, bool *end);
/* A message in chunks that does not end with a line's end gets it. */
void ferry__smtp_text_complete(struct ferry_smtp *);
/* The message is there to its end: the owner is asked, or it is refused. */
void ferry__smtp_text_end(struct ferry_smtp *);
/* It is refused, to each recipient in LMTP, and its transaction over. */
void ferry__smtp_text_refused(struct ferry_smtp *, enum ferry_smtp_reply);
size_t ferry__smtp_recv_data(struct ferry_smtp *, const char *p, size_t n);

/* -- chunk.c */

ferry__smtp_command_fn ferry__smtp_bdat;
size_t ferry__smtp_recv_chunk(struct ferry_smtp *, const char *p, size_t n);
/* The owner takes the message, whose first chunk this is; or not: the reply to give. */
void ferry__smtp_chunk_go(struct ferry_smtp *);
void ferry__smtp_chunk_refused(struct ferry_smtp *, struct ferry_slice line);

/* -- answer.c */

/* One reply line of LMTP, for this recipient. */
size_t ferry__smtp_reply_to(const struct ferry_smtp_rcpt *, enum ferry_smtp_reply,
                            struct ferry_slice detail, char out[FERRY_SMTP_LINE_MAX]);

/* -- time.c */

/* Every call that is told the time comes here first. */
void ferry__smtp_set_now(struct ferry_smtp *, uint64_t now_ms);

#endif
