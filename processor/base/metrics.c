/*
 * metrics.c: counting, and the sums.
 *
 * Owns the cells of each thread and the slots of partitions and lanes.  Knows
 * no name.
 *
 * A cell has one writer, so an addition is a load and a store; a reader may
 * miss what is added at that moment, and sees it the next time.  The cells of
 * a thread that ended stay: a counter must not go back.
 *
 * These lists are the process's, not a caller's, because whoever counts would
 * otherwise carry a pointer for it through every call.
 */

#include "base/metrics_local.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

typedef _Atomic int64_t  metrics_cell_t;

typedef struct metrics_cells_s  metrics_cells_t;

struct metrics_cells_s {
    metrics_cells_t  *next;
    metrics_cell_t    cells[];
};

struct metrics_slot_s {
    metrics_slot_t       *next;
    _Atomic uint64_t      generation;    /* odd: in use */
    const char *_Atomic   topic;
    _Atomic int32_t       partition;
    _Atomic int           lane;
    metrics_cell_t        fields[METRICS_FIELDS];
};

const int64_t  metrics_bounds_us[METRICS_BUCKETS] = {
    250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
    1000000, 2500000, 5000000, 10000000, 30000000, 120000000
};

static pthread_once_t             metrics_once = PTHREAD_ONCE_INIT;
static size_t                     metrics_first[METRICS_ROWS + 1];
static metrics_cells_t *_Atomic   metrics_threads;
static metrics_slot_t *_Atomic    metrics_slots;

static _Thread_local metrics_cells_t  *metrics_own;


/* Cells of a row: for each label's value one, or a histogram's. */
static size_t
metrics_width(metrics_row_e row)
{
    return metrics_is_times(row) ? METRICS_BUCKETS + 2 : 1;
}


static void
metrics_layout(void)
{
    size_t at = 0;

    for (unsigned int i = 0; i < METRICS_ROWS; i++) {
        metrics_first[i] = at;
        at += metrics_width((metrics_row_e) i) * METRICS_LABELS_MAX;
    }

    metrics_first[METRICS_ROWS] = at;
}


static metrics_cells_t *
metrics_cells(void)
{
    metrics_cells_t *cells = metrics_own;

    if (cells != NULL) {
        return cells;
    }

    (void) pthread_once(&metrics_once, metrics_layout);

    cells = mem_zalloc(sizeof(*cells) + metrics_first[METRICS_ROWS]
                                        * sizeof(cells->cells[0]));
    cells->next = atomic_load(&metrics_threads);

    while (!atomic_compare_exchange_weak(&metrics_threads, &cells->next,
                                         cells))
    {
        /* another thread was faster; next is the new first */
    }

    metrics_own = cells;

    return cells;
}


static void
metrics_cell_add(metrics_cell_t *cell, int64_t n)
{
    int64_t was = atomic_load_explicit(cell, memory_order_relaxed);

    atomic_store_explicit(cell, was + n, memory_order_relaxed);
}


static metrics_cell_t *
metrics_cell(metrics_cells_t *cells, metrics_row_e row, unsigned int label)
{
    assert(row < METRICS_ROWS && label < METRICS_LABELS_MAX);

    return &cells->cells[metrics_first[row] + label * metrics_width(row)];
}


void
metrics_add(metrics_row_e row, unsigned int label, int64_t n)
{
    metrics_cell_add(metrics_cell(metrics_cells(), row, label), n);
}


int64_t
metrics_clock(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


void
metrics_time(metrics_row_e row, unsigned int label, int64_t began_us)
{
    metrics_cell_t  *cells = metrics_cell(metrics_cells(), row, label);
    int64_t          us = metrics_clock() - began_us;
    size_t           i = 0;

    while (i < METRICS_BUCKETS && us > metrics_bounds_us[i]) {
        i++;
    }

    metrics_cell_add(&cells[i], 1);
    metrics_cell_add(&cells[METRICS_BUCKETS + 1], us);
}


int64_t
metrics_sum(metrics_row_e row, unsigned int label)
{
    int64_t           sum = 0;
    metrics_cells_t  *cells = atomic_load(&metrics_threads);

    for ( ; cells != NULL; cells = cells->next) {
        sum += atomic_load_explicit(metrics_cell(cells, row, label),
                                    memory_order_relaxed);
    }

    return sum;
}


void
metrics_times(metrics_row_e row, unsigned int label, metrics_times_t *times)
{
    metrics_cells_t *cells = atomic_load(&metrics_threads);

    memset(times, 0, sizeof(*times));

    for ( ; cells != NULL; cells = cells->next) {
        metrics_cell_t *cell = metrics_cell(cells, row, label);

        for (size_t i = 0; i <= METRICS_BUCKETS; i++) {
            times->buckets[i] += (uint64_t)
                atomic_load_explicit(&cell[i], memory_order_relaxed);
        }

        times->us += (uint64_t)
            atomic_load_explicit(&cell[METRICS_BUCKETS + 1],
                                 memory_order_relaxed);
    }
}


/*
 * A slot that is not in use and now ours, its generation still even: nobody
 * reads it, and nobody else can claim it, since that is what `lane` says.
 */
static metrics_slot_t *
metrics_slot_claim(int lane)
{
    metrics_slot_t *slot = atomic_load(&metrics_slots);

    for ( ; slot != NULL; slot = slot->next) {
        int free = -1;

        if (atomic_compare_exchange_strong(&slot->lane, &free, lane)) {
            return slot;
        }
    }

    slot = mem_zalloc(sizeof(*slot));
    slot->lane = lane;
    slot->next = atomic_load(&metrics_slots);

    while (!atomic_compare_exchange_weak(&metrics_slots, &slot->next, slot)) {
        /* another thread was faster; next is the new first */
    }

    return slot;
}


metrics_slot_t *
metrics_slot_open(const char *topic, int32_t partition, int lane)
{
    assert(lane >= 0);

    metrics_slot_t *slot = metrics_slot_claim(lane);

    slot->topic = topic;
    slot->partition = partition;

    for (size_t i = 0; i < METRICS_FIELDS; i++) {
        slot->fields[i] = METRICS_UNKNOWN;
    }

    atomic_fetch_add(&slot->generation, 1);

    return slot;
}


void
metrics_slot_close(metrics_slot_t *slot)
{
    if (slot != NULL) {
        atomic_fetch_add(&slot->generation, 1);
        slot->lane = -1;
    }
}


void
metrics_set(metrics_slot_t *slot, metrics_field_e field, int64_t value)
{
    atomic_store_explicit(&slot->fields[field], value, memory_order_relaxed);
}


int64_t
metrics_get(const metrics_slot_t *slot, metrics_field_e field)
{
    return atomic_load_explicit(&slot->fields[field], memory_order_relaxed);
}


int
metrics_next(metrics_at_t *at)
{
    metrics_slot_t *slot = at->slot == NULL ? atomic_load(&metrics_slots)
                                            : at->slot->next;

    for ( ; slot != NULL; slot = slot->next) {
        at->slot = slot;
        at->generation = atomic_load(&slot->generation);
        at->topic = slot->topic;
        at->partition = slot->partition;
        at->lane = slot->lane;

        if (at->generation % 2 == 1 && metrics_slot_is(at)) {
            return 1;
        }
    }

    return 0;
}


int
metrics_slot_is(const metrics_at_t *at)
{
    return atomic_load(&at->slot->generation) == at->generation;
}
