/* SPDX-License-Identifier: MIT */
/* Values with units, as people write them: "30s" and "64M", read and written. */
#include <stdio.h>
#include <strings.h>

#include "base/slice.h"
#include "config/private.h"

struct unit {
    const char *name;
    uint64_t n;
};

/* From the largest. */
static const struct unit durations[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000},
                                        {"s", 1000},     {"ms", 1},      {NULL, 0}};
static const struct unit sizes[] = {
    {"G", 1 << 30}, {"M", 1 << 20}, {"k", 1 << 10}, {"", 1}, {NULL, 0}};

/* The digits at the front, and the unit behind them; false when there are no digits, or too many.
 */
static bool split(const char *text, uint64_t *n, const char **unit)
{
    size_t digits = strspn(text, "0123456789");

    *unit = text + digits;
    return ferry_slice_u64(ferry_slice(text, digits), UINT64_MAX / 2, n) == 0;
}

int ferry__value_number(const char *text, uint64_t *out, const char **why)
{
    const char *rest;
    uint64_t n;

    *why = "a whole number is expected";
    if (!split(text, &n, &rest) || *rest)
        return FERRY_EUSAGE;
    *out = n;
    return 0;
}

int ferry__value_switch(const char *text, bool *out, const char **why)
{
    *why = "'on' or 'off' is expected";
    if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
        return FERRY_EUSAGE;
    *out = text[1] == 'n';
    return 0;
}

int ferry__value_duration(const char *text, uint64_t *ms, const char **why)
{
    const char *unit;
    uint64_t n;

    *why = "a duration is expected: 250ms, 30s, 5m, 2h or 1d";
    if (!split(text, &n, &unit))
        return FERRY_EUSAGE;
    if (*unit == 0 && n == 0) {
        *ms = 0;
        return 0;
    }
    if (*unit == 0)
        *why = "a duration needs its unit: 250ms, 30s, 5m, 2h or 1d";
    for (const struct unit *u = durations; u->name; u++)
        if (strcmp(unit, u->name) == 0) {
            *why = "the longest duration is 24d";
            if (n > FERRY__DURATION_MAX / u->n)
                return FERRY_EUSAGE;
            *ms = n * u->n;
            return 0;
        }
    return FERRY_EUSAGE;
}

int ferry__value_size(const char *text, uint64_t *bytes, const char **why)
{
    const char *unit;
    uint64_t n;

    *why = "a size is expected: 1000, 64k, 10M or 1G";
    if (!split(text, &n, &unit))
        return FERRY_EUSAGE;
    for (const struct unit *u = sizes; u->name; u++)
        if (strcasecmp(unit, u->name) == 0) {
            *why = "the largest size is 1048576G";
            if (n > FERRY__SIZE_MAX / u->n)
                return FERRY_EUSAGE;
            *bytes = n * u->n;
            return 0;
        }
    return FERRY_EUSAGE;
}

static void put(uint64_t n, const struct unit *u, char *out)
{
    while (u[1].name && (n == 0 || n % u->n))
        u++;
    snprintf(out, FERRY__VALUE_MAX, "%llu%s", (unsigned long long)(n / u->n), n ? u->name : "");
}

void ferry__value_put_duration(uint64_t ms, char out[FERRY__VALUE_MAX])
{
    put(ms, durations, out);
}

void ferry__value_put_size(uint64_t bytes, char out[FERRY__VALUE_MAX])
{
    put(bytes, sizes, out);
}
