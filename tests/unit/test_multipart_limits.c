/*
 * test_multipart_limits.c: how much of everything the parser takes.
 *
 * Header lines and bytes, of a part and of all parts, and the parts.  What is
 * too much is refused at the byte that is.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "multipart_told.h"

#include <string.h>


static void
test_endless_escapes_in_a_header_are_refused_after_4_kb(void **state)
{
    static const char      head[] = "--b\r\nContent-Disposition: form-data;"
                                    " name=\"";
    sluice_multipart_rc_e  rc;

    (void) state;

    told_start("b", NULL);
    assert_int_equal(told_feed(head, strlen(head)), SLUICE_MULTIPART_MORE);
    assert_int_equal(told_feed_until_refused("\\\"", &rc),
                     SLUICE_MULTIPART_HEADER_SIZE - (strlen(head) - 5));
    assert_int_equal(rc, SLUICE_MULTIPART_LIMIT);
    assert_int_equal(sluice_multipart_limit(&told_parser),
                     SLUICE_MULTIPART_LIMIT_HEADER);
    assert_int_equal(told.begun, 0);
}


static void
test_header_limits_can_be_set_up_to_8_kb(void **state)
{
    unsigned                   i;
    sluice_multipart_rc_e      rc;
    sluice_multipart_limits_t  limits = { 0 };
    static const unsigned      sizes[][2] = {
        { 100, 100 }, { 5000, 5000 }, { 8192, 8192 }, { 1u << 20, 8192 }
    };

    (void) state;

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        limits.header_bytes = sizes[i][0];
        told_start("b", &limits);
        assert_int_equal(told_feed("--b\r\n", 5), SLUICE_MULTIPART_MORE);
        assert_int_equal(told_feed_until_refused("X", &rc), sizes[i][1]);
        assert_int_equal(rc, SLUICE_MULTIPART_LIMIT);
        assert_int_equal(sluice_multipart_limit(&told_parser),
                         SLUICE_MULTIPART_LIMIT_HEADER);
    }
}


static void
test_a_part_may_have_16_header_lines(void **state)
{
    unsigned           n;
    static const char  line[] = "X: y\r\n";

    (void) state;

    told_start("b", NULL);
    assert_int_equal(told_feed("--b\r\n", 5), SLUICE_MULTIPART_MORE);

    for (n = 0; n < 16; n++) {
        assert_int_equal(told_feed(line, strlen(line)), SLUICE_MULTIPART_MORE);
    }

    assert_int_equal(told_feed(line, strlen(line)), SLUICE_MULTIPART_LIMIT);
    assert_int_equal(sluice_multipart_limit(&told_parser),
                     SLUICE_MULTIPART_LIMIT_LINES);
}


static void
test_header_bytes_of_all_parts_are_limited_together(void **state)
{
    unsigned                         parts;
    static const char                part[] = "--b\r\n" TOLD_HEAD "x\r\n";
    const sluice_multipart_limits_t  limits = {
        .header_total = 10 * (sizeof(TOLD_HEAD) - 1)
    };

    (void) state;

    told_start("b", &limits);

    for (parts = 0; parts < 10; parts++) {
        assert_int_equal(told_feed(part, strlen(part)), SLUICE_MULTIPART_MORE);
    }

    assert_int_equal(told.begun, 10);
    assert_int_equal(told_feed(part, strlen(part)), SLUICE_MULTIPART_LIMIT);
    assert_int_equal(sluice_multipart_limit(&told_parser),
                     SLUICE_MULTIPART_LIMIT_HEADER_TOTAL);
    assert_int_equal(told.begun, 10);
    assert_int_equal(told.ended, 10);

    /* 64 KB when nothing else is asked for */
    told_start("b", NULL);

    for (parts = 0;
         told_feed(part, strlen(part)) == SLUICE_MULTIPART_MORE;
         parts++)
    {
        assert_true(parts < 10000);
    }

    assert_int_equal(parts, SLUICE_MULTIPART_PARTS
                            < 65536 / (sizeof(TOLD_HEAD) - 1)
                            ? SLUICE_MULTIPART_PARTS
                            : 65536 / (sizeof(TOLD_HEAD) - 1));
}


static void
test_parts_are_limited(void **state)
{
    const sluice_multipart_limits_t  limits = { .parts = 2 };
    static const char                body[] =
        "--b\r\n" TOLD_HEAD "1\r\n--b\r\n" TOLD_HEAD "2\r\n--b";

    (void) state;

    told_start("b", &limits);
    assert_int_equal(told_feed(body, strlen(body)), SLUICE_MULTIPART_MORE);
    assert_int_equal(told_feed("--", 2), SLUICE_MULTIPART_END);

    told_start("b", &limits);
    assert_int_equal(told_feed(body, strlen(body)), SLUICE_MULTIPART_MORE);
    assert_int_equal(told_feed("\r\n", 2), SLUICE_MULTIPART_LIMIT);
    assert_int_equal(told.begun, 2);
    assert_int_equal(told.ended, 2);
    assert_int_equal(sluice_multipart_limit(&told_parser),
                     SLUICE_MULTIPART_LIMIT_PARTS);
    assert_string_equal(sluice_multipart_why(&told_parser),
                        "The body has too many parts.");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(
            test_endless_escapes_in_a_header_are_refused_after_4_kb),
        cmocka_unit_test(test_header_limits_can_be_set_up_to_8_kb),
        cmocka_unit_test(test_a_part_may_have_16_header_lines),
        cmocka_unit_test(test_header_bytes_of_all_parts_are_limited_together),
        cmocka_unit_test(test_parts_are_limited)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
