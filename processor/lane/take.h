/*
 * take.h: where a lane begins with a partition.
 */

#ifndef SLUICE_LANE_TAKE_H
#define SLUICE_LANE_TAKE_H

#include "lane/partition.h"

/*
 * Read what PostgreSQL and Redis know, settle where they differ, and start the
 * partition at the right offset.  Called at assignment and after anything went
 * wrong.  RC_OK: active.  RC_REJECT: it can't go on without an operator.
 * RC_RETRY, RC_FENCED: later again.
 */
rc_t take_partition(links_t *l, partition_t *p, err_t *err);

#endif /* SLUICE_LANE_TAKE_H */
