/*
 * test_event_split.c: a body cut into events.
 *
 * Each body is fed whole, in two slices cut at every place, and in slices of
 * every small size; every slice is a heap block of its exact size, so ASan
 * sees a read beyond it.  What comes out is written as text: <event> for each
 * that was complete, then the result.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "event_split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define TEXT_MAX  65536

#define WHOLE  SLUICE_EVENT_SPLIT_WHOLE
#define LINES  SLUICE_EVENT_SPLIT_LINES
#define ARRAY  SLUICE_EVENT_SPLIT_ARRAY


static struct {
    char      text[TEXT_MAX];    /* complete events */
    size_t    len;
    char      event[TEXT_MAX];   /* the one that arrives */
    size_t    event_len;
    unsigned  calls;
    unsigned  events;
    unsigned  stop_at;           /* the event that asks to stop; 0: none */
} record;


static int
on_bytes(void *ctx, const char *bytes, size_t len, int last)
{
    assert_ptr_equal(ctx, &record);
    assert_true(len > 0 || last);
    assert_true(record.event_len + len + 3 < TEXT_MAX - record.len);

    memcpy(record.event + record.event_len, bytes, len);
    record.event_len += len;

    if (last) {
        assert_true(record.event_len > 0);

        record.text[record.len++] = '<';
        memcpy(record.text + record.len, record.event, record.event_len);
        record.len += record.event_len;
        record.text[record.len++] = '>';
        record.event_len = 0;
    }

    record.text[record.len] = '\0';
    record.calls++;
    record.events += last;

    return last && record.events == record.stop_at;
}


static sluice_event_split_rc_e
feed(sluice_event_split_t *split, const char *data, size_t len)
{
    char                     *copy;
    sluice_event_split_rc_e   rc;

    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    rc = sluice_event_split_feed(split, copy, len);
    free(copy);

    return rc;
}


/* The first slice of first bytes, the others of size. */
static const char *
run(sluice_event_split_mode_e mode, const char *body, size_t len,
    size_t first, size_t size)
{
    size_t                   n;
    sluice_event_split_t     split;
    sluice_event_split_rc_e  rc;

    static const char *const  names[] = {
        "MORE", "END", "STOP", "BAD", "LIMIT"
    };

    record.len = 0;
    record.event_len = 0;
    record.calls = 0;
    record.events = 0;
    record.text[0] = '\0';

    /* the splitter must not count on zeroed memory */
    memset(&split, 0xa5, sizeof(split));
    sluice_event_split_init(&split, mode, on_bytes, &record);
    assert_string_equal(sluice_event_split_why(&split), "");

    for (n = first; len > 0; n = size) {
        n = n < len ? n : len;
        rc = feed(&split, body, n);
        body += n;
        len -= n;

        if (rc != SLUICE_EVENT_SPLIT_MORE) {
            assert_int_equal(feed(&split, "]", 1), rc);
            break;
        }
    }

    rc = sluice_event_split_finish(&split);
    assert_int_equal(sluice_event_split_finish(&split), rc);

    assert_int_equal(rc >= SLUICE_EVENT_SPLIT_BAD,
                     sluice_event_split_why(&split)[0] != '\0');
    assert_true(rc != SLUICE_EVENT_SPLIT_END || record.event_len == 0);

    strcpy(record.text + record.len, names[rc]);

    return record.text;
}


static void
check(sluice_event_split_mode_e mode, const char *body, size_t len,
    const char *want)
{
    size_t  n;

    assert_string_equal(run(mode, body, len, len, len), want);

    for (n = 1; n < len; n++) {
        assert_string_equal(run(mode, body, len, n, len), want);
        assert_string_equal(run(mode, body, len, n, 1), want);
    }

    for (n = 1; n < 40 && n < len; n++) {
        assert_string_equal(run(mode, body, len, n, n), want);
    }
}


#define check_text(mode, body, want)                                         \
    check(mode, body, sizeof(body) - 1, want)


static void
test_a_whole_body_is_one_event(void **state)
{
    (void) state;

    check_text(WHOLE, "", "END");
    check_text(WHOLE, "x", "<x>END");
    check_text(WHOLE, " [1,2]\r\n\n", "< [1,2]\r\n\n>END");
}


static void
test_a_line_is_an_event_and_an_empty_one_is_none(void **state)
{
    (void) state;

    check_text(LINES, "", "END");
    check_text(LINES, "\n", "END");
    check_text(LINES, "\r\n\n\r\n", "END");
    check_text(LINES, "a", "<a>END");
    check_text(LINES, "a\n", "<a>END");
    check_text(LINES, "a\nb\n", "<a><b>END");
    check_text(LINES, "a\r\nb\r\n", "<a><b>END");
    check_text(LINES, "\n\na\n\nb\r\n\r\nc\n\n", "<a><b><c>END");
    check_text(LINES, " \n\t\n", "< ><\t>END");
    check_text(LINES, "{\"a\":1}\r\n{\"b\":\"\\n\"}",
               "<{\"a\":1}><{\"b\":\"\\n\"}>END");
}


