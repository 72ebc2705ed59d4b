/*
 * ngx_http_sluice_kafka_gate.c: messages on their way into librdkafka and
 * reports on their way back.
 *
 * Owns a message from send() to done(), and the gate before each partition.
 * Does not see a request, nor what the message's sender keeps.
 *
 * librdkafka's idempotent producer polls without pause while five messages of
 * one partition are in flight and more are queued, in all versions to 2.15.
 * So no more than that are handed over, and each report hands the next.
 */

#include "ngx_http_sluice_kafka.h"
#include "kafka_stats.h"

#define NGX_HTTP_SLUICE_KAFKA_GATE  5


static ngx_int_t ngx_http_sluice_kafka_grow(ngx_http_sluice_topic_t *topic,
    ngx_int_t n);
static void ngx_http_sluice_kafka_refuse(ngx_http_sluice_gate_t *gate);
static ngx_http_sluice_gate_t *ngx_http_sluice_kafka_gate(
    ngx_http_sluice_topic_t *topic, int32_t partition);
static int32_t ngx_http_sluice_kafka_partition(ngx_http_sluice_msg_t *msg);
static void ngx_http_sluice_kafka_pass(ngx_http_sluice_kafka_t *kafka,
    ngx_http_sluice_gate_t *gate);
static rd_kafka_resp_err_t ngx_http_sluice_kafka_produce(
    ngx_http_sluice_producer_t *producer, ngx_http_sluice_msg_t *msg);
static ngx_http_sluice_result_e ngx_http_sluice_kafka_result(
    const rd_kafka_message_t *rkm);
static void ngx_http_sluice_kafka_fail(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result);
static void ngx_http_sluice_kafka_report(ngx_event_t *ev);


void
ngx_http_sluice_kafka_gates_init(ngx_http_sluice_kafka_t *kafka)
{
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    ngx_queue_init(&kafka->failed);

    kafka->report.handler = ngx_http_sluice_kafka_report;
    kafka->report.data = kafka;
    kafka->report.log = kafka->open.log;

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        ngx_queue_init(&topics[i]->any.waiting);
    }
}


/* Called with each statistics: topics may grow while we run. */
void
ngx_http_sluice_kafka_gates_grow(ngx_http_sluice_kafka_t *kafka,
    const char *json)
{
    size_t                     len;
    ngx_int_t                  n;
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    len = ngx_strlen(json);
    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {

        n = sluice_kafka_stats_partitions(json, len,
                                          (char *) topics[i]->name.data,
                                          topics[i]->name.len);

        /* fewer than before: the topic was made again, or isn't known */
        if (n > topics[i]->partitions
            && ngx_http_sluice_kafka_grow(topics[i], n) != NGX_OK)
        {
            return;
        }
    }
}


static ngx_int_t
ngx_http_sluice_kafka_grow(ngx_http_sluice_topic_t *topic, ngx_int_t n)
{
    ngx_log_t                *log;
    ngx_http_sluice_gate_t  **gates;

    log = topic->kafka->open.log;

    gates = ngx_calloc(n * sizeof(ngx_http_sluice_gate_t *), log);
    if (gates == NULL) {
        return NGX_ERROR;
    }

    if (topic->gates != NULL) {
        ngx_memcpy(gates, topic->gates,
                   topic->partitions * sizeof(ngx_http_sluice_gate_t *));
        ngx_free(topic->gates);
    }

    topic->gates = gates;

    while (topic->partitions < n) {

        gates[topic->partitions] = ngx_calloc(sizeof(ngx_http_sluice_gate_t),
                                              log);
        if (gates[topic->partitions] == NULL) {
            return NGX_ERROR;
        }

        ngx_queue_init(&gates[topic->partitions]->waiting);
        topic->partitions++;
    }

    return NGX_OK;
}


/* None of what is in flight is the next producer's. */
void
ngx_http_sluice_kafka_gates_reset(ngx_http_sluice_kafka_t *kafka)
{
    int32_t                    p;
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        topics[i]->any.inflight = 0;

        for (p = 0; p < topics[i]->partitions; p++) {
            topics[i]->gates[p]->inflight = 0;
        }
    }
}


void
ngx_http_sluice_kafka_gates_pass(ngx_http_sluice_kafka_t *kafka)
{
    int32_t                    p;
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        ngx_http_sluice_kafka_pass(kafka, &topics[i]->any);

        for (p = 0; p < topics[i]->partitions; p++) {
            ngx_http_sluice_kafka_pass(kafka, topics[i]->gates[p]);
        }
    }
}


