/*
 * redis.c: one Redis connection and its scripts.
 *
 * Owns the connection, the scripts' hashes and the last reply.  Knows no key
 * and no script of ours: those are the lane's.
 *
 * A reply is copied out of hiredis' tree into one of our own, so that no other
 * file needs hiredis and its versions.  A connection on which anything went
 * wrong below the protocol is dropped: what would be read next on it belongs
 * to a question that was given up.
 */

#include "io/redis.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/secret.h"

#define REDIS_SHA1_HEX  40


typedef struct {
    const char  *text;                   /* static: its address is the key */
    char         sha[REDIS_SHA1_HEX + 1];
} redis_script_t;


struct redis_s {
    const redis_conf_t  *conf;
    redisContext        *ctx;            /* NULL: not connected */
    redisReply          *reply;          /* the last, lent to the caller */
    redis_value_t       *values;         /* its tree */

    redis_script_t      *scripts;
    size_t               nscripts;
    redis_args_t         args;           /* of our own commands */
};


const conf_row_t  redis_rows[] = {
    { "address", CONF_STR, offsetof(redis_conf_t, address), "127.0.0.1:6379",
      0, 0, NULL, 0,
      "host:port, [v6]:port or unix:/path of the Redis server." },
    { "username", CONF_STR, offsetof(redis_conf_t, username), "",
      0, 0, NULL, 0, "ACL user; needs password_file." },
    { "password_file", CONF_STR, offsetof(redis_conf_t, password_file), "",
      0, 0, NULL, 0,
      "File whose first line is the password, read at every connect." },
    { "db", CONF_INT, offsetof(redis_conf_t, db), "0", 0, 1000000, NULL, 0,
      "Database number." },
    { "timeout", CONF_TIME, offsetof(redis_conf_t, timeout_ms), "5s",
      100, 60000, NULL, 0,
      "Bound of a connect and of a reply; then the lane tries again." },
    { NULL, CONF_STR, 0, NULL, 0, 0, NULL, 0, NULL }
};


static void
redis_args_add(redis_args_t *args, const char *s, size_t len, int own)
{
    if (args->n == args->cap) {
        args->cap = args->cap > 0 ? args->cap * 2 : 64;
        args->argv = mem_grow(args->argv, args->cap, sizeof(char *));
        args->lens = mem_grow(args->lens, args->cap, sizeof(size_t));
        args->own = mem_grow(args->own, args->cap, 1);
    }

    args->argv[args->n] = s;
    args->lens[args->n] = len;
    args->own[args->n] = (unsigned char) own;
    args->n++;
}


void
redis_args_reset(redis_args_t *args)
{
    for (size_t i = 0; i < args->n; i++) {
        if (args->own[i]) {
            free((char *) args->argv[i]);
        }
    }
    args->n = 0;
}


void
redis_args_str(redis_args_t *args, const char *s)
{
    redis_args_add(args, s, strlen(s), 0);
}


void
redis_args_mem(redis_args_t *args, const char *s, size_t len)
{
    redis_args_add(args, s, len, 0);
}


void
redis_args_copy(redis_args_t *args, const char *s, size_t len)
{
    char  *copy = mem_alloc(len);

    if (len > 0) {
        memcpy(copy, s, len);
    }
    redis_args_add(args, copy, len, 1);
}


void
redis_args_int(redis_args_t *args, int64_t n)
{
    char  *text = mem_printf("%" PRId64, n);

    redis_args_add(args, text, strlen(text), 1);
}


void
redis_args_free(redis_args_t *args)
{
    redis_args_reset(args);
    free(args->argv);
    free(args->lens);
    free(args->own);
    memset(args, 0, sizeof(*args));
}


static void
redis_forget(redis_t *redis)
{
    free(redis->values);
    redis->values = NULL;
    if (redis->reply != NULL) {
        freeReplyObject(redis->reply);
        redis->reply = NULL;
    }
}


