/*
 * kafka.h: a member of the consumer group, and a producer beside it.
 *
 * The only file that includes rdkafka.h.  Hides rebalancing's two forms,
 * pausing, seeking and delivery reports; knows nothing of windows.  Offsets
 * are committed only when asked.  One kafka_t belongs to one thread; no call
 * of the owner's functions comes from another: assigned() and revoked() come
 * from within kafka_poll() and kafka_close().
 */

#ifndef SLUICE_IO_KAFKA_H
#define SLUICE_IO_KAFKA_H

#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"
#include "core/record.h"

typedef struct kafka_s        kafka_t;
typedef struct kafka_batch_s  kafka_batch_t;

typedef struct {
    conf_props_t  props;       /* verbatim librdkafka properties */
} kafka_conf_t;

extern const conf_row_t kafka_rows[];

typedef struct {
    /*
     * A partition became ours: it is assigned but paused.  The owner finds
     * out where to begin and calls kafka_start(); until then nothing of it is
     * delivered.
     */
    void  (*assigned)(void *ctx, int32_t partition);

    /*
     * It is about to be taken away, in order (lost == 0: commits still work)
     * or already was (lost == 1: do nothing but forget).  Where the log no
     * longer has the offset to read, revoked(lost) and assigned() come one
     * after the other.
     */
    void  (*revoked)(void *ctx, int32_t partition, int lost);
} kafka_events_t;

typedef struct {
    const char  *topic;
    const char  *instance_id;       /* static membership */
    size_t       fetch_bytes;       /* bound of what is fetched ahead; an
                                       answer more for each broker may come */
    const char  *group;             /* NULL: group.id as configured */
} kafka_member_t;

/*
 * Properties are checked without connecting; group.id and bootstrap.servers
 * are required, and what we own (enable.auto.commit, auto.offset.reset,
 * partition.assignment.strategy, enable.partition.eof, group.instance.id ...)
 * is refused.  RC_OK or RC_REJECT.
 */
rc_t kafka_check(const kafka_conf_t *conf, err_t *err);
const char *kafka_group(const kafka_conf_t *conf);         /* group.id */

/*
 * conf is borrowed until close; member and events are copied.  Without events
 * no group is joined: bounds, offset_at, look and find are what is left.
 */
rc_t kafka_open(kafka_t **kafka, const kafka_conf_t *conf,
    const kafka_member_t *member, const kafka_events_t *events, void *ctx,
    err_t *err);

/* Leaves the group in order: revoked() is called for what is held. */
void kafka_close(kafka_t *kafka);

/*
 * Wait up to timeout_ms and return records of ONE partition in offset order,
 * at most max_records and max_bytes; the rest is kept for the next call.
 * NULL when there is nothing.  Serves rebalances, logs and delivery reports.
 * The batch's records are borrowed until kafka_batch_free().
 */
kafka_batch_t *kafka_poll(kafka_t *kafka, int timeout_ms, size_t max_records,
    size_t max_bytes);
int32_t kafka_batch_partition(const kafka_batch_t *batch);
record_t *kafka_batch_records(kafka_batch_t *batch, size_t *n);
void kafka_batch_free(kafka_batch_t *batch);

/*
 * Deliver from offset on, and from nowhere else: whatever of the partition
 * was fetched or kept before is dropped.  Also resumes.  The same call begins
 * a partition and rewinds it.  RC_FENCED when the partition is not ours.
 */
rc_t kafka_start(kafka_t *kafka, int32_t partition, int64_t offset,
    err_t *err);

/* Nothing of it is delivered until kafka_start(); what was kept is dropped. */
void kafka_pause(kafka_t *kafka, int32_t partition);

/*
 * Position: the offset after the last delivered record, or after the end that
 * the consumer reached (control records included); -1 before the first.
 */
int64_t kafka_position(const kafka_t *kafka, int32_t partition);

/*
 * The first offset that may hold a record which is not delivered; -1: not
 * known.
 */
int64_t kafka_next(const kafka_t *kafka, int32_t partition);

/* Offset and time of the record to be delivered next; 0: none is here. */
int kafka_head(const kafka_t *kafka, int32_t partition, int64_t *offset,
    int64_t *ts_ms);

/* Whether the group gave us something, if only nothing. */
int kafka_is_member(const kafka_t *kafka);