void
ngx_http_sluice_kafka_gates_free(ngx_http_sluice_kafka_t *kafka)
{
    int32_t                    p;
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        ngx_http_sluice_kafka_refuse(&topics[i]->any);

        for (p = 0; p < topics[i]->partitions; p++) {
            ngx_http_sluice_kafka_refuse(topics[i]->gates[p]);
            ngx_free(topics[i]->gates[p]);
        }

        if (topics[i]->gates != NULL) {
            ngx_free(topics[i]->gates);
        }

        topics[i]->gates = NULL;
        topics[i]->partitions = 0;
    }

    if (kafka->report.posted) {
        ngx_delete_posted_event(&kafka->report);
    }

    ngx_http_sluice_kafka_report(&kafka->report);
}


static void
ngx_http_sluice_kafka_refuse(ngx_http_sluice_gate_t *gate)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&gate->waiting)) {

        q = ngx_queue_head(&gate->waiting);
        ngx_queue_remove(q);

        ngx_http_sluice_kafka_fail(ngx_queue_data(q, ngx_http_sluice_msg_t,
                                                  queue),
                                   NGX_HTTP_SLUICE_REFUSED);
    }
}


static ngx_http_sluice_gate_t *
ngx_http_sluice_kafka_gate(ngx_http_sluice_topic_t *topic, int32_t partition)
{
    return (partition == RD_KAFKA_PARTITION_UA) ? &topic->any
                                                : topic->gates[partition];
}


ngx_http_sluice_headers_t *
ngx_http_sluice_kafka_headers(size_t n)
{
    return (ngx_http_sluice_headers_t *) rd_kafka_headers_new(n);
}


ngx_int_t
ngx_http_sluice_kafka_header(ngx_http_sluice_headers_t *headers,
    const char *name, const u_char *value, size_t len)
{
    return (rd_kafka_header_add((rd_kafka_headers_t *) headers, name, -1,
                                value, len)
            == RD_KAFKA_RESP_ERR_NO_ERROR)
           ? NGX_OK : NGX_ERROR;
}


void
ngx_http_sluice_kafka_headers_free(ngx_http_sluice_headers_t *headers)
{
    rd_kafka_headers_destroy((rd_kafka_headers_t *) headers);
}


void
ngx_http_sluice_kafka_send(ngx_http_sluice_msg_t *msg)
{
    ngx_http_sluice_gate_t   *gate;
    ngx_http_sluice_kafka_t  *kafka;

    kafka = msg->topic->kafka;

    msg->producer = NULL;
    msg->sent = ngx_current_msec;

    if (!msg->pinned) {
        msg->partition = ngx_http_sluice_kafka_partition(msg);
    }

    gate = ngx_http_sluice_kafka_gate(msg->topic, msg->partition);

    ngx_queue_insert_tail(&gate->waiting, &msg->queue);

    ngx_http_sluice_kafka_pass(kafka, gate);
}


static int32_t
ngx_http_sluice_kafka_partition(ngx_http_sluice_msg_t *msg)
{
    if (msg->key == NULL || msg->topic->partitions == 0) {
        return RD_KAFKA_PARTITION_UA;
    }

    /* the topic handle matters to it only for a message without key */
    return rd_kafka_msg_partitioner_murmur2_random(NULL, msg->key,
                                                   msg->key_len,
                                                   msg->topic->partitions,
                                                   NULL, NULL);
}


ngx_int_t
ngx_http_sluice_kafka_cancel(ngx_http_sluice_msg_t *msg)
{
    if (msg->producer != NULL) {
        return NGX_DECLINED;
    }

    ngx_queue_remove(&msg->queue);

    if (msg->headers != NULL) {
        ngx_http_sluice_kafka_headers_free(msg->headers);
        msg->headers = NULL;
    }

    return NGX_OK;
}


/* Hand over what waits, as far as the gate allows. */
static void
ngx_http_sluice_kafka_pass(ngx_http_sluice_kafka_t *kafka,
    ngx_http_sluice_gate_t *gate)
{
    ngx_queue_t            *q;
    rd_kafka_resp_err_t     err;
    ngx_http_sluice_msg_t  *msg;

    while (kafka->producer != NULL && !ngx_queue_empty(&gate->waiting)) {

        if (gate->inflight >= NGX_HTTP_SLUICE_KAFKA_GATE && !kafka->exiting) {
            return;
        }

        q = ngx_queue_head(&gate->waiting);
        ngx_queue_remove(q);

        msg = ngx_queue_data(q, ngx_http_sluice_msg_t, queue);

        err = ngx_http_sluice_kafka_produce(kafka->producer, msg);

        switch (err) {

        case RD_KAFKA_RESP_ERR_NO_ERROR:
            gate->inflight++;
            break;

        case RD_KAFKA_RESP_ERR__FATAL:
            /* its event is on the way and brings a new producer */
            ngx_queue_insert_head(&gate->waiting, &msg->queue);
            return;

        case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
            ngx_http_sluice_kafka_fail(msg, NGX_HTTP_SLUICE_TOO_LARGE);
            break;

        default:
            ngx_http_sluice_kafka_failed(kafka, msg->topic, err);
            ngx_http_sluice_kafka_fail(msg, NGX_HTTP_SLUICE_REFUSED);
        }
    }
}


