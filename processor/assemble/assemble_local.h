/*
 * assemble_local.h: what the steps of an assembling lane share.
 *
 *   assemble.c  the loop, the group, backoff, the low water
 *   collect.c   a record: which part it belongs to, room in the spool
 *   finish.c    a part's end: the store, the announcement, the dead topic
 *   tell.c      gauges
 */

#ifndef SLUICE_ASSEMBLE_ASSEMBLE_LOCAL_H
#define SLUICE_ASSEMBLE_ASSEMBLE_LOCAL_H

#include "assemble/assemble.h"
#include "assemble/parts.h"
#include "assemble/spool.h"
#include "base/metrics.h"
#include "core/digest.h"
#include "core/window.h"

/* The part whose bytes go to the store at present, a slice a turn. */
typedef struct {
    part_t       *part;                /* NULL: none */
    store_put_t  *put;
    digest_t     *digest;
    char         *path;
    uint64_t      done;
} finish_t;

struct assemble_s {
    const lane_conf_t  *conf;
    const store_ops_t  *store_ops;
    const void         *store_conf;
    store_t            *store;
    kafka_t            *kafka;
    spool_t            *spool;         /* NULL until it could be opened */
    const atomic_int   *stop;
    window_conf_t       wc;
    char               *group;
    int                 number;
    int64_t             max_parts;     /* of this lane */
    unsigned int        seed;

    parts_t           **sources;       /* the partitions that are ours */
    size_t              nsources;

    finish_t            finish;
    char               *buffer;        /* of a slice */
    int64_t             finish_at_ms;  /* not before, after a failure */
    const char         *failed;        /* the lane's own step, or NULL */
    int64_t             failed_at_ms;
    retry_t             retry;
    int64_t             spool_at_ms;   /* when to try to open it */
    int64_t             hurry_until_ms; /* a commit at a revoke hung */
    uint64_t            spool_told;    /* bytes, to the metric */
    metrics_slot_t     *slot;
};


parts_t *assemble_source(const assemble_t *a, int32_t partition);

/* collect.c */

/*
 * Takes a record in.  RC_RETRY: it was not, and is to be read again later;
 * with an empty err there is only no room until whole parts are away.
 */
rc_t collect_record(assemble_t *a, parts_t *ps, const record_t *rec,
    err_t *err);

/* Gives the bytes of a part in the spool back; they can be read again. */
void collect_drop(assemble_t *a, part_t *part);

/* A quarter of max_parts is free. */
int collect_has_place(const assemble_t *a);

/*
 * Marks what is to be read again now and tells from where; PARTS_NONE when
 * there is nothing or no room.
 */
int64_t collect_again(assemble_t *a, parts_t *ps);

/* The part can't become whole: why, and the headers of the record that says
 * so.  It goes to the dead topic at the next turn. */
void collect_dead(assemble_t *a, part_t *part, const record_t *rec,
    const char *why);

/* Forgets parts that were given up by who sent them. */
void collect_expire(assemble_t *a, parts_t *ps, int64_t now_ms);

/* finish.c */

/* One slice of what there is to do; *more when there is more at once. */
rc_t finish_turn(assemble_t *a, int *more, err_t *err);

/* Parts in the spool or the store that wait only for us. */
int finish_pending(const assemble_t *a);

/* The part is about to be freed. */
void finish_forget(assemble_t *a, const part_t *part);

/* A record that no part can be found for: to the dead topic, acknowledged. */
rc_t finish_dead_record(assemble_t *a, const record_t *rec, const char *why,
    err_t *err);

/* tell.c */
void tell_turn(const assemble_t *a);
void tell_source(const assemble_t *a, const parts_t *ps);
void tell_batch(const parts_t *ps, const record_t *records, size_t n);
void tell_stalled(const parts_t *ps, int stalled);
void tell_spool(assemble_t *a);

#endif /* SLUICE_ASSEMBLE_ASSEMBLE_LOCAL_H */
