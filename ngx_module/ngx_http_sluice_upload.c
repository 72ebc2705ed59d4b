/*
 * ngx_http_sluice_upload.c: a request's life.
 *
 * Owns the order of things: what is refused before a byte of the body is
 * read, waiting for delivery reports, the deadline, and the one answer.  The
 * body itself is ngx_http_sluice_upload_body.c's.  Does not know librdkafka.
 *
 * An upload is reading, held or waiting, and has a deadline timer from its
 * first byte to its answer.  In the latter two states nginx has no timer of
 * its own, and a worker that is told to quit stays only for timers.
 */

#include "ngx_http_sluice_monitor.h"

/* A refused body larger than this is not worth reading for keep-alive. */
#define NGX_HTTP_SLUICE_UPLOAD_DISCARD  65536
#define NGX_HTTP_SLUICE_UPLOAD_RETRY    5            /* seconds */
#define NGX_HTTP_SLUICE_UPLOAD_DRAINED  30           /* also seconds */


static ngx_int_t ngx_http_sluice_upload_post(ngx_http_request_t *r,
    ngx_http_sluice_loc_conf_t *slcf);
static ngx_int_t ngx_http_sluice_upload_refuse_for(ngx_http_request_t *r,
    ngx_uint_t status, const char *slug, const char *title,
    const char *detail, ngx_uint_t retry_after);
static ngx_int_t ngx_http_sluice_upload_begin(ngx_http_request_t *r,
    ngx_str_t *customer);
static ngx_http_sluice_upload_t *ngx_http_sluice_upload_create(
    ngx_http_request_t *r);
static void ngx_http_sluice_upload_reported(ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_upload_deadline(ngx_event_t *ev);
static void ngx_http_sluice_upload_answer(ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_upload_leave(ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_upload_cleanup(void *data);


void
ngx_http_sluice_upload_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle)
{
    ngx_queue_init(&smcf->reading);
    ngx_queue_init(&smcf->held);

    smcf->resume.handler = ngx_http_sluice_upload_resume;
    smcf->resume.data = smcf;
    smcf->resume.log = cycle->log;

    ngx_http_sluice_upload_rate_init(smcf, cycle);
}


ngx_int_t
ngx_http_sluice_upload_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_http_sluice_loc_conf_t  *slcf;

    /* a subrequest or a mirror's copy has no body of its own */
    if (r != r->main) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);

    rc = ngx_http_sluice_origin_check(r, slcf);

    if (rc == NGX_DECLINED) {
        return ngx_http_sluice_upload_refuse(r, NGX_HTTP_FORBIDDEN,
                            "origin", "Origin not allowed",
                            "This page may not upload here.");
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->method == NGX_HTTP_POST) {
        return ngx_http_sluice_upload_post(r, slcf);
    }

    if (r->method == NGX_HTTP_OPTIONS) {
        rc = ngx_http_discard_request_body(r);
        return (rc == NGX_OK) ? ngx_http_sluice_origin_preflight(r) : rc;
    }

    if (ngx_http_sluice_reply_add(r, "Allow", "POST, OPTIONS",
                                  sizeof("POST, OPTIONS") - 1)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_sluice_upload_refuse(r, NGX_HTTP_NOT_ALLOWED,
                            "method", "Method not allowed",
                            "Uploads are posted.");
}


/* All that can be known before the body, whatever its format. */
static ngx_int_t
ngx_http_sluice_upload_post(ngx_http_request_t *r,
    ngx_http_sluice_loc_conf_t *slcf)
{
    ngx_int_t  rc;
    ngx_str_t  customer;

    if (slcf->off || ngx_http_sluice_drain_on(slcf->drain)) {
        return ngx_http_sluice_upload_refuse_for(r,
                            NGX_HTTP_SERVICE_UNAVAILABLE,
                            "draining", "Nothing is taken for now",
                            "This is maintenance, it will be over.",
                            NGX_HTTP_SLUICE_UPLOAD_DRAINED);
    }

    rc = ngx_http_sluice_tenant_get(r, &customer);

    if (rc == NGX_DECLINED) {
        return ngx_http_sluice_upload_refuse(r, NGX_HTTP_FORBIDDEN,
                            "customer", "No customer",
                            "The request belongs to no customer.");
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!ngx_http_sluice_kafka_ready(slcf->topic)) {
        return ngx_http_sluice_upload_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                            "unavailable", "Nothing can be stored now",
                            "No broker answers.");
    }

    return ngx_http_sluice_upload_begin(r, &customer);
}


