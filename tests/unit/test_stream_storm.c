/* SPDX-License-Identifier: MIT */
/* Many streams at once, doing at random what streams do. */
#include <sys/resource.h>

#include "ends.h"

#define CROWD 1400 /* more than one submission queue holds */

/* Room for so many descriptors; skips the test where that is not to be had. */
static void want_descriptors(rlim_t n)
{
    struct rlimit r;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    if (r.rlim_max < n)
        skip();
    if (r.rlim_cur < n) {
        r.rlim_cur = n;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
    }
}

static void a_crowd_is_served_that_came_before_the_loop_ran(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct end *e;
    int(*fd)[2];

    want_descriptors(2 * CROWD + 100);
    e = calloc(CROWD, sizeof *e);
    fd = calloc(CROWD, sizeof *fd);
    for (int i = 0; i < CROWD; i++) {
        unix_pair(fd[i]);
        end_open(loop, &e[i], fd[i][0]);
        fill(fd[i][1], 0, 100);
        ferry_chain_copy(&e[i].out, FERRY_SLICE("in two "));
        ferry_chain_static(&e[i].out, FERRY_SLICE("pieces"));
        ferry_stream_send(&e[i].s, &e[i].out);
    }
    assert_false(run_for(loop, 100));
    for (int i = 0; i < CROWD; i++) {
        char c[20];

        assert_int_equal(e[i].got, 100);
        assert_int_equal(read(fd[i][1], c, sizeof c), 13);
        assert_memory_equal(c, "in two pieces", 13);
    }
    for (int i = 0; i < CROWD; i++)
        ferry_stream_close(&e[i].s);
    for (int i = 0; i < CROWD; i++) {
        while (!e[i].closed)
            run(loop);
        close(fd[i][1]);
    }
    free(e);
    free(fd);
    ferry_loop_free(loop);
}

/* -- blocks of the size that is wanted -- */

struct sizes {
    struct ferry_stream s;
    ssize_t largest;
    uint64_t got, until;
    bool closed;
};

static void sizes_read(struct ferry_stream *s, struct ferry_block *b, const char *data, ssize_t n)
{
    struct sizes *z = ferry_container(s, struct sizes, s);

    assert_true(n > 0);
    assert_true(data >= b->data && data + n <= b->data + b->cap);
    if (n > z->largest)
        z->largest = n;
    z->got += (uint64_t)n;
    if (z->got >= z->until)
        ferry_loop_stop(s->loop);
}

static void sizes_closed(struct ferry_stream *s)
{
    ferry_container(s, struct sizes, s)->closed = true;
    ferry_loop_stop(s->loop);
}

static void large_blocks_come_when_they_are_wanted(void **state)
{
    static const struct ferry_stream_fns sizes_fns = {.read = sizes_read, .closed = sizes_closed};
    struct ferry_loop *loop = loop_for(state);
    struct sizes z = {0};
    int fd[2];

    unix_pair(fd);
    assert_int_equal(ferry_stream_open(loop, &z.s, &sizes_fns, fd[0]), 0);
    ferry_stream_read(&z.s, true);
    for (int i = 0; i < 4; i++) {
        /* Small, large but not known yet, large, small again. */
        ferry_stream_read_large(&z.s, i == 1 || i == 2);
        z.largest = 0;
        z.until += 60000;
        fill(fd[1], 0, 60000);
        run(loop);
        if (i == 0)
            assert_true(z.largest <= 4096);
        if (i == 2)
            assert_true(z.largest > 4096);
    }
    ferry_stream_close(&z.s);
    while (!z.closed)
        run(loop);
    close(fd[1]);
    ferry_loop_free(loop);
}

/* -- the storm -- */

#define PAIRS 24

struct storm {
    struct ferry_loop *loop;
    struct ferry_timer timer;
    struct end ends[PAIRS][2];
    bool cut[PAIRS];
    uint32_t seed;
};

static uint32_t any(struct storm *w, uint32_t below)
{
    w->seed = w->seed * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)(w->seed >> 4) * below) >> 28);
}

static bool is_done(struct storm *w)
{
    for (int i = 0; i < PAIRS; i++) {
        struct end *a = &w->ends[i][0], *b = &w->ends[i][1];

        if (!w->cut[i] && (a->got < b->to_send || b->got < a->to_send))
            return false;
    }
    return true;
}

static void blow(struct ferry_timer *t)
{
    struct storm *w = ferry_container(t, struct storm, timer);

    for (int n = 0; n < 20; n++) {
        unsigned i = any(w, PAIRS);
        struct end *e = &w->ends[i][any(w, 2)];

        if (e->closed || e->eof || e->err)
            continue;
        switch (any(w, i < PAIRS / 4 ? 8 : 7)) {
        case 0:
        case 1:
            ferry_stream_read(&e->s, false);
            break;
        case 2:
        case 3:
        case 4:
            ferry_stream_read(&e->s, true);
            break;
        case 5:
        case 6:
            ferry_stream_read_large(&e->s, any(w, 2));
            break;
        default:
            w->cut[i] = true;
            if (any(w, 2))
                ferry_stream_close(&e->s);
            else
                ferry_stream_reset(&e->s);
        }
    }
    if (is_done(w)) {
        ferry_loop_stop(w->loop);
        return;
    }
    ferry_timer_set(w->loop, t, 0);
}

/* What stays paused at the end would never be done. */
static void resume_all(struct ferry_timer *t)
{
    struct storm *w = ferry_container(t, struct storm, timer);

    for (int i = 0; i < PAIRS; i++)
        for (int j = 0; j < 2; j++)
            if (!w->ends[i][j].closed)
                ferry_stream_read(&w->ends[i][j].s, true);
    blow(t);
}

static void streams_pause_resume_and_close_at_random(void **state)
{
    struct ferry_loop *loop = loop_for(state);
    struct storm *w = calloc(1, sizeof *w);

    for (uint32_t seed = 1; seed <= 12; seed++) {
        *w = (struct storm){.loop = loop, .seed = seed * 7919};
        for (int i = 0; i < PAIRS; i++) {
            int fd[2];

            pairs[i % 2](fd);
            for (int j = 0; j < 2; j++) {
                end_open(loop, &w->ends[i][j], fd[j]);
                w->ends[i][j].to_send = 1 + any(w, 1u << any(w, 20));
                send_more(&w->ends[i][j]);
            }
        }
        ferry_timer_init(&w->timer, seed % 2 ? blow : resume_all);
        ferry_timer_set(loop, &w->timer, 0);
        while (!is_done(w))
            run(loop);
        ferry_timer_stop(&w->timer);
        for (int i = 0; i < PAIRS; i++)
            for (int j = 0; j < 2; j++)
                if (!w->ends[i][j].closed)
                    end_close(&w->ends[i][j]);
    }
    free(w);
    ferry_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(a_crowd_is_served_that_came_before_the_loop_ran),
        on_both(large_blocks_come_when_they_are_wanted),
        on_both(streams_pause_resume_and_close_at_random),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
