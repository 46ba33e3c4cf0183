/* SPDX-License-Identifier: MIT */
/*
 * Plain CGI: one request, whose params are the environment, whose body is standard input, and whose
 * answer goes to standard output and standard error (section 2.2). A thread plays the web server
 * for it over a socket pair, so that the rest of the application need not know, and descriptors
 * that block, stall or are files do it to that thread alone. Their flags are left as they are, for
 * others may share them: what cannot be told not to block is asked first, and given no more than it
 * has room for.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/app.h"

#define AHEAD_MAX (256 << 10) /* bytes kept for a side that is slow, before the other waits */
#define FAILED 1              /* the exit status when there is no app status */

enum { OUT, ERR };

struct ferry__cgi {
    struct ferry_app *app;
    struct ferry_post post; /* the thread has ended */
    bool started, runs;
    int cut; /* an eventfd: wait for nobody */
    int sock[2];
    pthread_t thread;
    bool has_thread;
    /* From here on the thread's. */
    struct ferry_blocks blocks;
    struct ferry_conn *conn;
    int id, role;
    uint64_t body_left;
    bool body_ended;
    bool over; /* the request is */
    struct {
        struct ferry_chain chain;
        bool is_socket, is_file;
        bool gone; /* nobody reads it */
    } to[2];
    int status;
    char in[FERRY_BLOCK_LARGE];
};

/* -- the request
 * ------------------------------------------------------------------------------------------------
 */

static void write_length(char **at, size_t n)
{
    *(*at)++ = (char)(0x80 | n >> 24);
    *(*at)++ = (char)(n >> 16);
    *(*at)++ = (char)(n >> 8);
    *(*at)++ = (char)n;
}

/* One variable. Web servers that pass a Proxy: header on would have it take effect in whatever
 * looks at this environment ("httpoxy"). */
static void write_param(struct ferry__cgi *c, const char *variable)
{
    struct ferry_slice all = ferry_slice_z(variable);
    size_t equals = ferry_slice_find(all, '=');
    struct ferry_slice name = ferry_slice_first(all, equals),
                       value = ferry_slice_from(all, equals + 1);
    char lengths[8], *at = lengths;

    if (name.len == 0 || equals == all.len || all.len > INT32_MAX ||
        ferry_slice_eq(name, FERRY_SLICE("HTTP_PROXY")))
        return;
    write_length(&at, name.len);
    write_length(&at, value.len);
    /* What goes wrong here sticks, and is met with the next event. */
    if (ferry_conn_write(c->conn, (uint16_t)c->id, FERRY_PARAMS, NULL,
                         ferry_slice(lengths, sizeof lengths)) == 0 &&
        ferry_conn_write(c->conn, (uint16_t)c->id, FERRY_PARAMS, NULL, name) == 0)
        c->over = ferry_conn_write(c->conn, (uint16_t)c->id, FERRY_PARAMS, NULL, value) < 0;
}

/* RFC 3875 section 4.2: as many bytes as CONTENT_LENGTH says, for standard input may stay open
 * behind them. Servers that pass chunked bodies on say nothing, and close it. */
static uint64_t body_length(void)
{
    const char *length = getenv("CONTENT_LENGTH");
    uint64_t n = 0;

    if (length && *length)
        return ferry_slice_u64(ferry_slice_z(length), UINT64_MAX, &n) == 0 ? n : 0;
    return getenv("HTTP_TRANSFER_ENCODING") ? UINT64_MAX : 0;
}

static enum ferry_role role_of(const struct ferry_app *app)
{
    for (int role = FERRY_RESPONDER; role < FERRY_FILTER; role++)
        if (app->opts.roles >> role & 1)
            return (enum ferry_role)role;
    return FERRY_FILTER;
}

static void end_stream(struct ferry__cgi *c, enum ferry_record_type stream)
{
    if (ferry_conn_write_end(c->conn, (uint16_t)c->id, stream) < 0)
        c->over = true;
}

static void end_body(struct ferry__cgi *c)
{
    if (c->body_ended)
        return;
    c->body_ended = true;
    end_stream(c, FERRY_STDIN);
    if (c->role == FERRY_FILTER)
        end_stream(c, FERRY_DATA);
}

static void begin(struct ferry__cgi *c)
{
    c->role = role_of(c->app);
    c->id = ferry_conn_begin(c->conn, (uint16_t)c->role, false, NULL);
    if (c->id < 0) {
        c->over = true;
        return;
    }
    for (char **v = environ; *v; v++)
        write_param(c, *v);
    end_stream(c, FERRY_PARAMS);
    c->body_left = body_length();
    if (c->body_left == 0)
        end_body(c);
}

