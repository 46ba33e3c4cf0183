/* SPDX-License-Identifier: MIT */
/*
 * The commands, as one table: what each wants and may, and the function that does it. Those that
 * need more than a few lines have files of their own.
 */
#include "base/text.h"
#include "smtp/smtp_internal.h"

enum {
    BARE = 1,     /* takes no argument */
    ARGS = 2,     /* wants one */
    LAST = 4,     /* of a group (RFC 2920, 3.1): nothing may wait behind it */
    NO_TLS = 8,   /* also where TLS is required first (RFC 3207, 4), or sees to that itself */
    JUNK = 16,    /* brings no message nearer */
    HIDDEN = 32,  /* not in HELP */
    FOREIGN = 64, /* no command: of another protocol */
};

static bool not_for_us(struct ferry_smtp *m, bool lhlo)
{
    if (m->opts.lmtp == lhlo)
        return false;
    ferry__smtp_no(m, FERRY_SMTP_WRONG_HELO,
                   m->opts.lmtp ? FERRY_SLICE("LHLO") : FERRY_SLICE("EHLO"));
    return true;
}

static void helo_as(struct ferry_smtp *m, struct ferry_slice args, const char *verb, bool extended)
{
    /* What stands behind the name is not looked at. */
    struct ferry_slice name = ferry_slice_first(args, ferry_slice_find(args, ' '));

    name = ferry_slice_first(name, ferry_slice_find(name, '\t'));
    if (name.len == 0 || name.len > FERRY_SMTP_DOMAIN_MAX) {
        ferry__smtp_no(m, FERRY_SMTP_HELO_SYNTAX, ferry_slice_z(verb));
        return;
    }
    ferry__smtp_reset(m);
    memcpy(m->helo, name.p, name.len);
    m->helo[name.len] = '\0';
    m->helo_valid = ferry_smtp_is_domain(name);
    m->extended = extended;
    ferry__smtp_tell(m, FERRY_SMTP_EV_HELO);
    if (extended)
        ferry__smtp_say_ehlo(m);
    else
        ferry__smtp_say_helo(m);
}

static void helo(struct ferry_smtp *m, struct ferry_slice args)
{
    if (!not_for_us(m, false))
        helo_as(m, args, "HELO", false);
}

static void ehlo(struct ferry_smtp *m, struct ferry_slice args)
{
    if (!not_for_us(m, false))
        helo_as(m, args, "EHLO", true);
}

static void lhlo(struct ferry_smtp *m, struct ferry_slice args)
{
    if (!not_for_us(m, true))
        helo_as(m, args, "LHLO", true);
}

static void rset(struct ferry_smtp *m, struct ferry_slice args)
{
    (void)args;
    ferry__smtp_reset(m);
    ferry__smtp_say(m, FERRY_SMTP_OK, FERRY_SLICE(""));
}

static void noop(struct ferry_smtp *m, struct ferry_slice args)
{
    (void)args;
    ferry__smtp_say(m, FERRY_SMTP_OK, FERRY_SLICE(""));
}

static void vrfy(struct ferry_smtp *m, struct ferry_slice args)
{
    (void)args;
    ferry__smtp_say(m, FERRY_SMTP_VRFY, FERRY_SLICE(""));
}

static void help(struct ferry_smtp *m, struct ferry_slice args)
{
    char verbs[FERRY_SMTP_LINE_MAX];

    (void)args;
    ferry__smtp_say(m, FERRY_SMTP_HELP, ferry__smtp_verbs(verbs, sizeof verbs));
}

static void quit(struct ferry_smtp *m, struct ferry_slice args)
{
    (void)args;
    m->quit = true;
    ferry__smtp_say(m, FERRY_SMTP_BYE, FERRY_SLICE(""));
    ferry__smtp_reset(m);
    ferry__smtp_gone(m, FERRY_SMTP_NONE, true);
}

static void missing(struct ferry_smtp *m, struct ferry_slice args)
{
    (void)args;
    ferry__smtp_no(m, FERRY_SMTP_NOT_IMPLEMENTED, FERRY_SLICE(""));
}

/* A browser is made to send a form to us, and the form holds commands. */
static void web(struct ferry_smtp *m, struct ferry_slice args)
{
    (void)args;
    ferry__smtp_end(m, FERRY_SMTP_NOT_A_WEB_SERVER, FERRY_SLICE(""));
}

