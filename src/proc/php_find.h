/* SPDX-License-Identifier: MIT */
#ifndef FERRY_PROC_PHP_FIND_H
#define FERRY_PROC_PHP_FIND_H

#include <stddef.h>

#include "ferry/err.h"

enum ferry_php_kind { FERRY_PHP_FPM, FERRY_PHP_CGI };

struct ferry_php_program {
    enum ferry_php_kind kind;
    char path[1024];
    char name[32]; /* "php-fpm 8.2"; without the version when neither name nor program tells it */
};

/*
 * The PHP to run. `given` (a path, or a name looked up in PATH) may be NULL: then php-fpm is looked
 * for in PATH and where distributions put it, without a version in its name or with the highest
 * one; then php-cgi the same way. A given program whose name says nothing is run with -v. 0;
 * -ENOENT when there is none (with the command that installs it), FERRY_EUSAGE for something that
 * is not php-fpm or php-cgi, or -errno; `why` is one sentence without a full stop then.
 */
FERRY_MUST_CHECK
int ferry_php_find(const char *given, struct ferry_php_program *out, char *why, size_t cap);

#endif
