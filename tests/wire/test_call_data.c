/* SPDX-License-Identifier: MIT */
/* A filter's DATA stream: behind STDIN, whole, and again after a retry. */
#include "callers.h"

/* Of the last request that each connection has read. */
struct filtered {
    uint64_t in, data, data_sum;
    bool in_ended, data_ended, misplaced;
    uint16_t id, role;
};

static void take_filter_record(struct fake_record_in *in, struct filtered *f)
{
    struct ferry_begin_body begin;

    switch (in->r.type) {
    case FERRY_BEGIN_REQUEST:
        ferry_begin_body_decode(in->content, &begin);
        *f = (struct filtered){.id = in->r.id, .role = begin.role};
        break;
    case FERRY_STDIN:
        f->misplaced = f->misplaced || f->in_ended;
        f->in += in->r.content_len;
        f->in_ended = in->r.content_len == 0;
        break;
    case FERRY_DATA:
        f->misplaced = f->misplaced || !f->in_ended || f->data_ended;
        for (unsigned i = 0; i < in->r.content_len; i++)
            f->data_sum = f->data_sum * 31 + (unsigned char)in->content[i];
        f->data += in->r.content_len;
        f->data_ended = in->r.content_len == 0;
        break;
    default:
        break;
    }
}

static bool take_filter(struct fake_app *app, int fd, struct filtered *f, bool whole)
{
    struct fake_record_in *in = malloc(sizeof *in);
    bool open = true;

    must(in);
    *f = (struct filtered){0};
    while (!(whole ? f->data_ended : f->in_ended) && (open = fake_take_record(app, fd, in)))
        take_filter_record(in, f);
    free(in);
    if (open)
        atomic_fetch_add(&app->requests, 1);
    return open;
}

static bool tell(struct fake_app *app, int fd, const struct filtered *f)
{
    char text[128];

    snprintf(text, sizeof text, "role %u in %llu data %llu %llx%s", f->role,
             (unsigned long long)f->in, (unsigned long long)f->data,
             (unsigned long long)f->data_sum, f->misplaced ? " misplaced" : "");
    return fake_answer(app, fd, f->id, text);
}

static void filters(struct fake_app *app, int fd, unsigned nth)
{
    struct filtered f;

    (void)nth;
    while (take_filter(app, fd, &f, true) && tell(app, fd, &f))
        ;
}

/* -- the call -- */

struct filter_call {
    struct request r;
    enum ferry_role role;
    bool in_in_image; /* an empty STDIN that the image ends */
    uint64_t data_len, data_at;
    int early, late, again; /* what writing at the wrong time returned */
};

static void write_data(struct ferry_call *call)
{
    struct filter_call *f = ferry_container(call, struct filter_call, r.call);
    char piece[16384];

    while (f->data_at < f->data_len && ferry_call_unsent(call) < UNSENT_MAX) {
        size_t n = sizeof piece;

        if (n > f->data_len - f->data_at)
            n = (size_t)(f->data_len - f->data_at);
        for (size_t i = 0; i < n; i++)
            piece[i] = (char)body_byte(f->data_at + i);
        f->data_at += n;
        if (ferry_call_write_data(call, NULL, ferry_slice(piece, n)) < 0)
            return;
    }
    if (f->data_at < f->data_len)
        return;
    ferry_call_write_data_end(call);
    f->late = ferry_call_write_data(call, NULL, FERRY_SLICE("x"));
    f->again = ferry_call_write_data_end(call);
}

static void filter_started(struct ferry_call *call)
{
    struct filter_call *f = ferry_container(call, struct filter_call, r.call);

    f->r.starts++;
    f->data_at = 0;
    if (!f->in_in_image) {
        f->early = ferry_call_write_data(call, NULL, FERRY_SLICE("x"));
        ferry_call_write(call, NULL, FERRY_SLICE("body"));
        ferry_call_write_end(call);
    }
    write_data(call);
}

static const struct ferry_call_fns filter_fns = {.started = filter_started,
                                                 .out = on_out,
                                                 .errors = on_errors,
                                                 .writable = write_data,
                                                 .done = on_done};

static void start_filter_here(void *arg)
{
    struct filter_call *f = arg;
    struct ferry_params_writer w;
    struct ferry_block *b = ferry_block_get(ferry_loop_blocks(f->r.side->loop), 1024);
    ssize_t n;

    must(b);
    ferry_params_open(&w, b->data, b->cap, 1);
    ferry_params_begin_request(&w, f->role ? f->role : FERRY_FILTER, FERRY_KEEP_CONN);
    ferry_params_add(&w, FERRY_SLICE("NAME"), FERRY_SLICE("filter"));
    n = ferry_params_close(&w, f->in_in_image);
    must(n > 0);
    f->r.call.fns = &filter_fns;
    f->r.call.image = b;
    f->r.call.image_bytes = ferry_slice(b->data, (size_t)n);
    f->r.call.idempotent = f->r.idempotent;
    f->r.call.replayable = true;
    f->r.call.exclusive = true;
    ferry_call_start(f->r.side->local, &f->r.call);
}

