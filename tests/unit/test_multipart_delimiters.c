/*
 * test_multipart_delimiters.c: where parts and the body begin and end.
 *
 * Boundaries of every length, data that looks like one, bodies that are cut,
 * and what stands before the first part and behind the last.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "multipart_told.h"

#include <stdio.h>
#include <string.h>


static void
test_boundary_of_1_to_70_characters_in_slices_of_about_its_length(void **state)
{
    char    boundary[71], body[2048], want[2048];
    size_t  len, n, size;

    (void) state;

    for (len = 1; len <= 70; len++) {
        memset(boundary, 'b', len);
        boundary[len] = '\0';

        snprintf(body, sizeof(body), "--%s\r\n" TOLD_HEAD
                 "1\r\n--%.*s\r\n--%s\r\n" TOLD_HEAD "2\r\n--%s--\r\n",
                 boundary, (int) len - 1, boundary, boundary, boundary);
        snprintf(want, sizeof(want),
                 "part name=\"f\"\ndata \"1\\r\\n--%.*s\"\n"
                 "end\npart name=\"f\"\ndata \"2\"\nend\nEND\n", (int) len - 1,
                 boundary);

        size = len + 4;

        for (n = size > 3 ? size - 3 : 1; n <= size + 3; n++) {
            told_start(boundary, NULL);
            told_feed_slices(body, strlen(body), n, n);
            told_check("boundary", want, "in slices of", n);
        }
    }
}


/* Patterns of all periods, in slices of several sizes: all comes out. */
static void
test_data_dense_with_cr_lf_and_boundary_prefixes_is_kept(void **state)
{
    char         delim[32], *data;
    size_t       n, i, len, head, tail, size;
    static char  body[16384], want[TOLD_MAX];

    (void) state;

    snprintf(delim, sizeof(delim), "\r\n--%s", "aaaaaaaaaaab");
    head = snprintf(body, sizeof(body), "--aaaaaaaaaaab\r\n" TOLD_HEAD);
    data = body + head;

    for (n = 1; n < strlen(delim); n++) {
        len = 5000 + n;

        for (i = 0; i < len; i++) {
            data[i] = delim[i % n];
        }

        told_start("aaaaaaaaaaab", NULL);
        told_text("part name=\"f\"\ndata \"");
        told_bytes(data, len);
        told_text("\"\nend\nEND\n");
        memcpy(want, told.text, told.len + 1);

        tail = snprintf(data + len, 100, "%s--\r\n", delim);

        for (size = 1; size < 2 * (head + len + tail); size = size * 3 + n) {
            told_start("aaaaaaaaaaab", NULL);
            told_feed_slices(body, head + len + tail, size, size);
            told_check("dense data", want, "in slices of", size);
        }
    }
}


static void
test_three_parts_cut_at_every_byte_never_end(void **state)
{
    size_t                 n, len, closed;
    sluice_multipart_rc_e  rc;
    static const char      body[] =
        "--b\r\n" TOLD_HEAD "one\r\n" "--b\r\n" TOLD_HEAD "two\r\n"
        "--b\r\n" TOLD_HEAD "three\r\n" "--b--\r\n";

    (void) state;

    len = sizeof(body) - 1;
    closed = len - 2;

    for (n = 0; n <= len; n++) {
        told_start("b", NULL);
        rc = told_feed_slices(body, n, n, n);
        assert_int_equal(rc, n < closed ? SLUICE_MULTIPART_MORE
                                        : SLUICE_MULTIPART_END);

        rc = sluice_multipart_finish(&told_parser);

        if (n < closed) {
            assert_int_equal(rc, SLUICE_MULTIPART_BAD);
            assert_true(told.ended < 3);
            assert_true(strlen(sluice_multipart_why(&told_parser)) > 0);

        } else {
            assert_int_equal(rc, SLUICE_MULTIPART_END);
            assert_int_equal(told.ended, 3);
        }

        /* asked again, it says the same */
        assert_int_equal(sluice_multipart_finish(&told_parser), rc);
    }
}


static void
test_endless_preamble_is_refused_after_1_kb(void **state)
{
    sluice_multipart_rc_e  rc;

    (void) state;

    told_start("b", NULL);
    assert_int_equal(told_feed_until_refused("x", &rc), 1024);
    assert_int_equal(rc, SLUICE_MULTIPART_BAD);

    /* a beginning of the delimiter may be held back for a while */
    told_start("b", NULL);
    assert_in_range(told_feed_until_refused("\r\n--", &rc), 1024, 1028);
    assert_int_equal(rc, SLUICE_MULTIPART_BAD);
}


static void
test_epilogue_is_dropped_up_to_64_kb(void **state)
{
    sluice_multipart_rc_e  rc;
    static char            junk[SLUICE_MULTIPART_EPILOGUE_MAX];

    (void) state;

    memset(junk, 'x', sizeof(junk));

    told_start("b", NULL);
    assert_int_equal(told_feed("--b--", 5), SLUICE_MULTIPART_END);
    assert_int_equal(told_feed(junk, sizeof(junk)), SLUICE_MULTIPART_END);
    assert_int_equal(sluice_multipart_finish(&told_parser),
                     SLUICE_MULTIPART_END);
    assert_int_equal(told_feed(junk, 1), SLUICE_MULTIPART_LIMIT);
    assert_int_equal(sluice_multipart_finish(&told_parser),
                     SLUICE_MULTIPART_LIMIT);
    assert_int_equal(sluice_multipart_limit(&told_parser),
                     SLUICE_MULTIPART_LIMIT_EPILOGUE);
    assert_string_equal(sluice_multipart_why(&told_parser),
                        "Too many bytes follow the last part.");

    told_start("b", NULL);
    assert_int_equal(told_feed("--b--", 5), SLUICE_MULTIPART_END);
    assert_int_equal(told_feed_until_refused("y", &rc),
                     SLUICE_MULTIPART_EPILOGUE_MAX);
    assert_int_equal(rc, SLUICE_MULTIPART_LIMIT);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(
            test_boundary_of_1_to_70_characters_in_slices_of_about_its_length),
        cmocka_unit_test(
            test_data_dense_with_cr_lf_and_boundary_prefixes_is_kept),
        cmocka_unit_test(test_three_parts_cut_at_every_byte_never_end),
        cmocka_unit_test(test_endless_preamble_is_refused_after_1_kb),
        cmocka_unit_test(test_epilogue_is_dropped_up_to_64_kb)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
