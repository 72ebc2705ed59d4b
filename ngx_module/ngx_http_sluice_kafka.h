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

/* ms, from one look for old messages to the next */
#define NGX_HTTP_SLUICE_KAFKA_WATCH  1000

typedef struct ngx_http_sluice_producer_s  ngx_http_sluice_producer_t;


struct ngx_http_sluice_kafka_s {
    ngx_str_t                     name;
    ngx_uint_t                    index;      /* in smcf->kafkas */
    rd_kafka_conf_t              *conf;       /* NULL: named, no block yet */
    u_char                       *conf_file;  /* the block, or its first user */
    ngx_uint_t                    conf_line;
    ngx_array_t                   topics;     /* ngx_http_sluice_topic_t * */
    ngx_array_t                   locations;  /* ngx_http_sluice_loc_conf_t *,
                                                 those that may send chunks */
    ngx_http_sluice_main_conf_t  *smcf;

    /* the most any location asks for */
    size_t                        max_file_size;
    ngx_msec_t                    ack_timeout;

    /* a worker's state */
    ngx_http_sluice_producer_t   *producer;   /* NULL: none could be made */
    ngx_queue_t                   retired;    /* ngx_http_sluice_producer_t */
    ngx_queue_t                   failed;     /* messages, to be reported */
    ngx_event_t                   report;     /* posted when failed is filled */
    ngx_queue_t                   due;        /* gates to be opened */
    ngx_event_t                   pass;       /* posted when due is filled */
    ngx_event_t                   stall;      /* a partition takes long */
    ngx_event_t                   watch;      /* next look for old messages */
    ngx_event_t                   open;       /* next try to make a producer */
    ngx_event_t                   probe;      /* next look for a broker */
    ngx_event_t                   describe;   /* next look at the topics */
    ngx_msec_t                    backoff;
    ngx_msec_t                    heard;      /* when a broker last answered */
    ngx_msec_t                    probed;     /* when last asked */
    ngx_msec_t                    delivered;  /* when one last was */
    ngx_uint_t                    stalled;    /* gates that refuse */
    ngx_uint_t                    failures;   /* since the last delivery */
    size_t                        batch;      /* most it may be; 0: as set */
    unsigned                      size_set:1;  /* by the operator */
    unsigned                      suspect:1;  /* all brokers seen down */
    unsigned                      down:1;     /* and none could be asked */
    unsigned                      silent:1;   /* last question was in vain */
    unsigned                      was_heard:1;
    unsigned                      renewing:1; /* as soon as all is reported */
    unsigned                      exiting:1;
    unsigned                      closing:1;  /* nothing is taken any more */
};


/*
 * librdkafka's idempotent producer polls without pause while five messages of
 * one partition are in flight and more wait, so they wait here instead.
 */
typedef struct {
    ngx_queue_t                   waiting;    /* ngx_http_sluice_msg_t */
    ngx_queue_t                   due;        /* in kafka->due */
    ngx_http_sluice_topic_t      *topic;
    int32_t                       partition;
    ngx_uint_t                    inflight;   /* with the current producer */
    ngx_uint_t                    generation; /* producers given up with some
                                                 in flight */
    ngx_msec_t                    heard;      /* last report, or since when one
                                                 is waited for */
    size_t                        bytes;      /* of what waits */
    unsigned                      shared:1;   /* small ones without a key */
    unsigned                      is_due:1;
    unsigned                      alone:1;    /* one that goes alone does */
    unsigned                      stalled:1;  /* refuses, and has said so */
    unsigned                      known:1;    /* its brokers know our producer */
} ngx_http_sluice_gate_t;


struct ngx_http_sluice_topic_s {
    ngx_http_sluice_kafka_t      *kafka;
    ngx_str_t                     name;       /* NUL-terminated */
    ngx_uint_t                    index;      /* in kafka->topics */

    /* a worker's state: what the brokers said; 0: not known */
    size_t                        limit;      /* max.message.bytes */
    int64_t                       before;     /* max ms of age, likewise */
    ngx_int_t                     min_insync;
    ngx_int_t                     replicas;   /* the fewest of a partition */
    ngx_int_t                     said_min_insync;
    ngx_int_t                     said_replicas;
    rd_kafka_resp_err_t           err;        /* instead of an answer */
    unsigned                      described:1;
    unsigned                      optional:1; /* for chunks, none wanted yet */

    int32_t                       partitions; /* 0: not known yet */
    ngx_http_sluice_gate_t      **gates;      /* by partition */
    ngx_http_sluice_gate_t        any;        /* while none is known, and for
                                                 messages without a key */
    int32_t                       next;       /* partition for these */
};


struct ngx_http_sluice_producer_s {
    ngx_queue_t                   queue;      /* in kafka->retired */
    ngx_http_sluice_kafka_t      *kafka;
    rd_kafka_t                   *rk;
    rd_kafka_queue_t             *events;
    rd_kafka_topic_t            **topics;     /* by topic->index */
    ngx_connection_t             *connection; /* the eventfd */
    ngx_queue_t                   handed;     /* ngx_http_sluice_msg_t */
    ngx_uint_t                    messages;   /* handed over, not reported */
    ngx_uint_t                    stuck;      /* of these; not waited for when
                                                 it is renewed */
    size_t                        batch;      /* its batch.size */
    size_t                        request;    /* bytes that go in one, surely */
    ngx_event_t                   reap;       /* posted: done with, and empty */
    ngx_event_t                   purge;      /* of what came back to it */
    unsigned                      probing:1;
    unsigned                      asking:1;
    unsigned                      is_retired:1;
};


