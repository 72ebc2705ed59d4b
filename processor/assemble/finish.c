/*
 * finish.c: a part's end.
 *
 * Owns the way of whole parts into the store and their announcement, and what
 * goes to the dead topic.  Each step may happen twice: the object's name
 * follows from the log alone, and a reference counts once by its ce_id.
 *
 * A slice a turn, so that a file of gigabytes keeps neither the group nor the
 * other parts waiting.  The bytes are hashed on their way from the spool into
 * the store: what is hashed is what is stored.  If they are wrong the spool
 * may be; only when the log says the same once more the part is dead.
 *
 * The object's window is that of the last piece's timestamp, which is the
 * file's time: a replay finds the same name.  The row's window is that of the
 * announcement.
 */

#include "assemble/assemble_local.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/now.h"
#include "core/chunk.h"
#include "core/path.h"

#define FINISH_SLICE      ((size_t) 1024 * 1024)
#define FINISH_SLICES     8              /* a turn */
#define FINISH_ANNOUNCE   100            /* at once */
#define FINISH_SEND_MS    15000
#define FINISH_COPY_MAX   65536          /* of a dead record's bytes */
#define FINISH_KEY_MAX    1024


static void
finish_reset(assemble_t *a)
{
    finish_t  *f = &a->finish;

    if (f->put != NULL) {
        a->store_ops->abort(f->put);
    }
    digest_free(f->digest);
    free(f->path);
    memset(f, 0, sizeof(*f));
}


void
finish_forget(assemble_t *a, const part_t *part)
{
    if (a->finish.part == part) {
        finish_reset(a);
    }
}


static part_t *
finish_next(const assemble_t *a)
{
    for (size_t s = 0; s < a->nsources; s++) {
        const parts_t  *ps = a->sources[s];

        for (size_t i = 0; i < ps->n; i++) {
            if (ps->parts[i]->state == PART_WHOLE) {
                return ps->parts[i];
            }
        }
    }
    return NULL;
}


int
finish_pending(const assemble_t *a)
{
    return finish_next(a) != NULL;
}


/* A failure that concerns only this part ends it. */
static rc_t
finish_refused(assemble_t *a, part_t *part, rc_t rc, const err_t *err)
{
    finish_reset(a);

    if (rc != RC_REJECT) {
        return RC_RETRY;
    }
    collect_dead(a, part, NULL, err->text);
    return RC_OK;
}


static rc_t
finish_begin(assemble_t *a, part_t *part, err_t *err)
{
    finish_t  *f = &a->finish;
    record_t   rec;
    char       path[PATH_OBJECT_MAX];
    rc_t       rc = RC_OK;

    if (a->store == NULL) {
        rc = a->store_ops->open(&a->store, a->store_conf, err);
        if (rc != RC_OK) {
            return RC_RETRY;
        }
    }

    memset(&rec, 0, sizeof(rec));
    rec.customer = part->customer;
    rec.customer_len = strlen(part->customer);
    rec.type = part->type;
    rec.type_len = strlen(part->type);
    memcpy(rec.sha256, part->sha256, sizeof(rec.sha256));
    path_object(a->conf->store_prefix, window_start(&a->wc, part->ts_ms),
                &rec, path);

    f->part = part;
    f->path = mem_strdup(path);
    f->digest = digest_new();

    rc = a->store_ops->begin(a->store, path, part->type, &f->put, err);
    return rc == RC_OK ? RC_OK : finish_refused(a, part, rc, err);
}


/* The bytes in the spool are not what the log says. */
static void
finish_spoiled(assemble_t *a, part_t *part, const char *why)
{
    if (part->again++ == 0) {
        log_warn("assemble", "the spool is wrong, the log is read again",
                 LI("lane", a->number), LS("id", part->id), LS("why", why));
        collect_drop(a, part);
    } else {
        collect_dead(a, part, NULL, why);
    }
}


static rc_t
finish_commit(assemble_t *a, part_t *part, err_t *err)
{
    finish_t     *f = &a->finish;
    store_put_t  *put = f->put;
    char          hex[SLUICE_SHA256_HEX + 1], text[128];
    rc_t          rc;

    digest_end(f->digest, hex);

    if (memcmp(hex, part->sha256, SLUICE_SHA256_HEX) != 0) {
        (void) snprintf(text, sizeof(text), "the bytes hash to %.12s, %s says "
                        "%.12s", hex, SLUICE_H_SHA256, part->sha256);
        finish_reset(a);
        finish_spoiled(a, part, text);
        return RC_OK;
    }

    f->put = NULL;
    rc = a->store_ops->commit(put, err);
    if (rc != RC_OK) {
        return finish_refused(a, part, rc, err);
    }

    metrics_add(METRIC_STORED_BYTES, 0, (int64_t) part->bytes);
    free(part->path);
    part->path = f->path;
    f->path = NULL;
    finish_reset(a);

    spool_remove(a->spool, part->file, part->bytes);
    part->file = 0;
    part->state = PART_STORED;
    return RC_OK;
}


