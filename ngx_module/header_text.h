/*
 * header_text.h: a client's words made safe for a record header.
 *
 * File and field names come from strangers and end up in Kafka headers, JSON,
 * logs and web pages.  This is the one place where they are made valid UTF-8
 * without control and bidirectional formatting characters.
 */

#ifndef SLUICE_HEADER_TEXT_H
#define SLUICE_HEADER_TEXT_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/*
 * Clean src into dst, at most max bytes, never splitting a character.
 *
 * Bytes that are not UTF-8 (overlong, surrogates, > U+10FFFF included), C0, C1,
 * DEL, and the bidi controls U+200E-F, U+202A-E, U+2066-9, U+061C become
 * U+FFFD.  dst needs room for max bytes, must not overlap src, and is not
 * NUL-terminated.
 *
 * Returns the length written.
 */
size_t sluice_header_text(char *dst, size_t max, const char *src, size_t len);

/*
 * The last component of a client's path: what follows the last '/' or '\'.
 * Sets *len; returns a slice of name.  "." and ".." give an empty slice.
 */
const char *sluice_header_basename(const char *name, size_t *len);

#pragma GCC visibility pop

#endif /* SLUICE_HEADER_TEXT_H */
