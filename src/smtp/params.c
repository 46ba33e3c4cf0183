/* SPDX-License-Identifier: MIT */
/*
 * Parameters of MAIL and RCPT. One walk splits and checks their syntax (RFC 5321, 4.1.2), a table
 * for each command says which there are and what reads their values. What was not announced is as
 * unknown as what nobody ever heard of.
 */
#include "smtp/params.h"

#include "base/text.h"
#include "smtp/utf8.h"

/* -- xtext ------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ferry_ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3461, 4: the byte at *at, which moves behind it; or -1. */
static int xtext_byte(struct ferry_slice s, size_t *at)
{
    unsigned char c = (unsigned char)s.p[(*at)++];
    int high, low;

    if (c != '+')
        return c < '!' || c > '~' || c == '=' ? -1 : c;
    if (s.len - *at < 2)
        return -1;
    high = hex_digit(s.p[(*at)++]);
    low = hex_digit(s.p[(*at)++]);
    if (high < 0 || low < 0)
        return -1;
    return high << 4 | low;
}

ssize_t ferry_smtp_xtext_decode(struct ferry_slice s, char *out, size_t cap)
{
    size_t n = 0;

    for (size_t at = 0; at < s.len; n++) {
        int c = xtext_byte(s, &at);

        if (c <= 0 || c == '\r' || c == '\n')
            return FERRY_EUSAGE;
    }
    if (n + 1 > cap)
        return FERRY_ELIMIT;
    n = 0;
    for (size_t at = 0; at < s.len;)
        out[n++] = (char)xtext_byte(s, &at);
    out[n] = 0;
    return (ssize_t)n;
}

/* -- the walk ---------------------------------------------------------------------------------- */

struct param {
    struct ferry_slice name, value;
    bool has_value;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_alnum(char c)
{
    char low = ferry_ascii_lower(c);

    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9');
}

/* A keyword that ends with a hyphen is one by the grammar, but none that anybody means. */
static bool is_keyword(struct ferry_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '-')
            return false;
    return s.len && is_alnum(s.p[0]) && is_alnum(s.p[s.len - 1]);
}

/* The next one, with *s behind it: 1; 0: there is none; or FERRY_EUSAGE. */
static int next_param(struct ferry_slice *s, struct param *out)
{
    size_t n = 0, equals;

    while (s->len && is_blank(s->p[0]))
        *s = ferry_slice_from(*s, 1);
    if (s->len == 0)
        return 0;
    while (n < s->len && !is_blank(s->p[n]))
        n++;
    out->name = ferry_slice_first(*s, n);
    equals = ferry_slice_find(out->name, '=');
    out->has_value = equals < n;
    out->value = ferry_slice_from(out->name, equals + 1);
    out->name.len = equals;
    *s = ferry_slice_from(*s, n);
    if (!is_keyword(out->name) || (out->has_value && out->value.len == 0))
        return FERRY_EUSAGE;
    if (ferry_slice_find(out->value, '=') < out->value.len)
        return FERRY_EUSAGE;
    return ferry__smtp_is_text(out->value, true) ? 1 : FERRY_EUSAGE;
}

struct kind {
    struct ferry_slice name;
    unsigned flag; /* that it needs */
    bool (*read)(void *out, struct ferry_slice value, unsigned allowed);
};

/* `bare`: the index of the one kind that takes no value. */
static enum ferry_smtp_reply read_all(struct ferry_slice s, unsigned allowed,
                                      const struct kind *kinds, unsigned n, unsigned bare,
                                      void *out, struct ferry_slice *detail)
{
    unsigned seen = 0;
    struct param param;
    int err;

    *detail = FERRY_SLICE("");
    while ((err = next_param(&s, &param)) > 0) {
        unsigned i = 0;

        while (i < n &&
               !((allowed & kinds[i].flag) && ferry_slice_eq_nocase(kinds[i].name, param.name)))
            i++;
        if (i == n) {
            *detail = param.name;
            return FERRY_SMTP_UNKNOWN_PARAM;
        }
        if ((seen & 1U << i) || param.has_value == (i == bare) ||
            !kinds[i].read(out, param.value, allowed))
            return FERRY_SMTP_BAD_PARAM;
        seen |= 1U << i;
    }
    return err ? FERRY_SMTP_BAD_PARAM : FERRY_SMTP_NONE;
}

