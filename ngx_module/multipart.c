/*
 * multipart.c: a push parser for multipart/form-data.
 *
 * Owns the stream: delimiters, lines of headers, data, limits, errors.  What a
 * header line says is multipart_header.c's, where a delimiter lies in a slice
 * multipart_find.c's.  Knows neither nginx nor a file; allocates nothing.
 *
 * The delimiter is CR LF - - boundary, and no boundary has a CR, so it never
 * overlaps itself.  Where a slice ends in its beginning, that is held back as a
 * count only, since the bytes are the delimiter's own; the bytes of later
 * slices compared with it hold no other beginning and need no second look.
 */

#include "multipart.h"
#include "multipart_find.h"
#include "multipart_header.h"

#include <string.h>


#define sluice_multipart_min(a, b)  (((a) < (b)) ? (a) : (b))


typedef enum {
    sw_preamble = 0,             /* as data, but counted and thrown away */
    sw_delimiter,                /* behind the boundary */
    sw_close,                    /* behind the boundary and one dash */
    sw_padding,
    sw_newline,                  /* between CR and LF of a delimiter's line */
    sw_header,
    sw_data,
    sw_epilogue
} sluice_multipart_state_e;


static const char *
sluice_multipart_fail(sluice_multipart_t *mp, sluice_multipart_rc_e rc,
    const char *why)
{
    mp->rc = rc;
    mp->why = why;

    return NULL;
}


static const char *
sluice_multipart_over(sluice_multipart_t *mp, sluice_multipart_limit_e limit,
    const char *why)
{
    mp->limit = limit;

    return sluice_multipart_fail(mp, SLUICE_MULTIPART_LIMIT, why);
}


void
sluice_multipart_init(sluice_multipart_t *mp,
    const sluice_multipart_str_t *boundary,
    const sluice_multipart_limits_t *limits,
    const sluice_multipart_events_t *events, void *ctx)
{
    size_t  len;

    /* header[] needs no zeroes, and is nearly all of it */
    memset(mp, 0, offsetof(sluice_multipart_t, header));

    mp->events = events;
    mp->ctx = ctx;
    mp->why = "";

    if (limits != NULL) {
        mp->limits = *limits;
    }

    if (mp->limits.header_bytes == 0) {
        mp->limits.header_bytes = SLUICE_MULTIPART_HEADER_SIZE;
    }

    mp->limits.header_bytes = sluice_multipart_min(mp->limits.header_bytes,
                                                  SLUICE_MULTIPART_HEADER_MAX);

    if (mp->limits.header_total == 0) {
        mp->limits.header_total = SLUICE_MULTIPART_HEADER_TOTAL;
    }

    if (mp->limits.parts == 0) {
        mp->limits.parts = SLUICE_MULTIPART_PARTS;
    }

    len = sluice_multipart_min(boundary->len, SLUICE_MULTIPART_BOUNDARY_MAX);

    memcpy(mp->delim, "\r\n--", 4);
    memcpy(mp->delim + 4, boundary->data, len);
    mp->delim_len = 4 + len;

    /* the body may begin with a delimiter that lacks its CR LF */
    mp->matched = 2;
    mp->assumed = 2;
}


/* Bytes that turned out to be no delimiter. */
static int
sluice_multipart_emit(sluice_multipart_t *mp, const char *data, size_t len)
{
    if (len == 0) {
        return 0;
    }

    if (mp->state == sw_data) {
        if (mp->events->part_data(mp->ctx, data, len) != 0) {
            sluice_multipart_fail(mp, SLUICE_MULTIPART_STOP, "");
            return -1;
        }

        return 0;
    }

    mp->skipped += len;

    if (mp->skipped > SLUICE_MULTIPART_PREAMBLE_MAX) {
        sluice_multipart_fail(mp, SLUICE_MULTIPART_BAD,
                              "The body does not begin with the boundary that"
                              " Content-Type names.");
        return -1;
    }

    return 0;
}


/*
 * Preamble or data, up to the next delimiter.  As all functions that take a
 * slice, returns where the next state goes on, or NULL with mp->rc set.
 */
