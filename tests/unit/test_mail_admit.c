/* SPDX-License-Identifier: MIT */
/* Who a client is to the mail gateway: by its address, by what those in front of us say, by TLS and
 * by a password. The numbers are those of the conformance list. */
#include "mail_world.h"

#include <errno.h>
#include <openssl/ssl.h>

#include "certs.h"

static const char *const here[] = {"127.0.0.0/8"};
static const struct ferry_mail_networks local = {here, 1};

/* -- PROXY ------------------------------------------------------------------------------------- */

static int proxied(struct world *w, const char *from)
{
    char head[200];
    int fd = client_connect(w);

    snprintf(head, sizeof head, "PROXY TCP4 %s 203.0.113.5 1234 25\r\n", from);
    client_send(fd, head);
    return fd;
}

/* Y10 */
static void limits_are_of_the_forwarded_address(void **state)
{
    static const char *const denied[] = {"192.0.2.0/24"};
    struct world *w = world_new();
    int fd, other;

    (void)state;
    w->service.proxy_from = local;
    w->service.deny = (struct ferry_mail_networks){denied, 1};
    w->service.clients_per_ip = 1;
    world_start(w);
    fd = proxied(w, "192.0.2.9");
    client_expect(fd, "554 5.7.1");
    close(fd);
    assert_says(w, "client=192.0.2.9 port=1234 origin=proxy peer=127.0.0.1");
    fd = proxied(w, "198.51.100.1");
    client_expect(fd, "220");
    other = proxied(w, "198.51.100.1");
    client_expect(other, "421 4.7.0");
    close(other);
    other = proxied(w, "198.51.100.2");
    client_expect(other, "220");
    close(other);
    close(fd);
    world_free(w);
}

static void a_bad_proxy_header_is_told(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    w->service.proxy_from = local;
    world_start(w);
    fd = client_connect(w);
    client_send(fd, "EHLO x\r\n");
    client_end(fd);
    assert_says(w, "result=no-proxy-header");
    world_free(w);

    w = world_new(); /* Y06: one that only looks whether we are there is not */
    w->service.proxy_from = local;
    world_start(w);
    close(client_connect(w));
    assert_counts(w, FERRY_MAIL_COUNT_CONNECTIONS, 1);
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    assert_false(world_said(w, "event="));
    world_free(w);
}

/* -- XCLIENT, XFORWARD ------------------------------------------------------------------------- */

static void another_client(void **state)
{
    static const char *const denied[] = {"192.0.2.0/24"};
    struct world *w = world_new();
    int fd;

    (void)state;
    w->service.xclient_from = local;
    w->service.deny = (struct ferry_mail_networks){denied, 1};
    w->service.clients_per_ip = 2;
    world_start(w);
    for (int i = 0; i < 3; i++) { /* the place of the address before is free again */
        fd = client_connect(w);
        client_expect(fd, "220");
        client_ask(fd, "EHLO x", "250-");
        client_ask(fd, "XCLIENT ADDR=198.51.100.7 PORT=77 NAME=there.example LOGIN=joe", "220");
        client_ask(fd, "MAIL FROM:<a@b.example>", "503");
        client_ask(fd, "EHLO you", "250-");
        client_ask(fd, "MAIL FROM:<a@b.example>", "250");
        client_ask(fd, "RCPT TO:<one@example.com>", "250");
        client_ask(fd, "DATA", "354");
        client_ask(fd, MESSAGE ".", "250");
        client_ask(fd, "QUIT", "221");
        client_end(fd);
    }
    assert_says(w, "client=198.51.100.7 port=77 name=there.example origin=xclient peer=127.0.0.1 "
                   "helo=you protocol=ESMTPA user=joe");
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO x", "250-");
    client_ask(fd, "XCLIENT ADDR=192.0.2.1", "554 5.7.1");
    client_end(fd);
    world_free(w);
}

static void strangers_may_not(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO x", "250-");
    client_ask(fd, "XCLIENT ADDR=198.51.100.7", "550 5.7.0");
    client_ask(fd, "XFORWARD ADDR=198.51.100.7", "550 5.7.0");
    close(fd);
    world_free(w);
}

