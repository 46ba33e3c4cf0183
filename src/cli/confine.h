/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_CONFINE_H
#define FERRY_CLI_CONFINE_H

#include "cli/engine.h"

/*
 * Takes from a worker what its configuration says it shall not have: the user it was, and what the
 * sandbox does not leave it. 0, or an error, and said why. `spool` is the folder for bodies that
 * wait, NULL without a sandbox.
 */
FERRY_MUST_CHECK
int ferry_confine(const struct ferry_engine *, const struct ferry_generation *, const char *spool);

/* For an engine's service to say what the sandbox leaves: a file or folder to be read; one that may
 * be reached over symbolic links that are switched while it is served; a folder to be written to.
 */
void ferry_keep_readable(struct ferry_keep *, const char *path);
void ferry_keep_root(struct ferry_keep *, const char *path);
void ferry_keep_writable(struct ferry_keep *, const char *path);

#endif
