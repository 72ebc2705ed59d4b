/*
 * ngx_http_sluice_kafka_gate.c: the gate before each partition.
 *
 * Owns when a message is handed to librdkafka, and for one without a key to
 * which partition.  Handing over and reports are ngx_http_sluice_kafka_msg.c's.
 *
 * librdkafka's idempotent producer polls without pause while five messages of
 * one partition are in flight and more are queued, in all versions to 2.15.
 * So no more than five are handed over, and each report hands the next; or,
 * of messages that are not large, and cost by the request rather than by the
 * byte, all that wait, once none is in flight.  They are one request then, as
 * they are handed over together at the end of a turn of the event loop: the
 * higher the load, the more share a request.
 *
 * The first of a producer goes alone until it is acknowledged: brokers that
 * know nothing of a producer take any number for its first, so that the second
 * could be written where the first was refused for the moment, and librdkafka
 * takes that for a receipt of both.  They forget a producer, too, when it is
 * idle for long.
 *
 * Messages without a key wait together.  They go to whichever partition has
 * nothing in flight, but to few partitions at a time, for the same reason.
 */

#include "ngx_http_sluice_kafka.h"
#include "kafka_stats.h"

#define NGX_HTTP_SLUICE_KAFKA_GATE     5

/* A message up to this size waits for others. */
#define NGX_HTTP_SLUICE_KAFKA_SMALL    262144

/* What is handed over at once fits one request: librdkafka's own bounds are
 * batch.size, message.max.bytes and 10,000 messages.  A record's headers are
 * taken for so many bytes. */
#define NGX_HTTP_SLUICE_KAFKA_HEADERS  384
#define NGX_HTTP_SLUICE_KAFKA_BATCH    5000

/* Brokers forget an idle producer after a day (producer.id.expiration.ms). */
#define NGX_HTTP_SLUICE_KAFKA_KNOWN    600000

/* Partitions that have small messages without a key in flight; one whose
 * reports take longer than this many ms isn't waited for.  Large ones, which
 * take longer, pass over a partition after the second. */
#define NGX_HTTP_SLUICE_KAFKA_SHARED   2
#define NGX_HTTP_SLUICE_KAFKA_STALL    50
#define NGX_HTTP_SLUICE_KAFKA_LARGE    1000


static ngx_int_t ngx_http_sluice_kafka_grow(ngx_http_sluice_topic_t *topic,
    ngx_int_t n);
static void ngx_http_sluice_kafka_gate_init(ngx_http_sluice_gate_t *gate,
    ngx_http_sluice_topic_t *topic, int32_t partition);
static void ngx_http_sluice_kafka_reset(ngx_http_sluice_gate_t *gate);
static void ngx_http_sluice_kafka_refuse(ngx_http_sluice_gate_t *gate);
static void ngx_http_sluice_kafka_pass_due(ngx_event_t *ev);
static void ngx_http_sluice_kafka_stalled(ngx_event_t *ev);
static void ngx_http_sluice_kafka_pass(ngx_http_sluice_gate_t *gate);
static ngx_http_sluice_gate_t *ngx_http_sluice_kafka_choose(
    ngx_http_sluice_topic_t *topic, ngx_uint_t small);
static ngx_uint_t ngx_http_sluice_kafka_hand(ngx_http_sluice_gate_t *gate,
    ngx_queue_t *waiting, ngx_uint_t keyless);
static ngx_uint_t ngx_http_sluice_kafka_may(ngx_http_sluice_gate_t *gate,
    ngx_http_sluice_msg_t *msg, ngx_uint_t fresh, size_t bytes);
static ngx_uint_t ngx_http_sluice_kafka_keyless(ngx_http_sluice_msg_t *msg);
static ngx_int_t ngx_http_sluice_kafka_hand_one(ngx_http_sluice_gate_t *gate,
    ngx_http_sluice_msg_t *msg);


