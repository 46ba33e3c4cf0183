/* SPDX-License-Identifier: MIT */
#include "tls_both.h"

#include <errno.h>

static void talks(void **state)
{
    static const struct {
        int max;
        const char *version;
    } versions[] = {{TLS1_3_VERSION, "TLSv1.3"}, {TLS1_2_VERSION, "TLSv1.2"}};
    struct ferry_tls_opts o = usual();
    struct ferry_tls_ctx *ctx = ctx_of(&o);
    static struct both b;

    (void)state;
    for (size_t v = 0; v < 2; v++)
        for (size_t cut = 0; cut <= 3000; cut = cut < 40 ? cut + 1 : cut * 3) {
            both_init(&b, ctx);
            b.cut = cut;
            SSL_CTX_set_max_proto_version(b.client_ctx, versions[v].max);
            SSL_set_tlsext_host_name(client_of(&b), "Mail.Example.com");
            assert_false(ferry_tls_info(b.tls)->on);
            start(&b);
            assert_int_equal(b.stood, 0);
            say(&b, "EHLO a\r\n");
            turn(&b);
            assert_plain(&b, "EHLO a\r\n");
            answer(&b, "250 good\r\n");
            turn(&b);
            assert_got(&b, "250 good\r\n");
            assert_int_equal(b.plain.sent, 10);
            assert_int_equal(b.stands, 1);
            assert_true(ferry_tls_info(b.tls)->on);
            assert_string_equal(ferry_tls_info(b.tls)->version, versions[v].version);
            assert_string_equal(ferry_tls_info(b.tls)->cipher, SSL_get_cipher_name(b.client));
            assert_true(ferry_tls_info(b.tls)->bits >= 128);
            assert_string_equal(ferry_tls_info(b.tls)->sni, "Mail.Example.com");
            assert_false(ferry_tls_info(b.tls)->client_verified);
            assert_string_equal(ferry_tls_info(b.tls)->client_sha256, "");
            assert_string_equal(ferry_tls_why(b.tls), "");
            assert_int_equal(ops->deadline(b.tls), FERRY_NEVER);
            both_fini(&b);
        }
    ferry_tls_ctx_free(ctx);
}

/* Until it is started all passes as it is; what was said then leaves as it is too. */
static void starts_later(void **state)
{
    struct ferry_tls_opts o = usual();
    struct ferry_tls_ctx *ctx = ctx_of(&o);
    static struct both b;

    (void)state;
    both_init(&b, ctx);
    client_of(&b);
    b.plain.lines = true;
    answer(&b, "220 hello\r\n");
    assert_int_equal(ops->output(b.tls)->len, 11);
    ops->sent(b.tls, 5, b.now); /* a client that reads slowly */
    assert_int_equal(ops->recv(b.tls, "STARTTLS\r\n", 10, b.now), 10);
    assert_plain(&b, "STARTTLS\r\n");
    pull(&b);
    answer(&b, "220 go\r\n");
    ferry_tls_start(b.tls, stands, &b, b.now);
    answer(&b, "250 said in TLS\r\n");
    assert_int_equal(ops->output(b.tls)->len, 14);
    assert_slice_equal(ferry_chain_at(ops->output(b.tls), 0), "ello\r\n220 go\r\n");
    ops->sent(b.tls, 14, b.now);
    assert_int_equal(b.plain.sent, 19);
    turn(&b);
    assert_int_equal(b.stood, 0);
    assert_got(&b, "250 said in TLS\r\n");
    both_fini(&b);
    ferry_tls_ctx_free(ctx);
}

