/*
 * kafka_local.h: what the files of io/kafka share; nobody else includes it.
 *
 * A member is two consumers of librdkafka, and a producer once it is needed:
 *
 *   group   is the member of the consumer group: it joins, heartbeats and
 *           commits.  What it is assigned stays paused: it fetches nothing.
 *   reader  has no group.  It fetches by the plain consumer calls, which begin
 *           and end a partition at an offset, at any time, alone.
 *
 * One handle can't do both well.  A paused partition of a group consumer can
 * be sought only while its fetcher is in certain states, not at all after an
 * "offset out of range", and taking it out of the assignment and in again
 * would answer a rebalance that may be waiting at that moment.
 *
 *   kafka.c        open and close, poll, the records kept for later
 *   kafka_group.c  the group: rebalances, commits
 *   kafka_owners.c partitions that the group has left without an owner
 *   kafka_reader.c the reader: begin, end, bounds
 *   kafka_look.c   a single record, by a third consumer for a while
 *   kafka_conf.c   properties
 *   kafka_send.c   the producer
 *   kafka_probe.c  -t
 *   kafka_ends.c   a third consumer, for the monitor's thread
 */

#ifndef SLUICE_IO_KAFKA_LOCAL_H
#define SLUICE_IO_KAFKA_LOCAL_H

#include <librdkafka/rdkafka.h>

#include "io/kafka.h"

#define KAFKA_QUERY_MS   5000     /* a question to a broker */
#define KAFKA_RETRY_MS   1000     /* before a partition is read again */
#define KAFKA_REJOIN_MS  10000    /* before a fenced member joins again, */
#define KAFKA_AGAIN_MS   1000     /* the first time in */
#define KAFKA_CALM_MS    60000
#define KAFKA_CLOSE_MS   5000
#define KAFKA_END_MS     1000     /* of these, for a group that may be ending */
#define KAFKA_WARNINGS   8


/* An assigned partition. */
typedef struct {
    int32_t               id;
    int                   reading;
    int64_t               expected;    /* the next offset to keep */
    int64_t               position;    /* as kafka_position() tells it */
    int64_t               eof;         /* end behind what is kept, or -1 */
    int64_t               end;         /* the last end reached, or -1 */
    int64_t               retry_at;    /* read again then; 0: no */

    rd_kafka_message_t  **kept;        /* owned, in order of offset */
    size_t                first, n, cap;
    size_t                bytes;
} kafka_part_t;


/* What is known of the group's other members. */
typedef struct {
    int64_t               look_at;     /* 0: no need to */
    int                   found;       /* without an owner, at the last look */
    rd_kafka_queue_t     *answers;     /* NULL: nothing is asked */
    rd_kafka_t           *guest;       /* NULL: nobody is called */
    int                   guest_was_assigned;
    int                   guest_given;         /* while it leaves */
    int64_t               guest_until;
    rd_kafka_queue_t     *leaving;     /* the guest's; NULL: it joins yet */
    unsigned int          guests;      /* in a row, that didn't help */
} kafka_owners_t;


struct kafka_s {
    const kafka_conf_t   *conf;
    kafka_events_t        events;
    void                 *ctx;
    char                 *topic;
    char                 *group_id;    /* "": as configured */
    char                 *instance_id;
    size_t                fetch_bytes;

    rd_kafka_t           *group;       /* NULL after a fatal error */
    int                   was_assigned; /* group, if only nothing */
    int64_t               rejoin_at;
    int64_t               fatal_at;    /* the last time; 0: never */
    kafka_owners_t        owners;

    rd_kafka_t           *reader;
    rd_kafka_topic_t     *reader_topic;
    rd_kafka_queue_t     *fetched;     /* of all partitions */
    size_t                queue_bytes; /* as many librdkafka queues */
    int                   nudge;       /* it has to be woken: before 2.2 */

