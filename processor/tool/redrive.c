/*
 * redrive.c: puts late and dead letters back on the topic they came from.
 *
 * Owns which letters go back, and how they look: as they were, without the
 * error-* headers, with ce_redriven counted up.  Their time is the present,
 * since the broker would refuse the old one and the window is closed; their
 * ce_id is the old one, by which first_seen counts a letter once however often
 * it is put back (docs/design.md, section 4.8).
 *
 * A letter is not taken out of its topic: Kafka can't.  So putting letters
 * back twice, or being killed in the middle and called again, is safe, and is
 * what one does when in doubt.
 */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/now.h"
#include "core/members.h"
#include "io/kafka_scan.h"
#include "tool/objects.h"
#include "tool/print.h"
#include "tool/tool.h"
#include "tool/when.h"

#define REDRIVE_BATCH    500
#define REDRIVE_BYTES    (16 * 1024 * 1024)
#define REDRIVE_WAIT_MS  60000
#define REDRIVE_REASONS  1000        /* told apart; the rest is one line */
#define REDRIVE_HEADERS  64          /* of a record; the module sends fewer */

/* What became of a letter. */
typedef enum {
    REDRIVE_SENT,
    REDRIVE_FAILED,                  /* not acknowledged */
    REDRIVE_COPY,                    /* of one that was met before */
    REDRIVE_FOREIGN,                 /* from a topic that isn't ours */
    REDRIVE_UNFIT,                   /* it would only die again */
    REDRIVE_FATES
} redrive_fate_e;

typedef struct {
    const tool_env_t  *env;
    kafka_scan_t      *scan;
    store_t           *store;        /* opened for the first reference */
    const char        *topic;
    const char        *reason;       /* NULL: any */
    int64_t            since_ms;     /* -1: all */
    int                dry;

    members_t          seen;         /* places the letters came from */
    members_t          reasons;
    int64_t          (*counts)[REDRIVE_FATES];            /* by reason */
    int64_t            sent, failed;

    int                acked[REDRIVE_BATCH];              /* of the batch */
    size_t             which[REDRIVE_BATCH];              /* its reason */
    size_t             n, bytes;
} redrive_t;


static const record_header_t *
redrive_header(const record_t *rec, const char *name)
{
    for (size_t i = 0; i < rec->nheaders; i++) {
        if (strcmp(rec->headers[i].name, name) == 0) {
            return &rec->headers[i];
        }
    }
    return NULL;
}


/* The header's text into out, "" when there is none. */
static void
redrive_text(const record_t *rec, const char *name, char *out, size_t size)
{
    const record_header_t  *h = redrive_header(rec, name);
    size_t                  n = h != NULL && h->value != NULL ? h->len : 0;

    if (n >= size) {
        n = size - 1;
    }
    if (n > 0) {
        memcpy(out, h->value, n);
    }
    out[n] = '\0';
}


static size_t
redrive_reason(redrive_t *r, const char *reason)
{
    size_t  at, had = r->reasons.n;

    if (had == REDRIVE_REASONS
        && !members_has(&r->reasons, reason, strlen(reason), &at))
    {
        reason = "(others)";
    }

    if (members_add(&r->reasons, reason, strlen(reason), &at)) {
        r->counts = mem_grow(r->counts, had + 1, sizeof(*r->counts));
        memset(r->counts[had], 0, sizeof(*r->counts));
    }
    return at;
}


/* Whether a reference's bytes are still there, and will be for a while. */
static rc_t
redrive_object(redrive_t *r, const record_t *rec, int *there, err_t *err)
{
    char          path[PATH_OBJECT_MAX];
    int64_t       day_ms;
    store_stat_t  st;
    rc_t          rc;

    *there = 0;
    redrive_text(rec, SLUICE_H_DATAREF, path, sizeof(path));

    /* What retention takes away in a moment is no more there than the rest. */
    if (objects_day(path, &day_ms) != 0
        || day_ms < now_wall_ms() - r->env->conf->retention_ms)
    {
        return RC_OK;
    }

    if (r->store == NULL) {
        rc = r->env->store->open(&r->store, r->env->store_conf, err);
        if (rc != RC_OK) {
            return rc;
        }
    }

    rc = r->env->store->stat(r->store, path, &st, err);
    *there = rc == RC_OK;

    return rc == RC_REJECT ? RC_OK : rc;
}


