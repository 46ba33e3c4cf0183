/* SPDX-License-Identifier: MIT */
/*
 * Messages. The end is CR LF . CR LF, or . CR LF at the beginning, and nothing else, whatever is
 * wrong with the message (what one server takes for an end and another does not is how messages
 * are smuggled). A message that is refused is read up to that end all the same, and only then told
 * so.
 *
 * What is handed out are the runs of the input between the dots that are not part of the message;
 * they are not copied. Behind the scanner for line ends there is one for the header, which sees the
 * message as it is kept.
 */
#include <endian.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "smtp/smtp_internal.h"

/* A longer word at the beginning of a line is no field's name. */
#define NAME_MAX 998

static const char crlf[] = "\r\n";

void ferry__smtp_text_begin(struct ferry_smtp *m)
{
    m->text = (struct ferry__smtp_text){.binary = m->tx->params.body == FERRY_SMTP_BINARYMIME};
    m->tx->env.size = 0;
    m->tx->env.hops = 0;
    m->text_since = m->now_ms;
}

void ferry__smtp_text_wait(struct ferry_smtp *m, enum ferry__smtp_phase phase)
{
    m->phase = (uint8_t)phase;
    m->data_since = m->data_last = m->paused_since = m->now_ms;
    m->data_seen = 0;
    /* All chunks together have the time of one message. */
    if (phase != FERRY__SMTP_CHUNK || !ferry__smtp_in_tx(m) || !m->tx->env.chunked)
        m->text_since = m->now_ms;
}

/* Only the first thing that is wrong is told. */
static void refuse(struct ferry_smtp *m, enum ferry_smtp_reply r)
{
    if (m->text.refuse)
        return;
    m->text.refuse = (uint8_t)r;
    m->text.npieces = 0;
}

/* -- the header */

static bool is_name(char c)
{
    return c > ' ' && c < 0x7f;
}

/* A byte in, or behind, what may be a field's name. */
static uint8_t name_byte(struct ferry_smtp *m, char c)
{
    static const char received[] = "received", from[] = "from ";
    struct ferry__smtp_text *t = &m->text;
    bool first = t->head_len == t->name_len;

    if (c == ':') {
        if (t->name_len == sizeof received - 1 && t->received &&
            ++m->tx->env.hops > m->opts.hops_max)
            refuse(m, FERRY_SMTP_TOO_MANY_HOPS);
        return t->name_len ? FERRY__SMTP_HEAD_LINE : FERRY__SMTP_HEAD_DONE;
    }
    if (c == ' ' || c == '\t') {
        /* "From somebody ...", in front of a message that came out of a mailbox file. */
        if (first && t->mbox && t->name_len == sizeof from - 2 && c == ' ')
            return FERRY__SMTP_HEAD_LINE;
        return t->name_len ? FERRY__SMTP_HEAD_BLANK : FERRY__SMTP_HEAD_DONE;
    }
    if (t->head == FERRY__SMTP_HEAD_BLANK || !is_name(c) || t->name_len >= NAME_MAX)
        return FERRY__SMTP_HEAD_DONE;
    if (t->name_len == 0)
        t->received = t->mbox = true;
    c = ferry_ascii_lower(c);
    t->received = t->received && t->name_len < sizeof received - 1 && c == received[t->name_len];
    t->mbox = t->mbox && t->name_len < sizeof from - 2 && c == from[t->name_len];
    t->name_len++;
    return FERRY__SMTP_HEAD_NAME;
}

/* A byte at the beginning of a line. */
static uint8_t first_byte(struct ferry_smtp *m, char c)
{
    m->text.name_len = 0;
    if (c == '\r')
        return FERRY__SMTP_HEAD_CR;
    if (c == '\n')
        return FERRY__SMTP_HEAD_DONE;
    if (c == ' ' || c == '\t') /* a line that is folded, but for the first */
        return m->text.head_len ? FERRY__SMTP_HEAD_LINE : FERRY__SMTP_HEAD_DONE;
    return name_byte(m, c);
}

/* Reads on in the header: it ends with an empty line, or before one that is no field. */
static void read_head(struct ferry_smtp *m, const char *p, size_t n)
{
    struct ferry__smtp_text *t = &m->text;
    const char *const begin = p, *const end = p + n;
    const uint32_t before = t->head_len;

    while (p < end && t->head != FERRY__SMTP_HEAD_DONE) {
        if (t->head == FERRY__SMTP_HEAD_LINE) {
            const char *lf = memchr(p, '\n', (size_t)(end - p));

            p = lf ? lf + 1 : end;
            if (lf)
                t->head = FERRY__SMTP_HEAD_BOL;
        } else {
            t->head = t->head == FERRY__SMTP_HEAD_BOL  ? first_byte(m, *p)
                      : t->head == FERRY__SMTP_HEAD_CR ? FERRY__SMTP_HEAD_DONE
                                                       : name_byte(m, *p);
            p++;
        }
        /* No sum can pass 32 bits: the limit comes first. */
        if ((uint64_t)before + (uint64_t)(p - begin) > m->opts.header_max) {
            refuse(m, FERRY_SMTP_HEADER_TOO_BIG);
            return;
        }
        t->head_len = before + (uint32_t)(p - begin);
    }
}

