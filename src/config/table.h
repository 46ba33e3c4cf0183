/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CONFIG_TABLE_H
#define FERRY_CONFIG_TABLE_H

#include "config/private.h"

/* How the tables of settings are written. AT(member) is the offset in the block's struct. */

/* (setting, type, member, fallback, help): what only some have comes behind it. */
#define SETTING(n, t, m, f, h, ...)                                                                \
    {                                                                                              \
        .name = (n), .type = FERRY__SETTING_##t, .offset = AT(m), .fallback = (f), .help = (h),    \
        __VA_ARGS__                                                                                \
    }
/* (setting, form, fallback, read, print, help) */
#define OTHER(n, f, d, r, p, h, ...)                                                               \
    {                                                                                              \
        .name = (n), .type = FERRY__SETTING_OTHER, .form = (f), .fallback = (d),                   \
        .read = ferry__read_##r, .print = ferry__print_##p, .help = (h), __VA_ARGS__               \
    }

extern const struct ferry__setting ferry__mail_settings[];

#endif
