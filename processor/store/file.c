/*
 * file.c: objects in a directory, a batch at a time.
 *
 * Owns the order of write, sync, rename and sync again, and the temporary
 * names.  Never names an object and knows nothing of windows.  Directories are
 * file_dirs.c's, objects that come in pieces, or are read, file_stream.c's;
 * file_list.c finds and removes them.
 *
 * One syncfs() makes the bytes of a whole batch durable; then the names are
 * renamed into place, and file_dirs.c makes them durable as well.
 *
 * Everything is opened relative to the root's descriptor and never through a
 * symbolic link, so that nobody who can write into the store can lead us out
 * of it.
 */

#include "store/file_local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define FILE_STALE_S    3600     /* not written to for an hour: a crash's */

#ifndef RWF_DONTCACHE            /* Linux 6.14; older headers lack it */
#define RWF_DONTCACHE   0x00000080
#endif


rc_t
file_errno(const store_t *st, err_t *err, const char *what, const char *path)
{
    int  e = errno;

    /* A name the file system can't hold will never fit; the rest may pass. */
    return err_set(err, e == ENAMETOOLONG ? RC_REJECT : RC_RETRY,
                   "store %s: %s: %s %s", st->path, strerror(e), what, path);
}


void
file_temp_name(store_t *st, char name[FILE_TEMP_MAX])
{
    (void) snprintf(name, FILE_TEMP_MAX, "%016" PRIx64 "-%" PRIu64,
                    st->random, st->count++);
}


/* Remove what a crash left, whoever's: only its age tells. */
static void
file_sweep(store_t *st)
{
    struct stat     sb;
    struct dirent  *entry;
    time_t          now = time(NULL);
    int             fd = openat(st->incoming, ".", O_RDONLY | O_DIRECTORY
                                | O_CLOEXEC);
    DIR            *dir = fd >= 0 ? fdopendir(fd) : NULL;
    int64_t         removed = 0;

    if (dir == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }

    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.'
            || fstatat(st->incoming, entry->d_name, &sb,
                       AT_SYMLINK_NOFOLLOW) != 0
            || !S_ISREG(sb.st_mode) || sb.st_mtime > now - FILE_STALE_S)
        {
            continue;
        }
        if (unlinkat(st->incoming, entry->d_name, 0) == 0) {
            removed++;
        }
    }

    closedir(dir);

    if (removed > 0) {
        log_notice("store", "leftovers of a crash removed",
                   LI("files", removed));
    }
}


static void
file_close(store_t *st)
{
    if (st == NULL) {
        return;
    }
    if (st->incoming >= 0) {
        close(st->incoming);
    }
    if (st->root >= 0) {
        close(st->root);
    }
    free(st->dirs);
    free(st);
}


static rc_t
file_open(store_t **store, const void *conf, err_t *err)
{
    const store_file_conf_t  *fc = conf;
    store_t                  *st = mem_zalloc(sizeof(store_t));
    rc_t                      rc;

    st->path = fc->path;
    st->incoming = -1;
    st->root = open(fc->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (st->root < 0) {
        rc = file_errno(st, err, "open", ".");
        goto failed;
    }

    st->incoming = file_open_dir(st->root, FILE_INCOMING);
    if (st->incoming < 0) {
        rc = file_errno(st, err, "open", FILE_INCOMING);
        goto failed;
    }

    if (getrandom(&st->random, sizeof(st->random), 0)
        != (ssize_t) sizeof(st->random))
    {
        rc = file_errno(st, err, "random bytes for", FILE_INCOMING);
        goto failed;
    }

    file_sweep(st);
    *store = st;
    return RC_OK;

failed:
    file_close(st);
    return rc;
}


/* Relative, no empty component, none that begins with a dot. */
int
file_path_is_valid(const char *path)
{
    if (path[0] == '\0') {
        return 0;
    }

    for (const char *p = path;; p++) {
        if (*p == '/' || *p == '.' || *p == '\0') {
            return 0;
        }
        p += strcspn(p, "/");
        if (*p == '\0') {
            return 1;
        }
    }
}


int
file_create_temp(store_t *st, const char *temp)
{
    int  fd = openat(st->incoming, temp, O_WRONLY | O_CREAT | O_EXCL
                     | O_NOFOLLOW | O_CLOEXEC, 0640);

    /* The umask may be stricter than what the readers' group needs. */
    if (fd >= 0 && fchmod(fd, 0640) != 0) {
        log_debug("store", "mode not set", LS("reason", strerror(errno)));
    }
    return fd;
}


int
file_write_all(int fd, const void *bytes, size_t left)
{
    const char  *data = bytes;

    while (left > 0) {
        ssize_t  n = write(fd, data, left);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -1;
        }
        data += n;
        left -= (size_t) n;
    }
    return 0;
}


/*
 * The whole of an object.  Where the kernel can, it is asked to write it at
 * once and keep no copy: the sync of the batch finds little left to do, nobody
 * here reads it again, and the page cache has other use.
 */
static int
file_write_object(store_t *st, int fd, const void *bytes, size_t len)
{
    struct iovec  iov = { (void *) (uintptr_t) bytes, len };
    ssize_t       n = 0;

    if (!st->keeps && len > 0) {
        n = pwritev2(fd, &iov, 1, -1, RWF_DONTCACHE);
        st->keeps = n < 0 && errno == EOPNOTSUPP;
        n = n < 0 ? 0 : n;       /* write() tells what is wrong */
    }

    return file_write_all(fd, (const char *) bytes + n, len - (size_t) n);
}


