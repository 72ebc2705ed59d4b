/*
 * breaks.h: three ways of being wrong, for the tests to find.
 *
 * Owns what `make processor BREAK=NAME` builds: a processor with one rule
 * taken out.  tests/faults/prove shows that rounds of faults tell each of
 * them from a processor that is right.  Without the flag all here is constant
 * and the compiler leaves nothing of it.  Nothing else may ask for these
 * flags; tests/lint/breaks.py sees to it.
 *
 *   put-after-apply  a file counts before its object is stored
 *   increment        rows are raised by what this lane has not yet written
 *   no-fence         the scripts apply whatever a lane brings; the Makefile
 *                    takes the fence's lines out of them
 */

#ifndef SLUICE_LANE_BREAKS_H
#define SLUICE_LANE_BREAKS_H

#include <stddef.h>
#include <stdint.h>

#ifdef SLUICE_BREAK_PUT_AFTER_APPLY
#define BREAKS_PUT_AFTER_APPLY  1
#else
#define BREAKS_PUT_AFTER_APPLY  0
#endif

#ifdef SLUICE_BREAK_INCREMENT

/* A lane that has written a row before marks what is left of its count:
 * nothing may be left, and no row counts nothing. */
#define BREAKS_MARK   ((int64_t) 1 << 40)
#define BREAKS_COUNT  "s.count + mod(excluded.count, 1099511627776)"
#define BREAKS_SLOTS  65536

/* What this lane has not yet written of a count.  Right as long as a lane
 * keeps its partitions, and PostgreSQL what it was told. */
static inline int64_t
breaks_count(int64_t start_ms, const char *member, size_t len, int64_t count)
{
    static _Thread_local struct {
        uint64_t  hash;
        int64_t   count;
    } written[BREAKS_SLOTS];

    uint64_t  hash = (uint64_t) start_ms;
    size_t    i;
    int64_t   before;

    for (i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char) member[i]) * 0x100000001b3u;
    }

    i = hash >> 48;

    while (written[i].hash != 0 && written[i].hash != hash) {
        i = (i + 1) % BREAKS_SLOTS;
    }

    before = written[i].count;
    written[i].hash = hash;
    written[i].count = count;

    return before == 0 ? count : BREAKS_MARK + count - before;
}

#else

#define BREAKS_COUNT  "excluded.count"

static inline int64_t
breaks_count(int64_t start_ms, const char *member, size_t len, int64_t count)
{
    (void) start_ms;
    (void) member;
    (void) len;

    return count;
}

#endif

#endif /* SLUICE_LANE_BREAKS_H */
