/*
 * event_split.c: one body cut into events, as its bytes arrive.
 *
 * Owns where an event ends.  Does not know how large one may be or how many
 * there may be: the function that is given the bytes counts, and stops us.
 *
 * A slice is walked once.  What of an event lies in it is passed on as one
 * piece, so that an event that came in one read is one piece with its end.
 */

#include "event_split.h"

#include <string.h>

/* Where the walk through an array is. */
enum {
    SPLIT_BEGIN = 0,             /* before [ */
    SPLIT_FIRST,                 /* an element or ] */
    SPLIT_NEXT,                  /* behind a comma: an element */
    SPLIT_SCALAR,                /* a number, true, false, null */
    SPLIT_NESTED,                /* between the brackets of an element */
    SPLIT_STRING,
    SPLIT_ESCAPE,                /* behind a \ in a string */
    SPLIT_AFTER,                 /* a comma or ] */
    SPLIT_OVER                   /* behind the last ] */
};

/* What a byte outside of strings is. */
enum {
    SPLIT_C_BAD = 0,
    SPLIT_C_BLANK,
    SPLIT_C_SCALAR,
    SPLIT_C_QUOTE,
    SPLIT_C_OPEN,
    SPLIT_C_CLOSE,
    SPLIT_C_COMMA,
    SPLIT_C_COLON
};

#define BA  SPLIT_C_BLANK
#define SC  SPLIT_C_SCALAR

static const unsigned char  split_class[256] = {
    ['\t'] = BA, ['\n'] = BA, ['\r'] = BA, [' '] = BA,
    ['"'] = SPLIT_C_QUOTE,
    ['['] = SPLIT_C_OPEN, ['{'] = SPLIT_C_OPEN,
    [']'] = SPLIT_C_CLOSE, ['}'] = SPLIT_C_CLOSE,
    [','] = SPLIT_C_COMMA, [':'] = SPLIT_C_COLON,
    ['+'] = SC, ['-'] = SC, ['.'] = SC,
    ['0'] = SC, ['1'] = SC, ['2'] = SC, ['3'] = SC, ['4'] = SC,
    ['5'] = SC, ['6'] = SC, ['7'] = SC, ['8'] = SC, ['9'] = SC,
    ['A'] = SC, ['B'] = SC, ['C'] = SC, ['D'] = SC, ['E'] = SC, ['F'] = SC,
    ['G'] = SC, ['H'] = SC, ['I'] = SC, ['J'] = SC, ['K'] = SC, ['L'] = SC,
    ['M'] = SC, ['N'] = SC, ['O'] = SC, ['P'] = SC, ['Q'] = SC, ['R'] = SC,
    ['S'] = SC, ['T'] = SC, ['U'] = SC, ['V'] = SC, ['W'] = SC, ['X'] = SC,
    ['Y'] = SC, ['Z'] = SC,
    ['a'] = SC, ['b'] = SC, ['c'] = SC, ['d'] = SC, ['e'] = SC, ['f'] = SC,
    ['g'] = SC, ['h'] = SC, ['i'] = SC, ['j'] = SC, ['k'] = SC, ['l'] = SC,
    ['m'] = SC, ['n'] = SC, ['o'] = SC, ['p'] = SC, ['q'] = SC, ['r'] = SC,
    ['s'] = SC, ['t'] = SC, ['u'] = SC, ['v'] = SC, ['w'] = SC, ['x'] = SC,
    ['y'] = SC, ['z'] = SC
};


static sluice_event_split_rc_e split_whole(sluice_event_split_t *split,
    const char *buf, size_t len);
static sluice_event_split_rc_e split_lines(sluice_event_split_t *split,
    const char *p, const char *end);
static sluice_event_split_rc_e split_array(sluice_event_split_t *split,
    const char *p, const char *end);
static int split_value(sluice_event_split_t *split, unsigned char c);
static int split_after(sluice_event_split_t *split, unsigned char c);
static int split_inside(sluice_event_split_t *split, unsigned char c);
static int split_open(sluice_event_split_t *split, unsigned char c);
static int split_close(sluice_event_split_t *split, unsigned char c);
static const char *split_string(const char *p, const char *end);
static int split_emit(sluice_event_split_t *split, const char *bytes,
    size_t len, int last);
static int split_bad(sluice_event_split_t *split,
    sluice_event_split_rc_e rc, const char *why);


