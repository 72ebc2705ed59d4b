/*
 * io_driver.c: processor/io/ at work against real servers, for test_io_*.py.
 *
 *   io_driver redis ADDRESS USER PASSWORD_FILE TIMEOUT_MS [SETTING=VALUE]...
 *   io_driver pg DSN PASSWORD_FILE TIMEOUT_MS
 *   io_driver kafka TOPIC INSTANCE PROPERTY=VALUE...
 *
 * Reads one command a line from stdin, its words parted by tabs, and answers
 * each with one line: the rc, a tab, and what it has to tell.  `kafka` is more
 * talkative: events and records are lines of their own, and the answer's line
 * begins with "=".
 */

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/keyslot.h"
#include "io/kafka.h"
#include "io/pg.h"
#include "io/redis.h"

#define WORDS  64

static char   *words[WORDS];
static int     nwords;
static err_t   err;


static int
read_command(void)
{
    static char    *line;
    static size_t   cap;

    ssize_t  n = getline(&line, &cap, stdin);

    if (n <= 0) {
        free(line);
        return 0;
    }
    line[n - 1] = '\0';

    nwords = 0;
    for (char *p = line; p != NULL && nwords < WORDS; nwords++) {
        words[nwords] = strsep(&p, "\t");
    }
    return 1;
}


static void
answer(rc_t rc, const char *text)
{
    printf("%s\t%s\n", rc_name(rc), rc == RC_OK ? text : err.text);
    fflush(stdout);
}


/* ---- redis ---- */

static void
print_value(FILE *out, const redis_value_t *v)
{
    switch (v->kind) {
    case REDIS_NIL:
        fputs("nil", out);
        return;
    case REDIS_INT:
        fprintf(out, "%" PRId64, v->num);
        return;
    case REDIS_STR:
        fprintf(out, "'%.*s'", (int) v->len, v->str);
        return;
    case REDIS_ARRAY:
        fputc('[', out);
        for (size_t i = 0; i < v->n; i++) {
            fputs(i > 0 ? "," : "", out);
            print_value(out, &v->items[i]);
        }
        fputc(']', out);
    }
}


/* ADDRESS USER PASSWORD_FILE TIMEOUT_MS, then SETTING=VALUE; mode=2. */
static redis_conf_t
redis_settings(char **argv)
{
    redis_conf_t  conf = { 0 };

    for (const conf_row_t *row = redis_rows; row->name != NULL; row++) {
        size_t        len = strlen(row->name);
        const char   *value = "";
        char         *field = (char *) &conf + row->offset;

        for (char **more = argv + 4; *more != NULL; more++) {
            if (strncmp(*more, row->name, len) == 0 && (*more)[len] == '=') {
                value = *more + len + 1;
            }
        }
        if (row->type == CONF_STR) {
            *(const char **) field = value;
        } else {
            *(int64_t *) field = atoll(value);
        }
    }

    conf.address = argv[0];
    conf.username = argv[1];
    conf.password_file = argv[2];
    conf.timeout_ms = atoll(argv[3]);
    return conf;
}


