/*
 * ngx_http_sluice_part.h: what the files of a part share.
 *
 * A part is one file on its way.  It goes whole, or, once more has come than
 * one chunk holds, as chunks.  It is the upload's while part->upload is set,
 * and lives until its last message is reported.
 */

#ifndef NGX_HTTP_SLUICE_PART_H
#define NGX_HTTP_SLUICE_PART_H

#include "ngx_http_sluice.h"

#pragma GCC visibility push(hidden)

/* One message of a part: the file, or a slice of it. */
typedef struct {
    ngx_http_sluice_msg_t         msg;      /* first: done() casts it back */
    ngx_queue_t                   queue;    /* in part->chunks->sent */
    ngx_http_sluice_part_t       *part;
    ngx_http_sluice_store_t       store;
    unsigned                      last:1;
} ngx_http_sluice_chunk_t;

/* Of a part that goes as chunks. */
typedef struct {
    ngx_queue_t                   sent;     /* ngx_http_sluice_chunk_t */
    ngx_http_sluice_headers_t    *mark;     /* of the abort mark */
    ngx_http_sluice_topic_t      *topic;
    ngx_uint_t                    count;    /* given to Kafka */
    int32_t                       partition;  /* as the first one has it */
    int32_t                       landed;   /* where librdkafka put it */
    ngx_uint_t                    generation;
    size_t                        id_len;
    u_char                        id[NGX_HTTP_SLUICE_UUID_LEN + 1
                                     + NGX_INT_T_LEN];  /* their key */
    unsigned                      last:1;   /* given */
    unsigned                      left:1;   /* one got out of our hands */
    unsigned                      lost:1;   /* one is surely not in the log */
    unsigned                      doubtful:1;  /* one perhaps is not */
    unsigned                      aborted:1;
} ngx_http_sluice_chunks_t;

struct ngx_http_sluice_part_s {
    ngx_http_sluice_chunk_t       first;    /* the others are allocated */
    ngx_http_sluice_chunk_t      *chunk;    /* the one that arrives */
    ngx_queue_t                   queue;    /* in upload->sent */
    ngx_http_sluice_upload_t     *upload;   /* NULL: the request has gone */
    ngx_http_sluice_file_t       *file;     /* valid while upload is */
    size_t                        most;     /* bytes of a chunk */
    ngx_http_sluice_chunks_t     *chunks;   /* NULL: goes whole so far */
    u_char                        key[SLUICE_SHA256_HEX];
};


/*
 * ngx_http_sluice_part.c: the headers that a file's record and all of its
 * chunks have, n more to come; whole() adds those that tell of the whole file,
 * and the form's fields, which may be long.
 * settle() enters a file's fate.
 */
ngx_http_sluice_headers_t *ngx_http_sluice_part_headers(
    ngx_http_sluice_form_t *form, const char *type, int64_t now, size_t n);
ngx_int_t ngx_http_sluice_part_whole(ngx_http_sluice_form_t *form,
    ngx_http_sluice_headers_t *h);
void ngx_http_sluice_part_settle(ngx_http_sluice_upload_t *up,
    ngx_http_sluice_file_t *file, ngx_http_sluice_result_e result);
void ngx_http_sluice_part_free(ngx_http_sluice_part_t *part);


/*
 * ngx_http_sluice_part_chunk.c: a file in pieces.
 *
 * send() gives what form->part->chunk holds to Kafka; last: it is the file's
 * end, and form->file has its hash.  abort() takes back what did not leave us
 * yet, marks the rest as void, and frees the part in its time: it is nobody's
 * any more.  detach() is for a part whose last chunk was given: the outcome as
 * far as it is known; then as abort() where nothing can come of it.  free() is
 * a part's that has no messages any more.
 */
ngx_int_t ngx_http_sluice_part_chunk_send(ngx_http_sluice_form_t *form,
    ngx_uint_t last);
void ngx_http_sluice_part_chunk_abort(ngx_http_sluice_part_t *part);
ngx_http_sluice_result_e ngx_http_sluice_part_chunk_detach(
    ngx_http_sluice_part_t *part);
void ngx_http_sluice_part_chunk_free(ngx_http_sluice_chunk_t *chunk);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_PART_H */
