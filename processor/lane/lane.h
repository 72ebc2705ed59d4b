/*
 * lane.h: one member of the consumer group and all it needs.
 *
 * A lane is a thread with its own Kafka, Redis, PostgreSQL and store
 * connections.  Lanes share the configuration, which doesn't change, and
 * nothing else.  The protocol is docs/design.md, section 4; its steps are the
 * files beside this one: take, apply, flush, close.
 */

#ifndef SLUICE_LANE_LANE_H
#define SLUICE_LANE_LANE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"
#include "core/store.h"
#include "io/kafka.h"
#include "io/pg.h"
#include "io/redis.h"

typedef struct lane_s  lane_t;

/* [processor]; the strings are owned. */
typedef struct {
    char     *pipeline;
    char     *topic;
    char     *late_topic;
    char     *dead_topic;
    char     *chunks_topic;
    char     *spool;
    char     *store;
    char     *store_prefix;
    int64_t   lanes;
    int64_t   assemble_lanes;
    int64_t   spool_bytes;
    int64_t   part_ttl_ms;
    int64_t   max_parts;
    int64_t   instance;
    int64_t   window_ms;
    int64_t   lateness_ms;
    int64_t   memory;
    int64_t   batch_records;
    int64_t   batch_bytes;
    int64_t   fetch_bytes;
    int64_t   poll_ms;
    int64_t   flush_ms;
    int64_t   notify;                /* on, off */
    int64_t   state_ttl_ms;
    int64_t   inspect_ttl_ms;
    int64_t   retention_ms;
    int64_t   uploads_table;
    int64_t   log_level;             /* log_level_e */
} lane_conf_t;

extern const conf_row_t lane_rows[];

/* All of it is borrowed until lane_close(). */
typedef struct {
    const lane_conf_t   *conf;
    const kafka_conf_t  *kafka;
    const redis_conf_t  *redis;
    const pg_conf_t     *pg;
    const store_ops_t   *store;
    const void          *store_conf;
    const char          *host;
    const atomic_int    *stop;
} lane_setup_t;

/*
 * Fill in what follows from other settings (pipeline, late_topic, dead_topic)
 * and check what one row alone can't.  RC_OK or RC_REJECT.
 */
rc_t lane_check(lane_conf_t *conf, const char *group, err_t *err);

/*
 * Connects nowhere yet, but for the store: a service that is away does not
 * keep a lane from starting.
 */
rc_t lane_open(lane_t **lane, const lane_setup_t *setup, int number,
    err_t *err);

/* Works until *setup->stop is set, then leaves the group in order. */
void lane_run(lane_t *lane);
void lane_close(lane_t *lane);

#endif /* SLUICE_LANE_LANE_H */
