/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_RUN_DIR_H
#define FERRY_PROC_RUN_DIR_H

#include <stdbool.h>

#include "ferry/err.h"

#define FERRY__RUN_DIR_MAX 96  /* room for its path ... */
#define FERRY__RUN_NAME_MAX 12 /* ... and for "/name" of what is in it */

/*
 * Makes an empty directory of mode 0700 for the files of one application: in $XDG_RUNTIME_DIR when
 * that is private and `for_other_user` is not set, else in /tmp. Its path has only letters, digits
 * and "/._-". 0; or -errno, and `out` is "".
 */
FERRY_MUST_CHECK
int ferry__run_dir_make(bool for_other_user, char out[FERRY__RUN_DIR_MAX]);

#endif
