/*
 * apply.c: the steps of a batch, in the order that makes a crash harmless.
 *
 * Owns that order: read, judge, ask, verify, write down, put, send on, apply.
 * Does not count; apply.lua does.  Each step before the last may happen twice
 * without a trace that matters, and the last is all or nothing.
 *
 * A record's bytes are hashed only when they are the first of their member:
 * those that follow are not stored, they only raise a count.  One that claims
 * a name may turn out a repeat, so it is hashed and so is the next.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/now.h"
#include "core/path.h"
#include "core/row.h"
#include "lane/apply.h"
#include "lane/breaks.h"
#include "lane/ledger.h"
#include "lane/rows.h"
#include "lane/state.h"

/* Last instant of which sluice.ensure_day() makes a day. */
#define APPLY_TIME_MAX  253402128000000

#define APPLY_SEND_MS   15000

/* Beside a record's place in state: what the steps before apply need. */
typedef struct {
    char         member[PATH_MEMBER_MAX];
    char        *once;               /* record_once(), owned; NULL: none */
    const char  *stage;              /* error-stage, */
    err_t        reason;             /* of those that are late or dead */
} fate_t;

typedef struct {
    links_t         *l;
    partition_t     *p;
    record_t        *recs;
    size_t           n;
    fate_t          *fates;
    state_batch_t    state;
    verdict_t        verdict;
    ledger_entry_t  *entries;        /* of the statement at hand, */
    size_t          *numbers;        /* their records */
    members_t        fresh;          /* window and member, first seen here */
    store_object_t  *objects;        /* of those whose bytes come along */
    size_t          *owners;         /* its record */
    size_t           nobjects;
} batch_t;


static void
batch_init(batch_t *b, links_t *l, partition_t *p, record_t *recs, size_t n)
{
    memset(b, 0, sizeof(*b));

    b->l = l;
    b->p = p;
    b->recs = recs;
    b->n = n;
    b->fates = mem_zalloc(n * sizeof(*b->fates));
    b->entries = mem_zalloc(n * sizeof(*b->entries));
    b->numbers = mem_zalloc(n * sizeof(*b->numbers));
    b->objects = mem_zalloc(n * sizeof(*b->objects));
    b->owners = mem_zalloc(n * sizeof(*b->owners));

    b->state.records = mem_zalloc(n * sizeof(*b->state.records));
    b->state.windows = mem_zalloc(n * sizeof(*b->state.windows));
    b->state.n = n;
    b->state.next = recs[n - 1].offset + 1;

    b->verdict.wc = l->wc;
    b->verdict.closed_ms = p->closed_ms;
    b->verdict.closed_next = p->closed_next;
    b->verdict.watermark_ms = p->watermark_ms;
}


static void
batch_free(batch_t *b)
{
    for (size_t i = 0; i < b->n; i++) {
        free((char *) b->state.records[i].row);
        free((char *) b->objects[i].path);
        free((char *) b->objects[i].type);
        free(b->fates[i].once);
    }

    members_free(&b->fresh);
    free(b->state.windows);
    free(b->state.records);
    free(b->owners);
    free(b->objects);
    free(b->numbers);
    free(b->entries);
    free(b->fates);
}


/* Number of the window among those the batch counts into. */
static size_t
batch_window(batch_t *b, int64_t start_ms)
{
    size_t n = b->state.nwindows;

    /* Records come in order of time, more or less: the last is the likely. */
    for (size_t w = n; w-- > 0; ) {
        if (b->state.windows[w] == start_ms) {
            return w;
        }
    }

    b->state.windows[n] = start_ms;
    b->state.nwindows++;
    partition_window(b->p, b->l->conf, start_ms);

    return n;
}


static rc_t
apply_read_one(record_t *rec, err_t *reason)
{
    rc_t rc = record_read(rec, reason);

    if (rc == RC_OK && rec->ts_ms >= APPLY_TIME_MAX) {
        return err_set(reason, RC_REJECT, "timestamp %" PRId64 " is no time "
                       "that a row could have", rec->ts_ms);
    }

    return rc;
}