/* Nothing that is no handshake ever reaches the machine, or is answered in plain text. */
static void refuses_plain_text(void **state)
{
    static const char *const firsts[] = {"NOOP\r\n",
                                         "MAIL FROM:<a@b>\r\n",
                                         "\x16",
                                         "GET / HTTP/1.1\r\n\r\n",
                                         "\x80\x2e\x01\x03\x01",
                                         "\x15\x03\x01\x00\x02\x02\x28",
                                         "\x16\x03\x01\x00\x05\x0e\x00\x00\x00\x00"};
    struct ferry_tls_opts o = usual();
    struct ferry_tls_ctx *ctx = ctx_of(&o);
    static struct both b;

    (void)state;
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++)
        for (int then = 0; then < 2; then++) {
            size_t len = i == 6 ? 10 : i == 5 ? 7 : strlen(firsts[i]);

            both_init(&b, ctx);
            memcpy(b.in, firsts[i], len);
            b.in_len = len;
            ferry_tls_start(b.tls, stands, &b, b.now);
            answer(&b, "250 never\r\n");
            if (then) /* a good handshake behind it does not help */
                turn(&b);
            else
                offer(&b);
            if (i == 2 && !then) { /* too short to tell */
                assert_int_equal(b.stood, 1);
                assert_int_equal(ops->recv(b.tls, NULL, 0, b.now), 0);
                assert_int_equal(b.stood, FERRY_ECUT);
                both_fini(&b);
                continue;
            }
            assert_int_equal(b.stands, 1);
            assert_int_equal(b.stood, FERRY_EPROTOCOL);
            assert_int_equal(b.plain.recvs, 0);
            assert_int_equal(b.plain.sent, 0);
            assert_string_not_equal(ferry_tls_why(b.tls), "");
            assert_false(ferry_tls_info(b.tls)->on);
            if (ops->output(b.tls)->len) {
                assert_null(memmem(ops->output(b.tls)->segs->p, ops->output(b.tls)->len, "250", 3));
                ops->sent(b.tls, ops->output(b.tls)->len, b.now);
            }
            assert_true(ops->wants_shutdown(b.tls));
            assert_false(ops->finished(b.tls));
            b.now = ops->deadline(b.tls);
            assert_in_range(b.now, 1001, 10000);
            ops->tick(b.tls, b.now);
            assert_true(ops->finished(b.tls));
            assert_int_equal(b.plain.ticks, 0);
            both_fini(&b);
        }
    ferry_tls_ctx_free(ctx);
}

static void handshake_has_its_time(void **state)
{
    struct ferry_tls_opts o = usual();
    struct ferry_tls_ctx *ctx = ctx_of(&o);
    static struct both b;

    (void)state;
    both_init(&b, ctx);
    ferry_tls_start(b.tls, stands, &b, b.now);
    b.plain.due = 5000;
    assert_int_equal(ops->deadline(b.tls), 5000);
    ops->tick(b.tls, 5000);
    assert_int_equal(b.plain.ticks, 1);
    assert_int_equal(ops->deadline(b.tls), 31000);
    ops->tick(b.tls, 30999);
    assert_int_equal(b.stands, 0);
    ops->tick(b.tls, 31000);
    assert_int_equal(b.stood, -ETIMEDOUT);
    assert_true(ops->finished(b.tls));
    assert_int_equal(ops->output(b.tls)->len, 0);
    both_fini(&b);
    ferry_tls_ctx_free(ctx);
}

static void versions(void **state)
{
    static const struct {
        const char *min, *max;
        int client_max, client_min;
        const char *got;
    } table[] = {
        {NULL, NULL, TLS1_1_VERSION, TLS1_VERSION, NULL},
        {"1.2", NULL, TLS1_VERSION, TLS1_VERSION, NULL},
        {"1.3", NULL, TLS1_2_VERSION, TLS1_VERSION, NULL},
        {"1.0", NULL, TLS1_1_VERSION, TLS1_VERSION, "TLSv1.1"},
        {"1.1", NULL, TLS1_VERSION, TLS1_VERSION, NULL},
        {"1.0", NULL, TLS1_VERSION, TLS1_VERSION, "TLSv1"},
        {NULL, "1.2", TLS1_3_VERSION, TLS1_VERSION, "TLSv1.2"},
        {"1.3", NULL, TLS1_3_VERSION, TLS1_VERSION, "TLSv1.3"},
    };
    static struct both b;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct ferry_tls_opts o = usual();
        struct ferry_tls_ctx *ctx;

        o.min = table[i].min;
        o.max = table[i].max;
        ctx = ctx_of(&o);
        both_init(&b, ctx);
        SSL_CTX_set_security_level(b.client_ctx, 0);
        SSL_CTX_set_min_proto_version(b.client_ctx, table[i].client_min);
        SSL_CTX_set_max_proto_version(b.client_ctx, table[i].client_max);
        start(&b);
        assert_int_equal(b.stood, table[i].got ? 0 : FERRY_EPROTOCOL);
        assert_string_equal(ferry_tls_info(b.tls)->version, table[i].got ? table[i].got : "");
        if (!table[i].got) {
            assert_int_equal(b.client_err, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
            assert_string_equal(ferry_tls_why(b.tls), "unsupported protocol");
        }
        both_fini(&b);
        ferry_tls_ctx_free(ctx);
    }
}

