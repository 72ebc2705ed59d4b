/*
 * verify.c: do log, rows, uploads and objects agree?
 *
 * Owns the comparison of closed windows: what the log says (recount.c) with
 * the rows, the uploads and the objects, each way round.  Changes nothing.
 *
 * What was erased or purged is no mismatch: customers of an erasure are left
 * out, and days that retention has overtaken.
 */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/now.h"
#include "core/digest.h"
#include "core/path.h"
#include "tool/objects.h"
#include "tool/print.h"
#include "tool/recount.h"
#include "tool/textfile.h"
#include "tool/tool.h"
#include "tool/when.h"

#define VERIFY_SINCE_MS  (3600 * INT64_C(1000))
#define VERIFY_PRINTED   1000        /* mismatches, at most */
#define VERIFY_PAGE      "2000"
#define VERIFY_READ      (256 * 1024)

typedef enum {
    VERIFY_ROW_MISSING, VERIFY_ROW_EXTRA, VERIFY_ROW_COUNT, VERIFY_ROW_OPEN,
    VERIFY_OBJECT_MISSING, VERIFY_OBJECT_SIZE, VERIFY_OBJECT_BYTES,
    VERIFY_UPLOAD_MISSING, VERIFY_UPLOAD_EXTRA, VERIFY_KINDS
} verify_kind_e;

static const char *const verify_kinds[VERIFY_KINDS] = {
    "row_missing", "row_extra", "row_count", "row_open", "object_missing",
    "object_size", "object_bytes", "upload_missing", "upload_extra"
};

typedef struct {
    const tool_env_t  *env;
    recount_t          recount;
    pg_conf_t          pg_conf;
    store_t           *store;
    members_t          dead;
    members_t          erased;       /* encoded customers, */
    int64_t           *erased_ms;    /* their windows before it */
    int                bytes;        /* hash the objects, too */
    const char        *metrics;
    int64_t            since_ms, until_ms;

    print_t           *out;
    int64_t            kinds[VERIFY_KINDS];
    int64_t            mismatches;
    int64_t            windows, rows, uploads;
    char               window[WINDOW_LABEL_LEN];  /* being compared */
    const recount_t   *at;
} verify_t;

#define VERIFY_TIME(n)                                                        \
    "timestamptz 'epoch' + " n "::bigint * interval '1 millisecond'"

#define VERIFY_WINDOW                                                         \
    "pipeline = $1::text AND topic = $2::text AND partition = $3::integer"    \
    " AND generation = $4::integer AND window_start = " VERIFY_TIME("$5")

static const char verify_sql_rows[] =
    "SELECT customer, sha256, count, size, object, final FROM sluice.summary"
    " WHERE " VERIFY_WINDOW " AND (customer, sha256) > ($6::text, $7::text)"
    " ORDER BY customer, sha256 LIMIT " VERIFY_PAGE;

static const char verify_sql_uploads[] =
    "SELECT \"offset\", id, customer, sha256 FROM sluice.uploads"
    " WHERE " VERIFY_WINDOW " AND (id, customer, sha256)"
    " > ($6::text, $7::text, $8::text)"
    " ORDER BY id, customer, sha256 LIMIT " VERIFY_PAGE;

static const char verify_sql_erased[] =
    "SELECT customer, (extract(epoch FROM max(before)) * 1000)::bigint"
    " FROM sluice.jobs WHERE job = 'erase' AND pipeline = $1::text GROUP BY 1";


static void
verify_found(verify_t *v, verify_kind_e kind, const char *what, int64_t log,
    int64_t kept)
{
    v->kinds[kind]++;
    if (++v->mismatches > VERIFY_PRINTED) {
        return;
    }

    print_str(v->out, verify_kinds[kind]);
    print_str(v->out, v->at->partition);
    print_str(v->out, v->window);
    print_str(v->out, what);
    print_int(v->out, log);
    print_int(v->out, kept);
}


static int
verify_is_erased(const verify_t *v, const char *member, int64_t start_ms)
{
    size_t  at, len = (size_t) (strrchr(member, '/') - member);

    return members_has(&v->erased, member, len, &at)
           && start_ms < v->erased_ms[at];
}


