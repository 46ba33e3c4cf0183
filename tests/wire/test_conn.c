/* SPDX-License-Identifier: MIT */
/*
 * Two connections joined in memory: a client that sends requests of all sizes, some aborted, and an
 * application that echoes them in any order. Whatever way the bytes are cut, each request's streams
 * arrive whole and unmixed (A-IN-1, A-ID-10, W-8, W-9).
 */
#include "fcgi/conn_private.h"
#include "ferry/params.h"
#include "records.h"

#define REQUESTS 60
#define AT_ONCE_MAX 12

/* One request as both ends see it; found by number, which its params carry. */
struct exchange {
    unsigned number;
    uint16_t role, id;
    size_t body_len, data_len, name_len; /* what is sent, all of it a pattern of the number */
    size_t sent, echoed, errors;
    bool aborted, abort_seen, ended, stdout_ended, ready;
    uint32_t status;
    char *params;
    size_t params_len, got;
};

struct world {
    struct ferry_blocks blocks;
    struct ferry_conn *client, *app;
    struct exchange x[REQUESTS];
    struct exchange *running[65536]; /* the application's, by id */
    unsigned begun, ended, values, asked, at_once, refused;
    size_t piece_max;
    uint32_t seed;
    uint16_t client_max, app_max;
    bool keep;
};

static uint32_t dice(struct world *w, uint32_t sides)
{
    return next_random(&w->seed) % sides;
}

static char pattern(unsigned number, size_t at)
{
    return (char)(number * 17 + at + (at >> 8));
}

static void fill(char *p, unsigned number, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = pattern(number, from + i);
}

static void assert_pattern(struct ferry_slice s, unsigned number, size_t from)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] != pattern(number, from + i))
            fail_msg("request %u: byte %zu is another's", number, from + i);
}

/* -- the application -- */

static void app_params(struct exchange *x)
{
    size_t at = 0, pairs = 0;
    struct ferry_param p;
    ssize_t n;

    while ((n = ferry_param_decode(x->params + at, x->params_len - at, SIZE_MAX, &p)) > 0) {
        if (pairs++ == 0)
            assert_int_equal(p.value.len, 4);
        else
            assert_int_equal(p.name.len, x->name_len);
        assert_pattern(pairs == 1 ? p.value : p.name, x->number, 0);
        at += (size_t)n;
    }
    assert_int_equal(at, x->params_len);
    assert_int_equal(pairs, 2);
}

/* Echoes what came, and now and then writes an error. */
static void app_echo(struct world *w, struct exchange *x, struct ferry_slice data)
{
    assert_pattern(data, x->number, x->got);
    x->got += data.len;
    assert_int_equal(ferry_conn_write(w->app, x->id, FERRY_STDOUT, NULL, data), 0);
    if (dice(w, 3) == 0) {
        assert_int_equal(ferry_conn_write(w->app, x->id, FERRY_STDERR, NULL, FERRY_SLICE("e")), 0);
        x->errors++;
    }
}

static void app_end(struct world *w, struct exchange *x)
{
    assert_int_equal(ferry_conn_end(w->app, x->id, x->number * 65537, FERRY_REQUEST_COMPLETE), 0);
    w->running[x->id] = NULL;
}

static void app_event(struct world *w, const struct ferry_conn_event *ev)
{
    struct exchange *x = ev->user;

    switch ((int)ev->type) {
    case FERRY_CONN_BEGIN:
        for (unsigned i = 0; i < w->begun; i++)
            if (!w->x[i].ended && w->x[i].id == ev->id)
                x = &w->x[i];
        assert_non_null(x);
        assert_int_equal(ev->begin.role, x->role);
        ferry_conn_set_user(w->app, ev->id, x);
        w->running[ev->id] = x;
        break;
    case FERRY_CONN_PARAMS:
        memcpy(x->params + x->params_len, ev->data.p, ev->data.len);
        x->params_len += ev->data.len;
        break;
    case FERRY_CONN_PARAMS_END:
        app_params(x);
        break;
    case FERRY_CONN_STDIN:
        if (x->role == FERRY_FILTER) {
            assert_pattern(ev->data, x->number, x->got);
            x->got += ev->data.len;
        } else {
            app_echo(w, x, ev->data);
        }
        break;
    case FERRY_CONN_STDIN_END:
        assert_int_equal(x->got, x->body_len);
        x->got = 0;
        x->ready = x->role != FERRY_FILTER;
        break;
    case FERRY_CONN_DATA:
        app_echo(w, x, ev->data);
        break;
    case FERRY_CONN_DATA_END:
        assert_int_equal(x->got, x->data_len);
        x->ready = true;
        break;
    case FERRY_CONN_ABORT:
        x->abort_seen = x->ready = true;
        break;
    default:
        fail_msg("the application is told %s", event_name(ev->type));
    }
}

