/*
 * erase.c: one customer's files are removed.
 *
 * Owns the question up to which window a customer can be erased: up to the
 * first that is still open on any partition, or not yet read.  A window that
 * is open would be written again by its lane at the next flush; so it is left,
 * counted, and erased by a second call once it is closed.  Kafka keeps its
 * records until their retention has passed, and says who looks at the output.
 *
 * What is erased stays so: a replay skips records of windows that are closed.
 * Rows go before objects, for the reason that stands in purge.c.
 */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/now.h"
#include "base/utf8.h"
#include "core/window.h"
#include "tool/jobs.h"
#include "tool/leftovers.h"
#include "tool/objects.h"
#include "tool/print.h"
#include "tool/tool.h"
#include "tool/when.h"

#define ERASE_SLICE  "5000"

typedef struct {
    const tool_env_t  *env;
    job_t              job;
    kafka_scan_t      *scan;
    redis_t           *redis;
    store_t           *store;
    window_conf_t      wc;
    int64_t            now_ms;
    int64_t            before_ms;    /* windows that start before it go */
    const char        *customer;
    char               encoded[PATH_CUSTOMER_MAX];
    int                dry;

    int64_t            files, uploads, first_seen;
    int64_t            open;         /* files that are left: open windows */
    objects_sum_t      objects;
    int64_t            keys;
} erase_t;

#define ERASE_TIME(n)                                                         \
    "timestamptz 'epoch' + " n "::bigint * interval '1 millisecond'"

static const char erase_sql_progress[] =
    "SELECT (extract(epoch FROM closed_through) * 1000)::bigint, next_offset"
    " FROM sluice.progress WHERE pipeline = $1::text AND topic = $2::text"
    " AND partition = $3::integer";

/* What goes: $3 is the first window that stays. */
static const char erase_sql_count[] =
    "SELECT (SELECT count(*) FROM sluice.summary WHERE customer = $2::text"
    " AND pipeline = $1::text AND window_start < " ERASE_TIME("$3")
    " AND final),"
    " (SELECT count(*) FROM sluice.uploads WHERE customer = $2::text"
    " AND pipeline = $1::text AND window_start < " ERASE_TIME("$3") "),"
    " (SELECT count(*) FROM sluice.first_seen WHERE customer = $2::text"
    " AND pipeline = $1::text AND seen_at < " ERASE_TIME("$3") ")";

static const char erase_sql_window[] =
    "SELECT had_some, files, uploads FROM sluice.erase_window($1::text,"
    " $2::text, " ERASE_TIME("$3") ")";

static const char erase_sql_first_seen[] =
    "SELECT sluice.erase_first_seen($1::text, $2::text, " ERASE_TIME("$3")
    ", " ERASE_SLICE ")";

static const char erase_sql_open[] =
    "SELECT count(*) FROM sluice.summary WHERE customer = $2::text"
    " AND pipeline = $1::text AND (window_start >= " ERASE_TIME("$3")
    " OR NOT final)";

static const char erase_sql_kept[] =
    "SELECT object FROM sluice.summary WHERE customer = $2::text"
    " AND (pipeline <> $1::text OR NOT final OR window_start >= "
    ERASE_TIME("$3") ")" OBJECTS_KEPT_LIMIT;


static int64_t
erase_number(const erase_t *e, size_t col)
{
    const char  *value = pg_value(e->job.pg, 0, col);

    return value != NULL ? strtoll(value, NULL, 10) : 0;
}


/* A statement of pipeline, customer and the first window that stays. */
static rc_t
erase_exec(erase_t *e, const char *sql, pg_result_t *result, err_t *err)
{
    char         before[24];
    const char  *params[] = { e->env->conf->pipeline, e->customer, before };

    (void) snprintf(before, sizeof(before), "%" PRId64, e->before_ms);

    return pg_exec(e->job.pg, sql, 3, params, result, err);
}


static void
erase_until(erase_t *e, int64_t start_ms)
{
    if (start_ms < e->before_ms) {
        e->before_ms = start_ms;
    }
}


/*
 * The windows that the partition's lane holds open; has is 0 when Redis has no
 * state of it.
 */
