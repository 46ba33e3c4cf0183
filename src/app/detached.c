/* SPDX-License-Identifier: MIT */
/*
 * A request that another thread has. Connections, chains and blocks stay the loop's alone; what
 * both sides touch lies under the request's lock:
 *
 *   - output: gathered in the request as ever, and what is larger in pieces of memory of their own,
 *     which the loop queues without a copy. One post at most is on its way to the loop for all that
 *     was written, read and finished until it is run; so a handler that writes a little and
 *     finishes wakes the loop once.
 *   - input: the chain that the loop puts it in. The thread reads where it lies and counts what it
 *     has consumed; only the loop takes it out.
 *   - the connection, as far as to see how much waits on it. It is not freed while a request has
 *     it, and a request loses it under its lock.
 *
 * A post is sent under the lock, and the loop runs it under the lock. So when the loop sees that
 * the request is finished, the other thread has touched it, and the loop, for the last time.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "app/app.h"
#include "base/assert.h"

/* -- pieces
 * ------------------------------------------------------------------------------------------------
 */

static void piece_put(void *home, struct ferry_block *b)
{
    struct ferry__piece *piece = home;

    (void)b;
    if (piece->release)
        piece->release(piece->arg);
    free(piece);
}

struct ferry__piece *ferry__piece_new(size_t n)
{
    struct ferry__piece *piece = malloc(sizeof *piece + n);

    if (piece)
        *piece = (struct ferry__piece){.block = {.put = piece_put, .home = piece, .refs = 1}};
    return piece;
}

static void drop_pieces(struct ferry__piece *piece)
{
    while (piece) {
        struct ferry__piece *next = piece->next;

        ferry_block_unref(&piece->block);
        piece = next;
    }
}

static struct ferry__piece *take_pieces(struct ferry__shared *s)
{
    struct ferry__piece *first = s->first;

    s->first = NULL;
    s->last = &s->first;
    s->waiting = 0;
    return first;
}

/* -- the loop's side
 * ------------------------------------------------------------------------------------------------
 */

/* Queues for the peer what was written until now. The head and the end of an answer that is
 * finished are ferry__request_end's. */
static void send_on(struct ferry_request *r, struct ferry__piece *piece)
{
    struct ferry__shared *s = &r->shared;

    if (!r->peer || r->aborted)
        return;
    /* What follows something lost would make another answer of it. */
    for (; piece && !s->lost; piece = piece->next)
        s->lost = ferry__request_queue(r, piece->stream, &piece->block, piece->bytes) < 0;
    if (!s->finished)
        ferry__request_flush(r);
}

static void tell_of_room(struct ferry_request *r)
{
    struct ferry__shared *s = &r->shared;

    if (!s->wants_room)
        return;
    s->wants_room = false;
    if (ferry__detached_has_room(r))
        ferry__detached_tell(r);
    else if (ferry_list_empty(&r->writer))
        ferry_list_push(&r->peer->writers, &r->writer);
}

static void look(struct ferry_post *post)
{
    struct ferry_request *r = ferry_container(post, struct ferry_request, shared.post);
    struct ferry__shared *s = &r->shared;
    struct ferry__piece *pieces;
    bool finished;

    pthread_mutex_lock(&s->lock);
    s->posted = false;
    finished = s->finished;
    pieces = take_pieces(s);
    send_on(r, pieces);
    ferry__input_settle(r);
    tell_of_room(r);
    pthread_mutex_unlock(&s->lock);
    drop_pieces(pieces);
    if (finished) {
        ferry__detached_end(r);
        ferry_request_finish(r, r->app_status);
    }
}

void ferry__detached_tell(struct ferry_request *r)
{
    pthread_cond_signal(&r->shared.changed);
}

void ferry__detached_end(struct ferry_request *r)
{
    r->detached = false;
    ferry__input_settle(r);
}

void ferry__detached_join(struct ferry_request *r)
{
    struct ferry__shared *s = &r->shared;

    pthread_mutex_lock(&s->lock);
    while (!s->finished)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    drop_pieces(take_pieces(s));
    ferry__detached_end(r);
}