static void
redis_drop(redis_t *redis)
{
    if (redis->ctx != NULL) {
        redisFree(redis->ctx);
        redis->ctx = NULL;
    }
}


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
    redis_forget(redis);
    redis_drop(redis);
    redis_args_free(&redis->args);
    free(redis->scripts);
    free(redis);
}


/* host:port or [v6]:port; *host is owned. */
static int
redis_split(const char *address, char **host, int *port)
{
    const char  *colon = strrchr(address, ':');
    const char  *from = address, *to = colon;
    char        *end;

    if (colon == NULL || colon == address) {
        return -1;
    }
    if (*from == '[') {
        if (to[-1] != ']') {
            return -1;
        }
        from++;
        to--;
    } else if (memchr(from, ':', (size_t) (to - from)) != NULL) {
        return -1;
    }

    long  n = strtol(colon + 1, &end, 10);

    if (to <= from || end == colon + 1 || *end != '\0' || n < 1 || n > 65535) {
        return -1;
    }

    *host = mem_strndup(from, (size_t) (to - from));
    *port = (int) n;
    return 0;
}


static rc_t
redis_fail(redis_t *redis, err_t *err)
{
    const char  *why = "out of memory";

    if (redis->ctx != NULL) {
        why = redis->ctx->errstr;

        /* A read's timeout: hiredis' words for it differ by version. */
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ETIMEDOUT) {
            why = "no answer in time";
        }
    }

    (void) err_set(err, RC_RETRY, "redis %s: %s", redis->conf->address, why);
    redis_drop(redis);
    return RC_RETRY;
}


/* Whether an error reply means that another connection may do better. */
static int
redis_is_elsewhere(const char *text)
{
    static const char *const  words[] = {
        "READONLY", "NOAUTH", "MASTERDOWN", "WRONGPASS"
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strncmp(text, words[i], strlen(words[i])) == 0) {
            return 1;
        }
    }
    return 0;
}


/* Send args and read the reply into redis->reply.  Is connected. */
static rc_t
redis_ask(redis_t *redis, const redis_args_t *args, err_t *err)
{
    redis_forget(redis);

    errno = 0;
    redis->reply = redisCommandArgv(redis->ctx, (int) args->n, args->argv,
                                    args->lens);
    if (redis->reply == NULL) {
        return redis_fail(redis, err);
    }

    if (redis->reply->type == REDIS_REPLY_ERROR) {
        (void) err_set(err, RC_RETRY, "redis %s: %s", redis->conf->address,
                       redis->reply->str);
        if (redis_is_elsewhere(redis->reply->str)) {
            redis_drop(redis);
        }
        return RC_RETRY;
    }
    return RC_OK;
}


