/* test_record.c: core/record.c */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/record.h"

/* SHA-256 of "abc", FIPS 180-2. */
#define ABC  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

#define HEADERS  8


typedef struct {
    record_header_t  headers[HEADERS + 1];
    record_t         rec;
    err_t            err;
} sample_t;


static void
set(sample_t *s, size_t i, const char *name, const char *value)
{
    s->headers[i] = (record_header_t) { name, value, strlen(value) };
}


static void
sample(sample_t *s)
{
    memset(s, 0, sizeof(*s));
    set(s, 0, "ce_specversion", "1.0");
    set(s, 1, "ce_type", "sluice.file");
    set(s, 2, "ce_id", "0190b1f0-7a4b-7c3d-8e9f-0123456789ab/1");
    set(s, 3, "ce_subject", "caf\xc3\xa9.jpg");
    set(s, 4, "content-type", "image/jpeg");
    set(s, 5, "ce_customer", "acme");
    set(s, 6, "ce_sha256", ABC);
    set(s, 7, "ce_size", "3");
    s->rec.headers = s->headers;
    s->rec.nheaders = HEADERS;
    s->rec.key = ABC;
    s->rec.key_len = strlen(ABC);
    s->rec.value = "abc";
    s->rec.len = 3;
    s->rec.ts_ms = 1795176030012;
}


static void
refused(sample_t *s, const char *word)
{
    assert_int_equal(record_read(&s->rec, &s->err), RC_REJECT);
    assert_non_null(strstr(s->err.text, word));
}


static void
test_fields_are_slices_of_the_headers(void **state)
{
    sample_t  s;

    (void) state;
    sample(&s);

    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
    assert_int_equal(s.rec.name_len, 9);
    assert_ptr_equal(s.rec.name, s.headers[3].value);
    assert_memory_equal(s.rec.type, "image/jpeg", s.rec.type_len);
    assert_memory_equal(s.rec.customer, "acme", s.rec.customer_len);
    assert_string_equal(s.rec.sha256, ABC);
    assert_int_equal(record_verify(&s.rec, &s.err), RC_OK);
}


static void
test_unknown_headers_are_let_be(void **state)
{
    sample_t  s;

    (void) state;
    sample(&s);
    s.headers[HEADERS] = (record_header_t) { "x-trace", "\xff", 1 };
    s.rec.nheaders++;

    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
}


static void
test_customer_and_name_may_be_absent(void **state)
{
    sample_t  s;

    (void) state;
    sample(&s);
    s.headers[3].name = "x-1";
    s.headers[5].name = "x-2";

    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
    assert_int_equal(s.rec.name_len, 0);
    assert_int_equal(s.rec.customer_len, 0);
    assert_non_null(s.rec.name);
}


static void
test_missing_and_repeated_headers_are_refused(void **state)
{
    static const size_t  required[] = { 0, 1, 2, 4, 6, 7 };

    sample_t  s;

    (void) state;

    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        sample(&s);
        s.headers[required[i]].name = "x";
        refused(&s, "missing");
    }

    for (size_t i = 0; i < HEADERS; i++) {
        sample(&s);
        s.headers[HEADERS] = s.headers[i];
        s.rec.nheaders++;
        refused(&s, "twice");
    }
}


static void
test_other_types_are_refused_by_name(void **state)
{
    sample_t  s;

    (void) state;
    sample(&s);
    set(&s, 1, "ce_type", "sluice.chunk");
    refused(&s, "sluice.chunk");

    sample(&s);
    set(&s, 0, "ce_specversion", "0.3");
    refused(&s, "ce_specversion");
}


static void
test_text_that_postgres_or_a_page_would_refuse(void **state)
{
    static const struct {
        const char  *text;
        size_t       len;
    } bad[] = {
        { "a\0b", 3 }, { "a\nb", 3 }, { "a\x7f", 2 }, { "\xc2\x85", 2 },
        { "\xff", 1 }, { "\xc0\x80", 2 }, { "\xed\xa0\x80", 3 },
        { "\xf4\x90\x80\x80", 4 }, { "\xe2\x82", 2 },
        { "\xe2\x80\xae" "gpj.exe", 10 }, { "\xe2\x81\xa6", 3 },
        { "\xd8\x9c", 2 }
    };

    sample_t  s;

    (void) state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        sample(&s);
        s.headers[3].value = bad[i].text;
        s.headers[3].len = bad[i].len;
        refused(&s, "ce_subject");

        sample(&s);
        s.headers[5].value = bad[i].text;
        s.headers[5].len = bad[i].len;
        refused(&s, "ce_customer");
    }
}


static void
test_lengths_are_bounded(void **state)
{
    static char  long_text[300];

    sample_t  s;

    (void) state;
    memset(long_text, 'a', sizeof(long_text));

    sample(&s);
    s.headers[3] = (record_header_t) { "ce_subject", long_text, 255 };
    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
    s.headers[3].len = 256;
    refused(&s, "255");

    sample(&s);
    s.headers[5] = (record_header_t) { "ce_customer", long_text, 128 };
    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
    s.headers[5].len = 129;
    refused(&s, "128");

    sample(&s);
    s.headers[2] = (record_header_t) { "ce_id", long_text, 129 };
    refused(&s, "ce_id");
    sample(&s);
    set(&s, 2, "ce_id", "");
    refused(&s, "ce_id");
    sample(&s);
    set(&s, 4, "content-type", "image/jpeg; x");
    refused(&s, "content-type");
}


