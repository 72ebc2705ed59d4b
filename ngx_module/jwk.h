/*
 * jwk.h: the keys of one file.
 *
 * A file is told by its beginning: PEM public keys, a JWK or JWK Set (RFC
 * 7517), or else a raw HMAC secret, which has to be asked for by name, so that
 * a damaged file of public keys is never taken for a secret.
 */

#ifndef SLUICE_JWK_H
#define SLUICE_JWK_H

#include "jwk_key.h"

#pragma GCC visibility push(hidden)

#define SLUICE_JWK_FILE_MAX  (256 * 1024)
#define SLUICE_JWK_KEYS_MAX  64
#define SLUICE_JWK_WHY       128

typedef struct {
    size_t             n;             /* at least 1 */
    sluice_jwk_key_t   keys[SLUICE_JWK_KEYS_MAX];
} sluice_jwk_set_t;

/*
 * Read a file's bytes.
 *
 * alg SLUICE_JWK_ANY: PEM or JWK; each key's algorithm is its "alg" or follows
 * from its type.  HS256: a raw secret, less one line end, or the oct keys of a
 * JWK Set.  Others: a PEM key of that type, or a JWK Set's keys of that
 * algorithm.
 *
 * In a set, keys that verify nothing we do are skipped (RFC 7517 5); a key of
 * ours that is malformed or weak refuses the whole file, as does a file
 * without a key, a private key that is no secret of ours, or a name that
 * stands twice in an object.
 *
 * The set, to be freed; NULL with a sentence in why, which has room for
 * SLUICE_JWK_WHY and never holds bytes of the file.
 */
sluice_jwk_set_t *sluice_jwk_read(const char *data, size_t len,
    sluice_jwk_alg_e alg, char *why);

void sluice_jwk_free(sluice_jwk_set_t *set);

#pragma GCC visibility pop

#endif /* SLUICE_JWK_H */
