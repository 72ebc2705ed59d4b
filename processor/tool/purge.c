/*
 * purge.c: what retention has overtaken is removed.
 *
 * Owns the order, and which day is over: one whose end lies `retention` back.
 * Days go whole, so what is removed is at least `retention` old, and at most a
 * day more when this runs each day.
 *
 * Rows go before objects.  A crash in between leaves objects without a row,
 * which the next run finds by listing; the other way round it would leave
 * rows whose object is gone, links that lead nowhere.  For the same reason the
 * objects of a day stay whose table could not be dropped, and those that a
 * younger row refers to.  Everything here may be done twice.
 */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/now.h"
#include "core/retry.h"
#include "core/window.h"
#include "tool/jobs.h"
#include "tool/leftovers.h"
#include "tool/objects.h"
#include "tool/print.h"
#include "tool/textfile.h"
#include "tool/when.h"

#define PURGE_TRIES     30           /* for the lock of a day, about 2 min */
#define PURGE_ROWS      "5000"
#define PURGE_HOUR_MS   (3600 * INT64_C(1000))

typedef struct {
    int64_t        day_ms;
    int64_t        tables;           /* dropped */
    int64_t        rows;             /* taken out of shared tables */
    objects_sum_t  objects;
    int            left;             /* its rows are there: keep the objects */
} purge_day_t;

typedef struct {
    const tool_env_t  *env;
    job_t              job;
    store_t           *store;
    int64_t            now_ms;
    int64_t            before_ms;    /* days that begin before it are over */
    int                dry;
    const char        *metrics;      /* path; NULL */
    int                failed;       /* something was left undone */

    purge_day_t       *days;         /* in order */
    size_t             ndays;
    int64_t            first_seen, keys;
    unsigned int       seed;
} purge_t;

static const char purge_sql_tables[] =
    "SELECT name, (extract(epoch FROM day::timestamp) * 1000)::bigint"
    " FROM sluice.day_tables() WHERE day::timestamp AT TIME ZONE 'UTC'"
    " < timestamptz 'epoch' + $1::bigint * interval '1 millisecond'";

#define PURGE_BEFORE(n)                                                       \
    "timestamptz 'epoch' + " n "::bigint * interval '1 millisecond'"

static const char purge_sql_day[] =
    "SELECT sluice.purge_day($1::text, $2::text, " PURGE_BEFORE("$3") ")";

static const char purge_sql_rows[] =
    "SELECT sluice.purge_rows($1::text, $2::text, " PURGE_BEFORE("$3") ", "
    PURGE_ROWS ")";

static const char purge_sql_first_seen[] =
    "SELECT sluice.purge_first_seen($1::text, " PURGE_BEFORE("$2") ", "
    PURGE_ROWS ")";

static const char purge_sql_first_seen_count[] =
    "SELECT count(*) FROM sluice.first_seen WHERE pipeline = $1::text"
    " AND seen_at < " PURGE_BEFORE("$2");

static const char purge_sql_kept[] =
    "SELECT sluice.kept_objects($1::text, $2::text, ((" PURGE_BEFORE("$3")
    ") AT TIME ZONE 'UTC')::date, " PURGE_BEFORE("$4") ")"
    OBJECTS_KEPT_LIMIT;


static void
purge_say(purge_t *p, const err_t *err)
{
    p->failed = 1;
    fprintf(stderr, "sluice-processor purge: %s\n", err->text);
}


static void
purge_number(char text[24], int64_t n)
{
    (void) snprintf(text, 24, "%" PRId64, n);
}


static purge_day_t *
purge_day(purge_t *p, int64_t day_ms)
{
    size_t  at = 0;

    while (at < p->ndays && p->days[at].day_ms < day_ms) {
        at++;
    }

    if (at == p->ndays || p->days[at].day_ms != day_ms) {
        p->days = mem_grow(p->days, p->ndays + 1, sizeof(*p->days));
        memmove(&p->days[at + 1], &p->days[at],
                (p->ndays - at) * sizeof(*p->days));
        p->days[at] = (purge_day_t) { .day_ms = day_ms };
        p->ndays++;
    }
    return &p->days[at];
}


