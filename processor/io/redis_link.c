/*
 * redis_link.c: one connection to one Redis server or sentinel.
 *
 * Owns the connection and its last reply.  Synchronous; each connect and each
 * reply is bounded by the timeout.  A connection on which anything went wrong
 * below the protocol is dropped at once, so that the answer to a question
 * that was given up is never read as the answer to the next one.
 */

#include "io/redis_local.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "base/now.h"
#include "base/secret.h"
#include "base/stop.h"

#define REDIS_CONNECT_MS  10000      /* at most, whatever the timeout is */


/* Until when, after a failure of what began then. */
int64_t
redis_shun(const redis_conf_t *conf, int64_t began_ms)
{
    int64_t  now = now_mono_ms();
    int64_t  took = now - began_ms;

    return took < conf->timeout_ms / 2 ? 0 : now + took;
}


redis_link_t *
redis_link_new(const redis_conf_t *conf, const redis_place_t *place,
    int is_sentinel)
{
    redis_link_t  *link = mem_zalloc(sizeof(redis_link_t));

    link->conf = conf;
    link->is_sentinel = is_sentinel;
    redis_place_set(&link->place, place->host, strlen(place->host),
                    place->port);
    return link;
}


void
redis_link_forget(redis_link_t *link)
{
    if (link->reply != NULL) {
        freeReplyObject(link->reply);
        link->reply = NULL;
    }
}


void
redis_link_drop(redis_link_t *link)
{
    if (link->ctx != NULL) {
        redisFree(link->ctx);
        link->ctx = NULL;
    }
}


void
redis_link_free(redis_link_t *link)
{
    if (link == NULL) {
        return;
    }
    redis_link_forget(link);
    redis_link_drop(link);
    redis_place_free(&link->place);
    free(link);
}


static rc_t
redis_link_fail(redis_link_t *link, int64_t began_ms, err_t *err)
{
    const char  *why = "out of memory";

    if (link->ctx != NULL) {
        why = link->ctx->errstr;

        /* A read's timeout: hiredis' words for it differ by version. */
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ETIMEDOUT) {
            why = "no answer in time";
        }
    }

    (void) err_set(err, RC_RETRY, "redis %s: %s", link->place.address, why);
    link->shun_until_ms = redis_shun(link->conf, began_ms);
    redis_link_forget(link);
    redis_link_drop(link);
    return RC_RETRY;
}


/* Waits until an answer begins; 0: it doesn't within the timeout. */
static int
redis_link_wait(redis_link_t *link, int64_t began_ms)
{
    struct pollfd  pfd = { .fd = link->ctx->fd, .events = POLLIN };

    for ( ;; ) {
        int64_t  left = began_ms + link->conf->timeout_ms - now_mono_ms();

        if (left <= 0 || stop_is_over()) {
            errno = ETIMEDOUT;
            return 0;
        }

        int  n = poll(&pfd, 1, (int) stop_slice(left));

        if (n > 0 || (n < 0 && errno != EINTR)) {
            return 1;                        /* or hiredis tells what is so */
        }
    }
}


/*
 * redisCommandArgv() in its parts: hiredis waits for as long as the timeout
 * that was set at the connect, stop or not.
 */
static redisReply *
redis_link_exchange(redis_link_t *link, const redis_args_t *args,
    int64_t began_ms)
{
    void  *reply = NULL;
    int    written = 0;

    if (redisAppendCommandArgv(link->ctx, (int) args->n, args->argv,
                               args->lens) != REDIS_OK)
    {
        return NULL;
    }

    while (!written) {
        if (redisBufferWrite(link->ctx, &written) != REDIS_OK) {
            return NULL;
        }
    }

    if (!redis_link_wait(link, began_ms)) {
        return NULL;
    }

    errno = 0;
    return redisGetReply(link->ctx, &reply) == REDIS_OK ? reply : NULL;
}


