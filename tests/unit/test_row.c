/*
 * test_row.c: a row's fixed part to text and back.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/row.h"


static record_t
record(const char *name)
{
    record_t rec;

    memset(&rec, 0, sizeof(rec));
    rec.offset = 17;
    rec.ts_ms = 1763640031123;
    rec.size = 12345;
    rec.id = "0192f0c1/3";
    rec.id_len = strlen(rec.id);
    rec.type = "image/jpeg";
    rec.type_len = strlen(rec.type);
    rec.name = name;
    rec.name_len = strlen(name);

    return rec;
}


static void
test_a_row_is_readable_text(void **state)
{
    char      text[ROW_TEXT_MAX];
    record_t  rec = record("holiday photo 100%.jpg");

    (void) state;

    size_t len = row_write(&rec, "a/b.jpg", text);

    assert_int_equal(len, strlen(text));
    assert_string_equal(text, "a/b.jpg image/jpeg 12345 1763640031123 17 "
                        "0192f0c1/3 holiday%20photo%20100%25.jpg");
}


static void
test_any_name_comes_back(void **state)
{
    static const char *const names[] = {
        "", " ", "%", "a b", "%20", "\xf0\x9f\x90\x88.png", "\x7f\x01\n\t",
    };

    char   text[ROW_TEXT_MAX];
    row_t  row;

    (void) state;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        record_t  rec = record(names[i]);
        size_t    len = row_write(&rec, "a/b.jpg", text);

        assert_int_equal(row_parse(text, len, &row), 0);
        assert_string_equal(row.name, names[i]);
        assert_string_equal(row.object, "a/b.jpg");
        assert_string_equal(row.type, "image/jpeg");
        assert_string_equal(row.upload, "0192f0c1/3");
        assert_int_equal(row.size, 12345);
        assert_int_equal(row.first_seen_ms, 1763640031123);
        assert_int_equal(row.first_offset, 17);
    }
}


static void
test_the_longest_of_everything_fits(void **state)
{
    static char  object[PATH_OBJECT_MAX], field[ROW_FIELD_MAX];
    char        *text = malloc(ROW_TEXT_MAX);
    record_t     rec = record(field);
    row_t        row;

    (void) state;

    memset(object, ' ', sizeof(object) - 1);
    memset(field, ' ', sizeof(field) - 1);
    rec.name_len = rec.id_len = rec.type_len = sizeof(field) - 1;
    rec.id = rec.type = field;
    rec.size = INT64_MAX / 2;
    rec.ts_ms = rec.offset = INT64_MAX;

    size_t len = row_write(&rec, object, text);

    assert_true(len < ROW_TEXT_MAX);
    assert_int_equal(row_parse(text, len, &row), 0);
    assert_string_equal(row.name, field);
    assert_string_equal(row.object, object);
    free(text);
}


static void
test_what_is_no_row_is_refused(void **state)
{
    static const char *const texts[] = {
        "", "a", "a b 1 2 3 c", "a b 1 2 3 c d e", "a b x 2 3 c d",
        "a b 1 2 -3 c d", "a b 1 2 3 c %", "a b 1 2 3 c %2", "a b 1 2 3 c %zz",
        "a b 1 2 3 c %00", "a b  2 3 c d",
        "a b 123456789012345678901234567890 2 3 c d",
    };

    row_t row;

    (void) state;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(row_parse(texts[i], strlen(texts[i]), &row), -1);
    }
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_is_readable_text),
        cmocka_unit_test(test_any_name_comes_back),
        cmocka_unit_test(test_the_longest_of_everything_fits),
        cmocka_unit_test(test_what_is_no_row_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
