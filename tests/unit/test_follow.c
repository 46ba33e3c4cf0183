/* SPDX-License-Identifier: MIT */
#include "trace/follow.h"

#include <stdio.h>

#include "support.h"

#define S FERRY_SLICE_INIT

/* A header of a record with `len` bytes of content and `pad` of padding. */
#define R(type, id, len, pad) "\1" type "\0" id "\0" len pad "\0"
#define BEGIN(id, role, keep) R("\1", id, "\10", "\0") "\0" role keep "\0\0\0\0\0"
#define END(id, app, proto) R("\3", id, "\10", "\0") "\0\0\0" app proto "\0\0\0"

/* One direction's bytes; NULL: that direction ends. */
struct step {
    enum ferry_follow_side side;
    struct ferry_slice bytes;
};

struct scene {
    const char *name;
    struct ferry_follow_opts opts;
    struct step steps[8];
    const char *events;
};

#define W(bytes)                                                                                   \
    {                                                                                              \
        FERRY_FOLLOW_SERVER, S(bytes)                                                              \
    }
#define A(bytes)                                                                                   \
    {                                                                                              \
        FERRY_FOLLOW_APP, S(bytes)                                                                 \
    }
#define W_ENDS                                                                                     \
    {                                                                                              \
        FERRY_FOLLOW_SERVER,                                                                       \
        {                                                                                          \
            "", 0                                                                                  \
        }                                                                                          \
    }
#define A_ENDS                                                                                     \
    {                                                                                              \
        FERRY_FOLLOW_APP,                                                                          \
        {                                                                                          \
            "", 0                                                                                  \
        }                                                                                          \
    }

