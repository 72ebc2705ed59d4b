/*
 * ngx_http_sluice.h: the module's own types, and who offers what to whom.
 *
 * Dependencies go one way: module -> upload, summary -> part, reply, origin,
 * pg -> kafka.  rdkafka.h is included by ngx_http_sluice_kafka.c alone,
 * libpq-fe.h by ngx_http_sluice_pg.c alone.  All differences between nginx
 * versions live in this file.
 */

#ifndef NGX_HTTP_SLUICE_H
#define NGX_HTTP_SLUICE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

/* nginx opens modules with RTLD_GLOBAL: our names must not meet others'. */
#pragma GCC visibility push(hidden)

typedef struct ngx_http_sluice_kafka_s     ngx_http_sluice_kafka_t;
typedef struct ngx_http_sluice_topic_s     ngx_http_sluice_topic_t;
typedef struct ngx_http_sluice_msg_s       ngx_http_sluice_msg_t;
typedef struct ngx_http_sluice_pg_s        ngx_http_sluice_pg_t;
typedef struct ngx_http_sluice_query_s     ngx_http_sluice_query_t;


typedef struct {
    ngx_str_t                 key;
    ngx_http_complex_value_t  value;
} ngx_http_sluice_header_t;


typedef struct {
    ngx_array_t               kafkas;       /* ngx_http_sluice_kafka_t * */
    ngx_http_sluice_pg_t     *pg;           /* NULL without sluice_postgres */
    size_t                    inflight;     /* bytes per worker, to Kafka */
    size_t                    partial;      /* bytes per worker, arriving */

    /* a worker's state; zero in the master */
    size_t                    inflight_used;
    size_t                    partial_used;
    ngx_queue_t               held;         /* uploads held back, FIFO */
    ngx_event_t               resume;       /* posted when bytes came free */
} ngx_http_sluice_main_conf_t;


typedef struct {
    ngx_http_sluice_topic_t   *topic;       /* sluice_upload; NULL: not ours */
    ngx_http_complex_value_t  *customer;    /* NULL: none */
    ngx_flag_t                 customer_all;
    ngx_array_t               *types;       /* ngx_str_t; NULL: any */
    size_t                     max_file_size;
    ngx_uint_t                 max_files;
    ngx_msec_t                 ack_timeout;
    ngx_array_t               *origins;     /* ngx_str_t; NULL: self */
    ngx_array_t               *headers;     /* ngx_http_sluice_header_t */
    ngx_http_complex_value_t  *redirect;
    ngx_flag_t                 summary;
} ngx_http_sluice_loc_conf_t;


extern ngx_module_t  ngx_http_sluice_module;


/*
 * ngx_http_sluice_module.c
 *
 * The tenant of a request, by sluice_customer.  NGX_OK with *customer set
 * (empty when the location names none); NGX_DECLINED when the location names
 * a variable that is empty or longer than SLUICE_CUSTOMER_MAX: answer 403.
 * customer_all must be looked at by the caller first.
 */
ngx_int_t ngx_http_sluice_customer(ngx_http_request_t *r,
    ngx_str_t *customer);


/*
 * ngx_http_sluice_reply.c: the only place where a body of ours is written.
 *
 * problem() sends RFC 9457 problem+json: status, a stable slug that becomes
 * type "urn:sluice:problem:SLUG", title and detail (detail may come from a
 * client: it is escaped).  retry_after in seconds, 0 for none.  Both return
 * what the caller passes to ngx_http_finalize_request() or returns from a
 * content handler.  json() takes the body over as one buffer.
 */
ngx_int_t ngx_http_sluice_problem(ngx_http_request_t *r, ngx_uint_t status,
    const char *slug, const char *title, ngx_str_t *detail,
    ngx_uint_t retry_after);
ngx_int_t ngx_http_sluice_json(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *body);


/*
 * ngx_http_sluice_pg.c: one non-blocking libpq connection per worker.
 *
 * conf() parses sluice_postgres (dsn, borrowed from cf->pool) and refuses
 * what libpq refuses.  init() and exit() are called from the worker's hooks
 * and never fail the worker.
 *
 * query() runs one prepared SELECT with text parameters and calls done() from
 * the event loop exactly once, unless the query was cancelled first.  value is
 * the first column of the first row, borrowed for the call; rc is NGX_OK,
 * NGX_DECLINED (PostgreSQL refused the query: SQLSTATE in value), or NGX_ERROR
 * (not connected, connection lost, timeout).  cancel() is for a request's
 * cleanup: done() is not called after it.
 */
typedef void (*ngx_http_sluice_pg_done_pt)(void *data, ngx_int_t rc,
    ngx_str_t *value);

char *ngx_http_sluice_pg_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_http_sluice_pg_init(ngx_http_sluice_pg_t *pg,
    ngx_cycle_t *cycle);
void ngx_http_sluice_pg_exit(ngx_http_sluice_pg_t *pg);
ngx_http_sluice_query_t *ngx_http_sluice_pg_query(ngx_http_sluice_pg_t *pg,
    const char *name, const char *sql, ngx_uint_t nparams,
    const char *const *params, ngx_http_sluice_pg_done_pt done, void *data);
void ngx_http_sluice_pg_cancel(ngx_http_sluice_query_t *query);


/*
 * ngx_http_sluice_summary.c: the directive's setter installs the handler.
 */
char *ngx_http_sluice_summary_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_H */
