/*
 * settings.c: the [processor] section.
 *
 * Owns the rows and the checks between them.
 */

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/path.h"
#include "lane/lane.h"
#include "lane/share.h"
#include "sluice_wire.h"

#define HOUR_MS   (3600 * (int64_t) 1000)
#define KIB       ((int64_t) 1024)
#define LANE_WINDOWS_MAX  1000
#define AT(name)  offsetof(lane_conf_t, name)

const conf_row_t lane_rows[] = {
    { "pipeline", CONF_STR, AT(pipeline), "", 0, 0, NULL, 0,
      "Part of every Redis key and primary key, so that environments may "
      "share servers. Letters, digits, `.`, `_`, `-`. Default: `group.id`." },

    { "topic", CONF_STR, AT(topic), NULL, 0, 0, NULL, 0,
      "The topic to read." },

    { "late_topic", CONF_STR, AT(late_topic), "", 0, 0, NULL, 0,
      "Where records go whose window is closed or due. Default: the topic "
      "with `.late`." },

    { "dead_topic", CONF_STR, AT(dead_topic), "", 0, 0, NULL, 0,
      "Where records go that can never be counted. Default: the topic with "
      "`.dead`." },

    { "lanes", CONF_INT, AT(lanes), "1", 1, 256, NULL, 0,
      "Threads, each a member of the consumer group with its own "
      "connections." },

    { "assemble_lanes", CONF_INT, AT(assemble_lanes), "1", 0, 64, NULL, 0,
      "Threads that put large files together, in a consumer group of their "
      "own, named like the others' with `.chunks`. 0: none here." },

    { "chunks_topic", CONF_STR, AT(chunks_topic), "", 0, 0, NULL, 0,
      "Where the pieces of large files are read. Default: the topic with "
      "`.chunks`." },

    { "spool", CONF_STR, AT(spool), "/var/lib/sluice/spool", 0, 0, NULL, 0,
      "Directory for the pieces of files that are not whole yet. Made if its "
      "parent is there; emptied at start. Processors may share it." },

    { "spool_bytes", CONF_SIZE, AT(spool_bytes), "8g", KIB * KIB,
      1024 * 1024 * KIB * KIB, NULL, 0,
      "Bytes in the spool at most, shared out equally over `assemble_lanes`. A "
      "share must hold the largest file; one that is larger goes to the dead "
      "topic." },

    { "part_ttl", CONF_TIME, AT(part_ttl_ms), "24h", 1000, 720 * HOUR_MS,
      NULL, 0,
      "How long after its last piece an unfinished file is given up, by event "
      "time. More than any pause that nginx allows a client." },

    { "max_parts", CONF_INT, AT(max_parts), "20000", 1, 10000000, NULL, 0,
      "Large files under way that are remembered, 1 KB each, shared out equally "
      "over `assemble_lanes`. The pieces of more stay in Kafka and are read "
      "once others have ended." },

    { "instance", CONF_INT, AT(instance), "0", 0, 9999, NULL, 0,
      "Tells several processors on one host apart, in the name of the group's "
      "static members: `<host>-<instance>-<lane>`." },

    { "window", CONF_TIME, AT(window_ms), "30s", 1000, 24 * HOUR_MS, NULL, 0,
      "Length of a window; whole seconds. A pipeline that has rows keeps "
      "its own." },

    { "allowed_lateness", CONF_TIME, AT(lateness_ms), "55s", 0, 24 * HOUR_MS,
      NULL, 0,
      "How long after its end a window waits for stragglers, by event time. "
      "At least the topic's `message.timestamp.before.max.ms` + "
      "`message.timestamp.after.max.ms` + 5 s, or accepted records may be "
      "late." },

    { "memory", CONF_SIZE, AT(memory), "256m", 8 * KIB * KIB,
      1024 * 1024 * KIB * KIB, NULL, 0,
      "What records may take, shared out equally over the lanes, assembling "
      "ones too; 8m a lane at least. The process needs 64m besides, and room "
      "for records that are larger than a batch." },

    { "batch_records", CONF_INT, AT(batch_records), "2000", 1, 5000, NULL, 0,
      "Most records applied at once." },

    { "batch_bytes", CONF_SIZE, AT(batch_bytes), "0", 0,
      1024 * 1024 * KIB, NULL, 0,
      "Most bytes applied at once; a single larger record goes alone. 0: a "
      "16th of a lane's share of `memory`, 8m at most." },

    { "fetch_bytes", CONF_SIZE, AT(fetch_bytes), "0", 0,
      1024 * 1024 * KIB, NULL, 0,
      "What a lane fetches ahead of its work, at most. 0: half of a lane's "
      "share of `memory`, 64m at most." },

    { "poll", CONF_TIME, AT(poll_ms), "100ms", 1, 1000, NULL, 0,
      "How long a lane waits for records before it looks after windows." },

    { "flush_interval", CONF_TIME, AT(flush_ms), "1s", 10, HOUR_MS, NULL, 0,
      "How often rows of open windows are written to PostgreSQL." },

    { "notify", CONF_BOOL, AT(notify), "on", 0, 0, NULL, 0,
      "Tell those who `LISTEN sluice_summary` whose rows have changed, at most "
      "once per `flush_interval` and lane." },

    { "state_ttl", CONF_TIME, AT(state_ttl_ms), "24h", 60000, 720 * HOUR_MS,
      NULL, 0,
      "How long Redis keeps the state of a partition that nobody works on; "
      "afterwards the log is read again." },

    { "inspect_ttl", CONF_TIME, AT(inspect_ttl_ms), "10m", 0, 24 * HOUR_MS,
      NULL, 0,
      "How long a closed window's keys stay in Redis, to be looked at; they "
      "take its memory for that long. 0: not at all, nor do those of a window "
      "of more than 10,000 members." },

    { "retention", CONF_TIME, AT(retention_ms), "7d", 24 * HOUR_MS,
      3650 * 24 * HOUR_MS, NULL, 0,
      "How long rows and objects are kept, which `sluice-processor purge` "
      "removes by whole days; not longer than the topics keep their "
      "records, or what a replay finds is removed again." },

    { "store", CONF_STR, AT(store), "file", 0, 0, NULL, 0,
      "Kind of the object store; its settings are in `[store.KIND]`." },

    { "store_prefix", CONF_STR, AT(store_prefix), "", 0, 0, NULL, 0,
      "What objects' paths begin with; no `/` at its ends, no part that begins "
      "with a dot, no last part that begins with `c-`." },

    { "uploads_table", CONF_BOOL, AT(uploads_table), "on", 0, 0, NULL, 0,
      "Write a row of `sluice.uploads` for each record that was counted. What "
      "was counted while it was off gets none later, and a record that the "
      "log holds twice is counted twice then." },

    { "log_level", CONF_ENUM, AT(log_level), "info", 0, 0,
      "error|warn|notice|info|debug", 1,
      "Least severity that is logged." },

    { NULL, CONF_STR, 0, NULL, 0, 0, NULL, 0, NULL }
};


