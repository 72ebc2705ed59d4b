/* test_store_file.c: store/file.c, in a directory of its own */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "stored.h"

static err_t  err;


static store_object_t
object(const char *path, const char *text)
{
    return (store_object_t) { path, text, strlen(text), "text/plain",
                              RC_FENCED, { "" } };
}


static void
assert_holds(const char *path, const char *text)
{
    char     got[100];
    int      fd = open(stored_below(path), O_RDONLY);
    ssize_t  n;

    if (fd < 0) {
        fail_msg("%s isn't there", path);
    }
    n = read(fd, got, sizeof(got));
    close(fd);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, strlen(text));
}


static void
test_a_batch_lies_under_its_names(void **state)
{
    store_object_t  objs[] = {
        object("2026/11/20/12/00:30/a.jpg", "one"),
        object("2026/11/20/12/00:30/b.jpg", ""),
        object("c-acme/2026/11/20/12/01:00/c.bin", "three"),
        object("top", "four"),
    };
    struct stat     sb;

    assert_int_equal(store_file.put(*state, objs, 4, &err), RC_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(objs[i].rc, RC_OK);
    }
    assert_holds("2026/11/20/12/00:30/a.jpg", "one");
    assert_holds("2026/11/20/12/00:30/b.jpg", "");
    assert_holds("c-acme/2026/11/20/12/01:00/c.bin", "three");
    assert_holds("top", "four");
    assert_int_equal(stored_incoming(), 0);

    assert_int_equal(stat(stored_below("top"), &sb), 0);
    assert_int_equal(sb.st_mode & 07777, 0640);
    assert_int_equal(stat(stored_below("2026/11"), &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0750);
}


static void
test_modes_do_not_depend_on_the_umask(void **state)
{
    mode_t          old = umask(0077);
    store_object_t  obj = object("d/x", "1");
    struct stat     sb;

    assert_int_equal(store_file.put(*state, &obj, 1, &err), RC_OK);
    (void) umask(old);
    assert_int_equal(stat(stored_below("d/x"), &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0640);
    assert_int_equal(stat(stored_below("d"), &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0750);
}


static void
test_putting_again_replaces(void **state)
{
    store_object_t  obj = object("d/x", "first, longer");

    assert_int_equal(store_file.put(*state, &obj, 1, &err), RC_OK);
    obj = object("d/x", "second");
    assert_int_equal(store_file.put(*state, &obj, 1, &err), RC_OK);
    assert_holds("d/x", "second");

    store_object_t  twice[] = { object("d/x", "third"), object("d/x", "third") };

    assert_int_equal(store_file.put(*state, twice, 2, &err), RC_OK);
    assert_holds("d/x", "third");
    assert_int_equal(store_file.put(*state, NULL, 0, &err), RC_OK);
}


static void
test_names_that_are_not_ours_are_refused(void **state)
{
    static const char *const  bad[] = {
        "", "/etc/x", "../x", "a/../x", "a//x", "a/", ".incoming/x", "a/.x"
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        store_object_t  objs[] = { object(bad[i], "x"), object("good", "y") };

        assert_int_equal(store_file.put(*state, objs, 2, &err), RC_REJECT);
        assert_int_equal(objs[0].rc, RC_REJECT);
        assert_int_equal(objs[1].rc, RC_OK);
    }
    assert_holds("good", "y");
    assert_int_equal(stored_incoming(), 0);
}


static void
test_a_name_too_long_for_the_disk_is_rejected_alone(void **state)
{
    char            path[400];
    store_object_t  objs[2];

    memset(path, 'a', 300);
    strcpy(path + 300, "/x");
    objs[0] = object(path, "x");
    objs[1] = object("d/good", "y");
    assert_int_equal(store_file.put(*state, objs, 2, &err), RC_REJECT);
    assert_int_equal(objs[0].rc, RC_REJECT);
    assert_non_null(strstr(objs[0].err.text, "too long"));
    assert_int_equal(objs[1].rc, RC_OK);
    assert_holds("d/good", "y");
    assert_int_equal(stored_incoming(), 0);
}


static void
test_a_symbolic_link_is_not_followed(void **state)
{
    store_object_t  objs[] = { object("link/x", "x"), object("l", "new") };
    struct stat     sb;

    assert_int_equal(symlink("/tmp", stored_below("link")), 0);
    assert_int_equal(symlink("/nowhere", stored_below("l")), 0);

    assert_int_equal(store_file.put(*state, objs, 2, &err), RC_RETRY);
    assert_int_equal(objs[0].rc, RC_RETRY);
    assert_int_equal(access("/tmp/x", F_OK), -1);

    /* In a link's place the object's own file is put. */
    assert_int_equal(objs[1].rc, RC_OK);
    assert_int_equal(lstat(stored_below("l"), &sb), 0);
    assert_true(S_ISREG(sb.st_mode));
    assert_int_equal(stored_incoming(), 0);
}


static void
test_a_full_disk_is_retried_and_leaves_nothing(void **state)
{
    static char     big[200000];
    struct rlimit   old;
    store_object_t  objs[] = {
        { "d/big", big, sizeof(big), "text/plain", RC_OK, { "" } },
        object("d/small", "fits")
    };

    /* The nearest to ENOSPC that a test may ask of the kernel: EFBIG. */
    old = stored_limit(RLIMIT_FSIZE, 65536);

    rc_t  rc = store_file.put(*state, objs, 2, &err);

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, RC_RETRY);
    assert_int_equal(objs[0].rc, RC_RETRY);
    assert_non_null(strstr(err.text, "d/big"));
    assert_int_equal(access(stored_below("d/big"), F_OK), -1);
    assert_int_equal(objs[1].rc, RC_OK);
    assert_holds("d/small", "fits");
    assert_int_equal(stored_incoming(), 0);
}


static void
test_many_directories_need_few_descriptors(void **state)
{
    enum { N = 300 };

    static char     names[N][64];
    store_object_t  objs[N];
    struct rlimit   old;

    for (int i = 0; i < N; i++) {
        (void) snprintf(names[i], sizeof(names[i]),
                        "c-%d/2026/11/20/12/00:30/x", i);
        objs[i] = object(names[i], "x");
    }

    old = stored_limit(RLIMIT_NOFILE, 128);

    rc_t  rc = store_file.put(*state, objs, N, &err);

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(rc, RC_OK);
    assert_holds(names[0], "x");
    assert_holds(names[N - 1], "x");
}


static void *
put_many(void *arg)
{
    store_t  *store;
    char      names[20][64], text[20][64];
    long      bad = 0;
    err_t     why;

    (void) arg;

    if (store_file.open(&store, &stored_conf, &why) != RC_OK) {
        return (void *) 1;
    }

    for (int round = 0; round < 10; round++) {
        store_object_t  objs[20];

        /* All threads make the same directories and the same objects. */
        for (int i = 0; i < 20; i++) {
            (void) snprintf(names[i], sizeof(names[i]), "c-%d/%d/x", round, i);
            (void) snprintf(text[i], sizeof(text[i]), "%d %d", round, i);
            objs[i] = object(names[i], text[i]);
        }
        if (store_file.put(store, objs, 20, &why) != RC_OK) {
            bad++;
        }
    }

    store_file.close(store);
    return (void *) bad;
}


static void
test_lanes_may_make_the_same_directories(void **state)
{
    pthread_t  threads[4];
    void      *bad;

    (void) state;

    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &bad), 0);
        assert_null(bad);
    }
    assert_holds("c-9/19/x", "9 19");
    assert_int_equal(stored_incoming(), 0);
}


