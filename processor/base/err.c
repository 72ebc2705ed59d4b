/*
 * err.c: writes the sentence that goes with an rc_t.
 *
 * Owns nothing.  The text is cut at the size of err_t; it is made for log
 * lines and error-reason headers, where whole sentences of servers end up, so
 * line ends are turned into blanks here and nowhere else.
 */

#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>


rc_t
err_set(err_t *err, rc_t rc, const char *fmt, ...)
{
    va_list  args;

    if (err == NULL) {
        return rc;
    }

    va_start(args, fmt);
    (void) vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);

    /* PostgreSQL's messages end in a newline and may have more inside. */
    size_t  last = 0;

    for (size_t i = 0; err->text[i] != '\0'; i++) {
        if (err->text[i] == '\n' || err->text[i] == '\r'
            || err->text[i] == '\t')
        {
            err->text[i] = ' ';
        }
        if (err->text[i] != ' ') {
            last = i + 1;
        }
    }
    err->text[last] = '\0';

    return rc;
}


const char *
rc_name(rc_t rc)
{
    switch (rc) {
    case RC_OK:
        return "ok";
    case RC_RETRY:
        return "retry";
    case RC_REJECT:
        return "reject";
    case RC_FENCED:
        return "fenced";
    }

    return "unknown";
}
