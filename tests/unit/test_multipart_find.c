/*
 * test_multipart_find.c: the search for a delimiter against a naive one.
 *
 * The text is made of the delimiter's own pieces, so that near misses abound,
 * and lies in a heap block of its exact size, so ASan sees a read beyond it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "multipart_find.h"

#include <stdlib.h>
#include <string.h>


static const char *
find_naively(const char *p, size_t size, const char *delim, size_t len)
{
    size_t  i;

    for (i = 0; i + len <= size; i++) {
        if (memcmp(p + i, delim, len) == 0) {
            return p + i;
        }
    }

    return NULL;
}


static size_t
partial_naively(const char *p, size_t size, const char *delim, size_t len)
{
    size_t  n;

    for (n = size < len - 1 ? size : len - 1; n > 0; n--) {
        if (memcmp(p + size - n, delim, n) == 0) {
            break;
        }
    }

    return n;
}


static void
test_search_agrees_with_a_naive_one_on_random_text(void **state)
{
    char      delim[80], *text;
    size_t    i, len, size, at, n;
    uint32_t  seed;
    unsigned  round;

    (void) state;

    seed = 2463534242u;

    for (round = 0; round < 20000; round++) {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;

        memcpy(delim, "\r\n--", 4);
        len = 5 + seed % (round % 2 ? 70 : 6);

        for (i = 4; i < len; i++) {
            delim[i] = "ab-"[(seed >> (i % 20)) % 3];
        }

        size = (seed >> 8) % 400;
        text = malloc(size ? size : 1);
        assert_non_null(text);

        /* pieces of the delimiter, so that near misses abound */
        for (i = 0; i < size; i += n) {
            seed = seed * 1664525u + 1013904223u;
            at = (seed >> 24) % 3 ? 0 : (seed >> 16) % len;
            n = 1 + (seed >> 8) % (len - at);
            n = n < size - i ? n : size - i;
            memcpy(text + i, delim + at, n);
        }

        assert_ptr_equal(sluice_multipart_find(text, size, delim, len),
                         find_naively(text, size, delim, len));
        assert_int_equal(sluice_multipart_partial(text, size, delim, len),
                         partial_naively(text, size, delim, len));
        free(text);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_search_agrees_with_a_naive_one_on_random_text)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
