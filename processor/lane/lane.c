/*
 * lane.c: the loop, and what happens when a step fails.
 *
 * Owns a lane's connections and its list of partitions, the order of steps
 * between two polls, and the backoff.  Does not know how a step works.
 *
 * A dependency that is away stops partitions, not the lane: it goes on
 * polling, or the group would take everything from it.  After any failure a
 * partition is taken again from the start, since what was believed about it
 * may be wrong; that costs little and leaves one way back instead of many.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/now.h"
#include "lane/apply.h"
#include "lane/close.h"
#include "lane/flush.h"
#include "lane/gauges.h"
#include "lane/ledger.h"
#include "lane/partition.h"
#include "lane/state.h"
#include "lane/take.h"

#define LANE_CHECK_MS     1000       /* Redis, when nothing else asks it */
#define LANE_CHECK_PG_MS  10000
#define LANE_COMMIT_MS    5000       /* at revoke */
#define LANE_HURRY_MS     10000      /* after a revoke that couldn't */
#define LANE_FENCED_MS    100
#define LANE_QUIET_MS     10000      /* between two logs of being fenced */
#define LANE_STOPPED_MS   10000      /* has the operator acted? */
#define LANE_TURN_MS      100        /* work between two polls, at least */
#define LANE_LEAVE_TURNS  10         /* of a flush, at revoke */

struct lane_s {
    links_t            l;
    rows_t            *rows;
    const atomic_int  *stop;
    metrics_slot_t    *slot;
    partition_t      **parts;
    size_t             nparts;
    size_t             turn;             /* partition that was served last */
    int                unserved;         /* some were not, since then */
    int64_t            notify_at_ms;
    int64_t            hurry_until_ms;
    unsigned int       seed;
};


static partition_t *
lane_find(lane_t *lane, int32_t id, size_t *at)
{
    for (size_t i = 0; i < lane->nparts; i++) {
        if (lane->parts[i]->id == id) {
            if (at != NULL) {
                *at = i;
            }
            return lane->parts[i];
        }
    }

    return NULL;
}


/* The step that failed last works again. */
static void
lane_worked(lane_t *lane, partition_t *p, const char *step)
{
    if (p->failed_step == NULL || strcmp(p->failed_step, step) != 0) {
        return;
    }

    log_notice("lane", "recovered", LI("lane", lane->l.number),
               LI("part", p->id), LS("step", step),
               LI("failures", p->retry.failures),
               LI("ms", now_mono_ms() - p->failed_at_ms));

    p->failed_step = NULL;
    p->retry.failures = 0;
    gauges_stalled(p, NULL, 0);
}


static void
lane_stalled(lane_t *lane, partition_t *p, const char *step, const err_t *err)
{
    int64_t now = now_mono_ms();

    if (p->failed_step == NULL) {
        p->failed_at_ms = now;
    }

    if (p->failed_step == NULL || strcmp(p->failed_step, step) != 0) {
        log_error("lane", "stalled", LI("lane", lane->l.number),
                  LI("part", p->id), LS("step", step), LS("err", err->text));

    } else {
        log_debug("lane", "still stalled", LI("lane", lane->l.number),
                  LI("part", p->id), LS("step", step),
                  LI("failures", p->retry.failures), LS("err", err->text));
    }

    metrics_add(METRIC_FAILURES, metrics_step(step), 1);
    gauges_stalled(p, step, p->failed_at_ms);

    p->failed_step = step;
    p->retry_at_ms = now + retry_next(&p->retry,
                                      (uint32_t) rand_r(&lane->seed));
}


static void
lane_fenced(lane_t *lane, partition_t *p, const char *step, const err_t *err)
{
    int64_t now = now_mono_ms();

    metrics_add(METRIC_FENCED, metrics_step(step), 1);
    p->fenced++;
    p->retry_at_ms = now + rand_r(&lane->seed) % LANE_FENCED_MS;

    if (p->fenced_at_ms != 0 && now - p->fenced_at_ms < LANE_QUIET_MS) {
        return;
    }

    log_warn("lane", "fenced", LI("lane", lane->l.number), LI("part", p->id),
             LS("step", step), LI("times", p->fenced), LS("why", err->text));

    p->fenced_at_ms = now;
    p->fenced = 0;
}


