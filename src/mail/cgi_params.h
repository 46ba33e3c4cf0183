/* SPDX-License-Identifier: MIT */
#ifndef FERRY_MAIL_CGI_PARAMS_H
#define FERRY_MAIL_CGI_PARAMS_H

#include "mail/fields.h"

/* The params of a request to a script: what RFC 3875 wants, and the table of fields. */

#define FERRY__MAIL_PARAM_MAX 8192       /* bytes of a value: longer ones are cut */
#define FERRY__MAIL_LIST_PARAM_MAX 32768 /* a longer list of recipients is left out */

struct ferry__mail_request {
    const struct ferry__mail_about *about;
    const char *script; /* SCRIPT_FILENAME */
    struct ferry_slice query;
    const char *type; /* of the body; NULL: there is none, and the method is GET */
    uint64_t length;
    bool has_form; /* recipients are told of there, and not here */
};

/* 0; -ENOMEM or FERRY_ELIMIT. */
FERRY_MUST_CHECK
int ferry__mail_params(struct ferry_exchange *, const struct ferry__mail_request *);

#endif
