/*
 * conf.c: parses the ini file into the owners' structs.
 *
 * Owns the syntax of values and the messages about them; what a setting means
 * is its owner's.  inih splits the lines, but tells a handler neither the
 * line's number (in Debian's build) nor that it cut a long line, so we read the
 * lines for it, count them, and refuse what it would misread.
 */

#include "base/conf.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

#define CONF_SECTION_MAX  49      /* inih's MAX_SECTION, without the NUL */


typedef struct {
    const char            *path;
    const conf_section_t  *sections;
    unsigned char        **seen;          /* per section, per row */
    FILE                  *file;
    err_t                 *err;
    int                    line;
    int                    failed;

    /* the setting that a line beginning with a blank continues */
    const conf_section_t  *last;
    const conf_row_t      *last_row;
    char                  *last_name;     /* owned */
    char                  *last_value;    /* owned */
    int                    last_line;
    int                    open;          /* it ended in a comma */
} conf_parse_t;


static size_t
conf_row_count(const conf_row_t *rows)
{
    size_t  n = 0;

    while (rows[n].name != NULL) {
        n++;
    }
    return n;
}


/*
 * A number and its unit.  Returns NULL, or what is wrong; units is a list of
 * suffixes ended by NULL, in the order of factors.
 */
static const char *
conf_number(const char *s, const char *const *units, const int64_t *factors,
    int bare, int64_t *out)
{
    char     *end;
    int64_t   n, factor = 0;

    if (!isdigit((unsigned char) s[0])) {
        return "is not a number";
    }

    errno = 0;
    n = strtoll(s, &end, 10);
    if (errno != 0) {
        return "is too large";
    }

    if (*end == '\0') {
        if (!bare && n != 0) {
            return "needs a unit: ms, s, m, h or d";
        }
        *out = n;
        return NULL;
    }

    for (size_t i = 0; units != NULL && units[i] != NULL; i++) {
        if (strcasecmp(end, units[i]) == 0) {
            factor = factors[i];
        }
    }
    if (factor == 0) {
        return units != NULL ? "has an unknown unit" : "is not a number";
    }
    if (n > INT64_MAX / factor) {
        return "is too large";
    }

    *out = n * factor;
    return NULL;
}


static const char *const  conf_time_units[] = {
    "ms", "s", "m", "h", "d", NULL
};
static const int64_t      conf_time_factors[] = {
    1, 1000, 60000, 3600000, 86400000
};
static const char *const  conf_size_units[] = { "k", "m", "g", NULL };
static const int64_t      conf_size_factors[] = {
    1024, 1048576, 1073741824
};


/* The index of s among "a|b|c", or -1. */
static int64_t
conf_choice(const char *choices, const char *s)
{
    size_t   len = strlen(s);
    int64_t  i = 0;

    for (const char *p = choices;; i++) {
        size_t  n = strcspn(p, "|");

        if (n == len && memcmp(p, s, n) == 0) {
            return i;
        }
        if (p[n] == '\0') {
            return -1;
        }
        p += n + 1;
    }
}


/* Bounds in the unit they are most easily read in. */
static void
conf_print(char *buf, size_t size, conf_type_e type, int64_t n)
{
    const int64_t      *factors = conf_time_factors;
    const char *const  *units = conf_time_units;
    int                 i = type == CONF_TIME ? 4 : 2;

    if (type == CONF_SIZE) {
        factors = conf_size_factors;
        units = conf_size_units;
    }

    while (type != CONF_INT && n != 0 && i >= 0) {
        if (n % factors[i] == 0) {
            (void) snprintf(buf, size, "%" PRId64 "%s", n / factors[i],
                            units[i]);
            return;
        }
        i--;
    }

    (void) snprintf(buf, size, "%" PRId64, n);
}


static int
conf_has_bounds(const conf_row_t *row)
{
    return row->min != 0 || row->max != 0;
}


