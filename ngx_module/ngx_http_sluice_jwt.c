/*
 * ngx_http_sluice_jwt.c: who may pass by a JWT, and what it says of them.
 *
 * Owns the access handler of sluice_jwt_key, for every kind of location, and
 * the variables that give the claims to the rest of nginx.  How a token is
 * verified is ngx_http_sluice_auth.c's.
 *
 * A token is verified once for a request and location, when the first asks:
 * the access phase, or before it a variable, so that limit_req can count by
 * customer.  The verdict hangs from the request's pool, since an internal
 * redirect forgets the module's context and the log is written after the
 * request's own cleanups.
 */

#include "ngx_http_sluice_auth.h"


typedef struct {
    ngx_http_sluice_auth_conf_t  *judge;    /* by whose rules */
    sluice_jws_t                  jws;      /* claims NULL: not verified */
    const char                   *why;      /* then; static */
    unsigned                      came:1;   /* a token, good or not */
} ngx_http_sluice_jwt_ctx_t;


static ngx_int_t ngx_http_sluice_jwt_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_sluice_jwt_refuse(ngx_http_request_t *r,
    ngx_http_sluice_loc_conf_t *slcf, ngx_http_sluice_jwt_ctx_t *ctx);
static ngx_uint_t ngx_http_sluice_jwt_preflight(ngx_http_request_t *r);
static ngx_int_t ngx_http_sluice_jwt_judge(ngx_http_request_t *r,
    ngx_http_sluice_jwt_ctx_t **ctx);
static ngx_http_sluice_jwt_ctx_t *ngx_http_sluice_jwt_find(
    ngx_http_request_t *r);
