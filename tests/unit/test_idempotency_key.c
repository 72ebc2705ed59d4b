/*
 * test_idempotency_key.c: the key in an Idempotency-Key header.
 *
 * Every value lies in a heap block of its exact size, so ASan sees a read
 * beyond it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "idempotency_key.h"

#include <stdlib.h>
#include <string.h>


static size_t
read_key(char *key, const char *value, size_t len)
{
    char    *copy, *room;
    size_t   n;

    copy = malloc(len ? len : 1);
    room = malloc(SLUICE_IDEMPOTENCY_KEY_MAX);
    assert_non_null(copy);
    assert_non_null(room);
    memcpy(copy, value, len);

    n = sluice_idempotency_key(room, copy, len);
    assert_true(n <= SLUICE_IDEMPOTENCY_KEY_MAX);
    memcpy(key, room, n);
    key[n] = '\0';

    free(copy);
    free(room);

    return n;
}


static void
check(const char *value, const char *want)
{
    char  key[SLUICE_IDEMPOTENCY_KEY_MAX + 1];

    assert_int_equal(read_key(key, value, strlen(value)), strlen(want));
    assert_string_equal(key, want);
}


#define UUID  "8e03978e-40d5-43e8-bc93-6894a57f9324"


static void
test_a_quoted_and_a_bare_key_are_the_same(void **state)
{
    (void) state;

    check("\"" UUID "\"", UUID);
    check(UUID, UUID);
    check(" \t\"" UUID "\"\t ", UUID);
    check("\"" UUID "\";v=1", UUID);
    check("\"" UUID "\" ; a=\"b\"", UUID);
    check("a/b:c=d+e", "a/b:c=d+e");
    check("k", "k");
}


static void
test_escapes_are_undone(void **state)
{
    (void) state;

    check("\"a \\\"b\\\" \\\\ c\"", "a \"b\" \\ c");
    check("\"; , ;\"", "; , ;");
}


static void
test_what_is_no_single_string_is_refused(void **state)
{
    size_t              i;
    static const char  *bad[] = {
        "", " ", "\"\"", "\"", "\"a", "a\"", "\"a\"b\"c\"\n", "\"a\\\"",
        "\"a\\b\"", "\"a\\", "a b", "a,b", "a;b", "a\\b", "\"a\",\"b\"",
        "\"a\";x,\"b\"", "k\xc3\xa4", "\"k\xc3\xa4\"", "\"a\tb\"", "a\x7f",
        "\"a\x7f\"", "a\rb", "\"a\";\r\n"
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check(bad[i], "");
    }
}


static void
test_a_nul_is_refused(void **state)
{
    char  key[SLUICE_IDEMPOTENCY_KEY_MAX + 1];

    (void) state;

    assert_int_equal(read_key(key, "a\0b", 3), 0);
    assert_int_equal(read_key(key, "\"a\0b\"", 5), 0);
}


static void
test_a_key_has_at_most_255_characters(void **state)
{
    char    value[600], key[SLUICE_IDEMPOTENCY_KEY_MAX + 1];
    size_t  n;

    (void) state;

    memset(value, 'k', sizeof(value));

    for (n = 1; n < 300; n++) {
        assert_int_equal(read_key(key, value, n), n <= 255 ? n : 0);

        value[0] = '"';
        value[n + 1] = '"';
        assert_int_equal(read_key(key, value, n + 2), n <= 255 ? n : 0);
        value[0] = 'k';
        value[n + 1] = 'k';
    }

    /* escaped, it takes twice the room on the way */

    for (n = 0; n < 255; n++) {
        memcpy(value + 1 + 2 * n, "\\\\", 2);
    }

    value[0] = '"';
    value[511] = '"';
    assert_int_equal(read_key(key, value, 512), 255);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_a_quoted_and_a_bare_key_are_the_same),
        cmocka_unit_test(test_escapes_are_undone),
        cmocka_unit_test(test_what_is_no_single_string_is_refused),
        cmocka_unit_test(test_a_nul_is_refused),
        cmocka_unit_test(test_a_key_has_at_most_255_characters)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
