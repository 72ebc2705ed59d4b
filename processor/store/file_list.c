/*
 * file_list.c: finding and removing objects of the directory store.
 *
 * Owns the walk through the tree, in the order of the paths' bytes, and what
 * becomes of directories that removals leave empty.  Never decides what is to
 * go.
 *
 * A directory is read whole and sorted before the first of it is told: order
 * is what lets a listing go on where it ended.  Its names lie in one block, 80
 * bytes an object.
 *
 * Whatever begins with a dot is not an object: .incoming and what others left.
 */

#include "store/file_local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define FILE_PATH_MAX   4096
#define FILE_DEPTH_MAX  32             /* our grammar has less than 20 */

typedef struct {
    char    *text;                     /* names, each ended by NUL */
    size_t   len, cap;
    size_t  *at;                       /* where each begins */
    size_t   n, n_cap;
} file_names_t;


typedef struct {
    const store_t   *st;
    const char      *after;
    store_found_pt   found;
    void            *ctx;
    int              ended;            /* found() said so */
    int              depth;
    char             path[FILE_PATH_MAX];
} file_walk_t;


static void
file_names_free(file_names_t *names)
{
    free(names->text);
    free(names->at);
}


/* A directory's has a slash at its end: that is where it is in the order. */
static void
file_names_add(file_names_t *names, const char *name, int is_dir)
{
    size_t  len = strlen(name);

    if (names->len + len + 2 > names->cap) {
        names->cap = names->cap * 2 + 4096;
        names->text = mem_grow(names->text, names->cap, 1);
    }
    if (names->n == names->n_cap) {
        names->n_cap = names->n_cap * 2 + 64;
        names->at = mem_grow(names->at, names->n_cap, sizeof(*names->at));
    }

    names->at[names->n++] = names->len;
    memcpy(names->text + names->len, name, len);
    names->len += len;
    if (is_dir) {
        names->text[names->len++] = '/';
    }
    names->text[names->len++] = '\0';
}


static int
file_names_order(const void *a, const void *b, void *text)
{
    return strcmp((char *) text + *(const size_t *) a,
                  (char *) text + *(const size_t *) b);
}


/* Whether the entry is a directory (1), a file (0) or nothing for us (-1). */
static int
file_entry_kind(int dir, const struct dirent *entry)
{
    struct stat  sb;

    if (entry->d_name[0] == '.') {
        return -1;
    }
    if (entry->d_type == DT_DIR) {
        return 1;
    }
    if (entry->d_type == DT_REG) {
        return 0;
    }
    if (entry->d_type != DT_UNKNOWN
        || fstatat(dir, entry->d_name, &sb, AT_SYMLINK_NOFOLLOW) != 0)
    {
        return -1;
    }
    return S_ISDIR(sb.st_mode) ? 1 : S_ISREG(sb.st_mode) ? 0 : -1;
}


/* fd is taken.  -1 and errno when the directory can't be read. */
static int
file_names_read(int fd, file_names_t *names)
{
    struct dirent  *entry;
    DIR            *dir = fdopendir(fd);
    int             e;

    if (dir == NULL) {
        e = errno;
        close(fd);
        errno = e;
        return -1;
    }

    while (errno = 0, (entry = readdir(dir)) != NULL) {
        int  kind = file_entry_kind(fd, entry);

        if (kind >= 0) {
            file_names_add(names, entry->d_name, kind);
        }
    }

    e = errno;
    closedir(dir);
    if (e != 0) {
        errno = e;
        return -1;
    }

    if (names->n > 0) {
        qsort_r(names->at, names->n, sizeof(*names->at), file_names_order,
                names->text);
    }
    return 0;
}


/* One that was removed in the meantime has nothing to tell. */
static int
file_is_gone(void)
{
    return errno == ENOENT || errno == ENOTDIR;
}


static int
file_walk_one(file_walk_t *w, int dir, const char *name)
{
    struct stat   sb;
    store_stat_t  st;

    if (fstatat(dir, name, &sb, AT_SYMLINK_NOFOLLOW) != 0) {
        return file_is_gone() ? 0 : -1;
    }

    st.size = (uint64_t) sb.st_size;
    st.mtime_ms = (int64_t) sb.st_mtim.tv_sec * 1000
                  + sb.st_mtim.tv_nsec / 1000000;
    w->ended = w->found(w->ctx, w->path, &st) != 0;
    return 0;
}


/*
 * All below the directory dir, which is taken and whose path is the first len
 * bytes of w->path, without a slash at the end.  0, or -1 and errno.
 */
static int
file_walk(file_walk_t *w, int dir, size_t len)
{
    file_names_t  names = { 0 };
    int           own, rc = -1, e;

    if (++w->depth > FILE_DEPTH_MAX) {
        errno = ELOOP;
        goto done;
    }

    own = dup(dir);
    if (own < 0 || file_names_read(own, &names) != 0) {
        goto done;
    }

    for (size_t i = 0; i < names.n && !w->ended; i++) {
        char    *name = names.text + names.at[i];
        size_t   n = strlen(name), at = len;
        int      is_dir = name[n - 1] == '/';

        if (len + n + 2 > FILE_PATH_MAX) {
            errno = ENAMETOOLONG;
            goto done;
        }
        if (at > 0) {
            w->path[at++] = '/';
        }
        memcpy(w->path + at, name, n + 1);

        /* All below a directory begins with its path and the slash. */
        if (strcmp(w->path, w->after) <= 0
            && !(is_dir && strncmp(w->path, w->after, at + n) == 0))
        {
            continue;
        }

        if (!is_dir) {
            if (file_walk_one(w, dir, name) != 0) {
                goto done;
            }
            continue;
        }

        name[n - 1] = '\0';
        w->path[at + n - 1] = '\0';

        int  below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW
                            | O_CLOEXEC);

        if (below < 0 ? !file_is_gone()
                      : file_walk(w, below, at + n - 1) != 0)
        {
            goto done;
        }
    }

    rc = 0;

