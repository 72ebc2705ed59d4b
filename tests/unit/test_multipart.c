/*
 * test_multipart.c: the multipart parser.
 *
 * Most claims are files of multipart_corpus/: NAME.body, and what it must come
 * to in NAME.expect.  The first line there names the boundary, the others are
 * the events and the result as record_*() below write them.  Each body is fed
 * whole, in two slices cut at every place, and in slices of every small size;
 * every slice is a heap block of its exact size, so ASan sees a read beyond it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "multipart.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define RECORD_MAX  (1u << 20)


/* What the parser told, as text. */
static struct {
    char      text[RECORD_MAX];
    size_t    len;
    unsigned  in_data;
    unsigned  begun;
    unsigned  ended;
    unsigned  stop_at;           /* the event that asks to stop; 0: none */
    unsigned  events;
} record;


static void
record_text(const char *text)
{
    size_t  len;

    len = strlen(text);
    assert_true(record.len + len < RECORD_MAX);
    memcpy(record.text + record.len, text, len + 1);
    record.len += len;
}


static void
record_bytes(const char *data, size_t len)
{
    char    hex[8];
    size_t  i;

    for (i = 0; i < len; i++) {
        if (data[i] == '\r') {
            record_text("\\r");

        } else if (data[i] == '\n') {
            record_text("\\n");

        } else if (data[i] < 32 || data[i] > 126 || data[i] == '"'
                   || data[i] == '\\')
        {
            snprintf(hex, sizeof(hex), "\\x%02x", (unsigned char) data[i]);
            record_text(hex);

        } else {
            assert_true(record.len + 1 < RECORD_MAX);
            record.text[record.len++] = data[i];
            record.text[record.len] = '\0';
        }
    }
}


static void
record_string(const char *key, const sluice_multipart_str_t *str)
{
    record_text(key);
    record_bytes(str->data, str->len);
    record_text("\"");
}


static int
on_begin(void *ctx, const sluice_multipart_part_t *part)
{
    assert_ptr_equal(ctx, &record);
    assert_int_equal(record.begun, record.ended);
    assert_true(part->name.len > 0);

    record.begun++;
    record_string("part name=\"", &part->name);

    if (part->has_filename) {
        record_string(" filename=\"", &part->filename);
    }

    if (part->content_type.data != NULL) {
        record_string(" type=\"", &part->content_type);
    }

    record_text(part->has_filename_star ? " filename*\n" : "\n");

    return ++record.events == record.stop_at;
}


static int
on_data(void *ctx, const char *data, size_t len)
{
    assert_ptr_equal(ctx, &record);
    assert_int_equal(record.begun, record.ended + 1);
    assert_true(len > 0);

    if (!record.in_data) {
        record.in_data = 1;
        record_text("data \"");
    }

    record_bytes(data, len);

    return ++record.events == record.stop_at;
}


static void
record_data_end(void)
{
    if (record.in_data) {
        record.in_data = 0;
        record_text("\"\n");
    }
}


static int
on_end(void *ctx)
{
    assert_ptr_equal(ctx, &record);
    assert_int_equal(record.begun, record.ended + 1);

    record.ended++;
    record_data_end();
    record_text("end\n");

    return ++record.events == record.stop_at;
}


static const sluice_multipart_events_t  events = { on_begin, on_data, on_end };

static sluice_multipart_t  parser;


static void
start(const char *boundary, const sluice_multipart_limits_t *limits)
{
    sluice_multipart_str_t  str;

    str.data = boundary;
    str.len = strlen(boundary);

    record.len = 0;
    record.text[0] = '\0';
    record.in_data = 0;
    record.begun = 0;
    record.ended = 0;
    record.stop_at = 0;
    record.events = 0;

    /* the parser must not count on zeroed memory */
    memset(&parser, 0xa5, sizeof(parser));
    sluice_multipart_init(&parser, &str, limits, &events, &record);
    assert_string_equal(sluice_multipart_why(&parser), "");
}


static sluice_multipart_rc_e
feed(const char *data, size_t len)
{
    char                  *copy;
    sluice_multipart_rc_e  rc;

    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    rc = sluice_multipart_feed(&parser, copy, len);
    free(copy);

    return rc;
}


