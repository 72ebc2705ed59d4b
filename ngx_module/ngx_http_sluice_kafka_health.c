/*
 * ngx_http_sluice_kafka_health.c: what is thought of the brokers.
 *
 * Owns the judgement whether an upload is worth reading, and the log lines of
 * trouble: the first of a run aloud, the rest counted or at info.
 *
 * "All brokers down" has no opposite, and is also said when a broker closed
 * an idle connection.  So it only raises suspicion: a broker is asked for
 * something, at once and then each second, and uploads are refused when none
 * answers, until one does or a delivery succeeds.
 */

#include "ngx_http_sluice_kafka.h"

#define NGX_HTTP_SLUICE_KAFKA_PROBE  1000            /* ms */
#define NGX_HTTP_SLUICE_KAFKA_FRESH  5000


static void ngx_http_sluice_kafka_heard(ngx_http_sluice_kafka_t *kafka);


ngx_uint_t
ngx_http_sluice_kafka_ready(ngx_http_sluice_topic_t *topic)
{
    return topic->kafka->producer != NULL && !topic->kafka->down;
}


ngx_str_t *
ngx_http_sluice_kafka_name(ngx_http_sluice_kafka_t *kafka)
{
    return &kafka->name;
}


/* The metrics, after each change of mind. */
void
ngx_http_sluice_kafka_tell(ngx_http_sluice_kafka_t *kafka)
{
    ngx_http_sluice_metrics_kafka(kafka->index, &kafka->name,
                                  kafka->producer != NULL && !kafka->down);
}


/* A broker took something: whatever was thought of them is out of date. */
void
ngx_http_sluice_kafka_works(ngx_http_sluice_kafka_t *kafka)
{
    if (kafka->failures > 0) {
        ngx_log_error(NGX_LOG_NOTICE, kafka->open.log, 0,
                      "sluice: delivery works again name=%V failed=%ui",
                      &kafka->name, kafka->failures);
    }

    kafka->failures = 0;
    kafka->backoff = 0;

    ngx_http_sluice_kafka_heard(kafka);
}


/* A broker answered, whatever it was. */
static void
ngx_http_sluice_kafka_heard(ngx_http_sluice_kafka_t *kafka)
{
    kafka->heard = ngx_current_msec;
    kafka->was_heard = 1;
    kafka->suspect = 0;
    kafka->silent = 0;

    if (kafka->down) {
        kafka->down = 0;
        ngx_http_sluice_kafka_tell(kafka);
    }
}


ngx_int_t
ngx_http_sluice_kafka_health(ngx_http_sluice_kafka_t *kafka)
{
    if (kafka->topics.nelts == 0) {
        return NGX_DECLINED;
    }

    if (kafka->producer == NULL || kafka->down || kafka->silent) {
        return NGX_ERROR;
    }

    if (kafka->was_heard && !kafka->suspect
        && ngx_current_msec - kafka->heard < NGX_HTTP_SLUICE_KAFKA_FRESH)
    {
        return NGX_OK;
    }

    if (!kafka->producer->probing) {
        kafka->probed = ngx_current_msec;
        ngx_http_sluice_kafka_ask(kafka->producer, 1);
    }

    return NGX_AGAIN;
}


/* The first of a run is logged, the rest counted. */
void
ngx_http_sluice_kafka_failed(ngx_http_sluice_kafka_t *kafka,
    ngx_http_sluice_topic_t *topic, rd_kafka_resp_err_t err)
{
    ngx_http_sluice_count(failures, 1);

    if (kafka->failures++ == 0) {
        ngx_log_error(NGX_LOG_ERR, kafka->open.log, 0,
                      "sluice: delivery failed name=%V topic=%V err=\"%s\"",
                      &kafka->name, &topic->name, rd_kafka_err2str(err));
    }
}