/* What is to become of the letter, REDRIVE_SENT when it is to go back. */
static rc_t
redrive_judge(redrive_t *r, const record_t *rec, redrive_fate_e *fate,
    err_t *err)
{
    char  topic[256], partition[16], offset[24], type[64], place[64];
    int   there;
    rc_t  rc;

    redrive_text(rec, SLUICE_H_ERROR_TOPIC, topic, sizeof(topic));
    redrive_text(rec, SLUICE_H_ERROR_PARTITION, partition, sizeof(partition));
    redrive_text(rec, SLUICE_H_ERROR_OFFSET, offset, sizeof(offset));
    redrive_text(rec, SLUICE_H_TYPE, type, sizeof(type));

    if (strcmp(topic, r->env->conf->topic) != 0) {
        *fate = REDRIVE_FOREIGN;
        return RC_OK;
    }

    int  n = snprintf(place, sizeof(place), "%s:%s", partition, offset);

    if (!members_add(&r->seen, place, (size_t) n, NULL)) {
        *fate = REDRIVE_COPY;
        return RC_OK;
    }

    /* Without a key its equals are in another partition; a record without an
     * id can't be told from its double. */
    if (rec->key == NULL || rec->value == NULL
        || redrive_header(rec, SLUICE_H_ID) == NULL
        || rec->nheaders > REDRIVE_HEADERS)
    {
        *fate = REDRIVE_UNFIT;
        return RC_OK;
    }

    *fate = REDRIVE_SENT;
    if (strcmp(type, SLUICE_TYPE_REFERENCE) != 0) {
        return RC_OK;
    }

    rc = redrive_object(r, rec, &there, err);
    if (rc == RC_OK && !there) {
        *fate = REDRIVE_UNFIT;
    }
    return rc;
}


static rc_t
redrive_send(redrive_t *r, const record_t *rec, size_t reason, err_t *err)
{
    record_header_t  headers[REDRIVE_HEADERS + 1];
    record_t         out = *rec;
    char             before[16], times[24];
    int64_t          n = 0;
    rc_t             rc;

    redrive_text(rec, SLUICE_H_REDRIVEN, before, sizeof(before));
    (void) tool_int(before, 0, INT32_MAX, &n);
    (void) snprintf(times, sizeof(times), "%" PRId64, n + 1);

    out.headers = headers;
    out.nheaders = 0;

    for (size_t i = 0; i < rec->nheaders; i++) {
        const char  *name = rec->headers[i].name;

        if (strncmp(name, SLUICE_H_RESERVED_ERROR,
                    strlen(SLUICE_H_RESERVED_ERROR)) != 0
            && strcmp(name, SLUICE_H_REDRIVEN) != 0)
        {
            headers[out.nheaders++] = rec->headers[i];
        }
    }
    headers[out.nheaders++] = (record_header_t) { SLUICE_H_REDRIVEN, times,
                                                  strlen(times) };

    rc = kafka_scan_put(r->scan, r->env->conf->topic, &out, &r->acked[r->n],
                        err);
    if (rc == RC_REJECT) {
        r->counts[reason][REDRIVE_FAILED]++;
        r->failed++;
        fprintf(stderr, "sluice-processor redrive: %s\n", err->text);
        return RC_OK;
    }

    if (rc == RC_OK) {
        r->which[r->n++] = reason;
        r->bytes += rec->len;
    }
    return rc;
}


/* Nothing is reported as put back before the brokers have it. */
static rc_t
redrive_wait(redrive_t *r, err_t *err)
{
    rc_t  rc = kafka_scan_put_wait(r->scan, REDRIVE_WAIT_MS, err);

    for (size_t i = 0; i < r->n; i++) {
        r->counts[r->which[i]][r->acked[i] ? REDRIVE_SENT : REDRIVE_FAILED]++;
        *(r->acked[i] ? &r->sent : &r->failed) += 1;
    }

    r->n = 0;
    r->bytes = 0;
    return rc;
}


static rc_t
redrive_one(redrive_t *r, const record_t *rec, err_t *err)
{
    char            reason[256];
    redrive_fate_e  fate;
    size_t          at;
    rc_t            rc;

    redrive_text(rec, SLUICE_H_ERROR_REASON, reason, sizeof(reason));
    if (r->reason != NULL && strstr(reason, r->reason) == NULL) {
        return RC_OK;
    }

    rc = redrive_judge(r, rec, &fate, err);
    if (rc != RC_OK) {
        return rc;
    }

    at = redrive_reason(r, reason);
    if (fate != REDRIVE_SENT || r->dry) {
        r->counts[at][fate]++;
        r->sent += fate == REDRIVE_SENT;
        return RC_OK;
    }

    rc = redrive_send(r, rec, at, err);
    if (rc == RC_OK && (r->n == REDRIVE_BATCH || r->bytes > REDRIVE_BYTES)) {
        rc = redrive_wait(r, err);
    }
    return rc;
}


