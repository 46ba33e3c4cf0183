/* SPDX-License-Identifier: MIT */
#ifndef FERRY_BASE_LIST_H
#define FERRY_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A doubly linked ring with the links inside the members. A head and an unlinked member point to
 * themselves, so removing twice does no harm.
 */
struct ferry_list {
    struct ferry_list *next, *prev;
};

#define ferry_container(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void ferry_list_init(struct ferry_list *l)
{
    l->next = l->prev = l;
}

static inline bool ferry_list_empty(const struct ferry_list *l)
{
    return l->next == l;
}

static inline void ferry_list_remove(struct ferry_list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    ferry_list_init(l);
}

/* At the tail: first in, first out with ferry_list_first. */
static inline void ferry_list_push(struct ferry_list *head, struct ferry_list *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

static inline void ferry_list_push_front(struct ferry_list *head, struct ferry_list *l)
{
    ferry_list_push(head->next, l);
}

/* NULL when empty. */
static inline struct ferry_list *ferry_list_first(const struct ferry_list *head)
{
    return head->next == head ? NULL : head->next;
}

/* `at` may be removed in the body; its neighbour may not. */
#define ferry_list_each(at, next_, head)                                                           \
    for (struct ferry_list *at = (head)->next, *next_ = at->next; at != (head);                    \
         at = next_, next_ = at->next)

#endif
