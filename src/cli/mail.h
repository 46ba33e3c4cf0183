/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_MAIL_H
#define FERRY_CLI_MAIL_H

#include "cli/service.h"

/* What the files of the program ferry-mail share. */

#define FERRY_MAIL_OPTIONS_LISTEN_MAX 64
#define FERRY_MAIL_OPTIONS_SET_MAX 64

/* What `ferry mail` was asked for. Only one of config, guerrilla and all the rest is. */
struct ferry_mail_options {
    const char *config, *guerrilla;
    const char *listen[FERRY_MAIL_OPTIONS_LISTEN_MAX];
    unsigned nlisten;
    const char *hosts; /* with commas between them */
    const char *app, *validate, *save, *auth, *maildir;
    const char *hostname, *max_size, *tls_cert, *tls_key, *tls, *log, *io, *threads;
    const char *set[FERRY_MAIL_OPTIONS_SET_MAX]; /* NAME=VALUE */
    unsigned nset;
    bool lmtp, accept_all;
    const char *said; /* one of those that stand in a configuration otherwise; NULL: none was */
};

/* Reads the file, or makes a configuration of the options: 0, or FERRY_EUSAGE and others, and all
 * that is wrong was said. */
FERRY_MUST_CHECK
int ferry_mail_options_read(const struct ferry_mail_options *, bool quiet,
                            struct ferry_config **out);

/* All that only the mail gateway knows of a configuration, certificates too. 0 or an error, and
 * said. */
FERRY_MUST_CHECK
int ferry_mail_service_check(struct ferry_config *);

/* Mail, for an engine. */
extern const struct ferry_service_ops ferry_mail_service_ops;

/* `ferry mail check`: the exit code. */
int ferry_mail_check(int argc, char **argv);

#endif
