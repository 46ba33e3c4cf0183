/* SPDX-License-Identifier: MIT */
/*
 * One SMTP or LMTP session with an owner that answers at random. The first four bytes choose the
 * options, who the client is, the cuts and the answers; the rest is what the client sends. The same
 * input goes in whole and in pieces and must mean the same both times, where a client may talk out
 * of turn. A message ends with the first CR LF . CR LF behind its 354 and nowhere else, as is
 * looked up here in the plainest way; every reply is a line of at most 512 bytes; there are as many
 * replies as commands; nothing is said or told behind the end; and when time passes, the session
 * ends.
 */
#include "smtp/smtp_internal.h"

#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* X(bit, name) of the first byte */
#define OPTION_MAP(X)                                                                              \
    X(0, LMTP)                                                                                     \
    X(1, SYNC)     /* clients that talk out of turn are refused */                                 \
    X(2, AUTH)     /* is offered, without TLS */                                                   \
    X(3, STARTTLS) /* too */                                                                       \
    X(4, PROXY)    /* a header comes first */                                                      \
    X(5, ONE_RCPT)                                                                                 \
    X(6, STRICT)                                                                                   \
    X(7, SIZELESS) /* no limit of size */

/* X(bit, name) of the second */
#define MANNER_MAP(X)                                                                              \
    X(0, TRUSTED)                                                                                  \
    X(1, XCLIENT)    /* and XFORWARD */                                                            \
    X(4, HALF_CLOSE) /* the client closes its sending side at the end */                           \
    X(5, DRAIN)      /* after the first message */                                                 \
    X(6, LATE)       /* answers come when more input was offered */                                \
    X(7, NUL)        /* is kept */

enum option {
#define X(bit, name) name = 1 << bit,
    OPTION_MAP(X)
#undef X
};

enum manner {
#define X(bit, name) name = 1 << bit,
    MANNER_MAP(X)
#undef X
};

struct run {
    struct ferry_smtp *m;
    unsigned options, manner;
    uint32_t dice;
    uint64_t now;
    const uint8_t *in; /* all that the client sends */
    size_t taken;      /* of it */
    size_t data_at;    /* where the message under way began */
    bool in_data;
    uint64_t body; /* bytes of it */
    unsigned greetings, gone, messages;
    unsigned replies, goes, challenges; /* sent: all, 354, 334 */
    uint16_t asked;                     /* answered later */
    uint64_t told, said, kept;      /* hashes: of the events, the output, the message under way */
    char line[FERRY_SMTP_LINE_MAX]; /* the reply line under way */
    size_t line_len, out_len;
};

static void hash(uint64_t *h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *h = (*h ^ ((const uint8_t *)p)[i]) * 0x100000001b3u;
}

/* -- what the client is sent -- */

static void check_line(struct run *r)
{
    const char *l = r->line;

    check(r->line_len >= 6 && l[r->line_len - 2] == '\r');
    for (size_t i = 0; i < r->line_len - 2; i++)
        check((unsigned char)l[i] >= 0x20 && l[i] != 0x7f);
    check(l[0] >= '2' && l[0] <= '5' && (l[3] == ' ' || l[3] == '-'));
    if (l[3] == ' ') {
        r->replies++;
        r->goes += memcmp(l, "354", 3) == 0;
        r->challenges += memcmp(l, "334", 3) == 0;
    }
    r->line_len = 0;
}

static void read_output(struct run *r)
{
    struct ferry_chain *out = ferry_smtp_output(r->m);
    struct iovec iov[4];

    while (ferry_chain_iov(out, iov, 4)) {
        const char *p = iov[0].iov_base;

        hash(&r->said, p, iov[0].iov_len);
        r->out_len += iov[0].iov_len;
        for (size_t i = 0; i < iov[0].iov_len; i++) {
            check(r->line_len < sizeof r->line);
            r->line[r->line_len++] = p[i];
            if (p[i] == '\n')
                check_line(r);
        }
        ferry_smtp_sent(r->m, iov[0].iov_len, r->now);
    }
    check(out->len == 0 && r->line_len == 0);
}

/* -- the owner -- */

static unsigned roll(struct run *r, unsigned sides)
{
    r->dice = r->dice * 1664525 + 1013904223;
    return (r->dice >> 24) % sides;
}

/* Mostly yes. */
static void answer_one(struct run *r, enum ferry_smtp_reply yes)
{
    static const enum ferry_smtp_reply no[] = {FERRY_SMTP_USER_UNKNOWN, FERRY_SMTP_NOT_SAVED,
                                               FERRY_SMTP_AUTH_WRONG, FERRY_SMTP_NO_SPACE,
                                               FERRY_SMTP_SHUTTING_DOWN};
    unsigned die = roll(r, 32);

    if (die < 5)
        check(ferry_smtp_answer(r->m, no[die], FERRY_SLICE("<\r\n\xff>"), r->now) == 0);
    else if (die == 5)
        check(ferry_smtp_answer_custom(r->m, 550, FERRY_SLICE("5.1.1"), FERRY_SLICE("a\r\n250 b"),
                                       r->now) == 0);
    else
        check(ferry_smtp_answer(r->m, yes, FERRY_SLICE("id"), r->now) == 0);
}

