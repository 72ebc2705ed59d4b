/* test_store_file_stream.c: store/file_stream.c and store/file_list.c */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "stored.h"

static err_t  err;


static void
put(store_t *store, const char *path, const char *text)
{
    store_put_t  *p;

    assert_int_equal(store_file.begin(store, path, "x/y", &p, &err), RC_OK);
    assert_int_equal(store_file.append(p, text, strlen(text), &err), RC_OK);
    assert_int_equal(store_file.commit(p, &err), RC_OK);
}


static void
assert_reads(store_t *store, const char *path, uint64_t offset,
    const char *text)
{
    store_get_t  *get;
    char          buf[100];
    size_t        n;

    assert_int_equal(store_file.get(store, path, offset, &get, &err), RC_OK);
    assert_int_equal(store_file.read(get, buf, sizeof(buf), &n, &err), RC_OK);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(buf, text, n);
    assert_int_equal(store_file.read(get, buf, sizeof(buf), &n, &err), RC_OK);
    assert_int_equal(n, 0);
    store_file.get_close(get);
}


static void
test_an_object_appears_whole_at_commit(void **state)
{
    store_put_t   *p;
    store_stat_t   st;
    struct stat    sb;

    assert_int_equal(store_file.begin(*state, "c-a/2026/x.mp4", "video/mp4",
                                      &p, &err), RC_OK);
    assert_int_equal(store_file.append(p, "one ", 4, &err), RC_OK);
    assert_int_equal(store_file.append(p, "", 0, &err), RC_OK);
    assert_int_equal(store_file.append(p, "two", 3, &err), RC_OK);
    assert_int_equal(store_file.stat(*state, "c-a/2026/x.mp4", &st, &err),
                     RC_REJECT);
    assert_int_equal(stored_incoming(), 1);

    assert_int_equal(store_file.commit(p, &err), RC_OK);
    assert_int_equal(store_file.stat(*state, "c-a/2026/x.mp4", &st, &err),
                     RC_OK);
    assert_int_equal(st.size, 7);
    assert_true(st.mtime_ms > INT64_C(1600000000000));
    assert_reads(*state, "c-a/2026/x.mp4", 0, "one two");
    assert_int_equal(stored_incoming(), 0);

    assert_int_equal(stat(stored_below("c-a/2026/x.mp4"), &sb), 0);
    assert_int_equal(sb.st_mode & 07777, 0640);
    assert_int_equal(stat(stored_below("c-a/2026"), &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0750);
}


static void
test_an_aborted_object_leaves_nothing(void **state)
{
    store_put_t   *p;
    store_stat_t   st;

    assert_int_equal(store_file.begin(*state, "a/x", "x/y", &p, &err), RC_OK);
    assert_int_equal(store_file.append(p, "one", 3, &err), RC_OK);
    store_file.abort(p);
    store_file.abort(NULL);
    assert_int_equal(stored_incoming(), 0);
    assert_int_equal(store_file.stat(*state, "a/x", &st, &err), RC_REJECT);
}


static void
test_what_was_there_stays_until_commit(void **state)
{
    store_put_t  *p;

    put(*state, "a/x", "old");
    assert_int_equal(store_file.begin(*state, "a/x", "x/y", &p, &err), RC_OK);
    assert_int_equal(store_file.append(p, "new", 3, &err), RC_OK);
    assert_reads(*state, "a/x", 0, "old");
    assert_int_equal(store_file.commit(p, &err), RC_OK);
    assert_reads(*state, "a/x", 0, "new");
}


static void
test_objects_in_pieces_may_lie_among_each_other_and_batches(void **state)
{
    store_put_t     *a, *b;
    store_object_t   obj = { "d/z", "z", 1, "x/y", RC_OK, { "" } };

    assert_int_equal(store_file.begin(*state, "d/a", "x/y", &a, &err), RC_OK);
    assert_int_equal(store_file.append(a, "a", 1, &err), RC_OK);
    assert_int_equal(store_file.begin(*state, "d/b", "x/y", &b, &err), RC_OK);
    assert_int_equal(store_file.append(b, "b", 1, &err), RC_OK);
    assert_int_equal(store_file.put(*state, &obj, 1, &err), RC_OK);
    assert_int_equal(store_file.append(a, "A", 1, &err), RC_OK);
    assert_int_equal(store_file.commit(b, &err), RC_OK);
    assert_int_equal(store_file.commit(a, &err), RC_OK);
    assert_reads(*state, "d/a", 0, "aA");
    assert_reads(*state, "d/b", 0, "b");
    assert_reads(*state, "d/z", 0, "z");
}


static void
test_a_full_disk_is_retried_and_leaves_nothing(void **state)
{
    static char    big[64 * 1024];
    struct rlimit  old;
    store_put_t   *p;

    old = stored_limit(RLIMIT_FSIZE, 16 * 1024);

    assert_int_equal(store_file.begin(*state, "a/x", "x/y", &p, &err), RC_OK);
    assert_int_equal(store_file.append(p, big, sizeof(big), &err), RC_RETRY);
    store_file.abort(p);

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(stored_incoming(), 0);
}


static char  piece[256 * 1024];


static void
append_eight(store_t *store, int k)
{
    char          name[32];
    store_put_t  *p;

    (void) snprintf(name, sizeof(name), "k/%d", k % 50);
    if (store_file.begin(store, name, "x/y", &p, &err) != RC_OK) {
        _exit(1);
    }
    for (int i = 0; i < 8; i++) {
        (void) store_file.append(p, piece, sizeof(piece), &err);
    }
    (void) store_file.commit(p, &err);
}


static void
test_a_kill_leaves_only_whole_objects(void **state)
{
    struct stat  sb;

    (void) state;

    stored_killed(append_eight);

    for (int k = 0; k < 50; k++) {
        char  name[32];

        (void) snprintf(name, sizeof(name), "k/%d", k);
        if (stat(stored_below(name), &sb) == 0) {
            assert_int_equal(sb.st_size, 8 * sizeof(piece));
        }
    }
}


static void
test_reading_begins_anywhere(void **state)
{
    store_get_t  *get;
    char          buf[4];
    size_t        n;

    put(*state, "a/x", "0123456789");
    assert_reads(*state, "a/x", 7, "789");
    assert_reads(*state, "a/x", 10, "");
    assert_reads(*state, "a/x", 100, "");

    assert_int_equal(store_file.get(*state, "a/x", 0, &get, &err), RC_OK);
    assert_int_equal(store_file.read(get, buf, 4, &n, &err), RC_OK);
    assert_int_equal(n, 4);
    assert_int_equal(store_file.read(get, buf, 4, &n, &err), RC_OK);
    assert_memory_equal(buf, "4567", 4);
    assert_int_equal(store_file.read(get, buf, 4, &n, &err), RC_OK);
    assert_int_equal(n, 2);
    store_file.get_close(get);
    store_file.get_close(NULL);
}


static void
test_names_that_are_no_objects_are_refused(void **state)
{
    static const char *const  bad[] = {
        "", "/etc/passwd", "../x", "a//x", "a/", ".incoming/x", "a/.x",
        "away/x", "away", "file/x", "dir", "link", "link/x"
    };

    store_put_t   *p;
    store_get_t   *get;
    store_stat_t   st;

    put(*state, "file", "f");
    put(*state, "dir/x", "x");
    assert_int_equal(symlink("dir", stored_below("link")), 0);

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(store_file.stat(*state, bad[i], &st, &err),
                         RC_REJECT);
        assert_int_equal(store_file.get(*state, bad[i], 0, &get, &err),
                         RC_REJECT);
        if (i < 7) {
            assert_int_equal(store_file.begin(*state, bad[i], "x/y", &p,
                                              &err), RC_REJECT);
        }
    }
}


