/*
 * ngx_http_sluice_pg_host.h: the addresses of PostgreSQL's hosts.
 *
 * libpq looks a host name up with a blocking call.  So it is given addresses:
 * found when the configuration is read, where blocking is fine, and again
 * before each connect where nginx has a resolver.  The name stays beside the
 * address, for TLS and the passfile.
 */

#ifndef NGX_HTTP_SLUICE_PG_HOST_H
#define NGX_HTTP_SLUICE_PG_HOST_H

#include "ngx_http_sluice.h"

#pragma GCC visibility push(hidden)

typedef struct ngx_http_sluice_pg_hosts_s  ngx_http_sluice_pg_hosts_t;

/* Called from the event loop, or at once when there is nothing to ask. */
typedef void (*ngx_http_sluice_pg_hosts_pt)(void *data);

/*
 * host, port  libpq's values, comma-separated, as the configuration has them
 *
 * A name that is not found is a warning, never an error: NULL is only for
 * lack of memory.  http{}'s resolver is used if there is one at run time.
 */
ngx_http_sluice_pg_hosts_t *ngx_http_sluice_pg_hosts(ngx_conf_t *cf,
    const char *host, const char *port);

/*
 * Ask the resolver for all names, then call done.  A name that is not found
 * keeps the addresses it had.  cancel() may be called at any time.
 */
void ngx_http_sluice_pg_hosts_resolve(ngx_http_sluice_pg_hosts_t *hosts,
    ngx_http_sluice_pg_hosts_pt done, void *data);
void ngx_http_sluice_pg_hosts_cancel(ngx_http_sluice_pg_hosts_t *hosts);

/*
 * The three lists for libpq, of equal length, allocated from pool.
 * NGX_DECLINED when no address is known.
 */
ngx_int_t ngx_http_sluice_pg_hosts_lists(ngx_http_sluice_pg_hosts_t *hosts,
    ngx_pool_t *pool, char **host, char **hostaddr, char **port);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_PG_HOST_H */
