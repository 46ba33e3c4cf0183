/* SPDX-License-Identifier: MIT */
#ifndef FERRY_SLICE_H
#define FERRY_SLICE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Bytes that belong to somebody else. A slice is never NUL-terminated and lives as long as the
 * function that handed it out says. An empty slice may have p == NULL.
 */
struct ferry_slice {
    const char *p;
    size_t len;
};

#ifdef __cplusplus
}
#endif
#endif
