/*
 * multipart_find.h: the search for a delimiter, for multipart.c.
 *
 * delim is CR LF - - boundary, 5 to 74 bytes, without a second CR.
 */

#ifndef SLUICE_MULTIPART_FIND_H
#define SLUICE_MULTIPART_FIND_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* The first whole delimiter in the size bytes at p, or NULL. */
const char *sluice_multipart_find(const char *p, size_t size,
    const char *delim, size_t len);

/* How many bytes at the end of buf are the beginning of a delimiter. */
size_t sluice_multipart_partial(const char *buf, size_t size,
    const char *delim, size_t len);

#pragma GCC visibility pop

#endif /* SLUICE_MULTIPART_FIND_H */
