/*
 * ngx_http_sluice_kafka.c: librdkafka in nginx's event loop.
 *
 * Owns the producer of a worker and sluice_kafka block: its making, its
 * eventfd, its replacement after a fatal error, its end.  Messages go through
 * ngx_http_sluice_kafka_gate.c, trouble is judged in ..._health.c.
 *
 * librdkafka calls nothing of ours.  Reports, logs, errors and statistics go
 * to its main queue; the first event in an empty queue writes to an eventfd
 * that is an nginx connection, and the worker drains the queue then.
 */

#include "ngx_http_sluice_kafka.h"

#include <sys/eventfd.h>

/* Events handled before the worker looks at other connections again. */
#define NGX_HTTP_SLUICE_KAFKA_TURN         64

#define NGX_HTTP_SLUICE_KAFKA_BACKOFF      1000      /* ms */
#define NGX_HTTP_SLUICE_KAFKA_BACKOFF_MAX  60000
#define NGX_HTTP_SLUICE_KAFKA_EXIT         1000
#define NGX_HTTP_SLUICE_KAFKA_PURGE        1000

/* how long all others wait for what a renewed producer has in flight */
#define NGX_HTTP_SLUICE_KAFKA_RENEW        5000


static void ngx_http_sluice_kafka_open(ngx_event_t *ev);
static ngx_http_sluice_producer_t *ngx_http_sluice_kafka_create(
    ngx_http_sluice_kafka_t *kafka, ngx_log_t *log);
static ngx_int_t ngx_http_sluice_kafka_topics(
    ngx_http_sluice_producer_t *producer, ngx_log_t *log);
static ngx_int_t ngx_http_sluice_kafka_listen(
    ngx_http_sluice_producer_t *producer);
static void ngx_http_sluice_kafka_close(ngx_http_sluice_producer_t *producer);
static void ngx_http_sluice_kafka_reap(ngx_event_t *ev);
static void ngx_http_sluice_kafka_give_up(
    ngx_http_sluice_producer_t *producer);
static void ngx_http_sluice_kafka_purge(ngx_event_t *ev);
static void ngx_http_sluice_kafka_forget(ngx_http_sluice_kafka_t *kafka);
static void ngx_http_sluice_kafka_wake(ngx_event_t *ev);
static ngx_uint_t ngx_http_sluice_kafka_drain(
    ngx_http_sluice_producer_t *producer, int wait_ms);
static void ngx_http_sluice_kafka_event(ngx_http_sluice_producer_t *producer,
    rd_kafka_event_t *rkev);
static void ngx_http_sluice_kafka_finish(ngx_http_sluice_kafka_t *kafka);
static void ngx_http_sluice_kafka_finish_producer(
    ngx_http_sluice_producer_t *producer, ngx_msec_t until);


void
ngx_http_sluice_kafka_init(ngx_http_sluice_main_conf_t *smcf,
    ngx_cycle_t *cycle)
{
    ngx_uint_t                 i;
    ngx_http_sluice_kafka_t  **kafkas, *kafka;

    kafkas = smcf->kafkas.elts;

    for (i = 0; i < smcf->kafkas.nelts; i++) {

        kafka = kafkas[i];

        ngx_queue_init(&kafka->retired);

        kafka->open.handler = ngx_http_sluice_kafka_open;
        kafka->open.data = kafka;
        kafka->open.log = cycle->log;
        kafka->open.cancelable = 1;

        kafka->probe.handler = ngx_http_sluice_kafka_probe;
        kafka->probe.data = kafka;
        kafka->probe.log = cycle->log;
        kafka->probe.cancelable = 1;

        ngx_http_sluice_kafka_describe_init(kafka);
        ngx_http_sluice_kafka_gates_init(kafka);

        if (kafka->topics.nelts > 0) {
            ngx_http_sluice_kafka_open(&kafka->open);
        }
    }
}


/*
 * A producer that can't be made (a key file the worker may not read, no
 * memory, no connection left) must not keep the worker from serving.
 */
