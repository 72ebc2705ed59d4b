/*
 * jwk_key.c: one key that verifies signatures, by OpenSSL 3's EVP.
 *
 * Owns what makes a key good enough and what a signature has to look like.
 * Does not know files, JSON or tokens.
 *
 * OpenSSL's error queue belongs to the whole thread: nginx's TLS would take
 * what a bad token leaves there for its own trouble.  So all of it is dropped.
 */

#include "jwk_key.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#define JWK_KEY_P256     32           /* bytes of a coordinate */
#define JWK_KEY_ED25519  32
#define JWK_KEY_PAIR     64           /* bytes of r and s, and of EdDSA's */
#define JWK_KEY_HS256    32
#define JWK_KEY_E_BITS   64


static int jwk_key_rsa_good(const BIGNUM *n, const BIGNUM *e,
    const char **why);
static int jwk_key_make(sluice_jwk_key_t *key, const char *type,
    OSSL_PARAM_BLD *bld);
static int jwk_key_adopt(sluice_jwk_key_t *key, EVP_PKEY *pkey,
    const char **why);
static int jwk_key_adopt_rsa(const EVP_PKEY *pkey, const char **why);
static int jwk_key_digest(const sluice_jwk_key_t *key, const EVP_MD *md,
    const unsigned char *signature, size_t signature_len, const char *text,
    size_t len);
static int jwk_key_ecdsa(const sluice_jwk_key_t *key,
    const unsigned char *signature, const char *text, size_t len);
static int jwk_key_hmac(const sluice_jwk_key_t *key,
    const unsigned char *signature, const char *text, size_t len);


sluice_jwk_alg_e
sluice_jwk_alg(const char *name, size_t len)
{
    size_t  i;

    static const struct {
        const char        *name;
        sluice_jwk_alg_e   alg;
    } algs[] = {
        { "HS256", SLUICE_JWK_HS256 },
        { "RS256", SLUICE_JWK_RS256 },
        { "ES256", SLUICE_JWK_ES256 },
        { "EdDSA", SLUICE_JWK_EDDSA }
    };

    for (i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        if (strlen(algs[i].name) == len
            && memcmp(algs[i].name, name, len) == 0)
        {
            return algs[i].alg;
        }
    }

    return SLUICE_JWK_ANY;
}


int
sluice_jwk_key_secret(sluice_jwk_key_t *key, const unsigned char *data,
    size_t len, const char **why)
{
    if (len < SLUICE_JWK_SECRET_MIN) {
        *why = "the secret is shorter than 32 bytes";
        return -1;
    }

    key->secret = malloc(len);
    if (key->secret == NULL) {
        *why = "no memory";
        return -1;
    }

    memcpy(key->secret, data, len);
    key->secret_len = len;
    key->alg = SLUICE_JWK_HS256;

    return 0;
}


int
sluice_jwk_key_rsa(sluice_jwk_key_t *key, const sluice_jwk_bytes_t *n,
    const sluice_jwk_bytes_t *e, const char **why)
{
    int              rc;
    BIGNUM          *bn, *be;
    OSSL_PARAM_BLD  *bld;

    /* also keeps a hostile length from BN_bin2bn() */
    if (n->len > SLUICE_JWK_RSA_MAX / 8 + 1 || e->len > JWK_KEY_E_BITS / 8 + 1)
    {
        *why = "the RSA key is too large";
        return -1;
    }

    rc = -1;
    *why = "no memory";

    bld = OSSL_PARAM_BLD_new();
    bn = BN_bin2bn(n->data, (int) n->len, NULL);
    be = BN_bin2bn(e->data, (int) e->len, NULL);

    if (bld != NULL && bn != NULL && be != NULL
        && jwk_key_rsa_good(bn, be, why) == 0
        && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn)
        && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be))
    {
        *why = "the RSA key is not valid";
        rc = jwk_key_make(key, "RSA", bld);
        key->alg = SLUICE_JWK_RS256;
    }

    BN_free(bn);
    BN_free(be);
    OSSL_PARAM_BLD_free(bld);

    return rc;
}


