/*
 * textfile.h: a command's figures for Prometheus.
 *
 * A command ends before anyone could ask it, so it leaves a file for the
 * node_exporter's textfile collector: text exposition format 0.0.4.
 */

#ifndef SLUICE_TOOL_TEXTFILE_H
#define SLUICE_TOOL_TEXTFILE_H

#include <stdint.h>

#include "base/err.h"

typedef struct textfile_s  textfile_t;

/* path may be NULL: then nothing is written.  Borrowed until the end. */
textfile_t *textfile_new(const char *path);

/*
 * A gauge.  label and value are one pair, or NULL both; samples of one name
 * follow each other.
 */
void textfile_add(textfile_t *t, const char *name, const char *help,
    const char *label, const char *value, int64_t num);

/* The file is there whole or as it was.  Frees. */
rc_t textfile_end(textfile_t *t, err_t *err);

#endif /* SLUICE_TOOL_TEXTFILE_H */
