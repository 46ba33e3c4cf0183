/* SPDX-License-Identifier: MIT */
#ifndef FERRY_APP_H
#define FERRY_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ferry/err.h"
#include "ferry/params.h"
#include "ferry/record.h"
#include "ferry/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The application side of FastCGI: accept connections, run a handler for each request, answer.
 *
 *     static void handle(struct ferry_request *r)
 *     {
 *         const char *method = ferry_request_param_z(r, "REQUEST_METHOD");
 *
 *         ferry_request_header(r, "Content-Type", "text/plain");
 *         ferry_request_printf(r, "You did a %s.\n", method ? method : "(nothing)");
 *         ferry_request_finish(r, 0);
 *     }
 *
 * int main(void) { struct ferry_app_opts opts = FERRY_APP_OPTS_INIT;
 *                  opts.handle = handle; return ferry_app_main(&opts, NULL); }
 *
 * An application has one loop in one thread; any number of requests are under way in it at once, on
 * kept and multiplexed connections. A handler may
 *
 *   - answer and finish at once;
 *   - leave functions that are called when more of the body came, when there is room for more
 *     output, when some time has passed or when nobody wants the answer any more, and return;
 *   - wait as long as it likes, when it runs in a thread (the option `threads`): there, reading and
 *     writing wait for the peer;
 *   - detach the request (ferry_request_detach), hand it to any other thread, and return.
 *
 * A request belongs to one thread at a time: the loop's, or the one that it was handed to.
 * Functions of the application itself are for the thread of ferry_app_run, but for ferry_app_stop.
 * A program that wants more than one loop makes an application in each thread; one that wants
 * several processes lets `ferry spawn` start them, or forks before ferry_app_new.
 *
 * In the loop's thread, what was written leaves together when the function that wrote it returns;
 * nothing needs a flush. From other threads it leaves soon after each write.
 */

struct ferry_app;
struct ferry_request;

/* Everything the library calls has this form; ferry_request_user and ferry_app_user carry the rest.
 */
typedef void (*ferry_request_fn)(struct ferry_request *);

/* Every zero means the default that stands beside it. Grows at its end only. */
struct ferry_app_opts {
    size_t size;             /* of this structure, as FERRY_APP_OPTS_INIT sets it */
    ferry_request_fn handle; /* a request's params are complete; its body may still come */
    void *user;              /* ferry_app_user gives it back */
    unsigned conns_max;      /* connections at once; 0 means 1024. More wait in the backlog; with
                                several addresses, one more of each but the first may be taken */
    unsigned requests_max;   /* requests at once; 0 means 1024. More are refused as OVERLOADED */
    unsigned multiplex_max;  /* requests at once on one connection; 0 means requests_max (65,535 at
                                most), 1 refuses to multiplex */
    size_t params_len_max;   /* bytes of one request's params; 0 means 1 MiB. More: OVERLOADED */
    unsigned params_max;     /* how many params; 0 means 1000, at most 65,535. More: OVERLOADED */
    size_t body_ahead_max;   /* bytes of a body that wait for the handler before the connection is
                                no longer read; 0 means 256 KiB */
    size_t output_mark;      /* bytes waiting on a connection from which writes say "not now"; 0
                                means 256 KiB */
    size_t output_max;       /* bytes of one request's output that may wait; 0 means 8 MiB */
    unsigned stop_max_ms;    /* how long running requests may take after a stop; 0 means 30,000 */
    /* "uring", "epoll" or "auto"; NULL takes the environment variable FERRY_IO, or else auto. */
    const char *io;
    /* The peers allowed, as in FCGI_WEB_SERVER_ADDRS (section 3.2): numeric addresses with commas.
     * NULL takes that environment variable, "" allows everybody. */
    const char *web_server_addrs;
    /* The roles it plays: 1 << FERRY_RESPONDER and so on; 0 means responder only. Others are
     * refused with UNKNOWN_ROLE, and `handle` is for all of them. */
    unsigned roles;
    unsigned threads;  /* that `handle` runs in, with its request detached and blocking; 0: none, it
                          runs in the loop's */
    unsigned idle_ms;  /* a connection with no request is closed after so long; 0 means 90,000 */
    unsigned stall_ms; /* a peer that takes nothing of what waits for it for so long is cut off, and
                          a request whose input stops before its end is aborted; 0 means 60,000.
                          Both are never early, and late by half as long or 10 seconds at most */
    /* After so many requests it stops as by ferry_app_stop, to be started afresh by whoever keeps
     * it running; 0 takes the environment variable FERRY_MAX_REQUESTS, or else means never. */
    unsigned long long requests_total_max;
    /* Told what a peer did against the protocol and was cut off for, whom it did not let in, and
     * what is wrong with the environment (section 7): one line without its end, to be escaped.
     * About peers at most ten in ten seconds. Also called from ferry_app_new. NULL: syslog. */
    void (*report)(struct ferry_app *, const char *text);
};

