/*
 * print.h: a command's result, as a table or as JSON.
 *
 * Rows of the same columns, and facts beside them.  JSON is one object: the
 * facts, and under the list's name an array of objects with the columns'
 * names.  The table has a line of names; a list that is empty prints nothing
 * but its facts.  Text from strangers is made plain in the table, so that it
 * can't move the cursor.
 */

#ifndef SLUICE_TOOL_PRINT_H
#define SLUICE_TOOL_PRINT_H

#include <stddef.h>
#include <stdint.h>

typedef struct print_s  print_t;

/* columns are borrowed until print_end(). */
print_t *print_new(const char *list, const char *const *columns, size_t n,
    int json);

/* The next cell; after n of them a row is whole.  NULL is null, or "-". */
void print_str(print_t *p, const char *s);
void print_int(print_t *p, int64_t num);
void print_bool(print_t *p, int yes);
void print_null(print_t *p);

/* A fact: "name: value" before the table. */
void print_fact_str(print_t *p, const char *name, const char *s);
void print_fact_int(print_t *p, const char *name, int64_t num);

/* Writes all to standard output and frees.  0, or -1 when it can't be
 * written. */
int print_end(print_t *p);

#endif /* SLUICE_TOOL_PRINT_H */
