/*
 * ngx_http_sluice_store.c: the bytes of a message, from their arrival to the
 * report of the message.
 *
 * Owns the worker's slabs: how large they are, what they take of the two
 * budgets, and when unused ones go back to the system.  Where a message's
 * bytes lie in them is slab.c's.  Does not know whose bytes they are.
 */

#include "ngx_http_sluice.h"

/* After how long without use a slab is given back. */
#define NGX_HTTP_SLUICE_STORE_TRIM   1000            /* ms */

/* A slab's share of a budget is not below this. */
#define NGX_HTTP_SLUICE_STORE_SHARE  65536


static ngx_int_t ngx_http_sluice_store_failed(void);
static void ngx_http_sluice_store_freed(ngx_http_sluice_main_conf_t *smcf);
static void ngx_http_sluice_store_trim(ngx_event_t *ev);


void
ngx_http_sluice_store_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle)
{
    /* reports come in bursts, and as much is received again */
    sluice_slab_pool_init(&smcf->slabs, (size_t) smcf->inflight / 2,
                          &smcf->partial_used, &smcf->inflight_used);

    smcf->slabs.data = smcf;

    smcf->trim.handler = ngx_http_sluice_store_trim;
    smcf->trim.data = smcf;
    smcf->trim.log = cycle->log;
    smcf->trim.cancelable = 1;
}


void
ngx_http_sluice_store_exit(ngx_http_sluice_main_conf_t *smcf)
{
    if (smcf->trim.timer_set) {
        ngx_del_timer(&smcf->trim);
    }

    sluice_slab_pool_close(&smcf->slabs);
}


ngx_int_t
ngx_http_sluice_store_room(ngx_http_sluice_upload_t *up, size_t waiting,
    off_t rest)
{
    size_t                        share;
    sluice_slab_hint_t            hint;
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = up->smcf;

    /* many uploads at once have small slabs, so that none has to wait because
     * the others' are large and empty */
    share = (size_t) smcf->partial / 2 / (smcf->slabs.readers + 1);
    share = ngx_min(share, (size_t) smcf->inflight / 8);
    share = ngx_max(share, NGX_HTTP_SLUICE_STORE_SHARE);

    hint.max = ngx_min(share, SLUICE_SLAB_LARGEST);
    hint.store = (size_t) ngx_min(up->slcf->max_file_size,
                                  (off_t) up->slcf->chunk_size);
    hint.waiting = waiting;
    hint.rest = (rest < 0) ? SLUICE_SLAB_UNKNOWN : (size_t) rest;

    if (sluice_slab_room(&up->reader, &hint) != 0) {
        return ngx_http_sluice_store_failed();
    }

    ngx_http_sluice_budgets(smcf);

    return NGX_OK;
}


ngx_int_t
ngx_http_sluice_store_feed(ngx_http_sluice_upload_t *up, u_char *bytes,
    size_t len)
{
    ngx_int_t  rc;

    sluice_slab_feed(&up->reader, bytes);

    up->smcf->reader = &up->reader;

    rc = up->format->feed(up, bytes, len);

    up->smcf->reader = NULL;

    return rc;
}


void
ngx_http_sluice_store_rest(ngx_http_sluice_upload_t *up)
{
    sluice_slab_rest(&up->reader);

    ngx_http_sluice_store_freed(up->smcf);
}


void
ngx_http_sluice_store_leave(ngx_http_sluice_upload_t *up)
{
    sluice_slab_leave(&up->reader);

    ngx_http_sluice_store_freed(up->smcf);
}


ngx_int_t
ngx_http_sluice_store_append(ngx_http_sluice_store_t *store,
    const u_char *bytes, size_t len)
{
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = store->pool->data;

    if (sluice_slab_append(smcf->reader, store, bytes, len) != 0) {
        return ngx_http_sluice_store_failed();
    }

    return NGX_OK;
}


void
ngx_http_sluice_store_close(ngx_http_sluice_store_t *store)
{
    ngx_http_sluice_main_conf_t  *smcf;

    sluice_slab_close(store);

    smcf = store->pool->data;
    ngx_http_sluice_budgets(smcf);
}


void
ngx_http_sluice_store_free(ngx_http_sluice_store_t *store)
{
    sluice_slab_free(store);

    ngx_http_sluice_store_freed(store->pool->data);
}


static ngx_int_t
ngx_http_sluice_store_failed(void)
{
    ngx_log_error(NGX_LOG_EMERG, ngx_cycle->log, ngx_errno,
                  "sluice: no memory for a slab");

    return NGX_ERROR;
}


/* Perhaps a budget has room again, or a slab lies unused. */
static void
ngx_http_sluice_store_freed(ngx_http_sluice_main_conf_t *smcf)
{
    ngx_http_sluice_budgets(smcf);

    if (!ngx_queue_empty(&smcf->held)) {
        ngx_post_event(&smcf->resume, &ngx_posted_events);
    }

    if (smcf->slabs.kept > 0 && !smcf->trim.timer_set && !ngx_exiting) {
        ngx_add_timer(&smcf->trim, NGX_HTTP_SLUICE_STORE_TRIM);
    }
}


static void
ngx_http_sluice_store_trim(ngx_event_t *ev)
{
    ngx_http_sluice_main_conf_t  *smcf = ev->data;

    if (sluice_slab_pool_trim(&smcf->slabs) > 0 && !ngx_exiting) {
        ngx_add_timer(ev, NGX_HTTP_SLUICE_STORE_TRIM);
    }
}
