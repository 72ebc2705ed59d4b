/*
 * redis.h: Redis and its scripts: one server, one behind sentinels, a cluster.
 *
 * Synchronous, bounded by timeouts; reconnects by itself at the next call
 * after a failure, to whoever is the master then.  Any network failure and
 * any error reply is RC_RETRY with the reason; a call that a server sends
 * elsewhere (MOVED, ASK) goes there first.  Knows nothing of windows.  Whoever
 * uses it ignores SIGPIPE.  Not shared between threads.
 *
 * The keys of one call have the same hash tag, as a cluster wants it.
 */

#ifndef SLUICE_IO_REDIS_H
#define SLUICE_IO_REDIS_H

#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/err.h"

typedef struct redis_s  redis_t;

/* Texts are owned; "" : none.  Files are read at every connect. */
typedef struct {
    char     *address;         /* one server, or some sentinels or nodes */
    char     *username;
    char     *password_file;
    int64_t   db;
    int64_t   timeout_ms;
    int64_t   mode;            /* standalone, sentinel, cluster */
    char     *sentinel_master;
    char     *sentinel_username;
    char     *sentinel_password_file;
    int64_t   tls;
    char     *tls_ca;
    char     *tls_cert;
    char     *tls_key;
    char     *tls_name;
} redis_conf_t;

extern const conf_row_t redis_rows[];

/* Reply, borrowed until the next call on the same connection. */
typedef struct redis_value_s {
    enum { REDIS_NIL, REDIS_INT, REDIS_STR, REDIS_ARRAY } kind;
    int64_t                      num;
    const char                  *str;
    size_t                       len;
    const struct redis_value_s  *items;
    size_t                       n;
} redis_value_t;

/* An argument list built by the caller; grows, reused between calls. */
typedef struct {
    const char    **argv;
    size_t         *lens;
    unsigned char  *own;       /* argv[i] is freed at reset */
    size_t          n, cap;
} redis_args_t;

/*
 * A zeroed struct is an empty list.  _str and _mem borrow until the call, the
 * _copy and _int forms own their text.
 */
void redis_args_reset(redis_args_t *args);
void redis_args_str(redis_args_t *args, const char *s);
void redis_args_mem(redis_args_t *args, const char *s, size_t len);
void redis_args_copy(redis_args_t *args, const char *s, size_t len);
void redis_args_int(redis_args_t *args, int64_t n);
void redis_args_free(redis_args_t *args);

/* What one row alone can't check.  RC_OK or RC_REJECT. */
rc_t redis_check(const redis_conf_t *conf, err_t *err);

/* Does not connect.  conf is borrowed until close. */
redis_t *redis_open(const redis_conf_t *conf);
void redis_close(redis_t *redis);

/*
 * One command; its first argument is its key.  An error reply is RC_RETRY (err
 * has its text).
 */
rc_t redis_command(redis_t *redis, const redis_args_t *args,
    const redis_value_t **reply, err_t *err);

/*
 * Run a script by EVALSHA, loading it when Redis doesn't know it.  args are
 * KEYS then ARGV, nkeys of them keys.
 */
rc_t redis_script(redis_t *redis, const char *script, size_t nkeys,
    const redis_args_t *args, const redis_value_t **reply, err_t *err);

/* A place in a walk through all keys; zeroed: the beginning. */
typedef struct {
    size_t  node;
    char    text[24];
} redis_cursor_t;

/*
 * The next keys that fit the glob pattern, an array that may be empty; NULL
 * behind the last.  A key may come twice.
 */
rc_t redis_scan(redis_t *redis, const char *match, redis_cursor_t *cursor,
    const redis_value_t **keys, err_t *err);

/*
 * For -t: the rights to write and to run scripts on keys that begin with
 * prefix ("sluice:"), and of each master the eviction policy read from INFO:
 * must be noeviction (RC_REJECT, saying so).  found is what there is: mode,
 * masters, versions, persistence.
 */
rc_t redis_probe(redis_t *redis, const char *prefix, char *found, size_t size,
    err_t *err);

#endif /* SLUICE_IO_REDIS_H */
