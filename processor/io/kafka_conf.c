/*
 * kafka_conf.c: librdkafka properties, the operator's and ours.
 *
 * Owns which properties are ours alone, our defaults, and which of the
 * operator's go to which kind of handle: librdkafka warns in the log about a
 * property of the other kind, and operators would wonder.
 */

#include "io/kafka_local.h"

#include <stddef.h>
#include <string.h>
#include <syslog.h>

#include "base/log.h"


const conf_row_t  kafka_rows[] = {
    { "PROPERTY", CONF_PROPS, offsetof(kafka_conf_t, props), "", 0, 0, NULL, 0,
      "Any property of librdkafka's CONFIGURATION.md but those the processor "
      "sets itself. bootstrap.servers and group.id are required." },
    { NULL, CONF_STR, 0, NULL, 0, 0, NULL, 0, NULL }
};


/*
 * What the lanes' protocol rests on, and what would run code or name files of
 * others inside this process.
 */
static const char *const  kafka_ours[] = {
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "fetch.max.bytes",
    "fetch.queue.backoff.ms",
    "group.instance.id",
    "group.protocol",
    "log.queue",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "offset.store.method",
    "partition.assignment.strategy",
    "partitioner",
    "plugin.library.paths",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "request.required.acks",
    "acks",
    "transactional.id",
    NULL
};

/* Beginnings of names that only a handle of that kind knows. */
static const char *const  kafka_of_group[] = {
    "coordinator.", "group.", "heartbeat.", "max.poll.", "session.", NULL
};
static const char *const  kafka_of_consumers[] = {
    "check.crcs", "consume.", "fetch.", "isolation.level",
    "max.partition.fetch.bytes", NULL
};
static const char *const  kafka_of_producer[] = {
    "batch.", "compression.", "delivery.", "linger.", "message.send.",
    "message.timeout.", "queue.buffering.", "queuing.", "request.timeout.ms",
    "retries", "retry.backoff.", "sticky.partitioning.", "transaction.", NULL
};


static int
kafka_begins(const char *key, const char *const *begins)
{
    for (; *begins != NULL; begins++) {
        if (strncmp(key, *begins, strlen(*begins)) == 0) {
            return 1;
        }
    }
    return 0;
}


static int
kafka_is_ours(const char *key)
{
    for (size_t i = 0; kafka_ours[i] != NULL; i++) {
        if (strcmp(key, kafka_ours[i]) == 0) {
            return 1;
        }
    }

    /* Callbacks and pointers can't be written in a file. */
    size_t  len = strlen(key);

    return (len > 3 && strcmp(key + len - 3, "_cb") == 0)
           || strcmp(key, "opaque") == 0;
}


/* Whether the operator's property goes to a handle of this kind. */
static int
kafka_is_for(const char *key, kafka_kind_e kind)
{
    if (kafka_begins(key, kafka_of_group)) {
        return kind == KAFKA_GROUP;
    }
    if (kafka_begins(key, kafka_of_producer)) {
        return kind == KAFKA_PRODUCER;
    }
    if (kafka_begins(key, kafka_of_consumers)) {
        return kind != KAFKA_PRODUCER;
    }
    return 1;
}


static const char *
kafka_prop(const kafka_conf_t *conf, const char *key)
{
    for (size_t i = 0; i < conf->props.n; i++) {
        if (strcmp(conf->props.keys[i], key) == 0) {
            return conf->props.values[i];
        }
    }
    return NULL;
}


const char *
kafka_group(const kafka_conf_t *conf)
{
    return kafka_prop(conf, "group.id");
}


rc_t
kafka_check(const kafka_conf_t *conf, err_t *err)
{
    static const char *const  required[] = {
        "bootstrap.servers", "group.id", NULL
    };

    char              why[200];
    const char       *value;
    rd_kafka_conf_t  *rkc = rd_kafka_conf_new();
    rc_t              rc = RC_OK;

    for (size_t i = 0; i < conf->props.n && rc == RC_OK; i++) {
        const char  *key = conf->props.keys[i];
        int          line = conf->props.lines[i];

        if (kafka_is_ours(key)) {
            rc = err_set(err, RC_REJECT, "line %d: [kafka] %s is set by the "
                         "processor itself", line, key);
        } else if (rd_kafka_conf_set(rkc, key, conf->props.values[i], why,
                                     sizeof(why)) != RD_KAFKA_CONF_OK)
        {
            rc = err_set(err, RC_REJECT, "line %d: [kafka] %s", line, why);
        }
    }

    for (size_t i = 0; required[i] != NULL && rc == RC_OK; i++) {
        value = kafka_prop(conf, required[i]);
        if (value == NULL || value[0] == '\0') {
            rc = err_set(err, RC_REJECT, "[kafka] %s is required",
                         required[i]);
        }
    }

    rd_kafka_conf_destroy(rkc);
    return rc;
}


