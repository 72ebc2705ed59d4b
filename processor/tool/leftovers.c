/*
 * leftovers.c: Redis keys that no lane will look at again.
 *
 * Owns the walk by SCAN and the judgement of a key by its name.  The layout of
 * names is lane/state.c's (docs/design.md, section 4.3).
 *
 * A window is closed when PostgreSQL says so and the state doesn't hold it
 * open any more.  Between the two lies the last step of a close, which is the
 * lane's to do.
 */

#include "tool/leftovers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/members.h"
#include "core/window.h"


typedef struct {
    char     *topic;
    int32_t   partition;
    int       gone;                  /* the partition is no more */
    int64_t   closed_ms;             /* WINDOW_NONE */
    int64_t   window_ms;
} leftovers_part_t;

typedef struct {
    const leftovers_t  *lo;
    redis_args_t        args;
    char               *prefix;      /* sluice:{PIPELINE/ */
    leftovers_part_t   *parts;       /* met so far */
    size_t              nparts;
    members_t           found;       /* a page of keys */
    char              **gone;        /* to be removed; of found */
    size_t              ngone;
    int64_t             keys;
} leftovers_walk_t;

static const char leftovers_sql_closed[] =
    "SELECT (extract(epoch FROM closed_through) * 1000)::bigint, window_ms"
    " FROM sluice.progress WHERE pipeline = $1::text AND topic = $2::text"
    " AND partition = $3::integer";


static rc_t
leftovers_ask(leftovers_walk_t *w, leftovers_part_t *part, err_t *err)
{
    const leftovers_t  *lo = w->lo;
    char                number[16];
    pg_result_t         result;
    const char         *params[] = { lo->conf->pipeline, part->topic,
                                     number };
    int32_t             n;
    rc_t                rc;

    rc = kafka_scan_partitions(lo->scan, part->topic, &n, err);
    if (rc != RC_OK) {
        return rc;
    }
    if (n == 0 && strcmp(part->topic, lo->conf->topic) == 0) {
        return err_set(err, RC_RETRY, "kafka: topic %s doesn't exist: are "
                       "these its brokers?", part->topic);
    }
    part->gone = part->partition >= n;

    (void) snprintf(number, sizeof(number), "%" PRId32, part->partition);

    rc = pg_exec(lo->pg, leftovers_sql_closed, 3, params, &result, err);
    if (rc != RC_OK) {
        return rc;
    }

    part->closed_ms = WINDOW_NONE;
    if (result.rows == 1 && pg_value(lo->pg, 0, 0) != NULL) {
        part->closed_ms = strtoll(pg_value(lo->pg, 0, 0), NULL, 10);
        part->window_ms = strtoll(pg_value(lo->pg, 0, 1), NULL, 10);
    }
    return RC_OK;
}


static rc_t
leftovers_part(leftovers_walk_t *w, const char *topic, size_t len,
    int32_t partition, leftovers_part_t **out, err_t *err)
{
    leftovers_part_t  *part;
    rc_t               rc;

    for (size_t i = 0; i < w->nparts; i++) {
        part = &w->parts[i];
        if (part->partition == partition && strlen(part->topic) == len
            && memcmp(part->topic, topic, len) == 0)
        {
            *out = part;
            return RC_OK;
        }
    }

    w->parts = mem_grow(w->parts, w->nparts + 1, sizeof(*w->parts));
    part = &w->parts[w->nparts++];
    *part = (leftovers_part_t) { mem_strndup(topic, len), partition, 0,
                                 WINDOW_NONE, 0 };

    rc = leftovers_ask(w, part, err);
    if (rc != RC_OK) {
        free(part->topic);
        w->nparts--;
        return rc;
    }

    *out = part;
    return RC_OK;
}


/* Whether the partition's state holds the window open. */
static rc_t
leftovers_is_open(leftovers_walk_t *w, const char *key, size_t base,
    const char *label, int *open, err_t *err)
{
    const redis_value_t  *reply;
    char                 *hash = mem_printf("%.*sopen", (int) base, key);
    rc_t                  rc;

    redis_args_reset(&w->args);
    redis_args_str(&w->args, "HEXISTS");
    redis_args_str(&w->args, hash);
    redis_args_str(&w->args, label);
    rc = redis_command(w->lo->redis, &w->args, &reply, err);
    if (rc == RC_OK) {
        *open = reply->kind != REDIS_INT || reply->num != 0;
    }

    free(hash);
    return rc;
}


