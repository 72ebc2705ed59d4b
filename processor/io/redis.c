/*
 * redis.c: a call to Redis: where it goes, and what its answer asks for.
 *
 * Owns the scripts' hashes, the lent reply, and the way of a call through
 * redirects.  Knows no key and no script of ours: those are the lane's.
 *
 * A call is sent again only when the server has said that it did nothing:
 * NOSCRIPT, MOVED, ASK, TRYAGAIN.  When the connection broke, nobody knows
 * what was done; that is the caller's to find out, by the fence.
 */

#include "io/redis_local.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define REDIS_HOPS          8        /* redirects of one call */
#define REDIS_TRYAGAIN_MAX  3        /* of them, by TRYAGAIN */
#define REDIS_TRYAGAIN_US   20000


redis_t *
redis_open(const redis_conf_t *conf)
{
    redis_t  *redis = mem_zalloc(sizeof(redis_t));

    redis->conf = conf;
    return redis;
}


void
redis_close(redis_t *redis)
{
    if (redis == NULL) {
        return;
    }

    for (size_t i = 0; i < redis->nlinks; i++) {
        redis_link_free(redis->links[i]);
    }
    for (size_t i = 0; i < redis->nseeds; i++) {
        redis_place_free(&redis->seeds[i]);
    }
    for (size_t i = 0; i < redis->nscripts; i++) {
        free(redis->scripts[i]);
    }
    redis_args_free(&redis->args);
    free(redis->links);
    free(redis->seeds);
    free(redis->slots);
    free(redis->scripts);
    free(redis->values);
    free(redis);
}


void
redis_forget(redis_t *redis)
{
    if (redis->last != NULL) {
        redis_link_forget(redis->last);
        redis->last = NULL;
    }
}