static const char *
sluice_multipart_scan(sluice_multipart_t *mp, const char *p, const char *last)
{
    size_t       n, size, held;
    const char  *found, *from;

    if (mp->state == sw_preamble
        && last - p > 2 * SLUICE_MULTIPART_PREAMBLE_MAX)
    {
        last = p + 2 * SLUICE_MULTIPART_PREAMBLE_MAX;
    }

    size = last - p;

    if (mp->matched) {
        from = mp->delim + mp->matched;
        n = 0;

        while (n < size && p[n] == from[n]) {
            if (mp->matched + ++n == mp->delim_len) {
                mp->matched = 0;
                mp->state = sw_delimiter;
                return p + n;
            }
        }

        if (n == size) {
            mp->matched += n;
            return last;
        }

        /* none; the n bytes just compared are searched again with the rest */

        held = mp->matched - mp->assumed;
        from = mp->delim + mp->assumed;
        mp->matched = 0;

        if (sluice_multipart_emit(mp, from, held) != 0) {
            return NULL;
        }
    }

    found = sluice_multipart_find(p, size, mp->delim, mp->delim_len);

    if (found == NULL) {
        mp->assumed = 0;
        mp->matched = sluice_multipart_partial(p, size, mp->delim,
                                               mp->delim_len);
        if (sluice_multipart_emit(mp, p, size - mp->matched) != 0) {
            return NULL;
        }

        return last;
    }

    if (sluice_multipart_emit(mp, p, found - p) != 0) {
        return NULL;
    }

    mp->state = sw_delimiter;

    return found + mp->delim_len;
}


/* The delimiter's line is whole: only now the part before it is. */
static int
sluice_multipart_part_end(sluice_multipart_t *mp)
{
    if (!mp->in_part) {
        return 0;
    }

    mp->in_part = 0;

    if (mp->events->part_end(mp->ctx) != 0) {
        sluice_multipart_fail(mp, SLUICE_MULTIPART_STOP, "");
        return -1;
    }

    return 0;
}


/*
 * The rest of a delimiter's line, byte by byte.  RFC 2046 would let any text
 * stand behind a boundary; others take such a line for data.  It is refused, so
 * that nobody in between can see other parts than we do.
 */
static const char *
sluice_multipart_delimiter(sluice_multipart_t *mp, const char *p)
{
    switch (mp->state) {

    case sw_delimiter:
        mp->skipped = 0;

        if (*p == '-') {
            mp->state = sw_close;
            return p + 1;
        }

        mp->state = sw_padding;

        /* fall through */

    case sw_padding:
        if (*p == '\r') {
            mp->state = sw_newline;
            return p + 1;
        }

        if (*p != ' ' && *p != '\t') {
            break;
        }

        if (++mp->skipped > SLUICE_MULTIPART_PADDING_MAX) {
            return sluice_multipart_fail(mp, SLUICE_MULTIPART_BAD,
                                         "A boundary is followed by too many"
                                         " blanks.");
        }

        return p + 1;

    case sw_newline:
        if (*p != '\n') {
            break;
        }

        if (sluice_multipart_part_end(mp) != 0) {
            return NULL;
        }

        if (++mp->parts > mp->limits.parts) {
            return sluice_multipart_over(mp, SLUICE_MULTIPART_LIMIT_PARTS,
                                         "The body has too many parts.");
        }

        mp->state = sw_header;
        mp->header_len = 0;
        mp->line = 0;
        mp->lines = 0;
        mp->has_disposition = 0;
        mp->has_type = 0;
        memset(&mp->part, 0, sizeof(mp->part));

        return p + 1;

    default: /* sw_close */
        if (*p != '-') {
            break;
        }

        mp->state = sw_epilogue;

        if (sluice_multipart_part_end(mp) != 0) {
            return NULL;
        }

        return p + 1;
    }

    return sluice_multipart_fail(mp, SLUICE_MULTIPART_BAD,
                                 "A boundary is followed by something else than"
                                 " CR LF or two dashes.");
}


static int
sluice_multipart_part_begin(sluice_multipart_t *mp)
{
    if (!mp->has_disposition) {
        sluice_multipart_fail(mp, SLUICE_MULTIPART_BAD,
                              "A part has no Content-Disposition.");
        return -1;
    }

    if (mp->part.name.len == 0) {
        sluice_multipart_fail(mp, SLUICE_MULTIPART_BAD, "A part has no name.");
        return -1;
    }

    mp->header_total += mp->header_len;
    mp->in_part = 1;
    mp->state = sw_data;

    /*
     * The empty line's CR LF may be the delimiter's too: RFC 2046 5.1.1, a
     * part without a body.
     */
    mp->matched = 2;
    mp->assumed = 2;

    if (mp->events->part_begin(mp->ctx, &mp->part) != 0) {
        sluice_multipart_fail(mp, SLUICE_MULTIPART_STOP, "");
        return -1;
    }

    return 0;
}