static rc_t
redis_login(redis_t *redis, err_t *err)
{
    const redis_conf_t  *conf = redis->conf;
    char                *password = NULL;                  /* owned */
    rc_t                 rc;

    rc = secret_read(conf->password_file, &password, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (password != NULL) {
        redis_args_reset(&redis->args);
        redis_args_str(&redis->args, "AUTH");
        if (conf->username[0] != '\0') {
            redis_args_str(&redis->args, conf->username);
        }
        redis_args_str(&redis->args, password);
        rc = redis_ask(redis, &redis->args, err);
        redis_args_reset(&redis->args);
        secret_free(password);
    }

    if (rc == RC_OK && conf->db != 0) {
        redis_args_reset(&redis->args);
        redis_args_str(&redis->args, "SELECT");
        redis_args_int(&redis->args, conf->db);
        rc = redis_ask(redis, &redis->args, err);
    }
    return rc;
}


static rc_t
redis_connect(redis_t *redis, err_t *err)
{
    static const char  unix_word[] = "unix:";

    const char      *address = redis->conf->address;
    int64_t          ms = redis->conf->timeout_ms;
    struct timeval   tv = { ms / 1000, (ms % 1000) * 1000 };
    char            *host = NULL;                          /* owned */
    int              port;

    if (redis->ctx != NULL) {
        return RC_OK;
    }

    if (strncmp(address, unix_word, sizeof(unix_word) - 1) == 0) {
        redis->ctx = redisConnectUnixWithTimeout(
                                       address + sizeof(unix_word) - 1, tv);
    } else if (redis_split(address, &host, &port) == 0) {
        redis->ctx = redisConnectWithTimeout(host, port, tv);
        free(host);
    } else {
        return err_set(err, RC_REJECT, "redis address \"%s\" is none of "
                       "host:port, [v6]:port, unix:/path", address);
    }

    errno = 0;
    if (redis->ctx == NULL || redis->ctx->err
        || redisSetTimeout(redis->ctx, tv) != REDIS_OK)
    {
        return redis_fail(redis, err);
    }
    (void) redisEnableKeepAlive(redis->ctx);

    rc_t  rc = redis_login(redis, err);

    if (rc != RC_OK) {
        redis_drop(redis);
    }
    return rc;
}


static size_t
redis_count(const redisReply *r)
{
    size_t  n = 0;

    if (r->type == REDIS_REPLY_ARRAY) {
        for (size_t i = 0; i < r->elements; i++) {
            n += 1 + redis_count(r->element[i]);
        }
    }
    return n;
}


/* Fill v from r; its children come from *pool.  Returns -1 on an error. */
static int
redis_convert(const redisReply *r, redis_value_t *v, redis_value_t **pool)
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
            if (redis_convert(r->element[i], &items[i], pool) != 0) {
                return -1;
            }
        }
        return 0;
    }
    return -1;
}


/* Lend the reply that was just read. */
static rc_t
redis_lend(redis_t *redis, const redis_value_t **reply, err_t *err)
{
    redis_value_t  *pool;

    redis->values = mem_alloc((1 + redis_count(redis->reply))
                              * sizeof(redis_value_t));
    pool = redis->values + 1;

    if (redis_convert(redis->reply, redis->values, &pool) != 0) {
        return err_set(err, RC_RETRY, "redis %s: a reply of an unknown kind",
                       redis->conf->address);
    }
    if (reply != NULL) {
        *reply = redis->values;
    }
    return RC_OK;
}


rc_t
redis_command(redis_t *redis, const redis_args_t *args,
    const redis_value_t **reply, err_t *err)
{
    rc_t  rc;

    redis_forget(redis);
    rc = redis_connect(redis, err);
    if (rc == RC_OK) {
        rc = redis_ask(redis, args, err);
    }
    if (rc == RC_OK) {
        rc = redis_lend(redis, reply, err);
    }
    return rc;
}


static redis_script_t *
redis_script_find(redis_t *redis, const char *text)
{
    for (size_t i = 0; i < redis->nscripts; i++) {
        if (redis->scripts[i].text == text) {
            return &redis->scripts[i];
        }
    }

    redis->scripts = mem_grow(redis->scripts, redis->nscripts + 1,
                              sizeof(redis_script_t));

    redis_script_t  *script = &redis->scripts[redis->nscripts++];

    script->text = text;
    script->sha[0] = '\0';
    return script;
}


/* SCRIPT LOAD: Redis answers with the hash to call it by. */
static rc_t
redis_script_load(redis_t *redis, redis_script_t *script, err_t *err)
{
    rc_t  rc;

    redis_args_reset(&redis->args);
    redis_args_str(&redis->args, "SCRIPT");
    redis_args_str(&redis->args, "LOAD");
    redis_args_str(&redis->args, script->text);

    rc = redis_ask(redis, &redis->args, err);
    if (rc != RC_OK) {
        return rc;
    }
    if (redis->reply->type != REDIS_REPLY_STRING
        || redis->reply->len != REDIS_SHA1_HEX)
    {
        return err_set(err, RC_RETRY, "redis %s: no hash from SCRIPT LOAD",
                       redis->conf->address);
    }
    memcpy(script->sha, redis->reply->str, REDIS_SHA1_HEX + 1);
    return RC_OK;
}


