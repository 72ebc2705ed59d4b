/*
 * tool.c: what every command needs of its arguments.
 *
 * Owns the options that are the same for all, and small parsers.  Knows no
 * command.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/tool.h"


const tool_t *
tool_find(const char *name)
{
    for (size_t i = 0; tool_table[i] != NULL; i++) {
        if (strcmp(tool_table[i]->name, name) == 0) {
            return tool_table[i];
        }
    }

    return NULL;
}


int
tool_common(tool_common_t *common, int *argc, char **argv)
{
    int n = 0;

    memset(common, 0, sizeof(*common));

    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            common->json = 1;

        } else if (strcmp(argv[i], "--help") == 0
                   || strcmp(argv[i], "-h") == 0)
        {
            common->help = 1;

        } else if (strcmp(argv[i], "-c") == 0) {
            if (i + 1 == *argc) {
                return -1;
            }
            common->path = argv[++i];

        } else {
            argv[n++] = argv[i];
        }
    }

    argv[n] = NULL;
    *argc = n;

    return 0;
}


int
tool_fail(const tool_t *tool, const err_t *err)
{
    fprintf(stderr, "sluice-processor %s: %s\n", tool->name, err->text);

    return TOOL_FAILED;
}


int
tool_usage(const tool_t *tool)
{
    fprintf(stderr, "usage: sluice-processor %s -c FILE [--json]%s%s\n"
            "  %s\n", tool->name, tool->usage[0] == '\0' ? "" : " ",
            tool->usage, tool->help);

    return TOOL_FAILED;
}


int
tool_int(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char  *rest;

    errno = 0;

    long long num = strtoll(text, &rest, 10);

    if (rest == text || *rest != '\0' || errno != 0 || num < min
        || num > max)
    {
        return -1;
    }

    *out = num;

    return 0;
}


int
tool_time(const char *text, int64_t *out_ms)
{
    static const struct {
        const char  *unit;
        int64_t      ms;
    } units[] = {
        { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 },
        { "d", 86400000 }
    };

    char       *rest;
    long long   num;

    errno = 0;
    num = strtoll(text, &rest, 10);

    if (rest == text || num < 0 || num > 1000000000 || errno != 0) {
        return -1;
    }

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(rest, units[i].unit) == 0) {
            *out_ms = num * units[i].ms;
            return 0;
        }
    }

    return -1;
}