/* Ends requests in no order, some time after they could be. */
static void app_work(struct world *w)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct exchange *x = &w->x[i];

        if (x->ready && w->running[x->id] == x && dice(w, 4) == 0) {
            x->ready = false;
            app_end(w, x);
        }
    }
}

/* -- the client -- */

static void client_event(struct world *w, const struct ferry_conn_event *ev)
{
    struct exchange *x = ev->user;

    switch ((int)ev->type) {
    case FERRY_CONN_STDOUT:
        assert_false(x->aborted);
        assert_pattern(ev->data, x->number, x->echoed);
        x->echoed += ev->data.len;
        break;
    case FERRY_CONN_STDOUT_END:
        x->stdout_ended = true;
        break;
    case FERRY_CONN_STDERR:
        assert_false(x->aborted);
        x->errors -= ev->data.len;
        break;
    case FERRY_CONN_END:
        x->ended = true;
        w->ended++;
        x->status = ev->end.app_status;
        if (ev->end.protocol_status == FERRY_REQUEST_COMPLETE) {
            assert_int_equal(x->status, x->number * 65537);
            if (!x->aborted) {
                assert_true(x->stdout_ended);
                assert_int_equal(x->echoed, x->role == FERRY_FILTER ? x->data_len : x->body_len);
                assert_int_equal(x->errors, 0);
            }
        } else {
            assert_int_equal(ev->end.protocol_status,
                             w->app_max == 1 ? FERRY_CANT_MPX_CONN : FERRY_OVERLOADED);
            assert_int_equal(x->echoed, 0);
            w->refused++;
        }
        break;
    case FERRY_CONN_VALUES:
        assert_int_equal(ev->values.mpxs_conns, w->app_max > 1);
        assert_int_equal(ev->values.max_reqs, 7);
        assert_int_equal(ev->values.max_conns, -1);
        w->values++;
        break;
    default:
        fail_msg("the client is told %s", event_name(ev->type));
    }
}

static void client_begin(struct world *w)
{
    struct exchange *x = &w->x[w->begun];
    bool filter = dice(w, 4) == 0, no_body = !filter && dice(w, 3) == 0;
    uint32_t large = w->piece_max < 50 ? 2000 : 150000;
    struct ferry_params_writer pw;
    char number[4], *name;
    struct ferry_block *b;
    ssize_t n;
    int id;

    *x = (struct exchange){.number = w->begun,
                           .role = filter ? FERRY_FILTER : FERRY_RESPONDER,
                           .body_len = no_body ? 0 : dice(w, dice(w, 2) ? 20 : large),
                           .data_len = filter ? dice(w, 3000) : 0,
                           .name_len = dice(w, dice(w, 5) ? 300 : large)};
    fill(number, x->number, 0, 4);
    name = test_malloc(x->name_len + 1);
    x->params = test_malloc(x->name_len + 100);
    fill(name, x->number, 0, x->name_len);
    b = ferry_block_get(&w->blocks, ferry_params_room(x->name_len + 100));
    assert_non_null(b);
    ferry_params_open(&pw, b->data, b->cap, 0);
    ferry_params_begin_request(&pw, x->role, 0);
    ferry_params_add(&pw, FERRY_SLICE("NUMBER"), ferry_slice(number, 4));
    ferry_params_add(&pw, ferry_slice(name, x->name_len), FERRY_SLICE("v"));
    n = ferry_params_close(&pw, no_body);
    assert_true(n > 0);
    id = ferry_conn_begin_image(w->client, b, ferry_slice(b->data, (size_t)n),
                                w->keep || w->begun + 1 < REQUESTS, x);
    assert_in_range(id, 1, w->client_max + FERRY__IDS_SPARE);
    x->id = (uint16_t)id;
    w->begun++;
    if (x->body_len == 0)
        assert_int_equal(ferry_conn_write_end(w->client, x->id, FERRY_STDIN), 0);
    if (filter && x->body_len + x->data_len == 0)
        assert_int_equal(ferry_conn_write_end(w->client, x->id, FERRY_DATA), 0);
    ferry_block_unref(b);
    test_free(name);
}

