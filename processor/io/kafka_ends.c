/*
 * kafka_ends.c: where logs end, for who must not wait for a lane.
 *
 * Owns a third consumer, which fetches nothing and is no member: it asks the
 * leaders, one question to each for all its partitions.  A lane's own handles
 * belong to its thread, and what they know of the end is as old as their last
 * fetch, which in a partition that stalls is as old as the trouble.
 */

#include "io/kafka_local.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"

struct kafka_ends_s {
    rd_kafka_t  *rk;
};


/* The lanes' handles have said it already. */
static void
kafka_ends_log(const rd_kafka_t *rk, int level, const char *fac,
    const char *buf)
{
    (void) rk;

    log_debug("kafka", "librdkafka", LI("level", level), LS("fac", fac),
              LS("text", buf));
}


rc_t
kafka_ends_open(kafka_ends_t **out, const kafka_conf_t *conf, err_t *err)
{
    kafka_ends_t     *ends = mem_zalloc(sizeof(*ends));
    rd_kafka_conf_t  *rkc;
    rc_t              rc;

    rc = kafka_conf_new(&rkc, conf, KAFKA_READER, err);

    if (rc == RC_OK) {
        rd_kafka_conf_set_log_cb(rkc, kafka_ends_log);
        rc = kafka_handle_new(&ends->rk, rkc, KAFKA_READER, err);
    }

    if (rc != RC_OK) {
        free(ends);
        return rc;
    }

    *out = ends;
    return RC_OK;
}


void
kafka_ends_close(kafka_ends_t *ends)
{
    if (ends != NULL) {
        rd_kafka_destroy(ends->rk);
        free(ends);
    }
}


void
kafka_ends_ask(kafka_ends_t *ends, kafka_end_t *list, size_t n,
    int timeout_ms)
{
    rd_kafka_topic_partition_list_t  *asked;
    rd_kafka_resp_err_t               code;

    asked = rd_kafka_topic_partition_list_new((int) n);

    for (size_t i = 0; i < n; i++) {
        rd_kafka_topic_partition_list_add(asked, list[i].topic,
                                          list[i].partition)->offset
            = RD_KAFKA_OFFSET_END;
    }

    (void) rd_kafka_poll(ends->rk, 0);
    code = rd_kafka_offsets_for_times(ends->rk, asked, timeout_ms);

    for (size_t i = 0; i < n; i++) {
        rd_kafka_topic_partition_t *got;

        got = rd_kafka_topic_partition_list_find(asked, list[i].topic,
                                                 list[i].partition);
        list[i].end = -1;

        if (code == RD_KAFKA_RESP_ERR_NO_ERROR && got != NULL
            && got->err == RD_KAFKA_RESP_ERR_NO_ERROR && got->offset >= 0)
        {
            list[i].end = got->offset;
        }
    }

    rd_kafka_topic_partition_list_destroy(asked);
}
