/*
 * ngx_http_sluice_pg_query.c: the queries of a worker's connection.
 *
 * Owns the queue, and a query from its start to its done().  Does not know
 * how a connection is made.  They go out one after another: answers are
 * small, and a pipeline would not let a slow one be overtaken either.  A query
 * that runs out of time takes the connection with it: that is the only way to
 * stop waiting that does not block.  Every query has a timer that holds a
 * quitting worker.
 */

#include "ngx_http_sluice_pg.h"


#define NGX_HTTP_SLUICE_PG_QUERIES  256     /* waiting, per worker */
#define NGX_HTTP_SLUICE_PG_TIMEOUT  5000    /* ms */


struct ngx_http_sluice_query_s {
    ngx_queue_t                  queue;
    ngx_http_sluice_pg_t        *pg;
    const char                  *name;      /* static, like sql */
    const char                  *sql;
    ngx_uint_t                   nparams;
    const char                 **params;    /* behind the struct */
    ngx_http_sluice_pg_done_pt   done;      /* NULL: cancelled */
    void                        *data;
    ngx_event_t                  timer;
    unsigned                     again:1;   /* sent on a second connection */
};


static void ngx_http_sluice_pg_query_timer(ngx_event_t *ev);
static ngx_int_t ngx_http_sluice_pg_query_answered(ngx_http_sluice_pg_t *pg);
static void ngx_http_sluice_pg_query_finish(ngx_http_sluice_query_t *query,
    ngx_int_t rc, ngx_str_t *value);
static void ngx_http_sluice_pg_query_free(ngx_http_sluice_query_t *query);


ngx_http_sluice_query_t *
ngx_http_sluice_pg_query(ngx_http_sluice_pg_t *pg, const char *name,
    const char *sql, ngx_uint_t nparams, const char *const *params,
    ngx_http_sluice_pg_done_pt done, void *data)
{
    char                     *p;
    size_t                    len, size;
    ngx_uint_t                i;
    ngx_http_sluice_query_t  *query;

    if (pg->state == NGX_HTTP_SLUICE_PG_OFF || pg->failures > 0) {
        return NULL;
    }

    if (pg->nqueries >= NGX_HTTP_SLUICE_PG_QUERIES) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "sluice: %ui queries wait for PostgreSQL, no more are "
                      "taken", pg->nqueries);
        return NULL;
    }

    size = sizeof(ngx_http_sluice_query_t) + nparams * sizeof(char *);

    for (i = 0; i < nparams; i++) {
        size += params[i] ? strlen(params[i]) + 1 : 0;
    }

    query = ngx_calloc(size, ngx_cycle->log);
    if (query == NULL) {
        return NULL;
    }

    query->params = (const char **) (query + 1);
    p = (char *) (query->params + nparams);

    for (i = 0; i < nparams; i++) {

        if (params[i] != NULL) {
            len = strlen(params[i]) + 1;
            query->params[i] = p;
            ngx_memcpy(p, params[i], len);
            p += len;
        }
    }

    query->pg = pg;
    query->name = name;
    query->sql = sql;
    query->nparams = nparams;
    query->done = done;
    query->data = data;
    query->timer.handler = ngx_http_sluice_pg_query_timer;
    query->timer.data = query;
    query->timer.log = ngx_cycle->log;

    ngx_add_timer(&query->timer, NGX_HTTP_SLUICE_PG_TIMEOUT);
    ngx_queue_insert_tail(&pg->queries, &query->queue);
    pg->nqueries++;

    /* not from here: what goes wrong in sending calls others' done() */
    ngx_http_sluice_pg_wake(pg);

    return query;
}


void
ngx_http_sluice_pg_cancel(ngx_http_sluice_query_t *query)
{
    if (query != query->pg->active) {
        ngx_http_sluice_pg_query_free(query);
        return;
    }

    /* it is on the wire: its answer is read and dropped, for nobody */
    query->done = NULL;
    query->timer.cancelable = 1;
}