/* Put the value into the target.  NULL, or what is wrong with it. */
static const char *
conf_set(const conf_row_t *row, void *target, const char *value,
    char why[128])
{
    void         *at = (char *) target + row->offset;
    int64_t       n = 0;
    const char   *wrong = NULL;
    char          low[32], high[32];

    switch (row->type) {
    case CONF_STR:
        free(*(char **) at);
        *(char **) at = mem_strdup(value);
        return NULL;
    case CONF_ENUM:
        n = conf_choice(row->choices, value);
        if (n < 0) {
            (void) snprintf(why, 128, "is none of %s", row->choices);
            return why;
        }
        *(int64_t *) at = n;
        return NULL;
    case CONF_BOOL:
        n = conf_choice("off|on", value);
        if (n < 0) {
            return "is neither on nor off";
        }
        *(int64_t *) at = n;
        return NULL;
    case CONF_INT:
        wrong = conf_number(value, NULL, NULL, 1, &n);
        break;
    case CONF_SIZE:
        wrong = conf_number(value, conf_size_units, conf_size_factors, 1, &n);
        break;
    case CONF_TIME:
        wrong = conf_number(value, conf_time_units, conf_time_factors, 0, &n);
        break;
    case CONF_PROPS:
        return "is no setting";
    }

    if (wrong == NULL && conf_has_bounds(row)
        && (n < row->min || n > row->max))
    {
        conf_print(low, sizeof(low), row->type, row->min);
        conf_print(high, sizeof(high), row->type, row->max);
        (void) snprintf(why, 128, "is not within %s and %s", low, high);
        wrong = why;
    }
    if (wrong == NULL) {
        *(int64_t *) at = n;
    }
    return wrong;
}


