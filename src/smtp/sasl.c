/* SPDX-License-Identifier: MIT */
/*
 * AUTH with PLAIN and LOGIN, and base64. What was decoded is wiped wherever it stood but in the
 * struct, which ferry_smtp_sasl_clear wipes. Empty names and passwords are refused here, since
 * there are directories that take an empty password for "nobody in particular, come in".
 */
#include "smtp/sasl.h"

#include "base/text.h"

/* In memory that nobody reads again, which a compiler would leave alone with memset. */
static void wipe(void *p, size_t n)
{
    volatile char *bytes = p;

    while (n--)
        *bytes++ = 0;
}

/* -- base64 ------------------------------------------------------------------------------------ */

/* The value of a digit, plus one; 0: it is none. */
static const uint8_t digits[256] = {
#define D(c, n) [c] = (n) + 1
#define D4(c, n) D(c, n), D((c) + 1, (n) + 1), D((c) + 2, (n) + 2), D((c) + 3, (n) + 3)
#define D24(c, n)                                                                                  \
    D4(c, n), D4((c) + 4, (n) + 4), D4((c) + 8, (n) + 8), D4((c) + 12, (n) + 12),                  \
        D4((c) + 16, (n) + 16), D4((c) + 20, (n) + 20)
    D24('A', 0), D('Y', 24),  D('Z', 25), D24('a', 26), D('y', 50), D('z', 51),
    D4('0', 52), D4('4', 56), D('8', 60), D('9', 61),   D('+', 62), D('/', 63),
#undef D24
#undef D4
#undef D
};

/* 24 bits of four digits, of which the last `pads` stand for nothing; or UINT32_MAX. */
static uint32_t quantum(const char *p, unsigned pads)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < 4; i++) {
        unsigned digit = i < 4 - pads ? digits[(unsigned char)p[i]] : 1;

        if (digit == 0)
            return UINT32_MAX;
        bits = bits << 6 | (digit - 1);
    }
    /* Bits that do not arrive are to be 0 (RFC 4648, 3.5): one value, one text. */
    return bits & ((1U << 8 * pads) - 1) ? UINT32_MAX : bits;
}

ssize_t ferry_smtp_base64_decode(struct ferry_slice s, char *out, size_t cap)
{
    unsigned pads = 0;
    size_t n = 0;

    if (s.len % 4)
        return FERRY_EUSAGE;
    while (pads < 2 && pads < s.len && s.p[s.len - 1 - pads] == '=')
        pads++;
    for (size_t at = 0; at < s.len; at += 4) {
        unsigned less = at + 4 == s.len ? pads : 0;
        uint32_t bits = quantum(s.p + at, less);

        if (bits == UINT32_MAX)
            return FERRY_EUSAGE;
        for (unsigned i = 0; i < 3 - less; i++, n++)
            if (n < cap)
                out[n] = (char)(bits >> (16 - 8 * i));
    }
    return n > cap ? FERRY_ELIMIT : (ssize_t)n;
}

/* -- mechanisms -------------------------------------------------------------------------------- */

#define X(name, text) FERRY_SLICE_INIT(text),
static const struct ferry_slice mechanisms[] = {FERRY_SMTP_MECHANISM_MAP(X)};
#undef X

enum { FIRST, PASSWORD, DONE };

const char *ferry_smtp_mechanism_name(enum ferry_smtp_mechanism mechanism)
{
    return mechanism < FERRY_SMTP_MECHANISMS ? mechanisms[mechanism].p : "";
}

static int refuse(struct ferry_smtp_sasl *sasl, enum ferry_smtp_reply reply,
                  enum ferry_smtp_reply *why)
{
    sasl->step = DONE;
    *why = reply;
    return FERRY_EUSAGE;
}

/* A part of a response into `out`: NONE, or why not. What is longer than any that we know of is
 * wrong, not misspelt. Names are for logs and params: no controls. */
static enum ferry_smtp_reply set(char *out, size_t cap, struct ferry_slice part, bool name)
{
    for (size_t i = 0; i < part.len; i++) {
        unsigned char c = (unsigned char)part.p[i];

        if (c == 0 || (name && (c < ' ' || c == 0x7f)))
            return FERRY_SMTP_AUTH_BASE64;
    }
    if (part.len >= cap)
        return FERRY_SMTP_AUTH_WRONG;
    *ferry__put(out, part) = 0;
    return FERRY_SMTP_NONE;
}