void ferry__shared_init(struct ferry__shared *s)
{
    pthread_condattr_t attr;

    *s = (struct ferry__shared){.post.run = look, .last = NULL};
    take_pieces(s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    ferry_blocks_init(&s->blocks, 0, 0);
}

void ferry__shared_fini(struct ferry__shared *s)
{
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
}

int ferry_request_detach(struct ferry_request *r)
{
    if (r->detached)
        return 0;
    ferry_assert(r->started && !r->finished);
    ferry__request_flush(r);
    ferry__request_quiet(r);
    r->shared.blocking = r->shared.wants_room = r->shared.lost = r->shared.finished = false;
    r->arena.blocks = &r->shared.blocks;
    r->detached = true;
    return 0;
}

/* -- the other thread's side
 * ------------------------------------------------------------------------------------------------
 */

void ferry__detached_post(struct ferry_request *r)
{
    if (r->shared.posted)
        return;
    r->shared.posted = true;
    ferry_loop_post(r->app->loop, &r->shared.post);
}

void ferry__detached_push(struct ferry_request *r, struct ferry__piece *piece)
{
    struct ferry__shared *s = &r->shared;

    s->waiting += piece->bytes.len;
    *s->last = piece;
    s->last = &piece->next;
}

int ferry__detached_copy(struct ferry_request *r, enum ferry_record_type stream,
                         struct ferry_slice bytes)
{
    struct ferry__piece *piece = ferry__piece_new(bytes.len);

    if (!piece)
        return -ENOMEM;
    memcpy(piece->block.data, bytes.p, bytes.len);
    piece->stream = stream;
    piece->bytes = ferry_slice(piece->block.data, bytes.len);
    ferry__detached_push(r, piece);
    return 0;
}

bool ferry__detached_has_room(const struct ferry_request *r)
{
    return r->err || r->aborted || !r->peer || ferry__request_waiting(r) < r->app->opts.output_mark;
}

bool ferry__detached_sleep(struct ferry_request *r, const struct timespec *until)
{
    struct ferry__shared *s = &r->shared;

    if (until)
        return pthread_cond_timedwait(&s->changed, &s->lock, until) == 0;
    pthread_cond_wait(&s->changed, &s->lock);
    return true;
}

/* The loop looks at least once more before it lets a thread sleep for room, so one of them sees
 * what the other did. */
static void ask_for_room(struct ferry_request *r)
{
    r->shared.wants_room = true;
    ferry__detached_post(r);
}

void ferry__detached_await_room(struct ferry_request *r)
{
    /* What a filter writes early waits for its own reading, and must not wait for it here. */
    while (!ferry__detached_has_room(r) && !ferry__early(r)) {
        ask_for_room(r);
        ferry__detached_sleep(r, NULL);
    }
}

void ferry__detached_finish(struct ferry_request *r, int app_status)
{
    struct ferry__shared *s = &r->shared;

    pthread_mutex_lock(&s->lock);
    ferry_assert(!s->finished);
    s->finished = true;
    r->app_status = app_status;
    ferry__detached_post(r);
    ferry__detached_tell(r);
    pthread_mutex_unlock(&s->lock);
}

int ferry_request_set_blocking(struct ferry_request *r, bool blocking)
{
    if (!r->detached)
        return FERRY_EUSAGE;
    r->shared.blocking = blocking;
    return 0;
}

static struct timespec after_ms(unsigned ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

static unsigned true_now(const struct ferry_request *r)
{
    return (ferry__input_is_ready(&r->body) ? FERRY_WAIT_BODY : 0) |
           (ferry__input_is_ready(&r->data) ? FERRY_WAIT_DATA : 0) |
           (ferry__detached_has_room(r) ? FERRY_WAIT_WRITABLE : 0) |
           (r->aborted ? FERRY_WAIT_ABORT : 0);
}

int ferry_request_wait(struct ferry_request *r, unsigned what, unsigned ms)
{
    struct timespec until = ms == UINT_MAX || ms == 0 ? (struct timespec){0} : after_ms(ms);
    bool more = ms > 0;
    unsigned now;

    if (!r->detached)
        return FERRY_EUSAGE;
    ferry__request_lock(r);
    while (!((now = true_now(r)) & (what | FERRY_WAIT_ABORT)) && more) {
        if (what & FERRY_WAIT_WRITABLE)
            ask_for_room(r);
        more = ferry__detached_sleep(r, ms == UINT_MAX ? NULL : &until);
    }
    ferry__request_unlock(r);
    return now & (what | FERRY_WAIT_ABORT) ? (int)now : 0;
}
