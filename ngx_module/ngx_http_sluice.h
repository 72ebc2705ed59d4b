/*
 * ngx_http_sluice.h: the module's own types, and who offers what to whom.
 *
 * Dependencies go one way: module -> upload, summary -> part, origin, pg ->
 * reply, kafka.  rdkafka.h is included by ngx_http_sluice_kafka*.c alone,
 * libpq-fe.h by ngx_http_sluice_pg.c alone.  All differences between nginx
 * versions live in this file.
 */

#ifndef NGX_HTTP_SLUICE_H
#define NGX_HTTP_SLUICE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "multipart.h"
#include "../sluice_wire.h"

/* nginx opens modules with RTLD_GLOBAL: our names must not meet others'. */
#pragma GCC visibility push(hidden)

/* A header of ours is the only one of its name: since 1.23 they are lists. */
#if (nginx_version >= 1023000)
#define ngx_http_sluice_header_last(h)  (h)->next = NULL
#else
#define ngx_http_sluice_header_last(h)
#endif

#define NGX_HTTP_SLUICE_UUID_LEN  36

typedef struct ngx_http_sluice_kafka_s     ngx_http_sluice_kafka_t;
typedef struct ngx_http_sluice_topic_s     ngx_http_sluice_topic_t;
typedef struct ngx_http_sluice_msg_s       ngx_http_sluice_msg_t;
typedef struct ngx_http_sluice_headers_s   ngx_http_sluice_headers_t;
typedef struct ngx_http_sluice_part_s      ngx_http_sluice_part_t;
typedef struct ngx_http_sluice_upload_s    ngx_http_sluice_upload_t;
typedef struct ngx_http_sluice_pg_s        ngx_http_sluice_pg_t;
typedef struct ngx_http_sluice_query_s     ngx_http_sluice_query_t;
typedef struct ngx_http_sluice_summaries_s ngx_http_sluice_summaries_t;


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
    ngx_queue_t               reading;      /* uploads whose body arrives */
    ngx_queue_t               held;         /* of these, those held back */
    ngx_event_t               resume;       /* posted when bytes came free */
    ngx_uint_t                uploads;      /* begun by this worker */
    void                     *digest;       /* EVP_MD, fetched once */
    ngx_http_sluice_summaries_t  *summaries;  /* NULL: none yet */
} ngx_http_sluice_main_conf_t;


typedef struct {
    ngx_http_sluice_topic_t   *topic;       /* sluice_upload; NULL: not ours */
    ngx_str_t                  source;      /* ce_source, made at merge */
    ngx_http_complex_value_t  *customer;    /* NULL: none */
    ngx_flag_t                 customer_all;
    ngx_array_t               *types;       /* ngx_str_t; NULL: any */
    off_t                      max_file_size;
    ngx_uint_t                 max_files;
    ngx_msec_t                 ack_timeout;
    ngx_array_t               *origins;     /* ngx_str_t; NULL: self */
    ngx_flag_t                 origin_self;
    ngx_flag_t                 origin_off;
    ngx_array_t               *headers;     /* ngx_http_sluice_header_t */
    ngx_http_complex_value_t  *redirect;
    ngx_flag_t                 summary;

    u_char                    *conf_file;   /* where sluice_upload stands */
    ngx_uint_t                 conf_line;
} ngx_http_sluice_loc_conf_t;


extern ngx_module_t  ngx_http_sluice_module;


/*
 * ngx_http_sluice_tenant.c
 *
 * The tenant of a request, by sluice_customer.  NGX_OK with *customer set
 * (empty when the location names none); NGX_DECLINED when the location names
 * a variable that is empty, longer than SLUICE_CUSTOMER_MAX or, encoded, than
 * SLUICE_CUSTOMER_ENCODED_MAX, or unfit for a record header: answer 403.
 * customer_all must be looked at by the caller first.
 */
ngx_int_t ngx_http_sluice_tenant_get(ngx_http_request_t *r,
    ngx_str_t *customer);


/*
 * ngx_http_sluice_upload.c: a request's life.
 *
 * The directive's setter; the worker's queues; and what a part calls when its
 * fate is known, from the event loop, never from within handing it over.
 */
typedef enum {
    NGX_HTTP_SLUICE_FILE_SENT = 0,     /* handed over, not yet reported */
    NGX_HTTP_SLUICE_FILE_ACCEPTED,
    NGX_HTTP_SLUICE_FILE_REJECTED,
    NGX_HTTP_SLUICE_FILE_UNKNOWN
} ngx_http_sluice_file_e;

/* One file as the reply shows it; lives in the request's pool. */
typedef struct {
    ngx_uint_t                number;       /* from 1, files only */
    ngx_http_sluice_file_e    status;
    const char               *reason;       /* static; of a rejected one */
    ngx_uint_t                refusal;      /* HTTP status of the reason */
    ngx_str_t                 name;         /* cleaned basename */
    ngx_str_t                 field;        /* cleaned */
    const char               *type;         /* sniffed; NULL: not yet */
    size_t                    size;         /* bytes seen */
    u_char                    sha256[SLUICE_SHA256_HEX];
    unsigned                  hashed:1;
    unsigned                  named:1;      /* filename was not empty */
} ngx_http_sluice_file_t;