/* The index of the word that it is, or n. */
static unsigned find_word(struct ferry_slice s, const char *const *words, unsigned n)
{
    unsigned i = 0;

    while (i < n && !ferry_slice_eq_nocase(s, ferry_slice_z(words[i])))
        i++;
    return i;
}

/* -- MAIL -------------------------------------------------------------------------------------- */

/* What has the twenty digits of RFC 1870 and more than 64 bits is too big for anybody, and no
 * mistake. */
static bool read_size(void *out, struct ferry_slice value, unsigned allowed)
{
    struct ferry_smtp_mail_params *mail = out;
    int err = ferry_slice_u64(value, UINT64_MAX, &mail->size);

    (void)allowed;
    if (value.len > 20 || (err && err != FERRY_ELIMIT))
        return false;
    if (err)
        mail->size = UINT64_MAX;
    return mail->has_size = true;
}

static bool read_body(void *out, struct ferry_slice value, unsigned allowed)
{
    static const char *const words[] = {"7BIT", "8BITMIME", "BINARYMIME"};
    struct ferry_smtp_mail_params *mail = out;
    unsigned i = find_word(value, words, 3);

    if (i == 3 || (i == FERRY_SMTP_BINARYMIME && !(allowed & FERRY_SMTP_PARAM_BINARYMIME)))
        return false;
    mail->body = (enum ferry_smtp_body)i;
    return mail->has_body = true;
}

static bool read_smtputf8(void *out, struct ferry_slice value, unsigned allowed)
{
    (void)value;
    (void)allowed;
    return ((struct ferry_smtp_mail_params *)out)->smtputf8 = true;
}

/* RFC 4954, 5: a mailbox, or "<>" for "not known". */
static bool read_auth(void *out, struct ferry_slice value, unsigned allowed)
{
    struct ferry_smtp_mail_params *mail = out;
    struct ferry_smtp_path path;
    char text[FERRY_SMTP_ADDRESS_MAX + 1];
    ssize_t n = ferry_smtp_xtext_decode(value, text, sizeof text);

    (void)allowed;
    if (n <= 0 || is_blank(text[0]) ||
        ferry_smtp_path_parse(ferry_slice(text, (size_t)n), FERRY_SMTP_PATH_NULL, &path) != n)
        return false;
    memcpy(mail->auth, path.text, (size_t)path.len + 1);
    return mail->has_auth = true;
}

static bool read_ret(void *out, struct ferry_slice value, unsigned allowed)
{
    static const char *const words[] = {"FULL", "HDRS"};
    unsigned i = find_word(value, words, 2);

    (void)allowed;
    ((struct ferry_smtp_mail_params *)out)->ret = (enum ferry_smtp_ret)(FERRY_SMTP_RET_FULL + i);
    return i < 2;
}

/* RFC 3461, 4.4: printable ASCII when it is decoded. */
static bool read_envid(void *out, struct ferry_slice value, unsigned allowed)
{
    struct ferry_smtp_mail_params *mail = out;
    ssize_t n = value.len > FERRY_SMTP_ENVID_MAX
                    ? FERRY_ELIMIT
                    : ferry_smtp_xtext_decode(value, mail->envid, sizeof mail->envid);

    (void)allowed;
    mail->has_envid = n > 0 && ferry__smtp_is_text(ferry_slice(mail->envid, (size_t)n), false);
    return mail->has_envid;
}

static const struct kind of_mail[] = {
    {FERRY_SLICE_INIT("SMTPUTF8"), FERRY_SMTP_PARAM_SMTPUTF8, read_smtputf8},
    {FERRY_SLICE_INIT("SIZE"), FERRY_SMTP_PARAM_SIZE, read_size},
    {FERRY_SLICE_INIT("BODY"), FERRY_SMTP_PARAM_BODY, read_body},
    {FERRY_SLICE_INIT("AUTH"), FERRY_SMTP_PARAM_AUTH, read_auth},
    {FERRY_SLICE_INIT("RET"), FERRY_SMTP_PARAM_DSN, read_ret},
    {FERRY_SLICE_INIT("ENVID"), FERRY_SMTP_PARAM_DSN, read_envid},
};

enum ferry_smtp_reply ferry_smtp_mail_params(struct ferry_slice s, unsigned allowed,
                                             struct ferry_smtp_mail_params *out,
                                             struct ferry_slice *detail)
{
    *out = (struct ferry_smtp_mail_params){0};
    return read_all(s, allowed, of_mail, sizeof of_mail / sizeof *of_mail, 0, out, detail);
}

/* -- RCPT -------------------------------------------------------------------------------------- */

