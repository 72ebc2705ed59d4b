/*
 * rows.c: the SQL of summary and progress.
 *
 * Owns statements and their parameters.  Does not decide when to write, nor
 * whether a window may close.
 *
 * closed_through guards the flush as it guards the close: a lane that does not
 * know of a close may hold members that the final rows don't have, and a new
 * row of a closed window would never become final.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "core/path.h"
#include "core/row.h"
#include "lane/breaks.h"
#include "lane/rows_local.h"

#define DAY_MS  (24 * 3600 * (int64_t) 1000)

/* $4 closed, $5 generation, $6 window, $7 through, then arrays. */
#define SQL_INSERT(final)                                                     \
    "INSERT INTO sluice.summary AS s (pipeline, topic, partition,"            \
    " window_start, customer, sha256, id, name, type, size, count, object,"   \
    " first_seen, first_offset, upload, generation, through_offset, final) "  \
    "SELECT DISTINCT ON (r.customer COLLATE \"C\", r.sha256 COLLATE \"C\")"   \
    " $1::text, $2::text, $3::integer, " SQL_TIME("$6") ","                   \
    " r.customer, r.sha256, r.id::uuid, r.name, r.type, r.size, r.count,"     \
    " r.object, " SQL_TIME("r.first_seen") ", r.first_offset, r.upload,"      \
    " $5::integer, $7::bigint, " final " "                                    \
    "FROM mine, unnest($8::text[], $9::text[], $10::text[], $11::text[],"     \
    " $12::text[], $13::bigint[], $14::bigint[], $15::text[],"                \
    " $16::bigint[], $17::bigint[], $18::text[]) AS r(customer, sha256,"      \
    " id, name, type, size, count, object, first_seen, first_offset,"         \
    " upload) "                                                               \
    "ORDER BY r.customer COLLATE \"C\", r.sha256 COLLATE \"C\" "              \
    "ON CONFLICT (pipeline, topic, partition, window_start, customer,"        \
    " sha256, generation) DO UPDATE SET count = " BREAKS_COUNT ","            \
    " through_offset = excluded.through_offset,"                              \
    " final = excluded.final, updated_at = now() "                            \
    "WHERE NOT s.final"

#define ROWS_COLUMNS  11

static const char rows_sql_write[] =
    "WITH mine AS MATERIALIZED (SELECT 1 FROM sluice.progress WHERE "
    SQL_IS_MINE " FOR SHARE), written AS ("
    SQL_INSERT("false")
    " AND s.through_offset <= excluded.through_offset RETURNING 1) "
    "SELECT (SELECT count(*) FROM mine), (SELECT count(*) FROM written)";

#define SQL_FINAL(guard)                                                      \
    "WITH mine AS MATERIALIZED (SELECT 1 FROM sluice.progress WHERE "         \
    SQL_IS_MINE "), written AS ("                                             \
    SQL_INSERT("true") guard " RETURNING 1) "                                 \
    "SELECT (SELECT count(*) FROM mine), (SELECT count(*) FROM written)"

/* Of a window that is due by the log a later row has the same count. */
static const char rows_sql_final[] = SQL_FINAL("");

/* Of one that is due by the clock it may have more: it is left as it is, and
 * rows_close_known() finds it. */
static const char rows_sql_final_idle[] =
    SQL_FINAL(" AND s.through_offset <= excluded.through_offset");

static const char rows_sql_ensure_day[] =
    "SELECT sluice.ensure_day(" SQL_TIME("$1") ")";

static const char rows_sql_progress_make[] =
    "INSERT INTO sluice.progress (pipeline, topic, partition, window_ms,"
    " next_offset, lateness_ms)"
    " VALUES ($1::text, $2::text, $3::integer, $4::integer, 0, $5::integer)"
    " ON CONFLICT DO NOTHING";

static const char rows_sql_progress_read[] =
    "SELECT (extract(epoch FROM closed_through) * 1000)::bigint, next_offset,"
    " window_ms, generation, last_id, low_offset, lateness_ms,"
    " ledger_next"
    " FROM sluice.progress WHERE " SQL_KEY;

/* A final row can't be told from the ledger any more: what that lost must be
 * written again before. */
static const char rows_sql_check[] =
    "SELECT 1 FROM sluice.progress WHERE " SQL_IS_MINE
    " AND ledger_next >= $6::bigint";

static const char rows_sql_lateness[] =
    "UPDATE sluice.progress SET lateness_ms = $6::integer WHERE " SQL_IS_MINE;

