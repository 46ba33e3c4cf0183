/* SPDX-License-Identifier: MIT */
/* Parameters of MAIL and RCPT: what was read is harmless text, and read twice it is the same. */
#include <stdlib.h>

#include "smtp/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void check_text(const char *z, size_t max)
{
    size_t n = strlen(z);

    must(n <= max);
    for (size_t i = 0; i < n; i++)
        must((unsigned char)z[i] >= ' ' && z[i] != 0x7f);
}

static void check_reply(enum ferry_smtp_reply reply, struct ferry_slice detail,
                        struct ferry_slice s)
{
    must(reply == FERRY_SMTP_NONE || reply == FERRY_SMTP_BAD_PARAM ||
         reply == FERRY_SMTP_UNKNOWN_PARAM);
    must((reply == FERRY_SMTP_UNKNOWN_PARAM) == (detail.len > 0));
    if (detail.len)
        must(detail.p >= s.p && detail.p + detail.len <= s.p + s.len);
}

/* Parameters may come in any order, and with any blanks around. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_slice s, detail;
    struct ferry_smtp_mail_params from;
    struct ferry_smtp_rcpt_params to;
    enum ferry_smtp_reply reply;
    unsigned allowed;

    if (n == 0)
        return 0;
    allowed = data[0] & 63;
    s = ferry_slice((const char *)data + 1, n - 1);
    reply = ferry_smtp_mail_params(s, allowed, &from, &detail);
    check_reply(reply, detail, s);
    if (reply == FERRY_SMTP_NONE) {
        check_text(from.auth, FERRY_SMTP_ADDRESS_MAX);
        check_text(from.envid, FERRY_SMTP_ENVID_MAX);
        must(from.has_envid == (from.envid[0] != 0));
        must(from.has_auth || !from.auth[0]);
        must((allowed & FERRY_SMTP_PARAM_SIZE) || !from.has_size);
        must((allowed & FERRY_SMTP_PARAM_SMTPUTF8) || !from.smtputf8);
        must((allowed & FERRY_SMTP_PARAM_BINARYMIME) || from.body != FERRY_SMTP_BINARYMIME);
        must((allowed & FERRY_SMTP_PARAM_DSN) || (!from.has_envid && !from.ret));
    }
    reply = ferry_smtp_rcpt_params(s, allowed, data[0] & 64, &to, &detail);
    check_reply(reply, detail, s);
    if (reply == FERRY_SMTP_NONE) {
        check_text(to.orcpt, FERRY_SMTP_ORCPT_MAX);
        must(to.notify == FERRY_SMTP_NOTIFY_NEVER || !(to.notify & FERRY_SMTP_NOTIFY_NEVER));
        must(to.notify < 16);
        must(!to.orcpt[0] || strchr(to.orcpt, ';'));
        must((allowed & FERRY_SMTP_PARAM_DSN) || (!to.notify && !to.orcpt[0]));
    }
    return 0;
}