static rc_t
redis_evalsha(redis_t *redis, const redis_script_t *script, size_t nkeys,
    const redis_args_t *args, err_t *err)
{
    redis_args_t  *all = &redis->args;

    redis_args_reset(all);
    redis_args_str(all, "EVALSHA");
    redis_args_str(all, script->sha);
    redis_args_int(all, (int64_t) nkeys);
    for (size_t i = 0; i < args->n; i++) {
        redis_args_mem(all, args->argv[i], args->lens[i]);
    }
    return redis_ask(redis, all, err);
}


rc_t
redis_script(redis_t *redis, const char *text, size_t nkeys,
    const redis_args_t *args, const redis_value_t **reply, err_t *err)
{
    redis_script_t  *script = redis_script_find(redis, text);
    rc_t             rc;

    redis_forget(redis);
    rc = redis_connect(redis, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (script->sha[0] == '\0') {
        rc = redis_script_load(redis, script, err);
        if (rc != RC_OK) {
            return rc;
        }
    }

    rc = redis_evalsha(redis, script, nkeys, args, err);

    /* Redis was restarted or failed over since: it runs nothing it lost. */
    if (rc == RC_RETRY && redis->reply != NULL && redis->ctx != NULL
        && strncmp(redis->reply->str, "NOSCRIPT", 8) == 0)
    {
        rc = redis_script_load(redis, script, err);
        if (rc == RC_OK) {
            rc = redis_evalsha(redis, script, nkeys, args, err);
        }
    }

    if (rc == RC_OK) {
        rc = redis_lend(redis, reply, err);
    }
    return rc;
}


/* maxmemory_policy out of INFO's lines: RC_REJECT unless it is noeviction. */
static rc_t
redis_check_policy(redis_t *redis, const redis_value_t *info, err_t *err)
{
    static const char  field[] = "maxmemory_policy:";

    const char  *p = info->kind == REDIS_STR ? strstr(info->str, field) : NULL;

    if (p == NULL) {
        return err_set(err, RC_REJECT, "redis %s: INFO names no "
                       "maxmemory_policy", redis->conf->address);
    }

    p += sizeof(field) - 1;

    int  len = (int) strcspn(p, "\r\n");

    if (len != 10 || strncmp(p, "noeviction", 10) != 0) {
        return err_set(err, RC_REJECT, "redis %s: maxmemory-policy is %.*s; it "
                       "must be noeviction, or open windows are thrown away",
                       redis->conf->address, len, p);
    }
    return RC_OK;
}


rc_t
redis_probe(redis_t *redis, const char *prefix, err_t *err)
{
    static const char  script[] =
        "redis.call('SET', KEYS[1], ARGV[1], 'PX', 10000) "
        "return redis.call('UNLINK', KEYS[1])";

    redis_args_t          args = { 0 };
    const redis_value_t  *reply;
    rc_t                  rc;

    redis_args_str(&args, "PING");
    rc = redis_command(redis, &args, &reply, err);
    if (rc != RC_OK) {
        goto done;
    }

    redis_args_reset(&args);
    char  *key = mem_printf("%sprobe:%ld", prefix, (long) getpid());

    redis_args_copy(&args, key, strlen(key));
    free(key);
    redis_args_str(&args, "1");
    rc = redis_script(redis, script, 1, &args, &reply, err);
    if (rc != RC_OK) {
        goto done;
    }

    redis_args_reset(&args);
    redis_args_str(&args, "INFO");
    redis_args_str(&args, "memory");
    rc = redis_command(redis, &args, &reply, err);
    if (rc == RC_OK) {
        rc = redis_check_policy(redis, reply, err);
    }

done:
    redis_args_free(&args);
    return rc;
}
