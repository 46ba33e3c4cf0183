/* SPDX-License-Identifier: MIT */
#ifndef FERRY_CLI_MAIL_PROBE_H
#define FERRY_CLI_MAIL_PROBE_H

#include "config/config.h"
#include "mail/verdict.h"

/*
 * What `ferry mail check` asks a script. The message that save is given is as large as one may
 * become, and nothing but bytes that a form makes three of; its stage is `probe`, so that a script
 * can look at all of it and store nothing.
 */

#define FERRY_MAIL_PROBE_PARAMS_MAX 24
#define FERRY_MAIL_PROBE_TOKEN "6665727279206d61696c20636865636b"

struct ferry_mail_probe {
    /* Set by the owner. */
    const struct ferry_config *config;
    const struct ferry_config_mail *mail;
    const char *name; /* of the script: "save" */
    const struct ferry_mail_script *script;
    const char *application;
    enum ferry_mail_question question;
    const char *rcpt; /* 300 bytes at most */
    bool named_rcpt;  /* by the user: PASS is expected */

    /* What is sent. */
    struct ferry_param params[FERRY_MAIL_PROBE_PARAMS_MAX];
    unsigned nparams;
    struct ferry_slice body;

    uint64_t size;   /* of the message */
    char sha256[65]; /* of the same */
    char number[32], query[1024];
    char *memory;
};

/* 0 or -ENOMEM; to be given to _fini in any case. */
FERRY_MUST_CHECK
int ferry_mail_probe_make(struct ferry_mail_probe *);
void ferry_mail_probe_fini(struct ferry_mail_probe *);

#endif
