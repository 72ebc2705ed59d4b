/*
 * multipart_header.c: what the header lines of a part say, and the boundary.
 *
 * Owns the grammar of one line and of parameters.  Does not split the stream
 * into lines and keeps no limits: multipart.c does.  Names are compared whole,
 * parameters are read one after the other, never looked for as substrings.
 */

#include "multipart_header.h"

#include <string.h>


#define sluice_multipart_in(set, c)                                          \
    ((set)[(unsigned char) (c) >> 5] & (1u << ((unsigned char) (c) & 31)))


typedef struct {
    sluice_multipart_str_t  name;
    sluice_multipart_str_t  value;
    unsigned                quoted;
} sluice_multipart_param_t;


/* RFC 9110 5.6.2: tchar */
static const uint32_t  sluice_multipart_token[] = {
    0x00000000, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff,
    0x00000000, 0x00000000, 0x00000000, 0x00000000
};

/* RFC 2046 5.1.1: bcharsnospace */
static const uint32_t  sluice_multipart_bchars[] = {
    0x00000000, 0xa7fffb80, 0x87fffffe, 0x07fffffe,
    0x00000000, 0x00000000, 0x00000000, 0x00000000
};


static unsigned
sluice_multipart_blank(char c)
{
    return c == ' ' || c == '\t';
}


/* lower is a literal in lower case */
static unsigned
sluice_multipart_is(const char *s, size_t len, const char *lower)
{
    char    c;
    size_t  i;

    if (len != strlen(lower)) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        c = s[i];

        if (c >= 'A' && c <= 'Z') {
            c |= 0x20;
        }

        if (c != lower[i]) {
            return 0;
        }
    }

    return 1;
}


static void
sluice_multipart_trim(const char **p, const char **last)
{
    while (*p < *last && sluice_multipart_blank(**p)) {
        (*p)++;
    }

    while (*p < *last && sluice_multipart_blank((*last)[-1])) {
        (*last)--;
    }
}


/*
 * Read a parameter's value: a token of the characters in set, or a quoted
 * string, left as it is without its quotes.  Returns the place behind it, or
 * NULL when there is none.
 */
static const char *
sluice_multipart_value(const char *p, const char *last, const uint32_t *set,
    sluice_multipart_param_t *param)
{
    param->quoted = (p < last && *p == '"');

    if (!param->quoted) {
        param->value.data = p;

        while (p < last && sluice_multipart_in(set, *p)) {
            p++;
        }

        param->value.len = p - param->value.data;

        return param->value.len ? p : NULL;
    }

    param->value.data = ++p;

    while (p < last && *p != '"') {

        /* an escaped quote ends nothing; which escapes count: see unquote */

        if (*p == '\\' && last - p > 1 && (p[1] == '"' || p[1] == '\\')) {
            p++;
        }

        p++;
    }

    param->value.len = p - param->value.data;

    return p < last ? p + 1 : NULL;
}


/*
 * Read the next ; name=value from *pos.
 *
 * Returns 1 for a parameter, 0 at the end, -1 when it cannot be read.
 */
static int
sluice_multipart_param(const char **pos, const char *last, const uint32_t *set,
    sluice_multipart_param_t *param)
{
    unsigned     semicolon;
    const char  *p;

    /* RFC 9110 5.6.6 allows empty parameters */

    for (p = *pos, semicolon = 0; p < last; p++) {
        if (*p == ';') {
            semicolon = 1;

        } else if (!sluice_multipart_blank(*p)) {
            break;
        }
    }

    if (p == last) {
        return 0;
    }

    if (!semicolon) {
        return -1;
    }

    param->name.data = p;

    while (p < last && sluice_multipart_in(sluice_multipart_token, *p)) {
        p++;
    }

    param->name.len = p - param->name.data;

    /* blanks around the = are not allowed, and others disagree on them */

    if (param->name.len == 0 || p == last || *p != '=') {
        return -1;
    }

    *pos = sluice_multipart_value(p + 1, last, set, param);

    return *pos != NULL ? 1 : -1;
}


