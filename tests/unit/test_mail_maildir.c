/* SPDX-License-Identifier: MIT */
/* The rules of Maildir, with real files. */
#include "mailings.h"

#include <regex.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

static void expect_message(const char *folder, const char *before, size_t len, size_t skip,
                           size_t skip_len)
{
    char name[256], new[300], cur[300], tmp[300], size[40], *bytes;
    size_t n, at = strlen(before);

    snprintf(new, sizeof new, "%s%snew", folder, *folder ? "/" : "");
    snprintf(cur, sizeof cur, "%s%scur", folder, *folder ? "/" : "");
    snprintf(tmp, sizeof tmp, "%s%stmp", folder, *folder ? "/" : "");
    assert_int_equal(files_in(new, name), 1);
    assert_int_equal(files_in(tmp, NULL), 0);
    assert_int_equal(files_in(cur, NULL), 0);
    bytes = read_whole(new, name, &n);
    assert_int_equal(n, at + len - skip_len);
    assert_memory_equal(bytes, before, at);
    for (size_t i = 0; i < len; i++)
        if (i < skip || i >= skip + skip_len)
            assert_int_equal(bytes[at++], text_at(i));
    snprintf(size, sizeof size, ",S=%zu", n);
    assert_string_equal(strstr(name, ",S="), size);
}

static void a_message_becomes_a_file(void **state)
{
    static const struct {
        size_t len, mem_max, skip, skip_len;
    } cases[] = {
        {0, 100, 0, 0},
        {1, 100, 0, 0},
        {5000, 65536, 0, 0},
        {5000, 65536, 0, 5000},
        {5000, 65536, 10, 20},
        {5000, 65536, 4990, 10},
        {300000, 0, 0, 0},
        {300000, 65536, 0, 0},
        {300000, 65536, 65530, 20},
        {300000, 100, 50, 299900},
        {300000, 400000, 0, 1},
    };
    struct ferry_loop *loop = loop_for(state);
    struct ferry_maildir *d = start();

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[20];
        const char *path;
        struct mailing m;

        snprintf(folder, sizeof folder, "box%zu", i);
        path = in_top(folder);
        assert_int_equal(ferry_maildir_prepare(path), 0);
        mailing_init(&m, loop, path, false, to_bob);
        fill(&m, cases[i].len, cases[i].mem_max);
        trace_skip = cases[i].skip;
        trace_skip_len = cases[i].skip_len;
        assert_int_equal(store_and_wait(d, &m, NULL), 0);
        expect_message(folder, "Trace: yes\r\n", cases[i].len, cases[i].skip, cases[i].skip_len);
        assert_int_equal(m.message.spool.at, 0);
        ferry_spool_fini(&m.message.spool);
    }
    ferry_maildir_free(d);
    ferry_loop_free(loop);
}

static void names_and_modes(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct ferry_maildir *d = start();
    mode_t mask = umask(0);
    struct mailing m;
    char name[256];
    regex_t re;

    mailing_init(&m, loop, in_top("box"), false, to_bob);
    m.service.hostname = "a/b:c,d\\e \x01\xc3\xa4.x";
    fill(&m, 10, 100);
    assert_int_equal(store_and_wait(d, &m, NULL), 0); /* which makes the folders, too */
    umask(mask);
    assert_int_equal(mode_of("box"), 0700);
    assert_int_equal(mode_of("box/tmp"), 0700);
    assert_int_equal(mode_of("box/new"), 0700);
    assert_int_equal(mode_of("box/cur"), 0700);
    assert_int_equal(files_in("box/new", name), 1);
    assert_int_equal(regcomp(&re,
                             "^[0-9]{10,}\\.M[0-9]{6}P[0-9]+Q[0-9]+_[0-9a-f]{8}"
                             "\\.a\\\\057b\\\\072c\\\\054d\\\\134e\\.x,S=22$",
                             REG_EXTENDED),
                     0);
    if (regexec(&re, name, 0, NULL, 0))
        fail_msg("%s", name);
    regfree(&re);
    {
        char path[300];

        snprintf(path, sizeof path, "box/new/%s", name);
        assert_int_equal(mode_of(path), 0600);
    }
    /* a name that is too long for a file is cut */
    {
        static char host[1000];

        memset(host, 'h', sizeof host - 1);
        m.service.hostname = host;
        assert_int_equal(store_and_wait(d, &m, NULL), 0);
        m.service.hostname = NULL; /* the machine's */
        assert_int_equal(store_and_wait(d, &m, NULL), 0);
        assert_int_equal(files_in("box/new", NULL), 3);
    }
    ferry_spool_fini(&m.message.spool);
    ferry_maildir_free(d);
    ferry_loop_free(loop);
}