ngx_int_t
ngx_http_sluice_upload_refuse(ngx_http_request_t *r, ngx_uint_t status,
    const char *slug, const char *title, const char *detail)
{
    return ngx_http_sluice_upload_refuse_for(r, status, slug, title, detail,
                                   (status == NGX_HTTP_SERVICE_UNAVAILABLE)
                                   ? NGX_HTTP_SLUICE_UPLOAD_RETRY : 0);
}


static ngx_int_t
ngx_http_sluice_upload_refuse_for(ngx_http_request_t *r, ngx_uint_t status,
    const char *slug, const char *title, const char *detail,
    ngx_uint_t retry_after)
{
    ngx_int_t  rc;
    ngx_str_t  text;

    if (r->headers_in.expect != NULL || r->headers_in.chunked
        || r->headers_in.content_length_n > NGX_HTTP_SLUICE_UPLOAD_DISCARD)
    {
        r->keepalive = 0;
    }

    r->expect_tested = 1;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    text.data = (u_char *) detail;
    text.len = ngx_strlen(detail);

    return ngx_http_sluice_problem(r, status, slug, title, &text,
                                   retry_after);
}


static ngx_int_t
ngx_http_sluice_upload_begin(ngx_http_request_t *r, ngx_str_t *customer)
{
    ngx_int_t                  rc;
    ngx_str_t                  key;
    ngx_http_sluice_upload_t  *up;

    ngx_str_null(&key);

    rc = ngx_http_sluice_upload_idempotency(r, &key);

    if (rc == NGX_DECLINED) {
        return ngx_http_sluice_upload_refuse(r, NGX_HTTP_BAD_REQUEST,
                            "idempotency-key", "Bad Idempotency-Key",
                            "Idempotency-Key is one string of 1 to 255"
                            " characters of printable ASCII.");
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    up = ngx_http_sluice_upload_create(r);
    if (up == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    up->customer = *customer;
    up->idempotency = key;
    ngx_http_sluice_upload_traceparent(r, &up->traceparent);

    ngx_http_sluice_record_uuid(up->smcf, up->uuid,
                                ngx_http_sluice_now_ms());

    rc = up->format->open(up);

    if (rc == NGX_DECLINED) {
        ngx_http_sluice_upload_detach(up);
        return ngx_http_sluice_upload_refuse(r, up->status, up->slug,
                                             up->title,
                                             (char *) up->detail.data);
    }

    if (rc != NGX_OK) {
        ngx_http_sluice_upload_detach(up);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_set_ctx(r, up, ngx_http_sluice_module);

    ngx_http_sluice_count(uploads, 1);

    ngx_add_timer(&up->deadline, up->slcf->ack_timeout);
    ngx_http_sluice_upload_rate_begin(up);

    rc = ngx_http_sluice_upload_body(up);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_http_sluice_upload_ended(up);
        return rc;
    }

    return NGX_DONE;
}


static ngx_http_sluice_upload_t *
ngx_http_sluice_upload_create(ngx_http_request_t *r)
{
    ngx_http_cleanup_t          *cln;
    ngx_http_sluice_upload_t    *up;
    ngx_http_sluice_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NULL;
    }

    up = ngx_pcalloc(r->pool, slcf->format->size);
    if (up == NULL) {
        return NULL;
    }

    up->request = r;
    up->smcf = ngx_http_get_module_main_conf(r, ngx_http_sluice_module);
    up->slcf = slcf;
    up->format = slcf->format;
    up->reader.pool = &up->smcf->slabs;
    up->reported = ngx_http_sluice_upload_reported;

    ngx_queue_init(&up->sent);

    if (ngx_http_sluice_variables_upload(up) != NGX_OK) {
        return NULL;
    }

    cln->handler = ngx_http_sluice_upload_cleanup;
    cln->data = up;

    up->deadline.handler = ngx_http_sluice_upload_deadline;
    up->deadline.data = up;
    up->deadline.log = r->connection->log;

    up->age = up->smcf->uploads++;
    up->is_reading = 1;
    ngx_queue_insert_tail(&up->smcf->reading, &up->queue);

    ngx_http_sluice_count(open, 1);

    return up;
}


/* No more is read.  What was handed over is waited for, also after an error:
 * the client is to know which of its files are in. */
void
ngx_http_sluice_upload_wait(ngx_http_sluice_upload_t *up)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = up->request;
    c = r->connection;

    ngx_http_sluice_upload_leave(up);
    up->format->drop(up);
    up->read = ngx_current_msec;
    up->is_read = 1;

    if (ngx_queue_empty(&up->sent)) {
        ngx_http_sluice_upload_answer(up);
        return;
    }

    up->waiting = 1;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "sluice: upload waits for reports");

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    ngx_add_timer(&up->deadline, up->slcf->ack_timeout);

    /* a client that leaves now is noticed; may end the request at once */
    r->read_event_handler = ngx_http_test_reading;

    if (c->read->ready) {
        ngx_http_test_reading(r);
    }
}


