/* SPDX-License-Identifier: MIT */
#include "mail/forms.h"

#include <openssl/evp.h>
#include <zlib.h>

#include "ferry/form.h"
#include "mail_about.h"

#define CONTENT_MAX 400000

/* What came of it. */
struct sent {
    char *bytes;
    size_t len;
    char type[96], token[40], proof[80], sha256[65];
    uint64_t size;
};

/* One whole run: with pieces of at most `cap` bytes, measured by `budget`. 0 or the error. */
static int send_form(struct transaction *t, const struct ferry_smtp_rcpt *one, size_t cap,
                     size_t budget, struct sent *out)
{
    struct ferry__mail_about about = {
        .question = FERRY_MAIL_SAVE, .facts = &t->facts, .message = &t->message, .one = one};
    struct ferry__form f;
    ssize_t n = 0;
    int r = ferry__form_init(&f, &t->facts, &t->message, one, &t->blocks);

    memset(out, 0, sizeof *out);
    while (r == 0)
        r = ferry__form_measure(&f, budget);
    if (r > 0) {
        about.size = f.size;
        about.sha256 = f.sha256;
        about.packed = f.is_packed;
        r = ferry__form_write(&f, &about);
    }
    if (r == 0) {
        struct ferry_slice proof = ferry__form_proof(&f);

        out->bytes = test_malloc(f.length + cap);
        while ((n = ferry__form_read(&f, out->bytes + out->len, cap)) > 0) {
            assert_true((size_t)n <= cap);
            out->len += (size_t)n;
            assert_true(out->len <= f.length);
        }
        r = (int)n;
        if (r == 0)
            assert_int_equal(out->len, f.length);
        memcpy(out->type, f.type, sizeof f.type);
        memcpy(out->token, f.token, sizeof f.token);
        memcpy(out->sha256, f.sha256, sizeof f.sha256);
        memcpy(out->proof, proof.p, proof.len);
        out->size = f.size;
    }
    ferry__form_fini(&f);
    ferry__form_fini(&f);
    return r;
}

static void sent_free(struct sent *s)
{
    if (s->bytes)
        test_free(s->bytes);
    s->bytes = NULL;
}

/* -- taking forms apart -- */

/* The value of a field in an urlencoded form, decoded; NULL when it is not there. To be freed. */
static char *field(const struct sent *s, const char *name, size_t *len)
{
    struct ferry_slice rest = {s->bytes, s->len};
    struct ferry_param pair;

    while (ferry_query_next(&rest, &pair))
        if (ferry_slice_eq(pair.name, ferry_slice_z(name))) {
            char *out = test_malloc(pair.value.len + 1);

            *len = ferry_query_decode(pair.value, out);
            out[*len] = 0;
            return out;
        }
    return NULL;
}

static void assert_field(const struct sent *s, const char *name, const char *value)
{
    size_t len;
    char *got = field(s, name, &len);

    assert_non_null(got);
    assert_string_equal(got, value);
    test_free(got);
}

static void sha256_of(const void *p, size_t n, char out[65])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len;

    assert_int_equal(EVP_Digest(p, n, hash, &len, EVP_sha256(), NULL), 1);
    for (unsigned i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

static void fill(char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 7 + i / 253);
}

/* -- */

static void queries_are_encoded_as_go_does(void **state)
{
    struct transaction t;
    struct ferry_smtp_path rcpt;
    struct ferry__mail_about about = {
        .question = FERRY_MAIL_VALIDATE, .facts = &t.facts, .rcpt = &rcpt};
    struct ferry__grow g = {NULL, 0, 0};
    static const struct {
        const char *rcpt, *query;
    } cases[] = {
        {"test@example.com", "rcpt_to=test%40example.com"},
        {"a+b-c_d.e~f@x.org", "rcpt_to=a%2Bb-c_d.e~f%40x.org"},
        {"\"a b\"@x", "rcpt_to=%22a+b%22%40x"},
        {"gr\xc3\xbc\xc3\x9f@x", "rcpt_to=gr%C3%BC%C3%9F%40x"},
        {"a&b=c%d;e/f@x", "rcpt_to=a%26b%3Dc%25d%3Be%2Ff%40x"},
        {"postmaster", "rcpt_to=postmaster"},
        {"!#$'*?^`{|}@x", "rcpt_to=%21%23%24%27%2A%3F%5E%60%7B%7C%7D%40x"},
    };

    (void)state;
    transaction_open(&t, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        path_set(&rcpt, cases[i].rcpt);
        assert_int_equal(ferry__mail_query(&about, true, &g), 0);
        assert_true(ferry_slice_eq(ferry__grow_slice(&g), ferry_slice_z(cases[i].query)));
        ferry__grow_free(&g);
        /* With all fields it still comes first. */
        assert_int_equal(ferry__mail_query(&about, false, &g), 0);
        assert_true(ferry_slice_starts(ferry__grow_slice(&g), ferry_slice_z(cases[i].query)));
        assert_non_null(memmem(g.p, g.len, "&mail_from=sender%2Bx%40example.org&", 36));
        ferry__grow_free(&g);
    }
    transaction_close(&t);
}