/* Looked at again now and then: what stops a partition can be mended while we
 * run. */
static void
lane_stopped(lane_t *lane, partition_t *p, const char *step, const err_t *err)
{
    p->state = PARTITION_STOPPED;
    p->retry_at_ms = now_mono_ms() + LANE_STOPPED_MS;

    if (strcmp(p->stopped.text, err->text) == 0) {
        return;
    }

    p->stopped = *err;
    gauges_stalled(p, step, now_mono_ms());
    metrics_add(METRIC_STOPS, metrics_step(step), 1);
    log_error("lane", "stopped, an operator is needed",
              LI("lane", lane->l.number), LI("part", p->id), LS("step", step),
              LS("err", err->text));
}


/* A step's end: goes on, or the partition waits to be taken again. */
static rc_t
lane_step(lane_t *lane, partition_t *p, const char *step, rc_t rc,
    const err_t *err)
{
    if (rc == RC_OK) {
        lane_worked(lane, p, step);
        return rc;
    }

    kafka_pause(lane->l.kafka, p->id);
    close_abandon(&lane->l, p);
    p->state = PARTITION_TAKING;

    if (rc == RC_REJECT) {
        lane_stopped(lane, p, step, err);

    } else if (rc == RC_FENCED) {
        lane_fenced(lane, p, step, err);

    } else {
        lane_stalled(lane, p, step, err);
    }

    gauges_partition(&lane->l, p);

    return rc;
}


static rc_t
lane_take(lane_t *lane, partition_t *p)
{
    int64_t  began = metrics_clock();
    err_t    err = { "" };
    rc_t     rc = take_partition(&lane->l, p, &err);

    metrics_time(METRIC_STEP, METRICS_STEP_TAKE, began);

    if (rc == RC_OK) {
        gauges_taken(p);
        take_anchor(p);
        int64_t now = now_mono_ms();

        p->flush_at_ms = now;
        p->check_at_ms = now + LANE_CHECK_MS;
        p->check_pg_at_ms = now + LANE_CHECK_PG_MS;
        p->log_at_ms = now + LANE_CHECK_PG_MS;
        p->touch_at_ms = now + lane->l.conf->state_ttl_ms / 20;
        p->idle_at_ms = 0;

        if (p->stopped.text[0] != '\0') {
            p->stopped.text[0] = '\0';
            gauges_stalled(p, NULL, 0);
        }
    }

    return lane_step(lane, p, "take", rc, &err);
}


static rc_t
lane_flush(lane_t *lane, partition_t *p, int64_t now)
{
    int64_t  began = metrics_clock();
    int      dirty = partition_is_dirty(p);
    err_t    err = { "" };
    rc_t     rc;

    if (now < p->flush_at_ms) {
        return RC_OK;
    }

    rc = flush_rows(&lane->l, p, lane->rows, &err);

    if (dirty) {
        metrics_time(METRIC_STEP, METRICS_STEP_FLUSH, began);
    }

    rc = lane_step(lane, p, "flush", rc, &err);

    /* A large one goes on at the next turn. */
    if (!p->flushing) {
        p->flush_at_ms = now + lane->l.conf->flush_ms;
    }

    return rc;
}


/*
 * Is what we believe still so?  Between two batches nobody else would notice
 * that Redis was flushed, and after the last record of a log never.  The same
 * for a close that PostgreSQL lost.
 */
