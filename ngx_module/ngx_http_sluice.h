/*
 * ngx_http_sluice.h: the module's own types, and who offers what to whom.
 *
 * Dependencies go one way: module -> conf, summary, form -> upload, part ->
 * store, origin, pg -> reply, kafka -> metrics.  rdkafka.h is included by
 * ngx_http_sluice_kafka*.c alone, libpq-fe.h by ngx_http_sluice_pg.c alone.
 * All differences between nginx versions live in this file.  What only the
 * configuration needs is in ngx_http_sluice_conf.h.
 */

#ifndef NGX_HTTP_SLUICE_H
#define NGX_HTTP_SLUICE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "multipart.h"
#include "rfc3339.h"
#include "ngx_http_sluice_metrics.h"
#include "slab.h"
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
#define NGX_HTTP_SLUICE_RANDOM    1020     /* of 102 ids */

typedef struct ngx_http_sluice_kafka_s     ngx_http_sluice_kafka_t;
typedef struct ngx_http_sluice_topic_s     ngx_http_sluice_topic_t;
typedef struct ngx_http_sluice_msg_s       ngx_http_sluice_msg_t;
typedef struct ngx_http_sluice_headers_s   ngx_http_sluice_headers_t;
typedef struct ngx_http_sluice_part_s      ngx_http_sluice_part_t;
typedef struct ngx_http_sluice_upload_s    ngx_http_sluice_upload_t;
typedef struct ngx_http_sluice_format_s    ngx_http_sluice_format_t;
typedef struct ngx_http_sluice_form_s      ngx_http_sluice_form_t;
typedef struct ngx_http_sluice_auth_conf_s ngx_http_sluice_auth_conf_t;
typedef struct ngx_http_sluice_drain_s     ngx_http_sluice_drain_t;
typedef struct ngx_http_sluice_pg_s        ngx_http_sluice_pg_t;
typedef struct ngx_http_sluice_query_s     ngx_http_sluice_query_t;
typedef struct ngx_http_sluice_summaries_s ngx_http_sluice_summaries_t;


typedef struct {
    ngx_str_t                 key;
    ngx_http_complex_value_t  value;
} ngx_http_sluice_header_t;


/* Milliseconds since the epoch, by nginx's clock. */
#define ngx_http_sluice_now_ms()                                              \
    ((int64_t) ngx_cached_time->sec * 1000 + ngx_cached_time->msec)

/* A text field of the form that goes into the records of files behind it. */
typedef struct {
    ngx_str_t                 name;
    ngx_str_t                 header;       /* NUL-terminated */
} ngx_http_sluice_field_t;


typedef struct {
    ngx_array_t               kafkas;       /* ngx_http_sluice_kafka_t * */
    ngx_array_t               drains;       /* ngx_http_sluice_drain_t * */
    ngx_shm_zone_t           *metrics;      /* NULL: nothing of ours */
    ngx_http_sluice_pg_t     *pg;           /* NULL without sluice_postgres */
    off_t                     inflight;     /* bytes per worker, to Kafka */
    off_t                     partial;      /* bytes per worker, arriving */

    /* a worker's state; zero in the master */
    size_t                    inflight_used;
    size_t                    partial_used;
    ngx_queue_t               reading;      /* uploads whose body arrives */
    ngx_queue_t               held;         /* of these, those held back */
    ngx_event_t               resume;       /* posted when bytes came free */
    ngx_queue_t               asking;       /* requests for health */
    ngx_event_t               told;         /* posted when brokers were asked */
    ngx_event_t               rate;         /* looks for slow clients */
    ngx_msec_t                rate_last;    /* when it did */
    ngx_queue_t              *rate_next;    /* in reading, while it does */
    sluice_slab_pool_t        slabs;
    sluice_slab_reader_t     *reader;       /* whose bytes are fed now */
    ngx_event_t               trim;         /* unused slabs */
    ngx_uint_t                uploads;      /* begun by this worker */
    void                     *digest;       /* EVP_MD, fetched once */
    ngx_http_sluice_summaries_t  *summaries;  /* NULL: none yet */

    /* of record.c: the last time as text, random bytes not used yet */
    int64_t                   time_ms;
    u_char                    time_text[SLUICE_RFC3339_LEN];
    size_t                    random_left;
    u_char                    random[NGX_HTTP_SLUICE_RANDOM];
} ngx_http_sluice_main_conf_t;


