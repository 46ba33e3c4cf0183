/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SMTP_REPLY_H
#define FERRY_SMTP_REPLY_H

#include <stddef.h>

#include "base/slice.h"
#include "ferry/err.h"

/*
 * Every reply that ferry gives by itself: code, enhanced code (RFC 2034, 5248), text. A %s in the
 * text stands for the one detail that a reply may have (an address, a number, a name).
 *
 * Whatever is in doubt is 4xx: who sent it tries again, and nothing is lost.
 */

/* X(name, code, enhanced, text); no enhanced code where RFC 2034 forbids it */
#define FERRY_SMTP_REPLY_MAP(X)                                                                    \
    X(NONE, 0, "", "")                                                                             \
    /* the connection */                                                                           \
    X(GREETING, 220, "", "%s")                                                                     \
    X(BYE, 221, "2.0.0", "Bye")                                                                    \
    X(NOT_A_WEB_SERVER, 221, "2.7.0", "This is not a web server")                                  \
    X(TOO_MANY_CONNECTIONS, 421, "4.3.2", "Too many connections, try again later")                 \
    X(TOO_MANY_OF_CLIENT, 421, "4.7.0", "Too many connections from your address")                  \
    X(DENIED, 554, "5.7.1", "Access denied")                                                       \
    X(NO_MAIL_HERE, 521, "5.3.2", "This host does not accept mail")                                \
    X(SPOKE_TOO_EARLY, 554, "5.5.1", "Protocol error: client spoke too early")                     \
    X(SHUTTING_DOWN, 421, "4.3.2", "Service shutting down")                                        \
    X(TIMEOUT, 421, "4.4.2", "Timeout exceeded")                                                   \
    X(SESSION_TOO_LONG, 421, "4.3.2", "Session open too long")                                     \
    X(TOO_MANY_ERRORS, 421, "4.7.0", "Too many errors")                                            \
    X(INTERNAL, 421, "4.3.0", "Internal error")                                                    \
    X(NOT_IN_STEP, 554, "5.5.0", "SMTP protocol synchronization")                                  \
    /* commands */                                                                                 \
    X(UNKNOWN, 500, "5.5.2", "Command not recognized")                                             \
    X(NOT_IMPLEMENTED, 502, "5.5.1", "Not implemented")                                            \
    X(BAD_SYNTAX, 500, "5.5.2", "Bad syntax")                                                      \
    X(LINE_TOO_LONG, 500, "5.5.2", "Line too long")                                                \
    X(SASL_TOO_LONG, 500, "5.5.6", "Line too long")                                                \
    X(HELO_SYNTAX, 501, "", "Syntax: %s hostname")                                                 \
    X(WRONG_HELO, 500, "5.5.1", "Use %s")                                                          \
    X(ARGS_SYNTAX, 501, "5.5.4", "Syntax: %s")                                                     \
    X(HELO_FIRST, 503, "5.5.1", "Send %s first")                                                   \
    X(NESTED_MAIL, 503, "5.5.1", "Nested MAIL command")                                            \
    X(NEED_MAIL, 503, "5.5.1", "Need MAIL command")                                                \
    X(NEED_RCPT, 503, "5.5.1", "Need RCPT command")                                                \
    X(NO_VALID_RCPT, 554, "5.5.1", "No valid recipients")                                          \
    X(BAD_SENDER, 501, "5.1.7", "Bad sender address syntax")                                       \
    X(BAD_RCPT, 501, "5.1.3", "Bad recipient address syntax")                                      \
    X(NEED_SMTPUTF8, 553, "5.6.7", "Must declare SMTPUTF8")                                        \
    X(BAD_SENDER_DOMAIN, 501, "5.1.8", "Bad sender domain")                                        \
    X(BAD_RCPT_DOMAIN, 501, "5.1.2", "Bad recipient domain")                                       \
    X(BAD_PARAM, 501, "5.5.4", "Bad parameter syntax")                                             \
    X(UNKNOWN_PARAM, 555, "5.5.4", "Unsupported option: %s")                                       \
    X(TOO_BIG, 552, "5.3.4", "Message size exceeds limit of %s")                                   \
    X(NO_SPACE, 452, "4.3.1", "Insufficient system storage")                                       \
    X(TLS_READY, 220, "2.0.0", "Ready to start TLS")                                               \
    X(TLS_REQUIRED, 530, "5.7.0", "Must issue a STARTTLS command first")                           \
    X(TLS_NOT_OFFERED, 502, "5.5.1", "TLS is not offered")                                         \
    X(TLS_BROKEN, 454, "4.7.0", "TLS not available")                                               \
    X(TLS_ACTIVE, 554, "5.5.1", "TLS already active")                                              \
    X(AUTH_OK, 235, "2.7.0", "Authentication successful")                                          \
    X(AUTH_REQUIRED, 530, "5.7.0", "Authentication required")                                      \
    X(AUTH_WRONG, 535, "5.7.8", "Authentication failed")                                           \
    X(AUTH_BROKEN, 454, "4.7.0", "Temporary authentication failure")                               \
    X(AUTH_NEEDS_TLS, 538, "5.7.11", "Encryption required")                                        \
    X(AUTH_MECHANISM, 504, "5.5.4", "Unrecognized authentication type")                            \
    X(AUTH_AGAIN, 503, "5.5.1", "Already authenticated")                                           \
    X(AUTH_NOT_NOW, 503, "5.5.1", "AUTH not permitted during a mail transaction")                  \
    X(AUTH_NOT_OFFERED, 503, "5.5.1", "AUTH is not offered")                                       \
    X(AUTH_CANCELLED, 501, "5.7.0", "Authentication cancelled")                                    \
    X(AUTH_BASE64, 501, "5.5.2", "Cannot decode the response")                                     \
    X(VRFY, 252, "2.0.0", "Cannot VRFY user, but will accept message and attempt delivery")        \
    X(HELP, 214, "2.0.0", "See RFC 5321; commands: %s")                                            \
    X(OK, 250, "2.0.0", "Ok")                                                                      \
    X(MAIL_OK, 250, "2.1.0", "Ok")                                                                 \
    X(RCPT_OK, 250, "2.1.5", "Ok")                                                                 \
    X(SEND_DATA, 354, "", "End data with <CR><LF>.<CR><LF>")                                       \
    X(CHUNK_OK, 250, "2.0.0", "%s octets received")                                                \
    X(CHUNK_FAILED, 503, "5.5.0", "Previous data chunk failed, issue RSET first")                  \
    X(NOT_BETWEEN_CHUNKS, 503, "5.5.1", "Not between the chunks of a message")                     \
    X(BAD_CHUNK_SIZE, 501, "5.5.4", "Bad chunk size")                                              \
    X(USE_BDAT, 503, "5.5.1", "BODY=BINARYMIME requires BDAT")                                     \
    X(XCLIENT_DENIED, 550, "5.7.0", "Not allowed from your address")                               \
    X(XCLIENT_BAD, 501, "5.5.4", "Bad attribute: %s")                                              \
    X(XCLIENT_NOT_NOW, 503, "5.5.1", "Mail transaction in progress")                               \
    X(TOO_MANY_MAILS, 421, "4.7.0", "Too many messages in one connection")                         \
    X(TOO_MUCH_MAIL, 450, "4.7.1", "Too much mail, try again later")                               \
    /* recipients */                                                                               \
    X(RELAY_DENIED, 550, "5.7.1", "Relay access denied")                                           \
    X(USER_UNKNOWN, 550, "5.1.1", "%s User unknown")                                               \
    X(USER_LATER, 450, "4.2.1", "%s Try again later")                                              \
    X(CHECK_FAULT, 451, "4.3.0", "Recipient check temporarily unavailable")                        \
    X(BUSY, 451, "4.3.2", "System busy, try again later")                                          \
    X(CONFIGURATION, 451, "4.3.5", "Server configuration problem")                                 \
    X(TOO_MANY_RCPT, 452, "4.5.3", "Too many recipients")                                          \
    X(ONE_RCPT, 452, "4.5.3", "One recipient at a time")                                           \
    X(BOUNCE_TO_MANY, 550, "5.5.3", "Multi-recipient bounce")                                      \
    /* messages */                                                                                 \
    X(SAVED, 250, "2.0.0", "Ok: saved as %s")                                                      \
    X(HEADER_TOO_BIG, 552, "5.3.4", "Header too large")                                            \
    X(DATA_LINE_TOO_LONG, 554, "5.6.0", "Line too long")                                           \
    X(BARE_LF, 550, "5.5.2", "Bare <LF> or <CR> received")                                         \
    X(NUL_BYTE, 550, "5.6.0", "NUL byte received")                                                 \
    X(TOO_MANY_HOPS, 554, "5.4.6", "Mail loop: too many hops")                                     \
    X(REJECTED, 554, "5.7.1", "Message rejected")                                                  \
    X(LATER, 451, "4.7.1", "Try again later")                                                      \
    X(NOT_SAVED, 451, "4.3.0", "Message could not be saved, try again later")                      \
    X(NOT_SAVED_FOR_GOOD, 554, "5.3.0", "Message could not be saved")

