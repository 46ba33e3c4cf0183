/* SPDX-License-Identifier: MIT */
/*
 * What an answer means. Its first word decides, as a whole and in its case; a table says what a
 * word is worth as an answer to which question. Nothing is read into an answer: what the table does
 * not name is a fault, but that a recipient is refused by any text that is not "PASS", as
 * go-guerrilla's scripts do it. And even there a message of PHP's own is a fault: a database that
 * is down must not bounce mail for good.
 *
 * A save that PHP gave up behind its SAVED is a fault too, where the answer shows it.
 *
 * What a script wants said is kept only as far as its class goes: REJECT can't say 250.
 */
#include "mail/verdict.h"

#include <errno.h>

#include "base/text.h"

enum { OF_VALIDATE = 1 << FERRY_MAIL_VALIDATE, OF_SAVE = 1 << FERRY_MAIL_SAVE };
enum { OF_AUTH = 1 << FERRY_MAIL_AUTH, OF_ALL = OF_VALIDATE | OF_SAVE | OF_AUTH };

/* The words that mean something, and to which questions they are an answer. */
static const struct word {
    struct ferry_slice text;
    enum ferry_mail_outcome outcome;
    unsigned questions;
    char class; /* of the code that may follow; 0: none */
} words[] = {
    {FERRY_SLICE_INIT("PASS"), FERRY_MAIL_OK, OF_VALIDATE | OF_AUTH, 0},
    {FERRY_SLICE_INIT("PASSED"), FERRY_MAIL_OK, OF_VALIDATE | OF_AUTH, 0},
    {FERRY_SLICE_INIT("SAVED"), FERRY_MAIL_OK, OF_SAVE, 0},
    {FERRY_SLICE_INIT("DISCARD"), FERRY_MAIL_DISCARD, OF_SAVE, 0},
    {FERRY_SLICE_INIT("REJECT"), FERRY_MAIL_REJECT, OF_ALL, '5'},
    {FERRY_SLICE_INIT("DEFER"), FERRY_MAIL_DEFER, OF_ALL, '4'},
};

/* -- words of a line -- */

static bool is_line_end(char c)
{
    return c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Without blanks and line ends in front, and a byte order mark that an editor has put there. */
static struct ferry_slice trimmed(struct ferry_slice s)
{
    for (;;) {
        if (s.len && (is_blank(*s.p) || is_line_end(*s.p)))
            s = ferry_slice_from(s, 1);
        else if (ferry_slice_starts(s, FERRY_SLICE("\xef\xbb\xbf")))
            s = ferry_slice_from(s, 3);
        else
            return s;
    }
}

static struct ferry_slice take_line(struct ferry_slice *rest)
{
    size_t n = 0;
    struct ferry_slice line;

    while (n < rest->len && !is_line_end(rest->p[n]))
        n++;
    line = ferry_slice_first(*rest, n);
    while (n < rest->len && is_line_end(rest->p[n]))
        n++;
    *rest = ferry_slice_from(*rest, n);
    return ferry_slice_trim(line);
}

static struct ferry_slice take_word(struct ferry_slice *line)
{
    size_t n = 0;
    struct ferry_slice word;

    while (n < line->len && !is_blank(line->p[n]))
        n++;
    word = ferry_slice_first(*line, n);
    *line = ferry_slice_trim(ferry_slice_from(*line, n));
    return word;
}

static const struct word *word_of(struct ferry_slice text)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ferry_slice_eq(words[i].text, text))
            return &words[i];
    return NULL;
}

/* -- what a script wants said -- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_code(struct ferry_slice w)
{
    return w.len == 3 && is_digit(w.p[0]) && is_digit(w.p[1]) && is_digit(w.p[2]);
}

/* class.subject.detail (RFC 3463, 2) */
static bool is_enhanced(struct ferry_slice w)
{
    size_t at = 2;

    if (w.len < 5 || w.len > 9 || !is_digit(w.p[0]) || w.p[1] != '.')
        return false;
    for (int part = 0; part < 2; part++) {
        size_t from = at;

        while (at < w.len && is_digit(w.p[at]))
            at++;
        if (at == from || at - from > 3)
            return false;
        if (part == 0 && (at == w.len || w.p[at++] != '.'))
            return false;
    }
    return at == w.len;
}

static struct ferry_slice peek_word(struct ferry_slice line)
{
    return take_word(&line);
}

static void put_text(struct ferry_slice from, char *to, size_t cap)
{
    size_t at = 0;

    while (from.len) {
        size_t n = ferry__utf8(from);

        if (at + (n ? n : 1) >= cap)
            break;
        if (n)
            memcpy(to + at, from.p, n);
        else
            to[at] = is_blank(*from.p) ? ' ' : '?';
        at += n ? n : 1;
        from = ferry_slice_from(from, n ? n : 1);
    }
    to[at] = 0;
}

