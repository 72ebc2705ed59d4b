/*
 * share.h: one setting for memory, shared out over the lanes.
 */

#ifndef SLUICE_LANE_SHARE_H
#define SLUICE_LANE_SHARE_H

#include "lane/lane.h"

/*
 * Fills in fetch_bytes and batch_bytes where they are 0; refuses what
 * `memory` doesn't hold.  RC_OK or RC_REJECT.
 */
rc_t share_memory(lane_conf_t *conf, err_t *err);

#endif /* SLUICE_LANE_SHARE_H */
