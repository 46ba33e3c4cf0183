/* SPDX-License-Identifier: MIT */
/* How bytes and ends go through a session of TLS: all of them, once, and bounded. */
#include "tls_both.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>

#include "io/pump.h"
#include "loops.h"

static struct ferry_tls_ctx *ctx;

static void begin(struct both *b, int max)
{
    both_init(b, ctx);
    SSL_CTX_set_max_proto_version(b->client_ctx, max);
    start(b);
    assert_int_equal(b->stood, 0);
}

static void client_closes(struct both *b)
{
    SSL_shutdown(b->client);
}

static void end_of_connection(struct both *b)
{
    assert_int_equal(b->in_len, 0);
    assert_int_equal(ops->recv(b->tls, NULL, 0, b->now), 0);
}

/* With and without its close_notify, the client's end is told once, behind all that it said; what
 * comes behind a close_notify is nothing. */
static void ends(void **state)
{
    static const char alert_and_more[] = "\x17\x03\x03\x00\x10 more, or less...";
    static struct both b;

    (void)state;
    for (int max = TLS1_2_VERSION; max <= TLS1_3_VERSION; max++)
        for (int how = 0; how < 4; how++)
            for (size_t cut = 0; cut < 40; cut = cut * 2 + 1) {
                begin(&b, max);
                b.cut = cut;
                b.plain.max = 3;
                say(&b, "DATA without an end");
                if (how > 0)
                    client_closes(&b);
                turn(&b);
                assert_plain(&b, "DATA without an end");
                assert_int_equal(b.plain.eof, how > 0);
                if (how == 2) {
                    memcpy(b.in, alert_and_more, sizeof alert_and_more);
                    b.in_len = sizeof alert_and_more;
                    turn(&b);
                }
                if (how != 3)
                    end_of_connection(&b);
                assert_true(b.plain.eof);
                assert_plain(&b, "DATA without an end");
                answer(&b, "421 still told\r\n");
                turn(&b);
                assert_got(&b, "421 still told\r\n");
                assert_false(ops->finished(b.tls));
                both_fini(&b);
            }
}

/* A record that was cut is no data. */
static void cut_record(void **state)
{
    static struct both b;
    int n;

    (void)state;
    begin(&b, TLS1_3_VERSION);
    say(&b, ".\r\n");
    n = BIO_read(SSL_get_wbio(b.client), b.in, sizeof b.in);
    b.in_len = (size_t)n - 1;
    offer(&b);
    assert_int_equal(b.in_len, 0);
    end_of_connection(&b);
    assert_true(b.plain.eof);
    assert_int_equal(b.plain.len, 0);
    both_fini(&b);
}

static void goodbye(void **state)
{
    static struct both b;

    (void)state;
    for (int lingers = 0; lingers < 2; lingers++) {
        begin(&b, TLS1_3_VERSION);
        answer(&b, "221 bye\r\n");
        b.plain.finished = !lingers;
        b.plain.lingers = lingers;
        assert_false(ops->finished(b.tls));
        turn(&b);
        assert_got(&b, "221 bye\r\n");
        assert_true(b.client_done);
        assert_true(SSL_get_shutdown(b.client) & SSL_RECEIVED_SHUTDOWN);
        assert_int_equal(ops->output(b.tls)->len, 0);
        assert_int_equal(ops->finished(b.tls), !lingers);
        assert_int_equal(ops->wants_shutdown(b.tls), lingers);
        both_fini(&b);
    }
}

/* The goodbye alone does not keep a connection. */
static void goodbye_not_taken(void **state)
{
    static struct both b;
    uint64_t reply;

    (void)state;
    begin(&b, TLS1_3_VERSION);
    answer(&b, "221 bye\r\n");
    reply = ops->output(b.tls)->len;
    b.plain.finished = true;
    assert_true(ops->output(b.tls)->len > reply);
    assert_false(ops->finished(b.tls) && ops->output(b.tls)->len == 0);
    b.now += 50000; /* the reply left late; how long it may take is the machine's to know */
    assert_int_equal(ops->deadline(b.tls), FERRY_NEVER);
    ops->sent(b.tls, reply, b.now);
    assert_int_equal(b.plain.sent, 9);
    assert_int_equal(ops->deadline(b.tls), b.now + 2000);
    ops->tick(b.tls, b.now + 2000);
    assert_true(ops->finished(b.tls));
    assert_int_equal(ops->output(b.tls)->len, 0);
    assert_int_equal(ops->deadline(b.tls), FERRY_NEVER);
    both_fini(&b);
}

