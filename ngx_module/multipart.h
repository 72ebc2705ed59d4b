/*
 * multipart.h: a push parser for multipart/form-data.
 *
 * Bytes go in as they arrive, in slices of any size; events come out, with
 * slices of the same bytes.  Any split of the input gives the same headers and
 * the same concatenated part data.  The parser holds at most one part's header
 * block and a partial delimiter; it never
 * allocates, logs or knows nginx.  RFC 7578 and RFC 2046 5.1.1; where the two
 * leave room it is strict: CRLF only, no folded headers, no NUL.
 */

#ifndef SLUICE_MULTIPART_H
#define SLUICE_MULTIPART_H

#include <stddef.h>
#include <stdint.h>

/* nginx opens modules with RTLD_GLOBAL: our names must not meet others'. */
#pragma GCC visibility push(hidden)

#define SLUICE_MULTIPART_BOUNDARY_MAX  70      /* RFC 2046 5.1.1 */
#define SLUICE_MULTIPART_HEADERS_MAX   16      /* header lines of one part */
#define SLUICE_MULTIPART_PREAMBLE_MAX  1024    /* bytes before the first part */
#define SLUICE_MULTIPART_EPILOGUE_MAX  65536   /* bytes after the last part */
#define SLUICE_MULTIPART_PADDING_MAX   64      /* blanks after a delimiter */

/* When not told else, see sluice_multipart_limits_t. */
#define SLUICE_MULTIPART_HEADER_SIZE   4096    /* bytes of one part's headers */
#define SLUICE_MULTIPART_HEADER_TOTAL  65536   /* header bytes of all parts */
#define SLUICE_MULTIPART_PARTS         1000

/* The most that may be asked for: there is room for it in each parser. */
#define SLUICE_MULTIPART_HEADER_MAX    8192

typedef struct {
    const char  *data;                 /* borrowed; not NUL-terminated */
    size_t       len;
} sluice_multipart_str_t;

/*
 * The headers of a part, as far as form-data knows them.  Values are
 * unquoted: inside a quoted string \" and \\ are unescaped, and the browsers'
 * %22, %0D and %0A are decoded, nothing else.  filename* is ignored
 * (RFC 7578 4.2), but noted.  name.data is NULL only before headers were seen.
 */
typedef struct {
    sluice_multipart_str_t  name;            /* never empty */
    sluice_multipart_str_t  filename;
    sluice_multipart_str_t  content_type;    /* as claimed; empty when absent */
    unsigned                has_filename:1;  /* filename="" sets it too */
    unsigned                has_filename_star:1;
} sluice_multipart_part_t;

/*
 * Every event may return non-zero to stop the parser: sluice_multipart_feed()
 * then returns SLUICE_MULTIPART_STOP, and the parser is over.  Slices die when
 * the callback returns.  part_data() is never called with len 0; part_end()
 * only once the whole delimiter behind the part was seen, so a truncated part
 * never ends.
 */
typedef struct {
    int  (*part_begin)(void *ctx, const sluice_multipart_part_t *part);
    int  (*part_data)(void *ctx, const char *data, size_t len);
    int  (*part_end)(void *ctx);
} sluice_multipart_events_t;

typedef enum {
    SLUICE_MULTIPART_MORE = 0,   /* all bytes used, the body goes on */
    SLUICE_MULTIPART_END,        /* closing delimiter seen; the epilogue may
                                    still be fed and is dropped */
    SLUICE_MULTIPART_STOP,       /* a callback asked for it */
    SLUICE_MULTIPART_BAD,        /* malformed: answer 400 */
    SLUICE_MULTIPART_LIMIT,      /* well-formed so far, but over a limit: 413 */
    SLUICE_MULTIPART_ENCODING    /* a Content-Transfer-Encoding other than
                                    7bit, 8bit or binary: answer 415 */
} sluice_multipart_rc_e;

