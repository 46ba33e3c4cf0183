/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_CONFINE_H
#define FERRY_CLI_CONFINE_H

#include "cli/engine.h"

/*
 * Takes from a worker what its configuration says it shall not have: the user it was, and what the
 * sandbox does not leave it. Then sees whether what is left suffices to read each root and error
 * page. 0, or an error of a root, and said why. `spool` is the folder for bodies that wait, NULL
 * without a sandbox.
 */
FERRY_MUST_CHECK
int ferry_confine(const struct ferry_generation *, const char *spool, bool verbose);

#endif