typedef void (*ngx_http_sluice_reported_pt)(ngx_http_sluice_upload_t *up);

struct ngx_http_sluice_upload_s {
    ngx_http_request_t           *request;
    ngx_http_sluice_main_conf_t  *smcf;
    ngx_http_sluice_loc_conf_t   *slcf;

    ngx_queue_t                   queue;    /* in smcf->reading */
    ngx_queue_t                   held;     /* in smcf->held */
    ngx_uint_t                    age;      /* order of begin */
    ngx_event_t                   deadline;

    sluice_multipart_t            parser;
    ngx_list_t                    files;    /* ngx_http_sluice_file_t */
    ngx_uint_t                    nfiles;
    ngx_http_sluice_file_t       *file;     /* arriving; NULL between files */
    ngx_http_sluice_part_t       *part;     /* NULL too once it is refused */
    ngx_queue_t                   sent;     /* parts not yet reported */
    ngx_http_sluice_reported_pt   reported; /* after each report */
    void                         *sha256;   /* EVP_MD_CTX, reused by file */

    ngx_str_t                     customer;
    ngx_str_t                     traceparent;
    u_char                        uuid[NGX_HTTP_SLUICE_UUID_LEN];

    /* why reading stopped early; status 0: it did not */
    ngx_uint_t                    status;
    const char                   *slug;
    const char                   *title;
    ngx_str_t                     detail;

    unsigned                      is_reading:1;
    unsigned                      is_held:1;
    unsigned                      waiting:1;      /* for reports */
    unsigned                      done:1;         /* answered or detached */
    unsigned                      unavailable:1;  /* a file failed by us */
};

char *ngx_http_sluice_upload_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
void ngx_http_sluice_upload_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle);

/*
 * Between upload.c and upload_body.c: the body's post handler and the event
 * that resumes what is held back; what follows the body, and taking an upload
 * off all queues, timers and parts.  wait() may end the request.
 */
