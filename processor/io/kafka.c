/*
 * kafka.c: a member of the consumer group, as the lanes see it.
 *
 * Owns the partitions' list, the records kept until the owner asks for them,
 * and the batches handed out.  How records come is kafka_reader.c's, which
 * partitions are ours is kafka_group.c's.
 */

#include "io/kafka_local.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/now.h"

#define KAFKA_WARN_MS  30000        /* the same error again only after that */


struct kafka_batch_s {
    int32_t               partition;
    size_t                n;
    record_t             *records;
    rd_kafka_message_t  **msgs;     /* owned: the records' bytes */
    record_header_t      *headers;  /* of all records, one after another */
    size_t                nheaders, headers_cap;
};


/* A broker that is away fails in several ways, each of them every second. */
void
kafka_warn(kafka_t *kafka, int code, const char *msg, const char *text)
{
    int64_t  now = now_mono_ms();
    size_t   oldest = 0;

    for (size_t i = 0; i < KAFKA_WARNINGS; i++) {
        if (kafka->warned[i].code == code
            && now - kafka->warned[i].at < KAFKA_WARN_MS)
        {
            return;
        }
        if (kafka->warned[i].at < kafka->warned[oldest].at) {
            oldest = i;
        }
    }

    kafka->warned[oldest].code = code;
    kafka->warned[oldest].at = now;

    log_warn("kafka", msg, LS("topic", kafka->topic), LS("reason", text));
}


kafka_part_t *
kafka_part_find(const kafka_t *kafka, int32_t partition)
{
    for (size_t i = 0; i < kafka->nparts; i++) {
        if (kafka->parts[i]->id == partition) {
            return kafka->parts[i];
        }
    }
    return NULL;
}


kafka_part_t *
kafka_part_add(kafka_t *kafka, int32_t partition)
{
    kafka_part_t  *part = mem_zalloc(sizeof(kafka_part_t));

    part->id = partition;
    part->position = -1;
    part->eof = -1;
    part->end = -1;

    kafka->parts = mem_grow(kafka->parts, kafka->nparts + 1,
                            sizeof(kafka_part_t *));
    kafka->parts[kafka->nparts++] = part;
    return part;
}


void
kafka_part_drop_kept(kafka_t *kafka, kafka_part_t *part)
{
    for (size_t i = 0; i < part->n; i++) {
        rd_kafka_message_destroy(part->kept[part->first + i]);
    }
    kafka->kept_bytes -= part->bytes;
    part->bytes = 0;
    part->first = 0;
    part->n = 0;
}


void
kafka_part_remove(kafka_t *kafka, int32_t partition)
{
    for (size_t i = 0; i < kafka->nparts; i++) {
        kafka_part_t  *part = kafka->parts[i];

        if (part->id == partition) {
            kafka_part_drop_kept(kafka, part);
            free(part->kept);
            free(part);
            kafka->parts[i] = kafka->parts[--kafka->nparts];
            return;
        }
    }
}


rc_t
kafka_open(kafka_t **out, const kafka_conf_t *conf,
    const kafka_member_t *member, const kafka_events_t *events, void *ctx,
    err_t *err)
{
    kafka_t  *kafka = mem_zalloc(sizeof(kafka_t));
    rc_t      rc;

    kafka->conf = conf;
    if (events != NULL) {
        kafka->events = *events;
    }
    kafka->ctx = ctx;
    kafka->topic = mem_strdup(member->topic);
    kafka->group_id = mem_strdup(member->group != NULL ? member->group : "");
    kafka->instance_id = mem_strdup(member->instance_id != NULL
                                    ? member->instance_id : "");
    kafka->fetch_bytes = member->fetch_bytes;

    rc = kafka_check(conf, err);
    if (rc == RC_OK) {
        rc = kafka_reader_open(kafka, err);
    }
    if (rc == RC_OK && events != NULL) {
        rc = kafka_group_open(kafka, err);
    }
    if (rc != RC_OK) {
        kafka_close(kafka);
        return rc;
    }

    *out = kafka;
    return RC_OK;
}


void
kafka_close(kafka_t *kafka)
{
    if (kafka == NULL) {
        return;
    }

    kafka_owners_close(kafka);
    kafka_group_close(kafka);
    while (kafka->nparts > 0) {
        kafka_reader_end(kafka, kafka->parts[0]);
        kafka_part_remove(kafka, kafka->parts[0]->id);
    }
    kafka_look_close(kafka);
    kafka_reader_close(kafka);
    kafka_send_close(kafka);

    free(kafka->parts);
    free(kafka->topic);
    free(kafka->group_id);
    free(kafka->instance_id);
    free(kafka);
}


rc_t
kafka_start(kafka_t *kafka, int32_t partition, int64_t offset, err_t *err)
{
    kafka_part_t  *part = kafka_part_find(kafka, partition);

    assert(offset >= 0);

    if (part == NULL) {
        return err_set(err, RC_FENCED, "kafka: %s/%d is not ours",
                       kafka->topic, (int) partition);
    }

    part->position = -1;
    return kafka_reader_begin(kafka, part, offset, err);
}


void
kafka_pause(kafka_t *kafka, int32_t partition)
{
    kafka_part_t  *part = kafka_part_find(kafka, partition);

    if (part != NULL) {
        kafka_reader_end(kafka, part);
    }
}


int64_t
kafka_position(const kafka_t *kafka, int32_t partition)
{
    const kafka_part_t  *part = kafka_part_find(kafka, partition);

    return part != NULL ? part->position : -1;
}


