/*
 * jobs.h: one purge or erasure at a time, and what it leaves in writing.
 */

#ifndef SLUICE_TOOL_JOBS_H
#define SLUICE_TOOL_JOBS_H

#include "io/pg.h"
#include "tool/tool.h"

typedef struct {
    pg_conf_t   conf;
    pg_t       *pg;
    char        id[24];              /* of its row in sluice.jobs; "" */
} job_t;

/*
 * Opens the connection, checks that this user may do it, and takes the lock.
 * RC_FENCED: another one is at work.  job_close() in any case.
 */
rc_t job_open(job_t *job, const tool_env_t *env, err_t *err);

/*
 * Is the lock still ours?  A connection that was lost has lost it; it is taken
 * again, unless someone else was quicker: RC_FENCED.
 */
rc_t job_hold(job_t *job, err_t *err);

/* Rows of sluice.jobs; customer is NULL for a purge. */
rc_t job_begin(job_t *job, const char *pipeline, const char *name,
    const char *customer, int64_t before_ms, err_t *err);
rc_t job_end(job_t *job, const char *figures, err_t *err);

void job_close(job_t *job);

#endif /* SLUICE_TOOL_JOBS_H */
