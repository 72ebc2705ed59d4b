/*
 * main.c: arguments, signals, order of start and stop.
 *
 * Owns struct processor and the main thread, which only waits for signals.
 * The work is done by lanes, one thread each; a command (tool/) works in their
 * place and ends.
 *
 * SIGTERM and SIGINT: lanes finish what they hold, write it down and leave the
 * group, as far as the services answer within PROCESSOR_LEAVE_S; what isn't
 * done by then the next owner does again.  A second signal, or
 * PROCESSOR_STOP_S, ends the process where it is.  SIGHUP takes over what is
 * reloadable.
 */

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "assemble/assemble.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/stop.h"
#include "lane/lane.h"
#include "lane/monitor.h"
#include "lane/rows.h"
#include "tool/tool.h"

#define PROCESSOR_VERSION   "0.1.0"
#define PROCESSOR_LEAVE_S   15
#define PROCESSOR_STOP_S    30
#define PROCESSOR_STORES    8            /* kinds, at most */

struct processor {
    lane_conf_t      conf;
    kafka_conf_t     kafka;
    redis_conf_t     redis;
    pg_conf_t        pg;
    http_conf_t      http;
    char            *store_names[PROCESSOR_STORES];   /* of the sections */
    void            *store_confs[PROCESSOR_STORES];
    size_t           nstores;
    conf_section_t   sections[6 + PROCESSOR_STORES];
    const char      *path;

    atomic_int       stop;
    lane_t         **lanes;
    pthread_t       *threads;
    size_t           nlanes;
    assemble_t     **assemblers;
    pthread_t       *assembler_threads;
    size_t           nassemblers;
    pthread_t        warner;
    int              warning;        /* there is that thread */
    monitor_t       *monitor;        /* NULL: nobody may ask */
};


static void
processor_init(struct processor *pr, const char *path)
{
    conf_section_t *s = pr->sections;

    memset(pr, 0, sizeof(*pr));
    pr->path = path;

    *s++ = (conf_section_t) { "processor", lane_rows, &pr->conf };
    *s++ = (conf_section_t) { "kafka", kafka_rows, &pr->kafka };
    *s++ = (conf_section_t) { "redis", redis_rows, &pr->redis };
    *s++ = (conf_section_t) { "postgres", pg_rows, &pr->pg };
    *s++ = (conf_section_t) { "http", http_rows, &pr->http };

    for (size_t i = 0; store_table[i] != NULL && i < PROCESSOR_STORES; i++) {
        pr->store_names[i] = mem_printf("store.%s", store_table[i]->name);
        pr->store_confs[i] = mem_zalloc(store_table[i]->conf_size);
        pr->nstores++;

        *s++ = (conf_section_t) { pr->store_names[i], store_table[i]->rows,
                                  pr->store_confs[i] };
    }
}


static void
processor_free(struct processor *pr)
{
    conf_free(pr->sections);

    for (size_t i = 0; i < pr->nstores; i++) {
        free(pr->store_names[i]);
        free(pr->store_confs[i]);
    }

    free(pr->lanes);
    free(pr->threads);
    free(pr->assemblers);
    free(pr->assembler_threads);
}


/* The store that [processor] store names, or -1. */
static int
processor_store(const struct processor *pr, err_t *err)
{
    for (size_t i = 0; i < pr->nstores; i++) {
        if (strcmp(store_table[i]->name, pr->conf.store) == 0) {
            return (int) i;
        }
    }

    err_set(err, RC_REJECT, "[processor] store \"%s\" is no kind of store",
            pr->conf.store);

    return -1;
}


static rc_t
processor_load(struct processor *pr, err_t *err)
{
    rc_t rc = conf_load(pr->path, pr->sections, err);

    if (rc == RC_OK) {
        rc = kafka_check(&pr->kafka, err);
    }

    if (rc == RC_OK) {
        rc = lane_check(&pr->conf, kafka_group(&pr->kafka), err);
    }

    if (rc == RC_OK) {
        rc = redis_check(&pr->redis, err);
    }

    if (rc == RC_OK) {
        rc = pg_check(&pr->pg, err);
    }

    if (rc == RC_OK) {
        rc = http_check(&pr->http, err);
    }

    if (rc == RC_OK && processor_store(pr, err) < 0) {
        rc = RC_REJECT;
    }

    return rc;
}


