/*
 * metrics.h: what the process counts, and its text for Prometheus.
 *
 * Every metric is a line of metrics_list.h.  Each thread counts in cells of
 * its own, which are summed when somebody asks, so that counting costs an
 * addition and neither waits nor is waited for:
 *
 *   metrics_add(METRIC_BATCHES, 0, 1);
 *   metrics_add(METRIC_RECORDS, METRICS_VERDICT_LATE, 1);
 *
 *   int64_t  began = metrics_clock();
 *   ...
 *   metrics_time(METRIC_STEP, METRICS_STEP_ASK, began);
 *
 * What belongs to one partition or one lane is in a metrics_slot_t.
 */

#ifndef SLUICE_BASE_METRICS_H
#define SLUICE_BASE_METRICS_H

#include <stdint.h>
#include <stdio.h>

#define METRICS_UNKNOWN  INT64_MIN       /* a field that is not written */

/* The sets of labels: name, and the values in the order of their numbers. */
typedef enum {
    METRICS_VERDICT_COUNTED = 0,
    METRICS_VERDICT_LATE,
    METRICS_VERDICT_DEAD,
    METRICS_VERDICT_SKIPPED,             /* in final rows already */
    METRICS_VERDICT_REPEAT,              /* not the first of its name */
    METRICS_VERDICT_TWICE,               /* the log has it elsewhere, too */
    METRICS_VERDICTS
} metrics_verdict_e;

typedef enum {
    METRICS_STEP_TAKE = 0,               /* all of a partition's taking */
    METRICS_STEP_ASK,
    METRICS_STEP_PUT,
    METRICS_STEP_LEDGER,
    METRICS_STEP_SEND,
    METRICS_STEP_APPLY,
    METRICS_STEP_FLUSH,
    METRICS_STEP_CLOSE,
    METRICS_STEP_CHECK,
    METRICS_STEP_COMMIT,
    METRICS_STEP_ASSEMBLE,
    METRICS_STEP_OTHER,
    METRICS_STEPS
} metrics_step_e;

typedef enum {
    METRICS_STATE_TAKING = 0,
    METRICS_STATE_ACTIVE,
    METRICS_STATE_STOPPED,
    METRICS_STATES
} metrics_state_e;

enum { METRICS_SEEN_NEW = 0, METRICS_SEEN_KNOWN, METRICS_SEENS };
enum { METRICS_KEPT_YES = 0, METRICS_KEPT_NO, METRICS_KEPTS };
enum { METRICS_LEAVING_ORDER = 0, METRICS_LEAVING_LOST, METRICS_LEAVINGS };
enum { METRICS_WHY_WATERMARK = 0, METRICS_WHY_IDLE, METRICS_WHYS };
enum { METRICS_RESULT_OK = 0, METRICS_RESULT_FAILED, METRICS_RESULTS };

/* How a large file ended. */
enum {
    METRICS_LARGE_WHOLE = 0, METRICS_LARGE_ABORTED, METRICS_LARGE_EXPIRED,
    METRICS_LARGE_DEAD, METRICS_LARGES
};

typedef enum {
#define METRICS_ROW(id, type, label, name, help)  METRIC_##id,
#define METRICS_FIELD(id, type, scale, name, help)
#include "base/metrics_list.h"
#undef METRICS_ROW
#undef METRICS_FIELD
    METRICS_ROWS
} metrics_row_e;

typedef enum {
#define METRICS_ROW(id, type, label, name, help)
#define METRICS_FIELD(id, type, scale, name, help)  METRICS_FIELD_##id,
#include "base/metrics_list.h"
#undef METRICS_ROW
#undef METRICS_FIELD
    METRICS_FIELDS
} metrics_field_e;

typedef struct metrics_slot_s  metrics_slot_t;


/* label is 0 where the metric has none.  A gauge may be taken back by < 0. */
void metrics_add(metrics_row_e row, unsigned int label, int64_t n);

/* Microseconds of a clock that only goes on; observe its time since then. */
int64_t metrics_clock(void);
void metrics_time(metrics_row_e row, unsigned int label, int64_t began_us);

/* The number of a step's name; METRICS_STEP_OTHER when there is none. */
unsigned int metrics_step(const char *name);

/*
 * Values of a partition, or, with partition < 0, of the lane.  topic is
 * borrowed until the process ends.  One thread sets a field; any may read it.
 * All fields begin as METRICS_UNKNOWN.  After close the slot is another's:
 * a reader sees none, or asks metrics_slot_is() afterwards.
 */
metrics_slot_t *metrics_slot_open(const char *topic, int32_t partition,
    int lane);
void metrics_slot_close(metrics_slot_t *slot);
void metrics_set(metrics_slot_t *slot, metrics_field_e field, int64_t value);
int64_t metrics_get(const metrics_slot_t *slot, metrics_field_e field);

/* What a slot is about, as of a moment. */
typedef struct {
    metrics_slot_t  *slot;
    uint64_t         generation;
    const char      *topic;
    int32_t          partition;
    int              lane;
} metrics_at_t;

/* Slots in use, in no order: begin with at->slot == NULL; 0 at the end. */
int metrics_next(metrics_at_t *at);
int metrics_slot_is(const metrics_at_t *at);

/* The sum over all threads, of a counter or gauge. */
int64_t metrics_sum(metrics_row_e row, unsigned int label);

/* Everything, as Prometheus' text 0.0.4 or as OpenMetrics 1.0. */
void metrics_write(FILE *out, int openmetrics, const char *version);

/* The reference's table, as Markdown. */
void metrics_reference(FILE *out);

#endif /* SLUICE_BASE_METRICS_H */
