/*
 * ngx_http_sluice_kafka_stall.c: partitions that take nothing.
 *
 * Owns the judgement whether a message may wait for its partition, and what
 * the log says of that.  What waits, and when it goes, is
 * ngx_http_sluice_kafka_gate.c's.
 *
 * librdkafka never gives a message up, so what it has for a partition that is
 * away stays in the budget, and what waits behind that stays until its
 * upload's deadline.  Once one message has waited for so long, others need
 * not.  And where it is one partition alone that takes nothing, its messages
 * may not fill the budget that the others need.
 */

#include "ngx_http_sluice_kafka.h"

/* A partition that has reported nothing for this many ms, while others have,
 * gets no more than an eighth of sluice_inflight: by its files' bytes, and the
 * slabs in which they lie are often twice as large. */
#define NGX_HTTP_SLUICE_KAFKA_SILENT   1000
#define NGX_HTTP_SLUICE_KAFKA_PART     8


/* Of a message that the current producer has. */
void
ngx_http_sluice_kafka_gate_reported(ngx_http_sluice_gate_t *gate)
{
    ngx_http_sluice_kafka_t  *kafka;

    gate->inflight--;
    gate->alone = gate->alone && gate->inflight > 0;
    gate->heard = ngx_current_msec;

    if (!gate->stalled) {
        return;
    }

    kafka = gate->topic->kafka;
    kafka->stalled--;
    gate->stalled = 0;

    ngx_log_error(NGX_LOG_NOTICE, kafka->open.log, 0,
                  "sluice: partition takes messages again name=%V topic=%V "
                  "partition=%D", &kafka->name, &gate->topic->name,
                  gate->partition);
}


ngx_uint_t
ngx_http_sluice_kafka_refuses(ngx_http_sluice_gate_t *gate)
{
    size_t                    most;
    ngx_msec_t                silent;
    ngx_http_sluice_topic_t  *topic;
    ngx_http_sluice_kafka_t  *kafka;

    topic = gate->topic;
    kafka = topic->kafka;

    /* nobody's, when partitions are known */
    if (gate->inflight == 0 || (gate == &topic->any && topic->partitions > 0))
    {
        return 0;
    }

    most = (size_t) kafka->smcf->inflight / NGX_HTTP_SLUICE_KAFKA_PART;
    silent = ngx_current_msec - gate->heard;

    if (silent < kafka->ack_timeout
        && (gate->bytes < most
            || (ngx_msec_int_t) (kafka->delivered - gate->heard)
               < NGX_HTTP_SLUICE_KAFKA_SILENT))
    {
        return 0;
    }

    if (!gate->stalled) {
        gate->stalled = 1;
        kafka->stalled++;

        ngx_log_error(NGX_LOG_WARN, kafka->open.log, 0,
                      "sluice: partition takes nothing name=%V topic=%V "
                      "partition=%D silent=%Mms waiting=%uz", &kafka->name,
                      &topic->name, gate->partition, silent, gate->bytes);
    }

    return 1;
}