enum ferry_smtp_reply {
#define X(name, code, enhanced, text) FERRY_SMTP_##name,
    FERRY_SMTP_REPLY_MAP(X)
#undef X
        FERRY_SMTP_REPLIES
};

#define FERRY_SMTP_LINE_MAX 512 /* of a reply, with CR LF (RFC 5321, 4.5.3.1.5) */

/* Static memory. */
int ferry_smtp_reply_code(enum ferry_smtp_reply);
const char *ferry_smtp_reply_enhanced(enum ferry_smtp_reply); /* "" when it has none */

/*
 * One reply line with its CR LF; `detail` fills the %s, `before` is put in front of the text ("" or
 * the "<address> " of LMTP), both made safe as below and cut so that the line fits. Returns its
 * length.
 */
size_t ferry_smtp_reply_put(enum ferry_smtp_reply, struct ferry_slice before,
                            struct ferry_slice detail, char out[FERRY_SMTP_LINE_MAX]);

/*
 * What somebody else wants said: the code, the enhanced code of the same class ("": made from the
 * code's first digit: x.0.0), and the first line of a text, of which only printable ASCII (with
 * `utf8` also UTF-8) is kept, 400 bytes at most. `code` is 200 to 599.
 */
size_t ferry_smtp_reply_custom(int code, struct ferry_slice enhanced, struct ferry_slice before,
                               struct ferry_slice text, bool utf8, char out[FERRY_SMTP_LINE_MAX]);

#endif
