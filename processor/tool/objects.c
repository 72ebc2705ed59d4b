/*
 * objects.c: stored objects by the day of their folder.
 *
 * Owns the walk from the prefix down to the days, and the removal in slices.
 * Does not decide which day is over.
 */

#include "tool/objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/window.h"

#define OBJECTS_SLICE  1000          /* removed at once, with one sync */

typedef struct {
    const store_ops_t  *ops;
    store_t            *store;
    int64_t             before_ms;
    objects_folders_t  *found;
} objects_walk_t;

typedef struct {
    int64_t           before_ms;
    const members_t  *keep;
    objects_sum_t    *sum;
    char             *paths[OBJECTS_SLICE];
    size_t            n;
    char             *last;          /* where the listing goes on; owned */
} objects_slice_t;


/* From YYYY/MM/DD/HH/MM:SS at p, n bytes of the form; 0, or -1. */
static int
objects_time(const char *p, size_t n, int64_t *ms)
{
    static const char  form[] = "0000/00/00/00/00:00";

    char    label[WINDOW_LABEL_LEN] = "00000000T000000Z";
    size_t  at = 0;

    for (size_t i = 0; i < n; i++) {
        if (form[i] != '0') {
            if (p[i] != form[i]) {
                return -1;
            }
            continue;
        }
        at += at == 8;               /* the T */
        label[at++] = p[i];
    }

    return window_parse(label, ms);
}


int
objects_window(const char *path, int64_t *start_ms)
{
    const size_t  n = strlen("0000/00/00/00/00:00");
    const char   *name = strrchr(path, '/');

    if (name == NULL || (size_t) (name - path) < n
        || strspn(name + 1, "0123456789abcdef") != SLUICE_SHA256_HEX
        || name[1 + SLUICE_SHA256_HEX] != '.')
    {
        return -1;
    }

    const char  *time = name - n;

    if (time > path && time[-1] != '/') {
        return -1;
    }

    return objects_time(time, n, start_ms);
}


int
objects_day(const char *path, int64_t *day_ms)
{
    const window_conf_t  day = { OBJECTS_DAY_MS, 0 };

    if (objects_window(path, day_ms) != 0) {
        return -1;
    }

    *day_ms = window_start(&day, *day_ms);
    return 0;
}


static int
objects_collect(void *ctx, const char *path, const store_stat_t *st)
{
    (void) st;

    members_add(ctx, path, strlen(path), NULL);
    return 0;
}


static rc_t
objects_dirs(objects_walk_t *w, const char *path, members_t *dirs, err_t *err)
{
    return w->ops->list_dirs(w->store, path, objects_collect, dirs, err);
}


static const char *
objects_base(const char *path)
{
    const char  *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}


static int
objects_is_number(const char *s, size_t digits)
{
    return strlen(s) == digits && strspn(s, "0123456789") == digits;
}


/* Years, months and days below path; depth 0 are the years. */
static rc_t
objects_days(objects_walk_t *w, const char *path, int depth, err_t *err)
{
    const size_t  n = strlen("0000/00/00");
    members_t     dirs = { 0 };
    rc_t          rc = objects_dirs(w, path, &dirs, err);

    for (size_t i = 0; i < dirs.n && rc == RC_OK; i++) {
        const char  *dir = dirs.texts[i];
        int64_t      day_ms;

        if (!objects_is_number(objects_base(dir), depth == 0 ? 4 : 2)) {
            continue;
        }

        if (depth < 2) {
            rc = objects_days(w, dir, depth + 1, err);
            continue;
        }

        if (objects_time(dir + strlen(dir) - n, n, &day_ms) == 0
            && day_ms < w->before_ms)
        {
            objects_folders_t  *f = w->found;

            f->folders = mem_grow(f->folders, f->n + 1, sizeof(*f->folders));
            f->folders[f->n++] = (objects_folder_t) { day_ms,
                                                      mem_strdup(dir) };
        }
    }

    members_free(&dirs);
    return rc;
}


static int
objects_order(const void *a, const void *b)
{
    const objects_folder_t  *x = a, *y = b;

    if (x->day_ms != y->day_ms) {
        return x->day_ms < y->day_ms ? -1 : 1;
    }
    return strcmp(x->path, y->path);
}


rc_t
objects_find(const store_ops_t *ops, store_t *store, const char *prefix,
    const char *customer, int64_t before_ms, objects_folders_t *found,
    err_t *err)
{
    objects_walk_t  w = { ops, store, before_ms, found };
    members_t       roots = { 0 };
    char           *only = NULL;
    rc_t            rc = RC_OK;

    if (customer != NULL) {
        only = mem_printf("%s%sc-%s", prefix, prefix[0] != '\0' ? "/" : "",
                          customer);
        rc = objects_days(&w, only, 0, err);

    } else {
        rc = objects_dirs(&w, prefix, &roots, err);
        if (rc == RC_OK) {
            rc = objects_days(&w, prefix, 0, err);
        }
        for (size_t i = 0; i < roots.n && rc == RC_OK; i++) {
            if (strncmp(objects_base(roots.texts[i]), "c-", 2) == 0) {
                rc = objects_days(&w, roots.texts[i], 0, err);
            }
        }
    }

    if (found->n > 0) {
        qsort(found->folders, found->n, sizeof(*found->folders),
              objects_order);
    }

    members_free(&roots);
    free(only);
    return rc;
}


int
objects_keep(members_t *keep, const pg_t *pg, const pg_result_t *result)
{
    if (result->rows > OBJECTS_KEPT_MAX) {
        return 0;
    }

    for (size_t i = 0; i < result->rows; i++) {
        const char  *path = pg_value(pg, i, 0);

        members_add(keep, path, strlen(path), NULL);
    }
    return 1;
}


void
objects_free(objects_folders_t *found)
{
    for (size_t i = 0; i < found->n; i++) {
        free(found->folders[i].path);
    }
    free(found->folders);
    memset(found, 0, sizeof(*found));
}


static int
objects_pick(void *ctx, const char *path, const store_stat_t *st)
{
    objects_slice_t  *s = ctx;
    int64_t           start_ms;

    if (objects_window(path, &start_ms) != 0 || start_ms >= s->before_ms) {
        return 0;
    }

    if (members_has(s->keep, path, strlen(path), NULL)) {
        s->sum->kept++;
        return 0;
    }

    s->paths[s->n++] = mem_strdup(path);
    s->sum->objects++;
    s->sum->bytes += (int64_t) st->size;

    return s->n == OBJECTS_SLICE;
}


rc_t
objects_remove(const store_ops_t *ops, store_t *store, const char *folder,
    int64_t before_ms, const members_t *keep, int dry, objects_sum_t *sum,
    err_t *err)
{
    objects_slice_t  s = { .before_ms = before_ms, .keep = keep, .sum = sum };
    size_t           n = OBJECTS_SLICE;
    rc_t             rc = RC_OK;

    while (rc == RC_OK && n == OBJECTS_SLICE) {
        rc = ops->list(store, folder, s.last, objects_pick, &s, err);
        n = s.n;

        if (rc == RC_OK && n > 0 && !dry) {
            rc = ops->remove(store, (const char *const *) s.paths, n, err);
        }

        /* What wasn't removed for sure is counted by who removes it. */
        if (rc != RC_OK) {
            sum->objects -= (int64_t) n;
        }

        free(s.last);
        s.last = n > 0 ? mem_strdup(s.paths[n - 1]) : NULL;

        while (s.n > 0) {
            free(s.paths[--s.n]);
        }
    }

    free(s.last);
    return rc;
}
