/*
 * pg_local.h: what the files of io/pg share; nobody else includes it.
 */

#ifndef SLUICE_IO_PG_LOCAL_H
#define SLUICE_IO_PG_LOCAL_H

#include <libpq-fe.h>

/*
 * PQconnectdbParams() that ends when the process has to.  NULL: that is so, or
 * there is no memory.  keys and values end with a NULL key; they are copied.
 */
PGconn *pg_link(const char *const *keys, const char *const *values);

#endif /* SLUICE_IO_PG_LOCAL_H */