static rc_t
verify_bytes(verify_t *v, const char *object, const char *sha256, err_t *err)
{
    const store_ops_t  *ops = v->env->store;
    store_get_t        *get = NULL;
    digest_t           *digest;
    char                hex[SLUICE_SHA256_HEX + 1];
    char               *buf;
    size_t              n = VERIFY_READ;
    rc_t                rc = ops->get(v->store, object, 0, &get, err);

    if (rc != RC_OK) {
        return rc == RC_REJECT ? RC_OK : rc;       /* purged a moment ago */
    }

    digest = digest_new();
    buf = mem_alloc(VERIFY_READ);
    while (rc == RC_OK && n == VERIFY_READ) {
        rc = ops->read(get, buf, VERIFY_READ, &n, err);
        if (rc == RC_OK) {
            digest_add(digest, buf, n);
        }
    }
    digest_end(digest, hex);
    digest_free(digest);
    ops->get_close(get);
    free(buf);

    if (rc == RC_OK && strcmp(hex, sha256) != 0) {
        verify_found(v, VERIFY_OBJECT_BYTES, object, 0, 0);
    }
    return rc;
}


static rc_t
verify_object(verify_t *v, const char *object, const char *sha256,
    int64_t size, err_t *err)
{
    store_stat_t  st;
    err_t         why;
    rc_t          rc = v->env->store->stat(v->store, object, &st, &why);

    if (rc == RC_REJECT) {
        verify_found(v, VERIFY_OBJECT_MISSING, object, 1, 0);
        return RC_OK;
    }
    if (rc != RC_OK) {
        *err = why;
        return rc;
    }

    if ((int64_t) st.size != size) {
        verify_found(v, VERIFY_OBJECT_SIZE, object, size, (int64_t) st.size);
        return RC_OK;
    }
    return v->bytes ? verify_bytes(v, object, sha256, err) : RC_OK;
}


/* Row i of the page that is at hand; it may be lost by what is asked next. */
static rc_t
verify_row(verify_t *v, const recount_window_t *win, char *seen, size_t i,
    err_t *err)
{
    pg_t        *pg = v->recount.pg;
    const char  *customer = pg_value(pg, i, 0), *sha256 = pg_value(pg, i, 1);
    int64_t      count = strtoll(pg_value(pg, i, 2), NULL, 10);
    int64_t      size = strtoll(pg_value(pg, i, 3), NULL, 10);
    char         member[PATH_MEMBER_MAX];
    record_t     rec = { .customer = customer,
                         .customer_len = strlen(customer) };
    size_t       at;

    v->rows++;
    (void) snprintf(rec.sha256, sizeof(rec.sha256), "%s", sha256);
    path_member(&rec, member);

    if (strcmp(pg_value(pg, i, 5), "t") != 0) {
        verify_found(v, VERIFY_ROW_OPEN, member, 0, count);
    }

    if (!members_has(&win->members, member, strlen(member), &at)) {
        verify_found(v, VERIFY_ROW_EXTRA, member, 0, count);
        return RC_OK;                /* its object is nobody's */
    }

    seen[at] = 1;
    if (win->counts[at] != count) {
        verify_found(v, VERIFY_ROW_COUNT, member, win->counts[at], count);
    }

    return verify_object(v, pg_value(pg, i, 4), sha256, size, err);
}


static rc_t
verify_rows(verify_t *v, const recount_window_t *win, char *seen,
    const char *start, err_t *err)
{
    const lane_conf_t  *conf = v->env->conf;
    char                customer[SLUICE_CUSTOMER_MAX + 1] = "";
    char                sha256[SLUICE_SHA256_HEX + 1] = "";
    const char         *params[] = { conf->pipeline, conf->topic,
                                     v->at->partition, v->at->generation,
                                     start, customer, sha256 };
    pg_result_t         result = { .rows = 1 };
    rc_t                rc = RC_OK;

    while (rc == RC_OK && result.rows > 0) {
        rc = pg_exec(v->recount.pg, verify_sql_rows, 7, params, &result, err);

        for (size_t i = 0; rc == RC_OK && i < result.rows; i++) {
            rc = verify_row(v, win, seen, i, err);
        }
        if (rc == RC_OK && result.rows > 0) {
            (void) snprintf(customer, sizeof(customer), "%s",
                            pg_value(v->recount.pg, result.rows - 1, 0));
            (void) snprintf(sha256, sizeof(sha256), "%s",
                            pg_value(v->recount.pg, result.rows - 1, 1));
        }
    }
    return rc;
}


