/*
 * digest.h: SHA-256 of bytes that come in pieces.
 */

#ifndef SLUICE_CORE_DIGEST_H
#define SLUICE_CORE_DIGEST_H

#include <stddef.h>

#include "sluice_wire.h"

typedef struct digest_s  digest_t;

digest_t *digest_new(void);
void digest_add(digest_t *digest, const void *data, size_t len);

/* Lower-case hex of all that was added; then only digest_free() is left. */
void digest_end(digest_t *digest, char hex[SLUICE_SHA256_HEX + 1]);
void digest_free(digest_t *digest);                     /* takes NULL */

#endif /* SLUICE_CORE_DIGEST_H */