/* K11, I07 */
static void of_one_transaction(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    w->service.xforward_from = local;
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO front", "250-");
    client_ask(fd, "XFORWARD ADDR=198.51.100.7 NAME=there.example PORT=99", "250");
    client_ask(fd, "XFORWARD HELO=you IDENT=4Q3C2B1A", "250");
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<one@example.com>", "250");
    client_ask(fd, "DATA", "354");
    client_ask(fd, MESSAGE ".", "250");
    client_ask(fd, "MAIL FROM:<second@b.example>", "250");
    assert_says(w, "client=198.51.100.7 port=99 name=there.example origin=xforward peer=127.0.0.1 "
                   "helo=you");
    assert_says(w, "origin_id=4Q3C2B1A from=a@b.example");
    client_ask(fd, "RCPT TO:<one@example.com>", "250");
    client_ask(fd, "DATA", "354");
    client_ask(fd, MESSAGE ".", "250");
    client_ask(fd, "QUIT", "221");
    client_end(fd);
    assert_says(w, "helo=front protocol=ESMTP id=");
    assert_false(world_said(w, "origin_id=4Q3C2B1A from=second"));
    world_free(w);
}

/* -- its name ---------------------------------------------------------------------------------- */

/* Looked up while it is greeted; a sender is answered when that is over, whatever came of it. */
static void names_are_looked_up(void **state)
{
    struct world *w = world_new();
    int fd;

    (void)state;
    w->service.names = true;
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO x", "250-");
    client_send(fd, "MAIL FROM:<a@b.example>\r\nRCPT TO:<one@example.com>\r\nDATA\r\n");
    client_expect(fd, "250");
    client_expect(fd, "250");
    client_expect(fd, "354");
    client_ask(fd, MESSAGE ".", "250");
    client_ask(fd, "QUIT", "221");
    client_end(fd);
    assert_says(w, " name=");
    fd = client_connect(w); /* and one that does not wait for it */
    client_send(fd, "EHLO x\r\n");
    close(fd);
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    world_free(w);
}

/* -- AUTH -------------------------------------------------------------------------------------- */

#define JOE "AUTH PLAIN AGpvZQBzZWNyZXQ=" /* joe, secret */

static struct world *auth_world(const char *script)
{
    struct world *w = world_new();

    w->service.protocol = FERRY_MAIL_SUBMISSION;
    w->service.validate.path = NULL;
    w->service.auth.path = "/srv/auth.php";
    w->service.smtp.auth_insecure = true;
    w->service.smtp.error_delay_ms = 1;
    w->service.auth_fails_per_minute = 4;
    w->service.smtp.auth_fails_max = 100;
    atomic_store(&w->validate.script, script);
    world_start(w);
    return w;
}

static int to_auth(struct world *w)
{
    int fd = client_connect(w);

    client_expect(fd, "220");
    client_ask(fd, "EHLO x", "250-");
    return fd;
}

static void a_right_password(void **state)
{
    struct world *w = auth_world(PASS);
    int fd = to_auth(w);

    (void)state;
    client_ask(fd, "MAIL FROM:<a@b.example>", "530 5.7.0");
    client_ask(fd, JOE, "235 2.7.0");
    client_ask(fd, "MAIL FROM:<a@b.example>", "250");
    client_ask(fd, "RCPT TO:<one@example.com>", "250");
    client_ask(fd, "DATA", "354");
    client_ask(fd, MESSAGE ".", "250");
    client_ask(fd, "QUIT", "221");
    client_end(fd);
    assert_says(w, "protocol=ESMTPA user=joe");
    assert_false(world_said(w, "secret"));
    assert_counts(w, FERRY_MAIL_COUNT_AUTH_FAILED, 0);
    world_free(w);
}

static void wrong_passwords(void **state)
{
    struct world *w = auth_world(ANSWER("no"));
    int fd = to_auth(w);

    (void)state;
    for (int i = 0; i < 4; i++)
        client_ask(fd, JOE, "535 5.7.8");
    client_ask(fd, JOE, "421 4.7.0"); /* of this address it is enough */
    client_end(fd);
    fd = client_connect(w);
    client_expect(fd, "421 4.7.0");
    client_end(fd);
    assert_int_equal(atomic_load(&w->validate.requests), 4);
    assert_counts(w, FERRY_MAIL_COUNT_AUTH_FAILED, 4);
    assert_false(world_said(w, "secret"));
    world_free(w);
}

