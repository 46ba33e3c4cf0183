/* SPDX-License-Identifier: MIT */
/* A configuration of go-guerrilla, read: either something is said of it, or it is a configuration
 * of ferry's whose text reads as the same one. */
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

static void notice(void *arg, const struct ferry_config_place *place, const char *text)
{
    (void)arg;
    check(place->file && *text);
}

static struct ferry_slice print(const struct ferry_config *c)
{
    char *bytes = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&bytes, &n);

    check(f);
    ferry_config_print(c, false, f);
    check(fclose(f) == 0);
    return ferry_slice(bytes, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    int fd = memfd_create("guerrilla", MFD_CLOEXEC), err;
    struct ferry_config *c, *again;
    struct ferry_slice once, twice;
    unsigned said = 0;
    char name[32];

    check(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    err = ferry_config_read_guerrilla(name, &c, count, notice, &said);
    close(fd);
    check(err == 0 || said > 0);
    check((err == 0) == (c != NULL));
    if (!c)
        return 0;
    check(c->nmails > 0);
    once = print(c);
    err = ferry_config_parse("f", once, &again, count, &said);
    check(err == 0);
    twice = print(again);
    check(ferry_slice_eq(once, twice));
    free((char *)once.p);
    free((char *)twice.p);
    ferry_config_free(again);
    ferry_config_free(c);
    return 0;
}
