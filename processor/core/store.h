/*
 * store.h: what an object store offers.
 *
 * One row per kind in store/table.c.  put() takes a batch, so that a store may
 * work on many at once, or sync once for all of them; begin() and its like
 * take one object piece by piece, so that a large one never lies in memory.
 * The others are for what looks after objects later: purge, erase, verify.
 *
 * A store never names objects: paths come from core/path.h, relative, in our
 * own grammar.  What a call asks is what S3 and Azure offer too: a multipart
 * upload, a ranged GET, a listing in order of names that goes on after one.
 * A store_t belongs to one thread, with all that was begun or opened from it.
 */

#ifndef SLUICE_CORE_STORE_H
#define SLUICE_CORE_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"

typedef struct store_s      store_t;
typedef struct store_put_s  store_put_t;       /* an object that arrives */
typedef struct store_get_s  store_get_t;       /* an object that is read */

typedef struct {
    const char  *path;         /* borrowed */
    const void  *data;         /* borrowed */
    size_t       len;
    const char  *type;         /* borrowed, NUL-terminated */
    rc_t         rc;           /* out: RC_OK, RC_RETRY or RC_REJECT */
    err_t        err;          /* out, when rc != RC_OK */
} store_object_t;

typedef struct {
    uint64_t  size;
    int64_t   mtime_ms;        /* when it was written last */
} store_stat_t;

/* path is borrowed for the call; anything but 0 ends the listing. */
typedef int (*store_found_pt)(void *ctx, const char *path,
    const store_stat_t *st);

typedef struct {
    const char        *name;       /* as in [store] kind = ... */
    const conf_row_t  *rows;       /* settings of its section [store.NAME] */
    size_t             conf_size;  /* of the struct the rows fill */

    /* conf is borrowed until close.  RC_OK, RC_RETRY or RC_REJECT. */
    rc_t  (*open)(store_t **store, const void *conf, err_t *err);

    /* A write, a read and a removal under a name of our own: for -t. */
    rc_t  (*probe)(store_t *store, err_t *err);

    /*
     * Writes all; overwrites what is there under the same name.  After RC_OK
     * an object's bytes and name survive a power cut; readers never see half
     * of it.  Returns the worst rc of the batch: RC_OK < RC_REJECT < RC_RETRY.
     */
    rc_t  (*put)(store_t *store, store_object_t *objects, size_t n,
                 err_t *err);

    /*
     * One object, in pieces.  It appears whole at commit() or not at all, and
     * survives a power cut once commit() said RC_OK.  abort() and commit()
     * end it and free it, whatever they say; after a failed append() only
     * abort() is left.  path and type are copied.  What is there under the
     * same name is replaced.
     */
    rc_t  (*begin)(store_t *store, const char *path, const char *type,
                   store_put_t **put, err_t *err);
    rc_t  (*append)(store_put_t *put, const void *data, size_t len,
                    err_t *err);
    rc_t  (*commit)(store_put_t *put, err_t *err);
    void  (*abort)(store_put_t *put);             /* takes NULL */

    /* RC_REJECT when there is no such object. */
    rc_t  (*stat)(store_t *store, const char *path, store_stat_t *st,
                  err_t *err);

    /*
     * Reading from offset on.  read() fills buf as far as it goes; *n is less
     * than len only at the object's end.  get() gives RC_REJECT when there is
     * no such object.
     */
    rc_t  (*get)(store_t *store, const char *path, uint64_t offset,
                 store_get_t **get, err_t *err);
    rc_t  (*read)(store_get_t *get, void *buf, size_t len, size_t *n,
                  err_t *err);
    void  (*get_close)(store_get_t *get);         /* takes NULL */

    /*
     * Removes all of them; what isn't there is removed already.  After RC_OK
     * a power cut doesn't bring them back.  RC_REJECT for a name that is none
     * of ours, with the others removed all the same.
     */
    rc_t  (*remove)(store_t *store, const char *const *paths, size_t n,
                    err_t *err);

    /*
     * Calls found() for each object below prefix, in order of the bytes of
     * their paths, beginning behind `after` ("" or NULL: with the first).  So
     * a listing goes on where it ended: give it the last path it found.
     * prefix is "" or a path of whole components without a slash at its end.
     * RC_OK also when there is none, and when found() ended it.  What comes
     * or goes meanwhile may be found or not.
     */
    rc_t  (*list)(store_t *store, const char *prefix, const char *after,
                  store_found_pt found, void *ctx, err_t *err);

    /* The same for the directories right below prefix; their stat is zero. */
    rc_t  (*list_dirs)(store_t *store, const char *prefix,
                       store_found_pt found, void *ctx, err_t *err);

    void  (*close)(store_t *store);               /* takes NULL */
} store_ops_t;

/* store/table.c: all kinds, ended by NULL. */
extern const store_ops_t *const store_table[];

#endif /* SLUICE_CORE_STORE_H */
