/*
 * kafka_reader.c: fetches assigned partitions from given offsets.
 *
 * Owns the second consumer: begin and end of a partition, its bounds, what it
 * fetched.  Knows no group.
 *
 * Why nothing old is delivered after a new begin (librdkafka 2.0.2 and 2.8.0):
 * rd_kafka_consume_stop() and _start_queue() raise the partition's version in
 * the caller's thread (rd_kafka_toppar_version_new_barrier).  A fetched
 * message carries the version its request was built with, and the queue drops
 * what is older than the partition's when we take it out
 * (rd_kafka_op_version_outdated).  A request is built with a new version only
 * together with the new offset (rd_kafka_toppar_fetch_decide).  So what passes
 * was fetched from the offset of the last begin; records below it in the first
 * batch are skipped by librdkafka, and once more here.
 *
 * An "offset out of range" carries no version, so it may be an old one: it is
 * believed only once the partition's bounds confirm it.
 */

#include "io/kafka_local.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/now.h"
#include "base/stop.h"

#define KAFKA_PULL_MAX  1000         /* records taken from librdkafka at once */


/*
 * What is fetched ahead lies in librdkafka's queue (a quarter of fetch_bytes),
 * in kept records (a quarter, and what one pull adds), and in the answers on
 * their way (an eighth for each broker).
 *
 * A fetcher that found the queue full looks again after a second, too late
 * for a lane that replays.  Since 2.2 that is a setting; before, it is woken
 * by kafka_reader_nudge().
 */
static rc_t
kafka_reader_limits(kafka_t *kafka, rd_kafka_conf_t *rkc, err_t *err)
{
    char    value[24], why[100];
    size_t  answer = kafka->fetch_bytes / 8;
    rc_t    rc;

    kafka->queue_bytes = kafka->fetch_bytes / 4;
    if (answer < 1024 * 1024) {
        answer = 1024 * 1024;
    } else if (answer > 50 * 1024 * 1024) {
        answer = 50 * 1024 * 1024;
    }

    (void) snprintf(value, sizeof(value), "%zu",
                    kafka->queue_bytes / 1024 + 1);
    rc = kafka_conf_put(rkc, "queued.max.messages.kbytes", value, err);
    if (rc != RC_OK) {
        return rc;
    }

    kafka->nudge = rd_kafka_conf_set(rkc, "fetch.queue.backoff.ms", "20", why,
                                     sizeof(why)) != RD_KAFKA_CONF_OK;

    (void) snprintf(value, sizeof(value), "%zu", answer);
    return kafka_conf_put(rkc, "fetch.max.bytes", value, err);
}


rc_t
kafka_reader_open(kafka_t *kafka, err_t *err)
{
    rd_kafka_conf_t  *rkc;
    rc_t              rc;

    rc = kafka_conf_new(&rkc, kafka->conf, KAFKA_READER, err);
    if (rc != RC_OK) {
        return rc;
    }

    rc = kafka_reader_limits(kafka, rkc, err);
    if (rc != RC_OK) {
        rd_kafka_conf_destroy(rkc);
        return rc;
    }

    rc = kafka_handle_new(&kafka->reader, rkc, KAFKA_READER, err);
    if (rc != RC_OK) {
        return rc;
    }

    kafka->fetched = rd_kafka_queue_new(kafka->reader);
    kafka->reader_topic = rd_kafka_topic_new(kafka->reader, kafka->topic,
                                             NULL);
    if (kafka->reader_topic == NULL) {
        return err_set(err, RC_REJECT, "kafka: topic %s: %s", kafka->topic,
                       rd_kafka_err2str(rd_kafka_last_error()));
    }
    return RC_OK;
}


void
kafka_reader_close(kafka_t *kafka)
{
    if (kafka->reader_topic != NULL) {
        rd_kafka_topic_destroy(kafka->reader_topic);
    }
    if (kafka->fetched != NULL) {
        rd_kafka_queue_destroy(kafka->fetched);
    }
    if (kafka->reader != NULL) {
        rd_kafka_destroy(kafka->reader);
    }
}


void
kafka_reader_end(kafka_t *kafka, kafka_part_t *part)
{
    kafka_part_drop_kept(kafka, part);
    part->eof = -1;
    part->end = -1;
    part->retry_at = 0;

    if (!part->reading) {
        return;
    }
    part->reading = 0;

    /* Waits for librdkafka's own thread only, never for a broker. */
    if (rd_kafka_consume_stop(kafka->reader_topic, part->id) != 0) {
        kafka_warn(kafka, rd_kafka_last_error(), "stop failed",
                   rd_kafka_err2str(rd_kafka_last_error()));
    }
}


