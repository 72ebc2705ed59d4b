/*
 * ngx_http_sluice_summary.h: what the files of the summary handler share.
 *
 * summary.c takes requests and answers them, summary_args.c reads what they
 * ask for, summary_cache.c keeps the answers.  Others see only
 * ngx_http_sluice_reading.h.
 */

#ifndef NGX_HTTP_SLUICE_SUMMARY_H
#define NGX_HTTP_SLUICE_SUMMARY_H

#include "ngx_http_sluice_reading.h"
#include "rfc3339.h"

#pragma GCC visibility push(hidden)

#define NGX_HTTP_SLUICE_SUMMARY_CURSOR  1024    /* bytes, at most */


/* What is asked, in words of our own; strings end with a NUL. */
typedef struct {
    ngx_str_t    customer;
    unsigned     all:1;         /* everybody's rows; customer is empty */
    ngx_str_t    from;          /* empty: no bound, as to and cursor */
    ngx_str_t    to;
    ngx_str_t    limit;
    ngx_str_t    cursor;
} ngx_http_sluice_summary_args_t;

/*
 * NGX_OK; NGX_DECLINED when an argument makes no sense, *why saying so; 403
 * for a customer that is not the request's own; NGX_ERROR.
 */
ngx_int_t ngx_http_sluice_summary_args(ngx_http_request_t *r,
    ngx_http_sluice_summary_args_t *args, const char **why);

/* All of args in one string, different for any two that differ. */
ngx_int_t ngx_http_sluice_summary_key(ngx_http_request_t *r,
    ngx_http_sluice_summary_args_t *args, ngx_str_t *key);


/* An answer of PostgreSQL's.  Counted: a slow client may outlive its entry. */
typedef struct {
    ngx_uint_t   refs;
    ngx_msec_t   at;            /* ngx_current_msec of its arrival */
    ngx_str_t    etag;
    ngx_str_t    body;
} ngx_http_sluice_answer_t;

/* What one key is known by.  It stays while a query or a waiter is there. */
typedef struct {
    ngx_queue_t                   queue;     /* the latest asked first */
    ngx_http_sluice_summaries_t  *summaries;
    ngx_queue_t                   waiters;   /* for query */
    ngx_http_sluice_query_t      *query;     /* NULL: none under way */
    ngx_http_sluice_answer_t     *answer;    /* NULL: none yet */
    ngx_str_t                     key;
    uint32_t                      hash;
} ngx_http_sluice_summary_t;

ngx_http_sluice_summaries_t *ngx_http_sluice_summaries(
    ngx_http_sluice_main_conf_t *smcf);

/* The key's entry, made if there is none; NULL without memory. */
ngx_http_sluice_summary_t *ngx_http_sluice_summary_get(
    ngx_http_sluice_summaries_t *summaries, ngx_str_t *key);

/* A copy of body, held once, or NULL; the entry's from now on if it is not
 * too large to be kept. */
ngx_http_sluice_answer_t *ngx_http_sluice_summary_put(
    ngx_http_sluice_summary_t *summary, ngx_str_t *body);
void ngx_http_sluice_answer_release(ngx_http_sluice_answer_t *answer);

/* The caller is done with an entry: dropped if nothing of it is worth
 * keeping, and then the oldest ones beyond the cache's size. */
void ngx_http_sluice_summary_leave(ngx_http_sluice_summary_t *summary);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_SUMMARY_H */
