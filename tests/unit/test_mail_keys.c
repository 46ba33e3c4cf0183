/* SPDX-License-Identifier: MIT */
#include "mail_envelope.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct ferry_mail_service service;
static struct ferry_blocks blocks;

static void sha256(const void *p, size_t n, char out[65])
{
    unsigned char sum[32];

    assert_int_equal(EVP_Digest(p, n, sum, NULL, EVP_sha256(), NULL), 1);
    for (int i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", sum[i]);
}

static void key_of(const struct ferry_smtp_envelope *e, const char *body, char key[65],
                   const struct ferry_smtp_rcpt *one)
{
    struct ferry_mail_message m;

    assert_int_equal(ferry_mail_message_init(&m, &blocks, &service, e), 0);
    assert_int_equal(ferry_mail_message_add(&m, ferry_slice_z(body)), 0);
    assert_int_equal(ferry_mail_message_end(&m), 0);
    if (one)
        ferry_mail_message_rcpt_key(&m, e, one, key);
    else
        memcpy(key, m.key, 65);
    ferry_mail_message_fini(&m);
}

/* To the byte as the documents say, so that others can make it too. */
static void keys(void **state)
{
    static const char *const two[] = {"zoe@b.example", "Ann@b.example", "zoe@b.example", NULL};
    static const char *const one[] = {"x@y", NULL};
    static const char *const none[] = {NULL};
    static const char known[] = "ferry1\0joe@a.example\0Ann@b.example\nzoe@b.example\0Hi\r\n";
    static const char bounce[] = "ferry1\0\0x@y\0";
    static const char nobody[] = "ferry1\0a@b\0\0Hi";
    struct posted e;
    char key[65], want[65];

    (void)state;
    key_of(post(&e, "joe@a.example", two), "Hi\r\n", key, NULL);
    sha256(known, sizeof known - 1, want);
    assert_string_equal(key, want);
    key_of(post(&e, "", one), "", key, NULL);
    sha256(bounce, sizeof bounce - 1, want);
    assert_string_equal(key, want);
    key_of(post(&e, "a@b", none), "Hi", key, NULL);
    sha256(nobody, sizeof nobody - 1, want);
    assert_string_equal(key, want);
}

static void rcpt_keys(void **state)
{
    static const char *const two[] = {"zoe@b.example", "ann@b.example", NULL};
    struct posted e;
    char key[65], want[65], body[65], text[200];
    int n;

    (void)state;
    post(&e, "joe@a.example", two);
    sha256("Hi\r\n", 4, body);
    key_of(&e.envelope, "Hi\r\n", key, e.envelope.rcpts->next);
    n = snprintf(text, sizeof text, "ferry1%cjoe@a.example%cann@b.example%c%s", 0, 0, 0, body);
    sha256(text, (size_t)n, want);
    assert_string_equal(key, want);
}

/* What belongs together is the same again; whatever differs makes another key. */
static void differ(void **state)
{
    static const struct {
        const char *from, *rcpts[4], *body;
        int like; /* the row it is the same as, or itself */
    } table[] = {
        {"a@b", {"x@y", "z@y"}, "body", 0},
        {"a@b", {"z@y", "x@y"}, "body", 0},
        {"a@b", {"z@y", "x@y", "z@y"}, "body", 0},
        {"a@b", {"x@y"}, "body", 3},
        {"a@b", {"x@y\nz@y"}, "body", 0}, /* an address cannot have a LF */
        {"a@c", {"x@y", "z@y"}, "body", 5},
        {"a@b", {"X@y", "z@y"}, "body", 6}, /* the case of a local part may count */
        {"a@b", {"x@y", "z@y"}, "body\r\n", 7},
        {"", {"x@y", "z@y"}, "body", 8},
    };
    static char all[sizeof table / sizeof *table][65];
    struct posted e;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        key_of(post(&e, table[i].from, table[i].rcpts), table[i].body, all[i], NULL);
        for (size_t k = 0; k < i; k++)
            assert_int_equal(strcmp(all[i], all[k]) == 0, table[i].like == table[k].like);
    }
}

enum { EACH = 250000, THREADS = 4 };
static char ids[EACH * THREADS][FERRY_MAIL_ID_MAX];

static void *makes_ids(void *arg)
{
    char(*mine)[FERRY_MAIL_ID_MAX] = arg;

    for (int i = 0; i < EACH; i++)
        ferry_mail_id(mine[i]);
    return NULL;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void a_million_ids(void **state)
{
    pthread_t thread[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, makes_ids, ids[i * EACH]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 1; i < EACH; i++) /* in their order */
        assert_true(strcmp(ids[i - 1], ids[i]) < 0);
    qsort(ids, EACH * THREADS, sizeof *ids, by_id);
    for (int i = 0; i < EACH * THREADS; i++) {
        assert_int_equal(strlen(ids[i]), 20);
        assert_int_equal(strspn(ids[i], "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), 20);
        assert_true(i == 0 || strcmp(ids[i - 1], ids[i]) != 0);
    }
}

/* Processes that were one draw apart. */
static void processes(void **state)
{
    char mine[FERRY_MAIL_ID_MAX], its[FERRY_MAIL_ID_MAX];
    int pipes[2], status;
    pid_t pid;

    (void)state;
    ferry_mail_id(mine);
    assert_int_equal(pipe(pipes), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        ferry_mail_id(its);
        _exit(write(pipes[1], its, sizeof its) != sizeof its);
    }
    assert_int_equal(read(pipes[0], its, sizeof its), sizeof its);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(pipes[0]);
    close(pipes[1]);
    assert_string_not_equal(mine + 12, its + 12);
    ferry_mail_id(its);
    assert_string_equal(mine + 12, its + 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),          cmocka_unit_test(rcpt_keys), cmocka_unit_test(differ),
        cmocka_unit_test(a_million_ids), cmocka_unit_test(processes),
    };

    ferry_blocks_init(&blocks, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
