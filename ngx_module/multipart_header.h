/*
 * multipart_header.h: the reading of a part's header lines, for multipart.c.
 */

#ifndef SLUICE_MULTIPART_HEADER_H
#define SLUICE_MULTIPART_HEADER_H

#include "multipart.h"

#pragma GCC visibility push(hidden)

/*
 * Read one header line into mp->part.
 *
 * line, last  inside mp->header, at least one byte, without the CR LF; quoted
 *             values are unquoted there, in place
 *
 * Returns MORE, or the error, with mp->rc and mp->why set.
 */
sluice_multipart_rc_e sluice_multipart_line(sluice_multipart_t *mp,
    const char *line, const char *last);

#pragma GCC visibility pop

#endif /* SLUICE_MULTIPART_HEADER_H */
