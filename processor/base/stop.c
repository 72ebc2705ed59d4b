/*
 * stop.c: how long a process that was told to stop may still wait.
 *
 * Owns that moment.  Does not stop anything: the lanes look at a flag of their
 * own.
 */

#include "base/stop.h"

#include <stdatomic.h>
#include <time.h>

#define STOP_SLICE_MS  200

static _Atomic int64_t  stop_at_ms = INT64_MAX;        /* monotonic clock */


static int64_t
stop_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


void
stop_within(int64_t ms)
{
    atomic_store(&stop_at_ms, stop_now() + ms);
}


int64_t
stop_left(int64_t ms)
{
    int64_t  at = atomic_load(&stop_at_ms), left;

    if (at == INT64_MAX) {
        return ms;
    }

    left = at - stop_now();
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
