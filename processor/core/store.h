/*
 * store.h: what an object store offers the lanes.
 *
 * One row per kind in store/table.c.  put() takes a batch, so that a store may
 * work on many at once, or sync once for all of them.  A store never names
 * objects: paths come from core/path.h, relative, in our own grammar.
 */

#ifndef SLUICE_CORE_STORE_H
#define SLUICE_CORE_STORE_H

#include <stddef.h>

#include "base/conf.h"
#include "base/err.h"

typedef struct store_s  store_t;

typedef struct {
    const char  *path;         /* borrowed */
    const void  *data;         /* borrowed */
    size_t       len;
    const char  *type;         /* borrowed, NUL-terminated */
    rc_t         rc;           /* out: RC_OK, RC_RETRY or RC_REJECT */
    err_t        err;          /* out, when rc != RC_OK */
} store_object_t;

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

    void  (*close)(store_t *store);               /* takes NULL */
} store_ops_t;

/* store/table.c: all kinds, ended by NULL. */
extern const store_ops_t *const store_table[];

#endif /* SLUICE_CORE_STORE_H */
