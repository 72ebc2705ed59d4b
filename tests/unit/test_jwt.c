/*
 * test_jwt.c: what a token claims holds only for whom and when it says.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "jwt.h"

#define NOW  1795132800


static json_t *
parse(const char *text)
{
    json_t  *json;

    json = json_loads(text, 0, NULL);
    assert_non_null(json);

    return json;
}


static int
check(const char *text, const sluice_jwt_rules_t *rules)
{
    int          rc;
    json_t      *claims;
    const char  *why;

    why = NULL;
    claims = parse(text);
    rc = sluice_jwt_check(claims, rules, NOW, &why);
    json_decref(claims);

    assert_true((rc == 0) == (why == NULL));

    return rc;
}


static void
test_a_token_holds_between_nbf_and_exp(void **state)
{
    size_t  i;

    static const sluice_jwt_rules_t  rules = { NULL, 0, NULL, 0, 30 };

    static const struct {
        const char  *claims;
        int          rc;
    } cases[] = {
        { "{\"exp\":1795132801}", 0 },
        { "{\"exp\":1795132771}", 0 },
        { "{\"exp\":1795132770}", -1 },
        { "{\"exp\":1795132770.5}", 0 },
        { "{\"exp\":1795132801,\"nbf\":1795132830}", 0 },
        { "{\"exp\":1795132801,\"nbf\":1795132831}", -1 },
        { "{\"exp\":9223372036854775807}", 0 },
        { "{\"exp\":-1}", -1 },
        { "{\"exp\":1e300}", 0 },
        { "{}", -1 },
        { "{\"exp\":\"1795132801\"}", -1 },
        { "{\"exp\":null}", -1 },
        { "{\"exp\":true}", -1 },
        { "{\"exp\":1795132801,\"nbf\":null}", -1 },
        { "{\"exp\":1795132801,\"nbf\":\"0\"}", -1 }
    };

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (check(cases[i].claims, &rules) != cases[i].rc) {
            fail_msg("%s", cases[i].claims);
        }
    }
}


static void
test_issuer_and_audience_are_ours(void **state)
{
    size_t  i;

    static const sluice_jwt_str_t  issuers[] = {
        { "https://a.test", 14 }, { "b", 1 }
    };
    static const sluice_jwt_str_t  audiences[] = { { "sluice", 6 } };

    static const sluice_jwt_rules_t  strict = {
        issuers, 2, audiences, 1, 0
    };
    static const sluice_jwt_rules_t  open = { NULL, 0, NULL, 0, 0 };

    static const struct {
        const char  *claims;
        int          strict;
        int          open;
    } cases[] = {
        { "\"iss\":\"b\",\"aud\":\"sluice\"", 0, -1 },
        { "\"iss\":\"https://a.test\",\"aud\":[\"x\",\"sluice\"]", 0, -1 },
        { "\"iss\":\"B\",\"aud\":\"sluice\"", -1, -1 },
        { "\"iss\":\"bb\",\"aud\":\"sluice\"", -1, -1 },
        { "\"aud\":\"sluice\"", -1, -1 },
        { "\"iss\":\"b\"", -1, 0 },
        { "\"iss\":\"b\",\"aud\":\"sluice2\"", -1, -1 },
        { "\"iss\":\"b\",\"aud\":[]", -1, -1 },
        { "\"iss\":\"b\",\"aud\":[[\"sluice\"]]", -1, -1 },
        { "\"iss\":\"b\",\"aud\":{\"sluice\":1}", -1, -1 },
        { "\"iss\":\"b\",\"aud\":null", -1, -1 },
        { "\"iss\":[\"b\"],\"aud\":\"sluice\"", -1, -1 },
        { "\"iss\":7", -1, -1 },
        { "\"x\":7", -1, 0 }
    };

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char  text[256];

        snprintf(text, sizeof(text), "{\"exp\":1795132801,%s}",
                 cases[i].claims);

        if (check(text, &strict) != cases[i].strict
            || check(text, &open) != cases[i].open)
        {
            fail_msg("%s", text);
        }
    }
}


static void
test_claims_become_text(void **state)
{
    size_t            i;
    char              text[SLUICE_JWT_NUMBER];
    json_t           *claims;
    sluice_jwt_str_t  value;

    static const struct {
        const char  *name;
        const char  *text;            /* NULL: none */
    } cases[] = {
        { "sub", "acme" }, { "level", "-7" }, { "ratio", "0.5" },
        { "big", "9223372036854775807" }, { "admin", "true" },
        { "guest", "false" }, { "empty", "" }, { "customerid", "c-1" },
        { "both", "lower" }, { "twice", NULL }, { "roles", NULL },
        { "address", NULL }, { "nothing", NULL }, { "gone", NULL },
        { "line", NULL }, { "su", NULL }, { "subs", NULL }, { "", NULL }
    };

    (void) state;

    claims = parse("{\"sub\":\"acme\",\"level\":-7,\"ratio\":0.5,"
                   "\"big\":9223372036854775807,\"admin\":true,"
                   "\"guest\":false,\"empty\":\"\",\"customerId\":\"c-1\","
                   "\"both\":\"lower\",\"Both\":\"upper\","
                   "\"Twice\":1,\"TWICE\":2,\"roles\":[1],"
                   "\"address\":{},\"nothing\":null,"
                   "\"line\":\"a\\nb\"}");

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        if (sluice_jwt_claim(&value, text, claims, cases[i].name,
                             strlen(cases[i].name))
            != 0)
        {
            if (cases[i].text != NULL) {
                fail_msg("no %s", cases[i].name);
            }

            continue;
        }

        if (cases[i].text == NULL) {
            fail_msg("a value for %s", cases[i].name);
            continue;
        }

        assert_int_equal(value.len, strlen(cases[i].text));
        assert_memory_equal(value.data, cases[i].text, value.len);
    }

    json_decref(claims);
}


