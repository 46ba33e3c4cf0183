/* SPDX-License-Identifier: MIT */
/* The settings of a mail service; most have the names of what they fill in mail/service.h and
 * smtp/smtp.h. */
#include <arpa/inet.h>
#include <stdio.h>

#include "base/slice.h"
#include "config/table.h"

#define X(name, text) text,
static const char *const protocols[] = {FERRY_MAIL_PROTOCOL_MAP(X) NULL};
static const char *const tlses[] = {FERRY_MAIL_TLS_MAP(X) NULL};
static const char *const formats[] = {FERRY_MAIL_FORMAT_MAP(X) NULL};
static const char *const headers[] = {FERRY_MAIL_HEADERS_MAP(X) NULL};
static const char *const fails[] = {FERRY_MAIL_FAIL_MAP(X) NULL};
static const char *const bares[] = {FERRY_SMTP_BARE_MAP(X) NULL};
#undef X
static const char *const save_fails[] = {"temp", "perm", NULL};
static const char *const versions[] = {"1.0", "1.1", "1.2", "1.3", NULL};
static const char *const tls_clients[] = {"none", "ask", "need", NULL};

/* -- texts ------------------------------------------------------------------------------------- */

static const char *wrong_host(const char *text)
{
    return ferry__is_host(ferry_slice_z(text)) ? NULL : "that is no name of a host";
}

/* How many bits an address has; 0: it is none. */
static unsigned address_bits(const char *text)
{
    unsigned char out[16];

    return inet_pton(AF_INET, text, out) == 1 ? 32 : inet_pton(AF_INET6, text, out) == 1 ? 128 : 0;
}

static const char *wrong_network(const char *text)
{
    static const char why[] =
        "an address is expected, or a network such as 192.0.2.0/24 or 2001:db8::/32, or unix";
    char address[INET6_ADDRSTRLEN + 1] = "";
    size_t n = ferry_slice_find(ferry_slice_z(text), '/');
    unsigned bits;
    uint64_t len;

    if (strcmp(text, "unix") == 0)
        return NULL;
    if (n >= sizeof address)
        return why;
    memcpy(address, text, n);
    bits = address_bits(address);
    if (!bits)
        return why;
    return text[n] && ferry_slice_u64(ferry_slice_z(text + n + 1), bits, &len) < 0 ? why : NULL;
}

static const char *wrong_literal(const char *text, size_t n)
{
    static const char why[] = "in the brackets stands no address";
    char address[INET6_ADDRSTRLEN + 1] = "";
    size_t from = strncasecmp(text, "[IPv6:", 6) == 0 ? 6 : 1;

    if (n < from + 2 || text[n - 1] != ']' || n - 1 - from >= sizeof address)
        return why;
    memcpy(address, text + from, n - 1 - from);
    return address_bits(address) ? NULL : why;
}

/* Names in other scripts than ASCII's are the mail gateway's to look at more closely. */
static const char *wrong_domain(const char *text)
{
    const char *name = strncmp(text, "*.", 2) == 0 ? text + 2 : text;

    if (strcmp(text, ".") == 0 || strcmp(text, "*") == 0)
        return NULL;
    if (text[0] == '[')
        return wrong_literal(text, strlen(text));
    for (const char *at = name; *at; at++)
        if (*at & 0x80)
            return strpbrk(name, " @*/?[]:") ? "that is no domain" : NULL;
    return ferry__is_host(ferry_slice_z(name))
               ? NULL
               : "example.com, *.example.com, [192.0.2.1] and . (any) are domains";
}

/* -- the table --------------------------------------------------------------------------------- */

#define MAIL(member) offsetof(struct ferry_config_mail, member)
#define LIST(n, m, c, form_, help_, ...)                                                           \
    {                                                                                              \
        .name = (n), .type = FERRY__SETTING_LIST, .offset = MAIL(m), .count = MAIL(c),             \
        .form = (form_), .help = (help_), __VA_ARGS__                                              \
    }
#define NETWORKS(name_, member, help_)                                                             \
    LIST(name_, service.member.texts, service.member.n, "NETWORK | { NETWORK, ... }", help_,       \
         .wrong = wrong_network)
#define AT(member) MAIL(member)

