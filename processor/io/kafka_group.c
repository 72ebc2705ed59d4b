/*
 * kafka_group.c: membership of the consumer group.
 *
 * Owns joining, rebalances and commits.  Fetches nothing: see kafka_local.h.
 * Rebalances are cooperative, as kafka_conf.c allows no other.
 *
 * The owner hears of a partition inside the rebalance, which waits for it, so
 * that a revoked partition's commit is sent while the group still lets us.
 */

#include "io/kafka_local.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/now.h"
#include "base/stop.h"


static void
kafka_rebalance_failed(kafka_t *kafka, const char *what,
    rd_kafka_error_t *error)
{
    if (error != NULL) {
        kafka_warn(kafka, rd_kafka_error_code(error), what,
                   rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
    }
}


/* A response of rd_kafka_assign() in the newer calls' clothes. */
static rd_kafka_error_t *
kafka_error(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
           ? NULL : rd_kafka_error_new(code, "%s", rd_kafka_err2str(code));
}


static void
kafka_assigned(kafka_t *kafka, rd_kafka_t *rk,
    rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_error_t *error;

    /*
     * From the end, and paused at once.  Should a record slip through before
     * the pause it is thrown away in kafka_group_serve().
     */
    for (int i = 0; i < list->cnt; i++) {
        list->elems[i].offset = RD_KAFKA_OFFSET_END;
    }

    kafka_rebalance_failed(kafka, "assign failed",
                           rd_kafka_incremental_assign(rk, list));

    error = kafka_error(rd_kafka_pause_partitions(rk, list));
    kafka_rebalance_failed(kafka, "pause failed", error);

    for (int i = 0; i < list->cnt; i++) {
        int32_t  id = list->elems[i].partition;

        if (kafka_part_find(kafka, id) == NULL) {
            (void) kafka_part_add(kafka, id);
            kafka->events.assigned(kafka->ctx, id);
        }
    }
}


static void
kafka_forget(kafka_t *kafka, int32_t partition, int lost)
{
    kafka_part_t  *part = kafka_part_find(kafka, partition);

    if (part == NULL) {
        return;
    }

    /* Nothing more is delivered, whatever the owner does in revoked(). */
    kafka_reader_end(kafka, part);
    kafka->events.revoked(kafka->ctx, partition, lost);
    kafka_part_remove(kafka, partition);
}


static void
kafka_revoked(kafka_t *kafka, rd_kafka_t *rk,
    rd_kafka_topic_partition_list_t *list)
{
    int lost = rd_kafka_assignment_lost(rk);

    for (int i = 0; i < list->cnt; i++) {
        kafka_forget(kafka, list->elems[i].partition, lost);
    }

    kafka_rebalance_failed(kafka, "unassign failed",
                           rd_kafka_incremental_unassign(rk, list));
}


static void
kafka_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code,
    rd_kafka_topic_partition_list_t *list, void *opaque)
{
    kafka_t  *kafka = opaque;

    switch (code) {
    case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
        kafka->was_assigned = 1;
        kafka_owners_expect(kafka);
        log_info("kafka", "assigned", LI("partitions", list->cnt));
        kafka_assigned(kafka, rk, list);
        return;

    case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
        log_info("kafka", "revoked", LI("partitions", list->cnt),
                 LI("lost", rd_kafka_assignment_lost(rk)));
        kafka_revoked(kafka, rk, list);
        return;

    default:
        kafka_warn(kafka, code, "rebalance failed", rd_kafka_err2str(code));
        kafka_rebalance_failed(kafka, "unassign failed",
                               kafka_error(rd_kafka_assign(rk, NULL)));
    }
}


static void
kafka_committed(rd_kafka_t *rk, rd_kafka_resp_err_t code,
    rd_kafka_topic_partition_list_t *list, void *opaque)
{
    (void) rk;
    (void) list;

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_warn(opaque, code, "commit failed", rd_kafka_err2str(code));
    }
}


static rc_t
kafka_subscribe(const kafka_t *kafka, rd_kafka_t *rk, err_t *err)
{
    rd_kafka_topic_partition_list_t  *list;
    rd_kafka_resp_err_t               code;

    list = rd_kafka_topic_partition_list_new(1);
    (void) rd_kafka_topic_partition_list_add(list, kafka->topic,
                                             RD_KAFKA_PARTITION_UA);
    code = rd_kafka_subscribe(rk, list);
    rd_kafka_topic_partition_list_destroy(list);

    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? RC_OK
           : err_set(err, RC_REJECT, "kafka: subscribe to %s: %s",
                     kafka->topic, rd_kafka_err2str(code));
}


