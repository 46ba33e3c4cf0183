/* SPDX-License-Identifier: MIT */
#ifndef FERRY_BASE_ASSERT_H
#define FERRY_BASE_ASSERT_H

/*
 * For our own mistakes only, and always on: no byte from a peer may decide one. Aborts with the
 * place.
 */
#define ferry_assert(cond)                                                                         \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            ferry__assert_failed(#cond, __FILE__, __LINE__);                                       \
    } while (0)

_Noreturn void ferry__assert_failed(const char *cond, const char *file, int line);

#endif
