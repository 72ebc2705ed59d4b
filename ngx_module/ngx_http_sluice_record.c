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


static ngx_int_t ngx_http_sluice_record_string(
    ngx_http_sluice_headers_t *headers, const char *name, const char *value);
static ngx_int_t ngx_http_sluice_record_str(
    ngx_http_sluice_headers_t *headers, const char *name, ngx_str_t *value);
static ngx_int_t ngx_http_sluice_record_own(ngx_http_sluice_upload_t *up);
static ngx_int_t ngx_http_sluice_record_add_own(ngx_http_sluice_upload_t *up,
    ngx_http_sluice_headers_t *headers);
static u_char *ngx_http_sluice_record_time(ngx_http_sluice_main_conf_t *smcf,
    int64_t now);
static u_char *ngx_http_sluice_record_number(u_char *p, ngx_uint_t number);
static void ngx_http_sluice_record_random(ngx_http_sluice_main_conf_t *smcf,
    u_char *p, size_t n);


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
                                   + NGX_INT_T_LEN], *p;
    ngx_http_sluice_headers_t  *h;

    if (up->slcf->headers != NULL) {

        if (up->own == NULL && ngx_http_sluice_record_own(up) != NGX_OK) {
            return NULL;
        }

        n += up->slcf->headers->nelts;
    }

    h = ngx_http_sluice_kafka_headers(NGX_HTTP_SLUICE_RECORD_HEADERS + n);
    if (h == NULL) {
        return NULL;
    }

    p = ngx_cpymem(id, up->uuid, NGX_HTTP_SLUICE_UUID_LEN);
    *p++ = '/';
    p = ngx_http_sluice_record_number(p, number);

    if (ngx_http_sluice_record_string(h, SLUICE_H_SPECVERSION,
                                      SLUICE_SPECVERSION)
        || ngx_http_sluice_record_string(h, SLUICE_H_TYPE, type)
        || ngx_http_sluice_record_str(h, SLUICE_H_SOURCE, &up->slcf->source)
        || ngx_http_sluice_record_add(h, SLUICE_H_ID, id, p)
        || ngx_http_sluice_kafka_header(h, SLUICE_H_TIME,
                                        ngx_http_sluice_record_time(up->smcf,
                                                                    now),
                                        SLUICE_RFC3339_LEN)
        || ngx_http_sluice_record_str(h, SLUICE_H_CUSTOMER, &up->customer)
        || ngx_http_sluice_record_str(h, SLUICE_H_TRACEPARENT,
                                      &up->traceparent)
        || ngx_http_sluice_record_str(h, SLUICE_H_IDEMPOTENCYKEY,
                                      &up->idempotency)
        || ngx_http_sluice_record_add_own(up, h))
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


/*
 * What the operator adds by sluice_header.  Its variables are the request's:
 * they are evaluated once for all records of it.
 */
static ngx_int_t
ngx_http_sluice_record_own(ngx_http_sluice_upload_t *up)
{
    ngx_str_t                 value, *own;
    ngx_uint_t                i, n;
    ngx_pool_t               *pool;
    ngx_http_sluice_header_t *header;

    pool = up->request->pool;
    header = up->slcf->headers->elts;
    n = up->slcf->headers->nelts;

    own = ngx_palloc(pool, n * sizeof(ngx_str_t));
    if (own == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {

        if (ngx_http_complex_value(up->request, &header[i].value, &value)
            != NGX_OK
            || ngx_http_sluice_record_text(pool, &own[i],
                                           SLUICE_HEADER_MAX,
                                           (char *) value.data, value.len)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    up->own = own;

    return NGX_OK;
}


static ngx_int_t
ngx_http_sluice_record_add_own(ngx_http_sluice_upload_t *up,
    ngx_http_sluice_headers_t *headers)
{
    ngx_uint_t                i;
    ngx_http_sluice_header_t *header;

    if (up->slcf->headers == NULL) {
        return NGX_OK;
    }

    header = up->slcf->headers->elts;

    for (i = 0; i < up->slcf->headers->nelts; i++) {

        if (ngx_http_sluice_record_str(headers, (char *) header[i].key.data,
                                       &up->own[i])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* Of a turn of the event loop all records have the same time. */
static u_char *
ngx_http_sluice_record_time(ngx_http_sluice_main_conf_t *smcf, int64_t now)
{
    if (smcf->time_ms != now) {
        sluice_rfc3339_format((char *) smcf->time_text, now);
        smcf->time_ms = now;
    }

    return smcf->time_text;
}


static u_char *
ngx_http_sluice_record_number(u_char *p, ngx_uint_t number)
{
    u_char      digits[NGX_INT_T_LEN];
    ngx_uint_t  n;

    n = NGX_INT_T_LEN;

    do {
        digits[--n] = (u_char) ('0' + number % 10);
        number /= 10;
    } while (number > 0);

    return ngx_cpymem(p, &digits[n], NGX_INT_T_LEN - n);
}


/* What the form's text fields have said, by what sluice_field names. */
ngx_int_t
ngx_http_sluice_record_fields(ngx_http_sluice_headers_t *headers,
    ngx_array_t *fields, ngx_str_t *values)
{
    ngx_uint_t                i;
    ngx_http_sluice_field_t  *field;

    if (values == NULL) {
        return NGX_OK;
    }

    field = fields->elts;

    for (i = 0; i < fields->nelts; i++) {

        if (ngx_http_sluice_record_str(headers, (char *) field[i].header.data,
                                       &values[i])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* RFC 9562 5.7: ms since the epoch, then 74 random bits. */
void
ngx_http_sluice_record_uuid(ngx_http_sluice_main_conf_t *smcf, u_char *text,
    int64_t now)
{
    u_char      b[16], *p;
    ngx_uint_t  i;

    static const u_char  hex[] = "0123456789abcdef";

    for (i = 0; i < 6; i++) {
        b[i] = (u_char) (now >> (40 - 8 * i));
    }

    ngx_http_sluice_record_random(smcf, &b[6], 10);

    b[6] = (b[6] & 0x0f) | 0x70;
    b[8] = (b[8] & 0x3f) | 0x80;

    p = text;

    for (i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }

        *p++ = hex[b[i] >> 4];
        *p++ = hex[b[i] & 0x0f];
    }
}


/*
 * From a block of the worker's own: a call of OpenSSL costs 7,000 instructions
 * whatever it asks for, which is a third of what an event takes.
 */
static void
ngx_http_sluice_record_random(ngx_http_sluice_main_conf_t *smcf, u_char *p,
    size_t n)
{
    size_t  i;

    if (smcf->random_left < n) {

        if (RAND_bytes(smcf->random, NGX_HTTP_SLUICE_RANDOM) != 1) {
            /* an id is no secret, it only has to be another one each time */
            for (i = 0; i < NGX_HTTP_SLUICE_RANDOM; i++) {
                smcf->random[i] = (u_char) ngx_random();
            }
        }

        smcf->random_left = NGX_HTTP_SLUICE_RANDOM;
    }

    smcf->random_left -= n;
    ngx_memcpy(p, smcf->random + smcf->random_left, n);
}
