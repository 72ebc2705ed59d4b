/*
 * adopt.c: goes on with a log that is another one than before.
 *
 * A topic was made anew, restored from a mirror, or lost its end.  Offsets of
 * the two logs can't be compared, so a new generation begins; what was open
 * is settled in one of two ways:
 *
 *   fresh  none of what was counted is in the log.  What was counted of open
 *          windows is final as it is, and all that the log has counts anew,
 *          beside it.
 *   copy   records that were counted are in the log, or some of them.  Closed
 *          windows stay as they are; the open ones are counted again from the
 *          log as it is now.
 *
 * Taken for the other, the first counts twice and the second takes back what
 * was shown.  So, unless told, it looks for records that were counted: those
 * of rows going back from the newest in steps that double.  Of a log that
 * lost its end, however much, one of them is found.
 */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lane/flush.h"
#include "lane/take.h"
#include "tool/print.h"
#include "tool/site.h"

#define ADOPT_SAMPLES  24
#define ADOPT_SEARCH   1000          /* records from a row's time on */
#define ADOPT_TRIES    20            /* a window closes now and then */

#define SQL_TIME(n)                                                           \
    "timestamptz 'epoch' + " n "::bigint * interval '1 millisecond'"

static const char adopt_sql_samples[] =
    "WITH newest AS (SELECT max(window_start) AS at FROM sluice.summary"
    " WHERE pipeline = $1::text AND topic = $2::text"
    " AND partition = $3::integer AND generation = $4::integer"
    " AND first_offset < $5::bigint) "
    "SELECT DISTINCT r.upload, r.first_offset,"
    " (extract(epoch FROM r.first_seen) * 1000)::bigint"
    " FROM newest, generate_series(0, 21) AS k,"
    " LATERAL (SELECT upload, first_offset, first_seen FROM sluice.summary"
    " WHERE pipeline = $1 AND topic = $2 AND partition = $3"
    " AND generation = $4 AND first_offset < $5"
    " AND window_start <= at - ((1 << k) - 1) * interval '1 second'"
    " ORDER BY window_start DESC LIMIT 1) AS r ORDER BY 3 DESC";

static const char adopt_sql_new[] =
    "SELECT sluice.new_generation($1::text, $2::text, $3::integer,"
    " $4::integer, " SQL_TIME("$5") ", $6::text, " SQL_TIME("$7") ","
    " $8::bigint, $9::integer, $10::integer, $11::bigint)";

typedef struct {
    const char  *topic;
    int64_t      partition;          /* -1: all */
    const char  *how;                /* NULL: by what the log holds */
    int          force;
    int          dry;
} adopt_args_t;

typedef struct {
    char     id[RECORD_ID_MAX + 1];
    int64_t  offset;
    int64_t  ts_ms;
} adopt_sample_t;


/* Is the record that this row counted first in the log? */
static rc_t
adopt_look(site_t *site, const site_part_t *part, const adopt_sample_t *s,
    int *found, err_t *err)
{
    kafka_t       *kafka = site->l.kafka;
    int32_t        id = part->p->id;
    kafka_seen_t   seen;
    int64_t        offset;
    rc_t           rc;

    *found = 0;

    if (s->offset >= part->first && s->offset < part->end) {
        rc = kafka_look(kafka, id, s->offset, &seen, err);
        if (rc != RC_OK) {
            return rc;
        }

        *found = seen.offset == s->offset && strcmp(seen.id, s->id) == 0;
    }

    if (*found || part->first == part->end) {
        return RC_OK;
    }

    rc = kafka_offset_at(kafka, id, s->ts_ms - 1, &offset, err);

    if (rc == RC_OK && offset < part->end) {
        rc = kafka_find(kafka, id, offset, ADOPT_SEARCH, s->id, &seen, err);
        *found = rc == RC_OK && seen.offset >= 0;
    }

    return rc;
}