static void client_send(struct world *w, struct exchange *x)
{
    bool data = x->sent >= x->body_len && x->role == FERRY_FILTER;
    size_t from = data ? x->sent - x->body_len : x->sent, left, n;
    struct ferry_block *b;

    left = (data ? x->data_len : x->body_len) - from;
    n = left ? 1 + dice(w, left < 5000 ? (uint32_t)left : 70000) : 0;
    if (n > left)
        n = left;
    b = ferry_block_get(&w->blocks, n);
    assert_non_null(b);
    fill(b->data, x->number, from, n);
    assert_int_equal(ferry_conn_write(w->client, x->id, data ? FERRY_DATA : FERRY_STDIN, b,
                                      ferry_slice(b->data, n)),
                     0);
    ferry_block_unref(b);
    x->sent += n;
    if (x->sent == x->body_len)
        assert_int_equal(ferry_conn_write_end(w->client, x->id, FERRY_STDIN), 0);
    if (x->sent == x->body_len + x->data_len && x->role == FERRY_FILTER)
        assert_int_equal(ferry_conn_write_end(w->client, x->id, FERRY_DATA), 0);
}

static void client_work(struct world *w)
{
    while (w->begun < REQUESTS && ferry_conn_active(w->client) < w->client_max && dice(w, 2))
        client_begin(w);
    if (ferry_conn_active(w->client) > w->at_once)
        w->at_once = ferry_conn_active(w->client);
    for (unsigned i = 0; i < w->begun; i++) {
        struct exchange *x = &w->x[i];
        size_t all = x->body_len + x->data_len;

        if (x->ended || x->aborted)
            continue;
        if (dice(w, 60) == 0) {
            assert_int_equal(ferry_conn_abort(w->client, x->id), 0);
            x->aborted = true;
        } else if (x->sent < all && dice(w, 2)) {
            client_send(w, x);
        }
    }
    if (dice(w, 50) == 0 && ferry_conn_get_values(w->client) == 0)
        w->asked++;
}

/* -- the wire -- */

typedef void event_fn(struct world *, const struct ferry_conn_event *);

/* Carries one piece of output over, in vectors or in part of one. */
static void carry(struct world *w, struct ferry_conn *from, struct ferry_conn *to, event_fn *told)
{
    struct ferry_conn_event ev;
    struct iovec iov[1];
    char *piece;
    size_t n, at = 0;

    if (ferry_chain_iov(ferry_conn_output(from), iov, 1) == 0)
        return;
    n = 1 + dice(w, (uint32_t)w->piece_max);
    if (n > iov[0].iov_len)
        n = iov[0].iov_len;
    piece = test_malloc(n);
    memcpy(piece, iov[0].iov_base, n);
    ferry_conn_sent(from, n, 0);
    while (at < n) {
        ssize_t took = ferry_conn_recv(to, piece + at, n - at, 0);
        int got, events = 0;

        if (took < 0)
            fail_msg("%s", ferry_conn_error_text(to));
        at += (size_t)took;
        while ((got = ferry_conn_event(to, &ev)) == 1) {
            if (ev.data.len)
                assert_true(ev.data.p >= piece && ev.data.p + ev.data.len <= piece + at);
            told(w, &ev);
            events++;
        }
        assert_int_equal(got, 0);
        if (took == 0 && events == 0) { /* it waits until its own answers have left */
            assert_true(ferry_conn_output(to)->len > 0);
            ferry_conn_sent(to, 0, 0);
            carry(w, to, from, told == app_event ? client_event : app_event);
        }
    }
    test_free(piece);
}

