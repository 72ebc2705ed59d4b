/*
 * ngx_http_sluice_store.c: the bytes of a message, from their arrival to the
 * report of the message.
 *
 * Owns the memory, and what it takes of the worker's two budgets: partial
 * while the bytes arrive, inflight from then on.  Does not know whose bytes
 * they are.
 */

#include "ngx_http_sluice.h"

#define NGX_HTTP_SLUICE_STORE_FIRST  4096


static void ngx_http_sluice_store_shrink(ngx_http_sluice_store_t *store);


/* Grows by doubling: growing by what is at hand would copy a large file as
 * often as pieces of it come. */
ngx_int_t
ngx_http_sluice_store_append(ngx_http_sluice_store_t *store,
    const u_char *bytes, size_t len, size_t max)
{
    size_t   size;
    u_char  *data;

    if (store->size - store->len < len) {

        size = store->size ? store->size * 2 : NGX_HTTP_SLUICE_STORE_FIRST;
        size = ngx_max(size, store->len + len);
        size = ngx_min(size, max);

        data = realloc(store->data, size);
        if (data == NULL) {
            ngx_log_error(NGX_LOG_EMERG, ngx_cycle->log, ngx_errno,
                          "sluice: realloc(%uz) failed", size);
            return NGX_ERROR;
        }

        store->smcf->partial_used += size - store->size;
        store->data = data;
        store->size = size;
    }

    ngx_memcpy(store->data + store->len, bytes, len);
    store->len += len;

    return NGX_OK;
}


void
ngx_http_sluice_store_close(ngx_http_sluice_store_t *store)
{
    ngx_http_sluice_store_shrink(store);

    store->smcf->partial_used -= store->size;
    store->smcf->inflight_used += store->size;
    store->closed = 1;
}


/* Small files come in great numbers, and a whole store counts. */
static void
ngx_http_sluice_store_shrink(ngx_http_sluice_store_t *store)
{
    u_char  *data;

    if (store->len == 0 || store->size / 2 < store->len) {
        return;
    }

    data = realloc(store->data, store->len);
    if (data == NULL) {
        return;
    }

    store->smcf->partial_used -= store->size - store->len;
    store->data = data;
    store->size = store->len;
}


void
ngx_http_sluice_store_free(ngx_http_sluice_store_t *store)
{
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = store->smcf;

    if (store->closed) {
        smcf->inflight_used -= store->size;

    } else {
        smcf->partial_used -= store->size;
    }

    if (!ngx_queue_empty(&smcf->held)) {
        ngx_post_event(&smcf->resume, &ngx_posted_events);
    }

    if (store->data != NULL) {
        ngx_free(store->data);
    }

    store->data = NULL;
    store->len = 0;
    store->size = 0;
    store->closed = 0;
}
