/*
 * pg_array.c: an array's literal, built row by row.
 *
 * Owns its text and the quoting.  Does not know what becomes of it, nor libpq:
 * one parameter of a statement is many rows of a column.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/pg.h"


static void
pg_array_put(pg_array_t *a, const char *s, size_t len)
{
    if (a->len + len > a->cap) {
        a->cap = (a->len + len) * 2 + 256;
        a->text = mem_grow(a->text, a->cap, 1);
    }
    memcpy(a->text + a->len, s, len);
    a->len += len;
}


void
pg_array_reset(pg_array_t *a)
{
    a->len = 0;
}


void
pg_array_str(pg_array_t *a, const char *s, size_t len)
{
    pg_array_put(a, a->len == 0 ? "{\"" : ",\"", 2);

    for (size_t from = 0, i = 0; i <= len; i++) {
        if (i == len) {
            pg_array_put(a, s + from, i - from);
        } else if (s[i] == '"' || s[i] == '\\') {
            pg_array_put(a, s + from, i - from);
            pg_array_put(a, "\\", 1);
            from = i;
        }
    }

    pg_array_put(a, "\"", 1);
}


void
pg_array_int(pg_array_t *a, int64_t n)
{
    char  text[24];
    int   len = snprintf(text, sizeof(text), "%c%" PRId64,
                         a->len == 0 ? '{' : ',', n);

    pg_array_put(a, text, (size_t) len);
}


const char *
pg_array_end(pg_array_t *a)
{
    pg_array_put(a, a->len == 0 ? "{}" : "}", a->len == 0 ? 3 : 2);
    a->len--;                                      /* the NUL stays behind */
    return a->text;
}


void
pg_array_free(pg_array_t *a)
{
    free(a->text);
    memset(a, 0, sizeof(*a));
}
