/*
 * spool.c: the pieces of files that are not whole yet, on disk.
 *
 * Owns the directory, its lock, the sum of bytes.  Does not know what a file
 * in it is for, or which one to drop.
 *
 * A lane's directory is locked by flock(), which ends with its process,
 * however that ends.  So a directory that can be locked is nobody's.  Making
 * and removing them happens under a lock of the whole spool: between mkdir()
 * and flock() a directory would look like a leftover.
 *
 * A file is opened for each write.  Thousands of uploads may be under way at
 * once, and a piece is large enough not to mind.
 */

#include "assemble/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define SPOOL_LOCK      ".lock"
#define SPOOL_BEGIN     "lane-"        /* of our directories' names */
#define SPOOL_NAME_MAX  40
#define SPOOL_AGAIN_MS  1000           /* a full disk: more is tried then, */
#define SPOOL_MOST_MS   60000          /* and after each time later */

struct spool_s {
    char      *path;                   /* of the spool */
    char       name[SPOOL_NAME_MAX];   /* of our directory in it */
    int        root;
    int        dir;                    /* ours, locked */
    uint64_t   quota;
    uint64_t   limit;
    int64_t    limited_at_ms;
    int64_t    again_ms;               /* from then on; 0: not full lately */
    uint64_t   full;                   /* what was in it then */
    uint64_t   used;
    uint64_t   count;
};


static rc_t
spool_errno(const char *path, const char *what, err_t *err)
{
    int  e = errno;

    (void) err_set(err, RC_RETRY, "spool %s: %s: %s", path, strerror(e), what);
    errno = e;
    return RC_RETRY;
}


/* The files of a directory of ours, and the directory. */
static void
spool_wipe(int root, int dir, const char *name)
{
    struct dirent  *entry;
    int             fd = dup(dir);
    DIR            *d = fd >= 0 ? fdopendir(fd) : NULL;

    if (d == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    rewinddir(d);
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_name[0] != '.') {
            (void) unlinkat(dir, entry->d_name, 0);
        }
    }
    closedir(d);
    (void) unlinkat(root, name, AT_REMOVEDIR);
}


/* Removes what processes left that ended without a word. */
static void
spool_sweep(int root)
{
    struct dirent  *entry;
    int             fd = dup(root);
    DIR            *d = fd >= 0 ? fdopendir(fd) : NULL;
    int64_t         removed = 0;

    if (d == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }

    rewinddir(d);
    while ((entry = readdir(d)) != NULL) {
        int  dir;

        if (strncmp(entry->d_name, SPOOL_BEGIN, strlen(SPOOL_BEGIN)) != 0) {
            continue;
        }
        dir = openat(root, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW
                     | O_CLOEXEC);
        if (dir < 0) {
            continue;
        }
        if (flock(dir, LOCK_EX | LOCK_NB) == 0) {
            spool_wipe(root, dir, entry->d_name);
            removed++;
        }
        close(dir);
    }
    closedir(d);

    if (removed > 0) {
        log_notice("spool", "leftovers of a crash removed",
                   LI("directories", removed));
    }
}


