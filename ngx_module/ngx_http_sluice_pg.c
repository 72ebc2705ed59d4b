/*
 * ngx_http_sluice_pg.c: one non-blocking libpq connection per worker.
 *
 * Owns the connection and its retries.  Does not know what is asked.
 *
 * libpq owns the socket and may change it in every step of a connect, so
 * nginx's connection around it is given up before each step and made again
 * after.  Timers here are cancelable: a quitting worker is held by queries
 * alone.
 */

#include "ngx_http_sluice_pg.h"


#define NGX_HTTP_SLUICE_PG_TIMEOUT   5000    /* ms, of a connect */
#define NGX_HTTP_SLUICE_PG_WAIT_MIN  100
#define NGX_HTTP_SLUICE_PG_WAIT_MAX  10000
#define NGX_HTTP_SLUICE_PG_STEADY    10000   /* ready as long: no flapping */


static void ngx_http_sluice_pg_timer(ngx_event_t *ev);
static void ngx_http_sluice_pg_open(void *data);
static PGconn *ngx_http_sluice_pg_start(ngx_http_sluice_pg_t *pg,
    const char **why);
static void ngx_http_sluice_pg_step(ngx_http_sluice_pg_t *pg);
static void ngx_http_sluice_pg_ready(ngx_http_sluice_pg_t *pg);
static void ngx_http_sluice_pg_failed(ngx_http_sluice_pg_t *pg,
    const char *why);
static void ngx_http_sluice_pg_retry(ngx_http_sluice_pg_t *pg);
static ngx_int_t ngx_http_sluice_pg_watch(ngx_http_sluice_pg_t *pg,
    ngx_uint_t write);
static void ngx_http_sluice_pg_unwatch(ngx_http_sluice_pg_t *pg);
static void ngx_http_sluice_pg_event(ngx_event_t *ev);
static void ngx_http_sluice_pg_quit(ngx_http_sluice_pg_t *pg);
static void ngx_http_sluice_pg_kick(ngx_event_t *ev);
static void ngx_http_sluice_pg_notice(void *data, const PGresult *result);


ngx_int_t
ngx_http_sluice_pg_init(ngx_http_sluice_pg_t *pg, ngx_cycle_t *cycle)
{
    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    ngx_queue_init(&pg->queries);

    pg->timer.handler = ngx_http_sluice_pg_timer;
    pg->timer.data = pg;
    pg->timer.log = cycle->log;
    pg->timer.cancelable = 1;

    pg->kick.handler = ngx_http_sluice_pg_kick;
    pg->kick.data = pg;
    pg->kick.log = cycle->log;

    pg->state = NGX_HTTP_SLUICE_PG_WAIT;
    ngx_add_timer(&pg->timer, 1);

    return NGX_OK;
}


void
ngx_http_sluice_pg_exit(ngx_http_sluice_pg_t *pg)
{
    if (pg->state == NGX_HTTP_SLUICE_PG_OFF) {
        return;
    }

    ngx_http_sluice_pg_close(pg);
    pg->state = NGX_HTTP_SLUICE_PG_OFF;
    ngx_http_sluice_pg_query_drop(pg);
}


/* A connect took too long, or it is time to try one. */
static void
ngx_http_sluice_pg_timer(ngx_event_t *ev)
{
    ngx_http_sluice_pg_t  *pg;

    pg = ev->data;

    if (pg->state == NGX_HTTP_SLUICE_PG_CONNECT) {
        ngx_http_sluice_pg_failed(pg, "no answer in time");
        return;
    }

    if (ngx_exiting && pg->nqueries == 0) {
        return;
    }

    if (pg->hosts == NULL) {
        ngx_http_sluice_pg_open(pg);
        return;
    }

    pg->state = NGX_HTTP_SLUICE_PG_RESOLVE;
    ngx_http_sluice_pg_hosts_resolve(pg->hosts, ngx_http_sluice_pg_open, pg);
}