static const char rows_sql_gap[] =
    "INSERT INTO sluice.gaps AS g (pipeline, topic, partition, generation,"
    " first_offset, last_offset, first_window, last_window, reason)"
    " SELECT $1::text, $2::text, $3::integer, $5::integer, $6::bigint,"
    " $7::bigint, " SQL_TIME("$8") ", " SQL_TIME("$9") ", 'retention'"
    " FROM sluice.progress WHERE " SQL_IS_MINE
    " ON CONFLICT (pipeline, topic, partition, generation, first_offset)"
    " DO UPDATE SET last_offset = greatest(g.last_offset,"
    " excluded.last_offset),"
    " last_window = greatest(g.last_window, excluded.last_window)";

static const char rows_sql_probe[] =
    "SELECT bool_and(has_table_privilege('sluice.' || split_part(r, ' ', 1),"
    " split_part(r, ' ', 2))), sluice.ensure_day(now())"
    " FROM unnest(ARRAY['summary SELECT', 'summary INSERT', 'summary UPDATE',"
    " 'progress SELECT', 'progress INSERT', 'progress UPDATE',"
    " 'gaps SELECT', 'gaps INSERT', 'gaps UPDATE',"
    " 'first_seen SELECT', 'first_seen INSERT', 'first_seen UPDATE',"
    " 'first_seen DELETE', 'uploads SELECT', 'uploads INSERT',"
    " 'uploads DELETE']) AS r";


struct rows_s {
    pg_array_t  columns[ROWS_COLUMNS];
    size_t      n;
};


rows_t *
rows_new(void)
{
    return mem_zalloc(sizeof(rows_t));
}


void
rows_free(rows_t *rows)
{
    if (rows == NULL) {
        return;
    }

    for (int i = 0; i < ROWS_COLUMNS; i++) {
        pg_array_free(&rows->columns[i]);
    }

    free(rows);
}


void
rows_reset(rows_t *rows)
{
    for (int i = 0; i < ROWS_COLUMNS; i++) {
        pg_array_reset(&rows->columns[i]);
    }

    rows->n = 0;
}


static int64_t
rows_count(const redis_value_t *v)
{
    char  text[24] = "";

    if (v->kind == REDIS_INT) {
        return v->num;
    }

    if (v->kind == REDIS_STR && v->len < sizeof(text)) {
        memcpy(text, v->str, v->len);
    }

    return strtoll(text, NULL, 10);
}


static rc_t
rows_add_one(rows_t *rows, links_t *l, int64_t start_ms,
    const redis_value_t *triple, err_t *err)
{
    char     customer[SLUICE_CUSTOMER_MAX + 1];
    char     sha256[SLUICE_SHA256_HEX + 1];
    char     id[PATH_ID_LEN];
    int64_t  count = rows_count(&triple[1]);
    row_t    row;

    if (path_member_parse(triple[0].str, triple[0].len, customer, sha256) != 0
        || count < 1 || row_parse(triple[2].str, triple[2].len, &row) != 0)
    {
        return err_set(err, RC_FENCED, "Redis holds a member or row that "
                       "is none of ours");
    }

    path_id(l->conf->pipeline, start_ms, customer, sha256, id);

    pg_array_t *c = rows->columns;

    pg_array_str(&c[0], customer, strlen(customer));
    pg_array_str(&c[1], sha256, strlen(sha256));
    pg_array_str(&c[2], id, strlen(id));
    pg_array_str(&c[3], row.name, strlen(row.name));
    pg_array_str(&c[4], row.type, strlen(row.type));
    pg_array_int(&c[5], row.size);
    pg_array_int(&c[6], breaks_count(start_ms, triple[0].str,
                                     triple[0].len, count));
    pg_array_str(&c[7], row.object, strlen(row.object));
    pg_array_int(&c[8], row.first_seen_ms);
    pg_array_int(&c[9], row.first_offset);
    pg_array_str(&c[10], row.upload, strlen(row.upload));
    rows->n++;

    if (l->conf->notify) {
        notify_customer(&l->notify, customer, strlen(customer));
    }

    return RC_OK;
}


size_t
rows_waiting(const rows_t *rows)
{
    return rows->n;
}


rc_t
rows_add(rows_t *rows, links_t *l, partition_t *p, int64_t start_ms,
    const redis_value_t *triples, size_t ntriples, err_t *err)
{
    for (size_t i = 0; i < ntriples; i++) {
        rc_t rc = rows_add_one(rows, l, start_ms, &triples[3 * i], err);

        if (rc != RC_OK) {
            p->broken = 1;
            rows_reset(rows);
            return rc;
        }
    }

    return RC_OK;
}