/* RFC 4616, 2: [identity] NUL user NUL password. */
static enum ferry_smtp_reply set_plain(struct ferry_smtp_sasl *sasl, struct ferry_slice message)
{
    size_t identity = ferry_slice_find(message, 0);
    struct ferry_slice rest = ferry_slice_from(message, identity + 1);
    size_t user = ferry_slice_find(rest, 0);
    struct ferry_slice password = ferry_slice_from(rest, user + 1);
    enum ferry_smtp_reply why;

    if (user == 0 || password.len == 0)
        return FERRY_SMTP_AUTH_BASE64;
    why = set(sasl->identity, sizeof sasl->identity, ferry_slice_first(message, identity), true);
    if (!why)
        why = set(sasl->user, sizeof sasl->user, ferry_slice_first(rest, user), true);
    if (!why)
        why = set(sasl->password, sizeof sasl->password, password, false);
    return why;
}

static enum ferry_smtp_reply set_login(struct ferry_smtp_sasl *sasl, struct ferry_slice message)
{
    if (message.len == 0)
        return FERRY_SMTP_AUTH_BASE64;
    return sasl->step == FIRST ? set(sasl->user, sizeof sasl->user, message, true)
                               : set(sasl->password, sizeof sasl->password, message, false);
}

/* One response, decoded: an empty one is "" here. */
static int respond(struct ferry_smtp_sasl *sasl, struct ferry_slice text, const char **challenge,
                   enum ferry_smtp_reply *why)
{
    char message[2 * FERRY_SMTP_USER_MAX + FERRY_SMTP_PASSWORD_MAX + 2];
    bool plain = sasl->mechanism == FERRY_SMTP_MECHANISM_PLAIN;
    enum ferry_smtp_reply reply;
    ssize_t n;

    n = ferry_smtp_base64_decode(text, message, sizeof message);
    if (n < 0)
        reply = n == FERRY_ELIMIT ? FERRY_SMTP_AUTH_WRONG : FERRY_SMTP_AUTH_BASE64;
    else
        reply = (plain ? set_plain : set_login)(sasl, ferry_slice(message, (size_t)n));
    wipe(message, sizeof message);
    if (reply)
        return refuse(sasl, reply, why);
    sasl->step = plain ? DONE : sasl->step + 1;
    if (sasl->step == DONE)
        return 1;
    *challenge = "UGFzc3dvcmQ6"; /* "Password:" */
    return 0;
}

int ferry_smtp_sasl_begin(struct ferry_smtp_sasl *sasl, struct ferry_slice args,
                          const char **challenge, enum ferry_smtp_reply *why)
{
    struct ferry_slice name, rest;
    unsigned i = 0;

    *sasl = (struct ferry_smtp_sasl){0};
    args = ferry_slice_trim(args);
    name = ferry_slice_first(args, ferry_slice_find(args, ' '));
    rest = ferry_slice_trim(ferry_slice_from(args, name.len));
    if (name.len == 0)
        return refuse(sasl, FERRY_SMTP_ARGS_SYNTAX, why);
    while (i < FERRY_SMTP_MECHANISMS && !ferry_slice_eq_nocase(mechanisms[i], name))
        i++;
    if (i == FERRY_SMTP_MECHANISMS)
        return refuse(sasl, FERRY_SMTP_AUTH_MECHANISM, why);
    sasl->mechanism = (enum ferry_smtp_mechanism)i;
    if (rest.len == 0) {
        *challenge = i == FERRY_SMTP_MECHANISM_LOGIN ? "VXNlcm5hbWU6" : ""; /* "Username:" */
        return 0;
    }
    if (rest.len > FERRY_SMTP_SASL_LINE_MAX)
        return refuse(sasl, FERRY_SMTP_SASL_TOO_LONG, why);
    /* RFC 4954, 4: "=" is how an empty one is written here. */
    return respond(sasl, ferry_slice_eq(rest, FERRY_SLICE("=")) ? FERRY_SLICE("") : rest, challenge,
                   why);
}

int ferry_smtp_sasl_next(struct ferry_smtp_sasl *sasl, struct ferry_slice line,
                         const char **challenge, enum ferry_smtp_reply *why)
{
    if (line.len > FERRY_SMTP_SASL_LINE_MAX)
        return refuse(sasl, FERRY_SMTP_SASL_TOO_LONG, why);
    if (ferry_slice_eq(line, FERRY_SLICE("*")))
        return refuse(sasl, FERRY_SMTP_AUTH_CANCELLED, why);
    if (sasl->step == DONE)
        return refuse(sasl, FERRY_SMTP_BAD_SYNTAX, why);
    return respond(sasl, line, challenge, why);
}

void ferry_smtp_sasl_clear(struct ferry_smtp_sasl *sasl)
{
    wipe(sasl, sizeof *sasl);
}