const struct ferry__setting ferry__mail_settings[] = {
    LIST("listen", listen, nlisten, "ADDRESS | { ADDRESS, ... }", "where clients connect",
         .read = ferry__read_mail_listen),
    SETTING("protocol", CHOICE, service.protocol, "smtp",
            "smtp: mail for our own recipients, from anywhere; submission: from our own users, by "
            "AUTH; lmtp: from a mail server in front, with an answer for each recipient",
            .choices = protocols),
    SETTING("hostname", TEXT, service.hostname, NULL,
            "the name it greets with; unset: the machine's", .wrong = wrong_host),
    LIST("domains", service.domains, service.ndomains, "DOMAIN | { DOMAIN, ... }",
         "whose mail is taken: example.com, *.example.com (what is below it), [192.0.2.1], . (any)",
         .wrong = wrong_domain),
    SETTING("accept-all", SWITCH, service.accept_all, "off",
            "take mail for any domain, though the address is a public one"),

    /* scripts */
    SETTING("application", TEXT, application, NULL,
            "the application whose scripts validate, save and auth are"),
    SETTING("validate", PATH, service.validate.path, NULL,
            "the script that says PASS for a recipient; unset: all of the domains are good"),
    SETTING("save", PATH, service.save.path, NULL,
            "the script that stores a message and says SAVED"),
    SETTING("auth", PATH, service.auth.path, NULL,
            "the script that says PASS for a name and a password; unset: there is no AUTH"),
    SETTING("validate-application", TEXT, validate_application, NULL,
            "the application of this script; unset: that of application"),
    SETTING("save-application", TEXT, save_application, NULL, "likewise"),
    SETTING("auth-application", TEXT, auth_application, NULL, "likewise"),
    SETTING("validate-timeout", DURATION, service.validate.timeout_ms, "5s",
            "how long this script may take; after it: 451", .min = 1, .max = 300000),
    SETTING("save-timeout", DURATION, service.save.timeout_ms, "30s",
            "likewise; the client is not to give up first", .min = 1, .max = 120000),
    SETTING("auth-timeout", DURATION, service.auth.timeout_ms, "10s", "likewise", .min = 1,
            .max = 300000),
    SETTING("queue-timeout", DURATION, service.queue_ms, "10s",
            "how long a question waits for a connection to the application, before it is 451",
            .min = 1, .max = 300000),
    SETTING("validate-fail", CHOICE, service.validate_fail, "temp",
            "what is answered when validate fails: temp 4xx, perm 5xx; accept: the recipient is "
            "good",
            .choices = fails),
    SETTING("save-fail", CHOICE, service.save_fail, "temp",
            "what is answered when save fails: temp 4xx; perm 5xx, and the sender gives up",
            .choices = save_fails),
    SETTING("format", CHOICE, service.format, "urlencoded",
            "how save is given the message: as a field of a form, as its uploaded file, or alone "
            "on STDIN",
            .choices = formats),
    SETTING("headers", CHOICE, service.headers, "trace",
            "fields in front of it: trace, Return-Path and Received; delivered, also Delivered-To; "
            "none, byte for byte as it came",
            .choices = headers),
    SETTING("strict-token", SWITCH, service.strict_token, "off",
            "SAVED counts only with the token that ends the form behind it"),
    SETTING("seed-fields-only", SWITCH, service.seed_fields_only, "off",
            "tell scripts no fields but go-guerrilla's"),
    SETTING("per-recipient", SWITCH, service.per_recipient, "off",
            "lmtp: save is called for each recipient"),
    SETTING("compress", SWITCH, service.compress, "off", "hand the message on deflated (zlib)"),
    SETTING("debug", SWITCH, service.debug, "off", "log the envelope and header of each message"),
    SETTING("verdict-time", DURATION, service.verdict_ms, "0",
            "how long what validate said of a recipient is remembered; 0: not at all"),
    SETTING("verdict-no-time", DURATION, service.verdict_no_ms, "0",
            "the same of refusals; 0: a tenth of it"),
    SETTING("remember-saved", SWITCH, service.remember_saved, "on",
            "a message that was saved, but whose sender may not have seen the answer, is known "
            "when it comes again"),
    SETTING("saved-time", DURATION, service.saved_ms, "1h", "how long", .min = 1),
    SETTING("saved-max", NUMBER, service.saved_max, "10000", "and how many", .min = 1,
            .max = 10000000),

    /* without a script */
    SETTING("maildir", PATH, service.maildir, NULL,
            "a Maildir where messages are stored, also without any script"),
    SETTING("maildir-per-user", SWITCH, service.maildir_per_user, "off",
            "below it, in domain/name of each recipient"),

    /* who may */
    SETTING("auth-required", SWITCH, service.smtp.auth_required, "off",
            "AUTH before MAIL; always so with protocol submission"),
    SETTING("auth-insecure", SWITCH, service.smtp.auth_insecure, "off", "AUTH also without TLS"),
    SETTING("auth-fails-max", NUMBER, service.smtp.auth_fails_max, "3",
            "wrong passwords in one session", .min = 1, .max = 1000),
    NETWORKS("proxy-from", proxy_from,
             "connections from there begin with a PROXY header (version 1 or 2), which says whom "
             "they are from"),
    NETWORKS("xclient-from", xclient_from, "who may use XCLIENT"),
    NETWORKS("xforward-from", xforward_from, "who may use XFORWARD"),
    NETWORKS("trusted", trusted, "clients without limits of number and rate, and of order"),
    NETWORKS("deny", deny, "clients that are turned away with 554"),
    SETTING("names", SWITCH, service.names, "off",
            "look up the client's name, and whether it leads back"),

    /* TLS */
    SETTING("tls", CHOICE, service.tls, "starttls",
            "starttls: offered, when there is a certificate; required: before MAIL; implicit: from "
            "the first byte",
            .choices = tlses),
    LIST("tls-cert", tls_certs, ntls_certs, "PATH | { PATH, ... }",
         "certificates with their chains (PEM); the first is for clients that name none of their "
         "hosts",
         .paths = true),
    LIST("tls-key", tls_keys, ntls_keys, "PATH | { PATH, ... }",
         "their keys, in the same order; unset: in the same files", .paths = true),
    SETTING("tls-min", TEXT, service.tls_opts.min, "1.2", "the oldest version",
            .choices = versions),
    SETTING("tls-max", TEXT, service.tls_opts.max, NULL, "the newest one; unset: any",
            .choices = versions),
    SETTING("tls-ciphers", TEXT, service.tls_opts.ciphers, NULL,
            "up to version 1.2, in OpenSSL's words"),
    SETTING("tls-ciphersuites", TEXT, service.tls_opts.ciphersuites, NULL, "of version 1.3"),
    SETTING("tls-curves", TEXT, service.tls_opts.curves, NULL, "such as X25519:P-256"),
    SETTING("tls-clients", CHOICE, service.tls_opts.clients, "none",
            "are certificates of clients asked for?", .choices = tls_clients),
    SETTING("tls-client-ca", PATH, service.tls_opts.client_ca, NULL,
            "who signs them (PEM); unset: whom the system trusts"),

    /* the dialogue */
    SETTING("bare-newline", CHOICE, service.smtp.bare_newline, "auto",
            "lines of a message that end without CR LF; auto: reject for smtp, normalize for lmtp "
            "and trusted clients",
            .choices = bares),
    SETTING("strict", SWITCH, service.smtp.strict, "off",
            "addresses exactly as RFC 5321 has them, no blanks before '<'"),
    SETTING("sync", UNSWITCH, service.smtp.no_sync, "on", "refuse clients that talk out of turn"),
    SETTING("keep-nul", SWITCH, service.smtp.keep_nul, "off",
            "take messages with NUL bytes as they are"),
    SETTING("one-rcpt", SWITCH, service.smtp.one_rcpt, "off",
            "smtp: a second recipient is told to come with a message of its own"),
    SETTING("one-bounce", SWITCH, service.smtp.one_bounce, "off",
            "a null sender may name one recipient"),
    SETTING("binarymime", UNSWITCH, service.smtp.no_binarymime, "on", "offer BINARYMIME"),
    SETTING("dsn", UNSWITCH, service.smtp.no_dsn, "on", "offer DSN; scripts are told of it"),

    /* sizes and numbers */
    SETTING("size-max", SIZE, service.smtp.size_max, "25M", "of a message; 0: any"),
    SETTING("line-max", SIZE32, service.smtp.line_max, "2k", "of a command", .min = 512,
            .max = 1 << 20),
    SETTING("data-line-max", SIZE32, service.smtp.data_line_max, "1M", "of a line of a message",
            .min = 1000, .max = 1 << 30),
    SETTING("header-max", SIZE32, service.smtp.header_max, "256k", "of a message's header",
            .min = 1024, .max = 1 << 30),
    SETTING("rcpts-max", NUMBER, service.smtp.rcpts_max, "100", "recipients of a message", .min = 1,
            .max = 50000),
    SETTING("mails-max", NUMBER, service.smtp.mails_max, "100", "messages in one session", .min = 1,
            .max = 1000000),
    SETTING("hops-max", NUMBER, service.smtp.hops_max, "100",
            "Received fields of a message: more are a loop", .min = 1, .max = 10000),
    SETTING("errors-soft", NUMBER, service.smtp.errors_soft, "10",
            "after so many errors in a session each answer waits", .min = 1, .max = 100000),
    SETTING("error-delay", DURATION, service.smtp.error_delay_ms, "1s", "so long", .min = 1,
            .max = 60000),
    SETTING("errors-max", NUMBER, service.smtp.errors_max, "20",
            "and after so many the session ends", .min = 1, .max = 100000),
    SETTING("junk-max", NUMBER, service.smtp.junk_max, "100",
            "NOOP, RSET and the like in a session; more are errors", .min = 1, .max = 1000000),
    SETTING("clients-max", NUMBER, service.clients_max, "1000", "sessions at once", .min = 1,
            .max = 1 << 20),
    SETTING("clients-per-ip", NUMBER, service.clients_per_ip, "20",
            "sessions at once from one address (IPv6: one /64)", .min = 1, .max = 1 << 20),
    SETTING("connects-per-minute", NUMBER, service.connects_per_minute, "0",
            "connections from one address; 0: any number", .max = 1 << 20),
    SETTING("mails-per-minute", NUMBER, service.mails_per_minute, "0", "and messages",
            .max = 1 << 20),
    SETTING("rcpts-per-minute", NUMBER, service.rcpts_per_minute, "0", "and recipients",
            .max = 1 << 20),
    SETTING("auth-fails-per-minute", NUMBER, service.auth_fails_per_minute, "10",
            "and wrong passwords", .min = 1, .max = 1 << 20),
    SETTING("spool-max", SIZE, service.spool_max, "1G", "of all messages under way together",
            .min = 65536),
    SETTING("spool-mem", SIZE32, service.spool_mem, "64k",
            "of one message in memory; the rest is in a file without a name", .min = 1024,
            .max = 1 << 30),

    /* times */
    SETTING("proxy-timeout", DURATION, service.smtp.proxy_ms, "5s", "for the PROXY header",
            .min = 1),
    SETTING("greet-delay", DURATION, service.smtp.greet_delay_ms, "0",
            "before the greeting; who talks before it is refused", .max = 60000),
    SETTING("idle-timeout", DURATION, service.smtp.idle_ms, "5m",
            "until the next command; a tenth of it when hardly a connection is free", .min = 1),
    SETTING("command-timeout", DURATION, service.smtp.command_ms, "1m",
            "from the first byte of a command to its last", .min = 1),
    SETTING("data-idle-timeout", DURATION, service.smtp.data_idle_ms, "3m",
            "silence in the middle of a message", .min = 1),
    SETTING("data-rate-min", SIZE32, service.smtp.data_rate_min, "500",
            "bytes per second of a message, after its first 30 seconds", .min = 1, .max = 1 << 30),
    SETTING("data-timeout", DURATION, service.smtp.data_ms, "30m", "a whole message", .min = 1),
    SETTING("session-timeout", DURATION, service.smtp.session_ms, "2h", "a whole session",
            .min = 1),
    SETTING("send-timeout", DURATION, service.smtp.send_stall_ms, "1m",
            "until a client takes an answer", .min = 1),
    SETTING("linger", DURATION, service.smtp.linger_ms, "2s",
            "how long is still listened to a client after the last answer", .min = 1),
    {0}};
