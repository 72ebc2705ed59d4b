/*
 * ngx_http_sluice_module.c: the command table, a worker's begin and end.
 *
 * Owns the names of the directives and the order in which the parts of the
 * module are started.  Defaults and checks are ngx_http_sluice_conf.c's.
 * Does not see a request.
 */

#include "ngx_http_sluice_conf.h"
#include "ngx_http_sluice_monitor.h"
#include "ngx_http_sluice_reading.h"


static ngx_int_t ngx_http_sluice_module_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_sluice_module_handlers(ngx_conf_t *cf);
static ngx_int_t ngx_http_sluice_module_init(ngx_cycle_t *cycle);
static void ngx_http_sluice_module_exit(ngx_cycle_t *cycle);


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
      ngx_conf_set_off_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_sluice_main_conf_t, inflight),
      &ngx_http_sluice_conf_budget_post },

    { ngx_string("sluice_partial"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_sluice_main_conf_t, partial),
      &ngx_http_sluice_conf_budget_post },

    { ngx_string("sluice_upload"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_sluice_form_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_produce"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2|NGX_CONF_TAKE3|NGX_CONF_TAKE4,
      ngx_http_sluice_event_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_max_event_size"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, max_event_size),
      &ngx_http_sluice_event_size_post },

    { ngx_string("sluice_max_events"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, max_events),
      &ngx_http_sluice_conf_count_post },

    { ngx_string("sluice_summary"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_sluice_summary_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_sluice_scrape_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_ANY,
      ngx_http_sluice_health_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_drain"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_sluice_drain_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_customer"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_sluice_conf_customer,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_types"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_sluice_conf_types,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_max_file_size"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, max_file_size),
      &ngx_http_sluice_conf_size_post },

    { ngx_string("sluice_chunk_size"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, chunk_size),
      &ngx_http_sluice_conf_chunk_post },

    { ngx_string("sluice_max_files"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, max_files),
      &ngx_http_sluice_conf_count_post },

    { ngx_string("sluice_max_parts"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, max_parts),
      &ngx_http_sluice_conf_count_post },

    { ngx_string("sluice_max_header_size"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE12,
      ngx_http_sluice_conf_header_size,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_max_field_size"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, max_field_size),
      &ngx_http_sluice_conf_field_size_post },

    { ngx_string("sluice_min_rate"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE12,
      ngx_http_sluice_conf_min_rate,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_ack_timeout"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_sluice_loc_conf_t, ack_timeout),
      &ngx_http_sluice_conf_timeout_post },

    { ngx_string("sluice_origin"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_sluice_origin_set,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_header"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE2,
      ngx_http_sluice_conf_header,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_jwt_key"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE12,
      ngx_http_sluice_auth_jwt_key,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_jwt_issuer"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_sluice_auth_issuer,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_jwt_audience"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_sluice_auth_audience,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_jwt_leeway"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_sluice_auth_leeway,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_token_key"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_sluice_auth_token_key,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("sluice_field"),
      NGX_HTTP_SLUICE_ANY_CONF|NGX_CONF_TAKE12,
      ngx_http_sluice_conf_field,
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
    ngx_http_sluice_module_variables,      /* preconfiguration */
    ngx_http_sluice_module_handlers,       /* postconfiguration */

    ngx_http_sluice_conf_create_main,      /* create main configuration */
    ngx_http_sluice_conf_init_main,        /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_sluice_conf_create_loc,       /* create location configuration */
    ngx_http_sluice_conf_merge_loc         /* merge location configuration */
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


static ngx_int_t
ngx_http_sluice_module_variables(ngx_conf_t *cf)
{
    ngx_uint_t            i;
    ngx_http_variable_t  *var, *v;

    static ngx_http_variable_t *const  tables[] = {
        ngx_http_sluice_jwt_vars,
        ngx_http_sluice_apikey_vars,
        ngx_http_sluice_variables_vars
    };

    for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {

        for (v = tables[i]; v->name.len > 0; v++) {

            var = ngx_http_add_variable(cf, &v->name, v->flags);
            if (var == NULL) {
                return NGX_ERROR;
            }

            var->get_handler = v->get_handler;
            var->data = v->data;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_sluice_module_handlers(ngx_conf_t *cf)
{
    if (ngx_http_sluice_jwt_init(cf) != NGX_OK
        || ngx_http_sluice_variables_count(cf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


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

    ngx_http_sluice_metrics_init(smcf->metrics);
    ngx_http_sluice_health_init(smcf, cycle);
    ngx_http_sluice_upload_init(smcf, cycle);
    ngx_http_sluice_store_init(smcf, cycle);
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
    ngx_http_sluice_store_exit(smcf);

    if (smcf->pg != NULL) {
        ngx_http_sluice_pg_exit(smcf->pg);
    }

    ngx_http_sluice_metrics_exit();
}
