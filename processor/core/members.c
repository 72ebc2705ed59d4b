/*
 * members.c: open addressing over an ordered list of texts.
 *
 * Owns copies of the texts.  Does not remove single ones: a flush writes all
 * and empties the set.  FNV-1a is enough: the texts end in a SHA-256, which a
 * client can't choose by bits without also choosing the bytes behind it, and
 * a set holds a batch or a second's worth.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/members.h"


static uint64_t
members_hash(const char *text, size_t len)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < len; i++) {
        h = (h ^ (unsigned char) text[i]) * 1099511628211u;
    }

    return h ^ (h >> 32);
}


/* The slot of text, or the free one where it belongs. */
static uint32_t *
members_slot(const members_t *m, const char *text, size_t len)
{
    size_t mask = m->nslots - 1;
    size_t i = members_hash(text, len) & mask;

    for ( ;; ) {
        uint32_t at = m->slots[i];

        if (at == 0
            || (m->lens[at - 1] == len
                && memcmp(m->texts[at - 1], text, len) == 0))
        {
            return &m->slots[i];
        }

        i = (i + 1) & mask;
    }
}


static void
members_grow(members_t *m)
{
    size_t cap = m->cap == 0 ? 64 : m->cap * 2;

    assert(cap < UINT32_MAX / 2);

    m->texts = mem_grow(m->texts, cap, sizeof(*m->texts));
    m->lens = mem_grow(m->lens, cap, sizeof(*m->lens));
    m->cap = cap;

    free(m->slots);
    m->nslots = cap * 2;
    m->slots = mem_zalloc(m->nslots * sizeof(*m->slots));

    for (size_t i = 0; i < m->n; i++) {
        *members_slot(m, m->texts[i], m->lens[i]) = (uint32_t) i + 1;
    }
}


int
members_has(const members_t *m, const char *text, size_t len, size_t *index)
{
    if (m->n == 0) {
        return 0;
    }

    uint32_t at = *members_slot(m, text, len);

    if (at == 0) {
        return 0;
    }

    if (index != NULL) {
        *index = at - 1;
    }

    return 1;
}


int
members_add(members_t *m, const char *text, size_t len, size_t *index)
{
    if (members_has(m, text, len, index)) {
        return 0;
    }

    if (m->n == m->cap) {
        members_grow(m);
    }

    m->texts[m->n] = mem_strndup(text, len);
    m->lens[m->n] = (uint32_t) len;
    *members_slot(m, text, len) = (uint32_t) m->n + 1;

    if (index != NULL) {
        *index = m->n;
    }

    m->n++;

    return 1;
}


void
members_reset(members_t *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->texts[i]);
    }

    m->n = 0;

    if (m->slots != NULL) {
        memset(m->slots, 0, m->nslots * sizeof(*m->slots));
    }
}


void
members_free(members_t *m)
{
    members_reset(m);
    free(m->texts);
    free(m->lens);
    free(m->slots);
    memset(m, 0, sizeof(*m));
}