static rc_t
adopt_find_out(site_t *site, const site_part_t *part, const char **how,
    err_t *err)
{
    char             below[24];
    const char      *params[] = { site->conf.pipeline, site->conf.topic,
                                  part->p->id_text,
                                  part->p->generation_text, below };
    adopt_sample_t   samples[ADOPT_SAMPLES];
    pg_result_t      result;
    size_t           n;
    int              found = 0;
    rc_t             rc;

    /* What a lane read on past was of this log already. */
    (void) snprintf(below, sizeof(below), "%" PRId64,
                    part->state.older > 0 ? part->state.older : INT64_MAX);

    rc = pg_exec(site->l.pg, adopt_sql_samples, 5, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    n = result.rows < ADOPT_SAMPLES ? result.rows : ADOPT_SAMPLES;

    for (size_t i = 0; i < n; i++) {
        snprintf(samples[i].id, sizeof(samples[i].id), "%s",
                 pg_value(site->l.pg, i, 0));
        samples[i].offset = strtoll(pg_value(site->l.pg, i, 1), NULL, 10);
        samples[i].ts_ms = strtoll(pg_value(site->l.pg, i, 2), NULL, 10);
    }

    for (size_t i = 0; i < n && !found; i++) {
        rc = adopt_look(site, part, &samples[i], &found, err);
        if (rc != RC_OK) {
            return rc;
        }
    }

    *how = found ? "copy" : "fresh";

    return RC_OK;
}


/* The last counts of the older log, as far as Redis still has them. */
static rc_t
adopt_flush(site_t *site, site_part_t *part, err_t *err)
{
    rows_t  *rows;
    rc_t     rc = RC_OK;

    if (!part->state.has) {
        return RC_OK;
    }

    for (size_t i = 0; i < part->p->nwindows; i++) {
        part->p->windows[i].sweep = 1;
    }

    rows = rows_new();

    while (rc == RC_OK && partition_is_dirty(part->p)) {
        rc = flush_rows(&site->l, part->p, rows, err);
    }

    rows_free(rows);

    return rc;
}


/* Where the new generation's reading begins to be news: what a record of a
 * closed window below it was counted as, its copy was counted as. */
static rc_t
adopt_next(site_t *site, const site_part_t *part, const char *how,
    int64_t *next, err_t *err)
{
    const window_conf_t *wc = &site->l.wc;

    *next = 0;

    if (strcmp(how, "fresh") == 0 || part->p->closed_ms == WINDOW_NONE) {
        return RC_OK;
    }

    return kafka_offset_at(site->l.kafka, part->p->id,
                           part->p->closed_ms + wc->size_ms + wc->lateness_ms,
                           next, err);
}


static rc_t
adopt_commit(site_t *site, site_part_t *part, const char *how, err_t *err)
{
    partition_t  *p = part->p;
    int           fresh = strcmp(how, "fresh") == 0;
    int64_t       next, lost = part->state.older > 0 ? part->state.older
                             : part->state.has ? part->state.next
                                               : p->closed_next;
    char          closed[24], after[24], next_text[24], size[24], lateness[24],
                  lost_text[24];
    pg_result_t   result;
    rc_t          rc;

    rc = adopt_next(site, part, how, &next, err);
    if (rc != RC_OK) {
        return rc;
    }

    const char *params[] = {
        site->conf.pipeline, site->conf.topic, p->id_text, p->generation_text,
        site_text(p->closed_ms, WINDOW_NONE, closed), how,
        site_text(fresh ? WINDOW_NONE : p->closed_ms, WINDOW_NONE, after),
        site_text(next, -1, next_text),
        site_text(site->l.wc.size_ms, -1, size),
        site_text(site->l.wc.lateness_ms, -1, lateness),
        site_text(lost, -1, lost_text)
    };

    rc = pg_exec(site->l.pg, adopt_sql_new, 11, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (strcmp(pg_value(site->l.pg, 0, 0), "t") != 0) {
        return err_set(err, RC_FENCED, "partition %s was changed meanwhile: "
                       "try again", p->id_text);
    }

    /* Nobody reads it any more; it would expire by itself. */
    if (part->state.has) {
        err_t ignored;

        (void) state_drop(&site->l, p, &part->state, &ignored);
    }

    return RC_OK;
}


/* One partition, one line.  RC_OK with *done: adopted, or would be. */
static rc_t
adopt_one(site_t *site, const adopt_args_t *args, int32_t id, print_t *out,
    int *done, err_t *err)
{
    const char   *how = args->how;
    site_part_t   part;
    rc_t          rc, same;

    rc = site_part_read(site, id, &part, err);
    if (rc != RC_OK) {
        return rc;
    }

    site_part_settle(&part);
    same = take_same_log(&site->l, part.p, &part.state, &part.progress,
                         part.first, part.end, err);
    *done = same == RC_REJECT || args->force;

    if (same == RC_RETRY) {
        rc = RC_RETRY;
    }

    if (rc == RC_OK && *done && how == NULL) {
        rc = adopt_find_out(site, &part, &how, err);
    }

    if (rc == RC_OK && *done && !args->dry) {
        if (strcmp(how, "fresh") == 0) {
            rc = adopt_flush(site, &part, err);
        }
        if (rc == RC_OK) {
            rc = adopt_commit(site, &part, how, err);
        }
    }

    if (rc == RC_OK) {
        print_int(out, id);
        print_str(out, !*done ? "the same log"
                       : args->dry ? "would be adopted" : "adopted");
        print_str(out, *done ? how : NULL);
        print_int(out, part.p->generation + (*done && !args->dry));
        print_int(out, part.first);
        print_int(out, part.end);
    }

    site_part_free(&part);

    return rc;
}


static int
adopt_read_args(adopt_args_t *args, int argc, char **argv)
{
    static const struct option  options[] = {
        { "topic", required_argument, NULL, 't' },
        { "partition", required_argument, NULL, 'p' },
        { "as", required_argument, NULL, 'a' },
        { "force", no_argument, NULL, 'f' },
        { "dry-run", no_argument, NULL, 'n' },
        { NULL, 0, NULL, 0 }
    };

    int c;

    memset(args, 0, sizeof(*args));
    args->partition = -1;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 't':
            args->topic = optarg;
            break;
        case 'p':
            if (tool_int(optarg, 0, INT32_MAX, &args->partition) != 0) {
                return -1;
            }
            break;
        case 'a':
            args->how = optarg;
            if (strcmp(optarg, "fresh") != 0 && strcmp(optarg, "copy") != 0) {
                return -1;
            }
            break;
        case 'f':
            args->force = 1;
            break;
        case 'n':
            args->dry = 1;
            break;
        default:
            return -1;
        }
    }

    return optind == argc ? 0 : -1;
}