static rc_t
spool_make(spool_t *sp, err_t *err)
{
    uint64_t  random;
    rc_t      rc = RC_OK;
    int       lock = openat(sp->root, SPOOL_LOCK, O_RDWR | O_CREAT
                            | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (lock < 0 || flock(lock, LOCK_EX) != 0) {
        rc = spool_errno(sp->path, "lock", err);
        goto done;
    }

    spool_sweep(sp->root);

    if (getrandom(&random, sizeof(random), 0) != (ssize_t) sizeof(random)) {
        rc = spool_errno(sp->path, "random bytes", err);
        goto done;
    }

    (void) snprintf(sp->name, sizeof(sp->name), SPOOL_BEGIN "%016" PRIx64,
                    random);
    if (mkdirat(sp->root, sp->name, 0700) != 0
        || (sp->dir = openat(sp->root, sp->name, O_RDONLY | O_DIRECTORY
                             | O_NOFOLLOW | O_CLOEXEC)) < 0
        || flock(sp->dir, LOCK_EX | LOCK_NB) != 0)
    {
        rc = spool_errno(sp->path, "make a directory", err);
    }

done:
    if (lock >= 0) {
        close(lock);
    }
    return rc;
}


rc_t
spool_open(spool_t **out, const char *path, uint64_t quota, err_t *err)
{
    spool_t  *sp = mem_zalloc(sizeof(*sp));
    rc_t      rc;

    sp->path = mem_strdup(path);
    sp->quota = quota;
    sp->limit = quota;
    sp->dir = -1;

    /* The last component only: a parent that is missing is a wrong setting. */
    (void) mkdir(path, 0700);

    sp->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = sp->root >= 0 ? spool_make(sp, err)
                       : spool_errno(path, "open", err);

    if (rc != RC_OK) {
        spool_close(sp);
        return rc;
    }
    *out = sp;
    return RC_OK;
}


void
spool_close(spool_t *sp)
{
    if (sp == NULL) {
        return;
    }
    if (sp->dir >= 0) {
        spool_wipe(sp->root, sp->dir, sp->name);
        close(sp->dir);
    }
    if (sp->root >= 0) {
        close(sp->root);
    }
    free(sp->path);
    free(sp);
}


rc_t
spool_probe(const char *path, err_t *err)
{
    static const char  text[] = "sluice";

    spool_t   *sp;
    uint64_t   file;
    rc_t       rc = spool_open(&sp, path, sizeof(text), err);

    if (rc == RC_OK) {
        file = spool_file(sp);
        rc = spool_write(sp, file, 0, text, sizeof(text), 0, err);
        spool_close(sp);
    }
    return rc;
}


uint64_t
spool_quota(const spool_t *sp)
{
    return sp->quota;
}


uint64_t
spool_used(const spool_t *sp)
{
    return sp->used;
}


/*
 * The disk was full before the quota was.  Often that passes soon; where it
 * doesn't, each try may cost the pieces of a file that are read again.
 */
static void
spool_limited(spool_t *sp, int64_t now_ms)
{
    sp->limit = sp->used;
    sp->full = sp->used;
    sp->limited_at_ms = now_ms;
    sp->again_ms = sp->again_ms == 0 ? SPOOL_AGAIN_MS : 2 * sp->again_ms;

    if (sp->again_ms > SPOOL_MOST_MS) {
        sp->again_ms = SPOOL_MOST_MS;
    }
}


uint64_t
spool_limit(spool_t *sp, int64_t now_ms)
{
    if (now_ms - sp->limited_at_ms >= sp->again_ms) {
        sp->limit = sp->quota;
    }
    return sp->limit;
}


uint64_t
spool_file(spool_t *sp)
{
    return ++sp->count;
}


static void
spool_name(uint64_t file, char name[SPOOL_NAME_MAX])
{
    (void) snprintf(name, SPOOL_NAME_MAX, "%" PRIu64, file);
}


rc_t
spool_write(spool_t *sp, uint64_t file, uint64_t size, const void *data,
    size_t len, int64_t now_ms, err_t *err)
{
    const char  *from = data;
    char         name[SPOOL_NAME_MAX];
    size_t       done = 0;
    rc_t         rc = RC_OK;
    int          fd;

    spool_name(file, name);
    fd = openat(sp->dir, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC
                | (size == 0 ? O_CREAT : 0), 0600);
    if (fd < 0) {
        rc = spool_errno(sp->path, "open a file", err);
        return size > 0 && errno == ENOENT ? RC_FENCED : rc;
    }

    while (done < len) {
        ssize_t  n = pwrite(fd, from + done, len - done,
                            (off_t) (size + done));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            if (n == 0 || errno == ENOSPC || errno == EDQUOT
                || errno == EFBIG)
            {
                spool_limited(sp, now_ms);
            }
            rc = spool_errno(sp->path, "write", err);
            break;
        }
        done += (size_t) n;
    }

    close(fd);

    if (rc == RC_OK) {
        sp->used += len;
        sp->again_ms = sp->used > sp->full ? 0 : sp->again_ms;
    } else if (size == 0) {
        (void) unlinkat(sp->dir, name, 0);
    }
    return rc;
}


rc_t
spool_read(spool_t *sp, uint64_t file, uint64_t offset, void *buf, size_t len,
    err_t *err)
{
    char    *to = buf;
    char     name[SPOOL_NAME_MAX];
    size_t   done = 0;
    rc_t     rc = RC_OK;
    int      fd;

    spool_name(file, name);
    fd = openat(sp->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        rc = spool_errno(sp->path, "open a file", err);
        return errno == ENOENT ? RC_FENCED : rc;
    }

    while (done < len && rc == RC_OK) {
        ssize_t  n = pread(fd, to + done, len - done,
                           (off_t) (offset + done));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            /* A disk that can't be read has lost it; the log has not. */
            (void) spool_errno(sp->path, "read", err);
            rc = RC_FENCED;
        } else if (n == 0) {
            rc = err_set(err, RC_FENCED, "spool %s: a file is shorter than "
                         "it was", sp->path);
        } else {
            done += (size_t) n;
        }
    }

    close(fd);
    return rc;
}


void
spool_remove(spool_t *sp, uint64_t file, uint64_t size)
{
    char  name[SPOOL_NAME_MAX];

    spool_name(file, name);
    (void) unlinkat(sp->dir, name, 0);
    sp->used -= size <= sp->used ? size : sp->used;
}