static void each_recipient_has_a_folder(void **state)
{
    static const char *const rcpts[] = {"<Bob@Example.COM>", "<\"al ice\"@example.com>",
                                        "<bob@example.com>", "<PostMaster>", NULL};
    struct ferry_loop *loop = loop_for(state);
    struct ferry_maildir *d = start();
    struct mailing m;

    mailing_init(&m, loop, in_top("mail"), true, rcpts);
    fill(&m, 5000, 1000);
    assert_int_equal(store_and_wait(d, &m, NULL), 0);
    expect_message("mail/example.com/bob", "Trace: yes\r\nTo: Bob@example.com\r\n", 5000, 0, 0);
    expect_message("mail/example.com/al ice", "Trace: yes\r\nTo: \"al ice\"@example.com\r\n", 5000,
                   0, 0);
    expect_message("mail/mx.example/postmaster", "Trace: yes\r\nTo: postmaster\r\n", 5000, 0, 0);
    assert_int_equal(files_in("mail", NULL), 2);
    assert_int_equal(mode_of("mail/example.com"), 0700);
    assert_int_equal(mode_of("mail/example.com/bob"), 0700);
    assert_int_equal(mode_of("mail/example.com/bob/new"), 0700);
    /* one of them alone */
    assert_int_equal(store_and_wait(d, &m, &m.rcpts[0]), 0);
    assert_int_equal(files_in("mail/example.com/bob/new", NULL), 2);
    assert_int_equal(files_in("mail/example.com/al ice/new", NULL), 1);
    ferry_spool_fini(&m.message.spool);
    ferry_maildir_free(d);
    ferry_loop_free(loop);
}

