/*
 * ngx_http_sluice_kafka_stall.c: partitions that take nothing.
 *
 * Owns the judgement whether a message may wait for its partition, what the
 * log says of that, and when one has waited too long in librdkafka.  What
 * waits, and when it goes, is ngx_http_sluice_kafka_gate.c's.
 *
 * librdkafka never gives a message up, so what it has for a partition that is
 * away stays in the budget, and what waits behind that stays until its
 * upload's deadline.  Once one message has waited for so long, others need
 * not.  And where it is one partition alone that takes nothing, its messages
 * may not fill the budget that the others need.
 *
 * Brokers refuse a message that is too old, and librdkafka then numbers all
 * others anew, as after one that it gives up itself: one whose acknowledgement
 * was lost is written twice.  So before a message in librdkafka becomes that
 * old, the producer is renewed, and it is given up with the old one.
 */

#include "ngx_http_sluice_kafka.h"

/* A partition that has reported nothing for this many ms, while others have,
 * gets no more than an eighth of sluice_inflight: by its files' bytes, and the
 * slabs in which they lie are often twice as large. */
#define NGX_HTTP_SLUICE_KAFKA_SILENT   1000
#define NGX_HTTP_SLUICE_KAFKA_PART     8

/* A topic's message.timestamp.before.max.ms, while it isn't known: that of
 * conf/topics.conf. */
#define NGX_HTTP_SLUICE_KAFKA_BEFORE   45000


/* Of a message that the current producer has. */
void
ngx_http_sluice_kafka_gate_reported(ngx_http_sluice_gate_t *gate)
{
    ngx_http_sluice_kafka_t  *kafka;

    gate->inflight--;
    gate->alone = gate->alone && gate->inflight > 0;
    gate->heard = ngx_current_msec;

    if (!gate->stalled) {
        return;
    }

    kafka = gate->topic->kafka;
    kafka->stalled--;
    gate->stalled = 0;

    ngx_log_error(NGX_LOG_NOTICE, kafka->open.log, 0,
                  "sluice: partition takes messages again name=%V topic=%V "
                  "partition=%D", &kafka->name, &gate->topic->name,
                  gate->partition);
}


ngx_uint_t
ngx_http_sluice_kafka_refuses(ngx_http_sluice_gate_t *gate,
    ngx_http_sluice_msg_t *msg)
{
    size_t                    most;
    ngx_msec_t                silent;
    ngx_http_sluice_topic_t  *topic;
    ngx_http_sluice_kafka_t  *kafka;

    topic = gate->topic;
    kafka = topic->kafka;

    /* one that may go to any partition passes over those that take nothing */
    if (gate->inflight == 0
        || (msg->key == NULL && !msg->pinned && topic->partitions > 0))
    {
        return 0;
    }

    most = (size_t) kafka->smcf->inflight / NGX_HTTP_SLUICE_KAFKA_PART;
    silent = ngx_current_msec - gate->heard;

    if (!gate->stalled && silent < kafka->ack_timeout
        && (gate->bytes < most
            || (ngx_msec_int_t) (kafka->delivered - gate->heard)
               < NGX_HTTP_SLUICE_KAFKA_SILENT))
    {
        return 0;
    }

    if (!gate->stalled) {
        gate->stalled = 1;
        kafka->stalled++;

        ngx_log_error(NGX_LOG_WARN, kafka->open.log, 0,
                      "sluice: partition takes nothing name=%V topic=%V "
                      "partition=%D silent=%Mms waiting=%uz", &kafka->name,
                      &topic->name, gate->partition, silent, gate->bytes);
    }

    return 1;
}


ngx_uint_t
ngx_http_sluice_kafka_old(ngx_http_sluice_msg_t *msg)
{
    int64_t  before;

    before = msg->topic->before;

    if (before == 0) {
        before = NGX_HTTP_SLUICE_KAFKA_BEFORE;
    }

    return ngx_http_sluice_now_ms() - msg->time_ms >= before / 3 * 2;
}


void
ngx_http_sluice_kafka_watch(ngx_event_t *ev)
{
    ngx_uint_t                   old, stuck;
    ngx_queue_t                 *q;
    ngx_http_sluice_msg_t       *msg;
    ngx_http_sluice_kafka_t     *kafka = ev->data;
    ngx_http_sluice_producer_t  *producer;

    producer = kafka->producer;

    /* the next one's first message sets the timer again */
    if (producer == NULL || kafka->renewing) {
        return;
    }

    old = 0;
    stuck = 0;

    for (q = ngx_queue_head(&producer->handed);
         q != ngx_queue_sentinel(&producer->handed);
         q = ngx_queue_next(q))
    {
        msg = ngx_queue_data(q, ngx_http_sluice_msg_t, queue);

        if (ngx_current_msec - msg->handed < NGX_HTTP_SLUICE_KAFKA_WATCH) {
            break;
        }

        old |= ngx_http_sluice_kafka_old(msg);
        stuck++;
    }

    if (old) {
        producer->stuck = stuck;
        ngx_http_sluice_kafka_renew(kafka);
        return;
    }

    if (producer->messages > 0) {
        ngx_add_timer(ev, NGX_HTTP_SLUICE_KAFKA_WATCH);
    }
}
