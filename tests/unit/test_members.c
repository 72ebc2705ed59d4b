/*
 * test_members.c: the set that keeps its order.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/members.h"


static void
test_a_member_is_added_once(void **state)
{
    members_t  m = { 0 };
    size_t     at = 99;

    (void) state;

    assert_int_equal(members_has(&m, "a", 1, NULL), 0);
    assert_int_equal(members_add(&m, "a", 1, &at), 1);
    assert_int_equal(at, 0);
    assert_int_equal(members_add(&m, "ab", 2, &at), 1);
    assert_int_equal(members_add(&m, "a", 1, &at), 0);
    assert_int_equal(at, 0);
    assert_int_equal(m.n, 2);

    members_free(&m);
}


static void
test_thousands_keep_their_order_and_are_found(void **state)
{
    members_t  m = { 0 };
    char       text[16];
    size_t     at;

    (void) state;

    for (size_t i = 0; i < 5000; i++) {
        int len = snprintf(text, sizeof(text), "member%zu", i);

        assert_int_equal(members_add(&m, text, (size_t) len, NULL), 1);
    }

    for (size_t i = 0; i < 5000; i++) {
        int len = snprintf(text, sizeof(text), "member%zu", i);

        assert_int_equal(members_has(&m, text, (size_t) len, &at), 1);
        assert_int_equal(at, i);
        assert_string_equal(m.texts[i], text);
    }

    assert_int_equal(members_has(&m, "member5000", 10, NULL), 0);
    members_free(&m);
}


static void
test_a_reset_set_is_empty_and_usable(void **state)
{
    members_t  m = { 0 };

    (void) state;

    members_add(&m, "a", 1, NULL);
    members_reset(&m);
    assert_int_equal(m.n, 0);
    assert_int_equal(members_has(&m, "a", 1, NULL), 0);
    assert_int_equal(members_add(&m, "a", 1, NULL), 1);

    members_free(&m);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_member_is_added_once),
        cmocka_unit_test(test_thousands_keep_their_order_and_are_found),
        cmocka_unit_test(test_a_reset_set_is_empty_and_usable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
