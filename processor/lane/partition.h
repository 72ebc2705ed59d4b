/*
 * partition.h: what a lane knows of one partition it owns.
 *
 * Everything here is a copy: of Redis' state as of `next`, of PostgreSQL's
 * progress as of the take.  It may be wrong at any moment (another lane may
 * own the partition by now), which is why each script and each transaction
 * compares it with what is stored before it changes anything.
 */

#ifndef SLUICE_LANE_PARTITION_H
#define SLUICE_LANE_PARTITION_H

#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "core/members.h"
#include "core/retry.h"
#include "core/store.h"
#include "core/window.h"
#include "io/kafka.h"
#include "io/pg.h"
#include "io/redis.h"
#include "lane/lane.h"
#include "lane/notify.h"

#define PARTITION_NONE   (-1)        /* no such offset */
#define PARTITION_DAYS   4
#define PARTITION_LAST   (RECORD_ID_MAX + 1)

typedef struct partition_s  partition_t;

/* A close: docs/design.md, 4.5.  A large one goes on over many turns. */
typedef struct {
    partition_t  *p;                 /* NULL: none */
    pg_t         *pg;                /* its transaction's connection */
    int64_t       start_ms;
    int64_t       next;              /* of all its pages; NONE: of any */
    size_t        size;              /* members of the window */
    size_t        written;           /* rows that became final */
} closing_t;

/* A lane's settings and connections, as its steps need them. */
typedef struct {
    const lane_conf_t  *conf;
    window_conf_t       wc;
    int                 number;              /* of the lane, for logs */
    kafka_t            *kafka;
    redis_t            *redis;
    pg_t               *pg;
    pg_t               *pg_close;            /* connected for a large close */
    closing_t           closing;             /* that large close */
    notify_t            notify;
    const store_ops_t  *store_ops;
    store_t            *store;
    struct ledger_s    *ledger;
    redis_args_t        args;                /* of the script being called */
    int64_t             days[PARTITION_DAYS];  /* known to have a table */
    size_t              next_day;
} links_t;

typedef struct {
    int64_t    start_ms;
    int64_t    first;                /* offset; NONE: not open yet */
    char       label[WINDOW_LABEL_LEN];
    char      *keys[3];              /* unique, count, file; owned */
    members_t  dirty;                /* rows to write again */
    members_t  flushing;             /* those a flush has begun with, */
    size_t     flushed;              /* and as far as it has come */
    int        sweep;                /* write all rows again, */
    char       cursor[24];           /* from here on */
    size_t     size;                 /* when a page last told */
    int        closing;              /* its rows are the close's */
} lane_window_t;

typedef enum {
    PARTITION_TAKING = 0,            /* waits for retry_at_ms, then is taken */
    PARTITION_ACTIVE,
    PARTITION_STOPPED                /* needs an operator */
} partition_state_e;

struct partition_s {
    int32_t            id;
    partition_state_e  state;
    char              *key_progress;
    char              *key_open;
    char               id_text[12];

    int64_t            generation;   /* of the log, by PostgreSQL */
    char               generation_text[24];

    int64_t            closed_ms;    /* PostgreSQL's; WINDOW_NONE */
    int64_t            closed_next;  /* its next_offset */
    int64_t            ledger_next;  /* its ledger_next; goes up */

    int64_t            next;         /* belief; PARTITION_NONE: no state */
    char               last[PARTITION_LAST];  /* id at next - 1, or "" */
    int64_t            watermark_ms;
    lane_window_t     *windows;      /* by start */
    size_t             nwindows;
    int64_t            close_from;   /* no close while next is below it */
    int                broken;       /* Redis lost a part: drop the rest */
    int                flushing;     /* a flush has begun */
    int                work_in_ms;   /* work of its own; -1: none */

    int64_t            anchor;       /* a record that the log held, or NONE, */
    char               anchor_id[PARTITION_LAST];
    int64_t            anchor_generation;
    int64_t            log_at_ms;    /* when to look whether it still does */

    int64_t            committed;
    int64_t            flush_at_ms;  /* these: monotonic clock */
    int64_t            check_at_ms;
    int64_t            check_pg_at_ms;
    int64_t            touch_at_ms;
    int64_t            idle_at_ms;

    retry_t            retry;
    int64_t            retry_at_ms;
    const char        *failed_step;  /* NULL: all is well */
    int64_t            failed_at_ms;
    err_t              stopped;      /* why; empty: it is not */
    int64_t            fenced_at_ms;
    uint64_t           fenced;       /* since it was last logged */
    metrics_slot_t    *slot;
};

partition_t *partition_new(const lane_conf_t *conf, int32_t id, int lane);
void partition_free(partition_t *p);

/* Forget everything that take_partition() finds out. */
void partition_reset(partition_t *p);

/* Names the keys.  Each generation has its own, so that who works on another
 * one finds nothing of this. */
void partition_generation(partition_t *p, const lane_conf_t *conf,
    int64_t generation);

/* The window, made when it is not there: not open, in order of start. */
lane_window_t *partition_window(partition_t *p, const lane_conf_t *conf,
    int64_t start_ms);
void partition_forget(partition_t *p, lane_window_t *win);

/* First offset of what can still change, or next. */
int64_t partition_low_water(const partition_t *p);
int64_t partition_low_after(const partition_t *p, int64_t closed_ms);

/* Rows of open windows are to be written, of which the close writes none. */
int partition_is_dirty(const partition_t *p);

#endif /* SLUICE_LANE_PARTITION_H */