static void
verify_upload(verify_t *v, verify_kind_e kind, int64_t offset)
{
    char  what[32];

    (void) snprintf(what, sizeof(what), "offset %" PRId64, offset);
    verify_found(v, kind, what, kind == VERIFY_UPLOAD_MISSING,
                 kind == VERIFY_UPLOAD_EXTRA);
}


/* Where offset is among those that count; noffsets: nowhere. */
static size_t
verify_offset(const recount_window_t *win, int64_t offset)
{
    size_t  from = 0, to = win->noffsets;

    while (from < to) {
        size_t  at = from + (to - from) / 2;

        if (win->offsets[at] < offset) {
            from = at + 1;
        } else {
            to = at;
        }
    }
    return from < win->noffsets && win->offsets[from] == offset
           ? from : win->noffsets;
}


/* In the order of their key, which is not the log's. */
static rc_t
verify_uploads(verify_t *v, const recount_window_t *win, const char *start,
    err_t *err)
{
    const lane_conf_t  *conf = v->env->conf;
    char                after[3][RECORD_ID_MAX + SLUICE_CUSTOMER_MAX] = { "" };
    const char         *params[] = { conf->pipeline, conf->topic,
                                     v->at->partition, v->at->generation,
                                     start, after[0], after[1], after[2] };
    pg_t               *pg = v->recount.pg;
    pg_result_t         result = { .rows = 1 };
    char               *seen = mem_zalloc(win->noffsets + 1);
    rc_t                rc = RC_OK;

    while (result.rows > 0) {
        rc = pg_exec(pg, verify_sql_uploads, 8, params, &result, err);
        if (rc != RC_OK) {
            break;
        }

        for (size_t i = 0; i < result.rows; i++) {
            int64_t  offset = strtoll(pg_value(pg, i, 0), NULL, 10);
            size_t   at = verify_offset(win, offset);

            v->uploads++;
            if (at == win->noffsets || seen[at]) {
                verify_upload(v, VERIFY_UPLOAD_EXTRA, offset);
            }
            seen[at] = 1;
        }

        for (int k = 0; result.rows > 0 && k < 3; k++) {
            (void) snprintf(after[k], sizeof(after[k]), "%s",
                            pg_value(pg, result.rows - 1, (size_t) k + 1));
        }
    }

    for (size_t n = 0; rc == RC_OK && n < win->noffsets; n++) {
        if (!seen[n]) {
            verify_upload(v, VERIFY_UPLOAD_MISSING, win->offsets[n]);
        }
    }

    free(seen);
    return rc;
}


/* Whether a customer of the window was erased since. */
static int
verify_has_erased(const verify_t *v, const recount_window_t *win)
{
    for (size_t i = 0; v->erased.n > 0 && i < win->members.n; i++) {
        if (verify_is_erased(v, win->members.texts[i], win->start_ms)) {
            return 1;
        }
    }
    return 0;
}


static rc_t
verify_window(void *ctx, const recount_t *r, const recount_window_t *win,
    err_t *err)
{
    verify_t  *v = ctx;
    char      *seen = mem_zalloc(win->members.n + 1);
    char       start[24];
    rc_t       rc;

    v->at = r;
    v->windows++;
    window_label(win->start_ms, v->window);
    (void) snprintf(start, sizeof(start), "%" PRId64, win->start_ms);

    rc = verify_rows(v, win, seen, start, err);

    for (size_t i = 0; rc == RC_OK && i < win->members.n; i++) {
        if (!seen[i]
            && !verify_is_erased(v, win->members.texts[i], win->start_ms))
        {
            verify_found(v, VERIFY_ROW_MISSING, win->members.texts[i],
                         win->counts[i], 0);
        }
    }

    if (rc == RC_OK && v->env->conf->uploads_table
        && !verify_has_erased(v, win))
    {
        rc = verify_uploads(v, win, start, err);
    }

    free(seen);
    return rc;
}


