/*
 * ledger.c: the SQL of first_seen and uploads.
 *
 * Owns statements and their parameters.  Does not know what a verdict is.
 *
 * A name is claimed by INSERT ... ON CONFLICT; what is stored then decides,
 * not whether this insert did it: a lane that reads the log again finds its
 * own row there.  On conflict the row is written as it is, since that is the
 * one way to be told what is stored in the same statement, also when another
 * transaction has committed it since this one began; it happens for repeats
 * alone.  Rows go in sorted by key, so that two lanes can't deadlock.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "lane/ledger.h"
#include "lane/rows.h"

/* A time from milliseconds, NULL from NULL. */
#define SQL_TIME(n)                                                           \
    "timestamptz 'epoch' + " n "::bigint * interval '1 millisecond'"

#define SQL_IS_MINE                                                           \
    "pipeline = $1::text AND topic = $2::text AND partition = $3::integer"    \
    " AND closed_through IS NOT DISTINCT FROM " SQL_TIME("$4")                \
    " AND generation = $5::integer"

/* $6 what the ledger held when last seen, $7 what it holds now. */
#define SQL_MOVE                                                              \
    "UPDATE sluice.progress"                                                  \
    " SET ledger_next = greatest(ledger_next, $7::bigint)"                    \
    " WHERE " SQL_IS_MINE " AND ledger_next >= $6::bigint"                    \
    " RETURNING ledger_next"

static const char ledger_sql_claim[] =
    "WITH mine AS (" SQL_MOVE "), given AS ("
    "SELECT * FROM unnest($8::text[], $9::text[], $10::text[], $11::bigint[],"
    " $12::bigint[]) WITH ORDINALITY AS r(customer, id, sha256, at, seen, n)"
    "), held AS ("
    "INSERT INTO sluice.first_seen AS f (pipeline, customer, id, sha256,"
    " topic, partition, generation, \"offset\", seen_at) "
    "SELECT DISTINCT ON (r.customer COLLATE \"C\", r.id COLLATE \"C\","
    " r.sha256 COLLATE \"C\") $1::text, r.customer, r.id, r.sha256, $2::text,"
    " $3::integer, $5::integer, r.at, " SQL_TIME("r.seen") " FROM mine, given r "
    "ORDER BY r.customer COLLATE \"C\", r.id COLLATE \"C\","
    " r.sha256 COLLATE \"C\", r.at "
    "ON CONFLICT (pipeline, customer, id, sha256) DO UPDATE"
    " SET seen_at = f.seen_at "
    "RETURNING customer, id, sha256, topic, partition, generation,"
    " \"offset\") "
    "SELECT (SELECT ledger_next FROM mine),"
    " string_agg(CASE WHEN h.topic = $2 AND h.partition = $3"
    " AND h.generation = $5 AND h.\"offset\" = r.at THEN '1' ELSE '0' END, '' ORDER BY r.n) "
    "FROM given r JOIN held h USING (customer, id, sha256)";

static const char ledger_sql_write[] =
    "WITH mine AS (" SQL_MOVE "), written AS ("
    "INSERT INTO sluice.uploads (pipeline, topic, partition, generation,"
    " id, customer, name, sha256, type, \"offset\", window_start, size, time) "
    "SELECT $1::text, $2::text, $3::integer, $5::integer, r.id, r.customer, r.name,"
    " r.sha256, r.type, r.at, " SQL_TIME("r.start") ", r.size, "
    SQL_TIME("r.seen") " "
    "FROM mine, unnest($8::text[], $9::text[], $10::text[], $11::bigint[],"
    " $12::bigint[], $13::text[], $14::text[], $15::bigint[], $16::bigint[])"
    " AS r(customer, id, sha256, at, seen, name, type, start, size)"
    " ON CONFLICT DO NOTHING) "
    "SELECT ledger_next FROM mine";

static const char ledger_sql_release[] =
    "WITH mine AS (SELECT 1 FROM sluice.progress WHERE " SQL_IS_MINE
    " FOR SHARE), given AS ("
    "SELECT * FROM mine, unnest($6::text[], $7::text[], $8::text[],"
    " $9::bigint[], $10::bigint[])"
    " AS r(customer, id, sha256, at, start)"
    "), claims AS ("
    "DELETE FROM sluice.first_seen f USING given r WHERE f.pipeline = $1"
    " AND f.customer = r.customer AND f.id = r.id AND f.sha256 = r.sha256"
    " AND f.topic = $2 AND f.partition = $3 AND f.generation = $5"
    " AND f.\"offset\" = r.at"
    "), uploads AS ("
    "DELETE FROM sluice.uploads u USING given r WHERE u.pipeline = $1"
    " AND u.topic = $2 AND u.partition = $3 AND u.generation = $5"
    " AND u.\"offset\" = r.at"
    " AND u.window_start = " SQL_TIME("r.start") ") "
    "SELECT 1 FROM mine";

enum {
    COL_CUSTOMER, COL_ID, COL_SHA256, COL_AT, COL_SEEN,
    COL_NAME, COL_TYPE, COL_START, COL_SIZE, COLUMNS
};

struct ledger_s {
    pg_array_t  columns[COLUMNS];
};


ledger_t *
ledger_new(void)
{
    return mem_zalloc(sizeof(ledger_t));
}


void
ledger_free(ledger_t *ledger)
{
    if (ledger == NULL) {
        return;
    }

    for (int i = 0; i < COLUMNS; i++) {
        pg_array_free(&ledger->columns[i]);
    }

    free(ledger);
}


