/*
 * collect.c: pieces become parts, as far as the spool has room.
 *
 * Owns what a record means for its part, and which part is dropped when the
 * spool is full.  Sends and stores nothing.
 *
 * What a piece may be is decided by the log alone, never by what happens to
 * lie in the spool: a part that was dropped still has its pieces counted, and
 * is void, dead or complete by the same records.
 *
 * Room.  Never dropped is the part that was begun first, so it ends some time,
 * and then the next is the first.  A part that alone is larger than the quota
 * is dead: no order of reading would help it.  A dropped part is read again
 * when it is the first, or when it is complete in the log and a quarter of
 * the quota would be left: so that what it was dropped for once can't drop it
 * again at once, and the log is not read in circles.
 *
 * Memory.  Beyond max_parts no part is begun; from the first of those on the
 * log is read once more when a quarter of the places is free.  Those that are
 * remembered go on meanwhile, and end, if only by part_ttl.
 */

#include "assemble/assemble_local.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/now.h"
#include "core/chunk.h"

#define COLLECT_EXPIRE_MS  1000
#define COLLECT_IDLE_MS    60000         /* clocks differ by less */


static void
collect_log(const assemble_t *a, const part_t *part, const char *msg,
    const char *why)
{
    log_info("assemble", msg, LI("lane", a->number),
             LI("part", part->partition), LS("id", part->id),
             LI("first", part->first), LI("bytes", part->bytes),
             LS("why", why));
}


static void
collect_release(assemble_t *a, part_t *part)
{
    finish_forget(a, part);

    if (part->file != 0) {
        spool_remove(a->spool, part->file, part->bytes);
        part->file = 0;
    }
}


void
collect_drop(assemble_t *a, part_t *part)
{
    collect_release(a, part);
    part->state = PART_DROPPED;
    part->wanted = 0;
    metrics_add(METRIC_SPOOL_DROPS, 0, 1);
}


void
collect_dead(assemble_t *a, part_t *part, const record_t *rec,
    const char *why)
{
    collect_release(a, part);
    if (rec != NULL) {
        (void) part_keep_headers(part, rec);
    }
    free(part->why);
    part->why = mem_strdup(why);
    part->state = PART_DEAD;
}


static void
collect_over(assemble_t *a, parts_t *ps, part_t *part)
{
    collect_release(a, part);
    parts_void(ps, part);
}


/* The one that was begun last of those that could be dropped. */
static part_t *
collect_last_begun(const assemble_t *a)
{
    part_t  *last = NULL;

    for (size_t s = 0; s < a->nsources; s++) {
        const parts_t  *ps = a->sources[s];

        for (size_t i = 0; i < ps->n; i++) {
            part_t  *part = ps->parts[i];

            if (part->state == PART_COLLECTING && part->bytes > 0
                && (last == NULL || part_order(part, last) > 0))
            {
                last = part;
            }
        }
    }
    return last;
}


/*
 * Room for len bytes more of the part: by dropping others that were begun
 * later, or itself.  RC_RETRY: there will be, once whole parts are away.
 */
static rc_t
collect_room(assemble_t *a, part_t *part, size_t len, err_t *err)
{
    part_t  *last;

    while (part->state == PART_COLLECTING
           && spool_used(a->spool) + len
              > spool_limit(a->spool, now_mono_ms()))
    {
        if (finish_pending(a)) {
            err->text[0] = '\0';
            return RC_RETRY;
        }

        last = collect_last_begun(a);
        if (last == NULL || part_order(part, last) > 0) {
            last = part;
        }
        if (last == part && spool_used(a->spool) == part->bytes) {
            return err_set(err, RC_RETRY, "the spool's disk has no room for "
                           "the %" PRIu64 " bytes of %s", part->bytes + len,
                           part->id);
        }

        collect_log(a, last, "dropped", "the spool is full");
        collect_drop(a, last);
    }
    return RC_OK;
}


