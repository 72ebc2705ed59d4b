/*
 * keyslot.c: which slot of a Redis cluster a key belongs to.
 *
 * Owns the rule and nothing else.  Bit by bit: a key's tag has some thirty
 * bytes and is looked at once a round trip.
 */

#include "core/keyslot.h"

#include <stdint.h>
#include <string.h>

#define KEYSLOT_POLYNOMIAL  0x1021


static uint16_t
keyslot_crc(const char *s, size_t len)
{
    uint16_t  crc = 0;

    for (size_t i = 0; i < len; i++) {
        crc ^= (uint16_t) ((unsigned char) s[i] << 8);
        for (int bit = 0; bit < 8; bit++) {
            int  high = crc & 0x8000;

            crc = (uint16_t) (crc << 1);
            if (high) {
                crc ^= KEYSLOT_POLYNOMIAL;
            }
        }
    }
    return crc;
}


unsigned
keyslot(const char *key, size_t len)
{
    const char  *open = len > 0 ? memchr(key, '{', len) : NULL;

    if (open != NULL) {
        const char  *tag = open + 1;
        const char  *end = memchr(tag, '}', len - (size_t) (tag - key));

        if (end != NULL && end > tag) {
            key = tag;
            len = (size_t) (end - tag);
        }
    }
    return keyslot_crc(key, len) % KEYSLOTS;
}
