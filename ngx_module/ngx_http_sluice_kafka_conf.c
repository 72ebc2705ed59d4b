/*
 * ngx_http_sluice_kafka_conf.c: the sluice_kafka blocks.
 *
 * Owns what may stand in a block and what librdkafka is told beside it.
 * Starts no thread: producers are made in the workers, by
 * ngx_http_sluice_kafka.c.
 *
 * Properties go to librdkafka as they are written, so that every broker, SASL
 * and TLS option works and its own message explains a bad one.  Refused are
 * only those on which a promise of the module rests.
 */

#include "ngx_http_sluice_kafka.h"

#define NGX_HTTP_SLUICE_TOPIC_NAME  249           /* bytes, by Kafka's rule */


static char *ngx_http_sluice_kafka_property(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static char *ngx_http_sluice_kafka_refused(const char *name);
static ngx_int_t ngx_http_sluice_kafka_readable(ngx_conf_t *cf,
    const char *name, const char *path);
static char *ngx_http_sluice_kafka_defaults(ngx_conf_t *cf,
    ngx_http_sluice_kafka_t *kafka);
static char *ngx_http_sluice_kafka_trial(ngx_conf_t *cf,
    ngx_http_sluice_kafka_t *kafka);
static ngx_http_sluice_topic_t *ngx_http_sluice_kafka_topic_named(
    ngx_conf_t *cf, ngx_http_sluice_kafka_t *kafka, ngx_str_t *name);
static void ngx_http_sluice_kafka_conf_free(void *data);


typedef struct {
    const char  *name;
    const char  *value;
} ngx_http_sluice_property_t;


/* Ours unless the block says otherwise. */
static const ngx_http_sluice_property_t  ngx_http_sluice_kafka_ours[] = {
    { "client.id", "sluice" },
    { "linger.ms", "0.5" },
    { "socket.nagle.disable", "true" },
    { "socket.timeout.ms", "15000" },
    { "reconnect.backoff.max.ms", "2000" },

    /* else a question to brokers that refuse connections, such as that of
     * ..._health.c, makes librdkafka (2.0 to 2.15) connect without pause */
    { "enable.sparse.connections", "false" },

    /* from here on never the block's: see ..._refused() */
    { "acks", "all" },
    { "enable.idempotence", "true" },
    { "partitioner", "murmur2_random" },
    { "log.queue", "true" },
    { "statistics.interval.ms", "1000" },
    { "queue.buffering.max.messages", "1000000" },

    /* never: after a message that it gave up librdkafka numbers all others
     * anew, and one whose acknowledgement was lost is written once more.
     * Uploads have a deadline of their own. */
    { "message.timeout.ms", "0" },
    { NULL, NULL }
};


char *
ngx_http_sluice_kafka_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_main_conf_t  *smcf = conf;

    char                     *rv;
    ngx_str_t                *value;
    ngx_conf_t                save;
    ngx_pool_cleanup_t       *cln;
    ngx_http_sluice_kafka_t  *kafka;

    value = cf->args->elts;

    kafka = ngx_http_sluice_kafka_named(cf, smcf, &value[1]);
    if (kafka == NULL) {
        return NGX_CONF_ERROR;
    }

    if (kafka->conf != NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate sluice_kafka \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    kafka->conf_file = cf->conf_file->file.name.data;
    kafka->conf_line = cf->conf_file->line;

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    kafka->conf = rd_kafka_conf_new();
    cln->handler = ngx_http_sluice_kafka_conf_free;
    cln->data = kafka;

    rv = ngx_http_sluice_kafka_defaults(cf, kafka);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    save = *cf;
    cf->handler = ngx_http_sluice_kafka_property;
    cf->handler_conf = (void *) kafka;
    rv = ngx_conf_parse(cf, NULL);
    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_sluice_kafka_trial(cf, kafka);
}


static char *
ngx_http_sluice_kafka_property(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    ngx_http_sluice_kafka_t  *kafka = conf;

    char       *reason, *name, *text, errstr[256];
    ngx_str_t  *value;

    value = cf->args->elts;

    /* a password may so lie in a file of its own */
    if (cf->args->nelts == 2 && ngx_strcmp(value[0].data, "include") == 0) {
        return ngx_conf_include(cf, dummy, conf);
    }

    if (cf->args->nelts != 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "kafka property \"%V\" needs exactly one value",
                           &value[0]);
        return NGX_CONF_ERROR;
    }

    /* tokens of a configuration are NUL-terminated */
    name = (char *) value[0].data;
    text = (char *) value[1].data;

    reason = ngx_http_sluice_kafka_refused(name);
    if (reason != NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "kafka property \"%V\" may not be set: %s",
                           &value[0], reason);
        return NGX_CONF_ERROR;
    }

    if (rd_kafka_conf_set(kafka->conf, name, text, errstr, sizeof(errstr))
        != RD_KAFKA_CONF_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "kafka property \"%V\": %s",
                           &value[0], errstr);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_sluice_kafka_readable(cf, name, text) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(name, "message.max.bytes") == 0) {
        kafka->size_set = 1;
    }

    return NGX_CONF_OK;
}


