/*
 * jws.c: a signed token in compact form, verified.
 *
 * Owns the form header.payload.signature, the choice of keys and the order of
 * things: form, header, signature, and only then the payload.  Does not know
 * OpenSSL, the clock or what a claim means.
 */

#include "jws.h"
#include "base64url.h"

#include <stdlib.h>
#include <string.h>


/* A token taken apart; all of it points into the caller's. */
typedef struct {
    const char        *header;
    size_t             header_len;
    const char        *payload;
    size_t             payload_len;
    size_t             signed_len;    /* header and payload with their dot */
    unsigned char      signature[SLUICE_BASE64URL_BYTES(SLUICE_JWS_MAX)];
    size_t             signature_len;
    sluice_jwk_alg_e   alg;
    const char        *kid;           /* NULL: none */
} jws_parts_t;


static int jws_split(jws_parts_t *parts, const char *token, size_t len);
static int jws_header(jws_parts_t *parts, json_t *header, const char **why);
static int jws_signed(const jws_parts_t *parts, sluice_jwk_set_t *const *sets,
    size_t nsets);
static int jws_fits(const jws_parts_t *parts, const sluice_jwk_key_t *key,
    int named);
static json_t *jws_json(const char *text, size_t len);


int
sluice_jws_verify(sluice_jws_t *jws, const char *token, size_t len,
    sluice_jwk_set_t *const *sets, size_t nsets, const char **why)
{
    jws_parts_t  parts;

    jws->header = NULL;
    jws->claims = NULL;

    if (len > SLUICE_JWS_MAX) {
        *why = "the token is longer than 8192 bytes";
        return -1;
    }

    if (jws_split(&parts, token, len) != 0) {
        *why = "the token is not header.payload.signature in base64url";
        return -1;
    }

    jws->header = jws_json(parts.header, parts.header_len);

    if (jws->header == NULL) {
        *why = "the header is no JSON object, or has a name twice";
        return -1;
    }

    if (jws_header(&parts, jws->header, why) != 0) {
        sluice_jws_clear(jws);
        return -1;
    }

    if (!jws_signed(&parts, sets, nsets)) {
        *why = "the signature is none of our keys'";
        sluice_jws_clear(jws);
        return -1;
    }

    jws->claims = jws_json(parts.payload, parts.payload_len);

    if (jws->claims == NULL) {
        *why = "the payload is no JSON object, or has a name twice";
        sluice_jws_clear(jws);
        return -1;
    }

    return 0;
}


void
sluice_jws_clear(sluice_jws_t *jws)
{
    json_decref(jws->header);
    json_decref(jws->claims);
    jws->header = NULL;
    jws->claims = NULL;
}


static int
jws_split(jws_parts_t *parts, const char *token, size_t len)
{
    const char  *first, *second, *end;

    end = token + len;

    first = (len == 0) ? NULL : memchr(token, '.', len);
    if (first == NULL) {
        return -1;
    }

    second = memchr(first + 1, '.', (size_t) (end - first - 1));
    if (second == NULL) {
        return -1;
    }

    parts->header = token;
    parts->header_len = (size_t) (first - token);
    parts->payload = first + 1;
    parts->payload_len = (size_t) (second - first - 1);
    parts->signed_len = (size_t) (second - token);

    /* a third dot (JWE has four) is no base64url */
    return sluice_base64url_decode(parts->signature, &parts->signature_len,
                                   second + 1, (size_t) (end - second - 1));
}


static int
jws_header(jws_parts_t *parts, json_t *header, const char **why)
{
    json_t  *alg, *kid;

    alg = json_object_get(header, "alg");

    parts->alg = json_is_string(alg)
                 ? sluice_jwk_alg(json_string_value(alg),
                                  json_string_length(alg))
                 : SLUICE_JWK_ANY;

    if (parts->alg == SLUICE_JWK_ANY) {
        *why = "the algorithm is none of HS256, RS256, ES256, EdDSA";
        return -1;
    }

    if (json_object_get(header, "crit") != NULL) {
        *why = "the header has \"crit\"";
        return -1;
    }

    kid = json_object_get(header, "kid");

    if (kid != NULL && !json_is_string(kid)) {
        *why = "\"kid\" is no string";
        return -1;
    }

    parts->kid = json_string_value(kid);

    return 0;
}


static int
jws_signed(const jws_parts_t *parts, sluice_jwk_set_t *const *sets,
    size_t nsets)
{
    int                      named;
    size_t                   i, k, tries;
    const sluice_jwk_key_t  *key;

    tries = 0;

    for (named = (parts->kid != NULL); named >= 0; named--) {

        for (i = 0; i < nsets; i++) {

            for (k = 0; k < sets[i]->n; k++) {

                key = &sets[i]->keys[k];

                if (!jws_fits(parts, key, named)) {
                    continue;
                }

                if (tries++ == SLUICE_JWS_TRIES) {
                    return 0;
                }

                if (sluice_jwk_key_verify(key, parts->signature,
                                          parts->signature_len, parts->header,
                                          parts->signed_len))
                {
                    return 1;
                }
            }
        }
    }

    return 0;
}


static int
jws_fits(const jws_parts_t *parts, const sluice_jwk_key_t *key, int named)
{
    if (key->alg != parts->alg) {
        return 0;
    }

    if (named) {
        return key->kid != NULL && strcmp(key->kid, parts->kid) == 0;
    }

    return parts->kid == NULL || key->kid == NULL;
}


static json_t *
jws_json(const char *text, size_t len)
{
    size_t   n;
    json_t  *json;
    char    *bytes;

    bytes = malloc(SLUICE_BASE64URL_BYTES(len) + 1);
    if (bytes == NULL) {
        return NULL;
    }

    json = NULL;

    if (sluice_base64url_decode((unsigned char *) bytes, &n, text, len) == 0) {
        json = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, NULL);
    }

    free(bytes);

    if (json != NULL && !json_is_object(json)) {
        json_decref(json);
        return NULL;
    }

    return json;
}
