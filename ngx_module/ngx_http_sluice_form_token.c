/*
 * ngx_http_sluice_form_token.c: a form that has to bring its upload token.
 *
 * Owns the finding of the token: in the Authorization header, or else as the
 * form's first field, which must be named "token".  Until it was verified no
 * other part begins.  What a token allows is ngx_http_sluice_token.c's.
 *
 * Never the query: addresses are logged, kept in histories and passed on.
 */

#include "ngx_http_sluice_auth.h"


static int ngx_http_sluice_form_token_begin(void *data,
    const sluice_multipart_part_t *head);
static int ngx_http_sluice_form_token_data(void *data, const char *bytes,
    size_t len);
static int ngx_http_sluice_form_token_end(void *data);


/* The form's own, behind a gate. */
static const sluice_multipart_events_t  ngx_http_sluice_form_token_events = {
    ngx_http_sluice_form_token_begin,
    ngx_http_sluice_form_token_data,
    ngx_http_sluice_form_token_end
};


ngx_int_t
ngx_http_sluice_form_token(ngx_http_sluice_form_t *form,
    const sluice_multipart_events_t **events)
{
    ngx_str_t            token;
    ngx_http_request_t  *r;

    if (form->upload.slcf->auth->token == NULL) {
        return NGX_OK;
    }

    r = form->upload.request;

    if (ngx_http_sluice_auth_bearer(r, &token) == NGX_OK) {
        return ngx_http_sluice_token_take(form, &token);
    }

    form->token.data = ngx_pnalloc(r->pool, SLUICE_JWS_MAX);
    if (form->token.data == NULL) {
        return NGX_ERROR;
    }

    form->token_due = 1;
    *events = &ngx_http_sluice_form_token_events;

    return NGX_OK;
}


ngx_int_t
ngx_http_sluice_form_token_missed(ngx_http_sluice_form_t *form)
{
    return ngx_http_sluice_token_refuse(form, "the form has no part", 0);
}


static int
ngx_http_sluice_form_token_begin(void *data,
    const sluice_multipart_part_t *head)
{
    ngx_http_sluice_form_t *form = data;

    if (!form->token_due) {
        return ngx_http_sluice_form_events.part_begin(data, head);
    }

    if (head->has_filename || head->has_filename_star
        || head->name.len != sizeof("token") - 1
        || ngx_memcmp(head->name.data, "token", sizeof("token") - 1) != 0)
    {
        (void) ngx_http_sluice_token_refuse(form, "the form's first part is "
                                            "no field named token", 0);
        return 1;
    }

    return 0;
}


static int
ngx_http_sluice_form_token_data(void *data, const char *bytes, size_t len)
{
    ngx_http_sluice_form_t *form = data;

    if (!form->token_due) {
        return ngx_http_sluice_form_events.part_data(data, bytes, len);
    }

    if (len > SLUICE_JWS_MAX - form->token.len) {
        (void) ngx_http_sluice_token_refuse(form, "the token is longer than "
                                            "8192 bytes", 1);
        return 1;
    }

    ngx_memcpy(form->token.data + form->token.len, bytes, len);
    form->token.len += len;

    return 0;
}


static int
ngx_http_sluice_form_token_end(void *data)
{
    ngx_http_sluice_form_t *form = data;

    if (!form->token_due) {
        return ngx_http_sluice_form_events.part_end(data);
    }

    if (ngx_http_sluice_token_take(form, &form->token) != NGX_OK) {
        return 1;
    }

    form->token_due = 0;

    return 0;
}
