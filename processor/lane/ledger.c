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
 *
 * uploads is asked for more than a number only where that says that rows were
 * there before: in a replay, and when the log holds a record twice.  A second
 * statement reads them, with a view of its own, as it must see what was
 * committed since the first began.  The lock on progress keeps all those
 * apart who write rows of one partition.
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

/* What r holds, as rows of uploads. */
#define SQL_UPLOADS                                                           \
    "INSERT INTO sluice.uploads (pipeline, topic, partition, generation, id," \
    " customer, name, sha256, type, \"offset\", window_start, size, time) "   \
    "SELECT $1::text, $2::text, $3::integer, $5::integer, r.id, r.customer,"  \
    " r.name, r.sha256, r.type, r.at, " SQL_TIME("r.start") ", r.size, "      \
    SQL_TIME("r.seen") " "                                                    \
    "FROM mine, unnest($8::text[], $9::text[], $10::text[], $11::bigint[],"   \
    " $12::bigint[], $13::text[], $14::text[], $15::bigint[], $16::bigint[])" \
    " AS r(customer, id, sha256, at, seen, name, type, start, size)"

/* Of two of one id the first in the log gets in. */
#define SQL_NEW  " ORDER BY r.at ON CONFLICT DO NOTHING RETURNING 1"

#define SQL_WRITTEN  "(SELECT count(*) FROM written)"

static const char ledger_sql_write[] =
    "WITH mine AS (" SQL_MOVE "), written AS (" SQL_UPLOADS SQL_NEW ") "
    "SELECT ledger_next, " SQL_WRITTEN " FROM mine";

/* Claims too, and no row for a repeat. */
static const char ledger_sql_claim[] =
    "WITH mine AS (" SQL_MOVE "), given AS ("
    "SELECT * FROM unnest($17::text[], $18::text[], $19::text[],"
    " $20::bigint[], $21::bigint[]) WITH ORDINALITY"
    " AS g(customer, id, sha256, at, seen, n)"
    "), held AS ("
    "INSERT INTO sluice.first_seen AS f (pipeline, customer, id, sha256,"
    " topic, partition, generation, \"offset\", seen_at) "
    "SELECT DISTINCT ON (g.customer COLLATE \"C\", g.id COLLATE \"C\","
    " g.sha256 COLLATE \"C\") $1::text, g.customer, g.id, g.sha256, $2::text,"
    " $3::integer, $5::integer, g.at, " SQL_TIME("g.seen")
    " FROM mine, given g "
    "ORDER BY g.customer COLLATE \"C\", g.id COLLATE \"C\","
    " g.sha256 COLLATE \"C\", g.at "
    "ON CONFLICT (pipeline, customer, id, sha256) DO UPDATE"
    " SET seen_at = f.seen_at "
    "RETURNING customer, id, sha256, topic, partition, generation,"
    " \"offset\"), judged AS ("
    "SELECT g.n, g.at, h.topic = $2 AND h.partition = $3"
    " AND h.generation = $5 AND h.\"offset\" = g.at AS mine "
    "FROM given g JOIN held h USING (customer, id, sha256)"
    "), written AS (" SQL_UPLOADS
    " WHERE r.at NOT IN (SELECT j.at FROM judged j WHERE NOT j.mine)"
    SQL_NEW ") "
    "SELECT (SELECT ledger_next FROM mine), " SQL_WRITTEN ","
    " string_agg(CASE WHEN j.mine THEN '1' ELSE '0' END, '' ORDER BY j.n) "
    "FROM judged j";

/*
 * The row of uploads that is of r's record, at whatever place.  The customer
 * is not compared as an index could: on a day without statistics the planner
 * would take the one of customers, and look through a window for each record.
 */
#define SQL_SAME(generation)                                                  \
    "u.pipeline = $1::text AND u.topic = $2::text"                            \
    " AND u.partition = $3::integer AND u.generation = " generation           \
    "::integer AND u.window_start = " SQL_TIME("r.start")                     \
    " AND u.id = r.id AND u.customer || '' = r.customer"                      \
    " AND u.sha256 = r.sha256"

/*
 * A digit for each record: 0, 1 where the row is its own, 2 where it is of
 * another place.  Row by row, lest such a planner reads a day.
 */
#define SQL_PLACES(generation, given)                                         \
    "SELECT string_agg(CASE WHEN u.at IS NULL THEN '0' WHEN u.at = r.at"      \
    " THEN '1' ELSE '2' END, '' ORDER BY r.n) FROM " given                    \
    " LEFT JOIN LATERAL (SELECT u.\"offset\" AS at FROM sluice.uploads u"     \
    " WHERE " SQL_SAME(generation) " LIMIT 1) u ON true"

