/*
 * assemble.c: the loop of a lane that puts large files together.
 *
 * Owns the lane's connections, its partitions, where each begins and what is
 * committed for it, and the backoff.  What a piece means is collect.c's, what
 * a whole file needs finish.c's.
 *
 * The low water, the first piece of the oldest file that is not finished, is
 * committed to Kafka and is where the next owner begins.  If it is lost, that
 * is the start of the log: what was announced before is announced again, and
 * counts once by its id.  With it goes, as the commit's note, the offset
 * below which all was read: the next owner meets the ends of files whose
 * beginnings lie before the low water, and must tell them from files whose
 * beginnings are missing.
 *
 * A failure leaves a partition where it is and reads it again from the record
 * at hand: nothing outside can make the parts in memory wrong but the spool,
 * and there each reader looks.
 */

#include "assemble/assemble_local.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/now.h"

#define ASSEMBLE_SLICE      ((size_t) 1024 * 1024)     /* as finish.c's */
#define ASSEMBLE_COMMIT_MS  5000             /* at revoke */
#define ASSEMBLE_HURRY_MS   10000            /* after one that couldn't */
#define ASSEMBLE_OFTEN_MS   500              /* between two commits */
#define ASSEMBLE_LOG_MS     10000            /* between two looks at the log */
#define ASSEMBLE_NOTE       "next="
#define ASSEMBLE_NOTE_ID    " id="
#define ASSEMBLE_NOTE_MAX   (40 + RECORD_ID_MAX)


parts_t *
assemble_source(const assemble_t *a, int32_t partition)
{
    for (size_t i = 0; i < a->nsources; i++) {
        if (a->sources[i]->id == partition) {
            return a->sources[i];
        }
    }
    return NULL;
}


static int64_t
assemble_backoff(assemble_t *a, retry_t *retry)
{
    metrics_add(METRIC_FAILURES, METRICS_STEP_ASSEMBLE, 1);
    return now_mono_ms() + retry_next(retry, (uint32_t) rand_r(&a->seed));
}


/* Said once; `failed` is the step at which it stands. */
static void
assemble_stalled(assemble_t *a, const char **failed, const char *step,
    int32_t partition, const err_t *err)
{
    if (*failed == NULL || strcmp(*failed, step) != 0) {
        log_error("assemble", "stalled", LI("lane", a->number),
                  LI("part", partition), LS("step", step),
                  LS("err", err->text));
    }
    *failed = step;
}


static void
assemble_worked(assemble_t *a, const char **failed, retry_t *retry,
    int32_t partition)
{
    if (*failed != NULL) {
        log_notice("assemble", "recovered", LI("lane", a->number),
                   LI("part", partition), LS("step", *failed),
                   LI("failures", retry->failures));
    }
    *failed = NULL;
    retry->failures = 0;
}


static void
assemble_source_worked(assemble_t *a, parts_t *ps)
{
    if (ps->failed != NULL) {
        tell_stalled(ps, 0);
    }
    assemble_worked(a, &ps->failed, &ps->retry, ps->id);
}


static void
assemble_source_stalled(assemble_t *a, parts_t *ps, const char *step,
    const err_t *err)
{
    if (ps->failed == NULL) {
        tell_stalled(ps, 1);
    }
    assemble_stalled(a, &ps->failed, step, ps->id, err);
    ps->retry_at_ms = assemble_backoff(a, &ps->retry);
}


/* Their bytes in the spool; they can be read again. */
static void
assemble_forget_parts(assemble_t *a, parts_t *ps)
{
    for (size_t i = 0; i < ps->n; i++) {
        part_t  *part = ps->parts[i];

        finish_forget(a, part);
        if (part->file != 0) {
            spool_remove(a->spool, part->file, part->bytes);
        }
    }
}