/* X(verb, function, flags, syntax) */
#define COMMAND_MAP(X)                                                                             \
    X("HELO", helo, LAST | JUNK, "HELO hostname")                                                  \
    X("EHLO", ehlo, LAST | JUNK | NO_TLS, "EHLO hostname")                                         \
    X("LHLO", lhlo, LAST | JUNK | NO_TLS | HIDDEN, "LHLO hostname")                                \
    X("MAIL", ferry__smtp_mail, 0, "MAIL FROM:<address>")                                          \
    X("RCPT", ferry__smtp_rcpt, 0, "RCPT TO:<address>")                                            \
    X("DATA", ferry__smtp_data, BARE | LAST, "DATA")                                               \
    X("BDAT", ferry__smtp_bdat, NO_TLS, "BDAT size [LAST]")                                        \
    X("RSET", rset, BARE | JUNK, "RSET")                                                           \
    X("NOOP", noop, JUNK | NO_TLS, "NOOP")                                                         \
    X("VRFY", vrfy, ARGS | LAST | JUNK, "VRFY address")                                            \
    X("HELP", help, JUNK, "HELP")                                                                  \
    X("STARTTLS", ferry__smtp_starttls, BARE | LAST | NO_TLS, "STARTTLS")                          \
    X("AUTH", ferry__smtp_auth, ARGS | LAST, "AUTH mechanism")                                     \
    X("QUIT", quit, BARE | NO_TLS, "QUIT")                                                         \
    X("XCLIENT", ferry__smtp_xclient, LAST | HIDDEN, "XCLIENT attribute=value")                    \
    X("XFORWARD", ferry__smtp_xforward, HIDDEN, "XFORWARD attribute=value")                        \
    X("EXPN", missing, LAST | HIDDEN, "")                                                          \
    X("ETRN", missing, HIDDEN, "")                                                                 \
    X("TURN", missing, HIDDEN, "")                                                                 \
    X("ATRN", missing, HIDDEN, "")                                                                 \
    X("SEND", missing, HIDDEN, "")                                                                 \
    X("SOML", missing, HIDDEN, "")                                                                 \
    X("SAML", missing, HIDDEN, "")                                                                 \
    X("GET", web, FOREIGN, "")                                                                     \
    X("POST", web, FOREIGN, "")                                                                    \
    X("HEAD", web, FOREIGN, "")                                                                    \
    X("PUT", web, FOREIGN, "")                                                                     \
    X("OPTIONS", web, FOREIGN, "")                                                                 \
    X("CONNECT", web, FOREIGN, "")

static const struct command {
    struct ferry_slice verb;
    ferry__smtp_command_fn *run;
    unsigned flags;
    const char *syntax;
} commands[] = {
#define X(verb, run, flags, syntax) {FERRY_SLICE_INIT(verb), run, flags, syntax},
    COMMAND_MAP(X)
#undef X
};

#define COMMANDS (sizeof commands / sizeof commands[0])

struct ferry_slice ferry__smtp_verbs(char *out, size_t cap)
{
    char *to = out;

    for (size_t i = 0; i < COMMANDS; i++) {
        struct ferry_slice verb = commands[i].verb;

        if (commands[i].flags & (HIDDEN | FOREIGN) || verb.len + 1 > cap - (size_t)(to - out))
            continue;
        if (to > out)
            *to++ = ' ';
        to = ferry__put(to, verb);
    }
    return ferry_slice(out, (size_t)(to - out));
}

static const struct command *find(struct ferry_slice verb)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (ferry_slice_eq_nocase(commands[i].verb, verb))
            return &commands[i];
    return NULL;
}

/* What is wrong with it whatever its function would say; NONE: nothing. */
static enum ferry_smtp_reply judge(const struct ferry_smtp *m, const struct command *c,
                                   struct ferry_slice args)
{
    if (c->flags & FOREIGN)
        return FERRY_SMTP_NONE;
    if (m->opts.tls_required && !m->tls && !(c->flags & NO_TLS))
        return FERRY_SMTP_TLS_REQUIRED;
    if ((c->flags & BARE && args.len) || (c->flags & ARGS && !args.len))
        return FERRY_SMTP_ARGS_SYNTAX;
    return FERRY_SMTP_NONE;
}

void ferry__smtp_command(struct ferry_smtp *m, struct ferry_slice line)
{
    size_t len = ferry_slice_find(line, ' '), tab = ferry_slice_find(line, '\t');
    struct ferry_slice verb = ferry_slice_first(line, len < tab ? len : tab);
    struct ferry_slice args = ferry_slice_trim(ferry_slice_from(line, verb.len));
    const struct command *c = find(verb);
    enum ferry_smtp_reply wrong;

    if (!c) {
        ferry__smtp_no(m, FERRY_SMTP_UNKNOWN, FERRY_SLICE(""));
        return;
    }
    /* RFC 2920, 3.2: what was sent without waiting may have been sent by somebody else. */
    if (c->flags & LAST && m->more && !ferry__smtp_lenient(m)) {
        ferry__smtp_end(m, FERRY_SMTP_NOT_IN_STEP, FERRY_SLICE(""));
        return;
    }
    if (c->flags & JUNK && ++m->junk > m->opts.junk_max && !ferry__smtp_error(m))
        return;
    wrong = judge(m, c, args);
    if (wrong)
        ferry__smtp_no(m, wrong, ferry_slice_z(c->syntax));
    else
        c->run(m, args);
}
