/*
 * tell.c: what an assembling lane tells of itself and its partitions.
 *
 * Owns what their fields mean here: the lag is what was never read, so a
 * partition that reads again for the spool's sake has none.  Read by
 * lane/monitor.c at any time.
 */

#include "assemble/assemble_local.h"

#include "base/metrics.h"
#include "base/now.h"

#define TELL_MEMORY  100             /* pieces that an average remembers */


void
tell_turn(const assemble_t *a)
{
    metrics_set(a->slot, METRICS_FIELD_TURN_AT_MS, metrics_clock() / 1000);
    metrics_set(a->slot, METRICS_FIELD_OWNED, (int64_t) a->nsources);
    metrics_set(a->slot, METRICS_FIELD_JOINED, kafka_is_member(a->kafka));
}


void
tell_source(const assemble_t *a, const parts_t *ps)
{
    int64_t  reached, offset, ts_ms;

    metrics_set(ps->slot, METRICS_FIELD_STATE,
                ps->state == PARTS_TAKING ? METRICS_STATE_TAKING
                                          : METRICS_STATE_ACTIVE);
    if (ps->state != PARTS_ACTIVE || ps->next < ps->high) {
        return;
    }

    /* Past the end it goes over what is no record. */
    reached = kafka_next(a->kafka, ps->id);
    if (reached < ps->high) {
        return;
    }
    metrics_set(ps->slot, METRICS_FIELD_REACHED, reached);
    metrics_set(ps->slot, METRICS_FIELD_NEXT, ps->next);

    if (kafka_head(a->kafka, ps->id, &offset, &ts_ms)) {
        metrics_set(ps->slot, METRICS_FIELD_HEAD_MS, ts_ms);
        metrics_set(ps->slot, METRICS_FIELD_HEAD, offset);
    }
    if (ps->committed != PARTS_NONE) {
        metrics_set(ps->slot, METRICS_FIELD_COMMITTED, ps->committed);
    }
    if (ps->watermark_ms != INT64_MIN) {
        metrics_set(ps->slot, METRICS_FIELD_WATERMARK_MS, ps->watermark_ms);
    }
}


void
tell_batch(const parts_t *ps, const record_t *records, size_t n)
{
    int64_t  size = metrics_get(ps->slot, METRICS_FIELD_SIZE);

    for (size_t i = 0; i < n; i++) {
        int64_t  len = (int64_t) records[i].len;

        size = size == METRICS_UNKNOWN
               ? len : (size * TELL_MEMORY + len) / (TELL_MEMORY + 1);
    }
    metrics_set(ps->slot, METRICS_FIELD_SIZE, size);
}


void
tell_stalled(const parts_t *ps, int stalled)
{
    metrics_set(ps->slot, METRICS_FIELD_STALLED_AT_MS,
                stalled ? now_mono_ms() : METRICS_UNKNOWN);
    metrics_set(ps->slot, METRICS_FIELD_FAILED_STEP,
                stalled ? METRICS_STEP_ASSEMBLE : METRICS_UNKNOWN);
}


void
tell_spool(assemble_t *a)
{
    uint64_t  used = spool_used(a->spool);

    if (used != a->spool_told) {
        metrics_add(METRIC_SPOOL_BYTES, 0,
                    (int64_t) used - (int64_t) a->spool_told);
        a->spool_told = used;
    }
}
