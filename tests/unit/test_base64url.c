/*
 * test_base64url.c: one text for each bytes, and no other.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base64url.h"


static void
test_the_vectors_of_rfc_4648_decode(void **state)
{
    size_t         i, n;
    unsigned char  bytes[16];

    static const struct {
        const char  *text;
        const char  *bytes;
    } vectors[] = {
        { "", "" }, { "Zg", "f" }, { "Zm8", "fo" }, { "Zm9v", "foo" },
        { "Zm9vYg", "foob" }, { "Zm9vYmE", "fooba" }, { "Zm9vYmFy", "foobar" },
        { "-_8", "\xfb\xff" }
    };

    (void) state;

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {

        assert_int_equal(sluice_base64url_decode(bytes, &n, vectors[i].text,
                                                 strlen(vectors[i].text)), 0);
        assert_int_equal(n, strlen(vectors[i].bytes));
        assert_int_equal(n, SLUICE_BASE64URL_BYTES(strlen(vectors[i].text)));
        assert_memory_equal(bytes, vectors[i].bytes, n);
    }
}


static void
test_what_is_not_the_one_text_is_refused(void **state)
{
    size_t         i, n;
    unsigned char  bytes[16];

    static const char  *bad[] = {
        "Z", "Zg==", "Zm8=", "Zm9vY", "+/8", "-_9", "Zh", "Zm9", "Zg\n",
        "Z g", "Zm 9v", "\xc3\xa9zz", "Zm9v.", "Zm9vYmF!"
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (sluice_base64url_decode(bytes, &n, bad[i], strlen(bad[i])) != -1) {
            fail_msg("accepted: %s", bad[i]);
        }
    }

    /* a NUL ends nothing */
    assert_int_equal(sluice_base64url_decode(bytes, &n, "Zg\0A", 4), -1);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_the_vectors_of_rfc_4648_decode),
        cmocka_unit_test(test_what_is_not_the_one_text_is_refused)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