static void
ngx_http_sluice_pg_open(void *data)
{
    ngx_http_sluice_pg_t  *pg = data;

    const char  *why;

    pg->state = NGX_HTTP_SLUICE_PG_CONNECT;
    pg->conn = ngx_http_sluice_pg_start(pg, &why);

    if (pg->conn == NULL) {
        ngx_http_sluice_pg_failed(pg, why);
        return;
    }

    if (PQstatus(pg->conn) == CONNECTION_BAD) {
        ngx_http_sluice_pg_failed(pg, PQerrorMessage(pg->conn));
        return;
    }

    PQsetNoticeReceiver(pg->conn, ngx_http_sluice_pg_notice, NULL);

    if (ngx_http_sluice_pg_watch(pg, 1) != NGX_OK) {
        ngx_http_sluice_pg_failed(pg, "no free worker_connections");
        return;
    }

    ngx_add_timer(&pg->timer, NGX_HTTP_SLUICE_PG_TIMEOUT);
}


/* Of a keyword that comes twice the later value counts. */
static PGconn *
ngx_http_sluice_pg_start(ngx_http_sluice_pg_t *pg, const char **why)
{
    char        *host, *addr, *port;
    PGconn      *conn;
    ngx_int_t    rc;
    ngx_uint_t   n;
    ngx_pool_t  *pool;
    const char  *keywords[16], *values[16];

    /* before the configured string, which may say otherwise */
    static const char  *defaults[][2] = {
        { "fallback_application_name", "sluice-nginx" },
        { "keepalives_idle",           "10" },
        { "keepalives_interval",       "5" },
        { "keepalives_count",          "3" },
        { "tcp_user_timeout",          "10000" },
        { "gssencmode",                "disable" },   /* its lookups block */
        { "options",                   "-c statement_timeout=5s" }
    };

    *why = "no memory";

    pool = ngx_create_pool(1024, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    for (n = 0; n < sizeof(defaults) / sizeof(defaults[0]); n++) {
        keywords[n] = defaults[n][0];
        values[n] = defaults[n][1];
    }

    keywords[n] = "dbname";
    values[n++] = pg->dsn;

    conn = NULL;

    if (pg->hosts != NULL) {
        rc = ngx_http_sluice_pg_hosts_lists(pg->hosts, pool, &host, &addr,
                                            &port);
        if (rc != NGX_OK) {
            if (rc == NGX_DECLINED) {
                *why = "no address is known of its host";
            }
            goto done;
        }

        keywords[n] = "host";
        values[n++] = host;
        keywords[n] = "hostaddr";
        values[n++] = addr;
        keywords[n] = "port";
        values[n++] = port;
    }

    keywords[n] = "client_encoding";
    values[n++] = "UTF8";

    keywords[n] = NULL;
    values[n] = NULL;

    conn = PQconnectStartParams(keywords, values, 1);

done:

    ngx_destroy_pool(pool);

    return conn;
}


static void
ngx_http_sluice_pg_step(ngx_http_sluice_pg_t *pg)
{
    ngx_uint_t                 write;
    PostgresPollingStatusType  status;

    ngx_http_sluice_pg_unwatch(pg);

    status = PQconnectPoll(pg->conn);

    switch (status) {

    case PGRES_POLLING_READING:
        write = 0;
        break;

    case PGRES_POLLING_WRITING:
        write = 1;
        break;

    case PGRES_POLLING_OK:
        ngx_http_sluice_pg_ready(pg);
        return;

    default:
        ngx_http_sluice_pg_failed(pg, PQerrorMessage(pg->conn));
        return;
    }

    if (ngx_http_sluice_pg_watch(pg, write) != NGX_OK) {
        ngx_http_sluice_pg_failed(pg, "no free worker_connections");
    }
}


static void
ngx_http_sluice_pg_ready(ngx_http_sluice_pg_t *pg)
{
    if (PQsetnonblocking(pg->conn, 1) != 0
        || ngx_http_sluice_pg_watch(pg, 0) != NGX_OK)
    {
        ngx_http_sluice_pg_failed(pg, "no free worker_connections");
        return;
    }

    ngx_del_timer(&pg->timer);

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "sluice: connected to PostgreSQL after failures=%ui",
                  pg->failures);

    pg->state = NGX_HTTP_SLUICE_PG_READY;
    pg->failures = 0;
    pg->since = ngx_current_msec;

    ngx_http_sluice_pg_wake(pg);
}


