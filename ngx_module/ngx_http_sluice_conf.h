/*
 * ngx_http_sluice_conf.h: the configuration's setters.
 *
 * For the command table, and for the formats, whose directives make a location
 * one that takes uploads.
 */

#ifndef NGX_HTTP_SLUICE_CONF_H
#define NGX_HTTP_SLUICE_CONF_H

#include "ngx_http_sluice.h"

#pragma GCC visibility push(hidden)

/*
 * ngx_http_sluice_conf.c: configurations, and setters for the command table.
 * A setter's post checks a range.
 */
extern ngx_conf_post_t  ngx_http_sluice_conf_budget_post;
extern ngx_conf_post_t  ngx_http_sluice_conf_size_post;
extern ngx_conf_post_t  ngx_http_sluice_conf_chunk_post;
extern ngx_conf_post_t  ngx_http_sluice_conf_timeout_post;
extern ngx_conf_post_t  ngx_http_sluice_conf_count_post;
extern ngx_conf_post_t  ngx_http_sluice_conf_field_size_post;

void *ngx_http_sluice_conf_create_main(ngx_conf_t *cf);
char *ngx_http_sluice_conf_init_main(ngx_conf_t *cf, void *conf);
void *ngx_http_sluice_conf_create_loc(ngx_conf_t *cf);
char *ngx_http_sluice_conf_merge_loc(ngx_conf_t *cf, void *parent,
    void *child);
char *ngx_http_sluice_conf_customer(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_sluice_conf_types(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Compiles a value that may have variables.  complex: where to; NULL, of an
 * allocation that failed, is an error.
 */
char *ngx_http_sluice_conf_complex(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_complex_value_t *complex);

/* ngx_http_sluice_conf_record.c: sluice_header and sluice_field. */
char *ngx_http_sluice_conf_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_sluice_conf_field(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* ngx_http_sluice_conf_limit.c: setters of limits with more than a number. */
char *ngx_http_sluice_conf_header_size(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_sluice_conf_min_rate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * What a location that takes uploads is made: its topic, by "topic=NAME" in
 * param, and the format of its bodies.  For the setters of the formats.
 */
char *ngx_http_sluice_conf_topic(ngx_conf_t *cf,
    ngx_http_sluice_loc_conf_t *slcf, ngx_str_t *block, ngx_str_t *param,
    const ngx_http_sluice_format_t *format);

/* "off" in the place of all of that: answered 503. */
char *ngx_http_sluice_conf_off(ngx_conf_t *cf,
    ngx_http_sluice_loc_conf_t *slcf, ngx_str_t *value);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_CONF_H */
