/*
 * apply.c: the steps of a batch, in the order that makes a crash harmless.
 *
 * Owns that order: read, judge, ask, verify, put, send on, apply.  Does not
 * count; apply.lua does.  Each step before the last may happen twice without
 * a trace that matters, and the last is all or nothing.
 *
 * A record's bytes are hashed only when they are the first of their member:
 * those that follow are not stored, they only raise a count.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/path.h"
#include "core/row.h"
#include "lane/apply.h"
#include "lane/rows.h"
#include "lane/state.h"

/* Last instant of which sluice.ensure_day() makes a day. */
#define APPLY_TIME_MAX  253402128000000

#define APPLY_SEND_MS   15000

typedef struct {
    links_t         *l;
    partition_t     *p;
    record_t        *recs;
    size_t           n;
    err_t           *reasons;        /* of those that are late or dead */
    char           (*members)[PATH_MEMBER_MAX];
    state_batch_t    state;
    verdict_t        verdict;
    members_t        fresh;          /* window and member, first seen here */
    store_object_t  *objects;        /* of each in fresh */
    size_t          *owners;         /* its record */
} batch_t;


static void
batch_init(batch_t *b, links_t *l, partition_t *p, record_t *recs, size_t n)
{
    memset(b, 0, sizeof(*b));

    b->l = l;
    b->p = p;
    b->recs = recs;
    b->n = n;
    b->reasons = mem_zalloc(n * sizeof(*b->reasons));
    b->members = mem_alloc(n * sizeof(*b->members));
    b->objects = mem_zalloc(n * sizeof(*b->objects));
    b->owners = mem_zalloc(n * sizeof(*b->owners));

    b->state.records = mem_zalloc(n * sizeof(*b->state.records));
    b->state.windows = mem_zalloc(n * sizeof(*b->state.windows));
    b->state.n = n;
    b->state.next = recs[n - 1].offset + 1;
    b->state.last = "";

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
    }

    members_free(&b->fresh);
    free(b->state.windows);
    free(b->state.records);
    free(b->owners);
    free(b->objects);
    free(b->members);
    free(b->reasons);
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
    if (rec->ts_ms < 0 || rec->ts_ms >= APPLY_TIME_MAX) {
        return err_set(reason, RC_REJECT, "timestamp %" PRId64 " is no time "
                       "that a row could have", rec->ts_ms);
    }

    return record_read(rec, reason);
}


/* Read and judge, in the order of the log. */
static void
apply_read(batch_t *b)
{
    for (size_t i = 0; i < b->n; i++) {
        record_t        *rec = &b->recs[i];
        state_record_t  *r = &b->state.records[i];

        r->offset = rec->offset;
        r->ts_ms = rec->ts_ms;

        if (apply_read_one(rec, &b->reasons[i]) != RC_OK) {
            r->verdict = VERDICT_UNREAD;
            continue;
        }

        r->verdict = verdict_next(&b->verdict, rec->offset, rec->ts_ms,
                                  &r->start_ms);

        if (r->verdict == VERDICT_LATE) {
            err_set(&b->reasons[i], RC_OK, "late: its window was closed or "
                    "due");
        }

        if (r->verdict == VERDICT_COUNT) {
            path_member(rec, b->members[i]);
            r->member = b->members[i];
            r->member_len = strlen(b->members[i]);
            r->win = batch_window(b, r->start_ms);
        }
    }

    /* The id of the record at next - 1, when it has one. */
    if (b->state.records[b->n - 1].verdict != VERDICT_UNREAD) {
        b->state.last = b->recs[b->n - 1].id;
        b->state.last_len = b->recs[b->n - 1].id_len;
    }
}


