/*
 * site.h: a lane's connections, without the lane.
 *
 * For commands that look at partitions, or change them under the lanes'
 * fences.  Joins no group, opens no store.
 */

#ifndef SLUICE_TOOL_SITE_H
#define SLUICE_TOOL_SITE_H

#include "lane/partition.h"
#include "lane/rows.h"
#include "lane/state.h"
#include "tool/tool.h"

typedef struct {
    lane_conf_t   conf;              /* env's, with the topic asked for */
    links_t       l;
    int32_t      *ids;               /* of the partitions in progress */
    size_t        nids;
} site_t;

/* What is known of a partition. */
typedef struct {
    partition_t      *p;             /* next, closed_ms, windows: as Redis */
    rows_progress_t   progress;
    state_t           state;
    int64_t           first, end;    /* of the log */
} site_part_t;

/*
 * topic NULL: the one that is configured.  only >= 0: this partition alone.
 * RC_REJECT when this pipeline never had such a partition.
 */
rc_t site_open(site_t *site, const tool_env_t *env, const char *topic,
    int64_t only, err_t *err);
void site_close(site_t *site);

/*
 * Reads PostgreSQL, Redis and Kafka; changes nothing.  From then on
 * site->l.wc is what the partition was counted with.
 */
rc_t site_part_read(site_t *site, int32_t id, site_part_t *part, err_t *err);

/* A state that a lane would drop is not there any more. */
void site_part_settle(site_part_t *part);
void site_part_free(site_part_t *part);

/* The text of a number for a statement; none gives NULL. */
const char *site_text(int64_t num, int64_t none, char text[24]);

#endif /* SLUICE_TOOL_SITE_H */