#define FERRY_APP_OPTS_INIT                                                                        \
    {                                                                                              \
        sizeof(struct ferry_app_opts), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0     \
    }

/* -- the program
 * -------------------------------------------------------------------------------------------------
 */

/*
 * All a small program's main needs: makes an application, listens at `address` (NULL: as the
 * program was started), stops on SIGTERM and SIGINT, serves, and frees it. Says on stderr what went
 * wrong. Returns the program's exit status.
 */
int ferry_app_main(const struct ferry_app_opts *, const char *address);

/*
 * Makes an application; nothing is accepted yet. Of descriptors 0 to 2, those that are closed are
 * opened on /dev/null, so that no connection takes their place. 0, -ENOMEM or -errno, or
 * FERRY_EUSAGE: no handler, unknown `io`, or FCGI_WEB_SERVER_ADDRS malformed (nobody is let in by a
 * list with a mistake in it).
 */
FERRY_MUST_CHECK
int ferry_app_new(const struct ferry_app_opts *, struct ferry_app **out);

/*
 * Closes everything and frees it, requests that still run too; those that other threads have are
 * aborted, and it waits until they are finished. Not from a callback, nor from another thread
 * before ferry_app_run has returned. Takes NULL.
 */
void ferry_app_free(struct ferry_app *);

/*
 * Accepts connections at an address: unix:/path, /path, host:port, :port, [v6]:port or fd:N. NULL
 * is what the program was started with: the sockets of systemd (LISTEN_FDS), or else the one that
 * web servers, ferry spawn and spawn-fcgi give as descriptor 0 (section 2.2). When descriptor 0 is
 * no such socket the program was started as plain CGI: then ferry_app_run serves one request, whose
 * params are the environment, whose body is standard input, and whose answer goes to standard
 * output and standard error. May be called for several addresses. A Unix socket made here is
 * removed by ferry_app_free. 0, FERRY_EUSAGE (not an address; not a listening socket), -ENOMEM or
 * -errno; ferry_app_why then says it in words.
 */
FERRY_MUST_CHECK
int ferry_app_listen(struct ferry_app *, const char *address);

/* Why the last ferry_app_listen failed, or "": static memory. */
const char *ferry_app_why(const struct ferry_app *);

/*
 * Calls ferry_app_stop when the process gets this signal, by blocking it in the calling thread and
 * reading it as an event; so no signal is lost and none interrupts anything. It must be
 * blocked in threads that were started before. The signal stays blocked after ferry_app_free. 0 or
 * -errno.
 */
FERRY_MUST_CHECK
int ferry_app_stop_on(struct ferry_app *, int signo);

/*
 * Serves until it is stopped: what the program should then exit with, which is 0 (section 7), or as
 * plain CGI the app status of the one request; or -errno when the event loop failed, or -errno or
 * -ENOMEM when `threads` cannot be started. When
 * NOTIFY_SOCKET is in the environment, systemd or ferry spawn is told READY=1 and STOPPING=1; with
 * FERRY_STATS=1 too, its load: X_FERRY_REQUESTS, how many it has had, and X_FERRY_ACTIVE, how many
 * there are now, when they have changed and once a second at most.
 */