static rc_t
file_write_temp(store_t *st, const store_object_t *obj, const char *temp,
    int sync, err_t *err)
{
    rc_t  rc = RC_OK;
    int   fd = file_create_temp(st, temp);

    if (fd < 0) {
        return file_errno(st, err, "create a file for", obj->path);
    }

    if (file_write_object(st, fd, obj->data, obj->len) != 0) {
        rc = file_errno(st, err, "write", obj->path);

    } else if (sync && fsync(fd) != 0) {
        rc = file_errno(st, err, "sync", obj->path);
    }

    /* Some file systems report a full disk only here. */
    if (close(fd) != 0 && rc == RC_OK) {
        rc = file_errno(st, err, "close", obj->path);
    }
    if (rc != RC_OK) {
        (void) unlinkat(st->incoming, temp, 0);
    }
    return rc;
}


static void
file_put_batch(store_t *st, store_object_t *objects, size_t n)
{
    char   (*temp)[FILE_TEMP_MAX] = mem_alloc(n * FILE_TEMP_MAX);
    size_t   written = 0;
    err_t    why;
    rc_t     rc;

    /* A single small file must not wait for the whole file system. */
    int      each = n == 1;

    for (size_t i = 0; i < n; i++) {
        store_object_t  *obj = &objects[i];

        if (!file_path_is_valid(obj->path)) {
            obj->rc = err_set(&obj->err, RC_REJECT,
                              "store %s: %s is no object's name", st->path,
                              obj->path);
            continue;
        }
        file_temp_name(st, temp[i]);
        obj->rc = file_write_temp(st, obj, temp[i], each, &obj->err);
        written += obj->rc == RC_OK;
    }

    rc = RC_OK;
    if (written > 0 && !each && syncfs(st->root) != 0) {
        rc = file_errno(st, &why, "sync", ".");
    }

    for (size_t i = 0; i < n; i++) {
        store_object_t  *obj = &objects[i];

        if (obj->rc != RC_OK) {
            continue;
        }
        if (rc == RC_OK) {
            obj->rc = file_rename(st, obj->path, temp[i], &obj->err);
        } else {
            obj->rc = rc;
            obj->err = why;
        }
        if (obj->rc != RC_OK) {
            (void) unlinkat(st->incoming, temp[i], 0);
        }
    }

    /* The bytes are safe, the names not yet: the caller tries all again. */
    rc = st->ndirs > 0 ? file_sync_dirs(st, &why) : RC_OK;
    if (rc != RC_OK) {
        for (size_t i = 0; i < n; i++) {
            if (objects[i].rc == RC_OK) {
                objects[i].rc = rc;
                objects[i].err = why;
            }
        }
    }

    file_forget_dirs(st);
    free(temp);
}


static rc_t
file_put(store_t *st, store_object_t *objects, size_t n, err_t *err)
{
    rc_t  worst = RC_OK;

    if (n == 0) {
        return RC_OK;
    }

    file_put_batch(st, objects, n);

    for (size_t i = 0; i < n; i++) {
        rc_t  rc = objects[i].rc;

        if (rc == RC_RETRY || (rc == RC_REJECT && worst == RC_OK)) {
            if (worst != rc && err != NULL) {
                *err = objects[i].err;
            }
            worst = rc;
        }
    }
    return worst;
}


static rc_t
file_probe(store_t *st, err_t *err)
{
    static const char  text[] = "sluice";

    char            temp[FILE_TEMP_MAX], name[FILE_TEMP_MAX];
    char            back[sizeof(text)];
    store_object_t  obj = { FILE_INCOMING "/probe", text, sizeof(text),
                            "text/plain", RC_OK, { "" } };
    rc_t            rc;

    file_temp_name(st, temp);
    file_temp_name(st, name);

    rc = file_write_temp(st, &obj, temp, 1, err);
    if (rc != RC_OK) {
        return rc;
    }

    if (renameat(st->incoming, temp, st->incoming, name) != 0) {
        rc = file_errno(st, err, "rename", obj.path);
        (void) unlinkat(st->incoming, temp, 0);
        return rc;
    }

    int      fd = openat(st->incoming, name, O_RDONLY | O_NOFOLLOW
                         | O_CLOEXEC);
    ssize_t  n = fd >= 0 ? read(fd, back, sizeof(back)) : -1;

    if (n < 0) {
        rc = file_errno(st, err, "read", obj.path);
    } else if (n != (ssize_t) sizeof(text)
               || memcmp(back, text, sizeof(text)) != 0)
    {
        rc = err_set(err, RC_RETRY, "store %s: what was written is not what "
                     "is read", st->path);
    }

    if (fd >= 0) {
        close(fd);
    }
    if (unlinkat(st->incoming, name, 0) != 0 && rc == RC_OK) {
        rc = file_errno(st, err, "remove", obj.path);
    }

    /* Objects' directories are made in the root, which .incoming isn't. */
    if (rc == RC_OK && faccessat(st->root, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        rc = file_errno(st, err, "write into", ".");
    }
    return rc;
}


static const conf_row_t  file_rows[] = {
    { "path", CONF_STR, offsetof(store_file_conf_t, path), NULL, 0, 0, NULL, 0,
      "Directory that holds the objects. It must exist, be writable and lie on "
      "one file system." },
    { NULL, CONF_STR, 0, NULL, 0, 0, NULL, 0, NULL }
};


const store_ops_t  store_file = {
    .name = "file",
    .rows = file_rows,
    .conf_size = sizeof(store_file_conf_t),
    .open = file_open,
    .probe = file_probe,
    .put = file_put,
    .begin = file_begin,
    .append = file_append,
    .commit = file_commit,
    .abort = file_abort,
    .stat = file_stat,
    .get = file_get,
    .read = file_read,
    .get_close = file_get_close,
    .remove = file_remove,
    .list = file_list,
    .list_dirs = file_list_dirs,
    .close = file_close,
};
