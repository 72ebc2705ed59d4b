/*
 * partition.c: the list of a partition's windows, and its low water.
 *
 * Owns memory only.  The windows are few: those within size and lateness of
 * the watermark, hence a sorted array.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lane/partition.h"


/* What all keys begin with; the tag is what a cluster spreads them by. */
static char *
partition_key(const partition_t *p, const lane_conf_t *conf, const char *rest)
{
    if (p->generation == 0) {
        return mem_printf("sluice:{%s/%s:%" PRId32 "}:%s", conf->pipeline,
                          conf->topic, p->id, rest);
    }

    return mem_printf("sluice:{%s/%s:%" PRId32 "/%" PRId64 "}:%s",
                      conf->pipeline, conf->topic, p->id, p->generation, rest);
}


void
partition_generation(partition_t *p, const lane_conf_t *conf,
    int64_t generation)
{
    free(p->key_progress);
    free(p->key_open);

    p->generation = generation;
    snprintf(p->generation_text, sizeof(p->generation_text), "%" PRId64,
             generation);
    p->key_progress = partition_key(p, conf, "progress");
    p->key_open = partition_key(p, conf, "open");
}


partition_t *
partition_new(const lane_conf_t *conf, int32_t id, int lane)
{
    partition_t *p = mem_zalloc(sizeof(*p));

    p->id = id;
    snprintf(p->id_text, sizeof(p->id_text), "%" PRId32, id);

    partition_generation(p, conf, 0);
    p->committed = PARTITION_NONE;
    p->anchor = PARTITION_NONE;
    p->slot = metrics_slot_open(conf->topic, id, lane);
    partition_reset(p);

    return p;
}


static void
partition_window_free(lane_window_t *win)
{
    for (int i = 0; i < 3; i++) {
        free(win->keys[i]);
    }

    members_free(&win->dirty);
    members_free(&win->flushing);
}


void
partition_reset(partition_t *p)
{
    for (size_t i = 0; i < p->nwindows; i++) {
        partition_window_free(&p->windows[i]);
    }

    free(p->windows);
    p->windows = NULL;
    p->nwindows = 0;

    p->closed_ms = WINDOW_NONE;
    p->closed_next = 0;
    p->ledger_next = 0;
    p->next = PARTITION_NONE;
    p->last[0] = '\0';
    p->watermark_ms = WINDOW_NONE;
    p->close_from = 0;
    p->flushing = 0;
    p->work_in_ms = -1;
    p->state = PARTITION_TAKING;
}


void
partition_free(partition_t *p)
{
    if (p == NULL) {
        return;
    }

    partition_reset(p);
    metrics_slot_close(p->slot);
    free(p->key_progress);
    free(p->key_open);
    free(p);
}


lane_window_t *
partition_window(partition_t *p, const lane_conf_t *conf, int64_t start_ms)
{
    static const char *const kinds[3] = { "unique", "count", "file" };

    char    rest[WINDOW_LABEL_LEN + 8];
    size_t at = 0;

    while (at < p->nwindows && p->windows[at].start_ms < start_ms) {
        at++;
    }

    if (at < p->nwindows && p->windows[at].start_ms == start_ms) {
        return &p->windows[at];
    }

    p->windows = mem_grow(p->windows, p->nwindows + 1, sizeof(*p->windows));
    memmove(&p->windows[at + 1], &p->windows[at],
            (p->nwindows - at) * sizeof(*p->windows));
    p->nwindows++;

    lane_window_t *win = &p->windows[at];

    memset(win, 0, sizeof(*win));
    win->start_ms = start_ms;
    win->first = PARTITION_NONE;
    window_label(start_ms, win->label);

    for (int i = 0; i < 3; i++) {
        snprintf(rest, sizeof(rest), "%s:%s", win->label, kinds[i]);
        win->keys[i] = partition_key(p, conf, rest);
    }

    return win;
}


void
partition_forget(partition_t *p, lane_window_t *win)
{
    size_t at = (size_t) (win - p->windows);

    assert(at < p->nwindows);
    partition_window_free(win);
    p->nwindows--;
    memmove(win, win + 1, (p->nwindows - at) * sizeof(*win));
}


int64_t
partition_low_after(const partition_t *p, int64_t closed_ms)
{
    int64_t low = p->next;

    for (size_t i = 0; i < p->nwindows; i++) {
        const lane_window_t *win = &p->windows[i];

        if (win->first != PARTITION_NONE && win->first < low
            && (closed_ms == WINDOW_NONE || win->start_ms > closed_ms))
        {
            low = win->first;
        }
    }

    return low;
}


int64_t
partition_low_water(const partition_t *p)
{
    return partition_low_after(p, p->closed_ms);
}


int
partition_is_dirty(const partition_t *p)
{
    for (size_t i = 0; i < p->nwindows; i++) {
        const lane_window_t *win = &p->windows[i];

        if (!win->closing && (win->sweep || win->dirty.n > 0
                              || win->flushed < win->flushing.n))
        {
            return 1;
        }
    }

    return 0;
}
