/*
 * fuzz_event_split.c: any split of any body gives the same events.
 *
 * The input is a body and, in its last five bytes, the mode and the seed of
 * the slices' sizes.  The body is fed whole, in those slices and byte by byte;
 * complete events and the result must be equal.  What was one event must be
 * that one event again when all are put together anew: by LF, or by commas
 * between brackets.
 */

#include "event_split.h"
#include "require.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define LOG_MAX  (1u << 18)


typedef struct {
    char                     bytes[LOG_MAX];   /* events, a length before each */
    size_t                   len;
    size_t                   begin;            /* of the one that arrives */
    uint32_t                 events;
    sluice_event_split_rc_e  rc;
} run_log_t;


static run_log_t  whole, sliced, single, again;
static char       joined[LOG_MAX];


static int
on_bytes(void *ctx, const char *bytes, size_t len, int last)
{
    uint32_t    n;
    run_log_t  *log = ctx;

    require(len > 0 || last);
    require(len + 2 * sizeof(n) <= LOG_MAX - log->len);

    if (log->len == log->begin) {
        log->len += sizeof(n);
    }

    memcpy(log->bytes + log->len, bytes, len);
    log->len += len;

    if (last) {
        n = log->len - log->begin - sizeof(n);
        require(n > 0);
        memcpy(log->bytes + log->begin, &n, sizeof(n));
        log->begin = log->len;
        log->events++;
    }

    return 0;
}


static uint32_t
next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;

    return *seed;
}


/* Slices of size bytes, or of random sizes when it is 0. */
static void
run(run_log_t *log, sluice_event_split_mode_e mode, const char *body,
    size_t len, size_t size, uint32_t seed)
{
    char                  *copy;
    size_t                 n;
    sluice_event_split_t   split;

    log->len = 0;
    log->begin = 0;
    log->events = 0;

    memset(&split, 0xa5, sizeof(split));
    sluice_event_split_init(&split, mode, on_bytes, log);
    log->rc = SLUICE_EVENT_SPLIT_MORE;

    while (len > 0 && log->rc == SLUICE_EVENT_SPLIT_MORE) {
        n = size ? size : next(&seed) % 12;
        n = n < len ? n : len;

        copy = malloc(n ? n : 1);
        require(copy != NULL);
        memcpy(copy, body, n);
        log->rc = sluice_event_split_feed(&split, copy, n);
        free(copy);

        body += n;
        len -= n;
    }

    log->rc = sluice_event_split_finish(&split);

    require(log->rc != SLUICE_EVENT_SPLIT_MORE);
    require(log->rc != SLUICE_EVENT_SPLIT_STOP);
    require((log->rc == SLUICE_EVENT_SPLIT_END)
            == (sluice_event_split_why(&split)[0] == '\0'));
    require(log->rc != SLUICE_EVENT_SPLIT_END || log->begin == log->len);

    /* how much of an event that never ended was passed on may differ */
    log->len = log->begin;
}


static void
compare(const run_log_t *a, const run_log_t *b)
{
    require(a->rc == b->rc);
    require(a->len == b->len);
    require(memcmp(a->bytes, b->bytes, a->len) == 0);
}


/* The events of a good body, joined as the mode wants them. */
static size_t
join(const run_log_t *log, sluice_event_split_mode_e mode)
{
    size_t    at, len;
    uint32_t  n;

    len = 0;

    if (mode == SLUICE_EVENT_SPLIT_ARRAY) {
        joined[len++] = '[';
    }

    for (at = 0; at < log->len; at += sizeof(n) + n) {
        memcpy(&n, log->bytes + at, sizeof(n));
        require(n + 3 < LOG_MAX - len);
        memcpy(joined + len, log->bytes + at + sizeof(n), n);
        len += n;

        if (mode == SLUICE_EVENT_SPLIT_LINES) {
            require(memchr(log->bytes + at + sizeof(n), '\n', n) == NULL);
            joined[len++] = '\r';
            joined[len++] = '\n';

        } else if (mode == SLUICE_EVENT_SPLIT_ARRAY) {
            joined[len++] = ',';
        }
    }

    if (mode == SLUICE_EVENT_SPLIT_ARRAY) {
        len -= (log->events > 0);
        joined[len++] = ']';
    }

    return len;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                     len;
    uint32_t                   seed;
    const char                *body;
    sluice_event_split_mode_e  mode;

    if (size < 5) {
        return 0;
    }

    body = (const char *) data;
    size -= 5;
    mode = data[size] % 3;
    memcpy(&seed, data + size + 1, sizeof(seed));
    seed |= 1;

    run(&whole, mode, body, size, size + 1, seed);
    run(&sliced, mode, body, size, 0, seed);
    run(&single, mode, body, size, 1, seed);

    compare(&whole, &sliced);
    compare(&whole, &single);

    if (whole.rc == SLUICE_EVENT_SPLIT_END) {
        len = join(&whole, mode);
        run(&again, mode, joined, len, len + 1, seed);
        compare(&whole, &again);
    }

    return 0;
}