static void end_of_data(struct run *r)
{
    r->in_data = false;
    r->body = r->kept = 0;
}

static void answer(struct run *r, enum ferry_smtp_event_type type)
{
    struct ferry_smtp_client client = {.trusted = r->manner & TRUSTED,
                                       .xclient = r->manner & XCLIENT,
                                       .xforward = r->manner & XCLIENT};
    unsigned n = 1;

    switch (type) {
    case FERRY_SMTP_EV_READY:
    case FERRY_SMTP_EV_XCLIENT:
        r->greetings += type == FERRY_SMTP_EV_READY; /* XCLIENT is a command */
        ferry_smtp_greet(r->m, &client, r->now);
        break;
    case FERRY_SMTP_EV_MAIL:
        answer_one(r, FERRY_SMTP_MAIL_OK);
        break;
    case FERRY_SMTP_EV_RCPT:
        answer_one(r, FERRY_SMTP_RCPT_OK);
        break;
    case FERRY_SMTP_EV_AUTH:
        answer_one(r, FERRY_SMTP_AUTH_OK);
        break;
    case FERRY_SMTP_EV_DATA:
        answer_one(r, FERRY_SMTP_SEND_DATA);
        r->in_data = r->m->phase == FERRY__SMTP_DATA;
        r->data_at = r->taken;
        break;
    default:
        if (r->manner & DRAIN)
            ferry_smtp_drain(r->m, FERRY_SMTP_SHUTTING_DOWN, r->now);
        if (r->options & LMTP)
            n = ferry_smtp_envelope(r->m)->nrcpts;
        for (unsigned i = 0; i < n && !ferry__smtp_over(r->m); i++)
            answer_one(r, FERRY_SMTP_SAVED);
        end_of_data(r);
    }
}

/* Does the message that ends here end as it must, and nowhere before? */
static void check_end(const struct run *r)
{
    const uint8_t *p = r->in + r->data_at;
    size_t n = r->taken - r->data_at, at = 0;

    check(n >= 3);
    if (memcmp(p, ".\r\n", 3) != 0) {
        while (at + 5 <= n && memcmp(p + at, "\r\n.\r\n", 5) != 0)
            at++;
        at += 2;
    }
    check(at + 3 == n);
}

static void check_envelope(const struct run *r)
{
    const struct ferry_smtp_envelope *e = ferry_smtp_envelope(r->m);
    unsigned n = 0;

    check(e->begun && e->nrcpts && e->size == r->body && e->hops <= 2);
    for (const struct ferry_smtp_rcpt *to = e->rcpts; to; to = to->next)
        n++;
    check(n == e->nrcpts && n <= 3);
}

static void look_at(struct run *r, const struct ferry_smtp_event *ev)
{
    switch (ev->type) {
    case FERRY_SMTP_EV_BODY:
        check(ev->data.len > 0);
        r->body += ev->data.len;
        hash(&r->kept, ev->data.p, ev->data.len);
        break;
    case FERRY_SMTP_EV_MESSAGE:
        check_envelope(r);
        if (r->in_data)
            check_end(r);
        r->messages++;
        hash(&r->told, &r->kept, sizeof r->kept);
        break;
    case FERRY_SMTP_EV_RESET:
        /* Refused, but not cut: at its end. */
        if (r->in_data && !ferry__smtp_over(r->m))
            check_end(r);
        end_of_data(r);
        break;
    case FERRY_SMTP_EV_STARTTLS:
        ferry_smtp_tls(r->m, r->now);
        break;
    case FERRY_SMTP_EV_QUIT:
    case FERRY_SMTP_EV_GONE:
        r->gone++;
        check(ferry__smtp_over(r->m));
        break;
    default:
        break;
    }
}

/* False when there was nothing to pull. */
static bool pull(struct run *r)
{
    struct ferry_smtp_event ev;
    bool any = false;

    while (ferry_smtp_event(r->m, &ev) == 1) {
        any = true;
        check(!r->gone);
        /* How much of a message is handed out before it is refused is by chance. */
        if (ev.type != FERRY_SMTP_EV_BODY)
            hash(&r->told, &ev.type, sizeof ev.type);
        look_at(r, &ev);
        if (!(r->m->asked & 1u << ev.type))
            continue;
        if (r->manner & LATE)
            r->asked = (uint16_t)ev.type + 1;
        else
            answer(r, ev.type);
    }
    return any;
}

static void works(struct run *r)
{
    pull(r);
    while (r->m->held_len && !r->m->chunk_held) {
        r->now = ferry_smtp_deadline(r->m);
        check(r->now != FERRY_NEVER);
        ferry_smtp_tick(r->m, r->now);
        pull(r);
    }
    read_output(r);
}

