/*
 * ngx_http_sluice_part_chunk.c: a file that is too large for one message.
 *
 * Owns the order of its chunks and what their reports mean together.  Bytes,
 * hash and limits are ngx_http_sluice_part.c's, as for any file.
 *
 * All chunks of a file have its id as key and lie in one partition, in order:
 * each goes by the producer that took the first one.  Nothing counts without
 * the last chunk, so a file is accepted when all of them are in the log,
 * rejected when one surely is not, and unknown otherwise.  When nothing can
 * come of what was sent, an abort mark follows it, which nobody waits for.
 */

#include "ngx_http_sluice_part.h"

/* the number, and of the last one: last, hash, size */
#define NGX_HTTP_SLUICE_CHUNK_HEADERS  4


static ngx_http_sluice_chunks_t *ngx_http_sluice_part_chunk_begin(
    ngx_http_sluice_form_t *form, int64_t now);
static ngx_http_sluice_headers_t *ngx_http_sluice_part_chunk_headers(
    ngx_http_sluice_form_t *form, int64_t now, ngx_uint_t last);
static ngx_http_sluice_chunk_t *ngx_http_sluice_part_chunk_new(
    ngx_http_sluice_part_t *part);
static void ngx_http_sluice_part_chunk_give(ngx_http_sluice_chunk_t *chunk);
static void ngx_http_sluice_part_chunk_done(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result);
static void ngx_http_sluice_part_chunk_judge(ngx_http_sluice_chunk_t *chunk,
    ngx_http_sluice_result_e result);
static void ngx_http_sluice_part_chunk_fail(ngx_http_sluice_part_t *part);
static ngx_http_sluice_result_e ngx_http_sluice_part_chunk_result(
    ngx_http_sluice_chunks_t *chunks);
static void ngx_http_sluice_part_chunk_recall(ngx_http_sluice_part_t *part);
static void ngx_http_sluice_part_chunk_mark(ngx_http_sluice_part_t *part);
static void ngx_http_sluice_part_chunk_over(ngx_http_sluice_part_t *part);


ngx_int_t
ngx_http_sluice_part_chunk_send(ngx_http_sluice_form_t *form, ngx_uint_t last)
{
    int64_t                    now;
    ngx_http_sluice_part_t    *part;
    ngx_http_sluice_chunk_t   *chunk, *next;
    ngx_http_sluice_chunks_t  *chunks;

    part = form->part;
    chunk = part->chunk;
    next = NULL;
    now = ngx_http_sluice_now_ms();

    chunks = part->chunks;

    if (chunks == NULL) {
        chunks = ngx_http_sluice_part_chunk_begin(form, now);
        if (chunks == NULL) {
            return NGX_ERROR;
        }
    }

    if (!last) {
        next = ngx_http_sluice_part_chunk_new(part);
        if (next == NULL) {
            return NGX_ERROR;
        }
    }

    chunk->msg.headers = ngx_http_sluice_part_chunk_headers(form, now, last);
    if (chunk->msg.headers == NULL) {
        ngx_free(next);
        return NGX_ERROR;
    }

    part->chunk = next;

    ngx_http_sluice_store_close(&chunk->store);

    chunk->last = last;
    chunk->msg.topic = form->upload.slcf->chunks;
    chunk->msg.value = chunk->store.data;
    chunk->msg.len = chunk->store.len;
    chunk->msg.time_ms = now;
    chunk->msg.ordered = 1;
    chunk->msg.pinned = chunks->count > 0;

    ngx_http_sluice_part_chunk_give(chunk);

    /* a topic that grows meanwhile must not part them */
    chunks->topic = chunk->msg.topic;
    chunks->partition = chunk->msg.partition;
    chunks->generation = chunk->msg.generation;
    chunks->last = last;
    chunks->count++;

    return NGX_OK;
}


static ngx_http_sluice_chunk_t *
ngx_http_sluice_part_chunk_new(ngx_http_sluice_part_t *part)
{
    ngx_http_sluice_chunk_t  *chunk;

    chunk = ngx_calloc(sizeof(ngx_http_sluice_chunk_t), ngx_cycle->log);

    if (chunk != NULL) {
        chunk->part = part;
        chunk->store.pool = part->first.store.pool;
    }

    return chunk;
}


/* The first chunk: what must outlive the request is made now. */
static ngx_http_sluice_chunks_t *
ngx_http_sluice_part_chunk_begin(ngx_http_sluice_form_t *form, int64_t now)
{
    ngx_http_sluice_upload_t  *up;
    ngx_http_sluice_chunks_t  *chunks;

    up = &form->upload;

    chunks = ngx_calloc(sizeof(ngx_http_sluice_chunks_t), ngx_cycle->log);
    if (chunks == NULL) {
        return NULL;
    }

    chunks->mark = ngx_http_sluice_record_common(up, SLUICE_TYPE_ABORT,
                                                 form->file->number, now, 0);
    if (chunks->mark == NULL) {
        ngx_free(chunks);
        return NULL;
    }

    chunks->id_len = ngx_sprintf(chunks->id, "%*s/%ui",
                                 (size_t) NGX_HTTP_SLUICE_UUID_LEN, up->uuid,
                                 form->file->number)
                     - chunks->id;
    chunks->landed = -1;

    ngx_queue_init(&chunks->sent);

    form->part->chunks = chunks;

    return chunks;
}