void
ngx_http_sluice_kafka_gates_init(ngx_http_sluice_kafka_t *kafka)
{
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    ngx_queue_init(&kafka->failed);
    ngx_queue_init(&kafka->due);

    kafka->report.handler = ngx_http_sluice_kafka_report;
    kafka->report.data = kafka;
    kafka->report.log = kafka->open.log;

    kafka->pass.handler = ngx_http_sluice_kafka_pass_due;
    kafka->pass.data = kafka;
    kafka->pass.log = kafka->open.log;

    kafka->stall.handler = ngx_http_sluice_kafka_stalled;
    kafka->stall.data = kafka;
    kafka->stall.log = kafka->open.log;
    kafka->stall.cancelable = 1;

    kafka->watch.handler = ngx_http_sluice_kafka_watch;
    kafka->watch.data = kafka;
    kafka->watch.log = kafka->open.log;
    kafka->watch.cancelable = 1;

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        ngx_http_sluice_kafka_gate_init(&topics[i]->any, topics[i],
                                        RD_KAFKA_PARTITION_UA);
    }
}


/* Called with each statistics: topics may grow while we run. */
void
ngx_http_sluice_kafka_gates_grow(ngx_http_sluice_kafka_t *kafka,
    const char *json)
{
    size_t                     len;
    ngx_int_t                  n;
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    len = ngx_strlen(json);
    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {

        n = sluice_kafka_stats_partitions(json, len,
                                          (char *) topics[i]->name.data,
                                          topics[i]->name.len);

        /* fewer than before: the topic was made again, or isn't known */
        if (n > topics[i]->partitions
            && ngx_http_sluice_kafka_grow(topics[i], n) != NGX_OK)
        {
            return;
        }
    }
}


static ngx_int_t
ngx_http_sluice_kafka_grow(ngx_http_sluice_topic_t *topic, ngx_int_t n)
{
    ngx_log_t                *log;
    ngx_http_sluice_gate_t  **gates;

    log = topic->kafka->open.log;

    gates = ngx_calloc(n * sizeof(ngx_http_sluice_gate_t *), log);
    if (gates == NULL) {
        return NGX_ERROR;
    }

    if (topic->gates != NULL) {
        ngx_memcpy(gates, topic->gates,
                   topic->partitions * sizeof(ngx_http_sluice_gate_t *));
        ngx_free(topic->gates);
    }

    topic->gates = gates;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, log, 0,
                   "sluice: topic \"%V\" has %i partitions", &topic->name, n);

    while (topic->partitions < n) {

        gates[topic->partitions] = ngx_calloc(sizeof(ngx_http_sluice_gate_t),
                                              log);
        if (gates[topic->partitions] == NULL) {
            return NGX_ERROR;
        }

        ngx_http_sluice_kafka_gate_init(gates[topic->partitions], topic,
                                        topic->partitions);
        topic->partitions++;
    }

    return NGX_OK;
}


static void
ngx_http_sluice_kafka_gate_init(ngx_http_sluice_gate_t *gate,
    ngx_http_sluice_topic_t *topic, int32_t partition)
{
    ngx_queue_init(&gate->waiting);

    gate->topic = topic;
    gate->partition = partition;
}


/* None of what is in flight is the next producer's.  A partition that took
 * nothing has to show by one message or batch that it does again. */
void
ngx_http_sluice_kafka_gates_reset(ngx_http_sluice_kafka_t *kafka)
{
    int32_t                    p;
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        ngx_http_sluice_kafka_reset(&topics[i]->any);

        for (p = 0; p < topics[i]->partitions; p++) {
            ngx_http_sluice_kafka_reset(topics[i]->gates[p]);
        }
    }
}


static void
ngx_http_sluice_kafka_reset(ngx_http_sluice_gate_t *gate)
{
    /* what comes next would come in front of it, or lack it */
    if (gate->inflight > 0) {
        gate->generation++;
    }

    gate->inflight = 0;
    gate->alone = 0;
    gate->known = 0;
}


void
ngx_http_sluice_kafka_gates_pass(ngx_http_sluice_kafka_t *kafka)
{
    int32_t                    p;
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        ngx_http_sluice_kafka_pass(&topics[i]->any);

        for (p = 0; p < topics[i]->partitions; p++) {
            ngx_http_sluice_kafka_pass(topics[i]->gates[p]);
        }
    }
}