static int
jwk_key_rsa_good(const BIGNUM *n, const BIGNUM *e, const char **why)
{
    if (BN_num_bits(n) < SLUICE_JWK_RSA_MIN) {
        *why = "the RSA key is shorter than 2048 bits";
        return -1;
    }

    if (BN_num_bits(n) > SLUICE_JWK_RSA_MAX) {
        *why = "the RSA key is too large";
        return -1;
    }

    if (!BN_is_odd(n) || !BN_is_odd(e) || BN_is_one(e)
        || BN_num_bits(e) > JWK_KEY_E_BITS)
    {
        *why = "the RSA key is not valid";
        return -1;
    }

    return 0;
}


int
sluice_jwk_key_p256(sluice_jwk_key_t *key, const sluice_jwk_bytes_t *x,
    const sluice_jwk_bytes_t *y, const char **why)
{
    int              rc;
    OSSL_PARAM_BLD  *bld;
    unsigned char    point[1 + 2 * JWK_KEY_P256];

    /* RFC 7518 6.2.1.2: the full size, with leading zeros */
    if (x->len != JWK_KEY_P256 || y->len != JWK_KEY_P256) {
        *why = "a coordinate of the P-256 key is not 32 bytes long";
        return -1;
    }

    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    memcpy(point + 1, x->data, JWK_KEY_P256);
    memcpy(point + 1 + JWK_KEY_P256, y->data, JWK_KEY_P256);

    rc = -1;
    *why = "no memory";

    bld = OSSL_PARAM_BLD_new();

    if (bld != NULL
        && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME,
                                           "prime256v1", 0)
        && OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY,
                                            point, sizeof(point)))
    {
        /* a point that is not on the curve is refused here */
        *why = "the P-256 key is not valid";
        rc = jwk_key_make(key, "EC", bld);
        key->alg = SLUICE_JWK_ES256;
    }

    OSSL_PARAM_BLD_free(bld);

    return rc;
}


static int
jwk_key_make(sluice_jwk_key_t *key, const char *type, OSSL_PARAM_BLD *bld)
{
    EVP_PKEY      *pkey;
    OSSL_PARAM    *params;
    EVP_PKEY_CTX  *ctx;

    pkey = NULL;
    ERR_set_mark();

    params = OSSL_PARAM_BLD_to_param(bld);
    ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);

    if (params != NULL && ctx != NULL
        && EVP_PKEY_fromdata_init(ctx) == 1
        && EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
    {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }

    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    ERR_pop_to_mark();

    key->pkey = pkey;

    return (pkey == NULL) ? -1 : 0;
}


int
sluice_jwk_key_ed25519(sluice_jwk_key_t *key, const sluice_jwk_bytes_t *x,
    const char **why)
{
    if (x->len != JWK_KEY_ED25519) {
        *why = "the Ed25519 key is not 32 bytes long";
        return -1;
    }

    ERR_set_mark();
    key->pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x->data,
                                            x->len);
    ERR_pop_to_mark();

    if (key->pkey == NULL) {
        *why = "the Ed25519 key is not valid";
        return -1;
    }

    key->alg = SLUICE_JWK_EDDSA;

    return 0;
}


int
sluice_jwk_key_pem(sluice_jwk_key_t *key, const char *text, size_t len,
    size_t *used, const char **why)
{
    BIO       *bio;
    EVP_PKEY  *pkey;

    *why = "no memory";

    bio = BIO_new_mem_buf(text, (int) len);
    if (bio == NULL) {
        return -1;
    }

    ERR_set_mark();
    pkey = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    ERR_pop_to_mark();

    *used = len - BIO_pending(bio);
    BIO_free(bio);

    if (pkey == NULL) {
        *why = "not a PEM public key";
        return -1;
    }

    if (jwk_key_adopt(key, pkey, why) != 0) {
        EVP_PKEY_free(pkey);
        return -1;
    }

    key->pkey = pkey;

    return 0;
}


static int
jwk_key_adopt(sluice_jwk_key_t *key, EVP_PKEY *pkey, const char **why)
{
    char  group[32];

    switch (EVP_PKEY_get_base_id(pkey)) {

    case EVP_PKEY_RSA:
        key->alg = SLUICE_JWK_RS256;
        return jwk_key_adopt_rsa(pkey, why);

    case EVP_PKEY_EC:
        if (!EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME,
                                            group, sizeof(group), NULL)
            || strcmp(group, "prime256v1") != 0)
        {
            *why = "the EC key is not on P-256";
            return -1;
        }

        key->alg = SLUICE_JWK_ES256;
        return 0;

    case EVP_PKEY_ED25519:
        key->alg = SLUICE_JWK_EDDSA;
        return 0;

    default:
        *why = "the key is neither RSA, EC P-256 nor Ed25519";
        return -1;
    }
}