typedef struct {
    ngx_http_sluice_topic_t   *topic;       /* NULL: takes no uploads */
    const ngx_http_sluice_format_t  *format;  /* of the bodies */
    ngx_str_t                  source;      /* ce_source, made at merge */
    ngx_http_complex_value_t  *customer;    /* NULL: none */
    ngx_flag_t                 customer_all;
    ngx_array_t               *types;       /* ngx_str_t; NULL: any */
    off_t                      max_file_size;
    size_t                     chunk_size;  /* larger files go in chunks */
    size_t                     chunk_now;   /* a worker's: what topics take */
    ngx_http_sluice_topic_t   *chunks;      /* NULL: files go whole */
    ngx_uint_t                 max_files;
    ngx_uint_t                 max_parts;   /* 0: by max_files */
    size_t                     max_header_size;   /* of one part */
    size_t                     max_header_total;  /* of all; 0: likewise */
    off_t                      max_field_size;
    size_t                     min_rate;    /* bytes/s; 0: any */
    ngx_msec_t                 min_rate_period;
    ngx_msec_t                 ack_timeout;
    ngx_array_t               *origins;     /* ngx_str_t; NULL: self */
    ngx_flag_t                 origin_self;
    ngx_flag_t                 origin_off;
    ngx_array_t               *headers;     /* ngx_http_sluice_header_t */
    ngx_array_t               *fields;      /* ngx_http_sluice_field_t */
    ngx_http_complex_value_t  *redirect;
    ngx_flag_t                 summary;
    ngx_http_sluice_auth_conf_t  *auth;     /* never NULL */

    ngx_uint_t                 split;       /* sluice_event_split_mode_e */
    ngx_http_complex_value_t  *key;         /* of events; NULL: none */
    size_t                     max_event_size;
    ngx_uint_t                 max_events;
    unsigned                   events:1;    /* sluice_produce */
    ngx_http_sluice_drain_t   *drain;       /* NULL: none */
    unsigned                   off:1;       /* takes uploads, but not now */
    ngx_array_t               *health;      /* ngx_http_sluice_kafka_t *;
                                               NULL: no sluice_health here */

    u_char                    *conf_file;   /* where the topic is named */
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
 *
 * check() looks at the name alone: NGX_OK or NGX_DECLINED.
 */
ngx_int_t ngx_http_sluice_tenant_get(ngx_http_request_t *r,
    ngx_str_t *customer);
ngx_int_t ngx_http_sluice_tenant_check(ngx_str_t *customer);


/*
 * ngx_http_sluice_jwt.c: who may pass by a JWT.  init() puts the access
 * handler into its phase.  vars of this and of ngx_http_sluice_apikey.c are
 * variables, for module.c to add.
 */
extern ngx_http_variable_t  ngx_http_sluice_jwt_vars[];
extern ngx_http_variable_t  ngx_http_sluice_apikey_vars[];

ngx_int_t ngx_http_sluice_jwt_init(ngx_conf_t *cf);


/*
 * ngx_http_sluice_auth_conf.c: the configuration of tokens, of JWTs and of
 * upload tokens; merge() is called when conf's topic is known.
 */
ngx_http_sluice_auth_conf_t *ngx_http_sluice_auth_create(ngx_conf_t *cf);
char *ngx_http_sluice_auth_merge(ngx_conf_t *cf,
    ngx_http_sluice_loc_conf_t *prev, ngx_http_sluice_loc_conf_t *conf);
char *ngx_http_sluice_auth_jwt_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_sluice_auth_token_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_sluice_auth_issuer(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_sluice_auth_audience(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_sluice_auth_leeway(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/*
 * ngx_http_sluice_upload.c: the life of a request that brings something for
 * Kafka, whatever the format of its body.
 *
 * A format's own state begins with an upload_t; format->size is its size, and
 * it is zeroed.  Its functions are called in this order:
 *
 * open()     before the body is read.  NGX_OK; NGX_DECLINED with up->status
 *            and its words set, up->detail NUL-terminated: refused before a
 *            byte is received; NGX_ERROR.
 * feed()     bytes as they arrive, borrowed for the call; what they become is
 *            put into up->sent when it is handed to Kafka.  NGX_OK;
 *            NGX_DECLINED with up->status set: no more is wanted; NGX_ERROR.
 * finish()   the body is over; results as for feed().
 * drop()     what is arriving and not handed over is forgotten.  Also called
 *            when nothing is.
 * detach()   once: what is in up->sent goes on without the upload, which
 *            takes its outcome as it is known by now.
 * reply()    the one answer, after detach(); what is returned is passed to
 *            ngx_http_finalize_request().  Judges when up->status is 0.
 *
 * Of what is in up->sent, the one whose fate is known leaves the queue and
 * calls up->reported(), from the event loop, never from within feed().
 */
struct ngx_http_sluice_format_s {
    size_t                        size;
    ngx_int_t                   (*open)(ngx_http_sluice_upload_t *up);
    ngx_int_t                   (*feed)(ngx_http_sluice_upload_t *up,
                                        u_char *bytes, size_t len);
    ngx_int_t                   (*finish)(ngx_http_sluice_upload_t *up);
    void                        (*drop)(ngx_http_sluice_upload_t *up);
    void                        (*detach)(ngx_http_sluice_upload_t *up);
    ngx_int_t                   (*reply)(ngx_http_sluice_upload_t *up);
};

typedef void (*ngx_http_sluice_reported_pt)(ngx_http_sluice_upload_t *up);

struct ngx_http_sluice_upload_s {
    ngx_http_request_t              *request;
    ngx_http_sluice_main_conf_t     *smcf;
    ngx_http_sluice_loc_conf_t      *slcf;
    const ngx_http_sluice_format_t  *format;

    ngx_queue_t                   queue;    /* in smcf->reading */
    ngx_queue_t                   held;     /* in smcf->held */
    ngx_uint_t                    age;      /* order of begin */
    ngx_event_t                   deadline;

    sluice_slab_reader_t          reader;   /* the slab it is read into */
    ngx_chain_t                  *link;     /* of the body: the next to feed */
    off_t                         offset;   /* in it */
    size_t                        turn;     /* bytes fed since an event */
    size_t                        buffer_size;    /* the location's */

    ngx_queue_t                   sent;     /* what isn't reported yet */
    ngx_http_sluice_reported_pt   reported; /* after each report */

    ngx_str_t                     customer;
    ngx_str_t                     traceparent;
    ngx_str_t                     idempotency;    /* key; empty: none */

    ngx_msec_t                    rate_began;     /* its period */
    ngx_msec_t                    rate_held;      /* held back since */
    off_t                         rate_bytes;     /* of the body, in it */

    ngx_str_t                    *own;      /* values of sluice_header */

    /* for logs, also after the answer */
    ngx_uint_t                    accepted; /* files or events */
    ngx_uint_t                    rejected;
    off_t                         bytes;    /* of the accepted */
    ngx_msec_t                    read;     /* when the body was over */
    ngx_msec_t                    ack_ms;   /* from then to the answer */
    ngx_msec_t                    held_since;
    ngx_msec_t                    held_ms;

    u_char                        uuid[NGX_HTTP_SLUICE_UUID_LEN];

    /* why reading stopped early; status 0: it did not */
    ngx_uint_t                    status;
    const char                   *slug;
    const char                   *title;
    ngx_str_t                     detail;

    unsigned                      is_reading:1;
    unsigned                      is_held:1;
    unsigned                      whole:1;        /* it was all there */
    unsigned                      placed:1;       /* received into a slab */
    unsigned                      waiting:1;      /* for reports */
    unsigned                      done:1;         /* answered or detached */
    unsigned                      unavailable:1;  /* something failed by us */
    unsigned                      is_read:1;
    unsigned                      answered:1;
};

ngx_int_t ngx_http_sluice_upload_handler(ngx_http_request_t *r);
void ngx_http_sluice_upload_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle);

/* A problem before the body: a client that asked with Expect never sends it.
 * What is returned is the content handler's, or the access handler's. */
ngx_int_t ngx_http_sluice_upload_refuse(ngx_http_request_t *r,
    ngx_uint_t status, const char *slug, const char *title,
    const char *detail);

/*
 * Between upload.c and upload_body.c: reading the body, which may end the
 * request, and the event that resumes what is held back; letting one go that
 * is; what follows the body, and taking an upload off all queues, timers and
 * messages; the same when it was nginx that ended the body.  wait() may end
 * the request.
 */
ngx_int_t ngx_http_sluice_upload_body(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_upload_resume(ngx_event_t *ev);
void ngx_http_sluice_upload_release(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_upload_wait(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_upload_detach(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_upload_ended(ngx_http_sluice_upload_t *up);

/* ngx_http_sluice_upload_head.c: what a request's header gives the records. */
void ngx_http_sluice_upload_traceparent(ngx_http_request_t *r,
    ngx_str_t *value);
ngx_int_t ngx_http_sluice_upload_idempotency(ngx_http_request_t *r,
    ngx_str_t *key);

/* ngx_http_sluice_upload_rate.c: sluice_min_rate.  Told when an upload begins,
 * is held back and goes on; up->rate_bytes is counted as the body arrives. */
void ngx_http_sluice_upload_rate_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle);
void ngx_http_sluice_upload_rate_begin(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_upload_rate_hold(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_upload_rate_resume(ngx_http_sluice_upload_t *up);


/*
 * ngx_http_sluice_form.c: multipart/form-data as a format; the directive
 * sluice_upload.
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
    ngx_http_sluice_reason_e  reason;       /* of a rejected one */
    ngx_str_t                 name;         /* cleaned basename */
    ngx_str_t                 field;        /* cleaned */
    const char               *type;         /* sniffed; NULL: not yet */
    off_t                     size;         /* bytes seen */
    u_char                    sha256[SLUICE_SHA256_HEX];
    unsigned                  hashed:1;
    unsigned                  named:1;      /* filename was not empty */
} ngx_http_sluice_file_t;

/* The text field that is arriving: counted, and skipped unless it is kept. */
typedef struct {
    off_t                         size;     /* bytes seen */
    ngx_str_t                     kept;     /* the first of them */
    ngx_str_t                    *value;    /* to be made of it; or NULL */
} ngx_http_sluice_form_text_t;

struct ngx_http_sluice_form_s {
    ngx_http_sluice_upload_t      upload;   /* first: it is cast back */

    /* the location's, or what binds the client closer */
    off_t                         max_file_size;
    ngx_uint_t                    max_files;
    ngx_array_t                  *types;    /* ngx_str_t; NULL: any */

    ngx_list_t                    files;    /* ngx_http_sluice_file_t */
    ngx_uint_t                    nfiles;
    ngx_http_sluice_file_t       *file;     /* arriving; NULL between files */
    ngx_http_sluice_part_t       *part;     /* NULL too once it is refused */
    void                         *sha256;   /* EVP_MD_CTX, reused by file */

    ngx_str_t                     token;    /* as far as it has arrived */
    unsigned                      token_due:1;  /* nothing before it */
    ngx_http_sluice_form_text_t   text;     /* arriving, when no file is */
    ngx_str_t                    *values;   /* by slcf->fields; NULL: none */
    unsigned                      in_text:1;
    unsigned                      failed:1; /* a chunk of the file at hand */

    sluice_multipart_t           *parser;
};

extern const sluice_multipart_events_t  ngx_http_sluice_form_events;

char *ngx_http_sluice_form_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * ngx_http_sluice_form_text.c: the form's text fields.
 *
 * begin(), data() and end() are the parser's events for parts that are no
 * files.
 */
int ngx_http_sluice_form_text_begin(ngx_http_sluice_form_t *form,
    const sluice_multipart_part_t *head);
int ngx_http_sluice_form_text_data(ngx_http_sluice_form_t *form,
    const char *bytes, size_t len);
int ngx_http_sluice_form_text_end(ngx_http_sluice_form_t *form);

/* ngx_http_sluice_form_reply.c: 202 with the files, 303 where a page posted a
 * form, or the problem in up->status, listing the files as well. */
ngx_int_t ngx_http_sluice_form_reply(ngx_http_sluice_upload_t *up);

/*
 * ngx_http_sluice_form_token.c: where the location wants an upload token, take
 * it from the request's headers, or make *events those that wait for it.
 * NGX_OK, also where none is wanted; else as a format's open().  missed(): the
 * body is over and none has come.
 */
ngx_int_t ngx_http_sluice_form_token(ngx_http_sluice_form_t *form,
    const sluice_multipart_events_t **events);
ngx_int_t ngx_http_sluice_form_token_missed(ngx_http_sluice_form_t *form);


/*
 * ngx_http_sluice_token.c: bind an upload by its token.  take() verifies it
 * and sets customer, idempotency key and limits; refuse() sets the upload's
 * status and words, came: there was a token.  As a format's open().
 */
ngx_int_t ngx_http_sluice_token_take(ngx_http_sluice_form_t *form,
    ngx_str_t *token);
ngx_int_t ngx_http_sluice_token_refuse(ngx_http_sluice_form_t *form,
    const char *why, ngx_uint_t came);


/*
 * ngx_http_sluice_event.c: a JSON or raw body as one event or many; the
 * directive sluice_produce.
 */
extern ngx_conf_post_t  ngx_http_sluice_event_size_post;

char *ngx_http_sluice_event_set(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/*
 * ngx_http_sluice_part.c: one file on its way.
 *
 * begin(), data() and end() are the parser's events for a file; a non-zero
 * result stops it, with the upload's status set (or zero when memory ran out).
 * data() and end() are also called where begin() has refused the file.  drop()
 * forgets the part that is arriving, detach() takes all parts off the upload:
 * what librdkafka has goes on without it, what it has not yet is dropped and
 * its file marked refused.  open() makes the digest, close() releases it.
 */
ngx_int_t ngx_http_sluice_part_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_log_t *log);
void ngx_http_sluice_part_exit(ngx_http_sluice_main_conf_t *smcf);
ngx_int_t ngx_http_sluice_part_open(ngx_http_sluice_form_t *form);
void ngx_http_sluice_part_close(ngx_http_sluice_form_t *form);
int ngx_http_sluice_part_begin(void *data,
    const sluice_multipart_part_t *head);
int ngx_http_sluice_part_data(void *data, const char *bytes, size_t len);
int ngx_http_sluice_part_end(void *data);
void ngx_http_sluice_part_drop(ngx_http_sluice_form_t *form);
void ngx_http_sluice_part_detach(ngx_http_sluice_form_t *form);


/*
 * ngx_http_sluice_store.c: the bytes of one message while they arrive and
 * until its report, and what they take of the worker's two budgets.
 *
 * init() and exit() are called from the worker's hooks.
 *
 * A body's bytes are received into a slab of the upload's, or copied to it,
 * and given to its format there: room() makes room from slab->last to
 * slab->end for them, with as many as are likely to be waiting and as many as
 * can still come, below 0 when that isn't known.  feed() calls format->feed().
 * rest(): the upload waits for its client.  leave(): it reads no more.
 *
 * A store is zeroed and given its pool, &smcf->slabs.  append() takes bytes;
 * those that are being fed stay where they are, and others are copied.  A slab
 * counts in partial_used while an upload reads into it, in inflight_used from
 * then on until all of its stores are freed.  data may move with the next
 * bytes until close(), and not after.  free() gives the bytes back at any
 * time, and lets the uploads that are held back look again.
 */
typedef sluice_slab_store_t  ngx_http_sluice_store_t;

void ngx_http_sluice_store_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle);
void ngx_http_sluice_store_exit(ngx_http_sluice_main_conf_t *smcf);

ngx_int_t ngx_http_sluice_store_room(ngx_http_sluice_upload_t *up,
    size_t waiting, off_t rest);
ngx_int_t ngx_http_sluice_store_feed(ngx_http_sluice_upload_t *up,
    u_char *bytes, size_t len);
void ngx_http_sluice_store_rest(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_store_leave(ngx_http_sluice_upload_t *up);

ngx_int_t ngx_http_sluice_store_append(ngx_http_sluice_store_t *store,
    const u_char *bytes, size_t len);
void ngx_http_sluice_store_close(ngx_http_sluice_store_t *store);
void ngx_http_sluice_store_free(ngx_http_sluice_store_t *store);


/*
 * ngx_http_sluice_record.c: the headers of records.
 *
 * common() begins a record's headers with what all of an upload's records
 * have: CloudEvents' own, the customer, traceparent, the idempotency key and
 * what sluice_header adds; n more are to come.  number is the one in ce_id.
 * add() leaves out what is empty, fields() adds what sluice_field has kept; its
 * values are clean, or NULL.  NULL, NGX_ERROR: no memory.
 *
 * text() makes a client's words fit for a header, at most max bytes, in the
 * pool; uuid() writes a version 7 in NGX_HTTP_SLUICE_UUID_LEN.
 */
ngx_http_sluice_headers_t *ngx_http_sluice_record_common(
    ngx_http_sluice_upload_t *up, const char *type, ngx_uint_t number,
    int64_t now, size_t n);
ngx_int_t ngx_http_sluice_record_add(ngx_http_sluice_headers_t *headers,
    const char *name, const u_char *value, const u_char *end);
ngx_int_t ngx_http_sluice_record_fields(ngx_http_sluice_headers_t *headers,
    ngx_array_t *fields, ngx_str_t *values);
ngx_int_t ngx_http_sluice_record_text(ngx_pool_t *pool, ngx_str_t *dst,
    size_t max, const char *src, size_t len);
void ngx_http_sluice_record_uuid(ngx_http_sluice_main_conf_t *smcf,
    u_char *text, int64_t now);


/*
 * ngx_http_sluice_kafka.c: librdkafka in the event loop; one producer per
 * worker and sluice_kafka block.  ngx_http_sluice_kafka_conf.c reads the
 * blocks.
 *
 * A message is its sender's until send(), then this file's until done() or a
 * successful cancel().  key and value are lent, never copied here; headers are
 * taken.  done() is called exactly once, from the event loop, never from
 * send().  A key chooses the partition as Java's clients do.
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
    u_char                       *key;      /* NULL: none, any partition */
    size_t                        key_len;
    u_char                       *value;    /* not NULL, also when empty */
    size_t                        len;
    int64_t                       time_ms;  /* since the epoch */
    ngx_http_sluice_msg_done_pt   done;
    void                         *producer; /* NULL: not handed over yet */
    int32_t                       partition;  /* chosen by send() */
    int32_t                       landed;   /* the one it went to */
    ngx_uint_t                    generation; /* of the gate; by send() */
    ngx_msec_t                    sent;     /* when send() was called */
    ngx_msec_t                    handed;   /* when librdkafka got it */
    ngx_http_sluice_result_e      result;
    unsigned                      resent:1;
    unsigned                      pinned:1; /* both are the sender's */
    unsigned                      ordered:1;  /* by no other producer */
    unsigned                      alone:1;  /* in a batch of its own */
    unsigned                      crowded:1;  /* it was too large with others */
    unsigned                      waits:1;  /* at a gate */
    unsigned                      late:1;   /* cancel() came too late */
};

/* Directive sluice_kafka. */
char *ngx_http_sluice_kafka_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * The topic a location sends to.  A block may stand behind the locations that
 * name it: check() refuses, with the location's file and line, what is still
 * missing at the end of http{}.  need() tells what a location asks of it:
 * values of so many bytes.  chunks() names the topic of the location's chunks
 * beside its own.
 */
ngx_http_sluice_topic_t *ngx_http_sluice_kafka_topic(ngx_conf_t *cf,
    ngx_http_sluice_main_conf_t *smcf, ngx_str_t *block, ngx_str_t *name);
ngx_http_sluice_kafka_t *ngx_http_sluice_kafka_named(ngx_conf_t *cf,
    ngx_http_sluice_main_conf_t *smcf, ngx_str_t *name);
ngx_int_t ngx_http_sluice_kafka_check(ngx_conf_t *cf,
    ngx_http_sluice_main_conf_t *smcf);
void ngx_http_sluice_kafka_need(ngx_http_sluice_topic_t *topic,
    size_t message, ngx_msec_t ack_timeout);
char *ngx_http_sluice_kafka_chunks(ngx_conf_t *cf,
    ngx_http_sluice_loc_conf_t *slcf);

/* Worker hooks.  init() never fails the worker: it logs and tries again. */
void ngx_http_sluice_kafka_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle);
void ngx_http_sluice_kafka_exit(ngx_http_sluice_main_conf_t *smcf);

/* Whether an upload is worth reading: 0 when no broker is known to be up. */
ngx_uint_t ngx_http_sluice_kafka_ready(ngx_http_sluice_topic_t *topic);

ngx_str_t *ngx_http_sluice_kafka_name(ngx_http_sluice_kafka_t *kafka);

/*
 * NGX_OK when a broker was heard of within seconds, NGX_ERROR when one should
 * have been, NGX_AGAIN when the brokers are being asked (smcf->told is posted
 * in the end), NGX_DECLINED when no location uses the block.
 */
ngx_int_t ngx_http_sluice_kafka_health(ngx_http_sluice_kafka_t *kafka);

ngx_http_sluice_headers_t *ngx_http_sluice_kafka_headers(size_t n);
ngx_int_t ngx_http_sluice_kafka_header(ngx_http_sluice_headers_t *headers,
    const char *name, const u_char *value, size_t len);
void ngx_http_sluice_kafka_headers_drop(ngx_http_sluice_headers_t *headers,
    const char *name);
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
 * upload() answers one with the members given, which are JSON without braces:
 * 202, or the problem in up->status, with the members as well.  redirect()
 * sends 303 to sluice_redirect when a page posted a form; NGX_DECLINED when
 * none did, or the value can't be sent.
 *
 * reply_problem() is problem() with more members, as JSON without braces, or
 * NULL.  send() sends a body of any type; body becomes the answer's.
 *
 * add() puts a header into the answer, get() finds one of the request's; the
 * first of several.  quality() is the q of a type that an Accept header names,
 * in thousandths, 0 when it doesn't.
 */
ngx_int_t ngx_http_sluice_problem(ngx_http_request_t *r, ngx_uint_t status,
    const char *slug, const char *title, ngx_str_t *detail,
    ngx_uint_t retry_after);
ngx_int_t ngx_http_sluice_json(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *body);
ngx_int_t ngx_http_sluice_reply_upload(ngx_http_sluice_upload_t *up,
    ngx_str_t *members);
ngx_int_t ngx_http_sluice_reply_redirect(ngx_http_sluice_upload_t *up);
ngx_int_t ngx_http_sluice_reply_problem(ngx_http_request_t *r,
    ngx_uint_t status, const char *slug, const char *title,
    ngx_str_t *detail, ngx_uint_t retry_after, ngx_str_t *members);
ngx_int_t ngx_http_sluice_reply_send(ngx_http_request_t *r, ngx_uint_t status,
    const char *type, ngx_str_t *body);
ngx_int_t ngx_http_sluice_reply_add(ngx_http_request_t *r, const char *name,
    const char *value, size_t len);
ngx_str_t *ngx_http_sluice_reply_get(ngx_http_request_t *r,
    const char *lowcase);
ngx_uint_t ngx_http_sluice_reply_quality(ngx_str_t *accept, const char *type);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_H */
