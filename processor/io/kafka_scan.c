/*
 * kafka_scan.c: reads a topic from here to there, and writes to one.
 *
 * Owns a consumer without a group and a producer, the latter made when the
 * first record is written.  Knows nothing of windows or letters.
 *
 * The end of a scan is the end of the log as of its beginning, so that it ends
 * on a topic that is being written.  A log may end in records that no reader
 * gets to see, which is why the partition's end as the consumer meets it ends
 * the scan as well.
 */

#include "io/kafka_scan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/now.h"
#include "io/kafka_local.h"

#define KAFKA_SCAN_BATCH    500
#define KAFKA_SCAN_WAIT_MS  60000
#define KAFKA_SCAN_TURN_MS  500

struct kafka_scan_s {
    const kafka_conf_t   *conf;
    rd_kafka_t           *reader;
    err_t                 why;         /* what a broker's connection said */

    rd_kafka_topic_t     *topic;       /* being read; NULL: nothing is */
    int32_t               partition;
    int64_t               next, end;
    rd_kafka_message_t   *msgs[KAFKA_SCAN_BATCH];
    size_t                n, at;
    record_t              rec;
    record_header_t      *headers;
    size_t                headers_cap;

    rd_kafka_t           *producer;
    size_t                unacked;
    err_t                 put_err;     /* the first failure since a wait */
};


static void
kafka_scan_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    kafka_scan_t  *scan = opaque;

    (void) rk;

    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        (void) err_set(&scan->why, RC_RETRY, "%s", reason);
    }
}


/* What the brokers said tells more than that there was no answer. */
static rc_t
kafka_scan_failed(kafka_scan_t *scan, const char *what, const char *topic,
    rd_kafka_resp_err_t code, err_t *err)
{
    (void) rd_kafka_poll(scan->reader, 0);

    return err_set(err, RC_RETRY, "kafka: %s of %s: %s", what, topic,
                   scan->why.text[0] != '\0' ? scan->why.text
                                             : rd_kafka_err2str(code));
}


rc_t
kafka_scan_open(kafka_scan_t **out, const kafka_conf_t *conf, err_t *err)
{
    kafka_scan_t     *scan = mem_zalloc(sizeof(*scan));
    rd_kafka_conf_t  *rkc;
    rc_t              rc;

    scan->conf = conf;

    rc = kafka_conf_new(&rkc, conf, KAFKA_READER, err);
    if (rc == RC_OK) {
        rd_kafka_conf_set_error_cb(rkc, kafka_scan_error);
        rd_kafka_conf_set_opaque(rkc, scan);

        rc = kafka_conf_put(rkc, "queued.max.messages.kbytes", "32768", err);
        if (rc != RC_OK) {
            rd_kafka_conf_destroy(rkc);
        }
    }

    if (rc == RC_OK) {
        rc = kafka_handle_new(&scan->reader, rkc, KAFKA_READER, err);
    }

    if (rc != RC_OK) {
        free(scan);
        return rc;
    }

    *out = scan;
    return RC_OK;
}


static void
kafka_scan_end(kafka_scan_t *scan)
{
    for (; scan->at < scan->n; scan->at++) {
        rd_kafka_message_destroy(scan->msgs[scan->at]);
    }
    scan->at = scan->n = 0;

    if (scan->topic != NULL) {
        (void) rd_kafka_consume_stop(scan->topic, scan->partition);
        rd_kafka_topic_destroy(scan->topic);
        scan->topic = NULL;
    }
}


static void
kafka_scan_put_close(kafka_scan_t *scan)
{
    if (scan->producer == NULL) {
        return;
    }

    kafka_producer_drop(&scan->producer);
    scan->unacked = 0;
}


void
kafka_scan_close(kafka_scan_t *scan)
{
    if (scan == NULL) {
        return;
    }

    kafka_scan_put_close(scan);

    /* The message handed out last is still held. */
    if (scan->at > 0) {
        rd_kafka_message_destroy(scan->msgs[scan->at - 1]);
    }
    kafka_scan_end(scan);
    rd_kafka_destroy(scan->reader);
    free(scan->headers);
    free(scan);
}


rc_t
kafka_scan_partitions(kafka_scan_t *scan, const char *name, int32_t *n,
    err_t *err)
{
    const struct rd_kafka_metadata  *meta = NULL;
    rd_kafka_resp_err_t              code;
    rd_kafka_topic_t                *topic;

    topic = rd_kafka_topic_new(scan->reader, name, NULL);
    if (topic == NULL) {
        return err_set(err, RC_REJECT, "kafka: topic %s: %s", name,
                       rd_kafka_err2str(rd_kafka_last_error()));
    }

    code = rd_kafka_metadata(scan->reader, 0, topic, &meta, KAFKA_QUERY_MS);
    rd_kafka_topic_destroy(topic);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const rd_kafka_metadata_topic_t  *t = meta->topic_cnt == 1
                                              ? &meta->topics[0] : NULL;

        code = t != NULL ? t->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        *n = t != NULL ? t->partition_cnt : 0;
        rd_kafka_metadata_destroy(meta);
    }

    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        *n = 0;
        code = RD_KAFKA_RESP_ERR_NO_ERROR;
    }

    return code == RD_KAFKA_RESP_ERR_NO_ERROR
           ? RC_OK : kafka_scan_failed(scan, "partitions", name, code, err);
}