static ngx_http_sluice_headers_t *
ngx_http_sluice_part_chunk_headers(ngx_http_sluice_form_t *form, int64_t now,
    ngx_uint_t last)
{
    u_char                      number[NGX_INT_T_LEN];
    ngx_http_sluice_headers_t  *h;

    h = ngx_http_sluice_part_headers(form, SLUICE_TYPE_CHUNK, now,
                                     NGX_HTTP_SLUICE_CHUNK_HEADERS);
    if (h == NULL) {
        return NULL;
    }

    if (ngx_http_sluice_record_add(h, SLUICE_H_CHUNK, number,
                         ngx_sprintf(number, "%ui", form->part->chunks->count))
        == NGX_OK
        && (!last
            || (ngx_http_sluice_record_add(h, SLUICE_H_LAST,
                         (u_char *) SLUICE_LAST,
                         (u_char *) SLUICE_LAST + sizeof(SLUICE_LAST) - 1)
                == NGX_OK
                && ngx_http_sluice_part_whole(form, h) == NGX_OK)))
    {
        return h;
    }

    ngx_http_sluice_kafka_headers_free(h);
    return NULL;
}


/* A chunk or the abort mark. */
static void
ngx_http_sluice_part_chunk_give(ngx_http_sluice_chunk_t *chunk)
{
    ngx_http_sluice_chunks_t  *chunks;

    chunks = chunk->part->chunks;

    chunk->msg.key = chunks->id;
    chunk->msg.key_len = chunks->id_len;
    chunk->msg.partition = chunks->partition;
    chunk->msg.generation = chunks->generation;
    chunk->msg.done = ngx_http_sluice_part_chunk_done;

    ngx_queue_insert_tail(&chunks->sent, &chunk->queue);

    ngx_http_sluice_kafka_send(&chunk->msg);
}


/* The report of a chunk or of the mark. */
static void
ngx_http_sluice_part_chunk_done(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result)
{
    ngx_http_sluice_chunk_t *chunk = (ngx_http_sluice_chunk_t *) msg;

    ngx_http_sluice_part_t    *part;
    ngx_http_sluice_chunks_t  *chunks;

    part = chunk->part;
    chunks = part->chunks;

    /* the mark's own fate changes nothing */
    if (chunk->msg.ordered) {
        ngx_http_sluice_part_chunk_judge(chunk, result);
    }

    ngx_queue_remove(&chunk->queue);
    ngx_http_sluice_part_chunk_free(chunk);

    if ((chunks->lost || chunks->doubtful) && !chunks->aborted) {
        ngx_http_sluice_part_chunk_fail(part);
    }

    ngx_http_sluice_part_chunk_over(part);
}


static void
ngx_http_sluice_part_chunk_judge(ngx_http_sluice_chunk_t *chunk,
    ngx_http_sluice_result_e result)
{
    ngx_http_sluice_chunks_t  *chunks;

    chunks = chunk->part->chunks;

    switch (result) {

    case NGX_HTTP_SLUICE_DELIVERED:
        chunks->left = 1;

        if (chunks->landed == -1) {
            chunks->landed = chunk->msg.landed;
        }

        /* librdkafka chose while we did not know, and has changed its mind */
        chunks->lost |= (chunks->landed != chunk->msg.landed);
        break;

    case NGX_HTTP_SLUICE_UNKNOWN:
        chunks->left = 1;
        chunks->doubtful = 1;
        break;

    default:
        chunks->lost = 1;
    }
}


/* What is not gone yet need not go. */
static void
ngx_http_sluice_part_chunk_fail(ngx_http_sluice_part_t *part)
{
    ngx_http_sluice_form_t    *form;
    ngx_http_sluice_upload_t  *up;

    up = part->upload;

    ngx_http_sluice_part_chunk_recall(part);
    ngx_http_sluice_part_chunk_mark(part);

    if (up == NULL || part->chunks->last) {
        return;
    }

    /* in the middle of the file */
    form = (ngx_http_sluice_form_t *) up;
    form->part = NULL;
    form->failed = 1;
    part->upload = NULL;

    ngx_http_sluice_part_settle(up, part->file, NGX_HTTP_SLUICE_REFUSED);
}


static ngx_http_sluice_result_e
ngx_http_sluice_part_chunk_result(ngx_http_sluice_chunks_t *chunks)
{
    if (chunks->lost) {
        return NGX_HTTP_SLUICE_REFUSED;
    }

    return chunks->doubtful ? NGX_HTTP_SLUICE_UNKNOWN
                            : NGX_HTTP_SLUICE_DELIVERED;
}


void
ngx_http_sluice_part_chunk_abort(ngx_http_sluice_part_t *part)
{
    part->upload = NULL;
    part->chunks->lost = 1;

    ngx_http_sluice_part_chunk_recall(part);
    ngx_http_sluice_part_chunk_mark(part);
    ngx_http_sluice_part_chunk_over(part);
}