/* Why a property is not the operator's, or NULL. */
static char *
ngx_http_sluice_kafka_refused(const char *name)
{
    ngx_uint_t  i;

    static const ngx_http_sluice_property_t  refused[] = {
        { "plugin.library.paths",
          "it would load code into nginx" },
        { "acks",
          "a file is accepted when all in-sync replicas have it" },
        { "request.required.acks",
          "a file is accepted when all in-sync replicas have it" },
        { "enable.idempotence",
          "without it a retry could store a file twice" },
        { "message.timeout.ms",
          "giving up one message could store another one twice" },
        { "delivery.timeout.ms",
          "giving up one message could store another one twice" },
        { "message.send.max.retries",
          "giving up one message could store another one twice" },
        { "retries",
          "giving up one message could store another one twice" },
        { "transactional.id",
          "an upload is no transaction" },
        { "partitioner",
          "equal files must meet in one partition" },
        { "delivery.report.only.error",
          "replies wait for the reports" },
        { "log.queue",
          "logs go through nginx's event loop" },
        { "statistics.interval.ms",
          "the module reads the statistics" },
        { "internal.termination.signal",
          "nginx owns the signals" },
        { "queue.buffering.max.kbytes",
          "it follows from sluice_inflight" },
        { "queue.buffering.max.messages",
          "it follows from sluice_inflight" },
        { NULL, NULL }
    };

    for (i = 0; refused[i].name != NULL; i++) {
        if (ngx_strcmp(name, refused[i].name) == 0) {
            return (char *) refused[i].value;
        }
    }

    return NULL;
}


/* librdkafka opens these only when a worker starts: too late to say it. */
static ngx_int_t
ngx_http_sluice_kafka_readable(ngx_conf_t *cf, const char *name,
    const char *path)
{
    ngx_uint_t  i;

    static const char  *files[] = {
        "ssl.ca.location", "ssl.certificate.location", "ssl.key.location",
        "ssl.keystore.location", "ssl.crl.location",
        "sasl.kerberos.keytab", NULL
    };

    for (i = 0; files[i] != NULL; i++) {

        if (ngx_strcmp(name, files[i]) != 0
            || ngx_strcmp(path, "probe") == 0)
        {
            continue;
        }

        if (access(path, R_OK) != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                               "kafka property \"%s\": cannot read \"%s\"",
                               name, path);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static char *
ngx_http_sluice_kafka_defaults(ngx_conf_t *cf, ngx_http_sluice_kafka_t *kafka)
{
    char                               errstr[256];
    const ngx_http_sluice_property_t  *p;

    for (p = ngx_http_sluice_kafka_ours; p->name != NULL; p++) {

        if (rd_kafka_conf_set(kafka->conf, p->name, p->value, errstr,
                              sizeof(errstr))
            != RD_KAFKA_CONF_OK)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "librdkafka %s refuses %s=%s: %s",
                               rd_kafka_version_str(), p->name, p->value,
                               errstr);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/*
 * Some properties are judged together, and key files read, only when a
 * producer is made.  nginx -t ends after the test, so there one can be made;
 * without servers, as waiting for their DNS would make the test hang.
 */
static char *
ngx_http_sluice_kafka_trial(ngx_conf_t *cf, ngx_http_sluice_kafka_t *kafka)
{
    char              errstr[512];
    size_t            size;
    rd_kafka_t       *rk;
    rd_kafka_conf_t  *conf;

    size = 0;

    if (rd_kafka_conf_get(kafka->conf, "bootstrap.servers", NULL, &size)
        != RD_KAFKA_CONF_OK
        || size <= 1)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no \"bootstrap.servers\" in sluice_kafka \"%V\"",
                           &kafka->name);
        return NGX_CONF_ERROR;
    }

    if (!ngx_test_config) {
        return NGX_CONF_OK;
    }

    conf = rd_kafka_conf_dup(kafka->conf);

    (void) rd_kafka_conf_set(conf, "bootstrap.servers", NULL, NULL, 0);
    (void) rd_kafka_conf_set(conf, "log_level", "0", NULL, 0);

    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, errstr, sizeof(errstr));

    if (rk == NULL) {
        rd_kafka_conf_destroy(conf);
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "sluice_kafka \"%V\": %s",
                           &kafka->name, errstr);
        return NGX_CONF_ERROR;
    }

    rd_kafka_destroy(rk);

    return NGX_CONF_OK;
}


