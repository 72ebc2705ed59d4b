/*
 * set_window.c: another window or lateness for a pipeline that has rows.
 *
 * A file counts in one window, so the sizes must change where a window of
 * either ends.  From there on nothing is final: a new generation begins, the
 * rows of open windows are given up, and the lanes read the log again from
 * there, in windows of the new size.
 *
 * Each partition changes for itself, once what is closed of it ends at such a
 * moment.  Lanes may work meanwhile, and where the sizes don't divide each
 * other they must: they close the windows up to there.  A lane of the old size
 * stops such a partition until it is started with the new one.
 */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/now.h"
#include "tool/print.h"
#include "tool/site.h"

#define SET_WINDOW_TURN_MS  200
#define SET_WINDOW_WAIT_MS  (10 * 60 * (int64_t) 1000)
#define SET_WINDOW_DAY_MS   (24 * 3600 * (int64_t) 1000)

#define SQL_TIME(n)                                                           \
    "timestamptz 'epoch' + " n "::bigint * interval '1 millisecond'"

static const char set_window_sql[] =
    "SELECT sluice.new_generation($1::text, $2::text, $3::integer,"
    " $4::integer, " SQL_TIME("$5") ", 'window', " SQL_TIME("$6") ","
    " $7::bigint, $8::integer, $9::integer, NULL)";

typedef struct {
    const char  *topic;
    int64_t      size_ms;
    int64_t      lateness_ms;        /* -1: as it is */
    int64_t      wait_ms;
} set_window_args_t;


static void
set_window_sleep(void)
{
    struct timespec ts = { 0, SET_WINDOW_TURN_MS * 1000000L };

    nanosleep(&ts, NULL);
}


/*
 * Nothing is in the log from the end of what is closed on, and what could
 * still come for the time up to `until` would be late: the clock is read
 * first, then the leader is asked, as in closing an idle window.
 */
static rc_t
set_window_is_empty(site_t *site, const site_part_t *part, int64_t over_ms,
    int64_t until_ms, int *empty, err_t *err)
{
    int64_t  offset;
    rc_t     rc;

    *empty = 0;

    if (until_ms + site->l.wc.lateness_ms
        > now_wall_ms())
    {
        return RC_OK;
    }

    rc = kafka_offset_at(site->l.kafka, part->p->id, over_ms - 1, &offset,
                         err);
    *empty = rc == RC_OK && offset >= part->end;

    return rc;
}


/* Start of the last closed window in the new size; *ready when there is a
 * moment at which both end. */
static rc_t
set_window_closed(site_t *site, const site_part_t *part,
    const set_window_args_t *args, int64_t *closed_ms, int *ready, err_t *err)
{
    int64_t  size = args->size_ms, over, until;
    rc_t     rc;

    *closed_ms = WINDOW_NONE;
    *ready = 1;

    if (part->p->closed_ms == WINDOW_NONE) {
        return RC_OK;
    }

    over = part->p->closed_ms + site->l.wc.size_ms;
    until = (over + size - 1) / size * size;
    *closed_ms = until - size;

    if (over == until) {
        return RC_OK;
    }

    rc = set_window_is_empty(site, part, over, until, ready, err);

    return rc;
}