void ngx_http_sluice_upload_start(ngx_http_request_t *r);
void ngx_http_sluice_upload_resume(ngx_event_t *ev);
void ngx_http_sluice_upload_wait(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_upload_detach(ngx_http_sluice_upload_t *up);


/*
 * ngx_http_sluice_part.c: one file on its way.
 *
 * begin(), data() and end() are the parser's events; a non-zero result stops
 * it, with up->status set (or zero when memory ran out).  drop() forgets the
 * part that is arriving, detach() takes all parts off the upload: what
 * librdkafka has goes on without it, what it has not yet is dropped and its
 * file marked refused.  open() makes the upload's id and digest, close()
 * releases the digest.
 */
ngx_int_t ngx_http_sluice_part_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_log_t *log);
void ngx_http_sluice_part_exit(ngx_http_sluice_main_conf_t *smcf);
ngx_int_t ngx_http_sluice_part_open(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_part_close(ngx_http_sluice_upload_t *up);
int ngx_http_sluice_part_begin(void *data,
    const sluice_multipart_part_t *head);
int ngx_http_sluice_part_data(void *data, const char *bytes, size_t len);
int ngx_http_sluice_part_end(void *data);
void ngx_http_sluice_part_drop(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_part_detach(ngx_http_sluice_upload_t *up);

/*
 * ngx_http_sluice_part_record.c: the record headers of up->file, the caller's;
 * NULL without memory.  text() makes a client's words fit for one, at most max
 * bytes, in the pool; uuid() writes a version 7 in NGX_HTTP_SLUICE_UUID_LEN.
 */
ngx_http_sluice_headers_t *ngx_http_sluice_part_headers(
    ngx_http_sluice_upload_t *up, int64_t now);
ngx_int_t ngx_http_sluice_part_text(ngx_pool_t *pool, ngx_str_t *dst,
    size_t max, const char *src, size_t len);
void ngx_http_sluice_part_uuid(u_char *text, int64_t now);


/*
 * ngx_http_sluice_kafka.c: librdkafka in the event loop; one producer per
 * worker and sluice_kafka block.  ngx_http_sluice_kafka_conf.c reads the
 * blocks.
 *
 * A message is its sender's until send(), then this file's until done() or a
 * successful cancel().  value is lent, never copied here; headers are taken.
 * done() is called exactly once, from the event loop, never from send().
 */
typedef enum {
    NGX_HTTP_SLUICE_DELIVERED = 0,     /* by all in-sync replicas */
    NGX_HTTP_SLUICE_REFUSED,           /* surely not in the log */
    NGX_HTTP_SLUICE_TOO_LARGE,         /* likewise, for its size */
    NGX_HTTP_SLUICE_UNKNOWN            /* perhaps in the log */
} ngx_http_sluice_result_e;

typedef void (*ngx_http_sluice_msg_done_pt)(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result);

struct ngx_http_sluice_msg_s {
    ngx_queue_t                   queue;
    ngx_http_sluice_topic_t      *topic;
    ngx_http_sluice_headers_t    *headers;
    u_char                       *value;
    size_t                        len;
    int64_t                       time_ms;  /* since the epoch */
    ngx_http_sluice_msg_done_pt   done;
    void                         *producer; /* NULL: not handed over yet */
    int32_t                       partition;
    ngx_http_sluice_result_e      result;
    u_char                        key[SLUICE_SHA256_HEX];
    unsigned                      resent:1;
};

/* Directive sluice_kafka. */
char *ngx_http_sluice_kafka_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * The topic a location sends to.  A block may stand behind the locations that
 * name it: check() refuses, with the location's file and line, what is still
 * missing at the end of http{}.  need() tells what a location asks of it.
 */
ngx_http_sluice_topic_t *ngx_http_sluice_kafka_topic(ngx_conf_t *cf,
    ngx_http_sluice_main_conf_t *smcf, ngx_str_t *block, ngx_str_t *name);
ngx_int_t ngx_http_sluice_kafka_check(ngx_conf_t *cf,
    ngx_http_sluice_main_conf_t *smcf);
void ngx_http_sluice_kafka_need(ngx_http_sluice_topic_t *topic,
    size_t max_file_size, ngx_msec_t ack_timeout);

/* Worker hooks.  init() never fails the worker: it logs and tries again. */
void ngx_http_sluice_kafka_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle);
void ngx_http_sluice_kafka_exit(ngx_http_sluice_main_conf_t *smcf);

/* Whether an upload is worth reading: 0 when no broker is known to be up. */
ngx_uint_t ngx_http_sluice_kafka_ready(ngx_http_sluice_topic_t *topic);

ngx_http_sluice_headers_t *ngx_http_sluice_kafka_headers(size_t n);
ngx_int_t ngx_http_sluice_kafka_header(ngx_http_sluice_headers_t *headers,
    const char *name, const u_char *value, size_t len);
void ngx_http_sluice_kafka_headers_free(ngx_http_sluice_headers_t *headers);

void ngx_http_sluice_kafka_send(ngx_http_sluice_msg_t *msg);

/* NGX_OK: it never left us and is the sender's again.  NGX_DECLINED: too
 * late, done() will be called. */
ngx_int_t ngx_http_sluice_kafka_cancel(ngx_http_sluice_msg_t *msg);


/*
 * ngx_http_sluice_origin.c: who may post from a browser.
 *
 * NGX_OK: go on; the answer to a listed origin has its CORS headers already.
 * NGX_DECLINED: a foreign page, answer 403.  NGX_ERROR: no memory.  preflight()
 * answers OPTIONS after that.
 */
ngx_int_t ngx_http_sluice_origin_check(ngx_http_request_t *r,
    ngx_http_sluice_loc_conf_t *slcf);
ngx_int_t ngx_http_sluice_origin_preflight(ngx_http_request_t *r);
char *ngx_http_sluice_origin_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/*
 * ngx_http_sluice_reply.c: the only place where a body of ours is written.
 *
 * problem() sends RFC 9457 problem+json: status, a stable slug that becomes
 * type "urn:sluice:problem:SLUG", title and detail (detail may come from a
 * client: it is escaped).  retry_after in seconds, 0 for none.  Both return
 * what the caller passes to ngx_http_finalize_request() or returns from a
 * content handler.  json() takes the body over as one buffer.
 *
 * files() answers an upload: 202 with its files, 303 where a page posted a
 * form, or the problem in up->status, listing the files as well.
 *
 * add() puts a header into the answer, get() finds one of the request's; the
 * first of several.
 */
ngx_int_t ngx_http_sluice_problem(ngx_http_request_t *r, ngx_uint_t status,
    const char *slug, const char *title, ngx_str_t *detail,
    ngx_uint_t retry_after);
ngx_int_t ngx_http_sluice_json(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *body);
ngx_int_t ngx_http_sluice_reply_files(ngx_http_sluice_upload_t *up);
ngx_int_t ngx_http_sluice_reply_add(ngx_http_request_t *r, const char *name,
    const char *value, size_t len);
ngx_str_t *ngx_http_sluice_reply_get(ngx_http_request_t *r,
    const char *lowcase);


/*
 * ngx_http_sluice_pg.c: one non-blocking libpq connection per worker.
 *
 * conf() is the setter of sluice_postgres; it refuses what libpq refuses.
 * init() and exit() are called from the worker's hooks and never fail the
 * worker.
 *
 * query() runs one prepared SELECT with text parameters (copied; name and sql
 * are static) and calls done() from the event loop exactly once, unless the
 * query was cancelled first, or NULL was returned: PostgreSQL is known to be
 * away, or too many wait.  Its timer holds a quitting worker.  value is
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
 * ngx_http_sluice_summary.c: the directive's setter installs the handler;
 * check(), called when a location with sluice_summary is merged, refuses one
 * that names neither a customer nor all, or no database.
 */
char *ngx_http_sluice_summary_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_sluice_summary_check(ngx_conf_t *cf,
    ngx_http_sluice_main_conf_t *smcf, ngx_http_sluice_loc_conf_t *slcf);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_H */