static rc_t
lane_recheck(lane_t *lane, partition_t *p, int64_t now)
{
    err_t  err = { "" };
    rc_t   rc;

    if (now < p->check_at_ms) {
        return RC_OK;
    }

    int      touch = now >= p->touch_at_ms;
    int64_t  began = metrics_clock();

    rc = state_check(&lane->l, p, touch, &err);

    if (rc == RC_OK && now >= p->check_pg_at_ms) {
        p->check_pg_at_ms = now + LANE_CHECK_PG_MS;
        rc = rows_check(&lane->l, p, &err);

        /* Nobody waits for a commit, so it is made again: it may have failed,
         * and those of a quiet topic expire. */
        p->committed = PARTITION_NONE;
    }

    metrics_time(METRIC_STEP, METRICS_STEP_CHECK, began);
    p->check_at_ms = now + LANE_CHECK_MS;

    if (touch) {
        p->touch_at_ms = now + lane->l.conf->state_ttl_ms / 20;
    }

    return lane_step(lane, p, "check", rc, &err);
}


static rc_t
lane_check_log(lane_t *lane, partition_t *p, int reading)
{
    err_t  err = { "" };
    rc_t   rc = take_check_log(&lane->l, p, now_mono_ms(), reading, &err);

    return rc == RC_OK ? rc : lane_step(lane, p, "check", rc, &err);
}


/*
 * Low water.  Nothing depends on it but lag monitors and those who look at
 * the group; it is the offset from which the open windows could be counted
 * again, so that what they show is work that is not final yet.
 */
static void
lane_commit(lane_t *lane, partition_t *p)
{
    int64_t low = partition_low_water(p);

    if (p->next != PARTITION_NONE && low > p->committed && !p->flushing) {
        kafka_commit(lane->l.kafka, p->id, low);
        p->committed = low;
    }
}


static rc_t
lane_close_due(lane_t *lane, partition_t *p, int64_t now)
{
    int64_t  began = metrics_clock(), closed = p->closed_ms;
    err_t    err = { "" };
    rc_t     rc;

    rc = close_due(&lane->l, p, lane->rows, now_wall_ms(), now,
                   &err);

    /* Most turns nothing is due. */
    if (rc != RC_OK || p->closed_ms != closed) {
        metrics_time(METRIC_STEP, METRICS_STEP_CLOSE, began);
    }

    return lane_step(lane, p, "close", rc, &err);
}


static void
lane_serve(lane_t *lane, partition_t *p)
{
    int64_t  now = now_mono_ms();
    rc_t     rc;

    if (p->state != PARTITION_ACTIVE && now >= p->retry_at_ms) {
        (void) lane_take(lane, p);
    }

    if (p->state != PARTITION_ACTIVE) {
        return;
    }

    rc = lane_close_due(lane, p, now);

    if (rc == RC_OK) {
        rc = lane_flush(lane, p, now);
    }

    if (rc == RC_OK) {
        rc = lane_recheck(lane, p, now);
    }

    if (rc == RC_OK) {
        rc = lane_check_log(lane, p, 0);
    }

    if (rc == RC_OK) {
        lane_commit(lane, p);
    }
}


static void
lane_batch(lane_t *lane, kafka_batch_t *batch)
{
    partition_t  *p = lane_find(lane, kafka_batch_partition(batch), NULL);
    record_t     *records;
    err_t         err = { "" };
    size_t        n;

    if (p == NULL || p->state != PARTITION_ACTIVE) {
        return;
    }

    records = kafka_batch_records(batch, &n);
    if (n == 0 || lane_check_log(lane, p, 1) != RC_OK) {
        return;
    }

    gauges_batch(p, &records[0]);

    int64_t  began = metrics_clock();
    rc_t     rc = apply_batch(&lane->l, p, records, n, &err);

    metrics_time(METRIC_BATCH, 0, began);

    lane_step(lane, p, "apply", rc, &err);

    if (rc == RC_OK) {
        p->check_at_ms = now_mono_ms() + LANE_CHECK_MS;
        gauges_applied(p, records, n);
    }
}