/* librdkafka's words; on the lane's thread where log.queue is served. */
static void
kafka_log(const rd_kafka_t *rk, int level, const char *fac, const char *buf)
{
    log_level_e  ours = LOG_LEVEL_DEBUG;

    (void) rk;

    /*
     * A broker that is away is an error to librdkafka, but not yet one to us:
     * what a lane can't do meanwhile it says itself.
     */
    if (level <= LOG_CRIT) {
        ours = LOG_LEVEL_ERROR;
    } else if (level <= LOG_WARNING) {
        ours = LOG_LEVEL_WARN;
    } else if (level <= LOG_NOTICE) {
        ours = LOG_LEVEL_NOTICE;
    } else if (level <= LOG_INFO) {
        ours = LOG_LEVEL_INFO;
    }

    log_at(ours, "kafka", "librdkafka", LS("fac", fac), LS("text", buf));
}


rc_t
kafka_conf_put(rd_kafka_conf_t *rkc, const char *key, const char *value,
    err_t *err)
{
    char  why[200];

    if (rd_kafka_conf_set(rkc, key, value, why, sizeof(why))
        != RD_KAFKA_CONF_OK)
    {
        return err_set(err, RC_REJECT, "kafka: %s", why);
    }
    return RC_OK;
}


/* Pairs of property and value, ended by NULL, for a kind of handle. */
static const char *const *
kafka_defaults(kafka_kind_e kind)
{
    static const char *const  group[] = {
        "client.id", "sluice-processor",
        "session.timeout.ms", "10000",
        "heartbeat.interval.ms", "3000",
        NULL
    };
    static const char *const  reader[] = {
        "client.id", "sluice-processor",
        "isolation.level", "read_committed",
        NULL
    };
    static const char *const  producer[] = {
        "client.id", "sluice-processor",
        "linger.ms", "5",
        /* A record is sent on with a few headers more than it came with. */
        "message.max.bytes", "10000000",
        NULL
    };

    return kind == KAFKA_GROUP ? group
           : kind == KAFKA_READER ? reader : producer;
}


static const char *const *
kafka_forced(kafka_kind_e kind)
{
    static const char *const  group[] = {
        "log.queue", "true",
        "allow.auto.create.topics", "false",
        "enable.auto.commit", "false",
        "enable.auto.offset.store", "false",
        "auto.offset.reset", "error",
        "partition.assignment.strategy", "cooperative-sticky",
        "queued.max.messages.kbytes", "1024",
        NULL
    };
    static const char *const  reader[] = {
        "log.queue", "true",
        "allow.auto.create.topics", "false",
        "enable.auto.commit", "false",
        "enable.auto.offset.store", "false",
        "auto.offset.reset", "error",
        "enable.partition.eof", "true",
        NULL
    };
    static const char *const  producer[] = {
        "log.queue", "true",
        "enable.idempotence", "true",
        "acks", "all",
        "partitioner", "murmur2_random",
        /*
         * A broker that knows nothing of a producer takes any number for its
         * first: with two requests under way the second could be written where
         * the first was refused, and count as the receipt of both.
         */
        "max.in.flight.requests.per.connection", "1",
        NULL
    };

    return kind == KAFKA_GROUP ? group
           : kind == KAFKA_READER ? reader : producer;
}


static rc_t
kafka_conf_pairs(rd_kafka_conf_t *rkc, const char *const *pairs, err_t *err)
{
    rc_t  rc = RC_OK;

    for (; *pairs != NULL && rc == RC_OK; pairs += 2) {
        rc = kafka_conf_put(rkc, pairs[0], pairs[1], err);
    }
    return rc;
}


rc_t
kafka_conf_new(rd_kafka_conf_t **out, const kafka_conf_t *conf,
    kafka_kind_e kind, err_t *err)
{
    rd_kafka_conf_t  *rkc = rd_kafka_conf_new();
    rc_t              rc;

    rc = kafka_conf_pairs(rkc, kafka_defaults(kind), err);

    for (size_t i = 0; i < conf->props.n && rc == RC_OK; i++) {
        if (kafka_is_for(conf->props.keys[i], kind)) {
            rc = kafka_conf_put(rkc, conf->props.keys[i],
                                conf->props.values[i], err);
        }
    }

    if (rc == RC_OK) {
        rc = kafka_conf_pairs(rkc, kafka_forced(kind), err);
    }
    if (rc != RC_OK) {
        rd_kafka_conf_destroy(rkc);
        return rc;
    }

    rd_kafka_conf_set_log_cb(rkc, kafka_log);
    *out = rkc;
    return RC_OK;
}


rc_t
kafka_handle_new(rd_kafka_t **out, rd_kafka_conf_t *rkc, kafka_kind_e kind,
    err_t *err)
{
    char         why[200];
    rd_kafka_t  *rk = rd_kafka_new(kind == KAFKA_PRODUCER ? RD_KAFKA_PRODUCER
                                                          : RD_KAFKA_CONSUMER,
                                   rkc, why, sizeof(why));

    if (rk == NULL) {
        rd_kafka_conf_destroy(rkc);
        return err_set(err, RC_REJECT, "kafka: %s", why);
    }

    /* Logs wait in the queue that rd_kafka_poll() serves, on our thread. */
    if (rd_kafka_set_log_queue(rk, NULL) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_destroy(rk);
        return err_set(err, RC_REJECT, "kafka: the log queue isn't there");
    }

    *out = rk;
    return RC_OK;
}
