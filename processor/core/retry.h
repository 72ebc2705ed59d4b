/*
 * retry.h: how long to wait before the next attempt.
 *
 * Doubles from 0.1 s to 10 s, with jitter so that lanes that failed together
 * don't return together.  Chance is an argument, so that tests know it.
 */

#ifndef SLUICE_CORE_RETRY_H
#define SLUICE_CORE_RETRY_H

#include <stdint.h>

#define RETRY_FIRST_MS  100
#define RETRY_LAST_MS   10000

typedef struct {
    uint32_t  failures;             /* in a row */
} retry_t;

/* Counts a failure; returns the wait in ms: half of the step, plus chance. */
int64_t retry_next(retry_t *retry, uint32_t chance);

#endif /* SLUICE_CORE_RETRY_H */
