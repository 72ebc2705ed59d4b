/*
 * kafka_send.c: records sent on to other topics.
 *
 * Owns the producer, which is made when the first record is late or dead, and
 * the count of what isn't acknowledged.  Whether a record is late or dead is
 * the lane's to say.
 */

#include "io/kafka_local.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/now.h"
#include "base/stop.h"

#define KAFKA_PURGE_MS  1000


static void
kafka_delivered(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
    kafka_t  *kafka = opaque;

    (void) rk;

    kafka->unacked--;
    if (msg->err != RD_KAFKA_RESP_ERR_NO_ERROR
        && kafka->send_err.text[0] == '\0')
    {
        (void) err_set(&kafka->send_err, RC_RETRY, "kafka: send to %s: %s",
                       rd_kafka_topic_name(msg->rkt),
                       rd_kafka_err2str(msg->err));
    }
}


rc_t
kafka_producer_open(rd_kafka_t **producer, const kafka_conf_t *conf,
    kafka_report_f report, void *opaque, err_t *err)
{
    rd_kafka_conf_t  *rkc;
    rc_t              rc;

    rc = kafka_conf_new(&rkc, conf, KAFKA_PRODUCER, err);
    if (rc != RC_OK) {
        return rc;
    }

    rd_kafka_conf_set_dr_msg_cb(rkc, report);
    rd_kafka_conf_set_opaque(rkc, opaque);

    return kafka_handle_new(producer, rkc, KAFKA_PRODUCER, err);
}


void
kafka_producer_drop(rd_kafka_t **producer)
{
    (void) rd_kafka_purge(*producer,
                          RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void) rd_kafka_flush(*producer, KAFKA_PURGE_MS);
    rd_kafka_destroy(*producer);
    *producer = NULL;
}


void
kafka_send_close(kafka_t *kafka)
{
    if (kafka->producer == NULL) {
        return;
    }
    kafka_producer_drop(&kafka->producer);
    kafka->unacked = 0;
}


void
kafka_send_serve(kafka_t *kafka)
{
    char  why[200];

    if (kafka->producer == NULL) {
        return;
    }

    (void) rd_kafka_poll(kafka->producer, 0);

    /* An idempotent producer that lost its place can't go on; a new one can. */
    if (rd_kafka_fatal_error(kafka->producer, why, sizeof(why))
        != RD_KAFKA_RESP_ERR_NO_ERROR)
    {
        log_warn("kafka", "producer replaced", LS("reason", why));
        if (kafka->unacked > 0 && kafka->send_err.text[0] == '\0') {
            (void) err_set(&kafka->send_err, RC_RETRY, "kafka: %s", why);
        }
        kafka_send_close(kafka);
    }
}


static void
kafka_send_headers(rd_kafka_headers_t *headers, const record_t *rec,
    const kafka_extra_t *extra, size_t n)
{
    char  ts[24];

    for (size_t i = 0; i < rec->nheaders; i++) {
        const record_header_t  *h = &rec->headers[i];

        /* A letter that came back has those of the time before. */
        if (strncmp(h->name, SLUICE_H_RESERVED_ERROR,
                    sizeof(SLUICE_H_RESERVED_ERROR) - 1) == 0)
        {
            continue;
        }

        (void) rd_kafka_header_add(headers, h->name, -1, h->value,
                                   (ssize_t) h->len);
    }
    for (size_t i = 0; i < n; i++) {
        (void) rd_kafka_header_add(headers, extra[i].name, -1, extra[i].value,
                                   -1);
    }

    /*
     * The record itself gets the present as its timestamp: the broker would
     * refuse one that lies outside the topic's bounds, which is what makes
     * records late.
     */
    (void) snprintf(ts, sizeof(ts), "%" PRId64, rec->ts_ms);
    (void) rd_kafka_header_add(headers, SLUICE_H_ERROR_TIMESTAMP, -1, ts, -1);
}


static rc_t
kafka_send_ready(kafka_t *kafka, err_t *err)
{
    kafka_send_serve(kafka);
    if (kafka->producer != NULL) {
        return RC_OK;
    }

    return kafka_producer_open(&kafka->producer, kafka->conf, kafka_delivered,
                               kafka, err);
}


/* headers are taken. */
static rc_t
kafka_send_record(kafka_t *kafka, const char *topic, const record_t *rec,
    rd_kafka_headers_t *headers, err_t *err)
{
    rd_kafka_resp_err_t  code;

    code = rd_kafka_producev(kafka->producer,
                             RD_KAFKA_V_TOPIC(topic),
                             RD_KAFKA_V_KEY(rec->key, rec->key_len),
                             RD_KAFKA_V_VALUE((void *) rec->value, rec->len),
                             RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                             RD_KAFKA_V_HEADERS(headers),
                             RD_KAFKA_V_END);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka->unacked++;
        return RC_OK;
    }

    rd_kafka_headers_destroy(headers);

    return err_set(err, code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
                        ? RC_REJECT : RC_RETRY,
                   "kafka: send to %s: %s", topic, rd_kafka_err2str(code));
}


rc_t
kafka_send(kafka_t *kafka, const char *topic, const record_t *rec,
    const kafka_extra_t *extra, size_t n, err_t *err)
{
    rd_kafka_headers_t  *headers;
    rc_t                 rc = kafka_send_ready(kafka, err);

    if (rc != RC_OK) {
        return rc;
    }

    headers = rd_kafka_headers_new(rec->nheaders + n + 1);
    kafka_send_headers(headers, rec, extra, n);
    return kafka_send_record(kafka, topic, rec, headers, err);
}


rc_t
kafka_produce(kafka_t *kafka, const char *topic, const record_t *rec,
    err_t *err)
{
    rd_kafka_headers_t  *headers;
    rc_t                 rc = kafka_send_ready(kafka, err);

    if (rc != RC_OK) {
        return rc;
    }

    headers = rd_kafka_headers_new(rec->nheaders);
    for (size_t i = 0; i < rec->nheaders; i++) {
        const record_header_t  *h = &rec->headers[i];

        (void) rd_kafka_header_add(headers, h->name, -1, h->value,
                                   (ssize_t) h->len);
    }
    return kafka_send_record(kafka, topic, rec, headers, err);
}


rc_t
kafka_send_wait(kafka_t *kafka, int timeout_ms, err_t *err)
{
    int64_t  deadline = now_mono_ms() + timeout_ms;
    int64_t  left;

    while (kafka->producer != NULL && kafka->unacked > 0) {
        left = stop_left(deadline - now_mono_ms());
        if (left <= 0) {
            /* The caller sends them again: these must not come late as well. */
            if (kafka->send_err.text[0] == '\0') {
                (void) err_set(&kafka->send_err, RC_RETRY,
                               "kafka: %zu records not acknowledged within "
                               "%d ms", kafka->unacked, timeout_ms);
            }
            kafka_send_close(kafka);
            break;
        }
        (void) rd_kafka_poll(kafka->producer, left < 100 ? (int) left : 100);
        kafka_send_serve(kafka);
    }

    if (kafka->send_err.text[0] != '\0') {
        if (err != NULL) {
            *err = kafka->send_err;
        }
        kafka->send_err.text[0] = '\0';
        return RC_RETRY;
    }
    return RC_OK;
}