struct rcpt {
    struct ferry_smtp_rcpt_params *out;
    bool utf8;
};

static bool read_notify(void *out, struct ferry_slice value, unsigned allowed)
{
    static const char *const words[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    unsigned *notify = &((struct rcpt *)out)->out->notify;
    size_t n;

    (void)allowed;
    for (;; value = ferry_slice_from(value, n + 1)) {
        unsigned i;

        n = ferry_slice_find(value, ',');
        i = find_word(ferry_slice_first(value, n), words, 4);
        if (i == 4)
            return false;
        *notify |= 1U << i;
        if (n == value.len)
            break;
    }
    return !(*notify & FERRY_SMTP_NOTIFY_NEVER) || *notify == FERRY_SMTP_NOTIFY_NEVER;
}

static char *put_utf8(char *to, uint32_t c)
{
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    unsigned n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    if (n == 1) {
        *to++ = (char)c;
        return to;
    }
    *to++ = (char)(lead[n] | c >> 6 * (n - 1));
    for (unsigned i = n - 1; i-- > 0;)
        *to++ = (char)(0x80 | (c >> 6 * i & 0x3f));
    return to;
}

/*
 * RFC 6533, 3: UTF-8 in which \x{...} stands for a character. Less strict in what else may stand
 * there than its grammar, as Postfix is: a plain "+" is no harm. Never longer than it came; what
 * it has become is looked at afterwards.
 */
static ssize_t utf8_address_decode(struct ferry_slice s, char *out)
{
    char *to = out;

    for (size_t at = 0; at < s.len;) {
        uint32_t c = 0;
        size_t digits = 0;

        if (s.p[at] != '\\') {
            *to++ = s.p[at++];
            continue;
        }
        if (!ferry_slice_starts(ferry_slice_from(s, at), FERRY_SLICE("\\x{")))
            return FERRY_EUSAGE;
        for (at += 3; at < s.len && hex_digit(s.p[at]) >= 0; at++, digits++) {
            if (digits == 6)
                return FERRY_EUSAGE;
            c = c << 4 | (uint32_t)hex_digit(s.p[at]);
        }
        if (digits < 2 || at == s.len || s.p[at++] != '}' || c > 0x10ffff)
            return FERRY_EUSAGE;
        to = put_utf8(to, c);
    }
    return to - out;
}

/* RFC 3461, 4.2: addr-type ";" xtext. An address in brackets, or none in them, is no address. */
static bool read_orcpt(void *out, struct ferry_slice value, unsigned allowed)
{
    struct rcpt *rcpt = out;
    size_t semicolon = ferry_slice_find(value, ';'), room;
    struct ferry_slice type = ferry_slice_first(value, semicolon);
    struct ferry_slice address = ferry_slice_from(value, semicolon + 1);
    char *to = rcpt->out->orcpt;
    ssize_t n;

    (void)allowed;
    if (value.len > FERRY_SMTP_ORCPT_MAX || !is_keyword(type) || address.len == 0 ||
        !ferry__smtp_is_text(value, rcpt->utf8))
        return false;
    for (size_t i = 0; i < type.len; i++)
        *to++ = ferry_ascii_lower(type.p[i]);
    *to++ = ';';
    room = sizeof rcpt->out->orcpt - type.len - 1;
    n = ferry_slice_eq_nocase(type, FERRY_SLICE("utf-8"))
            ? utf8_address_decode(address, to)
            : ferry_smtp_xtext_decode(address, to, room);
    if (n <= 0 || to[0] == '<' || !ferry__smtp_is_text(ferry_slice(to, (size_t)n), true))
        return false;
    to[n] = 0;
    return true;
}

static const struct kind of_rcpt[] = {
    {FERRY_SLICE_INIT("NOTIFY"), FERRY_SMTP_PARAM_DSN, read_notify},
    {FERRY_SLICE_INIT("ORCPT"), FERRY_SMTP_PARAM_DSN, read_orcpt},
};

enum ferry_smtp_reply ferry_smtp_rcpt_params(struct ferry_slice s, unsigned allowed, bool utf8,
                                             struct ferry_smtp_rcpt_params *out,
                                             struct ferry_slice *detail)
{
    struct rcpt rcpt = {out, utf8};
    const unsigned n = sizeof of_rcpt / sizeof *of_rcpt;

    *out = (struct ferry_smtp_rcpt_params){0};
    return read_all(s, allowed, of_rcpt, n, n, &rcpt, detail);
}