static void folders_of_recipients(void **state)
{
    static const struct {
        const char *path, *folder; /* NULL: refused */
    } cases[] = {
        {"<bob@example.com>", "example.com/bob"},
        {"<BOB+x@EXAMPLE.com>", "example.com/bob+x"},
        {"<a.b@x>", "x/a.b"},
        {"<a..b@x>", "x/a..b"},
        {"<\"a b\"@x>", "x/a b"},
        {"<\"a\\\"b\\\\\"@x>", "x/a\"b\\"},
        {"<a@[192.0.2.1]>", "[192.0.2.1]/a"},
        {"<a@[IPv6:::1]>", "[ipv6:::1]/a"},
        {"<\xc3\x84@b\xc3\xbc"
         "cher.x>",
         "b\xc3\xbc"
         "cher.x/\xc3\x84"},
        {"<postmaster>", "mx.example/postmaster"},
        {"<~root@x>", "x/~root"},
        {"<-rf@x>", "x/-rf"},
        {"<\"..\"@x>", NULL},
        {"<\".\"@x>", NULL},
        {"<.ssh@x>", NULL},
        {"<..@x>", NULL},
        {"<\"../y\"@x>", NULL},
        {"<a/b@x>", NULL},
        {"</etc@x>", NULL},
        {"<\"/\"@x>", NULL},
        {"<\"\\/\"@x>", NULL},
        {"<\"\\..\"@x>", NULL},
    };
    struct ferry_mail_service service = {.hostname = "mx.example"};
    char out[FERRY_MAILDIR_FOLDER_MAX], in[400];
    struct ferry_smtp_path p;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ssize_t n;

        assert_true(ferry_smtp_path_parse(ferry_slice_z(cases[i].path), FERRY_SMTP_PATH_POSTMASTER,
                                          &p) > 0);
        n = ferry_maildir_folder(&service, &p, out);
        if (cases[i].folder && n > 0 && (size_t)n == strlen(cases[i].folder))
            assert_memory_equal(out, cases[i].folder, (size_t)n);
        else if (cases[i].folder || n != FERRY_EUSAGE)
            fail_msg("%s: %zd", cases[i].path, n);
    }
    assert_true(ferry_smtp_path_parse(FERRY_SLICE("<postmaster>"), FERRY_SMTP_PATH_POSTMASTER, &p));
    service.hostname = "..";
    assert_int_equal(ferry_maildir_folder(&service, &p, out), FERRY_EUSAGE);
    service.hostname = NULL;
    assert_int_equal(ferry_maildir_folder(&service, &p, out), 20);
    assert_memory_equal(out, "localhost/postmaster", 20);
    /* the longest there is */
    in[0] = '<';
    memset(in + 1, 'a', 64);
    in[65] = '@';
    for (unsigned i = 66; i < 255; i++)
        in[i] = i % 50 ? 'b' : '.';
    in[255] = '>';
    assert_int_equal(ferry_smtp_path_parse(ferry_slice(in, 256), 0, &p), 256);
    assert_int_equal(ferry_maildir_folder(&service, &p, out), 254);
}

/* One of several recipients cannot be served: nobody is. */
static void all_or_nothing(void **state)
{
    static const char *const rcpts[] = {"<a@x>", "<b@x>", "<c@x>", NULL};
    static const char *const unsafe[] = {"<a@x>", "<a/b@x>", NULL};
    static const char *const broken[] = {"mail/x/b/new", "mail/x/b/tmp", "mail/x/b"};
    struct ferry_loop *loop = loop_for(state);
    struct ferry_maildir *d = start();
    struct mailing m;

    for (unsigned i = 0; i < 4; i++) {
        char folder[20];

        mailing_init(&m, loop, in_top("mail"), true, rcpts);
        fill(&m, 5000, 1000);
        assert_int_equal(store_and_wait(d, &m, &m.rcpts[1]), 0); /* there is a folder */
        if (i < 3) {
            char moved[100];
            FILE *f;

            snprintf(moved, sizeof moved, "%s/away%u", top, i);
            assert_int_equal(rename(in_top(broken[i]), moved), 0);
            f = fopen(in_top(broken[i]), "w");
            assert_non_null(f);
            fclose(f);
            assert_int_equal(store_and_wait(d, &m, NULL), -ENOTDIR);
            assert_int_equal(unlink(in_top(broken[i])), 0);
            assert_int_equal(rename(moved, in_top(broken[i])), 0);
        } else {
            set_rcpts(&m, unsafe);
            assert_int_equal(store_and_wait(d, &m, NULL), FERRY_EUSAGE);
        }
        for (char c = 'a'; c <= 'c'; c++) {
            snprintf(folder, sizeof folder, "mail/x/%c/new", c);
            assert_int_equal(files_in(folder, NULL) > 0 ? files_in(folder, NULL) : 0,
                             c == 'b' ? i + 1 : 0);
            snprintf(folder, sizeof folder, "mail/x/%c/tmp", c);
            assert_true(files_in(folder, NULL) <= 0);
        }
        ferry_spool_fini(&m.message.spool);
    }
    ferry_maildir_free(d);
    ferry_loop_free(loop);
}

