/*
 * metrics_local.h: what the files of base/metrics share; nobody else includes
 * it.
 *
 *   metrics.c          cells and slots: counting, and reading what was counted
 *   metrics_text.c     names, help, labels; the two formats, the reference
 *   metrics_process.c  what the kernel knows of this process
 */

#ifndef SLUICE_BASE_METRICS_LOCAL_H
#define SLUICE_BASE_METRICS_LOCAL_H

#include "base/metrics.h"

#define METRICS_BUCKETS     17           /* bounds; one more is infinite */
#define METRICS_LABELS_MAX  16           /* values of one label, at most */

typedef enum {
    METRICS_COUNTER = 0,
    METRICS_GAUGE,
    METRICS_TIMES,                       /* a histogram of seconds */
    METRICS_STATE,                       /* a line for each state, 0 or 1 */
    METRICS_CURRENT                      /* a line for a step, 1 */
} metrics_type_e;

typedef struct {
    uint64_t  buckets[METRICS_BUCKETS + 1];
    uint64_t  us;
} metrics_times_t;

extern const int64_t  metrics_bounds_us[METRICS_BUCKETS];

/* metrics.c */
void metrics_times(metrics_row_e row, unsigned int label,
    metrics_times_t *times);

/* metrics_text.c */
int metrics_is_times(metrics_row_e row);
void metrics_head(FILE *out, int openmetrics, const char *name,
    const char *type, const char *help);

/* metrics_process.c */
void metrics_process(FILE *out, int openmetrics);
void metrics_process_reference(FILE *out);

#endif /* SLUICE_BASE_METRICS_LOCAL_H */
