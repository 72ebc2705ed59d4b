/*
 * test_jws.c: signed tokens are verified by our keys, and by nothing else.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "jws.h"

/* RFC 7515 A.1.1: the payload of A.1 to A.3 */
#define PAYLOAD  "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6"   \
                 "Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

#define HS256_KEY                                                             \
    "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-"  \
    "1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}"
#define HS256_TOKEN                                                           \
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." PAYLOAD                       \
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

#define RS256_KEY                                                             \
    "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji"  \
    "9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgN"   \
    "MsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5re"   \
    "xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh"   \
    "9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD"   \
    "TW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}"
#define RS256_TOKEN                                                           \
    "eyJhbGciOiJSUzI1NiJ9." PAYLOAD                                           \
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuH"   \
    "Im4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB"  \
    "--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383L" \
    "cOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUi" \
    "pUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"

#define ES256_KEY                                                             \
    "{\"kty\":\"EC\",\"crv\":\"P-256\","                                      \
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","                  \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"
#define ES256_TOKEN                                                           \
    "eyJhbGciOiJFUzI1NiJ9." PAYLOAD                                           \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQ"   \
    "xfKTUJqPP3-Kg6NU1Q"

/* RFC 8037 A.4: its payload is no JSON */
#define EDDSA_KEY                                                             \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","                                   \
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
#define EDDSA_TOKEN                                                           \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"                \
    ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsP"   \
    "t9g7sVvpAr_MuM0KAg"

#define NOT_OURS  "the signature is none of our keys'"
#define NO_JSON   "the payload is no JSON object, or has a name twice"
#define NO_ALG    "the algorithm is none of HS256, RS256, ES256, EdDSA"
#define NO_FORM   "the token is not header.payload.signature in base64url"

#define SECRET  "0123456789abcdef0123456789abcdef"


static sluice_jws_t  jws;


static sluice_jwk_set_t *
keys(const char *text, sluice_jwk_alg_e alg)
{
    char               why[SLUICE_JWK_WHY];
    sluice_jwk_set_t  *set;

    set = sluice_jwk_read(text, strlen(text), alg, why);

    if (set == NULL) {
        fail_msg("%s: %s", text, why);
    }

    return set;
}


/* NULL: verified.  A token comes as a heap block of its own size. */
static const char *
verify(const char *token, sluice_jwk_set_t *set)
{
    int          rc;
    char        *copy;
    size_t       len;
    const char  *why;

    len = strlen(token);
    copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy, token, len);

    why = NULL;
    rc = sluice_jws_verify(&jws, copy, len, &set, 1, &why);

    free(copy);

    /* what TLS would stumble over later */
    assert_int_equal(ERR_peek_error(), 0);

    if (rc == 0) {
        assert_null(why);
        return NULL;
    }

    assert_null(jws.claims);
    assert_null(jws.header);
    assert_non_null(why);

    return why;
}


static void
encode(char *dst, const void *src, size_t len)
{
    char    *p;
    size_t   n;

    n = (size_t) EVP_EncodeBlock((unsigned char *) dst, src, (int) len);

    for (p = dst; p < dst + n; p++) {
        if (*p == '+') {
            *p = '-';

        } else if (*p == '/') {
            *p = '_';

        } else if (*p == '=') {
            *p = '\0';
        }
    }
}


/* Signed with SECRET, or any other key's bytes, by HMAC. */
static const char *
mint_with(const char *header, const char *payload, const void *secret,
    size_t secret_len)
{
    unsigned       mac_len;
    unsigned char  mac[EVP_MAX_MD_SIZE];

    static char  token[32768], part[16384];

    encode(part, header, strlen(header));
    strcpy(token, part);
    strcat(token, ".");
    encode(part, payload, strlen(payload));
    strcat(token, part);

    assert_non_null(HMAC(EVP_sha256(), secret, (int) secret_len,
                         (unsigned char *) token, strlen(token), mac,
                         &mac_len));

    encode(part, mac, mac_len);
    strcat(token, ".");
    strcat(token, part);

    return token;
}


static const char *
mint(const char *header, const char *payload)
{
    return mint_with(header, payload, SECRET, strlen(SECRET));
}


static void
test_the_tokens_of_the_rfcs_are_verified(void **state)
{
    size_t             i;
    const char        *why;
    sluice_jwk_set_t  *set;

    static const struct {
        const char  *key;
        const char  *token;
        const char  *why;
    } vectors[] = {
        { HS256_KEY, HS256_TOKEN, NULL },
        { RS256_KEY, RS256_TOKEN, NULL },
        { ES256_KEY, ES256_TOKEN, NULL },
        { EDDSA_KEY, EDDSA_TOKEN, NO_JSON }
    };

    (void) state;

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {

        set = keys(vectors[i].key, SLUICE_JWK_ANY);
        why = verify(vectors[i].token, set);
        sluice_jwk_free(set);

        if (vectors[i].why != NULL) {
            assert_non_null(why);
            assert_string_equal(why, vectors[i].why);
            continue;
        }

        if (why != NULL) {
            fail_msg("%zu: %s", i, why);
        }

        assert_string_equal(json_string_value(json_object_get(jws.claims,
                                                              "iss")), "joe");
        sluice_jws_clear(&jws);
    }
}


