/*
 * ngx_http_sluice_health.c: sluice_health, whether uploads would be taken.
 *
 * Owns the answer to who balances load, and the requests that wait for one.
 * What is thought of the brokers is ngx_http_sluice_kafka_health.c's.
 *
 * A broker that is frozen shows only by time, so what was heard of it some
 * seconds ago is worth nothing.  Nobody is asked regularly: the request that
 * wants to know starts the question, and waits for its end.
 */

#include "ngx_http_sluice_monitor.h"

/* above the time that brokers are given; also keeps a worker from leaving */
#define NGX_HTTP_SLUICE_HEALTH_WAIT   4000           /* ms */
#define NGX_HTTP_SLUICE_HEALTH_RETRY  5              /* seconds */


typedef struct {
    ngx_queue_t                   queue;    /* in smcf->asking */
    ngx_http_request_t           *request;
    ngx_event_t                   timer;
    unsigned                      waits:1;
} ngx_http_sluice_health_t;


static ngx_int_t ngx_http_sluice_health_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_sluice_health_wait(ngx_http_request_t *r,
    ngx_http_sluice_main_conf_t *smcf);
static void ngx_http_sluice_health_told(ngx_event_t *ev);
static void ngx_http_sluice_health_timeout(ngx_event_t *ev);
static void ngx_http_sluice_health_answer(ngx_http_sluice_health_t *health);
static void ngx_http_sluice_health_cleanup(void *data);
static ngx_int_t ngx_http_sluice_health_judge(ngx_http_request_t *r);
static ngx_int_t ngx_http_sluice_health_reply(ngx_http_request_t *r,
    ngx_int_t verdict);
static ngx_int_t ngx_http_sluice_health_members(ngx_http_request_t *r,
    ngx_str_t *members);
static ngx_array_t *ngx_http_sluice_health_kafkas(ngx_http_request_t *r);


char *
ngx_http_sluice_health_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    ngx_str_t                    *value;
    ngx_uint_t                    i;
    ngx_http_sluice_kafka_t     **kafka;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_sluice_main_conf_t  *smcf;

    if (slcf->health != NULL) {
        return "is duplicate";
    }

    slcf->health = ngx_array_create(cf->pool, 1,
                                    sizeof(ngx_http_sluice_kafka_t *));
    if (slcf->health == NULL) {
        return NGX_CONF_ERROR;
    }

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_sluice_module);
    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        kafka = ngx_array_push(slcf->health);
        if (kafka == NULL) {
            return NGX_CONF_ERROR;
        }

        *kafka = ngx_http_sluice_kafka_named(cf, smcf, &value[i]);
        if (*kafka == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_sluice_health_handler;

    return NGX_CONF_OK;
}


void
ngx_http_sluice_health_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle)
{
    ngx_queue_init(&smcf->asking);

    smcf->told.handler = ngx_http_sluice_health_told;
    smcf->told.data = smcf;
    smcf->told.log = cycle->log;
}


static ngx_int_t
ngx_http_sluice_health_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_sluice_main_conf_t  *smcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    smcf = ngx_http_get_module_main_conf(r, ngx_http_sluice_module);

    rc = ngx_http_sluice_health_judge(r);

    /* a subrequest's parent has no time to lose */
    if (rc == NGX_AGAIN && r == r->main) {
        return ngx_http_sluice_health_wait(r, smcf);
    }

    return ngx_http_sluice_health_reply(r, rc);
}


static ngx_int_t
ngx_http_sluice_health_wait(ngx_http_request_t *r,
    ngx_http_sluice_main_conf_t *smcf)
{
    ngx_http_cleanup_t        *cln;
    ngx_http_sluice_health_t  *health;

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_sluice_health_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    health = cln->data;
    ngx_memzero(health, sizeof(ngx_http_sluice_health_t));
    cln->handler = ngx_http_sluice_health_cleanup;

    health->request = r;
    health->timer.handler = ngx_http_sluice_health_timeout;
    health->timer.data = health;
    health->timer.log = r->connection->log;
    health->waits = 1;

    ngx_queue_insert_tail(&smcf->asking, &health->queue);
    ngx_add_timer(&health->timer, NGX_HTTP_SLUICE_HEALTH_WAIT);

    r->read_event_handler = ngx_http_test_reading;
    r->main->count++;

    return NGX_DONE;
}


/* Brokers of one block have answered, or have not in time. */
static void
ngx_http_sluice_health_told(ngx_event_t *ev)
{
    ngx_queue_t                  *q, *next;
    ngx_http_sluice_health_t     *health;
    ngx_http_sluice_main_conf_t  *smcf = ev->data;

    for (q = ngx_queue_head(&smcf->asking);
         q != ngx_queue_sentinel(&smcf->asking);
         q = next)
    {
        next = ngx_queue_next(q);
        health = ngx_queue_data(q, ngx_http_sluice_health_t, queue);

        if (ngx_http_sluice_health_judge(health->request) != NGX_AGAIN) {
            ngx_http_sluice_health_answer(health);
        }
    }
}


static void
ngx_http_sluice_health_timeout(ngx_event_t *ev)
{
    ngx_http_sluice_health_answer(ev->data);
}


