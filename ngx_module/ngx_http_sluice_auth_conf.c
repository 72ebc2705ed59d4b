/*
 * ngx_http_sluice_auth_conf.c: the directives of tokens and their keys.
 *
 * Owns the setters, what is inherited, and what nginx -t refuses of it.  Does
 * not see a request.
 */

#include "ngx_http_sluice_auth.h"

#define NGX_HTTP_SLUICE_AUTH_LEEWAY_MAX  3600        /* seconds */


static char *ngx_http_sluice_auth_keys(ngx_conf_t *cf, ngx_array_t **keys);
static ngx_int_t ngx_http_sluice_auth_alg(ngx_conf_t *cf,
    sluice_jwk_alg_e *alg);
static char *ngx_http_sluice_auth_list(ngx_conf_t *cf, ngx_array_t **list);


ngx_http_sluice_auth_conf_t *
ngx_http_sluice_auth_create(ngx_conf_t *cf)
{
    ngx_http_sluice_auth_conf_t  *auth;

    auth = ngx_pcalloc(cf->pool, sizeof(ngx_http_sluice_auth_conf_t));
    if (auth == NULL) {
        return NULL;
    }

    auth->jwt = NGX_CONF_UNSET_PTR;
    auth->issuers = NGX_CONF_UNSET_PTR;
    auth->audiences = NGX_CONF_UNSET_PTR;
    auth->leeway = NGX_CONF_UNSET;

    return auth;
}


char *
ngx_http_sluice_auth_merge(ngx_conf_t *cf, ngx_http_sluice_loc_conf_t *prev,
    ngx_http_sluice_loc_conf_t *conf)
{
    ngx_http_sluice_auth_conf_t  *auth;

    auth = conf->auth;

    ngx_conf_merge_ptr_value(auth->jwt, prev->auth->jwt, NULL);
    ngx_conf_merge_ptr_value(auth->issuers, prev->auth->issuers, NULL);
    ngx_conf_merge_ptr_value(auth->audiences, prev->auth->audiences, NULL);
    ngx_conf_merge_sec_value(auth->leeway, prev->auth->leeway, 30);

    if (auth->token == NULL) {
        return NGX_CONF_OK;
    }

    if (conf->topic == NULL || conf->events) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"sluice_token_key\" is for a location with "
                      "\"sluice_upload\", in %s:%ui",
                      auth->conf_file, auth->conf_line);
        return NGX_CONF_ERROR;
    }

    /* both would look for theirs in one header */
    if (auth->jwt != NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"sluice_token_key\" and \"sluice_jwt_key\" exclude "
                      "each other, write \"sluice_jwt_key off\" beside it, "
                      "in %s:%ui", auth->conf_file, auth->conf_line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_sluice_auth_jwt_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    ngx_str_t  *value;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts != 2) {
            return "has a parameter after \"off\"";
        }

        if (slcf->auth->jwt != NGX_CONF_UNSET_PTR) {
            return "is \"off\" beside a key";
        }

        slcf->auth->jwt = NULL;
        return NGX_CONF_OK;
    }

    if (slcf->auth->jwt == NULL) {
        return "has a key beside \"off\"";
    }

    return ngx_http_sluice_auth_keys(cf, &slcf->auth->jwt);
}


char *
ngx_http_sluice_auth_token_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    slcf->auth->conf_file = cf->conf_file->file.name.data;
    slcf->auth->conf_line = cf->conf_file->line;

    if (slcf->auth->token == NULL) {
        slcf->auth->token = NGX_CONF_UNSET_PTR;
    }

    return ngx_http_sluice_auth_keys(cf, &slcf->auth->token);
}


static char *
ngx_http_sluice_auth_keys(ngx_conf_t *cf, ngx_array_t **keys)
{
    ngx_str_t                    *value;
    ngx_http_sluice_auth_file_t  *file;

    value = cf->args->elts;

    /* never grows: the files' cleanups point into it */
    if (*keys == NGX_CONF_UNSET_PTR) {
        *keys = ngx_array_create(cf->pool, NGX_HTTP_SLUICE_AUTH_FILES,
                                 sizeof(ngx_http_sluice_auth_file_t));
        if (*keys == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if ((*keys)->nelts == NGX_HTTP_SLUICE_AUTH_FILES) {
        return "stands more than 8 times";
    }

    file = ngx_array_push(*keys);
    if (file == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(file, sizeof(ngx_http_sluice_auth_file_t));

    if (value[1].len == 0) {
        return "needs the name of a file";
    }

    file->name = value[1];

    if (ngx_http_sluice_auth_alg(cf, &file->alg) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_sluice_auth_open(cf, file) != NGX_OK) {
        return "has no usable keys";
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_sluice_auth_alg(ngx_conf_t *cf, sluice_jwk_alg_e *alg)
{
    ngx_str_t  *value;

    *alg = SLUICE_JWK_ANY;

    if (cf->args->nelts == 2) {
        return NGX_OK;
    }

    value = cf->args->elts;

    if (ngx_strncmp(value[2].data, "alg=", 4) == 0) {
        *alg = sluice_jwk_alg((char *) value[2].data + 4, value[2].len - 4);
    }

    if (*alg == SLUICE_JWK_ANY) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", expected alg=HS256, "
                           "alg=RS256, alg=ES256 or alg=EdDSA", &value[2]);
        return NGX_ERROR;
    }

    return NGX_OK;
}


char *
ngx_http_sluice_auth_issuer(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    return ngx_http_sluice_auth_list(cf, &slcf->auth->issuers);
}


char *
ngx_http_sluice_auth_audience(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    return ngx_http_sluice_auth_list(cf, &slcf->auth->audiences);
}


static char *
ngx_http_sluice_auth_list(ngx_conf_t *cf, ngx_array_t **list)
{
    ngx_str_t         *value;
    ngx_uint_t         i;
    sluice_jwt_str_t  *text;

    if (*list != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    *list = ngx_array_create(cf->pool, cf->args->nelts - 1,
                             sizeof(sluice_jwt_str_t));
    if (*list == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (value[i].len == 0) {
            return "must not be empty";
        }

        text = ngx_array_push(*list);
        if (text == NULL) {
            return NGX_CONF_ERROR;
        }

        text->data = (char *) value[i].data;
        text->len = value[i].len;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_sluice_auth_leeway(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    ngx_str_t  *value;

    if (slcf->auth->leeway != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;
    slcf->auth->leeway = ngx_parse_time(&value[1], 1);

    if (slcf->auth->leeway == (time_t) NGX_ERROR) {
        return "invalid value";
    }

    if (slcf->auth->leeway > NGX_HTTP_SLUICE_AUTH_LEEWAY_MAX) {
        return "is longer than 1h";
    }

    return NGX_CONF_OK;
}
