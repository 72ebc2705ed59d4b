/*
 * ngx_http_sluice_part.c: one file on its way from the parser to Kafka.
 *
 * Owns a file's hash, type and limits, and its record.  Its bytes are kept by
 * ngx_http_sluice_store.c; one with more of them than a message takes goes on
 * as ngx_http_sluice_part_chunk.c's.  Does not answer: it fills in the file's
 * entry, which lives in the request's pool, and tells the upload.
 *
 * The part outlives its request: librdkafka is lent its bytes until the
 * report.  Only part->upload leads back, and the upload's cleanup clears it.
 */

#include "ngx_http_sluice_part.h"
#include "header_text.h"
#include "sniff.h"

#include <openssl/evp.h>

/* headers of a file's record and of its chunks, beside those that all of an
 * upload's have; and those that tell of the whole file */
#define NGX_HTTP_SLUICE_PART_HEADERS  3
#define NGX_HTTP_SLUICE_PART_WHOLE    2


static ngx_http_sluice_file_t *ngx_http_sluice_part_file(
    ngx_http_sluice_form_t *form, const sluice_multipart_part_t *head);
static ngx_int_t ngx_http_sluice_part_sniff(ngx_http_sluice_form_t *form,
    const u_char *data, size_t len);
static ngx_int_t ngx_http_sluice_part_store(ngx_http_sluice_form_t *form,
    const u_char *bytes, size_t len);
static size_t ngx_http_sluice_part_most(ngx_http_sluice_form_t *form);
static int ngx_http_sluice_part_failed(ngx_http_sluice_form_t *form);
static ngx_int_t ngx_http_sluice_part_hash(ngx_http_sluice_form_t *form);
static ngx_int_t ngx_http_sluice_part_send(ngx_http_sluice_form_t *form);
static void ngx_http_sluice_part_done(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result);
static void ngx_http_sluice_part_refuse(ngx_http_sluice_form_t *form,
    ngx_http_sluice_reason_e reason);
static void ngx_http_sluice_part_reject(ngx_http_sluice_upload_t *up,
    ngx_http_sluice_file_t *file, ngx_http_sluice_reason_e reason);


