/*
 * ngx_http_sluice_metrics.c: what the workers count.
 *
 * Owns the shared memory, a worker's slot in it, and the sum over all slots.
 * Where something is counted, it is counted by whom it happens to.  What is
 * told of it, and how, is ngx_http_sluice_scrape.c's.
 *
 * A slot has one writer, the worker that core gave its number; it is never
 * locked, and a reader may see a histogram one observation ahead of its sum.
 * The memory survives a reload: the layout's number is in the zone's name, so
 * a module with another layout gets a new one, and nothing that old workers
 * may still write to is moved.
 */

#include "ngx_http_sluice_metrics.h"

#include <signal.h>

/* with another layout of what is shared: another number */
#define NGX_HTTP_SLUICE_METRICS_ZONE  "sluice_metrics_1"


typedef struct {
    uint32_t                         name;    /* its CRC-32 */
    uint32_t                         up;      /* 0: block not known */
} ngx_http_sluice_metrics_kafka_t;

enum {
    NGX_HTTP_SLUICE_METRICS_DOWN = 1,
    NGX_HTTP_SLUICE_METRICS_UP
};

/* Slots have cache lines of their own. */
typedef struct {
    uint64_t                         pid;     /* 0: nobody's */
    ngx_http_sluice_metrics_t        counts;
    ngx_http_sluice_metrics_kafka_t  kafka[NGX_HTTP_SLUICE_METRICS_KAFKAS];
} __attribute__((aligned(64))) ngx_http_sluice_metrics_slot_t;

/* Of slots that were never taken not even a page is touched. */
typedef struct {
    ngx_atomic_t                     used;    /* slots below were taken */
    ngx_http_sluice_metrics_slot_t   slots[NGX_MAX_PROCESSES];
} ngx_http_sluice_metrics_shared_t;


static ngx_int_t ngx_http_sluice_metrics_make(ngx_shm_zone_t *zone,
    void *data);
static ngx_uint_t ngx_http_sluice_metrics_alive(
    ngx_http_sluice_metrics_slot_t *slot);
static void ngx_http_sluice_metrics_add(ngx_http_sluice_metrics_t *sum,
    ngx_http_sluice_metrics_t *counts, ngx_uint_t alive);


static ngx_http_sluice_metrics_slot_t  ngx_http_sluice_metrics_local;

static ngx_http_sluice_metrics_slot_t  *ngx_http_sluice_metrics_slot =
    &ngx_http_sluice_metrics_local;

/* in a worker; NULL without shared memory */
static ngx_http_sluice_metrics_shared_t  *ngx_http_sluice_metrics_shared;

ngx_http_sluice_metrics_t  *ngx_http_sluice_metrics =
    &ngx_http_sluice_metrics_local.counts;


static const ngx_msec_t  ngx_http_sluice_metrics_bounds[] =
    NGX_HTTP_SLUICE_ACK_BUCKETS;

static const ngx_uint_t  ngx_http_sluice_metrics_statuses[] =
    NGX_HTTP_SLUICE_STATUSES;


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


void
ngx_http_sluice_metrics_answer(ngx_uint_t status)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_SLUICE_NSTATUSES; i++) {
        if (status == ngx_http_sluice_metrics_statuses[i]) {
            break;
        }
    }

    ngx_http_sluice_count(answers[i], 1);
}


void
ngx_http_sluice_metrics_kafka(ngx_uint_t index, ngx_str_t *name,
    ngx_uint_t up)
{
    ngx_http_sluice_metrics_kafka_t  *kafka;

    if (index >= NGX_HTTP_SLUICE_METRICS_KAFKAS) {
        return;
    }

    kafka = &ngx_http_sluice_metrics_slot->kafka[index];

    kafka->name = ngx_crc32_long(name->data, name->len);
    kafka->up = up ? NGX_HTTP_SLUICE_METRICS_UP : NGX_HTTP_SLUICE_METRICS_DOWN;
}


ngx_shm_zone_t *
ngx_http_sluice_metrics_zone(ngx_conf_t *cf, void *tag)
{
    size_t           size;
    ngx_str_t        name;
    ngx_shm_zone_t  *zone;

    ngx_str_set(&name, NGX_HTTP_SLUICE_METRICS_ZONE);

    /* and what core's allocator keeps of its own */
    size = sizeof(ngx_http_sluice_metrics_shared_t) + 16 * ngx_pagesize;

    zone = ngx_shared_memory_add(cf, &name, size, tag);

    if (zone != NULL) {
        zone->init = ngx_http_sluice_metrics_make;
    }

    return zone;
}


