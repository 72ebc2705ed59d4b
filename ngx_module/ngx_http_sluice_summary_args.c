/*
 * ngx_http_sluice_summary_args.c: what a request for the summary asks for.
 *
 * Owns the grammar of the arguments: from, to, limit, cursor, customer; others
 * are ignored, empty ones too, since a form sends them.  Each is checked and
 * written anew before it goes anywhere.  Whose rows are read is decided by
 * sluice_customer alone.
 */

#include "ngx_http_sluice_summary.h"


#define NGX_HTTP_SLUICE_SUMMARY_LIMIT  1000


static ngx_int_t ngx_http_sluice_summary_tenant(ngx_http_request_t *r,
    ngx_http_sluice_summary_args_t *args, const char **why);
static ngx_int_t ngx_http_sluice_summary_arg(ngx_http_request_t *r,
    const char *name, ngx_str_t *value);
static ngx_int_t ngx_http_sluice_summary_time(ngx_http_request_t *r,
    const char *name, ngx_str_t *value);
static ngx_int_t ngx_http_sluice_summary_limit(ngx_http_request_t *r,
    ngx_str_t *limit);
static ngx_int_t ngx_http_sluice_summary_cursor(ngx_http_request_t *r,
    ngx_str_t *cursor);


ngx_int_t
ngx_http_sluice_summary_args(ngx_http_request_t *r,
    ngx_http_sluice_summary_args_t *args, const char **why)
{
    ngx_int_t  rc;

    ngx_memzero(args, sizeof(ngx_http_sluice_summary_args_t));

    rc = ngx_http_sluice_summary_tenant(r, args, why);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_sluice_summary_time(r, "from", &args->from);
    if (rc != NGX_OK) {
        *why = "from is a date, or a time with its offset (RFC 3339)";
        return rc;
    }

    rc = ngx_http_sluice_summary_time(r, "to", &args->to);
    if (rc != NGX_OK) {
        *why = "to is a date, or a time with its offset (RFC 3339)";
        return rc;
    }

    rc = ngx_http_sluice_summary_limit(r, &args->limit);
    if (rc != NGX_OK) {
        *why = "limit is a number from 1 to 1000";
        return rc;
    }

    rc = ngx_http_sluice_summary_cursor(r, &args->cursor);
    if (rc != NGX_OK) {
        *why = "cursor is the \"next\" of an earlier answer";
    }

    return rc;
}


static ngx_int_t
ngx_http_sluice_summary_tenant(ngx_http_request_t *r,
    ngx_http_sluice_summary_args_t *args, const char **why)
{
    size_t                        i;
    ngx_int_t                     rc;
    ngx_str_t                     asked, own;
    ngx_http_sluice_loc_conf_t   *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);

    rc = ngx_http_sluice_summary_arg(r, "customer", &asked);
    if (rc != NGX_OK) {
        return rc;
    }

    if (slcf->customer_all) {
        *why = "customer is at most 128 bytes without control characters";

        for (i = 0; i < asked.len; i++) {
            if (asked.data[i] < 0x20 || asked.data[i] == 0x7f) {
                return NGX_DECLINED;
            }
        }

        args->customer = asked;
        args->all = (asked.len == 0);

        return asked.len <= SLUICE_CUSTOMER_MAX ? NGX_OK : NGX_DECLINED;
    }

    rc = ngx_http_sluice_tenant_get(r, &own);

    if (rc == NGX_DECLINED || (rc == NGX_OK && own.len == 0)) {
        return NGX_HTTP_FORBIDDEN;
    }

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    if (asked.len != 0
        && (asked.len != own.len
            || ngx_memcmp(asked.data, own.data, own.len) != 0))
    {
        return NGX_HTTP_FORBIDDEN;
    }

    args->customer.len = own.len;
    args->customer.data = ngx_pnalloc(r->pool, own.len + 1);
    if (args->customer.data == NULL) {
        return NGX_ERROR;
    }

    *ngx_cpymem(args->customer.data, own.data, own.len) = '\0';

    return NGX_OK;
}


/* The first argument of this name, decoded, with a NUL; empty if none. */
static ngx_int_t
ngx_http_sluice_summary_arg(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    u_char     *dst, *src;
    ngx_str_t   raw;

    ngx_str_set(value, "");

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &raw) != NGX_OK) {
        return NGX_OK;
    }

    dst = ngx_pnalloc(r->pool, raw.len + 1);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    value->data = dst;
    src = raw.data;

    ngx_unescape_uri(&dst, &src, raw.len, 0);

    *dst = '\0';
    value->len = dst - value->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_sluice_summary_time(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    int64_t    ms;
    ngx_int_t  rc;

    rc = ngx_http_sluice_summary_arg(r, name, value);
    if (rc != NGX_OK || value->len == 0) {
        return rc;
    }

    if (sluice_rfc3339_parse((char *) value->data, value->len, &ms) != 0) {
        return NGX_DECLINED;
    }

    value->len = SLUICE_RFC3339_LEN;
    value->data = ngx_pnalloc(r->pool, SLUICE_RFC3339_LEN + 1);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    sluice_rfc3339_format((char *) value->data, ms);
    value->data[SLUICE_RFC3339_LEN] = '\0';

    return NGX_OK;
}


static ngx_int_t
ngx_http_sluice_summary_limit(ngx_http_request_t *r, ngx_str_t *limit)
{
    u_char     *p;
    ngx_int_t   n, rc;

    rc = ngx_http_sluice_summary_arg(r, "limit", limit);
    if (rc != NGX_OK) {
        return rc;
    }

    if (limit->len == 0) {
        ngx_str_set(limit, "100");
        return NGX_OK;
    }

    n = ngx_atoi(limit->data, limit->len);
    if (n < 1 || n > NGX_HTTP_SLUICE_SUMMARY_LIMIT) {
        return NGX_DECLINED;
    }

    /* 007 is 7, or one page would have many keys */
    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    limit->data = p;
    limit->len = ngx_sprintf(p, "%i%Z", n) - p - 1;

    return NGX_OK;
}


/* What it holds is read by who wrote it, PostgreSQL. */
static ngx_int_t
ngx_http_sluice_summary_cursor(ngx_http_request_t *r, ngx_str_t *cursor)
{
    u_char     ch;
    size_t     i;
    ngx_int_t  rc;

    rc = ngx_http_sluice_summary_arg(r, "cursor", cursor);
    if (rc != NGX_OK) {
        return rc;
    }

    if (cursor->len > NGX_HTTP_SLUICE_SUMMARY_CURSOR) {
        return NGX_DECLINED;
    }

    for (i = 0; i < cursor->len; i++) {
        ch = cursor->data[i];

        if ((ch < 'a' || ch > 'z') && (ch < 'A' || ch > 'Z')
            && (ch < '0' || ch > '9') && ch != '-' && ch != '_')
        {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


/* The customer comes last: it alone may hold the separator. */
ngx_int_t
ngx_http_sluice_summary_key(ngx_http_request_t *r,
    ngx_http_sluice_summary_args_t *args, ngx_str_t *key)
{
    key->len = args->from.len + args->to.len + args->limit.len
               + args->cursor.len + args->customer.len + 5;

    key->data = ngx_pnalloc(r->pool, key->len);
    if (key->data == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(key->data, "%V %V %V %V %c%V", &args->from, &args->to,
                &args->limit, &args->cursor, args->all ? '*' : '=',
                &args->customer);

    return NGX_OK;
}
