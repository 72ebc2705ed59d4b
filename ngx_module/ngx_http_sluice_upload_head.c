/*
 * ngx_http_sluice_upload_head.c: what a request's header says of its records.
 *
 * Owns the reading of traceparent and Idempotency-Key, which go into every
 * record of the request.  Both come from strangers: what is not just as its
 * specification has it goes no further.
 */

#include "ngx_http_sluice.h"
#include "idempotency_key.h"


/* W3C Trace Context, version 00 to fe: passed on only as the page has it. */
void
ngx_http_sluice_upload_traceparent(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char      *p;
    ngx_str_t   *header;
    ngx_uint_t   i, digits, zeros;

    header = ngx_http_sluice_reply_get(r, "traceparent");

    if (header == NULL
        || header->len != sizeof("00-4bf92f3577b34da6a3ce929d0e0e4736-"
                                 "00f067aa0ba902b7-01") - 1)
    {
        return;
    }

    digits = 0;
    zeros = 0;

    for (p = header->data, i = 0; i < header->len; i++, p++) {

        if (i == 2 || i == 35 || i == 52) {

            /* an id of zeros, or version ff */
            if (*p != '-' || (i > 2 && zeros == digits)
                || (i == 2 && ngx_strncmp(header->data, "ff", 2) == 0))
            {
                return;
            }

            digits = 0;
            zeros = 0;
            continue;
        }

        if (!(*p >= '0' && *p <= '9') && !(*p >= 'a' && *p <= 'f')) {
            return;
        }

        digits++;
        zeros += (*p == '0');
    }

    *value = *header;
}


/* NGX_DECLINED: there is one, and it is unfit or there are two. */
ngx_int_t
ngx_http_sluice_upload_idempotency(ngx_http_request_t *r, ngx_str_t *key)
{
    ngx_str_t        *value;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    value = NULL;

    for (part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len != sizeof("idempotency-key") - 1
                || ngx_strncasecmp(h[i].key.data,
                                   (u_char *) "idempotency-key",
                                   sizeof("idempotency-key") - 1)
                   != 0)
            {
                continue;
            }

            if (value != NULL) {
                return NGX_DECLINED;
            }

            value = &h[i].value;
        }
    }

    if (value == NULL) {
        return NGX_OK;
    }

    key->data = ngx_pnalloc(r->pool, SLUICE_IDEMPOTENCY_KEY_MAX);
    if (key->data == NULL) {
        return NGX_ERROR;
    }

    key->len = sluice_idempotency_key((char *) key->data,
                                      (char *) value->data, value->len);

    return (key->len > 0) ? NGX_OK : NGX_DECLINED;
}
