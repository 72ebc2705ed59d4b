/*
 * ngx_http_sluice_pg.h: what the files of the PostgreSQL client share.
 *
 * pg.c makes and keeps the connection, pg_query.c uses it, pg_conf.c
 * reads the directive.  Others see only ngx_http_sluice_reading.h.
 */

#ifndef NGX_HTTP_SLUICE_PG_H
#define NGX_HTTP_SLUICE_PG_H

#include "ngx_http_sluice_reading.h"
#include "ngx_http_sluice_pg_host.h"

#include <libpq-fe.h>

#pragma GCC visibility push(hidden)

#define NGX_HTTP_SLUICE_PG_PREPARED  8      /* statements, by name */
#define NGX_HTTP_SLUICE_PG_LINE      256    /* bytes of a logged message */


typedef enum {
    NGX_HTTP_SLUICE_PG_OFF = 0,     /* before init() and after exit() */
    NGX_HTTP_SLUICE_PG_WAIT,        /* for the timer, if set, to connect */
    NGX_HTTP_SLUICE_PG_RESOLVE,
    NGX_HTTP_SLUICE_PG_CONNECT,
    NGX_HTTP_SLUICE_PG_READY
} ngx_http_sluice_pg_state_e;


struct ngx_http_sluice_pg_s {
    char                        *dsn;
    ngx_http_sluice_pg_hosts_t  *hosts;     /* NULL: none to look up */

    /* a worker's */
    ngx_http_sluice_pg_state_e   state;
    PGconn                      *conn;
    ngx_connection_t            *c;         /* around conn's socket */
    ngx_event_t                  timer;     /* of a connect, or until it */
    ngx_event_t                  kick;      /* posted: send what waits */
    ngx_msec_t                   wait;
    ngx_msec_t                   since;     /* ready since */
    ngx_uint_t                   failures;  /* connects, in a row */

    ngx_queue_t                  queries;   /* first in, first out */
    ngx_uint_t                   nqueries;
    ngx_http_sluice_query_t     *active;    /* the first, once it is sent */
    PGresult                    *result;    /* the active query's */
    size_t                       said;      /* of libpq's message: logged */
    unsigned                     preparing:1;
    ngx_uint_t                   nprepared;
    const char                  *prepared[NGX_HTTP_SLUICE_PG_PREPARED];
};


/* pg.c: the connection broke (why NULL: as libpq says).  May call done(). */
void ngx_http_sluice_pg_lost(ngx_http_sluice_pg_t *pg, const char *why);

/* A query waits: see to it that it is sent, or a connect begun.  Calls none
 * of the queries' done(). */
void ngx_http_sluice_pg_wake(ngx_http_sluice_pg_t *pg);

/* Back to WAIT from wherever, without a timer; queries stay. */
void ngx_http_sluice_pg_close(ngx_http_sluice_pg_t *pg);

/* A message of libpq's as one line within quotes; buf has _PG_LINE bytes. */
ngx_str_t ngx_http_sluice_pg_line(u_char *buf, const char *text);


/*
 * pg_query.c.  next(), flush() and read() return NGX_ERROR when the
 * connection is broken: the caller then calls lost().
 */
ngx_int_t ngx_http_sluice_pg_query_next(ngx_http_sluice_pg_t *pg);
ngx_int_t ngx_http_sluice_pg_query_flush(ngx_http_sluice_pg_t *pg);
ngx_int_t ngx_http_sluice_pg_query_read(ngx_http_sluice_pg_t *pg);

/* What becomes of the query that was on the broken connection; of all that
 * wait when a connect failed; of all when the worker ends. */
void ngx_http_sluice_pg_query_lost(ngx_http_sluice_query_t *query);
void ngx_http_sluice_pg_query_fail(ngx_http_sluice_pg_t *pg);
void ngx_http_sluice_pg_query_drop(ngx_http_sluice_pg_t *pg);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_PG_H */