static void
lane_assigned(void *ctx, int32_t partition)
{
    lane_t *lane = ctx;

    if (lane_find(lane, partition, NULL) != NULL) {
        return;
    }

    lane->parts = mem_grow(lane->parts, lane->nparts + 1,
                           sizeof(*lane->parts));
    lane->parts[lane->nparts++] = partition_new(lane->l.conf, partition,
                                                lane->l.number);
    metrics_add(METRIC_ASSIGNED, 0, 1);
}


/*
 * The others of a rebalance wait for us, or the end of the process does.  So
 * what could not be left in order for one partition is not tried for the next:
 * the owner to come does it again anyway.
 */
static void
lane_leave(lane_t *lane, partition_t *p)
{
    err_t  err = { "" };
    rc_t   rc;

    if (now_mono_ms() < lane->hurry_until_ms) {
        return;
    }

    close_abandon(&lane->l, p);

    rc = flush_rows(&lane->l, p, lane->rows, &err);

    for (int i = 1; rc == RC_OK && p->flushing && i < LANE_LEAVE_TURNS; i++) {
        rc = flush_rows(&lane->l, p, lane->rows, &err);
    }

    if (rc == RC_OK && !partition_is_dirty(p)) {
        int64_t began = metrics_clock();

        rc = kafka_commit_wait(lane->l.kafka, p->id, partition_low_water(p),
                               LANE_COMMIT_MS, &err);
        metrics_time(METRIC_STEP, METRICS_STEP_COMMIT, began);
    }

    if (rc != RC_OK) {
        lane->hurry_until_ms = now_mono_ms() + LANE_HURRY_MS;
        log_warn("lane", "left behind work that the next owner does again",
                 LI("lane", lane->l.number), LI("part", p->id),
                 LS("err", err.text));
    }
}


static void
lane_revoked(void *ctx, int32_t partition, int lost)
{
    lane_t       *lane = ctx;
    size_t        at;
    partition_t  *p = lane_find(lane, partition, &at);

    if (p == NULL) {
        return;
    }

    if (!lost && p->state == PARTITION_ACTIVE && p->next != PARTITION_NONE) {
        lane_leave(lane, p);
    }

    log_info("lane", lost ? "lost" : "revoked", LI("lane", lane->l.number),
             LI("part", partition), LI("next", p->next));
    metrics_add(METRIC_REVOKED, lost ? METRICS_LEAVING_LOST
                                     : METRICS_LEAVING_ORDER, 1);

    close_abandon(&lane->l, p);
    partition_free(p);
    lane->nparts--;
    memmove(&lane->parts[at], &lane->parts[at + 1],
            (lane->nparts - at) * sizeof(*lane->parts));
}


rc_t
lane_open(lane_t **out, const lane_setup_t *setup, int number, err_t *err)
{
    static const kafka_events_t  events = { lane_assigned, lane_revoked };

    lane_t          *lane = mem_zalloc(sizeof(*lane));
    links_t         *l = &lane->l;
    char            *instance = NULL;
    kafka_member_t   member;
    rc_t             rc;

    l->conf = setup->conf;
    l->wc.size_ms = setup->conf->window_ms;
    l->wc.lateness_ms = setup->conf->lateness_ms;
    l->number = number;
    l->redis = redis_open(setup->redis);
    l->pg = pg_open(setup->pg);
    l->pg_close = pg_open(setup->pg);
    l->store_ops = setup->store;
    l->ledger = ledger_new();
    lane->rows = rows_new();
    lane->stop = setup->stop;
    lane->slot = metrics_slot_open(setup->conf->topic, -1, number);
    lane->seed = (unsigned int) (now_wall_ms() + number);

    rc = setup->store->open(&l->store, setup->store_conf, err);
    if (rc != RC_OK) {
        goto done;
    }

    instance = mem_printf("%s-%" PRId64 "-%d", setup->host,
                          setup->conf->instance, number);
    member.topic = setup->conf->topic;
    member.group = NULL;
    member.instance_id = instance;
    member.fetch_bytes = (size_t) setup->conf->fetch_bytes;

    rc = kafka_open(&l->kafka, setup->kafka, &member, &events, lane, err);

done:
    free(instance);

    if (rc != RC_OK) {
        lane_close(lane);
        return rc;
    }

    *out = lane;
    return RC_OK;
}


