/*
 * ngx_http_sluice_pg_conf.c: the directive sluice_postgres.
 *
 * Owns what is known of the connection string before a worker runs: that
 * libpq accepts it, and which hosts are to be looked up.  A database that is
 * away, or a name that DNS does not know, is no reason to refuse to start.
 */

#include "ngx_http_sluice_pg.h"


static char *ngx_http_sluice_pg_check(ngx_conf_t *cf,
    ngx_http_sluice_pg_t *pg);


char *
ngx_http_sluice_pg_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_main_conf_t  *smcf = conf;

    ngx_str_t             *value;
    ngx_http_sluice_pg_t  *pg;

    if (smcf->pg != NULL) {
        return "is duplicate";
    }

    pg = ngx_pcalloc(cf->pool, sizeof(ngx_http_sluice_pg_t));
    if (pg == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    /* what nginx has read of a file ends with a NUL */
    pg->dsn = (char *) value[1].data;
    smcf->pg = pg;

    return ngx_http_sluice_pg_check(cf, pg);
}


/* Refuse what libpq refuses, and find its hosts. */
static char *
ngx_http_sluice_pg_check(ngx_conf_t *cf, ngx_http_sluice_pg_t *pg)
{
    char              *why, *host, *hostaddr, *port, *rv;
    u_char             buf[NGX_HTTP_SLUICE_PG_LINE];
    ngx_str_t          line;
    ngx_uint_t         password, service;
    PQconninfoOption  *options, *o;

    why = NULL;
    options = PQconninfoParse(pg->dsn, &why);

    if (options == NULL) {
        line = ngx_http_sluice_pg_line(buf, why ? why : "no memory");
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid connection string: %V", &line);
        PQfreemem(why);
        return NGX_CONF_ERROR;
    }

    host = hostaddr = port = NULL;
    password = service = 0;

    for (o = options; o->keyword != NULL; o++) {

        if (o->val == NULL || o->val[0] == '\0') {
            continue;
        }

        if (strcmp(o->keyword, "host") == 0) {
            host = o->val;

        } else if (strcmp(o->keyword, "hostaddr") == 0) {
            hostaddr = o->val;

        } else if (strcmp(o->keyword, "port") == 0) {
            port = o->val;

        } else if (strcmp(o->keyword, "password") == 0) {
            password = 1;

        } else if (strcmp(o->keyword, "service") == 0) {
            service = 1;
        }
    }

    if (password) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "the password in \"sluice_postgres\" is read by "
                           "everyone who reads this file; "
                           "use passfile= or service=");
    }

    if (service && host == NULL && hostaddr == NULL) {
        ngx_conf_log_error(NGX_LOG_NOTICE, cf, 0,
                           "a host name in the service file makes workers "
                           "wait for DNS; give host= or hostaddr= here");
    }

    rv = NGX_CONF_OK;

    if (host != NULL && hostaddr == NULL) {
        pg->hosts = ngx_http_sluice_pg_hosts(cf, host, port);
        if (pg->hosts == NULL) {
            rv = NGX_CONF_ERROR;
        }
    }

    PQconninfoFree(options);

    return rv;
}
