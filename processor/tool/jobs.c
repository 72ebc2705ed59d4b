/*
 * jobs.c: one purge or erasure at a time, and what it leaves in writing.
 *
 * Owns the advisory lock and sluice.jobs.  The lock belongs to the session, so
 * a job that is killed leaves none behind.  Nothing depends on it: two at a
 * time would only get into each other's way.
 */

#include "tool/jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/now.h"
#include "tool/when.h"

#define JOB_TIMEOUT_MS  60000        /* of a statement, at least */
#define JOB_CLOCKS_MS   60000        /* by which two clocks may differ */

static const char job_sql_may[] =
    "SELECT coalesce(has_function_privilege(to_regprocedure("
    "'sluice.purge_day(text, text, timestamptz)'), 'EXECUTE'), false),"
    " to_regprocedure('sluice.purge_day(text, text, timestamptz)')"
    " IS NOT NULL, current_user,"
    " (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

static const char job_sql_lock[] =
    "SELECT pg_try_advisory_lock(hashtext('sluice.purge'))";

static const char job_sql_begin[] =
    "INSERT INTO sluice.jobs (pipeline, job, customer, before)"
    " VALUES ($1::text, $2::text, $3::text, timestamptz 'epoch'"
    " + $4::bigint * interval '1 millisecond') RETURNING id";

static const char job_sql_end[] =
    "UPDATE sluice.jobs SET ended_at = now(), figures = $2::jsonb"
    " WHERE id = $1::bigint";


/*
 * What is old is told by the clock, and nothing brings back what a clock that
 * is ahead has removed: two must agree.
 */
static rc_t
job_may(job_t *job, err_t *err)
{
    pg_result_t  result;
    int64_t      ahead;
    rc_t         rc = pg_exec(job->pg, job_sql_may, 0, NULL, &result, err);

    if (rc != RC_OK) {
        return rc;
    }

    if (strcmp(pg_value(job->pg, 0, 1), "t") != 0) {
        return err_set(err, RC_REJECT, "postgres: the schema is too old: run "
                       "sql/migrate");
    }
    if (strcmp(pg_value(job->pg, 0, 0), "t") != 0) {
        return err_set(err, RC_REJECT, "postgres: user %s is no member of "
                       "sluice_purger", pg_value(job->pg, 0, 2));
    }

    ahead = now_wall_ms() - strtoll(pg_value(job->pg, 0, 3), NULL, 10);
    if (ahead > JOB_CLOCKS_MS || ahead < -JOB_CLOCKS_MS) {
        return err_set(err, RC_REJECT, "this host's clock and PostgreSQL's "
                       "differ by %" PRId64 " s", ahead / 1000);
    }
    return RC_OK;
}


rc_t
job_open(job_t *job, const tool_env_t *env, err_t *err)
{
    rc_t  rc;

    memset(job, 0, sizeof(*job));
    job->conf = *env->pg;
    if (job->conf.timeout_ms < JOB_TIMEOUT_MS) {
        job->conf.timeout_ms = JOB_TIMEOUT_MS;
    }
    job->pg = pg_open(&job->conf);

    rc = job_may(job, err);

    return rc == RC_OK ? job_hold(job, err) : rc;
}


rc_t
job_hold(job_t *job, err_t *err)
{
    pg_result_t  result;
    rc_t         rc = pg_exec(job->pg, job_sql_lock, 0, NULL, &result, err);

    if (rc == RC_OK && strcmp(pg_value(job->pg, 0, 0), "t") != 0) {
        return err_set(err, RC_FENCED, "another purge or erasure is at work "
                       "on this database");
    }
    return rc;
}


rc_t
job_begin(job_t *job, const char *pipeline, const char *name,
    const char *customer, int64_t before_ms, err_t *err)
{
    char         before[24];
    const char  *params[] = { pipeline, name, customer, before };
    pg_result_t  result;
    rc_t         rc;

    (void) snprintf(before, sizeof(before), "%" PRId64, before_ms);
    rc = pg_exec(job->pg, job_sql_begin, 4, params, &result, err);
    if (rc == RC_OK) {
        (void) snprintf(job->id, sizeof(job->id), "%s",
                        pg_value(job->pg, 0, 0));
    }
    return rc;
}


rc_t
job_end(job_t *job, const char *figures, err_t *err)
{
    const char  *params[] = { job->id, figures };
    pg_result_t  result;

    if (job->id[0] == '\0') {
        return RC_OK;
    }
    return pg_exec(job->pg, job_sql_end, 2, params, &result, err);
}


void
job_close(job_t *job)
{
    pg_close(job->pg);
    job->pg = NULL;
}
