/*
 * jwt.c: what a verified token claims, judged.
 *
 * Owns the meaning of the registered claims and of an upload token's own.
 * Does not know signatures, the clock or nginx.
 */

#include "jwt.h"

#include <string.h>
#include <strings.h>

#define JWT_APPLICATION  "application/"


static int jwt_times(const json_t *claims, int64_t leeway_s, int64_t now_s,
    const char **why);
static int jwt_issuer(const json_t *claims, const sluice_jwt_rules_t *rules,
    const char **why);
static int jwt_audience(const json_t *claims, const sluice_jwt_rules_t *rules,
    const char **why);
static int jwt_one_of(const json_t *text, const sluice_jwt_str_t *list,
    size_t n);
static const json_t *jwt_named(const json_t *claims, const char *name,
    size_t len);
static int jwt_text(sluice_jwt_str_t *str, const json_t *claims,
    const char *name, size_t max);
static int jwt_bound(int64_t *bound, const json_t *claims, const char *name);
static int jwt_types(sluice_jwt_grant_t *grant, const json_t *claims);


int
sluice_jwt_check(const json_t *claims, const sluice_jwt_rules_t *rules,
    int64_t now_s, const char **why)
{
    if (jwt_times(claims, rules->leeway_s, now_s, why) != 0
        || jwt_issuer(claims, rules, why) != 0
        || jwt_audience(claims, rules, why) != 0)
    {
        return -1;
    }

    return 0;
}


/* A NumericDate may have a fraction (RFC 7519 2). */
static int
jwt_times(const json_t *claims, int64_t leeway_s, int64_t now_s,
    const char **why)
{
    double         now, leeway;
    const json_t  *exp, *nbf;

    now = (double) now_s;
    leeway = (double) leeway_s;

    exp = json_object_get(claims, "exp");
    nbf = json_object_get(claims, "nbf");

    if (!json_is_number(exp)) {
        *why = "\"exp\" is missing or no number";
        return -1;
    }

    if (now >= json_number_value(exp) + leeway) {
        *why = "the token has expired";
        return -1;
    }

    if (nbf == NULL) {
        return 0;
    }

    if (!json_is_number(nbf)) {
        *why = "\"nbf\" is no number";
        return -1;
    }

    if (now + leeway < json_number_value(nbf)) {
        *why = "the token is not valid yet";
        return -1;
    }

    return 0;
}


static int
jwt_issuer(const json_t *claims, const sluice_jwt_rules_t *rules,
    const char **why)
{
    const json_t  *iss;

    iss = json_object_get(claims, "iss");

    if (iss != NULL && !json_is_string(iss)) {
        *why = "\"iss\" is no string";
        return -1;
    }

    if (rules->nissuers != 0
        && !jwt_one_of(iss, rules->issuers, rules->nissuers))
    {
        *why = "\"iss\" is missing or another issuer";
        return -1;
    }

    return 0;
}


static int
jwt_audience(const json_t *claims, const sluice_jwt_rules_t *rules,
    const char **why)
{
    size_t         i;
    const json_t  *aud, *one;

    aud = json_object_get(claims, "aud");

    if (aud == NULL && rules->naudiences == 0) {
        return 0;
    }

    if (json_is_string(aud)) {
        if (jwt_one_of(aud, rules->audiences, rules->naudiences)) {
            return 0;
        }

    } else {
        json_array_foreach(aud, i, one) {
            if (jwt_one_of(one, rules->audiences, rules->naudiences)) {
                return 0;
            }
        }
    }

    *why = "\"aud\" is missing or another audience";
    return -1;
}


