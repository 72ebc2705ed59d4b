/*
 * share.c: one setting for memory, shared out over the lanes.
 *
 * Owns the rule.  What a lane holds of records is what it fetches ahead, the
 * batch at hand, and a copy of it if all of it is late or dead.  The rest of a
 * share is for what is around records: librdkafka's and the allocator's own,
 * rows, answers.
 */

#include <inttypes.h>

#include "lane/share.h"

#define MIB               ((int64_t) 1024 * 1024)
#define SHARE_LEAST       (8 * MIB)
#define SHARE_FETCH_MOST  (64 * MIB)     /* more makes nothing faster */
#define SHARE_BATCH_MOST  (8 * MIB)


static int64_t
share_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}


rc_t
share_memory(lane_conf_t *conf, err_t *err)
{
    int64_t  lanes = conf->lanes + conf->assemble_lanes;
    int64_t  share = conf->memory / lanes, need;

    if (share < SHARE_LEAST) {
        return err_set(err, RC_REJECT, "[processor] memory of %" PRId64 " MiB "
                       "is too little for %" PRId64 " lanes: each needs %"
                       PRId64 " MiB", conf->memory / MIB, lanes,
                       SHARE_LEAST / MIB);
    }

    if (conf->fetch_bytes == 0) {
        conf->fetch_bytes = share_least(share / 2, SHARE_FETCH_MOST);
    }

    if (conf->batch_bytes == 0) {
        conf->batch_bytes = share_least(share / 16, SHARE_BATCH_MOST);
    }

    need = conf->fetch_bytes + 2 * conf->batch_bytes;

    if (need > share) {
        return err_set(err, RC_REJECT, "[processor] fetch_bytes + 2 * "
                       "batch_bytes are %" PRId64 " KiB, a lane's share of "
                       "memory is %" PRId64 " KiB: lower those or raise "
                       "memory", need / 1024, share / 1024);
    }

    return RC_OK;
}