static const struct scene scenes[] = {
    {"a request",
     {0},
     {W(BEGIN("\1", "\1", "\1") R("\4", "\1", "\25", "\3") "\16\5REQUEST_METHODPOST!---" R(
          "\4", "\1", "\0", "\0") R("\5", "\1", "\3", "\0") "abc" R("\5", "\1", "\0", "\0")),
      A(R("\6", "\1", "\32", "\0") "Status: 201\r\nA: b\r\n\r\nbody!" R(
          "\7", "\1", "\2", "\1") "hm-" R("\6", "\1", "\0", "\0") END("\1", "\7", "\0"))},
     "1 role 1 keep method POST! status 201 in 3 data 0 out 26 err 2 hm app 7 proto 0 ended\n"},
    {"params in pieces, an interim answer, the filter's data",
     {0},
     {W(BEGIN("\2", "\3", "\0")
            R("\4", "\2", "\5", "\0") "\16\3REQ" R("\4", "\2", "\11", "\0") "UEST_METH" R(
                "\4", "\2", "\5", "\0") "ODGET" R("\4", "\2", "\0", "\0")
                R("\10", "\2", "\4", "\0") "data" R("\10", "\2", "\0", "\0")),
      A(R("\6", "\2", "\27", "\0") "Status: 103\r\nB: c\r\n\r\nX:" R(
          "\6", "\2", "\5", "\0") " y\n\nz" END("\2", "\0", "\0"))},
     "2 role 3 method GET status 200 in 0 data 4 out 28 err 0 app 0 proto 0 ended\n"},
    {"two at a time; one is refused",
     {0},
     {W(BEGIN("\1", "\1", "\1") BEGIN("\101", "\1", "\1") R("\4", "\101", "\0", "\0")
            R("\4", "\1", "\0", "\0")),
      A(END("\101", "\0", "\2") R("\6", "\1", "\6", "\0") "A: b\n\n" END("\1", "\0", "\0"))},
     "65 role 1 keep status 0 in 0 data 0 out 0 err 0 app 0 proto 2 ended\n"
     "1 role 1 keep status 200 in 0 data 0 out 6 err 0 app 0 proto 0 ended\n"},
    {"aborted; what comes late for it is no fault",
     {0},
     {W(BEGIN("\1", "\1", "\1") R("\2", "\1", "\0", "\0")), A(END("\1", "\1", "\0")),
      W(R("\5", "\1", "\2", "\0") "xy" R("\2", "\1", "\0", "\0"))},
     "1 role 1 keep status 0 in 0 data 0 out 0 err 0 app 1 proto 0 aborted ended\n"},
    {"cut",
     {0},
     {W(BEGIN("\1", "\1", "\1")), A(R("\6", "\1", "\5", "\0") "A: b\n"), W_ENDS, A_ENDS},
     "1 role 1 keep status 0 in 0 data 0 out 5 err 0: the header block of the answer is not "
     "whole\n"},
    {"cut in a record",
     {0},
     {W(BEGIN("\1", "\1", "\1") "\1\5\0"), A(R("\6", "\1", "\11", "\0") "A: b\n\n"), W_ENDS,
      A_ENDS},
     "fault 0 0 the connection ended in the middle of a record\n"
     "fault 1 1 the connection ended in the middle of a record\n"
     "1 role 1 keep status 200 in 0 data 0 out 6 err 0\n"},
    {"management is nobody's",
     {0},
     {W(R("\11", "\0", "\4", "\0") "\2\0AB"), A(R("\12", "\0", "\4", "\4") "\2\0AB----")},
     ""},
    {"faults that belong to no request",
     {0},
     {W(R("\52", "\0", "\1", "\0") "?" R("\6", "\1", "\1", "\0") "x" R("\1", "\1", "\1", "\0") "x"),
      A(R("\6", "\11", "\1", "\0") "x" R("\3", "\11", "\0", "\0") "junk" R("\6", "\1", "\1",
                                                                           "\0"))},
     "fault 0 0 a record of a type that the specification does not name\n"
     "fault 0 1 a record of a type that only the other side sends\n"
     "fault 0 1 a BEGIN_REQUEST record that is not 8 bytes long\n"
     "fault 1 9 a record for a request that is not open\n"
     "fault 1 9 a record for a request that is not open\n"
     "fault 1 0 bytes that are no FastCGI; what follows is passed on and not followed\n"},
    {"faults of requests: the first counts",
     {0},
     {W(BEGIN("\1", "\1", "\0") R("\4", "\1", "\2", "\0") "\1\5" R("\4", "\1", "\0", "\0")
            R("\4", "\1", "\0", "\0") BEGIN("\1", "\1", "\0") BEGIN("\2", "\1", "\0")),
      A(R("\6", "\1", "\3", "\0") "x\n\n" R("\6", "\1", "\0", "\0") R("\6", "\1", "\1", "\0") "y" R(
          "\3", "\1", "\1", "\0") "z" R("\3", "\2", "\11", "\0") "\0\0\0\1\0\0\0\0\0")},
     "1 role 1 status 0 in 0 data 0 out 0 err 0: the last pair of its params is cut\n"
     "1 role 1 status 0 in 0 data 0 out 4 err 0 app 0 proto 0 ended: a header line without a "
     "colon\n"
     "2 role 1 status 0 in 0 data 0 out 0 err 0 app 1 proto 0 ended: an END_REQUEST record that "
     "is not 8 bytes long\n"},
    {"more requests than are followed",
     {.requests_max = 1},
     {W(BEGIN("\1", "\1", "\1") BEGIN("\2", "\1", "\1")),
      A(R("\6", "\2", "\1", "\0") "x" END("\2", "\0", "\0") END("\1", "\0", "\0"))},
     "1 role 1 keep status 0 in 0 data 0 out 0 err 0 app 0 proto 0 ended\n"},
    {"limits: what is past them is counted",
     {.params_max = 26, .head_max = 8},
     {W(BEGIN("\1", "\1", "\1")
            R("\4", "\1", "\40", "\0") "\16\3REQUEST_METHODGET\1\1AB\1\2cde\1\1Z"
                                       "q" R("\4", "\1", "\0", "\0")),
      A(R("\6", "\1", "\22", "\0") "A: bcdefghijklmnop" END("\1", "\0", "\0"))},
     "1 role 1 keep method GET status 0 in 0 data 0 out 18 err 0 app 0 proto 0 ended: the header "
     "block is too long\n"},
};

