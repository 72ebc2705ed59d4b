/*
 * rows_local.h: what the files of rows.h share.
 */

#ifndef SLUICE_LANE_ROWS_LOCAL_H
#define SLUICE_LANE_ROWS_LOCAL_H

#include "lane/rows.h"

#define ROWS_CLOSE_MS  60000         /* of a statement that is not waited for */

/* A time from milliseconds, NULL from NULL; exact, unlike to_timestamp(). */
#define SQL_TIME(n)                                                           \
    "timestamptz 'epoch' + " n "::bigint * interval '1 millisecond'"

#define SQL_KEY                                                               \
    "pipeline = $1::text AND topic = $2::text AND partition = $3::integer"

#define SQL_IS_MINE                                                           \
    SQL_KEY " AND closed_through IS NOT DISTINCT FROM " SQL_TIME("$4")        \
    " AND generation = $5::integer"


/* The text of a time or another number, or NULL: SQL's NULL. */
const char *rows_time(int64_t ms, char text[24]);

/*
 * Whatever PostgreSQL has against it, waiting and trying again is all a lane
 * can do: it checked the rows before it counted them.
 */
rc_t rows_exec_on(pg_t *pg, links_t *l, const char *sql, size_t n,
    const char *const *params, pg_result_t *result, err_t *err);

/* sql has SQL_IS_MINE and answers one row, or RC_FENCED. */
rc_t rows_is_mine(pg_t *pg, links_t *l, partition_t *p, const char *sql,
    err_t *err);

#endif /* SLUICE_LANE_ROWS_LOCAL_H */
