/*
 * recount.c: what the rows must be, by the log alone.
 *
 * Owns the order of the judgements, which is lane/apply.c's.  Compares
 * nothing.
 *
 * Where to begin: a record that makes another of the range late has a later
 * timestamp than the range's start, so nothing before the first record with
 * such a timestamp decides anything (docs/design.md, section 4.6).
 */

#include "tool/recount.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/path.h"
#include "core/record.h"

#define RECOUNT_TIME(n)                                                       \
    "timestamptz 'epoch' + " n "::bigint * interval '1 millisecond'"

#define RECOUNT_KEY                                                           \
    "pipeline = $1::text AND topic = $2::text AND partition = $3::integer"

static const char recount_sql_progress[] =
    "SELECT (extract(epoch FROM closed_through) * 1000)::bigint, next_offset,"
    " window_ms, generation, lateness_ms FROM sluice.progress WHERE "
    RECOUNT_KEY;

/*
 * Where the present generation begins: its first window behind the older
 * one's rows, which were counted from another log, or in other windows.
 */
static const char recount_sql_generation[] =
    "SELECT (extract(epoch FROM min(window_start)) * 1000)::bigint"
    " FROM sluice.summary WHERE " RECOUNT_KEY " AND generation = $4::integer"
    " AND window_start > (SELECT coalesce(max(window_start), '-infinity')"
    " FROM sluice.summary WHERE " RECOUNT_KEY " AND generation < $4::integer)";

/* The next window that has rows, and how far its close had read. */
static const char recount_sql_window[] =
    "SELECT (extract(epoch FROM window_start) * 1000)::bigint,"
    " max(through_offset) FROM sluice.summary WHERE " RECOUNT_KEY
    " AND generation = $4::integer AND window_start = ("
    "SELECT min(window_start) FROM sluice.summary WHERE " RECOUNT_KEY
    " AND generation = $4::integer AND window_start > " RECOUNT_TIME("$5")
    " AND window_start <= " RECOUNT_TIME("$6") ") GROUP BY 1";

/* A window's records that counted by their name: seen_at is a record's time. */
static const char recount_sql_firsts[] =
    "SELECT \"offset\" FROM sluice.first_seen WHERE " RECOUNT_KEY
    " AND generation = $4::integer AND seen_at >= " RECOUNT_TIME("$5")
    " AND seen_at < " RECOUNT_TIME("$6") " ORDER BY 1";


static recount_window_t *
recount_window(recount_t *r, int64_t start_ms, int64_t through)
{
    size_t  at = r->nwindows;

    while (at > 0 && r->windows[at - 1].start_ms >= start_ms) {
        at--;
    }

    if (at == r->nwindows || r->windows[at].start_ms != start_ms) {
        r->windows = mem_grow(r->windows, r->nwindows + 1,
                              sizeof(*r->windows));
        memmove(&r->windows[at + 1], &r->windows[at],
                (r->nwindows - at) * sizeof(*r->windows));
        r->windows[at] = (recount_window_t) { .start_ms = start_ms,
                                              .through = through };
        r->nwindows++;
    }
    return &r->windows[at];
}


static void
recount_drop(recount_t *r)
{
    recount_window_t  *win = &r->windows[0];

    members_free(&win->members);
    members_free(&win->ids);
    free(win->counts);
    free(win->offsets);
    free(win->firsts);
    r->nwindows--;
    memmove(win, win + 1, r->nwindows * sizeof(*win));
}


/* Tells the first window and forgets it. */
static rc_t
recount_tell(recount_t *r, err_t *err)
{
    rc_t  rc = r->found(r->ctx, r, &r->windows[0], err);

    recount_drop(r);
    return rc;
}


static rc_t
recount_progress(recount_t *r, err_t *err)
{
    const char  *params[] = { r->conf->pipeline, r->conf->topic,
                              r->partition };
    pg_result_t  result;
    rc_t         rc;

    r->closed_ms = WINDOW_NONE;
    rc = pg_exec(r->pg, recount_sql_progress, 3, params, &result, err);
    if (rc != RC_OK || result.rows == 0 || pg_value(r->pg, 0, 0) == NULL) {
        return rc;
    }

    r->closed_ms = strtoll(pg_value(r->pg, 0, 0), NULL, 10);
    r->closed_next = strtoll(pg_value(r->pg, 0, 1), NULL, 10);
    r->wc.size_ms = strtoll(pg_value(r->pg, 0, 2), NULL, 10);
    r->wc.lateness_ms = pg_value(r->pg, 0, 4) != NULL
                        ? strtoll(pg_value(r->pg, 0, 4), NULL, 10)
                        : r->conf->lateness_ms;
    (void) snprintf(r->generation, sizeof(r->generation), "%s",
                    pg_value(r->pg, 0, 3));
    return RC_OK;
}


