/*
 * test_multipart_events.c: what the parser's caller may count on.
 *
 * Data is passed on at once and not copied; an event can stop the parser;
 * after an error nothing comes any more.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "multipart_told.h"

#include <string.h>


static void
test_a_part_larger_than_any_buffer_streams_through(void **state)
{
    unsigned     i;
    static char  block[4096];

    (void) state;

    memset(block, 'x', sizeof(block));
    told_start("b", NULL);
    assert_int_equal(told_feed("--b\r\n" TOLD_HEAD, 5 + strlen(TOLD_HEAD)),
                     SLUICE_MULTIPART_MORE);

    for (i = 1; i <= 100; i++) {
        assert_int_equal(told_feed(block, sizeof(block)),
                         SLUICE_MULTIPART_MORE);
        assert_int_equal(told.events, i + 1);        /* nothing is kept */
    }
}


static const char  *slice_data;
static size_t       slice_len;


static int
keep_slice(void *ctx, const char *data, size_t len)
{
    (void) ctx;

    slice_data = data;
    slice_len = len;

    return 0;
}


static void
test_data_slices_point_into_the_callers_buffer(void **state)
{
    static const char          body[] = "--b\r\n" TOLD_HEAD "hello\r\n--b--";
    sluice_multipart_str_t     boundary = { "b", 1 };
    sluice_multipart_events_t  keep;

    (void) state;

    told_start("b", NULL);
    keep = told_events;
    keep.part_data = keep_slice;
    sluice_multipart_init(&told_parser, &boundary, NULL, &keep, &told);

    assert_int_equal(sluice_multipart_feed(&told_parser, body, strlen(body)),
                     SLUICE_MULTIPART_END);
    assert_int_equal(slice_len, 5);
    assert_ptr_equal(slice_data, strstr(body, "hello"));
}


static void
test_an_event_that_says_so_stops_the_parser(void **state)
{
    unsigned           n, seen;
    static const char  body[] =
        "--b\r\n" TOLD_HEAD "1\r\n--b\r\n" TOLD_HEAD "2\r\n--b--";

    (void) state;

    for (n = 1; n <= 6; n++) {
        told_start("b", NULL);
        told.stop_at = n;
        assert_int_equal(told_feed(body, strlen(body)), SLUICE_MULTIPART_STOP);
        seen = told.events;
        assert_int_equal(seen, n);
        assert_int_equal(told_feed(body, strlen(body)), SLUICE_MULTIPART_STOP);
        assert_int_equal(sluice_multipart_finish(&told_parser),
                         SLUICE_MULTIPART_STOP);
        assert_int_equal(told.events, seen);
    }
}


static void
test_after_an_error_nothing_is_told_any_more(void **state)
{
    static const char  body[] = "--b\r\nno colon\r\n\r\n";
    static const char  good[] = "\r\n--b\r\n" TOLD_HEAD "1\r\n--b--";

    (void) state;

    told_start("b", NULL);
    assert_int_equal(told_feed(body, strlen(body)), SLUICE_MULTIPART_BAD);
    assert_int_equal(told_feed(good, strlen(good)), SLUICE_MULTIPART_BAD);
    assert_int_equal(told_feed("", 0), SLUICE_MULTIPART_BAD);
    assert_int_equal(told.events, 0);
    assert_string_equal(sluice_multipart_why(&told_parser),
                        "A part's header has no colon.");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_a_part_larger_than_any_buffer_streams_through),
        cmocka_unit_test(test_data_slices_point_into_the_callers_buffer),
        cmocka_unit_test(test_an_event_that_says_so_stops_the_parser),
        cmocka_unit_test(test_after_an_error_nothing_is_told_any_more)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
