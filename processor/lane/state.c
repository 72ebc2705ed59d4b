/*
 * state.c: arguments into scripts, answers out of them.
 *
 * Owns the order of KEYS and ARGV, which is written down in each script.
 * Decides nothing: the rules are in the scripts and in those who call.
 *
 * Numbers travel as the text that was sent: Lua would print large ones in
 * scientific notation.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/metrics.h"
#include "lane/state.h"
#include "lane_scripts.h"

#define STATE_PAGE   "500"
#define STATE_SLICE  500             /* records of one apply */


/* Records of a batch that one call applies. */
typedef struct {
    const state_batch_t  *batch;
    size_t                from, to;
    int64_t               next;      /* after them */
    const char           *last;      /* id of the last of them; may be "" */
    size_t                last_len;
} state_slice_t;


static int64_t
state_int(const redis_value_t *v, int64_t none)
{
    char   text[24];
    char  *rest;

    if (v->kind == REDIS_INT) {
        return v->num;
    }

    if (v->kind != REDIS_STR || v->len == 0 || v->len >= sizeof(text)) {
        return none;
    }

    memcpy(text, v->str, v->len);
    text[v->len] = '\0';

    int64_t num = strtoll(text, &rest, 10);

    return *rest == '\0' ? num : none;
}


static void
state_put(links_t *l, int64_t num, int64_t none)
{
    if (num == none) {
        redis_args_str(&l->args, "");

    } else {
        redis_args_int(&l->args, num);
    }
}


/* The fence, with which ARGV begins in every script but read.lua. */
static void
state_put_belief(links_t *l, const partition_t *p)
{
    state_put(l, p->next, PARTITION_NONE);
    state_put(l, p->closed_ms, WINDOW_NONE);
}


static void
state_put_window(links_t *l, const lane_window_t *win)
{
    for (int i = 0; i < 3; i++) {
        redis_args_str(&l->args, win->keys[i]);
    }
}


static rc_t
state_refused(partition_t *p, const redis_value_t *reply, err_t *err)
{
    const redis_value_t *v = reply->items;

    if (v[0].len == 6 && memcmp(v[0].str, "BROKEN", 6) == 0) {
        p->broken = 1;
        return err_set(err, RC_FENCED, "Redis lost a part of the state");
    }

    if (reply->n < 3) {
        return err_set(err, RC_RETRY, "a script answered what it never does");
    }

    int64_t next = state_int(&v[1], PARTITION_NONE);

    if (next < p->next) {
        return err_set(err, RC_FENCED, "Redis lost state: next is %" PRId64
                       " in it and was %" PRId64, next, p->next);
    }

    return err_set(err, RC_FENCED, "someone else works on this partition: "
                   "next is %" PRId64 " and not %" PRId64 ", closed %" PRId64,
                   next, p->next, state_int(&v[2], PARTITION_NONE));
}