static rc_t
recount_generation(recount_t *r, err_t *err)
{
    const char  *params[] = { r->conf->pipeline, r->conf->topic, r->partition,
                              r->generation };
    pg_result_t  result;
    int64_t      begin = r->closed_ms + r->wc.size_ms;
    rc_t         rc;

    if (strcmp(r->generation, "0") == 0) {
        return RC_OK;
    }

    rc = pg_exec(r->pg, recount_sql_generation, 4, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }
    if (pg_value(r->pg, 0, 0) != NULL) {
        begin = strtoll(pg_value(r->pg, 0, 0), NULL, 10);
    }

    if (begin > r->begin_ms) {
        r->begin_ms = begin;
        r->skipped++;
    }
    return RC_OK;
}


static rc_t
recount_windows(recount_t *r, int64_t last_ms, err_t *err)
{
    char         after[24], last[24];
    const char  *params[] = { r->conf->pipeline, r->conf->topic, r->partition,
                              r->generation, after, last };
    int64_t      at = r->begin_ms - 1;
    pg_result_t  result;

    (void) snprintf(last, sizeof(last), "%" PRId64, last_ms);

    for ( ;; ) {
        rc_t  rc;

        (void) snprintf(after, sizeof(after), "%" PRId64, at);
        rc = pg_exec(r->pg, recount_sql_window, 6, params, &result, err);
        if (rc != RC_OK || result.rows == 0) {
            return rc;
        }

        at = strtoll(pg_value(r->pg, 0, 0), NULL, 10);
        (void) recount_window(r, at, strtoll(pg_value(r->pg, 0, 1), NULL,
                                             10));
    }
}


