/*
 * ngx_http_sluice_kafka_topic.c: what the brokers say of the topics.
 *
 * Owns the question, which nobody waits for, and what follows from the
 * answer: how large a location's chunks and librdkafka's batches may be, and
 * the warnings about topics that are missing or keep files badly.  Whether
 * brokers answer at all is ..._health.c's, which asks by the same call.
 *
 * nginx starts whatever is away, so a topic's limit is learned after the
 * start, and again from time to time.  A setting that is larger does not stop
 * anything: it is lowered in this worker, and the first worker says so.
 */

#include "ngx_http_sluice_kafka.h"

#define NGX_HTTP_SLUICE_TOPIC_AGAIN    300000    /* ms */
#define NGX_HTTP_SLUICE_TOPIC_RETRY    10000     /* while one is missing */
#define NGX_HTTP_SLUICE_TOPIC_WAIT     15000
#define NGX_HTTP_SLUICE_TOPIC_PROBE    2000

/* Left of a topic's limit for key, headers and the batch's own bytes: so
 * much, or an eighth of a small limit. */
#define NGX_HTTP_SLUICE_TOPIC_RESERVE  16384
#define NGX_HTTP_SLUICE_TOPIC_LEAST    1024

/* A batch no larger than this is hoped to fit a topic that tells nothing. */
#define NGX_HTTP_SLUICE_TOPIC_BATCH    65536


static void ngx_http_sluice_kafka_describe(ngx_event_t *ev);
static void ngx_http_sluice_kafka_read(ngx_http_sluice_kafka_t *kafka,
    const rd_kafka_ConfigResource_t *resource);
static void ngx_http_sluice_kafka_unread(ngx_http_sluice_topic_t *topic,
    rd_kafka_resp_err_t err);
static ngx_http_sluice_topic_t *ngx_http_sluice_kafka_find(
    ngx_http_sluice_kafka_t *kafka, const char *name);
static ngx_uint_t ngx_http_sluice_kafka_apply(ngx_http_sluice_kafka_t *kafka);
static void ngx_http_sluice_kafka_lower(ngx_http_sluice_loc_conf_t *slcf);
static size_t ngx_http_sluice_kafka_fits(ngx_http_sluice_topic_t *topic,
    size_t size);
static void ngx_http_sluice_kafka_batch(ngx_http_sluice_kafka_t *kafka);
static void ngx_http_sluice_kafka_weak(ngx_http_sluice_topic_t *topic);
static void ngx_http_sluice_kafka_rebatch(ngx_http_sluice_kafka_t *kafka,
    size_t size);
static ngx_uint_t ngx_http_sluice_kafka_level(ngx_uint_t level);

#if (NGX_HTTP_SLUICE_KAFKA_REPLICAS)
static void ngx_http_sluice_kafka_ask_replicas(
    ngx_http_sluice_producer_t *producer);
#endif


void
ngx_http_sluice_kafka_describe_init(ngx_http_sluice_kafka_t *kafka)
{
    kafka->describe.handler = ngx_http_sluice_kafka_describe;
    kafka->describe.data = kafka;
    kafka->describe.log = kafka->open.log;
    kafka->describe.cancelable = 1;
}


static void
ngx_http_sluice_kafka_describe(ngx_event_t *ev)
{
    ngx_http_sluice_kafka_t  *kafka = ev->data;

    if (kafka->producer != NULL && !kafka->exiting) {
        ngx_http_sluice_kafka_ask(kafka->producer, 0);
    }
}