/* Some of the part at hand, or all of the next small ones. */
static rc_t
finish_put(assemble_t *a, err_t *err)
{
    finish_t  *f = &a->finish;
    part_t    *part;
    size_t     n;
    rc_t       rc = RC_OK;

    for (int slice = 0; slice < FINISH_SLICES && rc == RC_OK; slice++) {
        if (f->part == NULL) {
            part = finish_next(a);
            if (part == NULL) {
                break;
            }
            rc = finish_begin(a, part, err);
            if (rc != RC_OK || f->part == NULL) {
                continue;
            }
        }

        part = f->part;
        n = part->bytes - f->done < FINISH_SLICE
            ? (size_t) (part->bytes - f->done) : FINISH_SLICE;

        if (n > 0) {
            rc = spool_read(a->spool, part->file, f->done, a->buffer, n, err);
        }
        if (rc == RC_FENCED) {
            collect_drop(a, part);
            rc = RC_RETRY;
            continue;
        }
        if (rc == RC_OK && n > 0) {
            digest_add(f->digest, a->buffer, n);
            rc = a->store_ops->append(f->put, a->buffer, n, err);
        }
        if (rc != RC_OK) {
            rc = finish_refused(a, part, rc, err);
            continue;
        }

        f->done += n;
        if (f->done == part->bytes) {
            rc = finish_commit(a, part, err);
        }
    }
    return rc;
}


static rc_t
finish_send_dead(assemble_t *a, const record_t *rec, const char *why,
    err_t *err)
{
    char           partition[16], offset[24], now[NOW_TEXT_LEN];
    kafka_extra_t  extra[] = {
        { SLUICE_H_ERROR_STAGE, SLUICE_STAGE_ASSEMBLE },
        { SLUICE_H_ERROR_REASON, why },
        { SLUICE_H_ERROR_ATTEMPTS, "1" },
        { SLUICE_H_ERROR_TIME, now },
        { SLUICE_H_ERROR_TOPIC, a->conf->chunks_topic },
        { SLUICE_H_ERROR_PARTITION, partition },
        { SLUICE_H_ERROR_OFFSET, offset }
    };

    now_text(now);
    (void) snprintf(partition, sizeof(partition), "%" PRId32, rec->partition);
    (void) snprintf(offset, sizeof(offset), "%" PRId64, rec->offset);

    log_info("assemble", "sent on", LI("lane", a->number),
             LI("part", rec->partition), LI("offset", rec->offset),
             LS("topic", a->conf->dead_topic), LS("reason", why));

    return kafka_send(a->kafka, a->conf->dead_topic, rec, extra,
                      sizeof(extra) / sizeof(extra[0]), err);
}


rc_t
finish_dead_record(assemble_t *a, const record_t *rec, const char *why,
    err_t *err)
{
    record_t  copy = *rec;
    rc_t      rc;

    /* With what is added it could be too large for the dead topic. */
    if (copy.len > FINISH_COPY_MAX) {
        copy.value = "";
        copy.len = 0;
    }
    if (copy.key_len > FINISH_KEY_MAX) {
        copy.key_len = FINISH_KEY_MAX;
    }
    if (part_headers_size(rec) > PART_HEADERS_MAX) {
        copy.nheaders = 0;
    }

    rc = finish_send_dead(a, &copy, why, err);
    if (rc == RC_OK) {
        rc = kafka_send_wait(a->kafka, FINISH_SEND_MS, err);
    }
    if (rc == RC_OK) {
        metrics_add(METRIC_LARGE_FILES, METRICS_LARGE_DEAD, 1);
    }
    return rc;
}


/* Its headers only: the bytes are in the chunks topic as long as they are. */
static rc_t
finish_send_marker(assemble_t *a, const part_t *part, err_t *err)
{
    record_t  rec;

    memset(&rec, 0, sizeof(rec));
    rec.partition = part->partition;
    rec.offset = part->first;
    rec.ts_ms = part->first_ts_ms;
    rec.key = part->id;
    rec.key_len = strlen(part->id);
    rec.value = "";
    rec.headers = part->headers;
    rec.nheaders = part->nheaders;

    return finish_send_dead(a, &rec, part->why, err);
}