ngx_http_sluice_kafka_t *
ngx_http_sluice_kafka_named(ngx_conf_t *cf,
    ngx_http_sluice_main_conf_t *smcf, ngx_str_t *name)
{
    ngx_uint_t                 i;
    ngx_http_sluice_kafka_t  **kafkas, **slot, *kafka;

    kafkas = smcf->kafkas.elts;

    for (i = 0; i < smcf->kafkas.nelts; i++) {
        if (kafkas[i]->name.len == name->len
            && ngx_strncmp(kafkas[i]->name.data, name->data, name->len) == 0)
        {
            return kafkas[i];
        }
    }

    kafka = ngx_pcalloc(cf->pool, sizeof(ngx_http_sluice_kafka_t));
    if (kafka == NULL) {
        return NULL;
    }

    if (ngx_array_init(&kafka->topics, cf->pool, 2,
                       sizeof(ngx_http_sluice_topic_t *))
        != NGX_OK
        || ngx_array_init(&kafka->locations, cf->pool, 2,
                          sizeof(ngx_http_sluice_loc_conf_t *))
           != NGX_OK)
    {
        return NULL;
    }

    slot = ngx_array_push(&smcf->kafkas);
    if (slot == NULL) {
        return NULL;
    }

    *slot = kafka;

    kafka->name = *name;
    kafka->index = smcf->kafkas.nelts - 1;
    kafka->smcf = smcf;
    kafka->conf_file = cf->conf_file->file.name.data;
    kafka->conf_line = cf->conf_file->line;

    return kafka;
}


ngx_http_sluice_topic_t *
ngx_http_sluice_kafka_topic(ngx_conf_t *cf,
    ngx_http_sluice_main_conf_t *smcf, ngx_str_t *block, ngx_str_t *name)
{
    ngx_http_sluice_kafka_t  *kafka;
    ngx_http_sluice_topic_t  *topic;

    kafka = ngx_http_sluice_kafka_named(cf, smcf, block);
    if (kafka == NULL) {
        return NULL;
    }

    topic = ngx_http_sluice_kafka_topic_named(cf, kafka, name);
    if (topic != NULL) {
        topic->optional = 0;
    }

    return topic;
}


/* A new one is optional. */
static ngx_http_sluice_topic_t *
ngx_http_sluice_kafka_topic_named(ngx_conf_t *cf,
    ngx_http_sluice_kafka_t *kafka, ngx_str_t *name)
{
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics, **slot, *topic;

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        if (topics[i]->name.len == name->len
            && ngx_strncmp(topics[i]->name.data, name->data, name->len) == 0)
        {
            return topics[i];
        }
    }

    topic = ngx_pcalloc(cf->pool, sizeof(ngx_http_sluice_topic_t));
    if (topic == NULL) {
        return NULL;
    }

    topic->name.data = ngx_pnalloc(cf->pool, name->len + 1);
    if (topic->name.data == NULL) {
        return NULL;
    }

    (void) ngx_cpystrn(topic->name.data, name->data, name->len + 1);
    topic->name.len = name->len;

    topic->kafka = kafka;
    topic->index = kafka->topics.nelts;
    topic->optional = 1;

    slot = ngx_array_push(&kafka->topics);
    if (slot == NULL) {
        return NULL;
    }

    *slot = topic;

    return topic;
}