static int
jwk_key_adopt_rsa(const EVP_PKEY *pkey, const char **why)
{
    int      rc;
    BIGNUM  *n, *e;

    n = NULL;
    e = NULL;
    rc = -1;
    *why = "no memory";

    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n)
        && EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e))
    {
        rc = jwk_key_rsa_good(n, e, why);
    }

    BN_free(n);
    BN_free(e);

    return rc;
}


void
sluice_jwk_key_clear(sluice_jwk_key_t *key)
{
    if (key->secret != NULL) {
        OPENSSL_cleanse(key->secret, key->secret_len);
    }

    free(key->secret);
    free(key->kid);
    EVP_PKEY_free(key->pkey);

    memset(key, 0, sizeof(*key));
}


int
sluice_jwk_key_verify(const sluice_jwk_key_t *key,
    const unsigned char *signature, size_t signature_len, const char *text,
    size_t len)
{
    switch (key->alg) {

    case SLUICE_JWK_HS256:
        return signature_len == JWK_KEY_HS256
               && jwk_key_hmac(key, signature, text, len);

    case SLUICE_JWK_RS256:
        return signature_len == (size_t) EVP_PKEY_get_size(key->pkey)
               && jwk_key_digest(key, EVP_sha256(), signature, signature_len,
                                 text, len);

    case SLUICE_JWK_ES256:
        return signature_len == JWK_KEY_PAIR
               && jwk_key_ecdsa(key, signature, text, len);

    case SLUICE_JWK_EDDSA:
        return signature_len == JWK_KEY_PAIR
               && jwk_key_digest(key, NULL, signature, signature_len, text,
                                 len);

    case SLUICE_JWK_ANY:
        break;
    }

    return 0;
}


static int
jwk_key_digest(const sluice_jwk_key_t *key, const EVP_MD *md,
    const unsigned char *signature, size_t signature_len, const char *text,
    size_t len)
{
    int          good;
    EVP_MD_CTX  *ctx;

    ERR_set_mark();
    ctx = EVP_MD_CTX_new();

    good = ctx != NULL
           && EVP_DigestVerifyInit(ctx, NULL, md, NULL, key->pkey) == 1
           && EVP_DigestVerify(ctx, signature, signature_len,
                               (const unsigned char *) text, len) == 1;

    EVP_MD_CTX_free(ctx);
    ERR_pop_to_mark();

    return good;
}


/* RFC 7518 3.4: r and s side by side; OpenSSL wants their DER. */
static int
jwk_key_ecdsa(const sluice_jwk_key_t *key, const unsigned char *signature,
    const char *text, size_t len)
{
    int             good, der_len;
    BIGNUM         *r, *s;
    ECDSA_SIG      *sig;
    unsigned char  *der;

    der = NULL;
    good = 0;

    sig = ECDSA_SIG_new();
    r = BN_bin2bn(signature, JWK_KEY_PAIR / 2, NULL);
    s = BN_bin2bn(signature + JWK_KEY_PAIR / 2, JWK_KEY_PAIR / 2, NULL);

    if (sig == NULL || r == NULL || s == NULL) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return 0;
    }

    /* r and s are sig's now */
    if (ECDSA_SIG_set0(sig, r, s) == 1) {

        der_len = i2d_ECDSA_SIG(sig, &der);

        good = der_len > 0
               && jwk_key_digest(key, EVP_sha256(), der, (size_t) der_len,
                                 text, len);
    }

    OPENSSL_free(der);
    ECDSA_SIG_free(sig);

    return good;
}


static int
jwk_key_hmac(const sluice_jwk_key_t *key, const unsigned char *signature,
    const char *text, size_t len)
{
    int            good;
    unsigned       mac_len;
    unsigned char  mac[EVP_MAX_MD_SIZE];

    ERR_set_mark();

    good = HMAC(EVP_sha256(), key->secret, (int) key->secret_len,
                (const unsigned char *) text, len, mac, &mac_len) != NULL
           && mac_len == JWK_KEY_HS256
           && CRYPTO_memcmp(mac, signature, JWK_KEY_HS256) == 0;

    OPENSSL_cleanse(mac, sizeof(mac));
    ERR_pop_to_mark();

    return good;
}
