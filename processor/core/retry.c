/*
 * retry.c: exponential backoff with jitter.
 *
 * Owns the wait's length.  Does not wait, and does not know what failed.  Half
 * of each step is fixed: with full jitter a lane could knock at a dead server
 * without any pause.
 */

#include "core/retry.h"


int64_t
retry_next(retry_t *retry, uint32_t chance)
{
    int64_t step = RETRY_FIRST_MS;

    for (uint32_t i = 0; i < retry->failures && step < RETRY_LAST_MS; i++) {
        step *= 2;
    }

    if (step > RETRY_LAST_MS) {
        step = RETRY_LAST_MS;
    }

    if (retry->failures < UINT32_MAX) {
        retry->failures++;
    }

    return step / 2 + chance % (step / 2 + 1);
}
