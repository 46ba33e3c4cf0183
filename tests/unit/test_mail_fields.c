/* SPDX-License-Identifier: MIT */
#include "mail/fields.h"

#include "mail_about.h"

#define TEXT_MAX 16384

struct told {
    char fields[TEXT_MAX], params[TEXT_MAX]; /* "name=value|name=value|" */
    unsigned n, of_seed;
    unsigned stop_after;
};

static void add(char *to, struct ferry_slice name, struct ferry_slice value)
{
    size_t n = strlen(to);

    if (name.len)
        snprintf(to + n, TEXT_MAX - n, "%.*s=%.*s|", (int)name.len, name.p, (int)value.len,
                 value.len ? value.p : "");
}

static int note(void *arg, const struct ferry__mail_field *f)
{
    struct told *t = arg;

    if (t->stop_after && t->n == t->stop_after)
        return -EPIPE;
    t->n++;
    add(t->fields, f->field, f->value);
    add(t->params, f->param, f->value);
    t->of_seed += f->of_seed;
    return 0;
}

static bool has(const char *all, const char *pair)
{
    char want[512];

    snprintf(want, sizeof want, "|%s|", pair);
    return strncmp(all, want + 1, strlen(want + 1)) == 0 || strstr(all, want);
}

#define assert_has(all, ...)                                                                       \
    do {                                                                                           \
        static const char *const pairs[] = {__VA_ARGS__};                                          \
        for (size_t i_ = 0; i_ < sizeof pairs / sizeof *pairs; i_++)                               \
            if (!has(all, pairs[i_]))                                                              \
                fail_msg("no %s in %s", pairs[i_], all);                                           \
    } while (0)

static void a_recipient_is_told_of(void **state)
{
    static const struct ferry_smtp_rcpt_params dsn = {.notify = FERRY_SMTP_NOTIFY_SUCCESS |
                                                                FERRY_SMTP_NOTIFY_DELAY,
                                                      .orcpt = "rfc822;o@example.com"};
    static struct told told;
    struct ferry_smtp_path rcpt;
    struct transaction t;
    struct ferry__mail_about about = {
        .question = FERRY_MAIL_VALIDATE, .facts = &t.facts, .rcpt = &rcpt, .rcpt_params = &dsn};

    (void)state;
    transaction_open(&t, 2);
    path_set(&rcpt, "User+tag@example.com");
    t.params = (struct ferry_smtp_mail_params){.has_size = true,
                                               .size = 1234,
                                               .smtputf8 = true,
                                               .body = FERRY_SMTP_8BITMIME,
                                               .ret = FERRY_SMTP_RET_HDRS,
                                               .auth = "who@example.org",
                                               .envid = "QQ314"};
    assert_int_equal(ferry__mail_fields(&about, note, &told), 0);
    assert_has(told.fields, "rcpt_to=User+tag@example.com", "rcpt_local=User+tag",
               "rcpt_domain=example.com", "rcpt_raw=User+tag@example.com", "rcpt_count=2",
               "orcpt_0=rfc822;o@example.com", "notify_0=SUCCESS,DELAY",
               "mail_from=sender+x@example.org", "mail_auth=who@example.org", "mail_ret=HDRS",
               "envid=QQ314", "smtputf8=1", "body_type=8BITMIME", "size_declared=1234",
               "helo=client.example.net", "helo_verb=EHLO", "helo_valid=1",
               "remote_ip=198.51.100.7", "remote_port=50123", "remote_name=unknown",
               "remote_name_status=none", "peer_ip=127.0.0.1", "peer_port=4711", "origin=direct",
               "server_ip=192.0.2.25", "server_port=25", "listener=inbound", "protocol=ESMTP",
               "tls_on=false", "tls_version=", "tls_bits=", "tls_client_verified=0",
               "auth_user=", "transaction_id=TX1", "session_id=SE1", "msg_seq=3",
               "origin_queue_id=", "received_at=2026-01-31T23:59:59.123456Z", "stage=rcpt", "api=1",
               "ferry_version=" FERRY_VERSION);
    assert_has(told.params, "MAIL_RCPT=User+tag@example.com", "MAIL_FROM=sender+x@example.org",
               "MAIL_CLIENT_ADDR=198.51.100.7", "REMOTE_PORT=50123", "SERVER_ADDR=192.0.2.25",
               "SERVER_PORT=25", "MAIL_STAGE=rcpt", "MAIL_RCPT_COUNT=2");
    assert_null(strstr(told.fields, "size="));
    assert_null(strstr(told.fields, "message_key"));
    assert_null(strstr(told.fields, "password"));
    /* go-guerrilla's only one. */
    assert_int_equal(told.of_seed, 1);
    transaction_close(&t);
}