/* A connect failed: nobody waits for the next one. */
static void
ngx_http_sluice_pg_failed(ngx_http_sluice_pg_t *pg, const char *why)
{
    u_char      buf[NGX_HTTP_SLUICE_PG_LINE];
    ngx_str_t   line;
    ngx_uint_t  level;

    line = ngx_http_sluice_pg_line(buf, why);

    pg->failures++;

    /* someone gets up for the first of a run */
    level = (pg->failures == 1) ? NGX_LOG_ERR : NGX_LOG_INFO;

    ngx_log_error(level, ngx_cycle->log, 0,
                  "sluice: no connection to PostgreSQL failures=%ui "
                  "err=\"%V\"", pg->failures, &line);

    ngx_http_sluice_pg_close(pg);
    ngx_http_sluice_pg_retry(pg);

    ngx_http_sluice_pg_query_fail(pg);
}


void
ngx_http_sluice_pg_lost(ngx_http_sluice_pg_t *pg, const char *why)
{
    u_char                    buf[NGX_HTTP_SLUICE_PG_LINE];
    ngx_str_t                 line;
    ngx_http_sluice_query_t  *query;

    if (why == NULL) {
        /* libpq adds to what it said of an earlier query */
        why = PQerrorMessage(pg->conn);
        why += ngx_min(pg->said, ngx_strlen(why));
    }

    line = ngx_http_sluice_pg_line(buf, why);

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "sluice: connection to PostgreSQL lost err=\"%V\"", &line);

    if (ngx_current_msec - pg->since >= NGX_HTTP_SLUICE_PG_STEADY) {
        pg->wait = 0;
    }

    query = pg->active;

    ngx_http_sluice_pg_close(pg);
    ngx_http_sluice_pg_retry(pg);

    if (query != NULL) {
        ngx_http_sluice_pg_query_lost(query);
    }
}


/* Wait 0.1 s to 10 s, by doubling, each less up to a half at random. */
static void
ngx_http_sluice_pg_retry(ngx_http_sluice_pg_t *pg)
{
    if (ngx_exiting && pg->nqueries == 0) {
        return;
    }

    pg->wait = ngx_min(ngx_max(pg->wait * 2, NGX_HTTP_SLUICE_PG_WAIT_MIN),
                       NGX_HTTP_SLUICE_PG_WAIT_MAX);

    ngx_add_timer(&pg->timer, pg->wait - ngx_random() % (pg->wait / 2));
}


void
ngx_http_sluice_pg_close(ngx_http_sluice_pg_t *pg)
{
    if (pg->state == NGX_HTTP_SLUICE_PG_RESOLVE) {
        ngx_http_sluice_pg_hosts_cancel(pg->hosts);
    }

    if (pg->timer.timer_set) {
        ngx_del_timer(&pg->timer);
    }

    if (pg->kick.posted) {
        ngx_delete_posted_event(&pg->kick);
    }

    ngx_http_sluice_pg_unwatch(pg);

    PQclear(pg->result);
    pg->result = NULL;
    PQfinish(pg->conn);
    pg->conn = NULL;

    pg->active = NULL;
    pg->said = 0;
    pg->nprepared = 0;
    pg->preparing = 0;
    pg->state = NGX_HTTP_SLUICE_PG_WAIT;
}


static ngx_int_t
ngx_http_sluice_pg_watch(ngx_http_sluice_pg_t *pg, ngx_uint_t write)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    c = ngx_get_connection(PQsocket(pg->conn), ngx_cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    pg->c = c;

    c->data = pg;
    c->log = ngx_cycle->log;
    c->read->handler = ngx_http_sluice_pg_event;
    c->read->log = c->log;
    c->write->handler = ngx_http_sluice_pg_event;
    c->write->log = c->log;

    /* core calls the handler of an idle connection when quit begins */
    c->idle = 1;

    /* by level: libpq need not read to the end */
    rc = write ? ngx_add_event(c->write, NGX_WRITE_EVENT, NGX_LEVEL_EVENT)
               : ngx_add_event(c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT);

    if (rc != NGX_OK) {
        ngx_http_sluice_pg_unwatch(pg);
    }

    return rc;
}