static void
apply_object(batch_t *b, size_t i)
{
    record_t        *rec = &b->recs[i];
    state_record_t  *r = &b->state.records[i];
    store_object_t  *object = &b->objects[b->fresh.n - 1];
    char             path[PATH_OBJECT_MAX];
    char            *row = mem_alloc(ROW_TEXT_MAX);

    path_object(b->l->conf->store_prefix, r->start_ms, rec, path);
    r->row_len = row_write(rec, path, row);
    r->row = mem_strndup(row, r->row_len);
    free(row);

    object->path = mem_strdup(path);
    object->type = mem_strndup(rec->type, rec->type_len);
    object->data = rec->value;
    object->len = rec->len;
    b->owners[b->fresh.n - 1] = i;
}


/* Of each new member the first record whose bytes fit its hash. */
static void
apply_verify(batch_t *b)
{
    char  name[24 + PATH_MEMBER_MAX];

    for (size_t i = 0; i < b->n; i++) {
        state_record_t *r = &b->state.records[i];

        if (r->verdict != VERDICT_COUNT || r->known) {
            continue;
        }

        size_t len = (size_t) snprintf(name, sizeof(name), "%zu %s", r->win,
                                       r->member);

        if (members_has(&b->fresh, name, len, NULL)) {
            continue;
        }

        if (record_verify(&b->recs[i], &b->reasons[i]) != RC_OK) {
            r->verdict = VERDICT_DEAD;
            continue;
        }

        members_add(&b->fresh, name, len, NULL);
        apply_object(b, i);
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
            b->reasons[i] = b->objects[object].err;
        }
    }
}


static rc_t
apply_put(batch_t *b, err_t *err)
{
    rc_t rc;

    if (b->fresh.n == 0) {
        return RC_OK;
    }

    rc = b->l->store_ops->put(b->l->store, b->objects, b->fresh.n, err);

    if (rc != RC_OK && rc != RC_REJECT) {
        return RC_RETRY;
    }

    for (size_t i = 0; i < b->fresh.n; i++) {
        if (b->objects[i].rc == RC_REJECT) {
            apply_unkept(b, i);
        }
    }

    return RC_OK;
}


static rc_t
apply_send_one(batch_t *b, size_t i, const char *topic, err_t *err)
{
    char           partition[16], offset[24];
    kafka_extra_t  extra[] = {
        { SLUICE_H_ERROR_REASON, b->reasons[i].text },
        { SLUICE_H_ERROR_TOPIC, b->l->conf->topic },
        { SLUICE_H_ERROR_PARTITION, partition },
        { SLUICE_H_ERROR_OFFSET, offset }
    };

    snprintf(partition, sizeof(partition), "%" PRId32, b->p->id);
    snprintf(offset, sizeof(offset), "%" PRId64, b->recs[i].offset);

    log_info("lane", "sent on", LI("lane", b->l->number),
             LI("part", b->p->id), LI("offset", b->recs[i].offset),
             LS("topic", topic), LS("reason", b->reasons[i].text));

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
    size_t  sent = 0;

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

    return kafka_send_wait(b->l->kafka, APPLY_SEND_MS, err) == RC_OK
           ? RC_OK : RC_RETRY;
}


rc_t
apply_batch(links_t *l, partition_t *p, record_t *records, size_t n,
    err_t *err)
{
    batch_t  b;
    rc_t     rc;

    batch_init(&b, l, p, records, n);
    apply_read(&b);

    for (size_t w = 0; w < b.state.nwindows; w++) {
        rc = rows_ensure_day(l, b.state.windows[w], err);
        if (rc != RC_OK) {
            goto done;
        }
    }

    rc = state_ask(l, p, &b.state, err);
    if (rc != RC_OK) {
        goto done;
    }

    apply_verify(&b);

    rc = apply_put(&b, err);
    if (rc == RC_OK) {
        rc = apply_send(&b, err);
    }

    if (rc == RC_OK) {
        rc = state_apply(l, p, &b.state, b.verdict.watermark_ms, err);
    }

    if (rc == RC_OK) {
        log_debug("lane", "applied", LI("lane", l->number), LI("part", p->id),
                  LI("first", records[0].offset), LI("next", p->next),
                  LI("new", b.fresh.n));
    }

done:
    batch_free(&b);
    return rc;
}
