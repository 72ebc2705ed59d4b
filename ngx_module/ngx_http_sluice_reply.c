/*
 * ngx_http_sluice_reply.c: the only place where a body of ours is written.
 *
 * Owns JSON and RFC 9457 problem+json out, and the redirect of a page's form.
 * Does not read bodies, does not judge and does not finalize: the caller
 * passes on what is returned.
 */

#include "ngx_http_sluice_monitor.h"

#define NGX_HTTP_SLUICE_RETRY_AFTER  5       /* seconds */


static ngx_uint_t ngx_http_sluice_reply_html(ngx_http_request_t *r);


ngx_int_t
ngx_http_sluice_problem(ngx_http_request_t *r, ngx_uint_t status,
    const char *slug, const char *title, ngx_str_t *detail,
    ngx_uint_t retry_after)
{
    return ngx_http_sluice_reply_problem(r, status, slug, title, detail,
                                         retry_after, NULL);
}


ngx_int_t
ngx_http_sluice_reply_problem(ngx_http_request_t *r, ngx_uint_t status,
    const char *slug, const char *title, ngx_str_t *detail,
    ngx_uint_t retry_after, ngx_str_t *members)
{
    size_t     len;
    u_char    *p, text[NGX_INT_T_LEN];
    ngx_str_t  body;

    ngx_http_sluice_variables_problem(r, slug);

    len = sizeof("{\"type\":\"urn:sluice:problem:\",\"title\":\"\","
                 "\"status\":,\"detail\":\"\",}") + NGX_INT_T_LEN
          + ngx_strlen(slug) + ngx_strlen(title);

    if (detail != NULL) {
        len += detail->len
               + ngx_escape_json(NULL, detail->data, detail->len);
    }

    if (members != NULL) {
        len += members->len;
    }

    body.data = ngx_pnalloc(r->pool, len);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_sprintf(body.data, "{\"type\":\"urn:sluice:problem:%s\","
                    "\"title\":\"%s\",\"status\":%ui", slug, title, status);

    if (detail != NULL && detail->len > 0) {
        p = ngx_cpymem(p, ",\"detail\":\"", sizeof(",\"detail\":\"") - 1);
        p = (u_char *) ngx_escape_json(p, detail->data, detail->len);
        *p++ = '"';
    }

    if (members != NULL) {
        *p++ = ',';
        p = ngx_cpymem(p, members->data, members->len);
    }

    *p++ = '}';
    body.len = p - body.data;

    if (retry_after > 0) {
        p = ngx_sprintf(text, "%ui", retry_after);

        if (ngx_http_sluice_reply_add(r, "Retry-After", (char *) text,
                                      p - text)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_http_sluice_reply_send(r, status, "application/problem+json",
                                      &body);
}


ngx_int_t
ngx_http_sluice_json(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *body)
{
    return ngx_http_sluice_reply_send(r, status, "application/json", body);
}


ngx_int_t
ngx_http_sluice_reply_send(ngx_http_request_t *r, ngx_uint_t status,
    const char *type, ngx_str_t *body)
{
    ngx_int_t    rc;
    ngx_buf_t   *b;
    ngx_chain_t  out;

    r->headers_out.status = status;
    r->headers_out.content_length_n = body->len;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (status == 422) {
        /* nginx has no words for this one */
        ngx_str_set(&r->headers_out.status_line, "422 Unprocessable Content");
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->memory = (body->len > 0);
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_http_sluice_reply_upload(ngx_http_sluice_upload_t *up,
    ngx_str_t *members)
{
    u_char     *p;
    ngx_str_t   body;

    if (up->status != NGX_HTTP_ACCEPTED) {
        return ngx_http_sluice_reply_problem(up->request, up->status,
                         up->slug, up->title, &up->detail,
                         (up->status == NGX_HTTP_SERVICE_UNAVAILABLE)
                         ? NGX_HTTP_SLUICE_RETRY_AFTER : 0, members);
    }

    body.len = members->len + 2;
    body.data = ngx_pnalloc(up->request->pool, body.len);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = body.data;
    *p++ = '{';
    p = ngx_cpymem(p, members->data, members->len);
    *p = '}';

    return ngx_http_sluice_json(up->request, NGX_HTTP_ACCEPTED, &body);
}


ngx_int_t
ngx_http_sluice_reply_redirect(ngx_http_sluice_upload_t *up)
{
    u_char              *p;
    ngx_str_t            value;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;

    r = up->request;

    if (up->slcf->redirect == NULL || !ngx_http_sluice_reply_html(r)) {
        return NGX_DECLINED;
    }

    if (ngx_http_complex_value(r, up->slcf->redirect, &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    for (p = value.data; p < value.data + value.len; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            return NGX_DECLINED;
        }
    }

    if (value.len == 0) {
        return NGX_DECLINED;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h->hash = 1;
    ngx_http_sluice_header_last(h);
    ngx_str_set(&h->key, "Location");
    h->value = value;

    r->headers_out.location = h;
    r->headers_out.status = NGX_HTTP_SEE_OTHER;
    r->headers_out.content_length_n = 0;
    r->header_only = 1;

    return ngx_http_send_header(r);
}


/* Whether this is a page's form: its browser asks for HTML by name. */
static ngx_uint_t
ngx_http_sluice_reply_html(ngx_http_request_t *r)
{
    ngx_str_t  *accept;

    accept = ngx_http_sluice_reply_get(r, "accept");

    if (accept == NULL) {
        return 0;
    }

    return ngx_http_sluice_reply_quality(accept, "text/html")
           > ngx_http_sluice_reply_quality(accept, "application/json");
}


ngx_uint_t
ngx_http_sluice_reply_quality(ngx_str_t *accept, const char *type)
{
    size_t       len;
    u_char      *p, *last, *end;
    ngx_int_t    q;

    len = ngx_strlen(type);
    p = accept->data;
    last = accept->data + accept->len;

    while (p < last) {

        while (p < last && (*p == ' ' || *p == '\t' || *p == ',')) {
            p++;
        }

        end = ngx_strlchr(p, last, ',');
        if (end == NULL) {
            end = last;
        }

        if ((size_t) (end - p) < len
            || ngx_strncasecmp(p, (u_char *) type, len) != 0)
        {
            p = end;
            continue;
        }

        p += len;

        if (p < end && *p != ';' && *p != ' ') {
            p = end;
            continue;
        }

        p = ngx_strlcasestrn(p, end, (u_char *) "q=", 2 - 1);
        if (p == NULL) {
            return 1000;
        }

        p += 2;
        q = ngx_atofp(p, end - p, 3);

        return (q == NGX_ERROR) ? 1000 : q;
    }

    return 0;
}


ngx_int_t
ngx_http_sluice_reply_add(ngx_http_request_t *r, const char *name,
    const char *value, size_t len)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_http_sluice_header_last(h);
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);

    h->value.len = len;
    h->value.data = ngx_pnalloc(r->pool, len);
    if (h->value.data == NULL) {
        h->hash = 0;
        return NGX_ERROR;
    }

    ngx_memcpy(h->value.data, value, len);

    return NGX_OK;
}


ngx_str_t *
ngx_http_sluice_reply_get(ngx_http_request_t *r, const char *lowcase)
{
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    len = ngx_strlen(lowcase);

    for (part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].hash != 0 && h[i].key.len == len
                && ngx_strncmp(h[i].lowcase_key, lowcase, len) == 0)
            {
                return &h[i].value;
            }
        }
    }

    return NULL;
}
