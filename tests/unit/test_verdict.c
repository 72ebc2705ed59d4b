/*
 * test_verdict.c: count, late or past, by the order of the log.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/retry.h"
#include "core/verdict.h"


static verdict_t
verdict(int64_t closed_ms, int64_t closed_next)
{
    verdict_t v = { { 30000, 55000 }, closed_ms, closed_next, WINDOW_NONE };

    return v;
}


static void
test_the_watermark_before_a_record_decides(void **state)
{
    verdict_t  v = verdict(WINDOW_NONE, 0);
    int64_t    start;

    (void) state;

    assert_int_equal(verdict_next(&v, 0, 10000, &start), VERDICT_COUNT);
    assert_int_equal(start, 0);

    /* This one makes the first window due; itself it counts. */
    assert_int_equal(verdict_next(&v, 1, 85000, &start), VERDICT_COUNT);
    assert_int_equal(start, 60000);
    assert_int_equal(verdict_next(&v, 2, 29999, &start), VERDICT_LATE);
    assert_int_equal(start, 0);
    assert_int_equal(v.watermark_ms, 85000);
}


static void
test_one_millisecond_before_due_still_counts(void **state)
{
    verdict_t  v = verdict(WINDOW_NONE, 0);
    int64_t    start;

    (void) state;

    verdict_next(&v, 0, 84999, &start);
    assert_int_equal(verdict_next(&v, 1, 29999, &start), VERDICT_COUNT);
}


static void
test_a_closed_window_is_past_or_late_by_offset(void **state)
{
    verdict_t  v = verdict(30000, 100);
    int64_t    start;

    (void) state;

    assert_int_equal(verdict_next(&v, 99, 31000, &start), VERDICT_PAST);
    assert_int_equal(verdict_next(&v, 100, 31000, &start), VERDICT_LATE);
    assert_int_equal(verdict_next(&v, 50, 5000, &start), VERDICT_PAST);
    assert_int_equal(verdict_next(&v, 50, 60000, &start), VERDICT_COUNT);
}


static void
test_late_and_past_records_move_the_watermark(void **state)
{
    verdict_t  v = verdict(30000, 100);
    int64_t    start;

    (void) state;

    verdict_next(&v, 99, 31000, &start);
    assert_int_equal(v.watermark_ms, 31000);
    verdict_next(&v, 100, 59000, &start);
    assert_int_equal(v.watermark_ms, 59000);
    verdict_next(&v, 101, 58000, &start);
    assert_int_equal(v.watermark_ms, 59000);
}


static void
test_waits_double_to_a_bound_and_keep_half(void **state)
{
    static const int64_t steps[] = {
        100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000
    };

    retry_t  low = { 0 }, high = { 0 };

    (void) state;

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        assert_int_equal(retry_next(&low, 0), steps[i] / 2);
        assert_int_equal(retry_next(&high, (uint32_t) (steps[i] / 2)),
                         steps[i]);
    }

    assert_int_equal(low.failures, 9);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_watermark_before_a_record_decides),
        cmocka_unit_test(test_one_millisecond_before_due_still_counts),
        cmocka_unit_test(test_a_closed_window_is_past_or_late_by_offset),
        cmocka_unit_test(test_late_and_past_records_move_the_watermark),
        cmocka_unit_test(test_waits_double_to_a_bound_and_keep_half),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
