/*
 * ngx_http_sluice_part.c: one file on its way from the parser to Kafka.
 *
 * Owns a file's bytes, hash, type and limits, and what its bytes take of the
 * worker's two budgets.  Its record headers are made in ..._part_record.c.
 * Does not answer: it fills in the file's entry, which lives in the request's
 * pool, and tells the upload.
 *
 * The part outlives its request: librdkafka is lent its bytes until the
 * report.  Only part->upload leads back, and the upload's cleanup clears it.
 */

#include "ngx_http_sluice.h"
#include "header_text.h"
#include "sniff.h"

#include <openssl/evp.h>

#define NGX_HTTP_SLUICE_PART_FIRST  4096


/*
 * The bytes of a part.  Grows by doubling, up to the largest file allowed;
 * what it takes is counted in the caller's budget as it grows.
 */
typedef struct {
    u_char                       *data;
    size_t                        len;
    size_t                        size;
} ngx_http_sluice_store_t;


struct ngx_http_sluice_part_s {
    ngx_http_sluice_msg_t         msg;      /* first: done() casts it back */
    ngx_queue_t                   queue;    /* in upload->sent */
    ngx_http_sluice_upload_t     *upload;   /* NULL: the request has gone */
    ngx_http_sluice_file_t       *file;     /* valid while upload is */
    ngx_http_sluice_main_conf_t  *smcf;
    ngx_http_sluice_store_t       store;
    unsigned                      sent:1;   /* counted in inflight_used */
};


static ngx_http_sluice_file_t *ngx_http_sluice_part_file(
    ngx_http_sluice_upload_t *up, const sluice_multipart_part_t *head);
static ngx_int_t ngx_http_sluice_part_sniff(ngx_http_sluice_upload_t *up,
    const u_char *data, size_t len);