static rc_t
erase_open_windows(erase_t *e, int32_t partition, int *has, err_t *err)
{
    const redis_value_t  *reply;
    redis_args_t          args = { 0 };
    char                 *base, *key;
    rc_t                  rc;

    base = mem_printf("sluice:{%s/%s:%" PRId32 "}:", e->env->conf->pipeline,
                      e->env->conf->topic, partition);
    key = mem_printf("%sopen", base);
    redis_args_str(&args, "HGETALL");
    redis_args_str(&args, key);
    rc = redis_command(e->redis, &args, &reply, err);

    for (size_t i = 0; rc == RC_OK && i + 1 < reply->n; i += 2) {
        char     label[WINDOW_LABEL_LEN];
        int64_t  start_ms;

        if (reply->items[i].kind == REDIS_STR
            && reply->items[i].len == sizeof(label) - 1)
        {
            memcpy(label, reply->items[i].str, sizeof(label) - 1);
            label[sizeof(label) - 1] = '\0';
            if (window_parse(label, &start_ms) == 0) {
                erase_until(e, start_ms);
            }
        }
    }

    if (rc == RC_OK) {
        free(key);
        key = mem_printf("%sprogress", base);
        redis_args_reset(&args);
        redis_args_str(&args, "EXISTS");
        redis_args_str(&args, key);
        rc = redis_command(e->redis, &args, &reply, err);
        *has = rc == RC_OK && reply->kind == REDIS_INT && reply->num > 0;
    }

    redis_args_free(&args);
    free(base);
    free(key);
    return rc;
}


/*
 * Records that no close has seen: from which window on?  Behind the first of
 * them lies none that is more than the lateness older and still counts.
 */
static rc_t
erase_unseen(erase_t *e, int32_t partition, int64_t next, int64_t end,
    int64_t *start_ms, err_t *err)
{
    record_t  *rec;
    rc_t       rc;

    rc = kafka_scan_begin(e->scan, e->env->conf->topic, partition, next, end,
                          err);
    if (rc == RC_OK) {
        rc = kafka_scan_next(e->scan, &rec, err);
    }
    if (rc == RC_OK) {
        *start_ms = rec != NULL
                    ? window_start(&e->wc, rec->ts_ms - e->wc.lateness_ms)
                    : e->before_ms;
    }
    return rc;
}


/*
 * PostgreSQL is asked before Redis and Kafka: what comes meanwhile makes the
 * bound earlier, never later.
 */
static rc_t
erase_partition(erase_t *e, int32_t partition, err_t *err)
{
    const lane_conf_t  *conf = e->env->conf;
    char                number[16];
    const char         *params[] = { conf->pipeline, conf->topic, number };
    int64_t             closed_ms = WINDOW_NONE, next = 0, first, end, unseen;
    pg_result_t         result;
    int                 has;
    rc_t                rc;

    (void) snprintf(number, sizeof(number), "%" PRId32, partition);

    rc = pg_exec(e->job.pg, erase_sql_progress, 3, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }
    if (result.rows == 1) {
        next = erase_number(e, 1);
        if (pg_value(e->job.pg, 0, 0) != NULL) {
            closed_ms = erase_number(e, 0);
        }
    }

    rc = erase_open_windows(e, partition, &has, err);
    if (rc == RC_OK) {
        rc = kafka_scan_bounds(e->scan, conf->topic, partition, &first, &end,
                               err);
    }

    if (rc != RC_OK) {
        return rc;
    }

    next = next > first ? next : first;
    if (next >= end) {
        return RC_OK;
    }

    rc = erase_unseen(e, partition, next, end, &unseen, err);
    if (rc != RC_OK) {
        return rc;
    }

    /* Without its state nobody knows what else the last close left open. */
    if (closed_ms != WINDOW_NONE
        && (!has || unseen < closed_ms + e->wc.size_ms))
    {
        unseen = closed_ms + e->wc.size_ms;
    }
    erase_until(e, unseen);
    return RC_OK;
}


static rc_t
erase_bound(erase_t *e, err_t *err)
{
    int32_t  partitions;
    rc_t     rc;

    e->before_ms = window_start(&e->wc, e->now_ms - e->wc.lateness_ms);

    rc = kafka_scan_partitions(e->scan, e->env->conf->topic, &partitions,
                               err);
    if (rc == RC_OK && partitions == 0) {
        return err_set(err, RC_REJECT, "kafka: topic %s doesn't exist",
                       e->env->conf->topic);
    }

    for (int32_t p = 0; p < partitions && rc == RC_OK; p++) {
        rc = erase_partition(e, p, err);
    }
    return rc;
}