static void read_body(struct ferry__cgi *c)
{
    size_t cap = c->body_left < sizeof c->in ? (size_t)c->body_left : sizeof c->in;
    ssize_t n = read(STDIN_FILENO, c->in, cap);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0) {
        c->body_left -= (uint64_t)n;
        c->over = ferry_conn_write(c->conn, (uint16_t)c->id, FERRY_STDIN, NULL,
                                   ferry_slice(c->in, (size_t)n)) < 0;
    }
    if (n <= 0 || c->body_left == 0)
        end_body(c);
}

/* -- the answer
 * ------------------------------------------------------------------------------------------------
 */

/* Standard output that nobody reads is a client that is gone; log lines may get lost. */
static void lose(struct ferry__cgi *c, int i)
{
    c->to[i].gone = true;
    ferry_chain_clear(&c->to[i].chain);
    if (i == OUT && !c->over && c->id > 0) {
        c->body_ended = true;
        ferry_conn_abort(c->conn, (uint16_t)c->id);
    }
}

static void write_out(struct ferry__cgi *c, int i)
{
    int fd = i == OUT ? STDOUT_FILENO : STDERR_FILENO;
    struct iovec v;
    ssize_t n;

    if (ferry_chain_iov(&c->to[i].chain, &v, 1) < 1)
        return;
    /* A pipe that is ready has room for that much. */
    if (!c->to[i].is_socket && !c->to[i].is_file && v.iov_len > PIPE_BUF)
        v.iov_len = PIPE_BUF;
    n = c->to[i].is_socket ? send(fd, v.iov_base, v.iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
                           : write(fd, v.iov_base, v.iov_len);
    if (n > 0)
        ferry_chain_consume(&c->to[i].chain, (uint64_t)n);
    else if (n < 0 && errno != EINTR && errno != EAGAIN)
        lose(c, i);
}

static void keep(struct ferry__cgi *c, int i, struct ferry_slice bytes)
{
    if (c->to[i].gone)
        return;
    ferry_chain_copy(&c->to[i].chain, bytes);
    if (c->to[i].chain.err)
        lose(c, i);
}

static void on_event(struct ferry__cgi *c, const struct ferry_conn_event *ev)
{
    switch (ev->type) {
    case FERRY_CONN_STDOUT:
        keep(c, OUT, ev->data);
        break;
    case FERRY_CONN_STDERR:
        keep(c, ERR, ev->data);
        break;
    case FERRY_CONN_END:
        c->over = true;
        if (ev->end.protocol_status == FERRY_REQUEST_COMPLETE)
            c->status = (int)(ev->end.app_status & 0xff);
        break;
    default:
        break;
    }
}

static void receive(struct ferry__cgi *c)
{
    ssize_t n = recv(c->sock[1], c->in, sizeof c->in, MSG_DONTWAIT);
    struct ferry_conn_event ev;
    size_t used = 0;

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) { /* without an END_REQUEST */
        c->over = true;
        return;
    }
    while (used < (size_t)n && !c->over) {
        ssize_t took = ferry_conn_recv(c->conn, c->in + used, (size_t)n - used, 0);

        while (!c->over && ferry_conn_event(c->conn, &ev) > 0)
            on_event(c, &ev);
        if (took < 0)
            c->over = true;
        else
            used += (size_t)took;
    }
}