void
ngx_http_sluice_kafka_ask(ngx_http_sluice_producer_t *producer,
    ngx_uint_t probe)
{
    char                         errstr[256];
    ngx_uint_t                   i, n;
    ngx_http_sluice_kafka_t     *kafka;
    rd_kafka_AdminOptions_t     *options;
    ngx_http_sluice_topic_t    **topics;
    rd_kafka_ConfigResource_t  **resources, *resource;

    kafka = producer->kafka;
    topics = kafka->topics.elts;
    n = kafka->topics.nelts;

    resources = ngx_alloc(n * sizeof(rd_kafka_ConfigResource_t *),
                          kafka->open.log);
    if (resources == NULL) {
        return;
    }

    for (i = 0; i < n; i++) {
        resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC,
                                               (char *) topics[i]->name.data);

        /* names alone are sent: a topic has some forty settings */
        (void) rd_kafka_ConfigResource_set_config(resource,
                                                  "max.message.bytes", "");
        (void) rd_kafka_ConfigResource_set_config(resource,
                                           "message.timestamp.before.max.ms",
                                           "");
        (void) rd_kafka_ConfigResource_set_config(resource,
                                                  "min.insync.replicas", "");
        resources[i] = resource;
    }

    options = rd_kafka_AdminOptions_new(producer->rk,
                                        RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);

    (void) rd_kafka_AdminOptions_set_request_timeout(options,
                                   probe ? NGX_HTTP_SLUICE_TOPIC_PROBE
                                         : NGX_HTTP_SLUICE_TOPIC_WAIT,
                                   errstr, sizeof(errstr));

    /* which of the two it was */
    rd_kafka_AdminOptions_set_opaque(options, probe ? producer : NULL);

    if (probe) {
        producer->probing = 1;

    } else {
        producer->asking = 1;
    }

    rd_kafka_DescribeConfigs(producer->rk, resources, n, options,
                             producer->events);

    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy_array(resources, n);
    ngx_free(resources);
}


void
ngx_http_sluice_kafka_described(ngx_http_sluice_producer_t *producer,
    rd_kafka_event_t *rkev)
{
    size_t                                    i, n;
    ngx_uint_t                                missing;
    rd_kafka_resp_err_t                       err;
    ngx_http_sluice_kafka_t                  *kafka;
    const rd_kafka_ConfigResource_t         **resources;
    const rd_kafka_DescribeConfigs_result_t  *result;

    kafka = producer->kafka;
    err = rd_kafka_event_error(rkev);

    if (rd_kafka_event_opaque(rkev) != NULL) {
        ngx_http_sluice_kafka_probed(producer, err,
                                     rd_kafka_event_error_string(rkev));
    } else {
        producer->asking = 0;
    }

    if (producer != kafka->producer || kafka->exiting) {
        return;
    }

    missing = 1;

    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {

        result = rd_kafka_event_DescribeConfigs_result(rkev);
        resources = rd_kafka_DescribeConfigs_result_resources(result, &n);

        for (i = 0; i < n; i++) {
            ngx_http_sluice_kafka_read(kafka, resources[i]);
        }

        missing = ngx_http_sluice_kafka_apply(kafka);

#if (NGX_HTTP_SLUICE_KAFKA_REPLICAS)
        ngx_http_sluice_kafka_ask_replicas(producer);
#endif
    }

    if (!producer->asking && !ngx_exiting) {
        ngx_add_timer(&kafka->describe, missing ? NGX_HTTP_SLUICE_TOPIC_RETRY
                                                : NGX_HTTP_SLUICE_TOPIC_AGAIN);
    }
}


static void
ngx_http_sluice_kafka_read(ngx_http_sluice_kafka_t *kafka,
    const rd_kafka_ConfigResource_t *resource)
{
    size_t                          i, n;
    ngx_int_t                       number;
    const char                     *name, *value;
    rd_kafka_resp_err_t             err;
    ngx_http_sluice_topic_t        *topic;
    const rd_kafka_ConfigEntry_t  **entries;

    topic = ngx_http_sluice_kafka_find(kafka,
                                       rd_kafka_ConfigResource_name(resource));
    if (topic == NULL) {
        return;
    }

    err = rd_kafka_ConfigResource_error(resource);

    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        ngx_http_sluice_kafka_unread(topic, err);
        return;
    }

    topic->described = 1;
    topic->err = RD_KAFKA_RESP_ERR_NO_ERROR;

    entries = rd_kafka_ConfigResource_configs(resource, &n);

    for (i = 0; i < n; i++) {

        name = rd_kafka_ConfigEntry_name(entries[i]);
        value = rd_kafka_ConfigEntry_value(entries[i]);

        if (value == NULL) {
            continue;
        }

        number = ngx_atoi((u_char *) value, ngx_strlen(value));
        if (number == NGX_ERROR) {
            continue;
        }

        if (ngx_strcmp(name, "max.message.bytes") == 0) {
            topic->limit = number;

        } else if (ngx_strcmp(name, "message.timestamp.before.max.ms") == 0) {
            topic->before = number;

        } else if (ngx_strcmp(name, "min.insync.replicas") == 0) {
            topic->min_insync = number;
        }
    }
}


