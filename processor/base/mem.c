/*
 * mem.c: allocation that ends the process when there is none.
 *
 * Crash-only: what is not yet applied is in the log and comes again.  The
 * message is written with write(2), since nothing else may be relied on.
 */

#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


static _Noreturn void
mem_die(void)
{
    static const char  line[] = "level=error mod=mem msg=\"out of memory\"\n";

    if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0) {
        /* nobody listens; abort() tells the parent */
    }
    abort();
}


void *
mem_alloc(size_t size)
{
    void  *p = malloc(size > 0 ? size : 1);

    if (p == NULL) {
        mem_die();
    }
    return p;
}


void *
mem_zalloc(size_t size)
{
    void  *p = calloc(1, size > 0 ? size : 1);

    if (p == NULL) {
        mem_die();
    }
    return p;
}


void *
mem_grow(void *ptr, size_t nmemb, size_t size)
{
    if (size != 0 && nmemb > SIZE_MAX / size) {
        mem_die();
    }

    /* realloc(p, 0) may free p and return NULL. */
    size_t   bytes = nmemb * size;
    void    *p = realloc(ptr, bytes > 0 ? bytes : 1);

    if (p == NULL) {
        mem_die();
    }
    return p;
}


char *
mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}


char *
mem_strndup(const char *s, size_t n)
{
    size_t   len = strnlen(s, n);
    char    *p = mem_alloc(len + 1);

    memcpy(p, s, len);
    p[len] = '\0';
    return p;
}


char *
mem_printf(const char *fmt, ...)
{
    char     *p = NULL;
    va_list   args;

    va_start(args, fmt);
    int  n = vasprintf(&p, fmt, args);
    va_end(args);

    if (n < 0) {
        mem_die();
    }
    return p;
}
