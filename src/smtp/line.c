/* SPDX-License-Identifier: MIT */
/*
 * Command lines. One that lies whole in the input is used where it lies; only one that comes in
 * pieces is collected, in a buffer that lives as long as the line. One that is too long is thrown
 * away up to its end, so that it gets one reply and what follows is understood again; but not for
 * ever.
 */
#include "smtp/smtp_internal.h"
#include "smtp/utf8.h"

void ferry__smtp_line_done(struct ferry_smtp *m)
{
    volatile char *p = m->line;

    /* It may have held a password. */
    for (uint32_t i = 0; i < m->line_len; i++)
        p[i] = 0;
    free(m->line);
    m->line = NULL;
    m->line_len = 0;
    m->skipped = 0;
}

static size_t skip(struct ferry_smtp *m, size_t len, bool whole, enum ferry__smtp_line *out)
{
    uint64_t skipped = (uint64_t)m->skipped + m->line_len + len;

    ferry__smtp_line_done(m);
    if (skipped > FERRY__SMTP_SKIP_MAX)
        *out = FERRY__SMTP_LINE_ENDLESS;
    else if (whole)
        *out = FERRY__SMTP_LINE_LONG;
    else
        m->skipped = (uint32_t)skipped;
    return len;
}

size_t ferry__smtp_line_take(struct ferry_smtp *m, const char *p, size_t n, size_t max,
                             enum ferry__smtp_line *out, struct ferry_slice *line)
{
    const char *lf = memchr(p, '\n', n);
    size_t len = lf ? (size_t)(lf + 1 - p) : n;

    *out = FERRY__SMTP_LINE_MORE;
    if (!m->line_len && !m->skipped)
        m->wait_since = m->now_ms;
    if (m->skipped || m->line_len + len > max)
        return skip(m, len, lf, out);
    if (lf)
        *out = FERRY__SMTP_LINE_WHOLE;
    if (lf && !m->line) {
        *line = ferry_slice(p, len);
        return len;
    }
    if (!m->line)
        m->line = malloc(max);
    if (!m->line) {
        *out = FERRY__SMTP_LINE_NOMEM;
        return len;
    }
    memcpy(m->line + m->line_len, p, len);
    m->line_len += (uint32_t)len;
    *line = ferry_slice(m->line, m->line_len);
    return len;
}

bool ferry__smtp_line_chop(struct ferry_slice *line, bool bare_lf)
{
    line->len--;
    if (line->len && line->p[line->len - 1] == '\r')
        line->len--;
    else if (!bare_lf)
        return false;
    return true;
}

bool ferry__smtp_line_good(struct ferry_slice s)
{
    while (s.len) {
        uint32_t c;
        size_t n = ferry__smtp_utf8(s, &c);

        if (n == 0 || (c < 0x20 && c != '\t') || c == 0x7f)
            return false;
        s = ferry_slice_from(s, n);
    }
    return true;
}
