/*
 * ngx_http_sluice_module.c: directives, configurations, a worker's begin and
 * end.
 *
 * Owns the command table, the defaults and the checks that nginx -t makes.
 * Does not see a request.
 */

#include "ngx_http_sluice.h"

#define NGX_HTTP_SLUICE_BUDGET_MIN  65536

/* a file is one message, and librdkafka takes none above 1,000,000,000 bytes */
#define NGX_HTTP_SLUICE_FILE_MAX    (900 * 1024 * 1024)


static ngx_int_t ngx_http_sluice_module_init(ngx_cycle_t *cycle);
static void ngx_http_sluice_module_exit(ngx_cycle_t *cycle);
static void *ngx_http_sluice_module_create_main(ngx_conf_t *cf);
static char *ngx_http_sluice_module_init_main(ngx_conf_t *cf, void *conf);
static void *ngx_http_sluice_module_create_loc(ngx_conf_t *cf);
static char *ngx_http_sluice_module_merge_loc(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_sluice_module_check(ngx_conf_t *cf,
    ngx_http_sluice_loc_conf_t *slcf);
static ngx_int_t ngx_http_sluice_module_source(ngx_conf_t *cf,
    ngx_str_t *source);
static char *ngx_http_sluice_module_customer(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_sluice_module_types(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_sluice_module_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_sluice_module_at_least(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_sluice_module_size(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_sluice_module_timeout(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_sluice_module_count(ngx_conf_t *cf, void *post,
    void *data);


static ngx_conf_post_t  ngx_http_sluice_module_budget_post = {
    ngx_http_sluice_module_at_least
};

static ngx_conf_post_t  ngx_http_sluice_module_size_post = {
    ngx_http_sluice_module_size
};

static ngx_conf_post_t  ngx_http_sluice_module_timeout_post = {
    ngx_http_sluice_module_timeout
};

static ngx_conf_post_t  ngx_http_sluice_module_count_post = {
    ngx_http_sluice_module_count
};


#define NGX_HTTP_SLUICE_ANY_CONF                                              \
    NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF


static ngx_command_t  ngx_http_sluice_module_commands[] = {

    { ngx_string("sluice_kafka"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_sluice_kafka_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_postgres"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_sluice_pg_conf,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_inflight"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_sluice_main_conf_t, inflight),
      &ngx_http_sluice_module_budget_post },

    { ngx_string("sluice_partial"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_sluice_main_conf_t, partial),
      &ngx_http_sluice_module_budget_post },

    { ngx_string("sluice_upload"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_sluice_upload_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_summary"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_sluice_summary_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_customer"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_sluice_module_customer,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_types"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_sluice_module_types,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_max_file_size"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, max_file_size),
      &ngx_http_sluice_module_size_post },

    { ngx_string("sluice_max_files"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, max_files),
      &ngx_http_sluice_module_count_post },

    { ngx_string("sluice_ack_timeout"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, ack_timeout),
      &ngx_http_sluice_module_timeout_post },

    { ngx_string("sluice_origin"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_sluice_origin_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_header"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE2,
      ngx_http_sluice_module_header,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_redirect"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, redirect),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_sluice_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_sluice_module_create_main,    /* create main configuration */
    ngx_http_sluice_module_init_main,      /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_sluice_module_create_loc,     /* create location configuration */
    ngx_http_sluice_module_merge_loc       /* merge location configuration */
};


ngx_module_t  ngx_http_sluice_module = {
    NGX_MODULE_V1,
    &ngx_http_sluice_module_ctx,           /* module context */
    ngx_http_sluice_module_commands,       /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_sluice_module_init,           /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_sluice_module_exit,           /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/*
 * Also runs in the cache helpers, which need nothing of us.  An error here
 * would end the worker for good: all trouble is logged, and met again by the
 * requests it concerns.
 */
static ngx_int_t
ngx_http_sluice_module_init(ngx_cycle_t *cycle)
{
    ngx_http_sluice_main_conf_t  *smcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    smcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_sluice_module);

    if (smcf == NULL) {
        return NGX_OK;
    }

    ngx_http_sluice_upload_init(smcf, cycle);
    (void) ngx_http_sluice_part_init(smcf, cycle->log);
    ngx_http_sluice_kafka_init(smcf, cycle);

    if (smcf->pg != NULL) {
        (void) ngx_http_sluice_pg_init(smcf->pg, cycle);
    }

    return NGX_OK;
}


static void
ngx_http_sluice_module_exit(ngx_cycle_t *cycle)
{
    ngx_http_sluice_main_conf_t  *smcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return;
    }

    smcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_sluice_module);

    if (smcf == NULL) {
        return;
    }

    ngx_http_sluice_kafka_exit(smcf);
    ngx_http_sluice_part_exit(smcf);

    if (smcf->pg != NULL) {
        ngx_http_sluice_pg_exit(smcf->pg);
    }
}


static void *
ngx_http_sluice_module_create_main(ngx_conf_t *cf)
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

    smcf->inflight = NGX_CONF_UNSET_SIZE;
    smcf->partial = NGX_CONF_UNSET_SIZE;

    return smcf;
}


static char *
ngx_http_sluice_module_init_main(ngx_conf_t *cf, void *conf)
{
    ngx_http_sluice_main_conf_t *smcf = conf;

    ngx_conf_init_size_value(smcf->inflight, 64 * 1024 * 1024);
    ngx_conf_init_size_value(smcf->partial, 256 * 1024 * 1024);

    return (ngx_http_sluice_kafka_check(cf, smcf) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static void *
ngx_http_sluice_module_create_loc(ngx_conf_t *cf)
{
    ngx_http_sluice_loc_conf_t  *slcf;

    slcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_sluice_loc_conf_t));
    if (slcf == NULL) {
        return NULL;
    }

    slcf->customer_all = NGX_CONF_UNSET;
    slcf->types = NGX_CONF_UNSET_PTR;
    slcf->max_file_size = NGX_CONF_UNSET;
    slcf->max_files = NGX_CONF_UNSET_UINT;
    slcf->ack_timeout = NGX_CONF_UNSET_MSEC;
    slcf->origin_self = NGX_CONF_UNSET;
    slcf->headers = NGX_CONF_UNSET_PTR;

    return slcf;
}


static char *
ngx_http_sluice_module_merge_loc(ngx_conf_t *cf, void *parent, void *child)
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
    ngx_conf_merge_off_value(conf->max_file_size, prev->max_file_size,
                             300 * 1024);
    ngx_conf_merge_uint_value(conf->max_files, prev->max_files, 100);
    ngx_conf_merge_msec_value(conf->ack_timeout, prev->ack_timeout, 20000);

    if (conf->redirect == NULL) {
        conf->redirect = prev->redirect;
    }

    if (conf->topic != NULL) {
        return ngx_http_sluice_module_check(cf, conf);
    }

    if (conf->summary) {
        return ngx_http_sluice_summary_check(cf,
                   ngx_http_conf_get_module_main_conf(cf,
                                                      ngx_http_sluice_module),
                   conf);
    }

    return NGX_CONF_OK;
}


/* What concerns a location that takes uploads. */
static char *
ngx_http_sluice_module_check(ngx_conf_t *cf, ngx_http_sluice_loc_conf_t *slcf)
{
    ngx_http_core_loc_conf_t  *clcf;

    if (slcf->customer_all) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"sluice_customer all\" is for reading, an upload "
                      "belongs to one customer or to none, in %s:%ui",
                      slcf->conf_file, slcf->conf_line);
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->client_max_body_size != 0
        && clcf->client_max_body_size < slcf->max_file_size)
    {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"client_max_body_size\" of %O is smaller than "
                      "\"sluice_max_file_size\" of %O in %s:%ui",
                      clcf->client_max_body_size, slcf->max_file_size,
                      slcf->conf_file, slcf->conf_line);
    }

    ngx_http_sluice_kafka_need(slcf->topic, (size_t) slcf->max_file_size,
                               slcf->ack_timeout);

    return (ngx_http_sluice_module_source(cf, &slcf->source) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/*
 * ce_source, a URI reference as CloudEvents wants it: //SERVER/LOCATION, by
 * the server's first name, or the host's where it has none.
 */
static ngx_int_t
ngx_http_sluice_module_source(ngx_conf_t *cf, ngx_str_t *source)
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


static char *
ngx_http_sluice_module_customer(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    ngx_str_t                         *value;
    ngx_http_compile_complex_value_t   ccv;

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
    if (slcf->customer == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = slcf->customer;

    return (ngx_http_compile_complex_value(&ccv) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_http_sluice_module_types(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
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
ngx_http_sluice_module_header(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    u_char                            *p;
    ngx_str_t                         *value;
    ngx_http_sluice_header_t          *header;
    ngx_http_compile_complex_value_t   ccv;

    value = cf->args->elts;

    for (p = value[1].data; *p != '\0'; p++) {
        if (*p <= 0x20 || *p >= 0x7f) {
            break;
        }
    }

    if (value[1].len == 0 || *p != '\0') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid header name \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_strncasecmp(value[1].data, (u_char *) SLUICE_H_RESERVED_CE,
                        sizeof(SLUICE_H_RESERVED_CE) - 1) == 0
        || ngx_strncasecmp(value[1].data, (u_char *) SLUICE_H_RESERVED_ERROR,
                           sizeof(SLUICE_H_RESERVED_ERROR) - 1) == 0
        || ngx_strcasecmp(value[1].data, (u_char *) SLUICE_H_CONTENT_TYPE) == 0
        || ngx_strcasecmp(value[1].data, (u_char *) SLUICE_H_TRACEPARENT) == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "header \"%V\" is set by the module itself",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if (slcf->headers == NGX_CONF_UNSET_PTR) {
        slcf->headers = ngx_array_create(cf->pool, 4,
                                         sizeof(ngx_http_sluice_header_t));
        if (slcf->headers == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    header = ngx_array_push(slcf->headers);
    if (header == NULL) {
        return NGX_CONF_ERROR;
    }

    header->key = value[1];

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[2];
    ccv.complex_value = &header->value;

    return (ngx_http_compile_complex_value(&ccv) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_http_sluice_module_at_least(ngx_conf_t *cf, void *post, void *data)
{
    size_t  *size = data;

    if (*size < NGX_HTTP_SLUICE_BUDGET_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a budget of %uz bytes is less than 64k", *size);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_sluice_module_size(ngx_conf_t *cf, void *post, void *data)
{
    off_t  *size = data;

    if (*size == 0 || *size > NGX_HTTP_SLUICE_FILE_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a file of %O bytes is not between 1 and 900m",
                           *size);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_sluice_module_timeout(ngx_conf_t *cf, void *post, void *data)
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
ngx_http_sluice_module_count(ngx_conf_t *cf, void *post, void *data)
{
    ngx_int_t  *count = data;

    if (*count < 1 || *count > 100000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%i is not between 1 and 100000", *count);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
