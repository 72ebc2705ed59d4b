/*
 * kafka_stats.h: the one fact we need from librdkafka's statistics.
 *
 * The number of a topic's partitions is known to librdkafka, but its calls
 * for it block or came with 2.3.  The statistics, which arrive as an event,
 * have it in every version: topics.NAME.partitions, one member each.
 */

#ifndef SLUICE_KAFKA_STATS_H
#define SLUICE_KAFKA_STATS_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

/*
 * json, len   one statistics document, as librdkafka emits it
 * topic       its name as it is; topic names need no JSON escapes
 *
 * Returns the number of partitions, the unassigned one ("-1") left out; 0
 * when the topic or the members aren't there or the document is cut.
 */
int sluice_kafka_stats_partitions(const char *json, size_t len,
    const char *topic, size_t topic_len);

#pragma GCC visibility pop

#endif /* SLUICE_KAFKA_STATS_H */
