/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_PATHS_H
#define FERRY_CLI_PATHS_H

#include "config/config.h"

/*
 * Looks at the folders and files that a configuration says are to be read, with the rights of
 * whoever asks, and says what is wrong. A folder to serve from that cannot be entered is an error:
 * the first of them is returned. An error page that cannot be read is a warning. 0 otherwise. Each
 * path is said once.
 */
FERRY_MUST_CHECK
int ferry_paths_look(const struct ferry_config *, ferry_config_say, void *arg);

/* Likewise at the programs that are to be started. One that cannot be found is a warning: it may
 * come with the machine that the file is for. */
void ferry_programs_look(const struct ferry_config *, ferry_config_say, void *arg);

#endif
