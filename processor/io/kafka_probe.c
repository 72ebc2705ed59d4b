/*
 * kafka_probe.c: whether the brokers and topics are as we need them.
 *
 * Owns the questions that -t asks.  Nothing is joined, fetched or written.
 */

#include "io/kafka_local.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/stop.h"

#define KAFKA_MARGIN_MS  5000     /* docs/design.md, section 4, "Clocks" */

#define KAFKA_TS_TYPE    "message.timestamp.type"
#define KAFKA_TS_BEFORE  "message.timestamp.before.max.ms"
#define KAFKA_TS_AFTER   "message.timestamp.after.max.ms"


/* The last thing that went wrong with a broker, as rd_kafka_poll() tells it. */
static void
kafka_probe_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    (void) rk;

    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        (void) err_set(opaque, RC_RETRY, "%s", reason);
    }
}


static rc_t
kafka_probe_topic(rd_kafka_t *rk, const char *name, const err_t *why,
    err_t *err)
{
    const rd_kafka_metadata_topic_t  *t;
    const struct rd_kafka_metadata   *meta = NULL;
    rd_kafka_resp_err_t               code;
    rd_kafka_topic_t                 *topic;
    rc_t                              rc = RC_OK;

    topic = rd_kafka_topic_new(rk, name, NULL);
    if (topic == NULL) {
        return err_set(err, RC_REJECT, "kafka: topic %s: %s", name,
                       rd_kafka_err2str(rd_kafka_last_error()));
    }

    code = rd_kafka_metadata(rk, 0, topic, &meta,
                             (int) stop_left(KAFKA_QUERY_MS));

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void) rd_kafka_poll(rk, 0);
        rc = err_set(err, RC_RETRY, "kafka: no answer from the brokers: %s",
                     why->text[0] != '\0' ? why->text
                                          : rd_kafka_err2str(code));
        goto done;
    }

    t = meta->topic_cnt == 1 ? &meta->topics[0] : NULL;
    code = t != NULL ? t->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;

    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        rc = err_set(err, RC_REJECT, "kafka: topic %s doesn't exist", name);
    } else if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rc = err_set(err, RC_RETRY, "kafka: topic %s: %s", name,
                     rd_kafka_err2str(code));
    }

done:
    if (meta != NULL) {
        rd_kafka_metadata_destroy(meta);
    }
    rd_kafka_topic_destroy(topic);
    return rc;
}


/* Asks for a topic's settings.  *event is owned by the caller, or NULL. */
static rd_kafka_resp_err_t
kafka_probe_describe(rd_kafka_t *rk, const char *name,
    rd_kafka_event_t **event, const rd_kafka_ConfigEntry_t ***entries,
    size_t *n)
{
    rd_kafka_queue_t                         *queue = rd_kafka_queue_new(rk);
    rd_kafka_AdminOptions_t                  *options;
    rd_kafka_ConfigResource_t                *res;
    rd_kafka_resp_err_t                       code;
    const rd_kafka_ConfigResource_t         **found;
    char                                      why[200];
    size_t                                    count;

    options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    (void) rd_kafka_AdminOptions_set_request_timeout(options, KAFKA_QUERY_MS,
                                                     why, sizeof(why));

    res = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    rd_kafka_DescribeConfigs(rk, &res, 1, options, queue);
    rd_kafka_ConfigResource_destroy(res);
    rd_kafka_AdminOptions_destroy(options);

    *n = 0;
    *entries = NULL;
    *event = rd_kafka_queue_poll(queue,
                                 (int) stop_left(KAFKA_QUERY_MS + 1000));
    rd_kafka_queue_destroy(queue);

    if (*event == NULL) {
        return RD_KAFKA_RESP_ERR__TIMED_OUT;
    }

    code = rd_kafka_event_error(*event);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return code;
    }

    found = rd_kafka_DescribeConfigs_result_resources(
                       rd_kafka_event_DescribeConfigs_result(*event), &count);
    if (count != 1) {
        return RD_KAFKA_RESP_ERR__BAD_MSG;
    }

    code = rd_kafka_ConfigResource_error(found[0]);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        *entries = rd_kafka_ConfigResource_configs(found[0], n);
    }
    return code;
}


static const char *
kafka_probe_entry(const rd_kafka_ConfigEntry_t **entries, size_t n,
    const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0) {
            return rd_kafka_ConfigEntry_value(entries[i]);
        }
    }
    return NULL;
}


/*
 * Whether what the topic accepts can be late.  Unknown bounds (brokers before
 * 3.6, Event Hubs, no right to describe) are a warning: the promise is weaker
 * then, but holds for fronts with right clocks.
 */
static rc_t
kafka_probe_bounds(rd_kafka_t *rk, const char *name, int64_t lateness_ms,
    err_t *err)
{
    const rd_kafka_ConfigEntry_t  **entries;
    const char                     *type, *before, *after;
    rd_kafka_resp_err_t             code;
    rd_kafka_event_t               *event;
    int64_t                         b, a;
    size_t                          n;
    rc_t                            rc = RC_OK;

    code = kafka_probe_describe(rk, name, &event, &entries, &n);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void) err_set(err, RC_OK, "kafka: the settings of topic %s can't be "
                       "read: %s", name, rd_kafka_err2str(code));
        goto done;
    }

    type = kafka_probe_entry(entries, n, KAFKA_TS_TYPE);
    before = kafka_probe_entry(entries, n, KAFKA_TS_BEFORE);
    after = kafka_probe_entry(entries, n, KAFKA_TS_AFTER);

    if (type != NULL && strcmp(type, "LogAppendTime") == 0) {
        goto done;
    }
    if (before == NULL || after == NULL) {
        (void) err_set(err, RC_OK, "kafka: topic %s has no bounds for "
                       "timestamps: a front with a wrong clock makes records "
                       "late", name);
        goto done;
    }

    b = strtoll(before, NULL, 10);
    a = strtoll(after, NULL, 10);

    if (b > lateness_ms || a > lateness_ms
        || b + a + KAFKA_MARGIN_MS > lateness_ms)
    {
        (void) err_set(err, RC_OK, "kafka: topic %s accepts what may be late: "
                       KAFKA_TS_BEFORE " %" PRId64 " + " KAFKA_TS_AFTER
                       " %" PRId64 " + %d is more than allowed_lateness, "
                       "%" PRId64 " ms", name, b, a, KAFKA_MARGIN_MS,
                       lateness_ms);
    }

done:
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    return rc;
}


rc_t
kafka_probe(const kafka_conf_t *conf, const char *const *topics,
    size_t ntopics, int64_t lateness_ms, err_t *err)
{
    rd_kafka_conf_t  *rkc;
    rd_kafka_t       *rk;
    err_t             why = { "" };
    rc_t              rc;

    rc = kafka_check(conf, err);
    if (rc == RC_OK) {
        rc = kafka_conf_new(&rkc, conf, KAFKA_READER, err);
    }
    if (rc != RC_OK) {
        return rc;
    }

    rd_kafka_conf_set_error_cb(rkc, kafka_probe_error);
    rd_kafka_conf_set_opaque(rkc, &why);

    rc = kafka_handle_new(&rk, rkc, KAFKA_READER, err);
    if (rc != RC_OK) {
        return rc;
    }

    err->text[0] = '\0';
    for (size_t i = 0; i < ntopics && rc == RC_OK; i++) {
        rc = kafka_probe_topic(rk, topics[i], &why, err);
    }
    if (rc == RC_OK && ntopics > 0) {
        rc = kafka_probe_bounds(rk, topics[0], lateness_ms, err);
    }

    rd_kafka_destroy(rk);
    return rc;
}
