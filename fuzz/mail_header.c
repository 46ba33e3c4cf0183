/* SPDX-License-Identifier: MIT */
/* The header of a message: whatever it holds, what is made of it is short, readable text. */
#include <stdint.h>
#include <stdlib.h>

#include "mail/message.h"
#include "smtp/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, size_t max)
{
    struct ferry_slice s = ferry_slice_z(text);
    uint32_t number;
    size_t n;

    if (s.len > max)
        abort();
    for (; s.len; s = ferry_slice_from(s, n)) {
        n = ferry__smtp_utf8(s, &number);
        if (n == 0 || number < 0x20 || (number >= 0x7f && number <= 0x9f))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ferry_mail_header h;
    void *memory;

    if (ferry_mail_header_read(ferry_slice((const char *)data, size), &h, &memory) < 0)
        return 0;
    check(h.subject, 4096);
    check(h.subject_raw, 16384);
    check(h.message_id, 4096);
    check(h.from, 4096);
    check(h.to, 4096);
    check(h.date, 4096);
    if (h.len > size || !h.subject != !h.subjects || !h.subject != !h.subject_raw)
        abort();
    ferry_mail_header_free(memory);
    return 0;
}
