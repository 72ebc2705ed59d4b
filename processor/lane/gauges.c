/*
 * gauges.c: what a lane tells of itself and its partitions.
 *
 * Owns what a partition's fields mean.  They are set where the lane knows
 * them, and read by a thread that never waits for a lane; what needs a clock
 * or the log's end is worked out there, so that a lane that hangs shows.
 *
 * `reached` is the first offset that may still hold a record to apply.  It
 * stays while a partition is taken again: the backlog of a partition that
 * stalls must not vanish.
 */

#include <assert.h>

#include "base/metrics.h"
#include "lane/gauges.h"

#define GAUGES_MEMORY  1000          /* records that an average remembers */


void
gauges_turn(metrics_slot_t *slot, const links_t *l, size_t nparts)
{
    metrics_set(slot, METRICS_FIELD_TURN_AT_MS, metrics_clock() / 1000);
    metrics_set(slot, METRICS_FIELD_OWNED, (int64_t) nparts);
    metrics_set(slot, METRICS_FIELD_JOINED, kafka_is_member(l->kafka));
}


static int64_t
gauges_dirty(const partition_t *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->nwindows; i++) {
        n += p->windows[i].dirty.n + p->windows[i].flushing.n
             - p->windows[i].flushed;
    }

    return (int64_t) n;
}


/* The time of the record to come, when it is here. */
static void
gauges_head(const links_t *l, const partition_t *p, int64_t reached)
{
    int64_t  offset, ts_ms;

    if (metrics_get(p->slot, METRICS_FIELD_HEAD) >= reached) {
        return;
    }

    if (kafka_head(l->kafka, p->id, &offset, &ts_ms)) {
        metrics_set(p->slot, METRICS_FIELD_HEAD_MS, ts_ms);
        metrics_set(p->slot, METRICS_FIELD_HEAD, offset);
    }
}


void
gauges_partition(const links_t *l, const partition_t *p)
{
    static const metrics_state_e  states[] = {
        [PARTITION_TAKING] = METRICS_STATE_TAKING,
        [PARTITION_ACTIVE] = METRICS_STATE_ACTIVE,
        [PARTITION_STOPPED] = METRICS_STATE_STOPPED
    };

    metrics_set(p->slot, METRICS_FIELD_STATE, states[p->state]);

    if (p->state != PARTITION_ACTIVE) {
        return;
    }

    int64_t reached = kafka_next(l->kafka, p->id);

    if (reached >= 0) {
        metrics_set(p->slot, METRICS_FIELD_REACHED, reached);
        metrics_set(p->slot, METRICS_FIELD_NEXT,
                    p->next != PARTITION_NONE ? p->next : reached);
        gauges_head(l, p, reached);
    }

    metrics_set(p->slot, METRICS_FIELD_WINDOWS, (int64_t) p->nwindows);
    metrics_set(p->slot, METRICS_FIELD_DIRTY, gauges_dirty(p));

    if (p->committed != PARTITION_NONE) {
        metrics_set(p->slot, METRICS_FIELD_COMMITTED, p->committed);
    }

    if (p->watermark_ms != WINDOW_NONE) {
        metrics_set(p->slot, METRICS_FIELD_WATERMARK_MS, p->watermark_ms);
    }
}


void
gauges_taken(const partition_t *p)
{
    metrics_set(p->slot, METRICS_FIELD_HEAD, METRICS_UNKNOWN);
    metrics_set(p->slot, METRICS_FIELD_CAUGHT_UP_MS, METRICS_UNKNOWN);
}


void
gauges_batch(const partition_t *p, const record_t *first)
{
    metrics_set(p->slot, METRICS_FIELD_HEAD_MS, first->ts_ms);
    metrics_set(p->slot, METRICS_FIELD_HEAD, first->offset);
}


void
gauges_applied(const partition_t *p, const record_t *records, size_t n)
{
    int64_t  bytes = 0, size = metrics_get(p->slot, METRICS_FIELD_SIZE);

    assert(n > 0);

    for (size_t i = 0; i < n; i++) {
        bytes += (int64_t) records[i].len;
    }

    metrics_add(METRIC_BATCHES, 0, 1);
    metrics_add(METRIC_BYTES, 0, bytes);

    size = size == METRICS_UNKNOWN
           ? bytes / (int64_t) n
           : (size * GAUGES_MEMORY + bytes) / (GAUGES_MEMORY + (int64_t) n);
    metrics_set(p->slot, METRICS_FIELD_SIZE, size);
}


void
gauges_stalled(const partition_t *p, const char *step, int64_t since_ms)
{
    metrics_set(p->slot, METRICS_FIELD_STALLED_AT_MS,
                step == NULL ? METRICS_UNKNOWN : since_ms);
    metrics_set(p->slot, METRICS_FIELD_FAILED_STEP,
                step == NULL ? METRICS_UNKNOWN : metrics_step(step));
}