static void transmit(struct ferry__cgi *c)
{
    struct iovec v[16];
    struct msghdr m = {.msg_iov = v};
    ssize_t n;

    m.msg_iovlen = (size_t)ferry_chain_iov(ferry_conn_output(c->conn), v, 16);
    n = sendmsg(c->sock[1], &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        ferry_conn_sent(c->conn, (size_t)n, 0);
    else if (n < 0 && errno != EINTR && errno != EAGAIN)
        c->over = true;
}

/* -- the thread
 * ------------------------------------------------------------------------------------------------
 */

static bool turn(struct ferry__cgi *c)
{
    uint64_t waiting = c->to[OUT].chain.len + c->to[ERR].chain.len;
    bool sends = !c->over && ferry_conn_output(c->conn)->len;
    bool receives = !c->over && waiting < AHEAD_MAX;
    bool reads = !c->over && !c->body_ended && ferry_conn_output(c->conn)->len < AHEAD_MAX;
    struct pollfd at[] = {
        {.fd = c->cut, .events = POLLIN},
        {.fd = reads ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = c->to[OUT].gone ? -1 : STDOUT_FILENO, .events = c->to[OUT].chain.len ? POLLOUT : 0},
        {.fd = c->to[ERR].chain.len ? STDERR_FILENO : -1, .events = POLLOUT},
        {.fd = sends || receives ? c->sock[1] : -1,
         .events = (short)((sends ? POLLOUT : 0) | (receives ? POLLIN : 0))},
    };

    if (c->over && waiting == 0)
        return false;
    if (poll(at, sizeof at / sizeof *at, -1) < 0)
        return errno == EINTR;
    if (at[0].revents)
        return false;
    if (at[4].revents & POLLOUT)
        transmit(c);
    if (at[4].revents & (POLLIN | POLLHUP | POLLERR))
        receive(c);
    if (at[1].revents && !c->over)
        read_body(c);
    if (at[2].revents & POLLOUT)
        write_out(c, OUT);
    else if (at[2].revents)
        lose(c, OUT);
    if (at[3].revents)
        write_out(c, ERR);
    return true;
}

static void thread_ended(struct ferry_post *post)
{
    struct ferry__cgi *c = ferry_container(post, struct ferry__cgi, post);

    c->runs = false;
    ferry_app_stop(c->app);
}

static void *run(void *arg)
{
    struct ferry__cgi *c = arg;

    begin(c);
    while (turn(c))
        continue;
    shutdown(c->sock[1], SHUT_RDWR);
    ferry_loop_post(c->app->loop, &c->post);
    return NULL;
}

/* -- its owner
 * ------------------------------------------------------------------------------------------------
 */

static void init_output(struct ferry__cgi *c, int i, int fd)
{
    struct stat st;

    ferry_chain_init(&c->to[i].chain, &c->blocks);
    if (fstat(fd, &st) < 0)
        return;
    c->to[i].is_socket = S_ISSOCK(st.st_mode);
    c->to[i].is_file = S_ISREG(st.st_mode);
}

int ferry__cgi_new(struct ferry_app *app, struct ferry__cgi **out)
{
    struct ferry__cgi *c = calloc(1, sizeof *c);
    struct ferry_conn_opts opts = {.side = FERRY_CONN_CLIENT};
    int err = -ENOMEM;

    if (!c)
        return -ENOMEM;
    ferry_blocks_init(&c->blocks, 16, 4);
    opts.blocks = &c->blocks;
    c->app = app;
    c->post.run = thread_ended;
    c->status = FAILED;
    init_output(c, OUT, STDOUT_FILENO);
    init_output(c, ERR, STDERR_FILENO);
    c->cut = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->sock[0] = c->sock[1] = -1;
    c->conn = ferry_conn_new(&opts);
    if (c->conn && (c->cut < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                                             c->sock) < 0))
        err = -errno;
    else if (c->conn)
        err = 0;
    if (err < 0)
        ferry__cgi_free(c);
    else
        *out = c;
    return err;
}

int ferry__cgi_start(struct ferry__cgi *c)
{
    int fd = c->sock[0], err;

    if (c->started)
        return 0;
    c->started = true;
    c->sock[0] = -1;
    err = ferry__peer_open(c->app, fd);
    if (err == 0) /* there a closed pipe is no signal either */
        err = ferry__thread_start(&c->thread, run, c);
    c->runs = c->has_thread = err == 0;
    return err;
}

bool ferry__cgi_runs(const struct ferry__cgi *c)
{
    return c->runs;
}

int ferry__cgi_status(const struct ferry__cgi *c)
{
    return c->status;
}

void ferry__cgi_cut(struct ferry__cgi *c)
{
    uint64_t one = 1;
    ssize_t n = write(c->cut, &one, sizeof one);

    (void)n; /* it cannot be full */
}

void ferry__cgi_free(struct ferry__cgi *c)
{
    if (!c)
        return;
    if (c->has_thread)
        pthread_join(c->thread, NULL);
    ferry_chain_clear(&c->to[OUT].chain);
    ferry_chain_clear(&c->to[ERR].chain);
    ferry_conn_free(c->conn);
    ferry_blocks_fini(&c->blocks);
    for (int i = 0; i < 2; i++)
        if (c->sock[i] >= 0)
            close(c->sock[i]);
    if (c->cut >= 0)
        close(c->cut);
    free(c);
}
