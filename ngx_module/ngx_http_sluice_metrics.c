/*
 * ngx_http_sluice_metrics.c: what a worker counts.
 *
 * Owns the worker's block of counters.  Where something is counted, it is
 * counted by whom it happens to, see ngx_http_sluice_metrics.h.
 */

#include "ngx_http_sluice_metrics.h"


static ngx_http_sluice_metrics_t  ngx_http_sluice_metrics_local;

ngx_http_sluice_metrics_t  *ngx_http_sluice_metrics =
    &ngx_http_sluice_metrics_local;


static const ngx_msec_t  ngx_http_sluice_metrics_bounds[] =
    NGX_HTTP_SLUICE_ACK_BUCKETS;


void
ngx_http_sluice_metrics_ack(ngx_msec_t ms, size_t bytes)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_SLUICE_ACK_NBUCKETS; i++) {
        if (ms <= ngx_http_sluice_metrics_bounds[i]) {
            break;
        }
    }

    ngx_http_sluice_count(ack[i], 1);
    ngx_http_sluice_count(ack_ms, ms);
    ngx_http_sluice_count(ack_bytes, bytes);
    ngx_http_sluice_count(acks, 1);
}