/* Those columns that all statements have, or more. */
static pg_array_t *
ledger_begin(links_t *l)
{
    pg_array_t *c = l->ledger->columns;

    for (int i = 0; i < COLUMNS; i++) {
        pg_array_reset(&c[i]);
    }

    return c;
}


static void
ledger_add(pg_array_t *c, const ledger_entry_t *e, const char *id, size_t len)
{
    pg_array_str(&c[COL_CUSTOMER], e->rec->customer, e->rec->customer_len);
    pg_array_str(&c[COL_ID], id, len);
    pg_array_str(&c[COL_SHA256], e->rec->sha256, SLUICE_SHA256_HEX);
    pg_array_int(&c[COL_AT], e->rec->offset);
}


/* The text of a number, or NULL: SQL's NULL. */
static const char *
ledger_int(int64_t n, int64_t none, char text[24])
{
    if (n == none) {
        return NULL;
    }

    snprintf(text, 24, "%" PRId64, n);

    return text;
}


static rc_t
ledger_exec(links_t *l, const char *sql, size_t n, const char *const *params,
    pg_result_t *result, err_t *err)
{
    int64_t  began = metrics_clock();
    rc_t     rc = pg_exec(l->pg, sql, n, params, result, err);

    metrics_time(METRIC_STEP, METRICS_STEP_LEDGER, began);

    if (rc != RC_OK) {
        rows_forget_days(l);          /* a purge may have dropped a table */
        return RC_RETRY;
    }

    return RC_OK;
}


/* Runs a statement that moves the ledger, with ncolumns behind it. */
static rc_t
ledger_move(links_t *l, partition_t *p, const char *sql, int64_t through,
    int ncolumns, err_t *err)
{
    char         closed[24], known[24], now[24];
    const char  *params[7 + COLUMNS] = {
        l->conf->pipeline, l->conf->topic, p->id_text,
        ledger_int(p->closed_ms, WINDOW_NONE, closed), p->generation_text,
        ledger_int(p->ledger_next, PARTITION_NONE, known),
        ledger_int(through, PARTITION_NONE, now)
    };
    pg_result_t  result;
    rc_t         rc;

    for (int i = 0; i < ncolumns; i++) {
        params[7 + i] = pg_array_end(&l->ledger->columns[i]);
    }

    rc = ledger_exec(l, sql, (size_t) (7 + ncolumns), params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (result.rows != 1 || pg_value(l->pg, 0, 0) == NULL) {
        return err_set(err, RC_FENCED, "closed_through or generation "
                       "has moved, or PostgreSQL lost a part of the ledger");
    }

    p->ledger_next = strtoll(pg_value(l->pg, 0, 0), NULL, 10);

    return RC_OK;
}


rc_t
ledger_claim(links_t *l, partition_t *p, ledger_entry_t *entries, size_t n,
    int64_t through, err_t *err)
{
    pg_array_t  *c = ledger_begin(l);
    rc_t         rc;

    for (size_t i = 0; i < n; i++) {
        ledger_add(c, &entries[i], entries[i].once, entries[i].once_len);
        pg_array_int(&c[COL_SEEN], entries[i].rec->ts_ms);
    }

    rc = ledger_move(l, p, ledger_sql_claim, through, COL_SEEN + 1, err);
    if (rc != RC_OK) {
        return rc;
    }

    const char *digits = pg_value(l->pg, 0, 1);

    if (digits == NULL || strlen(digits) != n) {
        return err_set(err, RC_RETRY, "first_seen holds %zu of %zu names",
                       digits == NULL ? 0 : strlen(digits), n);
    }

    for (size_t i = 0; i < n; i++) {
        entries[i].mine = digits[i] == '1';
    }

    return RC_OK;
}


rc_t
ledger_write(links_t *l, partition_t *p, const ledger_entry_t *entries,
    size_t n, int64_t through, err_t *err)
{
    pg_array_t *c = ledger_begin(l);

    for (size_t i = 0; i < n; i++) {
        const record_t *rec = entries[i].rec;

        ledger_add(c, &entries[i], rec->id, rec->id_len);
        pg_array_int(&c[COL_SEEN], rec->ts_ms);
        pg_array_str(&c[COL_NAME], rec->name, rec->name_len);
        pg_array_str(&c[COL_TYPE], rec->type, rec->type_len);
        pg_array_int(&c[COL_START], entries[i].start_ms);
        pg_array_int(&c[COL_SIZE], rec->size);
    }

    return ledger_move(l, p, ledger_sql_write, through, COLUMNS, err);
}


rc_t
ledger_release(links_t *l, partition_t *p, const ledger_entry_t *entries,
    size_t n, err_t *err)
{
    pg_array_t  *c = ledger_begin(l);
    char         closed[24];
    const char  *params[] = {
        l->conf->pipeline, l->conf->topic, p->id_text,
        ledger_int(p->closed_ms, WINDOW_NONE, closed), p->generation_text,
        NULL, NULL, NULL, NULL, NULL
    };
    pg_result_t  result;
    rc_t         rc;

    for (size_t i = 0; i < n; i++) {
        ledger_add(c, &entries[i], entries[i].once, entries[i].once_len);
        pg_array_int(&c[COL_SEEN], entries[i].start_ms);
    }

    for (int i = 0; i <= COL_SEEN; i++) {
        params[5 + i] = pg_array_end(&c[i]);
    }

    rc = ledger_exec(l, ledger_sql_release, 10, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    return result.rows == 1 ? RC_OK
           : err_set(err, RC_FENCED, "closed_through or generation has moved");
}
