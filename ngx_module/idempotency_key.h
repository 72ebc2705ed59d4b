/*
 * idempotency_key.h: the key in an Idempotency-Key header.
 *
 * By draft-ietf-httpapi-idempotency-key-header the value is a string of RFC
 * 8941, "like this"; many clients send the bare key.  Both are the same key.
 */

#ifndef SLUICE_IDEMPOTENCY_KEY_H
#define SLUICE_IDEMPOTENCY_KEY_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

#define SLUICE_IDEMPOTENCY_KEY_MAX  255    /* bytes, without the quotes */

/*
 * Read value into key, which has room for SLUICE_IDEMPOTENCY_KEY_MAX bytes and
 * is not NUL-terminated.  Parameters behind a quoted string are left out.
 *
 * Returns the key's length, or 0 when value is no such key: empty, longer, not
 * printable ASCII, quotes that do not match, several.
 */
size_t sluice_idempotency_key(char *key, const char *value, size_t len);

#pragma GCC visibility pop

#endif /* SLUICE_IDEMPOTENCY_KEY_H */
