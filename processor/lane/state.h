/*
 * state.h: a partition's state in Redis, reached only by scripts.
 *
 * Owns the key names, the scripts and their arguments.  Every call says what
 * the lane believes (`next` and `closed`), and the script changes or answers
 * nothing when Redis holds something else: that is RC_FENCED, after which the
 * partition is taken again.  RC_RETRY is Redis being away.  Docs/design.md,
 * section 4, "Redis keys" and "Fence".
 */

#ifndef SLUICE_LANE_STATE_H
#define SLUICE_LANE_STATE_H

#include "core/verdict.h"
#include "lane/partition.h"

/* The layout of keys and values; another one found is dropped and rebuilt. */
#define STATE_VERSION  2

typedef struct {
    int      has;                    /* progress exists */
    int64_t  next;
    int64_t  watermark_ms;           /* WINDOW_NONE */
    int64_t  closed_ms;              /* WINDOW_NONE */
    int64_t  ledger_next;            /* PostgreSQL's, at the last apply */
    int64_t  window_ms;
    int64_t  lateness_ms;
    int64_t  version;
    int64_t  older;                  /* > 0: see state_spoil() */
    char     last[PARTITION_LAST];   /* id of the record at next - 1, or "" */
} state_t;

/* A record of the batch; win and member of those that are to count. */
typedef struct {
    int64_t        offset;
    int64_t        ts_ms;
    const char    *id;               /* NULL: could not be read */
    size_t         id_len;
    verdict_e      verdict;
    int64_t        start_ms;         /* its window */
    size_t         win;              /* number of its window in the batch */
    const char    *member;
    size_t         member_len;
    int            known;            /* out of state_ask() */
    const char    *row;              /* core/row.h; NULL when known */
    size_t         row_len;
} state_record_t;

typedef struct {
    state_record_t   *records;
    size_t            n;
    int64_t          *windows;       /* starts, those counted into */
    size_t            nwindows;
    int64_t           next;          /* after the batch */
} state_batch_t;

/*
 * Reads progress into state, and what is open into p's windows.  Compares
 * nothing: this is where beliefs come from.
 */
rc_t state_read(links_t *l, partition_t *p, state_t *state, err_t *err);

/* Sets known of the records whose verdict is VERDICT_COUNT. */
rc_t state_ask(links_t *l, partition_t *p, const state_batch_t *batch,
    err_t *err);

/*
 * Applies the batch and moves p's belief.  In slices, as Redis does nothing
 * else meanwhile: after a failure some may have been applied.
 */
rc_t state_apply(links_t *l, partition_t *p, const state_batch_t *batch,
    err_t *err);

/* Still ours?  touch: lengthen the TTLs as well. */
rc_t state_check(links_t *l, partition_t *p, int touch, err_t *err);

/*
 * Member, count and row triples, in one snapshot; borrowed until the next
 * call.  state_rows() of given members, state_page() from win's cursor on,
 * which it moves; "0" is both the first and the end.  size: members of the
 * window.
 */
rc_t state_rows(links_t *l, partition_t *p, const lane_window_t *win,
    const char *const *members, const uint32_t *lens, size_t n,
    const redis_value_t **triples, size_t *ntriples, err_t *err);
rc_t state_page(links_t *l, partition_t *p, lane_window_t *win,
    const redis_value_t **triples, size_t *ntriples, size_t *size,
    err_t *err);

/*
 * Takes the windows up to closed_ms out of the state, given what it was built
 * on when that was decided.
 */
rc_t state_close(links_t *l, partition_t *p, int64_t was_closed_ms,
    int64_t closed_ms, err_t *err);

/*
 * The log is another one, and records of both are in the state: it is kept,
 * since its open windows are still to be settled, but nobody goes on with it.
 * older: offset after the last record that surely was the older log's.
 */
rc_t state_spoil(links_t *l, partition_t *p, int64_t older, err_t *err);

/* Deletes the state that state_read() saw. */
rc_t state_drop(links_t *l, partition_t *p, const state_t *state, err_t *err);

#endif /* SLUICE_LANE_STATE_H */