static void
run_redis(char **argv)
{
    static const char  script[] =
        "return { KEYS[1], ARGV[1], 7, false, { 1, { 'x' } }, {} }";

    static const char  both[] =
        "return { redis.call('HGET', KEYS[1], 'f'), "
        "redis.call('HGET', KEYS[2], 'f') }";

    redis_conf_t          conf = redis_settings(argv);
    redis_args_t          args = { 0 };
    redis_t              *redis = redis_open(&conf);
    const redis_value_t  *reply;
    char                  found[1024];
    rc_t                  rc;

    while (read_command()) {
        char    *text = NULL;
        size_t   len;
        FILE    *out = open_memstream(&text, &len);

        redis_args_reset(&args);
        for (int i = 1; i < nwords; i++) {
            redis_args_copy(&args, words[i], strlen(words[i]));
        }

        reply = NULL;
        if (strcmp(words[0], "do") == 0) {
            rc = redis_command(redis, &args, &reply, &err);
        } else if (strcmp(words[0], "script") == 0) {
            rc = redis_script(redis, script, 1, &args, &reply, &err);
        } else if (strcmp(words[0], "get2") == 0) {
            rc = redis_script(redis, both, 2, &args, &reply, &err);
        } else if (strcmp(words[0], "slot") == 0) {
            fprintf(out, "%u", keyslot(words[1], strlen(words[1])));
            rc = RC_OK;
        } else if (strcmp(words[0], "check") == 0) {
            rc = redis_check(&conf, &err);
        } else {
            rc = redis_probe(redis, words[1], found, sizeof(found), &err);
            fputs(found, out);
        }

        if (rc == RC_OK && reply != NULL) {
            print_value(out, reply);
        }
        fclose(out);
        answer(rc, text);
        free(text);
    }

    redis_args_free(&args);
    redis_close(redis);
}


/* ---- pg ---- */

/* pg_exec() knows a statement by its address. */
static const char *
interned(const char *s)
{
    static char  *known[WORDS];

    for (int i = 0; i < WORDS; i++) {
        if (known[i] == NULL) {
            known[i] = mem_strdup(s);
            return known[i];
        }
        if (strcmp(known[i], s) == 0) {
            return known[i];
        }
    }
    abort();
}


static void
print_rows(FILE *out, const pg_t *pg, const pg_result_t *result)
{
    fprintf(out, "%zu", result->affected);
    for (size_t i = 0; i < result->rows; i++) {
        for (size_t k = 0; k < result->cols; k++) {
            const char  *v = pg_value(pg, i, k);

            fprintf(out, "%c%s", k == 0 ? ' ' : '|', v != NULL ? v : "NULL");
        }
    }
}


static void
run_pg(char **argv)
{
    pg_conf_t    conf = { argv[0], argv[1], atoll(argv[2]) };
    pg_t        *pg = pg_open(&conf);
    pg_array_t   array = { 0 };
    pg_result_t  result;
    rc_t         rc = RC_OK;

    while (read_command()) {
        char    *text = NULL;
        size_t   len;
        FILE    *out = open_memstream(&text, &len);

        if (strcmp(words[0], "exec") == 0) {
            rc = pg_exec(pg, interned(words[1]), (size_t) nwords - 2,
                         (const char *const *) words + 2, &result, &err);
            if (rc == RC_OK) {
                print_rows(out, pg, &result);
            }
        } else if (strcmp(words[0], "array") == 0) {
            const char  *param;

            pg_array_reset(&array);
            for (int i = 2; i < nwords; i++) {
                pg_array_str(&array, words[i], strlen(words[i]));
            }
            param = pg_array_end(&array);
            rc = pg_exec(pg, interned(words[1]), 1, &param, &result, &err);
            if (rc == RC_OK) {
                print_rows(out, pg, &result);
            }
        } else if (strcmp(words[0], "check") == 0) {
            rc = pg_check(&conf, &err);
        } else if (strcmp(words[0], "begin") == 0) {
            rc = pg_begin(pg, &err);
        } else if (strcmp(words[0], "commit") == 0) {
            rc = pg_commit(pg, &err);
        } else {
            pg_rollback(pg);
            rc = RC_OK;
        }

        fclose(out);
        answer(rc, text);
        free(text);
    }

    pg_array_free(&array);
    pg_close(pg);
}


/* ---- kafka ---- */

#define PARTS  16

/* What the test checks of a partition: exactly from here, one by one. */
typedef struct {
    int      held, started;
    int64_t  expected;
    int64_t  got;                /* records since the last start */
    int64_t  start_ms;
} follow_t;

static kafka_t   *kafka;
static follow_t   follow[PARTS];
static int        chatty = 1;
static int        wrong;


