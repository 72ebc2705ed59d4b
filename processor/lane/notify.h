/*
 * notify.h: whose rows have changed, told to those who listen.
 *
 * Collects customers and sends them as one NOTIFY.  It is a hint and not a
 * fact: sent after the rows were committed, it may be lost with the process,
 * and may name a customer whose rows are as they were.  Who misses one sees
 * the rows at its next look.
 */

#ifndef SLUICE_LANE_NOTIFY_H
#define SLUICE_LANE_NOTIFY_H

#include <stddef.h>

#include "base/err.h"
#include "core/members.h"
#include "io/pg.h"

#define NOTIFY_CHANNEL  "sluice_summary"

/* All zero is nobody. */
typedef struct {
    members_t  customers;
    size_t     bytes;                /* of their names in the payload */
    int        everyone;             /* more than a payload holds */
} notify_t;

void notify_customer(notify_t *n, const char *customer, size_t len);
void notify_everyone(notify_t *n);
int notify_is_due(const notify_t *n);

/*
 * Tell, and begin anew, whatever the outcome.  A transaction of its own: one
 * that notifies holds a lock of the whole server while it commits, and one
 * that wrote nothing has nothing to wait for there.
 */
rc_t notify_send(notify_t *n, pg_t *pg, const char *pipeline, err_t *err);
void notify_free(notify_t *n);

#endif /* SLUICE_LANE_NOTIFY_H */