static rc_t
processor_probe_kafka(struct processor *pr, err_t *err)
{
    const char *topics[] = { pr->conf.topic, pr->conf.late_topic,
                             pr->conf.dead_topic, pr->conf.chunks_topic };

    return kafka_probe(&pr->kafka, topics, pr->conf.assemble_lanes > 0 ? 4 : 3,
                       pr->conf.lateness_ms, err);
}


static rc_t
processor_probe_redis(struct processor *pr, char *found, size_t size,
    err_t *err)
{
    redis_t  *redis = redis_open(&pr->redis);
    rc_t      rc = redis_probe(redis, "sluice:", found, size, err);

    redis_close(redis);

    return rc;
}


static rc_t
processor_probe_store(struct processor *pr, err_t *err)
{
    int       at = processor_store(pr, err);
    store_t  *store = NULL;
    rc_t      rc = store_table[at]->open(&store, pr->store_confs[at], err);

    if (rc == RC_OK) {
        rc = store_table[at]->probe(store, err);
        store_table[at]->close(store);
    }

    return rc;
}


/* One line of -t; 1 when it failed.  found: what is there, or NULL. */
static int
processor_say(const char *what, const char *found, rc_t rc, const err_t *err)
{
    if (rc != RC_OK) {
        printf("FAIL %s: %s\n", what, err->text);

    } else if (err->text[0] != '\0') {
        printf("ok %s, but: %s\n", what, err->text);

    } else if (found != NULL) {
        printf("ok %s: %s\n", what, found);

    } else {
        printf("ok %s\n", what);
    }

    fflush(stdout);

    return rc != RC_OK;
}


static int
processor_test(struct processor *pr)
{
    err_t  err[5] = { { "" } };
    char   found[1024] = "";
    int    failed = 0;
    rc_t   rc;

    failed |= processor_say("kafka", NULL, processor_probe_kafka(pr, &err[0]),
                            &err[0]);
    rc = processor_probe_redis(pr, found, sizeof(found), &err[1]);
    failed |= processor_say("redis", found, rc, &err[1]);
    failed |= processor_say("postgres", NULL, rows_probe(&pr->pg, &err[2]),
                            &err[2]);
    failed |= processor_say("store", NULL, processor_probe_store(pr, &err[3]),
                            &err[3]);

    if (pr->conf.assemble_lanes > 0) {
        failed |= processor_say("spool", NULL,
                                assemble_probe(&pr->conf, &err[4]), &err[4]);
    }

    return failed;
}


static void
processor_reload(struct processor *pr)
{
    struct processor  fresh;
    err_t             err = { "" };

    processor_init(&fresh, pr->path);

    if (processor_load(&fresh, &err) == RC_OK) {
        log_level_set((log_level_e) fresh.conf.log_level);
        log_notice("main", "reloaded");

    } else {
        log_error("main", "configuration not taken over", LS("err", err.text));
    }

    processor_free(&fresh);
}


static void *
processor_lane(void *arg)
{
    lane_run(arg);
    return NULL;
}


static void *
processor_assembler(void *arg)
{
    assemble_run(arg);
    return NULL;
}


static rc_t
processor_start_assemblers(struct processor *pr, const lane_setup_t *setup,
    err_t *err)
{
    size_t  n = (size_t) pr->conf.assemble_lanes;
    rc_t    rc;

    pr->assemblers = mem_zalloc((n + 1) * sizeof(*pr->assemblers));
    pr->assembler_threads = mem_zalloc((n + 1)
                                       * sizeof(*pr->assembler_threads));

    for (size_t i = 0; i < n; i++) {
        rc = assemble_open(&pr->assemblers[i], setup, (int) i, err);

        if (rc != RC_OK) {
            return rc;
        }
        if (pthread_create(&pr->assembler_threads[i], NULL,
                           processor_assembler, pr->assemblers[i]) != 0)
        {
            return err_set(err, RC_REJECT, "no thread for assembling lane %zu",
                           i);
        }
        pr->nassemblers++;
    }

    return RC_OK;
}


