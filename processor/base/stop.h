/*
 * stop.h: how long a process that was told to stop may still wait.
 *
 * One moment for all threads, set once.  What waits for an outside system asks
 * here how long; past that moment it gives up at once.  Each wait has a bound
 * of its own as well, but with everything away those add up.
 */

#ifndef SLUICE_BASE_STOP_H
#define SLUICE_BASE_STOP_H

#include <stdint.h>

/* From now on the process waits for no more than ms in all. */
void stop_within(int64_t ms);

/* As much of ms as may be waited; all of it while nobody stops. */
int64_t stop_left(int64_t ms);

/* Nothing may be waited for any more. */
int stop_is_over(void);

/*
 * As stop_left(), and no longer than a moment at once: who is in a wait when
 * the stop comes learns of it, by waiting in such slices.
 */
int64_t stop_slice(int64_t ms);

#endif /* SLUICE_BASE_STOP_H */