static void
ngx_http_sluice_pg_query_free(ngx_http_sluice_query_t *query)
{
    if (query->timer.timer_set) {
        ngx_del_timer(&query->timer);
    }

    ngx_queue_remove(&query->queue);
    query->pg->nqueries--;

    if (query->pg->active == query) {
        query->pg->active = NULL;
    }

    ngx_free(query);
}


static void
ngx_http_sluice_pg_query_finish(ngx_http_sluice_query_t *query, ngx_int_t rc,
    ngx_str_t *value)
{
    void                        *data;
    ngx_http_sluice_pg_done_pt   done;

    done = query->done;
    data = query->data;

    ngx_http_sluice_pg_query_free(query);

    if (done != NULL) {
        done(data, rc, value);
    }
}


static void
ngx_http_sluice_pg_query_timer(ngx_event_t *ev)
{
    ngx_uint_t                active;
    ngx_http_sluice_pg_t     *pg;
    ngx_http_sluice_query_t  *query;

    query = ev->data;
    pg = query->pg;
    active = (pg->active == query);

    ngx_http_sluice_pg_query_finish(query, NGX_ERROR, NULL);

    if (active) {
        ngx_http_sluice_pg_lost(pg, "no answer in time");
    }
}


/* Send the first query, or what prepares it. */
ngx_int_t
ngx_http_sluice_pg_query_next(ngx_http_sluice_pg_t *pg)
{
    int                       ok;
    ngx_uint_t                i;
    ngx_queue_t              *q;
    ngx_http_sluice_query_t  *query;

    if (ngx_queue_empty(&pg->queries)) {

        if (ngx_exiting) {
            ngx_http_sluice_pg_close(pg);
        }

        return NGX_OK;
    }

    q = ngx_queue_head(&pg->queries);
    query = ngx_queue_data(q, ngx_http_sluice_query_t, queue);
    pg->active = query;
    pg->said = 0;

    for (i = 0; i < pg->nprepared; i++) {
        if (strcmp(pg->prepared[i], query->name) == 0) {
            break;
        }
    }

    if (i < pg->nprepared) {
        ok = PQsendQueryPrepared(pg->conn, query->name, query->nparams,
                                 query->params, NULL, NULL, 0);

    } else if (pg->nprepared < NGX_HTTP_SLUICE_PG_PREPARED) {
        pg->preparing = 1;
        ok = PQsendPrepare(pg->conn, query->name, query->sql, 0, NULL);

    } else {
        ok = PQsendQueryParams(pg->conn, query->sql, query->nparams, NULL,
                               query->params, NULL, NULL, 0);
    }

    return ok ? ngx_http_sluice_pg_query_flush(pg) : NGX_ERROR;
}


ngx_int_t
ngx_http_sluice_pg_query_flush(ngx_http_sluice_pg_t *pg)
{
    ngx_event_t  *wev;

    wev = pg->c->write;

    switch (PQflush(pg->conn)) {

    case 0:
        /* a socket by level is always ready to write: do not listen on */
        return wev->active ? ngx_del_event(wev, NGX_WRITE_EVENT, 0) : NGX_OK;

    case 1:
        return wev->active ? NGX_OK
                           : ngx_add_event(wev, NGX_WRITE_EVENT,
                                           NGX_LEVEL_EVENT);

    default:
        return NGX_ERROR;
    }
}


ngx_int_t
ngx_http_sluice_pg_query_read(ngx_http_sluice_pg_t *pg)
{
    PGresult  *result;

    if (!PQconsumeInput(pg->conn)
        || ngx_http_sluice_pg_query_flush(pg) != NGX_OK)
    {
        return NGX_ERROR;
    }

    while (!PQisBusy(pg->conn) && pg->active != NULL) {

        result = PQgetResult(pg->conn);

        if (result != NULL) {
            PQclear(pg->result);
            pg->result = result;
            continue;
        }

        if (PQstatus(pg->conn) == CONNECTION_BAD
            || ngx_http_sluice_pg_query_answered(pg) != NGX_OK)
        {
            return NGX_ERROR;
        }

        /* who was told may have closed it */
        if (pg->state != NGX_HTTP_SLUICE_PG_READY) {
            break;
        }
    }

    return NGX_OK;
}