static rc_t
finish_send_reference(assemble_t *a, const part_t *part, err_t *err)
{
    record_header_t  *headers = mem_alloc((part->nheaders + 2)
                                          * sizeof(*headers));
    record_t          rec;
    size_t            n = 0;
    rc_t              rc;

    for (size_t i = 0; i < part->nheaders; i++) {
        if (!chunk_header_is_own(part->headers[i].name)) {
            headers[n++] = part->headers[i];
        }
    }
    headers[n++] = (record_header_t) { SLUICE_H_TYPE, SLUICE_TYPE_REFERENCE,
                                       strlen(SLUICE_TYPE_REFERENCE) };
    headers[n++] = (record_header_t) { SLUICE_H_DATAREF, part->path,
                                       strlen(part->path) };

    memset(&rec, 0, sizeof(rec));
    rec.key = part->sha256;
    rec.key_len = SLUICE_SHA256_HEX;
    rec.value = "";
    rec.headers = headers;
    rec.nheaders = n;

    rc = kafka_produce(a->kafka, a->conf->topic, &rec, err);
    free(headers);
    return rc;
}


static void
finish_announced(const assemble_t *a, parts_t *ps, part_t *part)
{
    if (part->state == PART_STORED) {
        log_info("assemble", "assembled", LI("lane", a->number),
                 LI("part", part->partition), LS("id", part->id),
                 LI("bytes", part->bytes), LS("object", part->path));
        metrics_add(METRIC_LARGE_FILES, METRICS_LARGE_WHOLE, 1);
    } else {
        metrics_add(METRIC_LARGE_FILES, METRICS_LARGE_DEAD, 1);
    }
    parts_void(ps, part);
}


/* All that is stored or dead, and wait until Kafka has it. */
static rc_t
finish_announce(assemble_t *a, err_t *err)
{
    size_t  sent = 0;
    rc_t    rc = RC_OK;

    for (size_t s = 0; s < a->nsources && rc == RC_OK; s++) {
        parts_t  *ps = a->sources[s];

        for (size_t i = 0; i < ps->n && rc == RC_OK; i++) {
            part_t  *part = ps->parts[i];

            if (part->state == PART_STORED) {
                rc = finish_send_reference(a, part, err);
                sent++;
            } else if (part->state == PART_DEAD) {
                rc = finish_send_marker(a, part, err);
                sent++;
            }
            if (rc == RC_REJECT && part->state == PART_STORED) {
                collect_dead(a, part, NULL, err->text);
                rc = RC_RETRY;
            }
        }
    }
    if (sent == 0) {
        return RC_OK;
    }

    if (kafka_send_wait(a->kafka, FINISH_SEND_MS,
                        rc == RC_OK ? err : NULL) != RC_OK || rc != RC_OK)
    {
        return RC_RETRY;
    }

    for (size_t s = 0; s < a->nsources; s++) {
        parts_t  *ps = a->sources[s];

        for (size_t i = ps->n; i-- > 0; ) {
            if (ps->parts[i]->state == PART_STORED
                || ps->parts[i]->state == PART_DEAD)
            {
                finish_announced(a, ps, ps->parts[i]);
                i = ps->n < i ? ps->n : i;
            }
        }
    }
    return RC_OK;
}


static size_t
finish_waiting(const assemble_t *a)
{
    size_t  n = 0;

    for (size_t s = 0; s < a->nsources; s++) {
        const parts_t  *ps = a->sources[s];

        for (size_t i = 0; i < ps->n; i++) {
            n += ps->parts[i]->state == PART_STORED
                 || ps->parts[i]->state == PART_DEAD;
        }
    }
    return n;
}


rc_t
finish_turn(assemble_t *a, int *more, err_t *err)
{
    size_t  waiting;
    rc_t    rc = finish_put(a, err);

    *more = finish_pending(a);
    waiting = finish_waiting(a);

    if (waiting > 0
        && (!*more || a->finish.part != NULL || waiting >= FINISH_ANNOUNCE
            || rc != RC_OK))
    {
        err_t  why = { "" };
        rc_t   sent = finish_announce(a, &why);

        if (sent != RC_OK && rc == RC_OK) {
            rc = sent;
            *err = why;
        }
    }
    return rc;
}