/* Every character of the signed text, and every one of the signature. */
static void
test_no_character_of_a_token_can_be_changed(void **state)
{
    size_t             i, t;
    char               token[1024];
    sluice_jwk_set_t  *set;

    static const char *const  vectors[][2] = {
        { HS256_KEY, HS256_TOKEN }, { ES256_KEY, ES256_TOKEN },
        { EDDSA_KEY, EDDSA_TOKEN }, { RS256_KEY, RS256_TOKEN }
    };

    (void) state;

    for (t = 0; t < sizeof(vectors) / sizeof(vectors[0]); t++) {

        set = keys(vectors[t][0], SLUICE_JWK_ANY);

        for (i = 0; i < strlen(vectors[t][1]); i++) {

            strcpy(token, vectors[t][1]);
            token[i] = (token[i] == 'A') ? 'B' : 'A';

            if (verify(token, set) == NULL) {
                fail_msg("accepted with a change at %zu: %s", i, token);
            }

            assert_string_not_equal(NO_JSON, verify(token, set));
        }

        sluice_jwk_free(set);
    }
}


static void
test_a_public_key_is_no_secret(void **state)
{
    const char        *why;
    sluice_jwk_set_t  *set;

    (void) state;

    set = keys(RS256_KEY, SLUICE_JWK_ANY);

    /* the attacker's secret is the text of the key file */
    why = verify(mint_with("{\"alg\":\"HS256\"}", "{}", RS256_KEY,
                           strlen(RS256_KEY)), set);

    assert_non_null(why);
    assert_string_equal(why, NOT_OURS);

    sluice_jwk_free(set);
}


static void
test_headers_we_must_not_follow_are_refused(void **state)
{
    size_t             i;
    const char        *why;
    sluice_jwk_set_t  *set;

    static const struct {
        const char  *header;
        const char  *why;
    } bad[] = {
        { "{\"alg\":\"none\"}", NO_ALG },
        { "{\"alg\":\"None\"}", NO_ALG },
        { "{\"alg\":\"hs256\"}", NO_ALG },
        { "{\"alg\":\"HS512\"}", NO_ALG },
        { "{\"alg\":\"\"}", NO_ALG },
        { "{\"alg\":null}", NO_ALG },
        { "{\"alg\":[\"HS256\"]}", NO_ALG },
        { "{}", NO_ALG },
        { "{\"alg\":\"RS256\"}", NOT_OURS },
        { "{\"alg\":\"ES256\"}", NOT_OURS },
        { "{\"alg\":\"HS256\",\"crit\":[]}", "the header has \"crit\"" },
        { "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
          "the header has \"crit\"" },
        { "{\"alg\":\"HS256\",\"kid\":7}", "\"kid\" is no string" },
        { "{\"alg\":\"none\",\"alg\":\"HS256\"}",
          "the header is no JSON object, or has a name twice" },
        { "[\"HS256\"]", "the header is no JSON object, or has a name twice" },
        { "{\"alg\":\"HS256\"} ",  NULL },
        { "{\"alg\":\"HS256\"}x",
          "the header is no JSON object, or has a name twice" },
        /* keys that a token brings are not looked at */
        { "{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"},"
          "\"jku\":\"https://evil.test/\",\"x5u\":\"https://evil.test/\"}",
          NULL }
    };

    (void) state;

    set = keys(SECRET, SLUICE_JWK_HS256);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {

        why = verify(mint(bad[i].header, "{}"), set);

        if (bad[i].why == NULL) {
            assert_null(why);
            sluice_jws_clear(&jws);
            continue;
        }

        if (why == NULL || strcmp(why, bad[i].why) != 0) {
            fail_msg("%s: %s", bad[i].header, why ? why : "accepted");
        }
    }

    sluice_jwk_free(set);
}


static void
test_payloads_that_could_be_read_in_two_ways_are_refused(void **state)
{
    size_t             i;
    const char        *why;
    sluice_jwk_set_t  *set;

    static const char  *bad[] = {
        "", "[]", "1", "null", "{\"sub\":\"a\",\"sub\":\"b\"}",
        "{\"a\":{\"b\":1,\"b\":2}}", "{} {}", "{\"sub\":\"a\\u0000b\"}",
        "{\"sub\":\"\xff\"}", "{\"exp\":1e999}", "{\"exp\":NaN}",
        "{\"exp\":99999999999999999999}", "{'sub':'a'}"
    };

    (void) state;

    set = keys(SECRET, SLUICE_JWK_HS256);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {

        why = verify(mint("{\"alg\":\"HS256\"}", bad[i]), set);

        if (why == NULL || strcmp(why, NO_JSON) != 0) {
            fail_msg("%s: %s", bad[i], why ? why : "accepted");
        }
    }

    sluice_jwk_free(set);
}