static rc_t
erase_rows(erase_t *e, err_t *err)
{
    pg_result_t  result;
    rc_t         rc;

    if (e->dry) {
        rc = erase_exec(e, erase_sql_count, &result, err);
        if (rc == RC_OK) {
            e->files = erase_number(e, 0);
            e->uploads = erase_number(e, 1);
            e->first_seen = erase_number(e, 2);
        }
        return rc;
    }

    for (int more = 1; more; ) {
        rc = job_hold(&e->job, err);
        if (rc == RC_OK) {
            rc = erase_exec(e, erase_sql_window, &result, err);
        }
        if (rc != RC_OK) {
            return rc;
        }
        more = strcmp(pg_value(e->job.pg, 0, 0), "t") == 0;
        e->files += erase_number(e, 1);
        e->uploads += erase_number(e, 2);
    }

    for (int64_t n = 1; n > 0; e->first_seen += n) {
        rc = erase_exec(e, erase_sql_first_seen, &result, err);
        if (rc != RC_OK) {
            return rc;
        }
        n = erase_number(e, 0);
    }
    return RC_OK;
}


static rc_t
erase_left(erase_t *e, members_t *keep, err_t *err)
{
    pg_result_t  result;
    rc_t         rc;

    rc = erase_exec(e, erase_sql_open, &result, err);
    if (rc != RC_OK) {
        return rc;
    }
    e->open = erase_number(e, 0);

    rc = erase_exec(e, erase_sql_kept, &result, err);
    if (rc == RC_OK && !objects_keep(keep, e->job.pg, &result)) {
        return err_set(err, RC_REJECT, "more than %d files of the customer "
                       "are in open windows or other pipelines: try again "
                       "later", OBJECTS_KEPT_MAX);
    }
    return rc;
}


static rc_t
erase_objects(erase_t *e, err_t *err)
{
    objects_folders_t  found = { 0 };
    members_t          keep = { 0 };
    const char        *prefix = e->env->conf->store_prefix;
    rc_t               rc;

    rc = erase_left(e, &keep, err);
    if (rc == RC_OK) {
        rc = e->env->store->open(&e->store, e->env->store_conf, err);
    }
    if (rc == RC_OK) {
        rc = objects_find(e->env->store, e->store, prefix, e->encoded,
                          e->before_ms, &found, err);
    }

    for (size_t i = 0; i < found.n && rc == RC_OK; i++) {
        rc = objects_remove(e->env->store, e->store, found.folders[i].path,
                            e->before_ms, &keep, e->dry, &e->objects, err);
    }

    objects_free(&found);
    members_free(&keep);
    return rc;
}


/* Closed windows' keys, kept to be looked at, name customers and files. */
static rc_t
erase_redis(erase_t *e, err_t *err)
{
    leftovers_t  lo = { e->env->conf, e->redis, e->job.pg, e->scan,
                        e->before_ms, e->dry };

    return leftovers_remove(&lo, &e->keys, err);
}


static rc_t
erase_all(erase_t *e, err_t *err)
{
    rc_t  rc = kafka_scan_open(&e->scan, e->env->kafka, err);

    if (rc == RC_OK) {
        rc = erase_bound(e, err);
    }
    if (rc == RC_OK && !e->dry) {
        rc = job_begin(&e->job, e->env->conf->pipeline, "erase", e->customer,
                       e->before_ms, err);
    }
    if (rc == RC_OK) {
        rc = erase_rows(e, err);
    }
    if (rc == RC_OK) {
        rc = erase_objects(e, err);
    }
    return rc == RC_OK ? erase_redis(e, err) : rc;
}


