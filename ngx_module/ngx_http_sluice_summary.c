/*
 * ngx_http_sluice_summary.c: GET of the summary.
 *
 * Owns a request from its arguments to its answer.  Does not build JSON, which
 * PostgreSQL does, nor know how it is asked.
 *
 * Requests for the same rows wait for one query, and what it brought answers
 * those of the next second.  While PostgreSQL is away the last answer is sent
 * again, marked with its age in Sluice-Stale; without one it is 503.
 */

#include "ngx_http_sluice_summary.h"


#define NGX_HTTP_SLUICE_SUMMARY_FRESH  1000    /* ms */
#define NGX_HTTP_SLUICE_SUMMARY_AGAIN  2       /* Retry-After, s */


typedef struct {
    ngx_queue_t                 queue;      /* in summary->waiters */
    ngx_http_request_t         *request;
    ngx_http_sluice_summary_t  *summary;    /* NULL: its query is done */
} ngx_http_sluice_waiter_t;


static ngx_int_t ngx_http_sluice_summary_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_sluice_summary_refuse(ngx_http_request_t *r,
    ngx_int_t rc, const char *why);
static ngx_http_sluice_query_t *ngx_http_sluice_summary_ask(
    ngx_http_sluice_summary_t *summary, ngx_http_sluice_pg_t *pg,
    ngx_http_sluice_summary_args_t *args);
static ngx_int_t ngx_http_sluice_summary_wait(ngx_http_request_t *r,
    ngx_http_sluice_summary_t *summary);
static void ngx_http_sluice_summary_gone(void *data);
static void ngx_http_sluice_summary_done(void *data, ngx_int_t rc,
    ngx_str_t *value);
static ngx_int_t ngx_http_sluice_summary_send(ngx_http_request_t *r,
    ngx_http_sluice_answer_t *answer, ngx_uint_t stale);
static void ngx_http_sluice_summary_sent(void *data);
static ngx_int_t ngx_http_sluice_summary_etag(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_int_t ngx_http_sluice_summary_away(ngx_http_request_t *r);


/* The casts refuse what this file let through, rather than guess. */
static const char  ngx_http_sluice_summary_sql[] =
    "SELECT sluice.summary_json($1::text, $2::timestamptz, $3::timestamptz,"
    " $4::integer, $5::text)";


char *
ngx_http_sluice_summary_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t  *slcf = conf;

    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler == ngx_http_sluice_summary_handler) {
        return "is duplicate";
    }

    clcf->handler = ngx_http_sluice_summary_handler;
    slcf->summary = 1;
    slcf->conf_file = cf->conf_file->file.name.data;
    slcf->conf_line = cf->conf_file->line;

    return NGX_CONF_OK;
}


/*
 * Whose rows are shown is never a default: that it was forgotten would look
 * like an installation that works.
 */
