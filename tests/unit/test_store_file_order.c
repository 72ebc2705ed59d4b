/*
 * test_store_file_order.c: when store/file.c says that an object is durable.
 *
 * The program's own syncfs(), fsync() and renameat() stand in front of the C
 * library's and note the order.  What a power cut leaves can't be had in a
 * test; that nothing is promised before the kernel has said so can.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/file.h"

#define BYTES  100000

static char               root[64];
static store_file_conf_t  conf = { root };
static err_t              err;
static char               data[BYTES];

/* What happened: S syncfs, r renameat, d fsync of a directory, f of a file. */
static char   order[64];
static ino_t  inodes[64];            /* of what was synced */
static int    whole;                 /* files in .incoming at the last S */
static int    broken;                /* letter that fails, with EIO */


static int
note(char what, int fd)
{
    size_t       n = strlen(order);
    struct stat  sb = { 0 };

    if (n + 1 < sizeof(order)) {
        if (fd >= 0) {
            (void) fstat(fd, &sb);
        }
        inodes[n] = sb.st_ino;
        order[n] = what;
        order[n + 1] = '\0';
    }
    if (what == broken) {
        errno = EIO;
        return -1;
    }
    return 0;
}


static char *
below(const char *path)
{
    static char  full[1200];

    (void) snprintf(full, sizeof(full), "%s/%s", root, path);
    return full;
}


static int
incoming_whole(void)
{
    int             n = 0;
    struct stat     sb;
    DIR            *dir = opendir(below(".incoming"));
    struct dirent  *entry;

    while ((entry = readdir(dir)) != NULL) {
        n += fstatat(dirfd(dir), entry->d_name, &sb, 0) == 0
             && S_ISREG(sb.st_mode) && sb.st_size == BYTES;
    }
    closedir(dir);
    return n;
}


int
syncfs(int fd)
{
    whole = incoming_whole();
    return note('S', -1) == 0 ? (int) syscall(SYS_syncfs, fd) : -1;
}


int
fsync(int fd)
{
    struct stat  sb;
    char         what = fstat(fd, &sb) == 0 && S_ISDIR(sb.st_mode) ? 'd' : 'f';

    return note(what, fd) == 0 ? (int) syscall(SYS_fsync, fd) : -1;
}


int
renameat(int from, const char *old, int to, const char *new)
{
    return note('r', -1) == 0
           ? (int) syscall(SYS_renameat2, from, old, to, new, 0) : -1;
}


static void
forget(void)
{
    order[0] = '\0';
    whole = 0;
    broken = 0;
}


static int
setup(void **state)
{
    store_t  *store = NULL;

    forget();
    strcpy(root, "/tmp/sluice-store-XXXXXX");
    if (mkdtemp(root) == NULL
        || store_file.open(&store, &conf, &err) != RC_OK)
    {
        return -1;
    }
    *state = store;
    return 0;
}


static int
teardown(void **state)
{
    char  command[100];

    store_file.close(*state);
    (void) snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}


static rc_t
put(store_t *store, const char *one, const char *two)
{
    store_object_t  objs[] = {
        { one, data, BYTES, "x/y", RC_FENCED, { "" } },
        { two, data, BYTES, "x/y", RC_FENCED, { "" } }
    };
    rc_t            rc = store_file.put(store, objs, 2, &err);

    if (rc == RC_OK) {
        assert_int_equal(objs[0].rc, RC_OK);
        assert_int_equal(objs[1].rc, RC_OK);
    }
    return rc;
}


static ino_t
inode(const char *path)
{
    struct stat  sb;

    assert_int_equal(stat(below(path), &sb), 0);
    return sb.st_ino;
}


static int
synced(const char *path)
{
    for (size_t i = 0; order[i] != '\0'; i++) {
        if (order[i] == 'd' && inodes[i] == inode(path)) {
            return 1;
        }
    }
    return 0;
}


static void
test_names_come_after_the_bytes_and_are_synced_themselves(void **state)
{
    assert_int_equal(put(*state, "2026/11/a", "2026/11/b"), RC_OK);

    assert_string_equal(order, "Srrddd");
    assert_int_equal(whole, 2);
    assert_true(inodes[3] == inode("2026/11"));
    assert_true(inodes[4] == inode("2026"));
    assert_true(inodes[5] == inode(""));
}


static void
test_one_object_is_synced_by_itself(void **state)
{
    store_object_t  obj = { "d/a", data, BYTES, "x/y", RC_FENCED, { "" } };

    assert_int_equal(store_file.put(*state, &obj, 1, &err), RC_OK);
    assert_string_equal(order, "frdd");
}


static void
test_a_directory_whose_name_is_durable_is_not_synced_again(void **state)
{
    assert_int_equal(put(*state, "2026/11/a", "2026/11/b"), RC_OK);
    forget();

    assert_int_equal(put(*state, "2026/11/c", "2026/11/d"), RC_OK);
    assert_string_equal(order, "Srrd");
    assert_true(synced("2026/11"));
    forget();

    /* Only what got a new name. */
    assert_int_equal(put(*state, "2026/12/a", "2026/12/b"), RC_OK);
    assert_string_equal(order, "Srrdd");
    assert_true(synced("2026/12"));
    assert_true(synced("2026"));
}


static void
test_what_another_store_made_is_synced_by_each(void **state)
{
    store_t  *other;

    assert_int_equal(store_file.open(&other, &conf, &err), RC_OK);
    assert_int_equal(put(other, "2026/11/a", "2026/11/b"), RC_OK);
    forget();

    /* The other may not have come to its syncs yet. */
    assert_int_equal(put(*state, "2026/11/c", "2026/11/d"), RC_OK);
    assert_true(synced("2026"));
    assert_true(synced(""));
    store_file.close(other);
}


static void
test_a_directory_that_was_made_anew_is_synced_again(void **state)
{
    char  command[200];

    assert_int_equal(put(*state, "2026/11/a", "2026/11/b"), RC_OK);
    (void) snprintf(command, sizeof(command), "rm -rf %s/2026 && mkdir -p "
                    "%s/2026/11", root, root);
    assert_int_equal(system(command), 0);
    forget();

    assert_int_equal(put(*state, "2026/11/c", "2026/11/d"), RC_OK);
    assert_string_equal(order, "Srrddd");
}


static void
test_no_name_is_given_when_the_bytes_are_not_safe(void **state)
{
    broken = 'S';
    assert_int_equal(put(*state, "d/a", "d/b"), RC_RETRY);
    assert_string_equal(order, "S");
    assert_int_equal(incoming_whole(), 0);
}


static void
test_a_name_that_is_not_safe_is_no_success(void **state)
{
    broken = 'd';
    assert_int_equal(put(*state, "d/a", "d/b"), RC_RETRY);
    forget();

    /* Nothing of it was taken for durable. */
    assert_int_equal(put(*state, "d/a", "d/b"), RC_OK);
    assert_string_equal(order, "Srrdd");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
#define T(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(test_names_come_after_the_bytes_and_are_synced_themselves),
        T(test_one_object_is_synced_by_itself),
        T(test_a_directory_whose_name_is_durable_is_not_synced_again),
        T(test_what_another_store_made_is_synced_by_each),
        T(test_a_directory_that_was_made_anew_is_synced_again),
        T(test_no_name_is_given_when_the_bytes_are_not_safe),
        T(test_a_name_that_is_not_safe_is_no_success),
#undef T
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
