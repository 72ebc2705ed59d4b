/*
 * jwk.c: the keys of one file.
 *
 * Owns the three forms of a file, and what a member of a JWK must be.  What a
 * key itself must be is jwk_key.c's.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE                   /* memmem() */
#endif

#include "jwk.h"
#include "base64url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define JWK_KID_MAX     256
#define JWK_NUMBER_MAX  1100          /* bytes of a decoded member: RSA-8192 */


/* A decoded member's room; the secret of an oct key may be as long. */
typedef struct {
    unsigned char       bytes[JWK_NUMBER_MAX];
    sluice_jwk_bytes_t  value;
} jwk_number_t;


static int jwk_read_secret(sluice_jwk_set_t *set, const char *data,
    size_t len, sluice_jwk_alg_e alg, const char **why);
static int jwk_read_pem(sluice_jwk_set_t *set, const char *data, size_t len,
    sluice_jwk_alg_e alg, const char **why);
static int jwk_read_json(sluice_jwk_set_t *set, const char *data, size_t len,
    sluice_jwk_alg_e alg, const char **why);
static int jwk_add(sluice_jwk_set_t *set, json_t *jwk, sluice_jwk_alg_e alg,
    const char **why);
static sluice_jwk_alg_e jwk_alg(json_t *jwk, const char **why);
static int jwk_wanted(json_t *jwk);
static int jwk_fill(sluice_jwk_key_t *key, json_t *jwk, sluice_jwk_alg_e alg,
    const char **why);
static int jwk_number(jwk_number_t *number, json_t *jwk, const char *name);
static int jwk_is(json_t *jwk, const char *name, const char *value);
static int jwk_holds(const char *data, size_t len, const char *text);


sluice_jwk_set_t *
sluice_jwk_read(const char *data, size_t len, sluice_jwk_alg_e alg, char *why)
{
    int                rc;
    size_t             space;
    const char        *reason;
    sluice_jwk_set_t  *set;

    set = calloc(1, sizeof(sluice_jwk_set_t));
    if (set == NULL) {
        snprintf(why, SLUICE_JWK_WHY, "no memory");
        return NULL;
    }

    reason = NULL;

    for (space = 0; space < len && strchr(" \t\r\n", data[space]) != NULL
                    && data[space] != '\0'; space++)
    {
        /* void */
    }

    if (len > SLUICE_JWK_FILE_MAX) {
        reason = "the file is larger than 256k";
        rc = -1;

    } else if (space == len) {
        reason = "the file is empty";
        rc = -1;

    } else if (data[space] == '{') {
        rc = jwk_read_json(set, data, len, alg, &reason);

    } else if (jwk_holds(data, len, "-----BEGIN ")) {
        rc = jwk_read_pem(set, data, len, alg, &reason);

    } else {
        rc = jwk_read_secret(set, data, len, alg, &reason);
    }

    if (rc == 0) {
        return set;
    }

    if (set->n == 0) {
        snprintf(why, SLUICE_JWK_WHY, "%s", reason);

    } else {
        snprintf(why, SLUICE_JWK_WHY, "%s (after %zu good keys)", reason,
                 set->n);
    }

    sluice_jwk_free(set);

    return NULL;
}


void
sluice_jwk_free(sluice_jwk_set_t *set)
{
    size_t  i;

    if (set == NULL) {
        return;
    }

    for (i = 0; i < set->n; i++) {
        sluice_jwk_key_clear(&set->keys[i]);
    }

    free(set);
}


static int
jwk_read_secret(sluice_jwk_set_t *set, const char *data, size_t len,
    sluice_jwk_alg_e alg, const char **why)
{
    if (alg != SLUICE_JWK_HS256) {
        *why = "neither PEM nor a JWK; a secret needs alg=HS256";
        return -1;
    }

    /* what an editor or echo puts behind it is no part of the secret */
    if (data[len - 1] == '\n') {
        len--;

        if (len != 0 && data[len - 1] == '\r') {
            len--;
        }
    }

    if (sluice_jwk_key_secret(&set->keys[0], (const unsigned char *) data,
                              len, why)
        != 0)
    {
        return -1;
    }

    set->n = 1;

    return 0;
}


