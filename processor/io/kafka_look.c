/*
 * kafka_look.c: one record of a partition, out of the order of reading.
 *
 * Owns a third consumer for it, opened when it is needed and closed once it
 * was idle for a while.  The reader's connections have fetches on them that
 * wait for records, and what is asked behind one waits as long; with many
 * partitions taken one after another that adds up to seconds.
 */

#include "io/kafka_local.h"

#include <stdio.h>
#include <string.h>

#include "base/now.h"
#include "base/stop.h"
#include "sluice_wire.h"

#define KAFKA_LOOK_IDLE_MS  10000
#define KAFKA_LOOK_TURN_MS  100


static rc_t
kafka_look_open(kafka_t *kafka, err_t *err)
{
    static const char *const  pairs[] = {
        "fetch.wait.max.ms", "10",       /* the next look waits behind it */
        "queued.min.messages", "1",
        "queued.max.messages.kbytes", "1024",
        NULL
    };

    rd_kafka_conf_t  *rkc;
    rc_t              rc;

    rc = kafka_conf_new(&rkc, kafka->conf, KAFKA_READER, err);
    if (rc != RC_OK) {
        return rc;
    }

    for (size_t i = 0; pairs[i] != NULL && rc == RC_OK; i += 2) {
        rc = kafka_conf_put(rkc, pairs[i], pairs[i + 1], err);
    }
    if (rc != RC_OK) {
        rd_kafka_conf_destroy(rkc);
        return rc;
    }

    rc = kafka_handle_new(&kafka->looker, rkc, KAFKA_READER, err);
    if (rc != RC_OK) {
        return rc;
    }

    kafka->looker_topic = rd_kafka_topic_new(kafka->looker, kafka->topic,
                                             NULL);
    if (kafka->looker_topic == NULL) {
        kafka_look_close(kafka);
        return err_set(err, RC_RETRY, "kafka: topic %s: %s", kafka->topic,
                       rd_kafka_err2str(rd_kafka_last_error()));
    }
    return RC_OK;
}


void
kafka_look_close(kafka_t *kafka)
{
    if (kafka->looker_topic != NULL) {
        rd_kafka_topic_destroy(kafka->looker_topic);
        kafka->looker_topic = NULL;
    }
    if (kafka->looker != NULL) {
        rd_kafka_destroy(kafka->looker);
        kafka->looker = NULL;
    }
}


void
kafka_look_serve(kafka_t *kafka)
{
    if (kafka->looker == NULL) {
        return;
    }

    (void) rd_kafka_poll(kafka->looker, 0);

    if (now_mono_ms() - kafka->looked_at > KAFKA_LOOK_IDLE_MS) {
        kafka_look_close(kafka);
    }
}


static void
kafka_look_read(const rd_kafka_message_t *msg, kafka_seen_t *seen)
{
    rd_kafka_headers_t  *headers;
    const void          *value;
    size_t               len;

    seen->offset = msg->offset;
    seen->ts_ms = rd_kafka_message_timestamp(msg, NULL);
    seen->id[0] = '\0';

    if (rd_kafka_message_headers(msg, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR
        && rd_kafka_header_get(headers, 0, SLUICE_H_ID, &value, &len)
           == RD_KAFKA_RESP_ERR_NO_ERROR
        && len < sizeof(seen->id))
    {
        memcpy(seen->id, value, len);
        seen->id[len] = '\0';
    }
}


/* 1: seen is set; 0: wait; -1: err is. */
static int
kafka_look_at(const kafka_t *kafka, int32_t partition,
    const rd_kafka_message_t *msg, kafka_seen_t *seen, err_t *err)
{
    switch (msg->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        kafka_look_read(msg, seen);
        return 1;

    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        seen->offset = -1;
        return 1;

    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        err_set(err, RC_RETRY, "kafka: %s/%d: the offset to look at is gone",
                kafka->topic, (int) partition);
        return -1;

    default:
        return 0;                    /* librdkafka tries again */
    }
}


/* With id the first of n records that has it, else the first. */
static rc_t
kafka_look_run(kafka_t *kafka, int32_t partition, int64_t offset, size_t n,
    const char *id, kafka_seen_t *seen, err_t *err)
{
    int64_t            until = now_mono_ms() + KAFKA_QUERY_MS;
    rd_kafka_queue_t  *queue = rd_kafka_queue_new(kafka->looker);
    int                found = 0;

    if (rd_kafka_consume_start_queue(kafka->looker_topic, partition, offset,
                                     queue) != 0)
    {
        rd_kafka_queue_destroy(queue);
        return err_set(err, RC_RETRY, "kafka: look at %s/%d: %s",
                       kafka->topic, (int) partition,
                       rd_kafka_err2str(rd_kafka_last_error()));
    }

    err_set(err, RC_RETRY, "kafka: look at %s/%d: no answer in time",
            kafka->topic, (int) partition);

    while (found == 0 && now_mono_ms() < until && !stop_is_over()) {
        rd_kafka_message_t *msg;

        (void) rd_kafka_poll(kafka->looker, 0);

        msg = rd_kafka_consume_queue(queue, KAFKA_LOOK_TURN_MS);
        if (msg == NULL) {
            continue;
        }

        found = kafka_look_at(kafka, partition, msg, seen, err);
        rd_kafka_message_destroy(msg);

        if (found > 0 && id != NULL && seen->offset >= 0
            && strcmp(seen->id, id) != 0)
        {
            seen->offset = -1;
            found = --n == 0;
            until = now_mono_ms() + KAFKA_QUERY_MS;
        }
    }

    (void) rd_kafka_consume_stop(kafka->looker_topic, partition);
    rd_kafka_queue_destroy(queue);
    kafka->looked_at = now_mono_ms();

    if (found > 0) {
        err->text[0] = '\0';
        return RC_OK;
    }

    return RC_RETRY;
}


rc_t
kafka_find(kafka_t *kafka, int32_t partition, int64_t offset, size_t n,
    const char *id, kafka_seen_t *seen, err_t *err)
{
    rc_t rc = RC_OK;

    if (kafka->looker == NULL) {
        rc = kafka_look_open(kafka, err);
    }

    if (rc == RC_OK) {
        rc = kafka_look_run(kafka, partition, offset, n, id, seen, err);
    }

    return rc;
}


rc_t
kafka_look(kafka_t *kafka, int32_t partition, int64_t offset,
    kafka_seen_t *seen, err_t *err)
{
    return kafka_find(kafka, partition, offset, 1, NULL, seen, err);
}