/* A04 */
static void passwords_nobody_knows_of(void **state)
{
    static const char *const scripts[] = {
        ANSWER("DEFER"), ANSWER(""), "STDOUT 1 'Status: 500\r\nA: b\r\n\r\nPASS'; STDOUT 1; " OVER,
        "END_REQUEST 1 x0000000002000000"};

    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct world *w = auth_world(scripts[i]);
        int fd = to_auth(w);

        client_ask(fd, JOE, "454 4.7.0");
        client_ask(fd, "MAIL FROM:<a@b.example>", "530 5.7.0");
        close(fd);
        assert_counts(w, FERRY_MAIL_COUNT_AUTH_FAILED, 0);
        world_free(w);
    }
}

/* A client that leaves in the middle of it. */
static void nobody_waits_for_it(void **state)
{
    struct world *w = auth_world(PASS);
    int fd;

    (void)state;
    w->validate.handler = waits;
    fd = to_auth(w);
    client_send(fd, JOE "\r\n");
    wait_requests(&w->validate, 1);
    close(fd);
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    world_free(w);
}

/* -- TLS --------------------------------------------------------------------------------------- */

struct secure {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
};

/* The kernel interrupts a thread that waits when one of its loops has something to tell. */
static bool interrupted(const struct secure *s, int result)
{
    return result <= 0 && errno == EINTR && SSL_get_error(s->ssl, result) == SSL_ERROR_WANT_READ;
}

static void secure_begin(struct secure *s, int fd)
{
    int stands;

    s->fd = fd;
    s->ctx = SSL_CTX_new(TLS_client_method());
    s->ssl = SSL_new(s->ctx);
    SSL_set_fd(s->ssl, fd);
    do
        stands = SSL_connect(s->ssl);
    while (interrupted(s, stands));
    assert_int_equal(stands, 1);
}

