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


partition_t *
partition_new(const lane_conf_t *conf, int32_t id, int lane)
{
    partition_t *p = mem_zalloc(sizeof(*p));

    p->id = id;
    snprintf(p->id_text, sizeof(p->id_text), "%" PRId32, id);

    p->key_progress = mem_printf("sluice:{%s/%s:%" PRId32 "}:progress",
                                 conf->pipeline, conf->topic, id);
    p->key_open = mem_printf("sluice:{%s/%s:%" PRId32 "}:open",
                             conf->pipeline, conf->topic, id);
    p->committed = PARTITION_NONE;
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
    p->next = PARTITION_NONE;
    p->watermark_ms = WINDOW_NONE;
    p->close_from = 0;
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
        win->keys[i] = mem_printf("sluice:{%s/%s:%" PRId32 "}:%s:%s",
                                  conf->pipeline, conf->topic, p->id,
                                  win->label, kinds[i]);
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
partition_low_water(const partition_t *p)
{
    int64_t low = p->next;

    for (size_t i = 0; i < p->nwindows; i++) {
        const lane_window_t *win = &p->windows[i];

        if (win->first != PARTITION_NONE && win->first < low
            && (p->closed_ms == WINDOW_NONE || win->start_ms > p->closed_ms))
        {
            low = win->first;
        }
    }

    return low;
}


int
partition_is_dirty(const partition_t *p)
{
    for (size_t i = 0; i < p->nwindows; i++) {
        if (p->windows[i].sweep || p->windows[i].dirty.n > 0) {
            return 1;
        }
    }

    return 0;
}
