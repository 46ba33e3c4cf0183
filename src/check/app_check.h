/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CHECK_APP_CHECK_H
#define FERRY_CHECK_APP_CHECK_H

#include <sys/types.h>

#include "base/slice.h"
#include "check/check.h"
#include "check/wire.h"
#include "ferry/record.h"
#include "io/addr.h"

/*
 * What the cases for applications share: the target, conversations with it, and what was found out
 * about it before the first case.
 *
 * How deep a case can look depends on the application. Every one that answers requests can be seen
 * from outside; for the rest there is the probe protocol: a request with
 * QUERY_STRING=ferry-check=WORD asks the program to do something particular. ferry-check(1)
 * describes the words.
 */

/* X(name, word): the words of the probe protocol; `about` tells which of them a program knows. */
#define FERRY__WORD_MAP(X)                                                                         \
    X(ECHO, "echo")         /* the body, each piece as it comes */                                 \
    X(LENGTH, "length")     /* how long the body was, when it is over */                           \
    X(PARAMS, "params")     /* all params */                                                       \
    X(GET, "get")           /* the param called name= */                                           \
    X(ENVIRON, "environ")   /* the variable called name= of its process environment */             \
    X(STATUS, "status")     /* ends with app status n= */                                          \
    X(STDERR, "stderr")     /* n= bytes on STDERR, then a short answer */                          \
    X(MIXED, "mixed")       /* n= lines on STDOUT and STDERR in turn */                            \
    X(SIZE, "size")         /* n= bytes of content in one write */                                 \
    X(SLEEP, "sleep")       /* answers after ms= */                                                \
    X(SLOW, "slow")         /* n= lines, flushed, ms= apart */                                     \
    X(TINY, "tiny")         /* n= writes of one byte, not flushed */                               \
    X(EMPTIES, "empties")   /* writes of nothing between writes of something */                    \
    X(NONE, "none")         /* writes nothing at all */                                            \
    X(UNREAD, "unread")     /* answers without reading the body */                                 \
    X(STRAY, "stray")       /* writes to descriptors 1 and 2, then answers */                      \
    X(ABORT, "abort")       /* waits for its abort, ms= at most; ends with app status 77 */        \
    X(ABORTS, "aborts")     /* how many aborts were seen so far */                                 \
    X(VARIABLE, "variable") /* an authorizer's 200 with variables */                               \
    X(DENY, "deny")         /* an authorizer's 403 with content */                                 \
    X(DATA, "data")         /* a filter: reads its body and DATA, tells their lengths */           \
    X(CACHE, "cache")       /* a filter that answers without reading DATA */

enum {
#define X(name, word) FERRY__WORD_AT_##name,
    FERRY__WORD_MAP(X)
#undef X
        FERRY__WORDS
};

/* What a case needs: words, and of the application: */
enum {
#define X(name, word) FERRY__WORD_##name = 1 << FERRY__WORD_AT_##name,
    FERRY__WORD_MAP(X)
#undef X
        FERRY__NEEDS_EARLY = 1 << 22,  /* answers before STDIN is over: no filter */
    FERRY__NEEDS_PROGRAM = 1 << 23,    /* it is ours to start */
    FERRY__NEEDS_KEEP = 1 << 24,       /* keeps connections */
    FERRY__NEEDS_VALUES = 1 << 25,     /* answers GET_VALUES */
    FERRY__NEEDS_MPX = 1 << 26,        /* multiplexes */
    FERRY__NEEDS_NO_MPX = 1 << 27,     /* does not */
    FERRY__NEEDS_CONNS = 1 << 28,      /* serves two connections at once */
    FERRY__NEEDS_AUTHORIZER = 1 << 29, /* plays this role */
    FERRY__NEEDS_FILTER = 1 << 30,
};

/* The word shorter than its bits. */
#define FERRY__ABORT_STATUS 77

/* -- the target (app_target.c)
 * -------------------------------------------------------------------------------------------------
 */

#define FERRY__INSTANCES_MAX 4

/* A running copy of the program, or nothing (pid 0). */
struct ferry__instance {
    pid_t pid;
    int pidfd;
    int listener;
    int err; /* a file with what it wrote on its stderr; -1 */
    struct ferry_addr addr;
    bool ended; /* and was waited for; then: */
    int status;
};

enum ferry__values { FERRY__MAX_CONNS, FERRY__MAX_REQS, FERRY__MPXS_CONNS, FERRY__VALUES };

struct ferry__target {
    const struct ferry_check_opts *opts;
    struct ferry_addr addr;
    char dir[64];                                     /* a private folder for sockets; "" */
    struct ferry__instance main;                      /* which most cases talk with */
    struct ferry__instance own[FERRY__INSTANCES_MAX]; /* of the case that runs */
    unsigned nown, nsockets;
    bool lost;     /* it no longer answers, and nothing can be done about that */
    char why[256]; /* ferry__target_open failed */

