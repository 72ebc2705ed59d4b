/*
 * rows_close.c: the SQL of a close, but for its rows.
 *
 * Owns the transaction's begin and end, and what is asked in between.  Does
 * not decide whether a window may close.
 */

#include <stdlib.h>

#include "lane/rows_local.h"

/* Less than ROWS_CLOSE_MS. */
static const char rows_sql_close_long[] = "SET LOCAL statement_timeout = '50s'";

static const char rows_sql_close_check[] =
    "SELECT 1 FROM sluice.progress WHERE " SQL_IS_MINE
    " AND ledger_next >= $6::bigint";

static const char rows_sql_close_lock[] =
    "SELECT 1 FROM sluice.progress WHERE " SQL_IS_MINE
    " AND ledger_next >= $6::bigint FOR UPDATE";

/* Statements of their own: one that waits for a lock sees what was there
 * before it waited. */
static const char rows_sql_close_known[] =
    "SELECT max(through_offset) FROM sluice.summary WHERE " SQL_KEY
    " AND generation = $5::integer AND window_start = " SQL_TIME("$4");

static const char rows_sql_close_final[] =
    "SELECT count(*) FROM sluice.summary WHERE " SQL_KEY
    " AND generation = $5::integer AND window_start = " SQL_TIME("$4")
    " AND final";

/* With Redis behind, a close may see less of the log than the one before it;
 * next_offset still tells what was sent on already. */
static const char rows_sql_close_end[] =
    "UPDATE sluice.progress SET closed_through = " SQL_TIME("$6") ","
    " next_offset = greatest(next_offset, $7::bigint),"
    " last_id = CASE WHEN next_offset > $7::bigint THEN last_id ELSE $8::text"
    " END, low_offset = $9::bigint, updated_at = now()"
    " WHERE " SQL_IS_MINE;


rc_t
rows_close_begin(links_t *l, partition_t *p, const closing_t *c, int lock,
    err_t *err)
{
    rc_t rc = pg_begin(c->pg, err);

    if (rc == RC_OK && !lock) {
        rc = pg_exec(c->pg, rows_sql_close_long, 0, NULL, NULL, err);
    }

    if (rc != RC_OK) {
        return RC_RETRY;
    }

    return rows_is_mine(c->pg, l, p, lock ? rows_sql_close_lock
                                          : rows_sql_close_check, err);
}


static rc_t
rows_close_ask(links_t *l, partition_t *p, const closing_t *c,
    const char *sql, int64_t *answer, err_t *err)
{
    char         start[24];
    const char  *params[] = { l->conf->pipeline, l->conf->topic, p->id_text,
                              rows_time(c->start_ms, start),
                              p->generation_text };
    pg_result_t  result;
    rc_t         rc;

    rc = rows_exec_on(c->pg, l, sql, 5, params, &result, err);

    if (rc == RC_OK) {
        const char *text = pg_value(c->pg, 0, 0);

        *answer = text == NULL ? 0 : strtoll(text, NULL, 10);
    }

    return rc;
}


rc_t
rows_close_known(links_t *l, partition_t *p, const closing_t *c,
    int64_t *known, err_t *err)
{
    return rows_close_ask(l, p, c, rows_sql_close_known, known, err);
}


rc_t
rows_close_final(links_t *l, partition_t *p, const closing_t *c,
    int64_t *final, err_t *err)
{
    return rows_close_ask(l, p, c, rows_sql_close_final, final, err);
}


rc_t
rows_close_end(links_t *l, partition_t *p, const closing_t *c, err_t *err)
{
    char         closed[24], start[24], next[24], low[24];
    const char  *params[] = { l->conf->pipeline, l->conf->topic, p->id_text,
                              rows_time(p->closed_ms, closed),
                              p->generation_text,
                              rows_time(c->start_ms, start),
                              rows_time(p->next, next), p->last,
                              rows_time(partition_low_after(p, c->start_ms),
                                        low) };
    pg_result_t  result;
    rc_t         rc;

    rc = rows_exec_on(c->pg, l, rows_sql_close_end, 9, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    return result.affected == 1 ? RC_OK
           : err_set(err, RC_FENCED, "closed_through has moved");
}


rc_t
rows_close_commit(const closing_t *c, err_t *err)
{
    return pg_commit(c->pg, err) == RC_OK ? RC_OK : RC_RETRY;
}
