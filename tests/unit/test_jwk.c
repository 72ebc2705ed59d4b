/*
 * test_jwk.c: each form of a key file is read, and a doubtful one refused.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "jwk.h"

#define SECRET_32  "0123456789abcdef0123456789abcdef"

/* RFC 7515 A.1, A.3 and RFC 8037 A.2 */
#define OCT  "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-"   \
             "EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\""
#define P256  "{\"kty\":\"EC\",\"crv\":\"P-256\","                            \
              "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","        \
              "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""
#define ED25519  "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","                      \
                 "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\""


static char  why[SLUICE_JWK_WHY];


static sluice_jwk_set_t *
read_text(const char *text, sluice_jwk_alg_e alg)
{
    return sluice_jwk_read(text, strlen(text), alg, why);
}


static void
assert_refused(const char *text, sluice_jwk_alg_e alg, const char *reason)
{
    sluice_jwk_set_t  *set;

    set = read_text(text, alg);

    if (set != NULL) {
        sluice_jwk_free(set);
        fail_msg("accepted: %s", text);
    }

    if (strstr(why, reason) == NULL) {
        fail_msg("%s: refused, but because: %s", text, why);
    }
}


static void
assert_one(const char *text, sluice_jwk_alg_e asked, sluice_jwk_alg_e alg)
{
    sluice_jwk_set_t  *set;

    set = read_text(text, asked);

    if (set == NULL) {
        fail_msg("refused: %s: %s", text, why);
        return;
    }

    assert_int_equal(set->n, 1);
    assert_int_equal(set->keys[0].alg, alg);

    sluice_jwk_free(set);
}


/* The SPKI of a fresh key, or its PKCS8, in text. */
static void
make_pem(char *text, size_t size, EVP_PKEY *pkey, int private)
{
    int   n;
    BIO  *bio;

    assert_non_null(pkey);

    bio = BIO_new(BIO_s_mem());
    assert_non_null(bio);

    assert_int_equal(private
                     ? PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0,
                                                NULL, NULL)
                     : PEM_write_bio_PUBKEY(bio, pkey), 1);

    n = BIO_read(bio, text, (int) size - 1);
    assert_true(n > 0);
    text[n] = '\0';

    BIO_free(bio);
    EVP_PKEY_free(pkey);
}


static void
test_a_secret_is_taken_without_its_line_end(void **state)
{
    sluice_jwk_set_t  *set;

    (void) state;

    set = read_text(SECRET_32 "\r\n", SLUICE_JWK_HS256);
    assert_non_null(set);
    assert_int_equal(set->keys[0].secret_len, 32);
    assert_memory_equal(set->keys[0].secret, SECRET_32, 32);
    assert_null(set->keys[0].kid);
    sluice_jwk_free(set);

    /* the second line end is the secret's own */
    set = read_text(SECRET_32 "\n\n", SLUICE_JWK_HS256);
    assert_non_null(set);
    assert_int_equal(set->keys[0].secret_len, 33);
    sluice_jwk_free(set);
}


static void
test_a_short_secret_is_refused(void **state)
{
    (void) state;

    assert_refused("0123456789abcdef0123456789abcde", SLUICE_JWK_HS256,
                   "shorter than 32 bytes");
    assert_refused("0123456789abcdef0123456789abcde\n", SLUICE_JWK_HS256,
                   "shorter than 32 bytes");
    assert_refused("\n", SLUICE_JWK_HS256, "empty");
    assert_refused("", SLUICE_JWK_HS256, "empty");
    assert_refused("{\"kty\":\"oct\",\"k\":\"AAAA\"}", SLUICE_JWK_ANY,
                   "shorter than 32 bytes");
}