/* Notes the name under which a record counts once, if it has one. */
static void
apply_once(batch_t *b, size_t i)
{
    char    once[RECORD_ONCE_MAX + 1];
    size_t  len = record_once(&b->recs[i], once);

    if (len > 0) {
        b->fates[i].once = mem_strndup(once, len);
    }
}


/* Read and judge, in the order of the log. */
static void
apply_read(batch_t *b)
{
    for (size_t i = 0; i < b->n; i++) {
        record_t        *rec = &b->recs[i];
        state_record_t  *r = &b->state.records[i];
        fate_t          *fate = &b->fates[i];

        r->offset = rec->offset;
        r->ts_ms = rec->ts_ms;

        if (apply_read_one(rec, &fate->reason) != RC_OK) {
            r->verdict = VERDICT_UNREAD;
            fate->stage = SLUICE_STAGE_READ;
            continue;
        }

        r->id = rec->id;
        r->id_len = rec->id_len;
        apply_once(b, i);
        r->verdict = verdict_next(&b->verdict, rec->offset, rec->ts_ms,
                                  &r->start_ms);

        if (r->verdict == VERDICT_LATE) {
            fate->stage = SLUICE_STAGE_WINDOW;
            err_set(&fate->reason, RC_OK, "late: its window was closed or "
                    "due");
        }

        if (r->verdict == VERDICT_COUNT) {
            path_member(rec, fate->member);
            r->member = fate->member;
            r->member_len = strlen(fate->member);
            r->win = batch_window(b, r->start_ms);
        }
    }
}


/* A member of a window of the batch, as a text; its length. */
static size_t
apply_name(const state_record_t *r, char name[24 + PATH_MEMBER_MAX])
{
    return (size_t) snprintf(name, 24 + PATH_MEMBER_MAX, "%zu %s", r->win,
                             r->member);
}


/*
 * Of each new member the first record whose bytes fit its hash; before it all
 * that have a name, since they may not be the ones that count.
 */
static void
apply_verify(batch_t *b)
{
    members_t  sure = { 0 };
    char       name[24 + PATH_MEMBER_MAX];

    for (size_t i = 0; i < b->n; i++) {
        state_record_t  *r = &b->state.records[i];
        fate_t          *fate = &b->fates[i];

        if (r->verdict != VERDICT_COUNT || r->known) {
            continue;
        }

        size_t len = apply_name(r, name);

        if (members_has(&sure, name, len, NULL)) {
            continue;
        }

        if (record_verify(&b->recs[i], &fate->reason) != RC_OK) {
            fate->stage = SLUICE_STAGE_VERIFY;
            r->verdict = VERDICT_DEAD;

        } else if (fate->once == NULL) {
            members_add(&sure, name, len, NULL);
        }
    }

    members_free(&sure);
}


/* Puts record i among those of the next statement. */
static void
apply_enter(batch_t *b, size_t i, size_t *n)
{
    const fate_t    *fate = &b->fates[i];
    ledger_entry_t  *e = &b->entries[*n];

    e->rec = &b->recs[i];
    e->start_ms = b->state.records[i].start_ms;
    e->once = fate->once == NULL ? "" : fate->once;
    e->once_len = strlen(e->once);
    b->numbers[(*n)++] = i;
}


/*
 * Of those that can come twice by right only the first ever counts, and a
 * record that the log holds twice counts from its first place.  That is
 * settled in PostgreSQL before anything else can be seen of them: a crash
 * behind this finds its own claims, and its own rows of the history, again.
 * The other place of a record brings the same member: no need to look at its
 * bytes again.
 */
static rc_t
apply_write(batch_t *b, err_t *err)
{
    size_t  n = 0;
    rc_t    rc;

    for (size_t i = 0; i < b->n; i++) {
        if (b->state.records[i].verdict == VERDICT_COUNT) {
            apply_enter(b, i, &n);
        }
    }

    rc = ledger_write(b->l, b->p, b->entries, n, b->state.next, err);

    for (size_t e = 0; rc == RC_OK && e < n; e++) {
        state_record_t *r = &b->state.records[b->numbers[e]];

        if (b->entries[e].place != LEDGER_MINE) {
            r->verdict = b->entries[e].place == LEDGER_TWICE ? VERDICT_TWICE
                                                             : VERDICT_REPEAT;
        }
    }

    return rc;
}


