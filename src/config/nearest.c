/* SPDX-License-Identifier: MIT */
/* What was meant: the name that is the fewest slips of a finger away. */
#include "base/slice.h"
#include "config/private.h"

#define WORD_MAX 40

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* '-' and '_' are one to whoever does not remember which it was, and so are A and a. */
static char fold(char c)
{
    return c == '_' ? '-' : ferry_ascii_lower(c);
}

/* Letters put in, left out, changed, or two of them swapped. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m)
{
    unsigned rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *now = rows[2];

    for (unsigned j = 0; j <= m; j++)
        last[j] = j;
    for (unsigned i = 1; i <= n; i++) {
        unsigned *unused = before;

        now[0] = i;
        for (unsigned j = 1; j <= m; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);

            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + !same);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
        before = last;
        last = now;
        now = unused;
    }
    return last[m];
}

const char *ferry__nearest(const char *word, const char *(*next)(void *, unsigned i), void *arg)
{
    size_t n = strlen(word);
    unsigned best = (unsigned)(n / 3 + 1), found;
    const char *name, *nearest = NULL;

    if (n > WORD_MAX)
        return NULL;
    for (unsigned i = 0; (name = next(arg, i)); i++) {
        size_t m = strlen(name);

        if (m > WORD_MAX)
            continue;
        found = distance(word, n, name, m);
        if (found <= best && found < m) {
            best = found;
            if (found == 0)
                return name;
            best--; /* the next must be nearer */
            nearest = name;
        }
    }
    return nearest;
}