/* Feed in slices of size bytes, the first of them of first bytes. */
static sluice_multipart_rc_e
feed_slices(const char *data, size_t len, size_t first, size_t size)
{
    size_t                 n;
    sluice_multipart_rc_e  rc;

    rc = SLUICE_MULTIPART_MORE;

    for (n = first; len > 0 && rc <= SLUICE_MULTIPART_END; n = size) {
        n = n < len ? n : len;
        rc = feed(data, n);
        data += n;
        len -= n;
    }

    return rc;
}


/* The result's line, after all bytes were fed. */
static void
record_result(void)
{
    static const char *const  names[] = {
        "MORE", "END", "STOP", "BAD", "LIMIT", "ENCODING"
    };

    sluice_multipart_rc_e  rc;

    record_data_end();
    rc = sluice_multipart_finish(&parser);
    record_text(names[rc]);

    if (rc > SLUICE_MULTIPART_STOP) {
        record_text(" ");
        record_text(sluice_multipart_why(&parser));
    }

    record_text("\n");
}


static char *
read_file(const char *path, size_t *len)
{
    char  *data;
    FILE  *file;

    file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("cannot open %s", path);
    }

    data = calloc(1, RECORD_MAX);
    assert_non_null(data);
    *len = fread(data, 1, RECORD_MAX - 1, file);
    fclose(file);

    return data;
}


static void
check(const char *name, const char *want, const char *how, size_t n)
{
    record_result();

    if (strcmp(record.text, want) != 0) {
        fail_msg("%s, %s %zu:\n%s-- instead of --\n%s", name, how, n,
                 record.text, want);
    }
}


static void
check_corpus_file(const char *folder, const char *name)
{
    char    path[1024], boundary[80], *body, *expect, *want;
    size_t  len, expect_len, n;

    snprintf(path, sizeof(path), "%s/%s.body", folder, name);
    body = read_file(path, &len);
    snprintf(path, sizeof(path), "%s/%s.expect", folder, name);
    expect = read_file(path, &expect_len);

    assert_int_equal(sscanf(expect, "boundary %79s", boundary), 1);
    want = strchr(expect, '\n') + 1;

    start(boundary, NULL);
    feed_slices(body, len, len, len);
    check(name, want, "whole", 0);

    for (n = 1; n < len; n++) {
        start(boundary, NULL);
        feed_slices(body, len, n, len);
        check(name, want, "cut at", n);
    }

    for (n = 1; n < 100 && n < len; n++) {
        start(boundary, NULL);
        feed_slices(body, len, n, n);
        check(name, want, "in slices of", n);
    }

    free(body);
    free(expect);
}


static void
test_every_split_of_the_corpus_gives_the_expected_events(void **state)
{
    DIR            *dir;
    char            folder[400], name[256], *slash;
    size_t          len;
    unsigned        files;
    struct dirent  *entry;

    (void) state;

    snprintf(folder, sizeof(folder), "%s", __FILE__);
    slash = strrchr(folder, '/');
    assert_non_null(slash);
    snprintf(slash, folder + sizeof(folder) - slash, "/multipart_corpus");

    dir = opendir(folder);
    assert_non_null(dir);

    for (files = 0; (entry = readdir(dir)) != NULL; /* void */) {
        len = strlen(entry->d_name);

        if (len < 6 || strcmp(entry->d_name + len - 5, ".body") != 0) {
            continue;
        }

        snprintf(name, sizeof(name), "%.*s", (int) len - 5, entry->d_name);
        check_corpus_file(folder, name);
        files++;
    }

    closedir(dir);
    assert_true(files > 80);
}


#define HEAD  "Content-Disposition: form-data; name=\"f\"\r\n\r\n"


static void
test_boundary_of_1_to_70_characters_in_slices_of_about_its_length(void **state)
{
    char    boundary[71], body[2048], want[2048];
    size_t  len, n, size;

    (void) state;

    for (len = 1; len <= 70; len++) {
        memset(boundary, 'b', len);
        boundary[len] = '\0';

        snprintf(body, sizeof(body), "--%s\r\n" HEAD "1\r\n--%.*s\r\n--%s\r\n"
                 HEAD "2\r\n--%s--\r\n", boundary, (int) len - 1, boundary,
                 boundary, boundary);
        snprintf(want, sizeof(want), "part name=\"f\"\ndata \"1\\r\\n--%.*s\"\n"
                 "end\npart name=\"f\"\ndata \"2\"\nend\nEND\n", (int) len - 1,
                 boundary);

        size = len + 4;

        for (n = size > 3 ? size - 3 : 1; n <= size + 3; n++) {
            start(boundary, NULL);
            feed_slices(body, strlen(body), n, n);
            check("boundary", want, "in slices of", n);
        }
    }
}


