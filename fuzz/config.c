/* SPDX-License-Identifier: MIT */
/*
 * A file, read: either something is said of it, or it is a configuration whose text reads as the
 * same one, also with all defaults, and laid out.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/slice.h"
#include "config/config.h"

#define check(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void count(void *arg, const struct ferry_config_place *place, const char *text)
{
    (void)place;
    check(*text);
    ++*(unsigned *)arg;
}

static struct ferry_config *read_text(struct ferry_slice text)
{
    int fd = memfd_create("config", MFD_CLOEXEC), err;
    struct ferry_config *c;
    unsigned said = 0;
    char name[32];

    check(fd >= 0 && write(fd, text.p, text.len) == (ssize_t)text.len);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    err = ferry_config_read(name, &c, count, &said);
    check(err == 0 || said > 0);
    check((err == 0) == (c != NULL));
    close(fd);
    return c;
}

static struct ferry_slice print(const struct ferry_config *c, bool all)
{
    char *bytes = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&bytes, &n);

    check(f);
    ferry_config_print(c, all, f);
    check(fclose(f) == 0);
    return ferry_slice(bytes, n);
}

static void check_print(const struct ferry_config *c, bool all)
{
    struct ferry_slice once = print(c, all), twice;
    struct ferry_config *again = read_text(once);
    struct ferry_config_place place;
    const char *why;
    char *bytes = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&bytes, &n);

    check(again && f);
    twice = print(again, all);
    check(ferry_slice_eq(once, twice));
    check(ferry_config_format(once, f, &place, &why) == 0 && fclose(f) == 0);
    check(ferry_slice_eq(once, ferry_slice(bytes, n)));
    free(bytes);
    free((char *)once.p);
    free((char *)twice.p);
    ferry_config_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_slice text = {(const char *)data, n};
    struct ferry_config *c;

    /* Files that are there or not are no part of the question. */
    if (n > 65536 || memmem(data, n, "include", 7))
        return 0;
    c = read_text(text);
    if (c) {
        check_print(c, false);
        check_print(c, true);
        ferry_config_free(c);
    }
    return 0;
}