ngx_int_t
ngx_http_sluice_part_init(ngx_http_sluice_main_conf_t *smcf, ngx_log_t *log)
{
    smcf->digest = EVP_MD_fetch(NULL, "SHA256", NULL);

    if (smcf->digest == NULL) {
        ngx_log_error(NGX_LOG_ALERT, log, 0,
                      "sluice: OpenSSL has no SHA-256, uploads will fail");
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_http_sluice_part_exit(ngx_http_sluice_main_conf_t *smcf)
{
    EVP_MD_free(smcf->digest);
    smcf->digest = NULL;
}


ngx_int_t
ngx_http_sluice_part_open(ngx_http_sluice_form_t *form)
{
    if (form->upload.smcf->digest == NULL) {
        return NGX_ERROR;
    }

    /* parts come one after another: one context serves all of an upload's */
    form->sha256 = EVP_MD_CTX_new();

    return (form->sha256 == NULL) ? NGX_ERROR : NGX_OK;
}


void
ngx_http_sluice_part_close(ngx_http_sluice_form_t *form)
{
    EVP_MD_CTX_free(form->sha256);
    form->sha256 = NULL;
}


int
ngx_http_sluice_part_begin(void *data, const sluice_multipart_part_t *head)
{
    ngx_http_sluice_form_t *form = data;

    ngx_http_sluice_part_t    *part;
    ngx_http_sluice_upload_t  *up;

    up = &form->upload;

    if (form->nfiles == form->max_files) {
        up->status = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        up->slug = "too-many-files";
        up->title = "Too many files";
        ngx_str_set(&up->detail,
                    "The form has more files than sluice_max_files allows.");
        return 1;
    }

    form->file = ngx_http_sluice_part_file(form, head);
    if (form->file == NULL) {
        return 1;
    }

    part = ngx_calloc(sizeof(ngx_http_sluice_part_t), ngx_cycle->log);
    if (part == NULL) {
        return 1;
    }

    part->upload = up;
    part->file = form->file;
    part->first.part = part;
    part->first.store.pool = &up->smcf->slabs;
    part->chunk = &part->first;
    part->most = ngx_http_sluice_part_most(form);
    form->part = part;

    return EVP_DigestInit_ex(form->sha256, up->smcf->digest, NULL) ? 0 : 1;
}


static ngx_http_sluice_file_t *
ngx_http_sluice_part_file(ngx_http_sluice_form_t *form,
    const sluice_multipart_part_t *head)
{
    size_t                   len;
    ngx_pool_t              *pool;
    const char              *name;
    ngx_http_sluice_file_t  *file;

    pool = form->upload.request->pool;

    file = ngx_list_push(&form->files);
    if (file == NULL) {
        return NULL;
    }

    ngx_memzero(file, sizeof(ngx_http_sluice_file_t));

    file->number = ++form->nfiles;

    if (ngx_http_sluice_record_text(pool, &file->field, SLUICE_FIELD_MAX,
                                    head->name.data, head->name.len)
        != NGX_OK)
    {
        return NULL;
    }

    if (!head->has_filename || head->filename.len == 0) {
        return file;
    }

    file->named = 1;

    len = head->filename.len;
    name = sluice_header_basename(head->filename.data, &len);

    if (ngx_http_sluice_record_text(pool, &file->name, SLUICE_NAME_MAX, name,
                                    len)
        != NGX_OK)
    {
        return NULL;
    }

    return file;
}


int
ngx_http_sluice_part_data(void *data, const char *bytes, size_t len)
{
    ngx_http_sluice_form_t *form = data;

    ngx_http_sluice_file_t  *file;

    file = form->file;
    if (file == NULL) {
        return 0;
    }

    file->size += len;
    ngx_http_sluice_count(received_bytes, len);

    if (form->part == NULL) {
        return form->failed ? ngx_http_sluice_part_failed(form) : 0;
    }

    if (file->size > form->max_file_size) {
        ngx_http_sluice_part_refuse(form, NGX_HTTP_SLUICE_TOO_LARGE_FILE);
        return 0;
    }

    /* storing may move them */
    if (!EVP_DigestUpdate(form->sha256, bytes, len)) {
        return 1;
    }

    return (ngx_http_sluice_part_store(form, (u_char *) bytes, len)
            == NGX_ERROR)
           ? 1 : 0;
}


/* Of a chunk; a file that isn't larger goes whole. */
static size_t
ngx_http_sluice_part_most(ngx_http_sluice_form_t *form)
{
    ngx_http_sluice_loc_conf_t  *slcf;

    slcf = form->upload.slcf;

    if (slcf->chunks == NULL || (off_t) slcf->chunk_now > form->max_file_size)
    {
        return (size_t) form->max_file_size;
    }

    return slcf->chunk_now;
}


/* NGX_DECLINED: the file has been refused. */
static ngx_int_t
ngx_http_sluice_part_store(ngx_http_sluice_form_t *form, const u_char *bytes,
    size_t len)
{
    size_t                    n;
    ngx_http_sluice_part_t   *part;
    ngx_http_sluice_store_t  *store;

    part = form->part;

    while (len > 0) {

        store = &part->chunk->store;

        /* only now it is known that more comes */
        if (store->len == part->most) {

            if (ngx_http_sluice_part_chunk_send(form, 0) != NGX_OK) {
                return NGX_ERROR;
            }

            continue;
        }

        n = ngx_min(len, part->most - store->len);

        if (ngx_http_sluice_store_append(store, bytes, n) != NGX_OK) {
            return NGX_ERROR;
        }

        bytes += n;
        len -= n;

        if (form->file->type == NULL && store->len >= SLUICE_SNIFF_BYTES
            && ngx_http_sluice_part_sniff(form, store->data,
                                          SLUICE_SNIFF_BYTES)
               != NGX_OK)
        {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


/*
 * A chunk could not be stored, so the upload is a 503 in any case.  What is
 * left of the file may be a hundred gigabytes.
 */
static int
ngx_http_sluice_part_failed(ngx_http_sluice_form_t *form)
{
    ngx_http_sluice_upload_t  *up;

    up = &form->upload;

    up->status = NGX_HTTP_SERVICE_UNAVAILABLE;
    up->slug = "unavailable";
    up->title = "Files could not be stored";
    ngx_str_set(&up->detail, "A part of a large file could not be stored.");

    return 1;
}


/* NGX_DECLINED: the type isn't allowed here, and the part is gone. */
static ngx_int_t
ngx_http_sluice_part_sniff(ngx_http_sluice_form_t *form, const u_char *data,
    size_t len)
{
    size_t       n;
    ngx_str_t   *type;
    ngx_uint_t   i;

    form->file->type = sluice_sniff(data, len);

    if (form->types == NULL) {
        return NGX_OK;
    }

    n = ngx_strlen(form->file->type);
    type = form->types->elts;

    for (i = 0; i < form->types->nelts; i++) {

        if (type[i].len == n
            && ngx_strncmp(type[i].data, form->file->type, n) == 0)
        {
            return NGX_OK;
        }
    }

    ngx_http_sluice_part_refuse(form, NGX_HTTP_SLUICE_TYPE_NOT_ALLOWED);
    return NGX_DECLINED;
}


int
ngx_http_sluice_part_end(void *data)
{
    ngx_http_sluice_form_t *form = data;

    ngx_http_sluice_file_t  *file;

    file = form->file;

    if (file == NULL) {
        return 0;
    }

    if (form->part == NULL) {
        form->file = NULL;
        return 0;
    }

    if (file->size == 0) {

        if (file->named) {
            ngx_http_sluice_part_refuse(form, NGX_HTTP_SLUICE_EMPTY);

        } else {
            /* a page's file input in which nothing was chosen */
            ngx_http_sluice_part_free(form->part);
            form->part = NULL;
            form->files.last->nelts--;
            form->nfiles--;
        }

        form->file = NULL;
        return 0;
    }

    if (file->type == NULL
        && ngx_http_sluice_part_sniff(form, form->part->chunk->store.data,
                                      (size_t) file->size)
           != NGX_OK)
    {
        form->file = NULL;
        return 0;
    }

    if (ngx_http_sluice_part_hash(form) != NGX_OK
        || ngx_http_sluice_part_send(form) != NGX_OK)
    {
        return 1;
    }

    form->file = NULL;
    form->part = NULL;

    return 0;
}


static ngx_int_t
ngx_http_sluice_part_hash(ngx_http_sluice_form_t *form)
{
    u_char                   digest[EVP_MAX_MD_SIZE];
    ngx_http_sluice_file_t  *file;

    file = form->file;

    if (!EVP_DigestFinal_ex(form->sha256, digest, NULL)) {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(file->sha256, digest, SLUICE_SHA256_LEN);
    file->hashed = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_sluice_part_send(ngx_http_sluice_form_t *form)
{
    int64_t                  now;
    ngx_http_sluice_msg_t   *msg;
    ngx_http_sluice_part_t  *part;

    part = form->part;
    msg = &part->first.msg;

    if (part->chunks != NULL) {

        if (ngx_http_sluice_part_chunk_send(form, 1) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_queue_insert_tail(&form->upload.sent, &part->queue);

        return NGX_OK;
    }

    now = ngx_http_sluice_now_ms();

    msg->headers = ngx_http_sluice_part_headers(form, SLUICE_TYPE_FILE, now,
                                                NGX_HTTP_SLUICE_PART_WHOLE);
    if (msg->headers == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_sluice_part_whole(form, msg->headers) != NGX_OK) {
        ngx_http_sluice_kafka_headers_free(msg->headers);
        return NGX_ERROR;
    }

    ngx_http_sluice_store_close(&part->first.store);

    ngx_memcpy(part->key, form->file->sha256, SLUICE_SHA256_HEX);

    msg->topic = form->upload.slcf->topic;
    msg->key = part->key;
    msg->key_len = SLUICE_SHA256_HEX;
    msg->value = part->first.store.data;
    msg->len = part->first.store.len;
    msg->time_ms = now;
    msg->done = ngx_http_sluice_part_done;

    ngx_queue_insert_tail(&form->upload.sent, &part->queue);

    ngx_http_sluice_kafka_send(msg);

    return NGX_OK;
}


ngx_http_sluice_headers_t *
ngx_http_sluice_part_headers(ngx_http_sluice_form_t *form, const char *type,
    int64_t now, size_t n)
{
    ngx_http_sluice_file_t     *file;
    ngx_http_sluice_headers_t  *h;

    file = form->file;

    h = ngx_http_sluice_record_common(&form->upload, type, file->number, now,
                                      NGX_HTTP_SLUICE_PART_HEADERS + n);
    if (h == NULL) {
        return NULL;
    }

    if (ngx_http_sluice_record_add(h, SLUICE_H_SUBJECT, file->name.data,
                                   file->name.data + file->name.len)
        || ngx_http_sluice_record_add(h, SLUICE_H_CONTENT_TYPE,
                                   (u_char *) file->type,
                                   (u_char *) file->type
                                   + ngx_strlen(file->type))
        || ngx_http_sluice_record_add(h, SLUICE_H_FIELD, file->field.data,
                                   file->field.data + file->field.len))
    {
        ngx_http_sluice_kafka_headers_free(h);
        return NULL;
    }

    return h;
}


ngx_int_t
ngx_http_sluice_part_whole(ngx_http_sluice_form_t *form,
    ngx_http_sluice_headers_t *h)
{
    u_char                   size[NGX_OFF_T_LEN];
    ngx_http_sluice_file_t  *file;

    file = form->file;

    if (ngx_http_sluice_record_add(h, SLUICE_H_SHA256, file->sha256,
                                   file->sha256 + SLUICE_SHA256_HEX)
        != NGX_OK
        || ngx_http_sluice_record_add(h, SLUICE_H_SIZE, size,
                                      ngx_sprintf(size, "%O", file->size))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_sluice_record_fields(h, form->upload.slcf->fields,
                                         form->values);
}


/* The report of a file that went whole, or that there will be none. */
static void
ngx_http_sluice_part_done(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result)
{
    ngx_http_sluice_part_t *part = (ngx_http_sluice_part_t *) msg;

    ngx_http_sluice_file_t    *file;
    ngx_http_sluice_upload_t  *up;

    up = part->upload;
    file = part->file;

    if (up != NULL) {
        ngx_queue_remove(&part->queue);
    }

    ngx_http_sluice_part_free(part);

    if (up == NULL) {
        return;
    }

    ngx_http_sluice_part_settle(up, file, result);

    up->reported(up);
}


void
ngx_http_sluice_part_settle(ngx_http_sluice_upload_t *up,
    ngx_http_sluice_file_t *file, ngx_http_sluice_result_e result)
{
    switch (result) {

    case NGX_HTTP_SLUICE_DELIVERED:
        file->status = NGX_HTTP_SLUICE_FILE_ACCEPTED;
        up->accepted++;
        up->bytes += file->size;
        ngx_http_sluice_count(accepted, 1);
        break;

    case NGX_HTTP_SLUICE_TOO_LARGE:
        ngx_http_sluice_part_reject(up, file, NGX_HTTP_SLUICE_TOO_LARGE_FILE);
        break;

    case NGX_HTTP_SLUICE_REFUSED:
        ngx_http_sluice_part_reject(up, file, NGX_HTTP_SLUICE_UNAVAILABLE);
        up->unavailable = 1;
        break;

    case NGX_HTTP_SLUICE_UNKNOWN:
        file->status = NGX_HTTP_SLUICE_FILE_UNKNOWN;
        ngx_http_sluice_count(unknown, 1);
        up->unavailable = 1;
        break;
    }
}


/* The arriving file is refused alone: its bytes go at once. */
static void
ngx_http_sluice_part_refuse(ngx_http_sluice_form_t *form,
    ngx_http_sluice_reason_e reason)
{
    ngx_http_sluice_part_t  *part;

    part = form->part;
    form->part = NULL;

    ngx_http_sluice_part_reject(&form->upload, form->file, reason);

    if (part->chunks != NULL) {
        ngx_http_sluice_part_chunk_abort(part);
        return;
    }

    ngx_http_sluice_part_free(part);
}


static void
ngx_http_sluice_part_reject(ngx_http_sluice_upload_t *up,
    ngx_http_sluice_file_t *file, ngx_http_sluice_reason_e reason)
{
    file->status = NGX_HTTP_SLUICE_FILE_REJECTED;
    file->reason = reason;
    up->rejected++;

    ngx_http_sluice_count(rejected[reason], 1);
}


void
ngx_http_sluice_part_drop(ngx_http_sluice_form_t *form)
{
    if (form->part != NULL) {
        ngx_http_sluice_part_refuse(form, NGX_HTTP_SLUICE_INCOMPLETE);
    }

    form->file = NULL;
}


void
ngx_http_sluice_part_detach(ngx_http_sluice_form_t *form)
{
    ngx_queue_t               *q;
    ngx_http_sluice_file_t    *file;
    ngx_http_sluice_part_t    *part;
    ngx_http_sluice_upload_t  *up;
    ngx_http_sluice_result_e   result;

    up = &form->upload;

    while (!ngx_queue_empty(&up->sent)) {

        q = ngx_queue_head(&up->sent);
        ngx_queue_remove(q);

        part = ngx_queue_data(q, ngx_http_sluice_part_t, queue);
        file = part->file;
        part->upload = NULL;
        result = NGX_HTTP_SLUICE_UNKNOWN;

        if (part->chunks != NULL) {
            result = ngx_http_sluice_part_chunk_detach(part);

        } else if (ngx_http_sluice_kafka_cancel(&part->first.msg) == NGX_OK) {
            result = NGX_HTTP_SLUICE_REFUSED;
            ngx_http_sluice_part_free(part);
        }

        ngx_http_sluice_part_settle(up, file, result);
    }
}


void
ngx_http_sluice_part_free(ngx_http_sluice_part_t *part)
{
    if (part->chunks != NULL) {

        if (part->chunks->mark != NULL) {
            ngx_http_sluice_kafka_headers_free(part->chunks->mark);
        }

        ngx_free(part->chunks);
    }

    /* the one that arrives, or the only one */
    if (part->chunk != NULL) {
        ngx_http_sluice_part_chunk_free(part->chunk);
    }

    ngx_free(part);
}