void
ngx_http_sluice_kafka_gates_free(ngx_http_sluice_kafka_t *kafka)
{
    int32_t                    p;
    ngx_uint_t                 i;
    ngx_http_sluice_topic_t  **topics;

    if (kafka->pass.posted) {
        ngx_delete_posted_event(&kafka->pass);
    }

    if (kafka->stall.timer_set) {
        ngx_del_timer(&kafka->stall);
    }

    if (kafka->watch.timer_set) {
        ngx_del_timer(&kafka->watch);
    }

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        ngx_http_sluice_kafka_refuse(&topics[i]->any);

        for (p = 0; p < topics[i]->partitions; p++) {
            ngx_http_sluice_kafka_refuse(topics[i]->gates[p]);
            ngx_free(topics[i]->gates[p]);
        }

        if (topics[i]->gates != NULL) {
            ngx_free(topics[i]->gates);
        }

        topics[i]->gates = NULL;
        topics[i]->partitions = 0;
    }

    if (kafka->report.posted) {
        ngx_delete_posted_event(&kafka->report);
    }

    ngx_http_sluice_kafka_report(&kafka->report);
}


static void
ngx_http_sluice_kafka_refuse(ngx_http_sluice_gate_t *gate)
{
    ngx_http_sluice_msg_t  *msg;

    while (!ngx_queue_empty(&gate->waiting)) {

        msg = ngx_queue_data(ngx_queue_head(&gate->waiting),
                             ngx_http_sluice_msg_t, queue);

        ngx_http_sluice_kafka_unwait(msg);
        ngx_http_sluice_kafka_fail(msg, NGX_HTTP_SLUICE_REFUSED);
    }
}


ngx_http_sluice_gate_t *
ngx_http_sluice_kafka_gate(ngx_http_sluice_topic_t *topic, int32_t partition)
{
    return (partition == RD_KAFKA_PARTITION_UA) ? &topic->any
                                                : topic->gates[partition];
}


/* Behind those that wait there, or before them; msg->partition is the gate's
 * for as long as it does. */
void
ngx_http_sluice_kafka_wait(ngx_http_sluice_gate_t *gate,
    ngx_http_sluice_msg_t *msg, ngx_uint_t first)
{
    if (first) {
        ngx_queue_insert_head(&gate->waiting, &msg->queue);

    } else {
        ngx_queue_insert_tail(&gate->waiting, &msg->queue);
    }

    gate->bytes += msg->len;
    msg->waits = 1;
}


/* Also one that waits to be reported as failed. */
void
ngx_http_sluice_kafka_unwait(ngx_http_sluice_msg_t *msg)
{
    ngx_queue_remove(&msg->queue);

    if (msg->waits) {
        msg->waits = 0;
        ngx_http_sluice_kafka_gate(msg->topic, msg->partition)->bytes
                                                                  -= msg->len;
    }
}


/*
 * Something came to wait at the gate, or a report made room behind it.  It is
 * opened at the end of this turn of the event loop, for all that the turn
 * brings.
 */
void
ngx_http_sluice_kafka_due(ngx_http_sluice_gate_t *gate)
{
    ngx_http_sluice_gate_t   *any;
    ngx_http_sluice_kafka_t  *kafka;

    kafka = gate->topic->kafka;
    any = &gate->topic->any;

    /* the event loop is over */
    if (kafka->exiting) {
        ngx_http_sluice_kafka_pass(gate);
        return;
    }

    if (!gate->is_due && !ngx_queue_empty(&gate->waiting)) {
        gate->is_due = 1;
        ngx_queue_insert_tail(&kafka->due, &gate->due);
        ngx_post_event(&kafka->pass, &ngx_posted_events);
    }

    if (gate != any && !any->is_due && !ngx_queue_empty(&any->waiting)) {
        any->is_due = 1;
        ngx_queue_insert_tail(&kafka->due, &any->due);
        ngx_post_event(&kafka->pass, &ngx_posted_events);
    }
}


static void
ngx_http_sluice_kafka_pass_due(ngx_event_t *ev)
{
    ngx_queue_t              *q;
    ngx_http_sluice_gate_t   *gate;
    ngx_http_sluice_kafka_t  *kafka = ev->data;

    while (!ngx_queue_empty(&kafka->due)) {

        q = ngx_queue_head(&kafka->due);
        ngx_queue_remove(q);

        gate = ngx_queue_data(q, ngx_http_sluice_gate_t, due);
        gate->is_due = 0;

        ngx_http_sluice_kafka_pass(gate);
    }
}


