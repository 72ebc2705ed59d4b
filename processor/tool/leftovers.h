/*
 * leftovers.h: Redis keys that no lane will look at again.
 *
 * Keys expire by themselves; this removes what is left sooner, and what lost
 * its expiry: keys of windows that are closed, and of partitions that are no
 * more.  Never of a window that is open.
 */

#ifndef SLUICE_TOOL_LEFTOVERS_H
#define SLUICE_TOOL_LEFTOVERS_H

#include "io/kafka_scan.h"
#include "io/pg.h"
#include "io/redis.h"
#include "lane/lane.h"

typedef struct {
    const lane_conf_t  *conf;
    redis_t            *redis;
    pg_t               *pg;
    kafka_scan_t       *scan;
    int64_t             before_ms;   /* of windows that ended by then */
    int                 dry;
} leftovers_t;

/*
 * Adds to *keys how many it removed, or would.  Only keys that begin with
 * sluice:{PIPELINE/.  A topic that the brokers don't know is gone, but for
 * the one that is configured: then more likely the brokers are others.
 */
rc_t leftovers_remove(const leftovers_t *lo, int64_t *keys, err_t *err);

#endif /* SLUICE_TOOL_LEFTOVERS_H */