/* Places of records that the store refused, of the range. */
static rc_t
verify_dead_one(verify_t *v, const record_t *rec)
{
    const char  *texts[3] = { "", "", "" };
    size_t       lens[3] = { 0, 0, 0 };

    static const char *const  names[3] = {
        SLUICE_H_ERROR_TOPIC, SLUICE_H_ERROR_PARTITION, SLUICE_H_ERROR_OFFSET
    };

    for (size_t i = 0; i < rec->nheaders; i++) {
        for (int k = 0; k < 3; k++) {
            if (strcmp(rec->headers[i].name, names[k]) == 0
                && rec->headers[i].value != NULL)
            {
                texts[k] = rec->headers[i].value;
                lens[k] = rec->headers[i].len;
            }
        }
    }

    if (lens[0] == strlen(v->env->conf->topic)
        && memcmp(texts[0], v->env->conf->topic, lens[0]) == 0)
    {
        char  *place = mem_printf("%.*s:%.*s", (int) lens[1], texts[1],
                                  (int) lens[2], texts[2]);

        members_add(&v->dead, place, strlen(place), NULL);
        free(place);
    }
    return RC_OK;
}


static rc_t
verify_dead(verify_t *v, err_t *err)
{
    const char    *topic = v->env->conf->dead_topic;
    kafka_scan_t  *scan = v->recount.scan;
    int64_t        first, end, from;
    record_t      *rec;
    int32_t        n;
    rc_t           rc = kafka_scan_partitions(scan, topic, &n, err);

    for (int32_t p = 0; rc == RC_OK && p < n; p++) {
        rc = kafka_scan_bounds(scan, topic, p, &first, &end, err);
        if (rc == RC_OK) {
            rc = kafka_scan_offset_at(scan, topic, p, v->since_ms, &from, err);
        }
        if (rc == RC_OK) {
            rc = kafka_scan_begin(scan, topic, p, from, end, err);
        }
        while (rc == RC_OK) {
            rc = kafka_scan_next(scan, &rec, err);
            if (rc != RC_OK || rec == NULL) {
                break;
            }
            rc = verify_dead_one(v, rec);
        }
    }
    return rc;
}


static rc_t
verify_erased(verify_t *v, err_t *err)
{
    const char  *params[] = { v->env->conf->pipeline };
    pg_t        *pg = v->recount.pg;
    pg_result_t  result;
    rc_t         rc = pg_exec(pg, verify_sql_erased, 1, params, &result, err);

    v->erased_ms = mem_zalloc((result.rows + 1) * sizeof(*v->erased_ms));

    for (size_t i = 0; rc == RC_OK && i < result.rows; i++) {
        const char  *customer = pg_value(pg, i, 0);
        char         member[PATH_MEMBER_MAX];
        record_t     rec = { .customer = customer,
                             .customer_len = strlen(customer) };

        path_member(&rec, member);
        members_add(&v->erased, member,
                    (size_t) (strrchr(member, '/') - member), NULL);
        v->erased_ms[i] = strtoll(pg_value(pg, i, 1), NULL, 10);
    }
    return rc;
}


static rc_t
verify_all(verify_t *v, err_t *err)
{
    recount_t  *r = &v->recount;
    int32_t     n = 0;
    rc_t        rc = kafka_scan_open(&r->scan, v->env->kafka, err);

    if (rc == RC_OK) {
        rc = v->env->store->open(&v->store, v->env->store_conf, err);
    }
    if (rc == RC_OK) {
        rc = verify_erased(v, err);
    }
    if (rc == RC_OK) {
        rc = verify_dead(v, err);
    }
    if (rc == RC_OK) {
        rc = kafka_scan_partitions(r->scan, v->env->conf->topic, &n, err);
    }
    if (rc == RC_OK && n == 0) {
        rc = err_set(err, RC_REJECT, "kafka: topic %s doesn't exist",
                     v->env->conf->topic);
    }

    for (int32_t p = 0; rc == RC_OK && p < n; p++) {
        rc = recount_partition(r, p, err);
    }
    return rc;
}


