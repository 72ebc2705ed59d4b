/*
 * floor.c: what the parts cost alone, in plain C with the same libraries.
 *
 *   floor hash BYTES COUNT                     SHA-256 of COUNT files
 *   floor produce BROKERS TOPIC BYTES COUNT    librdkafka, no copy, acks=all
 *   floor consume BROKERS TOPIC                read to the end and hash
 *   floor files DIR BYTES COUNT BATCH          write files, sync each BATCH
 *
 * Prints one line: cpu=SECONDS bytes=N files=N wall=SECONDS.  The bench holds
 * the real parts against the sum of these, measured in the same run.
 */

#include <errno.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SLOTS_BYTES  64000000      /* distinct buffers: no gift of the cache */
#define INFLIGHT     320           /* as 16 forms of 20 files */


typedef struct {
    long  acked, failed;
} floor_reports_t;


static double
floor_clock(clockid_t id)
{
    struct timespec  ts;

    clock_gettime(id, &ts);

    return ts.tv_sec + ts.tv_nsec / 1e9;
}


static void
floor_die(const char *what, const char *why)
{
    fprintf(stderr, "floor: %s: %s\n", what, why);
    exit(1);
}


static void
floor_print(double cpu, double wall, double bytes, long files)
{
    printf("cpu=%.4f bytes=%.0f files=%ld wall=%.4f\n", cpu, bytes, files,
           wall);
}


static char *
floor_bytes(size_t size)
{
    char  *buf;
    FILE  *f;

    buf = malloc(size);
    f = fopen("/dev/urandom", "r");

    if (buf == NULL || f == NULL || fread(buf, 1, size, f) != size) {
        floor_die("urandom", "can't read");
    }

    fclose(f);

    return buf;
}


static void
floor_hash_one(EVP_MD_CTX *ctx, const void *data, size_t len)
{
    unsigned int   n;
    unsigned char  md[EVP_MAX_MD_SIZE];

    EVP_DigestInit_ex(ctx, NULL, NULL);
    EVP_DigestUpdate(ctx, data, len);
    EVP_DigestFinal_ex(ctx, md, &n);
}


static void
floor_hash(size_t size, long count)
{
    long         i, slots;
    char        *buf;
    double       cpu, wall;
    EVP_MD_CTX  *ctx;

    slots = SLOTS_BYTES / size + 1;
    buf = floor_bytes(slots * size);
    ctx = EVP_MD_CTX_new();
    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

    cpu = floor_clock(CLOCK_PROCESS_CPUTIME_ID);
    wall = floor_clock(CLOCK_MONOTONIC);

    for (i = 0; i < count; i++) {
        floor_hash_one(ctx, buf + i % slots * size, size);
    }

    floor_print(floor_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu,
                floor_clock(CLOCK_MONOTONIC) - wall, (double) size * count,
                count);
    EVP_MD_CTX_free(ctx);
    free(buf);
}


static void
floor_report(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
    floor_reports_t  *reports = opaque;

    (void) rk;

    if (msg->err) {
        reports->failed++;

    } else {
        reports->acked++;
    }
}


static rd_kafka_conf_t *
floor_conf(const char *const *props)
{
    char              err[512];
    rd_kafka_conf_t  *conf;

    conf = rd_kafka_conf_new();

    for ( /* void */ ; props[0] != NULL; props += 2) {
        if (rd_kafka_conf_set(conf, props[0], props[1], err, sizeof(err))
            != RD_KAFKA_CONF_OK)
        {
            floor_die(props[0], err);
        }
    }

    return conf;
}


static void
floor_produce(const char *brokers, const char *topic, size_t size, long count)
{
    long              i, slots;
    char             *buf, err[512];
    double            cpu, wall;
    rd_kafka_t       *rk;
    rd_kafka_conf_t  *conf;
    floor_reports_t   reports = { 0, 0 };
    const char       *props[] = {
        "bootstrap.servers", brokers, "acks", "all", "linger.ms", "1",
        NULL
    };

    slots = SLOTS_BYTES / size + 1;
    buf = floor_bytes(slots * size);

    conf = floor_conf(props);
    rd_kafka_conf_set_dr_msg_cb(conf, floor_report);
    rd_kafka_conf_set_opaque(conf, &reports);

    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof(err));
    if (rk == NULL) {
        floor_die("producer", err);
    }

    cpu = floor_clock(CLOCK_PROCESS_CPUTIME_ID);
    wall = floor_clock(CLOCK_MONOTONIC);

    for (i = 0; i < count; /* void */ ) {
        if (i - reports.acked - reports.failed >= INFLIGHT) {
            rd_kafka_poll(rk, 10);
            continue;
        }

        if (rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic),
                              RD_KAFKA_V_VALUE(buf + i % slots * size, size),
                              RD_KAFKA_V_END)
            == RD_KAFKA_RESP_ERR_NO_ERROR)
        {
            i++;
        }

        rd_kafka_poll(rk, 0);
    }

    rd_kafka_flush(rk, 60000);

    floor_print(floor_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu,
                floor_clock(CLOCK_MONOTONIC) - wall,
                (double) size * reports.acked, reports.acked);

    if (reports.failed || reports.acked != count) {
        floor_die("produce", "not everything was acknowledged");
    }

    rd_kafka_destroy(rk);
    free(buf);
}


