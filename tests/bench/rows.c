/*
 * rows.c: what three ways of writing many rows cost.
 *
 *   rows DSN ROWS
 *
 * DSN is a database with Sluice's schema.  unnest: arrays, as lane/rows.c
 * does; copy: COPY into a temporary table, then INSERT; pipeline: a prepared
 * INSERT for each row, 100 in flight.  Each writes ROWS rows in portions of
 * 500, 2,000 and 10,000, first new ones, then the same again with higher
 * counts, all under the guard of sluice.progress.  They take turns.
 *
 * Prints portion, way, insert or update, and microseconds of CPU per row: the
 * client's, the server process's, their sum, and the sum by that of unnest.
 */

#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define COLUMNS    11
#define IN_FLIGHT  100
#define WINDOW_MS  1795224030000

#define SQL_TIME(n)                                                           \
    "timestamptz 'epoch' + " n "::bigint * interval '1 millisecond'"

#define SQL_MINE                                                              \
    "SELECT 1 FROM sluice.progress WHERE pipeline = 'bench'"                  \
    " AND topic = 'uploads' AND partition = 0 AND closed_through IS NULL"     \
    " FOR SHARE"

#define SQL_INTO                                                              \
    "INSERT INTO sluice.summary AS s (pipeline, topic, partition,"            \
    " window_start, customer, sha256, id, name, type, size, count, object,"   \
    " first_seen, first_offset, upload, generation, through_offset, final) "

#define SQL_CONFLICT                                                          \
    " ON CONFLICT (pipeline, topic, partition, window_start, customer,"       \
    " sha256, generation) DO UPDATE SET count = excluded.count,"              \
    " through_offset = excluded.through_offset, final = excluded.final,"      \
    " updated_at = now() WHERE NOT s.final"                                   \
    " AND s.through_offset <= excluded.through_offset"

#define SQL_MANY(from)                                                        \
    "WITH mine AS MATERIALIZED (" SQL_MINE "), written AS (" SQL_INTO         \
    "SELECT DISTINCT ON (r.customer COLLATE \"C\", r.sha256 COLLATE \"C\")"   \
    " 'bench', 'uploads', 0, " SQL_TIME("$1") ", r.customer, r.sha256,"       \
    " r.id::uuid, r.name, r.type, r.size, r.count, r.object, "                \
    SQL_TIME("r.first_seen") ", r.first_offset, r.upload, 0, $2::bigint,"     \
    " false FROM mine, " from                                                 \
    " ORDER BY r.customer COLLATE \"C\", r.sha256 COLLATE \"C\""              \
    SQL_CONFLICT " RETURNING 1) SELECT count(*) FROM written"

static const char sql_unnest[] = SQL_MANY(
    "unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[],"
    " $8::bigint[], $9::bigint[], $10::text[], $11::bigint[],"
    " $12::bigint[], $13::text[]) AS r(customer, sha256, id, name, type,"
    " size, count, object, first_seen, first_offset, upload)");

static const char sql_copied[] = SQL_MANY("pg_temp.rows r");

static const char sql_one[] = SQL_INTO
    "VALUES ('bench', 'uploads', 0, " SQL_TIME("$1") ", $3, $4, $5::uuid, $6,"
    " $7, $8::bigint, $9::bigint, $10, " SQL_TIME("$11") ", $12::bigint, $13,"
    " 0, $2::bigint, false)" SQL_CONFLICT;

static const char sql_setup[] =
    "DELETE FROM sluice.summary WHERE pipeline = 'bench';"
    "DELETE FROM sluice.progress WHERE pipeline = 'bench';"
    "INSERT INTO sluice.progress (pipeline, topic, partition, window_ms,"
    " next_offset) VALUES ('bench', 'uploads', 0, 30000, 0);"
    "SELECT sluice.ensure_day(" SQL_TIME("1795224030000") ");"
    "CREATE TEMPORARY TABLE rows (customer text, sha256 text, id uuid,"
    " name text, type text, size bigint, count bigint, object text,"
    " first_seen bigint, first_offset bigint, upload text)"
    " ON COMMIT DELETE ROWS";

typedef struct {
    char  *text;
    size_t len, cap;
} text_t;

/* A portion: which rows, and what is told of all of them. */
typedef struct {
    uint64_t  first;
    int       n;
    char      window[24], through[24], count[24];
} portion_t;

static PGconn  *conn;


