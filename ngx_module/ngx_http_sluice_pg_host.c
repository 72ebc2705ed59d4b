/*
 * ngx_http_sluice_pg_host.c: the addresses of PostgreSQL's hosts.
 *
 * Owns the list of hosts of a connection string and what is known of their
 * addresses.  Does not know libpq.  A name has up to four addresses, which
 * become four entries of libpq's list: it tries them in turn.
 */

#include "ngx_http_sluice_pg_host.h"


#define NGX_HTTP_SLUICE_PG_ADDRS   4
#define NGX_HTTP_SLUICE_PG_LOOKUP  5000    /* ms */


typedef struct {
    ngx_str_t                    name;
    ngx_str_t                    port;
    unsigned                     literal:1;  /* nothing to look up */
    ngx_uint_t                   naddrs;
    char                         addrs[NGX_HTTP_SLUICE_PG_ADDRS]
                                      [NGX_SOCKADDR_STRLEN + 1];
} ngx_http_sluice_pg_host_t;


struct ngx_http_sluice_pg_hosts_s {
    ngx_array_t                  list;       /* ngx_http_sluice_pg_host_t */
    ngx_http_core_loc_conf_t    *clcf;       /* http{}'s: its resolver */

    /* a lookup under way */
    ngx_uint_t                   next;
    ngx_resolver_ctx_t          *ctx;
    ngx_http_sluice_pg_hosts_pt  done;
    void                        *data;
};


static ngx_int_t ngx_http_sluice_pg_host_add(ngx_conf_t *cf,
    ngx_http_sluice_pg_hosts_t *hosts, ngx_str_t *name, ngx_str_t *port);
static void ngx_http_sluice_pg_host_lookup(ngx_conf_t *cf,
    ngx_http_sluice_pg_host_t *host);
static void ngx_http_sluice_pg_host_set(ngx_http_sluice_pg_host_t *host,
    ngx_uint_t n, struct sockaddr *sockaddr, socklen_t socklen);
static ngx_str_t ngx_http_sluice_pg_host_item(const char **list);
static void ngx_http_sluice_pg_hosts_next(ngx_http_sluice_pg_hosts_t *hosts);
static void ngx_http_sluice_pg_hosts_answer(ngx_resolver_ctx_t *ctx);


ngx_http_sluice_pg_hosts_t *
ngx_http_sluice_pg_hosts(ngx_conf_t *cf, const char *host, const char *port)
{
    ngx_str_t                    name, number, last;
    ngx_http_sluice_pg_hosts_t  *hosts;

    hosts = ngx_pcalloc(cf->pool, sizeof(ngx_http_sluice_pg_hosts_t));
    if (hosts == NULL) {
        return NULL;
    }

    if (ngx_array_init(&hosts->list, cf->pool, 2,
                       sizeof(ngx_http_sluice_pg_host_t))
        != NGX_OK)
    {
        return NULL;
    }

    hosts->clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    ngx_str_set(&last, "");

    while (host != NULL) {
        name = ngx_http_sluice_pg_host_item(&host);

        /* as in libpq, a single port is every host's */
        number = port ? ngx_http_sluice_pg_host_item(&port) : last;
        last = number;

        if (ngx_http_sluice_pg_host_add(cf, hosts, &name, &number)
            != NGX_OK)
        {
            return NULL;
        }
    }

    return hosts;
}


/* The first item of a comma-separated list, which becomes NULL at its end. */
static ngx_str_t
ngx_http_sluice_pg_host_item(const char **list)
{
    ngx_str_t    item;
    const char  *comma;

    item.data = (u_char *) *list;
    comma = strchr(*list, ',');

    if (comma != NULL) {
        item.len = comma - *list;
        *list = comma + 1;

    } else {
        item.len = strlen(*list);
        *list = NULL;
    }

    return item;
}


static ngx_int_t
ngx_http_sluice_pg_host_add(ngx_conf_t *cf, ngx_http_sluice_pg_hosts_t *hosts,
    ngx_str_t *name, ngx_str_t *port)
{
    u_char                      in6[16];
    ngx_http_sluice_pg_host_t  *host;

    host = ngx_array_push(&hosts->list);
    if (host == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(host, sizeof(ngx_http_sluice_pg_host_t));

    /* names are given to getaddrinfo(), so with a NUL at their end */
    host->name.len = name->len;
    host->name.data = ngx_pcalloc(cf->pool, name->len + 1);
    host->port.len = port->len;
    host->port.data = ngx_pnalloc(cf->pool, port->len + 1);

    if (host->name.data == NULL || host->port.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(host->name.data, name->data, name->len);
    ngx_memcpy(host->port.data, port->data, port->len);

    if (name->len == 0 || name->data[0] == '/' || name->data[0] == '@'
        || ngx_inet_addr(name->data, name->len) != INADDR_NONE
        || ngx_inet6_addr(name->data, name->len, in6) == NGX_OK)
    {
        host->literal = 1;
        return NGX_OK;
    }

    ngx_http_sluice_pg_host_lookup(cf, host);

    return NGX_OK;
}


static void
ngx_http_sluice_pg_host_lookup(ngx_conf_t *cf, ngx_http_sluice_pg_host_t *host)
{
    int               rc;
    struct addrinfo   hints, *res, *ai;

    ngx_memzero(&hints, sizeof(struct addrinfo));
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
#ifdef AI_ADDRCONFIG
    hints.ai_flags = AI_ADDRCONFIG;
#endif

    rc = getaddrinfo((char *) host->name.data, NULL, &hints, &res);

    if (rc != 0) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "PostgreSQL host \"%V\" was not found: %s; nginx's "
                           "workers will ask again if http{} has a "
                           "\"resolver\"", &host->name, gai_strerror(rc));
        return;
    }

    for (ai = res;
         ai != NULL && host->naddrs < NGX_HTTP_SLUICE_PG_ADDRS;
         ai = ai->ai_next)
    {
        ngx_http_sluice_pg_host_set(host, host->naddrs++, ai->ai_addr,
                                    ai->ai_addrlen);
    }

    freeaddrinfo(res);
}


