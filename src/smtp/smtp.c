/* SPDX-License-Identifier: MIT */
/*
 * The machine of one SMTP or LMTP session: its life, input, events, the end.
 *
 *   PROXY ─▶ READY ─▶ DELAY ─▶ COMMAND ─▶ DATA, CHUNK, SASL, TLS ─▶ COMMAND ...  LINGER ─▶ CLOSED
 *
 * Input is taken only while no event waits, no answer is due and no reply is held back: so there is
 * one question at a time, replies come in the order of the commands, and what lies behind a command
 * stays where it is until that is answered.
 */
#include "smtp/smtp_internal.h"

/* While more output than this waits, no further command is taken: a client that pipelines and never
 * reads fills no memory. */
#define OUTPUT_MAX 65536

#define BIT FERRY__SMTP_BIT

/* -- its life */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static void set_defaults(struct ferry_smtp_opts *o)
{
    o->hostname = o->hostname ? o->hostname : "localhost";
    o->size_max = o->size_max ? o->size_max : 26214400;
    o->line_max = or_default(o->line_max, 2048);
    o->data_line_max = or_default(o->data_line_max, 1 << 20);
    o->header_max = or_default(o->header_max, 262144);
    o->rcpts_max = or_default(o->rcpts_max, 100);
    o->mails_max = or_default(o->mails_max, 100);
    o->hops_max = or_default(o->hops_max, 100);
    o->errors_soft = or_default(o->errors_soft, 10);
    o->error_delay_ms = or_default(o->error_delay_ms, 1000);
    o->errors_max = or_default(o->errors_max, 20);
    o->junk_max = or_default(o->junk_max, 100);
    o->auth_fails_max = or_default(o->auth_fails_max, 3);
    o->proxy_ms = or_default(o->proxy_ms, 5000);
    o->idle_ms = or_default(o->idle_ms, 300000);
    o->command_ms = or_default(o->command_ms, 60000);
    o->data_idle_ms = or_default(o->data_idle_ms, 180000);
    o->data_rate_min = or_default(o->data_rate_min, 500);
    o->data_ms = or_default(o->data_ms, 1800000);
    o->session_ms = or_default(o->session_ms, 7200000);
    o->send_stall_ms = or_default(o->send_stall_ms, 60000);
    o->linger_ms = or_default(o->linger_ms, 2000);
}

struct ferry_smtp *ferry_smtp_new(const struct ferry_smtp_opts *opts, uint64_t now_ms)
{
    struct ferry_smtp *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    ferry_chain_init(&m->out, opts->blocks);
    m->opts = *opts;
    set_defaults(&m->opts);
    m->tls = opts->tls;
    m->now_ms = m->begun_ms = m->wait_since = m->send_since = now_ms;
    m->phase = FERRY__SMTP_PROXY;
    if (!opts->proxy) {
        m->phase = FERRY__SMTP_READY;
        ferry__smtp_ask(m, FERRY_SMTP_EV_READY);
    }
    return m;
}

void ferry_smtp_free(struct ferry_smtp *m)
{
    if (!m)
        return;
    ferry__smtp_auth_over(m);
    ferry__smtp_tx_free(m->tx);
    ferry__smtp_line_done(m);
    free(m->attrs);
    free(m->held);
    ferry_chain_clear(&m->out);
    free(m);
}

/* -- ends */

void ferry__smtp_tx_end(struct ferry_smtp *m, bool tell, enum ferry_smtp_reply r)
{
    if (!ferry__smtp_in_tx(m) && !m->forwarded)
        return;
    if (m->tx)
        m->tx->env.begun = false;
    m->forwarded = false;
    if (!tell)
        return;
    m->reset = (uint8_t)r;
    ferry__smtp_tell(m, FERRY_SMTP_EV_RESET);
}

void ferry__smtp_reset(struct ferry_smtp *m)
{
    m->chunk_failed = false;
    m->chunk_rcpts = 0;
    ferry__smtp_tx_end(m, true, FERRY_SMTP_NONE);
}