/* Nothing follows from it but a warning: the brokers judge each message. */
static void
ngx_http_sluice_kafka_unread(ngx_http_sluice_topic_t *topic,
    rd_kafka_resp_err_t err)
{
    ngx_uint_t  again;

    again = topic->described && topic->err == err;

    topic->described = 1;
    topic->err = err;

    if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        topic->limit = 0;
    }

    if (again || topic->optional) {
        return;
    }

    ngx_log_error(ngx_http_sluice_kafka_level(NGX_LOG_WARN),
                  topic->kafka->open.log, 0,
                  "sluice: a topic's settings can't be read name=%V topic=%V "
                  "code=%s err=\"%s\"", &topic->kafka->name, &topic->name,
                  rd_kafka_err2name(err), rd_kafka_err2str(err));
}


static ngx_http_sluice_topic_t *
ngx_http_sluice_kafka_find(ngx_http_sluice_kafka_t *kafka, const char *name)
{
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        if (ngx_strcmp(topics[i]->name.data, name) == 0) {
            return topics[i];
        }
    }

    return NULL;
}


/* Returns whether a topic that is needed is missing. */
static ngx_uint_t
ngx_http_sluice_kafka_apply(ngx_http_sluice_kafka_t *kafka)
{
    ngx_uint_t                    i, missing;
    ngx_http_sluice_topic_t     **topics;
    ngx_http_sluice_loc_conf_t  **slcf;

    topics = kafka->topics.elts;
    slcf = kafka->locations.elts;
    missing = 0;

    for (i = 0; i < kafka->locations.nelts; i++) {
        ngx_http_sluice_kafka_lower(slcf[i]);
    }

    for (i = 0; i < kafka->topics.nelts; i++) {

        if (topics[i]->optional) {
            continue;
        }

        if (topics[i]->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
            missing = 1;
        }

#if !(NGX_HTTP_SLUICE_KAFKA_REPLICAS)
        ngx_http_sluice_kafka_weak(topics[i]);
#endif
    }

    ngx_http_sluice_kafka_batch(kafka);

    return missing;
}


/*
 * What a location's chunks may be.  Where the configuration asks for no
 * chunks and there is no topic for them, files go on whole, and the brokers
 * refuse those that are too large.
 */
static void
ngx_http_sluice_kafka_lower(ngx_http_sluice_loc_conf_t *slcf)
{
    size_t                    size, limit;
    ngx_log_t                *log;
    ngx_http_sluice_topic_t  *chunks;

    chunks = slcf->chunks;
    size = ngx_http_sluice_kafka_fits(slcf->topic, slcf->chunk_size);

    if (chunks != NULL) {
        size = ngx_http_sluice_kafka_fits(chunks, size);
    }

    if (chunks == NULL
        || (chunks->optional && (!chunks->described || chunks->err)))
    {
        size = slcf->chunk_size;

    } else if (slcf->max_file_size > (off_t) size) {
        chunks->optional = 0;
    }

    if (size == slcf->chunk_now) {
        return;
    }

    slcf->chunk_now = size;
    log = slcf->topic->kafka->open.log;

    if (size == slcf->chunk_size) {
        ngx_log_error(ngx_http_sluice_kafka_level(NGX_LOG_NOTICE), log, 0,
                      "sluice: sluice_chunk_size fits again topic=%V "
                      "size=%uz", &slcf->topic->name, size);
        return;
    }

    limit = slcf->topic->limit;

    if (limit == 0 || (chunks->limit != 0 && chunks->limit < limit)) {
        limit = chunks->limit;
    }

    ngx_log_error(ngx_http_sluice_kafka_level(NGX_LOG_WARN), log, 0,
                  "sluice: sluice_chunk_size lowered topic=%V from=%uz to=%uz "
                  "max.message.bytes=%uz in %s:%ui", &slcf->topic->name,
                  slcf->chunk_size, size, limit, slcf->conf_file,
                  slcf->conf_line);
}