void
ngx_http_sluice_kafka_error(ngx_http_sluice_producer_t *producer,
    rd_kafka_event_t *rkev)
{
    char                      errstr[512];
    ngx_uint_t                level;
    rd_kafka_resp_err_t       err;
    ngx_http_sluice_kafka_t  *kafka;

    kafka = producer->kafka;
    err = rd_kafka_event_error(rkev);
    ngx_http_sluice_count(errors, 1);

    if (err == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_event_error_is_fatal(rkev))
    {
        if (producer->is_retired) {
            return;
        }

        err = rd_kafka_fatal_error(producer->rk, errstr, sizeof(errstr));
        ngx_http_sluice_count(replaced, 1);

        ngx_log_error(NGX_LOG_ERR, kafka->open.log, 0,
                      "sluice: kafka producer replaced name=%V code=%s "
                      "err=\"%s\" unreported=%ui", &kafka->name,
                      rd_kafka_err2name(err), errstr, producer->messages);

        ngx_http_sluice_kafka_retire(producer);
        return;
    }

    /* each attempt to connect repeats it: the first is news */
    level = kafka->suspect ? NGX_LOG_INFO : NGX_LOG_WARN;

    if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && !producer->is_retired) {
        kafka->suspect = 1;

        if (!kafka->probe.timer_set) {
            ngx_http_sluice_kafka_probe(&kafka->probe);
        }
    }

    ngx_log_error(level, kafka->open.log, 0,
                  "sluice: kafka name=%V code=%s err=\"%s\"", &kafka->name,
                  rd_kafka_err2name(err), rd_kafka_event_error_string(rkev));
}


void
ngx_http_sluice_kafka_log(ngx_http_sluice_kafka_t *kafka,
    rd_kafka_event_t *rkev)
{
    int          severity;
    u_char      *p, text[512];
    ngx_uint_t   level;
    const char  *facility, *str;

    if (rd_kafka_event_log(rkev, &facility, &str, &severity) != 0) {
        return;
    }

    /* brokers send some of these words */
    (void) ngx_cpystrn(text, (u_char *) str, sizeof(text));

    for (p = text; *p != '\0'; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            *p = '?';
        }
    }

    /* syslog's 0-7 are nginx's 1-8; the error events say it aloud */
    level = ngx_max(severity + 1, NGX_LOG_WARN);

    /* in trouble that lasts it says the same each second */
    if (kafka->suspect || kafka->stalled > 0 || kafka->failures > 1) {
        level = ngx_max(level, NGX_LOG_INFO);
    }

    ngx_log_error(level, kafka->open.log, 0,
                  "sluice: librdkafka name=%V facility=%s %s", &kafka->name,
                  facility, text);
}


void
ngx_http_sluice_kafka_probe(ngx_event_t *ev)
{
    ngx_http_sluice_kafka_t     *kafka = ev->data;
    ngx_http_sluice_producer_t  *producer;

    producer = kafka->producer;

    if (producer == NULL || producer->probing || !kafka->suspect) {
        return;
    }

    kafka->probed = ngx_current_msec;
    ngx_http_sluice_kafka_ask(producer, 1);
}


void
ngx_http_sluice_kafka_probed(ngx_http_sluice_producer_t *producer,
    rd_kafka_resp_err_t err, const char *reason)
{
    ngx_http_sluice_kafka_t  *kafka;

    kafka = producer->kafka;
    producer->probing = 0;

    if (producer != kafka->producer) {
        return;
    }

    ngx_post_event(&kafka->smcf->told, &ngx_posted_events);

    /* that the topics' settings may not be read is an answer too */
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {

        if (kafka->down) {
            ngx_log_error(NGX_LOG_NOTICE, kafka->open.log, 0,
                          "sluice: kafka answers again name=%V",
                          &kafka->name);
        }

        ngx_http_sluice_kafka_heard(kafka);
        return;
    }

    /* a delivery says more: it may have been one broker of several */
    if (!kafka->suspect
        && kafka->was_heard
        && (ngx_msec_int_t) (kafka->heard - kafka->probed) > 0)
    {
        return;
    }

    kafka->silent = 1;

    /* and the next question may go to another one, before uploads suffer */
    if (!kafka->suspect) {
        kafka->suspect = 1;
        ngx_http_sluice_kafka_probe(&kafka->probe);
        return;
    }

    if (!kafka->down) {
        ngx_log_error(NGX_LOG_ERR, kafka->open.log, 0,
                      "sluice: no kafka broker answers name=%V err=\"%s\"",
                      &kafka->name, reason);
    }

    kafka->down = 1;
    ngx_http_sluice_kafka_tell(kafka);

    if (!ngx_exiting) {
        ngx_add_timer(&kafka->probe, NGX_HTTP_SLUICE_KAFKA_PROBE);
    }
}