static void
ngx_http_sluice_kafka_open(ngx_event_t *ev)
{
    ngx_http_sluice_kafka_t  *kafka = ev->data;

    if (kafka->renewing && !kafka->exiting) {
        ngx_http_sluice_kafka_give_up(kafka->producer);
        return;
    }

    if (kafka->producer != NULL || kafka->exiting) {
        return;
    }

    kafka->producer = ngx_http_sluice_kafka_create(kafka, ev->log);

    ngx_http_sluice_kafka_tell(kafka);

    if (kafka->producer != NULL) {
        ngx_http_sluice_kafka_ask(kafka->producer, 0);
        ngx_http_sluice_kafka_gates_pass(kafka);
        return;
    }

    kafka->backoff = kafka->backoff ? ngx_min(kafka->backoff * 2,
                                        NGX_HTTP_SLUICE_KAFKA_BACKOFF_MAX)
                                    : NGX_HTTP_SLUICE_KAFKA_BACKOFF;

    ngx_add_timer(&kafka->open, kafka->backoff);
}


static ngx_http_sluice_producer_t *
ngx_http_sluice_kafka_create(ngx_http_sluice_kafka_t *kafka, ngx_log_t *log)
{
    char                         errstr[512];
    size_t                       request;
    rd_kafka_conf_t             *conf;
    ngx_http_sluice_producer_t  *producer;

    producer = ngx_calloc(sizeof(ngx_http_sluice_producer_t), log);
    if (producer == NULL) {
        return NULL;
    }

    producer->kafka = kafka;
    ngx_queue_init(&producer->handed);
    producer->reap.handler = ngx_http_sluice_kafka_reap;
    producer->reap.data = producer;
    producer->reap.log = log;
    producer->purge.handler = ngx_http_sluice_kafka_purge;
    producer->purge.data = producer;
    producer->purge.log = log;
    producer->purge.cancelable = 1;

    conf = ngx_http_sluice_kafka_conf(kafka, log);
    producer->batch = ngx_http_sluice_kafka_conf_size(conf, "batch.size");

    /* a request has bytes of its own, too */
    request = ngx_http_sluice_kafka_conf_size(conf, "message.max.bytes");
    request = ngx_min(request, producer->batch);
    producer->request = request - request / 16;

    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR|RD_KAFKA_EVENT_ERROR
                                   |RD_KAFKA_EVENT_LOG|RD_KAFKA_EVENT_STATS);

    producer->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, errstr,
                                sizeof(errstr));
    if (producer->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "sluice: no kafka producer name=%V err=\"%s\"",
                      &kafka->name, errstr);
        goto failed;
    }

    rd_kafka_set_log_queue(producer->rk, NULL);
    producer->events = rd_kafka_queue_get_main(producer->rk);

    if (ngx_http_sluice_kafka_topics(producer, log) != NGX_OK
        || ngx_http_sluice_kafka_listen(producer) != NGX_OK)
    {
        goto failed;
    }

    return producer;

failed:

    ngx_http_sluice_kafka_close(producer);
    return NULL;
}