static void names_choose_certificates(void **state)
{
    static const struct {
        const char *name;
        const struct made *is;
        const char *sigalgs, *sni;
    } table[] = {
        {NULL, &server, NULL, ""},
        {"mail.example.com", &server, NULL, "mail.example.com"},
        {"other.example.net", &other, NULL, "other.example.net"},
        {"OTHER.example.net", &other, NULL, "OTHER.example.net"},
        {"other.example.net", &other_rsa, "rsa_pss_rsae_sha256", "other.example.net"},
        {"a.wild.example.org", &wild, NULL, "a.wild.example.org"},
        {"a.b.wild.example.org", &server, NULL, "a.b.wild.example.org"},
        {"unknown.test", &server, NULL, "unknown.test"},
        {"x\"\x01<script>", &server, NULL, ""},
    };
    struct ferry_tls_opts o = usual();
    struct ferry_tls_ctx *ctx = ctx_of(&o);
    static struct both b;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        X509 *got;

        both_init(&b, ctx);
        if (table[i].name)
            SSL_set_tlsext_host_name(client_of(&b), table[i].name);
        if (table[i].sigalgs)
            SSL_set1_sigalgs_list(client_of(&b), table[i].sigalgs);
        start(&b);
        assert_int_equal(b.stood, 0);
        got = SSL_get1_peer_certificate(b.client);
        assert_int_equal(X509_cmp(got, table[i].is->cert), 0);
        X509_free(got);
        assert_string_equal(ferry_tls_info(b.tls)->sni, table[i].sni);
        both_fini(&b);
    }
    ferry_tls_ctx_free(ctx);
}

static void protocols(void **state)
{
    static const char *const smtp[] = {"lmtp", "smtp", NULL};
    static const struct {
        const char *const *ours;
        const char *offered;
        unsigned len;
        const char *chosen; /* NULL: refused */
    } table[] = {
        {smtp, "", 0, ""},
        {smtp, "\4smtp", 5, "smtp"},
        {smtp, "\10http/1.1\4smtp", 14, "smtp"},
        {smtp, "\10http/1.1", 9, NULL},
        {smtp, "\2h2\10http/1.1", 12, NULL},
        {NULL, "\10http/1.1", 9, ""},
    };
    static struct both b;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct ferry_tls_opts o = usual();
        struct ferry_tls_ctx *ctx;
        const unsigned char *chosen;
        unsigned len;

        o.alpn = table[i].ours;
        ctx = ctx_of(&o);
        both_init(&b, ctx);
        if (table[i].len)
            SSL_set_alpn_protos(client_of(&b), (const unsigned char *)table[i].offered,
                                table[i].len);
        start(&b);
        assert_int_equal(b.stood, table[i].chosen ? 0 : FERRY_EPROTOCOL);
        if (table[i].chosen) {
            SSL_get0_alpn_selected(b.client, &chosen, &len);
            assert_int_equal(len, strlen(table[i].chosen));
            assert_memory_equal(chosen ? chosen : (const void *)"", table[i].chosen, len);
        } else {
            assert_int_equal(b.client_err, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
        }
        both_fini(&b);
        ferry_tls_ctx_free(ctx);
    }
}