ngx_int_t
ngx_http_sluice_kafka_check(ngx_conf_t *cf, ngx_http_sluice_main_conf_t *smcf)
{
    ngx_uint_t                 i;
    ngx_http_sluice_kafka_t  **kafkas;

    kafkas = smcf->kafkas.elts;

    for (i = 0; i < smcf->kafkas.nelts; i++) {

        if (kafkas[i]->conf == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "unknown sluice_kafka \"%V\" in %s:%ui",
                          &kafkas[i]->name, kafkas[i]->conf_file,
                          kafkas[i]->conf_line);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


void
ngx_http_sluice_kafka_need(ngx_http_sluice_topic_t *topic, size_t message,
    ngx_msec_t ack_timeout)
{
    ngx_http_sluice_kafka_t  *kafka;

    kafka = topic->kafka;

    kafka->max_file_size = ngx_max(kafka->max_file_size, message);
    kafka->ack_timeout = ngx_max(kafka->ack_timeout, ack_timeout);
}


char *
ngx_http_sluice_kafka_chunks(ngx_conf_t *cf, ngx_http_sluice_loc_conf_t *slcf)
{
    ngx_str_t                     name;
    ngx_uint_t                    wanted;
    ngx_http_sluice_kafka_t      *kafka;
    ngx_http_sluice_loc_conf_t  **slot;

    kafka = slcf->topic->kafka;
    wanted = slcf->max_file_size > (off_t) slcf->chunk_size;
    slcf->chunk_now = slcf->chunk_size;

    name.len = slcf->topic->name.len + sizeof(SLUICE_TOPIC_CHUNKS) - 1;

    if (name.len > NGX_HTTP_SLUICE_TOPIC_NAME) {

        if (!wanted) {
            return NGX_CONF_OK;
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "the name of topic \"%V\" is too long for one of its "
                      "chunks, in %s:%ui", &slcf->topic->name,
                      slcf->conf_file, slcf->conf_line);
        return NGX_CONF_ERROR;
    }

    name.data = ngx_pnalloc(cf->pool, name.len + 1);
    if (name.data == NULL) {
        return NGX_CONF_ERROR;
    }

    (void) ngx_sprintf(name.data, "%V%s%Z", &slcf->topic->name,
                       SLUICE_TOPIC_CHUNKS);

    slcf->chunks = ngx_http_sluice_kafka_topic_named(cf, kafka, &name);
    slot = ngx_array_push(&kafka->locations);

    if (slcf->chunks == NULL || slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = slcf;

    /* nobody has to have a topic for chunks that are never made */
    if (wanted) {
        slcf->chunks->optional = 0;
    }

    return NGX_CONF_OK;
}


rd_kafka_conf_t *
ngx_http_sluice_kafka_conf(ngx_http_sluice_kafka_t *kafka, ngx_log_t *log)
{
    char              errstr[256];
    size_t            kbytes;
    u_char            text[NGX_INT_T_LEN + 1];
    ngx_uint_t        i, n;
    rd_kafka_conf_t  *conf;

    struct {
        const char   *name;
        size_t        value;
    } set[3];

    conf = rd_kafka_conf_dup(kafka->conf);

    /* sluice_inflight must be the limit that acts */
    kbytes = ((size_t) kafka->smcf->inflight / 10 * 11
              + kafka->max_file_size) / 1024;

    n = 0;
    set[n].name = "queue.buffering.max.kbytes";
    set[n++].value = kbytes + 1024;

    /* record headers and the batch's own bytes count too */
    if (!kafka->size_set) {
        set[n].name = "message.max.bytes";
        set[n++].value = ngx_max(kafka->max_file_size + 65536, 1000000);
    }

    if (kafka->batch != 0
        && kafka->batch < ngx_http_sluice_kafka_conf_size(conf, "batch.size"))
    {
        set[n].name = "batch.size";
        set[n++].value = kafka->batch;
    }

    for (i = 0; i < n; i++) {

        *ngx_sprintf(text, "%uz", set[i].value) = '\0';

        if (rd_kafka_conf_set(conf, set[i].name, (char *) text, errstr,
                              sizeof(errstr))
            != RD_KAFKA_CONF_OK)
        {
            ngx_log_error(NGX_LOG_ERR, log, 0,
                          "sluice: kafka name=%V %s=%s err=\"%s\"",
                          &kafka->name, set[i].name, text, errstr);
        }
    }

    return conf;
}


size_t
ngx_http_sluice_kafka_conf_size(rd_kafka_conf_t *conf, const char *name)
{
    char       text[NGX_INT_T_LEN + 1];
    size_t     size;
    ngx_int_t  value;

    size = sizeof(text);

    if (rd_kafka_conf_get(conf, name, text, &size) != RD_KAFKA_CONF_OK) {
        return 0;
    }

    value = ngx_atoi((u_char *) text, ngx_strlen(text));

    return (value == NGX_ERROR) ? 0 : value;
}


static void
ngx_http_sluice_kafka_conf_free(void *data)
{
    ngx_http_sluice_kafka_t  *kafka = data;

    if (kafka->conf != NULL) {
        rd_kafka_conf_destroy(kafka->conf);
        kafka->conf = NULL;
    }
}