static void
test_no_public_key_becomes_a_secret(void **state)
{
    char  text[4096], broken[4096];

    (void) state;

    make_pem(text, sizeof(text), EVP_RSA_gen(2048), 0);

    assert_one(text, SLUICE_JWK_ANY, SLUICE_JWK_RS256);
    assert_one(text, SLUICE_JWK_RS256, SLUICE_JWK_RS256);
    assert_refused(text, SLUICE_JWK_HS256, "not of the algorithm");
    assert_refused(text, SLUICE_JWK_ES256, "not of the algorithm");

    /* as it is while somebody writes it */
    snprintf(broken, sizeof(broken), "%.*s", 200, text);
    assert_refused(broken, SLUICE_JWK_HS256, "not a PEM public key");
    assert_refused(broken, SLUICE_JWK_RS256, "not a PEM public key");

    assert_refused("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"0vx7agoebGcQSuuPiLJX",
                   SLUICE_JWK_HS256, "not valid JSON");
    assert_refused("  {0123456789abcdef0123456789abcdef0123456789abcdef",
                   SLUICE_JWK_HS256, "not valid JSON");
}


static void
test_a_secret_has_to_be_asked_for(void **state)
{
    (void) state;

    assert_refused(SECRET_32, SLUICE_JWK_ANY, "alg=HS256");
    assert_refused(SECRET_32, SLUICE_JWK_RS256, "alg=HS256");
}


static void
test_pem_keys_tell_their_algorithm(void **state)
{
    char               text[8192];
    size_t             len;
    sluice_jwk_set_t  *set;

    (void) state;

    make_pem(text, sizeof(text), EVP_EC_gen("P-256"), 0);
    assert_one(text, SLUICE_JWK_ANY, SLUICE_JWK_ES256);

    len = strlen(text);
    make_pem(text + len, sizeof(text) - len,
             EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), 0);
    assert_one(text + len, SLUICE_JWK_EDDSA, SLUICE_JWK_EDDSA);

    set = read_text(text, SLUICE_JWK_ANY);
    assert_non_null(set);
    assert_int_equal(set->n, 2);
    sluice_jwk_free(set);
}


static void
test_pem_keys_of_others_are_refused(void **state)
{
    char  text[8192];

    (void) state;

    make_pem(text, sizeof(text), EVP_RSA_gen(1024), 0);
    assert_refused(text, SLUICE_JWK_ANY, "shorter than 2048 bits");

    make_pem(text, sizeof(text), EVP_EC_gen("P-384"), 0);
    assert_refused(text, SLUICE_JWK_ANY, "not on P-256");

    make_pem(text, sizeof(text), EVP_PKEY_Q_keygen(NULL, NULL, "ED448"), 0);
    assert_refused(text, SLUICE_JWK_ANY, "neither RSA");

    make_pem(text, sizeof(text), EVP_EC_gen("P-256"), 1);
    assert_refused(text, SLUICE_JWK_ANY, "a private key");

    assert_refused("-----BEGIN CERTIFICATE-----\nAAAA\n"
                   "-----END CERTIFICATE-----\n", SLUICE_JWK_ANY,
                   "not a PEM public key");
}


static void
test_a_jwk_tells_its_algorithm(void **state)
{
    (void) state;

    assert_one(OCT "}", SLUICE_JWK_ANY, SLUICE_JWK_HS256);
    assert_one(P256 "}", SLUICE_JWK_ANY, SLUICE_JWK_ES256);
    assert_one(ED25519 "}", SLUICE_JWK_ANY, SLUICE_JWK_EDDSA);
    assert_one(ED25519 ",\"alg\":\"EdDSA\"}", SLUICE_JWK_ANY,
               SLUICE_JWK_EDDSA);
    assert_one(ED25519 ",\"alg\":\"Ed25519\"}", SLUICE_JWK_ANY,
               SLUICE_JWK_EDDSA);
    assert_one("{\"keys\":[" OCT "}]}", SLUICE_JWK_HS256, SLUICE_JWK_HS256);
}


