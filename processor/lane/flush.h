/*
 * flush.h: rows of open windows to PostgreSQL, low water to Kafka.
 */

#ifndef SLUICE_LANE_FLUSH_H
#define SLUICE_LANE_FLUSH_H

#include "lane/partition.h"
#include "lane/rows.h"

/*
 * Write the rows that had changed when the flush began, with counts as Redis
 * holds them now; after a take that is every row of every open window.  One
 * call does a bounded part, and p->flushing tells whether there is more.  On
 * failure the partition is to be taken again.
 */
rc_t flush_rows(links_t *l, partition_t *p, rows_t *rows, err_t *err);

#endif /* SLUICE_LANE_FLUSH_H */