static int64_t
now_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


static void
on_assigned(void *ctx, int32_t partition)
{
    (void) ctx;
    follow[partition] = (follow_t) { .held = 1 };
    if (chatty) {
        printf("assigned %d\n", (int) partition);
        fflush(stdout);
    }
}


static void
on_revoked(void *ctx, int32_t partition, int lost)
{
    (void) ctx;

    if (!follow[partition].held) {
        printf("wrong: %d revoked, not held\n", (int) partition);
        wrong = 1;
    }
    follow[partition].held = 0;
    if (chatty) {
        printf("revoked %d %s\n", (int) partition, lost ? "lost" : "kept");
        fflush(stdout);
    }
}


static void
start(int32_t partition, int64_t offset)
{
    follow_t  *f = &follow[partition];
    rc_t       rc = kafka_start(kafka, partition, offset, &err);

    if (rc != RC_OK) {
        printf("wrong: start of %d: %s\n", (int) partition, err.text);
        wrong = 1;
        return;
    }
    f->started = 1;
    f->expected = offset;
    f->got = 0;
    f->start_ms = now_ms();
}


static int64_t
take(kafka_batch_t *batch)
{
    size_t     n;
    record_t  *recs = kafka_batch_records(batch, &n);
    int32_t    part = kafka_batch_partition(batch);
    follow_t  *f = &follow[part];

    if (!f->held || !f->started) {
        printf("wrong: records of %d, held %d, started %d\n", (int) part,
               f->held, f->started);
        wrong = 1;
    }

    for (size_t i = 0; i < n; i++) {
        char  value[32];
        int   len = snprintf(value, sizeof(value), "%" PRId64 " ",
                             recs[i].offset);

        /* The test's records begin with the offset they will have. */
        if (recs[i].partition != part || recs[i].offset != f->expected
            || recs[i].len < (size_t) len
            || memcmp(recs[i].value, value, (size_t) len) != 0)
        {
            printf("wrong: %d: offset %" PRId64 ", expected %" PRId64 "\n",
                   (int) part, recs[i].offset, f->expected);
            wrong = 1;
            break;
        }
        f->expected++;
        f->got++;
    }

    if (kafka_position(kafka, part) < f->expected) {
        printf("wrong: %d: position %" PRId64 " after %" PRId64 "\n",
               (int) part, kafka_position(kafka, part), f->expected - 1);
        wrong = 1;
    }
    return (int64_t) n;
}


static int
input_waits(void)
{
    struct pollfd  in = { STDIN_FILENO, POLLIN, 0 };

    return poll(&in, 1, 0) > 0;
}


/*
 * Pause, begin and rewind at random, while others write and members come and
 * go, until there were so many begins or another command waits.  Every begin
 * must deliver within 20 s, unless it was at the end.
 */
static void
stress(int rounds, unsigned seed)
{
    int64_t  records = 0, starts = 0, pauses = 0;
    int64_t  first, end, began = now_ms();

    chatty = 0;

    while (starts < rounds && !wrong && !input_waits()) {
        kafka_batch_t  *batch = kafka_poll(kafka, (int) (rand_r(&seed) % 30),
                                           1 + rand_r(&seed) % 300,
                                           1 + rand_r(&seed) % 200000);
        if (batch != NULL) {
            records += take(batch);
            kafka_batch_free(batch);
        }

        if (now_ms() - began > 300000) {
            printf("wrong: %" PRId64 " starts in 300 s\n", starts);
            wrong = 1;
        }

        for (int p = 0; p < PARTS; p++) {
            follow_t  *f = &follow[p];

            if (!f->held) {
                continue;
            }
            if (f->started && f->got == 0 && now_ms() - f->start_ms > 20000
                && kafka_bounds(kafka, p, &first, &end, &err) == RC_OK
                && end > f->expected)
            {
                printf("wrong: %d: nothing since its start at %" PRId64 "\n",
                       p, f->expected);
                wrong = 1;
            }

            int  dice = (int) (rand_r(&seed) % 40);

            if (dice == 0 && f->started) {
                kafka_pause(kafka, p);
                f->started = 0;
                pauses++;
            } else if (dice < 3 || !f->started) {
                /* Often at once again, so that fetches are under way. */
                if (kafka_bounds(kafka, p, &first, &end, &err) == RC_OK
                    && end > first)
                {
                    start(p, first + rand_r(&seed) % (end - first));
                    starts++;
                }
            }
        }
    }

    printf("=\t%s\tstarts=%" PRId64 " pauses=%" PRId64 " records=%" PRId64
           "\n", wrong ? "wrong" : "ok", starts, pauses, records);
    fflush(stdout);
    chatty = 1;
}


