/*
 * ngx_http_sluice_upload_body.c: the body of an upload, as it arrives.
 *
 * Owns the unbuffered read loop that feeds the body's format, and holding
 * clients back while a budget is full.  Does not parse; what comes after the
 * body, or after an error in it, is ngx_http_sluice_upload.c's.
 *
 * Over HTTP/1.x nginx is made to receive into the upload's slab, where the
 * bytes of a file then stay.  What lies elsewhere is copied to the slab first:
 * HTTP/2 and 3, whose windows depend on nginx's own buffer, and what was read
 * before us.  A client is held back by not reading: TCP's and HTTP/2's windows
 * fill, and nothing is lost.
 */

#include "ngx_http_sluice.h"

/* nginx's own buffer over HTTP/1.x: what it reads before we are asked */
#define NGX_HTTP_SLUICE_UPLOAD_FIRST  1024

/* received or copied at once: it is still in the cache when it is fed */
#define NGX_HTTP_SLUICE_UPLOAD_PIECE  131072

/* a body of this size is read although parts that arrive fill their budget */
#define NGX_HTTP_SLUICE_UPLOAD_SMALL  16384

/* fed before the worker looks at other connections again */
#define NGX_HTTP_SLUICE_UPLOAD_TURN   1048576


static void ngx_http_sluice_upload_start(ngx_http_request_t *r);
static void ngx_http_sluice_upload_read(ngx_http_request_t *r);
static ngx_int_t ngx_http_sluice_upload_receive(
    ngx_http_sluice_upload_t *up);
static ngx_int_t ngx_http_sluice_upload_consume(
    ngx_http_sluice_upload_t *up);
static ngx_int_t ngx_http_sluice_upload_consume_link(
    ngx_http_sluice_upload_t *up);
static ssize_t ngx_http_sluice_upload_copy(ngx_http_sluice_upload_t *up,
    size_t len);
static off_t ngx_http_sluice_upload_size(ngx_buf_t *b);
static ngx_int_t ngx_http_sluice_upload_room(ngx_http_sluice_upload_t *up);
static ngx_uint_t ngx_http_sluice_upload_paused(
    ngx_http_sluice_upload_t *up);
static ngx_uint_t ngx_http_sluice_upload_full(ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_upload_hold(ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_upload_held(ngx_http_request_t *r);


/*
 * nginx allocates its buffer and reads once before it calls back.  A large one
 * would only be memory: what is in it is copied.  There is no other way to
 * tell it the size than the location's, for as long as the call takes.
 */
ngx_int_t
ngx_http_sluice_upload_body(ngx_http_sluice_upload_t *up)
{
    size_t                     size;
    ngx_int_t                  rc;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = up->request;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    size = clcf->client_body_buffer_size;
    up->buffer_size = size;

    if (r->http_version < NGX_HTTP_VERSION_20) {
        clcf->client_body_buffer_size = NGX_HTTP_SLUICE_UPLOAD_FIRST;
    }

    r->request_body_no_buffering = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_sluice_upload_start);

    clcf->client_body_buffer_size = size;

    return rc;
}


/* Once: with all of the body, or with what of it has come with the header. */
static void
ngx_http_sluice_upload_start(ngx_http_request_t *r)
{
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_sluice_upload_t  *up;

    up = ngx_http_get_module_ctx(r, ngx_http_sluice_module);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    clcf->client_body_buffer_size = up->buffer_size;

    /* NULL: somebody has discarded the body before us */
    if (r->request_body != NULL) {
        up->link = r->request_body->bufs;
    }

    up->whole = !r->reading_body;

    r->read_event_handler = ngx_http_sluice_upload_read;

    ngx_http_sluice_upload_read(r);
}


static void
ngx_http_sluice_upload_read(ngx_http_request_t *r)
{
    ngx_int_t                  rc;
    ngx_http_sluice_upload_t  *up;

    up = ngx_http_get_module_ctx(r, ngx_http_sluice_module);

    up->turn = 0;

    for ( ;; ) {

        rc = ngx_http_sluice_upload_consume(up);

        if (rc == NGX_AGAIN) {
            return;
        }

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

        if (ngx_http_sluice_upload_paused(up)) {
            return;
        }

        rc = ngx_http_sluice_upload_receive(up);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            ngx_http_sluice_upload_ended(up);
            ngx_http_finalize_request(r, rc);
            return;
        }

        if (up->link == NULL && r->reading_body) {
            ngx_http_sluice_store_rest(up);
            return;
        }
    }
}


