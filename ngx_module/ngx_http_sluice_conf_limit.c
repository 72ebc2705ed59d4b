/*
 * ngx_http_sluice_conf_limit.c: limits that are more than a number.
 *
 * Owns the setters of sluice_max_header_size and sluice_min_rate, and the
 * check of sluice_max_field_size.  Defaults are ngx_http_sluice_conf.c's.
 */

#include "ngx_http_sluice_conf.h"

#define NGX_HTTP_SLUICE_CONF_HEADER_MIN  256
#define NGX_HTTP_SLUICE_CONF_TOTAL_MAX   (1024 * 1024 * 1024)

#define NGX_HTTP_SLUICE_CONF_RATE_MAX     (1024 * 1024 * 1024)
#define NGX_HTTP_SLUICE_CONF_RATE_PERIOD  10000           /* ms */


static char *ngx_http_sluice_conf_field_size(ngx_conf_t *cf, void *post,
    void *data);


ngx_conf_post_t  ngx_http_sluice_conf_field_size_post = {
    ngx_http_sluice_conf_field_size
};


/* SIZE [total=SIZE] */
char *
ngx_http_sluice_conf_header_size(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    ssize_t     size;
    ngx_str_t  *value, total;

    if (slcf->max_header_size != NGX_CONF_UNSET_SIZE) {
        return "is duplicate";
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[1]);

    if (size < NGX_HTTP_SLUICE_CONF_HEADER_MIN
        || size > SLUICE_MULTIPART_HEADER_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is not between %d and 8k", &value[1],
                           NGX_HTTP_SLUICE_CONF_HEADER_MIN);
        return NGX_CONF_ERROR;
    }

    slcf->max_header_size = size;

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[2].data, "total=", 6) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", expected total=SIZE",
                           &value[2]);
        return NGX_CONF_ERROR;
    }

    total.data = value[2].data + 6;
    total.len = value[2].len - 6;

    size = ngx_parse_size(&total);

    if (size < (ssize_t) slcf->max_header_size
        || size > NGX_HTTP_SLUICE_CONF_TOTAL_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a total of \"%V\" is not between \"%V\" and 1g",
                           &total, &value[1]);
        return NGX_CONF_ERROR;
    }

    slcf->max_header_total = size;

    return NGX_CONF_OK;
}


/* RATE [PERIOD] */
char *
ngx_http_sluice_conf_min_rate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    ssize_t     rate;
    ngx_int_t   period;
    ngx_str_t  *value;

    if (slcf->min_rate != NGX_CONF_UNSET_SIZE) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rate = ngx_parse_size(&value[1]);

    if (rate == NGX_ERROR || rate > NGX_HTTP_SLUICE_CONF_RATE_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a rate of \"%V\" is not between 0 and 1g",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    period = NGX_HTTP_SLUICE_CONF_RATE_PERIOD;

    if (cf->args->nelts == 3) {
        period = ngx_parse_time(&value[2], 0);

        if (period == NGX_ERROR || period < 1000 || period > 600000) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "a period of \"%V\" is not between 1s and 10m",
                               &value[2]);
            return NGX_CONF_ERROR;
        }
    }

    slcf->min_rate = rate;
    slcf->min_rate_period = period;

    return NGX_CONF_OK;
}


static char *
ngx_http_sluice_conf_field_size(ngx_conf_t *cf, void *post, void *data)
{
    off_t  *size = data;

    if (*size == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a field of 0 bytes would refuse every form with"
                           " text");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
