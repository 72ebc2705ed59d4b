/*
 * pg.c: one PostgreSQL connection of a lane.
 *
 * Owns the connection, its prepared statements and the last result.  Knows no
 * table: the SQL is the caller's.
 *
 * statement_timeout bounds what the server does, but not a server that is
 * frozen or a network that swallows packets.  So a statement is sent and its
 * result awaited with poll() and a deadline of our own, a little behind the
 * server's, and past it the connection is given up.
 *
 * A connection lost inside a transaction stays lost until the caller rolls
 * back: the second half must never run alone on a new one.
 */

#include "io/pg.h"
#include "io/pg_local.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/now.h"
#include "base/secret.h"
#include "base/stop.h"

#define PG_GRACE_MS  2000          /* for the server's own timeout to arrive */
#define PG_LOCK_MS   2000          /* more than deadlock_timeout, see setup */
#define PG_NAME_MAX  32


struct pg_s {
    const pg_conf_t  *conf;
    PGconn           *conn;        /* NULL: not connected */
    PGresult         *result;      /* the last, lent to the caller */
    const char      **sqls;        /* prepared on conn, by number */
    size_t            nsqls, cap;
    int               in_tx;
    int64_t           deadline;    /* of what pg_start() sent */
};


const conf_row_t  pg_rows[] = {
    { "dsn", CONF_STR, offsetof(pg_conf_t, dsn), NULL, 0, 0, NULL, 0,
      "libpq's connection string or URI, without a password." },
    { "password_file", CONF_STR, offsetof(pg_conf_t, password_file), "",
      0, 0, NULL, 0,
      "File whose first line is the password, read at every connect." },
    { "timeout", CONF_TIME, offsetof(pg_conf_t, timeout_ms), "5s",
      100, 300000, NULL, 0,
      "Bound of a connect to one host and of a statement; a lock is waited for "
      "at most 2 s of it." },
    { NULL, CONF_STR, 0, NULL, 0, 0, NULL, 0, NULL }
};


rc_t
pg_check(const pg_conf_t *conf, err_t *err)
{
    char              *why = NULL;
    PQconninfoOption  *options = PQconninfoParse(conf->dsn, &why);
    rc_t               rc = RC_OK;

    if (options == NULL) {
        /* libpq's sentence may quote the string, and a password with it. */
        (void) why;
        PQfreemem(why);
        return err_set(err, RC_REJECT,
                       "postgres: dsn is no connection string");
    }

    for (PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (o->val != NULL && (strcmp(o->keyword, "password") == 0
                               || strcmp(o->keyword, "sslpassword") == 0))
        {
            rc = err_set(err, RC_REJECT, "postgres: %s stands in dsn; put it "
                         "into password_file", o->keyword);
        }
    }

    PQconninfoFree(options);
    return rc;
}


pg_t *
pg_open(const pg_conf_t *conf)
{
    pg_t  *pg = mem_zalloc(sizeof(pg_t));

    pg->conf = conf;
    return pg;
}


static void
pg_forget(pg_t *pg)
{
    PQclear(pg->result);
    pg->result = NULL;
}


static void
pg_drop(pg_t *pg)
{
    PQfinish(pg->conn);
    pg->conn = NULL;
    pg->nsqls = 0;
}


void
pg_close(pg_t *pg)
{
    if (pg == NULL) {
        return;
    }
    pg_forget(pg);
    pg_drop(pg);
    free(pg->sqls);
    free(pg);
}


/* libpq's notices go to stderr otherwise, past the log. */
static void
pg_notice(void *arg, const PGresult *res)
{
    const char  *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    (void) arg;
    log_debug("pg", "notice", LS("text", text));
}


/* Give the connection up; the sentence is libpq's. */
static rc_t
pg_fail(pg_t *pg, err_t *err)
{
    (void) err_set(err, RC_RETRY, "postgres: %s", PQerrorMessage(pg->conn));
    pg_drop(pg);
    return RC_RETRY;
}


static int
pg_in_class(const char *state, const char *const *classes)
{
    for (; *classes != NULL; classes++) {
        if (strncmp(state, *classes, strlen(*classes)) == 0) {
            return 1;
        }
    }
    return 0;
}


