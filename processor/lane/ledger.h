/*
 * ledger.h: what counts once, and what was counted.
 *
 * Owns the SQL of sluice.first_seen and sluice.uploads.  Both are written
 * before the state moves, only while closed_through is what the partition was
 * taken with, and with the same outcome however often: each row holds the
 * place in the log of the record that counts.  Each write moves
 * progress.ledger_next, from which a lane learns that PostgreSQL has lost some
 * of it.
 */

#ifndef SLUICE_LANE_LEDGER_H
#define SLUICE_LANE_LEDGER_H

#include "core/record.h"
#include "lane/partition.h"

typedef struct ledger_s  ledger_t;

typedef enum {
    LEDGER_MINE = 0,                 /* it counts, if any does */
    LEDGER_REPEAT,                   /* its name is another record's */
    LEDGER_TWICE                     /* the log has it elsewhere, too */
} ledger_place_e;

/* A record that was read; borrowed. */
typedef struct {
    const record_t  *rec;
    int64_t          start_ms;       /* its window */
    const char      *once;           /* record_once(); "": it needs no name */
    size_t           once_len;
    ledger_place_e   place;          /* out */
} ledger_entry_t;

ledger_t *ledger_new(void);
void ledger_free(ledger_t *ledger);

/*
 * Claims the names of those that have one, and writes a row of uploads, if
 * those are wanted, for each that counts.  place tells which: the first that
 * ever claimed its name for this customer and content, or has none; and of
 * those with one id, customer, content and window the first in uploads, which
 * nobody can tell where uploads are not wanted.  through: the ledger is
 * complete below this offset now.
 *
 * Both of these: RC_OK, RC_RETRY, or RC_FENCED when closed_through or
 * generation is not p's, or PostgreSQL has lost a part of the ledger.
 */
rc_t ledger_write(links_t *l, partition_t *p, ledger_entry_t *entries,
    size_t n, int64_t through, err_t *err);

/*
 * These don't count after all: takes back what another lane, which judged
 * them before a close that it did not see, may have written in their name.
 * LEDGER_TWICE in place: the record counts, from another place in the log.
 */
rc_t ledger_release(links_t *l, partition_t *p, ledger_entry_t *entries,
    size_t n, err_t *err);

#endif /* SLUICE_LANE_LEDGER_H */