static const char *
sluice_multipart_boundary_bad(const sluice_multipart_str_t *boundary)
{
    size_t  i;

    if (boundary->len == 0) {
        return "The boundary in Content-Type is empty.";
    }

    if (boundary->len > SLUICE_MULTIPART_BOUNDARY_MAX) {
        return "The boundary in Content-Type is longer than 70 characters.";
    }

    for (i = 0; i < boundary->len; i++) {
        if (!sluice_multipart_in(sluice_multipart_bchars, boundary->data[i])
            && boundary->data[i] != ' ')
        {
            return "The boundary in Content-Type has a character that RFC 2046"
                   " does not allow.";
        }
    }

    if (boundary->data[boundary->len - 1] == ' ') {
        return "The boundary in Content-Type ends with a space.";
    }

    return NULL;
}


int
sluice_multipart_boundary(const char *value, size_t len,
    sluice_multipart_str_t *boundary, const char **why)
{
    int                       rc;
    unsigned                  found;
    const char               *p, *type, *last;
    sluice_multipart_param_t  param;

    *why = NULL;
    last = value + len;

    p = memchr(value, ';', len);
    if (p == NULL) {
        p = last;
    }

    type = value;
    value = p;
    sluice_multipart_trim(&type, &p);

    if (!sluice_multipart_is(type, p - type, "multipart/form-data")) {
        return -1;
    }

    found = 0;

    for ( ;; ) {
        rc = sluice_multipart_param(&value, last, sluice_multipart_bchars,
                                    &param);
        if (rc == 0) {
            break;
        }

        if (rc == -1) {
            *why = "The parameters of Content-Type cannot be read.";
            return -2;
        }

        if (!sluice_multipart_is(param.name.data, param.name.len, "boundary")) {
            continue;
        }

        if (found) {
            *why = "Content-Type has more than one boundary.";
            return -2;
        }

        found = 1;
        *boundary = param.value;
    }

    if (!found) {
        *why = "Content-Type has no boundary.";
        return -2;
    }

    *why = sluice_multipart_boundary_bad(boundary);

    return *why == NULL ? 0 : -2;
}


/*
 * Undo a quoted string's escapes in place.  Old browsers send C:\path\x.jpg as
 * it is, so a backslash counts only before a quote or another one.  Of the
 * percent escapes only those which browsers write: HTML, "multipart form data".
 */
static size_t
sluice_multipart_unquote(char *s, size_t len)
{
    char         c;
    size_t       i, n;
    const char  *hex;

    for (i = 0, n = 0; i < len; i++, n++) {
        c = s[i];

        if (c == '\\' && len - i > 1 && (s[i + 1] == '"' || s[i + 1] == '\\')) {
            c = s[++i];

        } else if (c == '%' && len - i > 2) {
            hex = &s[i + 1];

            if (hex[0] == '2' && hex[1] == '2') {
                c = '"';

            } else if (hex[0] == '0' && (hex[1] | 0x20) == 'd') {
                c = '\r';

            } else if (hex[0] == '0' && (hex[1] | 0x20) == 'a') {
                c = '\n';
            }

            if (c != '%') {
                i += 2;
            }
        }

        s[n] = c;
    }

    return n;
}


static sluice_multipart_rc_e
sluice_multipart_bad(sluice_multipart_t *mp, const char *why)
{
    mp->why = why;
    mp->rc = SLUICE_MULTIPART_BAD;

    return mp->rc;
}


/* Take a name or filename parameter, once. */
static sluice_multipart_rc_e
sluice_multipart_take(sluice_multipart_t *mp, sluice_multipart_str_t *str,
    const sluice_multipart_param_t *param, const char *twice)
{
    char  *value;

    if (str->data != NULL) {
        return sluice_multipart_bad(mp, twice);
    }

    *str = param->value;

    if (param->quoted) {
        value = mp->header + (param->value.data - mp->header);
        str->len = sluice_multipart_unquote(value, param->value.len);
    }

    return SLUICE_MULTIPART_MORE;
}