static rc_t
collect_store(assemble_t *a, part_t *part, const record_t *rec, err_t *err)
{
    for ( ;; ) {
        int64_t   now = now_mono_ms();
        uint64_t  limit;
        rc_t      rc = collect_room(a, part, rec->len, err);

        if (rc != RC_OK || part->state != PART_COLLECTING) {
            return rc;
        }
        if (part->file == 0) {
            part->file = spool_file(a->spool);
        }

        limit = spool_limit(a->spool, now);
        rc = spool_write(a->spool, part->file, part->bytes, rec->value,
                         rec->len, now, err);

        if (rc == RC_OK) {
            metrics_add(METRIC_CHUNK_BYTES, 0, (int64_t) rec->len);
            return RC_OK;
        }
        if (rc == RC_FENCED) {
            collect_log(a, part, "dropped", err->text);
            collect_drop(a, part);
            return RC_OK;
        }

        /* The disk is fuller than we are: others may have to go. */
        if (spool_limit(a->spool, now) == limit) {
            return rc;
        }
    }
}


static int
collect_equals(const char *kept, const char *s, size_t len)
{
    return strlen(kept) == len && memcmp(kept, s, len) == 0;
}


/* What contradicts the pieces before it; NULL when nothing does. */
static const char *
collect_contradiction(const part_t *part, const chunk_t *chunk,
    char text[128])
{
    if (chunk->number > part->chunks) {
        (void) snprintf(text, 128, "piece %" PRIu64 " is missing",
                        part->chunks);
        return text;
    }
    if (!collect_equals(part->customer, chunk->customer, chunk->customer_len))
    {
        return "its pieces name different customers";
    }
    if (!collect_equals(part->type, chunk->type, chunk->type_len)) {
        return "its pieces name different types";
    }
    return NULL;
}


/* A piece in its place: n bytes more, and perhaps the end. */
static void
collect_count(assemble_t *a, part_t *part, const record_t *rec,
    const chunk_t *chunk)
{
    char  text[128];

    part->chunks++;
    part->bytes += rec->len;

    if (part->bytes > spool_quota(a->spool)) {
        (void) snprintf(text, sizeof(text), "it has more than the %" PRIu64
                        " bytes of a lane's spool", spool_quota(a->spool));
        collect_dead(a, part, rec, text);
        return;
    }
    if (!chunk->is_last) {
        return;
    }
    if (chunk->size != part->bytes) {
        (void) snprintf(text, sizeof(text), "%s is %" PRIu64 ", its pieces "
                        "have %" PRIu64 " bytes", SLUICE_H_SIZE, chunk->size,
                        part->bytes);
        collect_dead(a, part, rec, text);
        return;
    }

    part->ended = 1;
    if (part->state == PART_COLLECTING) {
        if (part_keep_headers(part, rec) != 0) {
            collect_dead(a, part, NULL, "its headers are too large");
            return;
        }
        part->ts_ms = rec->ts_ms;
        memcpy(part->sha256, chunk->sha256, sizeof(part->sha256));
        part->state = PART_WHOLE;
    }
}


static rc_t
collect_piece(assemble_t *a, part_t *part, const record_t *rec,
    const chunk_t *chunk, err_t *err)
{
    char         text[128];
    const char  *why;
    rc_t         rc;

    if (part->state != PART_COLLECTING && part->state != PART_DROPPED) {
        return RC_OK;
    }

    /* Copied by who copies topics; the hash of all tells if it differs. */
    if (part->ended || chunk->number < part->chunks) {
        log_debug("assemble", "a piece comes twice", LS("id", part->id),
                  LI("offset", rec->offset));
        return RC_OK;
    }

    why = collect_contradiction(part, chunk, text);
    if (why != NULL) {
        collect_dead(a, part, rec, why);
        return RC_OK;
    }

    if (part->state == PART_COLLECTING
        && part->bytes + rec->len <= spool_quota(a->spool))
    {
        rc = collect_store(a, part, rec, err);
        if (rc != RC_OK) {
            return rc;
        }

        /* The spool's own sum; what follows is the part's. */
    } else if (part->state == PART_COLLECTING) {
        collect_release(a, part);
    }

    collect_count(a, part, rec, chunk);
    return RC_OK;
}


