/*
 * windows.c: what is open, and how far behind.
 *
 * Works beside the lanes and holds nobody up: of Redis it asks sizes, and the
 * few fields of progress and open; of Kafka the ends and one record's time.
 * Uploads are summed from the rows in PostgreSQL, as of the last flush, since
 * Redis would have to walk through a window to tell.
 */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/now.h"
#include "tool/print.h"
#include "tool/site.h"

static const char windows_sql_uploads[] =
    "SELECT (extract(epoch FROM window_start) * 1000)::bigint, sum(count)"
    " FROM sluice.summary WHERE pipeline = $1::text AND topic = $2::text"
    " AND partition = $3::integer AND generation = $4::integer AND NOT final"
    " GROUP BY 1";

static const char *const windows_columns[] = {
    "partition", "window", "files", "uploads", "first", "age_s", "watermark",
    "next", "end", "lag", "lag_s"
};

typedef struct {
    size_t    n;
    int64_t  *starts;
    int64_t  *uploads;
} windows_uploads_t;


static void
windows_time(print_t *out, int64_t ms)
{
    char       text[32];
    time_t     s = (time_t) (ms / 1000);
    struct tm  tm;

    if (ms == WINDOW_NONE) {
        print_null(out);
        return;
    }

    gmtime_r(&s, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    print_str(out, text);
}


static void
windows_maybe(print_t *out, int64_t num, int64_t none)
{
    if (num == none) {
        print_null(out);

    } else {
        print_int(out, num);
    }
}


/* The open windows' rows; only a few windows have any. */
static rc_t
windows_read_uploads(site_t *site, const site_part_t *part,
    windows_uploads_t *u, err_t *err)
{
    const char   *params[] = { site->conf.pipeline, site->conf.topic,
                               part->p->id_text, part->p->generation_text };
    pg_result_t   result;
    rc_t          rc;

    memset(u, 0, sizeof(*u));

    rc = pg_exec(site->l.pg, windows_sql_uploads, 4, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    u->n = result.rows;
    u->starts = mem_alloc((u->n + 1) * sizeof(*u->starts));
    u->uploads = mem_alloc((u->n + 1) * sizeof(*u->uploads));

    for (size_t i = 0; i < u->n; i++) {
        u->starts[i] = strtoll(pg_value(site->l.pg, i, 0), NULL, 10);
        u->uploads[i] = strtoll(pg_value(site->l.pg, i, 1), NULL, 10);
    }

    return RC_OK;
}


static rc_t
windows_files(site_t *site, const lane_window_t *win, int64_t *files,
    err_t *err)
{
    redis_args_t         *args = &site->l.args;
    const redis_value_t  *reply;
    rc_t                  rc;

    redis_args_reset(args);
    redis_args_str(args, "SCARD");
    redis_args_str(args, win->keys[0]);

    rc = redis_command(site->l.redis, args, &reply, err);
    *files = rc == RC_OK && reply->kind == REDIS_INT ? reply->num : 0;

    return rc;
}


/* Of the first record that is not applied. */
static rc_t
windows_lag(site_t *site, const site_part_t *part, int64_t *lag,
    int64_t *lag_s, err_t *err)
{
    kafka_seen_t  seen;
    rc_t          rc;

    *lag = -1;
    *lag_s = -1;

    if (!part->state.has) {
        return RC_OK;
    }

    *lag = part->end > part->state.next ? part->end - part->state.next : 0;
    *lag_s = 0;

    if (*lag == 0 || part->state.next < part->first) {
        return RC_OK;
    }

    rc = kafka_look(site->l.kafka, part->p->id, part->state.next, &seen, err);

    if (rc == RC_OK && seen.offset >= 0) {
        *lag_s = (now_wall_ms() - seen.ts_ms) / 1000;
        *lag_s = *lag_s > 0 ? *lag_s : 0;
    }

    return rc;
}


/* One line; win NULL: nothing is open. */
static rc_t
windows_line(site_t *site, const site_part_t *part, const lane_window_t *win,
    const windows_uploads_t *u, int64_t lag, int64_t lag_s, print_t *out,
    err_t *err)
{
    int64_t  files = -1, uploads = -1;
    rc_t     rc;

    if (win != NULL) {
        rc = windows_files(site, win, &files, err);
        if (rc != RC_OK) {
            return rc;
        }

        for (size_t i = 0; i < u->n; i++) {
            uploads = u->starts[i] == win->start_ms ? u->uploads[i] : uploads;
        }
    }

    print_int(out, part->p->id);
    windows_time(out, win != NULL ? win->start_ms : WINDOW_NONE);
    windows_maybe(out, files, -1);
    windows_maybe(out, uploads, -1);
    windows_maybe(out, win != NULL ? win->first : -1, -1);
    windows_maybe(out, win != NULL ? (now_wall_ms() - win->start_ms) / 1000
                                   : -1, -1);
    windows_time(out, part->p->watermark_ms);
    windows_maybe(out, part->state.has ? part->state.next : -1, -1);
    print_int(out, part->end);
    windows_maybe(out, lag, -1);
    windows_maybe(out, lag_s, -1);

    return RC_OK;
}


static rc_t
windows_one(site_t *site, int32_t id, print_t *out, err_t *err)
{
    windows_uploads_t  u = { 0 };
    site_part_t        part;
    int64_t            lag, lag_s;
    rc_t               rc;

    rc = site_part_read(site, id, &part, err);
    if (rc != RC_OK) {
        return rc;
    }

    rc = windows_read_uploads(site, &part, &u, err);

    if (rc == RC_OK) {
        rc = windows_lag(site, &part, &lag, &lag_s, err);
    }

    if (rc == RC_OK && part.p->nwindows == 0) {
        rc = windows_line(site, &part, NULL, &u, lag, lag_s, out, err);
    }

    for (size_t i = 0; i < part.p->nwindows && rc == RC_OK; i++) {
        rc = windows_line(site, &part, &part.p->windows[i], &u, lag, lag_s,
                          out, err);
    }

    free(u.starts);
    free(u.uploads);
    site_part_free(&part);

    return rc;
}


static int
windows_run(const tool_env_t *env, int argc, char **argv)
{
    static const struct option  options[] = {
        { "topic", required_argument, NULL, 't' },
        { "partition", required_argument, NULL, 'p' },
        { NULL, 0, NULL, 0 }
    };

    const char  *topic = NULL;
    int64_t      only = -1;
    site_t       site;
    print_t     *out;
    err_t        err = { "" };
    rc_t         rc;
    int          c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 't') {
            topic = optarg;

        } else if (c != 'p' || tool_int(optarg, 0, INT32_MAX, &only) != 0) {
            return tool_usage(&tool_windows);
        }
    }

    if (optind != argc) {
        return tool_usage(&tool_windows);
    }

    rc = site_open(&site, env, topic, only, &err);
    if (rc != RC_OK) {
        return tool_fail(&tool_windows, &err);
    }

    out = print_new("windows", windows_columns,
                    sizeof(windows_columns) / sizeof(windows_columns[0]),
                    env->json);

    for (size_t i = 0; i < site.nids && rc == RC_OK; i++) {
        rc = windows_one(&site, site.ids[i], out, &err);
    }

    (void) print_end(out);
    site_close(&site);

    return rc == RC_OK ? TOOL_OK : tool_fail(&tool_windows, &err);
}


const tool_t tool_windows = {
    "windows", "[--topic TOPIC] [--partition N]",
    "open windows with their counts, watermark and lag of each partition",
    windows_run
};