FERRY_MUST_CHECK
int ferry_app_run(struct ferry_app *);

/*
 * Accepts no more, finishes what runs, closes connections as they become idle (a new one when it
 * has had its first request, or has brought none for half a second), and lets ferry_app_run return.
 * A second call, or stop_max_ms, aborts what still runs. From any thread and from signal handlers.
 */
void ferry_app_stop(struct ferry_app *);

/* Is it about to end? For what would go on for ever by itself. From any thread, while the
 * application or one of its requests is there. */
bool ferry_app_is_stopping(const struct ferry_app *);

/* The pointer of its options. */
void *ferry_app_user(const struct ferry_app *);

/* "io_uring" or "epoll". Static memory. */
const char *ferry_app_io(const struct ferry_app *);

/* -- a request
 * -------------------------------------------------------------------------------------------------
 *
 * Lives from the call of the handler until ferry_request_finish, whatever the peer does, and the
 * handler must finish it exactly once; also after an abort. Slices and strings of a request live as
 * long as it does.
 */

/*
 * The value of a param, or one with p == NULL when there is none of that name; of several, the
 * first. Takes constant time however many there are.
 */
struct ferry_slice ferry_request_param(struct ferry_request *, const char *name);

/* The same as a C string: NULL when there is none, or when a NUL lies in it. */
const char *ferry_request_param_z(struct ferry_request *, const char *name);

/* All of them, in the order they came: how many. */
size_t ferry_request_params(const struct ferry_request *, const struct ferry_param **out);

/* What the web server asked for, and under which id. */
enum ferry_role ferry_request_role(const struct ferry_request *);
uint16_t ferry_request_id(const struct ferry_request *);

/* Does the web server want the connection kept (FCGI_KEEP_CONN)? */
bool ferry_request_is_kept(const struct ferry_request *);

/* How many requests are under way on its connection now, this one included; 1 when the connection
 * is gone. */
unsigned ferry_request_concurrent(const struct ferry_request *);

/* The other end of its connection, which is the web server: "127.0.0.1:40112", or "unix:" when that
 * has no name. */
const char *ferry_request_peer(struct ferry_request *);

/* The application that accepted it. */
struct ferry_app *ferry_request_app(const struct ferry_request *);

/* CONTENT_LENGTH as a number; -1 when there is none, or it is none. */
int64_t ferry_request_content_length(struct ferry_request *);

/* A pointer of the handler's own; NULL at first. */
void ferry_request_set_user(struct ferry_request *, void *user);
void *ferry_request_user(const struct ferry_request *);

/* Zeroed memory that goes with the request, aligned for anything. NULL when memory is out. */
void *ferry_request_alloc(struct ferry_request *, size_t n);

/*
 * Calls `fn` once, `ms` from now (about 20 ms late at most, never early). One at a time: another
 * call replaces the first. NULL stops it.
 */
void ferry_request_after(struct ferry_request *, unsigned ms, ferry_request_fn fn);

/*
 * Called once when the web server aborted the request (section 5.4) or its connection broke. The
 * handler still finishes it, then or later, with an app status of its choice. Without such a
 * function the one of on_data is called, or else that of on_body or of on_writable: so whoever
 * waits for anything of the peer's is told. A function that is given to a request that was aborted
 * before is called soon.
 */
void ferry_request_on_abort(struct ferry_request *, ferry_request_fn fn);
bool ferry_request_is_aborted(const struct ferry_request *);

/* -- in other threads
 * -------------------------------------------------------------------------------------------------
 */

