/*
 * ngx_http_sluice_conf.c: the configurations of the module.
 *
 * Owns the defaults, what is inherited, the setters that more than one part
 * of the module needs, and the checks that nginx -t makes of a location.  The
 * command table is ngx_http_sluice_module.c's.  Does not see a request.
 */

#include "ngx_http_sluice_conf.h"
#include "ngx_http_sluice_reading.h"

#define NGX_HTTP_SLUICE_BUDGET_MIN  65536

#define NGX_HTTP_SLUICE_FILE_MAX    ((off_t) 100 * 1024 * 1024 * 1024)

/* a message: librdkafka takes none above 1,000,000,000 bytes */
#define NGX_HTTP_SLUICE_CHUNK_MIN   65536
#define NGX_HTTP_SLUICE_CHUNK_MAX   (900 * 1024 * 1024)

/* a limit that follows from sluice_max_files, which a deeper level may set */
#define NGX_HTTP_SLUICE_CONF_BY_FILES  0


static char *ngx_http_sluice_conf_check(ngx_conf_t *cf,
    ngx_http_sluice_loc_conf_t *slcf);
static ngx_int_t ngx_http_sluice_conf_source(ngx_conf_t *cf,
    ngx_str_t *source);
static char *ngx_http_sluice_conf_at_least(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_sluice_conf_size(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_sluice_conf_chunk(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_sluice_conf_timeout(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_sluice_conf_count(ngx_conf_t *cf, void *post,
    void *data);


ngx_conf_post_t  ngx_http_sluice_conf_budget_post = {
    ngx_http_sluice_conf_at_least
};

ngx_conf_post_t  ngx_http_sluice_conf_size_post = {
    ngx_http_sluice_conf_size
};

ngx_conf_post_t  ngx_http_sluice_conf_chunk_post = {
    ngx_http_sluice_conf_chunk
};

ngx_conf_post_t  ngx_http_sluice_conf_timeout_post = {
    ngx_http_sluice_conf_timeout
};

ngx_conf_post_t  ngx_http_sluice_conf_count_post = {
    ngx_http_sluice_conf_count
};


void *
ngx_http_sluice_conf_create_main(ngx_conf_t *cf)
{
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_sluice_main_conf_t));
    if (smcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&smcf->kafkas, cf->pool, 1,
                       sizeof(ngx_http_sluice_kafka_t *))
        != NGX_OK)
    {
        return NULL;
    }

    if (ngx_array_init(&smcf->drains, cf->pool, 1,
                       sizeof(ngx_http_sluice_drain_t *))
        != NGX_OK)
    {
        return NULL;
    }

    smcf->inflight = NGX_CONF_UNSET;
    smcf->partial = NGX_CONF_UNSET;

    return smcf;
}


char *
ngx_http_sluice_conf_init_main(ngx_conf_t *cf, void *conf)
{
    ngx_http_sluice_main_conf_t *smcf = conf;

    ngx_conf_init_value(smcf->inflight, 64 * 1024 * 1024);
    ngx_conf_init_value(smcf->partial, 256 * 1024 * 1024);

    if (smcf->kafkas.nelts > 0) {
        smcf->metrics = ngx_http_sluice_metrics_zone(cf,
                                                     &ngx_http_sluice_module);
        if (smcf->metrics == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return (ngx_http_sluice_kafka_check(cf, smcf) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


void *
ngx_http_sluice_conf_create_loc(ngx_conf_t *cf)
{
    ngx_http_sluice_loc_conf_t  *slcf;

    slcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_sluice_loc_conf_t));
    if (slcf == NULL) {
        return NULL;
    }

    slcf->auth = ngx_http_sluice_auth_create(cf);
    if (slcf->auth == NULL) {
        return NULL;
    }

    slcf->customer_all = NGX_CONF_UNSET;
    slcf->types = NGX_CONF_UNSET_PTR;
    slcf->max_file_size = NGX_CONF_UNSET;
    slcf->chunk_size = NGX_CONF_UNSET_SIZE;
    slcf->max_files = NGX_CONF_UNSET_UINT;
    slcf->max_parts = NGX_CONF_UNSET_UINT;
    slcf->max_header_size = NGX_CONF_UNSET_SIZE;
    slcf->max_header_total = NGX_CONF_UNSET_SIZE;
    slcf->max_field_size = NGX_CONF_UNSET;
    slcf->min_rate = NGX_CONF_UNSET_SIZE;
    slcf->ack_timeout = NGX_CONF_UNSET_MSEC;
    slcf->origin_self = NGX_CONF_UNSET;
    slcf->headers = NGX_CONF_UNSET_PTR;
    slcf->max_event_size = NGX_CONF_UNSET_SIZE;
    slcf->max_events = NGX_CONF_UNSET_UINT;
    slcf->fields = NGX_CONF_UNSET_PTR;
    slcf->drain = NGX_CONF_UNSET_PTR;

    return slcf;
}


char *
ngx_http_sluice_conf_merge_loc(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_sluice_loc_conf_t *prev = parent;
    ngx_http_sluice_loc_conf_t *conf = child;

    /* one directive each sets these groups: they are inherited whole */
    if (conf->customer_all == NGX_CONF_UNSET) {
        conf->customer_all = prev->customer_all;
        conf->customer = prev->customer;
    }

    if (conf->customer_all == NGX_CONF_UNSET) {
        conf->customer_all = 0;
    }

    if (conf->origin_self == NGX_CONF_UNSET) {
        conf->origin_self = prev->origin_self;
        conf->origin_off = prev->origin_off;
        conf->origins = prev->origins;
    }

    if (conf->origin_self == NGX_CONF_UNSET) {
        conf->origin_self = 1;
    }

    ngx_conf_merge_ptr_value(conf->types, prev->types, NULL);
    ngx_conf_merge_ptr_value(conf->headers, prev->headers, NULL);
    ngx_conf_merge_ptr_value(conf->fields, prev->fields, NULL);
    ngx_conf_merge_ptr_value(conf->drain, prev->drain, NULL);
    ngx_conf_merge_off_value(conf->max_file_size, prev->max_file_size,
                             300 * 1024);
    ngx_conf_merge_size_value(conf->chunk_size, prev->chunk_size,
                              512 * 1024);
    ngx_conf_merge_uint_value(conf->max_files, prev->max_files, 100);
    ngx_conf_merge_off_value(conf->max_field_size, prev->max_field_size,
                             64 * 1024);

    if (conf->min_rate == NGX_CONF_UNSET_SIZE) {
        conf->min_rate = prev->min_rate;
        conf->min_rate_period = prev->min_rate_period;
    }

    if (conf->min_rate == NGX_CONF_UNSET_SIZE) {
        conf->min_rate = 0;
    }

    ngx_conf_merge_msec_value(conf->ack_timeout, prev->ack_timeout, 20000);
    ngx_conf_merge_size_value(conf->max_event_size, prev->max_event_size,
                              256 * 1024);
    ngx_conf_merge_uint_value(conf->max_events, prev->max_events, 10000);

    ngx_conf_merge_uint_value(conf->max_parts, prev->max_parts,
                              NGX_HTTP_SLUICE_CONF_BY_FILES);
    ngx_conf_merge_size_value(conf->max_header_size, prev->max_header_size,
                              SLUICE_MULTIPART_HEADER_SIZE);
    ngx_conf_merge_size_value(conf->max_header_total, prev->max_header_total,
                              NGX_HTTP_SLUICE_CONF_BY_FILES);

    if (conf->redirect == NULL) {
        conf->redirect = prev->redirect;
    }

    if (ngx_http_sluice_auth_merge(cf, prev, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (conf->topic != NULL) {
        return ngx_http_sluice_conf_check(cf, conf);
    }

    if (conf->summary) {
        return ngx_http_sluice_summary_check(cf,
                   ngx_http_conf_get_module_main_conf(cf,
                                                      ngx_http_sluice_module),
                   conf);
    }

    return NGX_CONF_OK;
}


char *
ngx_http_sluice_conf_topic(ngx_conf_t *cf, ngx_http_sluice_loc_conf_t *slcf,
    ngx_str_t *block, ngx_str_t *param,
    const ngx_http_sluice_format_t *format)
{
    size_t                        i;
    ngx_str_t                     topic;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_sluice_main_conf_t  *smcf;

    if (slcf->topic != NULL || slcf->off) {
        return "is duplicate, a location has one topic";
    }

    if (ngx_strncmp(param->data, "topic=", 6) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", expected topic=NAME",
                           param);
        return NGX_CONF_ERROR;
    }

    topic.data = param->data + 6;
    topic.len = param->len - 6;

    for (i = 0; i < topic.len; i++) {
        if (ngx_strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789._-", topic.data[i])
            == NULL)
        {
            break;
        }
    }

    if (i < topic.len || topic.len == 0 || topic.len > 249) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid topic name \"%V\"", &topic);
        return NGX_CONF_ERROR;
    }

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_sluice_module);

    slcf->topic = ngx_http_sluice_kafka_topic(cf, smcf, block, &topic);
    if (slcf->topic == NULL) {
        return NGX_CONF_ERROR;
    }

    slcf->format = format;
    slcf->conf_file = cf->conf_file->file.name.data;
    slcf->conf_line = cf->conf_file->line;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_sluice_upload_handler;

    return NGX_CONF_OK;
}


char *
ngx_http_sluice_conf_off(ngx_conf_t *cf, ngx_http_sluice_loc_conf_t *slcf,
    ngx_str_t *value)
{
    ngx_http_core_loc_conf_t  *clcf;

    if (slcf->topic != NULL || slcf->off) {
        return "is duplicate";
    }

    if (ngx_strcmp(value->data, "off") != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\", expected off, or a block's "
                           "name and topic=NAME", value);
        return NGX_CONF_ERROR;
    }

    slcf->off = 1;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_sluice_upload_handler;

    return NGX_CONF_OK;
}


