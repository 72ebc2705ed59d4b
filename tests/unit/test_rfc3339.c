/*
 * test_rfc3339.c: the calendar is right, and what is no time is refused.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "rfc3339.h"


static void
assert_time(const char *text, int64_t expected)
{
    int64_t  ms;

    if (sluice_rfc3339_parse(text, strlen(text), &ms) != 0) {
        fail_msg("refused: %s", text);
    }

    if (ms != expected) {
        fail_msg("%s is %lld", text, (long long) ms);
    }
}


static void
test_times_are_read_with_their_offset(void **state)
{
    (void) state;

    assert_time("1970-01-01", 0);
    assert_time("1970-01-01T00:00:00Z", 0);
    assert_time("2026-11-20", 1795132800000);
    assert_time("2026-11-20T12:00:30Z", 1795176030000);
    assert_time("2026-11-20t12:00:30z", 1795176030000);
    assert_time("2026-11-20 12:00:30Z", 1795176030000);
    assert_time("2026-11-20T13:00:30.5+01:00", 1795176030500);
    assert_time("2026-11-20T06:30:30.123456789-05:30", 1795176030123);
    assert_time("2024-02-29", 1709164800000);
    assert_time("9999-12-31T23:59:59.999Z", 253402300799999);
}


static void
test_what_is_no_time_is_refused(void **state)
{
    int64_t     ms;
    size_t      i;
    const char  *bad[] = {
        "", "2026", "2026-11-2", "2026-11-200", "2026-13-01", "2026-00-01",
        "2026-11-00", "2026-11-31", "2026-02-29", "2100-02-29", "1969-12-31",
        "2026/11/20", "2026-11-20T", "2026-11-20T12:00Z",
        "2026-11-20T12:00:30", "2026-11-20T24:00:00Z", "2026-11-20T12:60:00Z",
        "2026-11-20T12:00:60Z", "2026-11-20T12:00:30.Z",
        "2026-11-20T12:00:30.5", "2026-11-20T12:00:30ZZ",
        "2026-11-20T12:00:30+0100", "2026-11-20T12:00:30+24:00",
        "2026-11-20T12:00:30+01:60", "2026-11-20X12:00:30Z",
        "1970-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01",
        "-026-11-20", "2026-11-20T-1:00:00Z", "2026-11-20T12:00:30. 5Z"
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (sluice_rfc3339_parse(bad[i], strlen(bad[i]), &ms) != -1) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}


/* The C library's calendar is the other opinion. */
static void
test_every_day_comes_back_as_it_was_written(void **state)
{
    char       text[SLUICE_RFC3339_LEN], wanted[40];
    time_t     t;
    int64_t    ms, day;
    struct tm  tm;

    (void) state;

    for (day = 0; day < 2932897; day += 1 + day % 7) {
        t = day * 86400 + day % 86400;
        gmtime_r(&t, &tm);
        strftime(wanted, sizeof(wanted), "%Y-%m-%dT%H:%M:%S.123Z", &tm);

        sluice_rfc3339_format(text, (int64_t) t * 1000 + 123);
        assert_memory_equal(text, wanted, SLUICE_RFC3339_LEN);

        assert_int_equal(sluice_rfc3339_parse(text, sizeof(text), &ms), 0);
        assert_true(ms == (int64_t) t * 1000 + 123);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_times_are_read_with_their_offset),
        cmocka_unit_test(test_what_is_no_time_is_refused),
        cmocka_unit_test(test_every_day_comes_back_as_it_was_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