/* Give up nginx's connection, not libpq's socket. */
static void
ngx_http_sluice_pg_unwatch(ngx_http_sluice_pg_t *pg)
{
    ngx_uint_t         flags;
    ngx_connection_t  *c;

    c = pg->c;

    if (c == NULL) {
        return;
    }

    /* libpq closes its socket as soon as it sees it broken */
    flags = (PQsocket(pg->conn) == c->fd) ? 0 : NGX_CLOSE_EVENT;

    if (ngx_del_conn) {
        ngx_del_conn(c, flags);

    } else {
        if (c->read->active) {
            ngx_del_event(c->read, NGX_READ_EVENT, flags);
        }

        if (c->write->active) {
            ngx_del_event(c->write, NGX_WRITE_EVENT, flags);
        }
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    c->idle = 0;
    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;

    pg->c = NULL;
}


static void
ngx_http_sluice_pg_event(ngx_event_t *ev)
{
    ngx_int_t              rc;
    ngx_connection_t      *c;
    ngx_http_sluice_pg_t  *pg;

    c = ev->data;
    pg = c->data;

    if (c->close) {
        ngx_http_sluice_pg_quit(pg);
        return;
    }

    if (pg->state == NGX_HTTP_SLUICE_PG_CONNECT) {
        ngx_http_sluice_pg_step(pg);
        return;
    }

    rc = ev->write ? ngx_http_sluice_pg_query_flush(pg)
                   : ngx_http_sluice_pg_query_read(pg);

    if (rc != NGX_OK) {
        ngx_http_sluice_pg_lost(pg, NULL);
    }
}


/* The worker leaves, or worker_shutdown_timeout is over (c->error). */
static void
ngx_http_sluice_pg_quit(ngx_http_sluice_pg_t *pg)
{
    pg->c->close = 0;

    if (pg->c->error) {
        ngx_http_sluice_pg_failed(pg, "worker_shutdown_timeout is over");
        return;
    }

    if (pg->nqueries == 0) {
        ngx_http_sluice_pg_close(pg);
    }
}


void
ngx_http_sluice_pg_wake(ngx_http_sluice_pg_t *pg)
{
    if (pg->state == NGX_HTTP_SLUICE_PG_READY) {
        ngx_post_event(&pg->kick, &ngx_posted_events);

    } else if (pg->state == NGX_HTTP_SLUICE_PG_WAIT && !pg->timer.timer_set) {
        /* closed because the worker leaves; here is one more question */
        ngx_add_timer(&pg->timer, 1);
    }
}


static void
ngx_http_sluice_pg_kick(ngx_event_t *ev)
{
    ngx_http_sluice_pg_t  *pg;

    pg = ev->data;

    if (pg->state != NGX_HTTP_SLUICE_PG_READY || pg->active != NULL) {
        return;
    }

    if (ngx_http_sluice_pg_query_next(pg) != NGX_OK) {
        ngx_http_sluice_pg_lost(pg, NULL);
    }
}


ngx_str_t
ngx_http_sluice_pg_line(u_char *buf, const char *text)
{
    u_char     ch;
    size_t     i;
    ngx_str_t  line;

    for (i = 0; i < NGX_HTTP_SLUICE_PG_LINE && text[i] != '\0'; i++) {
        ch = (u_char) text[i];
        buf[i] = (ch < 0x20 || ch == 0x7f) ? ' ' : (ch == '"') ? '\'' : ch;
    }

    while (i > 0 && buf[i - 1] == ' ') {
        i--;
    }

    line.len = i;
    line.data = buf;

    return line;
}


/* libpq would write them to stderr. */
static void
ngx_http_sluice_pg_notice(void *data, const PGresult *result)
{
}
