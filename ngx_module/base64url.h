/*
 * base64url.h: base64url without padding, RFC 4648 section 5, strictly.
 *
 * Strict because a signature is over the encoded text: two texts for the same
 * bytes would be two tokens.
 */

#ifndef SLUICE_BASE64URL_H
#define SLUICE_BASE64URL_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* Bytes that len characters decode to. */
#define SLUICE_BASE64URL_BYTES(len)  ((len) / 4 * 3 + (len) % 4 * 3 / 4)

/*
 * Decodes src into dst, which has room for SLUICE_BASE64URL_BYTES(len).
 *
 * 0 with *n bytes written; -1 for padding, white space, a character of another
 * alphabet, an impossible length, or bits left over that are not zero.
 */
int sluice_base64url_decode(unsigned char *dst, size_t *n, const char *src,
    size_t len);

#pragma GCC visibility pop

#endif /* SLUICE_BASE64URL_H */
