/*
 * now.c: the clocks.
 *
 * Owns the calls of clock_gettime() whose result is a time in ms or its text.
 * Waits for nothing.
 */

#include "base/now.h"

#include <stdio.h>
#include <time.h>


static int64_t
now_ms(clockid_t id)
{
    struct timespec  ts;

    (void) clock_gettime(id, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


int64_t
now_wall_ms(void)
{
    return now_ms(CLOCK_REALTIME);
}


int64_t
now_mono_ms(void)
{
    return now_ms(CLOCK_MONOTONIC);
}


void
now_text(char text[NOW_TEXT_LEN])
{
    int64_t    ms = now_wall_ms();
    time_t     s = (time_t) (ms / 1000);
    struct tm  tm;
    size_t     n;

    (void) gmtime_r(&s, &tm);
    n = strftime(text, NOW_TEXT_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
    (void) snprintf(text + n, NOW_TEXT_LEN - n, ".%03dZ", (int) (ms % 1000));
}