/* data: what the zone of the last configuration holds. */
static ngx_int_t
ngx_http_sluice_metrics_make(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t  *pool;

    if (data != NULL) {
        zone->data = data;
        return NGX_OK;
    }

    pool = (ngx_slab_pool_t *) zone->shm.addr;

    /* mapped a moment ago, so it is zero; writing zeros would make it real */
    zone->data = ngx_slab_alloc(pool,
                                sizeof(ngx_http_sluice_metrics_shared_t));

    return (zone->data == NULL) ? NGX_ERROR : NGX_OK;
}


void
ngx_http_sluice_metrics_init(ngx_shm_zone_t *zone)
{
    ngx_atomic_uint_t                  used, wanted;
    ngx_http_sluice_metrics_slot_t    *slot;
    ngx_http_sluice_metrics_shared_t  *shared;

    if (zone == NULL || ngx_process_slot < 0
        || ngx_process_slot >= NGX_MAX_PROCESSES)
    {
        return;
    }

    shared = zone->data;
    slot = &shared->slots[ngx_process_slot];
    wanted = (ngx_atomic_uint_t) ngx_process_slot + 1;

    slot->counts.open = 0;
    slot->counts.held = 0;
    slot->counts.inflight = 0;
    slot->counts.partial = 0;

    ngx_memzero(slot->kafka, sizeof(slot->kafka));

    slot->pid = ngx_pid;

    do {
        used = shared->used;
    } while (used < wanted
             && !ngx_atomic_cmp_set(&shared->used, used, wanted));

    ngx_http_sluice_metrics_shared = shared;
    ngx_http_sluice_metrics_slot = slot;
    ngx_http_sluice_metrics = &slot->counts;
}


void
ngx_http_sluice_metrics_exit(void)
{
    ngx_http_sluice_metrics_slot->pid = 0;
}


ngx_uint_t
ngx_http_sluice_metrics_sum(ngx_http_sluice_metrics_t *sum)
{
    ngx_uint_t                         i, n, alive, used;
    ngx_http_sluice_metrics_shared_t  *shared;

    ngx_memzero(sum, sizeof(ngx_http_sluice_metrics_t));

    shared = ngx_http_sluice_metrics_shared;

    if (shared == NULL) {
        *sum = *ngx_http_sluice_metrics;
        return 1;
    }

    n = 0;
    used = (ngx_uint_t) shared->used;

    for (i = 0; i < used; i++) {
        alive = ngx_http_sluice_metrics_alive(&shared->slots[i]);
        ngx_http_sluice_metrics_add(sum, &shared->slots[i].counts, alive);
        n += alive;
    }

    return n;
}


/* A worker that was killed has not taken itself off, and nobody may be
 * started in its place. */
static ngx_uint_t
ngx_http_sluice_metrics_alive(ngx_http_sluice_metrics_slot_t *slot)
{
    ngx_pid_t  pid;

    pid = (ngx_pid_t) slot->pid;

    return pid != 0 && (pid == ngx_pid || kill(pid, 0) == 0);
}


/* All fields are uint64_t: counters up to open, gauges from there. */
static void
ngx_http_sluice_metrics_add(ngx_http_sluice_metrics_t *sum,
    ngx_http_sluice_metrics_t *counts, ngx_uint_t alive)
{
    size_t     n;
    uint64_t  *to, *from, *last;

    n = alive ? sizeof(ngx_http_sluice_metrics_t)
              : offsetof(ngx_http_sluice_metrics_t, open);

    to = (uint64_t *) sum;
    from = (uint64_t *) counts;
    last = from + n / sizeof(uint64_t);

    while (from < last) {
        *to++ += *from++;
    }
}


ngx_int_t
ngx_http_sluice_metrics_up(ngx_str_t *name)
{
    uint32_t                           hash;
    ngx_int_t                          up;
    ngx_uint_t                         i, k, used;
    ngx_http_sluice_metrics_slot_t    *slot;
    ngx_http_sluice_metrics_shared_t  *shared;

    up = NGX_DECLINED;
    hash = ngx_crc32_long(name->data, name->len);

    shared = ngx_http_sluice_metrics_shared;
    used = (shared == NULL) ? 1 : (ngx_uint_t) shared->used;

    for (i = 0; i < used; i++) {

        slot = (shared == NULL) ? ngx_http_sluice_metrics_slot
                                : &shared->slots[i];

        if (shared != NULL && !ngx_http_sluice_metrics_alive(slot)) {
            continue;
        }

        for (k = 0; k < NGX_HTTP_SLUICE_METRICS_KAFKAS; k++) {

            if (slot->kafka[k].up == 0 || slot->kafka[k].name != hash) {
                continue;
            }

            if (slot->kafka[k].up == NGX_HTTP_SLUICE_METRICS_DOWN) {
                return 0;
            }

            up = 1;
        }
    }

    return up;
}