void ferry__smtp_gone(struct ferry_smtp *m, enum ferry_smtp_reply told, bool linger)
{
    if (ferry__smtp_over(m))
        return;
    if (!m->chunk_held)
        ferry__smtp_unhold(m);
    m->pending &= (uint16_t)~m->asked;
    m->asked = 0;
    m->text.npieces = m->text.told = 0;
    m->held_len = 0;
    ferry__smtp_auth_over(m);
    ferry__smtp_tx_end(m, true, told);
    m->gone = (uint8_t)told;
    ferry__smtp_tell(m, m->quit ? FERRY_SMTP_EV_QUIT : FERRY_SMTP_EV_GONE);
    ferry__smtp_wait(m, linger && !m->eof ? FERRY__SMTP_LINGER : FERRY__SMTP_CLOSED);
}

void ferry__smtp_forget(struct ferry_smtp *m)
{
    if (m->tx && !m->tx->env.begun && !(m->asked & BIT(MAIL)) && !(m->pending & BIT(RESET))) {
        ferry__smtp_tx_free(m->tx);
        m->tx = NULL;
    }
    if (m->attrs && !((m->asked | m->pending) & (BIT(XCLIENT) | BIT(XFORWARD)))) {
        free(m->attrs);
        m->attrs = NULL;
    }
}

void ferry__smtp_settle(struct ferry_smtp *m)
{
    bool between = m->phase == FERRY__SMTP_COMMAND || m->phase == FERRY__SMTP_SASL ||
                   m->phase == FERRY__SMTP_DELAY;

    if (m->draining && between && !m->asked && !ferry__smtp_in_tx(m))
        ferry__smtp_end(m, m->drain, FERRY_SLICE(""));
    /* A reply is missing in the dialogue: nobody could tell any more what is answered. */
    if (m->out.err < 0)
        ferry__smtp_gone(m, FERRY_SMTP_NONE, false);
}

/* -- input */

static size_t recv_proxy(struct ferry_smtp *m, const char *p, size_t n)
{
    size_t before = m->line_len, take = n;
    ssize_t len;

    if (take > FERRY_PROXY_MAX - before)
        take = FERRY_PROXY_MAX - before;
    if (!m->line)
        m->line = malloc(FERRY_PROXY_MAX);
    if (!m->line) {
        ferry__smtp_gone(m, FERRY_SMTP_NONE, false);
        return n;
    }
    memcpy(m->line + before, p, take);
    len = ferry_proxy_parse(m->line, before + take, &m->proxy);
    m->line_len = (uint32_t)(before + take);
    if (len == 0 && m->line_len < FERRY_PROXY_MAX)
        return take;
    ferry__smtp_line_done(m);
    /* From whom a header is due there is no mail without one; nothing is said to others. */
    if (len <= 0) {
        ferry__smtp_gone(m, FERRY_SMTP_NONE, false);
        return n;
    }
    m->has_proxy = true;
    ferry__smtp_wait(m, FERRY__SMTP_READY);
    ferry__smtp_ask(m, FERRY_SMTP_EV_READY);
    return (size_t)len - before;
}

static size_t recv_command(struct ferry_smtp *m, const char *p, size_t n)
{
    bool first = !m->counts.commands && !m->line_len && !m->skipped;
    enum ferry__smtp_line what;
    struct ferry_slice line;
    size_t took;

    if (first && *p == 0x16) { /* the ClientHello of one who wants TLS at once */
        ferry__smtp_gone(m, FERRY_SMTP_NONE, true);
        return n;
    }
    took = ferry__smtp_line_take(m, p, n, m->opts.line_max, &what, &line);
    if (what == FERRY__SMTP_LINE_MORE)
        return took;
    m->counts.commands++;
    m->more = took < n;
    if (what == FERRY__SMTP_LINE_NOMEM)
        ferry__smtp_end(m, FERRY_SMTP_INTERNAL, FERRY_SLICE(""));
    else if (what == FERRY__SMTP_LINE_ENDLESS)
        ferry__smtp_end(m, FERRY_SMTP_LINE_TOO_LONG, FERRY_SLICE(""));
    else if (what == FERRY__SMTP_LINE_LONG)
        ferry__smtp_no(m, FERRY_SMTP_LINE_TOO_LONG, FERRY_SLICE(""));
    else if (!ferry__smtp_line_chop(&line, m->client.trusted) || !ferry__smtp_line_good(line))
        ferry__smtp_no(m, FERRY_SMTP_BAD_SYNTAX, FERRY_SLICE(""));
    else
        ferry__smtp_command(m, line);
    ferry__smtp_line_done(m);
    return took;
}

