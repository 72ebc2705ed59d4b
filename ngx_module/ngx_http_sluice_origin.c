/*
 * ngx_http_sluice_origin.c: which pages may make a browser post here.
 *
 * Owns sluice_origin, the look at Origin and Sec-Fetch-Site before a body is
 * read, and the CORS answer to the origins that are listed.  A client that
 * sends neither header is no page, and is the concern of authentication.
 *
 * A form needs no preflight, so a foreign page could post in its visitor's
 * name, cookies and all: hence the refusal by default.
 */

#include "ngx_http_sluice.h"


static ngx_uint_t ngx_http_sluice_origin_own(ngx_http_request_t *r,
    ngx_str_t *origin);
static ngx_uint_t ngx_http_sluice_origin_listed(
    ngx_http_sluice_loc_conf_t *slcf, ngx_str_t *origin);
static ngx_int_t ngx_http_sluice_origin_valid(ngx_str_t *origin);

#define ngx_http_sluice_origin_add(r, name, value)                            \
    ngx_http_sluice_reply_add(r, name, value, sizeof(value) - 1)


char *
ngx_http_sluice_origin_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t  *slcf = conf;

    ngx_str_t   *value, *origin;
    ngx_uint_t   i;

    if (slcf->origin_self != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    slcf->origin_self = 0;
    slcf->origin_off = 0;

    slcf->origins = ngx_array_create(cf->pool, cf->args->nelts,
                                     sizeof(ngx_str_t));
    if (slcf->origins == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "self") == 0) {
            slcf->origin_self = 1;
            continue;
        }

        if (ngx_strcmp(value[i].data, "off") == 0 && cf->args->nelts == 2) {
            slcf->origin_off = 1;
            continue;
        }

        if (ngx_http_sluice_origin_valid(&value[i]) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid origin \"%V\": write scheme://host, "
                               "or scheme://host:port, without a path",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        origin = ngx_array_push(slcf->origins);
        if (origin == NULL) {
            return NGX_CONF_ERROR;
        }

        *origin = value[i];
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_sluice_origin_valid(ngx_str_t *origin)
{
    u_char  *p, *last;

    p = origin->data;
    last = p + origin->len;

    if (ngx_strncasecmp(p, (u_char *) "http://", 7) == 0) {
        p += 7;

    } else if (ngx_strncasecmp(p, (u_char *) "https://", 8) == 0) {
        p += 8;

    } else {
        return NGX_ERROR;
    }

    if (p == last) {
        return NGX_ERROR;
    }

    for ( /* void */ ; p < last; p++) {

        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z')
            || (*p >= 'A' && *p <= 'Z') || *p == '-' || *p == '.'
            || *p == ':' || *p == '[' || *p == ']')
        {
            continue;
        }

        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_sluice_origin_check(ngx_http_request_t *r,
    ngx_http_sluice_loc_conf_t *slcf)
{
    ngx_str_t  *origin, *site;

    if (slcf->origin_off) {
        return NGX_OK;
    }

    origin = ngx_http_sluice_reply_get(r, "origin");

    if (origin != NULL) {

        if (ngx_http_sluice_origin_listed(slcf, origin)) {

            if (ngx_http_sluice_reply_add(r, "Access-Control-Allow-Origin",
                                          (char *) origin->data, origin->len)
                != NGX_OK
                || ngx_http_sluice_origin_add(r,
                                   "Access-Control-Allow-Credentials", "true")
                   != NGX_OK
                || ngx_http_sluice_origin_add(r,
                              "Access-Control-Expose-Headers", "Retry-After")
                   != NGX_OK
                || ngx_http_sluice_origin_add(r, "Vary", "Origin") != NGX_OK)
            {
                return NGX_ERROR;
            }

            return NGX_OK;
        }

        return (slcf->origin_self && ngx_http_sluice_origin_own(r, origin))
               ? NGX_OK : NGX_DECLINED;
    }

    /* "none" is the visitor's own doing: typed, or from a bookmark */
    site = ngx_http_sluice_reply_get(r, "sec-fetch-site");

    if (site == NULL
        || (site->len == 4 && ngx_strncmp(site->data, "none", 4) == 0))
    {
        return NGX_OK;
    }

    return (slcf->origin_self && site->len == sizeof("same-origin") - 1
            && ngx_strncmp(site->data, "same-origin",
                           sizeof("same-origin") - 1) == 0)
           ? NGX_OK : NGX_DECLINED;
}


static ngx_uint_t
ngx_http_sluice_origin_listed(ngx_http_sluice_loc_conf_t *slcf,
    ngx_str_t *origin)
{
    ngx_str_t   *listed;
    ngx_uint_t   i;

    if (slcf->origins == NULL) {
        return 0;
    }

    listed = slcf->origins->elts;

    for (i = 0; i < slcf->origins->nelts; i++) {

        if (listed[i].len == origin->len
            && ngx_strncasecmp(listed[i].data, origin->data, origin->len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * Whether an origin is the host the request names.  Not the scheme: where TLS
 * ends at a balancer before us we don't know ours.
 */
static ngx_uint_t
ngx_http_sluice_origin_own(ngx_http_request_t *r, ngx_str_t *origin)
{
    size_t   len;
    u_char  *p;

    p = ngx_strlchr(origin->data, origin->data + origin->len, '/');

    if (p == NULL || origin->data + origin->len - p < 2 || p[1] != '/') {
        return 0;
    }

    p += 2;
    len = origin->data + origin->len - p;

    if (len == 0) {
        return 0;
    }

    if (r->headers_in.host != NULL) {
        return r->headers_in.host->value.len == len
               && ngx_strncasecmp(r->headers_in.host->value.data, p, len) == 0;
    }

    /* HTTP/3 keeps :authority here */
    return r->host_start != NULL && (size_t) (r->host_end - r->host_start)
           == len && ngx_strncasecmp(r->host_start, p, len) == 0;
}


ngx_int_t
ngx_http_sluice_origin_preflight(ngx_http_request_t *r)
{
    if (ngx_http_sluice_origin_add(r, "Allow", "POST, OPTIONS") != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_sluice_reply_get(r, "origin") != NULL
        && (ngx_http_sluice_origin_add(r, "Access-Control-Allow-Methods",
                                       "POST")
            != NGX_OK
            || ngx_http_sluice_origin_add(r, "Access-Control-Allow-Headers",
                                     "Authorization, Content-Type, "
                                     "Idempotency-Key, Traceparent")
               != NGX_OK
            || ngx_http_sluice_origin_add(r, "Access-Control-Max-Age", "7200")
               != NGX_OK))
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    return ngx_http_send_header(r);
}
