/*
 * textfile.c: a command's figures for Prometheus.
 *
 * Owns the form and the rename.  Labels' values are words of ours, so nothing
 * is escaped.
 */

#include "tool/textfile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct textfile_s {
    const char  *path;
    char        *text;
    size_t       len;
    FILE        *out;
    char         last[64];           /* the name that has its help */
};


textfile_t *
textfile_new(const char *path)
{
    textfile_t  *t = mem_zalloc(sizeof(*t));

    t->path = path;
    t->out = open_memstream(&t->text, &t->len);
    if (t->out == NULL) {
        abort();                     /* no memory */
    }
    return t;
}


void
textfile_add(textfile_t *t, const char *name, const char *help,
    const char *label, const char *value, int64_t num)
{
    if (strcmp(t->last, name) != 0) {
        fprintf(t->out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
        (void) snprintf(t->last, sizeof(t->last), "%s", name);
    }

    if (label != NULL) {
        fprintf(t->out, "%s{%s=\"%s\"} %" PRId64 "\n", name, label, value,
                num);
    } else {
        fprintf(t->out, "%s %" PRId64 "\n", name, num);
    }
}


static int
textfile_write(const char *path, const char *text, size_t len)
{
    FILE  *f = fopen(path, "we");

    if (f == NULL) {
        return -1;
    }

    int  bad = fwrite(text, 1, len, f) != len;

    return fclose(f) != 0 || bad ? -1 : 0;
}


rc_t
textfile_end(textfile_t *t, err_t *err)
{
    rc_t   rc = RC_OK;
    char  *temp = NULL;

    fclose(t->out);

    if (t->path != NULL) {
        temp = mem_printf("%s.new", t->path);

        if (textfile_write(temp, t->text, t->len) != 0
            || rename(temp, t->path) != 0)
        {
            rc = err_set(err, RC_RETRY, "%s: %s", t->path, strerror(errno));
        }
    }

    free(temp);
    free(t->text);
    free(t);
    return rc;
}