/* Poll until n records came or the time is over; prints them. */
static void
poll_records(size_t n, int timeout_ms)
{
    int64_t  deadline = now_ms() + timeout_ms;
    size_t   seen = 0;

    while (seen < n && now_ms() < deadline) {
        kafka_batch_t  *batch = kafka_poll(kafka, 100, n - seen, 1 << 20);
        record_t       *recs;
        size_t          k;

        if (batch == NULL) {
            continue;
        }
        recs = kafka_batch_records(batch, &k);
        for (size_t i = 0; i < k; i++) {
            printf("record %d %" PRId64 " %s%.*s %zu %" PRId64 "\n",
                   (int) recs[i].partition, recs[i].offset,
                   recs[i].value == NULL ? "null" : "",
                   (int) recs[i].key_len, (const char *) recs[i].key,
                   recs[i].len, recs[i].ts_ms);
        }
        seen += k;
        kafka_batch_free(batch);
    }
    printf("=\t%s\t%zu\n", seen >= n ? "ok" : "timeout", seen);
    fflush(stdout);
}


/* Sends the next record on to words[1]. */
static rc_t
send_on(void)
{
    static const kafka_extra_t  extra[] = {
        { SLUICE_H_ERROR_REASON, "too late" }, { SLUICE_H_ERROR_OFFSET, "7" }
    };

    kafka_batch_t  *batch = NULL;
    record_t       *recs;
    size_t          n;
    rc_t            rc;

    for (int i = 0; i < 100 && batch == NULL; i++) {
        batch = kafka_poll(kafka, 100, 1, 1 << 20);
    }
    if (batch == NULL) {
        return err_set(&err, RC_RETRY, "no record");
    }

    recs = kafka_batch_records(batch, &n);
    rc = kafka_send(kafka, words[1], recs, extra, 2, &err);
    kafka_batch_free(batch);
    return rc == RC_OK ? kafka_send_wait(kafka, atoi(words[2]), &err) : rc;
}


/* What retention does, at once: no record below offset is left. */
static rc_t
delete_below(const kafka_conf_t *conf, const char *topic, int32_t part,
    int64_t offset)
{
    char                              why[200];
    rd_kafka_conf_t                  *rkc = rd_kafka_conf_new();
    rd_kafka_topic_partition_list_t  *list;
    rd_kafka_DeleteRecords_t         *del;
    rd_kafka_queue_t                 *queue;
    rd_kafka_event_t                 *event;
    rd_kafka_t                       *rk;
    rc_t                              rc = RC_OK;

    rd_kafka_conf_set(rkc, conf->props.keys[0], conf->props.values[0], why,
                      sizeof(why));
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, rkc, why, sizeof(why));
    queue = rd_kafka_queue_new(rk);
    list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, part)->offset = offset;
    del = rd_kafka_DeleteRecords_new(list);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_DeleteRecords(rk, &del, 1, NULL, queue);
    rd_kafka_DeleteRecords_destroy(del);

    event = rd_kafka_queue_poll(queue, 30000);
    if (event == NULL || rd_kafka_event_error(event)) {
        rc = err_set(&err, RC_RETRY, "%s",
                     event != NULL ? rd_kafka_event_error_string(event)
                                   : "no answer");
    }
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return rc;
}