/* S26, and go-guerrilla's encoding of every byte. */
static void the_seeds_form_is_the_seeds(void **state)
{
    struct transaction t;
    char message[256];
    struct sent s;
    size_t len;
    char *body;

    (void)state;
    test_trace.text = NULL;
    transaction_open(&t, 2);
    t.service.seed_fields_only = true;
    t.message.header.subject = "Hi there";
    for (unsigned i = 0; i < sizeof message; i++)
        message[i] = (char)i;
    message_set(&t, message, sizeof message);
    assert_int_equal(send_form(&t, NULL, 4096, 1000, &s), 0);
    assert_string_equal(s.type, "application/x-www-form-urlencoded");
    assert_memory_equal(
        s.bytes,
        "rcpt_to_0=a%40example.com&rcpt_to_1=b%40example.com&mail_from=sender%2Bx%40example.org&"
        "helo=client.example.net&remote_ip=198.51.100.7&tls_on=false&subject=Hi+there&body=%00%01",
        173);
    body = field(&s, "body", &len);
    assert_int_equal(len, sizeof message);
    assert_memory_equal(body, message, sizeof message);
    assert_null(field(&s, "token", &len));
    assert_memory_equal(s.bytes + s.len - 6, "%FE%FF", 6);
    test_free(body);
    sent_free(&s);
    /* A service that wants the token sends it as the one field more. */
    t.service.strict_token = true;
    assert_int_equal(send_form(&t, NULL, 4096, 1000, &s), 0);
    assert_field(&s, "token", s.token);
    sent_free(&s);
    transaction_close(&t);
}

static const struct {
    size_t size;
    const char *trace;
    uint64_t skip, skip_len;
} contents[] = {
    {0, NULL, 0, 0},
    {0, "T: 1\r\n", 0, 0},
    {1, NULL, 0, 0},
    {5000, NULL, 0, 0}, /* all in memory, and one byte more */
    {5001, "T: 1\r\n", 0, 0},
    {20000, "T: 1\r\nU: 2\r\n", 0, 100},
    {20000, NULL, 4000, 2000}, /* over the edge of the memory */
    {300000, "T: 1\r\n", 70000, 1},
    {300000, NULL, 299000, 1000},
};

/* The body as it is to be handed over. */
static size_t content(unsigned i, char *message, char *want)
{
    size_t n = 0;

    fill(message, contents[i].size);
    if (contents[i].trace) {
        n = strlen(contents[i].trace);
        memcpy(want, contents[i].trace, n);
    }
    memcpy(want + n, message, contents[i].skip);
    n += contents[i].skip;
    memcpy(want + n, message + contents[i].skip + contents[i].skip_len,
           contents[i].size - contents[i].skip - contents[i].skip_len);
    n += contents[i].size - contents[i].skip - contents[i].skip_len;
    test_trace.text = contents[i].trace;
    test_trace.skip = contents[i].skip;
    test_trace.skip_len = contents[i].skip_len;
    return n;
}

static void set_sha(struct transaction *t, const char *message, size_t n)
{
    message_set(t, message, n);
    sha256_of(message, n, t->message.sha256);
}

static void check_body(const struct sent *s, const char *body, size_t len, const char *want,
                       size_t n)
{
    char sha[65];

    sha256_of(want, n, sha);
    assert_int_equal(len, n);
    assert_memory_equal(body, want, n);
    assert_int_equal(s->size, n);
    assert_string_equal(s->sha256, sha);
}

static const size_t steps[] = {4096, 5003, 65536, 1000000};

