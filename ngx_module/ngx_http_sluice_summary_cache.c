/*
 * ngx_http_sluice_summary_cache.c: a worker's last answers.
 *
 * Owns what was answered, by key.  Does not know requests, nor when an answer
 * is too old.  Two uses: many viewers of one page cost one query, and what was
 * read last can be shown while PostgreSQL is away.  The key holds the tenant,
 * so no answer can reach another.
 */

#include "ngx_http_sluice_summary.h"

#include <ngx_md5.h>


#define NGX_HTTP_SLUICE_SUMMARIES     64
#define NGX_HTTP_SLUICE_SUMMARY_KEEP  (256 * 1024)    /* bytes of an answer */


struct ngx_http_sluice_summaries_s {
    ngx_queue_t  entries;
    ngx_uint_t   n;
};


static void ngx_http_sluice_summary_free(ngx_http_sluice_summary_t *summary);
static void ngx_http_sluice_summaries_free(void *data);


/* Made by the first request: the master and other processes need none. */
ngx_http_sluice_summaries_t *
ngx_http_sluice_summaries(ngx_http_sluice_main_conf_t *smcf)
{
    ngx_pool_cleanup_t           *cln;
    ngx_http_sluice_summaries_t  *summaries;

    if (smcf->summaries != NULL) {
        return smcf->summaries;
    }

    cln = ngx_pool_cleanup_add(ngx_cycle->pool,
                               sizeof(ngx_http_sluice_summaries_t));
    if (cln == NULL) {
        return NULL;
    }

    summaries = cln->data;
    ngx_queue_init(&summaries->entries);
    summaries->n = 0;

    cln->handler = ngx_http_sluice_summaries_free;
    smcf->summaries = summaries;

    return summaries;
}


static void
ngx_http_sluice_summaries_free(void *data)
{
    ngx_http_sluice_summaries_t  *summaries = data;

    ngx_queue_t                *q;
    ngx_http_sluice_summary_t  *summary;

    while (!ngx_queue_empty(&summaries->entries)) {
        q = ngx_queue_head(&summaries->entries);
        summary = ngx_queue_data(q, ngx_http_sluice_summary_t, queue);
        ngx_http_sluice_summary_free(summary);
    }
}


ngx_http_sluice_summary_t *
ngx_http_sluice_summary_get(ngx_http_sluice_summaries_t *summaries,
    ngx_str_t *key)
{
    uint32_t                    hash;
    ngx_queue_t                *q;
    ngx_http_sluice_summary_t  *summary;

    hash = ngx_crc32_short(key->data, key->len);

    for (q = ngx_queue_head(&summaries->entries);
         q != ngx_queue_sentinel(&summaries->entries);
         q = ngx_queue_next(q))
    {
        summary = ngx_queue_data(q, ngx_http_sluice_summary_t, queue);

        if (summary->hash == hash && summary->key.len == key->len
            && ngx_memcmp(summary->key.data, key->data, key->len) == 0)
        {
            ngx_queue_remove(q);
            ngx_queue_insert_head(&summaries->entries, q);

            return summary;
        }
    }

    summary = ngx_calloc(sizeof(ngx_http_sluice_summary_t) + key->len,
                         ngx_cycle->log);
    if (summary == NULL) {
        return NULL;
    }

    summary->summaries = summaries;
    summary->hash = hash;
    summary->key.len = key->len;
    summary->key.data = (u_char *) (summary + 1);
    ngx_memcpy(summary->key.data, key->data, key->len);

    ngx_queue_init(&summary->waiters);
    ngx_queue_insert_head(&summaries->entries, &summary->queue);
    summaries->n++;

    return summary;
}


static void
ngx_http_sluice_summary_free(ngx_http_sluice_summary_t *summary)
{
    if (summary->answer != NULL) {
        ngx_http_sluice_answer_release(summary->answer);
    }

    ngx_queue_remove(&summary->queue);
    summary->summaries->n--;

    ngx_free(summary);
}


ngx_http_sluice_answer_t *
ngx_http_sluice_summary_put(ngx_http_sluice_summary_t *summary,
    ngx_str_t *body)
{
    u_char                    *p, digest[16];
    size_t                     etag_len;
    ngx_md5_t                  md5;
    ngx_http_sluice_answer_t  *answer;

    etag_len = sizeof("\"\"") - 1 + 2 * sizeof(digest);

    answer = ngx_alloc(sizeof(ngx_http_sluice_answer_t) + etag_len
                       + body->len, ngx_cycle->log);
    if (answer == NULL) {
        return NULL;
    }

    ngx_md5_init(&md5);
    ngx_md5_update(&md5, body->data, body->len);
    ngx_md5_final(digest, &md5);

    p = (u_char *) (answer + 1);

    answer->etag.len = etag_len;
    answer->etag.data = p;

    *p++ = '"';
    p = ngx_hex_dump(p, digest, sizeof(digest));
    *p++ = '"';

    answer->body.len = body->len;
    answer->body.data = p;
    ngx_memcpy(p, body->data, body->len);

    answer->refs = 1;
    answer->at = ngx_current_msec;

    if (summary->answer != NULL) {
        ngx_http_sluice_answer_release(summary->answer);
        summary->answer = NULL;
    }

    if (body->len <= NGX_HTTP_SLUICE_SUMMARY_KEEP) {
        answer->refs++;
        summary->answer = answer;
    }

    return answer;
}


void
ngx_http_sluice_answer_release(ngx_http_sluice_answer_t *answer)
{
    if (--answer->refs == 0) {
        ngx_free(answer);
    }
}


void
ngx_http_sluice_summary_leave(ngx_http_sluice_summary_t *summary)
{
    ngx_queue_t                  *q, *prev;
    ngx_http_sluice_summaries_t  *summaries;

    summaries = summary->summaries;

    if (summary->query == NULL && ngx_queue_empty(&summary->waiters)
        && summary->answer == NULL)
    {
        ngx_http_sluice_summary_free(summary);
    }

    for (q = ngx_queue_last(&summaries->entries);
         summaries->n > NGX_HTTP_SLUICE_SUMMARIES
         && q != ngx_queue_sentinel(&summaries->entries);
         q = prev)
    {
        prev = ngx_queue_prev(q);
        summary = ngx_queue_data(q, ngx_http_sluice_summary_t, queue);

        if (summary->query == NULL && ngx_queue_empty(&summary->waiters)) {
            ngx_http_sluice_summary_free(summary);
        }
    }
}