rc_t
redis_link_ask(redis_link_t *link, const redis_args_t *args, err_t *err)
{
    int64_t  began = now_mono_ms();

    redis_link_forget(link);

    errno = 0;
    link->reply = redis_link_exchange(link, args, began);
    if (link->reply == NULL) {
        return redis_link_fail(link, began, err);
    }

    /* A second reply would be taken for the next command's. */
    if (link->ctx->reader->len > link->ctx->reader->pos) {
        redis_link_forget(link);
        redis_link_drop(link);
        return err_set(err, RC_RETRY, "redis %s: answered more than it was "
                       "asked", link->place.address);
    }

    if (link->reply->type == REDIS_REPLY_ERROR) {
        return err_set(err, RC_RETRY, "redis %s: %s", link->place.address,
                       link->reply->str);
    }
    return RC_OK;
}


rc_t
redis_link_words(redis_link_t *link, const char *a, const char *b,
    const char *c, err_t *err)
{
    const char    *argv[] = { a, b, c };
    size_t         lens[3];
    redis_args_t   args = { argv, lens, NULL, 0, 3 };

    while (args.n < 3 && argv[args.n] != NULL) {
        lens[args.n] = strlen(argv[args.n]);
        args.n++;
    }
    return redis_link_ask(link, &args, err);
}


static rc_t
redis_link_login(redis_link_t *link, err_t *err)
{
    const redis_conf_t  *conf = link->conf;
    const char          *user, *file;
    char                *password = NULL;                  /* owned */
    rc_t                 rc;

    user = link->is_sentinel ? conf->sentinel_username : conf->username;
    file = link->is_sentinel ? conf->sentinel_password_file
                             : conf->password_file;

    rc = secret_read(file, &password, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (password != NULL) {
        rc = user[0] != '\0'
             ? redis_link_words(link, "AUTH", user, password, err)
             : redis_link_words(link, "AUTH", password, NULL, err);
        secret_free(password);
    }

    if (rc == RC_OK && conf->db != 0 && !link->is_sentinel) {
        char  *db = mem_printf("%d", (int) conf->db);

        rc = redis_link_words(link, "SELECT", db, NULL, err);
        free(db);
    }
    return rc;
}


rc_t
redis_link_connect(redis_link_t *link, err_t *err)
{
    const redis_place_t  *place = &link->place;
    int64_t               ms = link->conf->timeout_ms;
    int64_t               most = ms < REDIS_CONNECT_MS ? ms : REDIS_CONNECT_MS;
    struct timeval        tv = { ms / 1000, (ms % 1000) * 1000 };
    struct timeval        first = { most / 1000, (most % 1000) * 1000 };
    int64_t               began = now_mono_ms();
    rc_t                  rc = RC_OK;

    if (link->ctx != NULL) {
        return RC_OK;
    }
    if (began < link->shun_until_ms) {
        return err_set(err, RC_RETRY, "redis %s: no answer in time, a moment "
                       "ago", place->address);
    }

    if (stop_is_over()) {
        return err_set(err, RC_RETRY, "redis %s: no connect: the process "
                       "stops", place->address);
    }

    errno = 0;
    link->ctx = place->port == 0
                ? redisConnectUnixWithTimeout(place->host, first)
                : redisConnectWithTimeout(place->host, place->port, first);

    if (link->ctx != NULL && !link->ctx->err) {
        errno = 0;
    }
    if (link->ctx == NULL || link->ctx->err
        || redisSetTimeout(link->ctx, tv) != REDIS_OK)
    {
        metrics_add(METRIC_REDIS_CONNECTS, METRICS_RESULT_FAILED, 1);
        return redis_link_fail(link, began, err);
    }
    (void) redisEnableKeepAlive(link->ctx);

    if (link->conf->tls) {
        rc = redis_tls_start(link, err);
        if (rc != RC_OK) {
            link->shun_until_ms = redis_shun(link->conf, began);
        }
    }
    if (rc == RC_OK) {
        rc = redis_link_login(link, err);
    }
    if (rc != RC_OK) {
        redis_link_forget(link);
        redis_link_drop(link);
    }
    metrics_add(METRIC_REDIS_CONNECTS, rc == RC_OK ? METRICS_RESULT_OK
                                                   : METRICS_RESULT_FAILED, 1);
    return rc;
}
