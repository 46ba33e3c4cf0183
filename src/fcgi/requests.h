/* SPDX-License-Identifier: MIT */
#ifndef FERRY_FCGI_REQUESTS_H
#define FERRY_FCGI_REQUESTS_H

#include <stdbool.h>
#include <stdint.h>

/* The requests active on one connection, found by id in constant time. */

struct ferry__request {
    void *user;
    uint16_t id;        /* 0: the slot is free */
    uint16_t ended;     /* bit 1 << record type for each stream that has ended, either direction */
    uint16_t role;      /* as BEGIN_REQUEST said */
    bool keep;          /* KEEP_CONN was set */
    bool aborted : 1;   /* ABORT_REQUEST was sent or received */
    bool wrote_err : 1; /* STDERR was used */
};

struct ferry__requests {
    struct ferry__request *slots;
    uint32_t n, cap;             /* cap is 1 or a power of two up to 65536 */
    uint8_t shift;               /* 16 - log2(cap) */
    struct ferry__request first; /* the slots while one is enough */
};

void ferry__requests_init(struct ferry__requests *);
void ferry__requests_fini(struct ferry__requests *);

/* NULL when the id is not active. Valid until the next add or remove. */
struct ferry__request *ferry__requests_find(const struct ferry__requests *, uint16_t id);

/* A slot for an id that is not active, all zero but the id; NULL when memory is out. */
struct ferry__request *ferry__requests_add(struct ferry__requests *, uint16_t id);

void ferry__requests_remove(struct ferry__requests *, struct ferry__request *);

#endif
