/*
 * test_multipart_boundary.c: the boundary in a Content-Type.
 *
 * Every value lies in a heap block of its exact size, so ASan sees a read
 * beyond it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "multipart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static int
read_boundary(const char *value, sluice_multipart_str_t *boundary,
    const char **why)
{
    int      rc;
    char    *copy;
    size_t   len;

    len = strlen(value);
    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, value, len);

    rc = sluice_multipart_boundary(copy, len, boundary, why);

    if (rc == 0) {
        boundary->data = value + (boundary->data - copy);
        assert_null(*why);
    }

    free(copy);

    return rc;
}


static void
check_boundary(const char *value, const char *want)
{
    const char             *why;
    sluice_multipart_str_t  boundary;

    assert_int_equal(read_boundary(value, &boundary, &why), 0);
    assert_int_equal(boundary.len, strlen(want));
    assert_memory_equal(boundary.data, want, boundary.len);
}


static void
check_boundary_bad(const char *value, const char *want)
{
    const char             *why;
    sluice_multipart_str_t  boundary;

    assert_int_equal(read_boundary(value, &boundary, &why), -2);
    assert_string_equal(why, want);
}


static void
check_not_form_data(const char *value)
{
    const char             *why;
    sluice_multipart_str_t  boundary;

    assert_int_equal(read_boundary(value, &boundary, &why), -1);
    assert_null(why);
}


#define B35  "01234567890123456789012345678901234"
#define B70  B35 B35


static void
test_boundary_is_read_from_content_type(void **state)
{
    (void) state;

    check_boundary("multipart/form-data; boundary=AaB03x", "AaB03x");
    check_boundary("Multipart/Form-Data;BOUNDARY=x", "x");
    check_boundary(" multipart/form-data\t;\t boundary=x ; ", "x");
    check_boundary("multipart/form-data; charset=\"a;boundary=no\"; boundary=x",
                   "x");
    check_boundary("multipart/form-data; xboundary=no; boundary=\"x y\"",
                   "x y");
    check_boundary("multipart/form-data; boundary=\"'()+_,-./:=?\"",
                   "'()+_,-./:=?");
    check_boundary("multipart/form-data; boundary=----=_Part/1:2",
                   "----=_Part/1:2");
    check_boundary("multipart/form-data; boundary=" B70, B70);
    check_boundary("multipart/form-data; boundary=\"" B70 "\"", B70);
}


static void
test_other_types_are_not_form_data(void **state)
{
    (void) state;

    check_not_form_data("");
    check_not_form_data("image/jpeg");
    check_not_form_data("; boundary=x");
    check_not_form_data("multipart/mixed; boundary=x");
    check_not_form_data("multipart/form-data2; boundary=x");
    check_not_form_data("multipart/form-data boundary=x");
    check_not_form_data("text/plain, multipart/form-data; boundary=x");
    check_not_form_data("text/plain; x=\"; multipart/form-data; boundary=x\"");
}


static void
test_several_boundaries_are_refused(void **state)
{
    static const char  why[] = "Content-Type has more than one boundary.";

    (void) state;

    check_boundary_bad("multipart/form-data; boundary=a; boundary=b", why);
    check_boundary_bad("multipart/form-data; boundary=a; boundary=a", why);
    check_boundary_bad("multipart/form-data; boundary=a;Boundary=\"b\"", why);
    check_boundary_bad("multipart/form-data; boundary=a,multipart/form-data;"
                       "boundary=b", why);
}


static void
test_boundary_outside_of_the_alphabet_is_refused(void **state)
{
    static const char  alphabet[] = "The boundary in Content-Type has a"
                                  " character that RFC 2046 does not allow.";
    static const char  unreadable[] = "The parameters of Content-Type cannot"
                                      " be read.";

    (void) state;

    check_boundary_bad("multipart/form-data", "Content-Type has no boundary.");
    check_boundary_bad("multipart/form-data; charset=x",
                       "Content-Type has no boundary.");
    check_boundary_bad("multipart/form-data; boundary=\"\"",
                       "The boundary in Content-Type is empty.");
    check_boundary_bad("multipart/form-data; boundary=\"x \"",
                       "The boundary in Content-Type ends with a space.");
    check_boundary_bad("multipart/form-data; boundary=" B70 "x",
                       "The boundary in Content-Type is longer than 70"
                       " characters.");

    /* escapes could only stand for what the alphabet lacks, or hide a letter */
    check_boundary_bad("multipart/form-data; boundary=\"a\\\"b\"", alphabet);
    check_boundary_bad("multipart/form-data; boundary=\"a\\b\"", alphabet);
    check_boundary_bad("multipart/form-data; boundary=\"a\r\nb\"", alphabet);
    check_boundary_bad("multipart/form-data; boundary=\"a@b\"", alphabet);
    check_boundary_bad("multipart/form-data; boundary=\"\xc3\xa4\"", alphabet);

    check_boundary_bad("multipart/form-data; boundary=", unreadable);
    check_boundary_bad("multipart/form-data; boundary", unreadable);
    check_boundary_bad("multipart/form-data; boundary=a@b", unreadable);
    check_boundary_bad("multipart/form-data; boundary=a b", unreadable);
    check_boundary_bad("multipart/form-data; boundary=\"a", unreadable);
    check_boundary_bad("multipart/form-data; boundary=\"a\\\"", unreadable);
    check_boundary_bad("multipart/form-data; boundary=\"a\\", unreadable);
    check_boundary_bad("multipart/form-data; boundary = a", unreadable);
}


/* RFC 2046 5.1.1, character by character: quoted, for a token has fewer. */
static void
test_boundary_takes_exactly_the_rfcs_characters(void **state)
{
    int                     c, want;
    char                    value[80];
    const char             *why;
    sluice_multipart_str_t  boundary;
    static const char       alphabet[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        "'()+_,-./:=? ";

    (void) state;

    for (c = 1; c < 256; c++) {
        snprintf(value, sizeof(value),
                 "multipart/form-data; boundary=\"a%cb\"", c);
        want = strchr(alphabet, c) != NULL ? 0 : -2;
        assert_int_equal(read_boundary(value, &boundary, &why), want);
    }
}


static void
test_boundary_has_1_to_70_characters(void **state)
{
    int                     len;
    char                    value[200];
    const char             *why;
    sluice_multipart_str_t  boundary;

    (void) state;

    for (len = 0; len <= 100; len++) {
        snprintf(value, sizeof(value),
                 "multipart/form-data; boundary=\"%.*s\"", len, B70 B35);
        assert_int_equal(read_boundary(value, &boundary, &why),
                         len >= 1 && len <= 70 ? 0 : -2);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_boundary_is_read_from_content_type),
        cmocka_unit_test(test_other_types_are_not_form_data),
        cmocka_unit_test(test_several_boundaries_are_refused),
        cmocka_unit_test(test_boundary_outside_of_the_alphabet_is_refused),
        cmocka_unit_test(test_boundary_takes_exactly_the_rfcs_characters),
        cmocka_unit_test(test_boundary_has_1_to_70_characters)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
