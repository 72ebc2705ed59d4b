/*
 * multipart_find.c: where a multipart delimiter is, at the speed of memory.
 *
 * Knows that a delimiter is CR LF - - and characters that are no CR, and
 * nothing else of multipart.  Since its only CR comes first, a delimiter never
 * overlaps itself: whatever is compared, a search stays linear.
 */

#include "multipart_find.h"

#include <stdint.h>
#include <string.h>


#define SLUICE_MULTIPART_BLOCK  64    /* bytes that one step looks at */


typedef signed char  sluice_multipart_vec_t __attribute__((vector_size(16)));

typedef union {
    sluice_multipart_vec_t  v;
    uint64_t                word[2];
} sluice_multipart_hits_t;


static sluice_multipart_vec_t
sluice_multipart_equal(const char *p, sluice_multipart_vec_t c)
{
    sluice_multipart_vec_t  v;

    memcpy(&v, p, sizeof(v));

    return v == c;
}


static sluice_multipart_vec_t
sluice_multipart_splat(char c)
{
    sluice_multipart_vec_t  v;

    memset(&v, c, sizeof(v));

    return v;
}


static unsigned
sluice_multipart_any(sluice_multipart_vec_t v)
{
    sluice_multipart_hits_t  hits;

    hits.v = v;

    return (hits.word[0] | hits.word[1]) != 0;
}


static uint64_t
sluice_multipart_word(const char *p)
{
    uint64_t  word;

    memcpy(&word, p, sizeof(word));

    return word;
}


/* memcmp() without its call; the caller has compared the first byte */
static unsigned
sluice_multipart_same(const char *p, const char *delim, size_t len)
{
    size_t  i;

    for (i = 1; len - i >= 8; i += 8) {
        if (sluice_multipart_word(p + i) != sluice_multipart_word(delim + i)) {
            return 0;
        }
    }

    for ( /* void */ ; i < len; i++) {
        if (p[i] != delim[i]) {
            return 0;
        }
    }

    return 1;
}


/*
 * Look closer at a block with a hit.  What passes here lies at least five bytes
 * apart, and comparisons by the word without a call keep even text that is made
 * of the delimiter's beginnings cheap.
 */
static const char *
sluice_multipart_confirm(const char *p, const char *delim, size_t len)
{
    size_t                   i;
    unsigned                 bit;
    uint64_t                 word;
    const char              *end, *at;
    sluice_multipart_vec_t   cr, lf, dash, tail;
    sluice_multipart_hits_t  hits;

    cr = sluice_multipart_splat('\r');
    lf = sluice_multipart_splat('\n');
    dash = sluice_multipart_splat('-');
    tail = sluice_multipart_splat(delim[len - 1]);

    for (end = p + SLUICE_MULTIPART_BLOCK; p < end; p += sizeof(hits)) {

        hits.v = sluice_multipart_equal(p, cr)
                 & sluice_multipart_equal(p + 1, lf)
                 & sluice_multipart_equal(p + 2, dash)
                 & sluice_multipart_equal(p + 3, dash)
                 & sluice_multipart_equal(p + len - 1, tail);

        for (i = 0; i < 2; i++) {
            word = hits.word[i];
#if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
            word = __builtin_bswap64(word);
#endif
            while (word) {
                bit = __builtin_ctzll(word) & ~7u;
                at = p + i * 8 + bit / 8;

                if (sluice_multipart_same(at, delim, len)) {
                    return at;
                }

                word &= ~((uint64_t) 0xff << bit);
            }
        }
    }

    return NULL;
}


/*
 * A place is a hit when a CR stands there and the delimiter's last byte where a
 * delimiter would end.  Random data has one in 64 KB, data made of CR LF none.
 * Vectors of the compiler's own kind, 16 bytes being native everywhere, compare
 * about as fast as memory delivers.
 */
const char *
sluice_multipart_find(const char *p, size_t size, const char *delim, size_t len)
{
    size_t                      i;
    const char                 *end, *found;
    sluice_multipart_vec_t      cr, tail, hits;

    if (size < len) {
        return NULL;
    }

    end = p + size - len + 1;          /* a delimiter begins before it */

    cr = sluice_multipart_splat('\r');
    tail = sluice_multipart_splat(delim[len - 1]);

    for ( /* void */ ; end - p >= SLUICE_MULTIPART_BLOCK;
         p += SLUICE_MULTIPART_BLOCK)
    {
        hits = sluice_multipart_splat(0);

        for (i = 0; i < SLUICE_MULTIPART_BLOCK; i += sizeof(hits)) {
            hits |= sluice_multipart_equal(p + i, cr)
                    & sluice_multipart_equal(p + i + len - 1, tail);
        }

        if (!sluice_multipart_any(hits)) {
            continue;
        }

        found = sluice_multipart_confirm(p, delim, len);
        if (found != NULL) {
            return found;
        }
    }

    while (p < end) {
        p = memchr(p, '\r', end - p);

        if (p == NULL || sluice_multipart_same(p, delim, len)) {
            return p;
        }

        p++;
    }

    return NULL;
}


/* How many bytes at the end of buf begin a delimiter. */
size_t
sluice_multipart_partial(const char *buf, size_t size, const char *delim,
    size_t len)
{
    size_t  n, max;

    max = (size < len - 1) ? size : len - 1;

    for (n = 1; n <= max; n++) {
        if (buf[size - n] == '\r') {
            return memcmp(buf + size - n, delim, n) == 0 ? n : 0;
        }
    }

    return 0;
}