/* Parts of the lane that aren't over. */
static size_t
collect_remembered(const assemble_t *a)
{
    size_t  n = 0;

    for (size_t s = 0; s < a->nsources; s++) {
        n += a->sources[s]->n - a->sources[s]->nvoid;
    }
    return n;
}


int
collect_has_place(const assemble_t *a)
{
    return collect_remembered(a) <= (size_t) a->max_parts / 4 * 3;
}


/* The first that is seen of a part; NULL: it is not to be remembered. */
static part_t *
collect_begin(assemble_t *a, parts_t *ps, const record_t *rec,
    const chunk_t *chunk)
{
    part_t  *part;

    /* The end of one that was finished by who had the partition before. */
    if (chunk->number > 0 && rec->offset < ps->known) {
        return NULL;
    }

    /* Perhaps of one that is not remembered: seen when it is read again. */
    if (ps->over != PARTS_NONE) {
        return NULL;
    }
    if (collect_remembered(a) >= (size_t) a->max_parts) {
        log_warn("assemble", "too many files under way, the rest is read later",
                 LI("lane", a->number), LI("part", ps->id),
                 LI("from", rec->offset));
        ps->over = rec->offset;
        return NULL;
    }

    part = parts_add(ps, chunk->id, chunk->id_len, rec);
    part->customer = mem_strndup(chunk->customer, chunk->customer_len);
    part->type = mem_strndup(chunk->type, chunk->type_len);

    if (chunk->is_abort) {
        parts_void(ps, part);
    } else if (chunk->number > 0) {
        collect_dead(a, part, rec, "its first piece is not in the log");
    }
    return part;
}


static void
collect_abort(assemble_t *a, parts_t *ps, part_t *part)
{
    if (part->state == PART_COLLECTING
        || (part->state == PART_DROPPED && !part->ended))
    {
        log_debug("assemble", "given up", LS("id", part->id));
        metrics_add(METRIC_LARGE_FILES, METRICS_LARGE_ABORTED, 1);
        collect_over(a, ps, part);
    }
}


rc_t
collect_record(assemble_t *a, parts_t *ps, const record_t *rec, err_t *err)
{
    err_t     why = { "" };
    chunk_t   chunk;
    part_t   *part = NULL;
    rc_t      rc = chunk_read(rec, &chunk, &why);

    if (rec->key != NULL) {
        part = parts_find(ps, rec->key, rec->key_len);
    }

    /* Read again: only for what was dropped. */
    if (rec->offset < ps->high && part == NULL) {
        return RC_OK;
    }
    if (part != NULL && rec->offset <= part->last) {
        if (!part->wanted || rec->offset != part->first) {
            return RC_OK;
        }
        part->state = PART_COLLECTING;
        part->wanted = 0;
        part->ended = 0;
        part->chunks = 0;
        part->bytes = 0;
        part->last = part->first - 1;
    }

    if (rc != RC_OK) {
        if (part == NULL) {
            return finish_dead_record(a, rec, why.text, err);
        }
        if (part->state != PART_VOID && part->state != PART_DEAD
            && !part->ended)
        {
            collect_dead(a, part, rec, why.text);
        }
        part->last = rec->offset;
        return RC_OK;
    }

    if (part == NULL) {
        part = collect_begin(a, ps, rec, &chunk);
        if (part == NULL) {
            return RC_OK;
        }
    }

    if (chunk.is_abort) {
        collect_abort(a, ps, part);
    } else {
        rc = collect_piece(a, part, rec, &chunk, err);
        if (rc != RC_OK) {
            return rc;
        }
    }

    part->last = rec->offset;
    if (rec->ts_ms > part->last_ts_ms) {
        part->last_ts_ms = rec->ts_ms;
    }
    return RC_OK;
}


