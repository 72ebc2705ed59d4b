/*
 * gauges.h: what a lane tells of itself and its partitions.
 *
 * Written by the lane between its steps, read by monitor.c at any time.
 */

#ifndef SLUICE_LANE_GAUGES_H
#define SLUICE_LANE_GAUGES_H

#include "lane/partition.h"

/* The lane began a turn of its loop. */
void gauges_turn(metrics_slot_t *slot, const links_t *l, size_t nparts);

/* Where the partition is after a step. */
void gauges_partition(const links_t *l, const partition_t *p);

/* It was taken: what was known of its next record may be of another. */
void gauges_taken(const partition_t *p);

/* A batch is about to be applied; it was. */
void gauges_batch(const partition_t *p, const record_t *first);
void gauges_applied(const partition_t *p, const record_t *records, size_t n);

/* It stalls or stops at this step since then; NULL: it works. */
void gauges_stalled(const partition_t *p, const char *step, int64_t since_ms);

#endif /* SLUICE_LANE_GAUGES_H */