/* Our rows out of a table in which other pipelines have some. */
static rc_t
purge_shared(purge_t *p, purge_day_t *day, const char *name, err_t *err)
{
    char         before[24];
    const char  *params[] = { name, p->env->conf->pipeline, before };
    pg_result_t  result;
    int64_t      n = 1;

    purge_number(before, p->before_ms);

    while (n > 0) {
        rc_t  rc = pg_exec(p->job.pg, purge_sql_rows, 3, params, &result, err);

        if (rc != RC_OK) {
            return rc;
        }
        n = strtoll(pg_value(p->job.pg, 0, 0), NULL, 10);
        day->rows += n;
    }
    return RC_OK;
}


/*
 * Detach, then drop.  Who is in the way is most likely a reader with a long
 * query; those who come behind us must not wait for it as well, so each try is
 * short and the pauses are long.
 */
static rc_t
purge_table(purge_t *p, purge_day_t *day, const char *name, err_t *err)
{
    char         before[24];
    const char  *params[] = { name, p->env->conf->pipeline, before };
    pg_result_t  result;
    retry_t      retry = { 0 };
    rc_t         rc;

    purge_number(before, p->before_ms);

    for ( ;; ) {
        rc = job_hold(&p->job, err);
        if (rc == RC_OK) {
            rc = pg_exec(p->job.pg, purge_sql_day, 3, params, &result, err);
        }

        if (rc == RC_RETRY && retry.failures < PURGE_TRIES) {
            int64_t          ms = retry_next(&retry,
                                             (uint32_t) rand_r(&p->seed));
            struct timespec  ts = { ms / 1000, ms % 1000 * 1000000 };

            nanosleep(&ts, NULL);
            continue;
        }
        if (rc != RC_OK) {
            return rc;
        }

        const char  *done = pg_value(p->job.pg, 0, 0);

        if (strcmp(done, "shared") == 0) {
            return purge_shared(p, day, name, err);
        }
        if (strcmp(done, "dropped") == 0) {
            day->tables++;
            return RC_OK;
        }
    }
}