static void
test_three_parts_cut_at_every_byte_never_end(void **state)
{
    size_t                 n, len, closed;
    sluice_multipart_rc_e  rc;
    static const char      body[] =
        "--b\r\n" HEAD "one\r\n--b\r\n" HEAD "two\r\n--b\r\n" HEAD "three\r\n"
        "--b--\r\n";

    (void) state;

    len = sizeof(body) - 1;
    closed = len - 2;

    for (n = 0; n <= len; n++) {
        start("b", NULL);
        rc = feed_slices(body, n, n, n);
        assert_int_equal(rc, n < closed ? SLUICE_MULTIPART_MORE
                                        : SLUICE_MULTIPART_END);

        rc = sluice_multipart_finish(&parser);

        if (n < closed) {
            assert_int_equal(rc, SLUICE_MULTIPART_BAD);
            assert_true(record.ended < 3);
            assert_true(strlen(sluice_multipart_why(&parser)) > 0);

        } else {
            assert_int_equal(rc, SLUICE_MULTIPART_END);
            assert_int_equal(record.ended, 3);
        }

        /* asked again, it says the same */
        assert_int_equal(sluice_multipart_finish(&parser), rc);
    }
}


/* Feed byte by byte without end; how many bytes the parser took. */
static size_t
feed_until_refused(const char *pattern, sluice_multipart_rc_e *rc)
{
    size_t  n, len;

    len = strlen(pattern);

    for (n = 0; n < 10000000; n++) {
        *rc = feed(pattern + n % len, 1);

        if (*rc > SLUICE_MULTIPART_END) {
            break;
        }
    }

    return n;
}


static void
test_endless_preamble_is_refused_after_1_kb(void **state)
{
    sluice_multipart_rc_e  rc;

    (void) state;

    start("b", NULL);
    assert_int_equal(feed_until_refused("x", &rc), 1024);
    assert_int_equal(rc, SLUICE_MULTIPART_BAD);

    /* a beginning of the delimiter may be held back for a while */
    start("b", NULL);
    assert_in_range(feed_until_refused("\r\n--", &rc), 1024, 1028);
    assert_int_equal(rc, SLUICE_MULTIPART_BAD);
}


static void
test_epilogue_is_dropped_up_to_64_kb(void **state)
{
    sluice_multipart_rc_e  rc;
    static char            junk[SLUICE_MULTIPART_EPILOGUE_MAX];

    (void) state;

    memset(junk, 'x', sizeof(junk));

    start("b", NULL);
    assert_int_equal(feed("--b--", 5), SLUICE_MULTIPART_END);
    assert_int_equal(feed(junk, sizeof(junk)), SLUICE_MULTIPART_END);
    assert_int_equal(sluice_multipart_finish(&parser), SLUICE_MULTIPART_END);
    assert_int_equal(feed(junk, 1), SLUICE_MULTIPART_LIMIT);
    assert_int_equal(sluice_multipart_finish(&parser), SLUICE_MULTIPART_LIMIT);
    assert_int_equal(sluice_multipart_limit(&parser),
                     SLUICE_MULTIPART_LIMIT_EPILOGUE);
    assert_string_equal(sluice_multipart_why(&parser),
                        "Too many bytes follow the last part.");

    start("b", NULL);
    assert_int_equal(feed("--b--", 5), SLUICE_MULTIPART_END);
    assert_int_equal(feed_until_refused("y", &rc),
                     SLUICE_MULTIPART_EPILOGUE_MAX);
    assert_int_equal(rc, SLUICE_MULTIPART_LIMIT);
}


static void
test_endless_escapes_in_a_header_are_refused_after_4_kb(void **state)
{
    static const char      head[] = "--b\r\nContent-Disposition: form-data;"
                                    " name=\"";
    sluice_multipart_rc_e  rc;

    (void) state;

    start("b", NULL);
    assert_int_equal(feed(head, strlen(head)), SLUICE_MULTIPART_MORE);
    assert_int_equal(feed_until_refused("\\\"", &rc),
                     SLUICE_MULTIPART_HEADER_SIZE - (strlen(head) - 5));
    assert_int_equal(rc, SLUICE_MULTIPART_LIMIT);
    assert_int_equal(sluice_multipart_limit(&parser),
                     SLUICE_MULTIPART_LIMIT_HEADER);
    assert_int_equal(record.begun, 0);
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
        start("b", &limits);
        assert_int_equal(feed("--b\r\n", 5), SLUICE_MULTIPART_MORE);
        assert_int_equal(feed_until_refused("X", &rc), sizes[i][1]);
        assert_int_equal(rc, SLUICE_MULTIPART_LIMIT);
        assert_int_equal(sluice_multipart_limit(&parser),
                         SLUICE_MULTIPART_LIMIT_HEADER);
    }
}