char *
ngx_http_sluice_summary_check(ngx_conf_t *cf,
    ngx_http_sluice_main_conf_t *smcf, ngx_http_sluice_loc_conf_t *slcf)
{
    if (smcf->pg == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"sluice_summary\" needs \"sluice_postgres\" in http{} "
                      "in %s:%ui", slcf->conf_file, slcf->conf_line);
        return NGX_CONF_ERROR;
    }

    if (slcf->customer == NULL && !slcf->customer_all) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"sluice_summary\" needs \"sluice_customer\": a "
                      "variable, or all in %s:%ui",
                      slcf->conf_file, slcf->conf_line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_sluice_summary_handler(ngx_http_request_t *r)
{
    ngx_int_t                        rc;
    ngx_str_t                        key;
    const char                      *why;
    ngx_http_sluice_summary_t       *summary;
    ngx_http_sluice_summaries_t     *summaries;
    ngx_http_sluice_main_conf_t     *smcf;
    ngx_http_sluice_summary_args_t   args;

    if (r != r->main) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_http_sluice_summary_refuse(r, NGX_HTTP_NOT_ALLOWED, NULL);
    }

    why = NULL;
    rc = ngx_http_sluice_summary_args(r, &args, &why);
    if (rc != NGX_OK) {
        return ngx_http_sluice_summary_refuse(r, rc, why);
    }

    smcf = ngx_http_get_module_main_conf(r, ngx_http_sluice_module);
    summaries = ngx_http_sluice_summaries(smcf);

    if (summaries == NULL
        || ngx_http_sluice_summary_key(r, &args, &key) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    summary = ngx_http_sluice_summary_get(summaries, &key);
    if (summary == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (summary->answer != NULL
        && ngx_current_msec - summary->answer->at
           < NGX_HTTP_SLUICE_SUMMARY_FRESH)
    {
        return ngx_http_sluice_summary_send(r, summary->answer, 0);
    }

    if (summary->query == NULL) {
        summary->query = ngx_http_sluice_summary_ask(summary, smcf->pg,
                                                     &args);
    }

    if (summary->query != NULL) {
        return ngx_http_sluice_summary_wait(r, summary);
    }

    if (summary->answer != NULL) {
        return ngx_http_sluice_summary_send(r, summary->answer, 1);
    }

    ngx_http_sluice_summary_leave(summary);

    return ngx_http_sluice_summary_away(r);
}


static ngx_int_t
ngx_http_sluice_summary_refuse(ngx_http_request_t *r, ngx_int_t rc,
    const char *why)
{
    ngx_str_t  detail;

    ngx_str_null(&detail);

    switch (rc) {

    case NGX_DECLINED:
        detail.data = (u_char *) why;
        detail.len = ngx_strlen(why);

        return ngx_http_sluice_problem(r, NGX_HTTP_BAD_REQUEST,
                                       "bad-argument",
                                       "An argument makes no sense",
                                       &detail, 0);

    case NGX_HTTP_FORBIDDEN:
        return ngx_http_sluice_problem(r, NGX_HTTP_FORBIDDEN,
                                       "customer",
                                       "Not a customer of yours", NULL, 0);

    case NGX_HTTP_NOT_ALLOWED:
        if (ngx_http_sluice_reply_add(r, "Allow", "GET, HEAD",
                                      sizeof("GET, HEAD") - 1)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_sluice_problem(r, NGX_HTTP_NOT_ALLOWED,
                                       "method",
                                       "The summary can only be read",
                                       NULL, 0);

    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}


static ngx_http_sluice_query_t *
ngx_http_sluice_summary_ask(ngx_http_sluice_summary_t *summary,
    ngx_http_sluice_pg_t *pg, ngx_http_sluice_summary_args_t *args)
{
    const char  *params[5];

    params[0] = args->all ? NULL : (char *) args->customer.data;
    params[1] = args->from.len ? (char *) args->from.data : NULL;
    params[2] = args->to.len ? (char *) args->to.data : NULL;
    params[3] = (char *) args->limit.data;
    params[4] = args->cursor.len ? (char *) args->cursor.data : NULL;

    return ngx_http_sluice_pg_query(pg, "summary",
                                    ngx_http_sluice_summary_sql, 5, params,
                                    ngx_http_sluice_summary_done, summary);
}


/* The query's timer is what holds a worker that is told to quit. */
static ngx_int_t
ngx_http_sluice_summary_wait(ngx_http_request_t *r,
    ngx_http_sluice_summary_t *summary)
{
    ngx_http_cleanup_t        *cln;
    ngx_http_sluice_waiter_t  *waiter;

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_sluice_waiter_t));
    if (cln == NULL) {

        if (ngx_queue_empty(&summary->waiters)) {
            ngx_http_sluice_pg_cancel(summary->query);
            summary->query = NULL;
            ngx_http_sluice_summary_leave(summary);
        }

        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    waiter = cln->data;
    waiter->request = r;
    waiter->summary = summary;
    ngx_queue_insert_tail(&summary->waiters, &waiter->queue);

    cln->handler = ngx_http_sluice_summary_gone;

    r->main->count++;
    r->write_event_handler = ngx_http_request_empty_handler;
    r->read_event_handler = ngx_http_test_reading;

    /* a client that has gone already causes no further event */
    if (r->connection->read->ready) {
        ngx_http_test_reading(r);
    }

    return NGX_DONE;
}


/* A request ends, answered or not. */
static void
ngx_http_sluice_summary_gone(void *data)
{
    ngx_http_sluice_waiter_t  *waiter = data;

    ngx_http_sluice_summary_t  *summary;

    summary = waiter->summary;

    ngx_queue_remove(&waiter->queue);

    if (summary == NULL || !ngx_queue_empty(&summary->waiters)) {
        return;
    }

    /* nobody is left who wants to know */
    ngx_http_sluice_pg_cancel(summary->query);
    summary->query = NULL;
    ngx_http_sluice_summary_leave(summary);
}


static void
ngx_http_sluice_summary_done(void *data, ngx_int_t rc, ngx_str_t *value)
{
    ngx_http_sluice_summary_t  *summary = data;

    ngx_uint_t                 stale, refused;
    ngx_queue_t                waiters, *q;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_sluice_answer_t  *answer;
    ngx_http_sluice_waiter_t  *waiter;

    summary->query = NULL;

    stale = (rc != NGX_OK);
    refused = (rc == NGX_DECLINED && ngx_strncmp(value->data, "22", 2) == 0);

    if (rc == NGX_OK) {
        answer = ngx_http_sluice_summary_put(summary, value);

    } else {
        answer = refused ? NULL : summary->answer;

        if (answer != NULL) {
            answer->refs++;
        }
    }

    ngx_queue_init(&waiters);

    while (!ngx_queue_empty(&summary->waiters)) {
        q = ngx_queue_head(&summary->waiters);
        ngx_queue_remove(q);
        ngx_queue_insert_tail(&waiters, q);
        waiter = ngx_queue_data(q, ngx_http_sluice_waiter_t, queue);
        waiter->summary = NULL;
    }

    /* not to be touched below: the requests run others, which may drop it */
    ngx_http_sluice_summary_leave(summary);

    /* nor a waiter after its turn; those that end first leave this list */
    while (!ngx_queue_empty(&waiters)) {
        q = ngx_queue_head(&waiters);
        waiter = ngx_queue_data(q, ngx_http_sluice_waiter_t, queue);
        ngx_queue_remove(q);
        ngx_queue_init(q);

        r = waiter->request;
        c = r->connection;
        ngx_http_set_log_request(c->log, r);

        if (refused) {
            rc = ngx_http_sluice_summary_refuse(r, NGX_DECLINED,
                                                "cursor belongs to another "
                                                "list, or a text is not "
                                                "UTF-8");

        } else if (answer != NULL) {
            rc = ngx_http_sluice_summary_send(r, answer, stale);

        } else {
            rc = ngx_http_sluice_summary_away(r);
        }

        ngx_http_finalize_request(r, rc);
        ngx_http_run_posted_requests(c);
    }

    if (answer != NULL) {
        ngx_http_sluice_answer_release(answer);
    }
}


static ngx_int_t
ngx_http_sluice_summary_send(ngx_http_request_t *r,
    ngx_http_sluice_answer_t *answer, ngx_uint_t stale)
{
    u_char               age[NGX_INT_T_LEN], *p;
    ngx_str_t            body;
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* sent from where it lies, perhaps for long after it was replaced */
    answer->refs++;
    cln->handler = ngx_http_sluice_summary_sent;
    cln->data = answer;

    if (ngx_http_sluice_summary_etag(r, &answer->etag) != NGX_OK
        || ngx_http_sluice_reply_add(r, "Cache-Control", "private, no-cache",
                                     sizeof("private, no-cache") - 1)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (stale) {
        p = ngx_sprintf(age, "%M", (ngx_current_msec - answer->at) / 1000);

        if (ngx_http_sluice_reply_add(r, "Sluice-Stale", (char *) age,
                                      p - age)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    body = answer->body;

    return ngx_http_sluice_json(r, NGX_HTTP_OK, &body);
}


static void
ngx_http_sluice_summary_sent(void *data)
{
    ngx_http_sluice_answer_release(data);
}


/* With it set, nginx's own filter answers If-None-Match with 304. */
static ngx_int_t
ngx_http_sluice_summary_etag(ngx_http_request_t *r, ngx_str_t *value)
{
    ngx_table_elt_t  *etag;

    etag = ngx_list_push(&r->headers_out.headers);
    if (etag == NULL) {
        return NGX_ERROR;
    }

    etag->hash = 1;
    ngx_str_set(&etag->key, "ETag");
    etag->value = *value;
    ngx_http_sluice_header_last(etag);

    r->headers_out.etag = etag;

    return NGX_OK;
}


static ngx_int_t
ngx_http_sluice_summary_away(ngx_http_request_t *r)
{
    return ngx_http_sluice_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                   "database-away",
                                   "The summary cannot be read just now",
                                   NULL, NGX_HTTP_SLUICE_SUMMARY_AGAIN);
}
