/*
 * multipart_told.c: what the multipart parser told, as text.
 *
 * Owns the parser under test and the text of its events, one of each: a test
 * begins anew with told_start().  Holds in every event what is always true:
 * parts begin and end in turns, data is never empty.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "multipart_told.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


told_t              told;
sluice_multipart_t  told_parser;


void
told_text(const char *text)
{
    size_t  len;

    len = strlen(text);
    assert_true(told.len + len < TOLD_MAX);
    memcpy(told.text + told.len, text, len + 1);
    told.len += len;
}


void
told_bytes(const char *data, size_t len)
{
    char    hex[8];
    size_t  i;

    for (i = 0; i < len; i++) {
        if (data[i] == '\r') {
            told_text("\\r");

        } else if (data[i] == '\n') {
            told_text("\\n");

        } else if (data[i] < 32 || data[i] > 126 || data[i] == '"'
                   || data[i] == '\\')
        {
            snprintf(hex, sizeof(hex), "\\x%02x", (unsigned char) data[i]);
            told_text(hex);

        } else {
            assert_true(told.len + 1 < TOLD_MAX);
            told.text[told.len++] = data[i];
            told.text[told.len] = '\0';
        }
    }
}


static void
told_string(const char *key, const sluice_multipart_str_t *str)
{
    told_text(key);
    told_bytes(str->data, str->len);
    told_text("\"");
}


static int
told_begin(void *ctx, const sluice_multipart_part_t *part)
{
    assert_ptr_equal(ctx, &told);
    assert_int_equal(told.begun, told.ended);
    assert_true(part->name.len > 0);

    told.begun++;
    told_string("part name=\"", &part->name);

    if (part->has_filename) {
        told_string(" filename=\"", &part->filename);
    }

    if (part->content_type.data != NULL) {
        told_string(" type=\"", &part->content_type);
    }

    told_text(part->has_filename_star ? " filename*\n" : "\n");

    return ++told.events == told.stop_at;
}


static int
told_data(void *ctx, const char *data, size_t len)
{
    assert_ptr_equal(ctx, &told);
    assert_int_equal(told.begun, told.ended + 1);
    assert_true(len > 0);

    if (!told.in_data) {
        told.in_data = 1;
        told_text("data \"");
    }

    told_bytes(data, len);

    return ++told.events == told.stop_at;
}


static void
told_data_end(void)
{
    if (told.in_data) {
        told.in_data = 0;
        told_text("\"\n");
    }
}


static int
told_end(void *ctx)
{
    assert_ptr_equal(ctx, &told);
    assert_int_equal(told.begun, told.ended + 1);

    told.ended++;
    told_data_end();
    told_text("end\n");

    return ++told.events == told.stop_at;
}


const sluice_multipart_events_t  told_events = {
    told_begin, told_data, told_end
};


void
told_start(const char *boundary, const sluice_multipart_limits_t *limits)
{
    sluice_multipart_str_t  str;

    str.data = boundary;
    str.len = strlen(boundary);

    told.len = 0;
    told.text[0] = '\0';
    told.in_data = 0;
    told.begun = 0;
    told.ended = 0;
    told.stop_at = 0;
    told.events = 0;

    /* the parser must not count on zeroed memory */
    memset(&told_parser, 0xa5, sizeof(told_parser));
    sluice_multipart_init(&told_parser, &str, limits, &told_events, &told);
    assert_string_equal(sluice_multipart_why(&told_parser), "");
}


sluice_multipart_rc_e
told_feed(const char *data, size_t len)
{
    char                  *copy;
    sluice_multipart_rc_e  rc;

    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    rc = sluice_multipart_feed(&told_parser, copy, len);
    free(copy);

    return rc;
}


sluice_multipart_rc_e
told_feed_slices(const char *data, size_t len, size_t first, size_t size)
{
    size_t                 n;
    sluice_multipart_rc_e  rc;

    rc = SLUICE_MULTIPART_MORE;

    for (n = first; len > 0 && rc <= SLUICE_MULTIPART_END; n = size) {
        n = n < len ? n : len;
        rc = told_feed(data, n);
        data += n;
        len -= n;
    }

    return rc;
}


size_t
told_feed_until_refused(const char *pattern, sluice_multipart_rc_e *rc)
{
    size_t  n, len;

    len = strlen(pattern);

    for (n = 0; n < 10000000; n++) {
        *rc = told_feed(pattern + n % len, 1);

        if (*rc > SLUICE_MULTIPART_END) {
            break;
        }
    }

    return n;
}


/* The result's line, after all bytes were fed. */
static void
told_result(void)
{
    static const char *const  names[] = {
        "MORE", "END", "STOP", "BAD", "LIMIT", "ENCODING"
    };

    sluice_multipart_rc_e  rc;

    told_data_end();
    rc = sluice_multipart_finish(&told_parser);
    told_text(names[rc]);

    if (rc > SLUICE_MULTIPART_STOP) {
        told_text(" ");
        told_text(sluice_multipart_why(&told_parser));
    }

    told_text("\n");
}


void
told_check(const char *name, const char *want, const char *how, size_t n)
{
    told_result();

    if (strcmp(told.text, want) != 0) {
        fail_msg("%s, %s %zu:\n%s-- instead of --\n%s", name, how, n,
                 told.text, want);
    }
}