static void
test_texts_that_are_no_token_are_refused(void **state)
{
    size_t             i;
    const char        *why;
    sluice_jwk_set_t  *set;

    static const char  *bad[] = {
        "", ".", "..", "a.b", "a.b.c.d", "....",
        "eyJhbGciOiJIUzI1NiJ9.e30", "eyJhbGciOiJIUzI1NiJ9.e30.",
        "eyJhbGciOiJIUzI1NiJ9.e30.AAAA", "eyJhbGciOiJub25lIn0.e30.",
        HS256_TOKEN "=", HS256_TOKEN " ", " " HS256_TOKEN, HS256_TOKEN ".",
        HS256_TOKEN "A"
    };

    (void) state;

    set = keys(HS256_KEY, SLUICE_JWK_ANY);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        why = verify(bad[i], set);

        if (why == NULL || strcmp(why, NO_JSON) == 0) {
            fail_msg("accepted: %s", bad[i]);
        }
    }

    why = verify("a.b.c.d", set);
    assert_non_null(why);
    assert_string_equal(why, NO_FORM);

    sluice_jwk_free(set);
}


static void
test_a_long_token_is_refused_before_it_is_read(void **state)
{
    char               payload[8000];
    const char        *why;
    sluice_jwk_set_t  *set;

    (void) state;

    set = keys(SECRET, SLUICE_JWK_HS256);

    memset(payload, ' ', sizeof(payload) - 1);
    memcpy(payload, "{}", 2);
    payload[sizeof(payload) - 1] = '\0';

    why = verify(mint("{\"alg\":\"HS256\"}", payload), set);
    assert_non_null(why);
    assert_string_equal(why, "the token is longer than 8192 bytes");

    payload[6000] = '\0';
    assert_null(verify(mint("{\"alg\":\"HS256\"}", payload), set));
    sluice_jws_clear(&jws);

    sluice_jwk_free(set);
}


/* SECRET in base64url is the key named "new"; the others are other keys. */
static void
test_a_kid_chooses_the_key(void **state)
{
    const char        *why;
    sluice_jwk_set_t  *set;

    static const char  text[] =
        "{\"keys\":["
        "{\"kty\":\"oct\",\"kid\":\"old\",\"k\":"
            "\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Y"
            "j0iPS4hcgUuTwjAzZr1Z9CAow\"},"
        "{\"kty\":\"oct\",\"kid\":\"new\",\"k\":"
            "\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}"
        "]}";

    (void) state;

    set = keys(text, SLUICE_JWK_ANY);

    assert_null(verify(mint("{\"alg\":\"HS256\",\"kid\":\"new\"}", "{}"),
                       set));
    sluice_jws_clear(&jws);

    assert_null(verify(mint("{\"alg\":\"HS256\"}", "{}"), set));
    sluice_jws_clear(&jws);

    why = verify(mint("{\"alg\":\"HS256\",\"kid\":\"old\"}", "{}"), set);
    assert_non_null(why);
    assert_string_equal(why, NOT_OURS);

    why = verify(mint("{\"alg\":\"HS256\",\"kid\":\"\"}", "{}"), set);
    assert_non_null(why);

    sluice_jwk_free(set);

    /* a key without a name is tried for any */
    set = keys(SECRET, SLUICE_JWK_HS256);
    assert_null(verify(mint("{\"alg\":\"HS256\",\"kid\":\"x\"}", "{}"), set));
    sluice_jws_clear(&jws);
    sluice_jwk_free(set);
}


/* The key that fits stands behind eight others. */
static void
test_a_token_is_tried_with_a_bounded_number_of_keys(void **state)
{
    int                i;
    char               text[4096];
    const char        *why;
    sluice_jwk_set_t  *set;

    (void) state;

    strcpy(text, "{\"keys\":[");

    for (i = 0; i < SLUICE_JWS_TRIES; i++) {
        strcat(text, HS256_KEY ",");
    }

    strcat(text, "{\"kty\":\"oct\",\"kid\":\"last\",\"k\":"
                 "\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}]}");

    set = keys(text, SLUICE_JWK_ANY);

    why = verify(mint("{\"alg\":\"HS256\"}", "{}"), set);
    assert_non_null(why);
    assert_string_equal(why, NOT_OURS);

    assert_null(verify(mint("{\"alg\":\"HS256\",\"kid\":\"last\"}", "{}"),
                       set));
    sluice_jws_clear(&jws);

    sluice_jwk_free(set);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_the_tokens_of_the_rfcs_are_verified),
        cmocka_unit_test(test_no_character_of_a_token_can_be_changed),
        cmocka_unit_test(test_a_public_key_is_no_secret),
        cmocka_unit_test(test_headers_we_must_not_follow_are_refused),
        cmocka_unit_test(
            test_payloads_that_could_be_read_in_two_ways_are_refused),
        cmocka_unit_test(test_texts_that_are_no_token_are_refused),
        cmocka_unit_test(test_a_long_token_is_refused_before_it_is_read),
        cmocka_unit_test(test_a_kid_chooses_the_key),
        cmocka_unit_test(test_a_token_is_tried_with_a_bounded_number_of_keys)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