/* Where the last owner left off; *offset is -1 when nobody did. */
static rc_t
assemble_left_off(assemble_t *a, parts_t *ps, int64_t *offset, err_t *err)
{
    char   note[ASSEMBLE_NOTE_MAX];
    char  *rest;
    rc_t   rc;

    ps->known = PARTS_NONE;
    ps->last[0] = '\0';

    rc = kafka_committed_at(a->kafka, ps->id, offset, note, sizeof(note), err);
    if (rc == RC_OK && *offset >= 0
        && strncmp(note, ASSEMBLE_NOTE, strlen(ASSEMBLE_NOTE)) == 0)
    {
        ps->known = strtoll(note + strlen(ASSEMBLE_NOTE), &rest, 10);

        if (strncmp(rest, ASSEMBLE_NOTE_ID, strlen(ASSEMBLE_NOTE_ID)) == 0) {
            (void) snprintf(ps->last, sizeof(ps->last), "%s",
                            rest + strlen(ASSEMBLE_NOTE_ID));
        }
    }
    return rc;
}


/*
 * Whether the record at offset still has the id.  What retention has deleted
 * can't be asked.
 */
static rc_t
assemble_same_log(assemble_t *a, const parts_t *ps, int64_t offset,
    const char *id, int64_t first, int64_t end, int *same, err_t *err)
{
    kafka_seen_t  seen;
    rc_t          rc;

    *same = offset < end;
    if (!*same || offset < first || id[0] == '\0') {
        return RC_OK;
    }

    rc = kafka_look(a->kafka, ps->id, offset, &seen, err);
    *same = rc != RC_OK || (seen.offset == offset && strcmp(seen.id, id) == 0);
    return rc;
}


static void
assemble_anchor(parts_t *ps)
{
    ps->anchor = PARTS_NONE;
    if (ps->last[0] != '\0') {
        ps->anchor = ps->high - 1;
        memcpy(ps->anchor_id, ps->last, sizeof(ps->anchor_id));
    }
}


/*
 * A topic that was made anew and has grown past us by the next fetch gives no
 * error.  So a record that was read is looked at again now and then: before
 * others are taken in (reading), or when some were since.  0: it is another
 * log, and is read from its start.
 */
static int
assemble_check_log(assemble_t *a, parts_t *ps, int reading)
{
    int64_t  now = now_mono_ms(), first, end;
    err_t    err = { "" };
    int      same = 1;

    if (ps->anchor == PARTS_NONE) {
        assemble_anchor(ps);
    }
    if (now < ps->log_at_ms
        || (!reading && ps->anchor != PARTS_NONE && ps->anchor == ps->high - 1))
    {
        return 1;
    }
    ps->log_at_ms = now + ASSEMBLE_LOG_MS;

    if (ps->anchor != PARTS_NONE
        && (kafka_bounds(a->kafka, ps->id, &first, &end, &err) != RC_OK
            || assemble_same_log(a, ps, ps->anchor, ps->anchor_id, first, end,
                                 &same, &err) != RC_OK))
    {
        return 1;                             /* later */
    }

    if (!same) {
        log_error("assemble", "this is another log, it is read from its start",
                  LI("part", ps->id), LI("committed", ps->committed),
                  LI("end", end));
        kafka_pause(a->kafka, ps->id);
        assemble_forget_parts(a, ps);
        parts_reset(ps);
        ps->anew = 1;
        return 0;
    }

    assemble_anchor(ps);
    return 1;
}


static rc_t
assemble_begin(assemble_t *a, parts_t *ps, err_t *err)
{
    int64_t  first, end, offset;
    int      same = 1;
    rc_t     rc = kafka_bounds(a->kafka, ps->id, &first, &end, err);

    if (rc == RC_OK) {
        rc = assemble_left_off(a, ps, &offset, err);
    }
    if (rc == RC_OK && offset >= 0 && ps->known > 0) {
        rc = assemble_same_log(a, ps, ps->known - 1, ps->last, first, end,
                               &same, err);
    }
    if (rc != RC_OK) {
        return RC_RETRY;
    }

    ps->committed = offset;

    if (ps->anew) {
        offset = PARTS_NONE;
        ps->committed = PARTS_NONE;

    } else if (offset > end || !same) {
        log_error("assemble", "this is another log, it is read from its start",
                  LI("part", ps->id), LI("committed", offset), LI("end", end));
        offset = PARTS_NONE;
        ps->committed = PARTS_NONE;

    } else if (offset >= 0 && offset < first) {
        log_error("assemble", "retention has overtaken unfinished files",
                  LI("part", ps->id), LI("from", offset), LI("first", first));
        offset = PARTS_NONE;
    }
    if (offset < 0) {
        offset = first;
        ps->known = PARTS_NONE;

    } else if (ps->known < offset) {
        ps->known = end;                /* set back by hand, without a note */
    }
    ps->last[0] = '\0';                 /* that was of known */

    rc = kafka_start(a->kafka, ps->id, offset, err);
    if (rc != RC_OK) {
        return RC_RETRY;
    }

    ps->next = offset;
    ps->high = offset;
    ps->anew = 0;
    ps->log_at_ms = now_mono_ms() + ASSEMBLE_LOG_MS;
    ps->state = PARTS_ACTIVE;
    log_info("assemble", "taken", LI("lane", a->number), LI("part", ps->id),
             LI("offset", offset));
    return RC_OK;
}