/* A session is taken up again where it was made, and nowhere else. */
static void tickets(void **state)
{
    struct ferry_tls_opts o = usual();
    struct ferry_tls_ctx *first, *second;
    static struct both b;
    SSL_SESSION *session;

    (void)state;
    o.ticket_label = "mx";
    first = ctx_of(&o);
    o.ticket_label = "submission";
    second = ctx_of(&o);
    for (int max = TLS1_2_VERSION; max <= TLS1_3_VERSION; max++) {
        both_init(&b, first);
        SSL_CTX_set_max_proto_version(b.client_ctx, max);
        start(&b);
        assert_int_equal(b.stood, 0);
        assert_non_null(b.session);
        assert_int_equal(SSL_SESSION_get_max_early_data(b.session), 0);
        session = b.session;
        b.session = NULL;
        both_fini(&b);
        for (int i = 0; i < 2; i++) {
            both_init(&b, i == 0 ? first : second);
            SSL_CTX_set_max_proto_version(b.client_ctx, max);
            SSL_set_session(client_of(&b), session);
            start(&b);
            assert_int_equal(b.stood, 0);
            assert_int_equal(SSL_session_reused(b.client), i == 0);
            assert_true(ferry_tls_info(b.tls)->on);
            both_fini(&b);
        }
        SSL_SESSION_free(session);
    }
    ferry_tls_ctx_free(first);
    ferry_tls_ctx_free(second);
}

static void client_certificates(void **state)
{
    struct made ca = make_cert("ca", NULL, 0), good = make_cert("client", &ca, 0);
    struct made stranger = make_cert("stranger", NULL, 0);
    struct made no_ca = make_cert("ca", NULL, 0), forged = make_cert("client", &no_ca, 0);
    const struct {
        enum ferry_tls_clients mode;
        const struct made *sends;
        bool stands, verified;
        const char *subject, *issuer;
    } table[] = {
        {FERRY_TLS_CLIENTS_NONE, &good, true, false, "", ""},
        {FERRY_TLS_CLIENTS_ASK, NULL, true, false, "", ""},
        {FERRY_TLS_CLIENTS_ASK, &good, true, true, "CN=client,O=The\\, Tests",
         "CN=ca,O=The\\, Tests"},
        {FERRY_TLS_CLIENTS_ASK, &stranger, true, false, "CN=stranger,O=The\\, Tests",
         "CN=stranger,O=The\\, Tests"},
        {FERRY_TLS_CLIENTS_ASK, &forged, true, false, "CN=client,O=The\\, Tests",
         "CN=ca,O=The\\, Tests"},
        {FERRY_TLS_CLIENTS_NEED, &good, true, true, "CN=client,O=The\\, Tests",
         "CN=ca,O=The\\, Tests"},
        {FERRY_TLS_CLIENTS_NEED, NULL, false, false, "", ""},
        {FERRY_TLS_CLIENTS_NEED, &stranger, false, false, "", ""},
    };
    static struct both b;

    (void)state;
    for (size_t i = 0; i < 4 * sizeof table / sizeof *table; i++) {
        struct ferry_tls_opts o = usual();
        struct ferry_tls_ctx *ctx;
        const struct ferry_tls_info *info;
        size_t k = i / 4;

        o.clients = table[k].mode;
        o.client_ca = ca.path;
        ctx = ctx_of(&o);
        both_init(&b, ctx);
        b.cut = i / 2 % 2; /* in whole flights, and byte by byte */
        info = ferry_tls_info(b.tls);
        SSL_CTX_set_max_proto_version(b.client_ctx, i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION);
        if (table[k].sends)
            SSL_use_cert_and_key(client_of(&b), table[k].sends->cert, table[k].sends->key, NULL, 1);
        start(&b);
        assert_int_equal(b.stood, table[k].stands ? 0 : FERRY_EPROTOCOL);
        assert_int_equal(info->client_verified, table[k].verified);
        assert_string_equal(info->client_subject, table[k].subject);
        assert_string_equal(info->client_issuer, table[k].issuer);
        if (table[k].subject[0]) {
            unsigned char sum[32];
            char hex[65];

            X509_digest(table[k].sends->cert, EVP_sha256(), sum, NULL);
            for (int at = 0; at < 32; at++)
                snprintf(hex + 2 * at, 3, "%02x", sum[at]);
            assert_string_equal(info->client_sha256, hex);
        } else {
            assert_string_equal(info->client_sha256, "");
        }
        if (!table[k].stands) {
            assert_true(b.client_done);
            assert_string_equal(ferry_tls_why(b.tls), table[k].sends
                                                          ? "self-signed certificate"
                                                          : "peer did not return a certificate");
        }
        both_fini(&b);
        ferry_tls_ctx_free(ctx);
    }
    made_free(&ca);
    made_free(&good);
    made_free(&stranger);
    made_free(&no_ca);
    made_free(&forged);
}