static void
test_an_upload_token_says_that_it_is_one(void **state)
{
    size_t   i;
    json_t  *header;

    static const struct {
        const char  *header;
        int          is;
    } cases[] = {
        { "{\"typ\":\"upload+jwt\"}", 1 },
        { "{\"typ\":\"Upload+JWT\"}", 1 },
        { "{\"typ\":\"application/upload+jwt\"}", 1 },
        { "{\"typ\":\"JWT\"}", 0 },
        { "{\"typ\":\"upload+jwt2\"}", 0 },
        { "{\"typ\":[\"upload+jwt\"]}", 0 },
        { "{}", 0 }
    };

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        header = parse(cases[i].header);
        assert_int_equal(sluice_jwt_is_upload(header), cases[i].is);
        json_decref(header);
    }
}


static void
test_a_grant_is_read(void **state)
{
    json_t              *claims;
    const char          *why;
    sluice_jwt_grant_t   grant;

    (void) state;

    claims = parse("{\"sub\":\"acme\",\"jti\":\"17\"}");
    assert_int_equal(sluice_jwt_grant(&grant, claims, &why), 0);
    assert_int_equal(grant.customer.len, 4);
    assert_memory_equal(grant.customer.data, "acme", 4);
    assert_int_equal(grant.id.len, 2);
    assert_int_equal(grant.max_file_size, -1);
    assert_int_equal(grant.max_files, -1);
    assert_int_equal(grant.ntypes, 0);
    json_decref(claims);

    claims = parse("{\"sub\":\"acme\",\"jti\":\"17\",\"max_files\":2,"
                   "\"max_file_size\":1,\"types\":[\"image/png\","
                   "\"image/gif\"]}");
    assert_int_equal(sluice_jwt_grant(&grant, claims, &why), 0);
    assert_int_equal(grant.max_file_size, 1);
    assert_int_equal(grant.max_files, 2);
    assert_int_equal(grant.ntypes, 2);
    assert_memory_equal(grant.types[1].data, "image/gif", 9);
    json_decref(claims);
}


static void
test_a_bound_that_cannot_be_read_refuses_the_token(void **state)
{
    size_t               i;
    char                 text[1024], types[512];
    json_t              *claims;
    const char          *why;
    sluice_jwt_grant_t   grant;

    static const char  *bad[] = {
        "\"sub\":\"\",\"jti\":\"1\"",
        "\"sub\":7,\"jti\":\"1\"",
        "\"jti\":\"1\"",
        "\"sub\":\"a\"",
        "\"sub\":\"a\",\"jti\":\"\"",
        "\"sub\":\"a\",\"jti\":1",
        "\"sub\":\"a\",\"jti\":\"1\",\"max_files\":0",
        "\"sub\":\"a\",\"jti\":\"1\",\"max_files\":-1",
        "\"sub\":\"a\",\"jti\":\"1\",\"max_files\":\"1\"",
        "\"sub\":\"a\",\"jti\":\"1\",\"max_files\":1.5",
        "\"sub\":\"a\",\"jti\":\"1\",\"max_files\":null",
        "\"sub\":\"a\",\"jti\":\"1\",\"max_file_size\":0",
        "\"sub\":\"a\",\"jti\":\"1\",\"max_file_size\":\"1m\"",
        "\"sub\":\"a\",\"jti\":\"1\",\"types\":[]",
        "\"sub\":\"a\",\"jti\":\"1\",\"types\":\"image/png\"",
        "\"sub\":\"a\",\"jti\":\"1\",\"types\":[\"\"]",
        "\"sub\":\"a\",\"jti\":\"1\",\"types\":[null]"
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "{%s}", bad[i]);
        claims = parse(text);

        if (sluice_jwt_grant(&grant, claims, &why) != -1) {
            fail_msg("accepted: %s", text);
        }

        json_decref(claims);
    }

    types[0] = '\0';

    for (i = 0; i <= SLUICE_JWT_TYPES_MAX; i++) {
        strcat(types, i ? ",\"a/b\"" : "\"a/b\"");
    }

    snprintf(text, sizeof(text),
             "{\"sub\":\"a\",\"jti\":\"1\",\"types\":[%s]}", types);
    claims = parse(text);
    assert_int_equal(sluice_jwt_grant(&grant, claims, &why), -1);
    json_decref(claims);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_a_token_holds_between_nbf_and_exp),
        cmocka_unit_test(test_issuer_and_audience_are_ours),
        cmocka_unit_test(test_claims_become_text),
        cmocka_unit_test(test_an_upload_token_says_that_it_is_one),
        cmocka_unit_test(test_a_grant_is_read),
        cmocka_unit_test(test_a_bound_that_cannot_be_read_refuses_the_token)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