static void
test_only_old_leftovers_are_removed(void **state)
{
    struct timespec  old[2] = { { 1000000000, 0 }, { 1000000000, 0 } };
    store_t         *other;
    int              fd;

    (void) state;

    fd = open(stored_below(".incoming/crashed"), O_WRONLY | O_CREAT, 0640);
    assert_true(fd >= 0);
    assert_int_equal(futimens(fd, old), 0);
    close(fd);
    fd = open(stored_below(".incoming/living"), O_WRONLY | O_CREAT, 0640);
    assert_true(fd >= 0);
    close(fd);

    assert_int_equal(store_file.open(&other, &stored_conf, &err), RC_OK);
    store_file.close(other);

    assert_int_equal(access(stored_below(".incoming/crashed"), F_OK), -1);
    assert_int_equal(access(stored_below(".incoming/living"), F_OK), 0);
}


static void
test_probe_leaves_nothing_behind(void **state)
{
    assert_int_equal(store_file.probe(*state, &err), RC_OK);
    assert_int_equal(stored_incoming(), 0);
}


static void
test_a_root_that_is_away_is_retried(void **state)
{
    store_file_conf_t  nowhere = { "/nowhere/store" };
    store_t           *store;

    (void) state;

    assert_int_equal(store_file.open(&store, &nowhere, &err), RC_RETRY);
    assert_non_null(strstr(err.text, "/nowhere/store"));
    store_file.close(NULL);
}


static char  big[1 << 20];


static void
put_eight(store_t *store, int k)
{
    char            names[8][32];
    store_object_t  objs[8];

    for (int i = 0; i < 8; i++) {
        (void) snprintf(names[i], sizeof(names[i]), "k/%d/%d", k % 50, i);
        objs[i] = (store_object_t) { names[i], big, sizeof(big), "x/y",
                                     RC_OK, { "" } };
    }
    (void) store_file.put(store, objs, 8, &err);
}


static void
test_a_kill_leaves_only_whole_objects(void **state)
{
    struct stat  sb;
    char         name[32];

    (void) state;

    memset(big, 'x', sizeof(big));
    stored_killed(put_eight);

    for (int k = 0; k < 50; k++) {
        for (int i = 0; i < 8; i++) {
            (void) snprintf(name, sizeof(name), "k/%d/%d", k, i);
            if (stat(stored_below(name), &sb) == 0) {
                assert_int_equal(sb.st_size, sizeof(big));
            }
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
#define T(f)                                                                  \
    cmocka_unit_test_setup_teardown(f, stored_setup, stored_teardown)
        T(test_a_batch_lies_under_its_names),
        T(test_modes_do_not_depend_on_the_umask),
        T(test_putting_again_replaces),
        T(test_names_that_are_not_ours_are_refused),
        T(test_a_name_too_long_for_the_disk_is_rejected_alone),
        T(test_a_symbolic_link_is_not_followed),
        T(test_a_full_disk_is_retried_and_leaves_nothing),
        T(test_many_directories_need_few_descriptors),
        T(test_lanes_may_make_the_same_directories),
        T(test_only_old_leftovers_are_removed),
        T(test_probe_leaves_nothing_behind),
        T(test_a_root_that_is_away_is_retried),
        T(test_a_kill_leaves_only_whole_objects),
    };

    /* A write beyond RLIMIT_FSIZE shall fail, not end us. */
    (void) signal(SIGXFSZ, SIG_IGN);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