static rc_t
state_run(links_t *l, partition_t *p, const char *script, size_t nkeys,
    const redis_value_t **reply, err_t *err)
{
    const redis_value_t  *v;
    rc_t                  rc;

    rc = redis_script(l->redis, script, nkeys, &l->args, &v, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (v->kind != REDIS_ARRAY || v->n == 0 || v->items[0].kind != REDIS_STR) {
        return err_set(err, RC_RETRY, "a script answered what it never does");
    }

    if (v->items[0].len != 2 || memcmp(v->items[0].str, "OK", 2) != 0) {
        return state_refused(p, v, err);
    }

    if (reply != NULL) {
        *reply = v;
    }

    return RC_OK;
}


/* progress and open, and with `all` the keys of every open window. */
static size_t
state_keys(links_t *l, const partition_t *p, int all)
{
    size_t n = 2;

    redis_args_reset(&l->args);
    redis_args_str(&l->args, p->key_progress);
    redis_args_str(&l->args, p->key_open);

    for (size_t i = 0; all && i < p->nwindows; i++) {
        if (p->windows[i].first != PARTITION_NONE) {
            state_put_window(l, &p->windows[i]);
            n += 3;
        }
    }

    return n;
}


rc_t
state_read(links_t *l, partition_t *p, state_t *state, err_t *err)
{
    const redis_value_t  *reply;
    rc_t                  rc;

    state_keys(l, p, 0);

    rc = state_run(l, p, script_read, 2, &reply, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (reply->n != 3 || reply->items[1].n != 9) {
        return err_set(err, RC_RETRY, "a script answered what it never does");
    }

    const redis_value_t *v = reply->items[1].items;
    const redis_value_t *open = &reply->items[2];

    state->has = v[0].kind == REDIS_STR;
    state->next = state_int(&v[0], PARTITION_NONE);
    state->watermark_ms = state_int(&v[2], WINDOW_NONE);
    state->closed_ms = state_int(&v[3], WINDOW_NONE);
    state->window_ms = state_int(&v[4], 0);
    state->lateness_ms = state_int(&v[5], 0);
    state->version = state_int(&v[6], 0);
    state->ledger_next = state_int(&v[7], 0);
    state->older = state_int(&v[8], 0);

    if (v[1].kind == REDIS_STR) {
        snprintf(state->last, sizeof(state->last), "%.*s", (int) v[1].len,
                 v[1].str);
    }

    for (size_t i = 0; i + 1 < open->n; i += 2) {
        char     label[WINDOW_LABEL_LEN] = "";
        int64_t  start;

        if (open->items[i].len == sizeof(label) - 1) {
            memcpy(label, open->items[i].str, sizeof(label) - 1);
        }

        if (window_parse(label, &start) != 0) {
            p->broken = 1;
            return err_set(err, RC_FENCED, "an open window has no time");
        }

        partition_window(p, l->conf, start)->first =
            state_int(&open->items[i + 1], 0);
    }

    return RC_OK;
}


rc_t
state_ask(links_t *l, partition_t *p, const state_batch_t *batch, err_t *err)
{
    const redis_value_t  *reply;
    rc_t                  rc;

    if (batch->nwindows == 0) {
        return RC_OK;
    }

    state_keys(l, p, 0);

    for (size_t w = 0; w < batch->nwindows; w++) {
        redis_args_str(&l->args, partition_window(p, l->conf,
                                                  batch->windows[w])->keys[0]);
    }

    state_put_belief(l, p);

    for (size_t w = 0; w < batch->nwindows; w++) {
        size_t n = 0;

        for (size_t i = 0; i < batch->n; i++) {
            n += batch->records[i].verdict == VERDICT_COUNT
                 && batch->records[i].win == w;
        }

        redis_args_int(&l->args, (int64_t) n);

        for (size_t i = 0; i < batch->n; i++) {
            const state_record_t *r = &batch->records[i];

            if (r->verdict == VERDICT_COUNT && r->win == w) {
                redis_args_mem(&l->args, r->member, r->member_len);
            }
        }
    }

    int64_t began = metrics_clock();

    rc = state_run(l, p, script_ask, 2 + batch->nwindows, &reply, err);
    metrics_time(METRIC_STEP, METRICS_STEP_ASK, began);

    if (rc != RC_OK) {
        return rc;
    }

    for (size_t w = 0; w < batch->nwindows && w + 1 < reply->n; w++) {
        const redis_value_t  *digits = &reply->items[w + 1];
        size_t                at = 0;

        for (size_t i = 0; i < batch->n && at < digits->len; i++) {
            state_record_t *r = &batch->records[i];

            if (r->verdict == VERDICT_COUNT && r->win == w) {
                r->known = digits->str[at++] == '1';
            }
        }
    }

    return RC_OK;
}


/* Those the batch counts into come first: records name them by number. */
static size_t
state_apply_keys(links_t *l, partition_t *p, const state_batch_t *batch)
{
    size_t n = state_keys(l, p, 0);

    for (size_t w = 0; w < batch->nwindows; w++) {
        state_put_window(l, partition_window(p, l->conf, batch->windows[w]));
        n += 3;
    }

    for (size_t i = 0; i < p->nwindows; i++) {
        size_t w = 0;

        while (w < batch->nwindows
               && batch->windows[w] != p->windows[i].start_ms)
        {
            w++;
        }

        if (w == batch->nwindows && p->windows[i].first != PARTITION_NONE) {
            state_put_window(l, &p->windows[i]);
            n += 3;
        }
    }

    return n;
}


static void
state_apply_records(links_t *l, const state_slice_t *slice)
{
    static const char *const kinds = "clprtdx";

    for (size_t i = slice->from; i < slice->to; i++) {
        const state_record_t *r = &slice->batch->records[i];
        const char           *kind = strchr(kinds, (int) r->verdict);

        redis_args_int(&l->args, r->offset);
        redis_args_int(&l->args, r->ts_ms);
        redis_args_mem(&l->args, kind, 1);

        if (r->verdict == VERDICT_COUNT) {
            redis_args_int(&l->args, (int64_t) r->win + 1);
            redis_args_mem(&l->args, r->member, r->member_len);
            redis_args_mem(&l->args, r->row == NULL ? "" : r->row,
                           r->row == NULL ? 0 : r->row_len);

        } else {
            redis_args_str(&l->args, "");
            redis_args_str(&l->args, "");
            redis_args_str(&l->args, "");
        }
    }
}


/* What Redis holds now, the lane holds too. */
static void
state_applied(links_t *l, partition_t *p, const state_slice_t *slice,
    int64_t watermark_ms)
{
    const state_batch_t *batch = slice->batch;

    for (size_t i = slice->from; i < slice->to; i++) {
        const state_record_t *r = &batch->records[i];

        if (r->verdict != VERDICT_COUNT) {
            continue;
        }

        lane_window_t *win = partition_window(p, l->conf,
                                              batch->windows[r->win]);

        if (win->first == PARTITION_NONE) {
            win->first = r->offset;
        }

        members_add(&win->dirty, r->member, r->member_len, NULL);
    }

    p->next = slice->next;
    p->watermark_ms = watermark_ms;
    snprintf(p->last, sizeof(p->last), "%.*s", (int) slice->last_len,
             slice->last);
}


static void
state_count(const state_slice_t *slice)
{
    for (size_t i = slice->from; i < slice->to; i++) {
        const state_record_t  *r = &slice->batch->records[i];
        metrics_verdict_e      verdict = METRICS_VERDICT_REPEAT;

        switch (r->verdict) {
        case VERDICT_COUNT:
            verdict = METRICS_VERDICT_COUNTED;
            metrics_add(METRIC_MEMBERS, r->row != NULL ? METRICS_SEEN_NEW
                                                       : METRICS_SEEN_KNOWN, 1);
            break;
        case VERDICT_LATE:
            verdict = METRICS_VERDICT_LATE;
            break;
        case VERDICT_PAST:
            verdict = METRICS_VERDICT_SKIPPED;
            break;
        case VERDICT_TWICE:
            verdict = METRICS_VERDICT_TWICE;
            break;
        case VERDICT_DEAD:
        case VERDICT_UNREAD:
            verdict = METRICS_VERDICT_DEAD;
            break;
        default:
            break;
        }

        metrics_add(METRIC_RECORDS, verdict, 1);
    }
}


static rc_t
state_apply_slice(links_t *l, partition_t *p, const state_slice_t *slice,
    err_t *err)
{
    const state_batch_t  *batch = slice->batch;
    size_t                nkeys = state_apply_keys(l, p, batch);
    const redis_value_t  *reply;
    rc_t                  rc;

    state_put_belief(l, p);
    redis_args_int(&l->args, slice->next);
    redis_args_mem(&l->args, slice->last, slice->last_len);
    redis_args_int(&l->args, l->wc.size_ms);
    redis_args_int(&l->args, l->wc.lateness_ms);
    redis_args_int(&l->args, STATE_VERSION);
    redis_args_int(&l->args, p->ledger_next);
    redis_args_int(&l->args, l->conf->state_ttl_ms / 2);
    redis_args_int(&l->args, l->conf->state_ttl_ms);
    redis_args_int(&l->args, (int64_t) batch->nwindows);

    for (size_t w = 0; w < batch->nwindows; w++) {
        redis_args_str(&l->args, partition_window(p, l->conf,
                                                  batch->windows[w])->label);
    }

    state_apply_records(l, slice);

    rc = state_run(l, p, script_apply, nkeys, &reply, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (reply->n != 2) {
        return err_set(err, RC_RETRY, "a script answered what it never does");
    }

    state_applied(l, p, slice, state_int(&reply->items[1], WINDOW_NONE));
    state_count(slice);

    return RC_OK;
}


/*
 * A slice is to Redis what a batch is: the next piece of the log, wholly or
 * not at all.  What comes before apply was done for all of them.
 */
rc_t
state_apply(links_t *l, partition_t *p, const state_batch_t *batch, err_t *err)
{
    state_slice_t  slice = { batch, 0, 0, batch->next, "", 0 };
    int64_t        began = metrics_clock();
    rc_t           rc = RC_OK;

    while (rc == RC_OK && slice.to < batch->n) {
        slice.from = slice.to;
        slice.to = batch->n - slice.from > STATE_SLICE
                   ? slice.from + STATE_SLICE : batch->n;

        const state_record_t *last = &batch->records[slice.to - 1];

        slice.next = slice.to < batch->n ? last->offset + 1 : batch->next;
        slice.last = last->id != NULL ? last->id : "";
        slice.last_len = last->id != NULL ? last->id_len : 0;

        rc = state_apply_slice(l, p, &slice, err);
    }

    metrics_time(METRIC_STEP, METRICS_STEP_APPLY, began);

    return rc;
}


rc_t
state_check(links_t *l, partition_t *p, int touch, err_t *err)
{
    size_t nkeys = state_keys(l, p, 1);

    state_put_belief(l, p);
    redis_args_int(&l->args, touch ? l->conf->state_ttl_ms / 2 : 0);
    redis_args_int(&l->args, l->conf->state_ttl_ms);

    return state_run(l, p, script_check, nkeys, NULL, err);
}


rc_t
state_spoil(links_t *l, partition_t *p, int64_t older, err_t *err)
{
    redis_args_reset(&l->args);
    redis_args_str(&l->args, p->key_progress);
    state_put_belief(l, p);
    redis_args_int(&l->args, older);

    return state_run(l, p, script_spoil, 1, NULL, err);
}


rc_t
state_rows(links_t *l, partition_t *p, const lane_window_t *win,
    const char *const *members, const uint32_t *lens, size_t n,
    const redis_value_t **triples, size_t *ntriples, err_t *err)
{
    const redis_value_t  *reply;
    rc_t                  rc;

    redis_args_reset(&l->args);
    redis_args_str(&l->args, p->key_progress);
    redis_args_str(&l->args, win->keys[1]);
    redis_args_str(&l->args, win->keys[2]);
    state_put_belief(l, p);

    for (size_t i = 0; i < n; i++) {
        redis_args_mem(&l->args, members[i], lens[i]);
    }

    rc = state_run(l, p, script_rows, 3, &reply, err);
    if (rc != RC_OK) {
        return rc;
    }

    *triples = reply->items + 1;
    *ntriples = (reply->n - 1) / 3;

    return RC_OK;
}


rc_t
state_page(links_t *l, partition_t *p, lane_window_t *win,
    const redis_value_t **triples, size_t *ntriples, size_t *size,
    err_t *err)
{
    const redis_value_t  *reply;
    rc_t                  rc;

    redis_args_reset(&l->args);
    redis_args_str(&l->args, p->key_progress);
    state_put_window(l, win);
    state_put_belief(l, p);
    redis_args_str(&l->args, win->cursor[0] == '\0' ? "0" : win->cursor);
    redis_args_str(&l->args, STATE_PAGE);

    rc = state_run(l, p, script_page, 4, &reply, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (reply->n < 3 || reply->items[1].len >= sizeof(win->cursor)) {
        return err_set(err, RC_RETRY, "a script answered what it never does");
    }

    memcpy(win->cursor, reply->items[1].str, reply->items[1].len);
    win->cursor[reply->items[1].len] = '\0';

    *size = (size_t) state_int(&reply->items[2], 0);
    *triples = reply->items + 3;
    *ntriples = (reply->n - 3) / 3;

    return RC_OK;
}


rc_t
state_close(links_t *l, partition_t *p, int64_t was_closed_ms,
    int64_t closed_ms, err_t *err)
{
    size_t nkeys = 2;

    state_keys(l, p, 0);

    for (size_t i = 0; i < p->nwindows; i++) {
        if (p->windows[i].start_ms <= closed_ms) {
            state_put_window(l, &p->windows[i]);
            nkeys += 3;
        }
    }

    state_put(l, p->next, PARTITION_NONE);
    state_put(l, was_closed_ms, WINDOW_NONE);
    state_put(l, closed_ms, WINDOW_NONE);
    redis_args_int(&l->args, l->conf->inspect_ttl_ms);

    for (size_t i = 0; i < p->nwindows; i++) {
        if (p->windows[i].start_ms <= closed_ms) {
            redis_args_str(&l->args, p->windows[i].label);
        }
    }

    rc_t rc = state_run(l, p, script_closed, nkeys, NULL, err);

    if (rc != RC_OK) {
        return rc;
    }

    while (p->nwindows > 0 && p->windows[0].start_ms <= closed_ms) {
        partition_forget(p, &p->windows[0]);
    }

    return RC_OK;
}


rc_t
state_drop(links_t *l, partition_t *p, const state_t *state, err_t *err)
{
    size_t nkeys = state_keys(l, p, 1);

    state_put(l, state->next, PARTITION_NONE);
    state_put(l, state->closed_ms, WINDOW_NONE);

    return state_run(l, p, script_drop, nkeys, NULL, err);
}
