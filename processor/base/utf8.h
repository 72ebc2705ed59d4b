/*
 * utf8.h: reading UTF-8 strictly.
 *
 * Used where strangers' text meets us: the log, which escapes what is no
 * plain text, and core/record, which refuses it.  RFC 3629.
 */

#ifndef SLUICE_BASE_UTF8_H
#define SLUICE_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * Read the character s begins with.  Returns its bytes, 1 to 4, and sets *cp;
 * 0 when len is 0 or the bytes are no UTF-8 (overlong, surrogate, cut off).
 */
size_t utf8_next(const char *s, size_t len, uint32_t *cp);

/*
 * No control character (C0, DEL, C1, line and paragraph separator) and no
 * bidirectional control: U+200E-F, U+202A-E, U+2066-9, U+061C.
 */
int utf8_is_plain(uint32_t cp);

/* All of s is UTF-8 and plain. */
int utf8_text_is_plain(const char *s, size_t len);

#endif /* SLUICE_BASE_UTF8_H */