/* Collect a line of the header block, and read it once it is whole. */
static const char *
sluice_multipart_header(sluice_multipart_t *mp, const char *p,
    const char *last)
{
    size_t       len, room, total;
    const char  *lf, *line, *end;

    /* what is beyond the room is not looked at, so that splits don't matter */

    total = mp->limits.header_total - mp->header_total;
    room = sluice_multipart_min(mp->limits.header_bytes, total)
           - mp->header_len;
    len = sluice_multipart_min((size_t) (last - p), room);

    lf = memchr(p, '\n', len);

    if (lf == NULL && len < (size_t) (last - p)) {
        return (mp->limits.header_bytes <= total)
               ? sluice_multipart_over(mp, SLUICE_MULTIPART_LIMIT_HEADER,
                                       "The header of a part is too long.")
               : sluice_multipart_over(mp, SLUICE_MULTIPART_LIMIT_HEADER_TOTAL,
                                       "The headers of all parts together are"
                                       " too long.");
    }

    if (lf != NULL) {
        len = lf + 1 - p;
    }

    memcpy(mp->header + mp->header_len, p, len);
    mp->header_len += len;

    if (lf == NULL) {
        return last;
    }

    line = mp->header + mp->line;
    end = mp->header + mp->header_len - 2;
    mp->line = mp->header_len;

    if (end < line || *end != '\r') {
        return sluice_multipart_fail(mp, SLUICE_MULTIPART_BAD,
                                     "A line of a part's header ends with LF"
                                     " alone.");
    }

    if (line == end) {
        return sluice_multipart_part_begin(mp) == 0 ? p + len : NULL;
    }

    if (++mp->lines > SLUICE_MULTIPART_HEADERS_MAX) {
        return sluice_multipart_over(mp, SLUICE_MULTIPART_LIMIT_LINES,
                                     "A part has too many header lines.");
    }

    if (sluice_multipart_line(mp, line, end) != SLUICE_MULTIPART_MORE) {
        return NULL;
    }

    return p + len;
}


static const char *
sluice_multipart_epilogue(sluice_multipart_t *mp, const char *p,
    const char *last)
{
    if ((size_t) (last - p) > SLUICE_MULTIPART_EPILOGUE_MAX - mp->skipped) {
        return sluice_multipart_over(mp, SLUICE_MULTIPART_LIMIT_EPILOGUE,
                                     "Too many bytes follow the last part.");
    }

    mp->skipped += last - p;

    return last;
}


sluice_multipart_rc_e
sluice_multipart_feed(sluice_multipart_t *mp, const char *buf, size_t len)
{
    const char  *p, *last;

    if (mp->rc > SLUICE_MULTIPART_END || len == 0) {
        return mp->rc;
    }

    p = buf;
    last = buf + len;

    while (p != NULL && p < last) {

        switch (mp->state) {

        case sw_preamble:
        case sw_data:
            p = sluice_multipart_scan(mp, p, last);
            break;

        case sw_header:
            p = sluice_multipart_header(mp, p, last);
            break;

        case sw_epilogue:
            p = sluice_multipart_epilogue(mp, p, last);
            break;

        default:
            p = sluice_multipart_delimiter(mp, p);
            break;
        }
    }

    if (p != NULL && mp->state == sw_epilogue) {
        mp->rc = SLUICE_MULTIPART_END;
    }

    return mp->rc;
}


sluice_multipart_rc_e
sluice_multipart_finish(sluice_multipart_t *mp)
{
    if (mp->rc == SLUICE_MULTIPART_MORE) {
        sluice_multipart_fail(mp, SLUICE_MULTIPART_BAD,
                              mp->parts == 0
                              ? "The body has no part and no closing boundary."
                              : "The body ends before its closing boundary.");
    }

    return mp->rc;
}


const char *
sluice_multipart_why(const sluice_multipart_t *mp)
{
    return mp->why;
}


sluice_multipart_limit_e
sluice_multipart_limit(const sluice_multipart_t *mp)
{
    return mp->limit;
}