static const char ledger_sql_places[] =
    SQL_PLACES("$4", "unnest($5::text[], $6::text[], $7::text[],"
               " $8::bigint[], $9::bigint[]) WITH ORDINALITY"
               " AS r(customer, id, sha256, at, start, n)");

/*
 * The row of another place stays, and tells that the record counts; so $12,
 * what the ledger held when last seen, must still be in it.
 */
static const char ledger_sql_release[] =
    "WITH mine AS (SELECT 1 FROM sluice.progress WHERE " SQL_IS_MINE
    " AND ledger_next >= $12::bigint FOR SHARE), given AS ("
    "SELECT * FROM mine, unnest($6::text[], $7::text[], $8::text[],"
    " $9::bigint[], $10::bigint[], $11::text[]) WITH ORDINALITY"
    " AS r(customer, id, sha256, at, start, once, n)"
    "), claims AS ("
    "DELETE FROM sluice.first_seen f USING given r WHERE f.pipeline = $1"
    " AND f.customer = r.customer AND f.id = r.once AND f.sha256 = r.sha256"
    " AND f.topic = $2 AND f.partition = $3 AND f.generation = $5"
    " AND f.\"offset\" = r.at"
    "), uploads AS ("
    "DELETE FROM sluice.uploads u USING given r WHERE " SQL_SAME("$5")
    " AND u.\"offset\" = r.at) "
    SQL_PLACES("$5", "given r");

/* Of uploads, then of first_seen; the first five mean the same in both. */
enum { COL_CUSTOMER, COL_ID, COL_SHA256, COL_AT, COL_SEEN,
       COL_NAME, COL_TYPE, COL_START, COL_SIZE, COL_CLAIM,
       COLUMNS = COL_CLAIM + COL_SEEN + 1 };

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


static pg_array_t *
ledger_begin(links_t *l)
{
    pg_array_t *c = l->ledger->columns;

    for (int i = 0; i < COLUMNS; i++) {
        pg_array_reset(&c[i]);
    }

    return c;
}


/* The columns that all statements have, from c on. */
static void
ledger_add(pg_array_t *c, const ledger_entry_t *e, const char *id, size_t len,
    int64_t time)
{
    pg_array_str(&c[COL_CUSTOMER], e->rec->customer, e->rec->customer_len);
    pg_array_str(&c[COL_ID], id, len);
    pg_array_str(&c[COL_SHA256], e->rec->sha256, SLUICE_SHA256_HEX);
    pg_array_int(&c[COL_AT], e->rec->offset);
    pg_array_int(&c[COL_SEEN], time);
}