done:
    e = errno;
    w->depth--;
    close(dir);
    file_names_free(&names);
    errno = e;
    return rc;
}


/* The prefix's directory; *rc is RC_OK with -1 when there is none. */
static int
file_list_open(const store_t *st, const char *prefix, rc_t *rc, err_t *err)
{
    int  fd;

    *rc = RC_OK;

    if (prefix[0] != '\0'
        && (!file_path_is_valid(prefix) || strlen(prefix) >= FILE_PATH_MAX))
    {
        *rc = err_set(err, RC_REJECT, "store %s: %s is no path of ours",
                      st->path, prefix);
        return -1;
    }

    fd = file_find_dir(st, prefix, strlen(prefix));
    if (fd < 0 && !file_is_gone()) {
        *rc = file_errno(st, err, "open", prefix);
    }
    return fd;
}


rc_t
file_list(store_t *st, const char *prefix, const char *after,
    store_found_pt found, void *ctx, err_t *err)
{
    file_walk_t  *w;
    rc_t          rc;
    int           fd = file_list_open(st, prefix, &rc, err);

    if (fd < 0) {
        return rc;
    }

    w = mem_zalloc(sizeof(*w));
    w->st = st;
    w->after = after != NULL ? after : "";
    w->found = found;
    w->ctx = ctx;
    memcpy(w->path, prefix, strlen(prefix) + 1);

    if (file_walk(w, fd, strlen(prefix)) != 0) {
        rc = file_errno(st, err, "list", w->path);
    }

    free(w);
    return rc;
}


rc_t
file_list_dirs(store_t *st, const char *prefix, store_found_pt found,
    void *ctx, err_t *err)
{
    const store_stat_t  none = { 0, 0 };

    file_names_t  names = { 0 };
    char         *path;
    rc_t          rc;
    int           ended = 0, fd = file_list_open(st, prefix, &rc, err);

    if (fd < 0) {
        return rc;
    }
    if (file_names_read(fd, &names) != 0) {
        rc = file_errno(st, err, "list", prefix);
    }

    for (size_t i = 0; i < names.n && rc == RC_OK && !ended; i++) {
        char    *name = names.text + names.at[i];
        size_t   n = strlen(name);

        if (name[n - 1] == '/') {
            name[n - 1] = '\0';
            path = mem_printf("%s%s%s", prefix, prefix[0] != '\0' ? "/" : "",
                              name);
            ended = found(ctx, path, &none) != 0;
            free(path);
        }
    }

    file_names_free(&names);
    return rc;
}


/*
 * Takes the directories away that path's removal left empty, the deepest
 * first.  A lane that is putting into one of them at this moment makes it
 * again: its rename fails and is tried once more.
 */
static void
file_remove_empty(const store_t *st, const char *path)
{
    size_t  len = strlen(path);

    for ( ;; ) {
        const char  *slash = memrchr(path, '/', len);

        if (slash == NULL) {
            return;
        }

        const char  *above = memrchr(path, '/', (size_t) (slash - path));
        const char  *name = above != NULL ? above + 1 : path;
        char        *own = mem_strndup(name, (size_t) (slash - name));
        int          fd, gone;

        fd = file_find_dir(st, path,
                           above != NULL ? (size_t) (above - path) : 0);
        gone = fd >= 0 && unlinkat(fd, own, AT_REMOVEDIR) == 0;

        if (fd >= 0) {
            close(fd);
        }
        free(own);
        if (!gone) {
            return;
        }
        len = (size_t) (slash - path);
    }
}


static rc_t
file_remove_one(const store_t *st, const char *path, err_t *err)
{
    const char  *slash = strrchr(path, '/');
    size_t       len = slash != NULL ? (size_t) (slash - path) : 0;
    rc_t         rc = RC_OK;
    int          fd;

    if (!file_path_is_valid(path)) {
        return err_set(err, RC_REJECT, "store %s: %s is no object's name",
                       st->path, path);
    }

    fd = file_find_dir(st, path, len);
    if (fd < 0) {
        return file_is_gone() ? RC_OK
                              : file_errno(st, err, "open the directory of",
                                           path);
    }

    if (unlinkat(fd, slash != NULL ? slash + 1 : path, 0) != 0
        && !file_is_gone())
    {
        rc = file_errno(st, err, "remove", path);
    }
    close(fd);

    if (rc == RC_OK && slash != NULL) {
        file_remove_empty(st, path);
    }
    return rc;
}


rc_t
file_remove(store_t *st, const char *const *paths, size_t n, err_t *err)
{
    rc_t   worst = RC_OK;
    err_t  why;

    for (size_t i = 0; i < n; i++) {
        rc_t  rc = file_remove_one(st, paths[i], &why);

        if (rc == RC_RETRY || (rc == RC_REJECT && worst == RC_OK)) {
            if (worst != rc && err != NULL) {
                *err = why;
            }
            worst = rc;
        }
    }

    if (worst != RC_RETRY && n > 0 && syncfs(st->root) != 0) {
        worst = file_errno(st, err, "sync", ".");
    }
    return worst;
}