rc_t
kafka_reader_begin(kafka_t *kafka, kafka_part_t *part, int64_t offset,
    err_t *err)
{
    kafka_reader_end(kafka, part);

    if (rd_kafka_consume_start_queue(kafka->reader_topic, part->id, offset,
                                     kafka->fetched) != 0)
    {
        return err_set(err, RC_RETRY, "kafka: start of %s/%d: %s",
                       kafka->topic, (int) part->id,
                       rd_kafka_err2str(rd_kafka_last_error()));
    }

    part->reading = 1;
    part->expected = offset;
    return RC_OK;
}


/* An error that the queue delivered in a record's place. */
static void
kafka_reader_error(kafka_t *kafka, const rd_kafka_message_t *msg)
{
    kafka_part_t  *part = NULL;

    if (msg->rkt != NULL) {
        part = kafka_part_find(kafka, msg->partition);
    }

    if (part == NULL || !part->reading) {
        if (msg->err != RD_KAFKA_RESP_ERR__PARTITION_EOF
            && msg->err != RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
        {
            kafka_warn(kafka, msg->err, "fetch error",
                       rd_kafka_message_errstr(msg));
        }
        return;
    }

    switch (msg->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if (msg->offset < part->expected) {
            return;
        }
        part->expected = msg->offset;
        part->end = msg->offset;
        if (part->n > 0) {
            part->eof = msg->offset;
        } else {
            part->position = msg->offset;
        }
        return;

    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        /* The fetcher has ended; whether it is right is asked for later. */
        part->retry_at = now_mono_ms() + KAFKA_RETRY_MS;
        kafka_warn(kafka, msg->err, "offset refused",
                   rd_kafka_message_errstr(msg));
        return;

    default:
        /* librdkafka goes on by itself, with its own backoff. */
        kafka_warn(kafka, msg->err, "fetch error",
                   rd_kafka_message_errstr(msg));
    }
}


/* Takes msg over. */
static void
kafka_reader_keep(kafka_t *kafka, rd_kafka_message_t *msg)
{
    kafka_part_t  *part;

    if (msg->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_reader_error(kafka, msg);
        rd_kafka_message_destroy(msg);
        return;
    }

    part = kafka_part_find(kafka, msg->partition);
    if (part == NULL || !part->reading || msg->offset < part->expected) {
        rd_kafka_message_destroy(msg);
        return;
    }

    if (part->first + part->n == part->cap) {
        if (part->first > part->cap / 2) {
            for (size_t i = 0; i < part->n; i++) {
                part->kept[i] = part->kept[part->first + i];
            }
            part->first = 0;
        } else {
            part->cap = part->cap > 0 ? part->cap * 2 : 64;
            part->kept = mem_grow(part->kept, part->cap,
                                  sizeof(rd_kafka_message_t *));
        }
    }

    part->kept[part->first + part->n++] = msg;
    part->bytes += msg->len;
    kafka->kept_bytes += msg->len;
    part->expected = msg->offset + 1;
    part->eof = -1;
}


/*
 * A seek to where it stands wakes a fetcher.  The queue was full when it was
 * emptied just now, so no answer is on its way that this would waste, but
 * perhaps from other brokers, a megabyte of each partition.
 */
static void
kafka_reader_nudge(kafka_t *kafka)
{
    for (size_t i = 0; i < kafka->nparts; i++) {
        kafka_part_t  *part = kafka->parts[i];

        if (part->reading && part->retry_at == 0
            && part->end != part->expected)
        {
            (void) rd_kafka_seek(kafka->reader_topic, part->id,
                                 part->expected, 0);
        }
    }
}


void
kafka_reader_pull(kafka_t *kafka, int timeout_ms)
{
    rd_kafka_message_t  *msgs[KAFKA_PULL_MAX];
    rd_kafka_message_t  *msg;
    ssize_t              n;
    size_t               bytes = 0;

    /* A batch call waits until its array is full: only one record is awaited. */
    if (timeout_ms > 0) {
        msg = rd_kafka_consume_queue(kafka->fetched, timeout_ms);
        if (msg == NULL) {
            return;
        }
        kafka_reader_keep(kafka, msg);
    }

    do {
        n = rd_kafka_consume_batch_queue(kafka->fetched, 0, msgs,
                                         KAFKA_PULL_MAX);
        for (ssize_t i = 0; i < n; i++) {
            bytes += msgs[i]->len;
            kafka_reader_keep(kafka, msgs[i]);
        }
    } while (n == KAFKA_PULL_MAX && bytes < kafka->fetch_bytes);

    if (kafka->nudge && bytes >= kafka->queue_bytes / 4 * 3) {
        kafka_reader_nudge(kafka);
    }
}


/*
 * The broker refused the offset of a partition.  If it lies within the bounds
 * the answer was an old one; else retention has overtaken us, or the log was
 * cut, and the owner finds out anew where to begin.
 */
static void
kafka_reader_again(kafka_t *kafka, kafka_part_t *part)
{
    int64_t  first, end, expected = part->expected;
    int32_t  id = part->id;
    err_t    err;

    part->retry_at = now_mono_ms() + KAFKA_RETRY_MS;

    if (kafka_bounds(kafka, id, &first, &end, &err) != RC_OK) {
        kafka_warn(kafka, RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET,
                   "bounds unknown", err.text);
        return;
    }

    if (expected >= first && expected <= end) {
        if (kafka_reader_begin(kafka, part, expected, &err) != RC_OK) {
            part->retry_at = now_mono_ms() + KAFKA_RETRY_MS;
        }
        return;
    }

    log_error("kafka", "the log no longer has the offset",
              LI("partition", id), LI("offset", expected),
              LI("first", first), LI("end", end));

    kafka_reader_end(kafka, part);
    kafka->events.revoked(kafka->ctx, id, 1);
    part->position = -1;
    kafka->events.assigned(kafka->ctx, id);
}


void
kafka_reader_serve(kafka_t *kafka)
{
    int64_t  now = now_mono_ms();

    (void) rd_kafka_poll(kafka->reader, 0);

    for (size_t i = 0; i < kafka->nparts; i++) {
        kafka_part_t  *part = kafka->parts[i];

        /* What is kept was fetched well and is handed out first. */
        if (part->retry_at != 0 && now >= part->retry_at && part->n == 0) {
            kafka_reader_again(kafka, part);
        }
    }
}


/*
 * Who asks the leader.  A broker answers a connection's requests one after
 * another, and the reader's has a fetch that waits for records: behind it a
 * question takes up to fetch.wait.max.ms.
 */
static rd_kafka_t *
kafka_asker(const kafka_t *kafka)
{
    return kafka->group != NULL ? kafka->group : kafka->reader;
}


/*
 * The offset at a time; for Kafka first and end are times, too.
 *
 * rd_kafka_query_watermark_offsets() would be the call for those, but it does
 * not keep its timeout once the question is sent: with a broker that hangs
 * the lane would wait for socket.timeout.ms, with all its partitions.
 */
static rc_t
kafka_ask(kafka_t *kafka, int32_t partition, int64_t ts_ms, int64_t *offset,
    err_t *err)
{
    rd_kafka_topic_partition_list_t  *list;
    rd_kafka_topic_partition_t       *at;
    rd_kafka_resp_err_t               code;

    list = rd_kafka_topic_partition_list_new(1);
    at = rd_kafka_topic_partition_list_add(list, kafka->topic, partition);
    at->offset = ts_ms;

    code = rd_kafka_offsets_for_times(kafka_asker(kafka), list,
                                      (int) stop_left(KAFKA_QUERY_MS));
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        code = at->err;
    }
    *offset = at->offset;
    rd_kafka_topic_partition_list_destroy(list);

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return err_set(err, RC_RETRY, "kafka: offsets of %s/%d: %s",
                       kafka->topic, (int) partition, rd_kafka_err2str(code));
    }
    if (ts_ms < 0 && *offset < 0) {
        return err_set(err, RC_RETRY, "kafka: offsets of %s/%d: the broker "
                       "knows none", kafka->topic, (int) partition);
    }
    return RC_OK;
}


rc_t
kafka_bounds(kafka_t *kafka, int32_t partition, int64_t *first, int64_t *end,
    err_t *err)
{
    int64_t  low, high;
    rc_t     rc;

    rc = kafka_ask(kafka, partition, RD_KAFKA_OFFSET_BEGINNING, &low, err);
    if (rc == RC_OK) {
        rc = kafka_ask(kafka, partition, RD_KAFKA_OFFSET_END, &high, err);
    }
    if (rc != RC_OK) {
        return rc;
    }

    *first = low;
    *end = high;
    return RC_OK;
}


rc_t
kafka_offset_at(kafka_t *kafka, int32_t partition, int64_t ts_ms,
    int64_t *offset, err_t *err)
{
    int64_t  found;
    rc_t     rc;

    rc = kafka_ask(kafka, partition, ts_ms, &found, err);

    /* No record is that young. */
    if (rc == RC_OK && found < 0) {
        rc = kafka_ask(kafka, partition, RD_KAFKA_OFFSET_END, &found, err);
    }
    if (rc == RC_OK) {
        *offset = found;
    }
    return rc;
}
