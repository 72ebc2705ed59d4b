/*
 * pg.h: one PostgreSQL connection of a lane.
 *
 * The only file that includes libpq-fe.h.  Synchronous, with connect, lock,
 * statement and TCP timeouts; reconnects at the next call.  Parameters always,
 * statements prepared once per connection.  Connection trouble, 40001, 40P01,
 * 53xxx, 55P03, 57xxx and read-only servers are RC_RETRY; class 22 and 23 are
 * RC_REJECT.
 */

#ifndef SLUICE_IO_PG_H
#define SLUICE_IO_PG_H

#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"

typedef struct pg_s  pg_t;

typedef struct {
    char     *dsn;             /* libpq's; a password in it is refused */
    char     *password_file;   /* "" : none */
    int64_t   timeout_ms;      /* of a statement; connect has the same */
} pg_conf_t;

extern const conf_row_t pg_rows[];

/* Text results, borrowed until the next call. */
typedef struct {
    size_t  rows, cols;
    size_t  affected;
} pg_result_t;

/* RC_REJECT when libpq can't read the dsn, or a password stands in it. */
rc_t pg_check(const pg_conf_t *conf, err_t *err);

/* Does not connect.  conf is borrowed until close. */
pg_t *pg_open(const pg_conf_t *conf);
void pg_close(pg_t *pg);

/*
 * sql is a static string and its own cache key for the prepared statement.
 * params: NULs can't be in them; a NULL is SQL NULL.
 */
rc_t pg_exec(pg_t *pg, const char *sql, size_t nparams,
    const char *const *params, pg_result_t *result, err_t *err);
const char *pg_value(const pg_t *pg, size_t row, size_t col);  /* NULL: null */

/*
 * The same without waiting: start sends, finish looks whether the answer is
 * here (*done), until then nothing else may be asked.  After more than
 * timeout_ms it is RC_RETRY and the connection is given up; the server's own
 * bound is the caller's.
 */
rc_t pg_start(pg_t *pg, const char *sql, size_t nparams,
    const char *const *params, int64_t timeout_ms, err_t *err);
rc_t pg_finish(pg_t *pg, int *done, pg_result_t *result, err_t *err);

/*
 * A transaction: begin, any number of pg_exec, commit or rollback.  A failed
 * commit whose outcome is unknown is RC_RETRY; callers are idempotent.
 * Either commit or rollback ends it, whatever they return; rollback never
 * fails.  Until then nothing is sent over a new connection.
 */
rc_t pg_begin(pg_t *pg, err_t *err);
rc_t pg_commit(pg_t *pg, err_t *err);
void pg_rollback(pg_t *pg);

/* Gives the connection up at once, and what is not committed with it. */
void pg_disconnect(pg_t *pg);

/*
 * Builds a text[] / bigint[] literal for unnest(): many rows in one statement.
 * A zeroed struct is an empty array; reset makes it one again.
 */
typedef struct {
    char    *text;
    size_t   len, cap;
} pg_array_t;

void pg_array_reset(pg_array_t *a);
void pg_array_str(pg_array_t *a, const char *s, size_t len);
void pg_array_int(pg_array_t *a, int64_t n);
const char *pg_array_end(pg_array_t *a);           /* the whole literal */
void pg_array_free(pg_array_t *a);

#endif /* SLUICE_IO_PG_H */
