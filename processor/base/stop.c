/*
 * stop.c: how long a process that was told to stop may still wait.
 *
 * Owns that moment.  Does not stop anything: the lanes look at a flag of their
 * own.
 */

#include "base/stop.h"

#include <stdatomic.h>

#include "base/now.h"

#define STOP_SLICE_MS  200

static _Atomic int64_t  stop_at_ms = INT64_MAX;        /* monotonic clock */


void
stop_within(int64_t ms)
{
    atomic_store(&stop_at_ms, now_mono_ms() + ms);
}


int64_t
stop_left(int64_t ms)
{
    int64_t  at = atomic_load(&stop_at_ms), left;

    if (at == INT64_MAX) {
        return ms;
    }

    left = at - now_mono_ms();
    left = left > 0 ? left : 0;
    return left < ms ? left : ms;
}


int
stop_is_over(void)
{
    return stop_left(1) == 0;
}


int64_t
stop_slice(int64_t ms)
{
    return stop_left(ms < STOP_SLICE_MS ? ms : STOP_SLICE_MS);
}
