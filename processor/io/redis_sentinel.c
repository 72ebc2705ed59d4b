/*
 * redis_sentinel.c: who is the master, asked of the sentinels.
 *
 * Owns the order in which they are asked: the one that knew last comes first.
 * They are asked at each connect and not listened to: a master that is demoted
 * or gone makes the next call fail, and that leads here again.  A server that
 * was named must say itself that it is a master, since a sentinel learns of a
 * failover some seconds late.
 */

#include "io/redis_local.h"

#include <stdlib.h>
#include <string.h>

#include "base/now.h"


/* SENTINEL GET-MASTER-ADDR-BY-NAME, of one sentinel.  *master is owned. */
static rc_t
redis_sentinel_ask(redis_t *redis, const redis_place_t *place,
    redis_place_t *master, err_t *err)
{
    const char    *name = redis->conf->sentinel_master;
    redis_link_t  *link = redis_link_new(redis->conf, place, 1);
    rc_t           rc;

    rc = redis_link_connect(link, err);
    if (rc == RC_OK) {
        rc = redis_link_words(link, "SENTINEL", "get-master-addr-by-name",
                              name, err);
    }

    if (rc == RC_OK) {
        const redisReply  *r = link->reply;
        long               port = 0;

        if (r->type == REDIS_REPLY_ARRAY && r->elements == 2
            && r->element[0]->type == REDIS_REPLY_STRING
            && r->element[1]->type == REDIS_REPLY_STRING)
        {
            port = strtol(r->element[1]->str, NULL, 10);
        }
        if (port > 0 && port <= 65535 && r->element[0]->len > 0) {
            redis_place_set(master, r->element[0]->str,
                            (size_t) r->element[0]->len, (int) port);
        } else {
            rc = err_set(err, RC_RETRY, "sentinel %s knows no master \"%s\"",
                         place->address, name);
        }
    }

    redis_link_free(link);
    return rc;
}


/* Is it the master, by its own word? */
static rc_t
redis_sentinel_verify(redis_link_t *link, err_t *err)
{
    const redisReply  *r;
    rc_t               rc;

    rc = redis_link_connect(link, err);
    if (rc == RC_OK) {
        rc = redis_link_words(link, "ROLE", NULL, NULL, err);
    }
    if (rc != RC_OK) {
        return rc;
    }

    r = link->reply;
    if (r->type != REDIS_REPLY_ARRAY || r->elements == 0
        || r->element[0]->type != REDIS_REPLY_STRING
        || strcmp(r->element[0]->str, "master") != 0)
    {
        return err_set(err, RC_RETRY, "redis %s is not the master that a "
                       "sentinel takes it for", link->place.address);
    }
    return RC_OK;
}


rc_t
redis_sentinel_connect(redis_t *redis, err_t *err)
{
    redis_place_t  tried = { 0 };                          /* owned */
    int64_t        began = now_mono_ms();
    rc_t           rc = RC_RETRY;

    if (began < redis->shun_until_ms) {
        return err_set(err, RC_RETRY, "redis: no master of \"%s\" in time, a "
                       "moment ago", redis->conf->sentinel_master);
    }

    for (size_t i = 0; i < redis->nseeds && rc != RC_OK; i++) {
        size_t          at = (redis->seed + i) % redis->nseeds;
        redis_place_t   place = { 0 };                     /* owned */
        redis_link_t   *link;

        rc = redis_sentinel_ask(redis, &redis->seeds[at], &place, err);
        if (rc != RC_OK) {
            continue;
        }

        /* Frozen, it would cost the timeout once a sentinel. */
        if (tried.address != NULL
            && strcmp(tried.address, place.address) == 0)
        {
            redis_place_free(&place);
            rc = RC_RETRY;
            continue;
        }

        link = redis_link_new(redis->conf, &place, 0);
        redis_place_free(&tried);
        tried = place;

        rc = redis_sentinel_verify(link, err);
        if (rc != RC_OK) {
            redis_link_free(link);
            continue;
        }

        redis_link_free(redis->links[0]);
        redis->links[0] = link;
        redis->seed = at;
    }

    redis_place_free(&tried);
    if (rc != RC_OK) {
        redis->shun_until_ms = redis_shun(redis->conf, began);
    }
    return rc;
}