static rc_t
processor_start(struct processor *pr, err_t *err)
{
    static char   host[256];
    int           at = processor_store(pr, err);
    size_t        n = (size_t) pr->conf.lanes;
    lane_setup_t  setup = {
        .conf = &pr->conf, .kafka = &pr->kafka, .redis = &pr->redis,
        .pg = &pr->pg, .store = store_table[at],
        .store_conf = pr->store_confs[at], .host = host, .stop = &pr->stop
    };

    if (gethostname(host, sizeof(host) - 1) != 0) {
        return err_set(err, RC_REJECT, "this host has no name: %s",
                       strerror(errno));
    }

    /* First, so that a port that is taken ends the start with no lane begun. */
    if (!http_is_off(&pr->http)) {
        rc_t rc = monitor_open(&pr->monitor, &pr->http, &pr->kafka,
                               PROCESSOR_VERSION, err);

        if (rc != RC_OK) {
            return rc;
        }
    }

    pr->lanes = mem_zalloc(n * sizeof(*pr->lanes));
    pr->threads = mem_zalloc(n * sizeof(*pr->threads));

    for (size_t i = 0; i < n; i++) {
        rc_t rc = lane_open(&pr->lanes[i], &setup, (int) i, err);

        if (rc != RC_OK) {
            return rc;
        }
    }

    for (size_t i = 0; i < n; i++) {
        if (pthread_create(&pr->threads[i], NULL, processor_lane,
                           pr->lanes[i]) != 0)
        {
            return err_set(err, RC_REJECT, "no thread for lane %zu", i);
        }

        pr->nlanes++;
    }

    return processor_start_assemblers(pr, &setup, err);
}


/*
 * A setting at odds with the topic's clock bounds is no reason not to work.  A
 * thread of its own: brokers may let it wait, and the main thread has signals
 * to hear.
 */
static void *
processor_warn(void *arg)
{
    struct processor *pr = arg;
    err_t             err = { "" };
    rc_t              rc = processor_probe_kafka(pr, &err);

    if (err.text[0] != '\0' && !atomic_load(&pr->stop)) {
        log_warn("main", rc == RC_OK ? "settings disagree"
                                     : "kafka is not as it should be",
                 LS("why", err.text));
    }

    return NULL;
}


/* Waits a little for a thread; 0 when it has ended. */
static int
processor_wait(pthread_t thread)
{
    struct timespec  until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;

    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }

    return pthread_timedjoin_np(thread, NULL, &until);
}


/* Ends the process when the lanes don't. */
static void
processor_join(struct processor *pr, const sigset_t *signals)
{
    struct timespec  none = { 0, 0 };
    int              turns = PROCESSOR_STOP_S * 10;
    size_t           lanes = 0, assemblers = 0;
    sigset_t         end = *signals;

    sigdelset(&end, SIGHUP);

    while (lanes < pr->nlanes || assemblers < pr->nassemblers || pr->warning) {

        if (pr->warning) {
            pr->warning = processor_wait(pr->warner) != 0;

        } else if (lanes < pr->nlanes) {
            if (processor_wait(pr->threads[lanes]) == 0) {
                lane_close(pr->lanes[lanes++]);
                continue;
            }

        } else if (processor_wait(pr->assembler_threads[assemblers]) == 0) {
            assemble_close(pr->assemblers[assemblers++]);
            continue;
        }

        if (--turns == 0 || sigtimedwait(&end, NULL, &none) > 0) {
            log_error("main", "ended before the lanes did");
            _exit(1);
        }
    }
}