/* [code [enhanced]] [text]: 550 to 559 for a refusal, 450 to 459 for a delay. Another number is no
 * code, but nobody's text either; 421 would end the session. */
static void read_words(struct ferry_slice line, char class, struct ferry_mail_verdict *v)
{
    struct ferry_slice w = peek_word(line);

    if (is_code(w)) {
        if (w.p[0] == class && w.p[1] == '5')
            v->code = (w.p[0] - '0') * 100 + 50 + (w.p[2] - '0');
        take_word(&line);
    }
    w = peek_word(line);
    if (is_enhanced(w)) {
        if (w.p[0] == class)
            *ferry__put(v->enhanced, w) = 0;
        take_word(&line);
    }
    put_text(line, v->text, sizeof v->text);
}

/* SAVED [token] [id=...], in any order. */
static void read_saved(struct ferry_slice line, struct ferry_slice token,
                       struct ferry_mail_verdict *v)
{
    bool proven = token.len == 0;
    struct ferry_slice w;

    while ((w = take_word(&line)).len) {
        if (token.len && ferry_slice_eq(w, token))
            proven = true;
        else if (ferry_slice_starts(w, FERRY_SLICE("id=")) && !v->id[0])
            put_text(ferry_slice_from(w, 3), v->id, sizeof v->id);
    }
    if (!proven)
        v->outcome = FERRY_MAIL_TOKEN;
}

/* -- one answer -- */

/*
 * With display_errors on, PHP writes its errors where the answer is due, and says 200: "<br />" and
 * "<b>Fatal error</b>: ...", or without the marks.
 */
static bool is_php_error(struct ferry_slice body)
{
    static const struct ferry_slice kinds[] = {
        FERRY_SLICE_INIT("Fatal error"),      FERRY_SLICE_INIT("Warning"),
        FERRY_SLICE_INIT("Parse error"),      FERRY_SLICE_INIT("Notice"),
        FERRY_SLICE_INIT("Deprecated"),       FERRY_SLICE_INIT("Recoverable fatal error"),
        FERRY_SLICE_INIT("Strict Standards"), FERRY_SLICE_INIT("Catchable fatal error"),
        FERRY_SLICE_INIT("Startup error"),    FERRY_SLICE_INIT("Unknown error"),
    };
    static const struct ferry_slice before[] = {FERRY_SLICE_INIT("<br />"), FERRY_SLICE_INIT("<b>"),
                                                FERRY_SLICE_INIT("PHP ")};

    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        if (ferry_slice_starts(body, before[i]))
            body = trimmed(ferry_slice_from(body, before[i].len));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct ferry_slice rest = ferry_slice_from(body, kinds[i].len);

        if (!ferry_slice_starts(body, kinds[i]))
            continue;
        if (ferry_slice_starts(rest, FERRY_SLICE("</b>")))
            rest = ferry_slice_from(rest, 4);
        return ferry_slice_starts(rest, FERRY_SLICE(": "));
    }
    return false;
}

/* Did PHP give the script up, and say so with display_errors? Whatever it had said before, what it
 * does at its end (a commit, a file that is closed) may not have happened. */
static bool is_given_up(struct ferry_slice body)
{
    static const char kind[] = "Fatal error", *const before[] = {"\n", "<b>", "PHP "},
                      *const behind[] = {"</b>: ", ": "};
    const char *at = body.p, *end = body.p + body.len;

    while (at && (at = memmem(at, (size_t)(end - at), kind, sizeof kind - 1))) {
        bool begins = at == body.p, goes_on = false;
        struct ferry_slice had = ferry_slice_first(body, (size_t)(at - body.p));

        at += sizeof kind - 1;
        for (unsigned i = 0; i < sizeof before / sizeof *before; i++) {
            struct ferry_slice b = ferry_slice_z(before[i]);

            begins |= had.len >= b.len && ferry_slice_eq(ferry_slice_from(had, had.len - b.len), b);
        }
        for (unsigned i = 0; i < sizeof behind / sizeof *behind; i++)
            goes_on |=
                ferry_slice_starts(ferry_slice(at, (size_t)(end - at)), ferry_slice_z(behind[i]));
        if (begins && goes_on)
            return true;
    }
    return false;
}

/* Of a line that begins with a word of the table. */
static void read_line(enum ferry_mail_question question, const struct word *word,
                      struct ferry_slice line, struct ferry_slice token,
                      struct ferry_mail_verdict *v)
{
    if (!(word->questions & 1u << question)) {
        v->outcome = question == FERRY_MAIL_SAVE ? FERRY_MAIL_NOT_SAVED : FERRY_MAIL_BAD;
        return;
    }
    v->outcome = word->outcome;
    if (word->class)
        read_words(line, word->class, v);
    else if (v->outcome == FERRY_MAIL_OK && question == FERRY_MAIL_SAVE)
        read_saved(line, token, v);
}

