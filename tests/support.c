/* SPDX-License-Identifier: MIT */
/* What the tests share: guard pages and allocations that fail on demand (the linker wraps the
 * allocator). */
#include "support.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
char *__wrap_strdup(const char *);

/* Of the thread that asks for it alone. */
static _Thread_local long fail_after = -1;
static _Thread_local bool failed;
static atomic_ulong count; /* of all threads */

static bool fails_now(void)
{
    atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
    if (fail_after < 0)
        return false;
    if (fail_after-- > 0)
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t n)
{
    return fails_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails_now() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = __wrap_malloc(n);

    return copy ? memcpy(copy, text, n) : NULL;
}

void fail_alloc_after(long n)
{
    fail_after = n;
    failed = false;
}

bool alloc_failed(void)
{
    return failed;
}

unsigned long alloc_count(void)
{
    return count;
}

void each_alloc_fails(void (*scenario)(void *), void *arg)
{
    for (long i = 0; i < 10000; i++) {
        fail_alloc_after(i);
        scenario(arg);
        if (!alloc_failed()) {
            fail_alloc_after(-1);
            return;
        }
    }
    fail_msg("the scenario never ran out of allocations");
}

char *guard_copy(int slot, const void *bytes, size_t n)
{
    static struct {
        char *map;
        size_t len;
    } guards[4];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t len = (n + page - 1) / page * page + page;
    char *at;

    if (guards[slot].map)
        munmap(guards[slot].map, guards[slot].len);
    guards[slot].map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guards[slot].len = len;
    assert_ptr_not_equal(guards[slot].map, MAP_FAILED);
    assert_int_equal(mprotect(guards[slot].map + len - page, page, PROT_NONE), 0);
    at = guards[slot].map + len - page - n;
    if (n)
        memcpy(at, bytes, n);
    return at;
}
