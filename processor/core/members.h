/*
 * members.h: a set of texts that keeps their order of arrival.
 *
 * A lane holds two kinds: the members whose rows are to be written again, and
 * those a batch brings for the first time.  Copies what it is given.
 */

#ifndef SLUICE_CORE_MEMBERS_H
#define SLUICE_CORE_MEMBERS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    char      **texts;                       /* in order, NUL-terminated */
    uint32_t   *lens;
    size_t      n;
    size_t      cap;
    uint32_t   *slots;                       /* index + 1; 0 is free */
    size_t      nslots;                      /* a power of two */
} members_t;

/* All zero is an empty set. */

/* 1 when it was not there before.  index may be NULL. */
int members_add(members_t *m, const char *text, size_t len, size_t *index);

/* 1 when it is there; index, which may be NULL, is set then. */
int members_has(const members_t *m, const char *text, size_t len,
    size_t *index);

/* Empties the set and keeps its room. */
void members_reset(members_t *m);
void members_free(members_t *m);

#endif /* SLUICE_CORE_MEMBERS_H */