/* What concerns a location that takes uploads. */
static char *
ngx_http_sluice_conf_check(ngx_conf_t *cf, ngx_http_sluice_loc_conf_t *slcf)
{
    char                      *rv;
    off_t                      size;
    const char                *name;
    ngx_http_core_loc_conf_t  *clcf;

    if (slcf->customer_all) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"sluice_customer all\" is for reading, an upload "
                      "belongs to one customer or to none, in %s:%ui",
                      slcf->conf_file, slcf->conf_line);
        return NGX_CONF_ERROR;
    }

    size = slcf->events ? (off_t) slcf->max_event_size : slcf->max_file_size;
    name = slcf->events ? "sluice_max_event_size" : "sluice_max_file_size";

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->client_max_body_size != 0 && clcf->client_max_body_size < size) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"client_max_body_size\" of %O is smaller than "
                      "\"%s\" of %O in %s:%ui",
                      clcf->client_max_body_size, name, size,
                      slcf->conf_file, slcf->conf_line);
    }

    if (!slcf->events) {

        rv = ngx_http_sluice_kafka_chunks(cf, slcf);
        if (rv != NGX_CONF_OK) {
            return rv;
        }

        size = ngx_min(size, (off_t) slcf->chunk_size);
    }

    ngx_http_sluice_kafka_need(slcf->topic, (size_t) size, slcf->ack_timeout);

    return (ngx_http_sluice_conf_source(cf, &slcf->source) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/*
 * ce_source, a URI reference as CloudEvents wants it: //SERVER/LOCATION, by
 * the server's first name, or the host's where it has none.
 */
static ngx_int_t
ngx_http_sluice_conf_source(ngx_conf_t *cf, ngx_str_t *source)
{
    u_char                    *p;
    ngx_str_t                  name, path;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_core_srv_conf_t  *cscf;

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    name = cscf->server_name;
    path = clcf->name;

    if (name.len == 0 || (name.len == 1 && name.data[0] == '_')) {
        name = cf->cycle->hostname;
    }

    source->data = ngx_pnalloc(cf->pool, 3 + 3 * (name.len + path.len));
    if (source->data == NULL) {
        return NGX_ERROR;
    }

    p = source->data;
    *p++ = '/';
    *p++ = '/';
    p = (u_char *) ngx_escape_uri(p, name.data, name.len,
                                  NGX_ESCAPE_URI_COMPONENT);

    if (path.len == 0 || path.data[0] != '/') {
        *p++ = '/';
    }

    p = (u_char *) ngx_escape_uri(p, path.data, path.len, NGX_ESCAPE_URI);

    source->len = p - source->data;

    return NGX_OK;
}


char *
ngx_http_sluice_conf_customer(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    ngx_str_t  *value;

    if (slcf->customer_all != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "must not be empty";
    }

    if (ngx_strcmp(value[1].data, "all") == 0) {
        slcf->customer_all = 1;
        return NGX_CONF_OK;
    }

    slcf->customer_all = 0;

    slcf->customer = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));

    return ngx_http_sluice_conf_complex(cf, &value[1], slcf->customer);
}