/* At most as much of size as the topic takes, as far as that is known. */
static size_t
ngx_http_sluice_kafka_fits(ngx_http_sluice_topic_t *topic, size_t size)
{
    size_t  fits;

    if (topic->limit == 0) {
        return size;
    }

    fits = topic->limit - ngx_min(topic->limit / 8,
                                  NGX_HTTP_SLUICE_TOPIC_RESERVE);

    return ngx_min(size, ngx_max(fits, NGX_HTTP_SLUICE_TOPIC_LEAST));
}


/*
 * The brokers judge a batch as they do a message, and librdkafka knows one
 * size for all topics: the smallest limit binds them all.
 */
static void
ngx_http_sluice_kafka_batch(ngx_http_sluice_kafka_t *kafka)
{
    size_t                     least;
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    least = 0;
    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {

        if (!topics[i]->optional && topics[i]->limit != 0
            && (least == 0 || topics[i]->limit < least))
        {
            least = topics[i]->limit;
        }
    }

    if (least != 0 && least < kafka->producer->batch) {
        ngx_http_sluice_kafka_rebatch(kafka, least);
    }
}


static void
ngx_http_sluice_kafka_rebatch(ngx_http_sluice_kafka_t *kafka, size_t size)
{
    /* asked for before, and librdkafka would not have it */
    if (kafka->batch != 0 && kafka->batch <= size) {
        return;
    }

    ngx_log_error(ngx_http_sluice_kafka_level(NGX_LOG_NOTICE),
                  kafka->open.log, 0,
                  "sluice: batch.size lowered name=%V from=%uz to=%uz",
                  &kafka->name, kafka->producer->batch, size);

    kafka->batch = size;

    ngx_http_sluice_kafka_renew(kafka);
}


void
ngx_http_sluice_kafka_refit(ngx_http_sluice_topic_t *topic)
{
    ngx_http_sluice_kafka_t  *kafka;

    kafka = topic->kafka;

    /* an answer that may tell is on the way */
    if (topic->limit != 0 || kafka->producer == NULL
        || kafka->producer->asking
        || kafka->producer->batch <= NGX_HTTP_SLUICE_TOPIC_BATCH)
    {
        return;
    }

    ngx_http_sluice_kafka_rebatch(kafka, NGX_HTTP_SLUICE_TOPIC_BATCH);
}


ngx_uint_t
ngx_http_sluice_kafka_alone(ngx_http_sluice_topic_t *topic)
{
    return topic->limit == 0
           || topic->limit < topic->kafka->producer->batch;
}


/* Once for each state of affairs. */
static void
ngx_http_sluice_kafka_weak(ngx_http_sluice_topic_t *topic)
{
    u_char  replicas[NGX_INT_T_LEN + 1];

    if (topic->err != RD_KAFKA_RESP_ERR_NO_ERROR || topic->min_insync == 0
        || (topic->said_min_insync == topic->min_insync
            && topic->said_replicas == topic->replicas))
    {
        return;
    }

    topic->said_min_insync = topic->min_insync;
    topic->said_replicas = topic->replicas;

    if (topic->min_insync >= 2 && (topic->replicas == 0
                                   || topic->replicas >= 3))
    {
        return;
    }

    *ngx_sprintf(replicas, "%i", topic->replicas) = '\0';

    ngx_log_error(ngx_http_sluice_kafka_level(NGX_LOG_WARN),
                  topic->kafka->open.log, 0,
                  "sluice: topic is not safe against the loss of a broker "
                  "name=%V topic=%V replication=%s min.insync.replicas=%i",
                  &topic->kafka->name, &topic->name,
                  topic->replicas ? (char *) replicas : "unknown",
                  topic->min_insync);
}


