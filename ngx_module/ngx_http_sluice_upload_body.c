/*
 * ngx_http_sluice_upload_body.c: the body of an upload, as it arrives.
 *
 * Owns the unbuffered read loop that feeds the body's format, and holding
 * clients back while a budget is full.  Does not parse; what comes after the
 * body, or after an error in it, is ngx_http_sluice_upload.c's.
 *
 * nginx owns every buffer and uses it again: what is to stay is copied or
 * hashed before the next read.  A client is held back by not reading: TCP's
 * and HTTP/2's windows fill, and nothing is lost.
 */

#include "ngx_http_sluice.h"

#define NGX_HTTP_SLUICE_UPLOAD_FILE  65536        /* read at once */


static void ngx_http_sluice_upload_read(ngx_http_request_t *r);
static ngx_int_t ngx_http_sluice_upload_consume(
    ngx_http_sluice_upload_t *up);
static ngx_int_t ngx_http_sluice_upload_consume_file(
    ngx_http_sluice_upload_t *up, ngx_buf_t *b);
static ngx_uint_t ngx_http_sluice_upload_full(ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_upload_hold(ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_upload_held(ngx_http_request_t *r);


void
ngx_http_sluice_upload_start(ngx_http_request_t *r)
{
    r->read_event_handler = ngx_http_sluice_upload_read;

    ngx_http_sluice_upload_read(r);
}


static void
ngx_http_sluice_upload_read(ngx_http_request_t *r)
{
    ngx_int_t                  rc;
    ngx_http_sluice_upload_t  *up;

    up = ngx_http_get_module_ctx(r, ngx_http_sluice_module);

    for ( ;; ) {

        rc = ngx_http_sluice_upload_consume(up);

        if (rc == NGX_OK && !r->reading_body) {
            rc = up->format->finish(up);
            if (rc == NGX_OK) {
                rc = NGX_DECLINED;
            }
        }

        if (rc == NGX_ERROR) {
            ngx_http_sluice_upload_detach(up);
            ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
            return;
        }

        /* the body is over, or not worth reading on */
        if (rc == NGX_DECLINED) {
            ngx_http_sluice_upload_wait(up);
            return;
        }

        if (ngx_http_sluice_upload_full(up)) {
            ngx_http_sluice_upload_hold(up);
            return;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            ngx_http_sluice_upload_detach(up);
            ngx_http_finalize_request(r, rc);
            return;
        }

        if (r->request_body->bufs == NULL && r->reading_body) {
            return;
        }
    }
}


/*
 * Feed what has arrived and give the buffers back.  NGX_DECLINED: no more of
 * the body is wanted, up->status says why.
 */
static ngx_int_t
ngx_http_sluice_upload_consume(ngx_http_sluice_upload_t *up)
{
    ngx_int_t                 rc;
    ngx_buf_t                *b;
    ngx_chain_t              *cl, *next;
    ngx_http_request_t       *r;
    ngx_http_request_body_t  *rb;

    r = up->request;
    rb = r->request_body;

    /* somebody has discarded the body before us */
    if (rb == NULL) {
        return NGX_OK;
    }

    rc = NGX_OK;

    for (cl = rb->bufs; cl != NULL; cl = next) {

        next = cl->next;
        b = cl->buf;

        if (rc == NGX_OK && b->in_file && !ngx_buf_in_memory(b)) {
            rc = ngx_http_sluice_upload_consume_file(up, b);

        } else if (rc == NGX_OK) {
            rc = up->format->feed(up, b->pos, b->last - b->pos);
        }

        /* a mirror's copy of the request reads the same buffers */
        if (!r->preserve_body) {
            b->pos = b->last;
            b->file_pos = b->file_last;
            ngx_free_chain(r->pool, cl);
        }
    }

    if (r->preserve_body) {
        return rc;
    }

    rb->bufs = NULL;

    /* or nginx reads on behind it, into what is left; HTTP/2 has windows
     * that depend on it */
    if (r->http_version < NGX_HTTP_VERSION_20 && rb->buf != NULL
        && rb->buf->pos == rb->buf->last)
    {
        rb->buf->pos = rb->buf->start;
        rb->buf->last = rb->buf->start;
    }

    return rc;
}


/* Another module has read the body, and nginx has put it aside. */
static ngx_int_t
ngx_http_sluice_upload_consume_file(ngx_http_sluice_upload_t *up,
    ngx_buf_t *b)
{
    off_t      pos;
    size_t     size;
    u_char    *bytes;
    ssize_t    n;
    ngx_int_t  rc;

    bytes = ngx_palloc(up->request->pool, NGX_HTTP_SLUICE_UPLOAD_FILE);
    if (bytes == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_OK;

    for (pos = b->file_pos; rc == NGX_OK && pos < b->file_last; pos += n) {

        size = (size_t) ngx_min(b->file_last - pos,
                                NGX_HTTP_SLUICE_UPLOAD_FILE);

        n = ngx_read_file(b->file, bytes, size, pos);
        if (n <= 0) {
            return NGX_ERROR;
        }

        rc = up->format->feed(up, bytes, n);
    }

    return rc;
}


/*
 * Whether reading must stop for now.  Once uploads are held back, both
 * budgets have to fall to three quarters before any goes on, or they would
 * change places for every report.  What is given to Kafka always drains; what
 * is still arriving does not, so the oldest upload may finish its part.
 */
static ngx_uint_t
ngx_http_sluice_upload_full(ngx_http_sluice_upload_t *up)
{
    ngx_uint_t                    quarters;
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = up->smcf;
    quarters = ngx_queue_empty(&smcf->held) ? 4 : 3;

    if (smcf->inflight_used >= (size_t) smcf->inflight / 4 * quarters) {
        return 1;
    }

    if (smcf->partial_used < (size_t) smcf->partial / 4 * quarters) {
        return 0;
    }

    return ngx_queue_head(&smcf->reading) != &up->queue;
}


static void
ngx_http_sluice_upload_hold(ngx_http_sluice_upload_t *up)
{
    ngx_queue_t               *q;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_sluice_upload_t  *other;

    r = up->request;
    c = r->connection;

    /* the client is not slow, we are */
    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    r->read_event_handler = ngx_http_sluice_upload_held;

    /* the oldest first, also when it has gone on for a while meanwhile */
    for (q = ngx_queue_last(&up->smcf->held);
         q != ngx_queue_sentinel(&up->smcf->held);
         q = ngx_queue_prev(q))
    {
        other = ngx_queue_data(q, ngx_http_sluice_upload_t, held);

        if ((ngx_int_t) (up->age - other->age) > 0) {
            break;
        }
    }

    ngx_queue_insert_after(q, &up->held);
    up->is_held = 1;
    ngx_http_sluice_count(held, 1);

    ngx_add_timer(&up->deadline, up->slcf->ack_timeout);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "sluice: upload held back, inflight %uz",
                   up->smcf->inflight_used);
}


/* The client's events while it is held back: only that it has gone counts. */
static void
ngx_http_sluice_upload_held(ngx_http_request_t *r)
{
    ngx_uint_t                 gone;
    ngx_connection_t          *c;
    ngx_http_sluice_upload_t  *up;

    c = r->connection;

    /* HTTP/2 sets the body timer anew with each DATA frame */
    c->read->timedout = 0;

#if (NGX_HTTP_V2)
    if (r->stream != NULL) {
        gone = c->error;

    } else
#endif
    {
        gone = c->read->pending_eof || c->read->error || c->error;
    }

    if (!gone) {
        return;
    }

    up = ngx_http_get_module_ctx(r, ngx_http_sluice_module);

    ngx_http_sluice_upload_detach(up);

    c->error = 1;
    ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
}


void
ngx_http_sluice_upload_resume(ngx_event_t *ev)
{
    ngx_queue_t                  *q;
    ngx_connection_t             *c;
    ngx_http_request_t           *r;
    ngx_http_sluice_upload_t     *up;
    ngx_http_sluice_main_conf_t  *smcf = ev->data;

    while (!ngx_queue_empty(&smcf->held)) {

        q = ngx_queue_head(&smcf->held);
        up = ngx_queue_data(q, ngx_http_sluice_upload_t, held);

        if (ngx_http_sluice_upload_full(up)) {
            return;
        }

        ngx_queue_remove(&up->held);
        up->is_held = 0;
        ngx_http_sluice_count(held, -1);

        r = up->request;
        c = r->connection;

        ngx_http_set_log_request(c->log, r);

        c->read->timedout = 0;
        r->read_event_handler = ngx_http_sluice_upload_read;

        ngx_http_sluice_upload_read(r);

        ngx_http_run_posted_requests(c);
    }
}
