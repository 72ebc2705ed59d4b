/*
 * ngx_http_sluice_scrape.c: sluice_metrics, what the workers have counted as
 * text for Prometheus.
 *
 * Owns the names, labels and help of all metrics, and the two formats: that
 * of Prometheus 0.0.4, and OpenMetrics 1.0 for who asks for it by name.  Does
 * not count.
 *
 * No label has a value that a client chooses, and there is no series by
 * customer or topic: the number of lines depends on the configuration alone.
 */

#include "ngx_http_sluice_monitor.h"

/* about twice of what there is without the blocks' names */
#define NGX_HTTP_SLUICE_SCRAPE_SIZE   24576


typedef struct {
    u_char                    *pos;
    u_char                    *last;
    ngx_uint_t                 openmetrics;   /* unsigned  :1; */
} ngx_http_sluice_scrape_t;

/* A metric without labels. */
typedef struct {
    const char                *name;
    const char                *help;
    size_t                     offset;        /* in metrics_t */
} ngx_http_sluice_scrape_row_t;


static ngx_int_t ngx_http_sluice_scrape_handler(ngx_http_request_t *r);
static ngx_uint_t ngx_http_sluice_scrape_openmetrics(ngx_http_request_t *r);
static void ngx_http_sluice_scrape_write(ngx_http_sluice_scrape_t *text,
    ngx_http_sluice_main_conf_t *smcf);
static void ngx_http_sluice_scrape_rows(ngx_http_sluice_scrape_t *text,
    ngx_http_sluice_metrics_t *sum, const char *type,
    const ngx_http_sluice_scrape_row_t *row);
static void ngx_http_sluice_scrape_outcome(ngx_http_sluice_scrape_t *text,
    const char *name, const char *help, uint64_t accepted, uint64_t unknown,
    uint64_t *rejected);
static void ngx_http_sluice_scrape_answers(ngx_http_sluice_scrape_t *text,
    ngx_http_sluice_metrics_t *sum);
static void ngx_http_sluice_scrape_ack(ngx_http_sluice_scrape_t *text,
    ngx_http_sluice_metrics_t *sum);
static void ngx_http_sluice_scrape_kafkas(ngx_http_sluice_scrape_t *text,
    ngx_http_sluice_main_conf_t *smcf);
static void ngx_http_sluice_scrape_head(ngx_http_sluice_scrape_t *text,
    const char *name, const char *type, const char *help);
static void ngx_http_sluice_scrape_line(ngx_http_sluice_scrape_t *text,
    const char *fmt, ...);
static void ngx_http_sluice_scrape_label(ngx_http_sluice_scrape_t *text,
    ngx_str_t *value);


/* Counters' names are without the suffix that their samples have. */
static const ngx_http_sluice_scrape_row_t  ngx_http_sluice_scrape_counters[] =
{
    { "sluice_uploads_begun",
      "Requests whose body was asked for.",
      offsetof(ngx_http_sluice_metrics_t, uploads) },

    { "sluice_uploads_aborted",
      "Clients that went away before their answer.",
      offsetof(ngx_http_sluice_metrics_t, aborted) },

    { "sluice_ack_timeouts",
      "Uploads answered because sluice_ack_timeout was over.",
      offsetof(ngx_http_sluice_metrics_t, timeouts) },

    { "sluice_slow_uploads",
      "Uploads cut because of sluice_min_rate.",
      offsetof(ngx_http_sluice_metrics_t, slow) },

    { "sluice_filename_star",
      "Parts with a filename*, which forms may not have.",
      offsetof(ngx_http_sluice_metrics_t, stars) },

    { "sluice_received_bytes",
      "Bytes of files and events, also of rejected ones.",
      offsetof(ngx_http_sluice_metrics_t, received_bytes) },

    { "sluice_acked_bytes",
      "Bytes of messages that all in-sync replicas have.",
      offsetof(ngx_http_sluice_metrics_t, ack_bytes) },

    { "sluice_undelivered",
      "Messages that Kafka did not take.",
      offsetof(ngx_http_sluice_metrics_t, failures) },

    { "sluice_producer_errors",
      "Errors that librdkafka told of.",
      offsetof(ngx_http_sluice_metrics_t, errors) },

    { "sluice_producers_replaced",
      "Producers given up after a fatal error.",
      offsetof(ngx_http_sluice_metrics_t, replaced) },

    { "sluice_resent",
      "Messages given to a second producer.",
      offsetof(ngx_http_sluice_metrics_t, resent) },

    { "sluice_delivered_late",
      "Messages acknowledged when nobody waited for that any more.",
      offsetof(ngx_http_sluice_metrics_t, late) },

    { NULL, NULL, 0 }
};

