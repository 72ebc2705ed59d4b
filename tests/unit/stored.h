/*
 * stored.h: a directory store to test, in a directory of its own.
 *
 * For the tests of store/file*.c: set-up and tear-down of one test, a look
 * below the store's root, and what a test does to its process.
 */

#ifndef STORED_H
#define STORED_H

#include <sys/resource.h>

#include "store/file.h"

extern store_file_conf_t  stored_conf;

/* For cmocka; *state is the store. */
int stored_setup(void **state);
int stored_teardown(void **state);

/* The path below the root, until the next call. */
char *stored_below(const char *path);

/* Temporary files that are left. */
int stored_incoming(void);

/* Lowers a limit of this process; the older one is the result. */
struct rlimit stored_limit(int resource, rlim_t n);

/*
 * Kills processes that work on the store, k from 0 on, each with a store of
 * its own and each after another while.
 */
void stored_killed(void (*work)(store_t *store, int k));

#endif /* STORED_H */
