/*
 * ngx_http_sluice_event_msg.c: one event on its way, from its first byte to
 * its report.
 *
 * Owns its memory, what that takes of the worker's two budgets, its record,
 * and counting its outcome.  Does not answer: it tells the upload.
 *
 * Events are small and many, so each is one allocation: message, key and
 * value.  The value of a large one stays where it was received, as a file's
 * bytes do.
 */

#include "ngx_http_sluice_event.h"

#define NGX_HTTP_SLUICE_EVENT_FIRST     1024

/* one that is known to be larger has a store */
#define NGX_HTTP_SLUICE_EVENT_SMALL     16384

/* what librdkafka keeps of an event itself: a message and headers */
#define NGX_HTTP_SLUICE_EVENT_OVERHEAD  1024


struct ngx_http_sluice_event_s {
    ngx_http_sluice_msg_t          msg;     /* first: done() casts it back */
    ngx_queue_t                    queue;   /* in upload->sent */
    ngx_http_sluice_event_body_t  *body;    /* NULL: the request has gone */
    ngx_http_sluice_main_conf_t   *smcf;
    size_t                         len;     /* of the value, so far */
    size_t                         room;    /* for the value */
    size_t                         counted; /* in one of the budgets */
    ngx_http_sluice_store_t        store;   /* counts itself */
    unsigned                       sent:1;  /* the budget is inflight */
    unsigned                       stored:1;    /* the value is in store */
    u_char                         bytes[1];    /* key, then value */
};


static ngx_int_t ngx_http_sluice_event_grow(
    ngx_http_sluice_event_body_t *body, size_t len, int last);
static ngx_uint_t ngx_http_sluice_event_large(
    ngx_http_sluice_event_body_t *body, size_t len);
static ngx_int_t ngx_http_sluice_event_send(
    ngx_http_sluice_event_body_t *body);
static ngx_http_sluice_headers_t *ngx_http_sluice_event_headers(
    ngx_http_sluice_event_body_t *body, int64_t now);
static void ngx_http_sluice_event_done(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result);
static void ngx_http_sluice_event_settle(ngx_http_sluice_event_body_t *body,
    size_t len, ngx_http_sluice_result_e result);
static void ngx_http_sluice_event_free(ngx_http_sluice_event_t *event);


int
ngx_http_sluice_event_bytes(void *data, const char *bytes, size_t len,
    int last)
{
    ngx_http_sluice_event_body_t *body = data;

    size_t                       seen;
    ngx_http_sluice_event_t     *event;
    ngx_http_sluice_loc_conf_t  *slcf;

    slcf = body->upload.slcf;
    seen = (body->event != NULL) ? body->event->len : 0;

    if (seen == 0 && body->number == slcf->max_events) {
        return ngx_http_sluice_event_limit(body, "too-many-events",
                         "Too many events",
                         "The body has more events than sluice_max_events "
                         "allows.");
    }

    if (len > slcf->max_event_size - seen) {
        return ngx_http_sluice_event_limit(body, "event-too-large",
                         "Event too large",
                         "Event %ui is larger than sluice_max_event_size.");
    }

    if (ngx_http_sluice_event_grow(body, seen + len, last) != NGX_OK) {
        return NGX_ERROR;
    }

    event = body->event;

    if (!event->stored) {
        ngx_memcpy(event->bytes + body->key.len + seen, bytes, len);

    } else if (len > 0
               && ngx_http_sluice_store_append(&event->store,
                                               (u_char *) bytes, len)
                  != NGX_OK)
    {
        return NGX_ERROR;
    }

    event->len = seen + len;

    return last ? ngx_http_sluice_event_send(body) : NGX_OK;
}


/*
 * Makes the event, or makes it large enough for len bytes of value.  One that
 * came in one read gets what it needs, for others memory is doubled.
 */
static ngx_int_t
ngx_http_sluice_event_grow(ngx_http_sluice_event_body_t *body, size_t len,
    int last)
{
    size_t                    room, counted;
    ngx_uint_t                stored;
    ngx_http_sluice_event_t  *event, *grown;

    event = body->event;

    if (event != NULL && (event->stored || event->room >= len)) {
        return NGX_OK;
    }

    stored = (event == NULL && ngx_http_sluice_event_large(body, len));
    room = stored ? 0 : len;

    if (!stored && !last) {
        room = (event != NULL) ? event->room * 2
                               : NGX_HTTP_SLUICE_EVENT_FIRST;
        room = ngx_max(room, len);
        room = ngx_min(room, body->upload.slcf->max_event_size);
    }

    counted = sizeof(ngx_http_sluice_event_t) + body->key.len + room;

    grown = realloc(event, counted);
    if (grown == NULL) {
        ngx_log_error(NGX_LOG_EMERG, ngx_cycle->log, ngx_errno,
                      "sluice: realloc(%uz) failed", counted);
        return NGX_ERROR;
    }

    event = grown;

    if (body->event == NULL) {
        ngx_memzero(event, sizeof(ngx_http_sluice_event_t));
        event->body = body;
        event->smcf = body->upload.smcf;
        event->store.pool = &event->smcf->slabs;
        event->stored = stored;

        if (body->key.len > 0) {
            ngx_memcpy(event->bytes, body->key.data, body->key.len);
        }
    }

    counted += NGX_HTTP_SLUICE_EVENT_OVERHEAD;

    event->smcf->partial_used += counted - event->counted;
    ngx_http_sluice_budgets(event->smcf);
    event->counted = counted;
    event->room = room;
    body->event = event;

    return NGX_OK;
}


