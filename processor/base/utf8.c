/*
 * utf8.c: reading UTF-8 strictly.
 *
 * Owns what is a character and which characters may stand in a name.  Does
 * not repair anything: the module did that before the record was written, so
 * what is wrong here was written by somebody else.
 */

#include "base/utf8.h"


size_t
utf8_next(const char *s, size_t len, uint32_t *cp)
{
    const unsigned char  *p = (const unsigned char *) s;
    uint32_t              c, least;
    size_t                n;

    if (len == 0) {
        return 0;
    }

    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }

    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2;
        c = p[0] & 0x1f;
        least = 0x80;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        n = 3;
        c = p[0] & 0x0f;
        least = 0x800;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4;
        c = p[0] & 0x07;
        least = 0x10000;
    } else {
        return 0;
    }

    if (len < n) {
        return 0;
    }

    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (p[i] & 0x3f);
    }

    if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return 0;
    }

    *cp = c;
    return n;
}


int
utf8_is_plain(uint32_t cp)
{
    if (cp < 0x20 || (cp >= 0x7f && cp <= 0x9f)) {
        return 0;
    }

    if (cp == 0x061c || cp == 0x200e || cp == 0x200f) {
        return 0;
    }

    /* U+2028 and U+2029 end a line for many readers of logs and JSON. */
    return !(cp >= 0x2028 && cp <= 0x202e) && !(cp >= 0x2066 && cp <= 0x2069);
}


int
utf8_text_is_plain(const char *s, size_t len)
{
    uint32_t  cp;

    while (len > 0) {
        size_t  n = utf8_next(s, len, &cp);

        if (n == 0 || !utf8_is_plain(cp)) {
            return 0;
        }
        s += n;
        len -= n;
    }

    return 1;
}