static const ngx_http_sluice_scrape_row_t  ngx_http_sluice_scrape_gauges[] = {

    { "sluice_open_uploads",
      "Uploads that are not answered yet.",
      offsetof(ngx_http_sluice_metrics_t, open) },

    { "sluice_held_uploads",
      "Of these, held back by a budget.",
      offsetof(ngx_http_sluice_metrics_t, held) },

    { "sluice_inflight_bytes",
      "Bytes given to Kafka and not acknowledged.",
      offsetof(ngx_http_sluice_metrics_t, inflight) },

    { "sluice_partial_bytes",
      "Bytes of files that are still arriving.",
      offsetof(ngx_http_sluice_metrics_t, partial) },

    { NULL, NULL, 0 }
};

static const ngx_msec_t  ngx_http_sluice_scrape_bounds[] =
    NGX_HTTP_SLUICE_ACK_BUCKETS;

static const ngx_uint_t  ngx_http_sluice_scrape_statuses[] =
    NGX_HTTP_SLUICE_STATUSES;


char *
ngx_http_sluice_scrape_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_sluice_scrape_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_sluice_scrape_handler(ngx_http_request_t *r)
{
    size_t                        size;
    ngx_int_t                     rc;
    ngx_str_t                     body;
    ngx_uint_t                    i;
    ngx_http_sluice_kafka_t     **kafkas;
    ngx_http_sluice_scrape_t      text;
    ngx_http_sluice_main_conf_t  *smcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    smcf = ngx_http_get_module_main_conf(r, ngx_http_sluice_module);

    kafkas = smcf->kafkas.elts;
    size = NGX_HTTP_SLUICE_SCRAPE_SIZE;

    for (i = 0; i < smcf->kafkas.nelts; i++) {
        size += sizeof("sluice_kafka_up{kafka=\"\"} 1\n")
                + 2 * ngx_http_sluice_kafka_name(kafkas[i])->len;
    }

    body.data = ngx_pnalloc(r->pool, size);
    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    text.pos = body.data;
    text.last = body.data + size;
    text.openmetrics = ngx_http_sluice_scrape_openmetrics(r);

    ngx_http_sluice_scrape_write(&text, smcf);

    body.len = text.pos - body.data;

    return ngx_http_sluice_reply_send(r, NGX_HTTP_OK, text.openmetrics
                ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                : "text/plain; version=0.0.4; charset=utf-8", &body);
}


static ngx_uint_t
ngx_http_sluice_scrape_openmetrics(ngx_http_request_t *r)
{
    ngx_str_t   *accept;
    ngx_uint_t   q;

    accept = ngx_http_sluice_reply_get(r, "accept");

    if (accept == NULL) {
        return 0;
    }

    q = ngx_http_sluice_reply_quality(accept, "application/openmetrics-text");

    return q > 0 && q >= ngx_http_sluice_reply_quality(accept, "text/plain");
}