static void start_filter(struct side *s, struct filter_call *f)
{
    f->r.side = s;
    in_loop(s, start_filter_here, f);
}

#define assert_filtered(f, in_)                                                                    \
    do {                                                                                           \
        char want[128];                                                                            \
        snprintf(want, sizeof want, "role 3 in %d data %llu %llx", in_,                            \
                 (unsigned long long)(f)->data_len, (unsigned long long)body_sum((f)->data_len));  \
        assert_answer(&(f)->r, want);                                                              \
        assert_int_equal((f)->late, FERRY_EUSAGE);                                                 \
        assert_int_equal((f)->again, 0);                                                           \
    } while (0)

static const struct ferry_pool_opts one = {.multiplex = FERRY_MULTIPLEX_OFF, .connections_max = 1};

static void test_data_follows_the_body(void **state)
{
    static const uint64_t lengths[] = {0, 1, 65528, 65529, 3000000};
    struct fake_app app = {.handler = filters};
    struct callers c;

    fake_listen(&app, 16);
    fake_start(&app);
    callers_open(&c, state, 1, &app, one);
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct filter_call f = {.data_len = lengths[i]}, g = {.data_len = lengths[i]};

        start_filter(c.side, &f);
        assert_filtered(&f, 4);
        assert_int_equal(f.early, FERRY_EUSAGE);
        g.in_in_image = true;
        start_filter(c.side, &g);
        assert_filtered(&g, 0);
    }
    assert_int_equal(app.accepted, 1); /* all that was sent was read: it is clean */
    callers_close(&c);
    fake_stop(&app);
}

static void answers_early(struct fake_app *app, int fd, unsigned nth)
{
    struct filtered f;

    (void)nth;
    if (take_filter(app, fd, &f, false))
        fake_answer(app, fd, f.id, "early");
    fake_drain(app, fd);
}

static void test_an_answer_before_the_end_of_the_data(void **state)
{
    struct fake_app app = {.handler = answers_early};
    struct filter_call f[2] = {{.data_len = 50000000}, {.data_len = 50000000}};
    struct callers c;

    fake_listen(&app, 16);
    fake_start(&app);
    callers_open(&c, state, 1, &app, one);
    for (int i = 0; i < 2; i++) {
        start_filter(c.side, &f[i]);
        assert_answer(&f[i].r, "early");
        assert_true(f[i].data_at < f[i].data_len);
    }
    assert_int_equal(app.accepted, 2); /* the rest of the data was still on its way */
    callers_close(&c);
    fake_stop(&app);
}

static void filters_once(struct fake_app *app, int fd, unsigned nth)
{
    struct filtered f;

    if (take_filter(app, fd, &f, true))
        tell(app, fd, &f);
    if (nth == 0) /* it is kept, and closed when the next request is there */
        take_filter(app, fd, &f, false);
}

static void test_data_is_written_again_on_a_fresh_connection(void **state)
{
    struct fake_app app = {.handler = filters_once};
    struct filter_call f = {.data_len = 10}, g = {.data_len = 200000};
    struct callers c;

    fake_listen(&app, 16);
    fake_start(&app);
    callers_open(&c, state, 1, &app, one);
    start_filter(c.side, &f);
    assert_filtered(&f, 4);
    g.r.idempotent = true;
    start_filter(c.side, &g);
    assert_filtered(&g, 4);
    assert_int_equal(g.r.starts, 2);
    callers_close(&c);
    fake_stop(&app);
}

static void answers_any(struct fake_app *app, int fd, unsigned nth)
{
    struct filtered f;

    (void)nth;
    while (take_filter(app, fd, &f, false) && tell(app, fd, &f))
        ;
}

static void test_other_roles_have_no_data(void **state)
{
    struct fake_app app = {.handler = answers_any};
    struct filter_call f = {.role = FERRY_RESPONDER, .data_len = 0};
    struct callers c;

    fake_listen(&app, 16);
    fake_start(&app);
    callers_open(&c, state, 1, &app, one);
    start_filter(c.side, &f);
    assert_answer(&f.r, "role 1 in 4 data 0 0");
    assert_int_equal(f.late, FERRY_EUSAGE);
    assert_int_equal(f.again, FERRY_EUSAGE);
    callers_close(&c);
    fake_stop(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_both(test_data_follows_the_body),
        on_both(test_an_answer_before_the_end_of_the_data),
        on_both(test_data_is_written_again_on_a_fresh_connection),
        on_both(test_other_roles_have_no_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
