/*
 * monitor.c: what monitors ask the process, and the thread that finds it out.
 *
 * Owns the answers, what is derived from the lanes' gauges by a clock and the
 * logs' ends, and the thread that asks for those.  Does not count.
 *
 * The rule of the backlog: a number that is not known is not said.  An
 * autoscaler that hears 0 takes processes away.
 */

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "base/now.h"
#include "lane/monitor.h"

#define MONITOR_ASK_MS      2000     /* how often the ends are asked for, */
#define MONITOR_SOON_MS     250      /* when one is not known yet */
#define MONITOR_ANSWER_MS   2000
#define MONITOR_STALE_MS    15000    /* an end is no longer believed */
#define MONITOR_TURN_MS     300000   /* a lane is no longer believed in */
#define MONITOR_REASONS     5        /* listed of many */

struct monitor_s {
    kafka_ends_t     *ends;
    http_t           *http;
    const char       *version;
    pthread_t         thread;
    pthread_mutex_t   mutex;
    pthread_cond_t    wake;
    int               stop;
};

/* What a partition has left; METRICS_UNKNOWN where that isn't known. */
typedef struct {
    int64_t      messages;
    int64_t      bytes;
    int64_t      ms;
    const char  *why;                /* messages are not known */
} monitor_lag_t;


/* A slot closed at this moment may be another partition's by now. */
static void
monitor_set(const metrics_at_t *at, metrics_field_e field, int64_t value)
{
    metrics_set(at->slot, field, value);

    if (!metrics_slot_is(at)) {
        metrics_set(at->slot, field, METRICS_UNKNOWN);
    }
}


/*
 * What is left, if the lane has come as far as the end we know of, came after
 * we asked for that end.
 */
static void
monitor_caught_up(const metrics_at_t *at)
{
    int64_t reached = metrics_get(at->slot, METRICS_FIELD_REACHED);
    int64_t end = metrics_get(at->slot, METRICS_FIELD_END);

    if (reached != METRICS_UNKNOWN && end != METRICS_UNKNOWN
        && reached >= end)
    {
        monitor_set(at, METRICS_FIELD_CAUGHT_UP_MS,
                    metrics_get(at->slot, METRICS_FIELD_END_WALL_MS));
    }
}


/*
 * Ends of all partitions at hand.  Without locks, so the slots are looked for
 * twice; what came in between is asked for the next time.  Returns when to ask
 * again.
 */
static int64_t
monitor_ask(monitor_t *m)
{
    int64_t        asked = now_mono_ms();
    int64_t        wall = now_wall_ms();
    metrics_at_t   at = { NULL, 0, NULL, 0, 0 };
    metrics_at_t  *slots = NULL;
    kafka_end_t   *list = NULL;
    size_t         n = 0;
    int            unknown = 0;

    while (metrics_next(&at)) {
        if (at.partition >= 0) {
            slots = mem_grow(slots, n + 1, sizeof(*slots));
            list = mem_grow(list, n + 1, sizeof(*list));
            slots[n] = at;
            list[n] = (kafka_end_t) { at.topic, at.partition, -1 };
            n++;
        }
    }

    if (n > 0) {
        kafka_ends_ask(m->ends, list, n, MONITOR_ANSWER_MS);
    }

    for (size_t i = 0; i < n; i++) {
        if (list[i].end < 0) {
            unknown |= metrics_get(slots[i].slot, METRICS_FIELD_END)
                       == METRICS_UNKNOWN;
            continue;
        }

        monitor_caught_up(&slots[i]);              /* with the end before */
        monitor_set(&slots[i], METRICS_FIELD_END, list[i].end);
        monitor_set(&slots[i], METRICS_FIELD_END_WALL_MS, wall);
        monitor_set(&slots[i], METRICS_FIELD_END_AT_MS, asked);
    }

    free(slots);
    free(list);

    return n == 0 || unknown ? MONITOR_SOON_MS : MONITOR_ASK_MS;
}