char *
ngx_http_sluice_conf_complex(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_complex_value_t *complex)
{
    ngx_http_compile_complex_value_t  ccv;

    if (complex == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = value;
    ccv.complex_value = complex;

    return (ngx_http_compile_complex_value(&ccv) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


char *
ngx_http_sluice_conf_types(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    u_char      *slash;
    ngx_str_t   *value, *type;
    ngx_uint_t   i;

    if (slcf->types != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    slcf->types = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                   sizeof(ngx_str_t));
    if (slcf->types == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        slash = (u_char *) ngx_strchr(value[i].data, '/');

        if (slash == NULL || slash == value[i].data || slash[1] == '\0') {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid type \"%V\", expected one such as "
                               "image/png", &value[i]);
            return NGX_CONF_ERROR;
        }

        type = ngx_array_push(slcf->types);
        if (type == NULL) {
            return NGX_CONF_ERROR;
        }

        /* what the sniffer says is lower-case */
        *type = value[i];
        ngx_strlow(type->data, type->data, type->len);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_sluice_conf_at_least(ngx_conf_t *cf, void *post, void *data)
{
    off_t  *size = data;

    if (*size < NGX_HTTP_SLUICE_BUDGET_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a budget of %O bytes is less than 64k", *size);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_sluice_conf_size(ngx_conf_t *cf, void *post, void *data)
{
    off_t  *size = data;

    if (*size == 0 || *size > NGX_HTTP_SLUICE_FILE_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a file of %O bytes is not between 1 and 100g",
                           *size);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_sluice_conf_chunk(ngx_conf_t *cf, void *post, void *data)
{
    size_t  *size = data;

    if (*size < NGX_HTTP_SLUICE_CHUNK_MIN || *size > NGX_HTTP_SLUICE_CHUNK_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a chunk of %uz bytes is not between 64k and 900m",
                           *size);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_sluice_conf_timeout(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *timeout = data;

    if (*timeout < 1000 || *timeout > 600000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a timeout of %M ms is not between 1s and 10m",
                           *timeout);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_sluice_conf_count(ngx_conf_t *cf, void *post, void *data)
{
    ngx_int_t  *count = data;

    if (*count < 1 || *count > 100000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%i is not between 1 and 100000", *count);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