static void
ledger_add_upload(pg_array_t *c, const ledger_entry_t *e)
{
    const record_t *rec = e->rec;

    ledger_add(c, e, rec->id, rec->id_len, rec->ts_ms);
    pg_array_str(&c[COL_NAME], rec->name, rec->name_len);
    pg_array_str(&c[COL_TYPE], rec->type, rec->type_len);
    pg_array_int(&c[COL_START], e->start_ms);
    pg_array_int(&c[COL_SIZE], rec->size);
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


/*
 * Runs a statement that moves the ledger, with ncolumns behind it; *written:
 * how many rows of uploads are new.
 */
static rc_t
ledger_move(links_t *l, partition_t *p, const char *sql, int64_t through,
    size_t ncolumns, size_t *written, err_t *err)
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

    for (size_t i = 0; i < ncolumns; i++) {
        params[7 + i] = pg_array_end(&l->ledger->columns[i]);
    }

    rc = ledger_exec(l, sql, 7 + ncolumns, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (result.rows != 1 || pg_value(l->pg, 0, 0) == NULL) {
        return err_set(err, RC_FENCED, "closed_through or generation "
                       "has moved, or PostgreSQL lost a part of the ledger");
    }

    p->ledger_next = strtoll(pg_value(l->pg, 0, 0), NULL, 10);
    *written = (size_t) strtoull(pg_value(l->pg, 0, 1), NULL, 10);

    return RC_OK;
}


/* Whose names are their own, out of the claim's answer. */
static rc_t
ledger_judge(links_t *l, ledger_entry_t *entries, size_t n, size_t named,
    err_t *err)
{
    const char *digits = pg_value(l->pg, 0, 2);

    if (digits == NULL || strlen(digits) != named) {
        return err_set(err, RC_RETRY, "first_seen answers for %zu of %zu "
                       "names", digits == NULL ? 0 : strlen(digits), named);
    }

    for (size_t i = 0; i < n; i++) {
        if (entries[i].once_len > 0 && *digits++ != '1') {
            entries[i].place = LEDGER_REPEAT;
        }
    }

    return RC_OK;
}


/* Some were there before: from which place in the log? */
static rc_t
ledger_places(links_t *l, const partition_t *p, ledger_entry_t *entries,
    size_t n, err_t *err)
{
    pg_array_t  *c = ledger_begin(l);
    const char  *digits, *params[4 + COL_SEEN + 1] = {
        l->conf->pipeline, l->conf->topic, p->id_text, p->generation_text
    };
    pg_result_t  result;
    rc_t         rc;

    for (size_t i = 0; i < n; i++) {
        ledger_add(c, &entries[i], entries[i].rec->id, entries[i].rec->id_len,
                   entries[i].start_ms);
    }

    for (int i = 0; i <= COL_SEEN; i++) {
        params[4 + i] = pg_array_end(&c[i]);
    }

    rc = ledger_exec(l, ledger_sql_places, 4 + COL_SEEN + 1, params, &result,
                     err);
    if (rc != RC_OK) {
        return rc;
    }

    digits = result.rows == 1 ? pg_value(l->pg, 0, 0) : NULL;
    if (digits == NULL || strlen(digits) != n) {
        return err_set(err, RC_RETRY, "uploads answers for %zu of %zu rows",
                       digits == NULL ? 0 : strlen(digits), n);
    }

    for (size_t i = 0; i < n; i++) {
        if (entries[i].place != LEDGER_MINE || digits[i] == '1') {
            continue;
        }

        if (digits[i] == '0') {
            return err_set(err, RC_RETRY, "a row of uploads was taken back");
        }

        entries[i].place = LEDGER_TWICE;
    }

    return RC_OK;
}


rc_t
ledger_write(links_t *l, partition_t *p, ledger_entry_t *entries, size_t n,
    int64_t through, err_t *err)
{
    pg_array_t  *c = ledger_begin(l);
    size_t       named = 0, written = 0, mine = 0;
    rc_t         rc;

    for (size_t i = 0; i < n; i++) {
        ledger_entry_t *e = &entries[i];

        e->place = LEDGER_MINE;

        if (l->conf->uploads_table) {
            ledger_add_upload(c, e);
        }

        if (e->once_len > 0) {
            ledger_add(&c[COL_CLAIM], e, e->once, e->once_len, e->rec->ts_ms);
            named++;
        }
    }

    if (n == 0 || (named == 0 && !l->conf->uploads_table)) {
        return RC_OK;
    }

    if (named == 0) {
        rc = ledger_move(l, p, ledger_sql_write, through, COL_CLAIM, &written,
                         err);

    } else {
        rc = ledger_move(l, p, ledger_sql_claim, through, COLUMNS, &written,
                         err);
        if (rc == RC_OK) {
            rc = ledger_judge(l, entries, n, named, err);
        }
    }

    if (rc != RC_OK || !l->conf->uploads_table) {
        return rc;
    }

    for (size_t i = 0; i < n; i++) {
        mine += entries[i].place == LEDGER_MINE;
    }

    return written == mine ? RC_OK : ledger_places(l, p, entries, n, err);
}


rc_t
ledger_release(links_t *l, partition_t *p, ledger_entry_t *entries, size_t n,
    err_t *err)
{
    pg_array_t  *c = ledger_begin(l);
    char         closed[24], known[24];
    const char  *digits, *params[] = {
        l->conf->pipeline, l->conf->topic, p->id_text,
        ledger_int(p->closed_ms, WINDOW_NONE, closed), p->generation_text,
        NULL, NULL, NULL, NULL, NULL, NULL,
        ledger_int(p->ledger_next, PARTITION_NONE, known)
    };
    pg_result_t  result;
    rc_t         rc;

    for (size_t i = 0; i < n; i++) {
        const ledger_entry_t *e = &entries[i];

        ledger_add(c, e, e->rec->id, e->rec->id_len, e->start_ms);
        pg_array_str(&c[COL_NAME], e->once, e->once_len);
    }

    for (int i = 0; i <= COL_NAME; i++) {
        params[5 + i] = pg_array_end(&c[i]);
    }

    rc = ledger_exec(l, ledger_sql_release, 12, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    digits = result.rows == 1 ? pg_value(l->pg, 0, 0) : NULL;
    if (digits == NULL || strlen(digits) != n) {
        return err_set(err, RC_FENCED, "closed_through or generation "
                       "has moved, or PostgreSQL lost a part of the ledger");
    }

    for (size_t i = 0; i < n; i++) {
        entries[i].place = digits[i] == '2' ? LEDGER_TWICE : LEDGER_MINE;
    }

    return RC_OK;
}