static size_t recv_some(struct ferry_smtp *m, const char *p, size_t n)
{
    switch (m->phase) {
    case FERRY__SMTP_PROXY:
        return recv_proxy(m, p, n);
    case FERRY__SMTP_DELAY:
        ferry__smtp_end(m, FERRY_SMTP_SPOKE_TOO_EARLY, FERRY_SLICE(""));
        return n;
    case FERRY__SMTP_COMMAND:
        return recv_command(m, p, n);
    case FERRY__SMTP_SASL:
        return ferry__smtp_recv_sasl(m, p, n);
    case FERRY__SMTP_DATA:
        return ferry__smtp_recv_data(m, p, n);
    case FERRY__SMTP_CHUNK:
        return ferry__smtp_recv_chunk(m, p, n);
    default:
        return n;
    }
}

static bool takes_input(const struct ferry_smtp *m)
{
    bool in_text = m->phase == FERRY__SMTP_DATA || m->phase == FERRY__SMTP_CHUNK;

    return !m->pending && !m->asked && !m->text.npieces && !(m->held_len && !m->chunk_held) &&
           !(m->paused && in_text) && m->out.len <= OUTPUT_MAX && m->phase != FERRY__SMTP_READY &&
           m->phase != FERRY__SMTP_TLS;
}

/* What comes while these are answered comes before its time. */
static void mark_early(struct ferry_smtp *m)
{
    bool chunked = m->tx && m->tx->env.chunked;

    if (m->asked & (BIT(AUTH) | BIT(XCLIENT)) || (m->asked & BIT(DATA) && !chunked))
        m->early = true;
}

static void input_ended(struct ferry_smtp *m)
{
    m->eof = true;
    if (ferry__smtp_over(m))
        m->phase = FERRY__SMTP_CLOSED;
    else if (!(m->asked & BIT(MESSAGE))) /* that is finished: its sender may still read */
        ferry__smtp_gone(m, FERRY_SMTP_NONE, false);
}

ssize_t ferry_smtp_recv(struct ferry_smtp *m, const char *p, size_t n, uint64_t now_ms)
{
    size_t at = 0;

    ferry__smtp_set_now(m, now_ms);
    ferry__smtp_forget(m);
    if (n == 0) {
        input_ended(m);
        return 0;
    }
    if (ferry__smtp_over(m))
        return (ssize_t)n;
    mark_early(m);
    while (at < n && takes_input(m)) {
        at += recv_some(m, p + at, n - at);
        ferry__smtp_settle(m);
    }
    return (ssize_t)at;
}

/* -- events */

/* In which they are told when several wait. */
static const uint8_t order[] = {
    FERRY_SMTP_EV_RESET, FERRY_SMTP_EV_READY,   FERRY_SMTP_EV_HELO,     FERRY_SMTP_EV_MAIL,
    FERRY_SMTP_EV_RCPT,  FERRY_SMTP_EV_DATA,    FERRY_SMTP_EV_MESSAGE,  FERRY_SMTP_EV_STARTTLS,
    FERRY_SMTP_EV_AUTH,  FERRY_SMTP_EV_XCLIENT, FERRY_SMTP_EV_XFORWARD, FERRY_SMTP_EV_QUIT,
    FERRY_SMTP_EV_GONE,
};

