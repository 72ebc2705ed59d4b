/*
 * redis_reply.c: replies of Redis, in our own form; what errors ask for.
 *
 * A reply is copied out of hiredis' tree, its bytes excepted, so that no
 * caller needs hiredis and its versions.  Owns the words errors begin with.
 */

#include "io/redis_local.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"


/*
 * What isn't here is REDIS_WAIT: LOADING, BUSY, OOM, NOREPLICAS, NOPERM,
 * MISCONF, and whatever will be invented.  To wait is never wrong.
 */
static const struct {
    const char      *word;
    redis_answer_e   answer;
} redis_words[] = {
    { "READONLY",    REDIS_LEAVE },
    { "MASTERDOWN",  REDIS_LEAVE },
    { "NOAUTH",      REDIS_LEAVE },      /* a connect logs in again */
    { "WRONGPASS",   REDIS_LEAVE },
    { "NOSCRIPT",    REDIS_NOSCRIPT },
    { "MOVED",       REDIS_MOVED },
    { "ASK",         REDIS_ASK },
    { "TRYAGAIN",    REDIS_TRYAGAIN },
    { "CLUSTERDOWN", REDIS_DOWN },
};


redis_answer_e
redis_answer(const char *text)
{
    /* Redis before 7 wraps what a script's command was answered. */
    static const char  wrap[] = "ERR Error running script";

    if (strncmp(text, wrap, sizeof(wrap) - 1) == 0) {
        const char  *inner = strstr(text, ": -");

        if (inner != NULL) {
            text = inner + 3;
        }
    }

    size_t  len = strcspn(text, " \r\n");

    for (size_t i = 0; i < sizeof(redis_words) / sizeof(redis_words[0]); i++) {
        if (strlen(redis_words[i].word) == len
            && memcmp(redis_words[i].word, text, len) == 0)
        {
            return redis_words[i].answer;
        }
    }
    return REDIS_WAIT;
}


static size_t
redis_reply_count(const redisReply *r)
{
    size_t  n = 0;

    if (r->type == REDIS_REPLY_ARRAY) {
        for (size_t i = 0; i < r->elements; i++) {
            n += 1 + redis_reply_count(r->element[i]);
        }
    }
    return n;
}


/* Fill v from r; its children come from *pool.  Returns -1 on an error. */
static int
redis_reply_fill(const redisReply *r, redis_value_t *v, redis_value_t **pool)
{
    redis_value_t  *items;

    memset(v, 0, sizeof(*v));

    switch (r->type) {
    case REDIS_REPLY_NIL:
        v->kind = REDIS_NIL;
        return 0;
    case REDIS_REPLY_INTEGER:
        v->kind = REDIS_INT;
        v->num = r->integer;
        return 0;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        v->kind = REDIS_STR;
        v->str = r->str;
        v->len = (size_t) r->len;
        return 0;
    case REDIS_REPLY_ARRAY:
        v->kind = REDIS_ARRAY;
        v->n = r->elements;
        items = *pool;
        v->items = items;
        *pool += r->elements;
        for (size_t i = 0; i < r->elements; i++) {
            if (redis_reply_fill(r->element[i], &items[i], pool) != 0) {
                return -1;
            }
        }
        return 0;
    }
    return -1;
}


rc_t
redis_reply_convert(const redisReply *reply, redis_value_t **values,
    err_t *err)
{
    redis_value_t  *pool;

    free(*values);
    *values = mem_alloc((1 + redis_reply_count(reply))
                        * sizeof(redis_value_t));
    pool = *values + 1;

    if (redis_reply_fill(reply, *values, &pool) != 0) {
        return err_set(err, RC_RETRY, "redis: a reply of an unknown kind");
    }
    return RC_OK;
}
