/*
 * table.c: the commands.
 */

#include <stddef.h>

#include "tool/tool.h"


const tool_t *const tool_table[] = {
    &tool_redrive,
    NULL
};
