/*
 * kafka_owners.c: no partition stays without an owner.
 *
 * A partition that changes hands is given up in one rebalance and given out in
 * the next, which the member that gave it up asks for.  Killed in between and
 * back under its own name (static membership) that member is handed what it
 * has left, by a group that changes nothing; of the second rebalance nobody
 * knows any more, and the partition has no owner until the next one happens
 * to come.
 *
 * So after each assignment the group is looked at.  Partitions that two looks
 * find without an owner, in a group at rest, make us join it as a guest, a
 * member without a name, which is gone as soon as it was given something, if
 * only nothing: the rebalances that takes share out what is left over.
 */

#include "io/kafka_local.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/now.h"

#define OWNERS_LOOK_MS    3000     /* after an assignment, and between looks */
#define OWNERS_GUEST_MS   30000    /* for joining: others are called first */
#define OWNERS_LEAVE_MS   5000
#define OWNERS_BACKOFF    5        /* the looks' distance doubles so often */


static void
owners_look_again(kafka_owners_t *o)
{
    o->look_at = now_mono_ms() + ((int64_t) OWNERS_LOOK_MS << o->guests);
}


void
kafka_owners_expect(kafka_t *kafka)
{
    kafka->owners.found = 0;
    owners_look_again(&kafka->owners);
}


/* Asked without a wait: the answer comes into a queue. */
static void
owners_ask(kafka_t *kafka)
{
    kafka_owners_t  *o = &kafka->owners;
    const char      *group = kafka->group_id[0] != '\0'
                             ? kafka->group_id : kafka_group(kafka->conf);

    o->look_at = 0;
    o->answers = rd_kafka_queue_new(kafka->reader);
    rd_kafka_DescribeConsumerGroups(kafka->reader, &group, 1, NULL,
                                    o->answers);
}


/* How many partitions the topic has, or -1. */
static int
owners_partitions(kafka_t *kafka)
{
    const rd_kafka_metadata_t  *md;
    rd_kafka_resp_err_t         code;
    int                         n = -1;

    code = rd_kafka_metadata(kafka->reader, 0, kafka->reader_topic, &md,
                             KAFKA_RETRY_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return -1;
    }

    if (md->topic_cnt == 1
        && md->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
    {
        n = md->topics[0].partition_cnt;
    }

    rd_kafka_metadata_destroy(md);
    return n;
}


/* Partitions of n that no member has. */
static int
owners_missing(const kafka_t *kafka,
    const rd_kafka_ConsumerGroupDescription_t *group, int n)
{
    char  *owned = mem_zalloc((size_t) n + 1);
    int    missing = 0;

    for (size_t i = 0;
         i < rd_kafka_ConsumerGroupDescription_member_count(group); i++)
    {
        const rd_kafka_topic_partition_list_t *list;

        list = rd_kafka_MemberAssignment_partitions(
                   rd_kafka_MemberDescription_assignment(
                       rd_kafka_ConsumerGroupDescription_member(group, i)));

        for (int j = 0; list != NULL && j < list->cnt; j++) {
            if (list->elems[j].partition < n
                && strcmp(list->elems[j].topic, kafka->topic) == 0)
            {
                owned[list->elems[j].partition] = 1;
            }
        }
    }

    for (int i = 0; i < n; i++) {
        missing += !owned[i];
    }

    free(owned);
    return missing;
}


/* Of a group at rest; -1 where it isn't, or where nobody says. */
static int
owners_answer(kafka_t *kafka, rd_kafka_event_t *event)
{
    const rd_kafka_ConsumerGroupDescription_t  **groups;
    const rd_kafka_error_t                      *error;
    size_t                                       n;
    int                                          partitions;

    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_warn(kafka, rd_kafka_event_error(event),
                   "the group can't be looked at",
                   rd_kafka_event_error_string(event));
        return -1;
    }

    groups = rd_kafka_DescribeConsumerGroups_result_groups(
                 rd_kafka_event_DescribeConsumerGroups_result(event), &n);
    if (n != 1) {
        return -1;
    }

    error = rd_kafka_ConsumerGroupDescription_error(groups[0]);
    if (error != NULL) {
        kafka_warn(kafka, rd_kafka_error_code(error),
                   "the group can't be looked at",
                   rd_kafka_error_string(error));
        return -1;
    }

    if (rd_kafka_ConsumerGroupDescription_state(groups[0])
        != RD_KAFKA_CONSUMER_GROUP_STATE_STABLE)
    {
        return -1;
    }

    partitions = owners_partitions(kafka);

    return partitions < 0 ? -1 : owners_missing(kafka, groups[0], partitions);
}


