/*
 * apply.h: one batch of one partition, from records to state.
 */

#ifndef SLUICE_LANE_APPLY_H
#define SLUICE_LANE_APPLY_H

#include "lane/partition.h"

/*
 * Sort out what is late or dead and send it on, put new objects into the
 * store, then move the state, all or nothing.  records are consecutive, n > 0.
 *
 * RC_RETRY, RC_FENCED: the state has not moved as far as is known; take the
 * partition again.  What was sent on or stored by then is done once more:
 * objects have the same names, and copies can be told by their error-offset.
 */
rc_t apply_batch(links_t *l, partition_t *p, record_t *records, size_t n,
    err_t *err);

#endif /* SLUICE_LANE_APPLY_H */