void
sluice_event_split_init(sluice_event_split_t *split,
    sluice_event_split_mode_e mode, sluice_event_split_pt emit, void *ctx)
{
    memset(split, 0, sizeof(*split));

    split->mode = mode;
    split->emit = emit;
    split->ctx = ctx;
    split->why = "";
    split->state = SPLIT_BEGIN;
    split->rc = SLUICE_EVENT_SPLIT_MORE;
}


sluice_event_split_rc_e
sluice_event_split_feed(sluice_event_split_t *split, const char *buf,
    size_t len)
{
    if (split->rc != SLUICE_EVENT_SPLIT_MORE || len == 0) {
        return split->rc;
    }

    switch (split->mode) {

    case SLUICE_EVENT_SPLIT_LINES:
        return split_lines(split, buf, buf + len);

    case SLUICE_EVENT_SPLIT_ARRAY:
        return split_array(split, buf, buf + len);

    default:
        return split_whole(split, buf, len);
    }
}


sluice_event_split_rc_e
sluice_event_split_finish(sluice_event_split_t *split)
{
    if (split->rc != SLUICE_EVENT_SPLIT_MORE) {
        return split->rc;
    }

    if (split->mode == SLUICE_EVENT_SPLIT_ARRAY
        && split->state != SPLIT_OVER)
    {
        (void) split_bad(split, SLUICE_EVENT_SPLIT_BAD,
                         (split->state == SPLIT_BEGIN)
                         ? "There is no JSON array."
                         : "The JSON array is not closed.");
        return split->rc;
    }

    if (split->open && split_emit(split, "", 0, 1) != 0) {
        return split->rc;
    }

    split->rc = SLUICE_EVENT_SPLIT_END;

    return split->rc;
}


const char *
sluice_event_split_why(const sluice_event_split_t *split)
{
    return split->why;
}


static sluice_event_split_rc_e
split_whole(sluice_event_split_t *split, const char *buf, size_t len)
{
    (void) split_emit(split, buf, len, 0);

    return split->rc;
}


static sluice_event_split_rc_e
split_lines(sluice_event_split_t *split, const char *p, const char *end)
{
    size_t       len;
    const char  *lf;

    if (split->cr) {
        split->cr = 0;

        if (*p != '\n' && split_emit(split, "\r", 1, 0) != 0) {
            return split->rc;
        }
    }

    while (p < end) {

        lf = memchr(p, '\n', end - p);
        len = (lf != NULL ? lf : end) - p;

        if (len > 0 && p[len - 1] == '\r') {
            split->cr = (lf == NULL);
            len--;
        }

        if ((len > 0 || (lf != NULL && split->open))
            && split_emit(split, p, len, lf != NULL) != 0)
        {
            return split->rc;
        }

        p = (lf != NULL) ? lf + 1 : end;
    }

    return split->rc;
}


/*
 * An element's bytes are passed on when it ends, or at the end of the slice;
 * begin is where those of the element at hand begin in this one.
 */
static sluice_event_split_rc_e
split_array(sluice_event_split_t *split, const char *p, const char *end)
{
    int            rc;
    const char    *begin;
    unsigned char  c;

    for (begin = p; p < end; p++) {

        if (split->state == SPLIT_STRING) {
            p = split_string(p, end);
            if (p == end) {
                break;
            }
        }

        c = (unsigned char) *p;
        rc = 0;

        switch (split->state) {

        case SPLIT_BEGIN:
            if (c == '[') {
                split->state = SPLIT_FIRST;

            } else if (split_class[c] != SPLIT_C_BLANK) {
                rc = split_bad(split, SLUICE_EVENT_SPLIT_BAD,
                               "The body is not a JSON array.");
            }
            break;

        case SPLIT_FIRST:
        case SPLIT_NEXT:
            begin = p;
            rc = split_value(split, c);
            break;

        case SPLIT_SCALAR:
            if (split_class[c] == SPLIT_C_SCALAR) {
                break;
            }

            /* this byte is the first behind it */
            split->state = SPLIT_AFTER;
            rc = split_emit(split, begin, p - begin, 1);
            if (rc != 0) {
                break;
            }

            /* fall through */

        case SPLIT_AFTER:
            rc = split_after(split, c);
            break;

        case SPLIT_OVER:
            if (split_class[c] != SPLIT_C_BLANK) {
                rc = split_bad(split, SLUICE_EVENT_SPLIT_BAD,
                               "Something follows the JSON array.");
            }
            break;

        default:
            rc = split_inside(split, c);

            if (rc == 0 && split->state == SPLIT_AFTER) {
                rc = split_emit(split, begin, p + 1 - begin, 1);
            }
        }

        if (rc != 0) {
            return split->rc;
        }
    }

    if (split->state >= SPLIT_SCALAR && split->state <= SPLIT_ESCAPE) {
        (void) split_emit(split, begin, end - begin, 0);
    }

    return split->rc;
}


