/*
 * redis_cluster.c: which node of a cluster has a slot.
 *
 * Owns the map of slots and the list of nodes.  The map is a guess that nodes
 * correct: MOVED changes an entry and makes the next call read the whole map
 * again, ASK sends one call elsewhere and changes nothing.  The nodes that
 * `address` lists are where the map is first asked for, and again when the
 * others are gone.
 */

#include "io/redis_local.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define REDIS_NODES  4096            /* addresses met; then all are forgotten */


/* The link of a node; made when it is new. */
static size_t
redis_cluster_link(redis_t *redis, const redis_place_t *place)
{
    for (size_t i = 0; i < redis->nlinks; i++) {
        if (strcmp(redis->links[i]->place.address, place->address) == 0) {
            return i;
        }
    }

    redis->links = mem_grow(redis->links, redis->nlinks + 1,
                            sizeof(redis_link_t *));
    redis->links[redis->nlinks] = redis_link_new(redis->conf, place, 0);
    return redis->nlinks++;
}


/* A cluster whose nodes change their addresses often must not pile up. */
static void
redis_cluster_tidy(redis_t *redis)
{
    if (redis->nlinks < REDIS_NODES) {
        return;
    }
    for (size_t i = 0; i < redis->nlinks; i++) {
        redis_link_free(redis->links[i]);
    }
    redis->nlinks = 0;
    redis->last = NULL;
    memset(redis->slots, 0, KEYSLOTS * sizeof(uint16_t));
    redis->slots_known = 0;
}


/* One line of CLUSTER SLOTS: first, last, master, replicas. */
static void
redis_cluster_line(redis_t *redis, const redis_link_t *from,
    const redisReply *r)
{
    const redisReply  *node, *host;
    redis_place_t      place = { 0 };                      /* owned */

    if (r->type != REDIS_REPLY_ARRAY || r->elements < 3
        || r->element[0]->type != REDIS_REPLY_INTEGER
        || r->element[1]->type != REDIS_REPLY_INTEGER
        || r->element[2]->type != REDIS_REPLY_ARRAY
        || r->element[2]->elements < 2
        || r->element[2]->element[1]->type != REDIS_REPLY_INTEGER)
    {
        return;
    }

    node = r->element[2];
    host = node->element[0];

    long long  first = r->element[0]->integer, last = r->element[1]->integer;
    long long  port = node->element[1]->integer;

    if (first < 0 || last >= KEYSLOTS || port < 1 || port > 65535) {
        return;
    }

    /* A node that doesn't know its own address: the one we reached it by. */
    if (host->type == REDIS_REPLY_STRING && host->len > 0
        && strcmp(host->str, "?") != 0)
    {
        redis_place_set(&place, host->str, (size_t) host->len, (int) port);
    } else {
        redis_place_set(&place, from->place.host,
                        strlen(from->place.host), (int) port);
    }

    size_t  at = redis_cluster_link(redis, &place);

    redis_place_free(&place);
    for (long long slot = first; slot <= last; slot++) {
        redis->slots[slot] = (uint16_t) (at + 1);
    }
}


/* Read the map from one node. */
static rc_t
redis_cluster_read(redis_t *redis, redis_link_t *link, unsigned slot,
    err_t *err)
{
    rc_t  rc;

    rc = redis_link_connect(link, err);
    if (rc == RC_OK) {
        rc = redis_link_words(link, "CLUSTER", "SLOTS", NULL, err);
    }
    if (rc != RC_OK) {
        return rc;
    }
    if (link->reply->type != REDIS_REPLY_ARRAY) {
        return err_set(err, RC_RETRY, "redis %s: no array from CLUSTER SLOTS",
                       link->place.address);
    }

    memset(redis->slots, 0, KEYSLOTS * sizeof(uint16_t));
    for (size_t i = 0; i < link->reply->elements; i++) {
        redis_cluster_line(redis, link, link->reply->element[i]);
    }
    redis_link_forget(link);

    if (redis->slots[slot] == 0) {
        return err_set(err, RC_RETRY, "redis %s: no node of the cluster has "
                       "slot %u", link->place.address, slot);
    }
    return RC_OK;
}


rc_t
redis_cluster_refresh(redis_t *redis, unsigned slot, err_t *err)
{
    rc_t    rc = RC_RETRY;
    size_t  n;

    redis_cluster_tidy(redis);
    for (size_t i = 0; i < redis->nseeds; i++) {
        (void) redis_cluster_link(redis, &redis->seeds[i]);
    }

    /* Those connected answer at once; the others may be gone. */
    n = redis->nlinks;
    for (int connected = 1; connected >= 0; connected--) {
        for (size_t i = 0; i < n && rc != RC_OK; i++) {
            redis_link_t  *link = redis->links[i];

            if ((link->ctx != NULL) == connected) {
                rc = redis_cluster_read(redis, link, slot, err);
            }
        }
    }
    redis->slots_known = rc == RC_OK;
    return rc;
}


rc_t
redis_cluster_find(redis_t *redis, unsigned slot, redis_link_t **link,
    err_t *err)
{
    if (!redis->slots_known || redis->slots[slot] == 0) {
        rc_t  rc = redis_cluster_refresh(redis, slot, err);

        if (rc != RC_OK) {
            return rc;
        }
    }
    *link = redis->links[redis->slots[slot] - 1];
    return RC_OK;
}


rc_t
redis_cluster_follow(redis_t *redis, const char *text, int moved,
    redis_link_t **link, err_t *err)
{
    const char     *p = strchr(text, ' ');
    char           *end = NULL;
    redis_place_t   place = { 0 };                         /* owned */
    long            slot;

    slot = p != NULL ? strtol(p + 1, &end, 10) : -1;
    if (slot < 0 || slot >= KEYSLOTS || *end != ' '
        || redis_place_parse(&place, end + 1, strcspn(end + 1, " \r\n"), 1)
           != 0)
    {
        return err_set(err, RC_RETRY, "redis %s: a redirect that names no "
                       "node: %s", (*link)->place.address, text);
    }

    if (place.host[0] == '\0') {
        const char  *host = (*link)->place.host;
        int          port = place.port;

        redis_place_free(&place);
        redis_place_set(&place, host, strlen(host), port);
    }

    size_t  at = redis_cluster_link(redis, &place);

    redis_place_free(&place);
    *link = redis->links[at];
    if (moved) {
        redis->slots[slot] = (uint16_t) (at + 1);
        redis->slots_known = 0;
    }
    return RC_OK;
}


int
redis_cluster_has(const redis_t *redis, const redis_link_t *link)
{
    for (size_t i = 0; i < KEYSLOTS; i++) {
        if (redis->slots[i] > 0 && redis->links[redis->slots[i] - 1] == link) {
            return 1;
        }
    }
    return 0;
}
