/*
 * ngx_http_sluice_metrics.h: what the workers count.
 *
 * One block per worker, written by that worker alone, so plain additions do.
 * Blocks lie in memory that all workers share, old ones and new ones, in
 * slots that core gives to live processes one each.  Counters only grow, also
 * under the next worker in the slot; gauges are what is so now, begin at zero
 * with each worker and end with it.  Bytes and numbers are of files and
 * events, not of HTTP.
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

/* Statuses with a counter of their own; all others share the last one. */
#define NGX_HTTP_SLUICE_STATUSES                                              \
    { 200, 202, 204, 303, 400, 401, 403, 405, 408, 413, 415, 422, 429, 499,   \
      500, 503 }
#define NGX_HTTP_SLUICE_NSTATUSES  16

typedef struct {
    /* counters */
    uint64_t  answers[NGX_HTTP_SLUICE_NSTATUSES + 1];
    uint64_t  uploads;                    /* begun: read, or to be read */
    uint64_t  aborted;                    /* client gone before the answer */
    uint64_t  accepted;                   /* files */
    uint64_t  unknown;                    /* files */
    uint64_t  rejected[NGX_HTTP_SLUICE_REASONS];
    uint64_t  events_accepted;
    uint64_t  events_unknown;
    uint64_t  events_rejected[NGX_HTTP_SLUICE_REASONS];
    uint64_t  received_bytes;             /* also of what was rejected */
    uint64_t  acks;                       /* messages delivered */
    uint64_t  ack_bytes;
    uint64_t  ack_ms;                     /* sum, from send() to the report */
    uint64_t  ack[NGX_HTTP_SLUICE_ACK_NBUCKETS + 1];
    uint64_t  failures;                   /* messages reported undelivered */
    uint64_t  errors;                     /* of the producers' clients */
    uint64_t  replaced;                   /* producers */
    uint64_t  resent;                     /* messages */
    uint64_t  late;                       /* messages nobody waited for */
    uint64_t  timeouts;                   /* uploads answered by deadline */
    uint64_t  slow;                       /* uploads cut by sluice_min_rate */
    uint64_t  stars;                      /* parts with a filename* */

    /* gauges */
    uint64_t  open;                       /* uploads without an answer */
    uint64_t  held;                       /* of these, held back */
    uint64_t  inflight;                   /* bytes, with Kafka */
    uint64_t  partial;                    /* bytes, arriving */
} ngx_http_sluice_metrics_t;

/*
 * This worker's block; never NULL.  budgets() tells the gauges after a change
 * of what is used of the two budgets.
 */
extern ngx_http_sluice_metrics_t  *ngx_http_sluice_metrics;

#define ngx_http_sluice_count(counter, n)                                     \
    ngx_http_sluice_metrics->counter += (n)

#define ngx_http_sluice_budgets(smcf)                                         \
    do {                                                                      \
        ngx_http_sluice_metrics->inflight = (smcf)->inflight_used;            \
        ngx_http_sluice_metrics->partial = (smcf)->partial_used;              \
    } while (0)

/* A message delivered, ms after it was sent. */
void ngx_http_sluice_metrics_ack(ngx_msec_t ms, size_t bytes);

/* A request answered with this status. */
void ngx_http_sluice_metrics_answer(ngx_uint_t status);

/*
 * Whether this worker's brokers of a sluice_kafka block are thought to be up.
 * index is the block's, as in sluice_main_conf_t; blocks from
 * NGX_HTTP_SLUICE_METRICS_KAFKAS on are not told of.  After a reload old
 * workers may know other blocks by the same index, so the name goes with it.
 */
#define NGX_HTTP_SLUICE_METRICS_KAFKAS  16

void ngx_http_sluice_metrics_kafka(ngx_uint_t index, ngx_str_t *name,
    ngx_uint_t up);

/*
 * The memory, when the configuration is read, and a worker's slot in it.
 * init() never fails: without memory a worker counts for itself.
 */
ngx_shm_zone_t *ngx_http_sluice_metrics_zone(ngx_conf_t *cf, void *tag);
void ngx_http_sluice_metrics_init(ngx_shm_zone_t *zone);
void ngx_http_sluice_metrics_exit(void);

/*
 * The sum over all slots; of the gauges over those of live workers, whose
 * number is returned.  up() is 1 when all live workers that know the block
 * think that its brokers are up, 0 when one doesn't, NGX_DECLINED when none
 * knows it.
 */
ngx_uint_t ngx_http_sluice_metrics_sum(ngx_http_sluice_metrics_t *sum);
ngx_int_t ngx_http_sluice_metrics_up(ngx_str_t *name);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_METRICS_H */