/* -- lines */

/* Bytes of the message as it is kept. */
static void keep(struct ferry_smtp *m, const char *p, size_t n)
{
    struct ferry__smtp_text *t = &m->text;
    uint64_t *size = &m->tx->env.size, room = m->opts.size_max - *size;

    if (n == 0 || t->refuse)
        return;
    if (t->head != FERRY__SMTP_HEAD_DONE)
        read_head(m, p, n < room ? n : (size_t)room);
    if (n > room)
        refuse(m, FERRY_SMTP_TOO_BIG);
    if (t->refuse)
        return;
    *size += n;
    t->piece[t->npieces++] = ferry_slice(p, n);
}

/* The first of CR, LF, NUL and their neighbours, or end. */
static const char *next_low(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;

#if defined(__SSE2__)
    for (const __m128i cr = _mm_set1_epi8('\r'); end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        int hits = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(v, cr), v));

        if (hits)
            return p + __builtin_ctz((unsigned)hits);
    }
#endif
    for (; end - p >= 8; p += 8) {
        uint64_t w, hit;

        memcpy(&w, p, 8);
        w = le64toh(w);
        hit = (w - ones * ('\r' + 1)) & ~w & high; /* the lowest is exact */
        if (hit)
            return p + (__builtin_ctzll(hit) >> 3);
    }
    while (p < end && (unsigned char)*p > '\r')
        p++;
    return p;
}

static enum ferry_smtp_bare policy(const struct ferry_smtp *m)
{
    if (m->opts.bare_newline != FERRY_SMTP_BARE_DEFAULT)
        return m->opts.bare_newline;
    return m->opts.lmtp || m->client.trusted ? FERRY_SMTP_BARE_NORMALIZE : FERRY_SMTP_BARE_REJECT;
}

struct scan {
    const char *at, *stop;
    const char *run;  /* where what is kept next begins */
    const char *line; /* where the line begins, or the rest of it */
};

/* What is wrong here is told only when nothing before it is: that may not hang on how the input was
 * cut. */
static void wrong(struct ferry_smtp *m, struct scan *s, enum ferry_smtp_reply r)
{
    keep(m, s->run, (size_t)(s->at - s->run));
    s->run = s->at;
    refuse(m, r);
}

static void bare_cr(struct ferry_smtp *m, struct scan *s)
{
    if (policy(m) == FERRY_SMTP_BARE_REJECT)
        wrong(m, s, FERRY_SMTP_BARE_LF);
}

/* The line is over; `at` stands behind its LF. */
static void line_over(struct ferry_smtp *m, struct scan *s, bool has_cr)
{
    size_t len = (size_t)(s->at - 1 - s->line);

    if (m->text.line_len + len > (uint64_t)m->opts.data_line_max + has_cr)
        wrong(m, s, FERRY_SMTP_DATA_LINE_TOO_LONG);
    m->text.line_len = 0;
    m->text.at = has_cr ? FERRY__SMTP_AT_BOL : FERRY__SMTP_AT_LF;
    s->line = s->at;
}

static void bare_lf(struct ferry_smtp *m, struct scan *s)
{
    enum ferry_smtp_bare how = policy(m);

    if (how == FERRY_SMTP_BARE_REJECT)
        wrong(m, s, FERRY_SMTP_BARE_LF);
    if (how == FERRY_SMTP_BARE_NORMALIZE) {
        keep(m, s->run, (size_t)(s->at - s->run));
        keep(m, crlf, 2);
        s->run = s->at + 1;
    }
    s->at++;
    line_over(m, s, false);
}

/* In a line: up to its end, or to what is special. */
static void scan_text(struct ferry_smtp *m, struct scan *s)
{
    const char *hit = next_low(s->at, s->stop);

    if (hit > s->at)
        m->text.at = FERRY__SMTP_AT_TEXT;
    s->at = hit;
    if (hit == s->stop)
        return;
    if (*hit == '\n') {
        bare_lf(m, s);
        return;
    }
    s->at++;
    m->text.at = FERRY__SMTP_AT_TEXT;
    if (*hit == '\r' && s->at < s->stop && *s->at == '\n') {
        s->at++;
        line_over(m, s, true);
    } else if (*hit == '\r') {
        m->text.at = FERRY__SMTP_AT_CR;
    } else if (*hit == '\0' && !m->opts.keep_nul) {
        wrong(m, s, FERRY_SMTP_NUL_BYTE);
    }
}

