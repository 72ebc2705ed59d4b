/*
 * table.c: the commands.
 */

#include <stddef.h>

#include "tool/tool.h"


const tool_t *const tool_table[] = {
    &tool_adopt,
    &tool_erase,
    &tool_purge,
    &tool_redrive,
    &tool_set_window,
    &tool_verify,
    &tool_windows,
    NULL
};