static rc_t
set_window_commit(site_t *site, site_part_t *part,
    const set_window_args_t *args, int64_t closed_ms, int *done, err_t *err)
{
    partition_t  *p = part->p;
    int64_t       lateness_ms = args->lateness_ms >= 0
                                ? args->lateness_ms : site->l.wc.lateness_ms;
    char          was[24], closed[24], next[24], size[24], lateness[24];
    const char   *params[] = {
        site->conf.pipeline, site->conf.topic, p->id_text, p->generation_text,
        site_text(p->closed_ms, WINDOW_NONE, was),
        site_text(closed_ms, WINDOW_NONE, closed),
        site_text(p->closed_next, -1, next),
        site_text(args->size_ms, -1, size),
        site_text(lateness_ms, -1, lateness)
    };
    pg_result_t   result;
    rc_t          rc;

    rc = pg_exec(site->l.pg, set_window_sql, 9, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    *done = strcmp(pg_value(site->l.pg, 0, 0), "t") == 0;

    site_part_settle(part);
    if (*done && part->state.has) {
        err_t ignored;

        (void) state_drop(&site->l, p, &part->state, &ignored);
    }

    return RC_OK;
}


/* One partition, until it has changed or time is over. */
static rc_t
set_window_one(site_t *site, const set_window_args_t *args, int32_t id,
    int64_t until_ms, print_t *out, int *done, err_t *err)
{
    const char   *what = NULL;
    site_part_t   part;
    int64_t       closed_ms, over_ms;
    int           ready;
    rc_t          rc;

    *done = 0;

    for ( ;; ) {
        rc = site_part_read(site, id, &part, err);
        if (rc != RC_OK) {
            return rc;
        }

        over_ms = part.p->closed_ms;

        if (site->l.wc.size_ms == args->size_ms
            && (args->lateness_ms < 0
                || site->l.wc.lateness_ms == args->lateness_ms))
        {
            what = "as it was";
            *done = 1;

        } else {
            rc = set_window_closed(site, &part, args, &closed_ms, &ready, err);

            if (rc == RC_OK && ready) {
                over_ms = closed_ms;
                rc = set_window_commit(site, &part, args, closed_ms, done,
                                       err);
                what = "changed";
            }
        }

        site_part_free(&part);

        if (rc != RC_OK || *done
            || now_mono_ms() >= until_ms)
        {
            break;
        }

        set_window_sleep();
    }

    if (rc == RC_OK) {
        char label[WINDOW_LABEL_LEN] = "";

        if (over_ms != WINDOW_NONE) {
            window_label(over_ms, label);
        }

        print_int(out, id);
        print_str(out, *done ? what : "not at an end of both");
        print_str(out, over_ms != WINDOW_NONE ? label : NULL);
    }

    return rc;
}


static int
set_window_args(set_window_args_t *args, int argc, char **argv)
{
    static const struct option  options[] = {
        { "topic", required_argument, NULL, 't' },
        { "lateness", required_argument, NULL, 'l' },
        { "wait", required_argument, NULL, 'w' },
        { NULL, 0, NULL, 0 }
    };

    int c;

    memset(args, 0, sizeof(*args));
    args->lateness_ms = -1;
    args->wait_ms = SET_WINDOW_WAIT_MS;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 't':
            args->topic = optarg;
            break;
        case 'l':
            if (tool_time(optarg, &args->lateness_ms) != 0
                || args->lateness_ms > SET_WINDOW_DAY_MS)
            {
                return -1;
            }
            break;
        case 'w':
            if (tool_time(optarg, &args->wait_ms) != 0) {
                return -1;
            }
            break;
        default:
            return -1;
        }
    }

    if (optind + 1 != argc || tool_time(argv[optind], &args->size_ms) != 0) {
        return -1;
    }

    return args->size_ms >= 1000 && args->size_ms % 1000 == 0
           && args->size_ms <= SET_WINDOW_DAY_MS ? 0 : -1;
}


static int
set_window_run(const tool_env_t *env, int argc, char **argv)
{
    static const char *const columns[] = { "partition", "result", "closed" };

    set_window_args_t   args;
    site_t              site;
    print_t            *out;
    err_t               err = { "" };
    int64_t             until_ms;
    int                 done, all = 1;
    rc_t                rc;

    if (set_window_args(&args, argc, argv) != 0) {
        return tool_usage(&tool_set_window);
    }

    rc = site_open(&site, env, args.topic, -1, &err);
    if (rc != RC_OK) {
        return tool_fail(&tool_set_window, &err);
    }

    out = print_new("partitions", columns,
                    sizeof(columns) / sizeof(columns[0]), env->json);
    until_ms = now_mono_ms() + args.wait_ms;

    for (size_t i = 0; i < site.nids && rc == RC_OK; i++) {
        rc = set_window_one(&site, &args, site.ids[i], until_ms, out, &done,
                            &err);
        all &= rc == RC_OK && done;
    }

    (void) print_end(out);
    site_close(&site);

    if (rc != RC_OK) {
        return tool_fail(&tool_set_window, &err);
    }

    return all ? TOOL_OK : TOOL_FOUND;
}


const tool_t tool_set_window = {
    "set-window",
    "SIZE [--lateness TIME] [--topic TOPIC] [--wait TIME]",
    "change the size of windows, from an end of both sizes on",
    set_window_run
};