/* S01, S22, S23: whatever lies where, and in whatever pieces it goes. */
static void bodies_arrive_byte_by_byte(void **state)
{
    char *message = test_malloc(CONTENT_MAX), *want = test_malloc(CONTENT_MAX);
    struct transaction t;

    (void)state;
    transaction_open(&t, 1);
    for (unsigned i = 0; i < sizeof contents / sizeof *contents; i++)
        for (unsigned k = 0; k < sizeof steps / sizeof *steps; k++) {
            size_t n = content(i, message, want), len;
            char number[32];
            struct sent s;
            char *body;

            set_sha(&t, message, contents[i].size);
            t.service.format = FERRY_MAIL_FORMAT_URLENCODED;
            assert_int_equal(send_form(&t, NULL, steps[k], steps[k] / 3, &s), 0);
            body = field(&s, "body", &len);
            assert_non_null(body);
            check_body(&s, body, len, want, n);
            snprintf(number, sizeof number, "%zu", n);
            assert_field(&s, "size", number);
            assert_field(&s, "body_sha256", s.sha256);
            assert_field(&s, "token", s.token);
            assert_memory_equal(s.bytes + s.len - 39, "&token=", 7);
            assert_string_equal(s.proof, s.token);
            test_free(body);
            sent_free(&s);

            t.service.format = FERRY_MAIL_FORMAT_RFC822;
            assert_int_equal(send_form(&t, NULL, steps[k], steps[k] / 3, &s), 0);
            check_body(&s, s.bytes, s.len, want, n);
            assert_string_equal(s.type, "message/rfc822");
            assert_string_equal(s.proof, s.sha256);
            sent_free(&s);
        }
    transaction_close(&t);
    test_free(message);
    test_free(want);
}

/* The parts, taken apart by hand: name and headers of each in `names`, the value of `want`. */
static char *part(const struct sent *s, const char *head, size_t *len)
{
    const char *boundary = strstr(s->type, "boundary=") + 9;
    char *at = memmem(s->bytes, s->len, head, strlen(head)), mark[64], *end;

    assert_non_null(at);
    at += strlen(head);
    assert_memory_equal(at, "\r\n\r\n", 4);
    at += 4;
    snprintf(mark, sizeof mark, "\r\n--%s", boundary);
    end = memmem(at, s->len - (size_t)(at - s->bytes), mark, strlen(mark));
    assert_non_null(end);
    *len = (size_t)(end - at);
    return at;
}

static void multipart_has_the_body_as_a_file(void **state)
{
    char *message = test_malloc(CONTENT_MAX), *want = test_malloc(CONTENT_MAX), mark[80];
    struct transaction t;

    (void)state;
    transaction_open(&t, 2);
    t.service.format = FERRY_MAIL_FORMAT_MULTIPART;
    for (unsigned i = 0; i < sizeof contents / sizeof *contents; i++) {
        size_t n = content(i, message, want), len;
        struct sent s;
        char *at;

        set_sha(&t, message, contents[i].size);
        assert_int_equal(send_form(&t, NULL, 4096, 100000, &s), 0);
        assert_memory_equal(s.type, "multipart/form-data; boundary=ferry-", 36);
        at = part(&s,
                  "form-data; name=\"body\"; filename=\"message.eml\"\r\n"
                  "Content-Type: message/rfc822",
                  &len);
        check_body(&s, at, len, want, n);
        at = part(&s, "form-data; name=\"rcpt_to\"", &len);
        assert_int_equal(len, 27);
        assert_memory_equal(at, "a@example.com\nb@example.com", len);
        at = part(&s, "form-data; name=\"token\"", &len);
        assert_int_equal(len, FERRY__TOKEN_LEN);
        assert_memory_equal(at, s.token, len);
        len = (size_t)snprintf(mark, sizeof mark, "\r\n--%s--\r\n", s.type + 30);
        assert_memory_equal(s.bytes + s.len - len, mark, len);
        assert_memory_equal(s.bytes, mark + 2, strlen(s.type + 30) + 2);
        sent_free(&s);
    }
    transaction_close(&t);
    test_free(message);
    test_free(want);
}

static void packed_bodies_inflate_to_the_message(void **state)
{
    static const enum ferry_mail_format formats[] = {
        FERRY_MAIL_FORMAT_URLENCODED, FERRY_MAIL_FORMAT_MULTIPART, FERRY_MAIL_FORMAT_RFC822};
    char *message = test_malloc(CONTENT_MAX), *want = test_malloc(CONTENT_MAX);
    char *plain = test_malloc(CONTENT_MAX);
    struct transaction t;

    (void)state;
    transaction_open(&t, 1);
    t.service.compress = true;
    for (unsigned i = 0; i < sizeof contents / sizeof *contents; i++)
        for (unsigned k = 0; k < 3; k++) {
            size_t n = content(i, message, want), len;
            uLongf plain_len = CONTENT_MAX;
            char *body, *own = NULL;
            struct sent s;

            set_sha(&t, message, contents[i].size);
            t.service.format = formats[k];
            assert_int_equal(send_form(&t, NULL, 4096, 5000, &s), 0);
            body = s.bytes;
            len = s.len;
            if (formats[k] == FERRY_MAIL_FORMAT_URLENCODED) {
                body = own = field(&s, "body", &len);
                assert_field(&s, "body_encoding", "zlib");
            } else if (formats[k] == FERRY_MAIL_FORMAT_MULTIPART) {
                body = part(&s,
                            "form-data; name=\"body\"; filename=\"message.eml.z\"\r\n"
                            "Content-Type: application/zlib",
                            &len);
            } else {
                assert_string_equal(s.type, "application/zlib");
            }
            check_body(&s, body, len, body, len);
            assert_int_equal(
                uncompress((Bytef *)plain, &plain_len, (const Bytef *)body, (uLong)len), Z_OK);
            assert_int_equal(plain_len, n);
            assert_memory_equal(plain, want, n);
            test_free(own);
            sent_free(&s);
        }
    transaction_close(&t);
    test_free(message);
    test_free(want);
    test_free(plain);
}