rc_t
kafka_member_open(kafka_t *kafka, const char *instance_id,
    kafka_rebalance_f rebalance, rd_kafka_t **rk, err_t *err)
{
    rd_kafka_conf_t  *rkc;
    rc_t              rc;

    rc = kafka_conf_new(&rkc, kafka->conf, KAFKA_GROUP, err);
    if (rc != RC_OK) {
        return rc;
    }
    if (kafka->group_id[0] != '\0') {
        rc = kafka_conf_put(rkc, "group.id", kafka->group_id, err);
    }
    if (rc == RC_OK && instance_id[0] != '\0') {
        rc = kafka_conf_put(rkc, "group.instance.id", instance_id, err);
    }
    if (rc != RC_OK) {
        rd_kafka_conf_destroy(rkc);
        return rc;
    }

    rd_kafka_conf_set_rebalance_cb(rkc, rebalance);
    rd_kafka_conf_set_offset_commit_cb(rkc, kafka_committed);
    rd_kafka_conf_set_opaque(rkc, kafka);

    rc = kafka_handle_new(rk, rkc, KAFKA_GROUP, err);
    if (rc != RC_OK) {
        return rc;
    }

    (void) rd_kafka_poll_set_consumer(*rk);

    rc = kafka_subscribe(kafka, *rk, err);
    if (rc != RC_OK) {
        rd_kafka_destroy(*rk);
        *rk = NULL;
    }
    return rc;
}


rc_t
kafka_group_open(kafka_t *kafka, err_t *err)
{
    kafka->was_assigned = 0;

    return kafka_member_open(kafka, kafka->instance_id, kafka_rebalance,
                             &kafka->group, err);
}


/*
 * Before 2.3 librdkafka fails an assertion in the destruction of a member that
 * joined and was never assigned anything, not even nothing: its assignor has
 * no state then.  That handle is left behind.
 */
void
kafka_member_drop(rd_kafka_t **rk, int was_assigned)
{
    if (was_assigned || rd_kafka_version() >= 0x02030000) {
        rd_kafka_destroy_flags(*rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    *rk = NULL;
}


/*
 * Fatal is for a consumer: another process joined with our instance id.  We
 * leave it the partitions and try to come back later.  Or we did it ourselves:
 * after an outage librdkafka may join twice, and the second fences the first.
 * So the first time it is later by little.
 */
static void
kafka_group_fatal(kafka_t *kafka)
{
    char     why[200];
    int64_t  now = now_mono_ms();

    if (rd_kafka_fatal_error(kafka->group, why, sizeof(why))
        == RD_KAFKA_RESP_ERR_NO_ERROR)
    {
        return;
    }

    log_error("kafka", "the group refuses this member",
              LS("instance", kafka->instance_id), LS("reason", why));

    while (kafka->nparts > 0) {
        kafka_forget(kafka, kafka->parts[0]->id, 1);
    }

    kafka_member_drop(&kafka->group, kafka->was_assigned);

    kafka->rejoin_at = now + (kafka->fatal_at == 0
                              || now - kafka->fatal_at > KAFKA_CALM_MS
                              ? KAFKA_AGAIN_MS : KAFKA_REJOIN_MS);
    kafka->fatal_at = now;
}


void
kafka_group_serve(kafka_t *kafka)
{
    rd_kafka_message_t  *msg;
    err_t                err;

    if (kafka->group == NULL) {
        if (now_mono_ms() < kafka->rejoin_at) {
            return;
        }
        kafka->rejoin_at = now_mono_ms() + KAFKA_REJOIN_MS;
        if (kafka_group_open(kafka, &err) != RC_OK) {
            log_error("kafka", "rejoin failed", LS("reason", err.text));
            return;
        }
    }

    /* Rebalances, logs and commits happen inside; records shouldn't come. */
    while ((msg = rd_kafka_consumer_poll(kafka->group, 0)) != NULL) {
        if (msg->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            kafka_warn(kafka, msg->err, "group error",
                       rd_kafka_message_errstr(msg));
        }
        rd_kafka_message_destroy(msg);
    }

    kafka_group_fatal(kafka);

    if (kafka->group != NULL) {
        kafka_owners_serve(kafka);
    }
}


/*
 * A group that was given partitions while it ends may end with no answer to
 * what it asks next, and librdkafka (2.0) then lets the one who answers wait
 * for ever.  So it gets a moment to end in.
 */
static int
kafka_group_ends(kafka_t *kafka, int64_t deadline)
{
    struct timespec  moment = { 0, 10 * 1000000 };
    int64_t          until = now_mono_ms() + KAFKA_END_MS;

    while (!rd_kafka_consumer_closed(kafka->group)
           && now_mono_ms() < until && now_mono_ms() < deadline)
    {
        (void) nanosleep(&moment, NULL);
    }

    return rd_kafka_consumer_closed(kafka->group);
}


void
kafka_group_close(kafka_t *kafka)
{
    rd_kafka_queue_t  *queue;
    rd_kafka_error_t  *error;
    rd_kafka_event_t  *event;
    int64_t            deadline = now_mono_ms() + KAFKA_CLOSE_MS;
    int                given = 0;

    if (kafka->group == NULL) {
        return;
    }

    /* rd_kafka_consumer_close() has no bound when brokers are away. */
    queue = rd_kafka_queue_new(kafka->group);
    error = rd_kafka_consumer_close_queue(kafka->group, queue);
    kafka_rebalance_failed(kafka, "close failed", error);

    while (error == NULL && !rd_kafka_consumer_closed(kafka->group)) {
        if (now_mono_ms() >= deadline) {
            log_warn("kafka", "the group wasn't left in time");
            break;
        }
        event = rd_kafka_queue_poll(queue, 100);
        if (event == NULL) {
            continue;
        }
        /* Out of a queue it is an event, whatever callback is set. */
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE
            && !(given && kafka_group_ends(kafka, deadline)))
        {
            given = rd_kafka_event_error(event)
                    == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
            kafka_rebalance(kafka->group, rd_kafka_event_error(event),
                            rd_kafka_event_topic_partition_list(event), kafka);
        }
        rd_kafka_event_destroy(event);
    }

    /* Those that no rebalance took, if any. */
    while (kafka->nparts > 0) {
        kafka_forget(kafka, kafka->parts[0]->id, 1);
    }

    rd_kafka_queue_destroy(queue);

    /*
     * The handle is left to the end of the process, which is near: besides
     * what is said in kafka_member_drop(), its destruction waits for the
     * answers to all commits, from a broker that hangs for a minute.
     */
    kafka->group = NULL;
}


/* note may be NULL; librdkafka frees its copy with the list. */
static rd_kafka_topic_partition_list_t *
kafka_offset_list(const kafka_t *kafka, int32_t partition, int64_t offset,
    const char *note)
{
    rd_kafka_topic_partition_list_t  *list;
    rd_kafka_topic_partition_t       *at;

    list = rd_kafka_topic_partition_list_new(1);
    at = rd_kafka_topic_partition_list_add(list, kafka->topic, partition);
    at->offset = offset;
    if (note != NULL) {
        at->metadata = mem_strdup(note);
        at->metadata_size = strlen(note);
    }
    return list;
}


rc_t
kafka_committed_at(kafka_t *kafka, int32_t partition, int64_t *offset,
    char *note, size_t note_size, err_t *err)
{
    rd_kafka_topic_partition_list_t  *list;
    rd_kafka_topic_partition_t       *at;
    rd_kafka_resp_err_t               code;

    if (kafka->group == NULL) {
        return err_set(err, RC_RETRY, "kafka: not a member of the group");
    }

    list = kafka_offset_list(kafka, partition, RD_KAFKA_OFFSET_INVALID, NULL);
    code = rd_kafka_committed(kafka->group, list,
                              (int) stop_left(KAFKA_QUERY_MS));
    at = &list->elems[0];
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        code = at->err;
    }

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void) snprintf(note, note_size, "%.*s", (int) at->metadata_size,
                        at->metadata != NULL ? (char *) at->metadata : "");
        *offset = at->offset >= 0 ? at->offset : -1;
    }
    rd_kafka_topic_partition_list_destroy(list);

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return err_set(err, RC_RETRY, "kafka: committed offset of %s/%d: %s",
                       kafka->topic, (int) partition, rd_kafka_err2str(code));
    }
    return RC_OK;
}