/*
 * Takes a request out of the loop's hands: from now on any thread may use it, one at a time, and it
 * is still to be finished exactly once, after which nobody may use it. All functions of a request
 * work from there, and what one thread hands to another (by a lock, a queue, the start of a thread)
 * needs nothing more. But none of its on_ functions and no ferry_request_after is called any more,
 * nor does it help to set them: ferry_request_wait takes their place, and ferry_request_is_aborted
 * is true as soon as the loop knows it. Nothing blocks unless it is asked to; the loop's thread
 * must not wait, since nothing comes or goes meanwhile. Called from the loop's thread. 0; 0 too
 * when it is detached already; or -ENOMEM, and then it is as before.
 *
 * With the option `threads`, requests wait for one in the order they came. One that is aborted
 * before a thread took it ends without the handler. A handler in such a thread may leave its
 * request to another one and return. The threads have all signals blocked that a program waits for.
 */
FERRY_MUST_CHECK
int ferry_request_detach(struct ferry_request *);

/*
 * A detached request that is blocking waits inside of reading until bytes or the end have come (0
 * is the end then), and inside of writing, headers too, until less than output_mark waits for the
 * peer. So a write returns 1 or an error, however much it is: output_max is not reached, and of a
 * write that ends with an error a part may have been taken. Waiting ends with FERRY_EABORTED on an
 * abort. Requests of the option `threads` are blocking at first. What a filter writes before the
 * end of its body waits for that end and not for the peer, so there output_max counts. 0, or
 * FERRY_EUSAGE for one that is not detached.
 */
int ferry_request_set_blocking(struct ferry_request *, bool blocking);

enum ferry_wait {
    FERRY_WAIT_BODY = 1,     /* bytes of the body or its end have come */
    FERRY_WAIT_DATA = 2,     /* bytes of the DATA stream or its end have come */
    FERRY_WAIT_WRITABLE = 4, /* a write would return 1, or an error */
    FERRY_WAIT_ABORT = 8
};

/*
 * Waits until one of `what` (bits of enum ferry_wait) is true of a detached request, or it is
 * aborted, or `ms` have passed; UINT_MAX waits without an end. The bits that are true, of all four;
 * 0 after `ms`; FERRY_EUSAGE for one that is not detached.
 */
int ferry_request_wait(struct ferry_request *, unsigned what, unsigned ms);

/* -- its body: the STDIN stream
 * -------------------------------------------------------------------------------------------------
 */

/*
 * Calls `fn` from the loop when more of the body came, or its end, and once soon if there is
 * something already. What it does not consume stays: past body_ahead_max bytes the connection is
 * not read, which is how a slow handler slows a fast upload down (and with it the other requests on
 * a multiplexed connection). Bytes left alone do not call `fn` again; new ones do.
 */
void ferry_request_on_body(struct ferry_request *, ferry_request_fn fn);

/*
 * The bytes at the front of the body, as far as they lie together: 1 with *out, which lives until
 * ferry_request_body_consume; 0 when none are here now; FERRY_EABORTED when no more will come and
 * the end was not seen.
 */
FERRY_MUST_CHECK
int ferry_request_body(struct ferry_request *, struct ferry_slice *out);

/* Done with n bytes of the front, at most as many as ferry_request_body gave. */
void ferry_request_body_consume(struct ferry_request *, size_t n);

/* The two together, by copying: bytes read, 0 when none are here now, or FERRY_EABORTED. */
FERRY_MUST_CHECK
ssize_t ferry_request_read(struct ferry_request *, void *out, size_t cap);

/* All of the body was consumed, and its end was seen. CONTENT_LENGTH is not looked at: compare. */
bool ferry_request_body_is_over(const struct ferry_request *);

/* -- a filter's file: the DATA stream
 * -------------------------------------------------------------------------------------------------
 *
 * Comes behind the end of the body (section 6.4), and works as the body does; so none comes while
 * much of the body is unread. A filter may answer without reading it, from a cache for example.
 */