/* Is this key to be removed?  A name that isn't understood is not. */
static rc_t
leftovers_judge(leftovers_walk_t *w, const char *key, int *gone, err_t *err)
{
    const char        *topic = key + strlen(w->prefix);
    const char        *end = strstr(topic, "}:"), *colon;
    leftovers_part_t  *part;
    char               label[WINDOW_LABEL_LEN];
    int64_t            start_ms;
    char              *rest;
    long               partition;
    int                open = 1;
    rc_t               rc;

    *gone = 0;
    colon = end != NULL ? memrchr(topic, ':', (size_t) (end - topic)) : NULL;
    if (colon == NULL || colon == topic) {
        return RC_OK;
    }

    partition = strtol(colon + 1, &rest, 10);
    if (rest != end || partition < 0 || partition > INT32_MAX) {
        return RC_OK;
    }

    rc = leftovers_part(w, topic, (size_t) (colon - topic),
                        (int32_t) partition, &part, err);
    if (rc != RC_OK) {
        return rc;
    }
    if (part->gone) {
        *gone = 1;
        return RC_OK;
    }

    (void) snprintf(label, sizeof(label), "%s", end + 2);
    if (window_parse(label, &start_ms) != 0
        || end[2 + strlen(label)] != ':'
        || part->closed_ms == WINDOW_NONE || start_ms > part->closed_ms
        || start_ms + part->window_ms > w->lo->before_ms)
    {
        return RC_OK;
    }

    rc = leftovers_is_open(w, key, (size_t) (end + 2 - key), label, &open,
                           err);
    *gone = !open;
    return rc;
}


static rc_t
leftovers_unlink(leftovers_walk_t *w, err_t *err)
{
    const redis_value_t  *reply;
    rc_t                  rc = RC_OK;

    /* One by one: the keys of a cluster lie on several nodes. */
    for (size_t i = 0; i < w->ngone && rc == RC_OK && !w->lo->dry; i++) {
        redis_args_reset(&w->args);
        redis_args_str(&w->args, "UNLINK");
        redis_args_str(&w->args, w->gone[i]);
        rc = redis_command(w->lo->redis, &w->args, &reply, err);
    }

    if (rc == RC_OK) {
        w->keys += (int64_t) w->ngone;
    }
    w->ngone = 0;
    return rc;
}


/* The next page of keys into found; more is 0 behind the last. */
static rc_t
leftovers_scan(leftovers_walk_t *w, redis_cursor_t *cursor, int *more,
    err_t *err)
{
    const redis_value_t  *keys;
    char                 *match = mem_printf("%s*", w->prefix);
    rc_t                  rc = redis_scan(w->lo->redis, match, cursor, &keys,
                                          err);

    free(match);
    members_reset(&w->found);
    *more = rc == RC_OK && keys != NULL;

    for (size_t i = 0; *more && i < keys->n; i++) {
        const redis_value_t  *key = &keys->items[i];

        if (key->kind == REDIS_STR
            && memchr(key->str, '\0', key->len) == NULL)
        {
            members_add(&w->found, key->str, key->len, NULL);
        }
    }
    return rc;
}


static rc_t
leftovers_page(leftovers_walk_t *w, redis_cursor_t *cursor, int *more,
    err_t *err)
{
    rc_t  rc = leftovers_scan(w, cursor, more, err);

    w->gone = mem_grow(w->gone, w->found.n + 1, sizeof(*w->gone));

    for (size_t i = 0; i < w->found.n && rc == RC_OK; i++) {
        int  gone;

        rc = leftovers_judge(w, w->found.texts[i], &gone, err);
        if (rc == RC_OK && gone) {
            w->gone[w->ngone++] = w->found.texts[i];
        }
    }

    return rc == RC_OK ? leftovers_unlink(w, err) : rc;
}


rc_t
leftovers_remove(const leftovers_t *lo, int64_t *keys, err_t *err)
{
    leftovers_walk_t  w = { .lo = lo };
    redis_cursor_t    cursor = { 0 };
    rc_t              rc;
    int               more;

    w.prefix = mem_printf("sluice:{%s/", lo->conf->pipeline);

    do {
        rc = leftovers_page(&w, &cursor, &more, err);
    } while (rc == RC_OK && more);

    *keys += w.keys;

    while (w.nparts > 0) {
        free(w.parts[--w.nparts].topic);
    }
    free(w.parts);
    free(w.gone);
    free(w.prefix);
    members_free(&w.found);
    redis_args_free(&w.args);
    return rc;
}