static int
jwk_read_pem(sluice_jwk_set_t *set, const char *data, size_t len,
    sluice_jwk_alg_e alg, const char **why)
{
    size_t             used;
    sluice_jwk_key_t  *key;

    if (jwk_holds(data, len, "PRIVATE KEY-----")) {
        *why = "a private key: give its public half";
        return -1;
    }

    while (jwk_holds(data, len, "-----BEGIN ")) {

        if (set->n == SLUICE_JWK_KEYS_MAX) {
            *why = "more than 64 keys";
            return -1;
        }

        key = &set->keys[set->n];

        if (sluice_jwk_key_pem(key, data, len, &used, why) != 0) {
            return -1;
        }

        /* cleared with the set from here on, also when it is refused */
        set->n++;

        if (alg != SLUICE_JWK_ANY && alg != key->alg) {
            *why = "the PEM key is not of the algorithm alg= names";
            return -1;
        }

        data += used;
        len -= used;
    }

    return 0;
}


static int
jwk_read_json(sluice_jwk_set_t *set, const char *data, size_t len,
    sluice_jwk_alg_e alg, const char **why)
{
    int      rc;
    size_t   i;
    json_t  *root, *keys, *jwk;

    /* no text of jansson's error: it quotes the file */
    root = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);

    if (root == NULL) {
        *why = "not valid JSON, or a name stands twice in an object";
        return -1;
    }

    rc = 0;
    keys = json_object_get(root, "keys");

    if (keys == NULL) {
        rc = jwk_add(set, root, alg, why);

    } else if (!json_is_array(keys)) {
        *why = "\"keys\" is no array";
        rc = -1;

    } else {
        json_array_foreach(keys, i, jwk) {
            rc = jwk_add(set, jwk, alg, why);
            if (rc != 0) {
                break;
            }
        }
    }

    json_decref(root);

    if (rc == 0 && set->n == 0) {
        *why = "no key that verifies what is wanted";
        return -1;
    }

    return rc;
}


static int
jwk_add(sluice_jwk_set_t *set, json_t *jwk, sluice_jwk_alg_e wanted,
    const char **why)
{
    json_t            *kid;
    sluice_jwk_key_t  *key;
    sluice_jwk_alg_e   alg;

    if (!json_is_object(jwk) || !json_is_string(json_object_get(jwk, "kty"))) {
        *why = "not a JWK: no \"kty\"";
        return -1;
    }

    *why = NULL;
    alg = jwk_alg(jwk, why);

    if (alg == SLUICE_JWK_ANY) {
        return (*why == NULL) ? 0 : -1;
    }

    if (!jwk_wanted(jwk) || (wanted != SLUICE_JWK_ANY && wanted != alg)) {
        return 0;
    }

    if (set->n == SLUICE_JWK_KEYS_MAX) {
        *why = "more than 64 keys";
        return -1;
    }

    kid = json_object_get(jwk, "kid");

    if (kid != NULL
        && (!json_is_string(kid) || json_string_length(kid) > JWK_KID_MAX))
    {
        *why = "a \"kid\" is no string, or longer than 256 bytes";
        return -1;
    }

    key = &set->keys[set->n];

    if (jwk_fill(key, jwk, alg, why) != 0) {
        sluice_jwk_key_clear(key);
        return -1;
    }

    set->n++;

    if (kid != NULL) {
        key->kid = strdup(json_string_value(kid));

        if (key->kid == NULL) {
            *why = "no memory";
            return -1;
        }
    }

    return 0;
}