/*
 * ..._conf.c: librdkafka's conf with our part of it that depends on the
 * locations and the brokers; the caller's, or rd_kafka_new()'s.
 */
rd_kafka_conf_t *ngx_http_sluice_kafka_conf(ngx_http_sluice_kafka_t *kafka,
    ngx_log_t *log);
size_t ngx_http_sluice_kafka_conf_size(rd_kafka_conf_t *conf,
    const char *name);

/*
 * ngx_http_sluice_kafka.c: retire() after a fatal error.  renew() makes the
 * same producer with other settings: nothing is handed over until all that is
 * in flight is reported, but for producer->stuck, so it costs no message and
 * no order; where that takes long the rest is given up.  handle() is
 * librdkafka's of a topic, made at its first use; NULL: it can't be.
 */
void ngx_http_sluice_kafka_retire(ngx_http_sluice_producer_t *producer);
void ngx_http_sluice_kafka_renew(ngx_http_sluice_kafka_t *kafka);
rd_kafka_topic_t *ngx_http_sluice_kafka_handle(
    ngx_http_sluice_producer_t *producer, ngx_http_sluice_topic_t *topic);

/*
 * ..._gate.c: all gates of a block at once; grow() is given librdkafka's
 * statistics, free() refuses what still waits.  due() opens one gate, as far
 * as it may be, at the end of this turn of the event loop; pass_now() opens it
 * now, if that is due.
 *
 * wait() puts a message behind the others of its gate, or before them;
 * unwait() takes it out.
 */
void ngx_http_sluice_kafka_gates_init(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_gates_grow(ngx_http_sluice_kafka_t *kafka,
    const char *json);
void ngx_http_sluice_kafka_gates_reset(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_gates_pass(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_gates_free(ngx_http_sluice_kafka_t *kafka);
ngx_http_sluice_gate_t *ngx_http_sluice_kafka_gate(
    ngx_http_sluice_topic_t *topic, int32_t partition);
void ngx_http_sluice_kafka_wait(ngx_http_sluice_gate_t *gate,
    ngx_http_sluice_msg_t *msg, ngx_uint_t first);
void ngx_http_sluice_kafka_unwait(ngx_http_sluice_msg_t *msg);
void ngx_http_sluice_kafka_due(ngx_http_sluice_gate_t *gate);
void ngx_http_sluice_kafka_pass_now(ngx_http_sluice_gate_t *gate);

/*
 * ..._stall.c: a message of the current producer is reported; whether the
 * gate's partition has taken nothing for so long that a message had better
 * not wait for it.  old(): a message that brokers might soon refuse for its
 * age; watch() looks for such in librdkafka.
 */
ngx_uint_t ngx_http_sluice_kafka_old(ngx_http_sluice_msg_t *msg);
void ngx_http_sluice_kafka_watch(ngx_event_t *ev);
void ngx_http_sluice_kafka_gate_reported(ngx_http_sluice_gate_t *gate);
ngx_uint_t ngx_http_sluice_kafka_refuses(ngx_http_sluice_gate_t *gate,
    ngx_http_sluice_msg_t *msg);

/*
 * ..._msg.c: hand a message to librdkafka; take one out of a report; report
 * one that never got there, later: its sender may be in the middle of send().
 */
rd_kafka_resp_err_t ngx_http_sluice_kafka_produce(
    ngx_http_sluice_producer_t *producer, ngx_http_sluice_msg_t *msg);
void ngx_http_sluice_kafka_reported(ngx_http_sluice_producer_t *producer,
    const rd_kafka_message_t *rkm);
void ngx_http_sluice_kafka_fail(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result);
void ngx_http_sluice_kafka_report(ngx_event_t *ev);

/* ..._health.c: events of trouble, and what messages tell about it. */
void ngx_http_sluice_kafka_works(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_tell(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_failed(ngx_http_sluice_kafka_t *kafka,
    ngx_http_sluice_topic_t *topic, rd_kafka_resp_err_t err);
void ngx_http_sluice_kafka_error(ngx_http_sluice_producer_t *producer,
    rd_kafka_event_t *rkev);
void ngx_http_sluice_kafka_log(ngx_http_sluice_kafka_t *kafka,
    rd_kafka_event_t *rkev);
void ngx_http_sluice_kafka_probe(ngx_event_t *ev);
void ngx_http_sluice_kafka_probed(ngx_http_sluice_producer_t *producer,
    rd_kafka_resp_err_t err, const char *reason);

/*
 * ..._topic.c: ask() asks for the settings of all topics of a block; the
 * answer, an event, goes to described().  A probe also asks whether anybody
 * answers.  alone(): the largest batch may be more than the topic takes.
 * refit(): a message that was refused in company was taken alone.
 */
void ngx_http_sluice_kafka_describe_init(ngx_http_sluice_kafka_t *kafka);
void ngx_http_sluice_kafka_ask(ngx_http_sluice_producer_t *producer,
    ngx_uint_t probe);
void ngx_http_sluice_kafka_described(ngx_http_sluice_producer_t *producer,
    rd_kafka_event_t *rkev);
ngx_uint_t ngx_http_sluice_kafka_alone(ngx_http_sluice_topic_t *topic);
void ngx_http_sluice_kafka_refit(ngx_http_sluice_topic_t *topic);

#if (RD_KAFKA_VERSION >= 0x020300ff)
#define NGX_HTTP_SLUICE_KAFKA_REPLICAS  1
void ngx_http_sluice_kafka_replicas(ngx_http_sluice_producer_t *producer,
    rd_kafka_event_t *rkev);
#endif

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_KAFKA_H */
