/*
 * site.c: opens what a command needs, and reads a partition as a take does.
 *
 * Owns no rule: those are in lane/.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lane/take.h"
#include "tool/site.h"

#define SITE_FETCH  (1024 * 1024)

static const char site_sql_partitions[] =
    "SELECT partition FROM sluice.progress WHERE pipeline = $1::text"
    " AND topic = $2::text AND ($3::integer IS NULL OR partition = $3)"
    " ORDER BY partition";


const char *
site_text(int64_t num, int64_t none, char text[24])
{
    if (num == none) {
        return NULL;
    }

    snprintf(text, 24, "%" PRId64, num);

    return text;
}


static rc_t
site_partitions(site_t *site, int64_t only, err_t *err)
{
    char         text[24];
    const char  *params[] = { site->conf.pipeline, site->conf.topic,
                              site_text(only, -1, text) };
    pg_result_t  result;
    rc_t         rc;

    rc = pg_exec(site->l.pg, site_sql_partitions, 3, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (result.rows == 0) {
        return err_set(err, RC_REJECT, "sluice.progress has no such partition "
                       "of pipeline %s, topic %s", site->conf.pipeline,
                       site->conf.topic);
    }

    site->ids = mem_alloc(result.rows * sizeof(*site->ids));
    site->nids = result.rows;

    for (size_t i = 0; i < result.rows; i++) {
        site->ids[i] = (int32_t) strtol(pg_value(site->l.pg, i, 0), NULL, 10);
    }

    return RC_OK;
}


rc_t
site_open(site_t *site, const tool_env_t *env, const char *topic, int64_t only,
    err_t *err)
{
    links_t         *l = &site->l;
    kafka_member_t   member = { 0 };
    rc_t             rc;

    memset(site, 0, sizeof(*site));
    site->conf = *env->conf;

    if (topic != NULL) {
        site->conf.topic = (char *) topic;
    }

    l->conf = &site->conf;
    l->wc.size_ms = site->conf.window_ms;
    l->wc.lateness_ms = site->conf.lateness_ms;
    l->redis = redis_open(env->redis);
    l->pg = pg_open(env->pg);

    member.topic = site->conf.topic;
    member.fetch_bytes = SITE_FETCH;

    rc = kafka_open(&l->kafka, env->kafka, &member, NULL, NULL, err);

    if (rc == RC_OK) {
        rc = site_partitions(site, only, err);
    }

    if (rc != RC_OK) {
        site_close(site);
    }

    return rc;
}


void
site_close(site_t *site)
{
    kafka_close(site->l.kafka);
    pg_close(site->l.pg);
    redis_close(site->l.redis);
    redis_args_free(&site->l.args);
    free(site->ids);
    memset(site, 0, sizeof(*site));
}


rc_t
site_part_read(site_t *site, int32_t id, site_part_t *part, err_t *err)
{
    links_t  *l = &site->l;
    rc_t      rc;

    memset(part, 0, sizeof(*part));
    part->p = partition_new(&site->conf, id, 0);

    rc = rows_progress(l, part->p, &part->progress, err);
    if (rc != RC_OK) {
        goto done;
    }

    l->wc.size_ms = part->progress.window_ms;
    if (part->progress.lateness_ms >= 0) {
        l->wc.lateness_ms = part->progress.lateness_ms;
    }

    rc = state_read(l, part->p, &part->state, err);
    if (rc != RC_OK && !part->p->broken) {
        goto done;
    }

    if (part->state.has) {
        part->p->next = part->state.next;
        part->p->watermark_ms = part->state.watermark_ms;
    }

    rc = kafka_bounds(l->kafka, id, &part->first, &part->end, err);

done:
    if (rc != RC_OK) {
        site_part_free(part);
    }

    return rc;
}


void
site_part_settle(site_part_t *part)
{
    part->state.has = part->state.has && !part->p->broken
                      && part->state.version == STATE_VERSION
                      && part->state.closed_ms == part->p->closed_ms;

    while (!part->state.has && part->p->nwindows > 0) {
        partition_forget(part->p, &part->p->windows[0]);
    }
}


void
site_part_free(site_part_t *part)
{
    partition_free(part->p);
    part->p = NULL;
}
