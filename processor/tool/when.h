/*
 * when.h: points in time as operators write them.
 */

#ifndef SLUICE_TOOL_WHEN_H
#define SLUICE_TOOL_WHEN_H

#include <stdint.h>

#define WHEN_TEXT_LEN  sizeof("2026-11-20T12:00:30Z")       /* with the NUL */

/*
 * "2h" is two hours before now_ms; "2026-11-20T12:00:30Z", "2026-11-20" and
 * "20261120T120030Z", as windows are called, are UTC.  0, or -1.
 */
int when_parse(const char *text, int64_t now_ms, int64_t *ms);

/* 2026-11-20T12:00:30Z */
void when_text(int64_t ms, char text[WHEN_TEXT_LEN]);

#endif /* SLUICE_TOOL_WHEN_H */
