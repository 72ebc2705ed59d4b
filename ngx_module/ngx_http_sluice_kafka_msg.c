/*
 * ngx_http_sluice_kafka_msg.c: messages on their way into librdkafka, and
 * reports on their way back.
 *
 * Owns a message from send() to done().  When it is handed over, and for one
 * without a key to which partition, is ngx_http_sluice_kafka_gate.c's to say.
 * Does not see a request, nor what the message's sender keeps.
 */

#include "ngx_http_sluice_kafka.h"


static int32_t ngx_http_sluice_kafka_partition(ngx_http_sluice_msg_t *msg);
static ngx_uint_t ngx_http_sluice_kafka_again_alone(
    ngx_http_sluice_producer_t *producer, ngx_http_sluice_gate_t *gate,
    const rd_kafka_message_t *rkm);
static ngx_http_sluice_result_e ngx_http_sluice_kafka_result(
    const rd_kafka_message_t *rkm);


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
ngx_http_sluice_kafka_headers_drop(ngx_http_sluice_headers_t *headers,
    const char *name)
{
    (void) rd_kafka_header_remove((rd_kafka_headers_t *) headers, name);
}


void
ngx_http_sluice_kafka_headers_free(ngx_http_sluice_headers_t *headers)
{
    rd_kafka_headers_destroy((rd_kafka_headers_t *) headers);
}


void
ngx_http_sluice_kafka_send(ngx_http_sluice_msg_t *msg)
{
    ngx_http_sluice_gate_t  *gate;

    msg->producer = NULL;
    msg->sent = ngx_current_msec;

    if (msg->topic->kafka->closing) {
        ngx_http_sluice_kafka_fail(msg, NGX_HTTP_SLUICE_REFUSED);
        return;
    }

    if (!msg->pinned) {
        msg->partition = ngx_http_sluice_kafka_partition(msg);
    }

    gate = ngx_http_sluice_kafka_gate(msg->topic, msg->partition);

    if (!msg->pinned) {
        msg->generation = gate->generation;
    }

    /* an abort mark has no bytes, and takes nothing from others */
    if (msg->len > 0 && ngx_http_sluice_kafka_refuses(gate, msg)) {
        ngx_http_sluice_kafka_fail(msg, NGX_HTTP_SLUICE_REFUSED);
        return;
    }

    ngx_http_sluice_kafka_wait(gate, msg, 0);
    ngx_http_sluice_kafka_due(gate);
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
    if (msg->producer == NULL && !msg->topic->kafka->exiting) {
        /* only the turn's end may be what it waits for: then it goes */
        ngx_http_sluice_kafka_pass_now(
                 ngx_http_sluice_kafka_gate(msg->topic, msg->partition));
    }

    if (msg->producer != NULL) {
        msg->late = 1;
        return NGX_DECLINED;
    }

    ngx_http_sluice_kafka_unwait(msg);

    if (msg->headers != NULL) {
        ngx_http_sluice_kafka_headers_free(msg->headers);
        msg->headers = NULL;
    }

    return NGX_OK;
}


rd_kafka_resp_err_t
ngx_http_sluice_kafka_produce(ngx_http_sluice_producer_t *producer,
    ngx_http_sluice_msg_t *msg)
{
    rd_kafka_topic_t     *topic;
    rd_kafka_resp_err_t   err;

    topic = ngx_http_sluice_kafka_handle(producer, msg->topic);
    if (topic == NULL) {
        return RD_KAFKA_RESP_ERR__FAIL;
    }

    /* no F_COPY and no F_FREE: the value is ours until the report */
    err = rd_kafka_producev(producer->rk,
              RD_KAFKA_V_RKT(topic),
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
        msg->handed = ngx_current_msec;
        ngx_queue_insert_tail(&producer->handed, &msg->queue);
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

    ngx_queue_remove(&msg->queue);
    producer->messages--;

    if (producer == kafka->producer) {
        ngx_http_sluice_kafka_gate_reported(gate);
    }

    if (producer->is_retired ? producer->messages == 0
                             : kafka->renewing
                               && producer->messages <= producer->stuck)
    {
        ngx_post_event(&producer->reap, &ngx_posted_events);
    }

    result = ngx_http_sluice_kafka_result(rkm);

    if (result == NGX_HTTP_SLUICE_TOO_LARGE
        && ngx_http_sluice_kafka_again_alone(producer, gate, rkm))
    {
        return;
    }

    if (result == NGX_HTTP_SLUICE_DELIVERED) {
        ngx_http_sluice_kafka_works(kafka);
        ngx_http_sluice_metrics_ack(ngx_current_msec - msg->sent, msg->len);
        ngx_http_sluice_count(late, msg->late);
        kafka->delivered = ngx_current_msec;

        /* behind the other gate it may be any partition's */
        if (producer == kafka->producer && gate != &msg->topic->any) {
            gate->known = 1;
        }

        if (msg->crowded && producer == kafka->producer) {
            ngx_http_sluice_kafka_refit(msg->topic);
        }

    } else {
        ngx_http_sluice_kafka_failed(kafka, msg->topic, rkm->err);
    }

    if (producer->is_retired) {

        /* the new producer may have it: it is surely not in the log.  One
         * that nobody waits for may be too old for the brokers. */
        if (result == NGX_HTTP_SLUICE_REFUSED && !msg->resent && !msg->ordered
            && !msg->late
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

    msg->landed = rkm->partition;
    msg->done(msg, result);

    ngx_http_sluice_kafka_due(gate);
}


/* Whether the batch may have been too large, and not the message. */
static ngx_uint_t
ngx_http_sluice_kafka_again_alone(ngx_http_sluice_producer_t *producer,
    ngx_http_sluice_gate_t *gate, const rd_kafka_message_t *rkm)
{
    rd_kafka_headers_t     *headers;
    ngx_http_sluice_msg_t  *msg;

    msg = rkm->_private;

    if (producer->is_retired
        || (msg->topic->limit != 0 && msg->len >= msg->topic->limit))
    {
        return 0;
    }

    /* or the topic takes less than we were told */
    if (!producer->asking) {
        ngx_http_sluice_kafka_ask(producer, 0);
    }

    if (msg->alone || msg->ordered
        || rd_kafka_message_detach_headers((rd_kafka_message_t *) rkm,
                                           &headers)
           != RD_KAFKA_RESP_ERR_NO_ERROR)
    {
        return 0;
    }

    msg->headers = (ngx_http_sluice_headers_t *) headers;
    msg->producer = NULL;
    msg->alone = 1;
    msg->crowded = 1;
    ngx_http_sluice_count(resent, 1);

    /* without a key it may go elsewhere */
    if (msg->key == NULL) {
        msg->partition = RD_KAFKA_PARTITION_UA;
        gate = &msg->topic->any;
    }

    ngx_http_sluice_kafka_wait(gate, msg, 1);
    ngx_http_sluice_kafka_due(gate);

    return 1;
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


void
ngx_http_sluice_kafka_fail(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result)
{
    ngx_http_sluice_kafka_t  *kafka;

    kafka = msg->topic->kafka;

    msg->result = result;

    ngx_queue_insert_tail(&kafka->failed, &msg->queue);
    ngx_post_event(&kafka->report, &ngx_posted_events);
}


void
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
