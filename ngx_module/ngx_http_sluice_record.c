/*
 * ngx_http_sluice_record.c: the headers of the records that we send.
 *
 * Owns docs/design.md section 2 on this side: CloudEvents 1.0 in the Kafka
 * binding, binary mode, beside what the operator adds.  Does not touch
 * values.
 *
 * A client's words go through one function here, which makes them valid UTF-8
 * without control and bidirectional characters.
 */

#include "ngx_http_sluice.h"
#include "header_text.h"

#include <openssl/rand.h>

/* those of common(), but for sluice_header's */
#define NGX_HTTP_SLUICE_RECORD_HEADERS  8

/* bytes of a value that the operator's sluice_header may give */
#define NGX_HTTP_SLUICE_RECORD_VALUE  1024


static ngx_int_t ngx_http_sluice_record_string(
    ngx_http_sluice_headers_t *headers, const char *name, const char *value);
static ngx_int_t ngx_http_sluice_record_str(
    ngx_http_sluice_headers_t *headers, const char *name, ngx_str_t *value);
static ngx_int_t ngx_http_sluice_record_own(ngx_http_sluice_upload_t *up,
    ngx_http_sluice_headers_t *headers);


ngx_int_t
ngx_http_sluice_record_text(ngx_pool_t *pool, ngx_str_t *dst, size_t max,
    const char *src, size_t len)
{
    dst->len = 0;
    dst->data = NULL;

    if (len == 0) {
        return NGX_OK;
    }

    /* a bad byte may become three */
    max = ngx_min(max, len * 3);

    dst->data = ngx_pnalloc(pool, max);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    dst->len = sluice_header_text((char *) dst->data, max, src, len);

    return NGX_OK;
}


ngx_http_sluice_headers_t *
ngx_http_sluice_record_common(ngx_http_sluice_upload_t *up, const char *type,
    ngx_uint_t number, int64_t now, size_t n)
{
    u_char                      id[NGX_HTTP_SLUICE_UUID_LEN + 1
                                   + NGX_INT_T_LEN];
    u_char                      time[sizeof("2025-01-31T12:00:30.012Z")];
    ngx_tm_t                    tm;
    ngx_http_sluice_headers_t  *h;

    if (up->slcf->headers != NULL) {
        n += up->slcf->headers->nelts;
    }

    h = ngx_http_sluice_kafka_headers(NGX_HTTP_SLUICE_RECORD_HEADERS + n);
    if (h == NULL) {
        return NULL;
    }

    ngx_gmtime(now / 1000, &tm);

    if (ngx_http_sluice_record_string(h, SLUICE_H_SPECVERSION,
                                      SLUICE_SPECVERSION)
        || ngx_http_sluice_record_string(h, SLUICE_H_TYPE, type)
        || ngx_http_sluice_record_str(h, SLUICE_H_SOURCE, &up->slcf->source)
        || ngx_http_sluice_record_add(h, SLUICE_H_ID, id,
               ngx_sprintf(id, "%*s/%ui", (size_t) NGX_HTTP_SLUICE_UUID_LEN,
                           up->uuid, number))
        || ngx_http_sluice_record_add(h, SLUICE_H_TIME, time,
               ngx_sprintf(time, "%4d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                           tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                           tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec,
                           (int) (now % 1000)))
        || ngx_http_sluice_record_str(h, SLUICE_H_CUSTOMER, &up->customer)
        || ngx_http_sluice_record_str(h, SLUICE_H_TRACEPARENT,
                                      &up->traceparent)
        || ngx_http_sluice_record_str(h, SLUICE_H_IDEMPOTENCYKEY,
                                      &up->idempotency)
        || ngx_http_sluice_record_own(up, h))
    {
        ngx_http_sluice_kafka_headers_free(h);
        return NULL;
    }

    return h;
}


/* CloudEvents has no empty attributes: what is empty is left out. */
ngx_int_t
ngx_http_sluice_record_add(ngx_http_sluice_headers_t *headers,
    const char *name, const u_char *value, const u_char *end)
{
    if (value == end) {
        return NGX_OK;
    }

    return ngx_http_sluice_kafka_header(headers, name, value, end - value);
}


static ngx_int_t
ngx_http_sluice_record_string(ngx_http_sluice_headers_t *headers,
    const char *name, const char *value)
{
    return ngx_http_sluice_kafka_header(headers, name, (u_char *) value,
                                        ngx_strlen(value));
}


static ngx_int_t
ngx_http_sluice_record_str(ngx_http_sluice_headers_t *headers,
    const char *name, ngx_str_t *value)
{
    return ngx_http_sluice_record_add(headers, name, value->data,
                                      value->data + value->len);
}


/* What the operator adds by sluice_header. */
static ngx_int_t
ngx_http_sluice_record_own(ngx_http_sluice_upload_t *up,
    ngx_http_sluice_headers_t *headers)
{
    ngx_str_t                  value, text;
    ngx_uint_t                 i;
    ngx_http_sluice_header_t  *own;

    if (up->slcf->headers == NULL) {
        return NGX_OK;
    }

    own = up->slcf->headers->elts;

    for (i = 0; i < up->slcf->headers->nelts; i++) {

        if (ngx_http_complex_value(up->request, &own[i].value, &value)
            != NGX_OK
            || ngx_http_sluice_record_text(up->request->pool, &text,
                                         NGX_HTTP_SLUICE_RECORD_VALUE,
                                         (char *) value.data, value.len)
               != NGX_OK
            || ngx_http_sluice_record_add(headers, (char *) own[i].key.data,
                                           text.data, text.data + text.len)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* RFC 9562 5.7: ms since the epoch, then 74 random bits. */
void
ngx_http_sluice_record_uuid(u_char *text, int64_t now)
{
    u_char      b[16], *p;
    ngx_uint_t  i;

    for (i = 0; i < 6; i++) {
        b[i] = (u_char) (now >> (40 - 8 * i));
    }

    if (RAND_bytes(&b[6], 10) != 1) {
        /* an id is no secret, it only has to be another one each time */
        for (i = 6; i < 16; i++) {
            b[i] = (u_char) ngx_random();
        }
    }

    b[6] = (b[6] & 0x0f) | 0x70;
    b[8] = (b[8] & 0x3f) | 0x80;

    p = text;

    for (i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }

        p = ngx_hex_dump(p, &b[i], 1);
    }
}


int64_t
ngx_http_sluice_record_now(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (int64_t) tp->sec * 1000 + tp->msec;
}