static void says_what_it_cannot_use(void **state)
{
    static const char *const empty[] = {"", NULL};
    struct made weak = make_cert("weak", NULL, 512);
    char key[100], missing[100];
    struct ferry_tls_cert one = {server.path, NULL};
    const struct {
        struct ferry_tls_cert cert;
        struct ferry_tls_opts more;
        const char *why;
    } table[] = {
        {{missing, NULL}, {0}, "certificate /"},
        {{server.path, missing}, {0}, "key /"},
        {{server.path, other.path}, {0}, "the key is not that of the certificate /"},
        {{key, NULL}, {0}, "certificate /"},
        {{server.path, key}, {0}, "key /"},
        {{weak.path, NULL}, {0}, "certificate /"},
        {one, {.min = "1.4"}, "TLS versions 1.4 to the newest: "},
        {one, {.min = ""}, "TLS versions "},
        {one, {.min = "1.3", .max = "1.2"}, "TLS versions 1.3 to 1.2: "},
        {one, {.max = "SSLv3"}, "TLS versions 1.2 to SSLv3: "},
        {one, {.ciphers = "NOTHING"}, "ciphers NOTHING: "},
        {one, {.ciphersuites = "TLS_NOTHING"}, "ciphersuites TLS_NOTHING: "},
        {one, {.curves = "X25518"}, "curves X25518: "},
        {one, {.alpn = empty}, "ALPN: "},
        {one, {.clients = FERRY_TLS_CLIENTS_ASK, .client_ca = missing}, "CA /"},
        {one, {.clients = FERRY_TLS_CLIENTS_ASK, .client_ca = key}, "CA /"},
    };
    struct ferry_tls_opts none = {0};
    struct ferry_tls_ctx *ctx = NULL;
    char why[256] = "";
    FILE *f;

    (void)state;
    snprintf(missing, sizeof missing, "%s/none", certs_dir);
    snprintf(key, sizeof key, "%s/locked", certs_dir);
    f = fopen(key, "w");
    PEM_write_PrivateKey(f, server.key, EVP_aes_128_cbc(), (unsigned char *)"x", 1, NULL, NULL);
    fclose(f);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct ferry_tls_opts o = table[i].more;

        o.certs = &table[i].cert;
        o.ncerts = 1;
        assert_int_equal(ferry_tls_ctx_new(&o, &ctx, why, sizeof why), FERRY_EUSAGE);
        assert_memory_equal(why, table[i].why, strlen(table[i].why));
        assert_null(strstr(why, "unknown error"));
        assert_null(ctx);
    }
    assert_int_equal(ferry_tls_ctx_new(&none, &ctx, why, sizeof why), FERRY_EUSAGE);
    assert_string_equal(why, "TLS needs a certificate");
    unlink(key);
    made_free(&weak);
    ferry_tls_ctx_free(NULL);
    ferry_tls_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(talks),
        cmocka_unit_test(starts_later),
        cmocka_unit_test(refuses_plain_text),
        cmocka_unit_test(handshake_has_its_time),
        cmocka_unit_test(versions),
        cmocka_unit_test(names_choose_certificates),
        cmocka_unit_test(protocols),
        cmocka_unit_test(tickets),
        cmocka_unit_test(client_certificates),
        cmocka_unit_test(says_what_it_cannot_use),
    };

    return cmocka_run_group_tests(tests, make_all, free_all);
}