/* RC_FENCED alone ends the purge; a table that is in use waits for the next. */
static rc_t
purge_tables(purge_t *p, err_t *err)
{
    char          before[24];
    const char   *params[] = { before };
    pg_result_t   result;
    members_t     names = { 0 };
    int64_t      *days;
    rc_t          rc;

    purge_number(before, p->before_ms);
    rc = pg_exec(p->job.pg, purge_sql_tables, 1, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    days = mem_zalloc((result.rows + 1) * sizeof(*days));
    for (size_t i = 0; i < result.rows; i++) {
        const char  *name = pg_value(p->job.pg, i, 0);

        members_add(&names, name, strlen(name), NULL);
        days[i] = strtoll(pg_value(p->job.pg, i, 1), NULL, 10);
    }

    for (size_t i = 0; i < names.n && rc == RC_OK; i++) {
        purge_day_t  *day = purge_day(p, days[i]);

        if (p->dry) {
            day->tables++;
            continue;
        }

        rc = purge_table(p, day, names.texts[i], err);
        if (rc != RC_OK && rc != RC_FENCED) {
            day->left = 1;
            purge_say(p, err);
            rc = RC_OK;
        }
    }

    members_free(&names);
    free(days);
    return rc;
}


/*
 * Kept a day longer than the rest: a letter of the first day's last hour may
 * be put back for as long as its topic has it.
 */
static rc_t
purge_first_seen(purge_t *p, err_t *err)
{
    char         before[24];
    const char  *params[] = { p->env->conf->pipeline, before };
    pg_result_t  result;
    int64_t      n = 1;

    purge_number(before, p->now_ms - p->env->conf->retention_ms
                         - OBJECTS_DAY_MS);

    while (n > 0) {
        rc_t  rc = pg_exec(p->job.pg, p->dry ? purge_sql_first_seen_count
                                             : purge_sql_first_seen,
                           2, params, &result, err);

        if (rc != RC_OK) {
            return rc;
        }
        n = strtoll(pg_value(p->job.pg, 0, 0), NULL, 10);
        p->first_seen += n;
        if (p->dry) {
            break;
        }
    }
    return RC_OK;
}


/* What is still referred to of the day's objects. */
static rc_t
purge_kept(purge_t *p, int64_t day_ms, members_t *keep, err_t *err)
{
    char         day[24], before[24];
    const char  *params[] = { p->env->conf->pipeline,
                              p->env->conf->store_prefix, day, before };
    int64_t      oldest = p->before_ms;
    pg_result_t  result;
    rc_t         rc;

    /* Rows that could not be dropped today refer to their objects as well. */
    for (size_t i = p->ndays; i-- > 0; ) {
        if (p->days[i].left) {
            oldest = p->days[i].day_ms;
        }
    }

    purge_number(day, day_ms);
    purge_number(before, oldest);

    members_reset(keep);
    rc = pg_exec(p->job.pg, purge_sql_kept, 4, params, &result, err);
    if (rc == RC_OK && !objects_keep(keep, p->job.pg, &result)) {
        return err_set(err, RC_REJECT, "other pipelines have more than %d "
                       "objects of that day below the same store_prefix: give "
                       "each its own", OBJECTS_KEPT_MAX);
    }
    return rc;
}


static rc_t
purge_folder(purge_t *p, const objects_folder_t *folder, members_t *keep,
    int64_t *kept_ms, err_t *err)
{
    purge_day_t  *day = purge_day(p, folder->day_ms);
    rc_t          rc;

    if (day->left) {
        return RC_OK;
    }

    rc = job_hold(&p->job, err);
    if (rc == RC_OK && *kept_ms != folder->day_ms) {
        rc = purge_kept(p, folder->day_ms, keep, err);
        *kept_ms = rc == RC_OK ? folder->day_ms : WINDOW_NONE;
    }

    return rc == RC_OK
           ? objects_remove(p->env->store, p->store, folder->path,
                            p->before_ms, keep, p->dry, &day->objects, err)
           : rc;
}


static rc_t
purge_objects(purge_t *p, err_t *err)
{
    objects_folders_t  found = { 0 };
    members_t          keep = { 0 };
    int64_t            kept_ms = WINDOW_NONE;
    rc_t               rc;

    rc = p->env->store->open(&p->store, p->env->store_conf, err);
    if (rc == RC_OK) {
        rc = objects_find(p->env->store, p->store, p->env->conf->store_prefix,
                          NULL, p->before_ms, &found, err);
    }

    for (size_t i = 0; i < found.n && rc == RC_OK; i++) {
        rc = purge_folder(p, &found.folders[i], &keep, &kept_ms, err);
    }

    objects_free(&found);
    members_free(&keep);
    return rc;
}


static rc_t
purge_redis(purge_t *p, err_t *err)
{
    const lane_conf_t  *conf = p->env->conf;
    leftovers_t         lo = { .conf = conf, .pg = p->job.pg, .dry = p->dry };
    rc_t                rc;

    lo.before_ms = p->now_ms - conf->lateness_ms - conf->inspect_ttl_ms
                   - PURGE_HOUR_MS;
    lo.redis = redis_open(p->env->redis);

    rc = kafka_scan_open(&lo.scan, p->env->kafka, err);
    if (rc == RC_OK) {
        rc = leftovers_remove(&lo, &p->keys, err);
    }

    kafka_scan_close(lo.scan);
    redis_close(lo.redis);
    return rc;
}


static purge_day_t
purge_sum(const purge_t *p)
{
    purge_day_t  sum = { 0 };

    for (size_t i = 0; i < p->ndays; i++) {
        sum.tables += p->days[i].tables;
        sum.rows += p->days[i].rows;
        sum.objects.objects += p->days[i].objects.objects;
        sum.objects.bytes += p->days[i].objects.bytes;
        sum.objects.kept += p->days[i].objects.kept;
        sum.left += p->days[i].left;
    }
    return sum;
}


static void
purge_print(const purge_t *p)
{
    static const char *const  columns[] = {
        "day", "tables", "rows", "objects", "bytes", "kept", "left"
    };

    print_t  *out = print_new("days", columns, 7, p->env->json);
    char      text[WHEN_TEXT_LEN];

    when_text(p->before_ms, text);
    print_fact_str(out, "before", text);
    print_fact_str(out, "dry_run", p->dry ? "yes" : "no");
    print_fact_int(out, "first_seen", p->first_seen);
    print_fact_int(out, "redis_keys", p->keys);

    for (size_t i = 0; i < p->ndays; i++) {
        const purge_day_t  *day = &p->days[i];

        when_text(day->day_ms, text);
        text[10] = '\0';
        print_str(out, text);
        print_int(out, day->tables);
        print_int(out, day->rows);
        print_int(out, day->objects.objects);
        print_int(out, day->objects.bytes);
        print_int(out, day->objects.kept);
        print_bool(out, day->left);
    }
    (void) print_end(out);
}


static void
purge_metrics(purge_t *p)
{
    textfile_t   *t = textfile_new(p->metrics);
    purge_day_t   sum = purge_sum(p);
    err_t         err = { "" };

#define GAUGE(name, help, num)                                                \
    textfile_add(t, "sluice_purge_" name, help, NULL, NULL, num)

    GAUGE("last_run_timestamp_seconds", "When the last purge began.",
          p->now_ms / 1000);
    GAUGE("success", "1 when it left nothing undone.", !p->failed);
    GAUGE("duration_seconds", "How long it took.",
          (now_wall_ms() - p->now_ms) / 1000);
    GAUGE("tables", "Tables of days it dropped.", sum.tables);
    GAUGE("tables_left", "Days whose table was in use.", sum.left);
    GAUGE("objects", "Objects it removed.", sum.objects.objects);
    GAUGE("bytes", "Their size.", sum.objects.bytes);
    GAUGE("objects_kept", "Old objects that younger rows refer to.",
          sum.objects.kept);
    GAUGE("first_seen", "Entries of first_seen it removed.", p->first_seen);
    GAUGE("redis_keys", "Redis keys it removed.", p->keys);

#undef GAUGE

    if (textfile_end(t, &err) != RC_OK) {
        purge_say(p, &err);
    }
}


static void
purge_report(purge_t *p)
{
    purge_day_t  sum = purge_sum(p);
    err_t        err = { "" };
    char        *figures;

    figures = mem_printf("{\"tables\": %" PRId64 ", \"rows\": %" PRId64
                         ", \"objects\": %" PRId64 ", \"bytes\": %" PRId64
                         ", \"first_seen\": %" PRId64 ", \"redis_keys\": %"
                         PRId64 ", \"success\": %s}", sum.tables, sum.rows,
                         sum.objects.objects, sum.objects.bytes,
                         p->first_seen, p->keys,
                         p->failed ? "false" : "true");

    if (job_end(&p->job, figures, &err) != RC_OK) {
        purge_say(p, &err);
    }
    free(figures);

    purge_print(p);
    if (!p->dry) {
        purge_metrics(p);
    }
}


/* A step that fails leaves the others to be done: each helps by itself. */
static int
purge_steps(purge_t *p)
{
    rc_t  (*const steps[])(purge_t *, err_t *) = {
        purge_tables, purge_first_seen, purge_objects, purge_redis
    };
    err_t  err = { "" };
    rc_t   rc = RC_OK;

    if (!p->dry) {
        rc = job_begin(&p->job, p->env->conf->pipeline, "purge", NULL,
                       p->before_ms, &err);
        if (rc != RC_OK) {
            return tool_fail(&tool_purge, &err);
        }
    }

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        rc = steps[i](p, &err);

        if (rc != RC_OK) {
            purge_say(p, &err);
        }
        /* Without the rows' end nothing is known about the objects. */
        if (rc == RC_FENCED || (rc != RC_OK && i == 0)) {
            break;
        }
    }

    purge_report(p);
    return p->failed ? TOOL_FOUND : TOOL_OK;
}


