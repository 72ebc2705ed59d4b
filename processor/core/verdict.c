/*
 * verdict.c: count, late or past.
 *
 * Owns the rule of docs/design.md, section 4.  Does not read records: whether
 * a record can be read at all is core/record.c's to say, and whether its bytes
 * fit its hash comes later and moves no watermark back.
 */

#include "core/verdict.h"


verdict_e
verdict_next(verdict_t *v, int64_t offset, int64_t ts_ms, int64_t *start_ms)
{
    int64_t    start = window_start(&v->wc, ts_ms);
    verdict_e  verdict = VERDICT_COUNT;

    if (v->closed_ms != WINDOW_NONE && start <= v->closed_ms) {
        verdict = offset < v->closed_next ? VERDICT_PAST : VERDICT_LATE;

    } else if (window_is_due(&v->wc, start, v->watermark_ms)) {
        verdict = VERDICT_LATE;
    }

    if (ts_ms > v->watermark_ms) {
        v->watermark_ms = ts_ms;
    }

    *start_ms = start;

    return verdict;
}