static rc_t
verify_metrics(const verify_t *v, err_t *err)
{
    textfile_t  *t = textfile_new(v->metrics);

    for (int k = 0; k < VERIFY_KINDS; k++) {
        textfile_add(t, "sluice_mismatch", "Where log, rows, uploads and "
                     "objects differ, as of the last verify.", "kind",
                     verify_kinds[k], v->kinds[k]);
    }
    textfile_add(t, "sluice_verify_windows", "Windows it compared.", NULL,
                 NULL, v->windows);
    textfile_add(t, "sluice_verify_records", "Records it read.", NULL, NULL,
                 v->recount.records);
    textfile_add(t, "sluice_verify_last_run_timestamp_seconds",
                 "When it ended.", NULL, NULL, now_wall_ms() / 1000);
    return textfile_end(t, err);
}


static void
verify_print(verify_t *v)
{
    print_fact_int(v->out, "windows", v->windows);
    print_fact_int(v->out, "records", v->recount.records);
    print_fact_int(v->out, "rows", v->rows);
    print_fact_int(v->out, "uploads", v->uploads);
    print_fact_int(v->out, "logs_cut", v->recount.skipped);
    print_fact_int(v->out, "mismatches", v->mismatches);
    (void) print_end(v->out);
}


static int
verify_args(verify_t *v, int argc, char **argv)
{
    static const struct option  options[] = {
        { "since", required_argument, NULL, 's' },
        { "until", required_argument, NULL, 'u' },
        { "window", required_argument, NULL, 'w' },
        { "bytes", no_argument, NULL, 'b' },
        { "metrics", required_argument, NULL, 'm' },
        { NULL, 0, NULL, 0 }
    };

    int64_t  now = now_wall_ms();
    int      c, rc = 0;

    v->since_ms = now - VERIFY_SINCE_MS;
    v->until_ms = now;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's') {
            rc |= when_parse(optarg, now, &v->since_ms);
        } else if (c == 'u') {
            rc |= when_parse(optarg, now, &v->until_ms);
        } else if (c == 'w') {
            rc |= when_parse(optarg, now, &v->since_ms);
            v->until_ms = v->since_ms;
        } else if (c == 'b') {
            v->bytes = 1;
        } else if (c == 'm') {
            v->metrics = optarg;
        } else {
            rc = -1;
        }
    }

    return optind == argc ? rc : -1;
}


static int
verify_run(const tool_env_t *env, int argc, char **argv)
{
    static const char *const  columns[] = {
        "kind", "partition", "window", "what", "log", "kept"
    };

    verify_t   v = { .env = env, .pg_conf = *env->pg };
    recount_t *r = &v.recount;
    int64_t    horizon;
    err_t      err = { "" };
    rc_t       rc;

    if (verify_args(&v, argc, argv) != 0) {
        return tool_usage(&tool_verify);
    }

    /* Days that a purge may be taking away, and not those after. */
    horizon = window_start(&(window_conf_t) { OBJECTS_DAY_MS, 0 },
                           now_wall_ms() - env->conf->retention_ms)
              + OBJECTS_DAY_MS;
    v.since_ms = v.since_ms > horizon ? v.since_ms : horizon;

    if (v.pg_conf.timeout_ms < 60000) {
        v.pg_conf.timeout_ms = 60000;
    }

    v.out = print_new("mismatch", columns, 6, env->json);
    *r = (recount_t) {
        .conf = env->conf, .pg = pg_open(&v.pg_conf), .from_ms = v.since_ms,
        .to_ms = v.until_ms, .dead = &v.dead, .found = verify_window,
        .ctx = &v
    };

    rc = verify_all(&v, &err);
    verify_print(&v);
    if (rc == RC_OK) {
        rc = verify_metrics(&v, &err);
    }

    kafka_scan_close(r->scan);
    env->store->close(v.store);
    pg_close(r->pg);
    members_free(&v.dead);
    members_free(&v.erased);
    free(v.erased_ms);

    if (rc != RC_OK) {
        return tool_fail(&tool_verify, &err);
    }
    return v.mismatches > 0 ? TOOL_FOUND : TOOL_OK;
}


const tool_t  tool_verify = {
    .name = "verify",
    .usage = "[--since TIME] [--until TIME] [--window TIME] [--bytes] "
             "[--metrics FILE]",
    .help = "compare log, rows, uploads and objects",
    .run = verify_run,
};