    /* What was found out before the first case. */
    bool answers, keeps, has_values, multiplexes, concurrent;
    bool plays[4];              /* by role */
    long values[FERRY__VALUES]; /* -1: not said */
    unsigned words;             /* bits */
    bool probe;
    uint16_t role; /* of plain requests */
    int status;    /* that a plain request is answered with: 200. What others than probes answer to
                      other requests is their own affair, as long as it is no server error */
};

static inline struct ferry__target *ferry__target(struct ferry_check *c)
{
    return c->user;
}

enum ferry__family { FERRY__UNIX, FERRY__TCP4, FERRY__TCP6 };

struct ferry__start {
    enum ferry__family family;
    const char *const *env; /* as of ferry_spawn */
    const char *shell;      /* what /bin/sh does with the program as "$@"; NULL: just executes it */
    int input;              /* becomes descriptor 0 in the place of a listener, > 0; else 0 */
    int out;                /* becomes 1, > 0; else /dev/null */
    const struct ferry__instance *beside; /* shares the listener of this one; NULL */
};

/* Starts a copy of the program for this case; it ends with the case. Failing fails the case. */
struct ferry__instance *ferry__instance_start(struct ferry_check *, const struct ferry__start *);

/* Has it ended? */
bool ferry__instance_is_over(struct ferry__instance *);
/* Waits for that: false after ms. */
bool ferry__instance_wait(struct ferry__instance *, unsigned ms);
/* Its end in words: "exit status 1", "signal 11 (Segmentation fault)", with what it said last. */
const char *ferry__instance_end(struct ferry__instance *, char *buf, size_t cap);
/* What it wrote on its stderr so far: how many bytes of it are in buf (always NUL-terminated). */
size_t ferry__instance_said(const struct ferry__instance *, char *buf, size_t cap);
/* Kills it. */
void ferry__instance_stop(struct ferry__instance *);
/* Kilobytes of memory that are its own, or -1. */
long ferry__instance_rss(const struct ferry__instance *);

/* Opens the folder and the first copy: 0 or an error, and says why in t->why. To be closed in any
 * case. */
int ferry__target_open(struct ferry__target *, const struct ferry_check_opts *);
/* Starts the first copy (again): 0 or -errno with *step. */
int ferry__target_start(struct ferry__target *, const char **step);
void ferry__target_close(struct ferry__target *);

/* -- conversations (app_conv.c)
 * -------------------------------------------------------------------------------------------------
 */

struct ferry__text {
    char *p;
    size_t len, cap;
};

/* All that came for one request; faults are counted, not judged. */
struct ferry__reply {
    struct ferry__reply *next;
    uint16_t id;
    struct ferry__text out, err;
    unsigned out_records, err_records; /* with content */
    unsigned out_ends, err_ends;       /* empty ones */
    unsigned out_late, err_late;       /* records behind the empty one */
    unsigned late;                     /* records behind END_REQUEST */
    unsigned ends;                     /* END_REQUESTs */
    size_t content_max;                /* of a STDOUT record */
    unsigned end_len;                  /* content of END_REQUEST */
    uint32_t app_status;
    uint8_t protocol_status;
    bool out_open, err_open; /* at END_REQUEST: begun and not ended */
    uint64_t ended_at;       /* ferry_check_now */
    unsigned order;          /* of END_REQUEST on its connection: 1, 2 ... */
};

struct ferry__conv {
    struct ferry_check *c;
    struct ferry_wire *w;
    struct ferry__reply *replies; /* the last begun first */
    unsigned norder;
    /* Management records. */
    unsigned nvalues, nunknown;
    unsigned char values[512]; /* of the last GET_VALUES_RESULT */
    size_t values_len;
    unsigned char unknown[8]; /* of the last UNKNOWN_TYPE */
    size_t unknown_len;
    /* Of all records. */
    unsigned records, unaligned, reserved, foreign, mixed_up;
    uint8_t bad_version;
    int end; /* what reading returned last when it was no record; else 1 */
};

/* A new connection to the target, or to an instance of the case. Fails the case if there is none.
 */
struct ferry__conv *ferry__conv_open(struct ferry_check *);
struct ferry__conv *ferry__conv_open_to(struct ferry_check *, const struct ferry_addr *);
/* From an address of 127.0.0.0/8, such as "127.0.0.3". */
struct ferry__conv *ferry__conv_open_from(struct ferry_check *, const struct ferry_addr *,
                                          const char *from);

/* Everything below only puts, and ferry__conv_send sends. Sending to a peer that has gone is no
 * failure; reading tells. */
void ferry__conv_send(struct ferry__conv *);

void ferry__conv_begin(struct ferry__conv *, uint16_t id, uint16_t role, uint8_t flags);
/* A request whose BEGIN_REQUEST the case puts itself. */
void ferry__conv_expect(struct ferry__conv *, uint16_t id);
void ferry__conv_abort(struct ferry__conv *, uint16_t id);
/* The params of a request with a probe word ("size&n=5") or without (NULL); body_len -1 is a GET.
 * Without the end of their stream. */
void ferry__conv_params(struct ferry__conv *, uint16_t id, const char *word, long body_len);
/* The same as bytes, for memory that goes with the case. */
struct ferry_slice ferry__conv_pairs(struct ferry_check *, const char *word, long body_len);
void ferry__conv_pair(struct ferry__conv *, uint16_t id, struct ferry_slice name,
                      struct ferry_slice value);