static void
assemble_take(assemble_t *a, parts_t *ps)
{
    err_t  err = { "" };

    if (assemble_begin(a, ps, &err) == RC_OK) {
        assemble_source_worked(a, ps);
    } else {
        assemble_source_stalled(a, ps, "take", &err);
    }
}


static void
assemble_note(const parts_t *ps, char note[ASSEMBLE_NOTE_MAX])
{
    int  back = ps->known > ps->high;      /* gone back behind it */
    int  id = !back && ps->last[0] != '\0';

    (void) snprintf(note, ASSEMBLE_NOTE_MAX, ASSEMBLE_NOTE "%" PRId64 "%s%s",
                    back ? ps->known : ps->high, id ? ASSEMBLE_NOTE_ID : "",
                    id ? ps->last : "");
}


static void
assemble_commit(assemble_t *a, parts_t *ps, int64_t now)
{
    int64_t  low = parts_low_water(ps);
    char     note[ASSEMBLE_NOTE_MAX];

    if (low > ps->committed && now >= ps->commit_at_ms) {
        ps->commit_at_ms = now + ASSEMBLE_OFTEN_MS;
        assemble_note(ps, note);
        kafka_commit_note(a->kafka, ps->id, low, note);
        ps->committed = low;
    }
}


/*
 * Goes back for the parts that there was no memory for.  What was seen in
 * between is of them, or of parts that are known, or finished: those may be
 * announced a second time, and count once.  The watermark follows the reading,
 * or they would expire between two of their pieces.
 */
static int64_t
assemble_back(parts_t *ps)
{
    int64_t  from = ps->over;

    ps->known = ps->high > ps->known ? ps->high : ps->known;
    ps->high = from;
    ps->over = PARTS_NONE;
    ps->last[0] = '\0';
    ps->watermark_ms = INT64_MIN;
    return from;
}


/* Goes back in the log for what the spool, or memory, had no room for. */
static void
assemble_again(assemble_t *a, parts_t *ps)
{
    err_t    err = { "" };
    int64_t  from, to = ps->high;

    if (ps->next < ps->high) {
        return;
    }
    from = collect_again(a, ps);
    if (from == PARTS_NONE && ps->over != PARTS_NONE && collect_has_place(a)) {
        from = assemble_back(ps);
    }
    if (from == PARTS_NONE) {
        return;
    }

    log_info("assemble", "read again", LI("lane", a->number),
             LI("part", ps->id), LI("from", from), LI("to", to));

    /* Should this fail the partition goes on from there all the same. */
    ps->next = from;
    if (kafka_start(a->kafka, ps->id, from, &err) != RC_OK) {
        ps->state = PARTS_WAITING;
        assemble_source_stalled(a, ps, "read", &err);
    }
}


static void
assemble_resume(assemble_t *a, parts_t *ps)
{
    err_t  err = { "" };

    if (ps->failed == NULL && finish_pending(a)) {
        return;
    }
    if (kafka_start(a->kafka, ps->id, ps->next, &err) != RC_OK) {
        assemble_source_stalled(a, ps, "read", &err);
        return;
    }
    ps->state = PARTS_ACTIVE;
}