static void
ngx_http_sluice_health_answer(ngx_http_sluice_health_t *health)
{
    ngx_int_t            verdict;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = health->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_http_sluice_health_cleanup(health);

    verdict = ngx_http_sluice_health_judge(r);

    /* its time is over: not to know is not to be healthy */
    if (verdict == NGX_AGAIN) {
        verdict = NGX_ERROR;
    }

    ngx_http_finalize_request(r, ngx_http_sluice_health_reply(r, verdict));

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_sluice_health_cleanup(void *data)
{
    ngx_http_sluice_health_t *health = data;

    if (!health->waits) {
        return;
    }

    health->waits = 0;
    ngx_queue_remove(&health->queue);

    if (health->timer.timer_set) {
        ngx_del_timer(&health->timer);
    }
}


/*
 * NGX_OK, NGX_ERROR, NGX_AGAIN while some block is being asked, NGX_BUSY
 * while nothing is taken for another reason.
 */
static ngx_int_t
ngx_http_sluice_health_judge(ngx_http_request_t *r)
{
    ngx_int_t                     rc, verdict;
    ngx_uint_t                    i;
    ngx_array_t                  *array;
    ngx_http_sluice_kafka_t     **kafkas;
    ngx_http_sluice_loc_conf_t   *slcf;
    ngx_http_sluice_main_conf_t  *smcf;

    smcf = ngx_http_get_module_main_conf(r, ngx_http_sluice_module);
    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);

    if (slcf->drain != NULL ? ngx_http_sluice_drain_on(slcf->drain)
                            : ngx_http_sluice_drain_any(smcf))
    {
        return NGX_BUSY;
    }

    array = ngx_http_sluice_health_kafkas(r);
    kafkas = array->elts;
    verdict = NGX_OK;

    /* all are asked, also when one is known to be down */
    for (i = 0; i < array->nelts; i++) {

        rc = ngx_http_sluice_kafka_health(kafkas[i]);

        if (rc == NGX_ERROR || (rc == NGX_AGAIN && verdict == NGX_OK)) {
            verdict = rc;
        }
    }

    return verdict;
}


static ngx_int_t
ngx_http_sluice_health_reply(ngx_http_request_t *r, ngx_int_t verdict)
{
    ngx_str_t  members, detail;

    if (ngx_http_sluice_reply_add(r, "Cache-Control", "no-store",
                                  sizeof("no-store") - 1)
        != NGX_OK
        || ngx_http_sluice_health_members(r, &members) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (verdict == NGX_BUSY) {
        ngx_str_set(&detail, "Uploads are switched off for maintenance.");
        return ngx_http_sluice_reply_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                         "draining", "Nothing is taken for now", &detail,
                         NGX_HTTP_SLUICE_HEALTH_RETRY, &members);
    }

    if (verdict == NGX_ERROR) {
        ngx_str_set(&detail, "Not all brokers that are needed answer.");
        return ngx_http_sluice_reply_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                         "unavailable", "Uploads would not be stored", &detail,
                         NGX_HTTP_SLUICE_HEALTH_RETRY, &members);
    }

    /* members follow a comma in a problem, here their own brace */
    members.data--;
    members.len += 2;
    members.data[0] = '{';
    members.data[members.len - 1] = '}';

    return ngx_http_sluice_json(r, NGX_HTTP_OK, &members);
}


/* "kafka":[...], with a byte to spare before and after it */
static ngx_int_t
ngx_http_sluice_health_members(ngx_http_request_t *r, ngx_str_t *members)
{
    size_t                     len;
    u_char                    *p;
    ngx_str_t                 *name;
    ngx_uint_t                 i;
    const char                *state;
    ngx_array_t               *array;
    ngx_http_sluice_kafka_t  **kafkas;

    array = ngx_http_sluice_health_kafkas(r);
    kafkas = array->elts;

    len = sizeof("{\"kafka\":[]}");

    for (i = 0; i < array->nelts; i++) {
        name = ngx_http_sluice_kafka_name(kafkas[i]);
        len += sizeof(",{\"name\":\"\",\"status\":\"unknown\"}") + name->len
               + ngx_escape_json(NULL, name->data, name->len);
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    members->data = ++p;
    p = ngx_cpymem(p, "\"kafka\":[", sizeof("\"kafka\":[") - 1);

    for (i = 0; i < array->nelts; i++) {

        switch (ngx_http_sluice_kafka_health(kafkas[i])) {

        case NGX_OK:
            state = "up";
            break;

        case NGX_ERROR:
            state = "down";
            break;

        case NGX_DECLINED:
            state = "unused";
            break;

        default:
            state = "unknown";
        }

        name = ngx_http_sluice_kafka_name(kafkas[i]);

        p = ngx_sprintf(p, "%s{\"name\":\"", (i > 0) ? "," : "");
        p = (u_char *) ngx_escape_json(p, name->data, name->len);
        p = ngx_sprintf(p, "\",\"status\":\"%s\"}", state);
    }

    *p++ = ']';
    members->len = p - members->data;

    return NGX_OK;
}


/* Those that the directive names, or all. */
static ngx_array_t *
ngx_http_sluice_health_kafkas(ngx_http_request_t *r)
{
    ngx_http_sluice_loc_conf_t   *slcf;
    ngx_http_sluice_main_conf_t  *smcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);

    if (slcf->health != NULL && slcf->health->nelts > 0) {
        return slcf->health;
    }

    smcf = ngx_http_get_module_main_conf(r, ngx_http_sluice_module);

    return &smcf->kafkas;
}