/* FCGI_DATA_LENGTH, and FCGI_DATA_LAST_MOD in seconds since 1970; -1 when missing or no number. */
int64_t ferry_request_data_length(struct ferry_request *);
int64_t ferry_request_data_modified(struct ferry_request *);

/* As ferry_request_on_body, _body, _body_consume, _read and _body_is_over. */
void ferry_request_on_data(struct ferry_request *, ferry_request_fn fn);
FERRY_MUST_CHECK
int ferry_request_data(struct ferry_request *, struct ferry_slice *out);
void ferry_request_data_consume(struct ferry_request *, size_t n);
FERRY_MUST_CHECK
ssize_t ferry_request_data_read(struct ferry_request *, void *out, size_t cap);
bool ferry_request_data_is_over(const struct ferry_request *);

/* -- its answer: the STDOUT stream
 * -------------------------------------------------------------------------------------------------
 *
 * A header block as in CGI (RFC 3875 section 6), then the content. The block leaves when all of it
 * is written; content for HEAD is dropped (section 4.3.3). What a filter writes before the end of
 * its body waits until then (section 6.4). Errors of writing stick: after one, all writes of the
 * request return it, and if the handler finishes with app status 0 it becomes 1.
 */

/* "Status: 404 Not Found". Once, before the content; without it the status is 200. 0, FERRY_EUSAGE
 * for anything outside 100-999 or too late, or the sticky error. */
int ferry_request_status(struct ferry_request *, int status);

/*
 * One header line, before the content. Without a Content-Type, text/plain; charset=utf-8 is added
 * when there is content. 0; FERRY_EUSAGE for a name that is not a token, a value with CR, LF or
 * NUL, or when content was written already; or the sticky error.
 */
int ferry_request_header(struct ferry_request *, const char *name, const char *value);

/*
 * An authorizer that lets a request pass (status 200) gives the web server a variable for it, with
 * a header Variable-NAME (section 6.3). Errors as of ferry_request_header, and FERRY_EUSAGE in
 * another role.
 */
int ferry_request_variable(struct ferry_request *, const char *name, const char *value);

/* The handler writes the header block itself, with its empty line, as the first part of its
 * content. Before anything else was written: 0 or FERRY_EUSAGE. */
int ferry_request_raw(struct ferry_request *);

/*
 * Writes content: a copy of n bytes. All of it or nothing is taken.
 *   1  taken, and more may come
 *   0  taken; but output_mark bytes wait for the peer: better go on when on_writable's function is
 *      called, or ferry_request_wait says so
 *   FERRY_ELIMIT    not taken: more than output_max bytes of this request would wait
 *   FERRY_EABORTED  not taken: nobody wants it any more
 *   -ENOMEM
 * So a small answer needs no look at the result, and a large one is written while it is 1.
 */
int ferry_request_write(struct ferry_request *, const void *bytes, size_t n);

/*
 * The same without a copy: the bytes must stay as they are until `release(arg)` is called, which
 * happens exactly once, also on errors, and perhaps before this returns; for a detached request
 * from its thread or the loop's. It must not use the request. NULL for bytes that outlive the
 * application (static ones).
 */
int ferry_request_write_ref(struct ferry_request *, const void *bytes, size_t n,
                            void (*release)(void *arg), void *arg);

/* The same for a formatted text. */
int ferry_request_printf(struct ferry_request *, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* Calls `fn` from the loop when there is room again, each time after a write returned 0. */
void ferry_request_on_writable(struct ferry_request *, ferry_request_fn fn);

/*
 * One line on the STDERR stream, which web servers write into their log beside the request; the
 * line feed is added. Returns as ferry_request_write.
 */
int ferry_request_log(struct ferry_request *, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/*
 * Ends the request with the status a CGI program would have exited with; 0 is success. The pointer
 * is not valid after this. What is still missing is ended too: the header block, the streams. A
 * body that was not read is dropped.
 */
void ferry_request_finish(struct ferry_request *, int app_status);

#ifdef __cplusplus
}
#endif
#endif