static void
owners_guest_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code,
    rd_kafka_topic_partition_list_t *list, void *opaque)
{
    kafka_t           *kafka = opaque;
    rd_kafka_error_t  *error;

    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        kafka->owners.guest_was_assigned = 1;

        for (int i = 0; i < list->cnt; i++) {
            list->elems[i].offset = RD_KAFKA_OFFSET_END;
        }

        error = rd_kafka_incremental_assign(rk, list);

    } else {
        error = rd_kafka_incremental_unassign(rk, list);
    }

    if (error != NULL) {
        rd_kafka_error_destroy(error);
    }
}


static rc_t
owners_guest_open(kafka_t *kafka, err_t *err)
{
    kafka_owners_t *o = &kafka->owners;

    o->guest_was_assigned = 0;
    o->guest_given = 0;
    o->guest_until = now_mono_ms() + OWNERS_GUEST_MS;

    return kafka_member_open(kafka, "", owners_guest_rebalance, &o->guest,
                             err);
}


static void
owners_guest_leave(kafka_owners_t *o)
{
    rd_kafka_error_t *error;

    o->leaving = rd_kafka_queue_new(o->guest);
    o->guest_until = now_mono_ms() + OWNERS_LEAVE_MS;
    error = rd_kafka_consumer_close_queue(o->guest, o->leaving);

    if (error != NULL) {
        rd_kafka_error_destroy(error);
        o->guest_until = 0;
    }
}


static void
owners_guest_serve(kafka_t *kafka)
{
    kafka_owners_t      *o = &kafka->owners;
    rd_kafka_message_t  *msg;
    rd_kafka_event_t    *event;

    if (o->leaving == NULL) {
        while ((msg = rd_kafka_consumer_poll(o->guest, 0)) != NULL) {
            rd_kafka_message_destroy(msg);       /* not ours to read */
        }

        if (o->guest_was_assigned || now_mono_ms() >= o->guest_until) {
            owners_guest_leave(o);
        }
        return;
    }

    /* Given something while it leaves it isn't answered for again: see
     * kafka_group_ends(). */
    while ((event = rd_kafka_queue_poll(o->leaving, 0)) != NULL) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE
            && !o->guest_given && !rd_kafka_consumer_closed(o->guest))
        {
            o->guest_given = rd_kafka_event_error(event)
                             == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
            owners_guest_rebalance(o->guest, rd_kafka_event_error(event),
                                   rd_kafka_event_topic_partition_list(event),
                                   kafka);
        }
        rd_kafka_event_destroy(event);
    }

    if (!rd_kafka_consumer_closed(o->guest)
        && now_mono_ms() < o->guest_until)
    {
        return;
    }

    rd_kafka_queue_destroy(o->leaving);
    o->leaving = NULL;
    kafka_member_drop(&o->guest, o->guest_was_assigned);
    kafka_owners_expect(kafka);
}


/* What an answer leads to. */
static void
owners_judge(kafka_t *kafka, int missing)
{
    kafka_owners_t  *o = &kafka->owners;
    err_t            err;

    if (missing == 0) {
        o->guests = 0;
        return;
    }

    if (missing < 0 || o->found == 0) {
        o->found = missing > 0 ? missing : 0;
        owners_look_again(o);
        return;
    }

    log_warn("kafka", "partitions are without an owner, the group is called",
             LS("topic", kafka->topic), LI("partitions", missing));

    o->found = 0;
    o->guests += o->guests < OWNERS_BACKOFF;

    if (owners_guest_open(kafka, &err) != RC_OK) {
        log_error("kafka", "the group can't be called",
                  LS("reason", err.text));
        owners_look_again(o);
    }
}


void
kafka_owners_serve(kafka_t *kafka)
{
    kafka_owners_t    *o = &kafka->owners;
    rd_kafka_event_t  *event;
    int                missing;

    if (o->guest != NULL) {
        owners_guest_serve(kafka);
        return;
    }

    if (o->answers != NULL) {
        event = rd_kafka_queue_poll(o->answers, 0);

        if (event != NULL) {
            missing = owners_answer(kafka, event);
            rd_kafka_event_destroy(event);
            rd_kafka_queue_destroy(o->answers);
            o->answers = NULL;
            owners_judge(kafka, missing);
        }
        return;
    }

    if (o->look_at != 0 && now_mono_ms() >= o->look_at) {
        owners_ask(kafka);
    }
}


void
kafka_owners_close(kafka_t *kafka)
{
    kafka_owners_t *o = &kafka->owners;

    if (o->answers != NULL) {
        rd_kafka_queue_destroy(o->answers);
        o->answers = NULL;
    }

    /* Told to leave; the handle is left to the end of the process. */
    if (o->guest != NULL && o->leaving == NULL) {
        owners_guest_leave(o);
    }

    if (o->leaving != NULL) {
        rd_kafka_queue_destroy(o->leaving);
        o->leaving = NULL;
    }

    o->guest = NULL;
}
