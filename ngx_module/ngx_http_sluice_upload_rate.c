/*
 * ngx_http_sluice_upload_rate.c: clients that are too slow.
 *
 * Owns sluice_min_rate: one timer per worker looks at the uploads whose body
 * arrives, once a second, and cuts those that brought less in a period than
 * they had to.  What nginx's client_body_timeout can't see is a client that
 * sends a byte now and then.
 *
 * Only the client's own slowness counts: the time in which we hold it back
 * does not, nor that in which the worker itself stood still.
 */

#include "ngx_http_sluice.h"

#define NGX_HTTP_SLUICE_UPLOAD_SCAN  1000            /* ms */


static void ngx_http_sluice_upload_rate_scan(ngx_event_t *ev);
static ngx_uint_t ngx_http_sluice_upload_is_slow(
    ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_upload_cut(ngx_http_sluice_upload_t *up);


void
ngx_http_sluice_upload_rate_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle)
{
    smcf->rate.handler = ngx_http_sluice_upload_rate_scan;
    smcf->rate.data = smcf;
    smcf->rate.log = cycle->log;

    /* each upload has a deadline of its own that keeps a quitting worker */
    smcf->rate.cancelable = 1;
}


void
ngx_http_sluice_upload_rate_begin(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = up->smcf;
    up->rate_began = ngx_current_msec;

    if (up->slcf->min_rate > 0 && !smcf->rate.timer_set) {
        smcf->rate_last = ngx_current_msec;
        ngx_add_timer(&smcf->rate, NGX_HTTP_SLUICE_UPLOAD_SCAN);
    }
}


void
ngx_http_sluice_upload_rate_hold(ngx_http_sluice_upload_t *up)
{
    up->rate_held = ngx_current_msec;
}


void
ngx_http_sluice_upload_rate_resume(ngx_http_sluice_upload_t *up)
{
    up->rate_began += ngx_current_msec - up->rate_held;
}


static void
ngx_http_sluice_upload_rate_scan(ngx_event_t *ev)
{
    ngx_msec_t                    stood;
    ngx_queue_t                  *q;
    ngx_uint_t                    judged;
    ngx_http_sluice_upload_t     *up;
    ngx_http_sluice_main_conf_t  *smcf = ev->data;

    /* when we come late, what clients have sent waits in their sockets */
    stood = ngx_current_msec - smcf->rate_last - NGX_HTTP_SLUICE_UPLOAD_SCAN;
    smcf->rate_last = ngx_current_msec;

    if ((ngx_msec_int_t) stood < NGX_HTTP_SLUICE_UPLOAD_SCAN) {
        stood = 0;
    }

    judged = 0;

    /* a cut may take other uploads with it: rate_next is kept valid */
    for (q = ngx_queue_head(&smcf->reading);
         q != ngx_queue_sentinel(&smcf->reading);
         q = smcf->rate_next)
    {
        smcf->rate_next = ngx_queue_next(q);
        up = ngx_queue_data(q, ngx_http_sluice_upload_t, queue);

        if (up->slcf->min_rate == 0) {
            continue;
        }

        judged = 1;

        if (up->is_held) {
            continue;
        }

        up->rate_began += stood;

        if (ngx_http_sluice_upload_is_slow(up)) {
            ngx_http_sluice_upload_cut(up);
        }
    }

    smcf->rate_next = NULL;

    if (judged) {
        ngx_add_timer(ev, NGX_HTTP_SLUICE_UPLOAD_SCAN);
    }
}


static ngx_uint_t
ngx_http_sluice_upload_is_slow(ngx_http_sluice_upload_t *up)
{
    off_t           least;
    ngx_msec_int_t  passed;

    passed = (ngx_msec_int_t) (ngx_current_msec - up->rate_began);

    if (passed < (ngx_msec_int_t) up->slcf->min_rate_period) {
        return 0;
    }

    least = (off_t) up->slcf->min_rate * passed / 1000;

    if (up->rate_bytes < least) {
        return 1;
    }

    up->rate_began = ngx_current_msec;
    up->rate_bytes = 0;

    return 0;
}


/* As nginx does it for client_body_timeout: nobody reads an answer there. */
static void
ngx_http_sluice_upload_cut(ngx_http_sluice_upload_t *up)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = up->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "sluice: client too slow upload=%*s bytes=%O",
                  (size_t) NGX_HTTP_SLUICE_UUID_LEN, up->uuid,
                  up->rate_bytes);

    ngx_http_sluice_count(slow, 1);

    ngx_http_sluice_upload_detach(up);

    c->timedout = 1;
    ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);

    ngx_http_run_posted_requests(c);
}