void
ngx_http_sluice_kafka_pass_now(ngx_http_sluice_gate_t *gate)
{
    if (gate->is_due) {
        ngx_queue_remove(&gate->due);
        gate->is_due = 0;

        ngx_http_sluice_kafka_pass(gate);
    }
}


/* A partition has been waited for long enough. */
static void
ngx_http_sluice_kafka_stalled(ngx_event_t *ev)
{
    ngx_uint_t                 i;
    ngx_http_sluice_kafka_t   *kafka = ev->data;
    ngx_http_sluice_topic_t  **topics;

    topics = kafka->topics.elts;

    for (i = 0; i < kafka->topics.nelts; i++) {
        ngx_http_sluice_kafka_due(&topics[i]->any);
    }
}


/* Hand over what waits, as far as the gate allows. */
static void
ngx_http_sluice_kafka_pass(ngx_http_sluice_gate_t *gate)
{
    ngx_uint_t                keyless;
    ngx_queue_t              *waiting;
    ngx_http_sluice_gate_t   *to;
    ngx_http_sluice_msg_t    *msg;
    ngx_http_sluice_topic_t  *topic;

    topic = gate->topic;
    waiting = &gate->waiting;

    while (topic->kafka->producer != NULL && !topic->kafka->renewing
           && !ngx_queue_empty(waiting))
    {
        to = gate;
        msg = ngx_queue_data(ngx_queue_head(waiting), ngx_http_sluice_msg_t,
                             queue);
        keyless = ngx_http_sluice_kafka_keyless(msg);

        if (keyless) {
            to = ngx_http_sluice_kafka_choose(topic,
                                   msg->len <= NGX_HTTP_SLUICE_KAFKA_SMALL);
        }

        if (to == NULL
            || ngx_http_sluice_kafka_hand(to, waiting, keyless) == 0)
        {
            return;
        }
    }
}


/* Whether any partition will do, and we know which there are. */
static ngx_uint_t
ngx_http_sluice_kafka_keyless(ngx_http_sluice_msg_t *msg)
{
    return msg->key == NULL && !msg->pinned && msg->topic->partitions > 0;
}


/*
 * The partition for messages without a key: NULL when they have to wait.
 * Where a partition stalls, others take over, and it isn't chosen again.
 */
static ngx_http_sluice_gate_t *
ngx_http_sluice_kafka_choose(ngx_http_sluice_topic_t *topic, ngx_uint_t small)
{
    int32_t                   i, p;
    ngx_uint_t                shared;
    ngx_http_sluice_gate_t   *gate, *found;
    ngx_http_sluice_kafka_t  *kafka;

    kafka = topic->kafka;
    found = NULL;
    shared = 0;

    for (i = 0; i < topic->partitions; i++) {

        p = (topic->next + i) % topic->partitions;
        gate = topic->gates[p];

        if (gate->inflight > 0 && gate->shared
            && ngx_current_msec - gate->heard < NGX_HTTP_SLUICE_KAFKA_STALL)
        {
            shared++;
        }

        if (found == NULL && ngx_queue_empty(&gate->waiting)
            && (gate->inflight == 0
                || (!small && gate->inflight < NGX_HTTP_SLUICE_KAFKA_GATE
                    && ngx_current_msec - gate->heard
                       < NGX_HTTP_SLUICE_KAFKA_LARGE)))
        {
            found = gate;
        }
    }

    if (kafka->exiting) {
        return (found != NULL) ? found : topic->gates[topic->next];
    }

    if (small && shared >= NGX_HTTP_SLUICE_KAFKA_SHARED) {

        if (!kafka->stall.timer_set) {
            ngx_add_timer(&kafka->stall, NGX_HTTP_SLUICE_KAFKA_STALL);
        }

        return NULL;
    }

    if (found != NULL) {
        topic->next = (found->partition + 1) % topic->partitions;
        found->shared = (small && found->inflight == 0);
    }

    return found;
}


