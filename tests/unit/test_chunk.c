/* test_chunk.c: core/chunk.c and core/digest.c */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/chunk.h"
#include "core/digest.h"

#define KEY   "0193-upload/1"
#define HASH  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static err_t            err;
static record_header_t  headers[16];
static record_t         rec;


static void
add(const char *name, const char *value)
{
    headers[rec.nheaders++] = (record_header_t) { name, value, strlen(value) };
}


/* Of the header of that name; NULL takes it out. */
static void
set(const char *name, const char *value)
{
    for (size_t i = 0; i < rec.nheaders; i++) {
        if (strcmp(headers[i].name, name) == 0) {
            if (value == NULL) {
                headers[i] = headers[--rec.nheaders];
            } else {
                headers[i].value = value;
                headers[i].len = strlen(value);
            }
            return;
        }
    }
    add(name, value);
}


static int
setup(void **state)
{
    (void) state;
    memset(&rec, 0, sizeof(rec));
    rec.key = KEY;
    rec.key_len = strlen(KEY);
    rec.value = "abc";
    rec.len = 3;
    rec.headers = headers;
    add("ce_specversion", "1.0");
    add("ce_type", "sluice.chunk");
    add("ce_id", KEY);
    add("content-type", "video/mp4");
    add("ce_customer", "acme");
    add("ce_chunk", "7");
    add("x-own", "whatever");
    return 0;
}


static void
last(void)
{
    set("ce_last", "true");
    set("ce_sha256", HASH);
    set("ce_size", "1000");
}


static void
abort_mark(void)
{
    set("ce_type", "sluice.abort");
    set("ce_chunk", NULL);
    set("content-type", NULL);
    rec.value = "";
    rec.len = 0;
}


static void
test_a_piece_is_read(void **state)
{
    chunk_t  c;

    (void) state;
    assert_int_equal(chunk_read(&rec, &c, &err), RC_OK);
    assert_int_equal(c.is_abort, 0);
    assert_int_equal(c.is_last, 0);
    assert_int_equal(c.number, 7);
    assert_int_equal(c.id_len, strlen(KEY));
    assert_memory_equal(c.id, KEY, c.id_len);
    assert_int_equal(c.customer_len, 4);
    assert_int_equal(c.type_len, 9);

    set("ce_customer", NULL);
    assert_int_equal(chunk_read(&rec, &c, &err), RC_OK);
    assert_int_equal(c.customer_len, 0);
}


static void
test_the_last_piece_tells_the_whole(void **state)
{
    chunk_t  c;

    (void) state;
    last();
    assert_int_equal(chunk_read(&rec, &c, &err), RC_OK);
    assert_int_equal(c.is_last, 1);
    assert_int_equal(c.size, 1000);
    assert_string_equal(c.sha256, HASH);
}


static void
test_an_abort_is_read(void **state)
{
    chunk_t  c;

    (void) state;
    abort_mark();
    assert_int_equal(chunk_read(&rec, &c, &err), RC_OK);
    assert_int_equal(c.is_abort, 1);
    assert_memory_equal(c.id, KEY, c.id_len);

    rec.value = "x";
    rec.len = 1;
    assert_int_equal(chunk_read(&rec, &c, &err), RC_REJECT);
}


static void
test_what_is_no_piece_is_refused(void **state)
{
    static const struct {
        const char  *name, *value;
    } bad[] = {
        { "ce_specversion", "2.0" }, { "ce_specversion", NULL },
        { "ce_type", "sluice.file" }, { "ce_type", NULL },
        { "ce_id", "another" }, { "ce_id", "" }, { "ce_id", NULL },
        { "ce_id", "0193 upload/1" },
        { "content-type", "" }, { "content-type", NULL },
        { "content-type", "a\nb" },
        { "ce_chunk", "" }, { "ce_chunk", NULL }, { "ce_chunk", "-1" },
        { "ce_chunk", "01" }, { "ce_chunk", "1a" },
        { "ce_chunk", "99999999999999999999" },
        { "ce_last", "yes" }, { "ce_last", "" },
        { "ce_sha256", "abc" }, { "ce_sha256", NULL },
        { "ce_size", "1e3" }, { "ce_size", NULL },
        { "ce_size", "18446744073709551616" },
    };

    chunk_t  c;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        setup(state);
        last();
        set(bad[i].name, bad[i].value);
        err.text[0] = '\0';
        assert_int_equal(chunk_read(&rec, &c, &err), RC_REJECT);
        assert_true(err.text[0] != '\0');
    }

    setup(state);
    add("ce_chunk", "8");
    assert_int_equal(chunk_read(&rec, &c, &err), RC_REJECT);

    setup(state);
    rec.value = NULL;
    rec.len = 0;
    assert_int_equal(chunk_read(&rec, &c, &err), RC_REJECT);

    setup(state);
    rec.key = NULL;
    rec.key_len = 0;
    assert_int_equal(chunk_read(&rec, &c, &err), RC_REJECT);
}


static void
test_a_digest_of_pieces_is_that_of_the_whole(void **state)
{
    char       hex[SLUICE_SHA256_HEX + 1];
    digest_t  *digest = digest_new();

    (void) state;
    digest_add(digest, "a", 1);
    digest_add(digest, "", 0);
    digest_add(digest, "bc", 2);
    digest_end(digest, hex);
    digest_free(digest);
    digest_free(NULL);
    assert_string_equal(hex, HASH);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup(test_a_piece_is_read, setup),
        cmocka_unit_test_setup(test_the_last_piece_tells_the_whole, setup),
        cmocka_unit_test_setup(test_an_abort_is_read, setup),
        cmocka_unit_test_setup(test_what_is_no_piece_is_refused, setup),
        cmocka_unit_test(test_a_digest_of_pieces_is_that_of_the_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