/* An answer with this status counts as what its word says; or as the fault in *fault. */
static bool is_good_status(int status, const struct word *word, enum ferry_mail_outcome *fault)
{
    if (status >= 200 && status < 300)
        return true;
    *fault = FERRY_MAIL_STATUS;
    if (status < 400 || status > 499)
        return false;
    if (word && word->class)
        return true; /* scripts that think in HTTP */
    if (word || status == 403 || status == 404)
        *fault = FERRY_MAIL_CONFIGURATION;
    return false;
}

static void read_one(enum ferry_mail_question question, int status, struct ferry_slice body,
                     struct ferry_slice token, struct ferry_mail_verdict *v)
{
    struct ferry_slice rest = body, line = take_line(&rest);
    const struct word *word = word_of(take_word(&line));

    if (!is_good_status(status, word, &v->outcome))
        return;
    if (word)
        read_line(question, word, line, token, v);
    else if (body.len == 0)
        v->outcome = FERRY_MAIL_EMPTY;
    else if (question == FERRY_MAIL_SAVE)
        v->outcome = FERRY_MAIL_NOT_SAVED;
    else
        v->outcome = is_php_error(body) ? FERRY_MAIL_BAD : FERRY_MAIL_REJECT;
}

/* -- answers for each recipient -- */

/* "rcpt N WORD ..." up to the first line that is none. Who is not named has no answer; who is named
 * twice has none that could be believed. */
static void read_rcpts(struct ferry_slice rest, struct ferry_slice token,
                       struct ferry_mail_verdict *verdicts, unsigned nrcpts)
{
    for (unsigned i = 0; i < nrcpts; i++)
        verdicts[i].outcome = FERRY_MAIL_NOT_SAVED;
    while (rest.len) {
        struct ferry_slice line = take_line(&rest);
        const struct word *word;
        struct ferry_mail_verdict *v;
        uint64_t i;

        if (!ferry_slice_eq(take_word(&line), FERRY_SLICE("rcpt")) ||
            ferry_slice_u64(take_word(&line), UINT32_MAX, &i) < 0)
            return;
        word = word_of(take_word(&line));
        if (i >= nrcpts)
            continue;
        v = &verdicts[i];
        if (v->outcome != FERRY_MAIL_NOT_SAVED || !word) {
            *v = (struct ferry_mail_verdict){.outcome = FERRY_MAIL_BAD};
            continue;
        }
        read_line(FERRY_MAIL_SAVE, word, line, token, v);
        if (v->outcome == FERRY_MAIL_NOT_SAVED)
            v->outcome = FERRY_MAIL_BAD;
    }
}

void ferry_mail_verdict_read(enum ferry_mail_question question, int status, struct ferry_slice body,
                             struct ferry_slice token, struct ferry_mail_verdict *verdicts,
                             unsigned nrcpts)
{
    struct ferry_mail_verdict one = {0};
    struct ferry_slice text = trimmed(body), line = text;

    for (unsigned i = 0; i < nrcpts; i++)
        verdicts[i] = one;
    if (body.len > FERRY_MAIL_ANSWER_MAX) {
        one.outcome = FERRY_MAIL_TOO_LONG;
    } else if ((body.len && memchr(body.p, 0, body.len)) ||
               (question == FERRY_MAIL_SAVE && is_given_up(body))) {
        one.outcome = FERRY_MAIL_BAD;
    } else if (question == FERRY_MAIL_SAVE && status >= 200 && status < 300 &&
               ferry_slice_eq(take_word(&line), FERRY_SLICE("rcpt"))) {
        read_rcpts(text, token, verdicts, nrcpts);
        return;
    } else {
        read_one(question, status, text, token, &one);
    }
    for (unsigned i = 0; i < nrcpts; i++)
        verdicts[i] = one;
}

/* -- answers that never came whole -- */

static enum ferry_mail_outcome cut_outcome(const struct ferry_outcome *o)
{
    if (o->err == FERRY_EREMOTE)
        return FERRY_MAIL_BUSY; /* CANT_MPX_CONN, though it had a connection of its own */
    return o->err == FERRY_EPROTOCOL || o->err == FERRY_ELIMIT ? FERRY_MAIL_BAD : FERRY_MAIL_CUT;
}