static void
test_a_cr_that_ends_no_line_belongs_to_it(void **state)
{
    (void) state;

    check_text(LINES, "a\rb\n", "<a\rb>END");
    check_text(LINES, "\ra\n", "<\ra>END");
    check_text(LINES, "a\r\r\nb", "<a\r><b>END");
    check_text(LINES, "\r\r\n", "<\r>END");
    check_text(LINES, "a\r\r\r\r\n", "<a\r\r\r>END");
    check_text(LINES, "a\n\rb\r\n", "<a><\rb>END");
}


static void
test_a_cr_at_the_end_of_the_body_ends_its_line(void **state)
{
    (void) state;

    check_text(LINES, "a\r", "<a>END");
    check_text(LINES, "a\n\r", "<a>END");
    check_text(LINES, "\r", "END");
}


static void
test_an_element_is_an_event_byte_for_byte(void **state)
{
    (void) state;

    check_text(ARRAY, "[]", "END");
    check_text(ARRAY, " \t\r\n[ \n] \n", "END");
    check_text(ARRAY, "[1]", "<1>END");
    check_text(ARRAY, "[1,2 ,\n3\t]", "<1><2><3>END");
    check_text(ARRAY, "[-1.5e+7, true,false , null]",
               "<-1.5e+7><true><false><null>END");
    check_text(ARRAY, "[{},{ },[],[[]],\"\"]", "<{}><{ }><[]><[[]]><\"\">END");
    check_text(ARRAY, "[ { \"a\" : [ 1 , { } ] } ,\r\n {\"b\":null}]",
               "<{ \"a\" : [ 1 , { } ] }><{\"b\":null}>END");
    check_text(ARRAY, "[\"\xc3\xa4\xf0\x9f\x98\x80\"]",
               "<\"\xc3\xa4\xf0\x9f\x98\x80\">END");
}


static void
test_brackets_commas_and_quotes_in_strings_end_nothing(void **state)
{
    (void) state;

    check_text(ARRAY, "[\"],[\",\"}{\"]", "<\"],[\"><\"}{\">END");
    check_text(ARRAY, "[\"\\\"\",\"\\\\\",\"a\\\\\\\"],\"]",
               "<\"\\\"\"><\"\\\\\"><\"a\\\\\\\"],\">END");
    check_text(ARRAY, "[{\"a]}\":\"\\\"}\"},[\"]\"]]",
               "<{\"a]}\":\"\\\"}\"}><[\"]\"]>END");
    check_text(ARRAY, "[\"\\u0022\",1]", "<\"\\u0022\"><1>END");
}


static void
test_what_is_no_array_is_refused(void **state)
{
    (void) state;

    check_text(ARRAY, "", "BAD");
    check_text(ARRAY, "  \n", "BAD");
    check_text(ARRAY, "{}", "BAD");
    check_text(ARRAY, "1,2", "BAD");
    check_text(ARRAY, "\"[1]\"", "BAD");
    check_text(ARRAY, "\xef\xbb\xbf[1]", "BAD");
    check_text(ARRAY, "x[1]", "BAD");
}


static void
test_an_array_cut_off_is_refused_after_its_whole_elements(void **state)
{
    (void) state;

    check_text(ARRAY, "[", "BAD");
    check_text(ARRAY, "[1", "BAD");
    check_text(ARRAY, "[1,", "<1>BAD");
    check_text(ARRAY, "[1,2", "<1>BAD");
    check_text(ARRAY, "[1,2 ", "<1><2>BAD");
    check_text(ARRAY, "[{}", "<{}>BAD");
    check_text(ARRAY, "[\"a", "BAD");
    check_text(ARRAY, "[\"a\\", "BAD");
    check_text(ARRAY, "[[1]", "<[1]>BAD");
    check_text(ARRAY, "[{\"a\":[1,2]", "BAD");
}


static void
test_an_element_must_stand_at_each_side_of_a_comma(void **state)
{
    (void) state;

    check_text(ARRAY, "[,]", "BAD");
    check_text(ARRAY, "[,1]", "BAD");
    check_text(ARRAY, "[1,]", "<1>BAD");
    check_text(ARRAY, "[1,,2]", "<1>BAD");
    check_text(ARRAY, "[1 2]", "<1>BAD");
    check_text(ARRAY, "[{}{}]", "<{}>BAD");
    check_text(ARRAY, "[\"a\"\"b\"]", "<\"a\">BAD");
    check_text(ARRAY, "[1[2]]", "<1>BAD");
    check_text(ARRAY, "[:]", "BAD");
    check_text(ARRAY, "[}", "BAD");
}


