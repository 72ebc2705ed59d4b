/*
 * multipart_driver.c: the multipart parser as a filter, for the comparison with
 * others.
 *
 * Reads forms from standard input, each as two blocks: a Content-Type value and
 * a body, both behind their length in four bytes, least first.  Writes a line
 * for each: the result's name, and where that is END the parts, as
 * NAME:FILENAME:DATA in hex, FILENAME "-" where there is none.  Bodies are fed
 * in pieces of pseudo-random sizes, as they come from a socket.
 */

#include "multipart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


typedef struct {
    FILE    *out;
    char    *text;
    size_t   len;
} parts_t;


static void
put_hex(FILE *out, const char *bytes, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        fprintf(out, "%02x", (unsigned char) bytes[i]);
    }
}


static int
on_begin(void *ctx, const sluice_multipart_part_t *part)
{
    parts_t  *parts = ctx;

    fputc(' ', parts->out);
    put_hex(parts->out, part->name.data, part->name.len);
    fputc(':', parts->out);

    if (part->has_filename) {
        put_hex(parts->out, part->filename.data, part->filename.len);

    } else {
        fputc('-', parts->out);
    }

    fputc(':', parts->out);

    return 0;
}


static int
on_data(void *ctx, const char *data, size_t len)
{
    parts_t  *parts = ctx;

    put_hex(parts->out, data, len);

    return 0;
}


static int
on_end(void *ctx)
{
    (void) ctx;

    return 0;
}


static const sluice_multipart_events_t  events = { on_begin, on_data, on_end };


/* The next block, owned by the caller; NULL at the end of the input. */
static char *
read_block(size_t *len)
{
    char           *block;
    unsigned char   n[4];

    if (fread(n, 1, 4, stdin) != 4) {
        return NULL;
    }

    *len = n[0] | n[1] << 8 | n[2] << 16 | (size_t) n[3] << 24;
    block = malloc(*len ? *len : 1);

    if (block == NULL || fread(block, 1, *len, stdin) != *len) {
        fprintf(stderr, "multipart_driver: the input ends in a block\n");
        exit(1);
    }

    return block;
}


static sluice_multipart_rc_e
parse(parts_t *parts, const sluice_multipart_str_t *boundary,
    const char *body, size_t len, uint32_t *seed)
{
    char                *piece;
    size_t               n;
    sluice_multipart_t   mp;

    sluice_multipart_init(&mp, boundary, NULL, &events, parts);

    while (len > 0) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 17;
        *seed ^= *seed << 5;

        n = 1 + (*seed >> 8) % (*seed & 1 ? 16 : 1024);
        n = n < len ? n : len;

        /* of its own, so that a sanitizer sees a read beyond it */
        piece = malloc(n);
        if (piece == NULL) {
            exit(1);
        }

        memcpy(piece, body, n);
        (void) sluice_multipart_feed(&mp, piece, n);
        free(piece);

        body += n;
        len -= n;
    }

    return sluice_multipart_finish(&mp);
}


int
main(void)
{
    char                    *type, *body;
    size_t                   type_len, body_len;
    parts_t                  parts;
    uint32_t                 seed;
    const char              *why;
    sluice_multipart_rc_e    rc;
    sluice_multipart_str_t   boundary;

    static const char *const  names[] = {
        "MORE", "END", "STOP", "BAD", "LIMIT", "ENCODING"
    };

    seed = 2463534242u;

    while ((type = read_block(&type_len)) != NULL) {

        body = read_block(&body_len);
        if (body == NULL) {
            return 1;
        }

        if (sluice_multipart_boundary(type, type_len, &boundary, &why) != 0) {
            puts("TYPE");

        } else {
            parts.out = open_memstream(&parts.text, &parts.len);
            if (parts.out == NULL) {
                return 1;
            }

            rc = parse(&parts, &boundary, body, body_len, &seed);

            fclose(parts.out);
            printf("%s%s\n", names[rc],
                   rc == SLUICE_MULTIPART_END ? parts.text : "");
            free(parts.text);
        }

        free(type);
        free(body);
    }

    return 0;
}
