/* test_window.c: core/window.c */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/window.h"

static const window_conf_t  half_minute = { 30000, 55000 };


static void
test_start_is_aligned_to_the_epoch(void **state)
{
    (void) state;

    assert_int_equal(window_start(&half_minute, 0), 0);
    assert_int_equal(window_start(&half_minute, 29999), 0);
    assert_int_equal(window_start(&half_minute, 30000), 30000);
    assert_int_equal(window_start(&half_minute, 1795176030012),
                     1795176030000);
}


static void
test_start_floors_before_the_epoch(void **state)
{
    (void) state;

    assert_int_equal(window_start(&half_minute, -1), -30000);
    assert_int_equal(window_start(&half_minute, -30000), -30000);
    assert_int_equal(window_start(&half_minute, -30001), -60000);
}


static void
test_due_exactly_at_end_plus_lateness(void **state)
{
    (void) state;

    assert_false(window_is_due(&half_minute, 0, 84999));
    assert_true(window_is_due(&half_minute, 0, 85000));
    assert_true(window_is_due(&half_minute, 0, 85001));
}


static void
test_nothing_is_due_without_a_watermark(void **state)
{
    (void) state;

    assert_false(window_is_due(&half_minute, 0, WINDOW_NONE));
    assert_false(window_is_due(&half_minute, WINDOW_NONE, 85000));
}


static void
test_label_and_back(void **state)
{
    static const int64_t  starts[] = {
        0, 951782400000,               /* 2000-02-29 */
        1795176030000, 253402300770000
    };

    char     label[WINDOW_LABEL_LEN];
    int64_t  back;

    (void) state;

    window_label(1795176030000, label);
    assert_string_equal(label, "20261120T120030Z");

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        window_label(starts[i], label);
        assert_int_equal(window_parse(label, &back), 0);
        assert_int_equal(back, starts[i]);
    }
}


static void
test_label_never_overruns(void **state)
{
    static const int64_t  far[] = {
        INT64_MIN, INT64_MIN + 1, INT64_MAX, -62167219200001, 253402300800000
    };

    char  label[WINDOW_LABEL_LEN + 1];

    (void) state;

    for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
        label[WINDOW_LABEL_LEN] = 'x';
        window_label(far[i], label);
        assert_int_equal(label[WINDOW_LABEL_LEN - 1], '\0');
        assert_int_equal(label[WINDOW_LABEL_LEN], 'x');
    }
}


static void
test_parse_refuses_what_no_label_is(void **state)
{
    static const char *const  bad[] = {
        "", "20261120T120030", "20261120T120030Z ", "20261120 120030Z",
        "20261320T120030Z", "20260230T000000Z", "20261120T240000Z",
        "20261120T120060Z", "2026112xT120030Z", "-0261120T120030Z"
    };

    int64_t  start = 7;

    (void) state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(window_parse(bad[i], &start), -1);
        assert_int_equal(start, 7);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_start_is_aligned_to_the_epoch),
        cmocka_unit_test(test_start_floors_before_the_epoch),
        cmocka_unit_test(test_due_exactly_at_end_plus_lateness),
        cmocka_unit_test(test_nothing_is_due_without_a_watermark),
        cmocka_unit_test(test_label_and_back),
        cmocka_unit_test(test_label_never_overruns),
        cmocka_unit_test(test_parse_refuses_what_no_label_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
