/*
 * parts.c: the files of a partition that are not announced yet.
 *
 * Owns the list and its memory.  Does not know the spool, and decides nothing
 * about a part.
 *
 * Parts are found by going through the list: there are as many as uploads of
 * large files under way, and each piece is worth a million comparisons.
 */

#include "assemble/parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define PARTS_VOID_MAX  1024


parts_t *
parts_new(const char *topic, int32_t partition, int lane)
{
    parts_t  *ps = mem_zalloc(sizeof(*ps));

    ps->id = partition;
    ps->slot = metrics_slot_open(topic, partition, lane);
    parts_reset(ps);
    return ps;
}


static void
part_free(part_t *part)
{
    free(part->id);
    free(part->customer);
    free(part->type);
    free(part->headers);
    free(part->path);
    free(part->why);
    free(part);
}


void
parts_reset(parts_t *ps)
{
    for (size_t i = 0; i < ps->n; i++) {
        part_free(ps->parts[i]);
    }
    ps->n = 0;
    ps->nvoid = 0;
    ps->state = PARTS_TAKING;
    ps->next = PARTS_NONE;
    ps->high = PARTS_NONE;
    ps->known = PARTS_NONE;
    ps->over = PARTS_NONE;
    ps->last[0] = '\0';
    ps->anchor = PARTS_NONE;
    ps->committed = PARTS_NONE;
    ps->watermark_ms = INT64_MIN;
}


void
parts_free(parts_t *ps)
{
    parts_reset(ps);
    metrics_slot_close(ps->slot);
    free(ps->parts);
    free(ps);
}


/* FNV-1a */
static uint32_t
parts_hash(const void *id, size_t len)
{
    const unsigned char  *p = id;
    uint32_t              h = 2166136261u;

    while (len-- > 0) {
        h = (h ^ *p++) * 16777619u;
    }
    return h;
}


part_t *
parts_find(const parts_t *ps, const void *id, size_t len)
{
    uint32_t  hash = parts_hash(id, len);

    for (size_t i = 0; i < ps->n; i++) {
        part_t  *part = ps->parts[i];

        if (part->hash == hash && strlen(part->id) == len
            && memcmp(part->id, id, len) == 0)
        {
            return part;
        }
    }
    return NULL;
}


part_t *
parts_add(parts_t *ps, const void *id, size_t len, const record_t *rec)
{
    part_t  *part = mem_zalloc(sizeof(*part));

    part->id = mem_strndup(id, len);
    part->hash = parts_hash(id, len);
    part->partition = ps->id;
    part->first = rec->offset;
    part->first_ts_ms = rec->ts_ms;
    part->last = rec->offset - 1;
    part->last_ts_ms = rec->ts_ms;

    if (ps->n == ps->cap) {
        ps->cap = ps->cap * 2 + 16;
        ps->parts = mem_grow(ps->parts, ps->cap, sizeof(*ps->parts));
    }
    ps->parts[ps->n++] = part;
    return part;
}


void
parts_remove(parts_t *ps, part_t *part)
{
    for (size_t i = 0; i < ps->n; i++) {
        if (ps->parts[i] == part) {
            ps->nvoid -= part->state == PART_VOID;
            part_free(part);
            ps->n--;
            memmove(&ps->parts[i], &ps->parts[i + 1],
                    (ps->n - i) * sizeof(*ps->parts));
            return;
        }
    }
}


void
parts_void(parts_t *ps, part_t *part)
{
    if (part->state == PART_VOID) {
        return;
    }

    free(part->headers);
    part->headers = NULL;
    part->nheaders = 0;
    part->state = PART_VOID;

    if (++ps->nvoid <= PARTS_VOID_MAX) {
        return;
    }
    for (size_t i = 0; i < ps->n; i++) {
        if (ps->parts[i]->state == PART_VOID) {
            parts_remove(ps, ps->parts[i]);
            return;
        }
    }
}


size_t
part_headers_size(const record_t *rec)
{
    size_t  bytes = rec->nheaders * sizeof(record_header_t);

    for (size_t i = 0; i < rec->nheaders; i++) {
        bytes += strlen(rec->headers[i].name) + 1 + rec->headers[i].len;
    }
    return bytes;
}


int
part_keep_headers(part_t *part, const record_t *rec)
{
    size_t  bytes = part_headers_size(rec);
    char   *p;

    free(part->headers);
    part->headers = NULL;
    part->nheaders = 0;

    if (bytes > PART_HEADERS_MAX) {
        return -1;
    }

    part->headers = mem_alloc(bytes > 0 ? bytes : 1);
    part->nheaders = rec->nheaders;
    p = (char *) (part->headers + rec->nheaders);

    for (size_t i = 0; i < rec->nheaders; i++) {
        const record_header_t  *h = &rec->headers[i];
        size_t                  n = strlen(h->name) + 1;

        part->headers[i].name = memcpy(p, h->name, n);
        p += n;
        part->headers[i].value = p;
        part->headers[i].len = h->value != NULL ? h->len : 0;
        if (h->value != NULL) {
            memcpy(p, h->value, h->len);
            p += h->len;
        }
    }
    return 0;
}


int64_t
parts_low_water(const parts_t *ps)
{
    int64_t  low = ps->high > ps->next ? ps->high : ps->next;

    if (ps->over != PARTS_NONE && ps->over < low) {
        low = ps->over;
    }

    for (size_t i = 0; i < ps->n; i++) {
        if (ps->parts[i]->state != PART_VOID && ps->parts[i]->first < low) {
            low = ps->parts[i]->first;
        }
    }
    return low;
}


int
part_order(const part_t *a, const part_t *b)
{
    if (a->first_ts_ms != b->first_ts_ms) {
        return a->first_ts_ms < b->first_ts_ms ? -1 : 1;
    }
    if (a->partition != b->partition) {
        return a->partition < b->partition ? -1 : 1;
    }
    return a->first < b->first ? -1 : a->first > b->first;
}