static void
check(PGresult *r)
{
    switch (PQresultStatus(r)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_COPY_IN:
    case PGRES_PIPELINE_SYNC:
        PQclear(r);
        return;
    default:
        fprintf(stderr, "rows: %s", PQerrorMessage(conn));
        exit(1);
    }
}


static double
client_us(void)
{
    struct rusage  r;

    getrusage(RUSAGE_SELF, &r);

    return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6
           + r.ru_utime.tv_usec + r.ru_stime.tv_usec;
}


static double
server_us(void)
{
    char                path[64];
    unsigned long long  ns = 0;

    snprintf(path, sizeof(path), "/proc/%d/schedstat", PQbackendPID(conn));

    FILE *f = fopen(path, "r");

    if (f == NULL || fscanf(f, "%llu", &ns) != 1) {
        fprintf(stderr, "rows: the server is not on this machine\n");
        exit(1);
    }

    fclose(f);

    return (double) ns / 1e3;
}


static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccd;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53;

    return x ^ x >> 33;
}


/* The columns of row i, as text. */
static void
row_make(const portion_t *p, uint64_t i, char col[COLUMNS][160])
{
    unsigned long long a = mix(i + 1), b = mix(a), c = mix(b), d = mix(c);

    snprintf(col[0], 160, "customer-%02llu", a % 20);
    snprintf(col[1], 160, "%016llx%016llx%016llx%016llx", a, b, c, d);
    snprintf(col[2], 160, "%08llx-%04llx-8%03llx-9%03llx-%012llx", a >> 32,
             a & 0xffff, b & 0xfff, b >> 12 & 0xfff, c & 0xffffffffffff);
    snprintf(col[3], 160, "picture-%llu.png", (unsigned long long) i);
    snprintf(col[4], 160, "image/png");
    snprintf(col[5], 160, "%llu", 100000 + b % 1000);
    snprintf(col[6], 160, "%s", p->count);
    snprintf(col[7], 160, "c-customer-%02llu/2026/11/21/01/20:30/%016llx%016llx"
             "%016llx%016llx.png", a % 20, a, b, c, d);
    snprintf(col[8], 160, "%llu", WINDOW_MS + b % 30000);
    snprintf(col[9], 160, "%llu", (unsigned long long) i);
    snprintf(col[10], 160, "%08llx-%04llx-8%03llx-9%03llx-%012llx/1", a >> 32,
             a & 0xffff, b & 0xfff, b >> 12 & 0xfff, c & 0xffffffffffff);
}


static void
text_add(text_t *t, const char *s, size_t len)
{
    if (t->len + len + 1 > t->cap) {
        t->cap = (t->len + len + 1) * 2;
        t->text = realloc(t->text, t->cap);

        if (t->text == NULL) {
            abort();
        }
    }

    memcpy(t->text + t->len, s, len);
    t->len += len;
    t->text[t->len] = '\0';
}


static void
write_unnest(const portion_t *p)
{
    static text_t  arrays[COLUMNS];
    static char    col[COLUMNS][160];
    const char    *params[2 + COLUMNS] = { p->window, p->through };

    for (int k = 0; k < COLUMNS; k++) {
        arrays[k].len = 0;
    }

    for (int i = 0; i < p->n; i++) {
        row_make(p, p->first + (uint64_t) i, col);

        for (int k = 0; k < COLUMNS; k++) {
            text_add(&arrays[k], i == 0 ? "{\"" : ",\"", 2);
            text_add(&arrays[k], col[k], strlen(col[k]));
            text_add(&arrays[k], "\"", 1);
        }
    }

    for (int k = 0; k < COLUMNS; k++) {
        text_add(&arrays[k], "}", 1);
        params[2 + k] = arrays[k].text;
    }

    check(PQexecPrepared(conn, "unnest", 2 + COLUMNS, params, NULL, NULL, 0));
}


static void
write_copy(const portion_t *p)
{
    static text_t  lines;
    static char    col[COLUMNS][160];
    const char    *params[] = { p->window, p->through };
    PGresult      *r;

    lines.len = 0;

    for (int i = 0; i < p->n; i++) {
        row_make(p, p->first + (uint64_t) i, col);

        for (int k = 0; k < COLUMNS; k++) {
            text_add(&lines, col[k], strlen(col[k]));
            text_add(&lines, k < COLUMNS - 1 ? "\t" : "\n", 1);
        }
    }

    check(PQexec(conn, "BEGIN"));
    check(PQexec(conn, "COPY pg_temp.rows FROM STDIN"));

    if (PQputCopyData(conn, lines.text, (int) lines.len) != 1
        || PQputCopyEnd(conn, NULL) != 1)
    {
        check(NULL);
    }

    while ((r = PQgetResult(conn)) != NULL) {
        check(r);
    }

    check(PQexecPrepared(conn, "copied", 2, params, NULL, NULL, 0));
    check(PQexec(conn, "COMMIT"));
}