void ferry_mail_verdict_fail(const struct ferry_outcome *o, struct ferry_mail_verdict *v)
{
    *v = (struct ferry_mail_verdict){.outcome = FERRY_MAIL_INTERNAL};
    switch (o->result) {
    case FERRY_RESULT_DONE: /* appStatus is not 0 */
        v->outcome = FERRY_MAIL_BAD;
        break;
    case FERRY_RESULT_REFUSED:
        v->outcome = o->err == -ENOMEM ? FERRY_MAIL_INTERNAL : FERRY_MAIL_UNREACHABLE;
        break;
    case FERRY_RESULT_CUT:
        v->outcome = cut_outcome(o);
        break;
    case FERRY_RESULT_BAD:
        v->outcome = o->err == FERRY_ELIMIT ? FERRY_MAIL_TOO_LONG
                     : o->err == -ENOMEM    ? FERRY_MAIL_INTERNAL
                                            : FERRY_MAIL_BAD;
        break;
    case FERRY_RESULT_BAD_ROLE:
        v->outcome = FERRY_MAIL_CONFIGURATION;
        break;
    case FERRY_RESULT_OVERLOADED:
    case FERRY_RESULT_QUEUE_TIMEOUT:
        v->outcome = FERRY_MAIL_BUSY;
        break;
    case FERRY_RESULT_TIMEOUT:
        v->outcome = FERRY_MAIL_TIMEOUT;
        break;
    case FERRY_RESULT_CANCELLED:
        break;
    }
}

/* -- what the client is told -- */

const struct ferry_mail_verdict *ferry_mail_verdict_one(const struct ferry_mail_verdict *v,
                                                        unsigned n)
{
    const struct ferry_mail_verdict *one = v;

    for (unsigned i = 0; i < n; i++) {
        if (v[i].outcome == FERRY_MAIL_DEFER || ferry_mail_is_fault(v[i].outcome))
            return &v[i];
        if (one->outcome == FERRY_MAIL_REJECT && v[i].outcome != FERRY_MAIL_REJECT)
            one = &v[i];
    }
    return one;
}

const char *ferry_mail_outcome_word(enum ferry_mail_outcome outcome)
{
    switch (outcome) {
#define X(name, validate, save, word)                                                              \
    case FERRY_MAIL_##name:                                                                        \
        return word;
        FERRY_MAIL_OUTCOME_MAP(X)
#undef X
    }
    return "internal";
}

static enum ferry_smtp_reply auth_reply(enum ferry_mail_outcome outcome)
{
    return outcome == FERRY_MAIL_OK       ? FERRY_SMTP_AUTH_OK
           : outcome == FERRY_MAIL_REJECT ? FERRY_SMTP_AUTH_WRONG
                                          : FERRY_SMTP_AUTH_BROKEN;
}

enum ferry_smtp_reply ferry_mail_verdict_reply(const struct ferry_mail_service *s,
                                               enum ferry_mail_question question,
                                               const struct ferry_mail_verdict *v)
{
    static const enum ferry_smtp_reply replies[][2] = {
#define X(name, validate, save, word)                                                              \
    [FERRY_MAIL_##name] = {FERRY_SMTP_##validate, FERRY_SMTP_##save},
        FERRY_MAIL_OUTCOME_MAP(X)
#undef X
    };

    if (question == FERRY_MAIL_AUTH)
        return auth_reply(v->outcome);
    if (ferry_mail_is_fault(v->outcome)) {
        if (question == FERRY_MAIL_SAVE && s->save_fail == FERRY_MAIL_FAIL_PERM)
            return FERRY_SMTP_NOT_SAVED_FOR_GOOD;
        if (question == FERRY_MAIL_VALIDATE && s->validate_fail == FERRY_MAIL_FAIL_PERM)
            return FERRY_SMTP_USER_UNKNOWN;
        if (question == FERRY_MAIL_VALIDATE && s->validate_fail == FERRY_MAIL_FAIL_ACCEPT)
            return FERRY_SMTP_RCPT_OK;
    }
    return replies[v->outcome][question == FERRY_MAIL_SAVE];
}

int ferry_mail_verdict_words(const struct ferry_mail_service *s, enum ferry_mail_question question,
                             const struct ferry_mail_verdict *v, struct ferry_slice *enhanced,
                             struct ferry_slice *text)
{
    enum ferry_smtp_reply reply = ferry_mail_verdict_reply(s, question, v);
    int code = v->code ? v->code : ferry_smtp_reply_code(reply);

    if (question == FERRY_MAIL_AUTH || (!v->code && !v->enhanced[0] && !v->text[0]))
        return 0;
    *text = ferry_slice_z(v->text[0]                        ? v->text
                          : v->outcome == FERRY_MAIL_REJECT ? "Rejected"
                                                            : "Try again later");
    *enhanced =
        ferry_slice_z(v->enhanced[0]                         ? v->enhanced
                      : code == ferry_smtp_reply_code(reply) ? ferry_smtp_reply_enhanced(reply)
                                                             : "");
    return code;
}
