/*
 * err.h: what went wrong, and what the lane does next.
 *
 * rc_t names the lane's next move; err_t holds one sentence for a human,
 * written once, where the fact is known.
 */

#ifndef SLUICE_BASE_ERR_H
#define SLUICE_BASE_ERR_H

typedef enum {
    RC_OK = 0,
    RC_RETRY,      /* a dependency is away, slow, full or refuses us */
    RC_REJECT,     /* this record can never work: dead-letter topic */
    RC_FENCED      /* someone else owns this, or Redis lost state */
} rc_t;

typedef struct {
    char  text[256];
} err_t;

/* Write the sentence (cut when too long) and return rc, for `return`. */
rc_t err_set(err_t *err, rc_t rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

const char *rc_name(rc_t rc);

#endif /* SLUICE_BASE_ERR_H */