static void
test_a_part_may_have_16_header_lines(void **state)
{
    unsigned           n;
    static const char  line[] = "X: y\r\n";

    (void) state;

    start("b", NULL);
    assert_int_equal(feed("--b\r\n", 5), SLUICE_MULTIPART_MORE);

    for (n = 0; n < 16; n++) {
        assert_int_equal(feed(line, strlen(line)), SLUICE_MULTIPART_MORE);
    }

    assert_int_equal(feed(line, strlen(line)), SLUICE_MULTIPART_LIMIT);
    assert_int_equal(sluice_multipart_limit(&parser),
                     SLUICE_MULTIPART_LIMIT_LINES);
}


static void
test_header_bytes_of_all_parts_are_limited_together(void **state)
{
    unsigned                         parts;
    static const char                part[] = "--b\r\n" HEAD "x\r\n";
    const sluice_multipart_limits_t  limits = {
        .header_total = 10 * (sizeof(HEAD) - 1)
    };

    (void) state;

    start("b", &limits);

    for (parts = 0; parts < 10; parts++) {
        assert_int_equal(feed(part, strlen(part)), SLUICE_MULTIPART_MORE);
    }

    assert_int_equal(record.begun, 10);
    assert_int_equal(feed(part, strlen(part)), SLUICE_MULTIPART_LIMIT);
    assert_int_equal(sluice_multipart_limit(&parser),
                     SLUICE_MULTIPART_LIMIT_HEADER_TOTAL);
    assert_int_equal(record.begun, 10);
    assert_int_equal(record.ended, 10);

    /* 64 KB when nothing else is asked for */
    start("b", NULL);

    for (parts = 0; feed(part, strlen(part)) == SLUICE_MULTIPART_MORE; parts++)
    {
        assert_true(parts < 10000);
    }

    assert_int_equal(parts, SLUICE_MULTIPART_PARTS
                            < 65536 / (sizeof(HEAD) - 1)
                            ? SLUICE_MULTIPART_PARTS
                            : 65536 / (sizeof(HEAD) - 1));
}


static void
test_parts_are_limited(void **state)
{
    const sluice_multipart_limits_t  limits = { .parts = 2 };
    static const char                body[] =
        "--b\r\n" HEAD "1\r\n--b\r\n" HEAD "2\r\n--b";

    (void) state;

    start("b", &limits);
    assert_int_equal(feed(body, strlen(body)), SLUICE_MULTIPART_MORE);
    assert_int_equal(feed("--", 2), SLUICE_MULTIPART_END);

    start("b", &limits);
    assert_int_equal(feed(body, strlen(body)), SLUICE_MULTIPART_MORE);
    assert_int_equal(feed("\r\n", 2), SLUICE_MULTIPART_LIMIT);
    assert_int_equal(record.begun, 2);
    assert_int_equal(record.ended, 2);
    assert_int_equal(sluice_multipart_limit(&parser),
                     SLUICE_MULTIPART_LIMIT_PARTS);
    assert_string_equal(sluice_multipart_why(&parser),
                        "The body has too many parts.");
}


