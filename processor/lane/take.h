/*
 * take.h: where a lane begins with a partition.
 */

#ifndef SLUICE_LANE_TAKE_H
#define SLUICE_LANE_TAKE_H

#include "lane/partition.h"
#include "lane/rows.h"
#include "lane/state.h"

/*
 * Read what PostgreSQL and Redis know, settle where they differ, and start the
 * partition at the right offset.  Called at assignment and after anything went
 * wrong.  RC_OK: active.  RC_REJECT: it can't go on without an operator.
 * RC_RETRY, RC_FENCED: later again.
 */
rc_t take_partition(links_t *l, partition_t *p, err_t *err);

/*
 * Is the log, whose bounds are first and end, the one that state and progress
 * were made of?  RC_OK, or as far as anybody can tell; RC_REJECT: it is
 * another one; RC_RETRY.
 */
rc_t take_same_log(links_t *l, const partition_t *p, const state_t *state,
    const rows_progress_t *progress, int64_t first, int64_t end, err_t *err);

/*
 * The same question while the log is read.  A topic that is made anew and has
 * grown past the lane's offset by the time of the next fetch gives no error.
 * So a record that was read is remembered and looked at again every 10 s:
 * before a batch is applied (reading), or when some were since.
 *
 * take_anchor() remembers one, if none is.  take_check_log() is RC_REJECT when
 * it is another log; what can't be found out now is asked later.
 */
void take_anchor(partition_t *p);
rc_t take_check_log(links_t *l, partition_t *p, int64_t now_ms, int reading,
    err_t *err);

#endif /* SLUICE_LANE_TAKE_H */
