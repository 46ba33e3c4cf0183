/* SPDX-License-Identifier: MIT */
#ifndef FERRY_ERR_H
#define FERRY_ERR_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Errors are negative ints. A failed system call gives -errno; ferry's own classes lie below -4096,
 * where no errno reaches. "Not yet" is never an error: functions that may need more input say so
 * with 0.
 */

/* X(name, value, text) */
#define FERRY_ERR_MAP(X)                                                                           \
    X(PROTOCOL, -5001, "the peer broke the protocol")                                              \
    X(LIMIT, -5002, "a limit was reached")                                                         \
    X(USAGE, -5003, "called with unusable arguments or at the wrong time")                         \
    X(REMOTE, -5004, "the application refused the request")                                        \
    X(CUT, -5005, "the connection ended in the middle of a message")                               \
    X(CLOSED, -5006, "the connection is closed")                                                   \
    X(ABORTED, -5007, "the request was aborted")

enum ferry_err {
#define X(name, value, text) FERRY_E##name = value,
    FERRY_ERR_MAP(X)
#undef X
};

/* The text for an error, ferry's own or -errno: static or thread-local memory, never NULL. */
const char *ferry_strerror(int err);

/* The short name ("PROTOCOL", "ECONNREFUSED") for logs: static memory, never NULL. */
const char *ferry_errname(int err);

#if defined(__GNUC__)
#define FERRY_MUST_CHECK __attribute__((warn_unused_result))
#else
#define FERRY_MUST_CHECK
#endif

#ifdef __cplusplus
}
#endif
#endif
