/*
 * redis_local.h: what the files of Redis share.
 *
 *   redis.c           a call: where it goes, what its answer asks for
 *   redis_conf.c      settings, addresses
 *   redis_args.c      argument lists
 *   redis_link.c      one connection to one server
 *   redis_tls.c       its TLS
 *   redis_reply.c     replies: into our own form, and what errors mean
 *   redis_sentinel.c  who is the master
 *   redis_cluster.c   who has which slot
 *   redis_scan.c      all keys of a pattern
 *   redis_probe.c     -t
 */

#ifndef SLUICE_IO_REDIS_LOCAL_H
#define SLUICE_IO_REDIS_LOCAL_H

#include <hiredis/hiredis.h>

#include "core/keyslot.h"
#include "io/redis.h"

#define REDIS_SHA1_HEX  40

enum { REDIS_STANDALONE, REDIS_SENTINEL, REDIS_CLUSTER };     /* mode */

/* Where a server listens; port 0: host is the path of a socket. */
typedef struct {
    char  *address;              /* owned; as in messages */
    char  *host;                 /* owned */
    int    port;
} redis_place_t;

/*
 * One connection to one server, dropped as soon as anything went wrong below
 * the protocol: what would be read next on it answers a question that was
 * given up.
 */
typedef struct {
    const redis_conf_t  *conf;
    redis_place_t        place;
    int                  is_sentinel;    /* has a user of its own, no db */
    redisContext        *ctx;            /* NULL: not connected */
    redisReply          *reply;          /* the last; outlives ctx */
    int64_t              shun_until_ms;  /* monotonic; it let us wait */
} redis_link_t;

typedef struct {
    const char  *text;                   /* static: its address is the key */
    char         sha[REDIS_SHA1_HEX + 1];
} redis_script_t;

struct redis_s {
    const redis_conf_t  *conf;
    redis_place_t       *seeds;          /* what `address` lists */
    size_t               nseeds;
    size_t               seed;           /* the sentinel that knew last */
    int64_t              shun_until_ms;  /* sentinel: no master before that */

    redis_link_t       **links;          /* cluster: one a node; else one */
    size_t               nlinks;
    redis_link_t        *last;           /* whose reply is lent; borrowed */
    redis_value_t       *values;         /* the reply's tree */

    uint16_t            *slots;          /* cluster: number of link + 1, or 0 */
    int                  slots_known;    /* 0: ask again before use */

    redis_script_t     **scripts;
    size_t               nscripts;
    redis_args_t         args;           /* of EVALSHA */
};

/* What an error reply asks for. */
typedef enum {
    REDIS_WAIT,                  /* this server, later: LOADING, OOM, ... */
    REDIS_LEAVE,                 /* another one: READONLY, MASTERDOWN, ... */
    REDIS_NOSCRIPT,
    REDIS_MOVED,
    REDIS_ASK,
    REDIS_TRYAGAIN,
    REDIS_DOWN                   /* CLUSTERDOWN: who has the slot changes */
} redis_answer_e;

/* redis_conf.c */
rc_t redis_places(const redis_conf_t *conf, redis_place_t **places, size_t *n,
    err_t *err);
void redis_place_set(redis_place_t *place, const char *host, size_t len,
    int port);
void redis_place_free(redis_place_t *place);
/* host:port, [v6]:port; with `bare` v6:port too, as servers write it.  -1. */
int redis_place_parse(redis_place_t *place, const char *text, size_t len,
    int bare);

/*
 * redis_link.c.  A server that let us wait is left alone for as long as that
 * took: a lane's partitions on other servers, and its polls, would get no turn
 * between its timeouts.
 */
int64_t redis_shun(const redis_conf_t *conf, int64_t began_ms);

/* place is copied. */
redis_link_t *redis_link_new(const redis_conf_t *conf,
    const redis_place_t *place, int is_sentinel);
void redis_link_free(redis_link_t *link);
void redis_link_forget(redis_link_t *link);          /* the reply */
void redis_link_drop(redis_link_t *link);            /* the connection */
rc_t redis_link_connect(redis_link_t *link, err_t *err);
/*
 * RC_RETRY: with a reply, that is the server's error and the connection is
 * good; without one it is dropped.
 */
rc_t redis_link_ask(redis_link_t *link, const redis_args_t *args, err_t *err);
/* The same of up to three words; NULL ends them. */
rc_t redis_link_words(redis_link_t *link, const char *a, const char *b,
    const char *c, err_t *err);

/* redis_tls.c */
int redis_tls_is_built(void);
rc_t redis_tls_start(redis_link_t *link, err_t *err);

/* redis_reply.c */
redis_answer_e redis_answer(const char *text);
/* Fills *values, owned; RC_RETRY for a kind that we don't know. */
rc_t redis_reply_convert(const redisReply *reply, redis_value_t **values,
    err_t *err);

/* redis_sentinel.c: links[0] is connected to a master then. */
rc_t redis_sentinel_connect(redis_t *redis, err_t *err);

/* redis_cluster.c; a link that was found is not yet connected. */
rc_t redis_cluster_find(redis_t *redis, unsigned slot, redis_link_t **link,
    err_t *err);
/* Where MOVED or ASK points; after MOVED the slot stays there. */
rc_t redis_cluster_follow(redis_t *redis, const char *text, int moved,
    redis_link_t **link, err_t *err);
rc_t redis_cluster_refresh(redis_t *redis, unsigned slot, err_t *err);
/* Whether any slot is the link's. */
int redis_cluster_has(const redis_t *redis, const redis_link_t *link);

/* redis.c: by mode, the server of a key, connected. */
rc_t redis_find(redis_t *redis, const char *key, size_t len,
    redis_link_t **link, err_t *err);
void redis_forget(redis_t *redis);

#endif /* SLUICE_IO_REDIS_LOCAL_H */