static void
assemble_serve(assemble_t *a, parts_t *ps)
{
    int64_t  now = now_mono_ms();

    if (now < ps->retry_at_ms) {
        return;
    }
    if (ps->state == PARTS_TAKING) {
        assemble_take(a, ps);
    } else if (ps->state == PARTS_WAITING) {
        assemble_resume(a, ps);
    }
    if (ps->state != PARTS_ACTIVE) {
        return;
    }

    if (!assemble_check_log(a, ps, 0)) {
        return;
    }
    assemble_again(a, ps);
    collect_expire(a, ps, now);
    assemble_commit(a, ps, now);
}


/* The id of the record before high. */
static void
assemble_last(parts_t *ps, const record_t *rec)
{
    ps->last[0] = '\0';

    for (size_t i = 0; i < rec->nheaders; i++) {
        const record_header_t  *h = &rec->headers[i];

        if (strcmp(h->name, SLUICE_H_ID) == 0 && h->value != NULL
            && h->len < sizeof(ps->last))
        {
            memcpy(ps->last, h->value, h->len);
            ps->last[h->len] = '\0';
            return;
        }
    }
}


static void
assemble_batch(assemble_t *a, kafka_batch_t *batch)
{
    parts_t   *ps = assemble_source(a, kafka_batch_partition(batch));
    size_t     n;
    record_t  *records = kafka_batch_records(batch, &n);
    err_t      err = { "" };

    if (ps == NULL || ps->state != PARTS_ACTIVE) {
        return;
    }

    if (!assemble_check_log(a, ps, 1)) {
        return;
    }
    tell_batch(ps, records, n);

    for (size_t i = 0; i < n; i++) {
        const record_t  *rec = &records[i];

        if (collect_record(a, ps, rec, &err) != RC_OK) {
            kafka_pause(a->kafka, ps->id);
            ps->state = PARTS_WAITING;
            if (err.text[0] != '\0') {
                assemble_source_stalled(a, ps, "collect", &err);
            }
            return;
        }

        ps->next = rec->offset + 1;
        if (ps->next > ps->high) {
            ps->high = ps->next;
            assemble_last(ps, rec);
        }
        if (rec->ts_ms > ps->watermark_ms) {
            ps->watermark_ms = rec->ts_ms;
        }
    }
    assemble_source_worked(a, ps);
}


static void
assemble_assigned(void *ctx, int32_t partition)
{
    assemble_t  *a = ctx;

    if (assemble_source(a, partition) != NULL) {
        return;
    }
    a->sources = mem_grow(a->sources, a->nsources + 1, sizeof(*a->sources));
    a->sources[a->nsources++] = parts_new(a->conf->chunks_topic,
                                            partition, a->number);
}


static void
assemble_revoked(void *ctx, int32_t partition, int lost)
{
    assemble_t  *a = ctx;
    parts_t     *ps = assemble_source(a, partition);
    char         note[ASSEMBLE_NOTE_MAX];
    err_t        err = { "" };

    if (ps == NULL) {
        return;
    }

    if (!lost && ps->state != PARTS_TAKING
        && now_mono_ms() >= a->hurry_until_ms)
    {
        assemble_note(ps, note);
        if (kafka_commit_note_wait(a->kafka, partition, parts_low_water(ps),
                                   note, ASSEMBLE_COMMIT_MS, &err) != RC_OK)
        {
            log_warn("assemble",
                     "left behind work that the next owner does again",
                     LI("lane", a->number), LI("part", partition),
                     LS("err", err.text));
            a->hurry_until_ms = now_mono_ms() + ASSEMBLE_HURRY_MS;
        }
    }

    log_info("assemble", lost ? "lost" : "revoked", LI("lane", a->number),
             LI("part", partition), LI("next", ps->next));

    for (size_t i = 0; i < a->nsources; i++) {
        if (a->sources[i] == ps) {
            a->sources[i] = a->sources[--a->nsources];
            break;
        }
    }
    assemble_forget_parts(a, ps);
    parts_free(ps);
}