static void fill(struct ferry_smtp *m, struct ferry_smtp_event *out)
{
    switch (out->type) {
    case FERRY_SMTP_EV_READY:
        out->proxy = m->has_proxy ? &m->proxy : NULL;
        break;
    case FERRY_SMTP_EV_HELO:
        out->name = ferry_slice_z(m->helo);
        break;
    case FERRY_SMTP_EV_MAIL:
        out->path = &m->tx->path;
        break;
    case FERRY_SMTP_EV_RCPT:
        out->path = &m->tx->asked->path;
        out->rcpt_params = &m->tx->rcpt_params;
        break;
    case FERRY_SMTP_EV_AUTH:
        out->sasl = m->sasl;
        break;
    case FERRY_SMTP_EV_XCLIENT:
    case FERRY_SMTP_EV_XFORWARD:
        out->attrs = m->attrs;
        break;
    case FERRY_SMTP_EV_RESET:
        out->reply = m->reset;
        break;
    case FERRY_SMTP_EV_GONE:
        out->reply = m->gone;
        break;
    default:
        break;
    }
}

int ferry_smtp_event(struct ferry_smtp *m, struct ferry_smtp_event *out)
{
    struct ferry__smtp_text *t = &m->text;

    *out = (struct ferry_smtp_event){0};
    if (t->told < t->npieces) {
        out->type = FERRY_SMTP_EV_BODY;
        out->data = t->piece[t->told++];
        if (t->told == t->npieces)
            t->told = t->npieces = 0;
        return 1;
    }
    for (size_t i = 0; i < sizeof order; i++) {
        if (!(m->pending & 1u << order[i]))
            continue;
        m->pending &= (uint16_t) ~(1u << order[i]);
        out->type = order[i];
        fill(m, out);
        return 1;
    }
    return 0;
}

/* -- the owner's side */

static void greet_now(struct ferry_smtp *m)
{
    ferry__smtp_hello(m);
    ferry__smtp_wait(m, FERRY__SMTP_COMMAND);
}

void ferry_smtp_greet(struct ferry_smtp *m, const struct ferry_smtp_client *client, uint64_t now_ms)
{
    uint16_t asked = m->asked & (BIT(READY) | BIT(XCLIENT));

    if (!asked)
        return;
    ferry__smtp_set_now(m, now_ms);
    m->client = *client;
    m->asked = 0;
    m->pending &= (uint16_t)~asked;
    m->helo[0] = '\0';
    m->extended = m->helo_valid = false;
    m->authenticated = m->login;
    ferry__smtp_forget(m);
    if (m->early && !ferry__smtp_lenient(m))
        ferry__smtp_end(m, FERRY_SMTP_NOT_IN_STEP, FERRY_SLICE(""));
    else if (m->draining)
        ferry__smtp_end(m, m->drain, FERRY_SLICE(""));
    else if (asked & BIT(READY) && m->opts.greet_delay_ms && !client->trusted)
        ferry__smtp_wait(m, FERRY__SMTP_DELAY);
    else
        greet_now(m);
    ferry__smtp_settle(m);
}

void ferry_smtp_refuse(struct ferry_smtp *m, enum ferry_smtp_reply r, uint64_t now_ms)
{
    if (!(m->asked & (BIT(READY) | BIT(XCLIENT))))
        return;
    ferry__smtp_set_now(m, now_ms);
    ferry__smtp_end(m, r, FERRY_SLICE(""));
    ferry__smtp_settle(m);
}

void ferry_smtp_tls(struct ferry_smtp *m, uint64_t now_ms)
{
    if (m->phase != FERRY__SMTP_TLS)
        return;
    ferry__smtp_set_now(m, now_ms);
    ferry__smtp_forget(m);
    m->tls = true;
    m->extended = m->helo_valid = m->authenticated = m->login = false;
    m->helo[0] = '\0';
    ferry__smtp_wait(m, FERRY__SMTP_COMMAND);
    ferry__smtp_settle(m);
}

void ferry_smtp_drain(struct ferry_smtp *m, enum ferry_smtp_reply r, uint64_t now_ms)
{
    if (m->draining)
        return;
    ferry__smtp_set_now(m, now_ms);
    m->draining = true;
    m->drain = (uint8_t)r;
    if (m->phase == FERRY__SMTP_PROXY)
        ferry__smtp_gone(m, FERRY_SMTP_NONE, false);
    ferry__smtp_settle(m);
}

