/*
 * recount.h: what the rows must be, by the log alone.
 *
 * Reads a partition's log again and judges each record as a lane does, by
 * core/record, core/window and core/verdict.  Of what a lane keeps it takes
 * three things: how far the log was read when a window was closed, which
 * records first_seen says counted, and which the store refused, from the dead
 * topic.  Where uploads are written a record that the log holds twice counts
 * once, as with a lane.
 */

#ifndef SLUICE_TOOL_RECOUNT_H
#define SLUICE_TOOL_RECOUNT_H

#include "core/members.h"
#include "core/verdict.h"
#include "io/kafka_scan.h"
#include "io/pg.h"
#include "lane/lane.h"

/* A closed window of the partition. */
typedef struct {
    int64_t    start_ms;
    int64_t    through;              /* records from here on came too late */
    members_t  members;
    int64_t   *counts;               /* of each member */
    members_t  ids;                  /* and of the records that count */
    int64_t   *offsets;              /* theirs, in order */
    size_t     noffsets, offsets_cap;
    int64_t   *firsts;               /* offsets in first_seen; NULL: not asked */
    size_t     nfirsts;
} recount_window_t;

typedef struct recount_s  recount_t;

typedef rc_t (*recount_window_pt)(void *ctx, const recount_t *r,
    const recount_window_t *win, err_t *err);

struct recount_s {
    const lane_conf_t  *conf;
    kafka_scan_t       *scan;
    pg_t               *pg;
    int64_t             from_ms;     /* windows that start at or after it, */
    int64_t             to_ms;       /* and not after this */
    const members_t    *dead;        /* "partition:offset" */
    recount_window_pt   found;       /* called for each, in any order */
    void               *ctx;

    int64_t             records;     /* read so far */
    int64_t             skipped;     /* partitions whose log begins later */

    /* of the partition at hand */
    char                partition[16];
    char                generation[16];
    int64_t             closed_ms;
    int64_t             closed_next;
    int64_t             begin_ms;    /* as from_ms, or what the log allows */
    window_conf_t       wc;
    recount_window_t   *windows;     /* not yet told, by start */
    size_t              nwindows;
};

/* Closed windows of one partition, those without records too. */
rc_t recount_partition(recount_t *r, int32_t partition, err_t *err);

#endif /* SLUICE_TOOL_RECOUNT_H */