static void what_cannot_be_written_is_told(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct ferry_maildir *d = start();
    struct rlimit before, small;
    struct mailing m;

    mailing_init(&m, loop, in_top("not/there/box"), false, to_bob);
    fill(&m, 300000, 1000);
    assert_int_equal(store_and_wait(d, &m, NULL), -ENOENT);
    assert_int_equal(files_in("", NULL), 0);
    /* a file may not grow so far: as a disk that is full, in the middle of it */
    snprintf(m.folder, sizeof m.folder, "%s", in_top("box"));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 200000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(store_and_wait(d, &m, NULL), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(files_in("box/new", NULL), 0);
    assert_int_equal(files_in("box/tmp", NULL), 0);
    assert_int_equal(store_and_wait(d, &m, NULL), 0);
    assert_int_equal(files_in("box/new", NULL), 1);
    if (geteuid() != 0) {
        assert_int_equal(chmod(in_top("box/new"), 0500), 0);
        assert_int_equal(store_and_wait(d, &m, NULL), -EACCES);
        assert_int_equal(chmod(in_top("box/new"), 0700), 0);
        assert_int_equal(chmod(in_top("box/tmp"), 0500), 0);
        assert_int_equal(store_and_wait(d, &m, NULL), -EACCES);
        assert_int_equal(chmod(in_top("box/tmp"), 0700), 0);
        assert_int_equal(files_in("box/new", NULL), 1);
        assert_int_equal(files_in("box/tmp", NULL), 0);
    }
    ferry_spool_fini(&m.message.spool);
    ferry_maildir_free(d);
    ferry_loop_free(loop);
}

/* In a process with a small file system of its own: 0 good, 2 the kernel does not let us. */
static int on_a_small_disk(enum ferry_io io)
{
    const char *disk = in_top("disk");
    struct ferry_loop *loop = NULL;
    struct ferry_maildir *d = NULL;
    struct mailing m;
    int first, second;

    if (mkdir(disk, 0700) < 0 ||
        (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0))
        return 2;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", disk, "tmpfs", 0, "size=256k") < 0)
        return 2;
    if (ferry_loop_new(io, &loop) < 0 || ferry_maildir_new(&d) < 0)
        return 3;
    mailing_init(&m, loop, in_top("disk/box"), false, to_bob);
    fill(&m, 150000, 200000);
    store(d, &m, NULL);
    if (!run_for(loop, 60000))
        return 4;
    first = m.err;
    store(d, &m, NULL);
    if (!run_for(loop, 60000))
        return 5;
    second = m.err;
    if (first != 0 || second != -ENOSPC)
        return 6;
    return files_in("disk/box/new", NULL) == 1 && files_in("disk/box/tmp", NULL) == 0 ? 0 : 7;
}

static void a_full_disk_is_told(void **state)
{
    enum ferry_io io = *(const enum ferry_io *)*state;
    int status;
    pid_t pid;

    ferry_loop_free(loop_for(state)); /* is there such a loop? */
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(on_a_small_disk(io));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

struct many {
    struct ferry_loop *loop;
    unsigned left;
};

struct many_job {
    struct ferry_maildir_job job;
    struct many *many;
    int err;
};

static void one_of_many(struct ferry_maildir_job *job, int err)
{
    struct many_job *j = ferry_container(job, struct many_job, job);

    j->err = err;
    if (--j->many->left == 0)
        ferry_loop_stop(j->many->loop);
}

/* At once, all of one message, while the loop's thread reads it too; and what is queued is stored
 * before the threads end. */
static void many_at_once(void **state)
{
    enum { N = 100 };
    struct ferry_loop *loop = loop_for(state);
    struct ferry_maildir *d = start();
    struct many many = {loop, N};
    struct many_job jobs[N];
    struct mailing m;
    struct ferry_slice out;
    struct ferry_block *b;
    ssize_t n;

    mailing_init(&m, loop, in_top("box"), false, to_bob);
    fill(&m, 100000, 50000);
    for (unsigned i = 0; i < N; i++) {
        jobs[i] = (struct many_job){.job.done = one_of_many, .many = &many, .err = 1};
        ferry_maildir_store(d, &jobs[i].job, loop, &m.facts, &m.message, NULL);
        if (i % 10 == 0)
            ferry_spool_rewind(&m.message.spool);
        n = ferry_spool_read(&m.message.spool, SIZE_MAX, &b, &out);
        assert_true(n >= 0);
        if (n > 0)
            ferry_block_unref(b);
    }
    ferry_maildir_free(d);
    assert_int_equal(many.left, N); /* they are told on the loop alone */
    run(loop);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(jobs[i].err, 0);
    assert_int_equal(files_in("box/new", NULL), N);
    assert_int_equal(files_in("box/tmp", NULL), 0);
    ferry_spool_fini(&m.message.spool);
    ferry_loop_free(loop);
}

static void preparing(void **state)
{
    (void)state;
    assert_int_equal(ferry_maildir_prepare(in_top("box")), 0);
    assert_int_equal(ferry_maildir_prepare(in_top("box")), 0);
    assert_int_equal(files_in("box", NULL), 3);
    assert_int_equal(mode_of("box/new"), 0700);
    assert_int_equal(rmdir(in_top("box/cur")), 0);
    assert_int_equal(ferry_maildir_prepare(in_top("box")), 0);
    assert_int_equal(files_in("box/cur", NULL), 0);
    assert_int_equal(ferry_maildir_prepare(in_top("a/b")), -ENOENT);
    assert_int_equal(files_in("a", NULL), -1);
    fclose(fopen(in_top("file"), "w"));
    assert_int_equal(ferry_maildir_prepare(in_top("file")), -ENOTDIR);
}

struct scene {
    struct ferry_maildir *d;
    struct mailing *m;
    unsigned stored;
};

static void scenario(void *arg)
{
    struct scene *s = arg;
    int err = store_and_wait(s->d, s->m, NULL);

    assert_true(err == 0 || err == -ENOMEM);
    s->stored += 2 * (err == 0);
    assert_int_equal(alloc_failed(), err != 0);
}

static void without_memory_nothing_is_stored(void **state)
{
    static const char *const rcpts[] = {"<a@x>", "<b@x>", NULL};
    struct ferry_loop *loop = loop_for(state);
    struct mailing m;
    struct scene s = {start(), &m, 0};

    mailing_init(&m, loop, in_top("mail"), true, rcpts);
    fill(&m, 100, 1000);
    each_alloc_fails(scenario, &s);
    assert_true(s.stored > 0);
    assert_int_equal(files_in("mail/x/a/new", NULL) + files_in("mail/x/b/new", NULL), s.stored);
    ferry_spool_fini(&m.message.spool);
    ferry_maildir_free(s.d);
    ferry_loop_free(loop);
}

static void new_scenario(void *arg)
{
    struct ferry_maildir *d = NULL;

    (void)arg;
    if (ferry_maildir_new(&d) == 0)
        ferry_maildir_free(d);
    ferry_maildir_free(NULL);
}

static void threads_begin_and_end(void **state)
{
    (void)state;
    each_alloc_fails(new_scenario, NULL);
}

#define with_top(f)                                                                                \
    {#f " (epoll)", f, make_top, remove_top, (void *)&on_epoll},                                   \
    {                                                                                              \
#f " (io_uring)", f, make_top, remove_top, (void *)&on_uring                               \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_top(a_message_becomes_a_file),
        with_top(names_and_modes),
        with_top(each_recipient_has_a_folder),
        cmocka_unit_test(folders_of_recipients),
        with_top(all_or_nothing),
        with_top(what_cannot_be_written_is_told),
        with_top(a_full_disk_is_told),
        with_top(many_at_once),
        cmocka_unit_test_setup_teardown(preparing, make_top, remove_top),
        with_top(without_memory_nothing_is_stored),
        cmocka_unit_test(threads_begin_and_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