static rc_t
redrive_partition(redrive_t *r, int32_t partition, err_t *err)
{
    int64_t    first, end, from;
    record_t  *rec;
    rc_t       rc;

    rc = kafka_scan_bounds(r->scan, r->topic, partition, &first, &end, err);
    from = first;

    if (rc == RC_OK && r->since_ms >= 0) {
        rc = kafka_scan_offset_at(r->scan, r->topic, partition, r->since_ms,
                                  &from, err);
    }
    if (rc == RC_OK) {
        rc = kafka_scan_begin(r->scan, r->topic, partition, from, end, err);
    }

    while (rc == RC_OK) {
        rc = kafka_scan_next(r->scan, &rec, err);
        if (rc != RC_OK || rec == NULL) {
            break;
        }
        rc = redrive_one(r, rec, err);
    }
    return rc;
}


static rc_t
redrive_all(redrive_t *r, err_t *err)
{
    err_t    late;
    int32_t  partitions;
    rc_t     rc;

    rc = kafka_scan_partitions(r->scan, r->topic, &partitions, err);
    if (rc == RC_OK && partitions == 0) {
        return err_set(err, RC_REJECT, "kafka: topic %s doesn't exist",
                       r->topic);
    }

    for (int32_t p = 0; p < partitions && rc == RC_OK; p++) {
        rc = redrive_partition(r, p, err);
    }

    /* What was sent before the failure is told, too. */
    rc_t  waited = redrive_wait(r, rc == RC_OK ? err : &late);

    return rc == RC_OK ? waited : rc;
}


static void
redrive_print(redrive_t *r)
{
    static const char *const  columns[] = {
        "redriven", "failed", "copies", "foreign", "unfit", "reason"
    };

    print_t  *p = print_new("reasons", columns, 6, r->env->json);

    print_fact_str(p, "topic", r->topic);
    print_fact_str(p, "to", r->env->conf->topic);
    print_fact_str(p, "dry_run", r->dry ? "yes" : "no");
    print_fact_int(p, "redriven", r->sent);
    print_fact_int(p, "failed", r->failed);

    for (size_t i = 0; i < r->reasons.n; i++) {
        for (int f = 0; f < REDRIVE_FATES; f++) {
            print_int(p, r->counts[i][f]);
        }
        print_str(p, r->reasons.texts[i]);
    }
    (void) print_end(p);
}


static int
redrive_args(redrive_t *r, int argc, char **argv)
{
    static const struct option  options[] = {
        { "topic", required_argument, NULL, 't' },
        { "since", required_argument, NULL, 's' },
        { "reason", required_argument, NULL, 'r' },
        { "dry-run", no_argument, NULL, 'n' },
        { NULL, 0, NULL, 0 }
    };

    int  c;

    r->since_ms = -1;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 't') {
            r->topic = optarg;
        } else if (c == 'r') {
            r->reason = optarg;
        } else if (c == 'n') {
            r->dry = 1;
        } else if (c != 's' || when_parse(optarg, now_wall_ms(), &r->since_ms)) {
            return -1;
        }
    }

    return optind == argc && r->topic != NULL ? 0 : -1;
}


static int
redrive_run(const tool_env_t *env, int argc, char **argv)
{
    redrive_t  r = { .env = env };
    err_t      err = { "" };
    rc_t       rc;

    if (redrive_args(&r, argc, argv) != 0) {
        return tool_usage(&tool_redrive);
    }

    if (strcmp(r.topic, env->conf->dead_topic) != 0
        && strcmp(r.topic, env->conf->late_topic) != 0)
    {
        (void) err_set(&err, RC_REJECT, "--topic %s is neither this "
                       "configuration's dead_topic, %s, nor its late_topic, "
                       "%s", r.topic, env->conf->dead_topic,
                       env->conf->late_topic);
        return tool_fail(&tool_redrive, &err);
    }

    rc = kafka_scan_open(&r.scan, env->kafka, &err);
    if (rc == RC_OK) {
        rc = redrive_all(&r, &err);
        redrive_print(&r);
    }

    kafka_scan_close(r.scan);
    env->store->close(r.store);
    members_free(&r.seen);
    members_free(&r.reasons);
    free(r.counts);

    if (rc != RC_OK) {
        return tool_fail(&tool_redrive, &err);
    }
    return r.sent > 0 && r.failed == 0 ? TOOL_OK : TOOL_FOUND;
}


const tool_t  tool_redrive = {
    .name = "redrive",
    .usage = "--topic TOPIC [--since TIME] [--reason TEXT] [--dry-run]",
    .help = "put late or dead letters back on the topic they came from",
    .run = redrive_run,
};