    kafka_part_t        **parts;
    size_t                nparts;
    size_t                turn;        /* whose records are handed out next */
    size_t                kept_bytes;

    rd_kafka_t           *looker;      /* NULL while nothing is looked at */
    rd_kafka_topic_t     *looker_topic;
    int64_t               looked_at;

    rd_kafka_t           *producer;    /* NULL until something is sent */
    size_t                unacked;
    err_t                 send_err;    /* the first failure since a wait */

    struct {
        int               code;
        int64_t           at;
    } warned[KAFKA_WARNINGS];          /* errors logged of late */
};


typedef enum { KAFKA_GROUP, KAFKA_READER, KAFKA_PRODUCER } kafka_kind_e;

/* kafka.c */
kafka_part_t *kafka_part_find(const kafka_t *kafka, int32_t partition);
kafka_part_t *kafka_part_add(kafka_t *kafka, int32_t partition);
void kafka_part_remove(kafka_t *kafka, int32_t partition);
void kafka_part_drop_kept(kafka_t *kafka, kafka_part_t *part);
void kafka_warn(kafka_t *kafka, int code, const char *msg, const char *text);

/* kafka_group.c */
rc_t kafka_group_open(kafka_t *kafka, err_t *err);
void kafka_group_serve(kafka_t *kafka);
void kafka_group_close(kafka_t *kafka);

typedef void (*kafka_rebalance_f)(rd_kafka_t *rk, rd_kafka_resp_err_t code,
    rd_kafka_topic_partition_list_t *list, void *kafka);

/* A member that subscribes to the topic; instance_id "": one without a name.
 * *rk is NULL when it fails. */
rc_t kafka_member_open(kafka_t *kafka, const char *instance_id,
    kafka_rebalance_f rebalance, rd_kafka_t **rk, err_t *err);

/* Destroys a member that has left, or need not; *rk is NULL then. */
void kafka_member_drop(rd_kafka_t **rk, int was_assigned);

/* kafka_owners.c */
void kafka_owners_expect(kafka_t *kafka);   /* an assignment has come */
void kafka_owners_serve(kafka_t *kafka);
void kafka_owners_close(kafka_t *kafka);

/* kafka_reader.c */
rc_t kafka_reader_open(kafka_t *kafka, err_t *err);
void kafka_reader_close(kafka_t *kafka);
rc_t kafka_reader_begin(kafka_t *kafka, kafka_part_t *part, int64_t offset,
    err_t *err);
void kafka_reader_end(kafka_t *kafka, kafka_part_t *part);
void kafka_reader_pull(kafka_t *kafka, int timeout_ms);
void kafka_reader_serve(kafka_t *kafka);

/* kafka_look.c */
void kafka_look_serve(kafka_t *kafka);
void kafka_look_close(kafka_t *kafka);

/* kafka_conf.c: owned by the caller until rd_kafka_new() takes it. */
rc_t kafka_conf_new(rd_kafka_conf_t **rkc, const kafka_conf_t *conf,
    kafka_kind_e kind, err_t *err);
rc_t kafka_conf_put(rd_kafka_conf_t *rkc, const char *key, const char *value,
    err_t *err);
rc_t kafka_handle_new(rd_kafka_t **rk, rd_kafka_conf_t *rkc,
    kafka_kind_e kind, err_t *err);

/* kafka_send.c */
typedef void (*kafka_report_f)(rd_kafka_t *rk, const rd_kafka_message_t *msg,
    void *opaque);

/* A producer; each message's report gets opaque. */
rc_t kafka_producer_open(rd_kafka_t **producer, const kafka_conf_t *conf,
    kafka_report_f report, void *opaque, err_t *err);

/* Throw away what is under way, with its reports, and the handle. */
void kafka_producer_drop(rd_kafka_t **producer);

void kafka_send_serve(kafka_t *kafka);
void kafka_send_close(kafka_t *kafka);

#endif /* SLUICE_IO_KAFKA_LOCAL_H */