/* By its type and "alg"; ANY: none of ours, or, with *why, a contradiction. */
static sluice_jwk_alg_e
jwk_alg(json_t *jwk, const char **why)
{
    json_t            *name;
    sluice_jwk_alg_e   alg;

    if (jwk_is(jwk, "kty", "oct")) {
        alg = SLUICE_JWK_HS256;

    } else if (jwk_is(jwk, "kty", "RSA")) {
        alg = SLUICE_JWK_RS256;

    } else if (jwk_is(jwk, "kty", "EC") && jwk_is(jwk, "crv", "P-256")) {
        alg = SLUICE_JWK_ES256;

    } else if (jwk_is(jwk, "kty", "OKP") && jwk_is(jwk, "crv", "Ed25519")) {
        alg = SLUICE_JWK_EDDSA;

    } else {
        return SLUICE_JWK_ANY;
    }

    name = json_object_get(jwk, "alg");

    if (name == NULL) {
        return alg;
    }

    if (!json_is_string(name)) {
        *why = "an \"alg\" is no string";
        return SLUICE_JWK_ANY;
    }

    /* RFC 9864's name for what is EdDSA in tokens */
    if (alg == SLUICE_JWK_EDDSA && jwk_is(jwk, "alg", "Ed25519")) {
        return alg;
    }

    return (sluice_jwk_alg(json_string_value(name), json_string_length(name))
            == alg) ? alg : SLUICE_JWK_ANY;
}


/* A key for encryption, or for signing alone, is somebody else's. */
static int
jwk_wanted(json_t *jwk)
{
    size_t   i;
    json_t  *ops, *op;

    if (json_object_get(jwk, "use") != NULL && !jwk_is(jwk, "use", "sig")) {
        return 0;
    }

    ops = json_object_get(jwk, "key_ops");

    if (ops == NULL) {
        return 1;
    }

    json_array_foreach(ops, i, op) {
        if (json_is_string(op)
            && strcmp(json_string_value(op), "verify") == 0)
        {
            return 1;
        }
    }

    return 0;
}


static int
jwk_fill(sluice_jwk_key_t *key, json_t *jwk, sluice_jwk_alg_e alg,
    const char **why)
{
    int           rc;
    jwk_number_t  a, b;

    /* the private half of what we only verify with lies open here */
    if (alg != SLUICE_JWK_HS256 && json_object_get(jwk, "d") != NULL) {
        *why = "a private key: give its public half";
        return -1;
    }

    rc = -1;
    *why = "a number of a key is missing, too long or no base64url";

    switch (alg) {

    case SLUICE_JWK_HS256:
        if (jwk_number(&a, jwk, "k") == 0) {
            rc = sluice_jwk_key_secret(key, a.value.data, a.value.len, why);
        }
        break;

    case SLUICE_JWK_RS256:
        if (jwk_number(&a, jwk, "n") == 0 && jwk_number(&b, jwk, "e") == 0) {
            rc = sluice_jwk_key_rsa(key, &a.value, &b.value, why);
        }
        break;

    case SLUICE_JWK_ES256:
        if (jwk_number(&a, jwk, "x") == 0 && jwk_number(&b, jwk, "y") == 0) {
            rc = sluice_jwk_key_p256(key, &a.value, &b.value, why);
        }
        break;

    case SLUICE_JWK_EDDSA:
        if (jwk_number(&a, jwk, "x") == 0) {
            rc = sluice_jwk_key_ed25519(key, &a.value, why);
        }
        break;

    case SLUICE_JWK_ANY:
        break;
    }

    return rc;
}


static int
jwk_number(jwk_number_t *number, json_t *jwk, const char *name)
{
    size_t   len;
    json_t  *member;

    member = json_object_get(jwk, name);

    if (!json_is_string(member)) {
        return -1;
    }

    len = json_string_length(member);

    if (len == 0 || SLUICE_BASE64URL_BYTES(len) > JWK_NUMBER_MAX) {
        return -1;
    }

    number->value.data = number->bytes;

    return sluice_base64url_decode(number->bytes, &number->value.len,
                                   json_string_value(member), len);
}


static int
jwk_is(json_t *jwk, const char *name, const char *value)
{
    json_t  *member;

    member = json_object_get(jwk, name);

    return json_is_string(member)
           && strcmp(json_string_value(member), value) == 0;
}


static int
jwk_holds(const char *data, size_t len, const char *text)
{
    return memmem(data, len, text, strlen(text)) != NULL;
}