static int
adopt_run(const tool_env_t *env, int argc, char **argv)
{
    static const char *const columns[] = {
        "partition", "result", "as", "generation", "first", "end"
    };

    adopt_args_t   args;
    site_t         site;
    print_t       *out;
    err_t          err = { "" };
    int            done, tries, any = 0;
    rc_t           rc;

    if (adopt_read_args(&args, argc, argv) != 0) {
        return tool_usage(&tool_adopt);
    }

    rc = site_open(&site, env, args.topic, args.partition, &err);
    if (rc != RC_OK) {
        return tool_fail(&tool_adopt, &err);
    }

    out = print_new("partitions", columns,
                    sizeof(columns) / sizeof(columns[0]), env->json);

    for (size_t i = 0; i < site.nids && rc == RC_OK; i++) {
        tries = ADOPT_TRIES;

        do {
            rc = adopt_one(&site, &args, site.ids[i], out, &done, &err);
        } while (rc == RC_FENCED && --tries > 0);

        any |= rc == RC_OK && done;
    }

    (void) print_end(out);
    site_close(&site);

    if (rc != RC_OK) {
        return tool_fail(&tool_adopt, &err);
    }

    return any ? TOOL_OK : TOOL_FOUND;
}


const tool_t tool_adopt = {
    "adopt",
    "[--topic TOPIC] [--partition N] [--as fresh|copy] [--dry-run] [--force]",
    "go on with a log that is another one than before",
    adopt_run
};
