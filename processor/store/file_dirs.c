/*
 * file_dirs.c: the directories that a batch's objects lie in.
 *
 * Owns making them, giving files their names in them, and how those names
 * become durable.  Never writes a byte of an object.
 *
 * The directory that a file is renamed into is synced.  So is every directory
 * on the way to it: it may have been made a moment ago by another lane that has
 * not synced its parent yet.  That is done once for each, since a sync of what
 * has not changed costs a flush of the disk all the same.  Which are done is
 * remembered by inode and time of birth, not by path: one that was removed and
 * made anew is another.
 */

#include "store/file_local.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define FILE_DIRS_MAX   64       /* more than this in a batch: one syncfs */


int
file_open_dir(int parent, const char *name)
{
    const int    flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    struct stat  sb;
    int          fd = openat(parent, name, flags);

    if (fd >= 0 || errno != ENOENT) {
        return fd;
    }

    /* Another lane may be making it right now. */
    if (mkdirat(parent, name, 0750) != 0 && errno != EEXIST) {
        return -1;
    }

    fd = openat(parent, name, flags);

    /* The umask may have taken rights that readers need; keep setgid. */
    if (fd >= 0 && fstat(fd, &sb) == 0 && sb.st_uid == geteuid()
        && (sb.st_mode & 0750) != 0750)
    {
        (void) fchmod(fd, (sb.st_mode & 07777) | 0750);
    }
    return fd;
}


/* The root's own entry has none. */
static int
file_dir_fd(const store_t *st, const file_dir_t *d)
{
    int fd = d->fd >= 0 ? d->fd : st->root;

    assert(fd >= 0);

    return fd;
}


/* A directory's identity; 0 and none where file systems can't tell its birth,
 * by which one that was made anew under an old number is told apart. */
static file_known_t
file_dir_identity(int fd)
{
    file_known_t  known = { 0, 0, 0 };
    struct statx  sx;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &sx) == 0
        && (sx.stx_mask & STATX_BTIME))
    {
        known.ino = sx.stx_ino;
        known.birth_s = sx.stx_btime.tv_sec;
        known.birth_ns = sx.stx_btime.tv_nsec;
    }
    return known;
}


static file_known_t *
file_known_place(store_t *st, const file_known_t *known)
{
    /* Numbers of directories lie a group of inodes apart: spread them. */
    return &st->known[(known->ino * 0x9e3779b97f4a7c15) >> 32
                      & (FILE_KNOWN - 1)];
}


/* Has this store synced its parent since it was made? */
static int
file_dir_is_known(store_t *st, const file_known_t *known)
{
    const file_known_t  *place = file_known_place(st, known);

    return known->ino != 0 && place->ino == known->ino
           && place->birth_s == known->birth_s
           && place->birth_ns == known->birth_ns;
}


static file_dir_t *
file_dir_find(store_t *st, const char *path, size_t len)
{
    /* Newest first: neighbours in a batch mostly share their directory. */
    for (size_t i = st->ndirs; i > 0; i--) {
        file_dir_t  *d = &st->dirs[i - 1];

        if (strncmp(d->path, path, len) == 0 && d->path[len] == '\0') {
            return d;
        }
    }
    return NULL;
}


/* The batch remembers it under path; fd is taken. */
static file_dir_t *
file_dir_add(store_t *st, const char *path, size_t len, int fd)
{
    if (st->ndirs == st->dirs_cap) {
        st->dirs_cap = st->dirs_cap > 0 ? st->dirs_cap * 2 : 32;
        st->dirs = mem_grow(st->dirs, st->dirs_cap, sizeof(file_dir_t));
    }

    file_dir_t  *d = &st->dirs[st->ndirs++];

    memset(d, 0, sizeof(*d));
    d->path = mem_strndup(path, len);
    d->fd = fd;
    return d;
}


void
file_forget_dirs(store_t *st)
{
    for (size_t i = 0; i < st->ndirs; i++) {
        if (st->dirs[i].fd >= 0) {
            close(st->dirs[i].fd);
        }
        free(st->dirs[i].path);
    }
    st->ndirs = 0;
}


/* Opens a directory below the batch's number `parent`; NULL and errno. */
static file_dir_t *
file_dir_below(store_t *st, size_t parent, const char *path, size_t at,
    size_t n)
{
    char         name[NAME_MAX + 1];
    int          fd;
    file_dir_t  *d;

    if (n > NAME_MAX) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    memcpy(name, path + at, n);
    name[n] = '\0';

    fd = file_open_dir(file_dir_fd(st, &st->dirs[parent]), name);
    if (fd < 0) {
        return NULL;
    }

    d = file_dir_add(st, path, at + n, fd);
    d->known = file_dir_identity(fd);

    if (!file_dir_is_known(st, &d->known)) {
        st->dirs[parent].changed = 1;
    }
    return d;
}


/*
 * The directory an object goes into, made with its parents where needed; it is
 * the batch's.  A batch of a thousand customers has a thousand directories:
 * their descriptors must not all be open at once.
 */
static file_dir_t *
file_parent(store_t *st, const char *path)
{
    const char  *slash = strrchr(path, '/');
    size_t       len = slash != NULL ? (size_t) (slash - path) : 0;
    file_dir_t  *d = file_dir_find(st, path, len);

    if (d != NULL) {
        return d;
    }

    if (st->ndirs > FILE_DIRS_MAX) {
        file_forget_dirs(st);
        st->many = 1;
    }

    d = file_dir_find(st, "", 0);
    if (d == NULL) {
        d = file_dir_add(st, "", 0, -1);
    }

    for (size_t at = 0, end; at < len; at = end + 1) {
        size_t  parent = (size_t) (d - st->dirs);

        end = at + strcspn(path + at, "/");
        d = file_dir_find(st, path, end);

        if (d == NULL) {
            d = file_dir_below(st, parent, path, at, end - at);
        }
        if (d == NULL) {
            return NULL;
        }
    }

    return d;
}


rc_t
file_sync_dirs(store_t *st, err_t *err)
{
    if (st->many || st->ndirs > FILE_DIRS_MAX) {
        st->many = 0;
        return syncfs(st->root) == 0 ? RC_OK
                                     : file_errno(st, err, "sync", ".");
    }

    /* The deepest first: a name is of use only once what it names is there. */
    for (size_t i = st->ndirs; i > 0; i--) {
        file_dir_t  *d = &st->dirs[i - 1];

        if (d->changed && fsync(file_dir_fd(st, d)) != 0) {
            return file_errno(st, err, "sync directory", d->path);
        }
    }

    for (size_t i = 0; i < st->ndirs; i++) {
        const file_known_t  *known = &st->dirs[i].known;

        if (known->ino != 0) {
            *file_known_place(st, known) = *known;
        }
    }
    return RC_OK;
}


rc_t
file_rename(store_t *st, const char *path, const char *temp, err_t *err)
{
    const char  *slash = strrchr(path, '/');
    const char  *base = slash != NULL ? slash + 1 : path;
    file_dir_t  *parent = file_parent(st, path);

    if (parent == NULL) {
        return file_errno(st, err, "make the directory of", path);
    }
    if (renameat(st->incoming, temp, file_dir_fd(st, parent), base) != 0) {
        return file_errno(st, err, "rename into", path);
    }
    parent->changed = 1;
    return RC_OK;
}
