/*
 * jwk_key.h: one key that verifies signatures, and what it may verify.
 *
 * A key has one algorithm for life.  What a token says about its algorithm is
 * only compared with it, so a public key is never taken for a secret.  The only
 * file of the module's plain C that knows OpenSSL.
 */

#ifndef SLUICE_JWK_KEY_H
#define SLUICE_JWK_KEY_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

#define SLUICE_JWK_SECRET_MIN  32     /* bytes: RFC 7518 3.2 */
#define SLUICE_JWK_RSA_MIN     2048   /* bits: RFC 7518 3.3 */
#define SLUICE_JWK_RSA_MAX     8192

typedef enum {
    SLUICE_JWK_ANY = 0,
    SLUICE_JWK_HS256,
    SLUICE_JWK_RS256,
    SLUICE_JWK_ES256,
    SLUICE_JWK_EDDSA
} sluice_jwk_alg_e;

typedef struct {
    sluice_jwk_alg_e   alg;
    char              *kid;           /* NULL: none; our own copy */
    unsigned char     *secret;        /* HS256 */
    size_t             secret_len;
    void              *pkey;          /* EVP_PKEY, the others */
} sluice_jwk_key_t;

/* A base64url member of a JWK, decoded. */
typedef struct {
    const unsigned char  *data;
    size_t                len;
} sluice_jwk_bytes_t;

/* The algorithm of that JWA name; SLUICE_JWK_ANY for all that we don't do. */
sluice_jwk_alg_e sluice_jwk_alg(const char *name, size_t len);

/*
 * Fill *key, which is zero.  0; -1 with *why, a static sentence.  The numbers
 * are those of RFC 7518 6.2, 6.3 and RFC 8037 2: n and e of RSA, x and y of
 * P-256, x of Ed25519.
 */
int sluice_jwk_key_secret(sluice_jwk_key_t *key, const unsigned char *data,
    size_t len, const char **why);
int sluice_jwk_key_rsa(sluice_jwk_key_t *key, const sluice_jwk_bytes_t *n,
    const sluice_jwk_bytes_t *e, const char **why);
int sluice_jwk_key_p256(sluice_jwk_key_t *key, const sluice_jwk_bytes_t *x,
    const sluice_jwk_bytes_t *y, const char **why);
int sluice_jwk_key_ed25519(sluice_jwk_key_t *key, const sluice_jwk_bytes_t *x,
    const char **why);

/* From one PEM public key (SPKI); its type tells the algorithm.  *used is how
 * much of the text was read. */
int sluice_jwk_key_pem(sluice_jwk_key_t *key, const char *text, size_t len,
    size_t *used, const char **why);

/* Frees what the key holds, not the key; secrets are wiped. */
void sluice_jwk_key_clear(sluice_jwk_key_t *key);

/* 1 if the signature (as a JWS carries it, decoded) is this key's. */
int sluice_jwk_key_verify(const sluice_jwk_key_t *key,
    const unsigned char *signature, size_t signature_len, const char *text,
    size_t len);

#pragma GCC visibility pop

#endif /* SLUICE_JWK_KEY_H */
