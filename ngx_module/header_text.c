/*
 * header_text.c: a client's words made safe for a record header.
 *
 * Owns which characters pass.  Does not know what the words are: a file's name,
 * a field's name or a type are all the same to it.
 *
 * What is not UTF-8 becomes U+FFFD as Unicode 3.9 recommends, one for each
 * maximal beginning of a character, so that other decoders agree on the result.
 */

#include "header_text.h"

#include <stdint.h>
#include <string.h>


/*
 * Read one character of len > 0 bytes.  Sets *size to the bytes it takes, or,
 * when it is not UTF-8, to the bytes that one U+FFFD stands for; returns its
 * code point or -1.
 */
static int32_t
sluice_header_decode(const unsigned char *p, size_t len, size_t *size)
{
    size_t    i, n;
    int32_t   code;
    unsigned  low, high;

    *size = 1;
    low = 0x80;
    high = 0xbf;

    if (p[0] < 0x80) {
        return p[0];
    }

    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2;
        code = p[0] & 0x1f;

    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        n = 3;
        code = p[0] & 0x0f;

        /* overlong, surrogates */
        low = (p[0] == 0xe0) ? 0xa0 : 0x80;
        high = (p[0] == 0xed) ? 0x9f : 0xbf;

    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4;
        code = p[0] & 0x07;

        /* overlong, over U+10FFFF */
        low = (p[0] == 0xf0) ? 0x90 : 0x80;
        high = (p[0] == 0xf4) ? 0x8f : 0xbf;

    } else {
        return -1;
    }

    for (i = 1; i < n; i++) {
        if (i == len || p[i] < low || p[i] > high) {
            *size = i;
            return -1;
        }

        code = (code << 6) | (p[i] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }

    *size = n;

    return code;
}


static unsigned
sluice_header_is_safe(int32_t code)
{
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f)) {
        return 0;
    }

    if (code == 0x061c || code == 0x200e || code == 0x200f) {
        return 0;
    }

    return !((code >= 0x202a && code <= 0x202e)
             || (code >= 0x2066 && code <= 0x2069));
}


size_t
sluice_header_text(char *dst, size_t max, const char *src, size_t len)
{
    size_t       n, in, out;
    const char  *from;

    for (n = 0; len > 0; src += in, len -= in) {
        out = 3;
        from = "\xef\xbf\xbd";

        /* a decoding error is -1, which is not safe either */

        if (sluice_header_is_safe(sluice_header_decode(
                                  (const unsigned char *) src, len, &in)))
        {
            out = in;
            from = src;
        }

        if (out > max - n) {
            break;
        }

        memcpy(dst + n, from, out);
        n += out;
    }

    return n;
}


const char *
sluice_header_basename(const char *name, size_t *len)
{
    size_t  i, n;

    n = *len;

    for (i = n; i > 0; i--) {
        if (name[i - 1] == '/' || name[i - 1] == '\\') {
            break;
        }
    }

    name += i;
    n -= i;

    if ((n == 1 && name[0] == '.')
        || (n == 2 && name[0] == '.' && name[1] == '.'))
    {
        n = 0;
    }

    *len = n;

    return name;
}
