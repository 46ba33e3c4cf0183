/* SPDX-License-Identifier: MIT */
/*
 * Records as text: any bytes give lines, the same however they are cut, each of one line of
 * printable text and of bounded length.
 */
#include "trace/notation.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static char *show(const struct ferry_notation_opts *opts, const uint8_t *p, size_t n, size_t step,
                  size_t *len)
{
    struct ferry_notation *notation = ferry_notation_new(opts);
    char *text = NULL;
    FILE *out = open_memstream(&text, len);

    must(notation && out);
    for (size_t at = 0; at < n; at += step)
        must(ferry_notation_bytes(notation, p + at, n - at < step ? n - at : step, out) == 0);
    must(ferry_notation_end(notation, out) == 0);
    must(fclose(out) == 0);
    ferry_notation_free(notation);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ferry_notation_opts opts = {.speaker = "A"};
    size_t len, again_len, step, line = 0;
    char *text, *again;

    if (n < 2)
        return 0;
    opts.text_max = data[0] >> 2;
    opts.ids = data[0] & 1;
    opts.binary = data[0] & 2;
    step = data[1] + 1u;
    data += 2;
    n -= 2;
    text = show(&opts, data, n, n + 1, &len);
    again = show(&opts, data, n, step, &again_len);
    must(len == again_len && memcmp(text, again, len) == 0);
    for (size_t i = 0; i < len;) {
        size_t c = text[i] == '\n' ? 1 : ferry__utf8(ferry_slice(text + i, len - i));

        must(c);
        line = text[i] == '\n' ? 0 : line + c;
        must(line < 100 + 8 * (opts.text_max ? opts.text_max : 200) + 64 * 4);
        i += c;
    }
    must(len == 0 || text[len - 1] == '\n');
    free(text);
    free(again);
    return 0;
}
