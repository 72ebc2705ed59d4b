/*
 * log.c: logfmt lines, one write(2) each.
 *
 * Owns the level and the file descriptor, which are process-wide, and the
 * quoting of values.  A line is built on the caller's stack and written at
 * once, so lanes need no lock and lines of PIPE_BUF bytes don't mix.
 *
 * What doesn't fit is cut, value by value, and ends in "...": a line is never
 * split, and its quotes are always closed.
 */

#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/now.h"
#include "base/utf8.h"

#define LOG_LINE_MAX   4096           /* PIPE_BUF on Linux */
#define LOG_VALUE_MAX  1024           /* bytes of a value before escaping */


typedef struct {
    char    text[LOG_LINE_MAX];
    size_t  len;
} log_line_t;


static const char *const  log_names[] = {
    "error", "warn", "notice", "info", "debug"
};

static atomic_int  log_level = LOG_LEVEL_INFO;
static atomic_int  log_fd = STDERR_FILENO;


int
log_level_parse(const char *name, log_level_e *level)
{
    for (size_t i = 0; i < sizeof(log_names) / sizeof(log_names[0]); i++) {
        if (strcmp(name, log_names[i]) == 0) {
            *level = (log_level_e) i;
            return 0;
        }
    }
    return -1;
}


void
log_level_set(log_level_e level)
{
    atomic_store_explicit(&log_level, (int) level, memory_order_relaxed);
}


log_level_e
log_level_get(void)
{
    return (log_level_e) atomic_load_explicit(&log_level,
                                              memory_order_relaxed);
}


void
log_fd_set(int fd)
{
    atomic_store(&log_fd, fd);
}


/* Room is kept for `..."` and the line's end. */
static int
log_room(const log_line_t *line, size_t n)
{
    return line->len + n <= LOG_LINE_MAX - 6;
}


static void
log_put(log_line_t *line, const char *s, size_t n)
{
    memcpy(line->text + line->len, s, n);
    line->len += n;
}


/* A key, a number or a blank: ours, so there is nothing to escape. */
static void
log_raw(log_line_t *line, const char *s)
{
    size_t  n = strlen(s);

    if (log_room(line, n)) {
        log_put(line, s, n);
    }
}


static int
log_is_bare(const char *s, size_t len)
{
    if (len == 0) {
        return 0;
    }

    for (size_t i = 0; i < len; i++) {
        if (s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '='
            || s[i] == '\\')
        {
            return 0;
        }
    }
    return 1;
}


/* One character of a quoted value; returns the bytes of s it took. */
static size_t
log_escape(const char *s, size_t len, char out[8], size_t *n)
{
    uint32_t  cp;
    size_t    used = utf8_next(s, len, &cp);

    out[0] = '\\';
    *n = 2;

    if (used == 1) {
        switch (s[0]) {
        case '"':
        case '\\':
            out[1] = s[0];
            return 1;
        case '\n':
            out[1] = 'n';
            return 1;
        case '\r':
            out[1] = 'r';
            return 1;
        case '\t':
            out[1] = 't';
            return 1;
        }
    }

    if (used > 0 && utf8_is_plain(cp)) {
        memcpy(out, s, used);
        *n = used;
        return used;
    }

    if (used > 1) {
        *n = (size_t) snprintf(out, 8, "\\u%04x", (unsigned) cp & 0xffff);
        return used;
    }

    *n = (size_t) snprintf(out, 8, "\\x%02x", (unsigned char) s[0]);
    return 1;
}


static void
log_value(log_line_t *line, const char *s)
{
    char    out[8];
    int     cut = 0;
    size_t  n, len;

    if (s == NULL) {
        s = "";
    }

    len = strnlen(s, LOG_VALUE_MAX + 1);
    if (len > LOG_VALUE_MAX) {
        len = LOG_VALUE_MAX;
        cut = 1;
    }

    if (!cut && log_is_bare(s, len) && log_room(line, len)) {
        log_put(line, s, len);
        return;
    }

    log_put(line, "\"", 1);

    while (len > 0) {
        size_t  used = log_escape(s, len, out, &n);

        if (!log_room(line, n)) {
            cut = 1;
            break;
        }
        log_put(line, out, n);
        s += used;
        len -= used;
    }

    if (cut) {
        log_put(line, "...", 3);
    }
    log_put(line, "\"", 1);
}


static void
log_time(log_line_t *line)
{
    char  text[NOW_TEXT_LEN];

    now_text(text);
    log_raw(line, "ts=");
    log_raw(line, text);
}


void
log_write(log_level_e level, const char *mod, const char *msg,
    const log_field_t *fields)
{
    char        number[24];
    log_line_t  line;

    line.len = 0;
    log_time(&line);
    log_raw(&line, " level=");
    log_raw(&line, log_names[level]);
    log_raw(&line, " mod=");
    log_value(&line, mod);
    log_raw(&line, " msg=");
    log_value(&line, msg);

    for (const log_field_t *f = fields; f->kind != LOG_END; f++) {

        /* A field that has no room for a few bytes of value is left out. */
        if (!log_room(&line, strlen(f->key) + 32)) {
            break;
        }

        log_raw(&line, " ");
        log_raw(&line, f->key);
        log_raw(&line, "=");

        if (f->kind == LOG_INT) {
            (void) snprintf(number, sizeof(number), "%lld",
                            (long long) f->num);
            log_raw(&line, number);
        } else {
            log_value(&line, f->str);
        }
    }

    log_put(&line, "\n", 1);

    /* A full or closed pipe must not stop a lane: the line is lost. */
    while (write(atomic_load(&log_fd), line.text, line.len) < 0
           && errno == EINTR)
    {
        /* again */
    }
}
