/*
 * rfc3339.h: times as a query argument spells them.
 *
 * RFC 3339 date-times with their offset, and plain dates, which mean midnight
 * UTC.  A client's text becomes a number here, and a text of our own again, so
 * that nothing a client wrote reaches SQL.
 */

#ifndef SLUICE_RFC3339_H
#define SLUICE_RFC3339_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

#define SLUICE_RFC3339_LEN  24      /* 2026-11-20T12:00:30.000Z */

/*
 * text, len  1970-01-01 to 9999-12-31, e.g. 2026-11-20,
 *            2026-11-20T12:00:30Z, 2026-11-20T13:00:30.5+01:00
 * ms         out: since the epoch; digits beyond ms are dropped
 *
 * Returns 0, or -1 when it is anything else.  A leap second (:60) is refused.
 */
int sluice_rfc3339_parse(const char *text, size_t len, int64_t *ms);

/*
 * dst needs SLUICE_RFC3339_LEN bytes and gets no NUL.  ms is what parse()
 * gave.
 */
void sluice_rfc3339_format(char *dst, int64_t ms);

#pragma GCC visibility pop

#endif /* SLUICE_RFC3339_H */