static int
is(const char *word)
{
    return strcmp(words[0], word) == 0;
}


static void
kafka_command(const kafka_conf_t *conf, const char *topic)
{
    int32_t  part = nwords > 1 ? atoi(words[1]) : 0;
    int64_t  a = -1, b = -1;
    rc_t     rc = RC_OK;

    err.text[0] = '\0';

    if (is("stress")) {
        stress(atoi(words[1]), (unsigned) atoi(words[2]));
        return;
    }
    if (is("poll")) {
        poll_records((size_t) atoi(words[1]), atoi(words[2]));
        return;
    }

    if (is("start")) {
        rc = kafka_start(kafka, part, atoll(words[2]), &err);
    } else if (is("pause")) {
        kafka_pause(kafka, part);
    } else if (is("bounds")) {
        rc = kafka_bounds(kafka, part, &a, &b, &err);
    } else if (is("at")) {
        rc = kafka_offset_at(kafka, part, atoll(words[2]), &a, &err);
    } else if (is("position")) {
        a = kafka_position(kafka, part);
    } else if (is("commit")) {
        rc = kafka_commit_wait(kafka, part, atoll(words[2]), 10000, &err);
    } else if (is("delete_below")) {
        rc = delete_below(conf, topic, part, atoll(words[2]));
    } else if (is("send")) {
        rc = send_on();
    } else if (is("close")) {
        kafka_close(kafka);
        kafka = NULL;
    } else if (is("probe")) {
        const char  *topics[2] = { topic, words[2] };

        rc = kafka_probe(conf, topics, nwords > 2 ? 2 : 1, atoll(words[1]),
                         &err);
    }

    printf("=\t%s\t%s%" PRId64 " %" PRId64 "\n", rc_name(rc),
           err.text[0] != '\0' ? err.text : "", a, b);
    fflush(stdout);
}


static void
run_kafka(char **argv, int argc)
{
    static const kafka_events_t  events = { on_assigned, on_revoked };

    kafka_conf_t    conf = { .props = { .n = 0 } };
    kafka_member_t  member = { .topic = argv[0], .instance_id = argv[1],
                               .fetch_bytes = 4 << 20 };
    char           *keys[WORDS], *values[WORDS];
    int             lines[WORDS];
    rc_t            rc;

    conf.props.keys = keys;
    conf.props.values = values;
    conf.props.lines = lines;

    for (int i = 2; i < argc; i++) {
        size_t  k = conf.props.n++;

        values[k] = strchr(argv[i], '=') + 1;
        keys[k] = mem_strndup(argv[i], (size_t) (values[k] - argv[i] - 1));
        lines[k] = i;
    }

    rc = strcmp(argv[1], "-") == 0
         ? kafka_check(&conf, &err)
         : kafka_open(&kafka, &conf, &member, &events, NULL, &err);

    printf("=\t%s\t%s\n", rc_name(rc), rc == RC_OK ? kafka_group(&conf)
                                                  : err.text);
    fflush(stdout);

    while (rc == RC_OK && read_command()) {
        kafka_command(&conf, argv[0]);
    }

    kafka_close(kafka);
    for (size_t i = 0; i < conf.props.n; i++) {
        free(keys[i]);
    }
}


int
main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    log_level_set(LOG_LEVEL_DEBUG);

    if (argc >= 6 && strcmp(argv[1], "redis") == 0) {
        run_redis(argv + 2);
    } else if (argc == 5 && strcmp(argv[1], "pg") == 0) {
        run_pg(argv + 2);
    } else if (argc > 4 && strcmp(argv[1], "kafka") == 0) {
        run_kafka(argv + 2, argc - 2);
    } else {
        return 2;
    }

    return wrong ? 1 : 0;
}