static void
floor_subscribe(rd_kafka_t *rk, const char *topic, int *left)
{
    int                               p;
    rd_kafka_topic_t                 *rkt;
    rd_kafka_topic_partition_list_t  *list;
    const struct rd_kafka_metadata   *meta;

    rkt = rd_kafka_topic_new(rk, topic, NULL);

    if (rd_kafka_metadata(rk, 0, rkt, &meta, 10000)) {
        floor_die("metadata", topic);
    }

    *left = meta->topics[0].partition_cnt;
    list = rd_kafka_topic_partition_list_new(*left);

    for (p = 0; p < *left; p++) {
        rd_kafka_topic_partition_list_add(list, topic, p)->offset =
            RD_KAFKA_OFFSET_BEGINNING;
    }

    rd_kafka_assign(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_metadata_destroy(meta);
    rd_kafka_topic_destroy(rkt);
}


static void
floor_consume(const char *brokers, const char *topic)
{
    int                  left;
    long                 files = 0;
    char                 err[512];
    double               cpu, wall, bytes = 0;
    EVP_MD_CTX          *ctx;
    rd_kafka_t          *rk;
    rd_kafka_message_t  *msg;
    const char          *props[] = {
        "bootstrap.servers", brokers, "group.id", "floor",
        "enable.auto.commit", "false", "enable.partition.eof", "true",
        "queued.max.messages.kbytes", "1000000",
        "fetch.message.max.bytes", "4000000", NULL
    };

    rk = rd_kafka_new(RD_KAFKA_CONSUMER, floor_conf(props), err, sizeof(err));
    if (rk == NULL) {
        floor_die("consumer", err);
    }

    ctx = EVP_MD_CTX_new();
    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    rd_kafka_poll_set_consumer(rk);

    cpu = floor_clock(CLOCK_PROCESS_CPUTIME_ID);
    wall = floor_clock(CLOCK_MONOTONIC);

    for (floor_subscribe(rk, topic, &left); left > 0; /* void */ ) {
        msg = rd_kafka_consumer_poll(rk, 10000);

        if (msg == NULL) {
            floor_die("consume", "nothing for 10 s");
        }

        if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            left--;

        } else if (!msg->err) {
            floor_hash_one(ctx, msg->payload, msg->len);
            bytes += msg->len;
            files++;
        }

        rd_kafka_message_destroy(msg);
    }

    floor_print(floor_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu,
                floor_clock(CLOCK_MONOTONIC) - wall, bytes, files);

    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    EVP_MD_CTX_free(ctx);
}


/* A directory for each 1,100 files, as the catch-up's windows have. */
static void
floor_files(const char *dir, size_t size, long count, long batch)
{
    int      fd, root;
    long     i;
    char    *buf, path[1024];
    double   cpu, wall;

    buf = floor_bytes(size);
    root = open(dir, O_RDONLY | O_DIRECTORY);

    if (root == -1) {
        floor_die(dir, strerror(errno));
    }

    cpu = floor_clock(CLOCK_PROCESS_CPUTIME_ID);
    wall = floor_clock(CLOCK_MONOTONIC);

    for (i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%ld", dir, i / 1100);

        if (i % 1100 == 0 && mkdir(path, 0755) != 0) {
            floor_die(path, strerror(errno));
        }

        snprintf(path, sizeof(path), "%s/%ld/%ld", dir, i / 1100, i);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);

        if (fd == -1 || write(fd, buf, size) != (ssize_t) size
            || close(fd) != 0)
        {
            floor_die(path, strerror(errno));
        }

        if ((i % batch == batch - 1 || i == count - 1) && syncfs(root) != 0) {
            floor_die("syncfs", strerror(errno));
        }
    }

    floor_print(floor_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu,
                floor_clock(CLOCK_MONOTONIC) - wall, (double) size * count,
                count);
    close(root);
    free(buf);
}


int
main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "hash") == 0) {
        floor_hash(atol(argv[2]), atol(argv[3]));
        return 0;
    }

    if (argc == 6 && strcmp(argv[1], "produce") == 0) {
        floor_produce(argv[2], argv[3], atol(argv[4]), atol(argv[5]));
        return 0;
    }

    if (argc == 4 && strcmp(argv[1], "consume") == 0) {
        floor_consume(argv[2], argv[3]);
        return 0;
    }

    if (argc == 6 && strcmp(argv[1], "files") == 0) {
        floor_files(argv[2], atol(argv[3]), atol(argv[4]), atol(argv[5]));
        return 0;
    }

    fprintf(stderr, "usage: floor hash|produce|consume|files ...\n");

    return 2;
}
