/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 of envelopes. Well-formedness is decided by the second byte (Unicode 15, table 3-7), so
 * that overlong forms and surrogates never become a character. What is invisible is refused: two
 * addresses that look the same to whoever reads a log must be the same.
 */
#include "smtp/utf8.h"

static const struct {
    uint32_t from, to;
} unseen[] = {
    {0x0000, 0x001f},   {0x007f, 0x009f},   /* C0, DEL, C1 */
    {0x00ad, 0x00ad},                       /* soft hyphen */
    {0x034f, 0x034f},                       /* combining grapheme joiner */
    {0x061c, 0x061c},                       /* Arabic letter mark */
    {0x115f, 0x1160},                       /* Hangul fillers */
    {0x17b4, 0x17b5},                       /* Khmer inherent vowels */
    {0x180b, 0x180f},                       /* Mongolian selectors and separator */
    {0x200b, 0x200f},                       /* zero-width blanks and joiners, LRM, RLM */
    {0x2028, 0x202e},                       /* line and paragraph separators, embeddings */
    {0x2060, 0x206f},                       /* word joiner, invisible operators, isolates */
    {0x3164, 0x3164},                       /* Hangul filler */
    {0xfdd0, 0xfdef},                       /* noncharacters */
    {0xfe00, 0xfe0f},                       /* variation selectors */
    {0xfeff, 0xfeff},                       /* byte order mark */
    {0xffa0, 0xffa0},                       /* half-width Hangul filler */
    {0xfff0, 0xfffb},                       /* unassigned default-ignorables, annotations */
    {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, /* shorthand and musical format controls */
    {0xe0000, 0xe0fff},                     /* tags, more variation selectors */
};

static bool is_seen(uint32_t c)
{
    if ((c & 0xfffe) == 0xfffe) /* a noncharacter, as the last two of each plane are */
        return false;
    for (size_t i = 0; i < sizeof unseen / sizeof *unseen; i++)
        if (c <= unseen[i].to)
            return c < unseen[i].from;
    return true;
}

size_t ferry__smtp_utf8(struct ferry_slice s, uint32_t *out)
{
    const unsigned char *p = (const unsigned char *)s.p;
    unsigned char low = 0x80, high = 0xbf;
    uint32_t c;
    size_t n;

    if (s.len == 0)
        return 0;
    *out = p[0];
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (s.len < n)
        return 0;
    low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : low;
    high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : high;
    if (p[1] < low || p[1] > high)
        return 0;
    c = p[0] & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    *out = c;
    return n;
}

size_t ferry__smtp_char(struct ferry_slice s)
{
    uint32_t c;
    size_t n = ferry__smtp_utf8(s, &c);

    return n && is_seen(c) ? n : 0;
}

bool ferry__smtp_is_text(struct ferry_slice s, bool utf8)
{
    while (s.len) {
        size_t n = ferry__smtp_char(s);

        if (n == 0 || (n > 1 && !utf8))
            return false;
        s = ferry_slice_from(s, n);
    }
    return true;
}
