/*
 * window.h: tumbling windows over event time.
 *
 * Owns which window a record falls in and when a window is due.  Does not
 * know Redis, Kafka or the clock: watermark and time are passed in.  Times are
 * ms since the epoch, UTC; a window is named by its start.
 */

#ifndef SLUICE_CORE_WINDOW_H
#define SLUICE_CORE_WINDOW_H

#include <stdint.h>

#define WINDOW_NONE  INT64_MIN         /* no window, no watermark yet */
#define WINDOW_LABEL_LEN  sizeof("20261120T120030Z")        /* with the NUL */

typedef struct {
    int64_t  size_ms;
    int64_t  lateness_ms;
} window_conf_t;

/* Start of the window that ts_ms falls in; floors for negative times too. */
int64_t window_start(const window_conf_t *wc, int64_t ts_ms);

/*
 * end + lateness <= watermark: a record of this window is late, and the window
 * is due.  Never true for watermark WINDOW_NONE.
 */
int window_is_due(const window_conf_t *wc, int64_t start_ms,
    int64_t watermark_ms);

/* 20261120T120030Z, the name in Redis keys; seconds' resolution. */
void window_label(int64_t start_ms, char label[WINDOW_LABEL_LEN]);
int window_parse(const char *label, int64_t *start_ms);

#endif /* SLUICE_CORE_WINDOW_H */
