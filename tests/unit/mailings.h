/* SPDX-License-Identifier: MIT */
#ifndef FERRY_TESTS_MAILINGS_H
#define FERRY_TESTS_MAILINGS_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "loops.h"
#include "mail/maildir.h"

/* A folder of a test's own, and messages to be stored in it. */

/* The trace fields are another module's: here a text that is known, and one range left out. */
static const char *trace_text = "Trace: yes\r\n";
static uint64_t trace_skip, trace_skip_len;

int ferry_mail_trace_make(const struct ferry_mail_facts *facts,
                          const struct ferry_mail_message *message,
                          const struct ferry_smtp_rcpt *one, struct ferry_mail_trace *out)
{
    char text[500];
    int n = snprintf(text, sizeof text, "%s%s%s%s", trace_text, one ? "To: " : "",
                     one ? one->path->text : "", one ? "\r\n" : "");

    assert_non_null(facts);
    assert_non_null(message);
    out->text = malloc((size_t)n + 1);
    if (!out->text)
        return -ENOMEM;
    memcpy(out->text, text, (size_t)n + 1);
    out->len = (size_t)n;
    out->skip = trace_skip;
    out->skip_len = trace_skip_len;
    return 0;
}

/* -- a folder, and what is in it --------------------------------------------------------------- */

static char top[64];

static inline int make_top(void **state)
{
    (void)state;
    trace_skip = trace_skip_len = 0;
    snprintf(top, sizeof top, "/tmp/ferry-maildir-XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state)
{
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        execlp("rm", "rm", "-rf", top, (char *)NULL);
        _exit(1);
    }
    return pid > 0 && waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static const char *in_top(const char *name)
{
    static char path[4][512];
    static unsigned at;

    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%s%s%s", top, *name ? "/" : "", name);
    return path[at];
}

/* How many files are in it, and the name of the last of them; -1: there is no such folder. */
static int files_in(const char *folder, char name[256])
{
    DIR *dir = opendir(in_top(folder));
    struct dirent *e;
    int n = 0;

    if (!dir)
        return -1;
    while ((e = readdir(dir)))
        if (e->d_name[0] != '.') {
            n++;
            if (name)
                snprintf(name, 256, "%s", e->d_name);
        }
    closedir(dir);
    return n;
}

static mode_t mode_of(const char *name)
{
    struct stat st;

    assert_int_equal(stat(in_top(name), &st), 0);
    return st.st_mode & 07777;
}

static char *read_whole(const char *folder, const char *name, size_t *len)
{
    static char bytes[1 << 20];
    char path[800];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", in_top(folder), name);
    f = fopen(path, "r");
    assert_non_null(f);
    *len = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    return bytes;
}

/* -- a message for somebody -------------------------------------------------------------------- */

#define RCPTS_MAX 4

struct mailing {
    struct ferry_loop *loop;
    struct ferry_blocks *blocks;
    struct ferry_mail_service service;
    struct ferry_smtp_path paths[RCPTS_MAX];
    struct ferry_smtp_rcpt rcpts[RCPTS_MAX];
    struct ferry_smtp_envelope envelope;
    struct ferry_mail_facts facts;
    struct ferry_mail_message message;
    struct ferry_maildir_job job;
    unsigned calls;
    int err;
    bool within; /* a call of store */
    char folder[600];
};

static void done(struct ferry_maildir_job *job, int err)
{
    struct mailing *m = ferry_container(job, struct mailing, job);

    assert_false(m->within);
    m->calls++;
    m->err = err;
    ferry_loop_stop(m->loop);
}

static void set_rcpts(struct mailing *m, const char *const *rcpts)
{
    m->envelope = (struct ferry_smtp_envelope){.begun = true};
    for (unsigned i = 0; rcpts[i]; i++) {
        assert_true(i < RCPTS_MAX);
        assert_true(ferry_smtp_path_parse(ferry_slice_z(rcpts[i]), FERRY_SMTP_PATH_POSTMASTER,
                                          &m->paths[i]) > 0);
        m->rcpts[i] = (struct ferry_smtp_rcpt){.path = &m->paths[i]};
        if (i)
            m->rcpts[i - 1].next = &m->rcpts[i];
        m->envelope.rcpts = m->rcpts;
        m->envelope.nrcpts++;
    }
}

static char text_at(size_t i)
{
    return (char)('a' + i * 7 % 26);
}

static void mailing_init(struct mailing *m, struct ferry_loop *loop, const char *maildir,
                         bool per_user, const char *const *rcpts)
{
    *m = (struct mailing){.loop = loop, .job.done = done};
    snprintf(m->folder, sizeof m->folder, "%s", maildir);
    m->service.maildir = m->folder;
    m->service.maildir_per_user = per_user;
    m->service.hostname = "mx.example";
    m->facts.service = &m->service;
    m->facts.envelope = &m->envelope;
    set_rcpts(m, rcpts);
}

static void fill(struct mailing *m, size_t len, size_t mem_max)
{
    char *bytes = test_malloc(len + 1);

    for (size_t i = 0; i < len; i++)
        bytes[i] = text_at(i);
    ferry_spool_init(&m->message.spool, ferry_loop_blocks(m->loop), mem_max, UINT64_MAX);
    assert_int_equal(ferry_spool_append(&m->message.spool, ferry_slice(bytes, len)), 0);
    m->message.size = len;
    test_free(bytes);
}

static void store(struct ferry_maildir *d, struct mailing *m, const struct ferry_smtp_rcpt *one)
{
    m->within = true;
    ferry_maildir_store(d, &m->job, m->loop, &m->facts, &m->message, one);
    m->within = false;
}

static int store_and_wait(struct ferry_maildir *d, struct mailing *m,
                          const struct ferry_smtp_rcpt *one)
{
    m->calls = 0;
    store(d, m, one);
    run(m->loop);
    assert_int_equal(m->calls, 1);
    return m->err;
}

static struct ferry_maildir *start(void)
{
    struct ferry_maildir *d = NULL;

    assert_int_equal(ferry_maildir_new(&d), 0);
    return d;
}

static const char *const to_bob[] = {"<bob@example.com>", NULL};

#endif
