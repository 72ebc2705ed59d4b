/*
 * spool.h: the pieces of files that are not whole yet, on disk.
 *
 * A cache: all of it can be read again from the log, so nothing is synced and
 * nothing outlives its process.  Each lane has a directory of its own in the
 * spool directory, held by a lock; what no process holds is removed when one
 * is opened.  The bytes in it are bounded by a quota.
 */

#ifndef SLUICE_ASSEMBLE_SPOOL_H
#define SLUICE_ASSEMBLE_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct spool_s  spool_t;

/* RC_RETRY when the directory can't be used. */
rc_t spool_open(spool_t **spool, const char *path, uint64_t quota, err_t *err);
void spool_close(spool_t *spool);              /* removes all; takes NULL */

/* For -t: RC_OK when files can be made in the directory. */
rc_t spool_probe(const char *path, err_t *err);

uint64_t spool_quota(const spool_t *spool);
uint64_t spool_used(const spool_t *spool);

/*
 * Bytes that may lie in it now: the quota, or less for a while after the disk
 * was full before the quota was.  now_ms is of a clock that only goes on.
 */
uint64_t spool_limit(spool_t *spool, int64_t now_ms);

/* A number for a new file; nothing is on disk before the first write. */
uint64_t spool_file(spool_t *spool);

/*
 * Writes behind the size bytes that the file has.  RC_RETRY: the disk is full
 * (spool_limit() has come down) or broken, and nothing counts as written.
 * RC_FENCED: what was written before is gone.
 */
rc_t spool_write(spool_t *spool, uint64_t file, uint64_t size,
    const void *data, size_t len, int64_t now_ms, err_t *err);

/* Reads exactly len bytes.  RC_FENCED when they are gone. */
rc_t spool_read(spool_t *spool, uint64_t file, uint64_t offset, void *buf,
    size_t len, err_t *err);

void spool_remove(spool_t *spool, uint64_t file, uint64_t size);

#endif /* SLUICE_ASSEMBLE_SPOOL_H */