static void *
monitor_run(void *arg)
{
    monitor_t *m = arg;

    (void) pthread_mutex_lock(&m->mutex);

    while (!m->stop) {
        struct timespec  until;
        int64_t          ms;

        (void) pthread_mutex_unlock(&m->mutex);
        ms = monitor_ask(m);
        (void) pthread_mutex_lock(&m->mutex);

        ms += now_mono_ms();
        until.tv_sec = ms / 1000;
        until.tv_nsec = ms % 1000 * 1000000;

        while (!m->stop
               && pthread_cond_timedwait(&m->wake, &m->mutex, &until) == 0)
        {
            /* awake for nothing */
        }
    }

    (void) pthread_mutex_unlock(&m->mutex);

    return NULL;
}


/* Bytes of a record, by this partition or else by all; or not known. */
static int64_t
monitor_size(const metrics_at_t *at)
{
    int64_t  size = metrics_get(at->slot, METRICS_FIELD_SIZE), n = 0;

    if (size != METRICS_UNKNOWN) {
        return size;
    }

    for (unsigned int i = 0; i < METRICS_VERDICTS; i++) {
        n += metrics_sum(METRIC_RECORDS, i);
    }

    return n > 0 ? metrics_sum(METRIC_BYTES, 0) / n : METRICS_UNKNOWN;
}


/*
 * Age of the first record that is left: its own time when the lane has seen
 * it, or at most as long as it is since nothing was left.
 */
static int64_t
monitor_age(const metrics_at_t *at, int64_t reached)
{
    int64_t  head = metrics_get(at->slot, METRICS_FIELD_HEAD);
    int64_t  since = metrics_get(at->slot, METRICS_FIELD_CAUGHT_UP_MS);
    int64_t  now = now_wall_ms();

    if (head >= reached) {
        since = metrics_get(at->slot, METRICS_FIELD_HEAD_MS);
    }

    if (since == METRICS_UNKNOWN) {
        return METRICS_UNKNOWN;
    }

    return now > since ? now - since : 0;
}


static monitor_lag_t
monitor_lag(const metrics_at_t *at)
{
    int64_t        reached = metrics_get(at->slot, METRICS_FIELD_REACHED);
    int64_t        end = metrics_get(at->slot, METRICS_FIELD_END);
    int64_t        asked = metrics_get(at->slot, METRICS_FIELD_END_AT_MS);
    int64_t        size = monitor_size(at);
    monitor_lag_t  lag = { METRICS_UNKNOWN, METRICS_UNKNOWN, METRICS_UNKNOWN,
                           NULL };

    if (reached == METRICS_UNKNOWN) {
        lag.why = "where to begin is not known yet";
        return lag;
    }

    if (end == METRICS_UNKNOWN || asked == METRICS_UNKNOWN) {
        lag.why = "the end of the log is not known yet";
        return lag;
    }

    if (now_mono_ms() - asked > MONITOR_STALE_MS) {
        lag.why = "the end of the log is known of old only";
        return lag;
    }

    monitor_caught_up(at);

    lag.messages = end > reached ? end - reached : 0;
    lag.bytes = lag.messages == 0 ? 0
                : size == METRICS_UNKNOWN ? size : size * lag.messages;
    lag.ms = lag.messages == 0 ? 0 : monitor_age(at, reached);

    return lag;
}


/* What a scrape shows, and a clock is needed for. */
static void
monitor_derive(void)
{
    metrics_at_t  at = { NULL, 0, NULL, 0, 0 };
    int64_t       now = now_mono_ms(), since;

    while (metrics_next(&at)) {
        since = metrics_get(at.slot, METRICS_FIELD_STALLED_AT_MS);
        monitor_set(&at, METRICS_FIELD_STALLED_MS,
                    since == METRICS_UNKNOWN || now < since ? 0 : now - since);

        if (at.partition < 0) {
            since = metrics_get(at.slot, METRICS_FIELD_TURN_AT_MS);

            if (since != METRICS_UNKNOWN) {
                monitor_set(&at, METRICS_FIELD_TURN_MS,
                            now > since ? now - since : 0);
            }

            continue;
        }

        monitor_lag_t lag = monitor_lag(&at);

        monitor_set(&at, METRICS_FIELD_LAG, lag.messages);
        monitor_set(&at, METRICS_FIELD_LAG_BYTES, lag.bytes);
        monitor_set(&at, METRICS_FIELD_LAG_MS, lag.ms);
    }
}