static void ngx_http_sluice_jwt_cleanup(void *data);
static ngx_int_t ngx_http_sluice_jwt_sub(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_sluice_jwt_claim(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_sluice_jwt_value(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, const char *name, size_t len);


ngx_http_variable_t  ngx_http_sluice_jwt_vars[] = {

    { ngx_string("sluice_jwt_sub"), NULL, ngx_http_sluice_jwt_sub, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("sluice_jwt_claim_"), NULL, ngx_http_sluice_jwt_claim, 0,
      NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_PREFIX, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_sluice_jwt_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_sluice_jwt_handler;

    return NGX_OK;
}


static ngx_int_t
ngx_http_sluice_jwt_handler(ngx_http_request_t *r)
{
    ngx_http_sluice_jwt_ctx_t   *ctx;
    ngx_http_sluice_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);

    if (slcf->auth->jwt == NULL) {
        return NGX_DECLINED;
    }

    if (ngx_http_sluice_jwt_preflight(r)) {
        return NGX_OK;
    }

    if (ngx_http_sluice_jwt_judge(r, &ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->jws.claims != NULL) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "sluice: no access by JWT: %s", ctx->why);

    return ngx_http_sluice_jwt_refuse(r, slcf, ctx);
}


/*
 * Where the answer is ours we write it.  Elsewhere, and where others may still
 * let the client in, nginx does.
 */
static ngx_int_t
ngx_http_sluice_jwt_refuse(ngx_http_request_t *r,
    ngx_http_sluice_loc_conf_t *slcf, ngx_http_sluice_jwt_ctx_t *ctx)
{
    ngx_int_t                  rc;
    ngx_http_core_loc_conf_t  *clcf;

    if (ngx_http_sluice_auth_challenge(r, ctx->came) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if ((slcf->topic == NULL && !slcf->summary)
        || clcf->satisfy != NGX_HTTP_SATISFY_ALL || clcf->auth_delay > 0)
    {
        return NGX_HTTP_UNAUTHORIZED;
    }

    /* a listed page is to see why */
    if (slcf->topic != NULL
        && ngx_http_sluice_origin_check(r, slcf) == NGX_ERROR)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_sluice_upload_refuse(r, NGX_HTTP_UNAUTHORIZED,
                            "unauthorized", "Not authorized",
                            ctx->came ? "The token is not valid."
                                      : "The request has no bearer token.");

    /* NGX_OK would mean that the client may pass */
    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


/* A browser's question before a request of another origin bears no token. */
static ngx_uint_t
ngx_http_sluice_jwt_preflight(ngx_http_request_t *r)
{
    return r->method == NGX_HTTP_OPTIONS
           && ngx_http_sluice_reply_get(r, "origin") != NULL
           && ngx_http_sluice_reply_get(r, "access-control-request-method")
              != NULL;
}


/* The verdict by this location's rules; NGX_ERROR: no memory. */
static ngx_int_t
ngx_http_sluice_jwt_judge(ngx_http_request_t *r,
    ngx_http_sluice_jwt_ctx_t **verdict)
{
    ngx_str_t                    token;
    ngx_pool_cleanup_t          *cln;
    ngx_http_sluice_jwt_ctx_t   *ctx;
    ngx_http_sluice_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);
    ctx = ngx_http_sluice_jwt_find(r);

    if (ctx == NULL) {

        cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_sluice_jwt_ctx_t));
        if (cln == NULL) {
            return NGX_ERROR;
        }

        ctx = cln->data;
        ngx_memzero(ctx, sizeof(ngx_http_sluice_jwt_ctx_t));
        cln->handler = ngx_http_sluice_jwt_cleanup;
    }

    *verdict = ctx;

    if (ctx->judge == slcf->auth) {
        return NGX_OK;
    }

    sluice_jws_clear(&ctx->jws);

    ctx->judge = slcf->auth;
    ctx->came = 0;

    if (ngx_http_sluice_auth_bearer(r, &token) != NGX_OK) {
        ctx->why = "no bearer token";
        return NGX_OK;
    }

    ctx->came = 1;

    (void) ngx_http_sluice_auth_verify(r, NGX_HTTP_SLUICE_AUTH_JWT, &token,
                                       &ctx->jws, &ctx->why);
    return NGX_OK;
}


static ngx_http_sluice_jwt_ctx_t *
ngx_http_sluice_jwt_find(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = r->pool->cleanup; cln != NULL; cln = cln->next) {
        if (cln->handler == ngx_http_sluice_jwt_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


static void
ngx_http_sluice_jwt_cleanup(void *data)
{
    ngx_http_sluice_jwt_ctx_t *ctx = data;

    sluice_jws_clear(&ctx->jws);
}


static ngx_int_t
ngx_http_sluice_jwt_sub(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    return ngx_http_sluice_jwt_value(r, v, "sub", sizeof("sub") - 1);
}


static ngx_int_t
ngx_http_sluice_jwt_claim(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t *name = (ngx_str_t *) data;

    size_t  prefix;

    prefix = sizeof("sluice_jwt_claim_") - 1;

    return ngx_http_sluice_jwt_value(r, v, (char *) name->data + prefix,
                                     name->len - prefix);
}


/*
 * Where a location asks for no token, the verdict of the one that led here
 * holds: an error page and the log want to know, too.
 */
static ngx_int_t
ngx_http_sluice_jwt_value(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, const char *name, size_t len)
{
    u_char                       text[SLUICE_JWT_NUMBER];
    sluice_jwt_str_t             value;
    ngx_http_sluice_jwt_ctx_t   *ctx;
    ngx_http_sluice_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);

    v->not_found = 1;

    if (slcf->auth->jwt == NULL) {
        ctx = ngx_http_sluice_jwt_find(r);

    } else if (ngx_http_sluice_jwt_judge(r, &ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx == NULL || ctx->jws.claims == NULL
        || sluice_jwt_claim(&value, (char *) text, ctx->jws.claims, name, len)
           != 0)
    {
        return NGX_OK;
    }

    v->data = ngx_pnalloc(r->pool, value.len);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(v->data, value.data, value.len);

    v->len = value.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