/* That output is sent is told when it is, and a machine that gives up is believed. */
static void knows_what_is_sent(void **state)
{
    static struct both b;
    uint64_t first;

    (void)state;
    begin(&b, TLS1_3_VERSION);
    answer(&b, "250-one\r\n");
    first = ops->output(b.tls)->len;
    assert_int_equal(b.plain.sent, 0);
    answer(&b, "250 two\r\n");
    assert_true(ops->output(b.tls)->len > first);
    ops->sent(b.tls, first - 1, b.now);
    assert_int_equal(b.plain.sent, 0);
    ops->sent(b.tls, 1, b.now);
    assert_int_equal(b.plain.sent, 9);
    assert_true(ops->output(b.tls)->len > 0);
    b.plain.due = b.now;
    assert_int_equal(ops->deadline(b.tls), b.now);
    ops->tick(b.tls, b.now);
    b.plain.gives_up = b.plain.finished = true;
    assert_int_equal(ops->output(b.tls)->len, 0);
    assert_true(ops->finished(b.tls));
    both_fini(&b);
}

/* Everything the machine has not taken is offered again, however the pump got its bytes. */
static void holds_back(void **state)
{
    static struct both b;

    (void)state;
    for (size_t cut = 0; cut < 200; cut = cut * 3 + 1) {
        begin(&b, TLS1_3_VERSION);
        b.cut = cut;
        b.plain.stopped = true;
        say(&b, "MAIL\r\nRCPT\r\nDATA\r\n");
        client_closes(&b);
        turn(&b);
        assert_int_equal(b.plain.len, 0);
        assert_false(b.plain.eof);
        assert_true(b.in_len > 0); /* there is something to offer again */
        assert_int_equal(ops->deadline(b.tls), FERRY_NEVER);
        b.plain.stopped = false;
        b.plain.lines = true;
        turn(&b);
        assert_plain(&b, "MAIL\r\nRCPT\r\nDATA\r\n");
        assert_true(b.plain.eof);
        assert_int_equal(b.in_len, 0);
        both_fini(&b);
    }
}

/* Many events of one record whose last byte came alone: there is only that to offer again. */
static void events_of_one_record(void **state)
{
    static struct both b;
    char text[16000];

    (void)state;
    for (int max = TLS1_2_VERSION; max <= TLS1_3_VERSION; max++) {
        begin(&b, max);
        for (size_t i = 0; i < sizeof text - 1; i++)
            text[i] = i % 8 == 7 ? '\n' : (char)('a' + i / 8 % 26);
        text[sizeof text - 1] = 0;
        b.plain.lines = true;
        b.cut = 1;
        say(&b, text);
        turn(&b);
        assert_int_equal(b.plain.len, sizeof text - 1);
        assert_memory_equal(b.plain.got, text, sizeof text - 1);
        both_fini(&b);
    }
}

static unsigned char pattern(size_t at)
{
    return (unsigned char)(at * 2654435761u >> 13);
}