static int
monitor_metrics(void *ctx, http_accept_e accept, FILE *out, const char **type)
{
    monitor_t *m = ctx;

    *type = accept == HTTP_OPENMETRICS
            ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
            : "text/plain; version=0.0.4; charset=utf-8";

    monitor_derive();
    metrics_write(out, accept == HTTP_OPENMETRICS, m->version);

    return 200;
}


/* The end of an answer that has a status and reasons. */
static int
monitor_verdict(FILE *out, const char *good, const char *bad, size_t n,
    const char *reasons)
{
    if (n == 0) {
        fprintf(out, "{\"status\":\"%s\"}\n", good);
        return 200;
    }

    fprintf(out, "{\"status\":\"%s\",\"failing\":%zu,\"reasons\":[%s]}\n", bad,
            n, reasons);

    return 503;
}


/* One more reason; of many only the first are listed. */
__attribute__((format(printf, 3, 4)))
static void
monitor_reason(FILE *reasons, size_t *n, const char *fmt, ...)
{
    va_list  args;

    if ((*n)++ >= MONITOR_REASONS) {
        return;
    }

    fputs(*n > 1 ? ",\"" : "\"", reasons);
    va_start(args, fmt);
    (void) vfprintf(reasons, fmt, args);
    va_end(args);
    fputc('"', reasons);
}


static void
monitor_live(FILE *reasons, size_t *n)
{
    metrics_at_t  at = { NULL, 0, NULL, 0, 0 };
    int64_t       now = now_mono_ms();

    while (metrics_next(&at)) {
        int64_t since = metrics_get(at.slot, METRICS_FIELD_TURN_AT_MS);

        if (at.partition < 0 && since != METRICS_UNKNOWN
            && now - since > MONITOR_TURN_MS)
        {
            monitor_reason(reasons, n, "lane %d of %s hasn't turned for %"
                           PRId64 " s", at.lane, at.topic,
                           (now - since) / 1000);
        }
    }
}


static void
monitor_ready(FILE *reasons, size_t *n)
{
    static const char *const  states[] = { "is being taken", "", "stopped" };

    metrics_at_t  at = { NULL, 0, NULL, 0, 0 };

    while (metrics_next(&at)) {
        int64_t state = metrics_get(at.slot, METRICS_FIELD_STATE);

        if (at.partition < 0) {
            if (metrics_get(at.slot, METRICS_FIELD_JOINED) != 1) {
                monitor_reason(reasons, n, "lane %d of %s is not in the group",
                               at.lane, at.topic);
            }

            continue;
        }

        if (state == METRICS_UNKNOWN) {
            state = METRICS_STATE_TAKING;
        }

        if (state != METRICS_STATE_ACTIVE) {
            monitor_reason(reasons, n, "partition %" PRId32 " of %s %s",
                           at.partition, at.topic, states[state]);
        }
    }
}


static int
monitor_health(FILE *out, const char **type, const char *good,
    const char *bad, void (*check)(FILE *reasons, size_t *n))
{
    char    *text = NULL;
    size_t   len = 0, n = 0;
    FILE    *reasons = open_memstream(&text, &len);
    int      status = 503;

    *type = "application/json";

    if (reasons != NULL) {
        check(reasons, &n);

        if (fclose(reasons) == 0) {
            status = monitor_verdict(out, good, bad, n, text);
        }
    }

    free(text);

    return status;
}


static int
monitor_healthz(void *ctx, http_accept_e accept, FILE *out, const char **type)
{
    (void) ctx;
    (void) accept;

    return monitor_health(out, type, "live", "not live", monitor_live);
}


static int
monitor_readyz(void *ctx, http_accept_e accept, FILE *out, const char **type)
{
    (void) ctx;
    (void) accept;

    return monitor_health(out, type, "ready", "not ready", monitor_ready);
}


/* A number, or null, after its name. */
static void
monitor_number(FILE *out, const char *name, int64_t value, int thousandths)
{
    if (value == METRICS_UNKNOWN) {
        fprintf(out, "\"%s\":null", name);

    } else if (thousandths) {
        fprintf(out, "\"%s\":%" PRId64 ".%03" PRId64, name, value / 1000,
                value % 1000);

    } else {
        fprintf(out, "\"%s\":%" PRId64, name, value);
    }
}