/* One step: false at the end of the message. */
static bool scan_step(struct ferry_smtp *m, struct scan *s, bool dots)
{
    struct ferry__smtp_text *t = &m->text;

    switch (t->at) {
    case FERRY__SMTP_AT_BOL:
        if (dots && *s->at == '.') {
            keep(m, s->run, (size_t)(s->at - s->run));
            t->at = FERRY__SMTP_AT_DOT;
            s->run = s->line = ++s->at;
            return true;
        }
        break;
    case FERRY__SMTP_AT_CR:
        if (*s->at == '\n') {
            s->at++;
            line_over(m, s, true);
            return true;
        }
        bare_cr(m, s);
        break;
    case FERRY__SMTP_AT_DOT:
        if (*s->at == '\r') {
            t->at = FERRY__SMTP_AT_DOT_CR;
            s->run = s->line = ++s->at;
            return true;
        }
        break;
    case FERRY__SMTP_AT_DOT_CR:
        if (*s->at == '\n') {
            s->run = s->line = ++s->at;
            return false;
        }
        bare_cr(m, s);
        t->line_len = 1;
        t->at = FERRY__SMTP_AT_TEXT;
        keep(m, crlf, 1);
        return true;
    default:
        break;
    }
    scan_text(m, s);
    return true;
}

/* Part of a line, of which no more is counted than must be known. */
static void count_line(struct ferry_smtp *m, size_t n)
{
    const uint64_t enough = (uint64_t)m->opts.data_line_max + 2, len = m->text.line_len + n;

    m->text.line_len = len < enough ? len : enough;
}

size_t ferry__smtp_text(struct ferry_smtp *m, const char *p, size_t n, bool dots, bool *end)
{
    struct scan s = {.at = p, .stop = p + n, .run = p, .line = p};
    struct ferry__smtp_text *t = &m->text;

    *end = false;
    if (t->binary) {
        keep(m, p, n);
        return n;
    }
    while (s.at < s.stop && t->npieces <= FERRY__SMTP_PIECES - FERRY__SMTP_STEP_PIECES && !*end)
        *end = !scan_step(m, &s, dots);
    keep(m, s.run, (size_t)(s.at - s.run));
    count_line(m, (size_t)(s.at - s.line));
    return (size_t)(s.at - p);
}

void ferry__smtp_text_complete(struct ferry_smtp *m)
{
    struct ferry__smtp_text *t = &m->text;
    struct scan none = {0};

    if (t->binary || t->at == FERRY__SMTP_AT_BOL || t->at == FERRY__SMTP_AT_LF)
        return;
    if (t->at == FERRY__SMTP_AT_CR)
        bare_cr(m, &none);
    if (t->line_len > m->opts.data_line_max)
        refuse(m, FERRY_SMTP_DATA_LINE_TOO_LONG);
    keep(m, crlf, 2);
}

/* -- the end */

void ferry__smtp_text_refused(struct ferry_smtp *m, enum ferry_smtp_reply r)
{
    struct ferry_slice detail = FERRY_SLICE("");
    char line[FERRY_SMTP_LINE_MAX], number[20];

    if (r == FERRY_SMTP_TOO_BIG)
        detail = ferry__smtp_number(m->opts.size_max, number);
    ferry__smtp_tx_end(m, true, r);
    if (m->opts.lmtp) {
        for (const struct ferry_smtp_rcpt *to = m->tx->env.rcpts; to; to = to->next)
            ferry__smtp_put(m, ferry_slice(line, ferry__smtp_reply_to(to, r, detail, line)));
        m->counts.errors++;
    } else {
        ferry__smtp_no(m, r, detail);
    }
    /* What else comes from there is not looked at. */
    if (r == FERRY_SMTP_BARE_LF)
        ferry__smtp_gone(m, r, true);
}

void ferry__smtp_text_end(struct ferry_smtp *m)
{
    ferry__smtp_wait(m, FERRY__SMTP_COMMAND);
    if (m->text.refuse) {
        ferry__smtp_text_refused(m, m->text.refuse);
        return;
    }
    m->tx->next = m->tx->env.rcpts;
    ferry__smtp_ask(m, FERRY_SMTP_EV_MESSAGE);
}

size_t ferry__smtp_recv_data(struct ferry_smtp *m, const char *p, size_t n)
{
    bool end, far;
    size_t took = ferry__smtp_text(m, p, n, true, &end);

    m->data_last = m->now_ms;
    m->data_seen += took;
    /* Nobody reads for ever what is refused. */
    far = m->text.refuse && m->data_seen / 2 > m->opts.size_max;
    if (far) {
        ferry__smtp_text_refused(m, m->text.refuse);
        ferry__smtp_gone(m, m->text.refuse, true);
    } else if (end) {
        ferry__smtp_text_end(m);
    }
    return took;
}
