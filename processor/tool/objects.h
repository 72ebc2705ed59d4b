/*
 * objects.h: stored objects by the day of their folder.
 *
 * For commands that remove what is old or a customer's.  Objects are found by
 * listing, not by rows: so those are found as well whose row is gone already,
 * or was never written.  What has not the form of core/path.h is never
 * touched.
 */

#ifndef SLUICE_TOOL_OBJECTS_H
#define SLUICE_TOOL_OBJECTS_H

#include <stdint.h>

#include "core/members.h"
#include "core/path.h"
#include "core/store.h"
#include "io/pg.h"

#define OBJECTS_DAY_MS  (24 * 3600 * INT64_C(1000))

/* Start of the window in an object's path; 0, or -1 when it is none of ours. */
int objects_window(const char *path, int64_t *start_ms);

/* Start of the UTC day in it. */
int objects_day(const char *path, int64_t *day_ms);

/* A folder of one day, of one customer or of those without one. */
typedef struct {
    int64_t   day_ms;
    char     *path;
} objects_folder_t;

typedef struct {
    objects_folder_t  *folders;      /* by day, then path */
    size_t             n;
} objects_folders_t;

/*
 * The folders of the days that begin before before_ms.  customer: the encoded
 * name of the only one to look at, NULL for all and for files without one.
 */
rc_t objects_find(const store_ops_t *ops, store_t *store, const char *prefix,
    const char *customer, int64_t before_ms, objects_folders_t *found,
    err_t *err);
void objects_free(objects_folders_t *found);

/*
 * What still refers to objects: adds the paths in the first column of a
 * statement that ends in OBJECTS_KEPT_LIMIT.  0 when they are more than
 * OBJECTS_KEPT_MAX, which are held in memory.
 */
#define OBJECTS_KEPT_MAX    1000000
#define OBJECTS_KEPT_LIMIT  " LIMIT 1000001"

int objects_keep(members_t *keep, const pg_t *pg, const pg_result_t *result);

typedef struct {
    int64_t  objects, bytes;         /* removed, or to be */
    int64_t  kept;                   /* something still refers to them */
} objects_sum_t;

/*
 * Removes the folder's objects of windows that start before before_ms, but
 * those in keep; adds to sum.  dry: counts only.
 */
rc_t objects_remove(const store_ops_t *ops, store_t *store,
    const char *folder, int64_t before_ms, const members_t *keep, int dry,
    objects_sum_t *sum, err_t *err);

#endif /* SLUICE_TOOL_OBJECTS_H */