static int
jwt_one_of(const json_t *text, const sluice_jwt_str_t *list, size_t n)
{
    size_t  i;

    if (!json_is_string(text)) {
        return 0;
    }

    for (i = 0; i < n; i++) {
        if (list[i].len == json_string_length(text)
            && memcmp(list[i].data, json_string_value(text), list[i].len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


int
sluice_jwt_claim(sluice_jwt_str_t *value, char *text, const json_t *claims,
    const char *name, size_t len)
{
    size_t         i;
    const json_t  *claim;

    claim = jwt_named(claims, name, len);

    if (json_is_string(claim)) {

        value->data = json_string_value(claim);
        value->len = json_string_length(claim);

        for (i = 0; i < value->len; i++) {
            if ((unsigned char) value->data[i] < 0x20
                || value->data[i] == 0x7f)
            {
                return -1;
            }
        }

        return 0;
    }

    if (json_is_number(claim) || json_is_boolean(claim)) {

        value->data = text;
        value->len = json_dumpb(claim, text, SLUICE_JWT_NUMBER,
                                JSON_ENCODE_ANY);

        return (value->len != 0 && value->len <= SLUICE_JWT_NUMBER) ? 0 : -1;
    }

    return -1;
}


static const json_t *
jwt_named(const json_t *claims, const char *name, size_t len)
{
    void          *iter;
    size_t         n;
    const char    *key;
    const json_t  *exact, *found;

    n = 0;
    exact = NULL;
    found = NULL;

    for (iter = json_object_iter((json_t *) claims);
         iter != NULL;
         iter = json_object_iter_next((json_t *) claims, iter))
    {
        key = json_object_iter_key(iter);

        if (strlen(key) != len || strncasecmp(key, name, len) != 0) {
            continue;
        }

        n++;
        found = json_object_iter_value(iter);

        if (memcmp(key, name, len) == 0) {
            exact = found;
        }
    }

    if (exact != NULL) {
        return exact;
    }

    return (n == 1) ? found : NULL;
}


int
sluice_jwt_is_upload(const json_t *header)
{
    const char  *typ;

    typ = json_string_value(json_object_get(header, "typ"));

    if (typ == NULL) {
        return 0;
    }

    /* RFC 7515 4.1.9: a media type, application/ left out by custom */
    if (strncasecmp(typ, JWT_APPLICATION, sizeof(JWT_APPLICATION) - 1) == 0) {
        typ += sizeof(JWT_APPLICATION) - 1;
    }

    return strcasecmp(typ, SLUICE_JWT_UPLOAD) == 0;
}


int
sluice_jwt_grant(sluice_jwt_grant_t *grant, const json_t *claims,
    const char **why)
{
    memset(grant, 0, sizeof(*grant));

    if (jwt_text(&grant->customer, claims, "sub", SIZE_MAX) != 0) {
        *why = "\"sub\" is missing, empty or no string";
        return -1;
    }

    if (jwt_text(&grant->id, claims, "jti", SLUICE_JWT_ID_MAX) != 0) {
        *why = "\"jti\" is missing, empty, longer than 255 bytes "
               "or no string";
        return -1;
    }

    if (jwt_bound(&grant->max_file_size, claims, "max_file_size") != 0) {
        *why = "\"max_file_size\" is no whole number above 0";
        return -1;
    }

    if (jwt_bound(&grant->max_files, claims, "max_files") != 0) {
        *why = "\"max_files\" is no whole number above 0";
        return -1;
    }

    if (jwt_types(grant, claims) != 0) {
        *why = "\"types\" is no array of 1 to 32 strings";
        return -1;
    }

    return 0;
}


static int
jwt_text(sluice_jwt_str_t *str, const json_t *claims, const char *name,
    size_t max)
{
    const json_t  *text;

    text = json_object_get(claims, name);

    if (!json_is_string(text) || json_string_length(text) == 0
        || json_string_length(text) > max)
    {
        return -1;
    }

    str->data = json_string_value(text);
    str->len = json_string_length(text);

    return 0;
}


static int
jwt_bound(int64_t *bound, const json_t *claims, const char *name)
{
    const json_t  *number;

    number = json_object_get(claims, name);

    if (number == NULL) {
        *bound = -1;
        return 0;
    }

    if (!json_is_integer(number) || json_integer_value(number) < 1) {
        return -1;
    }

    *bound = (int64_t) json_integer_value(number);

    return 0;
}


static int
jwt_types(sluice_jwt_grant_t *grant, const json_t *claims)
{
    size_t         i;
    const json_t  *types, *type;

    types = json_object_get(claims, "types");

    if (types == NULL) {
        return 0;
    }

    if (!json_is_array(types) || json_array_size(types) == 0
        || json_array_size(types) > SLUICE_JWT_TYPES_MAX)
    {
        return -1;
    }

    json_array_foreach(types, i, type) {

        if (!json_is_string(type) || json_string_length(type) == 0) {
            return -1;
        }

        grant->types[i].data = json_string_value(type);
        grant->types[i].len = json_string_length(type);
    }

    grant->ntypes = i;

    return 0;
}