static void show(const struct ferry_follow_event *ev, FILE *out)
{
    const struct ferry_follow_request *r = ev->request;
    struct ferry_slice method;

    if (ev->type == FERRY_FOLLOW_EV_FAULT) {
        fprintf(out, "fault %d %u %s\n", ev->side, ev->id, ev->fault);
        return;
    }
    method = ferry_follow_param(r, "REQUEST_METHOD");
    fprintf(out, "%u role %u%s", r->id, r->role, r->flags & FERRY_KEEP_CONN ? " keep" : "");
    if (method.len)
        fprintf(out, " method %.*s", (int)method.len, method.p);
    fprintf(out, " status %u in %d data %d out %d err %d", r->status, (int)r->in.len,
            (int)r->data.len, (int)r->out.len, (int)r->err.len);
    if (r->err.kept)
        fprintf(out, " %.*s", (int)r->err.kept, r->err.p);
    if (r->ended)
        fprintf(out, " app %u proto %u", (unsigned)r->app_status, r->protocol_status);
    fprintf(out, "%s%s%s%s\n", r->aborted ? " aborted" : "", r->ended ? " ended" : "",
            r->fault ? ": " : "", r->fault ? r->fault : "");
    assert_true(r->began_us && r->ended_us >= r->began_us);
    assert_true(r->out.len == 0 || (r->first_us >= r->began_us && r->first_us <= r->ended_us));
}

static void give(struct ferry_follow *f, const struct step *s, size_t from, size_t to, uint64_t now,
                 FILE *out)
{
    const char *p = guard_copy(0, s->bytes.p + from, to - from);
    struct ferry_follow_event ev;

    for (size_t n = to - from; n;) {
        size_t took = ferry_follow_recv(f, s->side, p, n, now);

        p += took;
        n -= took;
        if (took == 0)
            assert_int_equal(ferry_follow_recv(f, s->side, p, n, now), 0); /* an event waits */
        while (ferry_follow_event(f, &ev))
            show(&ev, out);
    }
}

/* What is told when each step is cut at `cut`, or (cut 0) given byte by byte. */
static char *events_of(const struct scene *scene, size_t cut)
{
    struct ferry_follow_budget budget = {.max = 1 << 20};
    struct ferry_follow_opts opts = scene->opts;
    struct ferry_follow_event ev;
    struct ferry_follow *f;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    uint64_t now = 1000;

    opts.budget = &budget;
    f = ferry_follow_new(&opts);
    assert_non_null(f);
    for (const struct step *s = scene->steps; s->bytes.p; s++, now += 10) {
        size_t n = s->bytes.len;

        if (n == 0)
            ferry_follow_end(f, s->side, now);
        for (size_t at = 0, step; at < n; at += step) {
            step = cut == 0 ? 1 : at == 0 && cut < n ? cut : n - at;
            give(f, s, at, at + step, now, out);
        }
        while (ferry_follow_event(f, &ev))
            show(&ev, out);
    }
    ferry_follow_free(f);
    assert_int_equal(budget.used, 0);
    fclose(out);
    return text;
}

static void requests_are_followed_however_bytes_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
        for (size_t cut = 0; cut < 200; cut++) {
            char *text = events_of(&scenes[i], cut);

            if (strcmp(text, scenes[i].events) != 0)
                print_message("%s, cut at %zu\n", scenes[i].name, cut);
            assert_string_equal(text, scenes[i].events);
            free(text);
        }
}

