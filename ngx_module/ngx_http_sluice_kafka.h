/*
 * ngx_http_sluice_kafka.h: what the two kafka files share.
 *
 * A sluice_kafka block becomes a kafka_t when the configuration is read; in a
 * worker it has one producer, and for a while a second one when a fatal error
 * made librdkafka useless.  For the other files all of this is opaque.
 */

#ifndef NGX_HTTP_SLUICE_KAFKA_H
#define NGX_HTTP_SLUICE_KAFKA_H

#include "ngx_http_sluice.h"

#include <librdkafka/rdkafka.h>

#pragma GCC visibility push(hidden)

typedef struct ngx_http_sluice_producer_s  ngx_http_sluice_producer_t;


struct ngx_http_sluice_kafka_s {
    ngx_str_t                     name;
    rd_kafka_conf_t              *conf;       /* NULL: named, no block yet */
    u_char                       *conf_file;  /* the block, or its first user */
    ngx_uint_t                    conf_line;
    ngx_array_t                   topics;     /* ngx_http_sluice_topic_t * */
    ngx_http_sluice_main_conf_t  *smcf;

    /* the most any location asks for */
    size_t                        max_file_size;
    ngx_msec_t                    ack_timeout;

    /* a worker's state */
    ngx_http_sluice_producer_t   *producer;   /* NULL: none could be made */
    ngx_queue_t                   retired;    /* ngx_http_sluice_producer_t */
    ngx_queue_t                   failed;     /* messages, to be reported */
    ngx_event_t                   report;     /* posted when failed is filled */
    ngx_event_t                   open;       /* next try to make a producer */
    ngx_event_t                   probe;      /* next look for a broker */
    ngx_msec_t                    backoff;
    ngx_uint_t                    failures;   /* since the last delivery */
    unsigned                      timeout_set:1;   /* by the operator */
    unsigned                      size_set:1;
    unsigned                      suspect:1;  /* all brokers seen down */
    unsigned                      down:1;     /* and none could be asked */
    unsigned                      exiting:1;
};


/*
 * librdkafka's idempotent producer polls without pause while five messages of
 * one partition are in flight and more wait, so they wait here instead.
 */
typedef struct {
    ngx_queue_t                   waiting;    /* ngx_http_sluice_msg_t */
    ngx_uint_t                    inflight;   /* with the current producer */
} ngx_http_sluice_gate_t;


struct ngx_http_sluice_topic_s {
    ngx_http_sluice_kafka_t      *kafka;
    ngx_str_t                     name;       /* NUL-terminated */
    ngx_uint_t                    index;      /* in kafka->topics */

    /* a worker's state */
    int32_t                       partitions; /* 0: not known yet */
    ngx_http_sluice_gate_t      **gates;      /* by partition */
    ngx_http_sluice_gate_t        any;        /* while none is known */
};


struct ngx_http_sluice_producer_s {
    ngx_queue_t                   queue;      /* in kafka->retired */
    ngx_http_sluice_kafka_t      *kafka;
    rd_kafka_t                   *rk;
    rd_kafka_queue_t             *events;
    rd_kafka_topic_t            **topics;     /* by topic->index */
    ngx_connection_t             *connection; /* the eventfd */
    ngx_uint_t                    messages;   /* handed over, not reported */
    ngx_event_t                   reap;       /* posted: retired and empty */
    unsigned                      probing:1;
    unsigned                      is_retired:1;
};


/*
 * ..._conf.c: librdkafka's conf with our part of it that depends on the
 * locations; the caller's, or rd_kafka_new()'s.
 */
rd_kafka_conf_t *ngx_http_sluice_kafka_conf(ngx_http_sluice_kafka_t *kafka,
    ngx_log_t *log);

/* ngx_http_sluice_kafka.c: after a fatal error. */
void ngx_http_sluice_kafka_retire(ngx_http_sluice_producer_t *producer);

/*
 * ..._gate.c: all gates of a block at once; grow() is given librdkafka's
 * statistics, free() refuses what still waits.  reported() takes one message
 * out of a report.
 */
void ngx_http_sluice_kafka_gates_init(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_gates_grow(ngx_http_sluice_kafka_t *kafka,
    const char *json);
void ngx_http_sluice_kafka_gates_reset(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_gates_pass(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_gates_free(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_reported(ngx_http_sluice_producer_t *producer,
    const rd_kafka_message_t *rkm);

/* ..._health.c: events of trouble, and what messages tell about it. */
void ngx_http_sluice_kafka_works(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_failed(ngx_http_sluice_kafka_t *kafka,
    ngx_http_sluice_topic_t *topic, rd_kafka_resp_err_t err);
void ngx_http_sluice_kafka_error(ngx_http_sluice_producer_t *producer,
    rd_kafka_event_t *rkev);
void ngx_http_sluice_kafka_log(ngx_http_sluice_kafka_t *kafka,
    rd_kafka_event_t *rkev);
void ngx_http_sluice_kafka_probe(ngx_event_t *ev);
void ngx_http_sluice_kafka_probed(ngx_http_sluice_producer_t *producer,
    rd_kafka_event_t *rkev);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_KAFKA_H */