/* What the first call makes: addresses are parsed, nothing is connected. */
static rc_t
redis_begin(redis_t *redis, err_t *err)
{
    rc_t  rc;

    if (redis->nseeds > 0) {
        return RC_OK;
    }

    rc = redis_places(redis->conf, &redis->seeds, &redis->nseeds, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (redis->conf->mode == REDIS_CLUSTER) {
        redis->slots = mem_zalloc(KEYSLOTS * sizeof(uint16_t));
        return RC_OK;
    }

    redis->links = mem_zalloc(sizeof(redis_link_t *));
    redis->links[0] = redis_link_new(redis->conf, &redis->seeds[0], 0);
    redis->nlinks = 1;
    return RC_OK;
}


rc_t
redis_find(redis_t *redis, const char *key, size_t len, redis_link_t **link,
    err_t *err)
{
    rc_t  rc = redis_begin(redis, err);

    if (rc != RC_OK) {
        return rc;
    }

    if (redis->conf->mode == REDIS_CLUSTER) {
        rc = redis_cluster_find(redis, keyslot(key, len), link, err);
        if (rc == RC_OK) {
            rc = redis_link_connect(*link, err);
            redis->slots_known &= rc == RC_OK;
        }
        return rc;
    }

    if (redis->conf->mode == REDIS_SENTINEL && redis->links[0]->ctx == NULL) {
        rc = redis_sentinel_connect(redis, err);
    } else {
        rc = redis_link_connect(redis->links[0], err);
    }
    *link = redis->links[0];
    return rc;
}


/* SCRIPT LOAD: Redis answers with the hash to call it by. */
static rc_t
redis_script_load(redis_link_t *link, redis_script_t *script, err_t *err)
{
    rc_t  rc;

    rc = redis_link_words(link, "SCRIPT", "LOAD", script->text, err);
    if (rc != RC_OK) {
        return rc;
    }
    if (link->reply->type != REDIS_REPLY_STRING
        || link->reply->len != REDIS_SHA1_HEX)
    {
        return err_set(err, RC_RETRY, "redis %s: no hash from SCRIPT LOAD",
                       link->place.address);
    }
    memcpy(script->sha, link->reply->str, REDIS_SHA1_HEX + 1);
    return RC_OK;
}


/* Send the call to link; asking: it was sent there by ASK. */
static rc_t
redis_send(redis_t *redis, redis_link_t *link, int asking,
    const redis_args_t *args, err_t *err)
{
    rc_t  rc = redis_link_connect(link, err);

    if (rc == RC_OK && asking) {
        rc = redis_link_words(link, "ASKING", NULL, NULL, err);
    }
    if (rc != RC_OK) {
        redis_link_forget(link);
        return rc;
    }

    redis->last = link;
    return redis_link_ask(link, args, err);
}


/*
 * What an error reply asks for.  RC_OK: send the call again, to *link as it is
 * now.
 */
static rc_t
redis_after(redis_t *redis, redis_answer_e answer, redis_link_t **link,
    redis_script_t *script, err_t *err)
{
    switch (answer) {
    case REDIS_NOSCRIPT:
        return script != NULL ? redis_script_load(*link, script, err)
                              : RC_RETRY;
    case REDIS_MOVED:
    case REDIS_ASK:
        if (redis->conf->mode != REDIS_CLUSTER) {
            return err_set(err, RC_RETRY, "redis %s is a node of a cluster; "
                           "that needs mode = cluster", (*link)->place.address);
        }
        return redis_cluster_follow(redis, (*link)->reply->str,
                                    answer == REDIS_MOVED, link, err);
    case REDIS_TRYAGAIN:
        usleep(REDIS_TRYAGAIN_US);
        return RC_OK;
    case REDIS_LEAVE:
        redis_link_drop(*link);
        redis->slots_known = 0;
        return RC_RETRY;
    case REDIS_DOWN:
        redis->slots_known = 0;
        return RC_RETRY;
    case REDIS_WAIT:
        break;
    }
    return RC_RETRY;
}


static rc_t
redis_call(redis_t *redis, const redis_args_t *args, const char *key,
    size_t len, redis_script_t *script, err_t *err)
{
    redis_link_t    *link = NULL;
    int              asking = 0, again = 0;
    redis_answer_e   answer;
    rc_t             rc;

    redis_forget(redis);
    rc = redis_find(redis, key, len, &link, err);

    for (int hop = 0; rc == RC_OK; hop++) {
        redis_forget(redis);
        rc = redis_send(redis, link, asking, args, err);
        if (rc == RC_OK) {
            err->text[0] = '\0';             /* what a redirect had said */
            return RC_OK;
        }
        if (redis->last == NULL || link->reply == NULL) {
            redis->slots_known = 0;          /* it broke: who has it now? */
            return rc;
        }

        answer = redis_answer(link->reply->str);
        again += answer == REDIS_TRYAGAIN;
        if (hop == REDIS_HOPS || again > REDIS_TRYAGAIN_MAX) {
            redis->slots_known = 0;
            return rc;                       /* err has the last answer */
        }

        redis_link_t  *from = link;

        rc = redis_after(redis, answer, &link, script, err);
        redis_link_forget(from);
        if (rc == RC_OK && answer == REDIS_TRYAGAIN) {
            rc = redis_find(redis, key, len, &link, err);
        }
        if (answer != REDIS_NOSCRIPT) {
            asking = answer == REDIS_ASK;
        }
    }
    return rc;
}


/* Lend the reply that was just read. */
static rc_t
redis_lend(redis_t *redis, const redis_value_t **reply, err_t *err)
{
    rc_t  rc = redis_reply_convert(redis->last->reply, &redis->values, err);

    if (rc == RC_OK && reply != NULL) {
        *reply = redis->values;
    }
    return rc;
}


rc_t
redis_command(redis_t *redis, const redis_args_t *args,
    const redis_value_t **reply, err_t *err)
{
    const char  *key = args->n > 1 ? args->argv[1] : "";
    size_t       len = args->n > 1 ? args->lens[1] : 0;
    rc_t         rc;

    rc = redis_call(redis, args, key, len, NULL, err);
    if (rc == RC_OK) {
        rc = redis_lend(redis, reply, err);
    }
    return rc;
}


static redis_script_t *
redis_script_find(redis_t *redis, const char *text)
{
    for (size_t i = 0; i < redis->nscripts; i++) {
        if (redis->scripts[i]->text == text) {
            return redis->scripts[i];
        }
    }

    redis_script_t  *script = mem_zalloc(sizeof(redis_script_t));

    /* The hash of nothing we have: the server will say NOSCRIPT. */
    script->text = text;
    memset(script->sha, '0', REDIS_SHA1_HEX);

    redis->scripts = mem_grow(redis->scripts, redis->nscripts + 1,
                              sizeof(redis_script_t *));
    redis->scripts[redis->nscripts++] = script;
    return script;
}


rc_t
redis_script(redis_t *redis, const char *text, size_t nkeys,
    const redis_args_t *args, const redis_value_t **reply, err_t *err)
{
    redis_script_t  *script = redis_script_find(redis, text);
    redis_args_t    *all = &redis->args;
    rc_t             rc;

    redis_args_reset(all);
    redis_args_str(all, "EVALSHA");
    redis_args_mem(all, script->sha, REDIS_SHA1_HEX);  /* as it is when sent */
    redis_args_int(all, (int64_t) nkeys);
    for (size_t i = 0; i < args->n; i++) {
        redis_args_mem(all, args->argv[i], args->lens[i]);
    }

    rc = redis_call(redis, all, nkeys > 0 ? args->argv[0] : "",
                    nkeys > 0 ? args->lens[0] : 0, script, err);
    if (rc == RC_OK) {
        rc = redis_lend(redis, reply, err);
    }
    return rc;
}
