/*
 * ngx_http_sluice_event.h: what the two files of events share.
 *
 * A body is the request's and dies with it.  Its events outlive it, as
 * librdkafka is lent their values until the report; only event->body leads
 * back, and the upload's end clears it.
 */

#ifndef NGX_HTTP_SLUICE_EVENT_H
#define NGX_HTTP_SLUICE_EVENT_H

#include "ngx_http_sluice.h"
#include "event_split.h"

#pragma GCC visibility push(hidden)

typedef struct ngx_http_sluice_event_s  ngx_http_sluice_event_t;


typedef struct {
    ngx_http_sluice_upload_t      upload;   /* first: it is cast back */
    sluice_event_split_t          split;
    ngx_http_sluice_event_t      *event;    /* arriving */
    ngx_str_t                     key;      /* of each; empty: none */
    ngx_str_t                     type;     /* content-type of each */

    ngx_uint_t                    number;   /* handed over */
    ngx_uint_t                    unknown;
    unsigned                      too_large:1;  /* one was, for the topic */
} ngx_http_sluice_event_body_t;


/*
 * ngx_http_sluice_event.c: 413.  detail may hold one %ui, the number of the
 * event that arrives.  NGX_DECLINED, or NGX_ERROR without memory.
 */
ngx_int_t ngx_http_sluice_event_limit(ngx_http_sluice_event_body_t *body,
    const char *slug, const char *title, const char *detail);

/*
 * ..._msg.c.  bytes() is the splitter's, data a body; not 0 stops it, with
 * the upload's status set, or zero when memory ran out.  drop() and detach()
 * are the format's.
 */
int ngx_http_sluice_event_bytes(void *data, const char *bytes, size_t len,
    int last);
void ngx_http_sluice_event_drop(ngx_http_sluice_upload_t *up);
void ngx_http_sluice_event_detach(ngx_http_sluice_upload_t *up);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_EVENT_H */