int64_t
kafka_next(const kafka_t *kafka, int32_t partition)
{
    const kafka_part_t  *part = kafka_part_find(kafka, partition);

    if (part == NULL || part->position >= 0) {
        return part != NULL ? part->position : -1;
    }
    if (part->n > 0) {
        return part->kept[part->first]->offset;
    }
    return part->reading ? part->expected : -1;
}


int
kafka_head(const kafka_t *kafka, int32_t partition, int64_t *offset,
    int64_t *ts_ms)
{
    const kafka_part_t         *part = kafka_part_find(kafka, partition);
    rd_kafka_timestamp_type_t   type;

    if (part == NULL || part->n == 0) {
        return 0;
    }

    *offset = part->kept[part->first]->offset;
    *ts_ms = rd_kafka_message_timestamp(part->kept[part->first], &type);
    return 1;
}


int
kafka_is_member(const kafka_t *kafka)
{
    return kafka->group != NULL && kafka->was_assigned;
}


static void
kafka_batch_add_headers(kafka_batch_t *batch, const rd_kafka_message_t *msg,
    record_t *rec)
{
    rd_kafka_headers_t  *headers;
    const char          *name;
    const void          *value;
    size_t               len;

    if (rd_kafka_message_headers(msg, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return;
    }

    for (size_t i = 0;
         rd_kafka_header_get_all(headers, i, &name, &value, &len)
         == RD_KAFKA_RESP_ERR_NO_ERROR;
         i++)
    {
        if (batch->nheaders == batch->headers_cap) {
            batch->headers_cap = batch->headers_cap * 2 + 64;
            batch->headers = mem_grow(batch->headers, batch->headers_cap,
                                      sizeof(record_header_t));
        }

        record_header_t  *h = &batch->headers[batch->nheaders++];

        h->name = name;
        h->value = value;
        h->len = len;
        rec->nheaders++;
    }
}


static void
kafka_batch_add(kafka_batch_t *batch, rd_kafka_message_t *msg)
{
    rd_kafka_timestamp_type_t  type;
    record_t                  *rec = &batch->records[batch->n];

    memset(rec, 0, sizeof(*rec));
    rec->partition = msg->partition;
    rec->offset = msg->offset;
    rec->ts_ms = rd_kafka_message_timestamp(msg, &type);
    rec->key = msg->key;
    rec->key_len = msg->key_len;
    rec->value = msg->payload;
    rec->len = msg->len;

    kafka_batch_add_headers(batch, msg, rec);
    batch->msgs[batch->n++] = msg;
}


/* Records of the next partition in turn that has some. */
static kafka_batch_t *
kafka_batch_new(kafka_t *kafka, size_t max_records, size_t max_bytes)
{
    kafka_part_t   *part = NULL;
    kafka_batch_t  *batch;
    size_t          n, bytes = 0;

    for (size_t i = 0; i < kafka->nparts && part == NULL; i++) {
        kafka->turn = (kafka->turn + 1) % kafka->nparts;
        if (kafka->parts[kafka->turn]->n > 0) {
            part = kafka->parts[kafka->turn];
        }
    }
    if (part == NULL) {
        return NULL;
    }

    /* One record is handed out however large it is. */
    for (n = 0; n < part->n && n < max_records; n++) {
        bytes += part->kept[part->first + n]->len;
        if (bytes > max_bytes && n > 0) {
            break;
        }
    }

    batch = mem_zalloc(sizeof(kafka_batch_t));
    batch->partition = part->id;
    batch->records = mem_alloc(n * sizeof(record_t));
    batch->msgs = mem_alloc(n * sizeof(rd_kafka_message_t *));

    for (size_t i = 0; i < n; i++) {
        rd_kafka_message_t  *msg = part->kept[part->first + i];

        part->bytes -= msg->len;
        kafka->kept_bytes -= msg->len;
        kafka_batch_add(batch, msg);
    }
    part->first += n;
    part->n -= n;

    /* The headers have found their place only now. */
    for (size_t i = 0, at = 0; i < n; i++) {
        batch->records[i].headers = batch->headers + at;
        at += batch->records[i].nheaders;
    }

    part->position = batch->records[n - 1].offset + 1;
    if (part->n == 0) {
        part->first = 0;
        if (part->eof > part->position) {
            part->position = part->eof;
        }
        part->eof = -1;
    }
    return batch;
}


kafka_batch_t *
kafka_poll(kafka_t *kafka, int timeout_ms, size_t max_records,
    size_t max_bytes)
{
    kafka_batch_t  *batch;

    assert(max_records > 0);

    kafka_send_serve(kafka);
    kafka_group_serve(kafka);
    kafka_reader_serve(kafka);
    kafka_look_serve(kafka);

    if (kafka->kept_bytes <= kafka->fetch_bytes / 4) {
        kafka_reader_pull(kafka, 0);
    }

    batch = kafka_batch_new(kafka, max_records, max_bytes);
    if (batch == NULL && timeout_ms > 0) {
        kafka_reader_pull(kafka, timeout_ms);
        batch = kafka_batch_new(kafka, max_records, max_bytes);
    }
    return batch;
}


int32_t
kafka_batch_partition(const kafka_batch_t *batch)
{
    return batch->partition;
}


record_t *
kafka_batch_records(kafka_batch_t *batch, size_t *n)
{
    *n = batch->n;
    return batch->records;
}


void
kafka_batch_free(kafka_batch_t *batch)
{
    if (batch == NULL) {
        return;
    }

    for (size_t i = 0; i < batch->n; i++) {
        rd_kafka_message_destroy(batch->msgs[i]);
    }
    free(batch->msgs);
    free(batch->records);
    free(batch->headers);
    free(batch);
}
