/*
 * parts.h: the files of a partition that are not announced yet.
 *
 * A part is one file of one form, as the module names it; its pieces lie in
 * one partition of the chunks topic, among those of others.  The list is in
 * the order of their first pieces, so its head tells the low water.
 */

#ifndef SLUICE_ASSEMBLE_PARTS_H
#define SLUICE_ASSEMBLE_PARTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "core/record.h"
#include "core/retry.h"

#define PARTS_NONE  ((int64_t) -1)        /* no offset */

typedef enum {
    PART_COLLECTING,       /* its pieces go to the spool */
    PART_DROPPED,          /* the spool was full: read again from the first */
    PART_WHOLE,            /* all is in the spool */
    PART_STORED,           /* all is in the store */
    PART_DEAD,             /* can never be whole; the dead topic waits */
    PART_VOID              /* over; what may follow of it is to be ignored */
} part_state_e;

typedef struct {
    char             *id;                 /* ce_id */
    uint32_t          hash;               /* of it */
    part_state_e      state;
    int32_t           partition;
    int64_t           first;              /* offset of its first piece */
    int64_t           first_ts_ms;
    int64_t           last;               /* offset of what was seen last */
    int64_t           last_ts_ms;
    uint64_t          chunks;             /* pieces seen, in order */
    uint64_t          bytes;              /* in them */
    uint64_t          file;               /* in the spool */
    int               ended;              /* the last piece was seen */
    int               wanted;             /* dropped: this pass collects it */
    int               again;              /* times its bytes were wrong */
    char             *customer;           /* as in the first piece */
    char             *type;
    record_header_t  *headers;            /* WHOLE, DEAD: one block, owned */
    size_t            nheaders;
    char              sha256[SLUICE_SHA256_HEX + 1];       /* WHOLE */
    int64_t           ts_ms;              /* WHOLE: of its last piece */
    char             *path;               /* STORED: the object's */
    char             *why;                /* DEAD: the reason */
} part_t;

typedef enum {
    PARTS_TAKING,          /* where to begin is to be found out */
    PARTS_ACTIVE,
    PARTS_WAITING          /* not delivered: the spool has no room, or worse */
} parts_state_e;

/* A partition of the chunks topic. */
typedef struct {
    int32_t          id;
    parts_state_e    state;
    part_t         **parts;
    size_t           n, cap;
    size_t           nvoid;
    int64_t          next;                /* offset to read next */
    int64_t          high;                /* below it all was seen once */
    int64_t          known;               /* what was seen by who had it */
    int64_t          over;                /* first of those that are not
                                             remembered, too many; or NONE */
    char             last[RECORD_ID_MAX + 1];  /* id at high - 1, or "" */
    int64_t          anchor;              /* a record that the log held, NONE */
    char             anchor_id[RECORD_ID_MAX + 1];
    int64_t          log_at_ms;           /* when to look whether it does */
    int              anew;                /* it doesn't: from the start */
    int64_t          committed;
    int64_t          watermark_ms;        /* INT64_MIN: none yet */
    int64_t          retry_at_ms;
    int64_t          expire_at_ms;
    int64_t          commit_at_ms;
    const char      *failed;              /* step, or NULL */
    retry_t          retry;
    metrics_slot_t  *slot;                /* owned */
} parts_t;

parts_t *parts_new(const char *topic, int32_t partition, int lane);
void parts_free(parts_t *ps);
void parts_reset(parts_t *ps);            /* forgets all parts */

part_t *parts_find(const parts_t *ps, const void *id, size_t len);
part_t *parts_add(parts_t *ps, const void *id, size_t len,
    const record_t *rec);
void parts_remove(parts_t *ps, part_t *part);

/* The part is over.  Of those that are, only the youngest are remembered. */
void parts_void(parts_t *ps, part_t *part);

/* Bytes of headers that are kept, or sent on, at most. */
#define PART_HEADERS_MAX  ((size_t) 65536)

size_t part_headers_size(const record_t *rec);

/* Keeps copies of a record's headers, or none if they are too large: -1. */
int part_keep_headers(part_t *part, const record_t *rec);

/* Offset of the first piece of the oldest part that is not over, or next. */
int64_t parts_low_water(const parts_t *ps);

/* Order in which parts were begun, over partitions too: < 0, > 0. */
int part_order(const part_t *a, const part_t *b);

#endif /* SLUICE_ASSEMBLE_PARTS_H */