ngx_http_sluice_result_e
ngx_http_sluice_part_chunk_detach(ngx_http_sluice_part_t *part)
{
    ngx_queue_t               *q;
    ngx_http_sluice_chunk_t   *chunk;
    ngx_http_sluice_chunks_t  *chunks;

    chunks = part->chunks;
    part->upload = NULL;

    q = ngx_queue_last(&chunks->sent);
    chunk = ngx_queue_data(q, ngx_http_sluice_chunk_t, queue);

    /* without the last one nothing counts */
    if (!chunks->lost && chunk->last
        && ngx_http_sluice_kafka_cancel(&chunk->msg) == NGX_OK)
    {
        ngx_queue_remove(&chunk->queue);
        ngx_http_sluice_part_chunk_free(chunk);
        chunks->lost = 1;
    }

    if (!chunks->lost) {
        return NGX_HTTP_SLUICE_UNKNOWN;
    }

    ngx_http_sluice_part_chunk_abort(part);
    return NGX_HTTP_SLUICE_REFUSED;
}


/* Forget what is arriving, take back what waits in front of librdkafka. */
static void
ngx_http_sluice_part_chunk_recall(ngx_http_sluice_part_t *part)
{
    ngx_queue_t               *q, *prev;
    ngx_http_sluice_chunk_t   *chunk;
    ngx_http_sluice_chunks_t  *chunks;

    chunks = part->chunks;

    if (part->chunk != NULL) {
        ngx_http_sluice_part_chunk_free(part->chunk);
        part->chunk = NULL;
    }

    for (q = ngx_queue_last(&chunks->sent);
         q != ngx_queue_sentinel(&chunks->sent);
         q = prev)
    {
        prev = ngx_queue_prev(q);
        chunk = ngx_queue_data(q, ngx_http_sluice_chunk_t, queue);

        if (!chunk->msg.ordered) {
            continue;
        }

        if (ngx_http_sluice_kafka_cancel(&chunk->msg) == NGX_OK) {
            ngx_queue_remove(q);
            ngx_http_sluice_part_chunk_free(chunk);
            chunks->lost = 1;

        } else {
            chunks->left = 1;
        }
    }
}


/* Best effort: without memory or a broker the reader's own time limit acts. */
static void
ngx_http_sluice_part_chunk_mark(ngx_http_sluice_part_t *part)
{
    u_char                     time[SLUICE_RFC3339_LEN];
    int64_t                    now;
    ngx_http_sluice_chunk_t   *chunk;
    ngx_http_sluice_chunks_t  *chunks;

    chunks = part->chunks;

    if (chunks->aborted) {
        return;
    }

    chunks->aborted = 1;

    if (!chunks->left) {
        return;
    }

    now = ngx_http_sluice_now_ms();

    ngx_http_sluice_kafka_headers_drop(chunks->mark, SLUICE_H_TIME);

    sluice_rfc3339_format((char *) time, now);

    if (ngx_http_sluice_record_add(chunks->mark, SLUICE_H_TIME, time,
                                   time + SLUICE_RFC3339_LEN)
        != NGX_OK)
    {
        return;
    }

    chunk = ngx_http_sluice_part_chunk_new(part);
    if (chunk == NULL) {
        return;
    }

    chunk->msg.topic = chunks->topic;
    chunk->msg.headers = chunks->mark;
    chunk->msg.value = (u_char *) "";
    chunk->msg.time_ms = now;
    chunk->msg.pinned = 1;

    chunks->mark = NULL;

    ngx_http_sluice_part_chunk_give(chunk);
}


/* After each report.  What is arriving still has no end. */
static void
ngx_http_sluice_part_chunk_over(ngx_http_sluice_part_t *part)
{
    ngx_queue_t                *q;
    ngx_http_sluice_chunk_t    *chunk;
    ngx_http_sluice_chunks_t   *chunks;
    ngx_http_sluice_upload_t   *up;
    ngx_http_sluice_result_e    result;

    up = part->upload;
    chunks = part->chunks;

    if (up != NULL && !chunks->last) {
        return;
    }

    q = ngx_queue_head(&chunks->sent);

    if (q != ngx_queue_sentinel(&chunks->sent)) {

        chunk = ngx_queue_data(q, ngx_http_sluice_chunk_t, queue);

        /* nobody waits for the mark */
        if (up == NULL || chunk->msg.ordered) {
            return;
        }
    }

    result = ngx_http_sluice_part_chunk_result(chunks);

    if (up != NULL) {
        ngx_queue_remove(&part->queue);
        part->upload = NULL;
        ngx_http_sluice_part_settle(up, part->file, result);
    }

    if (ngx_queue_empty(&chunks->sent)) {
        ngx_http_sluice_part_free(part);
    }

    if (up != NULL) {
        up->reported(up);
    }
}


void
ngx_http_sluice_part_chunk_free(ngx_http_sluice_chunk_t *chunk)
{
    ngx_http_sluice_store_free(&chunk->store);

    if (chunk != &chunk->part->first) {
        ngx_free(chunk);
    }
}
