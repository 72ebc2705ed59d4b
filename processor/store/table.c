/*
 * table.c: every kind of store, by the name in [store] kind.
 */

#include <stddef.h>

#include "core/store.h"
#include "store/file.h"


const store_ops_t *const  store_table[] = {
    &store_file,
    NULL
};