const char *
rows_time(int64_t ms, char text[24])
{
    if (ms == WINDOW_NONE) {
        return NULL;
    }

    snprintf(text, 24, "%" PRId64, ms);

    return text;
}


rc_t
rows_exec_on(pg_t *pg, links_t *l, const char *sql, size_t n,
    const char *const *params, pg_result_t *result, err_t *err)
{
    rc_t rc = pg_exec(pg, sql, n, params, result, err);

    if (rc != RC_OK) {
        rows_forget_days(l);          /* a purge may have dropped a table */
        return RC_RETRY;
    }

    return RC_OK;
}


static rc_t
rows_exec(links_t *l, const char *sql, size_t n, const char *const *params,
    pg_result_t *result, err_t *err)
{
    return rows_exec_on(l->pg, l, sql, n, params, result, err);
}


/* What an insert of ours answers; written: rows that are as given now. */
static rc_t
rows_inserted(const pg_t *pg, const pg_result_t *result, size_t *written,
    err_t *err)
{
    if (result->rows != 1 || strcmp(pg_value(pg, 0, 0), "1") != 0) {
        return err_set(err, RC_FENCED, "closed_through has moved");
    }

    *written = strtoul(pg_value(pg, 0, 1), NULL, 10);
    metrics_add(METRIC_ROWS, 0, (int64_t) *written);

    return RC_OK;
}


/* Those that wait, into PostgreSQL; with written NULL without waiting. */
static rc_t
rows_insert(rows_t *rows, pg_t *pg, links_t *l, partition_t *p,
    const char *sql, int64_t start_ms, size_t *written, err_t *err)
{
    char         closed[24], start[24], through[24];
    const char  *params[7 + ROWS_COLUMNS] = {
        l->conf->pipeline, l->conf->topic, p->id_text,
        rows_time(p->closed_ms, closed), p->generation_text,
        rows_time(start_ms, start), rows_time(p->next, through)
    };
    pg_result_t  result;
    rc_t         rc;

    for (int i = 0; i < ROWS_COLUMNS; i++) {
        params[7 + i] = pg_array_end(&rows->columns[i]);
    }

    if (written == NULL) {
        rc = pg_start(pg, sql, 7 + ROWS_COLUMNS, params, ROWS_CLOSE_MS, err);
        rows_reset(rows);

        return rc == RC_OK ? RC_OK : RC_RETRY;
    }

    rc = rows_exec_on(pg, l, sql, 7 + ROWS_COLUMNS, params, &result, err);
    rows_reset(rows);

    return rc == RC_OK ? rows_inserted(pg, &result, written, err) : rc;
}


rc_t
rows_write(rows_t *rows, links_t *l, partition_t *p, int64_t start_ms,
    err_t *err)
{
    size_t written;

    if (rows->n == 0) {
        return RC_OK;
    }

    return rows_insert(rows, l->pg, l, p, rows_sql_write, start_ms, &written,
                       err);
}


static const char *
rows_final_sql(const closing_t *c)
{
    return c->next == PARTITION_NONE ? rows_sql_final : rows_sql_final_idle;
}


rc_t
rows_write_final(rows_t *rows, links_t *l, partition_t *p, closing_t *c,
    err_t *err)
{
    size_t  written = 0;
    rc_t    rc;

    if (rows->n == 0) {
        return RC_OK;
    }

    rc = rows_insert(rows, c->pg, l, p, rows_final_sql(c), c->start_ms,
                     &written, err);
    c->written += written;

    return rc;
}


rc_t
rows_start_final(rows_t *rows, links_t *l, partition_t *p,
    const closing_t *c, err_t *err)
{
    return rows_insert(rows, c->pg, l, p, rows_final_sql(c), c->start_ms,
                       NULL, err);
}


rc_t
rows_finish_final(links_t *l, closing_t *c, int *done, err_t *err)
{
    pg_result_t  result;
    size_t       written = 0;
    rc_t         rc = pg_finish(c->pg, done, &result, err);

    if (rc != RC_OK) {
        rows_forget_days(l);
        return RC_RETRY;
    }

    if (!*done) {
        return RC_OK;
    }

    rc = rows_inserted(c->pg, &result, &written, err);
    c->written += written;

    return rc;
}


rc_t
rows_ensure_day(links_t *l, int64_t start_ms, err_t *err)
{
    int64_t  day = start_ms / DAY_MS + 1;            /* 0: an empty place */

    for (size_t i = 0; i < PARTITION_DAYS; i++) {
        if (l->days[i] == day) {
            return RC_OK;
        }
    }

    char         text[24];
    const char  *params[] = { rows_time(start_ms, text) };
    pg_result_t  result;
    rc_t         rc;

    rc = rows_exec(l, rows_sql_ensure_day, 1, params, &result, err);
    if (rc == RC_OK) {
        l->days[l->next_day++ % PARTITION_DAYS] = day;
    }

    return rc;
}