static void secure_expect(struct secure *s, const char *expected)
{
    char reply[2048] = "";
    size_t n = 0;

    while (n < sizeof reply - 1 && (n < 2 || reply[n - 1] != '\n')) {
        int got = SSL_read(s->ssl, reply + n, (int)(sizeof reply - 1 - n));

        if (interrupted(s, got))
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    if (strncmp(reply, expected, strlen(expected)) != 0)
        fail_msg("\"%s\" instead of \"%s\"", reply, expected);
}

static void secure_ask(struct secure *s, const char *command, const char *expected)
{
    char line[300];
    int n = snprintf(line, sizeof line, "%s\r\n", command);

    assert_int_equal(SSL_write(s->ssl, line, n), n);
    secure_expect(s, expected);
}

static void secure_end(struct secure *s)
{
    SSL_free(s->ssl);
    SSL_CTX_free(s->ctx);
    close(s->fd);
}

static void send_mail(struct secure *s)
{
    secure_ask(s, "EHLO x", "250-");
    secure_ask(s, "MAIL FROM:<a@b.example>", "250");
    secure_ask(s, "RCPT TO:<one@example.com>", "250");
    secure_ask(s, "DATA", "354");
    secure_ask(s, MESSAGE ".", "250 2.0.0");
}

static struct world *tls_world(enum ferry_mail_tls tls, struct ferry_tls_cert *cert)
{
    struct world *w = world_new();

    w->service.tls = tls;
    w->service.tls_opts.certs = cert;
    w->service.tls_opts.ncerts = 1;
    return w;
}

static void tls_later(void **state)
{
    struct made made = make_cert("mx.example.com", NULL, 0);
    struct ferry_tls_cert cert = {.cert = made.path};
    struct world *w = tls_world(FERRY_MAIL_TLS_REQUIRED, &cert);
    struct secure s;
    int fd;

    (void)state;
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO before", "250-");
    client_ask(fd, "MAIL FROM:<a@b.example>", "530 5.7.0");
    client_ask(fd, "STARTTLS", "220 2.0.0");
    secure_begin(&s, fd);
    secure_ask(&s, "MAIL FROM:<a@b.example>", "503");
    send_mail(&s);
    secure_ask(&s, "QUIT", "221");
    secure_end(&s);
    assert_says(w, "helo=x protocol=ESMTPS tls=TLSv1.3");
    assert_says(w, "confirmed=yes");
    assert_counts(w, FERRY_MAIL_COUNT_TLS, 1);
    world_free(w);
    made_free(&made);
}

/* T11; and behind a PROXY header */
static void tls_at_once(void **state)
{
    struct made made = make_cert("mx.example.com", NULL, 0);
    struct ferry_tls_cert cert = {.cert = made.path};

    (void)state;
    for (int proxy = 0; proxy < 2; proxy++) {
        struct world *w = tls_world(FERRY_MAIL_TLS_IMPLICIT, &cert);
        struct secure s;

        if (proxy)
            w->service.proxy_from = local;
        world_start(w);
        secure_begin(&s, proxy ? proxied(w, "198.51.100.1") : client_connect(w));
        secure_expect(&s, "220 mx.example.com");
        send_mail(&s);
        secure_ask(&s, "QUIT", "221");
        secure_end(&s);
        assert_says(w, "protocol=ESMTPS tls=TLSv1.3");
        assert_counts(w, FERRY_MAIL_COUNT_SAVED, 1);
        assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
        world_free(w);
    }
    made_free(&made);
}

/* T09: nothing goes on in plain text; and one that is refused before TLS stands is told nothing. */
static void no_tls(void **state)
{
    struct made made = make_cert("mx.example.com", NULL, 0);
    struct ferry_tls_cert cert = {.cert = made.path};
    struct world *w = tls_world(FERRY_MAIL_TLS_STARTTLS, &cert);
    int fd;

    (void)state;
    world_start(w);
    fd = client_connect(w);
    client_expect(fd, "220");
    client_ask(fd, "EHLO x", "250-");
    client_ask(fd, "STARTTLS", "220 2.0.0");
    client_send(fd, "NOOP\r\nQUIT\r\n");
    client_end(fd);
    assert_says(w, "result=tls-failed why=");
    assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
    world_free(w);

    w = tls_world(FERRY_MAIL_TLS_IMPLICIT, &cert);
    w->service.deny = local;
    world_start(w);
    fd = client_connect(w);
    client_end(fd);
    assert_says(w, "result=refused reply=554 reason=denied");
    world_free(w);
    made_free(&made);
}

/* I03 and D22 by TLS, where what lies behind the message cannot be seen. */
static void a_client_that_has_left_by_tls(void **state)
{
    static const char left[] = MESSAGE ".\r\n", quit[] = MESSAGE ".\r\nQUIT\r\n";
    struct made made = make_cert("mx.example.com", NULL, 0);
    struct ferry_tls_cert cert = {.cert = made.path};

    (void)state;
    for (int says_quit = 0; says_quit < 2; says_quit++) {
        struct world *w = tls_world(FERRY_MAIL_TLS_IMPLICIT, &cert);
        const char *last = says_quit ? quit : left;
        struct secure s;

        world_start(w);
        secure_begin(&s, client_connect(w));
        secure_expect(&s, "220");
        secure_ask(&s, "EHLO x", "250-");
        secure_ask(&s, "MAIL FROM:<a@b.example>", "250");
        secure_ask(&s, "RCPT TO:<one@example.com>", "250");
        secure_ask(&s, "DATA", "354");
        world_stand_still(w);
        assert_int_equal(SSL_write(s.ssl, last, (int)strlen(last)), strlen(last));
        SSL_shutdown(s.ssl);
        shutdown(s.fd, SHUT_WR);
        world_go_on(w);
        if (says_quit)
            secure_expect(&s, "250 2.0.0");
        assert_counts(w, says_quit ? FERRY_MAIL_COUNT_SAVED : FERRY_MAIL_COUNT_ABORTED, 1);
        assert_int_equal(atomic_load(&w->save.requests), says_quit);
        secure_end(&s);
        assert_counts(w, FERRY_MAIL_COUNT_SESSIONS, 0);
        world_free(w);
    }
    made_free(&made);
}

static int setup(void **state)
{
    (void)state;
    certs_begin();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(certs_dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_of_the_forwarded_address),
        cmocka_unit_test(a_bad_proxy_header_is_told),
        cmocka_unit_test(another_client),
        cmocka_unit_test(strangers_may_not),
        cmocka_unit_test(of_one_transaction),
        cmocka_unit_test(names_are_looked_up),
        cmocka_unit_test(a_right_password),
        cmocka_unit_test(wrong_passwords),
        cmocka_unit_test(passwords_nobody_knows_of),
        cmocka_unit_test(nobody_waits_for_it),
        cmocka_unit_test(tls_later),
        cmocka_unit_test(tls_at_once),
        cmocka_unit_test(no_tls),
        cmocka_unit_test(a_client_that_has_left_by_tls),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
