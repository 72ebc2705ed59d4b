/*
 * ngx_http_sluice_token.c: what an upload token allows its bearer.
 *
 * Owns the step from a verified token to an upload that is bound by it: its
 * customer, its id as idempotency key, and limits, which a token can only
 * tighten.  Where in a request a token stands is the caller's.
 *
 * The id takes the place of any Idempotency-Key, since the bearer is the one
 * whom the token binds: by a key of its own choice each replay would count as
 * something new.
 */

#include "ngx_http_sluice_auth.h"
#include "header_text.h"


static ngx_int_t ngx_http_sluice_token_apply(ngx_http_sluice_form_t *form,
    const sluice_jwt_grant_t *grant, const char **why);
static ngx_int_t ngx_http_sluice_token_copy(ngx_pool_t *pool, ngx_str_t *dst,
    const sluice_jwt_str_t *src);
static ngx_int_t ngx_http_sluice_token_types(ngx_http_sluice_form_t *form,
    const sluice_jwt_grant_t *grant);


ngx_int_t
ngx_http_sluice_token_take(ngx_http_sluice_form_t *form, ngx_str_t *token)
{
    ngx_int_t            rc;
    const char          *why;
    sluice_jws_t         jws;
    ngx_http_request_t  *r;
    sluice_jwt_grant_t   grant;

    r = form->upload.request;

    rc = ngx_http_sluice_auth_verify(r, NGX_HTTP_SLUICE_AUTH_UPLOAD, token,
                                     &jws, &why);
    if (rc == NGX_OK) {

        rc = NGX_DECLINED;

        if (sluice_jwt_grant(&grant, jws.claims, &why) == 0) {
            rc = ngx_http_sluice_token_apply(form, &grant, &why);
        }

        sluice_jws_clear(&jws);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    return ngx_http_sluice_token_refuse(form, why, 1);
}


/* NGX_DECLINED, or NGX_ERROR without memory. */
ngx_int_t
ngx_http_sluice_token_refuse(ngx_http_sluice_form_t *form, const char *why,
    ngx_uint_t came)
{
    ngx_http_sluice_upload_t  *up;

    up = &form->upload;

    ngx_log_error(NGX_LOG_INFO, up->request->connection->log, 0,
                  "sluice: upload token refused: %s", why);

    if (ngx_http_sluice_auth_challenge(up->request, came) != NGX_OK) {
        return NGX_ERROR;
    }

    up->status = NGX_HTTP_UNAUTHORIZED;
    up->slug = "unauthorized";
    up->title = "Not authorized";

    if (came) {
        ngx_str_set(&up->detail, "The upload token is not valid.");

    } else {
        ngx_str_set(&up->detail, "An upload token is wanted: as bearer token, "
                    "or as the form's first field, \"token\".");
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_sluice_token_apply(ngx_http_sluice_form_t *form,
    const sluice_jwt_grant_t *grant, const char **why)
{
    char                       text[SLUICE_JWT_ID_MAX];
    ngx_int_t                  rc;
    ngx_str_t                  customer;
    ngx_http_sluice_upload_t  *up;

    up = &form->upload;

    customer.data = (u_char *) grant->customer.data;
    customer.len = grant->customer.len;

    rc = ngx_http_sluice_tenant_check(&customer);

    if (rc != NGX_OK) {
        *why = "\"sub\" is not fit to be a customer";
        return rc;
    }

    /* made fit for a header, two ids could become one */
    if (sluice_header_text(text, sizeof(text), grant->id.data, grant->id.len)
        != grant->id.len
        || ngx_memcmp(text, grant->id.data, grant->id.len) != 0)
    {
        *why = "\"jti\" is not fit for a record header";
        return NGX_DECLINED;
    }

    if (ngx_http_sluice_token_copy(up->request->pool, &up->customer,
                                   &grant->customer)
        != NGX_OK
        || ngx_http_sluice_token_copy(up->request->pool, &up->idempotency,
                                      &grant->id)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (grant->max_file_size != -1
        && grant->max_file_size < form->max_file_size)
    {
        form->max_file_size = (off_t) grant->max_file_size;
    }

    if (grant->max_files != -1
        && grant->max_files < (int64_t) form->max_files)
    {
        form->max_files = (ngx_uint_t) grant->max_files;
    }

    return ngx_http_sluice_token_types(form, grant);
}


static ngx_int_t
ngx_http_sluice_token_copy(ngx_pool_t *pool, ngx_str_t *dst,
    const sluice_jwt_str_t *src)
{
    dst->data = ngx_pnalloc(pool, src->len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, src->data, src->len);
    dst->len = src->len;

    return NGX_OK;
}


/* The types that both allow; perhaps none, and then no file passes. */
static ngx_int_t
ngx_http_sluice_token_types(ngx_http_sluice_form_t *form,
    const sluice_jwt_grant_t *grant)
{
    size_t        k;
    ngx_str_t    *type, *own;
    ngx_uint_t    i;
    ngx_pool_t   *pool;
    ngx_array_t  *types;

    if (grant->ntypes == 0) {
        return NGX_OK;
    }

    pool = form->upload.request->pool;

    types = ngx_array_create(pool, grant->ntypes, sizeof(ngx_str_t));
    if (types == NULL) {
        return NGX_ERROR;
    }

    for (k = 0; k < grant->ntypes; k++) {

        if (form->types != NULL) {
            own = form->types->elts;

            for (i = 0; i < form->types->nelts; i++) {
                if (own[i].len == grant->types[k].len
                    && ngx_strncasecmp(own[i].data,
                                       (u_char *) grant->types[k].data,
                                       own[i].len)
                       == 0)
                {
                    break;
                }
            }

            if (i == form->types->nelts) {
                continue;
            }
        }

        type = ngx_array_push(types);

        if (type == NULL
            || ngx_http_sluice_token_copy(pool, type, &grant->types[k])
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        /* what the sniffer says is lower-case */
        ngx_strlow(type->data, type->data, type->len);
    }

    form->types = types;

    return NGX_OK;
}