void
rows_forget_days(links_t *l)
{
    memset(l->days, 0, sizeof(l->days));
}


static int64_t
rows_int(const links_t *l, size_t col, int64_t none)
{
    const char *text = pg_value(l->pg, 0, col);

    return text == NULL ? none : strtoll(text, NULL, 10);
}


rc_t
rows_progress(links_t *l, partition_t *p, rows_progress_t *progress,
    err_t *err)
{
    char         size[24], lateness[24];
    const char  *params[] = { l->conf->pipeline, l->conf->topic, p->id_text,
                              rows_time(l->wc.size_ms, size),
                              rows_time(l->wc.lateness_ms, lateness) };
    pg_result_t  result;
    rc_t         rc;

    rc = rows_exec(l, rows_sql_progress_make, 5, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    rc = rows_exec(l, rows_sql_progress_read, 3, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (result.rows != 1) {
        return err_set(err, RC_RETRY, "sluice.progress has no row of ours");
    }

    const char *last = pg_value(l->pg, 0, 4);

    p->closed_ms = rows_int(l, 0, WINDOW_NONE);
    p->closed_next = rows_int(l, 1, 0);
    progress->window_ms = rows_int(l, 2, 0);
    progress->low = rows_int(l, 5, PARTITION_NONE);
    progress->lateness_ms = rows_int(l, 6, -1);
    p->ledger_next = rows_int(l, 7, 0);
    progress->has_last = last != NULL;
    snprintf(progress->last, sizeof(progress->last), "%s",
             last == NULL ? "" : last);
    partition_generation(p, l->conf, rows_int(l, 3, 0));

    return RC_OK;
}


rc_t
rows_is_mine(pg_t *pg, links_t *l, partition_t *p, const char *sql,
    err_t *err)
{
    char         closed[24], ledger[24];
    const char  *params[] = { l->conf->pipeline, l->conf->topic, p->id_text,
                              rows_time(p->closed_ms, closed),
                              p->generation_text,
                              rows_time(p->ledger_next, ledger) };
    pg_result_t  result;
    rc_t         rc;

    rc = rows_exec_on(pg, l, sql, 6, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    return result.rows == 1 ? RC_OK
           : err_set(err, RC_FENCED, "closed_through has moved, or "
                     "PostgreSQL lost a part of the ledger");
}


rc_t
rows_lateness(links_t *l, partition_t *p, err_t *err)
{
    char         closed[24], lateness[24];
    const char  *params[] = { l->conf->pipeline, l->conf->topic, p->id_text,
                              rows_time(p->closed_ms, closed),
                              p->generation_text,
                              rows_time(l->wc.lateness_ms, lateness) };
    pg_result_t  result;

    return rows_exec(l, rows_sql_lateness, 6, params, &result, err);
}


rc_t
rows_gap(links_t *l, partition_t *p, const rows_gap_t *gap, err_t *err)
{
    char         closed[24], first[24], last[24], from[24], to[24];
    const char  *params[] = { l->conf->pipeline, l->conf->topic, p->id_text,
                              rows_time(p->closed_ms, closed),
                              p->generation_text, rows_time(gap->first, first),
                              rows_time(gap->last, last),
                              rows_time(gap->first_window_ms, from),
                              rows_time(gap->last_window_ms, to) };
    pg_result_t  result;
    rc_t         rc;

    rc = rows_exec(l, rows_sql_gap, 9, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    return result.affected == 1 ? RC_OK
           : err_set(err, RC_FENCED, "closed_through has moved");
}


rc_t
rows_check(links_t *l, partition_t *p, err_t *err)
{
    return rows_is_mine(l->pg, l, p, rows_sql_check, err);
}


rc_t
rows_probe(const pg_conf_t *conf, err_t *err)
{
    pg_t         *pg = pg_open(conf);
    pg_result_t   result;
    rc_t          rc;

    rc = pg_exec(pg, rows_sql_probe, 0, NULL, &result, err);

    if (rc == RC_OK
        && (result.rows != 1 || strcmp(pg_value(pg, 0, 0), "t") != 0))
    {
        rc = err_set(err, RC_REJECT, "this user may not read and write "
                     "the tables in the schema sluice: make it a member of "
                     "sluice_writer");
    }

    pg_close(pg);

    return rc;
}
