/*
 * window.c: tumbling windows over event time.
 *
 * Owns which window a record falls in, when a window is due, and a window's
 * name.  Does not know Redis, Kafka or the clock: watermark and time are
 * passed in.
 *
 * Windows are aligned to the epoch, so lanes, hosts and replays agree on them
 * without talking to each other.
 */

#include "core/window.h"

#include <string.h>
#include <time.h>

/* 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what a label can say. */
#define WINDOW_LABEL_LEAST  INT64_C(-62167219200)
#define WINDOW_LABEL_MOST   INT64_C(253402300799)


int64_t
window_start(const window_conf_t *wc, int64_t ts_ms)
{
    int64_t  rest = ts_ms % wc->size_ms;

    return ts_ms - (rest < 0 ? rest + wc->size_ms : rest);
}


int
window_is_due(const window_conf_t *wc, int64_t start_ms, int64_t watermark_ms)
{
    if (start_ms == WINDOW_NONE || watermark_ms == WINDOW_NONE) {
        return 0;
    }

    return start_ms + wc->size_ms + wc->lateness_ms <= watermark_ms;
}


static char *
window_digits(char *p, int n, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        p[i] = (char) ('0' + n % 10);
        n /= 10;
    }
    return p + width;
}


void
window_label(int64_t start_ms, char label[WINDOW_LABEL_LEN])
{
    window_conf_t  second = { 1000, 0 };
    struct tm      tm;

    /* record_read() refuses such times; a label must not overrun for one. */
    if (start_ms < WINDOW_LABEL_LEAST * 1000) {
        start_ms = WINDOW_LABEL_LEAST * 1000;
    } else if (start_ms > WINDOW_LABEL_MOST * 1000) {
        start_ms = WINDOW_LABEL_MOST * 1000;
    }

    time_t  t = (time_t) (window_start(&second, start_ms) / 1000);

    (void) gmtime_r(&t, &tm);

    char  *p = window_digits(label, tm.tm_year + 1900, 4);

    p = window_digits(p, tm.tm_mon + 1, 2);
    p = window_digits(p, tm.tm_mday, 2);
    *p++ = 'T';
    p = window_digits(p, tm.tm_hour, 2);
    p = window_digits(p, tm.tm_min, 2);
    p = window_digits(p, tm.tm_sec, 2);
    *p++ = 'Z';
    *p = '\0';
}


static int
window_number(const char *p, int width)
{
    int  n = 0;

    for (int i = 0; i < width; i++) {
        n = n * 10 + (p[i] - '0');
    }
    return n;
}


int
window_parse(const char *label, int64_t *start_ms)
{
    static const char  form[] = "00000000T000000Z";

    struct tm  tm = { 0 };
    char       again[WINDOW_LABEL_LEN];

    if (strlen(label) != sizeof(form) - 1) {
        return -1;
    }

    for (size_t i = 0; form[i] != '\0'; i++) {
        if (form[i] == '0' ? label[i] < '0' || label[i] > '9'
                           : label[i] != form[i])
        {
            return -1;
        }
    }

    tm.tm_year = window_number(label, 4) - 1900;
    tm.tm_mon = window_number(label + 4, 2) - 1;
    tm.tm_mday = window_number(label + 6, 2);
    tm.tm_hour = window_number(label + 9, 2);
    tm.tm_min = window_number(label + 11, 2);
    tm.tm_sec = window_number(label + 13, 2);

    int64_t  ms = (int64_t) timegm(&tm) * 1000;

    /* timegm() takes 30 February for 1 March; then the label differs. */
    window_label(ms, again);
    if (strcmp(label, again) != 0) {
        return -1;
    }

    *start_ms = ms;
    return 0;
}