/* From here on librdkafka asks the brokers for the topics' partitions. */
static ngx_int_t
ngx_http_sluice_kafka_topics(ngx_http_sluice_producer_t *producer,
    ngx_log_t *log)
{
    ngx_uint_t                 i;
    ngx_http_sluice_kafka_t   *kafka;
    ngx_http_sluice_topic_t  **topics;

    kafka = producer->kafka;
    topics = kafka->topics.elts;

    producer->topics = ngx_calloc(kafka->topics.nelts
                                  * sizeof(rd_kafka_topic_t *), log);
    if (producer->topics == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < kafka->topics.nelts; i++) {

        /* asking for a topic may make brokers create it */
        if (!topics[i]->optional
            && ngx_http_sluice_kafka_handle(producer, topics[i]) == NULL)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


rd_kafka_topic_t *
ngx_http_sluice_kafka_handle(ngx_http_sluice_producer_t *producer,
    ngx_http_sluice_topic_t *topic)
{
    rd_kafka_topic_t  **handle;

    handle = &producer->topics[topic->index];

    if (*handle == NULL) {
        *handle = rd_kafka_topic_new(producer->rk, (char *) topic->name.data,
                                     NULL);
    }

    if (*handle == NULL) {
        ngx_log_error(NGX_LOG_ERR, producer->kafka->open.log, 0,
                      "sluice: no kafka topic name=%V topic=%V err=\"%s\"",
                      &producer->kafka->name, &topic->name,
                      rd_kafka_err2str(rd_kafka_last_error()));
    }

    return *handle;
}


static ngx_int_t
ngx_http_sluice_kafka_listen(ngx_http_sluice_producer_t *producer)
{
    int                     fd;
    ngx_int_t               event;
    ngx_log_t              *log;
    ngx_connection_t       *c;
    static const uint64_t   one = 1;

    log = producer->kafka->open.log;

    fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);
    if (fd == -1) {
        ngx_log_error(NGX_LOG_ERR, log, ngx_errno,
                      "sluice: eventfd() failed");
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd, log);
    if (c == NULL) {
        (void) close(fd);
        return NGX_ERROR;
    }

    c->data = producer;
    c->log = log;
    c->read->handler = ngx_http_sluice_kafka_wake;
    c->read->log = log;
    c->write->log = log;

    event = (ngx_event_flags & NGX_USE_CLEAR_EVENT) ? NGX_CLEAR_EVENT
                                                    : NGX_LEVEL_EVENT;

    if (ngx_add_event(c->read, NGX_READ_EVENT, event) != NGX_OK) {
        ngx_close_connection(c);
        return NGX_ERROR;
    }

    producer->connection = c;

    rd_kafka_queue_io_event_enable(producer->events, fd, &one, sizeof(one));

    /* nothing is written for what is queued already */
    ngx_post_event(c->read, &ngx_posted_next_events);

    return NGX_OK;
}


/* Also of a producer half made. */
static void
ngx_http_sluice_kafka_close(ngx_http_sluice_producer_t *producer)
{
    ngx_uint_t  i;

    if (producer->reap.posted) {
        ngx_delete_posted_event(&producer->reap);
    }

    if (producer->purge.timer_set) {
        ngx_del_timer(&producer->purge);
    }

    if (producer->connection != NULL) {
        rd_kafka_queue_io_event_enable(producer->events, -1, NULL, 0);
    }

    if (producer->topics != NULL) {
        for (i = 0; i < producer->kafka->topics.nelts; i++) {
            if (producer->topics[i] != NULL) {
                rd_kafka_topic_destroy(producer->topics[i]);
            }
        }

        ngx_free(producer->topics);
    }

    if (producer->events != NULL) {
        rd_kafka_queue_destroy(producer->events);
    }

    if (producer->rk != NULL) {
        rd_kafka_destroy(producer->rk);
    }

    if (producer->connection != NULL) {
        ngx_close_connection(producer->connection);
    }

    ngx_free(producer);
}


/* Posted when a producer that is done with has reported all it had. */
static void
ngx_http_sluice_kafka_reap(ngx_event_t *ev)
{
    ngx_http_sluice_kafka_t     *kafka;
    ngx_http_sluice_producer_t  *producer = ev->data;

    kafka = producer->kafka;

    if (producer->is_retired) {

        if (producer->messages == 0) {
            ngx_queue_remove(&producer->queue);
            ngx_http_sluice_kafka_close(producer);
        }

        return;
    }

    if (!kafka->renewing || producer->messages > producer->stuck) {
        return;
    }

    if (producer->messages > 0) {
        ngx_http_sluice_kafka_give_up(producer);
        return;
    }

    kafka->renewing = 0;
    kafka->producer = NULL;

    if (kafka->open.timer_set) {
        ngx_del_timer(&kafka->open);
    }

    ngx_http_sluice_kafka_close(producer);
    ngx_http_sluice_kafka_open(&kafka->open);
}


/*
 * What it still has is to leave librdkafka without a number of its own being
 * given to anything else: so by a fatal error, after which it sends nothing,
 * and reports what it has; what is in flight when it is answered.
 */
static void
ngx_http_sluice_kafka_give_up(ngx_http_sluice_producer_t *producer)
{
    ngx_http_sluice_kafka_t  *kafka;

    kafka = producer->kafka;

    ngx_log_error(NGX_LOG_NOTICE, kafka->open.log, 0,
                  "sluice: kafka producer renewed, messages given up name=%V "
                  "unreported=%ui", &kafka->name, producer->messages);

    (void) rd_kafka_test_fatal_error(producer->rk,
                                     RD_KAFKA_RESP_ERR__TIMED_OUT,
                                     "given up for its successor");

    /* nothing that comes back at once */
    kafka->backoff = 0;

    ngx_http_sluice_kafka_retire(producer);
}


/*
 * A request whose answer was lost comes back to the queue, and after a fatal
 * error nothing leaves that any more: it is reported now, as unknown.
 */
static void
ngx_http_sluice_kafka_purge(ngx_event_t *ev)
{
    ngx_http_sluice_producer_t  *producer = ev->data;

    if (rd_kafka_fatal_error(producer->rk, NULL, 0)
        != RD_KAFKA_RESP_ERR_NO_ERROR)
    {
        (void) rd_kafka_purge(producer->rk, RD_KAFKA_PURGE_F_QUEUE
                                            |RD_KAFKA_PURGE_F_NON_BLOCKING);
    }

    ngx_add_timer(ev, NGX_HTTP_SLUICE_KAFKA_PURGE);
}


void
ngx_http_sluice_kafka_renew(ngx_http_sluice_kafka_t *kafka)
{
    if (kafka->producer == NULL || kafka->exiting) {
        return;
    }

    kafka->renewing = 1;

    if (kafka->producer->messages <= kafka->producer->stuck) {
        ngx_post_event(&kafka->producer->reap, &ngx_posted_events);
        return;
    }

    if (!kafka->open.timer_set) {
        ngx_add_timer(&kafka->open, NGX_HTTP_SLUICE_KAFKA_RENEW);
    }
}


/*
 * The eventfd's read handler.  Core also calls it when a worker is told to
 * leave, with close set: reports still have to be served then.
 */
static void
ngx_http_sluice_kafka_wake(ngx_event_t *ev)
{
    ssize_t                      n;
    uint64_t                     count;
    ngx_connection_t            *c = ev->data;
    ngx_http_sluice_producer_t  *producer = c->data;

    n = read(c->fd, &count, sizeof(count));

    if (n == -1 && ngx_errno != NGX_EAGAIN) {
        ngx_log_error(NGX_LOG_ERR, ev->log, ngx_errno,
                      "sluice: reading an eventfd failed");
    }

    /* the eventfd stays silent while anything is left in the queue */
    if (ngx_http_sluice_kafka_drain(producer, 0)
        == NGX_HTTP_SLUICE_KAFKA_TURN)
    {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


static ngx_uint_t
ngx_http_sluice_kafka_drain(ngx_http_sluice_producer_t *producer, int wait_ms)
{
    ngx_uint_t         n;
    rd_kafka_event_t  *rkev;

    for (n = 0; n < NGX_HTTP_SLUICE_KAFKA_TURN; n++) {

        rkev = rd_kafka_queue_poll(producer->events, wait_ms);
        if (rkev == NULL) {
            break;
        }

        ngx_http_sluice_kafka_event(producer, rkev);
        rd_kafka_event_destroy(rkev);
    }

    return n;
}


static void
ngx_http_sluice_kafka_event(ngx_http_sluice_producer_t *producer,
    rd_kafka_event_t *rkev)
{
    const rd_kafka_message_t  *rkm;

    switch (rd_kafka_event_type(rkev)) {

    case RD_KAFKA_EVENT_DR:
        while ((rkm = rd_kafka_event_message_next(rkev)) != NULL) {
            ngx_http_sluice_kafka_reported(producer, rkm);
        }
        break;

    case RD_KAFKA_EVENT_ERROR:
        ngx_http_sluice_kafka_error(producer, rkev);
        break;

    case RD_KAFKA_EVENT_LOG:
        ngx_http_sluice_kafka_log(producer->kafka, rkev);
        break;

    case RD_KAFKA_EVENT_STATS:
        ngx_http_sluice_kafka_gates_grow(producer->kafka,
                                         rd_kafka_event_stats(rkev));
        break;

    case RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT:
        ngx_http_sluice_kafka_described(producer, rkev);
        break;

#if (NGX_HTTP_SLUICE_KAFKA_REPLICAS)
    case RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT:
        ngx_http_sluice_kafka_replicas(producer, rkev);
        break;
#endif
    }
}


/*
 * After a fatal error librdkafka refuses new messages for good, but still
 * answers for those it has: it lives on until it has, beside its successor.
 */
void
ngx_http_sluice_kafka_retire(ngx_http_sluice_producer_t *producer)
{
    ngx_http_sluice_kafka_t  *kafka;

    kafka = producer->kafka;
    kafka->producer = NULL;
    kafka->renewing = 0;

    /* what was thought of the brokers was the old one's experience */
    kafka->suspect = 0;
    kafka->silent = 0;
    kafka->was_heard = 0;
    kafka->down = 0;

    ngx_http_sluice_kafka_gates_reset(kafka);
    ngx_http_sluice_kafka_tell(kafka);

    producer->is_retired = 1;
    ngx_queue_insert_tail(&kafka->retired, &producer->queue);
    ngx_add_timer(&producer->purge, NGX_HTTP_SLUICE_KAFKA_PURGE);

    if (producer->messages == 0) {
        ngx_post_event(&producer->reap, &ngx_posted_events);
    }

    /* an error that comes back at once, such as a missing right, must not
     * make producers without pause */
    if (kafka->backoff == 0) {
        kafka->backoff = NGX_HTTP_SLUICE_KAFKA_BACKOFF;
        ngx_http_sluice_kafka_open(&kafka->open);
        return;
    }

    ngx_add_timer(&kafka->open, kafka->backoff);

    kafka->backoff = ngx_min(kafka->backoff * 2,
                             NGX_HTTP_SLUICE_KAFKA_BACKOFF_MAX);
}


void
ngx_http_sluice_kafka_exit(ngx_http_sluice_main_conf_t *smcf)
{
    ngx_uint_t                 i;
    ngx_http_sluice_kafka_t  **kafkas;

    kafkas = smcf->kafkas.elts;

    for (i = 0; i < smcf->kafkas.nelts; i++) {
        ngx_http_sluice_kafka_finish(kafkas[i]);
    }
}


/*
 * The worker leaves.  What waits at the gates goes out now, librdkafka has a
 * second, what it still holds then is given back.
 */
static void
ngx_http_sluice_kafka_finish(ngx_http_sluice_kafka_t *kafka)
{
    ngx_msec_t    until;
    ngx_queue_t  *q;

    if (kafka->retired.next == NULL || kafka->exiting) {
        return;
    }

    kafka->exiting = 1;
    kafka->renewing = 0;

    ngx_http_sluice_kafka_forget(kafka);
    ngx_http_sluice_kafka_gates_pass(kafka);

    ngx_time_update();
    until = ngx_current_msec + NGX_HTTP_SLUICE_KAFKA_EXIT;

    while (!ngx_queue_empty(&kafka->retired)) {

        q = ngx_queue_head(&kafka->retired);
        ngx_queue_remove(q);

        ngx_http_sluice_kafka_finish_producer(
                   ngx_queue_data(q, ngx_http_sluice_producer_t, queue), until);
    }

    if (kafka->producer != NULL) {
        ngx_http_sluice_kafka_finish_producer(kafka->producer, until);
        kafka->producer = NULL;
    }

    kafka->closing = 1;
    ngx_http_sluice_kafka_gates_free(kafka);
}


static void
ngx_http_sluice_kafka_forget(ngx_http_sluice_kafka_t *kafka)
{
    if (kafka->open.timer_set) {
        ngx_del_timer(&kafka->open);
    }

    if (kafka->probe.timer_set) {
        ngx_del_timer(&kafka->probe);
    }

    if (kafka->describe.timer_set) {
        ngx_del_timer(&kafka->describe);
    }
}


static void
ngx_http_sluice_kafka_finish_producer(ngx_http_sluice_producer_t *producer,
    ngx_msec_t until)
{
    ngx_uint_t  n;

    while (producer->messages > 0
           && (ngx_msec_int_t) (until - ngx_current_msec) > 0)
    {
        (void) rd_kafka_flush(producer->rk, 0);
        (void) ngx_http_sluice_kafka_drain(producer, 20);
        ngx_time_update();
    }

    if (producer->messages > 0) {

        ngx_log_error(NGX_LOG_WARN, producer->kafka->open.log, 0,
                      "sluice: leaving with messages unreported name=%V "
                      "messages=%ui", &producer->kafka->name,
                      producer->messages);

        producer->kafka->closing = 1;

        (void) rd_kafka_purge(producer->rk,
                              RD_KAFKA_PURGE_F_QUEUE
                              |RD_KAFKA_PURGE_F_INFLIGHT);

        for (n = 0; producer->messages > 0 && n < 10; n++) {
            (void) ngx_http_sluice_kafka_drain(producer, 20);
        }
    }

    ngx_http_sluice_kafka_close(producer);
}