/* The part of the lane that was begun first and isn't over. */
static const part_t *
collect_first_begun(const assemble_t *a)
{
    const part_t  *first = NULL;

    for (size_t s = 0; s < a->nsources; s++) {
        const parts_t  *ps = a->sources[s];

        for (size_t i = 0; i < ps->n; i++) {
            const part_t  *part = ps->parts[i];

            if ((part->state == PART_COLLECTING
                 || part->state == PART_DROPPED)
                && (first == NULL || part_order(part, first) < 0))
            {
                first = part;
            }
        }
    }
    return first;
}


int64_t
collect_again(assemble_t *a, parts_t *ps)
{
    const part_t  *first;
    uint64_t       limit, used = spool_used(a->spool);
    int64_t        from = PARTS_NONE;
    size_t         dropped = 0;

    for (size_t i = 0; i < ps->n; i++) {
        part_t  *part = ps->parts[i];

        /* The pass for it has ended and did not meet its first piece. */
        if (part->wanted) {
            part->wanted = 0;
            collect_dead(a, part, NULL, "its first piece is not in the log");
        }
        dropped += part->state == PART_DROPPED;
    }
    if (dropped == 0 || finish_pending(a)) {
        return PARTS_NONE;
    }

    first = collect_first_begun(a);
    limit = spool_limit(a->spool, now_mono_ms());
    limit -= limit / 4;

    for (size_t i = 0; i < ps->n; i++) {
        part_t  *part = ps->parts[i];

        if (part->state != PART_DROPPED
            || (part != first
                && (!part->ended || used + part->bytes > limit)))
        {
            continue;
        }
        part->wanted = 1;
        used += part->bytes;
        if (from == PARTS_NONE || part->first < from) {
            from = part->first;
        }
    }
    return from;
}


/* An idle partition's watermark stands still: there the clock decides, once
 * nothing is left to read. */
static int
collect_is_idle(assemble_t *a, const parts_t *ps, int64_t oldest_ms)
{
    struct timespec  ts;
    int64_t          first, end, position;
    err_t            err;

    clock_gettime(CLOCK_REALTIME, &ts);
    if ((int64_t) ts.tv_sec * 1000 < oldest_ms + a->conf->part_ttl_ms
                                     + COLLECT_IDLE_MS)
    {
        return 0;
    }

    position = kafka_position(a->kafka, ps->id);
    return position >= 0
           && kafka_bounds(a->kafka, ps->id, &first, &end, &err) == RC_OK
           && position >= end;
}


void
collect_expire(assemble_t *a, parts_t *ps, int64_t now_ms)
{
    int64_t  oldest = INT64_MAX, until;

    if (now_ms < ps->expire_at_ms || ps->watermark_ms == INT64_MIN) {
        return;
    }
    ps->expire_at_ms = now_ms + COLLECT_EXPIRE_MS;

    for (size_t i = 0; i < ps->n; i++) {
        const part_t  *part = ps->parts[i];

        if (part->last_ts_ms < oldest
            && (part->state == PART_COLLECTING
                || (part->state == PART_DROPPED && !part->ended)))
        {
            oldest = part->last_ts_ms;
        }
    }

    until = ps->watermark_ms - a->conf->part_ttl_ms;
    if (oldest < INT64_MAX && collect_is_idle(a, ps, oldest)) {
        until = oldest;
        ps->expire_at_ms = now_ms + COLLECT_IDLE_MS / 10;
    }

    for (size_t i = ps->n; i-- > 0; ) {
        part_t  *part = ps->parts[i];

        if (part->last_ts_ms > until) {
            continue;
        }
        if (part->state == PART_VOID) {
            parts_remove(ps, part);

        } else if (part->state == PART_COLLECTING
                   || (part->state == PART_DROPPED && !part->ended))
        {
            collect_log(a, part, "expired", "its end did not come");
            metrics_add(METRIC_LARGE_FILES, METRICS_LARGE_EXPIRED, 1);
            collect_over(a, ps, part);
            i = ps->n < i ? ps->n : i;
        }
    }
}
