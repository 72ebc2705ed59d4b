/*
 * ngx_http_sluice_reading.h: what the module offers of its reading half.
 *
 * The summary, and PostgreSQL where it comes from.  Uploads know nothing of
 * either.
 */

#ifndef NGX_HTTP_SLUICE_READING_H
#define NGX_HTTP_SLUICE_READING_H

#include "ngx_http_sluice.h"

#pragma GCC visibility push(hidden)

/*
 * ngx_http_sluice_pg.c: one non-blocking libpq connection per worker.
 *
 * conf() is the setter of sluice_postgres; it refuses what libpq refuses.
 * init() and exit() are called from the worker's hooks and never fail the
 * worker.
 *
 * query() runs one prepared SELECT with text parameters (copied; name and sql
 * are static) and calls done() from the event loop exactly once, unless the
 * query was cancelled first, or NULL was returned: PostgreSQL is known to be
 * away, or too many wait.  Its timer holds a quitting worker.  value is
 * the first column of the first row, borrowed for the call; rc is NGX_OK,
 * NGX_DECLINED (PostgreSQL refused the query: SQLSTATE in value), or NGX_ERROR
 * (not connected, connection lost, timeout).  cancel() is for a request's
 * cleanup: done() is not called after it.
 */
typedef void (*ngx_http_sluice_pg_done_pt)(void *data, ngx_int_t rc,
    ngx_str_t *value);

char *ngx_http_sluice_pg_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_http_sluice_pg_init(ngx_http_sluice_pg_t *pg,
    ngx_cycle_t *cycle);
void ngx_http_sluice_pg_exit(ngx_http_sluice_pg_t *pg);
ngx_http_sluice_query_t *ngx_http_sluice_pg_query(ngx_http_sluice_pg_t *pg,
    const char *name, const char *sql, ngx_uint_t nparams,
    const char *const *params, ngx_http_sluice_pg_done_pt done, void *data);
void ngx_http_sluice_pg_cancel(ngx_http_sluice_query_t *query);


/*
 * ngx_http_sluice_summary.c: the directive's setter installs the handler;
 * check(), called when a location with sluice_summary is merged, refuses one
 * that names neither a customer nor all, or no database.
 */
char *ngx_http_sluice_summary_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_sluice_summary_check(ngx_conf_t *cf,
    ngx_http_sluice_main_conf_t *smcf, ngx_http_sluice_loc_conf_t *slcf);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_READING_H */