/* What first_seen holds of the window; asked once, most have nothing there. */
static rc_t
recount_firsts(recount_t *r, recount_window_t *win, err_t *err)
{
    char         start[24], end[24];
    const char  *params[] = { r->conf->pipeline, r->conf->topic, r->partition,
                              r->generation, start, end };
    pg_result_t  result;
    rc_t         rc;

    (void) snprintf(start, sizeof(start), "%" PRId64, win->start_ms);
    (void) snprintf(end, sizeof(end), "%" PRId64,
                    win->start_ms + r->wc.size_ms);

    rc = pg_exec(r->pg, recount_sql_firsts, 6, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    win->nfirsts = result.rows;
    win->firsts = mem_alloc((result.rows + 1) * sizeof(*win->firsts));
    for (size_t i = 0; i < result.rows; i++) {
        win->firsts[i] = strtoll(pg_value(r->pg, i, 0), NULL, 10);
    }
    return RC_OK;
}


static int
recount_compare(const void *a, const void *b)
{
    int64_t  x = *(const int64_t *) a, y = *(const int64_t *) b;

    return (x > y) - (x < y);
}


/* Is the record's place the one that first_seen holds for its name? */
static rc_t
recount_is_first(recount_t *r, recount_window_t *win, const record_t *rec,
    int *first, err_t *err)
{
    if (win->firsts == NULL) {
        rc_t  rc = recount_firsts(r, win, err);

        if (rc != RC_OK) {
            return rc;
        }
    }

    *first = bsearch(&rec->offset, win->firsts, win->nfirsts,
                     sizeof(*win->firsts), recount_compare) != NULL;
    return RC_OK;
}


static void
recount_add(recount_window_t *win, const char *member, int64_t offset)
{
    size_t  at, had = win->members.n;

    if (members_add(&win->members, member, strlen(member), &at)) {
        /* Room by halves: a window may have a million. */
        if ((had & (had - 1)) == 0) {
            win->counts = mem_grow(win->counts, had == 0 ? 1 : 2 * had,
                                   sizeof(*win->counts));
        }
        win->counts[at] = 0;
    }
    win->counts[at]++;

    if (win->noffsets == win->offsets_cap) {
        win->offsets_cap = win->offsets_cap * 2 + 64;
        win->offsets = mem_grow(win->offsets, win->offsets_cap,
                                sizeof(*win->offsets));
    }
    win->offsets[win->noffsets++] = offset;
}


/* Is this the first place of it in the log?  A member has no space in it. */
static int
recount_is_new(recount_window_t *win, const record_t *rec, const char *member)
{
    char  name[RECORD_ID_MAX + PATH_MEMBER_MAX + 2];
    int   n = snprintf(name, sizeof(name), "%s %.*s", member,
                       (int) rec->id_len, rec->id);

    return members_add(&win->ids, name, (size_t) n, NULL);
}


/* A record of a window in the range that is not late by the watermark. */
static rc_t
recount_one(recount_t *r, const record_t *rec, int64_t start_ms, err_t *err)
{
    recount_window_t  *win = recount_window(r, start_ms, r->closed_next);
    char               member[PATH_MEMBER_MAX], once[RECORD_ONCE_MAX + 1];
    char               place[48];
    err_t              why;
    int                n, first = 1;
    rc_t               rc;

    n = snprintf(place, sizeof(place), "%s:%" PRId64, r->partition,
                 rec->offset);
    if (rec->offset >= win->through
        || members_has(r->dead, place, (size_t) n, NULL))
    {
        return RC_OK;
    }

    path_member(rec, member);
    if (!members_has(&win->members, member, strlen(member), NULL)
        && record_verify(rec, &why) != RC_OK)
    {
        return RC_OK;
    }

    if (record_once(rec, once) > 0) {
        rc = recount_is_first(r, win, rec, &first, err);
        if (rc != RC_OK) {
            return rc;
        }
    }
    if (first
        && (!r->conf->uploads_table || recount_is_new(win, rec, member)))
    {
        recount_add(win, member, rec->offset);
    }
    return RC_OK;
}


static rc_t
recount_log(recount_t *r, int64_t last_ms, err_t *err)
{
    verdict_t  v = { r->wc, WINDOW_NONE, 0, WINDOW_NONE };
    int64_t    start_ms;
    record_t  *rec;
    err_t      why;
    rc_t       rc;

    for ( ;; ) {
        rc = kafka_scan_next(r->scan, &rec, err);
        if (rc != RC_OK || rec == NULL) {
            return rc;
        }

        r->records++;
        if (record_read(rec, &why) != RC_OK
            || verdict_next(&v, rec->offset, rec->ts_ms, &start_ms)
               != VERDICT_COUNT
            || start_ms < r->begin_ms || start_ms > last_ms)
        {
            continue;
        }

        rc = recount_one(r, rec, start_ms, err);

        /* What is due gets no more records. */
        while (rc == RC_OK && r->nwindows > 0
               && window_is_due(&r->wc, r->windows[0].start_ms,
                                v.watermark_ms))
        {
            rc = recount_tell(r, err);
        }
        if (rc != RC_OK) {
            return rc;
        }
    }
}


/*
 * Begins the scan.  Where retention has taken the range's beginning, the first
 * window that is whole begins after the first record and what may be before
 * it in time.
 */
static rc_t
recount_begin(recount_t *r, int32_t partition, err_t *err)
{
    int64_t    first, end, from;
    record_t  *rec;
    rc_t       rc;

    rc = kafka_scan_bounds(r->scan, r->conf->topic, partition, &first, &end,
                           err);
    if (rc == RC_OK) {
        rc = kafka_scan_offset_at(r->scan, r->conf->topic, partition,
                                  r->begin_ms - 1, &from, err);
    }
    if (rc != RC_OK) {
        return rc;
    }

    end = end < r->closed_next ? end : r->closed_next;

    if (from == first && first > 0) {
        rc = kafka_scan_begin(r->scan, r->conf->topic, partition, from, end,
                              err);
        if (rc == RC_OK) {
            rc = kafka_scan_next(r->scan, &rec, err);
        }
        if (rc != RC_OK) {
            return rc;
        }

        int64_t  whole = rec == NULL ? r->closed_ms + r->wc.size_ms
                         : window_start(&r->wc, rec->ts_ms
                                        + r->wc.lateness_ms) + r->wc.size_ms;

        r->begin_ms = whole > r->begin_ms ? whole : r->begin_ms;
        r->skipped++;
    }

    return kafka_scan_begin(r->scan, r->conf->topic, partition, from, end,
                            err);
}


rc_t
recount_partition(recount_t *r, int32_t partition, err_t *err)
{
    int64_t  last_ms;
    rc_t     rc;

    (void) snprintf(r->partition, sizeof(r->partition), "%" PRId32,
                    partition);

    rc = recount_progress(r, err);
    if (rc != RC_OK || r->closed_ms == WINDOW_NONE) {
        return rc;
    }

    last_ms = r->to_ms < r->closed_ms ? r->to_ms : r->closed_ms;
    r->begin_ms = window_start(&r->wc, r->from_ms + r->wc.size_ms - 1);

    rc = recount_generation(r, err);
    if (rc == RC_OK) {
        rc = recount_begin(r, partition, err);
    }
    if (rc == RC_OK && r->begin_ms <= last_ms) {
        rc = recount_windows(r, last_ms, err);

        if (rc == RC_OK) {
            rc = recount_log(r, last_ms, err);
        }
    }

    while (rc == RC_OK && r->nwindows > 0) {
        rc = recount_tell(r, err);
    }
    while (r->nwindows > 0) {
        recount_drop(r);
    }

    free(r->windows);
    r->windows = NULL;
    return rc;
}
