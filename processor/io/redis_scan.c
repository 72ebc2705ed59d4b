/*
 * redis_scan.c: all keys of a pattern, page by page, of every master.
 *
 * Owns SCAN, the one call that belongs to a server and not to a key.  A slot
 * that moves to another node meanwhile may be met twice or not at all.
 */

#include "io/redis_local.h"

#include <stdio.h>
#include <string.h>


static int
redis_scan_is_wanted(const redis_t *redis, size_t at)
{
    return redis->conf->mode != REDIS_CLUSTER
           || redis_cluster_has(redis, redis->links[at]);
}


/* The page's keys out of the reply [cursor, keys]; moves the cursor. */
static rc_t
redis_scan_page(redis_t *redis, redis_cursor_t *cursor,
    const redis_value_t **keys, err_t *err)
{
    const redis_value_t  *v;
    rc_t                  rc;

    rc = redis_reply_convert(redis->last->reply, &redis->values, err);
    if (rc != RC_OK) {
        return rc;
    }

    v = redis->values;
    if (v->kind != REDIS_ARRAY || v->n != 2 || v->items[0].kind != REDIS_STR
        || v->items[0].len >= sizeof(cursor->text)
        || v->items[1].kind != REDIS_ARRAY)
    {
        return err_set(err, RC_RETRY, "redis %s: SCAN answered what it never "
                       "does", redis->last->place.address);
    }

    memcpy(cursor->text, v->items[0].str, v->items[0].len);
    cursor->text[v->items[0].len] = '\0';
    cursor->node += strcmp(cursor->text, "0") == 0;
    *keys = &v->items[1];
    return RC_OK;
}


rc_t
redis_scan(redis_t *redis, const char *match, redis_cursor_t *cursor,
    const redis_value_t **keys, err_t *err)
{
    redis_link_t  *link;
    redis_args_t   args = { 0 };
    rc_t           rc;

    /* Makes the links, or finds the master, whoever has this key. */
    rc = redis_find(redis, match, strlen(match), &link, err);
    if (rc != RC_OK) {
        return rc;
    }

    while (cursor->node < redis->nlinks
           && !redis_scan_is_wanted(redis, cursor->node))
    {
        cursor->node++;
    }

    if (cursor->node == redis->nlinks) {
        *keys = NULL;
        return RC_OK;
    }

    link = redis->links[cursor->node];
    if (cursor->text[0] == '\0') {
        (void) snprintf(cursor->text, sizeof(cursor->text), "0");
    }

    redis_args_str(&args, "SCAN");
    redis_args_str(&args, cursor->text);
    redis_args_str(&args, "match");
    redis_args_str(&args, match);
    redis_args_str(&args, "count");
    redis_args_str(&args, "1000");

    redis_forget(redis);
    rc = redis_link_connect(link, err);
    if (rc == RC_OK) {
        redis->last = link;
        rc = redis_link_ask(link, &args, err);
    }
    if (rc == RC_OK) {
        rc = redis_scan_page(redis, cursor, keys, err);
    }

    redis_args_free(&args);
    return rc;
}
