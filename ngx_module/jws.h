/*
 * jws.h: a signed token in compact form (RFC 7515), verified.
 *
 * Nothing of a token is believed before its signature is: of the header only
 * "alg" and "kid" are read, to choose among our keys.  "none" is no algorithm
 * of ours.
 */

#ifndef SLUICE_JWS_H
#define SLUICE_JWS_H

#include <jansson.h>

#include "jwk.h"

#pragma GCC visibility push(hidden)

#define SLUICE_JWS_MAX    8192        /* bytes of a token */
#define SLUICE_JWS_TRIES  8           /* signatures computed for one token */

typedef struct {
    json_t  *header;                  /* an object */
    json_t  *claims;                  /* an object */
} sluice_jws_t;

/*
 * Verify a token with the keys of nsets sets.
 *
 * With a "kid", keys of that name are tried first, then those without one;
 * without, all of the token's algorithm; SLUICE_JWS_TRIES in all.  Refused are
 * also "crit" (RFC 7515 4.1.11: we understand no extension), a name that
 * stands twice, and a payload that is no JSON object.
 *
 * 0 with *jws, to be cleared; -1 with *why, a static sentence.
 */
int sluice_jws_verify(sluice_jws_t *jws, const char *token, size_t len,
    sluice_jwk_set_t *const *sets, size_t nsets, const char **why);

void sluice_jws_clear(sluice_jws_t *jws);

#pragma GCC visibility pop

#endif /* SLUICE_JWS_H */
