/*
 * row.c: a row's fixed part to text and back.
 *
 * Owns the encoding, nothing else.  Reading refuses what writing can't have
 * made: the text comes from another program's memory.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/row.h"


static char *
row_put(char *p, const char *s, size_t len)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) s[i];

        if (c <= 0x20 || c == 0x7f || c == '%') {
            *p++ = '%';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];

        } else {
            *p++ = (char) c;
        }
    }

    return p;
}


size_t
row_write(const record_t *rec, const char *object, char text[ROW_TEXT_MAX])
{
    char *p = row_put(text, object, strlen(object));

    *p++ = ' ';
    p = row_put(p, rec->type, rec->type_len);
    p += sprintf(p, " %lld %lld %lld ", (long long) rec->size,
                 (long long) rec->ts_ms, (long long) rec->offset);
    p = row_put(p, rec->id, rec->id_len);
    *p++ = ' ';
    p = row_put(p, rec->name, rec->name_len);
    *p = '\0';

    return (size_t) (p - text);
}


static int
row_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}


/* One word into out; returns what follows its space, or NULL. */
static const char *
row_word(const char *p, const char *end, char *out, size_t size)
{
    size_t n = 0;

    while (p < end && *p != ' ') {
        char c = *p++;

        if (c == '%') {
            if (end - p < 2 || row_hex(p[0]) < 0 || row_hex(p[1]) < 0) {
                return NULL;
            }

            c = (char) (row_hex(p[0]) << 4 | row_hex(p[1]));
            p += 2;
        }

        if (c == '\0' || n + 1 >= size) {
            return NULL;
        }

        out[n++] = c;
    }

    out[n] = '\0';

    return p < end ? p + 1 : p;
}


static const char *
row_number(const char *p, const char *end, int64_t *number)
{
    char   word[24];
    char  *rest;

    p = row_word(p, end, word, sizeof(word));

    if (p == NULL || word[0] < '0' || word[0] > '9') {
        return NULL;
    }

    *number = strtoll(word, &rest, 10);

    return *rest == '\0' ? p : NULL;
}


int
row_parse(const char *text, size_t len, row_t *row)
{
    const char *p = text, *end = text + len;
    size_t      spaces = 0;

    for (const char *s = text; s < end; s++) {
        spaces += *s == ' ';
    }

    if (spaces != 6) {
        return -1;
    }

    p = row_word(p, end, row->object, sizeof(row->object));
    p = p ? row_word(p, end, row->type, sizeof(row->type)) : NULL;
    p = p ? row_number(p, end, &row->size) : NULL;
    p = p ? row_number(p, end, &row->first_seen_ms) : NULL;
    p = p ? row_number(p, end, &row->first_offset) : NULL;
    p = p ? row_word(p, end, row->upload, sizeof(row->upload)) : NULL;
    p = p ? row_word(p, end, row->name, sizeof(row->name)) : NULL;

    return p == end ? 0 : -1;
}