/* By its first bytes, and what the request says of the others. */
static ngx_uint_t
ngx_http_sluice_event_large(ngx_http_sluice_event_body_t *body, size_t len)
{
    if (len > NGX_HTTP_SLUICE_EVENT_SMALL) {
        return 1;
    }

    return body->upload.slcf->split == SLUICE_EVENT_SPLIT_WHOLE
           && body->upload.request->headers_in.content_length_n
              > NGX_HTTP_SLUICE_EVENT_SMALL;
}


static ngx_int_t
ngx_http_sluice_event_send(ngx_http_sluice_event_body_t *body)
{
    ngx_http_sluice_msg_t    *msg;
    ngx_http_sluice_event_t  *event;

    event = body->event;
    msg = &event->msg;

    msg->time_ms = ngx_http_sluice_now_ms();

    msg->headers = ngx_http_sluice_event_headers(body, msg->time_ms);
    if (msg->headers == NULL) {
        return NGX_ERROR;
    }

    msg->topic = body->upload.slcf->topic;
    msg->key = (body->key.len > 0) ? event->bytes : NULL;
    msg->key_len = body->key.len;
    msg->value = event->bytes + body->key.len;
    msg->len = event->len;

    if (event->stored) {
        ngx_http_sluice_store_close(&event->store);
        msg->value = event->store.data;
    }

    msg->done = ngx_http_sluice_event_done;

    event->smcf->partial_used -= event->counted;
    event->smcf->inflight_used += event->counted;
    ngx_http_sluice_budgets(event->smcf);
    event->sent = 1;

    ngx_queue_insert_tail(&body->upload.sent, &event->queue);

    body->event = NULL;
    body->number++;

    ngx_http_sluice_kafka_send(msg);

    return NGX_OK;
}


static ngx_http_sluice_headers_t *
ngx_http_sluice_event_headers(ngx_http_sluice_event_body_t *body, int64_t now)
{
    ngx_http_sluice_headers_t  *h;

    h = ngx_http_sluice_record_common(&body->upload, SLUICE_TYPE_EVENT,
                                      body->number + 1, now, 1);

    if (h != NULL
        && ngx_http_sluice_record_add(h, SLUICE_H_CONTENT_TYPE,
                                      body->type.data,
                                      body->type.data + body->type.len)
           != NGX_OK)
    {
        ngx_http_sluice_kafka_headers_free(h);
        return NULL;
    }

    return h;
}


/* The report, or that there will be none. */
static void
ngx_http_sluice_event_done(ngx_http_sluice_msg_t *msg,
    ngx_http_sluice_result_e result)
{
    ngx_http_sluice_event_t *event = (ngx_http_sluice_event_t *) msg;

    size_t                         len;
    ngx_http_sluice_event_body_t  *body;

    body = event->body;
    len = event->len;

    if (body != NULL) {
        ngx_queue_remove(&event->queue);
    }

    ngx_http_sluice_event_free(event);

    if (body == NULL) {
        return;
    }

    ngx_http_sluice_event_settle(body, len, result);

    body->upload.reported(&body->upload);
}


/* An event's fate: its report, or what is known when nobody waits for that. */
static void
ngx_http_sluice_event_settle(ngx_http_sluice_event_body_t *body, size_t len,
    ngx_http_sluice_result_e result)
{
    ngx_http_sluice_upload_t  *up;

    up = &body->upload;

    switch (result) {

    case NGX_HTTP_SLUICE_DELIVERED:
        up->accepted++;
        up->bytes += len;
        ngx_http_sluice_count(events_accepted, 1);
        break;

    case NGX_HTTP_SLUICE_TOO_LARGE:
        body->too_large = 1;
        up->rejected++;
        ngx_http_sluice_count(
                           events_rejected[NGX_HTTP_SLUICE_TOO_LARGE_FILE], 1);
        break;

    case NGX_HTTP_SLUICE_REFUSED:
        up->unavailable = 1;
        up->rejected++;
        ngx_http_sluice_count(events_rejected[NGX_HTTP_SLUICE_UNAVAILABLE], 1);
        break;

    case NGX_HTTP_SLUICE_UNKNOWN:
        body->unknown++;
        up->unavailable = 1;
        ngx_http_sluice_count(events_unknown, 1);
        break;
    }
}


void
ngx_http_sluice_event_drop(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_event_body_t *body = (ngx_http_sluice_event_body_t *) up;

    if (body->event != NULL) {
        ngx_http_sluice_event_free(body->event);
        body->event = NULL;
    }
}


void
ngx_http_sluice_event_detach(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_event_body_t *body = (ngx_http_sluice_event_body_t *) up;

    size_t                     len;
    ngx_queue_t               *q;
    ngx_http_sluice_event_t   *event;
    ngx_http_sluice_result_e   result;

    while (!ngx_queue_empty(&up->sent)) {

        q = ngx_queue_head(&up->sent);
        ngx_queue_remove(q);

        event = ngx_queue_data(q, ngx_http_sluice_event_t, queue);
        event->body = NULL;
        len = event->len;
        result = NGX_HTTP_SLUICE_UNKNOWN;

        if (ngx_http_sluice_kafka_cancel(&event->msg) == NGX_OK) {
            result = NGX_HTTP_SLUICE_REFUSED;
            ngx_http_sluice_event_free(event);
        }

        ngx_http_sluice_event_settle(body, len, result);
    }
}


static void
ngx_http_sluice_event_free(ngx_http_sluice_event_t *event)
{
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = event->smcf;

    if (event->stored) {
        ngx_http_sluice_store_free(&event->store);
    }

    if (event->sent) {
        smcf->inflight_used -= event->counted;

    } else {
        smcf->partial_used -= event->counted;
    }

    ngx_http_sluice_budgets(smcf);

    if (!ngx_queue_empty(&smcf->held)) {
        ngx_post_event(&smcf->resume, &ngx_posted_events);
    }

    ngx_free(event);
}
