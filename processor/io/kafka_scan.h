/*
 * kafka_scan.h: reads a topic from here to there, and writes to one.
 *
 * For commands that look at a log beside the lanes.  Joins no group, commits
 * nothing, and reads one partition at a time.  One kafka_scan_t belongs to one
 * thread.
 */

#ifndef SLUICE_IO_KAFKA_SCAN_H
#define SLUICE_IO_KAFKA_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/record.h"
#include "io/kafka.h"

typedef struct kafka_scan_s  kafka_scan_t;

/* Connects nowhere yet.  conf is borrowed until close. */
rc_t kafka_scan_open(kafka_scan_t **scan, const kafka_conf_t *conf,
    err_t *err);
void kafka_scan_close(kafka_scan_t *scan);                 /* takes NULL */

/* How many partitions the topic has; 0: the brokers know no such topic. */
rc_t kafka_scan_partitions(kafka_scan_t *scan, const char *topic, int32_t *n,
    err_t *err);

/* The offsets of the first record and after the last committed one, now. */
rc_t kafka_scan_bounds(kafka_scan_t *scan, const char *topic,
    int32_t partition, int64_t *first, int64_t *end, err_t *err);

/*
 * First offset whose record has a timestamp at or after ts_ms; the end when
 * there is none.
 */
rc_t kafka_scan_offset_at(kafka_scan_t *scan, const char *topic,
    int32_t partition, int64_t ts_ms, int64_t *offset, err_t *err);

/*
 * Read the partition's records from `from` on, up to `end`, which was asked
 * for a moment ago.  What was being read is given up.
 */
rc_t kafka_scan_begin(kafka_scan_t *scan, const char *topic,
    int32_t partition, int64_t from, int64_t end, err_t *err);

/*
 * The next record, borrowed until the next call; NULL after the last.  Waits
 * up to a minute for brokers that are slow.
 */
rc_t kafka_scan_next(kafka_scan_t *scan, record_t **rec, err_t *err);

/*
 * Write key, value and headers of rec to topic, with the present as timestamp;
 * the partition follows from the key, as the module chooses it.  The bytes are
 * copied.  ok is set to 1 once it is acknowledged, and must live until then or
 * until close.  RC_REJECT when it is too large to be sent.
 */
rc_t kafka_scan_put(kafka_scan_t *scan, const char *topic,
    const record_t *rec, int *ok, err_t *err);

/*
 * Wait until all that was put is acknowledged.  After RC_RETRY that is not so,
 * and some may have been written all the same; nothing is under way any more.
 */
rc_t kafka_scan_put_wait(kafka_scan_t *scan, int timeout_ms, err_t *err);

#endif /* SLUICE_IO_KAFKA_SCAN_H */