static void
ngx_http_sluice_scrape_write(ngx_http_sluice_scrape_t *text,
    ngx_http_sluice_main_conf_t *smcf)
{
    ngx_uint_t                 workers;
    ngx_http_sluice_metrics_t  sum;

    workers = ngx_http_sluice_metrics_sum(&sum);

    ngx_http_sluice_scrape_outcome(text, "sluice_files",
                                   "Files, by what became of them.",
                                   sum.accepted, sum.unknown, sum.rejected);
    ngx_http_sluice_scrape_outcome(text, "sluice_events",
                                   "Events, by what became of them.",
                                   sum.events_accepted, sum.events_unknown,
                                   sum.events_rejected);
    ngx_http_sluice_scrape_answers(text, &sum);
    ngx_http_sluice_scrape_rows(text, &sum, "counter",
                                ngx_http_sluice_scrape_counters);
    ngx_http_sluice_scrape_ack(text, &sum);
    ngx_http_sluice_scrape_rows(text, &sum, "gauge",
                                ngx_http_sluice_scrape_gauges);
    ngx_http_sluice_scrape_kafkas(text, smcf);

    ngx_http_sluice_scrape_head(text, "sluice_inflight_limit_bytes", "gauge",
                                "sluice_inflight of all workers together.");
    ngx_http_sluice_scrape_line(text, "sluice_inflight_limit_bytes %uL\n",
                                (uint64_t) smcf->inflight * workers);

    ngx_http_sluice_scrape_head(text, "sluice_partial_limit_bytes", "gauge",
                                "sluice_partial of all workers together.");
    ngx_http_sluice_scrape_line(text, "sluice_partial_limit_bytes %uL\n",
                                (uint64_t) smcf->partial * workers);

    ngx_http_sluice_scrape_head(text, "sluice_draining", "gauge",
                                "Whether the file of a sluice_drain exists.");
    ngx_http_sluice_scrape_line(text, "sluice_draining %ui\n",
                                ngx_http_sluice_drain_any(smcf));

    ngx_http_sluice_scrape_head(text, "sluice_workers", "gauge",
                                "Worker processes, also leaving ones.");
    ngx_http_sluice_scrape_line(text, "sluice_workers %ui\n", workers);

    if (text->openmetrics) {
        ngx_http_sluice_scrape_line(text, "# EOF\n");
    }
}


static void
ngx_http_sluice_scrape_rows(ngx_http_sluice_scrape_t *text,
    ngx_http_sluice_metrics_t *sum, const char *type,
    const ngx_http_sluice_scrape_row_t *row)
{
    uint64_t     value;
    const char  *suffix;

    suffix = (type[0] == 'c') ? "_total" : "";

    for ( /* void */ ; row->name != NULL; row++) {

        value = *(uint64_t *) ((u_char *) sum + row->offset);

        ngx_http_sluice_scrape_head(text, row->name, type, row->help);
        ngx_http_sluice_scrape_line(text, "%s%s %uL\n", row->name, suffix,
                                    value);
    }
}


static void
ngx_http_sluice_scrape_outcome(ngx_http_sluice_scrape_t *text,
    const char *name, const char *help, uint64_t accepted, uint64_t unknown,
    uint64_t *rejected)
{
    ngx_uint_t  i;

    ngx_http_sluice_scrape_head(text, name, "counter", help);

    ngx_http_sluice_scrape_line(text,
                                "%s_total{status=\"accepted\"} %uL\n"
                                "%s_total{status=\"unknown\"} %uL\n",
                                name, accepted, name, unknown);

    for (i = 0; i < NGX_HTTP_SLUICE_REASONS; i++) {
        ngx_http_sluice_scrape_line(text, "%s_total{status=\"rejected\","
                                    "reason=\"%s\"} %uL\n", name,
                                    ngx_http_sluice_reasons[i].name,
                                    rejected[i]);
    }
}


static void
ngx_http_sluice_scrape_answers(ngx_http_sluice_scrape_t *text,
    ngx_http_sluice_metrics_t *sum)
{
    ngx_uint_t  i;

    ngx_http_sluice_scrape_head(text, "sluice_uploads", "counter",
                                "Requests to locations that take uploads, by "
                                "status as in the access log.");

    for (i = 0; i < NGX_HTTP_SLUICE_NSTATUSES; i++) {
        ngx_http_sluice_scrape_line(text,
                                    "sluice_uploads_total{code=\"%ui\"} %uL\n",
                                    ngx_http_sluice_scrape_statuses[i],
                                    sum->answers[i]);
    }

    ngx_http_sluice_scrape_line(text,
                                "sluice_uploads_total{code=\"other\"} %uL\n",
                                sum->answers[i]);
}