static int
processor_run(struct processor *pr)
{
    sigset_t  signals;
    err_t     err = { "" };
    int       number;

    /* Blocked before any thread is there: they inherit it. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    log_notice("main", "starting", LS("version", PROCESSOR_VERSION),
               LS("pipeline", pr->conf.pipeline), LS("topic", pr->conf.topic),
               LI("lanes", pr->conf.lanes));

    if (processor_start(pr, &err) != RC_OK) {
        log_error("main", "can't start", LS("err", err.text));
        _exit(1);                       /* some lanes may be at work already */
    }

    (void) sd_notify(0, "READY=1");
    pr->warning = pthread_create(&pr->warner, NULL, processor_warn, pr) == 0;

    do {
        number = sigwaitinfo(&signals, NULL);

        if (number == SIGHUP) {
            processor_reload(pr);
        }
    } while (number != SIGTERM && number != SIGINT);

    (void) sd_notify(0, "STOPPING=1");
    log_notice("main", "stopping");
    stop_within(PROCESSOR_LEAVE_S * 1000);
    atomic_store(&pr->stop, 1);
    processor_join(pr, &signals);
    monitor_close(pr->monitor);
    log_notice("main", "stopped");

    return 0;
}


/* A command in the daemon's place. */
static int
processor_tool(struct processor *pr, const tool_t *tool, int argc, char **argv)
{
    err_t          err = { "" };
    tool_common_t  common;

    if (tool_common(&common, &argc, argv) != 0 || common.path == NULL
        || common.help)
    {
        (void) tool_usage(tool);
        return common.help ? TOOL_OK : TOOL_FAILED;
    }

    processor_init(pr, common.path);

    if (processor_load(pr, &err) != RC_OK) {
        return tool_fail(tool, &err);
    }

    int         at = processor_store(pr, &err);
    tool_env_t  env = {
        .conf = &pr->conf, .kafka = &pr->kafka, .redis = &pr->redis,
        .pg = &pr->pg, .store = store_table[at],
        .store_conf = pr->store_confs[at], .json = common.json
    };

    /* The daemon's log_level is not meant for who reads a table. */
    log_level_set(LOG_LEVEL_WARN);
    signal(SIGPIPE, SIG_IGN);

    int code = tool->run(&env, argc, argv);

    processor_free(pr);

    return code;
}


static void
processor_help(FILE *out)
{
    fputs("usage: sluice-processor -c FILE [-t]\n"
          "       sluice-processor COMMAND -c FILE [--json] ...\n"
          "       sluice-processor --reference | --version | --help\n"
          "  -c FILE      the configuration\n"
          "  -t           check it and every connection, and end\n"
          "  --reference  print every setting and metric, as Markdown\n", out);

    for (size_t i = 0; tool_table[i] != NULL; i++) {
        fprintf(out, "%s  %-12s %s\n", i == 0 ? "commands\n" : "",
                tool_table[i]->name, tool_table[i]->help);
    }
}


static int
processor_usage(void)
{
    processor_help(stderr);

    return 2;
}


int
main(int argc, char **argv)
{
    static const struct option  options[] = {
        { "help", no_argument, NULL, 'h' },
        { "reference", no_argument, NULL, 'r' },
        { "version", no_argument, NULL, 'v' },
        { NULL, 0, NULL, 0 }
    };

    static struct processor  pr;
    const tool_t            *tool;
    const char              *path = NULL;
    err_t                    err = { "" };
    int                      c, test = 0;

    tool = argc > 1 ? tool_find(argv[1]) : NULL;

    if (tool != NULL) {
        return processor_tool(&pr, tool, argc - 1, argv + 1);
    }

    while ((c = getopt_long(argc, argv, "c:t", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case 't':
            test = 1;
            break;
        case 'h':
            processor_help(stdout);
            return 0;
        case 'r':
            processor_init(&pr, NULL);
            conf_reference(stdout, pr.sections);
            puts("\n## Metrics\n");
            metrics_reference(stdout);
            return 0;
        case 'v':
            puts("sluice-processor " PROCESSOR_VERSION);
            return 0;
        default:
            return processor_usage();
        }
    }

    if (path == NULL || optind < argc) {
        return processor_usage();
    }

    processor_init(&pr, path);

    if (processor_load(&pr, &err) != RC_OK) {
        fprintf(stderr, "sluice-processor: %s\n", err.text);
        return 1;
    }

    log_level_set((log_level_e) pr.conf.log_level);
    c = test ? processor_test(&pr) : processor_run(&pr);
    processor_free(&pr);

    return c;
}