static rc_t
erase_report(erase_t *e, err_t *err)
{
    static const char *const  columns[] = { "remains_in" };

    print_t  *out = print_new("kafka", columns, 1, e->env->json);
    char      text[WHEN_TEXT_LEN], chunks[300];
    char     *figures;
    rc_t      rc;

    when_text(e->before_ms, text);
    print_fact_str(out, "customer", e->customer);
    print_fact_str(out, "before", text);
    print_fact_str(out, "dry_run", e->dry ? "yes" : "no");
    print_fact_int(out, "files", e->files);
    print_fact_int(out, "uploads", e->uploads);
    print_fact_int(out, "first_seen", e->first_seen);
    print_fact_int(out, "objects", e->objects.objects);
    print_fact_int(out, "bytes", e->objects.bytes);
    print_fact_int(out, "redis_keys", e->keys);
    print_fact_int(out, "still_open", e->open);

    /* Kafka can't remove one customer's: they stay until retention.ms. */
    (void) snprintf(chunks, sizeof(chunks), "%s" SLUICE_TOPIC_CHUNKS,
                    e->env->conf->topic);
    print_str(out, e->env->conf->topic);
    print_str(out, chunks);
    print_str(out, e->env->conf->late_topic);
    print_str(out, e->env->conf->dead_topic);
    (void) print_end(out);

    figures = mem_printf("{\"files\": %" PRId64 ", \"uploads\": %" PRId64
                         ", \"first_seen\": %" PRId64 ", \"objects\": %"
                         PRId64 ", \"bytes\": %" PRId64 ", \"redis_keys\": %"
                         PRId64 ", \"still_open\": %" PRId64 "}", e->files,
                         e->uploads, e->first_seen, e->objects.objects,
                         e->objects.bytes, e->keys, e->open);
    rc = job_end(&e->job, figures, err);
    free(figures);
    return rc;
}


static int
erase_args(erase_t *e, int argc, char **argv, int *yes)
{
    static const struct option  options[] = {
        { "customer", required_argument, NULL, 'u' },
        { "dry-run", no_argument, NULL, 'n' },
        { "yes", no_argument, NULL, 'y' },
        { NULL, 0, NULL, 0 }
    };

    char      member[PATH_MEMBER_MAX];
    record_t  rec = { 0 };
    int       c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'u') {
            e->customer = optarg;
        } else if (c == 'n') {
            e->dry = 1;
        } else if (c == 'y') {
            *yes = 1;
        } else {
            return -1;
        }
    }

    rec.customer = e->customer;
    rec.customer_len = e->customer != NULL ? strlen(e->customer) : 0;

    if (optind != argc || rec.customer_len == 0
        || rec.customer_len > SLUICE_CUSTOMER_MAX
        || !utf8_text_is_plain(rec.customer, rec.customer_len))
    {
        return -1;
    }

    path_member(&rec, member);
    (void) snprintf(e->encoded, sizeof(e->encoded), "%.*s",
                    (int) (strchr(member, '/') - member), member);
    return 0;
}


static int
erase_run(const tool_env_t *env, int argc, char **argv)
{
    erase_t  e = { .env = env, .now_ms = now_wall_ms() };
    err_t    err = { "" };
    int      code, yes = 0;
    rc_t     rc;

    if (erase_args(&e, argc, argv, &yes) != 0) {
        return tool_usage(&tool_erase);
    }

    e.dry |= !yes;
    e.wc = (window_conf_t) { env->conf->window_ms, env->conf->lateness_ms };
    e.redis = redis_open(env->redis);

    rc = job_open(&e.job, env, &err);
    code = rc == RC_FENCED ? TOOL_FOUND : TOOL_FAILED;

    if (rc == RC_OK) {
        rc = erase_all(&e, &err);
    }
    if (rc == RC_OK) {
        rc = erase_report(&e, &err);
        code = yes && e.open == 0 ? TOOL_OK : TOOL_FOUND;
    }

    if (rc != RC_OK) {
        (void) tool_fail(&tool_erase, &err);
    } else if (!yes) {
        fprintf(stderr, "sluice-processor erase: nothing was erased: say "
                "--yes\n");
    } else if (e.open > 0) {
        fprintf(stderr, "sluice-processor erase: %" PRId64 " files are in "
                "windows that are open: call it again when they are closed\n",
                e.open);
    }

    kafka_scan_close(e.scan);
    redis_close(e.redis);
    env->store->close(e.store);
    job_close(&e.job);
    return code;
}


const tool_t  tool_erase = {
    .name = "erase",
    .usage = "--customer NAME [--dry-run] [--yes]",
    .help = "remove one customer's files and rows",
    .run = erase_run,
};