static int
conf_fail(conf_parse_t *cp, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The first failure counts; returns 0, inih's word for stop. */
static int
conf_fail(conf_parse_t *cp, int line, const char *fmt, ...)
{
    char     text[200];
    va_list  args;

    if (cp->failed) {
        return 0;
    }

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    cp->failed = 1;
    if (line > 0) {
        (void) err_set(cp->err, RC_REJECT, "%s:%d: %s", cp->path, line, text);
    } else {
        (void) err_set(cp->err, RC_REJECT, "%s: %s", cp->path, text);
    }
    return 0;
}


static void
conf_prop_add(conf_props_t *props, const char *key, const char *value,
    int line)
{
    size_t  n = props->n + 1;

    props->keys = mem_grow(props->keys, n, sizeof(char *));
    props->values = mem_grow(props->values, n, sizeof(char *));
    props->lines = mem_grow(props->lines, n, sizeof(int));
    props->keys[props->n] = mem_strdup(key);
    props->values[props->n] = mem_strdup(value);
    props->lines[props->n] = line;
    props->n = n;
}


/* The setting read last is complete: take it over. */
static int
conf_finish(conf_parse_t *cp)
{
    char  why[128];

    if (cp->last == NULL || cp->failed) {
        return !cp->failed;
    }

    const conf_section_t  *section = cp->last;
    const conf_row_t      *row = cp->last_row;

    cp->last = NULL;
    cp->open = 0;

    if (row->type == CONF_PROPS) {
        conf_props_t  *props = (conf_props_t *) ((char *) section->target
                                                 + row->offset);

        for (size_t i = 0; i < props->n; i++) {
            if (strcmp(props->keys[i], cp->last_name) == 0) {
                return conf_fail(cp, cp->last_line,
                                 "%s is set twice, first in line %d",
                                 cp->last_name, props->lines[i]);
            }
        }
        conf_prop_add(props, cp->last_name, cp->last_value, cp->last_line);
        return 1;
    }

    const char  *wrong = conf_set(row, section->target, cp->last_value, why);

    if (wrong != NULL) {
        return conf_fail(cp, cp->last_line, "%s = \"%s\" %s", row->name,
                         cp->last_value, wrong);
    }
    return 1;
}


static const conf_section_t *
conf_find(const conf_parse_t *cp, const char *name)
{
    for (const conf_section_t *s = cp->sections; s->section != NULL; s++) {
        if (strcmp(s->section, name) == 0) {
            return s;
        }
    }
    return NULL;
}


/* inih's handler: 1 to go on, 0 to fail. */
static int
conf_setting(void *user, const char *section, const char *name,
    const char *value)
{
    conf_parse_t  *cp = user;

    if (cp->failed) {
        return 0;
    }

    if (cp->open) {
        char  *joined = mem_printf("%s%s", cp->last_value, value);

        free(cp->last_value);
        cp->last_value = joined;
    } else {
        const conf_section_t  *s = conf_find(cp, section);
        const conf_row_t      *row;

        if (s == NULL) {
            return conf_fail(cp, cp->line, "%s stands in no section", name);
        }

        for (row = s->rows; row->name != NULL; row++) {
            if (row->type == CONF_PROPS || strcmp(row->name, name) == 0) {
                break;
            }
        }
        if (row->name == NULL) {
            return conf_fail(cp, cp->line, "[%s] has no setting %s", section,
                             name);
        }

        unsigned char  *seen = &cp->seen[s - cp->sections][row - s->rows];

        if (*seen && row->type != CONF_PROPS) {
            return conf_fail(cp, cp->line, "%s is set twice", name);
        }
        *seen = 1;

        cp->last = s;
        cp->last_row = row;
        cp->last_line = cp->line;
        free(cp->last_name);
        free(cp->last_value);
        cp->last_name = mem_strdup(name);
        cp->last_value = mem_strdup(value);
    }

    size_t  len = strlen(cp->last_value);

    cp->open = len > 0 && cp->last_value[len - 1] == ',';

    return cp->open ? 1 : conf_finish(cp);
}


/*
 * inih's reader, in place of fgets(): one whole line, or NULL to stop.  What
 * inih would take in silence is refused here: lines cut at size, settings that
 * look like continuations, sections nobody knows.
 */
static char *
conf_line(char *line, int size, void *user)
{
    conf_parse_t  *cp = user;

    if (cp->failed || fgets(line, size, cp->file) == NULL) {
        return NULL;
    }
    cp->line++;

    if (strchr(line, '\n') == NULL && !feof(cp->file)) {
        (void) conf_fail(cp, cp->line, "the line is longer than %d bytes, or "
                         "has a NUL in it; a list may go on in the next line "
                         "after a comma", size - 2);
        return NULL;
    }

    const char  *p = line + strspn(line, " \t\r\n");

    if (*p == '\0' || *p == ';' || *p == '#') {
        return line;
    }

    if (p > line && !cp->open) {
        (void) conf_fail(cp, cp->line, "the line begins with a blank, but "
                         "there is no value to go on with");
        return NULL;
    }

    if (p == line && !conf_finish(cp)) {
        return NULL;
    }

    if (p == line && *p == '[') {
        char    name[CONF_SECTION_MAX + 1];
        size_t  n = strcspn(p + 1, "]");

        if (n > CONF_SECTION_MAX) {
            n = CONF_SECTION_MAX;
        }
        memcpy(name, p + 1, n);
        name[n] = '\0';
        if (conf_find(cp, name) == NULL) {
            (void) conf_fail(cp, cp->line, "there is no section [%s]", name);
            return NULL;
        }
    }

    return line;
}


static void
conf_defaults(conf_parse_t *cp)
{
    char  why[128];

    for (const conf_section_t *s = cp->sections; s->section != NULL; s++) {
        for (const conf_row_t *row = s->rows; row->name != NULL; row++) {
            if (row->type == CONF_PROPS
                || cp->seen[s - cp->sections][row - s->rows])
            {
                continue;
            }

            if (row->def == NULL) {
                (void) conf_fail(cp, 0, "%s in [%s] is required", row->name,
                                 s->section);
                return;
            }

            const char  *wrong = conf_set(row, s->target, row->def, why);

            if (wrong != NULL) {
                (void) conf_fail(cp, 0, "the default of %s %s", row->name,
                                 wrong);
                return;
            }
        }
    }
}


static void
conf_clear(const conf_section_t *sections)
{
    for (const conf_section_t *s = sections; s->section != NULL; s++) {
        for (const conf_row_t *row = s->rows; row->name != NULL; row++) {
            void  *at = (char *) s->target + row->offset;

            switch (row->type) {
            case CONF_STR:
                *(char **) at = NULL;
                break;
            case CONF_PROPS:
                memset(at, 0, sizeof(conf_props_t));
                break;
            default:
                *(int64_t *) at = 0;
            }
        }
    }
}


rc_t
conf_load(const char *path, const conf_section_t *sections, err_t *err)
{
    conf_parse_t  cp = { .path = path, .sections = sections, .err = err };
    size_t        n = 0;

    conf_clear(sections);

    cp.file = fopen(path, "re");
    if (cp.file == NULL) {
        return err_set(err, RC_REJECT, "%s: %s", path, strerror(errno));
    }

    while (sections[n].section != NULL) {
        n++;
    }
    cp.seen = mem_alloc(n * sizeof(cp.seen[0]));
    for (size_t i = 0; i < n; i++) {
        cp.seen[i] = mem_zalloc(conf_row_count(sections[i].rows));
    }

    int  line = ini_parse_stream(conf_line, &cp, conf_setting, &cp);

    if (line != 0) {
        (void) conf_fail(&cp, line, "neither a section nor a setting");
    }
    if (ferror(cp.file)) {
        (void) conf_fail(&cp, 0, "%s", strerror(errno));
    }
    if (conf_finish(&cp)) {
        conf_defaults(&cp);
    }

    for (size_t i = 0; i < n; i++) {
        free(cp.seen[i]);
    }
    free(cp.seen);
    free(cp.last_name);
    free(cp.last_value);
    fclose(cp.file);

    if (cp.failed) {
        conf_free(sections);
        return RC_REJECT;
    }
    return RC_OK;
}


void
conf_free(const conf_section_t *sections)
{
    for (const conf_section_t *s = sections; s->section != NULL; s++) {
        for (const conf_row_t *row = s->rows; row->name != NULL; row++) {
            void  *at = (char *) s->target + row->offset;

            if (row->type == CONF_STR) {
                free(*(char **) at);
            }
            if (row->type == CONF_PROPS) {
                conf_props_t  *props = at;

                for (size_t i = 0; i < props->n; i++) {
                    free(props->keys[i]);
                    free(props->values[i]);
                }
                free(props->keys);
                free(props->values);
                free(props->lines);
            }
        }
    }

    conf_clear(sections);
}


/* A cell of a Markdown table: a bar in it would end it. */
static void
conf_cell(FILE *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '|') {
            fputc('\\', out);
        }
        fputc(*s, out);
    }
}