/* Where an element is to begin. */
static int
split_value(sluice_event_split_t *split, unsigned char c)
{
    switch (split_class[c]) {

    case SPLIT_C_BLANK:
        return 0;

    case SPLIT_C_SCALAR:
        split->state = SPLIT_SCALAR;
        return 0;

    case SPLIT_C_QUOTE:
        split->state = SPLIT_STRING;
        return 0;

    case SPLIT_C_OPEN:
        split->state = SPLIT_NESTED;
        return split_open(split, c);
    }

    if (c == ']' && split->state == SPLIT_FIRST) {
        split->state = SPLIT_OVER;
        return 0;
    }

    return split_bad(split, SLUICE_EVENT_SPLIT_BAD,
                     "An element of the JSON array is missing or malformed.");
}


static int
split_after(sluice_event_split_t *split, unsigned char c)
{
    if (c == ',') {
        split->state = SPLIT_NEXT;
        return 0;
    }

    if (c == ']') {
        split->state = SPLIT_OVER;
        return 0;
    }

    return (split_class[c] == SPLIT_C_BLANK) ? 0
           : split_bad(split, SLUICE_EVENT_SPLIT_BAD,
                       "The elements of the JSON array must be separated by "
                       "commas.");
}


/* In a string, or between brackets; the element is over in SPLIT_AFTER. */
static int
split_inside(sluice_event_split_t *split, unsigned char c)
{
    if (split->state != SPLIT_NESTED) {

        if (c < 0x20) {
            return split_bad(split, SLUICE_EVENT_SPLIT_BAD,
                             "A JSON string has a control character.");
        }

        if (split->state == SPLIT_ESCAPE) {
            split->state = SPLIT_STRING;

        } else if (c == '\\') {
            split->state = SPLIT_ESCAPE;

        } else {
            split->state = (split->depth > 0) ? SPLIT_NESTED : SPLIT_AFTER;
        }

        return 0;
    }

    switch (split_class[c]) {

    case SPLIT_C_QUOTE:
        split->state = SPLIT_STRING;
        return 0;

    case SPLIT_C_OPEN:
        return split_open(split, c);

    case SPLIT_C_CLOSE:
        return split_close(split, c);

    case SPLIT_C_BAD:
        return split_bad(split, SLUICE_EVENT_SPLIT_BAD,
                         "The JSON array has a character that is none of "
                         "JSON's.");
    }

    return 0;
}


static int
split_open(sluice_event_split_t *split, unsigned char c)
{
    if (split->depth == SLUICE_EVENT_SPLIT_DEPTH) {
        return split_bad(split, SLUICE_EVENT_SPLIT_LIMIT,
                         "An element of the JSON array is nested more than "
                         "64 deep.");
    }

    split->objects = split->objects << 1 | (c == '{');
    split->depth++;

    return 0;
}


static int
split_close(sluice_event_split_t *split, unsigned char c)
{
    if ((split->objects & 1) != (c == '}')) {
        return split_bad(split, SLUICE_EVENT_SPLIT_BAD,
                         "A bracket of the JSON array has no match.");
    }

    split->objects >>= 1;

    if (--split->depth == 0) {
        split->state = SPLIT_AFTER;
    }

    return 0;
}


/* To the next byte of a string that is not simply one of its own. */
static const char *
split_string(const char *p, const char *end)
{
    while (p < end && *p != '"' && *p != '\\' && (unsigned char) *p >= 0x20) {
        p++;
    }

    return p;
}


static int
split_emit(sluice_event_split_t *split, const char *bytes, size_t len,
    int last)
{
    split->open = !last;

    if (split->emit(split->ctx, bytes, len, last) == 0) {
        return 0;
    }

    split->rc = SLUICE_EVENT_SPLIT_STOP;

    return -1;
}


static int
split_bad(sluice_event_split_t *split, sluice_event_split_rc_e rc,
    const char *why)
{
    split->rc = rc;
    split->why = why;

    return -1;
}
