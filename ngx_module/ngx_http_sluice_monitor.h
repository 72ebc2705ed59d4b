/*
 * ngx_http_sluice_monitor.h: what operators see, and what they switch.
 *
 * Metrics and their scraping, variables for logs, health, draining.  None of
 * it decides anything about an upload but drain, which refuses it.
 */

#ifndef NGX_HTTP_SLUICE_MONITOR_H
#define NGX_HTTP_SLUICE_MONITOR_H

#include "ngx_http_sluice.h"

#pragma GCC visibility push(hidden)

/*
 * ngx_http_sluice_variables.c: what logs may tell of an upload.
 *
 * vars are for module.c to add; count() is for postconfiguration.  upload()
 * makes an upload known to the variables until its request's end; problem()
 * the slug of a problem that is sent, which is static.
 */
extern ngx_http_variable_t  ngx_http_sluice_variables_vars[];

ngx_int_t ngx_http_sluice_variables_count(ngx_conf_t *cf);
ngx_int_t ngx_http_sluice_variables_upload(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_variables_problem(ngx_http_request_t *r,
    const char *slug);


/*
 * ngx_http_sluice_drain.c: uploads switched off by a file.  set() is the
 * setter of sluice_drain; on() tells whether the file is there, NULL's never
 * is; any() whether one of all.
 */
char *ngx_http_sluice_drain_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_uint_t ngx_http_sluice_drain_on(ngx_http_sluice_drain_t *drain);
ngx_uint_t ngx_http_sluice_drain_any(ngx_http_sluice_main_conf_t *smcf);


/* ngx_http_sluice_scrape.c: the setter of sluice_metrics. */
char *ngx_http_sluice_scrape_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/*
 * ngx_http_sluice_health.c: the setter of sluice_health, and a worker's
 * beginning.  smcf->told is posted when a block's brokers have answered, or
 * failed to.
 */
char *ngx_http_sluice_health_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
void ngx_http_sluice_health_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_MONITOR_H */
