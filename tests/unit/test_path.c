/* test_path.c: core/path.c */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/path.h"

#define SHA  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


static record_t
record(const char *customer, size_t len, const char *type)
{
    record_t  rec;

    memset(&rec, 0, sizeof(rec));
    rec.customer = customer;
    rec.customer_len = len;
    rec.type = type;
    rec.type_len = strlen(type);
    memcpy(rec.sha256, SHA, sizeof(SHA));
    return rec;
}


static void
test_object_lies_under_its_windows_start(void **state)
{
    record_t  rec = record("", 0, "image/jpeg");
    char      path[PATH_OBJECT_MAX];

    (void) state;

    path_object("", 1795176030000, &rec, path);
    assert_string_equal(path, "2026/11/20/12/00:30/" SHA ".jpg");

    rec = record("ac/me \xc3\xa9", 8, "application/x-unheard");
    path_object("a/b", 1795176030000, &rec, path);
    assert_string_equal(path, "a/b/c-ac%2Fme%20%C3%A9/2026/11/20/12/00:30/"
                        SHA ".bin");
}


static void
test_customer_can_not_climb(void **state)
{
    record_t  rec = record("../..", 5, "image/png");
    char      path[PATH_OBJECT_MAX];

    (void) state;

    path_object("", 0, &rec, path);
    assert_string_equal(path, "c-%2E%2E%2F%2E%2E/1970/01/01/00/00:00/"
                        SHA ".png");
}


static void
test_longest_names_fit(void **state)
{
    char      customer[SLUICE_CUSTOMER_MAX], back[SLUICE_CUSTOMER_MAX + 1];
    char      prefix[PATH_PREFIX_MAX + 1], path[PATH_OBJECT_MAX];
    char      member[PATH_MEMBER_MAX], sha[SLUICE_SHA256_HEX + 1];
    record_t  rec;

    (void) state;
    memset(customer, '.', sizeof(customer));
    rec = record(customer, sizeof(customer), "video/quicktime");
    memset(prefix, 'p', sizeof(prefix) - 1);
    prefix[PATH_PREFIX_MAX] = '\0';

    path_object(prefix, 0, &rec, path);
    assert_true(strlen(path) < PATH_OBJECT_MAX);

    path_member(&rec, member);
    assert_int_equal(path_member_parse(member, strlen(member), back, sha), 0);
    assert_memory_equal(back, customer, sizeof(customer));
    assert_int_equal(back[sizeof(customer)], '\0');
}


static void
test_member_and_back(void **state)
{
    static const char *const  customers[] = {
        "", "acme", "a%2Fb", "a/b", "\xc3\xa9", "-_AZaz09", "%"
    };

    char  member[PATH_MEMBER_MAX], customer[SLUICE_CUSTOMER_MAX + 1];
    char  sha[SLUICE_SHA256_HEX + 1];

    (void) state;

    for (size_t i = 0; i < sizeof(customers) / sizeof(customers[0]); i++) {
        record_t  rec = record(customers[i], strlen(customers[i]),
                               "image/png");

        path_member(&rec, member);
        assert_int_equal(path_member_parse(member, strlen(member), customer,
                                           sha), 0);
        assert_string_equal(customer, customers[i]);
        assert_string_equal(sha, SHA);
    }

    record_t  none = record("", 0, "image/png");

    path_member(&none, member);
    assert_string_equal(member, "/" SHA);
}


static void
test_parse_refuses_members_of_others(void **state)
{
    static const char *const  bad[] = {
        "", "/", SHA, "x" SHA, "a/b/" SHA, "%2f/" SHA, "%41/" SHA, "%/" SHA,
        "%0/" SHA, "%00/" SHA, "a b/" SHA,
        "/BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"
    };

    char  customer[SLUICE_CUSTOMER_MAX + 1], sha[SLUICE_SHA256_HEX + 1];
    char  long_one[300];

    (void) state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(path_member_parse(bad[i], strlen(bad[i]), customer,
                                           sha), -1);
    }

    memset(long_one, 'a', 129);
    memcpy(long_one + 129, "/" SHA, sizeof(SHA) + 1);
    assert_int_equal(path_member_parse(long_one, strlen(long_one), customer,
                                       sha), -1);
}


static void
test_prefix_is_checked(void **state)
{
    static const char *const  good[] = { "", "a", "a/b.c", "A-_9/x",
                                         "c-x/a", "c" };
    static const char *const  bad[] = {
        "/", "/a", "a/", "a//b", "..", "a/..", ".a", "a/.b", "a b", "a%",
        "c-", "c-x", "a/c-x"
    };

    (void) state;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(path_prefix_is_valid(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(path_prefix_is_valid(bad[i]));
    }
}


static void
test_an_object_is_known_by_its_name(void **state)
{
    static const char *const  prefixes[] = { "", "a", "a/b.c", "x-1/_/2" };

    char      path[PATH_OBJECT_MAX], name[SLUICE_CUSTOMER_MAX];
    record_t  r = { .type = "image/jpeg", .type_len = 10 };

    (void) state;
    memcpy(r.sha256, SHA, sizeof(SHA));
    memset(name, '/', sizeof(name));
    r.customer = name;

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        for (r.customer_len = 0; r.customer_len <= sizeof(name);
             r.customer_len += 32)
        {
            path_object(prefixes[i], 1795176030000, &r, path);
            assert_true(path_object_is(path, strlen(path), &r));

            /* Not cut off, not begun later, no byte another. */
            assert_false(path_object_is(path, strlen(path) - 1, &r));
            assert_false(path_object_is(path + 1, strlen(path) - 1, &r)
                         && i == 0);

            for (size_t at = strlen(prefixes[i]); path[at] != '\0'; at++) {
                char  was = path[at];

                if (was >= '0' && was <= '9') {
                    continue;
                }
                path[at] = was == '.' ? '/' : '.';
                assert_false(path_object_is(path, strlen(path), &r));
                path[at] = was;
            }
        }
    }
}


static void
test_id_is_a_uuid_of_version_8(void **state)
{
    char  id[PATH_ID_LEN], other[PATH_ID_LEN];

    (void) state;

    /* printf 'main\n1795176030000\nacme\n<sha256>' | sha256sum */
    path_id("main", 1795176030000, "acme", SHA, id);
    assert_int_equal(strlen(id), PATH_ID_LEN - 1);
    assert_int_equal(id[8], '-');
    assert_int_equal(id[14], '8');
    assert_non_null(strchr("89ab", id[19]));
    assert_string_equal(id, "237f8f83-ab37-8281-ba20-42a4109ca402");

    path_id("main", 1795176030000, "acm", SHA, other);
    assert_string_not_equal(id, other);
    path_id("main2", 1795176030000, "acme", SHA, other);
    assert_string_not_equal(id, other);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_object_lies_under_its_windows_start),
        cmocka_unit_test(test_customer_can_not_climb),
        cmocka_unit_test(test_longest_names_fit),
        cmocka_unit_test(test_member_and_back),
        cmocka_unit_test(test_parse_refuses_members_of_others),
        cmocka_unit_test(test_prefix_is_checked),
        cmocka_unit_test(test_an_object_is_known_by_its_name),
        cmocka_unit_test(test_id_is_a_uuid_of_version_8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
