/*
 * ngx_http_sluice_metrics.h: what a worker counts.
 *
 * One block per worker, written by that worker alone, so plain additions do.
 * Counters only grow; gauges are what is so now, and are set to zero when a
 * worker begins.  Bytes and numbers are of files and events, not of HTTP.
 */

#ifndef NGX_HTTP_SLUICE_METRICS_H
#define NGX_HTTP_SLUICE_METRICS_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#pragma GCC visibility push(hidden)

/* Why a file was rejected; words and status are in ngx_http_sluice_reasons. */
typedef enum {
    NGX_HTTP_SLUICE_TOO_LARGE_FILE = 0,
    NGX_HTTP_SLUICE_TYPE_NOT_ALLOWED,
    NGX_HTTP_SLUICE_EMPTY,
    NGX_HTTP_SLUICE_INCOMPLETE,
    NGX_HTTP_SLUICE_UNAVAILABLE,
    NGX_HTTP_SLUICE_REASONS
} ngx_http_sluice_reason_e;

typedef struct {
    const char  *name;       /* as the reply and the metrics have it */
    ngx_uint_t   status;     /* of a reply in which all files have it */
} ngx_http_sluice_reason_t;

extern const ngx_http_sluice_reason_t
    ngx_http_sluice_reasons[NGX_HTTP_SLUICE_REASONS];

/* Upper bounds of the buckets, in ms; above the last is one more. */
#define NGX_HTTP_SLUICE_ACK_BUCKETS                                           \
    { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000 }
#define NGX_HTTP_SLUICE_ACK_NBUCKETS  14

typedef struct {
    /* counters */
    uint64_t  uploads;                    /* begun: read, or to be read */
    uint64_t  aborted;                    /* client gone before the answer */
    uint64_t  accepted;                   /* files */
    uint64_t  unknown;                    /* files */
    uint64_t  rejected[NGX_HTTP_SLUICE_REASONS];
    uint64_t  received_bytes;             /* of files, also of rejected */
    uint64_t  acks;                       /* messages delivered */
    uint64_t  ack_bytes;
    uint64_t  ack_ms;                     /* sum, from send() to the report */
    uint64_t  ack[NGX_HTTP_SLUICE_ACK_NBUCKETS + 1];
    uint64_t  failures;                   /* messages reported undelivered */
    uint64_t  errors;                     /* of the producers' clients */
    uint64_t  replaced;                   /* producers */
    uint64_t  resent;                     /* messages */
    uint64_t  timeouts;                   /* uploads answered by deadline */
    uint64_t  slow;                       /* uploads cut by sluice_min_rate */

    /* gauges */
    uint64_t  open;                       /* uploads without an answer */
    uint64_t  held;                       /* of these, held back */
} ngx_http_sluice_metrics_t;

/* This worker's block; never NULL. */
extern ngx_http_sluice_metrics_t  *ngx_http_sluice_metrics;

#define ngx_http_sluice_count(counter, n)                                     \
    ngx_http_sluice_metrics->counter += (n)

/* A message delivered, ms after it was sent. */
void ngx_http_sluice_metrics_ack(ngx_msec_t ms, size_t bytes);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_METRICS_H */
