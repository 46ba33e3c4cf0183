/* SPDX-License-Identifier: MIT */
/*
 * A client's connection against an application that sends anything, in pieces of any size, while
 * requests are begun, written, aborted. Events must make sense for requests that are active, and
 * every output must be well-formed records.
 */
#include "conn.h"

#include "ferry/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct client {
    struct ferry_conn *c;
    unsigned requests_max, asked;
    bool closed;
    struct {
        bool active, aborted, stdout_ended;
    } r[65536];
};

static void told(void *arg, const struct ferry_conn_event *ev)
{
    struct client *cl = arg;

    must(!cl->closed);
    if (ev->id) {
        must(cl->r[ev->id].active && ev->user == &cl->r[ev->id]);
        must(ev->type == FERRY_CONN_END || !cl->r[ev->id].aborted);
    }
    switch ((int)ev->type) {
    case FERRY_CONN_STDOUT:
        must(ev->data.len && !cl->r[ev->id].stdout_ended);
        break;
    case FERRY_CONN_STDERR:
        must(ev->data.len);
        break;
    case FERRY_CONN_STDOUT_END:
        must(!cl->r[ev->id].stdout_ended);
        cl->r[ev->id].stdout_ended = true;
        break;
    case FERRY_CONN_END:
        cl->r[ev->id].active = false;
        break;
    case FERRY_CONN_VALUES:
        must(cl->asked-- > 0);
        break;
    case FERRY_CONN_UNKNOWN_TYPE:
        must(cl->asked > 0);
        if (ev->unknown_type == FERRY_GET_VALUES)
            cl->asked--;
        break;
    case FERRY_CONN_CUT:
        cl->closed = true;
        break;
    case FERRY_CONN_CLOSED:
        must(ferry_conn_active(cl->c) == 0);
        cl->closed = true;
        break;
    default:
        abort();
    }
}

static void begin(struct client *cl, struct ferry_blocks *blocks, uint8_t how)
{
    struct ferry_params_writer w;
    struct ferry_block *b;
    ssize_t len;
    int id;

    if (how & 1) {
        id = ferry_conn_begin(cl->c, how & 2 ? FERRY_RESPONDER : FERRY_FILTER, !(how & 128), NULL);
    } else {
        b = ferry_block_get(blocks, 200);
        must(b);
        ferry_params_open(&w, b->data, b->cap, 0);
        ferry_params_begin_request(&w, FERRY_RESPONDER, how);
        ferry_params_add(&w, FERRY_SLICE("NAME"), FERRY_SLICE("value"));
        len = ferry_params_close(&w, how & 2);
        must(len > 0);
        id =
            ferry_conn_begin_image(cl->c, b, ferry_slice(b->data, (size_t)len), !(how & 128), NULL);
        ferry_block_unref(b);
    }
    if (id < 0) {
        must(id == FERRY_ELIMIT || id == FERRY_ECLOSED || ferry_conn_error_text(cl->c)[0]);
        return;
    }
    must(id > 0 && !cl->r[id].active && (cl->requests_max > 1 || id == 1));
    cl->r[id].active = true;
    cl->r[id].aborted = cl->r[id].stdout_ended = false;
    ferry_conn_set_user(cl->c, (uint16_t)id, &cl->r[id]);
}

static bool step(struct client *cl, struct watch *w, struct ferry_blocks *blocks, struct steps *s)
{
    static const enum ferry_record_type streams[] = {FERRY_PARAMS, FERRY_STDIN, FERRY_DATA,
                                                     FERRY_STDOUT};
    uint8_t op = next_byte(s), arg = next_byte(s);
    uint16_t id = (uint16_t)(arg % 8);
    bool ok = true;
    char *piece;
    size_t n;

    switch (op % 10) {
    case 0:
        begin(cl, blocks, arg);
        break;
    case 1:
        if (ferry_conn_abort(cl->c, id) == 0)
            cl->r[id].aborted = true;
        break;
    case 2:
        if (ferry_conn_get_values(cl->c) == 0)
            cl->asked++;
        break;
    case 3: {
        struct ferry_block *b = ferry_block_get(blocks, 3000);

        must(b);
        memset(b->data, 'x', 3000);
        ferry_conn_write(cl->c, id, streams[op / 10 % 4], arg & 128 ? b : NULL,
                         ferry_slice(b->data, arg * 11u));
        ferry_block_unref(b);
        break;
    }
    case 4:
        ferry_conn_write_end(cl->c, id, streams[op / 10 % 4]);
        break;
    case 5:
        watch_output(w, cl->c, arg);
        break;
    case 6:
        if (arg == 77) {
            ok = cl->closed || give(cl->c, "", 0, told, cl);
            break;
        }
        /* fall through */
    default:
        piece = next_piece(s, &n);
        ok = n == 0 || cl->closed || give(cl->c, piece, n, told, cl);
        free(piece);
    }
    must(ferry_conn_active(cl->c) <= cl->requests_max);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct client cl;
    static struct watch w;
    struct steps s = {data, n};
    struct ferry_blocks blocks;
    struct ferry_conn_opts o = {
        .side = FERRY_CONN_CLIENT, .blocks = &blocks, .idle_records_max = 50};

    memset(&cl, 0, sizeof cl);
    memset(&w, 0, sizeof w);
    o.requests_max = next_byte(&s) % 5;
    cl.requests_max = o.requests_max ? o.requests_max : 1;
    ferry_blocks_init(&blocks, 4, 4);
    cl.c = ferry_conn_new(&o);
    must(cl.c);
    while (s.n && step(&cl, &w, &blocks, &s))
        ;
    watch_rest(&w, cl.c);
    ferry_conn_free(cl.c);
    ferry_blocks_fini(&blocks);
    return 0;
}
