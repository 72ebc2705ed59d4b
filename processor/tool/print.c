/*
 * print.c: one structure, two faces.
 *
 * Owns the output's shape.  Everything is kept as JSON until the end, since a
 * table's columns are as wide as their widest cell.
 */

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tool/print.h"

struct print_s {
    const char         *list;
    const char *const  *columns;
    size_t              n;
    int                 json;
    size_t              at;          /* the next cell's column */
    json_t             *rows;        /* arrays of cells */
    json_t             *facts;
};


print_t *
print_new(const char *list, const char *const *columns, size_t n, int json)
{
    print_t *p = mem_zalloc(sizeof(*p));

    p->list = list;
    p->columns = columns;
    p->n = n;
    p->json = json;
    p->rows = json_array();
    p->facts = json_object();

    return p;
}


/* What is no UTF-8 or no plain character becomes U+FFFD. */
static json_t *
print_text(const char *s)
{
    static const char  bad[3] = { '\xef', '\xbf', '\xbd' };

    size_t   left = strlen(s), len = 0, n;
    char    *text = mem_alloc(3 * left + 1);

    while (left > 0) {
        uint32_t cp;

        n = utf8_next(s, left, &cp);

        if (n > 0 && utf8_is_plain(cp)) {
            memcpy(text + len, s, n);
            len += n;

        } else {
            memcpy(text + len, bad, sizeof(bad));
            len += sizeof(bad);
        }

        n = n > 0 ? n : 1;
        s += n;
        left -= n;
    }

    json_t *value = json_stringn_nocheck(text, len);

    free(text);

    return value;
}


static void
print_cell(print_t *p, json_t *value)
{
    if (p->at == 0) {
        json_array_append_new(p->rows, json_array());
    }

    json_array_append_new(json_array_get(p->rows,
                                         json_array_size(p->rows) - 1),
                          value);
    p->at = (p->at + 1) % p->n;
}


void
print_str(print_t *p, const char *s)
{
    print_cell(p, s == NULL ? json_null() : print_text(s));
}


void
print_int(print_t *p, int64_t num)
{
    print_cell(p, json_integer(num));
}


void
print_bool(print_t *p, int yes)
{
    print_cell(p, json_boolean(yes));
}


void
print_null(print_t *p)
{
    print_cell(p, json_null());
}


void
print_fact_str(print_t *p, const char *name, const char *s)
{
    json_object_set_new(p->facts, name, print_text(s));
}


void
print_fact_int(print_t *p, const char *name, int64_t num)
{
    json_object_set_new(p->facts, name, json_integer(num));
}


static void
print_as_json(print_t *p)
{
    json_t  *list = json_array(), *row;
    size_t   i;

    json_array_foreach(p->rows, i, row) {
        json_t *object = json_object();

        for (size_t c = 0; c < json_array_size(row); c++) {
            json_object_set(object, p->columns[c], json_array_get(row, c));
        }

        json_array_append_new(list, object);
    }

    json_object_set_new(p->facts, p->list, list);
    json_dumpf(p->facts, stdout, JSON_INDENT(2));
    putchar('\n');
}


static const char *
print_value(const json_t *value, char text[24])
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return json_string_value(value);
    case JSON_INTEGER:
        snprintf(text, 24, "%" PRId64, (int64_t) json_integer_value(value));
        return text;
    case JSON_TRUE:
        return "yes";
    case JSON_FALSE:
        return "no";
    default:
        return "-";
    }
}


/* In characters. */
static int
print_width(const char *s)
{
    int n = 0;

    for (; *s != '\0'; s++) {
        n += ((unsigned char) *s & 0xc0) != 0x80;
    }

    return n;
}


/* Numbers stand to the right; nothing follows the last column. */
static void
print_padded(const char *s, int width, int right, int last)
{
    int pad = width - print_width(s);

    printf("%*s%s%*s%s", right ? pad : 0, "", s,
           right || last ? 0 : pad, "", last ? "\n" : "  ");
}


static void
print_as_table(print_t *p)
{
    int         *widths = mem_zalloc(p->n * sizeof(*widths));
    char        *right = mem_zalloc(p->n);
    char         text[24];
    json_t      *row, *value;
    const char  *name;
    size_t       i;

    json_object_foreach(p->facts, name, value) {
        printf("%s: %s\n", name, print_value(value, text));
    }

    for (size_t c = 0; c < p->n; c++) {
        widths[c] = print_width(p->columns[c]);

        json_array_foreach(p->rows, i, row) {
            int width;

            value = json_array_get(row, c);
            width = value == NULL ? 0
                    : print_width(print_value(value, text));
            widths[c] = width > widths[c] ? width : widths[c];
            right[c] |= json_is_integer(value);
        }
    }

    for (size_t c = 0; c < p->n && json_array_size(p->rows) > 0; c++) {
        print_padded(p->columns[c], widths[c], right[c], c + 1 == p->n);
    }

    json_array_foreach(p->rows, i, row) {
        for (size_t c = 0; c < json_array_size(row); c++) {
            print_padded(print_value(json_array_get(row, c), text), widths[c],
                         right[c], c + 1 == p->n);
        }
    }

    free(right);
    free(widths);
}


int
print_end(print_t *p)
{
    if (p->json) {
        print_as_json(p);

    } else {
        print_as_table(p);
    }

    json_decref(p->rows);
    json_decref(p->facts);
    free(p);

    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : -1;
}