/* From the event loop, after each report. */
static void
ngx_http_sluice_upload_reported(ngx_http_sluice_upload_t *up)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    if (!up->waiting || !ngx_queue_empty(&up->sent)) {
        return;
    }

    r = up->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_http_sluice_upload_answer(up);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_sluice_upload_deadline(ngx_event_t *ev)
{
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_sluice_upload_t  *up = ev->data;

    /* while it reads, nginx's own timers judge the client */
    if (!up->is_held && !up->waiting) {
        ngx_add_timer(ev, up->slcf->ack_timeout);
        return;
    }

    r = up->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_error(NGX_LOG_WARN, c->log, 0,
                  "sluice: no answer from kafka in time upload=%*s state=%s",
                  (size_t) NGX_HTTP_SLUICE_UUID_LEN, up->uuid,
                  up->is_held ? "held" : "waiting");

    up->unavailable = 1;
    ngx_http_sluice_count(timeouts, 1);

    ngx_http_sluice_upload_answer(up);

    ngx_http_run_posted_requests(c);
}


/* The one place that answers once reading has begun. */
static void
ngx_http_sluice_upload_answer(ngx_http_sluice_upload_t *up)
{
    ngx_http_request_t  *r;

    r = up->request;

    ngx_http_sluice_upload_detach(up);

    up->answered = 1;
    up->ack_ms = up->is_read ? ngx_current_msec - up->read : 0;

    if (r->reading_body) {
        /* the rest is dropped by nginx's lingering close */
        r->keepalive = 0;
    }

    ngx_http_finalize_request(r, up->format->reply(up));
}


static void
ngx_http_sluice_upload_leave(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = up->smcf;

    if (up->is_held) {
        ngx_http_sluice_upload_release(up);
    }

    if (up->is_reading) {

        /* a scan that has just cut another one goes on behind it */
        if (smcf->rate_next == &up->queue) {
            smcf->rate_next = ngx_queue_next(&up->queue);
        }

        ngx_queue_remove(&up->queue);
        up->is_reading = 0;
    }

    ngx_http_sluice_store_leave(up);

    /* another one is the oldest now */
    if (!ngx_queue_empty(&smcf->held)) {
        ngx_post_event(&smcf->resume, &ngx_posted_events);
    }
}


/* The request and its parts know nothing of each other after this. */
void
ngx_http_sluice_upload_detach(ngx_http_sluice_upload_t *up)
{
    if (up->done) {
        return;
    }

    up->done = 1;

    /* an error_page may keep the request, but not our context */
    up->request->read_event_handler = ngx_http_block_reading;

    if (up->request->reading_body) {
        up->request->request_body->bufs = NULL;
    }

    if (up->deadline.timer_set) {
        ngx_del_timer(&up->deadline);
    }

    ngx_http_sluice_upload_leave(up);

    up->format->drop(up);
    up->format->detach(up);

    ngx_http_sluice_count(open, -1);
}


/* nginx has ended the body: over a limit, or the client has gone. */
void
ngx_http_sluice_upload_ended(ngx_http_sluice_upload_t *up)
{
    if (up->request->connection->error) {
        ngx_http_sluice_count(aborted, 1);
    }

    ngx_http_sluice_upload_detach(up);
}


static void
ngx_http_sluice_upload_cleanup(void *data)
{
    ngx_http_sluice_upload_t *up = data;

    if (!up->done) {
        ngx_log_error(NGX_LOG_INFO, up->request->connection->log, 0,
                      "sluice: client gone upload=%*s",
                      (size_t) NGX_HTTP_SLUICE_UUID_LEN, up->uuid);

        ngx_http_sluice_count(aborted, 1);
    }

    ngx_http_sluice_upload_detach(up);
}