/* All from one copy of the buckets, so that +Inf and the count agree. */
static void
ngx_http_sluice_scrape_ack(ngx_http_sluice_scrape_t *text,
    ngx_http_sluice_metrics_t *sum)
{
    uint64_t     n;
    ngx_uint_t   i;
    ngx_msec_t   bound, part;
    const char  *digits;

    ngx_http_sluice_scrape_head(text, "sluice_ack_seconds", "histogram",
                                "From handing a message over to its "
                                "acknowledgement by all in-sync replicas.");
    n = 0;

    for (i = 0; i < NGX_HTTP_SLUICE_ACK_NBUCKETS; i++) {
        n += sum->ack[i];
        bound = ngx_http_sluice_scrape_bounds[i];

        /* written as floats are: 0.01, 1.0 */
        digits = (bound % 100 == 0) ? "%M.%M"
                 : (bound % 10 == 0) ? "%M.%02M" : "%M.%03M";
        part = bound % 1000;
        part /= (bound % 100 == 0) ? 100 : (bound % 10 == 0) ? 10 : 1;

        ngx_http_sluice_scrape_line(text,
                                    "sluice_ack_seconds_bucket{le=\"");
        ngx_http_sluice_scrape_line(text, digits, bound / 1000, part);
        ngx_http_sluice_scrape_line(text, "\"} %uL\n", n);
    }

    n += sum->ack[i];

    ngx_http_sluice_scrape_line(text,
                           "sluice_ack_seconds_bucket{le=\"+Inf\"} %uL\n"
                           "sluice_ack_seconds_sum %uL.%03uL\n"
                           "sluice_ack_seconds_count %uL\n",
                           n, sum->ack_ms / 1000, sum->ack_ms % 1000, n);
}


static void
ngx_http_sluice_scrape_kafkas(ngx_http_sluice_scrape_t *text,
    ngx_http_sluice_main_conf_t *smcf)
{
    ngx_int_t                  up;
    ngx_str_t                 *name;
    ngx_uint_t                 i;
    ngx_http_sluice_kafka_t  **kafkas;

    ngx_http_sluice_scrape_head(text, "sluice_kafka_up", "gauge",
                                "Whether all workers think that a broker of "
                                "the block answers.");

    kafkas = smcf->kafkas.elts;

    for (i = 0; i < smcf->kafkas.nelts; i++) {

        name = ngx_http_sluice_kafka_name(kafkas[i]);
        up = ngx_http_sluice_metrics_up(name);

        if (up == NGX_DECLINED) {
            continue;
        }

        ngx_http_sluice_scrape_line(text, "sluice_kafka_up{kafka=\"");
        ngx_http_sluice_scrape_label(text, name);
        ngx_http_sluice_scrape_line(text, "\"} %i\n", up);
    }
}


/* Prometheus' own format counts the suffix to a counter's name. */
static void
ngx_http_sluice_scrape_head(ngx_http_sluice_scrape_t *text, const char *name,
    const char *type, const char *help)
{
    const char  *suffix;

    suffix = (type[0] == 'c' && !text->openmetrics) ? "_total" : "";

    ngx_http_sluice_scrape_line(text, "# TYPE %s%s %s\n# HELP %s%s %s\n",
                                name, suffix, type, name, suffix, help);
}


static void
ngx_http_sluice_scrape_line(ngx_http_sluice_scrape_t *text, const char *fmt,
    ...)
{
    va_list  args;

    va_start(args, fmt);
    text->pos = ngx_vslprintf(text->pos, text->last, fmt, args);
    va_end(args);
}


/* A block's name is the operator's, and may hold anything. */
static void
ngx_http_sluice_scrape_label(ngx_http_sluice_scrape_t *text, ngx_str_t *value)
{
    size_t  i;

    for (i = 0; i < value->len && text->last - text->pos > 2; i++) {

        if (value->data[i] == '\n') {
            *text->pos++ = '\\';
            *text->pos++ = 'n';
            continue;
        }

        if (value->data[i] == '"' || value->data[i] == '\\') {
            *text->pos++ = '\\';
        }

        *text->pos++ = value->data[i];
    }
}