static int
purge_run(const tool_env_t *env, int argc, char **argv)
{
    static const struct option  options[] = {
        { "dry-run", no_argument, NULL, 'n' },
        { "metrics", required_argument, NULL, 'm' },
        { NULL, 0, NULL, 0 }
    };

    const window_conf_t  day = { OBJECTS_DAY_MS, 0 };
    purge_t              p = { .env = env };
    err_t                err = { "" };
    int                  c, code;
    rc_t                 rc;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'n') {
            p.dry = 1;
        } else if (c == 'm') {
            p.metrics = optarg;
        } else {
            return tool_usage(&tool_purge);
        }
    }
    if (optind != argc) {
        return tool_usage(&tool_purge);
    }

    p.now_ms = now_wall_ms();
    p.before_ms = window_start(&day, p.now_ms - env->conf->retention_ms);
    p.seed = (unsigned int) p.now_ms;

    rc = job_open(&p.job, env, &err);
    if (rc == RC_OK) {
        code = purge_steps(&p);
    } else {
        code = tool_fail(&tool_purge, &err);
        code = rc == RC_FENCED ? TOOL_FOUND : code;
    }

    env->store->close(p.store);
    job_close(&p.job);
    free(p.days);
    return code;
}


const tool_t  tool_purge = {
    .name = "purge",
    .usage = "[--dry-run] [--metrics FILE]",
    .help = "remove what is older than retention",
    .run = purge_run,
};