/* What an error of the server means for the lane, and for the connection. */
static rc_t
pg_refused(pg_t *pg, err_t *err)
{
    /* data exception, integrity constraint: the same again next time */
    static const char *const  bad[] = { "22", "23", NULL };

    /*
     * The session is of no use any more: connection trouble, a standby, a
     * shutdown, statements that a pooler or DDL took from under us.  57014
     * is a statement's timeout, which leaves the session as it was.
     */
    static const char *const  lost[] = {
        "08", "25006", "57P", "26000", "0A000", NULL
    };

    const char  *state = PQresultErrorField(pg->result, PG_DIAG_SQLSTATE);
    const char  *text = PQresultErrorField(pg->result,
                                           PG_DIAG_MESSAGE_PRIMARY);
    rc_t         rc;

    if (state == NULL) {
        return pg_fail(pg, err);
    }

    rc = pg_in_class(state, bad) ? RC_REJECT : RC_RETRY;
    (void) err_set(err, rc, "postgres: %s (%s)",
                   text != NULL ? text : "no message", state);

    if (pg_in_class(state, lost) || PQstatus(pg->conn) != CONNECTION_OK) {
        pg_drop(pg);
    }
    return rc;
}


static rc_t
pg_poll(pg_t *pg, short events, int64_t deadline, short *ready, err_t *err)
{
    struct pollfd  pfd = { .fd = PQsocket(pg->conn), .events = events };

    for (;;) {
        int64_t  left = deadline - now_mono_ms();

        if (left <= 0 || stop_is_over()) {
            (void) err_set(err, RC_RETRY, "postgres: no answer within %"
                           PRId64 " ms", pg->conf->timeout_ms + PG_GRACE_MS);
            pg_drop(pg);
            return RC_RETRY;
        }

        int  n = poll(&pfd, 1, (int) stop_slice(left));

        if (n > 0) {
            *ready = pfd.revents;
            return RC_OK;
        }
        if (n < 0 && errno != EINTR) {
            (void) err_set(err, RC_RETRY, "postgres: poll: %s",
                           strerror(errno));
            pg_drop(pg);
            return RC_RETRY;
        }
    }
}


/* Send the rest of the query, while reading what comes meanwhile. */
static rc_t
pg_flush(pg_t *pg, int64_t deadline, err_t *err)
{
    for (;;) {
        int    n = PQflush(pg->conn);
        short  ready = 0;
        rc_t   rc;

        if (n == 0) {
            return RC_OK;
        }
        if (n < 0) {
            return pg_fail(pg, err);
        }

        rc = pg_poll(pg, POLLIN | POLLOUT, deadline, &ready, err);
        if (rc != RC_OK) {
            return rc;
        }
        if ((ready & (POLLIN | POLLHUP | POLLERR))
            && !PQconsumeInput(pg->conn))
        {
            return pg_fail(pg, err);
        }
    }
}


/*
 * Take a result that is here; 1 when that was the end.  Of several the first
 * failed one is kept, or the last.
 */
static int
pg_take(pg_t *pg)
{
    PGresult  *r = PQgetResult(pg->conn);

    if (r == NULL) {
        return 1;
    }

    if (pg->result != NULL
        && PQresultStatus(pg->result) == PGRES_FATAL_ERROR)
    {
        PQclear(r);
        return 0;
    }

    pg_forget(pg);
    pg->result = r;
    return 0;
}