/* Megabytes both ways, through a machine that stops and goes: all arrive, and little waits. */
static void much(void **state)
{
    enum { TOTAL = 4 << 20, PIECE = 5000 };
    static struct both b;
    unsigned char piece[PIECE];
    size_t up = 0, down = 0, got = 0, n;

    (void)state;
    begin(&b, TLS1_3_VERSION);
    b.out_peak = 0;
    for (unsigned round = 0; b.plain.len < TOTAL || got < TOTAL; round++) {
        assert_true(round < 100000);
        b.plain.stopped = round % 3 == 1;
        b.plain.max = round % 7 ? 0 : 100 + round % 4000;
        b.held = round % 5 < 2;
        for (; up < TOTAL && BIO_pending(SSL_get_wbio(b.client)) < 60000; up += n) {
            for (n = 0; n < PIECE && up + n < TOTAL; n++)
                piece[n] = pattern(up + n);
            assert_int_equal(SSL_write_ex(b.client, piece, n, &n), 1);
        }
        for (; down < TOTAL && b.plain.out.len < 300000; down += n) {
            for (n = 0; n < PIECE && down + n < TOTAL; n++)
                piece[n] = pattern(down + n + 1);
            ferry_chain_copy(&b.plain.out, ferry_slice((char *)piece, n));
        }
        to_server(&b);
        to_client(&b);
        while (b.got_len = 0, client_reads(&b))
            for (size_t i = 0; i < b.got_len; i++, got++)
                assert_int_equal((unsigned char)b.got[i], pattern(got + 1));
    }
    assert_int_equal(b.plain.len, TOTAL);
    for (size_t i = 0; i < TOTAL; i++)
        assert_int_equal((unsigned char)b.plain.got[i], pattern(i));
    assert_int_equal(b.plain.sent, TOTAL);
    assert_int_equal(got, TOTAL);
    assert_in_range(b.out_peak, 60000, 65536 + 16384 + 1024);
    both_fini(&b);
}

static void files(void **state)
{
    static struct both b;
    char name[] = "/tmp/ferry-tls-XXXXXX", text[20000];
    int fd = mkstemp(name);

    (void)state;
    assert_true(fd >= 0);
    unlink(name);
    memset(text, 'f', sizeof text);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    begin(&b, TLS1_3_VERSION);
    answer(&b, "head ");
    ferry_chain_file(&b.plain.out, dup(fd), 100, 6000);
    answer(&b, " tail");
    turn(&b);
    assert_int_equal(b.got_len, 6010);
    assert_memory_equal(b.got, "head ffff", 9);
    assert_memory_equal(b.got + 6001, "ffff tail", 9);
    ferry_chain_file(&b.plain.out, fd, 19990, 100); /* it ends before */
    while (ops->output(b.tls)->err == 0 && ops->output(b.tls)->len)
        ops->sent(b.tls, ops->output(b.tls)->len, b.now);
    assert_int_equal(ops->output(b.tls)->err, -EIO);
    both_fini(&b);
}