static rd_kafka_resp_err_t
ngx_http_sluice_kafka_produce(ngx_http_sluice_producer_t *producer,
    ngx_http_sluice_msg_t *msg)
{
    rd_kafka_resp_err_t  err;

    /* no F_COPY and no F_FREE: the value is ours until the report */
    err = rd_kafka_producev(producer->rk,
              RD_KAFKA_V_RKT(producer->topics[msg->topic->index]),
              RD_KAFKA_V_PARTITION(msg->partition),
              RD_KAFKA_V_KEY(msg->key, msg->key_len),
              RD_KAFKA_V_VALUE(msg->value, msg->len),
              RD_KAFKA_V_HEADERS((rd_kafka_headers_t *) msg->headers),
              RD_KAFKA_V_TIMESTAMP(msg->time_ms),
              RD_KAFKA_V_OPAQUE(msg),
              RD_KAFKA_V_END);

    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        msg->headers = NULL;
        msg->producer = producer;
        producer->messages++;
    }

    return err;
}


void
ngx_http_sluice_kafka_reported(ngx_http_sluice_producer_t *producer,
    const rd_kafka_message_t *rkm)
{
    rd_kafka_headers_t        *headers;
    ngx_http_sluice_msg_t     *msg;
    ngx_http_sluice_gate_t    *gate;
    ngx_http_sluice_kafka_t   *kafka;
    ngx_http_sluice_result_e   result;

    msg = rkm->_private;
    kafka = producer->kafka;
    gate = ngx_http_sluice_kafka_gate(msg->topic, msg->partition);

    producer->messages--;

    if (producer == kafka->producer) {
        gate->inflight--;
    }

    result = ngx_http_sluice_kafka_result(rkm);

    if (result == NGX_HTTP_SLUICE_DELIVERED) {
        ngx_http_sluice_kafka_works(kafka);
        ngx_http_sluice_metrics_ack(ngx_current_msec - msg->sent, msg->len);

    } else {
        ngx_http_sluice_kafka_failed(kafka, msg->topic, rkm->err);
    }

    if (producer->is_retired) {

        if (producer->messages == 0) {
            ngx_post_event(&producer->reap, &ngx_posted_events);
        }

        /* the new producer may have it: it is surely not in the log */
        if (result == NGX_HTTP_SLUICE_REFUSED && !msg->resent
            && rd_kafka_message_detach_headers((rd_kafka_message_t *) rkm,
                                               &headers)
               == RD_KAFKA_RESP_ERR_NO_ERROR)
        {
            msg->headers = (ngx_http_sluice_headers_t *) headers;
            msg->resent = 1;
            ngx_http_sluice_count(resent, 1);
            ngx_http_sluice_kafka_send(msg);
            return;
        }
    }

    msg->done(msg, result);

    ngx_http_sluice_kafka_pass(kafka, gate);
}


static ngx_http_sluice_result_e
ngx_http_sluice_kafka_result(const rd_kafka_message_t *rkm)
{
    if (rkm->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return NGX_HTTP_SLUICE_DELIVERED;
    }

    if (rkm->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) {
        return NGX_HTTP_SLUICE_TOO_LARGE;
    }

    return (rd_kafka_message_status(rkm) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED)
           ? NGX_HTTP_SLUICE_REFUSED : NGX_HTTP_SLUICE_UNKNOWN;
}


/* Not from here: the sender may be in the middle of send(). */
static void
ngx_http_sluice_kafka_fail(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result)
{
    ngx_http_sluice_kafka_t  *kafka;

    kafka = msg->topic->kafka;

    msg->result = result;

    ngx_queue_insert_tail(&kafka->failed, &msg->queue);
    ngx_post_event(&kafka->report, &ngx_posted_events);
}


static void
ngx_http_sluice_kafka_report(ngx_event_t *ev)
{
    ngx_queue_t              *q;
    ngx_http_sluice_msg_t    *msg;
    ngx_http_sluice_kafka_t  *kafka = ev->data;

    while (!ngx_queue_empty(&kafka->failed)) {

        q = ngx_queue_head(&kafka->failed);
        ngx_queue_remove(q);

        msg = ngx_queue_data(q, ngx_http_sluice_msg_t, queue);

        if (msg->headers != NULL) {
            ngx_http_sluice_kafka_headers_free(msg->headers);
            msg->headers = NULL;
        }

        msg->done(msg, msg->result);
    }
}