static void
test_hash_key_and_size_must_agree(void **state)
{
    static char  upper[] = ABC;

    sample_t  s;

    (void) state;

    sample(&s);
    upper[0] = 'B';
    set(&s, 6, "ce_sha256", upper);
    refused(&s, "lower-case");

    sample(&s);
    s.headers[6].len = 63;
    refused(&s, "ce_sha256");

    sample(&s);
    s.rec.key = NULL;
    s.rec.key_len = 0;
    refused(&s, "key");

    sample(&s);
    s.rec.key_len = 63;
    refused(&s, "key");

    sample(&s);
    set(&s, 7, "ce_size", "4");
    refused(&s, "3 bytes");

    sample(&s);
    set(&s, 7, "ce_size", "03");
    refused(&s, "ce_size");

    sample(&s);
    s.rec.value = "abd";
    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
    assert_int_equal(record_verify(&s.rec, &s.err), RC_REJECT);
}


static void
test_null_value_and_odd_times_are_refused(void **state)
{
    sample_t  s;

    (void) state;

    sample(&s);
    s.rec.value = NULL;
    s.rec.len = 0;
    set(&s, 7, "ce_size", "0");
    refused(&s, "null");

    sample(&s);
    s.rec.ts_ms = -1;
    refused(&s, "timestamp");

    sample(&s);
    s.rec.ts_ms = INT64_MAX;
    refused(&s, "timestamp");
}


#define OBJECT  "c-acme/2026/11/20/12/00:30/" ABC ".jpg"


static void
reference(sample_t *s)
{
    sample(s);
    set(s, 1, "ce_type", "sluice.reference");
    set(s, 7, "ce_size", "2147483648");
    set(s, HEADERS, "ce_dataref", OBJECT);
    s->rec.nheaders++;
    s->rec.len = 0;
}


static void
test_a_reference_names_bytes_and_brings_none(void **state)
{
    sample_t  s;

    (void) state;
    reference(&s);
    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
    assert_int_equal(s.rec.size, INT64_C(2147483648));
    assert_int_equal(s.rec.object_len, strlen(OBJECT));
    assert_ptr_equal(s.rec.object, s.headers[HEADERS].value);
    assert_int_equal(record_verify(&s.rec, &s.err), RC_OK);

    reference(&s);
    s.rec.len = 3;
    refused(&s, "value of 3 bytes");

    reference(&s);
    s.rec.value = NULL;
    refused(&s, "null");

    reference(&s);
    set(&s, 7, "ce_size", "-1");
    refused(&s, "ce_size");

    reference(&s);
    s.rec.nheaders--;
    refused(&s, "ce_dataref is missing");

    sample(&s);
    set(&s, HEADERS, "ce_dataref", OBJECT);
    s.rec.nheaders++;
    refused(&s, "ce_dataref");
}


static void
test_a_reference_to_anything_else_is_refused(void **state)
{
    static const char *const  bad[] = {
        "", "/etc/passwd", "/" OBJECT, "../" OBJECT, "a/../" OBJECT,
        "a//" OBJECT, ".a/" OBJECT, OBJECT "/", OBJECT "x", "http://h/" OBJECT,
        "c-other/2026/11/20/12/00:30/" ABC ".jpg",
        "2026/11/20/12/00:30/" ABC ".jpg",
        "c-acme/2026/11/20/12/00:30/" ABC ".png",
        "c-acme/2026/11/20/12/00-30/" ABC ".jpg",
        "c-acme/2026/02/30/12/00:30/" ABC ".jpg",
        "c-acme/2026/11/20/24/00:30/" ABC ".jpg",
        "c-acme/../../11/20/12/00:30/" ABC ".jpg"
    };

    sample_t  s;

    (void) state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        reference(&s);
        set(&s, HEADERS, "ce_dataref", bad[i]);
        refused(&s, "ce_dataref");
    }
}


static void
test_what_can_come_twice_has_a_name(void **state)
{
    char      once[RECORD_ONCE_MAX + 1];
    sample_t  s;

    (void) state;

    sample(&s);
    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
    assert_int_equal(record_once(&s.rec, once), 0);

    set(&s, HEADERS, "ce_redriven", "2");
    s.rec.nheaders++;
    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
    assert_int_equal(s.rec.redriven, 2);
    record_once(&s.rec, once);
    assert_string_equal(once, "id:0190b1f0-7a4b-7c3d-8e9f-0123456789ab/1");

    set(&s, HEADERS, "ce_redriven", "0");
    refused(&s, "ce_redriven");
    set(&s, HEADERS, "ce_redriven", "");
    refused(&s, "ce_redriven");

    reference(&s);
    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
    record_once(&s.rec, once);
    assert_string_equal(once, "id:0190b1f0-7a4b-7c3d-8e9f-0123456789ab/1");

    /* A client's key is what it repeats, whatever the kind of record. */
    set(&s, 3, "ce_idempotencykey", "id:x");
    assert_int_equal(record_read(&s.rec, &s.err), RC_OK);
    assert_int_equal(record_once(&s.rec, once), 8);
    assert_string_equal(once, "key:id:x");

    set(&s, 3, "ce_idempotencykey", "");
    refused(&s, "ce_idempotencykey");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_fields_are_slices_of_the_headers),
        cmocka_unit_test(test_unknown_headers_are_let_be),
        cmocka_unit_test(test_customer_and_name_may_be_absent),
        cmocka_unit_test(test_missing_and_repeated_headers_are_refused),
        cmocka_unit_test(test_other_types_are_refused_by_name),
        cmocka_unit_test(test_text_that_postgres_or_a_page_would_refuse),
        cmocka_unit_test(test_lengths_are_bounded),
        cmocka_unit_test(test_hash_key_and_size_must_agree),
        cmocka_unit_test(test_null_value_and_odd_times_are_refused),
        cmocka_unit_test(test_a_reference_names_bytes_and_brings_none),
        cmocka_unit_test(test_a_reference_to_anything_else_is_refused),
        cmocka_unit_test(test_what_can_come_twice_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