void
lane_close(lane_t *lane)
{
    if (lane == NULL) {
        return;
    }

    if (lane->l.kafka != NULL) {
        kafka_close(lane->l.kafka);
    }

    while (lane->nparts > 0) {
        partition_free(lane->parts[--lane->nparts]);
    }

    free(lane->parts);
    rows_free(lane->rows);
    ledger_free(lane->l.ledger);

    if (lane->l.store != NULL) {
        lane->l.store_ops->close(lane->l.store);
    }

    pg_close(lane->l.pg);
    pg_close(lane->l.pg_close);
    notify_free(&lane->l.notify);
    redis_close(lane->l.redis);
    redis_args_free(&lane->l.args);
    metrics_slot_close(lane->slot);
    free(lane);
}


/* How long to wait for records: less when a partition has work of its own. */
static int
lane_wait(const lane_t *lane)
{
    int64_t  now = now_mono_ms(), wait = lane->l.conf->poll_ms;

    if (lane->unserved) {
        return 0;
    }

    for (size_t i = 0; i < lane->nparts; i++) {
        const partition_t *p = lane->parts[i];

        if (p->state == PARTITION_TAKING && p->retry_at_ms - now < wait) {
            wait = p->retry_at_ms - now;
        }

        if (p->state == PARTITION_ACTIVE && p->work_in_ms >= 0
            && p->work_in_ms < wait)
        {
            wait = p->work_in_ms;
        }

        if (p->state == PARTITION_ACTIVE && p->flush_at_ms <= now
            && partition_is_dirty(p))
        {
            wait = 0;
        }
    }

    return wait > 0 ? (int) wait : 0;
}


/*
 * Look after the partitions, in turns: each may wait for a service that hangs,
 * and between two of them the lane polls, or with many of them it would not
 * for so long that the group takes them away.
 */
static void
lane_turn(lane_t *lane)
{
    int64_t  until = now_mono_ms() + LANE_TURN_MS;
    size_t   served = 0;

    while (served < lane->nparts && !atomic_load(lane->stop)) {
        if (served > 0 && now_mono_ms() >= until) {
            break;
        }

        lane->turn = (lane->turn + 1) % lane->nparts;
        lane_serve(lane, lane->parts[lane->turn]);
        gauges_partition(&lane->l, lane->parts[lane->turn]);
        served++;
    }

    lane->unserved = served < lane->nparts;
}


/* A hint that is lost is no failure: nobody depends on it. */
static void
lane_notify(lane_t *lane)
{
    int64_t  now = now_mono_ms();
    err_t    err = { "" };

    if (!notify_is_due(&lane->l.notify) || now < lane->notify_at_ms) {
        return;
    }

    lane->notify_at_ms = now + lane->l.conf->flush_ms;

    if (notify_send(&lane->l.notify, lane->l.pg, lane->l.conf->pipeline, &err)
        != RC_OK)
    {
        log_warn("lane", "notified nobody", LI("lane", lane->l.number),
                 LS("err", err.text));
    }
}


void
lane_run(lane_t *lane)
{
    const lane_conf_t *conf = lane->l.conf;

    while (!atomic_load(lane->stop)) {
        gauges_turn(lane->slot, &lane->l, lane->nparts);

        kafka_batch_t *batch = kafka_poll(lane->l.kafka, lane_wait(lane),
                                          (size_t) conf->batch_records,
                                          (size_t) conf->batch_bytes);

        if (batch != NULL) {
            lane_batch(lane, batch);
            kafka_batch_free(batch);
        }

        lane_turn(lane);
        lane_notify(lane);
    }

    kafka_close(lane->l.kafka);
    lane->l.kafka = NULL;
}