static void
test_a_part_larger_than_any_buffer_streams_through(void **state)
{
    unsigned     i;
    static char  block[4096];

    (void) state;

    memset(block, 'x', sizeof(block));
    start("b", NULL);
    assert_int_equal(feed("--b\r\n" HEAD, 5 + strlen(HEAD)),
                     SLUICE_MULTIPART_MORE);

    for (i = 1; i <= 100; i++) {
        assert_int_equal(feed(block, sizeof(block)), SLUICE_MULTIPART_MORE);
        assert_int_equal(record.events, i + 1);        /* nothing is kept */
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
    static const char          body[] = "--b\r\n" HEAD "hello\r\n--b--";
    sluice_multipart_str_t     boundary = { "b", 1 };
    sluice_multipart_events_t  keep;

    (void) state;

    start("b", NULL);
    keep = events;
    keep.part_data = keep_slice;
    sluice_multipart_init(&parser, &boundary, NULL, &keep, &record);

    assert_int_equal(sluice_multipart_feed(&parser, body, strlen(body)),
                     SLUICE_MULTIPART_END);
    assert_int_equal(slice_len, 5);
    assert_ptr_equal(slice_data, strstr(body, "hello"));
}


static void
test_an_event_that_says_so_stops_the_parser(void **state)
{
    unsigned           n, seen;
    static const char  body[] =
        "--b\r\n" HEAD "1\r\n--b\r\n" HEAD "2\r\n--b--";

    (void) state;

    for (n = 1; n <= 6; n++) {
        start("b", NULL);
        record.stop_at = n;
        assert_int_equal(feed(body, strlen(body)), SLUICE_MULTIPART_STOP);
        seen = record.events;
        assert_int_equal(seen, n);
        assert_int_equal(feed(body, strlen(body)), SLUICE_MULTIPART_STOP);
        assert_int_equal(sluice_multipart_finish(&parser),
                         SLUICE_MULTIPART_STOP);
        assert_int_equal(record.events, seen);
    }
}


static void
test_after_an_error_nothing_is_told_any_more(void **state)
{
    static const char  body[] = "--b\r\nno colon\r\n\r\n";
    static const char  good[] = "\r\n--b\r\n" HEAD "1\r\n--b--";

    (void) state;

    start("b", NULL);
    assert_int_equal(feed(body, strlen(body)), SLUICE_MULTIPART_BAD);
    assert_int_equal(feed(good, strlen(good)), SLUICE_MULTIPART_BAD);
    assert_int_equal(feed("", 0), SLUICE_MULTIPART_BAD);
    assert_int_equal(record.events, 0);
    assert_string_equal(sluice_multipart_why(&parser),
                        "A part's header has no colon.");
}


/* Dense patterns of all periods, in slices of several sizes: all comes out. */
static void
test_data_dense_with_cr_lf_and_boundary_prefixes_is_kept(void **state)
{
    char         delim[32], *data;
    size_t       n, i, len, head, tail, size;
    static char  body[16384], want[RECORD_MAX];

    (void) state;

    snprintf(delim, sizeof(delim), "\r\n--%s", "aaaaaaaaaaab");
    head = snprintf(body, sizeof(body), "--aaaaaaaaaaab\r\n" HEAD);
    data = body + head;

    for (n = 1; n < strlen(delim); n++) {
        len = 5000 + n;

        for (i = 0; i < len; i++) {
            data[i] = delim[i % n];
        }

        start("aaaaaaaaaaab", NULL);
        record_text("part name=\"f\"\ndata \"");
        record_bytes(data, len);
        record_text("\"\nend\nEND\n");
        memcpy(want, record.text, record.len + 1);

        tail = snprintf(data + len, 100, "%s--\r\n", delim);

        for (size = 1; size < 2 * (head + len + tail); size = size * 3 + n) {
            start("aaaaaaaaaaab", NULL);
            feed_slices(body, head + len + tail, size, size);
            check("dense data", want, "in slices of", size);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(
            test_every_split_of_the_corpus_gives_the_expected_events),
        cmocka_unit_test(
            test_boundary_of_1_to_70_characters_in_slices_of_about_its_length),
        cmocka_unit_test(test_three_parts_cut_at_every_byte_never_end),
        cmocka_unit_test(test_endless_preamble_is_refused_after_1_kb),
        cmocka_unit_test(test_epilogue_is_dropped_up_to_64_kb),
        cmocka_unit_test(
            test_endless_escapes_in_a_header_are_refused_after_4_kb),
        cmocka_unit_test(test_header_limits_can_be_set_up_to_8_kb),
        cmocka_unit_test(test_a_part_may_have_16_header_lines),
        cmocka_unit_test(test_header_bytes_of_all_parts_are_limited_together),
        cmocka_unit_test(test_parts_are_limited),
        cmocka_unit_test(test_a_part_larger_than_any_buffer_streams_through),
        cmocka_unit_test(test_data_slices_point_into_the_callers_buffer),
        cmocka_unit_test(test_an_event_that_says_so_stops_the_parser),
        cmocka_unit_test(test_after_an_error_nothing_is_told_any_more),
        cmocka_unit_test(
            test_data_dense_with_cr_lf_and_boundary_prefixes_is_kept)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