rc_t
assemble_open(assemble_t **out, const lane_setup_t *setup, int number,
    err_t *err)
{
    static const kafka_events_t  events = { assemble_assigned,
                                            assemble_revoked };

    assemble_t      *a = mem_zalloc(sizeof(*a));
    char            *instance = mem_printf("%s-%" PRId64 "-%d", setup->host,
                                           setup->conf->instance, number);
    kafka_member_t   member = {
        .topic = setup->conf->chunks_topic, .instance_id = instance,
        .fetch_bytes = (size_t) setup->conf->fetch_bytes
    };
    rc_t             rc;

    a->conf = setup->conf;
    a->store_ops = setup->store;
    a->store_conf = setup->store_conf;
    a->stop = setup->stop;
    a->number = number;
    a->max_parts = setup->conf->max_parts / setup->conf->assemble_lanes;
    a->max_parts = a->max_parts > 0 ? a->max_parts : 1;
    a->slot = metrics_slot_open(setup->conf->chunks_topic, -1, number);
    a->wc.size_ms = setup->conf->window_ms;
    a->wc.lateness_ms = setup->conf->lateness_ms;
    a->seed = (unsigned int) (now_mono_ms() + number);
    a->buffer = mem_alloc(ASSEMBLE_SLICE);
    a->group = mem_printf("%s%s", kafka_group(setup->kafka),
                          SLUICE_TOPIC_CHUNKS);
    member.group = a->group;

    rc = kafka_open(&a->kafka, setup->kafka, &member, &events, a, err);
    free(instance);

    if (rc != RC_OK) {
        assemble_close(a);
        return rc;
    }
    *out = a;
    return RC_OK;
}


void
assemble_close(assemble_t *a)
{
    if (a == NULL) {
        return;
    }

    if (a->kafka != NULL) {
        kafka_close(a->kafka);
    }
    while (a->nsources > 0) {
        a->nsources--;
        assemble_forget_parts(a, a->sources[a->nsources]);
        parts_free(a->sources[a->nsources]);
    }
    free(a->sources);

    if (a->store != NULL) {
        a->store_ops->close(a->store);
    }
    spool_close(a->spool);
    metrics_slot_close(a->slot);
    free(a->buffer);
    free(a->group);
    free(a);
}


rc_t
assemble_probe(const lane_conf_t *conf, err_t *err)
{
    return spool_probe(conf->spool, err);
}


static void
assemble_open_spool(assemble_t *a)
{
    err_t  err = { "" };

    if (now_mono_ms() < a->spool_at_ms) {
        return;
    }
    if (spool_open(&a->spool, a->conf->spool,
                   (uint64_t) (a->conf->spool_bytes / a->conf->assemble_lanes),
                   &err) == RC_OK)
    {
        assemble_worked(a, &a->failed, &a->retry, -1);
        return;
    }
    assemble_stalled(a, &a->failed, "spool", -1, &err);
    a->spool_at_ms = assemble_backoff(a, &a->retry);
}


/* What is whole goes on its way; 1 when there is more to do at once. */
static int
assemble_finish(assemble_t *a)
{
    err_t  err = { "" };
    int    more = 0;

    if (now_mono_ms() < a->finish_at_ms) {
        return 0;
    }
    if (finish_turn(a, &more, &err) != RC_OK) {
        assemble_stalled(a, &a->failed, "finish", -1, &err);
        a->finish_at_ms = assemble_backoff(a, &a->retry);
        return 0;
    }
    assemble_worked(a, &a->failed, &a->retry, -1);
    return more;
}


void
assemble_run(assemble_t *a)
{
    int  more = 0;

    while (!atomic_load(a->stop)) {
        kafka_batch_t  *batch;

        tell_turn(a);
        batch = kafka_poll(a->kafka, more ? 0 : (int) a->conf->poll_ms,
                           (size_t) a->conf->batch_records,
                           (size_t) a->conf->batch_bytes);
        if (batch != NULL) {
            assemble_batch(a, batch);
            kafka_batch_free(batch);
        }

        if (a->spool == NULL) {
            assemble_open_spool(a);
            continue;
        }

        more = assemble_finish(a);

        for (size_t i = 0; i < a->nsources && !atomic_load(a->stop); i++) {
            assemble_serve(a, a->sources[i]);
            tell_source(a, a->sources[i]);
        }
        tell_spool(a);
    }

    kafka_close(a->kafka);
    a->kafka = NULL;
}
