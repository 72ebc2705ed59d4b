/*
 * redis_probe.c: what -t asks of Redis.
 *
 * Owns the questions: the rights to write and to run scripts, and of each
 * master what INFO tells.  CONFIG is not used: managed servers forbid it.
 */

#include "io/redis_local.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"


/* field's value out of INFO's lines, or NULL; *len is its length. */
static const char *
redis_probe_field(const char *info, const char *field, int *len)
{
    size_t       n = strlen(field);
    const char  *p = info;

    while ((p = strstr(p, field)) != NULL) {
        if ((p == info || p[-1] == '\n') && p[n] == ':') {
            p += n + 1;
            *len = (int) strcspn(p, "\r\n");
            return p;
        }
        p += n;
    }
    return NULL;
}


static void __attribute__((format(printf, 3, 4)))
redis_probe_say(char *found, size_t size, const char *fmt, ...)
{
    size_t   at = strlen(found);
    va_list  args;

    va_start(args, fmt);
    vsnprintf(found + at, size - at, fmt, args);
    va_end(args);
}


static void
redis_probe_describe(const redis_link_t *link, const char *info, char *found,
    size_t size)
{
    const char  *name = "redis", *version, *aof, *replicas;
    int          vlen = 1, alen = 0, rlen = 1;

    version = redis_probe_field(info, "valkey_version", &vlen);
    if (version != NULL) {
        name = "valkey";
    } else {
        version = redis_probe_field(info, "redis_version", &vlen);
    }
    aof = redis_probe_field(info, "aof_enabled", &alen);
    replicas = redis_probe_field(info, "connected_slaves", &rlen);

    redis_probe_say(found, size, "; master %s, %s %.*s, noeviction, AOF %s, "
                    "%.*s replica(s)", link->place.address, name, vlen,
                    version != NULL ? version : "?",
                    aof != NULL && *aof == '1' ? "on" : "off", rlen,
                    replicas != NULL ? replicas : "?");

    /* INFO has this field only when min-replicas-to-write is set. */
    if (replicas != NULL && *replicas != '0'
        && redis_probe_field(info, "min_slaves_good_slaves", &rlen) == NULL)
    {
        redis_probe_say(found, size, ", no min-replicas-to-write");
    }
}


/* INFO of one master: RC_REJECT unless it evicts nothing. */
static rc_t
redis_probe_master(redis_link_t *link, char *found, size_t size, err_t *err)
{
    const char  *policy;
    int          len;
    rc_t         rc;

    rc = redis_link_connect(link, err);
    if (rc == RC_OK) {
        rc = redis_link_words(link, "PING", NULL, NULL, err);
    }
    if (rc == RC_OK) {
        rc = redis_link_words(link, "INFO", NULL, NULL, err);
    }
    if (rc != RC_OK) {
        return rc;
    }

    policy = link->reply->type == REDIS_REPLY_STRING
             ? redis_probe_field(link->reply->str, "maxmemory_policy", &len)
             : NULL;
    if (policy == NULL) {
        return err_set(err, RC_REJECT, "redis %s: INFO names no "
                       "maxmemory_policy", link->place.address);
    }
    if (len != 10 || strncmp(policy, "noeviction", 10) != 0) {
        return err_set(err, RC_REJECT, "redis %s: maxmemory-policy is %.*s; it "
                       "must be noeviction, or open windows are thrown away",
                       link->place.address, len, policy);
    }

    redis_probe_describe(link, link->reply->str, found, size);
    redis_link_forget(link);
    return RC_OK;
}


static rc_t
redis_probe_masters(redis_t *redis, char *found, size_t size, err_t *err)
{
    static const char *const  modes[] = { "standalone", "sentinel", "cluster" };

    int   cluster = redis->conf->mode == REDIS_CLUSTER;
    rc_t  rc = RC_OK;

    redis_probe_say(found, size, "%s%s", modes[redis->conf->mode],
                    redis->conf->tls ? ", TLS" : "");

    for (size_t i = 0; i < redis->nlinks && rc == RC_OK; i++) {
        if (!cluster || redis_cluster_has(redis, redis->links[i])) {
            rc = redis_probe_master(redis->links[i], found, size, err);
        }
    }
    return rc;
}


rc_t
redis_probe(redis_t *redis, const char *prefix, char *found, size_t size,
    err_t *err)
{
    static const char  script[] =
        "redis.call('SET', KEYS[1], ARGV[1], 'PX', 10000) "
        "return redis.call('UNLINK', KEYS[1])";

    redis_args_t   args = { 0 };
    char          *key = mem_printf("%sprobe:%ld", prefix, (long) getpid());
    rc_t           rc;

    found[0] = '\0';
    redis_args_str(&args, key);
    redis_args_str(&args, "1");
    rc = redis_script(redis, script, 1, &args, NULL, err);

    if (rc == RC_OK) {
        redis_forget(redis);
        rc = redis_probe_masters(redis, found, size, err);
    }

    redis_args_free(&args);
    free(key);
    return rc;
}