/* Kafka's grammar of topic names, which fits a Redis hash tag as well. */
static int
lane_is_name(const char *s)
{
    size_t len = strlen(s);

    return len > 0 && len <= 249
           && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789._-") == len;
}


static void
lane_default(char **value, const char *base, const char *suffix)
{
    if ((*value)[0] == '\0') {
        free(*value);
        *value = mem_printf("%s%s", base, suffix);
    }
}


rc_t
lane_check(lane_conf_t *conf, const char *group, err_t *err)
{
    lane_default(&conf->pipeline, group, "");
    lane_default(&conf->late_topic, conf->topic, SLUICE_TOPIC_LATE);
    lane_default(&conf->dead_topic, conf->topic, SLUICE_TOPIC_DEAD);
    lane_default(&conf->chunks_topic, conf->topic, SLUICE_TOPIC_CHUNKS);

    if (!lane_is_name(conf->pipeline)) {
        return err_set(err, RC_REJECT, "[processor] pipeline \"%s\" has other "
                       "characters than letters, digits, \".\", \"_\" and "
                       "\"-\": set one", conf->pipeline);
    }

    if (!lane_is_name(conf->topic) || !lane_is_name(conf->late_topic)
        || !lane_is_name(conf->dead_topic)
        || !lane_is_name(conf->chunks_topic))
    {
        return err_set(err, RC_REJECT, "[processor] topic, late_topic, "
                       "dead_topic or chunks_topic is no name of a topic");
    }

    if (!path_prefix_is_valid(conf->store_prefix)) {
        return err_set(err, RC_REJECT, "[processor] store_prefix \"%s\" is "
                       "no path of letters, digits, \".\", \"_\", \"-\" and "
                       "single \"/\" with no part that begins with a dot "
                       "and no last part that begins with c-",
                       conf->store_prefix);
    }

    if (share_memory(conf, err) != RC_OK) {
        return RC_REJECT;
    }

    /* Each open window has keys that every script on the partition names. */
    if (conf->lateness_ms / conf->window_ms > LANE_WINDOWS_MAX) {
        return err_set(err, RC_REJECT, "[processor] allowed_lateness holds "
                       "more than %d windows open", LANE_WINDOWS_MAX);
    }

    /* A window is named by its start, in seconds. */
    if (conf->window_ms % 1000 != 0) {
        return err_set(err, RC_REJECT, "[processor] window is not of whole "
                       "seconds");
    }

    return RC_OK;
}