static rc_t
kafka_scan_ask(kafka_scan_t *scan, const char *topic, int32_t partition,
    int64_t ts_ms, int64_t *offset, err_t *err)
{
    rd_kafka_topic_partition_list_t  *list;
    rd_kafka_topic_partition_t       *at;
    rd_kafka_resp_err_t               code;

    list = rd_kafka_topic_partition_list_new(1);
    at = rd_kafka_topic_partition_list_add(list, topic, partition);
    at->offset = ts_ms;

    code = rd_kafka_offsets_for_times(scan->reader, list, KAFKA_QUERY_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        code = at->err;
    }
    *offset = at->offset;
    rd_kafka_topic_partition_list_destroy(list);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && ts_ms < 0 && *offset < 0) {
        code = RD_KAFKA_RESP_ERR__NO_OFFSET;
    }

    return code == RD_KAFKA_RESP_ERR_NO_ERROR
           ? RC_OK : kafka_scan_failed(scan, "offsets", topic, code, err);
}


rc_t
kafka_scan_bounds(kafka_scan_t *scan, const char *topic, int32_t partition,
    int64_t *first, int64_t *end, err_t *err)
{
    rc_t  rc = kafka_scan_ask(scan, topic, partition,
                              RD_KAFKA_OFFSET_BEGINNING, first, err);

    if (rc != RC_OK) {
        return rc;
    }

    return kafka_scan_ask(scan, topic, partition, RD_KAFKA_OFFSET_END, end,
                          err);
}


rc_t
kafka_scan_offset_at(kafka_scan_t *scan, const char *topic, int32_t partition,
    int64_t ts_ms, int64_t *offset, err_t *err)
{
    rc_t  rc = kafka_scan_ask(scan, topic, partition, ts_ms < 0 ? 0 : ts_ms,
                              offset, err);

    /* No record is that young. */
    if (rc == RC_OK && *offset < 0) {
        rc = kafka_scan_ask(scan, topic, partition, RD_KAFKA_OFFSET_END,
                            offset, err);
    }
    return rc;
}


rc_t
kafka_scan_begin(kafka_scan_t *scan, const char *topic, int32_t partition,
    int64_t from, int64_t end, err_t *err)
{
    if (scan->at > 0) {
        rd_kafka_message_destroy(scan->msgs[scan->at - 1]);
    }
    kafka_scan_end(scan);

    scan->partition = partition;
    scan->next = from;
    scan->end = end;
    if (from >= end) {
        return RC_OK;
    }

    scan->topic = rd_kafka_topic_new(scan->reader, topic, NULL);
    if (scan->topic == NULL
        || rd_kafka_consume_start(scan->topic, partition, from) != 0)
    {
        rc_t  rc = kafka_scan_failed(scan, "reading", topic,
                                     rd_kafka_last_error(), err);

        if (scan->topic != NULL) {
            rd_kafka_topic_destroy(scan->topic);
            scan->topic = NULL;
        }
        return rc;
    }
    return RC_OK;
}


/* Messages into msgs; none is not the end. */
static rc_t
kafka_scan_fill(kafka_scan_t *scan, err_t *err)
{
    int64_t  deadline = now_mono_ms() + KAFKA_SCAN_WAIT_MS;
    ssize_t  n = 0;

    while (n <= 0) {
        n = rd_kafka_consume_batch(scan->topic, scan->partition,
                                   KAFKA_SCAN_TURN_MS, scan->msgs,
                                   KAFKA_SCAN_BATCH);
        (void) rd_kafka_poll(scan->reader, 0);

        if (n <= 0 && now_mono_ms() > deadline) {
            return kafka_scan_failed(scan, "reading",
                                     rd_kafka_topic_name(scan->topic),
                                     RD_KAFKA_RESP_ERR__TIMED_OUT, err);
        }
    }

    scan->n = (size_t) n;
    scan->at = 0;
    return RC_OK;
}


