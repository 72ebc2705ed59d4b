/*
 * verdict.h: what becomes of a record, by the order of the log.
 *
 * Walks a partition's records and says for each whether it counts, is late, or
 * is in a final row already.  The answer depends on the log's prefix and on
 * what was closed, on nothing else, so a replay arrives at the same.
 */

#ifndef SLUICE_CORE_VERDICT_H
#define SLUICE_CORE_VERDICT_H

#include <stdint.h>

#include "core/window.h"

/* The values are what apply.lua is told. */
typedef enum {
    VERDICT_COUNT = 'c',
    VERDICT_LATE = 'l',     /* its window is closed or due */
    VERDICT_PAST = 'p',     /* its window's final rows know of it */
    VERDICT_REPEAT = 'r',   /* would count, but its name came before */
    VERDICT_TWICE = 't',    /* would count, but the log has it twice */
    VERDICT_DEAD = 'd',     /* could be read, can't be kept */
    VERDICT_UNREAD = 'x'    /* could not be read: its time is not ours */
} verdict_e;

typedef struct {
    window_conf_t  wc;
    int64_t        closed_ms;     /* start of the last closed window, or NONE */
    int64_t        closed_next;   /* offsets below it were seen by that close */
    int64_t        watermark_ms;  /* moves */
} verdict_t;

/*
 * The next readable record of the partition.  Late is decided by the
 * watermark before it, then the watermark moves: also for late records, and
 * for those that turn out to be dead.  start_ms: its window.
 */
verdict_e verdict_next(verdict_t *v, int64_t offset, int64_t ts_ms,
    int64_t *start_ms);

#endif /* SLUICE_CORE_VERDICT_H */