static void
test_a_set_gives_the_keys_that_are_wanted(void **state)
{
    sluice_jwk_set_t  *set;

    static const char  text[] =
        "{\"keys\":["
        OCT ",\"kid\":\"secret\"},"
        P256 ",\"kid\":\"curve\",\"use\":\"sig\","
             "\"key_ops\":[\"verify\"]},"
        P256 ",\"use\":\"enc\"},"
        P256 ",\"key_ops\":[\"deriveKey\"]},"
        P256 ",\"alg\":\"ECDH-ES\"},"
        OCT ",\"alg\":\"HS512\"},"
        "{\"kty\":\"EC\",\"crv\":\"P-521\"},"
        "{\"kty\":\"new\"}"
        "]}";

    (void) state;

    set = read_text(text, SLUICE_JWK_ANY);
    assert_non_null(set);
    assert_int_equal(set->n, 2);
    assert_string_equal(set->keys[0].kid, "secret");
    assert_string_equal(set->keys[1].kid, "curve");
    sluice_jwk_free(set);

    set = read_text(text, SLUICE_JWK_ES256);
    assert_non_null(set);
    assert_int_equal(set->n, 1);
    assert_string_equal(set->keys[0].kid, "curve");
    sluice_jwk_free(set);

    assert_refused(text, SLUICE_JWK_EDDSA, "no key that verifies");
}


static void
test_hostile_jwk_files_are_refused(void **state)
{
    size_t  i;

    static const struct {
        const char  *text;
        const char  *why;
    } bad[] = {
        { "{}", "no \"kty\"" },
        { "{\"keys\":{}}", "no array" },
        { "{\"keys\":[]}", "no key" },
        { "{\"keys\":[1]}", "not a JWK" },
        { "{\"keys\":[" OCT "}]", "not valid JSON" },
        { "{\"keys\":[" OCT "}]} x", "not valid JSON" },
        { "{\"kty\":\"oct\"}", "missing" },
        { "{\"kty\":\"oct\",\"k\":7}", "missing" },
        { OCT ",\"kty\":\"oct\"}", "stands twice" },
        { OCT ",\"alg\":1}", "\"alg\" is no string" },
        { OCT ",\"kid\":1}", "\"kid\" is no string" },
        { "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ==\"}",
          "no base64url" },
        { "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
          "shorter than 2048" },
        { "{\"kty\":\"RSA\",\"n\":\"AQAB\"}", "missing" },
        { "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}",
          "not 32 bytes" },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}",
          "not 32 bytes" },
        /* not on the curve */
        { "{\"kty\":\"EC\",\"crv\":\"P-256\","
          "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
          "\"y\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}",
          "not valid" },
        { P256 ",\"d\":\"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI\"}",
          "a private key" },
        { "{\"keys\":[" OCT "},{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
          "shorter than 32 bytes (after 1 good keys)" }
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_refused(bad[i].text, SLUICE_JWK_ANY, bad[i].why);
    }
}


static void
test_a_file_has_a_bounded_number_of_keys(void **state)
{
    int     i;
    char   *p;
    size_t  left;

    static char  text[SLUICE_JWK_FILE_MAX + 2];

    (void) state;

    p = text;
    left = sizeof(text);
    p += snprintf(p, left, "{\"keys\":[" OCT "}");

    for (i = 0; i < SLUICE_JWK_KEYS_MAX; i++) {
        left = sizeof(text) - (size_t) (p - text);
        p += snprintf(p, left, "," OCT "}");
    }

    left = sizeof(text) - (size_t) (p - text);
    snprintf(p, left, "]}");

    assert_refused(text, SLUICE_JWK_ANY, "more than 64 keys");

    memset(text, ' ', sizeof(text));
    text[sizeof(text) - 1] = '\0';

    assert_refused(text, SLUICE_JWK_HS256, "larger than 256k");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_a_secret_is_taken_without_its_line_end),
        cmocka_unit_test(test_a_short_secret_is_refused),
        cmocka_unit_test(test_no_public_key_becomes_a_secret),
        cmocka_unit_test(test_a_secret_has_to_be_asked_for),
        cmocka_unit_test(test_pem_keys_tell_their_algorithm),
        cmocka_unit_test(test_pem_keys_of_others_are_refused),
        cmocka_unit_test(test_a_jwk_tells_its_algorithm),
        cmocka_unit_test(test_a_set_gives_the_keys_that_are_wanted),
        cmocka_unit_test(test_hostile_jwk_files_are_refused),
        cmocka_unit_test(test_a_file_has_a_bounded_number_of_keys)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
