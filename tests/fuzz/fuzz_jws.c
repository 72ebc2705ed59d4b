/*
 * fuzz_jws.c: no token is believed that our keys did not sign.
 *
 * The first byte chooses what the rest is: a token from a stranger, which must
 * be refused; a header and a payload, with a NUL between, that are signed here,
 * so that what lies behind the signature is reached; or a key file.  What is
 * verified goes on to the claims and the grant, as in the module.
 */

#include "base64url.h"
#include "jws.h"
#include "jwt.h"
#include "require.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define SECRET  "0123456789abcdef0123456789abcdef"

/* RFC 7515 A.3 and RFC 8037 A.2: their private halves sign nothing here. */
#define KEYS                                                                  \
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\","             \
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","                  \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"                 \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"b\","                     \
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"


static sluice_jwk_set_t  *sets[2];


static void
encode(char *dst, const void *src, size_t len)
{
    char  *p;

    EVP_EncodeBlock((unsigned char *) dst, src, (int) len);

    for (p = dst; *p != '\0'; p++) {
        if (*p == '+') {
            *p = '-';

        } else if (*p == '/') {
            *p = '_';

        } else if (*p == '=') {
            *p = '\0';
            break;
        }
    }
}


/* A text that decodes is the one text of its bytes. */
static void
run_text(const char *text, size_t len)
{
    char           *again;
    size_t          n;
    unsigned char  *bytes;

    bytes = malloc(SLUICE_BASE64URL_BYTES(len) + 1);
    again = malloc(len + 8);
    require(bytes != NULL && again != NULL);

    if (sluice_base64url_decode(bytes, &n, text, len) == 0) {
        require(n == SLUICE_BASE64URL_BYTES(len));
        encode(again, bytes, n);
        require(strlen(again) == len && memcmp(again, text, len) == 0);
    }

    free(bytes);
    free(again);
}


static void
run_token(const char *token, size_t len)
{
    sluice_jws_t  jws;
    const char   *why;

    why = NULL;

    require(sluice_jws_verify(&jws, token, len, sets, 2, &why) == -1);
    require(why != NULL && jws.claims == NULL && jws.header == NULL);
    require(ERR_peek_error() == 0);
}


static void
run_claims(const sluice_jws_t *jws)
{
    size_t               i;
    const char          *why;
    sluice_jwt_grant_t   grant;

    static const sluice_jwt_str_t    ours[] = { { "sluice", 6 } };
    static const sluice_jwt_rules_t  rules = { ours, 1, ours, 1, 30 };

    why = NULL;

    if (sluice_jwt_check(jws->claims, &rules, 1795132800, &why) != 0) {
        require(why != NULL);
    }

    (void) sluice_jwt_is_upload(jws->header);

    if (sluice_jwt_grant(&grant, jws->claims, &why) != 0) {
        require(why != NULL);
        return;
    }

    require(grant.customer.len != 0 && grant.id.len != 0);
    require(grant.id.len <= SLUICE_JWT_ID_MAX);
    require(grant.max_files == -1 || grant.max_files > 0);
    require(grant.max_file_size == -1 || grant.max_file_size > 0);
    require(grant.ntypes <= SLUICE_JWT_TYPES_MAX);

    for (i = 0; i < grant.ntypes; i++) {
        require(grant.types[i].len != 0);
    }
}


static void
run_signed(const char *text, size_t len)
{
    char          *token, *p;
    size_t         header, n;
    unsigned       mac_len;
    sluice_jws_t   jws;
    const char    *why, *nul;
    unsigned char  mac[EVP_MAX_MD_SIZE];

    nul = memchr(text, '\0', len);
    if (nul == NULL) {
        return;
    }

    header = (size_t) (nul - text);

    token = malloc(len * 2 + 256);
    require(token != NULL);

    encode(token, text, header);
    p = token + strlen(token);
    *p++ = '.';
    encode(p, nul + 1, len - header - 1);

    require(HMAC(EVP_sha256(), SECRET, sizeof(SECRET) - 1,
                 (unsigned char *) token, strlen(token), mac, &mac_len));

    p = token + strlen(token);
    *p++ = '.';
    encode(p, mac, mac_len);

    n = strlen(token);

    if (sluice_jws_verify(&jws, token, n, sets, 2, &why) == 0) {

        run_claims(&jws);
        sluice_jws_clear(&jws);

        /* another signature is none */
        token[n - 2] = (token[n - 2] == 'A') ? 'B' : 'A';
        run_token(token, n);
    }

    free(token);
}


static void
run_file(const char *text, size_t len)
{
    int                alg;
    size_t             i;
    char               why[SLUICE_JWK_WHY];
    sluice_jwk_set_t  *set;

    for (alg = SLUICE_JWK_ANY; alg <= SLUICE_JWK_EDDSA; alg++) {

        why[0] = '\0';
        set = sluice_jwk_read(text, len, (sluice_jwk_alg_e) alg, why);
        require(ERR_peek_error() == 0);

        if (set == NULL) {
            require(why[0] != '\0');
            continue;
        }

        require(set->n > 0 && set->n <= SLUICE_JWK_KEYS_MAX);

        for (i = 0; i < set->n; i++) {
            require(alg == SLUICE_JWK_ANY || (int) set->keys[i].alg == alg);
            require((set->keys[i].alg == SLUICE_JWK_HS256)
                    == (set->keys[i].secret != NULL));
            require((set->keys[i].secret == NULL)
                    == (set->keys[i].pkey != NULL));
        }

        sluice_jwk_free(set);
    }
}


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char  why[SLUICE_JWK_WHY];

    (void) argc;
    (void) argv;

    sets[0] = sluice_jwk_read(SECRET, sizeof(SECRET) - 1, SLUICE_JWK_HS256,
                              why);
    sets[1] = sluice_jwk_read(KEYS, sizeof(KEYS) - 1, SLUICE_JWK_ANY, why);
    require(sets[0] != NULL && sets[1] != NULL);

    return 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char    *text;
    size_t   len;

    if (size == 0) {
        return 0;
    }

    /* a block of its exact size shows a byte read too many */
    len = size - 1;
    text = malloc(len);
    if (len != 0) {
        require(text != NULL);
        memcpy(text, data + 1, len);
    }

    switch (data[0]) {

    case 'S':
        run_signed(text, len);
        break;

    case 'K':
        run_file(text, len);
        break;

    default:
        run_text(text, len);
        run_token(text, len);
        break;
    }

    free(text);

    return 0;
}