void ferry_smtp_end(struct ferry_smtp *m, enum ferry_smtp_reply r, uint64_t now_ms)
{
    bool plain = m->opts.tls && m->phase <= FERRY__SMTP_READY; /* its TLS does not stand */

    if (ferry__smtp_over(m))
        return;
    ferry__smtp_set_now(m, now_ms);
    ferry__smtp_end(m, plain ? FERRY_SMTP_NONE : r, FERRY_SLICE(""));
    ferry__smtp_settle(m);
}

/* -- what is known */

bool ferry_smtp_is_there(const struct ferry_smtp *m)
{
    return !m->eof || m->quit;
}

const struct ferry_smtp_envelope *ferry_smtp_envelope(const struct ferry_smtp *m)
{
    static const struct ferry_smtp_envelope none;

    return m->tx ? &m->tx->env : &none;
}

const char *ferry_smtp_helo(const struct ferry_smtp *m)
{
    return m->helo;
}

bool ferry_smtp_helo_valid(const struct ferry_smtp *m)
{
    return m->helo_valid;
}

const char *ferry_smtp_helo_verb(const struct ferry_smtp *m)
{
    if (!m->helo[0])
        return "";
    return m->opts.lmtp ? "LHLO" : m->extended ? "EHLO" : "HELO";
}

const char *ferry_smtp_with(const struct ferry_smtp *m)
{
    /* RFC 3848, and RFC 6531, 4.3: by LMTP, SMTPUTF8, TLS, AUTH. */
    static const char *const names[2][2][2][2] = {
        {{{"ESMTP", "ESMTPA"}, {"ESMTPS", "ESMTPSA"}},
         {{"UTF8SMTP", "UTF8SMTPA"}, {"UTF8SMTPS", "UTF8SMTPSA"}}},
        {{{"LMTP", "LMTPA"}, {"LMTPS", "LMTPSA"}},
         {{"UTF8LMTP", "UTF8LMTPA"}, {"UTF8LMTPS", "UTF8LMTPSA"}}},
    };

    if (!m->opts.lmtp && !m->extended)
        return "SMTP";
    return names[m->opts.lmtp][m->tx && m->tx->params.smtputf8][m->tls][m->authenticated];
}

const struct ferry_smtp_counts *ferry_smtp_counts(const struct ferry_smtp *m)
{
    return &m->counts;
}

/* -- output and the end */

struct ferry_chain *ferry_smtp_output(struct ferry_smtp *m)
{
    /* Given up, the output is no longer shown; but a send of its front may still be under way, so
     * the memory stays until ferry_smtp_free. Nobody appends to this one. */
    static const struct ferry_chain none;

    return m->stalled ? (struct ferry_chain *)&none : &m->out;
}

bool ferry_smtp_finished(const struct ferry_smtp *m)
{
    return m->phase == FERRY__SMTP_CLOSED;
}

static ssize_t op_recv(void *m, const char *p, size_t n, uint64_t now_ms)
{
    return ferry_smtp_recv(m, p, n, now_ms);
}

static struct ferry_chain *op_output(void *m)
{
    return ferry_smtp_output(m);
}

static void op_sent(void *m, size_t n, uint64_t now_ms)
{
    ferry_smtp_sent(m, n, now_ms);
}

static uint64_t op_deadline(const void *m)
{
    return ferry_smtp_deadline(m);
}

static void op_tick(void *m, uint64_t now_ms)
{
    ferry_smtp_tick(m, now_ms);
}

static bool op_finished(const void *m)
{
    return ferry_smtp_finished(m);
}

static bool op_wants_shutdown(const void *m)
{
    return ((const struct ferry_smtp *)m)->phase == FERRY__SMTP_LINGER;
}

const struct ferry_machine ferry_smtp_machine = {
    .recv = op_recv,
    .output = op_output,
    .sent = op_sent,
    .deadline = op_deadline,
    .tick = op_tick,
    .finished = op_finished,
    .wants_shutdown = op_wants_shutdown,
};
