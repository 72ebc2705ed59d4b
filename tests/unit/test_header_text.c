/*
 * test_header_text.c: strangers' words in record headers.
 *
 * Every text is given in a heap block of its exact size and cleaned into one of
 * its exact size, so ASan sees a read or write beyond.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "header_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define BAD  "\xef\xbf\xbd"


static void
check_bytes(const char *src, size_t len, size_t max, const char *want)
{
    char    *copy, *dst;
    size_t   n;

    copy = malloc(len ? len : 1);
    dst = malloc(max ? max : 1);
    assert_non_null(copy);
    assert_non_null(dst);
    memcpy(copy, src, len);

    n = sluice_header_text(dst, max, copy, len);

    assert_true(n <= max);

    if (n != strlen(want) || memcmp(dst, want, n) != 0) {
        fail_msg("\"%.*s\" instead of \"%s\"", (int) n, dst, want);
    }

    free(copy);
    free(dst);
}


static void
check(const char *src, const char *want)
{
    check_bytes(src, strlen(src), 1000, want);
}


static void
test_text_that_is_clean_stays_as_it_is(void **state)
{
    (void) state;

    check("", "");
    check("cat.jpg", "cat.jpg");
    check("a \"quoted\" <name> & more\\", "a \"quoted\" <name> & more\\");
    check("\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x95\xf4\x8f\xbf\xbf",
          "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x95\xf4\x8f\xbf\xbf");

    /* around the refused ranges */
    check("\x20\x7e\xc2\xa0\xe2\x80\x8d\xe2\x80\xa9\xe2\x80\xaf\xe2\x81\xa5"
          "\xe2\x81\xaa\xd8\x9b\xd8\x9d\xed\x9f\xbf\xee\x80\x80",
          "\x20\x7e\xc2\xa0\xe2\x80\x8d\xe2\x80\xa9\xe2\x80\xaf\xe2\x81\xa5"
          "\xe2\x81\xaa\xd8\x9b\xd8\x9d\xed\x9f\xbf\xee\x80\x80");
}


static void
test_controls_never_pass(void **state)
{
    int   c;
    char  text[4];

    (void) state;

    for (c = 0; c < 0x20; c++) {
        text[0] = c;
        check_bytes(text, 1, 1000, BAD);
    }

    check("a\r\nb\x7f\x1b[0m", "a" BAD BAD "b" BAD BAD "[0m");

    for (c = 0x80; c < 0xa0; c++) {
        text[0] = (char) 0xc2;
        text[1] = c;
        check_bytes(text, 2, 1000, BAD);
    }
}


static void
test_bidi_controls_never_pass(void **state)
{
    (void) state;

    check("\xd8\x9c", BAD);                                    /* U+061C */
    check("\xe2\x80\x8e\xe2\x80\x8f", BAD BAD);                /* U+200E, F */
    check("\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad\xe2\x80\xae",
          BAD BAD BAD BAD BAD);                                /* U+202A-E */
    check("\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9",
          BAD BAD BAD BAD);                                    /* U+2066-9 */
    check("photo\xe2\x80\xaegpj.exe", "photo" BAD "gpj.exe");
}


/* Unicode 15, tables 3-8 to 3-11: what others make of the same bytes. */
static void
test_bytes_that_are_not_utf8_become_replacement_characters(void **state)
{
    (void) state;

    check("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41",
          BAD BAD BAD BAD BAD BAD BAD BAD "A");
    check("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41",
          BAD BAD BAD BAD BAD BAD BAD BAD "A");
    check("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42",
          BAD BAD BAD BAD BAD "A" BAD BAD "B");
    check("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", BAD BAD BAD BAD "A");
    check("caf\xe9.jpg", "caf" BAD ".jpg");
    check("\xe2\x82", BAD);
    check("\xf0\x9f\x90", BAD);
    check("\xf8\x88\x80\x80\x80", BAD BAD BAD BAD BAD);
}


static void
test_text_is_cut_between_characters(void **state)
{
    size_t  max;

    (void) state;

    for (max = 0; max < 12; max++) {
        check_bytes("a\xe2\x82\xac" "b\xf0\x9f\x90\x95" "c", 10, max,
                    max == 0 ? ""
                    : max < 4 ? "a"
                    : max < 5 ? "a\xe2\x82\xac"
                    : max < 9 ? "a\xe2\x82\xac" "b"
                    : max < 10 ? "a\xe2\x82\xac" "b\xf0\x9f\x90\x95"
                    : "a\xe2\x82\xac" "b\xf0\x9f\x90\x95" "c");
    }

    /* what replaces a byte is longer than it */
    check_bytes("ab\nc", 4, 4, "ab");
    check_bytes("ab\nc", 4, 5, "ab" BAD);
    check_bytes("ab\nc", 4, 6, "ab" BAD "c");
}


static void
test_text_cleaned_twice_is_text_cleaned_once(void **state)
{
    char      text[32], once[200], twice[200];
    size_t    i, len, n;
    uint32_t  seed;
    unsigned  round;

    (void) state;

    seed = 2463534242u;

    for (round = 0; round < 20000; round++) {
        len = round % sizeof(text);

        for (i = 0; i < len; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[i] = "\xe2\x80\xae\xf0\x9f\xc2\x85\xed\xa0" "a\n"[seed % 11];
            text[i] ^= (seed >> 28) == 0 ? seed >> 16 : 0;
        }

        n = sluice_header_text(once, sizeof(once), text, len);
        assert_int_equal(sluice_header_text(twice, sizeof(twice), once, n), n);
        assert_memory_equal(once, twice, n);
    }
}


static void
check_basename(const char *name, const char *want)
{
    size_t       len;
    const char  *base;

    len = strlen(name);
    base = sluice_header_basename(name, &len);

    assert_true(base >= name && base + len <= name + strlen(name));
    assert_int_equal(len, strlen(want));
    assert_memory_equal(base, want, len);
}


static void
test_only_the_last_component_of_a_path_is_left(void **state)
{
    (void) state;

    check_basename("cat.jpg", "cat.jpg");
    check_basename("", "");
    check_basename("../../etc/passwd", "passwd");
    check_basename("C:\\Users\\me\\cat.jpg", "cat.jpg");
    check_basename("\\\\server\\share/a\\b.jpg", "b.jpg");
    check_basename("/", "");
    check_basename("dir/", "");
    check_basename("dir\\", "");
    check_basename(".", "");
    check_basename("..", "");
    check_basename("a/..", "");
    check_basename("a\\.", "");
    check_basename("...", "...");
    check_basename(".htaccess", ".htaccess");
    check_basename("..jpg", "..jpg");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_text_that_is_clean_stays_as_it_is),
        cmocka_unit_test(test_controls_never_pass),
        cmocka_unit_test(test_bidi_controls_never_pass),
        cmocka_unit_test(
            test_bytes_that_are_not_utf8_become_replacement_characters),
        cmocka_unit_test(test_text_is_cut_between_characters),
        cmocka_unit_test(test_text_cleaned_twice_is_text_cleaned_once),
        cmocka_unit_test(test_only_the_last_component_of_a_path_is_left)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