static sluice_multipart_rc_e
sluice_multipart_disposition_param(sluice_multipart_t *mp,
    const sluice_multipart_param_t *param)
{
    size_t       len;
    const char  *name;

    name = param->name.data;
    len = param->name.len;

    if (sluice_multipart_is(name, len, "name")) {
        return sluice_multipart_take(mp, &mp->part.name, param,
                                     "A part has more than one name.");
    }

    if (sluice_multipart_is(name, len, "filename")) {
        mp->part.has_filename = 1;
        return sluice_multipart_take(mp, &mp->part.filename, param,
                                     "A part has more than one filename.");
    }

    if (len > 8 && sluice_multipart_is(name, 9, "filename*")) {
        mp->part.has_filename_star = 1;         /* and filename*0= and so on */
    }

    return SLUICE_MULTIPART_MORE;
}


static sluice_multipart_rc_e
sluice_multipart_disposition(sluice_multipart_t *mp, const char *p,
    const char *last)
{
    int                       found;
    const char               *type;
    sluice_multipart_param_t  param;

    if (mp->has_disposition) {
        return sluice_multipart_bad(mp,
                              "A part has more than one Content-Disposition.");
    }

    mp->has_disposition = 1;
    type = p;

    while (p < last && sluice_multipart_in(sluice_multipart_token, *p)) {
        p++;
    }

    if (!sluice_multipart_is(type, p - type, "form-data")) {
        return sluice_multipart_bad(mp,
                              "A part's Content-Disposition is not form-data.");
    }

    for ( ;; ) {
        found = sluice_multipart_param(&p, last, sluice_multipart_token,
                                       &param);
        if (found == 0) {
            break;
        }

        if (found == -1) {
            return sluice_multipart_bad(mp,
                              "A part's Content-Disposition cannot be read.");
        }

        if (sluice_multipart_disposition_param(mp, &param)
            != SLUICE_MULTIPART_MORE)
        {
            return mp->rc;
        }
    }

    return SLUICE_MULTIPART_MORE;
}


static sluice_multipart_rc_e
sluice_multipart_type(sluice_multipart_t *mp, const char *p, const char *last)
{
    if (mp->has_type) {
        return sluice_multipart_bad(mp,
                                    "A part has more than one Content-Type.");
    }

    mp->has_type = 1;
    mp->part.content_type.data = p;
    mp->part.content_type.len = last - p;

    return SLUICE_MULTIPART_MORE;
}


static sluice_multipart_rc_e
sluice_multipart_encoding(sluice_multipart_t *mp, const char *p,
    const char *last)
{
    size_t  len;

    len = last - p;

    if (!sluice_multipart_is(p, len, "binary")
        && !sluice_multipart_is(p, len, "8bit")
        && !sluice_multipart_is(p, len, "7bit"))
    {
        mp->why = "A part's Content-Transfer-Encoding is not 7bit, 8bit or"
                  " binary.";
        mp->rc = SLUICE_MULTIPART_ENCODING;
        return mp->rc;
    }

    return SLUICE_MULTIPART_MORE;
}


sluice_multipart_rc_e
sluice_multipart_line(sluice_multipart_t *mp, const char *line,
    const char *last)
{
    size_t       len;
    const char  *p;

    if (memchr(line, '\0', last - line) != NULL
        || memchr(line, '\r', last - line) != NULL)
    {
        return sluice_multipart_bad(mp, "A part's header contains a NUL or a CR"
                                        " without LF.");
    }

    if (sluice_multipart_blank(*line)) {
        return sluice_multipart_bad(mp, "A line of a part's header begins with"
                                        " a blank; folding is not allowed.");
    }

    for (p = line; p < last; p++) {
        if (!sluice_multipart_in(sluice_multipart_token, *p)) {
            break;
        }
    }

    len = p - line;

    if (len == 0 || p == last || *p != ':') {
        return sluice_multipart_bad(mp,
                                    memchr(line, ':', last - line) == NULL
                                    ? "A part's header has no colon."
                                    : "A part's header has an invalid name.");
    }

    p++;
    sluice_multipart_trim(&p, &last);

    if (sluice_multipart_is(line, len, "content-disposition")) {
        return sluice_multipart_disposition(mp, p, last);
    }

    if (sluice_multipart_is(line, len, "content-type")) {
        return sluice_multipart_type(mp, p, last);
    }

    if (sluice_multipart_is(line, len, "content-transfer-encoding")) {
        return sluice_multipart_encoding(mp, p, last);
    }

    return SLUICE_MULTIPART_MORE;
}