static void talk(uint32_t seed, size_t piece_max, uint16_t client_max, uint16_t app_max, bool keep)
{
    struct world *w = test_calloc(1, sizeof *w);
    struct ferry_conn_opts o = {.blocks = &w->blocks, .requests_max = client_max, .max_reqs = 7};
    struct ferry_conn_event ev;

    w->piece_max = piece_max;
    w->seed = seed;
    w->client_max = client_max;
    w->app_max = app_max;
    w->keep = keep;
    ferry_blocks_init(&w->blocks, 16, 16);
    w->client = ferry_conn_new(&o);
    o.side = FERRY_CONN_APP;
    o.requests_max = app_max;
    o.roles = 1 << FERRY_RESPONDER | 1 << FERRY_FILTER;
    w->app = ferry_conn_new(&o);
    assert_non_null(w->client);
    assert_non_null(w->app);
    while (w->ended < REQUESTS) {
        client_work(w);
        for (unsigned i = dice(w, 20000 / (uint32_t)piece_max + 20); i > 0; i--) {
            carry(w, w->client, w->app, app_event);
            carry(w, w->app, w->client, client_event);
        }
        app_work(w);
    }
    assert_int_equal(ferry_conn_active(w->client), 0);
    assert_int_equal(w->refused > 0, client_max > app_max);
    assert_true(w->at_once > app_max || w->at_once == client_max);
    while (ferry_conn_output(w->client)->len || ferry_conn_output(w->app)->len) {
        carry(w, w->client, w->app, app_event);
        carry(w, w->app, w->client, client_event);
    }
    if (keep)
        assert_int_equal(w->values, w->asked);
    assert_int_equal(ferry_conn_active(w->app), 0);
    assert_int_equal(ferry_conn_finished(w->client), !keep);
    /* A-CLS-4: closing with nothing active is the normal end */
    assert_int_equal(ferry_conn_recv(w->app, NULL, 0, 0), 0);
    assert_int_equal(ferry_conn_event(w->app, &ev), 1);
    assert_int_equal(ev.type, FERRY_CONN_CLOSED);
    assert_true(ferry_conn_finished(w->app));
    ferry_conn_free(w->client);
    ferry_conn_free(w->app);
    ferry_blocks_fini(&w->blocks);
    for (unsigned i = 0; i < w->begun; i++)
        test_free(w->x[i].params);
    test_free(w);
}

static void whole_conversations(void **state)
{
    static const size_t pieces[] = {1, 9, 100, 5000, 1 << 20};

    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (uint32_t seed = 1; seed <= (pieces[i] > 50 ? 8 : 1); seed++) {
            talk(seed, pieces[i], 1, 1, true);
            talk(seed, pieces[i], 1, 1, false);
            talk(seed, pieces[i], AT_ONCE_MAX, AT_ONCE_MAX, true);
            talk(seed, pieces[i], AT_ONCE_MAX, AT_ONCE_MAX + 9, false);
        }
    }
}

/* A-ID-8, A-BEG-3: a client that begins more than the application can; refused ones end, others
 * are not touched. */
static void conversations_with_refusals(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 8; seed++) {
        talk(seed, 3000, AT_ONCE_MAX, 1, true);
        talk(seed, 3000, AT_ONCE_MAX, 3, true);
    }
}

static void freeing_nothing_does_no_harm(void **state)
{
    struct ferry_conn_opts o = {.side = FERRY_CONN_APP};

    (void)state;
    ferry_conn_free(NULL);
    fail_alloc_after(0);
    assert_null(ferry_conn_new(&o));
    fail_alloc_after(-1);
}

static void the_machine_is_the_connection(void **state)
{
    const struct ferry_machine *m = &ferry_conn_machine;
    struct ferry_blocks blocks;
    struct ferry_conn_opts o = {.side = FERRY_CONN_CLIENT, .blocks = &blocks};
    struct ferry_conn *c;

    (void)state;
    ferry_blocks_init(&blocks, 0, 0);
    c = ferry_conn_new(&o);
    assert_true(m->deadline(c) == FERRY_NEVER);
    assert_false(m->finished(c));
    assert_int_equal(ferry_conn_begin(c, FERRY_RESPONDER, true, NULL), 1);
    assert_int_equal(m->output(c)->len, 16);
    m->sent(c, 16, 0);
    assert_int_equal(m->output(c)->len, 0);
    assert_int_equal(m->recv(c, "\1\6\0", 3, 0), 3);
    assert_int_equal(m->recv(c, "", 0, 0), 0);
    m->tick(c, 0);
    assert_false(m->finished(c)); /* an event waits */
    assert_false(m->wants_shutdown(c));
    ferry_conn_free(c);
    ferry_blocks_fini(&blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_conversations),
        cmocka_unit_test(conversations_with_refusals),
        cmocka_unit_test(freeing_nothing_does_no_harm),
        cmocka_unit_test(the_machine_is_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
