/*
 * mem.h: allocation that ends the process when there is none.
 *
 * Crash-only: a lane that can't allocate dies and its records are replayed.
 * Sizes that come from outside are checked against a limit before they get
 * here.
 */

#ifndef SLUICE_BASE_MEM_H
#define SLUICE_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_grow(void *ptr, size_t nmemb, size_t size);   /* reallocarray */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif /* SLUICE_BASE_MEM_H */
