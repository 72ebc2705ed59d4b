/*
 * when.c: points in time as operators write them.
 *
 * Owns their forms.  UTC alone: a zone would have to be guessed.
 */

#include <stdio.h>
#include <string.h>

#include "core/window.h"
#include "tool/tool.h"
#include "tool/when.h"


int
when_parse(const char *text, int64_t now_ms, int64_t *ms)
{
    char     label[WINDOW_LABEL_LEN];
    int64_t  ago;
    size_t   n = 0;

    if (tool_time(text, &ago) == 0) {
        *ms = ago < now_ms ? now_ms - ago : 0;
        return 0;
    }

    /* All the forms are a window's name with marks between. */
    for (const char *p = text; *p != '\0'; p++) {
        if ((*p == '-' && (n == 4 || n == 6))
            || (*p == ':' && (n == 11 || n == 13)))
        {
            continue;
        }
        if (n + 1 == sizeof(label)) {
            return -1;
        }
        label[n++] = *p;
    }

    if (n == 8) {
        memcpy(label + n, "T000000Z", 8);
        n += 8;
    }
    label[n] = '\0';

    return window_parse(label, ms);
}


void
when_text(int64_t ms, char text[WHEN_TEXT_LEN])
{
    char  l[WINDOW_LABEL_LEN];

    window_label(ms, l);
    (void) snprintf(text, WHEN_TEXT_LEN, "%.4s-%.2s-%.5s:%.2s:%.3s", l, l + 4,
                    l + 6, l + 11, l + 13);
}
