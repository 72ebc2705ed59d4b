/*
 * tidy_processor.h: what the analyzer must know of functions in other files.
 *
 * It sees one file at a time and takes err_set() for a function that may
 * return RC_OK, which makes paths that don't exist.  Only tidy reads this.
 */

#include "base/err.h"

#define err_set(err, rc, ...)  (err_set((err), (rc), __VA_ARGS__), (rc))