/* A new member's row, and its bytes for the store unless they lie there. */
static void
apply_object(batch_t *b, size_t i)
{
    record_t        *rec = &b->recs[i];
    state_record_t  *r = &b->state.records[i];
    char             path[PATH_OBJECT_MAX];
    char            *row = mem_alloc(ROW_TEXT_MAX);

    if (rec->object == NULL) {
        path_object(b->l->conf->store_prefix, r->start_ms, rec, path);

    } else {
        memcpy(path, rec->object, rec->object_len);
        path[rec->object_len] = '\0';
    }

    r->row_len = row_write(rec, path, row);
    r->row = mem_strndup(row, r->row_len);
    free(row);

    if (rec->object == NULL) {
        store_object_t *object = &b->objects[b->nobjects];

        object->path = mem_strdup(path);
        object->type = mem_strndup(rec->type, rec->type_len);
        object->data = rec->value;
        object->len = rec->len;
        b->owners[b->nobjects++] = i;
    }
}


/* The first record of each new member that counts. */
static void
apply_objects(batch_t *b)
{
    char  name[24 + PATH_MEMBER_MAX];

    for (size_t i = 0; i < b->n; i++) {
        const state_record_t *r = &b->state.records[i];

        if (r->verdict == VERDICT_COUNT && !r->known
            && members_add(&b->fresh, name, apply_name(r, name), NULL))
        {
            apply_object(b, i);
        }
    }
}


/* What a store can never keep is dead with all the records that bring it. */
static void
apply_unkept(batch_t *b, size_t object)
{
    const state_record_t *owner = &b->state.records[b->owners[object]];

    for (size_t i = 0; i < b->n; i++) {
        state_record_t *r = &b->state.records[i];

        if (r->verdict == VERDICT_COUNT && r->win == owner->win
            && strcmp(r->member, owner->member) == 0)
        {
            r->verdict = VERDICT_DEAD;
            b->fates[i].stage = SLUICE_STAGE_PUT;
            b->fates[i].reason = b->objects[object].err;
        }
    }
}


static rc_t
apply_put(batch_t *b, err_t *err)
{
    int64_t  began = metrics_clock();
    rc_t     rc;

    if (b->nobjects == 0) {
        return RC_OK;
    }

    rc = b->l->store_ops->put(b->l->store, b->objects, b->nobjects, err);
    metrics_time(METRIC_STEP, METRICS_STEP_PUT, began);

    if (rc != RC_OK && rc != RC_REJECT) {
        return RC_RETRY;
    }

    for (size_t i = 0; i < b->nobjects; i++) {
        if (b->objects[i].rc == RC_REJECT) {
            apply_unkept(b, i);

        } else {
            metrics_add(METRIC_STORED_BYTES, 0, (int64_t) b->objects[i].len);
        }
    }

    return RC_OK;
}


/*
 * What is late or dead counts nowhere, so nothing may stand in its name: not
 * what was written of a file that the store then refused, nor by a lane that
 * did not see the close which made it late.  That lane can't write it again,
 * its closed_through has moved.  Nor is late what counts from another place
 * in the log: put back it would count once more.
 */
static rc_t
apply_release(batch_t *b, err_t *err)
{
    size_t  n = 0;
    rc_t    rc;

    for (size_t i = 0; i < b->n; i++) {
        verdict_e verdict = b->state.records[i].verdict;

        if ((verdict == VERDICT_LATE || verdict == VERDICT_DEAD)
            && b->recs[i].offset >= b->p->closed_next
            && (b->l->conf->uploads_table || b->fates[i].once != NULL))
        {
            apply_enter(b, i, &n);
        }
    }

    if (n == 0) {
        return RC_OK;
    }

    rc = ledger_release(b->l, b->p, b->entries, n, err);

    for (size_t e = 0; rc == RC_OK && e < n; e++) {
        state_record_t *r = &b->state.records[b->numbers[e]];

        if (b->entries[e].place == LEDGER_TWICE && r->verdict == VERDICT_LATE)
        {
            r->verdict = VERDICT_TWICE;
        }
    }

    return rc;
}


