/*
 * close.h: a window's rows become final.
 */

#ifndef SLUICE_LANE_CLOSE_H
#define SLUICE_LANE_CLOSE_H

#include "lane/partition.h"
#include "lane/rows.h"

/*
 * Close the windows that are due, oldest first; one call does a bounded part,
 * and sets p->work_in_ms when there is more.  wall_ms is the clock, for partitions
 * where nothing comes any more; now_ms the monotonic one.
 *
 * RC_OK also when nothing was due.  RC_FENCED and RC_RETRY: nothing was
 * closed by this call that PostgreSQL does not know of; take again.
 */
rc_t close_due(links_t *l, partition_t *p, rows_t *rows, int64_t wall_ms,
    int64_t now_ms, err_t *err);

/* Give up p's close that is under way, if one is. */
void close_abandon(links_t *l, partition_t *p);

#endif /* SLUICE_LANE_CLOSE_H */
