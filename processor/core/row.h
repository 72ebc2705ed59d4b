/*
 * row.h: what a summary row needs of the first record, as text.
 *
 * The value of Redis' ...:file hash: seven words parted by one space,
 *
 *   object type size first_seen_ms first_offset upload name
 *
 * where bytes <= 0x20, 0x7f and % are percent-encoded, so that redis-cli
 * shows it readably and any byte survives.  The layout belongs to the state's
 * version (lane/state.h).
 */

#ifndef SLUICE_CORE_ROW_H
#define SLUICE_CORE_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "core/path.h"
#include "core/record.h"

#define ROW_FIELD_MAX  256                          /* with the NUL */
#define ROW_TEXT_MAX   (3 * (PATH_OBJECT_MAX + 3 * ROW_FIELD_MAX) + 80)

typedef struct {
    char     object[PATH_OBJECT_MAX];
    char     type[ROW_FIELD_MAX];
    char     upload[ROW_FIELD_MAX];
    char     name[ROW_FIELD_MAX];
    int64_t  size;
    int64_t  first_seen_ms;
    int64_t  first_offset;
} row_t;

/* Returns the length.  rec was accepted by record_read(). */
size_t row_write(const record_t *rec, const char *object,
    char text[ROW_TEXT_MAX]);

/* 0, or -1 when it is no text of ours. */
int row_parse(const char *text, size_t len, row_t *row);

#endif /* SLUICE_CORE_ROW_H */