static void
test_removed_is_removed_with_its_empty_directories(void **state)
{
    static const char *const  paths[] = { "c-a/2026/11/x", "away/y", "top",
                                          "c-a/2026/11/x" };
    static const char *const  bad[] = { "../z", "c-b/z" };

    store_stat_t  st;

    put(*state, "c-a/2026/11/x", "x");
    put(*state, "c-a/2027/x", "x");
    put(*state, "c-b/z", "z");
    put(*state, "top", "t");

    assert_int_equal(store_file.remove(*state, paths, 4, &err), RC_OK);
    assert_int_equal(store_file.stat(*state, paths[0], &st, &err), RC_REJECT);
    assert_int_equal(access(stored_below("c-a/2026"), F_OK), -1);
    assert_reads(*state, "c-a/2027/x", 0, "x");
    assert_int_equal(access(stored_below("top"), F_OK), -1);

    assert_int_equal(store_file.remove(*state, bad, 2, &err), RC_REJECT);
    assert_int_equal(access(stored_below("c-b"), F_OK), -1);
    assert_int_equal(store_file.remove(*state, bad, 0, &err), RC_OK);
}


typedef struct {
    char      text[2000];
    char      last[200];
    int       n, max;
    uint64_t  size;
} found_t;


static int
found(void *ctx, const char *path, const store_stat_t *st)
{
    found_t  *f = ctx;

    strcat(f->text, path);
    strcat(f->text, "\n");
    strcpy(f->last, path);
    f->size += st->size;
    return ++f->n == f->max;
}


