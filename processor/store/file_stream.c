/*
 * file_stream.c: objects of the directory store in pieces, and reading.
 *
 * Owns what lies between begin() and commit(): a temporary file in .incoming
 * that is renamed when all of it is on the disk.  How names are made durable
 * is file.c's.
 *
 * The kernel is asked to write as the pieces come.  Left to itself it would
 * hold gigabytes back until the sync at the end, and the lane would wait there
 * for all of them.
 */

#include "store/file_local.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define FILE_WRITEBACK  ((uint64_t) 8 * 1024 * 1024)

struct store_put_s {
    store_t   *st;
    char      *path;
    char       temp[FILE_TEMP_MAX];
    int        fd;
    uint64_t   size;
    uint64_t   asked;            /* for which the kernel was asked to write */
};


struct store_get_s {
    store_t  *st;
    char     *path;
    int       fd;
};


int
file_find_dir(const store_t *st, const char *path, size_t len)
{
    const int  flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    char       name[NAME_MAX + 1];
    int        fd = openat(st->root, ".", flags);
    size_t     at = 0;

    while (fd >= 0 && at < len) {
        size_t  n = strcspn(path + at, "/");
        int     below;

        if (n > len - at) {
            n = len - at;
        }
        if (n > NAME_MAX) {
            close(fd);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, path + at, n);
        name[n] = '\0';

        below = openat(fd, name, flags);

        int  e = errno;

        close(fd);
        errno = e;
        fd = below;
        at += n + 1;
    }
    return fd;
}


static void
file_put_free(store_put_t *put)
{
    if (put->fd >= 0) {
        close(put->fd);
    }
    free(put->path);
    free(put);
}


rc_t
file_begin(store_t *st, const char *path, const char *type,
    store_put_t **out, err_t *err)
{
    store_put_t  *put;

    (void) type;                 /* a directory keeps none */

    if (!file_path_is_valid(path)) {
        return err_set(err, RC_REJECT, "store %s: %s is no object's name",
                       st->path, path);
    }

    put = mem_zalloc(sizeof(*put));
    put->st = st;
    put->path = mem_strdup(path);
    file_temp_name(st, put->temp);
    put->fd = file_create_temp(st, put->temp);

    if (put->fd < 0) {
        rc_t  rc = file_errno(st, err, "create a file for", path);

        file_put_free(put);
        return rc;
    }

    *out = put;
    return RC_OK;
}


rc_t
file_append(store_put_t *put, const void *data, size_t len, err_t *err)
{
    if (file_write_all(put->fd, data, len) != 0) {
        return file_errno(put->st, err, "write", put->path);
    }

    put->size += len;
    if (put->size - put->asked >= FILE_WRITEBACK) {
        /* Not all file systems can; the sync at the end is what counts. */
        (void) sync_file_range(put->fd, (off_t) put->asked,
                               (off_t) (put->size - put->asked),
                               SYNC_FILE_RANGE_WRITE);
        put->asked = put->size;
    }
    return RC_OK;
}


rc_t
file_commit(store_put_t *put, err_t *err)
{
    store_t  *st = put->st;
    rc_t      rc = RC_OK;
    int       fd = put->fd;

    put->fd = -1;

    if (fsync(fd) != 0) {
        rc = file_errno(st, err, "sync", put->path);
    }
    if (close(fd) != 0 && rc == RC_OK) {
        rc = file_errno(st, err, "close", put->path);
    }
    if (rc == RC_OK) {
        rc = file_rename(st, put->path, put->temp, err);
    }

    if (rc == RC_OK) {
        rc = file_sync_dirs(st, err);
    } else {
        (void) unlinkat(st->incoming, put->temp, 0);
    }

    file_forget_dirs(st);
    file_put_free(put);
    return rc;
}


void
file_abort(store_put_t *put)
{
    if (put == NULL) {
        return;
    }
    (void) unlinkat(put->st->incoming, put->temp, 0);
    file_put_free(put);
}


/* What isn't there, or is nothing of ours, can't be read by trying again. */
static rc_t
file_lookup_errno(const store_t *st, err_t *err, const char *what,
    const char *path)
{
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) {
        return err_set(err, RC_REJECT, "store %s: there is no object %s",
                       st->path, path);
    }
    return file_errno(st, err, what, path);
}


/* The object's file, open for reading; -1 with *rc and err. */
static int
file_open_object(store_t *st, const char *path, struct stat *sb, rc_t *rc,
    err_t *err)
{
    const char  *slash = strrchr(path, '/');
    const char  *base = slash != NULL ? slash + 1 : path;
    int          parent, fd;

    if (!file_path_is_valid(path)) {
        *rc = err_set(err, RC_REJECT, "store %s: %s is no object's name",
                      st->path, path);
        return -1;
    }

    parent = file_find_dir(st, path,
                           slash != NULL ? (size_t) (slash - path) : 0);
    if (parent < 0) {
        *rc = file_lookup_errno(st, err, "open the directory of", path);
        return -1;
    }

    /* Without O_NONBLOCK a pipe that lies there would hold us. */
    fd = openat(parent, base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        *rc = file_lookup_errno(st, err, "open", path);
    } else if (fstat(fd, sb) != 0) {
        *rc = file_errno(st, err, "look at", path);
    } else if (!S_ISREG(sb->st_mode)) {
        *rc = err_set(err, RC_REJECT, "store %s: %s is no file", st->path,
                      path);
    } else {
        close(parent);
        return fd;
    }

    if (fd >= 0) {
        close(fd);
    }
    close(parent);
    return -1;
}


rc_t
file_stat(store_t *st, const char *path, store_stat_t *stat, err_t *err)
{
    struct stat  sb;
    rc_t         rc = RC_OK;
    int          fd = file_open_object(st, path, &sb, &rc, err);

    if (fd < 0) {
        return rc;
    }
    close(fd);

    stat->size = (uint64_t) sb.st_size;
    stat->mtime_ms = (int64_t) sb.st_mtim.tv_sec * 1000
                     + sb.st_mtim.tv_nsec / 1000000;
    return RC_OK;
}


rc_t
file_get(store_t *st, const char *path, uint64_t offset, store_get_t **out,
    err_t *err)
{
    store_get_t  *get;
    struct stat   sb;
    rc_t          rc = RC_OK;
    int           fd = file_open_object(st, path, &sb, &rc, err);

    if (fd < 0) {
        return rc;
    }
    if (offset > INT64_MAX || lseek(fd, (off_t) offset, SEEK_SET) < 0) {
        rc = file_errno(st, err, "seek in", path);
        close(fd);
        return rc;
    }

    get = mem_zalloc(sizeof(*get));
    get->st = st;
    get->path = mem_strdup(path);
    get->fd = fd;
    *out = get;
    return RC_OK;
}


rc_t
file_read(store_get_t *get, void *buf, size_t len, size_t *n, err_t *err)
{
    char    *to = buf;
    size_t   got = 0;

    while (got < len) {
        ssize_t  r = read(get->fd, to + got, len - got);

        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return file_errno(get->st, err, "read", get->path);
        }
        if (r == 0) {
            break;
        }
        got += (size_t) r;
    }

    *n = got;
    return RC_OK;
}


void
file_get_close(store_get_t *get)
{
    if (get == NULL) {
        return;
    }
    close(get->fd);
    free(get->path);
    free(get);
}