/* Gives one piece, in memory of exactly its size. */
static void give(struct run *r, const uint8_t *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    int idle = 0;

    memcpy(copy, p, n);
    for (size_t at = 0; at < n && !ferry_smtp_finished(r->m);) {
        ssize_t took = ferry_smtp_recv(r->m, copy + at, n - at, r->now);
        uint16_t late = r->asked;

        check(took >= 0 && (size_t)took <= n - at);
        check(!late || took == 0 || ferry__smtp_over(r->m));
        at += (size_t)took;
        r->taken += (size_t)took;
        if (late) {
            r->asked = 0;
            if (r->m->asked)
                answer(r, (enum ferry_smtp_event_type)(late - 1));
        }
        works(r);
        /* This owner answers all it is told, so nothing is held back for long. */
        idle = took ? 0 : idle + 1;
        check(idle < 4);
    }
    free(copy);
}

static void set_options(struct ferry_smtp_opts *o, const uint8_t *data)
{
    *o = (struct ferry_smtp_opts){.hostname = "mx",
                                  .lmtp = data[0] & LMTP,
                                  .no_sync = !(data[0] & SYNC),
                                  .auth = data[0] & AUTH,
                                  .auth_insecure = true,
                                  .starttls = data[0] & STARTTLS,
                                  .proxy = data[0] & PROXY,
                                  .one_rcpt = data[0] & ONE_RCPT,
                                  .strict = data[0] & STRICT,
                                  .size_max = data[0] & SIZELESS ? UINT64_MAX : 600,
                                  .bare_newline = (enum ferry_smtp_bare)(data[1] >> 2 & 3),
                                  .keep_nul = data[1] & NUL,
                                  .line_max = 200,
                                  .data_line_max = 300,
                                  .header_max = 150,
                                  .rcpts_max = 3,
                                  .mails_max = 5,
                                  .hops_max = 2,
                                  .errors_soft = 4,
                                  .errors_max = 12,
                                  .junk_max = 20};
}

/* As many replies as there was to answer, in the middle of a session. */
static void check_replies(const struct run *r)
{
    const struct ferry_smtp *m = r->m;
    unsigned due = r->greetings + m->counts.commands + r->goes + r->challenges;

    if (r->options & LMTP || ferry__smtp_over(m) || m->asked || m->phase <= FERRY__SMTP_DELAY)
        return;
    due -= m->phase == FERRY__SMTP_DATA || m->phase == FERRY__SMTP_CHUNK ||
           m->phase == FERRY__SMTP_SASL;
    check(r->replies == due);
}

static void run_out(struct run *r)
{
    size_t said;

    if (r->manner & HALF_CLOSE && !ferry_smtp_finished(r->m)) {
        check(ferry_smtp_recv(r->m, NULL, 0, r->now) == 0);
        works(r);
        check(ferry_smtp_finished(r->m) || r->m->asked);
    }
    if (r->m->asked)
        answer(r, (enum ferry_smtp_event_type)__builtin_ctz(r->m->asked));
    works(r);
    for (int i = 0; !ferry_smtp_finished(r->m); i++) {
        uint64_t at = ferry_smtp_deadline(r->m);

        check(i < 8 && at != FERRY_NEVER);
        r->now = at > r->now ? at : r->now;
        ferry_smtp_tick(r->m, r->now);
        works(r);
    }
    check(r->gone == 1);
    said = r->out_len;
    ferry_smtp_end(r->m, FERRY_SMTP_SHUTTING_DOWN, r->now);
    ferry_smtp_drain(r->m, FERRY_SMTP_SHUTTING_DOWN, r->now);
    ferry_smtp_tick(r->m, r->now + 10000000);
    works(r);
    check(r->out_len == said);
}

static void run(struct run *r, const uint8_t *data, size_t n, bool whole)
{
    struct ferry_blocks blocks;
    struct ferry_smtp_opts opts;
    uint32_t cut = data[2];
    size_t at = 4;

    set_options(&opts, data);
    opts.blocks = &blocks;
    ferry_blocks_init(&blocks, 1, 1);
    *r = (struct run){.options = data[0], .manner = data[1], .dice = data[3], .in = data + 4};
    r->m = ferry_smtp_new(&opts, 0);
    check(r->m);
    works(r);
    while (at < n) {
        size_t take = n - at;

        cut = cut * 1664525 + 1013904223;
        if (!whole && take > 1 + (cut >> 24) % (data[2] + 1u))
            take = 1 + (cut >> 24) % (data[2] + 1u);
        give(r, data + at, take);
        at += take;
    }
    check_replies(r);
    run_out(r);
    ferry_smtp_free(r->m);
    ferry_blocks_fini(&blocks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct run whole, pieces;

    if (n < 4)
        return 0;
    run(&whole, data, n, true);
    run(&pieces, data, n, false);
    /* Who must keep in step is judged by what comes together. */
    if (data[0] & SYNC && !(data[1] & TRUSTED))
        return 0;
    check(whole.told == pieces.told && whole.said == pieces.said);
    check(whole.out_len == pieces.out_len && whole.messages == pieces.messages);
    return 0;
}