static ngx_int_t ngx_http_sluice_part_send(ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_part_done(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result);
static void ngx_http_sluice_part_refuse(ngx_http_sluice_upload_t *up,
    const char *reason, ngx_uint_t status);
static void ngx_http_sluice_part_free(ngx_http_sluice_part_t *part);
static ngx_int_t ngx_http_sluice_part_store(ngx_http_sluice_part_t *part,
    const u_char *bytes, size_t len, size_t max);
static void ngx_http_sluice_part_shrink(ngx_http_sluice_part_t *part);
static int64_t ngx_http_sluice_part_now(void);


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
ngx_http_sluice_part_open(ngx_http_sluice_upload_t *up)
{
    if (up->smcf->digest == NULL) {
        return NGX_ERROR;
    }

    ngx_http_sluice_part_uuid(up->uuid, ngx_http_sluice_part_now());

    /* parts come one after another: one context serves all of an upload's */
    up->sha256 = EVP_MD_CTX_new();

    return (up->sha256 == NULL) ? NGX_ERROR : NGX_OK;
}


void
ngx_http_sluice_part_close(ngx_http_sluice_upload_t *up)
{
    EVP_MD_CTX_free(up->sha256);
    up->sha256 = NULL;
}


int
ngx_http_sluice_part_begin(void *data, const sluice_multipart_part_t *head)
{
    ngx_http_sluice_upload_t *up = data;

    ngx_http_sluice_part_t  *part;

    /* a text field: skipped.  filename* is no name (RFC 7578 4.2), but shows
     * that a file was meant */
    if (!head->has_filename && !head->has_filename_star) {
        return 0;
    }

    if (up->nfiles == up->slcf->max_files) {
        up->status = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        up->slug = "too-many-files";
        up->title = "Too many files";
        ngx_str_set(&up->detail,
                    "The form has more files than sluice_max_files allows.");
        return 1;
    }

    up->file = ngx_http_sluice_part_file(up, head);
    if (up->file == NULL) {
        return 1;
    }

    part = ngx_calloc(sizeof(ngx_http_sluice_part_t), ngx_cycle->log);
    if (part == NULL) {
        return 1;
    }

    part->smcf = up->smcf;
    part->upload = up;
    part->file = up->file;
    up->part = part;

    return EVP_DigestInit_ex(up->sha256, up->smcf->digest, NULL) ? 0 : 1;
}


static ngx_http_sluice_file_t *
ngx_http_sluice_part_file(ngx_http_sluice_upload_t *up,
    const sluice_multipart_part_t *head)
{
    size_t                   len;
    ngx_pool_t              *pool;
    const char              *name;
    ngx_http_sluice_file_t  *file;

    pool = up->request->pool;

    file = ngx_list_push(&up->files);
    if (file == NULL) {
        return NULL;
    }

    ngx_memzero(file, sizeof(ngx_http_sluice_file_t));

    file->number = ++up->nfiles;

    if (ngx_http_sluice_part_text(pool, &file->field, SLUICE_FIELD_MAX,
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

    if (ngx_http_sluice_part_text(pool, &file->name, SLUICE_NAME_MAX, name,
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
    ngx_http_sluice_upload_t *up = data;

    size_t                       seen, max;
    ngx_http_sluice_file_t      *file;
    ngx_http_sluice_loc_conf_t  *slcf;

    file = up->file;
    if (file == NULL) {
        return 0;
    }

    seen = file->size;
    file->size += len;

    if (up->part == NULL) {
        return 0;
    }

    slcf = up->slcf;
    max = (size_t) slcf->max_file_size;

    if (file->size > max) {
        ngx_http_sluice_part_refuse(up, "too_large",
                                    NGX_HTTP_REQUEST_ENTITY_TOO_LARGE);
        return 0;
    }

    if (ngx_http_sluice_part_store(up->part, (u_char *) bytes, len, max)
        != NGX_OK)
    {
        return 1;
    }

    if (file->size >= SLUICE_SNIFF_BYTES && seen < SLUICE_SNIFF_BYTES
        && ngx_http_sluice_part_sniff(up, up->part->store.data,
                                      SLUICE_SNIFF_BYTES)
           != NGX_OK)
    {
        return 0;
    }

    return EVP_DigestUpdate(up->sha256, bytes, len) ? 0 : 1;
}


/* NGX_DECLINED: the type isn't allowed here, and the part is gone. */
static ngx_int_t
ngx_http_sluice_part_sniff(ngx_http_sluice_upload_t *up, const u_char *data,
    size_t len)
{
    size_t       n;
    ngx_str_t   *type;
    ngx_uint_t   i;

    up->file->type = sluice_sniff(data, len);

    if (up->slcf->types == NULL) {
        return NGX_OK;
    }

    n = ngx_strlen(up->file->type);
    type = up->slcf->types->elts;

    for (i = 0; i < up->slcf->types->nelts; i++) {

        if (type[i].len == n
            && ngx_strncmp(type[i].data, up->file->type, n) == 0)
        {
            return NGX_OK;
        }
    }

    ngx_http_sluice_part_refuse(up, "type_not_allowed",
                                NGX_HTTP_UNSUPPORTED_MEDIA_TYPE);
    return NGX_DECLINED;
}


int
ngx_http_sluice_part_end(void *data)
{
    ngx_http_sluice_upload_t *up = data;

    ngx_http_sluice_file_t  *file;

    file = up->file;

    if (file == NULL) {
        return 0;
    }

    if (up->part == NULL) {
        up->file = NULL;
        return 0;
    }

    if (file->size == 0) {
        ngx_http_sluice_part_drop(up);

        if (!file->named) {
            /* a page's file input in which nothing was chosen */
            up->files.last->nelts--;
            up->nfiles--;
            return 0;
        }

        file->status = NGX_HTTP_SLUICE_FILE_REJECTED;
        file->reason = "empty";
        file->refusal = 422;
        return 0;
    }

    if (file->size < SLUICE_SNIFF_BYTES
        && ngx_http_sluice_part_sniff(up, up->part->store.data, file->size)
           != NGX_OK)
    {
        up->file = NULL;
        return 0;
    }

    if (ngx_http_sluice_part_send(up) != NGX_OK) {
        return 1;
    }

    up->file = NULL;
    up->part = NULL;

    return 0;
}


static ngx_int_t
ngx_http_sluice_part_send(ngx_http_sluice_upload_t *up)
{
    u_char                   digest[EVP_MAX_MD_SIZE];
    int64_t                  now;
    ngx_http_sluice_msg_t   *msg;
    ngx_http_sluice_part_t  *part;
    ngx_http_sluice_file_t  *file;

    part = up->part;
    file = up->file;
    msg = &part->msg;

    if (!EVP_DigestFinal_ex(up->sha256, digest, NULL)) {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(file->sha256, digest, SLUICE_SHA256_LEN);
    file->hashed = 1;

    ngx_http_sluice_part_shrink(part);

    now = ngx_http_sluice_part_now();

    msg->headers = ngx_http_sluice_part_headers(up, now);
    if (msg->headers == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(msg->key, file->sha256, SLUICE_SHA256_HEX);
    msg->topic = up->slcf->topic;
    msg->value = part->store.data;
    msg->len = part->store.len;
    msg->time_ms = now;
    msg->done = ngx_http_sluice_part_done;

    part->smcf->partial_used -= part->store.size;
    part->smcf->inflight_used += part->store.size;
    part->sent = 1;

    ngx_queue_insert_tail(&up->sent, &part->queue);

    ngx_http_sluice_kafka_send(msg);

    return NGX_OK;
}


/* The report, or that there will be none. */
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

    switch (result) {

    case NGX_HTTP_SLUICE_DELIVERED:
        file->status = NGX_HTTP_SLUICE_FILE_ACCEPTED;
        break;

    case NGX_HTTP_SLUICE_TOO_LARGE:
        file->status = NGX_HTTP_SLUICE_FILE_REJECTED;
        file->reason = "too_large";
        file->refusal = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        break;

    case NGX_HTTP_SLUICE_REFUSED:
        file->status = NGX_HTTP_SLUICE_FILE_REJECTED;
        file->reason = "unavailable";
        file->refusal = NGX_HTTP_SERVICE_UNAVAILABLE;
        up->unavailable = 1;
        break;

    case NGX_HTTP_SLUICE_UNKNOWN:
        file->status = NGX_HTTP_SLUICE_FILE_UNKNOWN;
        up->unavailable = 1;
        break;
    }

    up->reported(up);
}


/* The arriving file is refused alone: its bytes go at once. */
static void
ngx_http_sluice_part_refuse(ngx_http_sluice_upload_t *up, const char *reason,
    ngx_uint_t status)
{
    up->file->status = NGX_HTTP_SLUICE_FILE_REJECTED;
    up->file->reason = reason;
    up->file->refusal = status;

    ngx_http_sluice_part_free(up->part);
    up->part = NULL;
}


void
ngx_http_sluice_part_drop(ngx_http_sluice_upload_t *up)
{
    if (up->part != NULL) {
        ngx_http_sluice_part_refuse(up, "incomplete", NGX_HTTP_BAD_REQUEST);
    }

    up->file = NULL;
}


void
ngx_http_sluice_part_detach(ngx_http_sluice_upload_t *up)
{
    ngx_queue_t             *q;
    ngx_http_sluice_part_t  *part;

    while (!ngx_queue_empty(&up->sent)) {

        q = ngx_queue_head(&up->sent);
        ngx_queue_remove(q);

        part = ngx_queue_data(q, ngx_http_sluice_part_t, queue);
        part->upload = NULL;
        up->unavailable = 1;

        if (ngx_http_sluice_kafka_cancel(&part->msg) == NGX_OK) {
            part->file->status = NGX_HTTP_SLUICE_FILE_REJECTED;
            part->file->reason = "unavailable";
            part->file->refusal = NGX_HTTP_SERVICE_UNAVAILABLE;
            ngx_http_sluice_part_free(part);
            continue;
        }

        part->file->status = NGX_HTTP_SLUICE_FILE_UNKNOWN;
    }
}


static void
ngx_http_sluice_part_free(ngx_http_sluice_part_t *part)
{
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = part->smcf;

    if (part->sent) {
        smcf->inflight_used -= part->store.size;

    } else {
        smcf->partial_used -= part->store.size;
    }

    if (!ngx_queue_empty(&smcf->held)) {
        ngx_post_event(&smcf->resume, &ngx_posted_events);
    }

    if (part->store.data != NULL) {
        ngx_free(part->store.data);
    }

    ngx_free(part);
}


/* max: as large as the part may become, so no larger store is of use. */
static ngx_int_t
ngx_http_sluice_part_store(ngx_http_sluice_part_t *part, const u_char *bytes,
    size_t len, size_t max)
{
    size_t                    size;
    u_char                   *data;
    ngx_http_sluice_store_t  *store;

    store = &part->store;

    if (store->size - store->len < len) {

        size = store->size ? store->size * 2 : NGX_HTTP_SLUICE_PART_FIRST;
        size = ngx_max(size, store->len + len);
        size = ngx_min(size, max);

        data = realloc(store->data, size);
        if (data == NULL) {
            ngx_log_error(NGX_LOG_EMERG, ngx_cycle->log, ngx_errno,
                          "sluice: realloc(%uz) failed", size);
            return NGX_ERROR;
        }

        part->smcf->partial_used += size - store->size;
        store->data = data;
        store->size = size;
    }

    ngx_memcpy(store->data + store->len, bytes, len);
    store->len += len;

    return NGX_OK;
}


/* Small files come in great numbers, and a whole store counts. */
static void
ngx_http_sluice_part_shrink(ngx_http_sluice_part_t *part)
{
    u_char                   *data;
    ngx_http_sluice_store_t  *store;

    store = &part->store;

    if (store->size / 2 < store->len) {
        return;
    }

    data = realloc(store->data, store->len);
    if (data == NULL) {
        return;
    }

    part->smcf->partial_used -= store->size - store->len;
    store->data = data;
    store->size = store->len;
}


static int64_t
ngx_http_sluice_part_now(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (int64_t) tp->sec * 1000 + tp->msec;
}