static void tokens_are_new_each_time(void **state)
{
    struct transaction t;
    struct sent a, b;

    (void)state;
    memset(&test_trace, 0, sizeof test_trace);
    transaction_open(&t, 1);
    message_set(&t, "x", 1);
    assert_int_equal(send_form(&t, NULL, 4096, 1, &a), 0);
    assert_int_equal(send_form(&t, &t.rcpts[0], 4096, 1, &b), 0);
    assert_int_equal(strlen(a.token), FERRY__TOKEN_LEN);
    assert_string_not_equal(a.token, b.token);
    sent_free(&a);
    sent_free(&b);
    transaction_close(&t);
}

/* Two readers of one message do not get in each other's way. */
static void one_message_is_read_twice_at_once(void **state)
{
    struct ferry__mail_about about = {.question = FERRY_MAIL_SAVE};
    char message[30000], got[2][40000];
    struct ferry__form f[2];
    struct transaction t;
    size_t at[2] = {0, 0};

    (void)state;
    memset(&test_trace, 0, sizeof test_trace);
    transaction_open(&t, 2);
    t.service.format = FERRY_MAIL_FORMAT_RFC822;
    fill(message, sizeof message);
    message_set(&t, message, sizeof message);
    about.facts = &t.facts;
    about.message = &t.message;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ferry__form_init(&f[i], &t.facts, &t.message, &t.rcpts[i], &t.blocks), 0);
        assert_int_equal(ferry__form_measure(&f[i], 1), 1);
        assert_int_equal(ferry__form_write(&f[i], &about), 0);
    }
    for (int turn = 0; at[0] < sizeof message || at[1] < sizeof message; turn++) {
        int i = turn % 3 == 0;
        ssize_t n = ferry__form_read(&f[i], got[i] + at[i], 4096);

        assert_true(n >= 0);
        at[i] += (size_t)n;
    }
    assert_memory_equal(got[0], message, sizeof message);
    assert_memory_equal(got[1], message, sizeof message);
    ferry__form_fini(&f[0]);
    ferry__form_fini(&f[1]);
    transaction_close(&t);
}

static void a_message_that_shrinks_is_an_error(void **state)
{
    char message[30000];
    struct transaction t;
    struct sent s;

    (void)state;
    transaction_open(&t, 1);
    fill(message, sizeof message);
    message_set(&t, message, sizeof message);
    t.message.size++;
    t.service.format = FERRY_MAIL_FORMAT_URLENCODED;
    assert_int_equal(send_form(&t, NULL, 4096, 100000, &s), -EIO);
    t.service.format = FERRY_MAIL_FORMAT_RFC822;
    assert_int_equal(send_form(&t, NULL, 4096, 100000, &s), -EIO);
    sent_free(&s);
    transaction_close(&t);
}

static void without_memory(void *arg)
{
    struct transaction *t = arg;
    struct sent s;
    int r = send_form(t, NULL, 4096, 3000, &s);

    assert_true(alloc_failed() ? r == -ENOMEM || r == 0 : r == 0);
    sent_free(&s);
    ferry_blocks_fini(&t->blocks); /* so that they are allocated again */
    ferry_blocks_init(&t->blocks, 8, 8);
}

static void no_memory_is_told(void **state)
{
    char message[20000];
    struct transaction t;

    (void)state;
    test_trace.text = "T: 1\r\n";
    fill(message, sizeof message);
    for (unsigned k = 0; k < 6; k++) {
        transaction_open(&t, 2);
        t.service.format = (enum ferry_mail_format)(k % 3);
        t.service.compress = k / 3;
        message_set(&t, message, sizeof message);
        each_alloc_fails(without_memory, &t);
        transaction_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries_are_encoded_as_go_does),
        cmocka_unit_test(the_seeds_form_is_the_seeds),
        cmocka_unit_test(bodies_arrive_byte_by_byte),
        cmocka_unit_test(multipart_has_the_body_as_a_file),
        cmocka_unit_test(packed_bodies_inflate_to_the_message),
        cmocka_unit_test(tokens_are_new_each_time),
        cmocka_unit_test(one_message_is_read_twice_at_once),
        cmocka_unit_test(a_message_that_shrinks_is_an_error),
        cmocka_unit_test(no_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
