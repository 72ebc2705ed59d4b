/*
 * fuzz_multipart.c: any split of any body gives the same events.
 *
 * The input is a body and, in its last five bytes, the boundary's choice and
 * the seed of the slices' sizes.  The body is fed whole, in those slices and
 * byte by byte; events, data and result must be equal.  Slices are heap blocks
 * of their exact size.  What the parser finds goes on to the cleaning of header
 * text and to the sniffing of types, as in the module.
 */

#include "header_text.h"
#include "multipart.h"
#include "require.h"
#include "sniff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define LOG_MAX  (1u << 18)


/* What one run over the body told, in an unambiguous form. */
typedef struct {
    unsigned char  bytes[LOG_MAX];
    size_t         len;
    unsigned       in_part;
    unsigned       parts;
    uint32_t       data;         /* bytes of the part at hand */
} run_log_t;


static run_log_t  whole, sliced, single;


static void
put(run_log_t *log, const void *data, size_t len)
{
    require(len <= LOG_MAX - log->len);

    if (len != 0) {
        memcpy(log->bytes + log->len, data, len);
        log->len += len;
    }
}


static void
put_string(run_log_t *log, const sluice_multipart_str_t *str)
{
    uint32_t  len;

    len = str->len;
    put(log, &len, sizeof(len));
    put(log, str->data, str->len);
}


static void
check_text(const sluice_multipart_str_t *str)
{
    char         once[255], twice[255];
    size_t       n, len;
    const char  *base;

    len = str->len;

    if (len == 0) {
        return;
    }

    base = sluice_header_basename(str->data, &len);
    n = sluice_header_text(once, sizeof(once), base, len);

    require(n <= sizeof(once));
    require(memchr(once, '\0', n) == NULL && memchr(once, '\r', n) == NULL);
    require(memchr(once, '\n', n) == NULL && memchr(once, '/', n) == NULL);
    require(sluice_header_text(twice, sizeof(twice), once, n) == n);
    require(memcmp(once, twice, n) == 0);
}


static int
on_begin(void *ctx, const sluice_multipart_part_t *part)
{
    unsigned char   flags;
    run_log_t      *log = ctx;

    require(!log->in_part);
    require(part->name.len > 0);
    require(part->has_filename || part->filename.len == 0);
    require(memchr(part->name.data, '\0', part->name.len) == NULL);

    log->in_part = 1;
    log->parts++;
    log->data = 0;

    flags = part->has_filename | part->has_filename_star << 1;

    put(log, "B", 1);
    put(log, &flags, 1);
    put_string(log, &part->name);
    put_string(log, &part->filename);
    put_string(log, &part->content_type);

    check_text(&part->name);
    check_text(&part->filename);

    return 0;
}


static int
on_data(void *ctx, const char *data, size_t len)
{
    run_log_t  *log = ctx;

    require(log->in_part);
    require(len > 0);

    log->data += len;
    put(log, data, len);
    require(sluice_sniff((const unsigned char *) data, len) != NULL);

    return 0;
}


static int
on_end(void *ctx)
{
    run_log_t  *log = ctx;

    require(log->in_part);

    log->in_part = 0;
    put(log, "E", 1);
    put(log, &log->data, sizeof(log->data));

    return 0;
}


static const sluice_multipart_events_t  events = { on_begin, on_data, on_end };


static uint32_t
next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;

    return *seed;
}


/*
 * Mostly sizes about a delimiter's or a search block's, now and then none at
 * all or a lot.
 */
static size_t
slice_size(uint32_t *seed)
{
    uint32_t  random;

    random = next(seed);

    switch (random & 7) {
    case 0:
        return (random >> 3) % 4096;
    case 1:
        return (random >> 3) % 200;
    default:
        return (random >> 3) % 16;
    }
}


/* Slices of size bytes, or of random sizes when it is 0. */
static void
run(run_log_t *log, const sluice_multipart_str_t *boundary, const char *body,
    size_t len, size_t size, uint32_t seed)
{
    char                       *copy;
    size_t                      n;
    const char                 *why;
    sluice_multipart_t          mp;
    sluice_multipart_rc_e       rc;
    sluice_multipart_limits_t   limits = { 0, 8192, 20 };

    log->len = 0;
    log->in_part = 0;
    log->parts = 0;
    log->data = 0;

    memset(&mp, 0xa5, sizeof(mp));
    sluice_multipart_init(&mp, boundary, &limits, &events, log);
    rc = SLUICE_MULTIPART_MORE;

    while (len > 0 && rc <= SLUICE_MULTIPART_END) {
        n = size ? size : slice_size(&seed);
        n = n < len ? n : len;

        copy = malloc(n ? n : 1);
        require(copy != NULL);
        memcpy(copy, body, n);
        rc = sluice_multipart_feed(&mp, copy, n);
        free(copy);

        body += n;
        len -= n;
    }

    rc = sluice_multipart_finish(&mp);
    why = sluice_multipart_why(&mp);

    require(rc != SLUICE_MULTIPART_MORE && rc != SLUICE_MULTIPART_STOP);
    require((rc == SLUICE_MULTIPART_END) == (why[0] == '\0'));
    require(rc != SLUICE_MULTIPART_END || !log->in_part);
    require(log->parts <= limits.parts);

    put(log, &rc, sizeof(rc));
    put(log, why, strlen(why));
    put(log, &log->data, sizeof(log->data));
}


static void
compare(const run_log_t *a, const run_log_t *b)
{
    require(a->len == b->len);
    require(memcmp(a->bytes, b->bytes, a->len) == 0);
}


/* The body as a Content-Type: a boundary found there keeps its promises. */
static void
check_boundary(const char *value, size_t len)
{
    int                      rc;
    const char              *why;
    sluice_multipart_str_t   boundary;

    rc = sluice_multipart_boundary(value, len, &boundary, &why);

    require((rc == -2) == (why != NULL));

    if (rc == 0) {
        require(boundary.len >= 1);
        require(boundary.len <= SLUICE_MULTIPART_BOUNDARY_MAX);
        require(boundary.data >= value);
        require(boundary.data + boundary.len <= value + len);
        require(memchr(boundary.data, '\r', boundary.len) == NULL);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t                seed;
    const char             *body;
    sluice_multipart_str_t  boundary;

    static const char         longest[] = "01234567890123456789012345678901234"
                                          "56789012345678901234567890123456789";
    static const char *const  boundaries[] = {
        "AaB03x", "b", "--", "a-----------------------------------------b",
        longest
    };

    body = (const char *) data;
    check_boundary(body, size);

    if (size < 5) {
        return 0;
    }

    size -= 5;
    boundary.data = boundaries[data[size] % 5];
    boundary.len = strlen(boundary.data);
    memcpy(&seed, data + size + 1, sizeof(seed));
    seed |= 1;

    run(&whole, &boundary, body, size, size + 1, seed);
    run(&sliced, &boundary, body, size, 0, seed);
    run(&single, &boundary, body, size, 1, seed);

    compare(&whole, &sliced);
    compare(&whole, &single);

    return 0;
}