/* Bytes that nobody with the keys has written end the session; what came before them counts. */
static void forged(void **state)
{
    static struct both b;
    int n;

    (void)state;
    for (int max = TLS1_2_VERSION; max <= TLS1_3_VERSION; max++)
        for (int left = 0; left < 2; left++) {
            begin(&b, max);
            say(&b, "RCPT\r\n");
            say(&b, ".\r\n");
            n = BIO_read(SSL_get_wbio(b.client), b.in, sizeof b.in);
            b.in[n - 3] ^= 1;
            b.in_len = (size_t)n;
            turn(&b);
            assert_plain(&b, "RCPT\r\n");
            assert_true(b.plain.eof);
            assert_int_equal(b.client_err, SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
            assert_string_not_equal(ferry_tls_why(b.tls), "");
            answer(&b, "250 never\r\n");
            turn(&b);
            assert_int_equal(b.got_len, 0);
            assert_true(ops->wants_shutdown(b.tls));
            assert_false(ops->finished(b.tls));
            if (left) {
                end_of_connection(&b);
            } else {
                b.now = ops->deadline(b.tls);
                assert_in_range(b.now, 1001, 10000);
                ops->tick(b.tls, b.now);
            }
            assert_true(ops->finished(b.tls));
            both_fini(&b);
        }
}

/* A client that breaks off with an alert has not said goodbye; and nothing of it is left where the
 * next session of the thread would take it for its own. */
static void alerts(void **state)
{
    static struct both b;
    struct iovec iov;

    (void)state;
    for (int max = TLS1_2_VERSION; max <= TLS1_3_VERSION; max++) {
        begin(&b, max);
        answer(&b, "250 forged on its way\r\n");
        assert_int_equal(ferry_chain_iov(ops->output(b.tls), &iov, 1), 1);
        ((char *)iov.iov_base)[iov.iov_len - 1] ^= 1;
        to_client(&b);
        assert_false(client_reads(&b));
        assert_true(b.client_done);
        ERR_clear_error();
        to_server(&b);
        assert_int_equal(ERR_peek_error(), 0);
        assert_true(b.plain.eof);
        assert_non_null(strstr(ferry_tls_why(b.tls), "alert bad record mac"));
        assert_true(ops->wants_shutdown(b.tls));
        end_of_connection(&b);
        assert_true(ops->finished(b.tls));
        both_fini(&b);
    }
}

/* TLS 1.2 lets a client ask for another handshake; it gets none, and the session goes on. */
static void renegotiation(void **state)
{
    static struct both b;

    (void)state;
    begin(&b, TLS1_2_VERSION);
    assert_int_equal(SSL_renegotiate(b.client), 1);
    SSL_do_handshake(b.client);
    to_server(&b);
    to_client(&b);
    ERR_clear_error();
    assert_int_equal(SSL_do_handshake(b.client), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    assert_int_equal(b.stands, 1);
    assert_int_equal(b.plain.len, 0);
    both_fini(&b);
}

/* A client that only asks for new keys and reads nothing is not read for ever. */
static void key_updates(void **state)
{
    static struct both b;
    uint64_t most = 0;

    (void)state;
    begin(&b, TLS1_3_VERSION);
    b.held = true;
    for (int i = 0; i < 20000; i++) {
        SSL_key_update(b.client, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(b.client);
        if (BIO_pending(SSL_get_wbio(b.client)) < 60000)
            to_server(&b);
        if (b.in_len)
            break;
        if (ops->output(b.tls)->len > most)
            most = ops->output(b.tls)->len;
    }
    assert_true(most < 200000);
    both_fini(&b);
}

static void sticks_to_the_error_of_the_machine(void **state)
{
    static struct both b;
    char out[64];
    int n;

    (void)state;
    begin(&b, TLS1_3_VERSION);
    b.plain.err = FERRY_EPROTOCOL;
    say(&b, "bad");
    n = BIO_read(SSL_get_wbio(b.client), out, sizeof out);
    assert_int_equal(ops->recv(b.tls, out, (size_t)n, b.now), FERRY_EPROTOCOL);
    assert_int_equal(ops->recv(b.tls, out, 1, b.now), FERRY_EPROTOCOL);
    assert_int_equal(b.plain.recvs, 1);
    both_fini(&b);
}

/* OpenSSL's own allocations are not among them. */
static void without_memory_once(void *arg)
{
    struct ferry_tls_opts o = usual();
    static const char *const alpn[] = {"smtp", NULL};
    struct ferry_tls_ctx *mine = NULL;
    static struct both b;
    struct ferry_chain *out;
    char why[200];

    (void)arg;
    o.alpn = alpn;
    if (ferry_tls_ctx_new(&o, &mine, why, sizeof why) < 0) {
        assert_true(alloc_failed());
        return;
    }
    both_init(&b, mine);
    if (b.tls) {
        ferry_tls_start(b.tls, stands, &b, b.now);
        client_of(&b);
        for (int i = 0; i < 10; i++) {
            client_reads(&b);
            to_server(&b);
            out = ops->output(b.tls);
            if (out->err < 0)
                break;
            to_client(&b);
            if (i == 4 && b.stood == 0) {
                say(&b, "DATA");
                answer(&b, "354 go\r\n");
            }
        }
        if (ops->output(b.tls)->err == 0 && b.plain.err == 0 && b.stood == 0)
            assert_plain(&b, "DATA");
    }
    both_fini(&b);
    ferry_tls_ctx_free(mine);
}

static void without_memory(void **state)
{
    (void)state;
    each_alloc_fails(without_memory_once, NULL);
}

/* -- with a pump, a socket and a client that blocks -- */

struct piped {
    struct ferry_pump pump;
    struct plain plain;
    struct ferry_tls *tls;
    bool closed, stops;
    struct ferry_loop *loop;
};

static void piped_ready(struct ferry_pump *p)
{
    struct piped *x = ferry_container(p, struct piped, pump);

    if (x->plain.event) {
        x->plain.event = false;
        ferry_chain_copy(&x->plain.out, FERRY_SLICE("250\n"));
        ferry_pump_kick(p);
    }
    if (x->plain.eof)
        x->plain.finished = true;
}

static void piped_failed(struct ferry_pump *p, int err)
{
    (void)err;
    ferry_pump_close(p);
}

static void piped_closed(struct ferry_pump *p)
{
    struct piped *x = ferry_container(p, struct piped, pump);

    x->closed = true;
    ferry_loop_stop(x->loop);
}

static void piped_stands(void *arg, int err)
{
    (void)arg;
    assert_int_equal(err, 0);
}

struct blocking {
    int fd;
    size_t lines, got;
    bool polite;
};

/* Long lines of commands in one record each, then half a close; every line is answered. */
static void *client_thread(void *arg)
{
    struct blocking *c = arg;
    SSL_CTX *sctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(sctx);
    char text[8000], in[4096];
    int n;

    SSL_set_fd(ssl, c->fd);
    if (SSL_connect(ssl) == 1) {
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = i % 8 == 7 ? '\n' : 'x';
        for (int i = 0; i < 30; i++)
            if (SSL_write(ssl, text, sizeof text) == (int)sizeof text)
                c->lines += sizeof text / 8;
        SSL_shutdown(ssl);
        while ((n = SSL_read(ssl, in, sizeof in)) > 0)
            c->got += (size_t)n;
        c->polite = SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN;
    }
    SSL_free(ssl);
    SSL_CTX_free(sctx);
    close(c->fd);
    return NULL;
}

static void pumped(void **state)
{
    static const struct ferry_pump_fns fns = {.ready = piped_ready,
                                              .failed = piped_failed,
                                              .finished = ferry_pump_close,
                                              .closed = piped_closed};
    struct ferry_loop *loop = loop_for(state);
    struct piped x = {.plain = {.due = FERRY_NEVER, .lines = true}, .loop = loop};
    struct blocking c = {0};
    pthread_t thread;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    ferry_chain_init(&x.plain.out, ferry_loop_blocks(loop));
    x.tls = ferry_tls_new(ctx, ferry_loop_blocks(loop), &plain_machine, &x.plain, 0);
    assert_int_equal(ferry_pump_open(loop, &x.pump, &fns, &ferry_tls_machine, x.tls, fds[0]), 0);
    ferry_tls_start(x.tls, piped_stands, &x, ferry_loop_now(loop));
    c.fd = fds[1];
    assert_int_equal(pthread_create(&thread, NULL, client_thread, &c), 0);
    run(loop);
    pthread_join(thread, NULL);
    assert_true(x.closed);
    assert_int_equal(c.lines, 30000);
    assert_int_equal(x.plain.len, c.lines * 8);
    assert_int_equal(c.got, c.lines * 4);
    assert_true(c.polite);
    ferry_tls_free(x.tls);
    ferry_chain_clear(&x.plain.out);
    free(x.plain.got);
    ferry_loop_free(loop);
}

static int begin_all(void **state)
{
    struct ferry_tls_opts o;

    make_all(state);
    o = usual();
    ctx = ctx_of(&o);
    return 0;
}

static int end_all(void **state)
{
    ferry_tls_ctx_free(ctx);
    return free_all(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends),
        cmocka_unit_test(cut_record),
        cmocka_unit_test(goodbye),
        cmocka_unit_test(goodbye_not_taken),
        cmocka_unit_test(knows_what_is_sent),
        cmocka_unit_test(holds_back),
        cmocka_unit_test(events_of_one_record),
        cmocka_unit_test(much),
        cmocka_unit_test(files),
        cmocka_unit_test(forged),
        cmocka_unit_test(alerts),
        cmocka_unit_test(renegotiation),
        cmocka_unit_test(key_updates),
        cmocka_unit_test(sticks_to_the_error_of_the_machine),
        cmocka_unit_test(without_memory),
        on_both(pumped),
    };

    return cmocka_run_group_tests(tests, begin_all, end_all);
}
