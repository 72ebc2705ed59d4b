/*
 * pg_link.c: a connect to PostgreSQL that a stop can end.
 *
 * Owns the thread that connects.  libpq goes through hosts and addresses, with
 * its timeout for each, and asks the resolver, all in one call; its own way to
 * do that in steps goes on to no other host when one doesn't answer.  So the
 * call is made by a thread, and who waits for it may go away; then the thread
 * frees what it has made.
 */

#include "io/pg_local.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/secret.h"
#include "base/stop.h"

#define PG_LINK_KEYS  16
#define PG_LINK_MS    1000000              /* libpq's own timeout is less */

typedef struct {
    const char       *keys[PG_LINK_KEYS + 1];          /* static strings */
    char             *values[PG_LINK_KEYS + 1];
    PGconn           *conn;
    int               done;                /* by the thread */
    int               left;                /* by who waited */
    pthread_mutex_t   mutex;
    pthread_cond_t    wake;
} pg_link_t;


static void
pg_link_free(pg_link_t *link)
{
    for (size_t i = 0; link->keys[i] != NULL; i++) {
        secret_free(link->values[i]);      /* one is a password */
    }

    (void) pthread_cond_destroy(&link->wake);
    (void) pthread_mutex_destroy(&link->mutex);
    free(link);
}


static void *
pg_link_run(void *arg)
{
    pg_link_t  *link = arg;
    PGconn     *conn;
    int         left;

    conn = PQconnectdbParams(link->keys, (const char *const *) link->values,
                             1);

    (void) pthread_mutex_lock(&link->mutex);
    link->conn = conn;
    link->done = 1;
    left = link->left;
    (void) pthread_cond_signal(&link->wake);
    (void) pthread_mutex_unlock(&link->mutex);

    if (left) {
        PQfinish(conn);
        pg_link_free(link);
    }

    return NULL;
}


static pg_link_t *
pg_link_new(const char *const *keys, const char *const *values)
{
    pg_link_t           *link = mem_zalloc(sizeof(*link));
    pthread_condattr_t   attr;

    for (size_t i = 0; keys[i] != NULL && i < PG_LINK_KEYS; i++) {
        link->keys[i] = keys[i];
        link->values[i] = mem_strdup(values[i]);
    }

    (void) pthread_mutex_init(&link->mutex, NULL);
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_cond_init(&link->wake, &attr);
    (void) pthread_condattr_destroy(&attr);

    return link;
}


/* Waits for the thread; 0: the process has to end before it has. */
static int
pg_link_wait(pg_link_t *link)
{
    struct timespec  until;
    int              done;

    (void) pthread_mutex_lock(&link->mutex);

    while (!link->done && !stop_is_over()) {
        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += stop_slice(PG_LINK_MS) * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;

        (void) pthread_cond_timedwait(&link->wake, &link->mutex, &until);
    }

    done = link->done;
    link->left = !done;
    (void) pthread_mutex_unlock(&link->mutex);

    return done;
}


PGconn *
pg_link(const char *const *keys, const char *const *values)
{
    pg_link_t  *link;
    pthread_t   thread;
    PGconn     *conn;

    if (stop_is_over()) {
        return NULL;
    }

    link = pg_link_new(keys, values);

    if (pthread_create(&thread, NULL, pg_link_run, link) != 0) {
        pg_link_free(link);
        return NULL;
    }

    if (!pg_link_wait(link)) {
        (void) pthread_detach(thread);
        return NULL;
    }

    (void) pthread_join(thread, NULL);
    conn = link->conn;
    pg_link_free(link);

    return conn;
}
