/*
 * rfc3339.c: times as a query argument spells them.
 *
 * Owns the grammar and the calendar.  Does not know the clock, nginx or SQL.
 * Years are counted from March, so that the leap day is a year's last and
 * the months before it have lengths of a fixed pattern.
 */

#include "rfc3339.h"


#define SLUICE_DAY_MS  ((int64_t) 86400000)


static int sluice_rfc3339_number(const char *text, size_t digits);
static int sluice_rfc3339_date(const char *text, int64_t *day);
static int sluice_rfc3339_time(const char *text, size_t len, int64_t *ms);
static void sluice_rfc3339_digits(char *dst, size_t digits, int64_t n);
static int64_t sluice_rfc3339_day(int year, int month, int day);


int
sluice_rfc3339_parse(const char *text, size_t len, int64_t *ms)
{
    int64_t  day, time;

    if (len < 10 || sluice_rfc3339_date(text, &day) != 0) {
        return -1;
    }

    time = 0;

    if (len > 10 && sluice_rfc3339_time(text + 10, len - 10, &time) != 0) {
        return -1;
    }

    time += day * SLUICE_DAY_MS;

    /* an offset may lead out of the years we format */
    if (time < 0 || time >= sluice_rfc3339_day(10000, 1, 1) * SLUICE_DAY_MS) {
        return -1;
    }

    *ms = time;

    return 0;
}


/* 2026-11-20 */
static int
sluice_rfc3339_date(const char *text, int64_t *day)
{
    int  y, m, d, last;

    static const int  days[] = {
        31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
    };

    y = sluice_rfc3339_number(text, 4);
    m = sluice_rfc3339_number(text + 5, 2);
    d = sluice_rfc3339_number(text + 8, 2);

    if (text[4] != '-' || text[7] != '-' || y < 1970 || m < 1 || m > 12
        || d < 1)
    {
        return -1;
    }

    last = days[m - 1];

    if (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0)) {
        last = 29;
    }

    if (d > last) {
        return -1;
    }

    *day = sluice_rfc3339_day(y, m, d);

    return 0;
}


/* T12:00:30[.123...](Z|+01:00) */
static int
sluice_rfc3339_time(const char *text, size_t len, int64_t *ms)
{
    int          h, m, s, fraction, scale, sign;
    const char  *end;

    if (len < 10 || (text[0] != 'T' && text[0] != 't' && text[0] != ' ')
        || text[3] != ':' || text[6] != ':')
    {
        return -1;
    }

    end = text + len;
    h = sluice_rfc3339_number(text + 1, 2);
    m = sluice_rfc3339_number(text + 4, 2);
    s = sluice_rfc3339_number(text + 7, 2);

    if (h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 59) {
        return -1;
    }

    text += 9;
    fraction = 0;

    if (*text == '.') {
        text++;

        if (text == end || *text < '0' || *text > '9') {
            return -1;
        }

        for (scale = 100;
             text < end && *text >= '0' && *text <= '9';
             text++, scale /= 10)
        {
            fraction += (*text - '0') * scale;
        }
    }

    *ms = ((int64_t) h * 3600 + m * 60 + s) * 1000 + fraction;

    if (end - text == 1 && (*text == 'Z' || *text == 'z')) {
        return 0;
    }

    if (end - text != 6 || (*text != '+' && *text != '-') || text[3] != ':') {
        return -1;
    }

    sign = (*text == '-') ? -1 : 1;
    h = sluice_rfc3339_number(text + 1, 2);
    m = sluice_rfc3339_number(text + 4, 2);

    if (h < 0 || h > 23 || m < 0 || m > 59) {
        return -1;
    }

    *ms -= (int64_t) sign * (h * 60 + m) * 60000;

    return 0;
}


/* -1 unless all are digits */
static int
sluice_rfc3339_number(const char *text, size_t digits)
{
    int     n;
    size_t  i;

    n = 0;

    for (i = 0; i < digits; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }

        n = n * 10 + (text[i] - '0');
    }

    return n;
}


/* Days since the epoch of a date that exists. */
static int64_t
sluice_rfc3339_day(int year, int month, int day)
{
    int64_t  y;

    y = (month <= 2) ? year - 1 : year;
    month = (month <= 2) ? month + 9 : month - 3;

    return y * 365 + y / 4 - y / 100 + y / 400 + (153 * month + 2) / 5 + day
           - 719469;
}


void
sluice_rfc3339_format(char *dst, int64_t ms)
{
    int      month;
    int64_t  day, year;

    day = ms / SLUICE_DAY_MS;
    ms %= SLUICE_DAY_MS;

    /* years of 365 days: a guess that is never too early */
    year = 1970 + day / 365;
    while (sluice_rfc3339_day(year, 1, 1) > day) {
        year--;
    }

    month = 12;
    while (sluice_rfc3339_day(year, month, 1) > day) {
        month--;
    }

    sluice_rfc3339_digits(dst, 4, year);
    dst[4] = '-';
    sluice_rfc3339_digits(dst + 5, 2, month);
    dst[7] = '-';
    sluice_rfc3339_digits(dst + 8, 2,
                          day - sluice_rfc3339_day(year, month, 1) + 1);
    dst[10] = 'T';
    sluice_rfc3339_digits(dst + 11, 2, ms / 3600000);
    dst[13] = ':';
    sluice_rfc3339_digits(dst + 14, 2, ms / 60000 % 60);
    dst[16] = ':';
    sluice_rfc3339_digits(dst + 17, 2, ms / 1000 % 60);
    dst[19] = '.';
    sluice_rfc3339_digits(dst + 20, 3, ms % 1000);
    dst[23] = 'Z';
}


static void
sluice_rfc3339_digits(char *dst, size_t digits, int64_t n)
{
    while (digits > 0) {
        dst[--digits] = '0' + n % 10;
        n /= 10;
    }
}
