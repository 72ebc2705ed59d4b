/*
 * parser_bench.c: how many bytes a second the multipart parser takes.
 *
 *   cc -O2 -Ingx_module -o build/bench/parser_bench \
 *       tests/bench/parser_bench.c ngx_module/multipart*.c
 *   build/bench/parser_bench [SECONDS_PER_CASE]
 *
 * One core, bodies of 8 MB in slices of 64 KB as a server reads them.  A row is
 * the best of its rounds in GB/s, as others on the machine only take away; the
 * ratio is to the first row.  The floor is memchr() for a byte that is absent.
 */

#include "multipart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define BODY_BYTES   (8u << 20)
#define SLICE_BYTES  (64u << 10)
#define PART_BYTES   100000u


static const char  boundary[] = "----WebKitFormBoundaryAAAAxyzxyzABCDEF";

static struct {
    char      *data;
    size_t     len;
    uint64_t   seen;
} body;


static int
on_begin(void *ctx, const sluice_multipart_part_t *part)
{
    (void) ctx;

    return part->name.len == 0;
}


static int
on_data(void *ctx, const char *data, size_t len)
{
    (void) ctx;
    (void) data;

    body.seen += len;

    return 0;
}


static int
on_end(void *ctx)
{
    (void) ctx;

    return 0;
}


static const sluice_multipart_events_t  events = { on_begin, on_data, on_end };


static double
now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return ts.tv_sec + ts.tv_nsec / 1e9;
}


static void
add(const char *data, size_t len)
{
    memcpy(body.data + body.len, data, len);
    body.len += len;
}


static void
add_text(const char *text)
{
    add(text, strlen(text));
}


/*
 * A body of parts whose data is pattern, over and over; random when pattern is
 * NULL.
 */
static void
make(const char *bound, const char *pattern, size_t len, size_t part_bytes)
{
    size_t    i;
    uint64_t  random;

    random = 88172645463325252u;
    body.len = 0;

    while (body.len < BODY_BYTES) {
        add_text("--");
        add_text(bound);
        add_text("\r\nContent-Disposition: form-data; name=\"files\";"
                 " filename=\"a picture.jpg\"\r\n"
                 "Content-Type: image/jpeg\r\n\r\n");

        for (i = 0; i < part_bytes; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            body.data[body.len++] = pattern ? pattern[i % len] : (char) random;
        }

        add_text("\r\n");
    }

    add_text("--");
    add_text(bound);
    add_text("--\r\n");
}


static double
run(const char *bound, double seconds)
{
    size_t                  at, n;
    double                  start, stop, begin, best;
    sluice_multipart_t      mp;
    sluice_multipart_str_t  str;
    sluice_multipart_rc_e   rc;

    str.data = bound;
    str.len = strlen(bound);
    best = 0;
    begin = now();

    do {
        start = now();
        sluice_multipart_init(&mp, &str, &(sluice_multipart_limits_t) {
                                  .header_total = 1u << 30,
                                  .parts = 1u << 30 }, &events, NULL);
        rc = SLUICE_MULTIPART_MORE;

        for (at = 0; at < body.len; at += n) {
            n = body.len - at < SLICE_BYTES ? body.len - at : SLICE_BYTES;
            rc = sluice_multipart_feed(&mp, body.data + at, n);
        }

        stop = now();

        if (rc != SLUICE_MULTIPART_END) {
            fprintf(stderr, "parser_bench: %s\n", sluice_multipart_why(&mp));
            exit(1);
        }

        if (body.len / (stop - start) > best) {
            best = body.len / (stop - start);
        }

    } while (stop - begin < seconds);

    return best / 1e9;
}


/* the delimiter's first n bytes over and over, the boundary made to fit */
static double
prefixes(const char *bound, size_t n, double seconds)
{
    char  delim[80];

    snprintf(delim, sizeof(delim), "\r\n--%s", bound);
    make(bound, delim, n, PART_BYTES);

    return run(bound, seconds);
}


static double
floor_memchr(double seconds)
{
    double  start, stop, begin, best;

    memset(body.data, 'x', BODY_BYTES);
    best = 0;
    begin = now();

    do {
        start = now();

        if (memchr(body.data, '\r', BODY_BYTES) != NULL) {
            exit(1);
        }

        stop = now();

        if (BODY_BYTES / (stop - start) > best) {
            best = BODY_BYTES / (stop - start);
        }

    } while (stop - begin < seconds);

    return best / 1e9;
}


static double  first;

static void
row(const char *name, double rate)
{
    if (first == 0) {
        first = rate;
    }

    printf("%-44s %7.2f GB/s  %4.2f\n", name, rate, rate / first);
    fflush(stdout);
}


/* Of all ways to build a body out of this boundary's beginnings, the worst. */
static void
worst(const char *bound, double seconds)
{
    char    name[80];
    size_t  n, worst_n;
    double  rate, least;

    least = 1e9;
    worst_n = 0;

    for (n = 1; n < strlen(bound) + 4; n++) {
        rate = prefixes(bound, n, seconds / 20);

        if (rate < least) {
            least = rate;
            worst_n = n;
        }
    }

    snprintf(name, sizeof(name), "worst prefix (%zu) of --%.16s...", worst_n,
             bound);
    row(name, least);
}


int
main(int argc, char **argv)
{
    double  seconds;

    seconds = argc > 1 ? atof(argv[1]) : 1.0;
    body.data = malloc(2 * BODY_BYTES);

    if (body.data == NULL) {
        return 1;
    }

    make(boundary, NULL, 0, PART_BYTES);
    row("random bytes, parts of 100 kB", run(boundary, seconds));

    make(boundary, NULL, 0, 1000);
    row("random bytes, parts of 1 kB", run(boundary, seconds));

    make(boundary, "The quick brown fox jumps over the lazy dog.\r\n", 46,
         PART_BYTES);
    row("text with CR LF", run(boundary, seconds));

    make(boundary, "\r\n", 2, PART_BYTES);
    row("all CR LF", run(boundary, seconds));

    make(boundary, "\n", 1, PART_BYTES);
    row("all LF", run(boundary, seconds));

    make(boundary, "\r", 1, PART_BYTES);
    row("all CR", run(boundary, seconds));

    make(boundary, "\r\n--", 4, PART_BYTES);
    row("all CR LF - -", run(boundary, seconds));

    /* a hit of the search's filter at every second byte */
    make(boundary, "\rF", 2, PART_BYTES);
    row("all CR and the boundary's last character", run(boundary, seconds));

    row("all but the boundary's last character",
        prefixes(boundary, strlen(boundary) + 3, seconds));

    worst(boundary, seconds);
    worst("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", seconds);
    worst("ababababababababababababababababab"
          "ababababababababababababababababab-", seconds);
    worst("x", seconds);

    row("floor: memchr()", floor_memchr(seconds));
    free(body.data);

    return 0;
}