/*
 * That a connection was cut while idle, or that PostgreSQL was started anew,
 * is found by the next query only: so it gets a second chance.
 */
void
ngx_http_sluice_pg_query_lost(ngx_http_sluice_query_t *query)
{
    if (query->again || query->done == NULL) {
        ngx_http_sluice_pg_query_finish(query, NGX_ERROR, NULL);
        return;
    }

    query->again = 1;
}


void
ngx_http_sluice_pg_query_fail(ngx_http_sluice_pg_t *pg)
{
    ngx_queue_t               waiting, *q;
    ngx_http_sluice_query_t  *query;

    ngx_queue_init(&waiting);

    if (!ngx_queue_empty(&pg->queries)) {
        ngx_queue_add(&waiting, &pg->queries);
        ngx_queue_init(&pg->queries);
    }

    /* a done() may cancel others of them */
    while (!ngx_queue_empty(&waiting)) {
        q = ngx_queue_head(&waiting);
        query = ngx_queue_data(q, ngx_http_sluice_query_t, queue);
        ngx_http_sluice_pg_query_finish(query, NGX_ERROR, NULL);
    }
}


void
ngx_http_sluice_pg_query_drop(ngx_http_sluice_pg_t *pg)
{
    ngx_queue_t              *q;
    ngx_http_sluice_query_t  *query;

    while (!ngx_queue_empty(&pg->queries)) {
        q = ngx_queue_head(&pg->queries);
        query = ngx_queue_data(q, ngx_http_sluice_query_t, queue);
        ngx_http_sluice_pg_query_free(query);
    }
}


/* All of an answer is there, in pg->result. */
static ngx_int_t
ngx_http_sluice_pg_query_answered(ngx_http_sluice_pg_t *pg)
{
    char                     *text;
    u_char                    buf[NGX_HTTP_SLUICE_PG_LINE];
    PGresult                 *result;
    ngx_int_t                 rc;
    ngx_str_t                 value, line;
    ngx_uint_t                level;
    ExecStatusType            status;
    ngx_http_sluice_query_t  *query;

    query = pg->active;
    result = pg->result;
    status = PQresultStatus(result);

    if (pg->preparing && status == PGRES_COMMAND_OK) {
        pg->preparing = 0;
        pg->prepared[pg->nprepared++] = query->name;
        return ngx_http_sluice_pg_query_next(pg);
    }

    pg->preparing = 0;
    pg->result = NULL;
    pg->said = ngx_strlen(PQerrorMessage(pg->conn));

    if (status == PGRES_TUPLES_OK && PQntuples(result) > 0
        && PQnfields(result) > 0)
    {
        pg->wait = 0;
        value.data = (u_char *) PQgetvalue(result, 0, 0);
        value.len = PQgetlength(result, 0, 0);
        rc = NGX_OK;

    } else {
        text = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        value.data = (u_char *) (text ? text : "XX000");
        value.len = ngx_strlen(value.data);

        text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        line = ngx_http_sluice_pg_line(buf, text ? text : "no row");

        /* class 22: a value in the question, which is whoever asked's */
        level = (ngx_strncmp(value.data, "22", 2) == 0) ? NGX_LOG_INFO
                                                        : NGX_LOG_ERR;

        ngx_log_error(level, ngx_cycle->log, 0,
                      "sluice: PostgreSQL refused a query name=%s "
                      "sqlstate=%V err=\"%V\"", query->name, &value, &line);
        rc = NGX_DECLINED;
    }

    pg->active = NULL;
    ngx_http_sluice_pg_query_finish(query, rc, &value);

    PQclear(result);

    if (pg->state != NGX_HTTP_SLUICE_PG_READY || pg->active != NULL) {
        return NGX_OK;
    }

    return ngx_http_sluice_pg_query_next(pg);
}
