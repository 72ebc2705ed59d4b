/*
 * conf.h: the ini file, by tables.
 *
 * A setting is one row in its owner's table: name, type, default, bounds and
 * the sentence of the reference.  conf_load() parses the file once into the
 * owners' structs and refuses what no row names.  `sluice-processor
 * --reference` prints the rows.
 *
 * A line holds at most 198 bytes (inih).  A value that ends in a comma goes on
 * in the next line if that one begins with a blank.
 */

#ifndef SLUICE_BASE_CONF_H
#define SLUICE_BASE_CONF_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

typedef enum {
    CONF_STR,        /* char *, owned by the struct */
    CONF_INT,        /* int64_t, min..max */
    CONF_SIZE,       /* int64_t bytes: 8m, 300k */
    CONF_TIME,       /* int64_t milliseconds: 30s, 500ms, 7d */
    CONF_ENUM,       /* int64_t: index into choices, "a|b|c" */
    CONF_BOOL,       /* int64_t: on, off */
    CONF_PROPS       /* conf_props_t: every other key of the section, verbatim */
} conf_type_e;

typedef struct {
    char    **keys;                              /* owned, as are values */
    char    **values;
    int      *lines;
    size_t    n;
} conf_props_t;

typedef struct {
    const char   *name;          /* NULL ends the table */
    conf_type_e   type;
    size_t        offset;        /* into the owner's struct */
    const char   *def;           /* as written in the file; NULL: required */
    int64_t       min, max;      /* inclusive; 0, 0: 0 and up */
    const char   *choices;
    int           reloadable;    /* SIGHUP takes it over */
    const char   *help;          /* one sentence */
} conf_row_t;

/* Two entries may not name the same section. */
typedef struct {
    const char        *section;
    const conf_row_t  *rows;
    void              *target;   /* the owner's struct */
} conf_section_t;

/*
 * Read path into the targets.  sections ends with section == NULL.
 * Errors name file, line, setting and value.  RC_OK or RC_REJECT.
 */
rc_t conf_load(const char *path, const conf_section_t *sections, err_t *err);

/*
 * Give back what conf_load() put into the targets, which are zeroed.  A failed
 * conf_load() has done so itself.
 */
void conf_free(const conf_section_t *sections);

/* The reference page's tables, Markdown. */
void conf_reference(FILE *out, const conf_section_t *sections);

#endif /* SLUICE_BASE_CONF_H */