static void
ngx_http_sluice_pg_host_set(ngx_http_sluice_pg_host_t *host, ngx_uint_t n,
    struct sockaddr *sockaddr, socklen_t socklen)
{
    size_t  len;

    len = ngx_sock_ntop(sockaddr, socklen, (u_char *) host->addrs[n],
                        NGX_SOCKADDR_STRLEN, 0);
    host->addrs[n][len] = '\0';
}


void
ngx_http_sluice_pg_hosts_resolve(ngx_http_sluice_pg_hosts_t *hosts,
    ngx_http_sluice_pg_hosts_pt done, void *data)
{
    hosts->next = 0;
    hosts->ctx = NULL;
    hosts->done = done;
    hosts->data = data;

    ngx_http_sluice_pg_hosts_next(hosts);
}


static void
ngx_http_sluice_pg_hosts_next(ngx_http_sluice_pg_hosts_t *hosts)
{
    ngx_resolver_ctx_t         *ctx;
    ngx_http_sluice_pg_host_t  *host;

    host = hosts->list.elts;

    while (hosts->next < hosts->list.nelts) {

        if (host[hosts->next].literal || hosts->clcf->resolver == NULL) {
            hosts->next++;
            continue;
        }

        ctx = ngx_resolve_start(hosts->clcf->resolver, NULL);

        if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
            break;
        }

        ctx->name = host[hosts->next].name;
        ctx->handler = ngx_http_sluice_pg_hosts_answer;
        ctx->data = hosts;
        ctx->timeout = hosts->clcf->resolver_timeout;

        /* http{} inherits from nothing, so it may have no value */
        if (ctx->timeout == NGX_CONF_UNSET_MSEC) {
            ctx->timeout = NGX_HTTP_SLUICE_PG_LOOKUP;
        }

        ctx->cancelable = 1;

        hosts->ctx = ctx;

        /* may call the handler at once; on an error it has freed ctx */
        if (ngx_resolve_name(ctx) == NGX_OK) {
            return;
        }

        hosts->ctx = NULL;
        hosts->next++;
    }

    hosts->done(hosts->data);
}


static void
ngx_http_sluice_pg_hosts_answer(ngx_resolver_ctx_t *ctx)
{
    ngx_uint_t                   i;
    ngx_http_sluice_pg_host_t   *host;
    ngx_http_sluice_pg_hosts_t  *hosts;

    hosts = ctx->data;
    host = hosts->list.elts;
    host += hosts->next;

    if (ctx->state == NGX_OK && ctx->naddrs > 0) {

        for (i = 0; i < ctx->naddrs && i < NGX_HTTP_SLUICE_PG_ADDRS; i++) {
            ngx_http_sluice_pg_host_set(host, i, ctx->addrs[i].sockaddr,
                                        ctx->addrs[i].socklen);
        }

        host->naddrs = i;

    } else {
        ngx_log_error(NGX_LOG_INFO, ngx_cycle->log, 0,
                      "sluice: PostgreSQL host \"%V\" was not found: %s",
                      &host->name, ngx_resolver_strerror(ctx->state));
    }

    hosts->ctx = NULL;
    hosts->next++;

    ngx_resolve_name_done(ctx);

    ngx_http_sluice_pg_hosts_next(hosts);
}


void
ngx_http_sluice_pg_hosts_cancel(ngx_http_sluice_pg_hosts_t *hosts)
{
    if (hosts->ctx != NULL) {
        ngx_resolve_name_done(hosts->ctx);
        hosts->ctx = NULL;
    }
}


ngx_int_t
ngx_http_sluice_pg_hosts_lists(ngx_http_sluice_pg_hosts_t *hosts,
    ngx_pool_t *pool, char **names, char **addrs, char **ports)
{
    size_t                      name_len, port_len;
    u_char                     *n, *a, *p;
    ngx_uint_t                  i, k, count, entries;
    const char                 *comma;
    ngx_http_sluice_pg_host_t  *host;

    host = hosts->list.elts;
    name_len = 0;
    port_len = 0;
    entries = 0;

    for (i = 0; i < hosts->list.nelts; i++) {
        count = host[i].literal ? 1 : host[i].naddrs;
        name_len += count * (host[i].name.len + 1);
        port_len += count * (host[i].port.len + 1);
        entries += count;
    }

    if (entries == 0) {
        return NGX_DECLINED;
    }

    n = ngx_pnalloc(pool, name_len + 1);
    a = ngx_pnalloc(pool, entries * (NGX_SOCKADDR_STRLEN + 1) + 1);
    p = ngx_pnalloc(pool, port_len + 1);

    if (n == NULL || a == NULL || p == NULL) {
        return NGX_ERROR;
    }

    *names = (char *) n;
    *addrs = (char *) a;
    *ports = (char *) p;

    comma = "";

    for (i = 0; i < hosts->list.nelts; i++) {
        count = host[i].literal ? 1 : host[i].naddrs;

        for (k = 0; k < count; k++) {
            n = ngx_sprintf(n, "%s%V", comma, &host[i].name);
            a = ngx_sprintf(a, "%s%s", comma,
                            host[i].literal ? "" : host[i].addrs[k]);
            p = ngx_sprintf(p, "%s%V", comma, &host[i].port);
            comma = ",";
        }
    }

    *n = '\0';
    *a = '\0';
    *p = '\0';

    return NGX_OK;
}