/* As many as the gate allows, of one kind; how many left the queue. */
static ngx_uint_t
ngx_http_sluice_kafka_hand(ngx_http_sluice_gate_t *gate, ngx_queue_t *waiting,
    ngx_uint_t keyless)
{
    size_t                    bytes;
    ngx_uint_t                n, fresh;
    ngx_http_sluice_msg_t    *msg;
    ngx_http_sluice_kafka_t  *kafka;

    kafka = gate->topic->kafka;
    fresh = (gate->inflight == 0);
    bytes = 0;

    for (n = 0; !ngx_queue_empty(waiting); n++) {

        msg = ngx_queue_data(ngx_queue_head(waiting), ngx_http_sluice_msg_t,
                             queue);

        if (ngx_http_sluice_kafka_keyless(msg) != keyless) {
            break;
        }

        bytes += msg->len + msg->key_len + NGX_HTTP_SLUICE_KAFKA_HEADERS;

        if (!kafka->exiting
            && !ngx_http_sluice_kafka_may(gate, msg, fresh, bytes))
        {
            break;
        }

        if (ngx_http_sluice_kafka_hand_one(gate, msg) != NGX_OK) {
            break;
        }
    }

    return n;
}


/*
 * A batch too large for its topic is refused with all that is in it.  So what
 * was refused in company goes once more by itself; and a message that may not
 * go twice goes by itself at once where a batch might be too large.
 */
static ngx_uint_t
ngx_http_sluice_kafka_may(ngx_http_sluice_gate_t *gate,
    ngx_http_sluice_msg_t *msg, ngx_uint_t fresh, size_t bytes)
{
    if (msg->ordered && ngx_http_sluice_kafka_alone(msg->topic)) {
        msg->alone = 1;
    }

    if (msg->alone) {
        return gate->inflight == 0;
    }

    if (gate->alone) {
        return 0;
    }

    if (gate->inflight == 0
        && ngx_current_msec - gate->heard > NGX_HTTP_SLUICE_KAFKA_KNOWN)
    {
        gate->known = 0;
    }

    if (!gate->known) {
        return gate->inflight == 0;
    }

    if (gate->inflight < NGX_HTTP_SLUICE_KAFKA_GATE) {
        return fresh || msg->len > NGX_HTTP_SLUICE_KAFKA_SMALL;
    }

    return fresh && msg->len <= NGX_HTTP_SLUICE_KAFKA_SMALL
           && bytes <= gate->topic->kafka->producer->request
           && gate->inflight < NGX_HTTP_SLUICE_KAFKA_BATCH;
}


/* NGX_OK: the message is no more ours, handed over or failed. */
static ngx_int_t
ngx_http_sluice_kafka_hand_one(ngx_http_sluice_gate_t *gate,
    ngx_http_sluice_msg_t *msg)
{
    rd_kafka_resp_err_t       err;
    ngx_http_sluice_gate_t   *from;
    ngx_http_sluice_kafka_t  *kafka;

    kafka = gate->topic->kafka;
    from = ngx_http_sluice_kafka_gate(msg->topic, msg->partition);

    ngx_http_sluice_kafka_unwait(msg);

    /* what went before it was another producer's, and may come after it; or
     * the brokers would refuse it, which costs others more */
    if ((msg->ordered && msg->generation != from->generation)
        || ngx_http_sluice_kafka_old(msg))
    {
        ngx_http_sluice_kafka_fail(msg, NGX_HTTP_SLUICE_REFUSED);
        return NGX_OK;
    }

    msg->partition = gate->partition;

    err = ngx_http_sluice_kafka_produce(kafka->producer, msg);

    switch (err) {

    case RD_KAFKA_RESP_ERR_NO_ERROR:

        if (gate->inflight++ == 0) {
            gate->heard = ngx_current_msec;
        }

        if (!kafka->watch.timer_set && !kafka->exiting) {
            ngx_add_timer(&kafka->watch, NGX_HTTP_SLUICE_KAFKA_WATCH);
        }

        gate->alone = msg->alone;
        break;

    case RD_KAFKA_RESP_ERR__FATAL:
        /* its event is on the way and brings a new producer */
        msg->partition = from->partition;
        ngx_http_sluice_kafka_wait(from, msg, 1);
        return NGX_DECLINED;

    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        ngx_http_sluice_kafka_fail(msg, NGX_HTTP_SLUICE_TOO_LARGE);
        break;

    default:
        ngx_http_sluice_kafka_failed(kafka, msg->topic, err);
        ngx_http_sluice_kafka_fail(msg, NGX_HTTP_SLUICE_REFUSED);
    }

    return NGX_OK;
}
