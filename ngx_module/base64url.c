/*
 * base64url.c: see base64url.h.
 */

#include "base64url.h"

#include <stdint.h>


static int base64url_value(char c);


int
sluice_base64url_decode(unsigned char *dst, size_t *n, const char *src,
    size_t len)
{
    int             value;
    size_t          i;
    unsigned        bits;
    uint32_t        acc;
    unsigned char  *p;

    if (len % 4 == 1) {
        return -1;
    }

    p = dst;
    acc = 0;
    bits = 0;

    for (i = 0; i < len; i++) {

        value = base64url_value(src[i]);
        if (value == -1) {
            return -1;
        }

        acc = (acc << 6 | (uint32_t) value) & 0xfff;
        bits += 6;

        if (bits >= 8) {
            bits -= 8;
            *p++ = (unsigned char) (acc >> bits);
        }
    }

    if ((acc & ((1u << bits) - 1)) != 0) {
        return -1;
    }

    *n = (size_t) (p - dst);

    return 0;
}


static int
base64url_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }

    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }

    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }

    if (c == '-') {
        return 62;
    }

    return (c == '_') ? 63 : -1;
}