/*
 * Asks the leader now, 5 s at most.  first and end as of the answer; end is
 * what a reader of committed records gets to see.
 */
rc_t kafka_bounds(kafka_t *kafka, int32_t partition, int64_t *first,
    int64_t *end, err_t *err);

/*
 * First offset whose record's timestamp is >= ts_ms; the end offset when
 * there is none.
 */
rc_t kafka_offset_at(kafka_t *kafka, int32_t partition, int64_t ts_ms,
    int64_t *offset, err_t *err);

typedef struct {
    int64_t  offset;               /* -1: the log ends there */
    int64_t  ts_ms;
    char     id[RECORD_ID_MAX + 1];        /* ce_id; "": none to be read */
} kafka_seen_t;

/*
 * The first record at or after offset, read now, 5 s at most; reading goes on
 * as before.  RC_RETRY also when the log no longer has the offset.
 */
rc_t kafka_look(kafka_t *kafka, int32_t partition, int64_t offset,
    kafka_seen_t *seen, err_t *err);

/*
 * The offset that is committed for the group, or -1: there is none.  note is
 * the text that was committed with it, "" when there is none; 5 s at most.
 */
rc_t kafka_committed_at(kafka_t *kafka, int32_t partition, int64_t *offset,
    char *note, size_t note_size, err_t *err);

/*
 * The first of the n records from offset on that has this id; seen->offset is
 * -1 when there is none.
 */
rc_t kafka_find(kafka_t *kafka, int32_t partition, int64_t offset, size_t n,
    const char *id, kafka_seen_t *seen, err_t *err);

/* Asynchronous; a failure is logged and the next commit makes up for it. */
void kafka_commit(kafka_t *kafka, int32_t partition, int64_t offset);
void kafka_commit_note(kafka_t *kafka, int32_t partition, int64_t offset,
    const char *note);

/* Synchronous, for revoked(): bounded by timeout_ms. */
rc_t kafka_commit_wait(kafka_t *kafka, int32_t partition, int64_t offset,
    int timeout_ms, err_t *err);

rc_t kafka_commit_note_wait(kafka_t *kafka, int32_t partition, int64_t offset,
    const char *note, int timeout_ms, err_t *err);

typedef struct {
    const char  *name;
    const char  *value;         /* NUL-terminated */
} kafka_extra_t;

/*
 * Produce rec as it is (key, value, headers) with extra headers, n of them, to
 * topic.  Its timestamp is the present; the record's own is in the header
 * error-timestamp, since the topic's bounds could refuse it.  RC_REJECT when
 * it is too large to be sent.
 *
 * kafka_send_wait() returns RC_OK when all that were sent since the last wait
 * are acknowledged.  After RC_RETRY some may have been written all the same.
 */
rc_t kafka_send(kafka_t *kafka, const char *topic, const record_t *rec,
    const kafka_extra_t *extra, size_t n, err_t *err);
rc_t kafka_send_wait(kafka_t *kafka, int timeout_ms, err_t *err);

/* A record of our own: key, value and headers of rec, and nothing else. */
rc_t kafka_produce(kafka_t *kafka, const char *topic, const record_t *rec,
    err_t *err);

/*
 * Where logs end, asked by another thread than a lane's.  Each end is -1 where
 * no leader said it within timeout_ms; a reader of committed records sees no
 * more than that.  topic is borrowed.
 */
typedef struct kafka_ends_s  kafka_ends_t;

typedef struct {
    const char  *topic;
    int32_t      partition;
    int64_t      end;
} kafka_end_t;

rc_t kafka_ends_open(kafka_ends_t **ends, const kafka_conf_t *conf,
    err_t *err);
void kafka_ends_ask(kafka_ends_t *ends, kafka_end_t *list, size_t n,
    int timeout_ms);
void kafka_ends_close(kafka_ends_t *ends);

/*
 * For -t: brokers reachable, the topics exist, and the timestamp bounds of
 * the uploads topic fit lateness_ms (before + after + 5 s <= lateness):
 * RC_RETRY, RC_REJECT, or RC_OK with a warning in err->text when not empty.
 */
rc_t kafka_probe(const kafka_conf_t *conf, const char *const *topics,
    size_t ntopics, int64_t lateness_ms, err_t *err);

#endif /* SLUICE_IO_KAFKA_H */