/* With no more memory than so much, less is known; the ends of requests still are. */
static void the_budget_holds(void **state)
{
    static const char begin[] = BEGIN("\1", "\1", "\1") R("\5", "\1", "\144", "\0");
    struct ferry_follow_budget budget = {.max = sizeof(struct ferry_follow_request) + 600};
    struct ferry_follow_opts opts = {.budget = &budget, .whole = true};
    struct ferry_follow *f = ferry_follow_new(&opts);
    struct ferry_follow_event ev;
    char body[100];

    (void)state;
    memset(body, 'x', sizeof body);
    assert_int_equal(ferry_follow_recv(f, FERRY_FOLLOW_SERVER, begin, sizeof begin - 1, 1),
                     sizeof begin - 1);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ferry_follow_recv(f, FERRY_FOLLOW_SERVER, body, sizeof body, 1), 100);
        assert_int_equal(
            ferry_follow_recv(f, FERRY_FOLLOW_SERVER, R("\5", "\1", "\144", "\0"), 8, 1), 8);
        assert_true(budget.used <= budget.max);
    }
    assert_int_equal(ferry_follow_recv(f, FERRY_FOLLOW_SERVER, body, sizeof body, 1), 100);
    /* no room for another request */
    assert_int_equal(ferry_follow_recv(f, FERRY_FOLLOW_SERVER, BEGIN("\2", "\1", "\1"), 16, 1), 16);
    assert_int_equal(ferry_follow_missed(f), 1);
    assert_int_equal(ferry_follow_open(f), 1);
    assert_int_equal(ferry_follow_recv(f, FERRY_FOLLOW_APP, END("\1", "\0", "\0"), 16, 1), 16);
    assert_true(ferry_follow_event(f, &ev));
    assert_int_equal(ev.request->in.len, 1100);
    assert_int_equal(ev.request->in.kept, 500);
    assert_int_equal(ferry_follow_open(f), 0);
    ferry_follow_free(f);
    assert_int_equal(budget.used, 0);
}

static void faults_are_told_sixteen_times(void **state)
{
    struct ferry_follow_budget budget = {.max = 1 << 20};
    struct ferry_follow_opts opts = {.budget = &budget};
    struct ferry_follow *f = ferry_follow_new(&opts);
    struct ferry_follow_event ev;
    int told = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(ferry_follow_recv(f, FERRY_FOLLOW_APP, R("\6", "\1", "\0", "\0"), 8, 1),
                         8);
        while (ferry_follow_event(f, &ev))
            told++;
    }
    assert_int_equal(told, 16);
    ferry_follow_free(f);
}

static void follow_a_request(void *arg)
{
    static const char bytes[] = BEGIN("\1", "\1", "\1") R("\4", "\1", "\4", "\0") "\1\1AB";
    static const char answer[] =
        R("\6", "\1", "\6", "\0") "A: b\n\n" R("\7", "\1", "\1", "\0") "e" END("\1", "\0", "\0");
    struct ferry_follow_budget budget = {.max = 1 << 20};
    struct ferry_follow_opts opts = {.budget = &budget};
    struct ferry_follow *f = ferry_follow_new(&opts);
    struct ferry_follow_event ev;

    (void)arg;
    if (!f)
        return;
    assert_int_equal(ferry_follow_recv(f, FERRY_FOLLOW_SERVER, bytes, sizeof bytes - 1, 1),
                     sizeof bytes - 1);
    for (size_t at = 0; at < sizeof answer - 1;) {
        at += ferry_follow_recv(f, FERRY_FOLLOW_APP, answer + at, sizeof answer - 1 - at, 1);
        while (ferry_follow_event(f, &ev))
            if (ev.type == FERRY_FOLLOW_EV_REQUEST)
                assert_int_equal(ev.request->out.len, 6);
    }
    ferry_follow_free(f);
    assert_int_equal(budget.used, 0);
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    each_alloc_fails(follow_a_request, NULL);
    ferry_follow_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_followed_however_bytes_are_cut),
        cmocka_unit_test(the_budget_holds),
        cmocka_unit_test(faults_are_told_sixteen_times),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