void
kafka_commit(kafka_t *kafka, int32_t partition, int64_t offset)
{
    kafka_commit_note(kafka, partition, offset, NULL);
}


void
kafka_commit_note(kafka_t *kafka, int32_t partition, int64_t offset,
    const char *note)
{
    rd_kafka_topic_partition_list_t  *list;
    rd_kafka_resp_err_t               code;

    if (kafka->group == NULL) {
        return;
    }

    list = kafka_offset_list(kafka, partition, offset, note);
    code = rd_kafka_commit(kafka->group, list, 1);
    rd_kafka_topic_partition_list_destroy(list);

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_warn(kafka, code, "commit failed", rd_kafka_err2str(code));
    }
}


rc_t
kafka_commit_wait(kafka_t *kafka, int32_t partition, int64_t offset,
    int timeout_ms, err_t *err)
{
    return kafka_commit_note_wait(kafka, partition, offset, NULL, timeout_ms,
                                  err);
}


rc_t
kafka_commit_note_wait(kafka_t *kafka, int32_t partition, int64_t offset,
    const char *note, int timeout_ms, err_t *err)
{
    rd_kafka_topic_partition_list_t  *list;
    rd_kafka_resp_err_t               code;
    rd_kafka_event_t                 *event = NULL;
    rd_kafka_queue_t                 *queue;

    if (kafka->group == NULL) {
        return err_set(err, RC_RETRY, "kafka: not a member of the group");
    }

    queue = rd_kafka_queue_new(kafka->group);
    list = kafka_offset_list(kafka, partition, offset, note);
    code = rd_kafka_commit_queue(kafka->group, list, queue, NULL, NULL);
    rd_kafka_topic_partition_list_destroy(list);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        event = rd_kafka_queue_poll(queue, (int) stop_left(timeout_ms));
        code = event != NULL ? rd_kafka_event_error(event)
                             : RD_KAFKA_RESP_ERR__TIMED_OUT;
    }

    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return err_set(err, RC_RETRY, "kafka: commit of %s/%d: %s",
                       kafka->topic, (int) partition, rd_kafka_err2str(code));
    }
    return RC_OK;
}