static void
monitor_lag_write(FILE *out, const monitor_lag_t *lag)
{
    monitor_number(out, "messages", lag->messages, 0);
    fputc(',', out);
    monitor_number(out, "bytes", lag->bytes, 0);
    fputc(',', out);
    monitor_number(out, "seconds", lag->ms, 1);
}


/* Sums, and the greatest age; what isn't known of one isn't of all. */
static void
monitor_lag_add(monitor_lag_t *all, const monitor_lag_t *lag)
{
    all->messages += lag->messages;

    if (all->bytes != METRICS_UNKNOWN) {
        all->bytes = lag->bytes == METRICS_UNKNOWN ? lag->bytes
                                                   : all->bytes + lag->bytes;
    }

    if (all->ms != METRICS_UNKNOWN
        && (lag->ms == METRICS_UNKNOWN || lag->ms > all->ms))
    {
        all->ms = lag->ms;
    }
}


static int
monitor_backlog(void *ctx, http_accept_e accept, FILE *out, const char **type)
{
    metrics_at_t   at = { NULL, 0, NULL, 0, 0 };
    monitor_lag_t  all = { 0, 0, 0, NULL };
    char          *parts = NULL;
    size_t         len = 0, n = 0;
    FILE          *list = open_memstream(&parts, &len);

    (void) ctx;
    (void) accept;
    *type = "application/json";

    while (list != NULL && metrics_next(&at)) {
        if (at.partition < 0) {
            continue;
        }

        monitor_lag_t lag = monitor_lag(&at);

        if (lag.why != NULL) {
            fprintf(out, "{\"error\":\"partition %" PRId32 " of %s: %s\"}\n",
                    at.partition, at.topic, lag.why);
            (void) fclose(list);
            free(parts);
            return 503;
        }

        fprintf(list, "%s{\"topic\":\"%s\",\"partition\":%" PRId32 ",",
                n++ > 0 ? "," : "", at.topic, at.partition);
        monitor_lag_write(list, &lag);
        fputc('}', list);
        monitor_lag_add(&all, &lag);
    }

    if (list == NULL || fclose(list) != 0 || n == 0) {
        fputs("{\"error\":\"no partition is assigned\"}\n", out);
        free(parts);
        return 503;
    }

    fputc('{', out);
    monitor_lag_write(out, &all);
    fprintf(out, ",\"partitions\":[%s]}\n", parts);
    free(parts);

    return 200;
}


rc_t
monitor_open(monitor_t **out, const http_conf_t *http,
    const kafka_conf_t *kafka, const char *version, err_t *err)
{
    static const http_route_t  routes[] = {
        { "/metrics", monitor_metrics },
        { "/healthz", monitor_healthz },
        { "/readyz", monitor_readyz },
        { "/backlog", monitor_backlog },
        { NULL, NULL }
    };

    monitor_t           *m = mem_zalloc(sizeof(*m));
    pthread_condattr_t   attr;
    rc_t                 rc;

    m->version = version;
    (void) pthread_mutex_init(&m->mutex, NULL);
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_cond_init(&m->wake, &attr);
    (void) pthread_condattr_destroy(&attr);

    rc = kafka_ends_open(&m->ends, kafka, err);

    if (rc == RC_OK) {
        rc = http_open(&m->http, http, routes, m, err);
    }

    if (rc == RC_OK && pthread_create(&m->thread, NULL, monitor_run, m) != 0) {
        rc = err_set(err, RC_REJECT, "no thread for the monitor");
    }

    if (rc != RC_OK) {
        http_close(m->http);
        kafka_ends_close(m->ends);
        free(m);
        return rc;
    }

    *out = m;
    return RC_OK;
}


void
monitor_close(monitor_t *m)
{
    if (m == NULL) {
        return;
    }

    http_close(m->http);

    (void) pthread_mutex_lock(&m->mutex);
    m->stop = 1;
    (void) pthread_cond_signal(&m->wake);
    (void) pthread_mutex_unlock(&m->mutex);
    (void) pthread_join(m->thread, NULL);

    kafka_ends_close(m->ends);
    (void) pthread_cond_destroy(&m->wake);
    (void) pthread_mutex_destroy(&m->mutex);
    free(m);
}