static rc_t
apply_send_one(batch_t *b, size_t i, const char *topic, err_t *err)
{
    const char    *reason = b->fates[i].reason.text;
    char           partition[16], offset[24], attempts[16];
    char           now[NOW_TEXT_LEN];
    kafka_extra_t  extra[] = {
        { SLUICE_H_ERROR_STAGE, b->fates[i].stage },
        { SLUICE_H_ERROR_REASON, reason },
        { SLUICE_H_ERROR_ATTEMPTS, attempts },
        { SLUICE_H_ERROR_TIME, now },
        { SLUICE_H_ERROR_TOPIC, b->l->conf->topic },
        { SLUICE_H_ERROR_PARTITION, partition },
        { SLUICE_H_ERROR_OFFSET, offset }
    };

    snprintf(partition, sizeof(partition), "%" PRId32, b->p->id);
    snprintf(offset, sizeof(offset), "%" PRId64, b->recs[i].offset);
    snprintf(attempts, sizeof(attempts), "%d",
             b->recs[i].redriven > 0 ? b->recs[i].redriven + 1 : 1);
    now_text(now);

    log_info("lane", "sent on", LI("lane", b->l->number),
             LI("part", b->p->id), LI("offset", b->recs[i].offset),
             LS("topic", topic), LS("stage", b->fates[i].stage),
             LS("reason", reason));

    return kafka_send(b->l->kafka, topic, &b->recs[i], extra,
                      sizeof(extra) / sizeof(extra[0]), err);
}


/*
 * Late and dead records to their topics.  What lies below closed_next was
 * applied before, hence sent before: a replay needs not send it again.
 */
static rc_t
apply_send(batch_t *b, err_t *err)
{
    int64_t  began = metrics_clock();
    size_t   sent = 0;
    rc_t     rc;

    for (size_t i = 0; i < b->n; i++) {
        const char *topic;

        switch (b->state.records[i].verdict) {
        case VERDICT_LATE:
            topic = b->l->conf->late_topic;
            break;
        case VERDICT_DEAD:
        case VERDICT_UNREAD:
            topic = b->l->conf->dead_topic;
            break;
        default:
            continue;
        }

        if (b->recs[i].offset < b->p->closed_next) {
            continue;
        }

        if (apply_send_one(b, i, topic, err) != RC_OK) {
            return RC_RETRY;
        }

        sent++;
    }

    if (sent == 0) {
        return RC_OK;
    }

    rc = kafka_send_wait(b->l->kafka, APPLY_SEND_MS, err);
    metrics_time(METRIC_STEP, METRICS_STEP_SEND, began);

    return rc == RC_OK ? RC_OK : RC_RETRY;
}


/* In this order; docs/design.md, 4.1. */
static rc_t
apply_steps(batch_t *b, err_t *err)
{
    rc_t rc = state_ask(b->l, b->p, &b->state, err);

    if (rc == RC_OK) {
        apply_verify(b);
        rc = apply_write(b, err);
    }

    if (rc == RC_OK) {
        apply_objects(b);
        rc = BREAKS_PUT_AFTER_APPLY ? RC_OK : apply_put(b, err);
    }

    if (rc == RC_OK) {
        rc = apply_release(b, err);
    }

    if (rc == RC_OK) {
        rc = apply_send(b, err);
    }

    if (rc == RC_OK) {
        rc = state_apply(b->l, b->p, &b->state, err);
    }

    if (rc == RC_OK && BREAKS_PUT_AFTER_APPLY) {
        rc = apply_put(b, err);
    }

    return rc;
}


rc_t
apply_batch(links_t *l, partition_t *p, record_t *records, size_t n,
    err_t *err)
{
    batch_t  b;
    rc_t     rc = RC_OK;

    batch_init(&b, l, p, records, n);
    apply_read(&b);

    for (size_t w = 0; rc == RC_OK && w < b.state.nwindows; w++) {
        rc = rows_ensure_day(l, b.state.windows[w], err);
    }

    if (rc == RC_OK) {
        rc = apply_steps(&b, err);
    }

    if (rc == RC_OK) {
        log_debug("lane", "applied", LI("lane", l->number), LI("part", p->id),
                  LI("first", records[0].offset), LI("next", p->next),
                  LI("new", b.fresh.n));
    }

    batch_free(&b);

    return rc;
}
