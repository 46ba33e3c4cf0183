/* SPDX-License-Identifier: MIT */
#include "base/chain.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support.h"

static struct ferry_blocks blocks;

static int setup(void **state)
{
    (void)state;
    ferry_blocks_init(&blocks, 4, 4);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fail_alloc_after(-1);
    ferry_blocks_fini(&blocks);
    return 0;
}

/* All memory at the front as one string. */
static char *text(const struct ferry_chain *c, int *vectors)
{
    static char out[1 << 20];
    struct iovec iov[64];
    size_t len = 0;

    *vectors = ferry_chain_iov(c, iov, 64);
    for (int i = 0; i < *vectors; i++) {
        memcpy(out + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    out[len] = 0;
    return out;
}

static int a_file(const char *content)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void copies_join_and_other_memory_does_not(void **state)
{
    struct ferry_chain c;
    struct ferry_block *b = ferry_block_get(&blocks, 10);
    int vectors;

    (void)state;
    memcpy(b->data, "0123456789", 10);
    ferry_chain_init(&c, &blocks);
    ferry_chain_copy(&c, FERRY_SLICE("one "));
    ferry_chain_copy(&c, FERRY_SLICE("two "));
    assert_string_equal(text(&c, &vectors), "one two ");
    assert_int_equal(vectors, 1);
    ferry_chain_static(&c, FERRY_SLICE("three "));
    ferry_chain_ref(&c, b, ferry_slice(b->data + 2, 3));
    assert_int_equal(b->refs, 2);
    /* The block of somebody else is not written to, room or not. */
    ferry_chain_copy(&c, FERRY_SLICE(" four"));
    assert_string_equal(text(&c, &vectors), "one two three 234 four");
    assert_int_equal(vectors, 4);
    assert_memory_equal(b->data, "0123456789", 10);
    assert_int_equal(c.len, strlen("one two three 234 four"));
    ferry_chain_clear(&c);
    assert_int_equal(b->refs, 1);
    assert_int_equal(c.len, 0);
    ferry_block_unref(b);
}

static void empty_pieces_queue_nothing(void **state)
{
    struct ferry_chain c;
    struct ferry_block *b = ferry_block_get(&blocks, 1);
    int vectors, fd = a_file("");

    (void)state;
    ferry_chain_init(&c, &blocks);
    ferry_chain_copy(&c, ferry_slice(NULL, 0));
    ferry_chain_static(&c, FERRY_SLICE(""));
    ferry_chain_ref(&c, b, ferry_slice(b->data, 0));
    ferry_chain_file(&c, fd, 0, 0);
    assert_false(is_open(fd));
    assert_int_equal(b->refs, 1);
    text(&c, &vectors);
    assert_int_equal(vectors, 0);
    assert_int_equal(c.n, 0);
    ferry_chain_clear(&c);
    ferry_block_unref(b);
}

static void consuming_at_every_byte_leaves_the_rest(void **state)
{
    static const char all[] = "abcdefghijklmnopqrstuvwxyz";

    (void)state;
    for (size_t first = 0; first < sizeof all; first++) {
        struct ferry_chain c;
        int vectors;

        ferry_chain_init(&c, &blocks);
        for (size_t i = 0; i < 26; i++) /* grows out of the inline ring */
            ferry_chain_static(&c, ferry_slice(all + i, 1));
        ferry_chain_consume(&c, first);
        assert_string_equal(text(&c, &vectors), all + first);
        assert_int_equal(c.len, 26 - first);
        ferry_chain_copy(&c, FERRY_SLICE("!"));
        assert_int_equal(text(&c, &vectors)[26 - first], '!');
        ferry_chain_consume(&c, c.len);
        assert_int_equal(c.n, 0);
        assert_ptr_equal(c.segs, c.inline_segs); /* an idle chain holds no memory */
        ferry_chain_clear(&c);
    }
}

static void looking_behind_the_front_finds_what_consuming_would(void **state)
{
    static const char all[] = "headone, two and three.";
    struct ferry_block *b = ferry_block_get(&blocks, 1);
    struct ferry_chain c;
    struct ferry_slice at;

    (void)state;
    memcpy(b->data, " two and ", 9);
    ferry_chain_init(&c, &blocks);
    assert_int_equal(ferry_chain_at(&c, 0).len, 0);
    ferry_chain_copy(&c, FERRY_SLICE("gone"));
    ferry_chain_copy(&c, FERRY_SLICE("head"));
    ferry_chain_copy(&c, FERRY_SLICE("one,"));
    ferry_chain_ref(&c, b, ferry_slice(b->data, 9));
    ferry_block_unref(b);
    ferry_chain_static(&c, FERRY_SLICE("three."));
    ferry_chain_consume(&c, 4);
    for (size_t off = 0; off < sizeof all - 1; off += at.len) {
        at = ferry_chain_at(&c, off);
        assert_in_range(at.len, 1, sizeof all - 1 - off);
        assert_memory_equal(at.p, all + off, at.len);
        /* Byte by byte the same, to the end of what lies together. */
        for (size_t i = 0; i < at.len; i++) {
            assert_ptr_equal(ferry_chain_at(&c, off + i).p, at.p + i);
            assert_int_equal(ferry_chain_at(&c, off + i).len, at.len - i);
        }
    }
    assert_int_equal(ferry_chain_at(&c, sizeof all - 1).len, 0);
    assert_int_equal(ferry_chain_at(&c, 1 << 20).len, 0);
    /* Nothing of a file is in memory, nor what stands behind it. */
    ferry_chain_file(&c, a_file("file"), 0, 4);
    ferry_chain_copy(&c, FERRY_SLICE("more"));
    assert_int_equal(ferry_chain_at(&c, sizeof all - 1).len, 0);
    assert_int_equal(ferry_chain_at(&c, sizeof all + 3).len, 0);
    ferry_chain_clear(&c);
}

static void the_ring_keeps_its_order_when_it_turns(void **state)
{
    struct ferry_chain c;
    int vectors;

    (void)state;
    ferry_chain_init(&c, &blocks);
    for (int round = 0; round < 20; round++) {
        ferry_chain_static(&c, FERRY_SLICE("ab"));
        ferry_chain_static(&c, FERRY_SLICE("cd"));
        ferry_chain_static(&c, FERRY_SLICE("ef"));
        ferry_chain_consume(&c, 5);
        assert_int_equal(text(&c, &vectors)[0], 'f');
        ferry_chain_static(&c, FERRY_SLICE("gh"));
        assert_string_equal(text(&c, &vectors), "fgh");
        ferry_chain_consume(&c, 3);
    }
    assert_int_equal(c.len, 0);
    ferry_chain_clear(&c);
}

static void file_ranges_stand_between_memory(void **state)
{
    struct ferry_chain c;
    int fd = a_file("0123456789"), vectors;

    (void)state;
    ferry_chain_init(&c, &blocks);
    ferry_chain_static(&c, FERRY_SLICE("head"));
    ferry_chain_file(&c, fd, 3, 5);
    ferry_chain_static(&c, FERRY_SLICE("tail"));
    assert_int_equal(c.len, 13);
    assert_string_equal(text(&c, &vectors), "head");
    assert_null(ferry_chain_file_first(&c));
    ferry_chain_consume(&c, 4);
    assert_int_equal(ferry_chain_iov(&c, &(struct iovec){0}, 1), 0);
    assert_int_equal(ferry_chain_file_first(&c)->fd, fd);
    assert_int_equal(ferry_chain_file_first(&c)->off, 3);
    ferry_chain_consume(&c, 4);
    assert_int_equal(ferry_chain_file_first(&c)->off, 7);
    assert_int_equal(ferry_chain_file_first(&c)->len, 1);
    assert_true(is_open(fd));
    ferry_chain_consume(&c, 1);
    assert_false(is_open(fd));
    assert_null(ferry_chain_file_first(&c));
    assert_string_equal(text(&c, &vectors), "tail");
    fd = a_file("x");
    ferry_chain_file(&c, fd, 0, 1);
    ferry_chain_clear(&c);
    assert_false(is_open(fd));
}

static void room_that_was_reserved_and_not_used_is_no_obstacle(void **state)
{
    struct ferry_chain c;
    int fd = a_file("0123456789");

    (void)state;
    ferry_chain_init(&c, &blocks);
    assert_non_null(ferry_chain_reserve(&c, 100));
    ferry_chain_commit(&c, 0);
    ferry_chain_file(&c, fd, 0, 10);
    assert_int_equal(c.len, 10);
    assert_non_null(ferry_chain_file_first(&c));
    ferry_chain_clear(&c);
}

static void reserved_room_is_as_large_as_asked(void **state)
{
    static const size_t sizes[] = {1, 100, 4096, 4097, 65536, 200000};
    struct ferry_chain c;
    uint64_t len = 0;

    (void)state;
    ferry_chain_init(&c, &blocks);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *at = ferry_chain_reserve(&c, sizes[i]);

        assert_non_null(at);
        memset(at, 'x', sizes[i]);
        ferry_chain_commit(&c, sizes[i]);
        len += sizes[i];
        assert_int_equal(c.len, len);
    }
    ferry_chain_clear(&c);
}

static void a_long_copy_arrives_whole(void **state)
{
    static char in[300000];
    struct ferry_chain c;
    int vectors;

    (void)state;
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (char)(i * 31 >> 3);
    ferry_chain_init(&c, &blocks);
    ferry_chain_copy(&c, FERRY_SLICE("x"));
    ferry_chain_copy(&c, ferry_slice(in, sizeof in));
    assert_int_equal(c.len, sizeof in + 1);
    assert_memory_equal(text(&c, &vectors) + 1, in, sizeof in);
    ferry_chain_clear(&c);
}

static void moving_keeps_order_files_and_errors(void **state)
{
    struct ferry_chain to, from;
    int fd = a_file("file"), vectors;

    (void)state;
    ferry_chain_init(&to, &blocks);
    ferry_chain_init(&from, &blocks);
    ferry_chain_copy(&to, FERRY_SLICE("a"));
    for (int i = 0; i < 9; i++)
        ferry_chain_static(&from, FERRY_SLICE("b"));
    ferry_chain_file(&from, fd, 0, 4);
    ferry_chain_move(&to, &from);
    assert_int_equal(from.len, 0);
    assert_int_equal(from.n, 0);
    assert_int_equal(to.len, 14);
    assert_string_equal(text(&to, &vectors), "abbbbbbbbb");
    ferry_chain_consume(&to, 10);
    assert_int_equal(ferry_chain_file_first(&to)->fd, fd);
    assert_true(is_open(fd));
    from.err = -ENOMEM;
    ferry_chain_move(&to, &from);
    assert_int_equal(to.err, -ENOMEM);
    assert_int_equal(from.err, 0);
    ferry_chain_clear(&to);
    assert_false(is_open(fd));
    ferry_chain_clear(&from);
}

static void appends_of_every_kind(void *fd_out)
{
    struct ferry_chain c, other;
    struct ferry_blocks none_kept;
    struct ferry_block *b;
    int *fd = fd_out;

    ferry_blocks_init(&none_kept, 0, 0);
    ferry_chain_init(&c, &none_kept);
    ferry_chain_init(&other, &none_kept);
    b = ferry_block_get(&none_kept, 5);
    *fd = a_file("0123456789");
    for (int i = 0; i < 6; i++) {
        ferry_chain_copy(&c, FERRY_SLICE("copy"));
        ferry_chain_static(&c, FERRY_SLICE("static"));
        if (b)
            ferry_chain_ref(&other, b, ferry_slice(b->data, 5));
    }
    ferry_chain_file(&other, *fd, 0, 10);
    if (!other.err)
        assert_true(is_open(*fd));
    ferry_chain_move(&c, &other);
    if (!c.err && b)
        assert_int_equal(c.len, 6 * 10 + 6 * 5 + 10);
    if (c.err) {
        uint64_t len = c.len;

        assert_int_equal(c.err, -ENOMEM);
        ferry_chain_copy(&c, FERRY_SLICE("more"));
        assert_int_equal(c.len, len);
    }
    ferry_chain_clear(&c);
    ferry_chain_clear(&other);
    assert_false(is_open(*fd));
    if (b)
        assert_int_equal(b->refs, 1);
    ferry_block_unref(b);
    ferry_blocks_fini(&none_kept);
}

static void memory_may_run_out_anywhere(void **state)
{
    int fd;

    (void)state;
    each_alloc_fails(appends_of_every_kind, &fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Headers between large pieces: one block for all of them, one segment where they touch. */
static void copies_share_a_block_across_other_memory(void **state)
{
    struct ferry_chain c, other;
    struct ferry_block *b = ferry_block_get(&blocks, 10);
    unsigned long before;
    struct iovec iov[8];
    int vectors;

    (void)state;
    memcpy(b->data, "0123456789", 10);
    ferry_chain_init(&c, &blocks);
    ferry_chain_copy(&c, FERRY_SLICE("<"));
    before = alloc_count();
    ferry_chain_ref(&c, b, ferry_slice(b->data, 5));
    ferry_chain_copy(&c, FERRY_SLICE(">"));
    ferry_chain_copy(&c, FERRY_SLICE("<"));
    ferry_chain_ref(&c, b, ferry_slice(b->data + 5, 5));
    assert_int_equal(alloc_count(), before);
    assert_string_equal(text(&c, &vectors), "<01234><56789");
    assert_int_equal(vectors, 4);
    ferry_chain_iov(&c, iov, 8);
    assert_ptr_equal(iov[2].iov_base, (char *)iov[0].iov_base + 1);

    /* still so after what is in front was sent, and after a move */
    ferry_chain_consume(&c, 6);
    ferry_chain_init(&other, &blocks);
    ferry_chain_copy(&other, FERRY_SLICE("other "));
    ferry_chain_move(&other, &c);
    ferry_chain_copy(&other, FERRY_SLICE(">"));
    assert_string_equal(text(&other, &vectors), "other ><56789>");
    assert_int_equal(vectors, 4);
    ferry_chain_iov(&other, iov, 8);
    assert_ptr_equal(iov[3].iov_base, (char *)iov[1].iov_base + 2);
    ferry_chain_consume(&other, other.len);
    assert_int_equal(b->refs, 1);
    ferry_block_unref(b);
    ferry_chain_clear(&c);
    ferry_chain_clear(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_share_a_block_across_other_memory),
        TEST(copies_join_and_other_memory_does_not),
        TEST(empty_pieces_queue_nothing),
        TEST(consuming_at_every_byte_leaves_the_rest),
        TEST(looking_behind_the_front_finds_what_consuming_would),
        TEST(the_ring_keeps_its_order_when_it_turns),
        TEST(file_ranges_stand_between_memory),
        TEST(room_that_was_reserved_and_not_used_is_no_obstacle),
        TEST(reserved_room_is_as_large_as_asked),
        TEST(a_long_copy_arrives_whole),
        TEST(moving_keeps_order_files_and_errors),
        TEST(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