static void a_message_is_told_of(void **state)
{
    static struct told told, alone;
    struct transaction t;
    struct ferry__mail_about about = {.question = FERRY_MAIL_SAVE,
                                      .facts = &t.facts,
                                      .message = &t.message,
                                      .size = 99,
                                      .sha256 = "5a5a"};
    char longer[80];

    (void)state;
    transaction_open(&t, 3);
    t.rcpts[1].notify = FERRY_SMTP_NOTIFY_NEVER;
    t.rcpts[2].orcpt = "rfc822;z@example.com";
    t.message.header = (struct ferry_mail_header){.subject = "Gr\xc3\xbc\xc3\x9f",
                                                  .subject_raw = "=?utf-8?q?Gr=C3=BC=C3=9F?=",
                                                  .message_id = "<1@x>",
                                                  .from = "A <a@x>",
                                                  .received = 4};
    memset(t.message.key, 'k', FERRY_MAIL_KEY_LEN);
    assert_int_equal(ferry__mail_fields(&about, note, &told), 0);
    assert_has(told.fields, "rcpt_to=a@example.com\nb@example.com\nc@example.com",
               "rcpt_to_0=a@example.com", "rcpt_to_1=b@example.com", "rcpt_to_2=c@example.com",
               "rcpt_count=3", "notify_1=NEVER", "orcpt_2=rfc822;z@example.com", "size=99",
               "body_sha256=5a5a", "body_encoding=", "subject=Gr\xc3\xbc\xc3\x9f",
               "subject_raw==?utf-8?q?Gr=C3=BC=C3=9F?=", "message_id=<1@x>", "header_from=A <a@x>",
               "header_to=", "header_date=", "received_count=4", "stage=save", "body_type=7BIT",
               "size_declared=");
    assert_has(told.params, "MAIL_RCPT_TO_2=c@example.com", "MAIL_SIZE=99", "MAIL_SHA256=5a5a",
               "MAIL_HOPS=4");
    snprintf(longer, sizeof longer, "rcpt_key_1=%.64s",
             "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    assert_true(has(told.fields, longer));
    snprintf(longer, sizeof longer, "message_key=%s", t.message.key);
    assert_true(has(told.fields, longer));
    assert_null(strstr(told.fields, "notify_0"));
    assert_null(strstr(told.fields, "orcpt_0"));
    assert_null(strstr(told.fields, "rcpt_local"));
    /* mail_from, helo, remote_ip, tls_on, subject, and each recipient. */
    assert_int_equal(told.of_seed, 8);

    /* For one of them alone: the others are not told of, and the key is its own. */
    about.one = &t.rcpts[1];
    about.packed = true;
    path_set(&t.from, "");
    assert_int_equal(ferry__mail_fields(&about, note, &alone), 0);
    assert_has(alone.fields, "rcpt_to=b@example.com", "rcpt_to_0=b@example.com", "rcpt_count=1",
               "notify_0=NEVER", "body_encoding=zlib", "mail_from=");
    assert_null(strstr(alone.fields, "a@example.com"));
    assert_null(strstr(alone.fields, "rcpt_to_1"));
    snprintf(longer, sizeof longer, "message_key=%.64s",
             "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    assert_true(has(alone.fields, longer));
    transaction_close(&t);
}

static void a_password_is_a_field_and_no_param(void **state)
{
    static const struct ferry_smtp_sasl sasl = {.mechanism = FERRY_SMTP_MECHANISM_PLAIN,
                                                .user = "jo",
                                                .identity = "boss",
                                                .password = "s3cret"};
    static struct told told;
    struct transaction t;
    struct ferry__mail_about about = {
        .question = FERRY_MAIL_AUTH, .facts = &t.facts, .sasl = &sasl};

    (void)state;
    transaction_open(&t, 0);
    t.facts.envelope = NULL;
    t.tls = (struct ferry_tls_info){.on = true,
                                    .version = "TLSv1.3",
                                    .cipher = "TLS_AES_256_GCM_SHA384",
                                    .bits = 256,
                                    .client_verified = true,
                                    .client_subject = "CN=jo"};
    assert_int_equal(ferry__mail_fields(&about, note, &told), 0);
    assert_has(told.fields, "auth_user=jo", "password=s3cret", "auth_identity=boss",
               "auth_mech=PLAIN", "stage=auth", "tls_on=true", "tls_version=TLSv1.3",
               "tls_bits=256", "tls_client_verified=1", "tls_client_subject=CN=jo", "tls_sni=");
    assert_has(told.params, "MAIL_AUTH_USER=jo", "MAIL_TLS=true");
    assert_null(strstr(told.params, "s3cret"));
    assert_null(strstr(told.params, "boss"));
    assert_null(strstr(told.fields, "rcpt_"));
    assert_null(strstr(told.fields, "mail_from"));
    transaction_close(&t);
}

static void one_who_asks_for_no_more_gets_no_more(void **state)
{
    static struct told told;
    struct transaction t;
    struct ferry__mail_about about = {
        .question = FERRY_MAIL_SAVE, .facts = &t.facts, .message = &t.message};

    (void)state;
    transaction_open(&t, 4);
    for (told.stop_after = 1; told.stop_after < 12; told.stop_after++) {
        told.n = 0;
        assert_int_equal(ferry__mail_fields(&about, note, &told), -EPIPE);
        assert_int_equal(told.n, told.stop_after);
    }
    transaction_close(&t);
}

static int ignore(void *arg, const struct ferry__mail_field *f)
{
    (void)arg;
    (void)f;
    return 0;
}

static void without_memory(void *arg)
{
    int r = ferry__mail_fields(arg, ignore, NULL);

    assert_int_equal(r, alloc_failed() ? -ENOMEM : 0);
}

static void no_memory_is_told(void **state)
{
    struct transaction t;
    struct ferry__mail_about about = {
        .question = FERRY_MAIL_SAVE, .facts = &t.facts, .message = &t.message};

    (void)state;
    transaction_open(&t, 4);
    each_alloc_fails(without_memory, &about);
    transaction_close(&t);
}

/* The names of PHP's arrays, and one meaning for each. */
static void names_are_sound_and_used_once(void **state)
{
    static const char *const names[] = {
#define X(name, field, param, questions, seed, text) field, param,
        FERRY_MAIL_FIELD_MAP(X) FERRY_MAIL_RCPT_FIELD_MAP(X)
#undef X
            "body",
        "token",
    };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (const char *p = names[i]; *p; p++)
            assert_true((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_' ||
                        (p > names[i] && *p >= '0' && *p <= '9'));
        for (size_t k = 0; k < i && *names[i]; k++)
            assert_string_not_equal(names[i], names[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recipient_is_told_of),
        cmocka_unit_test(a_message_is_told_of),
        cmocka_unit_test(a_password_is_a_field_and_no_param),
        cmocka_unit_test(one_who_asks_for_no_more_gets_no_more),
        cmocka_unit_test(no_memory_is_told),
        cmocka_unit_test(names_are_sound_and_used_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