void ferry__conv_stream(struct ferry__conv *, unsigned type, uint16_t id, const void *, size_t n);
/* The end of a stream; of STDIN where plain requests are a filter's, of DATA too. */
void ferry__conv_end(struct ferry__conv *, unsigned type, uint16_t id);
/* A whole request in the role of plain ones. */
void ferry__conv_get(struct ferry__conv *, uint16_t id, uint8_t flags, const char *word);
void ferry__conv_post(struct ferry__conv *, uint16_t id, uint8_t flags, const char *word,
                      const void *body, size_t n);
/* A query for variables, by names with blanks between: "FCGI_MAX_CONNS FCGI_X". */
void ferry__conv_query(struct ferry__conv *, const char *names);

/* Reads one record and files it: as ferry_wire_read. */
int ferry__conv_read(struct ferry__conv *, unsigned ms);

/* The reply to the last request begun with this id, as far as it came; never NULL. */
struct ferry__reply *ferry__conv_reply(struct ferry__conv *, uint16_t id);

/* Reads until the request has ended; fails the case when it does not. */
struct ferry__reply *ferry__conv_await(struct ferry__conv *, uint16_t id);
/* The same, and it must have been answered well: REQUEST_COMPLETE with the usual status. */
struct ferry__reply *ferry__conv_await_good(struct ferry__conv *, uint16_t id);
/* The same, and its content must be exactly this. */
struct ferry__reply *ferry__conv_await_body(struct ferry__conv *, uint16_t id, const void *,
                                            size_t n);
/* A request whose body comes back from a program that knows the word echo, and is just sent to
 * others; and its answer. */
void ferry__conv_echo(struct ferry__conv *, uint16_t id, uint8_t flags, const void *, size_t n);
struct ferry__reply *ferry__conv_await_echo(struct ferry__conv *, uint16_t id, const void *,
                                            size_t n);
/* A good answer; and if it is that to the word params, this param must be in it. */
void ferry__conv_await_param(struct ferry__conv *, uint16_t id, struct ferry_slice name,
                             struct ferry_slice value);
/* Refused with this protocol status. */
struct ferry__reply *ferry__conv_await_refusal(struct ferry__conv *, uint16_t id, unsigned status);
/* Reads until n bytes of content of STDOUT are there. */
void ferry__conv_await_out(struct ferry__conv *, uint16_t id, size_t n);
/* Reads until one more GET_VALUES_RESULT, or UNKNOWN_TYPE, is there; fails without. */
void ferry__conv_await_values(struct ferry__conv *);
void ferry__conv_await_unknown(struct ferry__conv *, unsigned type);

/* The content behind the header block, or one with p == NULL when there is no such block. */
struct ferry_slice ferry__reply_body(const struct ferry__reply *);
/* The value of a header, or p == NULL. */
struct ferry_slice ferry__reply_header(const struct ferry__reply *, const char *name);
/* Of its Status header, or 200; -1 without a header block. */
int ferry__reply_status(const struct ferry__reply *);

/* In the answer to the word params: how many of this name, and the value of the first. */
unsigned ferry__reply_param(const struct ferry__reply *, struct ferry_slice name,
                            struct ferry_slice *out);

/* One variable of the last GET_VALUES_RESULT: p == NULL when it is not there. */
struct ferry_slice ferry__conv_value(const struct ferry__conv *, const char *name);

/* Nothing may come for FERRY__QUIET_MS; why names the reason to be told. */
#define FERRY__QUIET_MS 120
void ferry__conv_quiet(struct ferry__conv *, const char *why);
/* The application must close in an orderly way; or in any way, a reset too. Records before are
 * filed. */
void ferry__conv_await_close(struct ferry__conv *, const char *why);
void ferry__conv_await_end(struct ferry__conv *, const char *why);
/* The connection still serves: a plain request is answered well. */
void ferry__conv_still_serves(struct ferry__conv *, uint16_t id);

/* A word when the application knows it, or NULL for a plain request. */
const char *ferry__word_or_plain(struct ferry_check *, unsigned word, const char *text);

/* n bytes of a pattern, in memory of the case. */
char *ferry__pattern(struct ferry_check *, size_t n);
/* The first difference between that pattern and what came, or n. */
size_t ferry__pattern_differs(const void *, size_t n);

/* -- the groups */

extern const struct ferry_check_group ferry__app_starting, ferry__app_addrs, ferry__app_framing,
    ferry__app_ids, ferry__app_management, ferry__app_begin, ferry__app_pairs, ferry__app_input,
    ferry__app_output, ferry__app_ending, ferry__app_aborting, ferry__app_closing,
    ferry__app_authorizer, ferry__app_filter, ferry__app_exiting;

#define FERRY__GROUP(ident, name, text, table)                                                     \
    const struct ferry_check_group ident = {                                                       \
        .id = name, .title = text, .cases = table, .ncases = sizeof table / sizeof *table}

#endif