/* Which limit it was. */
typedef enum {
    SLUICE_MULTIPART_LIMIT_NONE = 0,
    SLUICE_MULTIPART_LIMIT_PARTS,
    SLUICE_MULTIPART_LIMIT_HEADER,         /* bytes of one part's headers */
    SLUICE_MULTIPART_LIMIT_HEADER_TOTAL,
    SLUICE_MULTIPART_LIMIT_LINES,          /* of one part's headers */
    SLUICE_MULTIPART_LIMIT_EPILOGUE
} sluice_multipart_limit_e;

/* Runtime limits; zero means the default above. */
typedef struct {
    uint32_t  header_bytes;      /* of one part, <= ..._HEADER_MAX */
    uint32_t  header_total;      /* of all parts together */
    uint32_t  parts;             /* parts of any kind in one body */
} sluice_multipart_limits_t;

/*
 * Held by value by the caller; the members are the parser's own.  Nearly all of
 * it is the header block of the part at hand, of which only what arrives is
 * touched.
 */
typedef struct {
    const sluice_multipart_events_t  *events;
    void                             *ctx;
    const char                       *why;

    sluice_multipart_limits_t  limits;
    sluice_multipart_rc_e      rc;            /* the last; errors stay */
    sluice_multipart_limit_e   limit;         /* when rc is LIMIT */
    unsigned                   state;

    uint32_t  matched;           /* bytes of delim seen so far, held back */
    uint32_t  assumed;           /* of these, not really in the stream */
    uint32_t  skipped;           /* bytes of preamble, padding or epilogue */
    uint32_t  parts;
    uint32_t  header_total;
    uint32_t  header_len;        /* bytes in header[] */
    uint32_t  line;              /* where its last, unfinished line begins */
    uint32_t  lines;

    unsigned  in_part:1;
    unsigned  has_disposition:1;
    unsigned  has_type:1;

    uint32_t  delim_len;
    char      delim[4 + SLUICE_MULTIPART_BOUNDARY_MAX];  /* CR LF - - ... */

    sluice_multipart_part_t  part;            /* slices of header[] */
    char                     header[SLUICE_MULTIPART_HEADER_MAX];
} sluice_multipart_t;

/*
 * Read the boundary out of a Content-Type value.
 *
 * value, len   the header's value, e.g. multipart/form-data; boundary="x y"
 * boundary     out: borrowed slice of value, 1-70 characters of bchars
 * why          out, on -2: one sentence fit for a 400; else NULL
 *
 * Returns 0; -1 when the type is not multipart/form-data (answer 415), -2 when
 * it is but the boundary is missing, twice there, too long, or outside RFC
 * 2046's alphabet.  A backslash is outside of it, so an escaped one is too.
 */
int sluice_multipart_boundary(const char *value, size_t len,
    sluice_multipart_str_t *boundary, const char **why);

/*
 * boundary is copied and must come from sluice_multipart_boundary().  limits
 * may be NULL.  events and ctx are borrowed for the parser's life.
 */
void sluice_multipart_init(sluice_multipart_t *mp,
    const sluice_multipart_str_t *boundary,
    const sluice_multipart_limits_t *limits,
    const sluice_multipart_events_t *events, void *ctx);

/*
 * Push the next bytes.  buf is borrowed for this call; len may be 0.  After
 * END it may be called again (epilogue); after an error it returns that error
 * again and calls nothing.
 */
sluice_multipart_rc_e sluice_multipart_feed(sluice_multipart_t *mp,
    const char *buf, size_t len);

/*
 * Tell the parser that the body is over.  END when the closing delimiter was
 * seen, BAD (truncated) otherwise, or the error that feed() returned.
 */
sluice_multipart_rc_e sluice_multipart_finish(sluice_multipart_t *mp);

/* One sentence for the client, static storage; "" before any error. */
const char *sluice_multipart_why(const sluice_multipart_t *mp);

/* Which limit was passed, once feed() returned LIMIT. */
sluice_multipart_limit_e sluice_multipart_limit(const sluice_multipart_t *mp);

#pragma GCC visibility pop

#endif /* SLUICE_MULTIPART_H */