/* Workers find the same: one says it. */
static ngx_uint_t
ngx_http_sluice_kafka_level(ngx_uint_t level)
{
    return (ngx_worker == 0) ? level : NGX_LOG_DEBUG;
}


#if (NGX_HTTP_SLUICE_KAFKA_REPLICAS)

/* Without 2.3's call only rd_kafka_metadata() knows them, which blocks. */
static void
ngx_http_sluice_kafka_ask_replicas(ngx_http_sluice_producer_t *producer)
{
    char                          errstr[256];
    ngx_uint_t                    i, n;
    const char                  **names;
    ngx_http_sluice_kafka_t      *kafka;
    rd_kafka_AdminOptions_t      *options;
    ngx_http_sluice_topic_t     **topics;
    rd_kafka_TopicCollection_t   *collection;

    kafka = producer->kafka;
    topics = kafka->topics.elts;
    n = 0;

    names = ngx_alloc(kafka->topics.nelts * sizeof(char *), kafka->open.log);
    if (names == NULL) {
        return;
    }

    for (i = 0; i < kafka->topics.nelts; i++) {
        if (!topics[i]->optional && topics[i]->err == 0) {
            names[n++] = (char *) topics[i]->name.data;
        }
    }

    if (n > 0) {
        options = rd_kafka_AdminOptions_new(producer->rk,
                                            RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        collection = rd_kafka_TopicCollection_of_topic_names(names, n);

        (void) rd_kafka_AdminOptions_set_request_timeout(options,
                                                 NGX_HTTP_SLUICE_TOPIC_WAIT,
                                                 errstr, sizeof(errstr));

        rd_kafka_DescribeTopics(producer->rk, collection, options,
                                producer->events);

        rd_kafka_TopicCollection_destroy(collection);
        rd_kafka_AdminOptions_destroy(options);
    }

    ngx_free(names);
}


void
ngx_http_sluice_kafka_replicas(ngx_http_sluice_producer_t *producer,
    rd_kafka_event_t *rkev)
{
    size_t                                  i, j, n, m, replicas;
    ngx_http_sluice_topic_t                *topic, **topics;
    const rd_kafka_TopicDescription_t     **descriptions;
    const rd_kafka_TopicPartitionInfo_t   **partitions;
    const rd_kafka_DescribeTopics_result_t  *result;

    /* without the right to, the other figure is judged alone */
    if (rd_kafka_event_error(rkev) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        topics = producer->kafka->topics.elts;

        for (i = 0; i < producer->kafka->topics.nelts; i++) {
            if (!topics[i]->optional) {
                ngx_http_sluice_kafka_weak(topics[i]);
            }
        }

        return;
    }

    result = rd_kafka_event_DescribeTopics_result(rkev);
    descriptions = rd_kafka_DescribeTopics_result_topics(result, &n);

    for (i = 0; i < n; i++) {

        topic = ngx_http_sluice_kafka_find(producer->kafka,
                           rd_kafka_TopicDescription_name(descriptions[i]));
        if (topic == NULL) {
            continue;
        }

        partitions = rd_kafka_TopicDescription_partitions(descriptions[i],
                                                          &m);
        topic->replicas = 0;

        /* the partition that has the fewest */
        for (j = 0; j < m; j++) {
            (void) rd_kafka_TopicPartitionInfo_replicas(partitions[j],
                                                        &replicas);
            if (topic->replicas == 0
                || (ngx_int_t) replicas < topic->replicas)
            {
                topic->replicas = replicas;
            }
        }

        ngx_http_sluice_kafka_weak(topic);
    }
}

#endif