/* What the kept result means. */
static rc_t
pg_outcome(pg_t *pg, err_t *err)
{
    switch (PQresultStatus(pg->result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        return RC_OK;
    case PGRES_FATAL_ERROR:
        return pg_refused(pg, err);
    default:
        (void) err_set(err, RC_RETRY, "postgres: unexpected answer %s",
                       PQresStatus(PQresultStatus(pg->result)));
        pg_drop(pg);
        return RC_RETRY;
    }
}


/*
 * After a PQsend…(), whose result is sent: wait for the answer and keep it in
 * pg->result.
 */
static rc_t
pg_await(pg_t *pg, int sent, err_t *err)
{
    int64_t  deadline = now_mono_ms() + pg->conf->timeout_ms + PG_GRACE_MS;
    short    ready;
    rc_t     rc;

    if (!sent) {
        return pg_fail(pg, err);
    }

    rc = pg_flush(pg, deadline, err);
    if (rc != RC_OK) {
        return rc;
    }

    for (;;) {
        while (PQisBusy(pg->conn)) {
            rc = pg_poll(pg, POLLIN, deadline, &ready, err);
            if (rc != RC_OK) {
                return rc;
            }
            if (!PQconsumeInput(pg->conn)) {
                return pg_fail(pg, err);
            }
        }

        if (pg_take(pg)) {
            return pg_outcome(pg, err);
        }
    }
}


/* One command, or several, without parameters. */
static rc_t
pg_simple(pg_t *pg, const char *sql, err_t *err)
{
    pg_forget(pg);
    return pg_await(pg, PQsendQuery(pg->conn, sql), err);
}


/*
 * Text and times mean the same on every server.
 *
 * A lock is not waited for as long as a statement may take: who holds it may
 * hold it long, and all else that uses this connection waits behind.  But
 * longer than deadlock_timeout (1 s): only then does the server look whether
 * it is autovacuum that stands in the way, and sends it off.
 */
static rc_t
pg_setup(pg_t *pg, err_t *err)
{
    int64_t  lock_ms = pg->conf->timeout_ms;
    char     sql[256];

    if (lock_ms > PG_LOCK_MS) {
        lock_ms = PG_LOCK_MS;
    }

    (void) snprintf(sql, sizeof(sql),
                    "SET statement_timeout = %" PRId64 ";"
                    "SET lock_timeout = %" PRId64 ";"
                    "SET idle_in_transaction_session_timeout = %" PRId64 ";"
                    "SET TimeZone = 'UTC';"
                    "SET DateStyle = 'ISO'",
                    pg->conf->timeout_ms, lock_ms,
                    2 * pg->conf->timeout_ms + 10000);

    return pg_simple(pg, sql, err);
}


static rc_t
pg_connect(pg_t *pg, err_t *err)
{
    char   seconds[24], user_timeout[24];
    char  *password = NULL;                                /* owned */
    rc_t   rc;

    if (pg->conn != NULL && PQstatus(pg->conn) == CONNECTION_OK) {
        return RC_OK;
    }
    pg_drop(pg);

    rc = pg_check(pg->conf, err);
    if (rc == RC_OK) {
        rc = secret_read(pg->conf->password_file, &password, err);
    }
    if (rc != RC_OK) {
        return rc;
    }

    (void) snprintf(seconds, sizeof(seconds), "%" PRId64,
                    (pg->conf->timeout_ms + 999) / 1000);
    (void) snprintf(user_timeout, sizeof(user_timeout), "%" PRId64,
                    pg->conf->timeout_ms);

    /* What stands behind dbname overrides what the dsn says. */
    const char  *keys[] = {
        "dbname", "connect_timeout", "tcp_user_timeout", "keepalives",
        "keepalives_idle", "keepalives_interval", "keepalives_count",
        "client_encoding", "application_name",
        password != NULL ? "password" : NULL, NULL
    };
    const char  *values[] = {
        pg->conf->dsn, seconds, user_timeout, "1", "10", "5", "3", "UTF8",
        "sluice-processor", password, NULL
    };

    pg->conn = pg_link(keys, values);
    secret_free(password);
    metrics_add(METRIC_PG_CONNECTS, PQstatus(pg->conn) == CONNECTION_OK
                                    ? METRICS_RESULT_OK
                                    : METRICS_RESULT_FAILED, 1);

    if (pg->conn == NULL) {
        return err_set(err, RC_RETRY, "postgres: no connect: the process "
                       "stops, or has no memory left");
    }
    if (PQstatus(pg->conn) != CONNECTION_OK) {
        return pg_fail(pg, err);
    }

    (void) PQsetNoticeReceiver(pg->conn, pg_notice, NULL);
    if (PQsetnonblocking(pg->conn, 1) != 0) {
        return pg_fail(pg, err);
    }

    rc = pg_setup(pg, err);
    if (rc != RC_OK && pg->conn != NULL) {
        pg_drop(pg);
    }
    return rc;
}


/* The connection to run something on: never a new one inside a transaction. */
static rc_t
pg_ready(pg_t *pg, err_t *err)
{
    if (pg->in_tx) {
        return pg->conn != NULL ? RC_OK
                                : err_set(err, RC_RETRY, "postgres: the "
                                          "connection was lost inside a "
                                          "transaction");
    }
    return pg_connect(pg, err);
}


static void
pg_name(size_t i, char name[PG_NAME_MAX])
{
    (void) snprintf(name, PG_NAME_MAX, "sluice_%zu", i);
}


/* The statement's name, prepared when this connection doesn't know it yet. */
static rc_t
pg_prepare(pg_t *pg, const char *sql, size_t nparams, char name[PG_NAME_MAX],
    err_t *err)
{
    rc_t  rc;

    for (size_t i = 0; i < pg->nsqls; i++) {
        if (pg->sqls[i] == sql) {
            pg_name(i, name);
            return RC_OK;
        }
    }

    pg_name(pg->nsqls, name);
    rc = pg_await(pg, PQsendPrepare(pg->conn, name, sql, (int) nparams, NULL),
                  err);
    if (rc != RC_OK) {
        return rc;
    }

    if (pg->nsqls == pg->cap) {
        pg->cap += 16;
        pg->sqls = mem_grow(pg->sqls, pg->cap, sizeof(char *));
    }
    pg->sqls[pg->nsqls++] = sql;
    return RC_OK;
}


/* Send a statement, prepared when this connection doesn't know it yet. */
static rc_t
pg_send(pg_t *pg, const char *sql, size_t nparams, const char *const *params,
    int *sent, err_t *err)
{
    char  name[PG_NAME_MAX];
    rc_t  rc;

    pg_forget(pg);

    rc = pg_ready(pg, err);
    if (rc != RC_OK) {
        return rc;
    }

    rc = pg_prepare(pg, sql, nparams, name, err);
    if (rc != RC_OK) {
        return rc;
    }

    pg_forget(pg);
    *sent = PQsendQueryPrepared(pg->conn, name, (int) nparams, params, NULL,
                                NULL, 0);
    return RC_OK;
}


static void
pg_count(const pg_t *pg, pg_result_t *result)
{
    result->rows = (size_t) PQntuples(pg->result);
    result->cols = (size_t) PQnfields(pg->result);
    result->affected = strtoull(PQcmdTuples(pg->result), NULL, 10);
}


rc_t
pg_exec(pg_t *pg, const char *sql, size_t nparams, const char *const *params,
    pg_result_t *result, err_t *err)
{
    int   sent;
    rc_t  rc;

    rc = pg_send(pg, sql, nparams, params, &sent, err);
    if (rc == RC_OK) {
        rc = pg_await(pg, sent, err);
    }
    if (rc == RC_OK && result != NULL) {
        pg_count(pg, result);
    }
    return rc;
}


rc_t
pg_start(pg_t *pg, const char *sql, size_t nparams, const char *const *params,
    int64_t timeout_ms, err_t *err)
{
    int   sent;
    rc_t  rc;

    rc = pg_send(pg, sql, nparams, params, &sent, err);
    if (rc == RC_OK && (!sent || PQflush(pg->conn) < 0)) {
        rc = pg_fail(pg, err);
    }
    pg->deadline = now_mono_ms() + timeout_ms;
    return rc;
}


rc_t
pg_finish(pg_t *pg, int *done, pg_result_t *result, err_t *err)
{
    *done = 0;

    if (!PQconsumeInput(pg->conn) || PQflush(pg->conn) < 0) {
        return pg_fail(pg, err);
    }

    while (!PQisBusy(pg->conn)) {
        if (pg_take(pg)) {
            rc_t  rc = pg_outcome(pg, err);

            if (rc == RC_OK) {
                pg_count(pg, result);
                *done = 1;
            }
            return rc;
        }
    }

    if (now_mono_ms() < pg->deadline) {
        return RC_OK;
    }

    (void) err_set(err, RC_RETRY, "postgres: no answer in time");
    pg_drop(pg);
    return RC_RETRY;
}


const char *
pg_value(const pg_t *pg, size_t row, size_t col)
{
    assert(pg->result != NULL);

    if (PQgetisnull(pg->result, (int) row, (int) col)) {
        return NULL;
    }
    return PQgetvalue(pg->result, (int) row, (int) col);
}


rc_t
pg_begin(pg_t *pg, err_t *err)
{
    rc_t  rc;

    assert(!pg->in_tx);

    rc = pg_connect(pg, err);
    if (rc == RC_OK) {
        rc = pg_simple(pg, "BEGIN", err);
    }
    pg->in_tx = rc == RC_OK;
    return rc;
}


rc_t
pg_commit(pg_t *pg, err_t *err)
{
    rc_t  rc;

    assert(pg->in_tx);

    rc = pg_ready(pg, err);
    if (rc == RC_OK) {
        rc = pg_simple(pg, "COMMIT", err);
    }

    /* COMMIT of a transaction that failed before succeeds as a ROLLBACK. */
    if (rc == RC_OK && strcmp(PQcmdStatus(pg->result), "COMMIT") != 0) {
        rc = err_set(err, RC_RETRY, "postgres: the transaction was rolled "
                     "back");
    }
    if (rc == RC_OK) {
        pg->in_tx = 0;
    } else {
        pg_rollback(pg);
    }
    return rc;
}


void
pg_rollback(pg_t *pg)
{
    err_t  err;

    pg_forget(pg);

    if (pg->in_tx && pg->conn != NULL
        && PQtransactionStatus(pg->conn) != PQTRANS_IDLE
        && pg_simple(pg, "ROLLBACK", &err) != RC_OK && pg->conn != NULL)
    {
        pg_drop(pg);
    }
    pg->in_tx = 0;
}


void
pg_disconnect(pg_t *pg)
{
    pg_forget(pg);
    pg_drop(pg);
    pg->in_tx = 0;
}
