/* SPDX-License-Identifier: MIT */
/*
 * An application's connection against a web server that sends anything, in pieces of any size,
 * while requests are answered and ended. Streams must come in the order of the specification for
 * requests that are active, the number of those and of unsent answers stays bounded, and every
 * output must be well-formed records.
 */
#include "conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct app {
    struct ferry_conn *c;
    unsigned requests_max, active;
    size_t written; /* by us since the output was empty, generously */
    uint16_t last[8];
    unsigned nlast;
    bool closed, ends_itself;
    struct {
        bool active, aborted, params, in, data;
        uint8_t role;
    } r[65536];
};

static void end(struct app *a, uint16_t id, unsigned how)
{
    int err =
        ferry_conn_end(a->c, id, how, how % 5 == 0 ? FERRY_OVERLOADED : FERRY_REQUEST_COMPLETE);

    if (ferry_conn_error_text(a->c)[0])
        return;
    must((err == 0) == a->r[id].active);
    if (err == 0) {
        a->r[id].active = false;
        a->active--;
        a->written += 64;
    }
}

static void told(void *arg, const struct ferry_conn_event *ev)
{
    struct app *a = arg;

    must(!a->closed);
    if (ev->type != FERRY_CONN_BEGIN && ev->id)
        must(a->r[ev->id].active && !a->r[ev->id].aborted && ev->user == &a->r[ev->id]);
    switch ((int)ev->type) {
    case FERRY_CONN_BEGIN:
        must(!a->r[ev->id].active && ev->begin.role >= 1 && ev->begin.role <= 3);
        memset(&a->r[ev->id], 0, sizeof a->r[0]);
        a->r[ev->id].active = true;
        a->r[ev->id].role = (uint8_t)ev->begin.role;
        ferry_conn_set_user(a->c, ev->id, &a->r[ev->id]);
        a->last[a->nlast++ % 8] = ev->id;
        a->active++;
        break;
    case FERRY_CONN_PARAMS:
        must(ev->data.len && !a->r[ev->id].params);
        break;
    case FERRY_CONN_PARAMS_END:
        must(!a->r[ev->id].params);
        a->r[ev->id].params = true;
        break;
    case FERRY_CONN_STDIN:
        must(ev->data.len && a->r[ev->id].params && !a->r[ev->id].in);
        break;
    case FERRY_CONN_STDIN_END:
        must(a->r[ev->id].params && !a->r[ev->id].in);
        a->r[ev->id].in = true;
        if (a->ends_itself)
            end(a, ev->id, 1);
        break;
    case FERRY_CONN_DATA:
        must(ev->data.len && a->r[ev->id].role == 3 && a->r[ev->id].in && !a->r[ev->id].data);
        break;
    case FERRY_CONN_DATA_END:
        must(a->r[ev->id].role == 3 && a->r[ev->id].in && !a->r[ev->id].data);
        a->r[ev->id].data = true;
        break;
    case FERRY_CONN_ABORT:
        a->r[ev->id].aborted = true;
        break;
    case FERRY_CONN_CUT:
        a->closed = true;
        break;
    case FERRY_CONN_CLOSED:
        must(a->active == 0);
        a->closed = true;
        break;
    default:
        abort();
    }
}

static void write_some(struct app *a, struct ferry_blocks *blocks, uint16_t id, uint8_t op,
                       uint8_t arg)
{
    enum ferry_record_type stream = op & 16 ? FERRY_STDERR : FERRY_STDOUT;
    struct ferry_block *b = ferry_block_get(blocks, 3000);

    must(b);
    memset(b->data, 'x', 3000);
    if (ferry_conn_write(a->c, id, stream, arg & 128 ? b : NULL, ferry_slice(b->data, arg * 11u)) ==
        0) {
        /* what an aborted request still gets is not told */
        must(a->r[id].active);
        must(a->r[id].aborted || (a->r[id].role == 3 ? a->r[id].in : a->r[id].params));
        a->written += arg * 11u + 32;
    }
    ferry_block_unref(b);
}

static bool step(struct app *a, struct watch *w, struct ferry_blocks *blocks, struct steps *s)
{
    uint8_t op = next_byte(s), arg = next_byte(s);
    uint16_t id = a->last[arg % 8];
    bool ok = true;
    char *piece;
    size_t n;

    switch (op % 10) {
    case 0:
        end(a, id, op);
        break;
    case 1:
        write_some(a, blocks, id, op, arg);
        break;
    case 2:
        if (ferry_conn_write_end(a->c, id, op & 16 ? FERRY_STDERR : FERRY_STDOUT) == 0)
            a->written += 8;
        break;
    case 3:
        watch_output(w, a->c, arg * 50u);
        break;
    case 4:
        if (arg == 77)
            ferry_conn_drain(a->c);
        else if (arg == 78)
            ok = a->closed || give(a->c, "", 0, told, a);
        else if (arg == 79)
            ferry_conn_machine.tick(a->c, 1000 * (uint64_t)op);
        break;
    default:
        piece = next_piece(s, &n);
        ok = n == 0 || a->closed || give(a->c, piece, n, told, a);
        free(piece);
    }
    must(ferry_conn_active(a->c) == a->active && a->active <= a->requests_max);
    if (ferry_conn_output(a->c)->len == 0)
        a->written = 0;
    must(ferry_conn_output(a->c)->len <= a->written + 16384 + 256);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct app a;
    static struct watch w;
    struct steps s = {data, n};
    struct ferry_blocks blocks;
    struct ferry_conn_opts o = {.side = FERRY_CONN_APP,
                                .blocks = &blocks,
                                .idle_records_max = 2000,
                                .max_conns = 1,
                                .max_reqs = 4294967295};
    uint8_t how = next_byte(&s);

    memset(&a, 0, sizeof a);
    memset(&w, 0, sizeof w);
    w.from_app = true;
    o.requests_max = how % 5;
    o.roles = how & 32 ? 14 : 0;
    a.ends_itself = how & 64;
    a.requests_max = o.requests_max ? o.requests_max : 1;
    ferry_blocks_init(&blocks, 4, 4);
    a.c = ferry_conn_new(&o);
    must(a.c);
    while (s.n && step(&a, &w, &blocks, &s))
        ;
    watch_rest(&w, a.c);
    ferry_conn_free(a.c);
    ferry_blocks_fini(&blocks);
    return 0;
}