static void
conf_range(FILE *out, const conf_row_t *row)
{
    char  low[32], high[32];

    switch (row->type) {
    case CONF_STR:
        fputs("text", out);
        return;
    case CONF_BOOL:
        fputs("on, off", out);
        return;
    case CONF_PROPS:
        fputs("any", out);
        return;
    case CONF_ENUM:
        for (const char *p = row->choices; *p != '\0'; p++) {
            fputs(*p == '|' ? ", " : (char[]) { *p, '\0' }, out);
        }
        return;
    case CONF_TIME:
        fputs("time", out);
        break;
    case CONF_SIZE:
        fputs("size", out);
        break;
    case CONF_INT:
        fputs("number", out);
        break;
    }

    if (conf_has_bounds(row)) {
        conf_print(low, sizeof(low), row->type, row->min);
        conf_print(high, sizeof(high), row->type, row->max);
        fprintf(out, ", %s to %s", low, high);
    }
}


void
conf_reference(FILE *out, const conf_section_t *sections)
{
    for (const conf_section_t *s = sections; s->section != NULL; s++) {
        fprintf(out, "%s## [%s]\n\n", s == sections ? "" : "\n", s->section);
        fputs("| Setting | Value | Default | Reload | Meaning |\n"
              "|---|---|---|---|---|\n", out);

        for (const conf_row_t *row = s->rows; row->name != NULL; row++) {
            fprintf(out, "| `%s` | ", row->name);
            conf_range(out, row);
            fputs(" | ", out);
            if (row->type == CONF_PROPS) {
                fputs("none", out);
            } else if (row->def == NULL) {
                fputs("required", out);
            } else if (row->def[0] == '\0') {
                fputs("empty", out);
            } else {
                fprintf(out, "`%s`", row->def);
            }
            fprintf(out, " | %s | ", row->reloadable ? "yes" : "no");
            conf_cell(out, row->help != NULL ? row->help : "");
            fputs(" |\n", out);
        }
    }
}