#define ALL  "a-b/x\na.b\na/b-c\na/b/1\na/b/2\na/c\nab\nc-x/2026/11/1\n"

static void
fill(store_t *store)
{
    static const char *const  paths[] = {
        "a/b/2", "ab", "a-b/x", "a/c", "a.b", "a/b/1", "a/b-c",
        "c-x/2026/11/1"
    };

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        put(store, paths[i], "12");
    }
    assert_int_equal(mkdir(stored_below("empty"), 0750), 0);
    assert_int_equal(symlink("a", stored_below("link")), 0);
    assert_int_equal(mkdir(stored_below(".snapshot"), 0750), 0);
}


static void
test_a_listing_is_in_the_order_of_paths(void **state)
{
    found_t  all = { 0 }, some = { 0 }, none = { 0 };

    fill(*state);

    assert_int_equal(store_file.list(*state, "", NULL, found, &all, &err),
                     RC_OK);
    assert_string_equal(all.text, ALL);
    assert_int_equal(all.size, 16);

    assert_int_equal(store_file.list(*state, "a/b", "", found, &some, &err),
                     RC_OK);
    assert_string_equal(some.text, "a/b/1\na/b/2\n");

    assert_int_equal(store_file.list(*state, "away/x", "", found, &none,
                                     &err), RC_OK);
    assert_int_equal(store_file.list(*state, "empty", "", found, &none, &err),
                     RC_OK);
    assert_int_equal(none.n, 0);
    assert_int_equal(store_file.list(*state, "../x", "", found, &none, &err),
                     RC_REJECT);
    assert_int_equal(store_file.list(*state, ".incoming", "", found, &none,
                                     &err), RC_REJECT);
}


static void
test_a_listing_goes_on_where_it_ended(void **state)
{
    fill(*state);

    for (int step = 1; step < 9; step++) {
        found_t  f = { .max = step };
        int      before = -1;

        while (f.n != before) {
            before = f.n;
            f.max = f.n + step;
            assert_int_equal(store_file.list(*state, "", f.last, found, &f,
                                             &err), RC_OK);
        }
        assert_string_equal(f.text, ALL);
    }
}


static void
test_directories_are_listed_level_by_level(void **state)
{
    found_t  top = { 0 }, next = { 0 }, one = { .max = 1 };

    fill(*state);

    assert_int_equal(store_file.list_dirs(*state, "", found, &top, &err),
                     RC_OK);
    assert_string_equal(top.text, "a-b\na\nc-x\nempty\n");
    assert_int_equal(store_file.list_dirs(*state, "c-x", found, &next, &err),
                     RC_OK);
    assert_string_equal(next.text, "c-x/2026\n");
    assert_int_equal(store_file.list_dirs(*state, "", found, &one, &err),
                     RC_OK);
    assert_string_equal(one.text, "a-b\n");
    assert_int_equal(store_file.list_dirs(*state, "away", found, &one, &err),
                     RC_OK);
    assert_int_equal(store_file.list_dirs(*state, "a//b", found, &one, &err),
                     RC_REJECT);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
#define T(f)                                                                  \
    cmocka_unit_test_setup_teardown(f, stored_setup, stored_teardown)
        T(test_an_object_appears_whole_at_commit),
        T(test_an_aborted_object_leaves_nothing),
        T(test_what_was_there_stays_until_commit),
        T(test_objects_in_pieces_may_lie_among_each_other_and_batches),
        T(test_a_full_disk_is_retried_and_leaves_nothing),
        T(test_a_kill_leaves_only_whole_objects),
        T(test_reading_begins_anywhere),
        T(test_names_that_are_no_objects_are_refused),
        T(test_removed_is_removed_with_its_empty_directories),
        T(test_a_listing_is_in_the_order_of_paths),
        T(test_a_listing_goes_on_where_it_ended),
        T(test_directories_are_listed_level_by_level),
    };

    /* A write beyond RLIMIT_FSIZE shall fail, not end us. */
    (void) signal(SIGXFSZ, SIG_IGN);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