static void
kafka_scan_record(kafka_scan_t *scan, const rd_kafka_message_t *msg)
{
    rd_kafka_timestamp_type_t   type;
    rd_kafka_headers_t         *headers;
    record_t                   *rec = &scan->rec;

    memset(rec, 0, sizeof(*rec));
    rec->partition = msg->partition;
    rec->offset = msg->offset;
    rec->ts_ms = rd_kafka_message_timestamp(msg, &type);
    rec->key = msg->key;
    rec->key_len = msg->key_len;
    rec->value = msg->payload;
    rec->len = msg->len;

    if (rd_kafka_message_headers(msg, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return;
    }

    for (;; rec->nheaders++) {
        const char  *name;
        const void  *value;
        size_t       len;

        if (rd_kafka_header_get_all(headers, rec->nheaders, &name, &value,
                                    &len) != RD_KAFKA_RESP_ERR_NO_ERROR)
        {
            break;
        }

        if (rec->nheaders == scan->headers_cap) {
            scan->headers_cap = scan->headers_cap * 2 + 32;
            scan->headers = mem_grow(scan->headers, scan->headers_cap,
                                     sizeof(record_header_t));
        }
        scan->headers[rec->nheaders] = (record_header_t) { name, value, len };
    }
    rec->headers = scan->headers;
}


rc_t
kafka_scan_next(kafka_scan_t *scan, record_t **rec, err_t *err)
{
    *rec = NULL;

    while (scan->topic != NULL && scan->next < scan->end) {
        if (scan->at > 0) {
            rd_kafka_message_destroy(scan->msgs[scan->at - 1]);
        }

        if (scan->at == scan->n) {
            rc_t  rc;

            scan->at = scan->n = 0;
            rc = kafka_scan_fill(scan, err);
            if (rc != RC_OK) {
                return rc;
            }
        }

        rd_kafka_message_t  *msg = scan->msgs[scan->at++];

        if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            scan->next = msg->offset;
            if (scan->next >= scan->end) {
                break;
            }
            continue;
        }
        if (msg->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return kafka_scan_failed(scan, "reading",
                                     rd_kafka_topic_name(scan->topic),
                                     msg->err, err);
        }
        if (msg->offset >= scan->end) {
            break;
        }

        scan->next = msg->offset + 1;
        kafka_scan_record(scan, msg);
        *rec = &scan->rec;
        return RC_OK;
    }

    return RC_OK;
}


static void
kafka_scan_delivered(rd_kafka_t *rk, const rd_kafka_message_t *msg,
    void *opaque)
{
    kafka_scan_t  *scan = opaque;
    int           *ok = msg->_private;

    (void) rk;

    scan->unacked--;
    *ok = msg->err == RD_KAFKA_RESP_ERR_NO_ERROR;

    if (!*ok && scan->put_err.text[0] == '\0') {
        (void) err_set(&scan->put_err, RC_RETRY, "kafka: send to %s: %s",
                       rd_kafka_topic_name(msg->rkt),
                       rd_kafka_err2str(msg->err));
    }
}


rc_t
kafka_scan_put(kafka_scan_t *scan, const char *topic, const record_t *rec,
    int *ok, err_t *err)
{
    rd_kafka_headers_t   *headers;
    rd_kafka_resp_err_t   code;

    *ok = 0;
    if (scan->producer == NULL) {
        rc_t  rc = kafka_producer_open(&scan->producer, scan->conf,
                                       kafka_scan_delivered, scan, err);

        if (rc != RC_OK) {
            return rc;
        }
    }

    headers = rd_kafka_headers_new(rec->nheaders);
    for (size_t i = 0; i < rec->nheaders; i++) {
        (void) rd_kafka_header_add(headers, rec->headers[i].name, -1,
                                   rec->headers[i].value,
                                   (ssize_t) rec->headers[i].len);
    }

    code = rd_kafka_producev(scan->producer,
                             RD_KAFKA_V_TOPIC(topic),
                             RD_KAFKA_V_KEY(rec->key, rec->key_len),
                             RD_KAFKA_V_VALUE((void *) rec->value, rec->len),
                             RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                             RD_KAFKA_V_HEADERS(headers),
                             RD_KAFKA_V_OPAQUE(ok),
                             RD_KAFKA_V_END);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        scan->unacked++;
        (void) rd_kafka_poll(scan->producer, 0);
        return RC_OK;
    }

    rd_kafka_headers_destroy(headers);

    return err_set(err, code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
                        ? RC_REJECT : RC_RETRY,
                   "kafka: send to %s: %s", topic, rd_kafka_err2str(code));
}


rc_t
kafka_scan_put_wait(kafka_scan_t *scan, int timeout_ms, err_t *err)
{
    int64_t  deadline = now_mono_ms() + timeout_ms;

    while (scan->producer != NULL && scan->unacked > 0) {
        if (now_mono_ms() > deadline) {
            if (scan->put_err.text[0] == '\0') {
                (void) err_set(&scan->put_err, RC_RETRY, "kafka: %zu records "
                               "not acknowledged within %d ms", scan->unacked,
                               timeout_ms);
            }
            kafka_scan_put_close(scan);
            break;
        }
        (void) rd_kafka_poll(scan->producer, 100);
    }

    if (scan->put_err.text[0] != '\0') {
        *err = scan->put_err;
        scan->put_err.text[0] = '\0';
        return RC_RETRY;
    }
    return RC_OK;
}
