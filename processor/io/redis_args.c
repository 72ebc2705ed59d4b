/*
 * redis_args.c: argument lists of Redis commands.
 *
 * Owns which of its texts are copies.  Bytes go as they are: a command is a
 * list of lengths and bytes, so nothing has to be escaped.
 */

#include "io/redis.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"


static void
redis_args_add(redis_args_t *args, const char *s, size_t len, int own)
{
    if (args->n == args->cap) {
        args->cap = args->cap > 0 ? args->cap * 2 : 64;
        args->argv = mem_grow(args->argv, args->cap, sizeof(char *));
        args->lens = mem_grow(args->lens, args->cap, sizeof(size_t));
        args->own = mem_grow(args->own, args->cap, 1);
    }

    args->argv[args->n] = s;
    args->lens[args->n] = len;
    args->own[args->n] = (unsigned char) own;
    args->n++;
}


void
redis_args_reset(redis_args_t *args)
{
    for (size_t i = 0; i < args->n; i++) {
        if (args->own[i]) {
            free((char *) args->argv[i]);
        }
    }
    args->n = 0;
}


void
redis_args_str(redis_args_t *args, const char *s)
{
    redis_args_add(args, s, strlen(s), 0);
}


void
redis_args_mem(redis_args_t *args, const char *s, size_t len)
{
    redis_args_add(args, s, len, 0);
}


void
redis_args_copy(redis_args_t *args, const char *s, size_t len)
{
    char  *copy = mem_alloc(len);

    if (len > 0) {
        memcpy(copy, s, len);
    }
    redis_args_add(args, copy, len, 1);
}


void
redis_args_int(redis_args_t *args, int64_t n)
{
    char  *text = mem_printf("%" PRId64, n);

    redis_args_add(args, text, strlen(text), 1);
}


void
redis_args_free(redis_args_t *args)
{
    redis_args_reset(args);
    free(args->argv);
    free(args->lens);
    free(args->own);
    memset(args, 0, sizeof(*args));
}