static void
test_what_follows_the_array_is_refused(void **state)
{
    (void) state;

    check_text(ARRAY, "[1]]", "<1>BAD");
    check_text(ARRAY, "[1],", "<1>BAD");
    check_text(ARRAY, "[1][2]", "<1>BAD");
    check_text(ARRAY, "[1]\n{}", "<1>BAD");
    check(ARRAY, "[1]\0", 4, "<1>BAD");
}


static void
test_brackets_have_to_match(void **state)
{
    (void) state;

    check_text(ARRAY, "[[}]", "BAD");
    check_text(ARRAY, "[{]]", "BAD");
    check_text(ARRAY, "[{\"a\":[1}]]", "BAD");
    check_text(ARRAY, "[[[{}}]]]", "BAD");
}


static void
test_bytes_that_json_has_not_are_refused(void **state)
{
    (void) state;

    check_text(ARRAY, "['a']", "BAD");
    check_text(ARRAY, "[1/**/]", "<1>BAD");
    check_text(ARRAY, "[{'a':1}]", "BAD");
    check_text(ARRAY, "[{\"a\":1}#]", "<{\"a\":1}>BAD");
    check_text(ARRAY, "[\"a\nb\"]", "BAD");
    check_text(ARRAY, "[\"\\\x01\"]", "BAD");
    check_text(ARRAY, "[{\"a\":\xff}]", "BAD");
    check(ARRAY, "[\0]", 3, "BAD");
    check(ARRAY, "[\"\0\"]", 5, "BAD");
}


/* n brackets around nothing, in the array. */
static void
check_depth(char bracket, size_t n, const char *result)
{
    char  body[400], want[400];

    memset(body, bracket, sizeof(body));
    body[0] = '[';
    memset(body + 1 + n, bracket == '[' ? ']' : '}', n);
    body[1 + 2 * n] = ']';

    sprintf(want, "%s%.*s%s%s", result[0] == 'E' ? "<" : "",
            result[0] == 'E' ? (int) (2 * n) : 0, body + 1,
            result[0] == 'E' ? ">" : "", result);

    check(ARRAY, body, 2 + 2 * n, want);
}


static void
test_an_element_is_nested_64_deep_at_most(void **state)
{
    (void) state;

    check_depth('[', SLUICE_EVENT_SPLIT_DEPTH, "END");
    check_depth('{', SLUICE_EVENT_SPLIT_DEPTH, "END");
    check_depth('[', SLUICE_EVENT_SPLIT_DEPTH + 1, "LIMIT");
    check_depth('{', SLUICE_EVENT_SPLIT_DEPTH + 1, "LIMIT");
}


static void
test_a_caller_that_asks_is_called_no_more(void **state)
{
    (void) state;

    record.stop_at = 2;
    check_text(LINES, "a\nb\nc\nd", "<a><b>STOP");
    check_text(ARRAY, "[1,2,3,", "<1><2>STOP");
    record.stop_at = 1;
    check_text(WHOLE, "abc", "<abc>STOP");
    record.stop_at = 0;
}


static void
test_an_event_in_one_slice_is_one_piece(void **state)
{
    (void) state;

    run(LINES, "abc\r\ndef\n", 9, 9, 9);
    assert_int_equal(record.calls, 2);

    run(ARRAY, "[{\"a\":[1,2]}, \"x\", 17, null]", 28, 28, 28);
    assert_int_equal(record.calls, 4);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_body_is_one_event),
        cmocka_unit_test(test_a_line_is_an_event_and_an_empty_one_is_none),
        cmocka_unit_test(test_a_cr_that_ends_no_line_belongs_to_it),
        cmocka_unit_test(test_a_cr_at_the_end_of_the_body_ends_its_line),
        cmocka_unit_test(test_an_element_is_an_event_byte_for_byte),
        cmocka_unit_test(
            test_brackets_commas_and_quotes_in_strings_end_nothing),
        cmocka_unit_test(test_what_is_no_array_is_refused),
        cmocka_unit_test(
            test_an_array_cut_off_is_refused_after_its_whole_elements),
        cmocka_unit_test(test_an_element_must_stand_at_each_side_of_a_comma),
        cmocka_unit_test(test_what_follows_the_array_is_refused),
        cmocka_unit_test(test_brackets_have_to_match),
        cmocka_unit_test(test_bytes_that_json_has_not_are_refused),
        cmocka_unit_test(test_an_element_is_nested_64_deep_at_most),
        cmocka_unit_test(test_a_caller_that_asks_is_called_no_more),
        cmocka_unit_test(test_an_event_in_one_slice_is_one_piece),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