/*
 * nginx uses its buffer by four pointers only, and between two calls nothing
 * of it is needed: so it is ours to say where the next bytes go.  It must have
 * room at the call, else nginx begins at its start again; and it is put back,
 * since another module may read on after an error.
 *
 * What nginx finds in a chunked body behind its end is copied by nginx before
 * it returns.
 */
static ngx_int_t
ngx_http_sluice_upload_receive(ngx_http_sluice_upload_t *up)
{
    size_t               size;
    u_char              *start, *end;
    ngx_buf_t           *b;
    ngx_int_t            rc;
    sluice_slab_t       *slab;
    ngx_http_request_t  *r;

    r = up->request;
    b = r->request_body->buf;

    up->placed = 0;

    if (r->http_version >= NGX_HTTP_VERSION_20 || b->pos != b->last) {
        rc = ngx_http_read_unbuffered_request_body(r);
        up->link = r->request_body->bufs;
        return rc;
    }

    if (ngx_http_sluice_upload_room(up) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    slab = up->reader.slab;
    size = slab->end - slab->last;

    start = b->start;
    end = b->end;

    b->start = slab->last;
    b->pos = slab->last;
    b->last = slab->last;
    b->end = slab->last + ngx_min(size, NGX_HTTP_SLUICE_UPLOAD_PIECE);

    rc = ngx_http_read_unbuffered_request_body(r);
    up->link = r->request_body->bufs;

    sluice_slab_received(&up->reader, b->last - b->start);
    up->placed = 1;

    b->start = start;
    b->pos = start;
    b->last = start;
    b->end = end;

    return rc;
}


/*
 * Feed what has arrived and give the buffers back.  NGX_DECLINED: no more of
 * the body is wanted, up->status says why.  NGX_AGAIN: not now.
 */
static ngx_int_t
ngx_http_sluice_upload_consume(ngx_http_sluice_upload_t *up)
{
    ngx_int_t            rc;
    ngx_chain_t         *cl;
    ngx_http_request_t  *r;

    r = up->request;

    for ( /* void */ ; up->link != NULL; up->link = up->link->next) {

        rc = ngx_http_sluice_upload_consume_link(up);
        if (rc != NGX_OK) {
            return rc;
        }

        up->offset = 0;
    }

    /* what another module has read is perhaps not for us alone */
    if (up->whole) {
        return NGX_OK;
    }

    while (r->request_body->bufs != NULL) {
        cl = r->request_body->bufs;
        r->request_body->bufs = cl->next;

        cl->buf->pos = cl->buf->last;
        ngx_free_chain(r->pool, cl);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_sluice_upload_consume_link(ngx_http_sluice_upload_t *up)
{
    off_t       size;
    u_char     *bytes;
    ssize_t     n;
    ngx_int_t   rc;
    ngx_buf_t  *b;

    b = up->link->buf;
    size = ngx_http_sluice_upload_size(b);

    while (up->offset < size) {

        n = (ssize_t) ngx_min(size - up->offset,
                              NGX_HTTP_SLUICE_UPLOAD_PIECE);

        if (up->placed) {
            bytes = b->pos + up->offset;

        } else {
            /* what nginx receives with the header is taken in any case */
            if (up->whole && up->turn >= NGX_HTTP_SLUICE_UPLOAD_PIECE
                && ngx_http_sluice_upload_paused(up))
            {
                return NGX_AGAIN;
            }

            n = ngx_http_sluice_upload_copy(up, n);
            if (n <= 0) {
                return NGX_ERROR;
            }

            bytes = up->reader.slab->last - n;
        }

        up->offset += n;
        up->turn += n;
        up->rate_bytes += n;

        rc = ngx_http_sluice_store_feed(up, bytes, n);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


/* From nginx's memory or file into the slab. */
static ssize_t
ngx_http_sluice_upload_copy(ngx_http_sluice_upload_t *up, size_t len)
{
    ssize_t         n;
    ngx_buf_t      *b;
    sluice_slab_t  *slab;

    if (ngx_http_sluice_upload_room(up) != NGX_OK) {
        return NGX_ERROR;
    }

    slab = up->reader.slab;
    b = up->link->buf;
    n = ngx_min(len, (size_t) (slab->end - slab->last));

    if (ngx_buf_in_memory(b)) {
        ngx_memcpy(slab->last, b->pos + up->offset, n);

    } else {
        n = ngx_read_file(b->file, slab->last, n, b->file_pos + up->offset);
        if (n <= 0) {
            return NGX_ERROR;
        }
    }

    sluice_slab_received(&up->reader, n);

    return n;
}


static off_t
ngx_http_sluice_upload_size(ngx_buf_t *b)
{
    return ngx_buf_in_memory(b) ? (off_t) (b->last - b->pos)
                                : (b->in_file ? b->file_last - b->file_pos
                                              : 0);
}


/*
 * Room for what is to be copied, or else received: as much as seems to be
 * needed, since a slab counts whole.
 */
static ngx_int_t
ngx_http_sluice_upload_room(ngx_http_sluice_upload_t *up)
{
    int                       available;
    off_t                     here, rest;
    size_t                    waiting;
    ngx_chain_t              *cl;
    ngx_http_request_t       *r;
    ngx_http_request_body_t  *rb;

    r = up->request;
    rb = r->request_body;

    here = -up->offset;

    for (cl = up->link; cl != NULL; cl = cl->next) {
        here += ngx_http_sluice_upload_size(cl->buf);
    }

    if (!r->reading_body) {
        rest = here;

    } else if (r->headers_in.chunked || r->headers_in.content_length_n < 0) {
        rest = -1;

    } else if (r->http_version >= NGX_HTTP_VERSION_20) {
        rest = here + r->headers_in.content_length_n - rb->received;

    } else {
        rest = here + rb->rest;
    }

    waiting = here;

    if (up->link == NULL) {

        /* a fast client, or what nginx's last read has left in the socket */
        available = r->connection->read->available;
        waiting = ngx_max(up->turn, (size_t) ngx_max(available, 0)) * 2;
    }

    return ngx_http_sluice_store_room(up, waiting, rest);
}


/* Whether reading goes on by an event: held back, or others are to come. */
static ngx_uint_t
ngx_http_sluice_upload_paused(ngx_http_sluice_upload_t *up)
{
    ngx_event_t  *rev;

    if (ngx_http_sluice_upload_full(up)) {
        ngx_http_sluice_upload_hold(up);
        return 1;
    }

    if (up->turn < NGX_HTTP_SLUICE_UPLOAD_TURN) {
        return 0;
    }

    rev = up->request->connection->read;

    /* nginx sets it when it finds nothing to read, and we have not asked */
    if (rev->timer_set) {
        ngx_del_timer(rev);
    }

    ngx_post_event(rev, &ngx_posted_next_events);

    return 1;
}


/*
 * Whether reading must stop for now.  Once uploads are held back, what is in
 * flight has to fall to three quarters before any goes on, or they would
 * change places for every report.  What is given to Kafka always drains; what
 * is still arriving does not, so the oldest upload may finish its part, and
 * each byte that comes free lets the next one go on.  A small one takes no
 * more than its connection does, and need not wait for clients that never come
 * to an end.
 */
static ngx_uint_t
ngx_http_sluice_upload_full(ngx_http_sluice_upload_t *up)
{
    off_t                         length;
    ngx_uint_t                    quarters;
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = up->smcf;
    quarters = ngx_queue_empty(&smcf->held) ? 4 : 3;

    if (smcf->inflight_used >= (size_t) smcf->inflight / 4 * quarters) {
        return 1;
    }

    if (smcf->partial_used < (size_t) smcf->partial) {
        return 0;
    }

    length = up->request->headers_in.content_length_n;

    if (length >= 0 && length <= NGX_HTTP_SLUICE_UPLOAD_SMALL) {
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

    ngx_http_sluice_store_rest(up);

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
    ngx_http_sluice_upload_rate_hold(up);
    up->held_since = ngx_current_msec;
    ngx_http_sluice_count(held, 1);

    ngx_add_timer(&up->deadline, up->slcf->ack_timeout);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "sluice: upload held back, inflight %uz partial %uz",
                   up->smcf->inflight_used, up->smcf->partial_used);
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

    c->error = 1;
    ngx_http_sluice_upload_ended(up);

    ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
}


void
ngx_http_sluice_upload_release(ngx_http_sluice_upload_t *up)
{
    ngx_queue_remove(&up->held);
    up->is_held = 0;
    up->held_ms += ngx_current_msec - up->held_since;

    ngx_http_sluice_count(held, -1);
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

        ngx_http_sluice_upload_release(up);
        ngx_http_sluice_upload_rate_resume(up);

        r = up->request;
        c = r->connection;

        ngx_http_set_log_request(c->log, r);

        c->read->timedout = 0;
        r->read_event_handler = ngx_http_sluice_upload_read;

        ngx_http_sluice_upload_read(r);

        ngx_http_run_posted_requests(c);
    }
}