/* Each statement's results end with a NULL. */
static void
pipeline_read(int statements)
{
    while (statements > 0) {
        PGresult *r = PQgetResult(conn);

        if (r == NULL) {
            statements--;
        } else {
            check(r);
        }
    }
}


static void
write_pipeline(const portion_t *p)
{
    static char  col[COLUMNS][160];
    const char  *params[2 + COLUMNS] = { p->window, p->through };
    int          waiting = 2;

    for (int k = 0; k < COLUMNS; k++) {
        params[2 + k] = col[k];
    }

    PQenterPipelineMode(conn);
    PQsendQueryParams(conn, "BEGIN", 0, NULL, NULL, NULL, NULL, 0);
    PQsendQueryParams(conn, SQL_MINE, 0, NULL, NULL, NULL, NULL, 0);

    for (int i = 0; i < p->n; i++) {
        row_make(p, p->first + (uint64_t) i, col);
        PQsendQueryPrepared(conn, "one", 2 + COLUMNS, params, NULL, NULL, 0);

        if (++waiting >= IN_FLIGHT) {
            PQsendFlushRequest(conn);
            PQflush(conn);
            pipeline_read(waiting);
            waiting = 0;
        }
    }

    PQsendQueryParams(conn, "COMMIT", 0, NULL, NULL, NULL, NULL, 0);
    PQpipelineSync(conn);
    pipeline_read(waiting + 1);
    check(PQgetResult(conn));
    PQexitPipelineMode(conn);
}


static const struct {
    const char  *name;
    void       (*write)(const portion_t *p);
} ways[] = {
    { "unnest", write_unnest },
    { "copy", write_copy },
    { "pipeline", write_pipeline }
};


static void
measure(int size, int number, int total)
{
    double  client[3][2] = { { 0 } }, server[3][2] = { { 0 } };
    int     rounds = total < size ? 1 : total / size;

    for (int at = 0; at < rounds; at++) {
        for (int k = 0; k < 6; k++) {
            int        way = (at + k) % 3, again = k / 3;
            portion_t  p = { (uint64_t) at * (uint64_t) size, size, "", "",
                             "" };

            snprintf(p.window, sizeof(p.window), "%lld",
                     WINDOW_MS + (number * 3 + way) * 30000LL);
            snprintf(p.through, sizeof(p.through), "%d", 1000000000 + again);
            snprintf(p.count, sizeof(p.count), "%d", 1 + again);

            double mine = client_us(), its = server_us();

            ways[way].write(&p);
            client[way][again] += client_us() - mine;
            server[way][again] += server_us() - its;
        }
    }

    for (int k = 0; k < 6; k++) {
        int     way = k % 3, again = k / 3;
        double  n = (double) rounds * size;
        double  sum = client[way][again] + server[way][again];

        printf("%5d %-8s %s %6.2f %6.2f %6.2f %5.2f\n", size, ways[way].name,
               again ? "update" : "insert", client[way][again] / n,
               server[way][again] / n, sum / n,
               sum / (client[0][again] + server[0][again]));
    }
}


int
main(int argc, char **argv)
{
    static const int sizes[] = { 500, 2000, 10000 };

    if (argc != 3 || atoi(argv[2]) < 1) {
        fprintf(stderr, "usage: rows DSN ROWS\n");
        return 2;
    }

    conn = PQconnectdb(argv[1]);
    if (PQstatus(conn) != CONNECTION_OK) {
        fprintf(stderr, "rows: %s", PQerrorMessage(conn));
        return 1;
    }

    check(PQexec(conn, sql_setup));
    check(PQprepare(conn, "unnest", sql_unnest, 0, NULL));
    check(PQprepare(conn, "copied", sql_copied, 0, NULL));
    check(PQprepare(conn, "one", sql_one, 0, NULL));

    for (int i = 0; i < 3; i++) {
        measure(sizes[i], i, atoi(argv[2]));
    }

    PQfinish(conn);
    return 0;
}
