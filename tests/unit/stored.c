/*
 * stored.c: a directory store to test, in a directory of its own.
 *
 * Owns the directory, which is made anew for each test.  Knows nothing of what
 * is put into it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "stored.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STORED_KILLS  5


static char  stored_root[64];

store_file_conf_t  stored_conf = { stored_root };


int
stored_setup(void **state)
{
    store_t  *store = NULL;
    err_t     err;

    strcpy(stored_root, "/tmp/sluice-store-XXXXXX");
    if (mkdtemp(stored_root) == NULL
        || store_file.open(&store, &stored_conf, &err) != RC_OK)
    {
        return -1;
    }
    *state = store;
    return 0;
}


int
stored_teardown(void **state)
{
    char  command[100];

    store_file.close(*state);
    (void) snprintf(command, sizeof(command), "rm -rf %s", stored_root);
    return system(command);
}


char *
stored_below(const char *path)
{
    static char  full[1200];

    (void) snprintf(full, sizeof(full), "%s/%s", stored_root, path);
    return full;
}


int
stored_incoming(void)
{
    int             n = 0;
    DIR            *dir = opendir(stored_below(".incoming"));
    struct dirent  *entry;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        n += entry->d_name[0] != '.';
    }
    closedir(dir);
    return n;
}


struct rlimit
stored_limit(int resource, rlim_t n)
{
    struct rlimit  old, lower;

    assert_int_equal(getrlimit(resource, &old), 0);
    lower = old;
    lower.rlim_cur = n;
    assert_int_equal(setrlimit(resource, &lower), 0);
    return old;
}


void
stored_killed(void (*work)(store_t *store, int k))
{
    for (int round = 0; round < STORED_KILLS; round++) {
        pid_t  pid = fork();

        if (pid == 0) {
            store_t  *store;
            err_t     err;

            if (store_file.open(&store, &stored_conf, &err) != RC_OK) {
                _exit(1);
            }
            for (int k = 0;; k++) {
                work(store, k);
            }
        }

        (void) usleep(20000 + 7000 * (useconds_t) round);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
}
