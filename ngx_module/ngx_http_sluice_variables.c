/*
 * ngx_http_sluice_variables.c: what is known of an upload when it is over.
 *
 * Owns the variables for access_log, and the count of answers by status.
 * Both look at the end of a request, when an error_page may have taken it
 * elsewhere and our context is gone: so a note hangs from the request's pool
 * and is found there by the address of its cleanup, which does nothing.
 */

#include "ngx_http_sluice_monitor.h"


typedef struct {
    ngx_http_sluice_upload_t   *upload;     /* NULL: refused before */
    const char                 *slug;       /* of a problem; NULL: none */
} ngx_http_sluice_note_t;

typedef enum {
    NGX_HTTP_SLUICE_VARIABLE_FILES = 0,
    NGX_HTTP_SLUICE_VARIABLE_REJECTED,
    NGX_HTTP_SLUICE_VARIABLE_BYTES,
    NGX_HTTP_SLUICE_VARIABLE_ACK_TIME,
    NGX_HTTP_SLUICE_VARIABLE_HELD_TIME
} ngx_http_sluice_variable_e;


static ngx_int_t ngx_http_sluice_variables_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_sluice_variables_reason(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_sluice_variables_number(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_http_sluice_note_t *ngx_http_sluice_variables_find(
    ngx_http_request_t *r);
static ngx_http_sluice_note_t *ngx_http_sluice_variables_make(
    ngx_http_request_t *r);
static void ngx_http_sluice_variables_cleanup(void *data);
static ngx_int_t ngx_http_sluice_variables_log(ngx_http_request_t *r);


ngx_http_variable_t  ngx_http_sluice_variables_vars[] = {

    { ngx_string("sluice_upload_id"), NULL,
      ngx_http_sluice_variables_id, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("sluice_reason"), NULL,
      ngx_http_sluice_variables_reason, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("sluice_files"), NULL,
      ngx_http_sluice_variables_number, NGX_HTTP_SLUICE_VARIABLE_FILES,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("sluice_rejected"), NULL,
      ngx_http_sluice_variables_number, NGX_HTTP_SLUICE_VARIABLE_REJECTED,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("sluice_bytes"), NULL,
      ngx_http_sluice_variables_number, NGX_HTTP_SLUICE_VARIABLE_BYTES,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("sluice_ack_time"), NULL,
      ngx_http_sluice_variables_number, NGX_HTTP_SLUICE_VARIABLE_ACK_TIME,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("sluice_held_time"), NULL,
      ngx_http_sluice_variables_number, NGX_HTTP_SLUICE_VARIABLE_HELD_TIME,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_sluice_variables_count(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_sluice_variables_log;

    return NGX_OK;
}


ngx_int_t
ngx_http_sluice_variables_upload(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_note_t  *note;

    note = ngx_http_sluice_variables_make(up->request);
    if (note == NULL) {
        return NGX_ERROR;
    }

    note->upload = up;

    return NGX_OK;
}


void
ngx_http_sluice_variables_problem(ngx_http_request_t *r, const char *slug)
{
    ngx_http_sluice_note_t  *note;

    note = ngx_http_sluice_variables_make(r);

    if (note != NULL) {
        note->slug = slug;
    }
}


static ngx_http_sluice_note_t *
ngx_http_sluice_variables_find(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = r->pool->cleanup; cln != NULL; cln = cln->next) {
        if (cln->handler == ngx_http_sluice_variables_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


static ngx_http_sluice_note_t *
ngx_http_sluice_variables_make(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_sluice_note_t  *note;

    note = ngx_http_sluice_variables_find(r);
    if (note != NULL) {
        return note;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_sluice_note_t));
    if (cln == NULL) {
        return NULL;
    }

    ngx_memzero(cln->data, sizeof(ngx_http_sluice_note_t));
    cln->handler = ngx_http_sluice_variables_cleanup;

    return cln->data;
}


static void
ngx_http_sluice_variables_cleanup(void *data)
{
    /* only its address is of use */
}


static ngx_int_t
ngx_http_sluice_variables_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_sluice_note_t  *note;

    note = ngx_http_sluice_variables_find(r);

    if (note == NULL || note->upload == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = note->upload->uuid;
    v->len = NGX_HTTP_SLUICE_UUID_LEN;

    return NGX_OK;
}


static ngx_int_t
ngx_http_sluice_variables_reason(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_sluice_note_t  *note;

    note = ngx_http_sluice_variables_find(r);

    if (note == NULL || note->slug == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = (u_char *) note->slug;
    v->len = ngx_strlen(note->slug);

    return NGX_OK;
}


static ngx_int_t
ngx_http_sluice_variables_number(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                    *p;
    ngx_msec_t                 ms;
    ngx_http_sluice_note_t    *note;
    ngx_http_sluice_upload_t  *up;

    note = ngx_http_sluice_variables_find(r);
    up = (note != NULL) ? note->upload : NULL;

    if (up == NULL
        || (data == NGX_HTTP_SLUICE_VARIABLE_ACK_TIME && !up->answered))
    {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_OFF_T_LEN + sizeof(".000") - 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = p;

    switch (data) {

    case NGX_HTTP_SLUICE_VARIABLE_FILES:
        p = ngx_sprintf(p, "%ui", up->accepted);
        break;

    case NGX_HTTP_SLUICE_VARIABLE_REJECTED:
        p = ngx_sprintf(p, "%ui", up->rejected);
        break;

    case NGX_HTTP_SLUICE_VARIABLE_BYTES:
        p = ngx_sprintf(p, "%O", up->bytes);
        break;

    default:
        ms = (data == NGX_HTTP_SLUICE_VARIABLE_ACK_TIME) ? up->ack_ms
                                                         : up->held_ms;
        p = ngx_sprintf(p, "%M.%03M", ms / 1000, ms % 1000);
    }

    v->len = p - v->data;

    return NGX_OK;
}


/* Every request of this nginx comes by here. */
static ngx_int_t
ngx_http_sluice_variables_log(ngx_http_request_t *r)
{
    ngx_http_sluice_note_t      *note;
    ngx_http_sluice_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);

    if (slcf->topic == NULL && !slcf->off) {

        note = ngx_http_sluice_variables_find(r);

        if (note == NULL || note->upload == NULL) {
            return NGX_OK;
        }
    }

    ngx_http_sluice_metrics_answer(r->err_status ? r->err_status
                                                 : r->headers_out.status);
    return NGX_OK;
}
