/*
 * file_local.h: what the files of the directory store share; nobody else
 * includes it.
 *
 *   file.c         the store, and objects in batches
 *   file_dirs.c    directories, and names in them
 *   file_stream.c  objects in pieces, and reading
 *   file_list.c    finding and removing them
 */

#ifndef SLUICE_STORE_FILE_LOCAL_H
#define SLUICE_STORE_FILE_LOCAL_H

#include "store/file.h"

#define FILE_INCOMING   ".incoming"
#define FILE_TEMP_MAX   48
#define FILE_KNOWN      1024           /* a power of two */


/* Which directory, whatever its path; ino 0: unknown. */
typedef struct {
    uint64_t  ino;
    int64_t   birth_s;
    uint32_t  birth_ns;
} file_known_t;

/* A directory that objects of the batch lie in, or one on the way to it. */
typedef struct {
    char          *path;         /* relative to the root; "" is the root */
    int            fd;
    int            changed;      /* holds a name that may not be durable */
    file_known_t   known;
} file_dir_t;


struct store_s {
    const char  *path;           /* borrowed from the configuration */
    int          root;
    int          incoming;
    uint64_t     random;         /* in temporary names: ours alone */
    uint64_t     count;
    int          keeps;          /* the kernel can't but keep what is written */

    file_dir_t  *dirs;           /* of the batch at hand */
    size_t       ndirs, dirs_cap;
    int          many;           /* there were more, already forgotten */

    file_known_t  known[FILE_KNOWN];  /* their names are durable */
};


/* file.c */

/* errno's words.  RC_REJECT for a name that no disk holds, else RC_RETRY. */
rc_t file_errno(const store_t *st, err_t *err, const char *what,
    const char *path);
/* Relative, no empty component, none that begins with a dot. */
int file_path_is_valid(const char *path);
void file_temp_name(store_t *st, char name[FILE_TEMP_MAX]);
/* A new file in .incoming, or -1 and errno. */
int file_create_temp(store_t *st, const char *temp);
/* 0, or -1 and errno. */
int file_write_all(int fd, const void *bytes, size_t len);

/* file_dirs.c */

/* Opens a directory below parent, making it when it isn't there. */
int file_open_dir(int parent, const char *name);

/*
 * Gives a temporary file its name, making directories on the way; they are
 * remembered until they are synced, and then to be forgotten.
 */
rc_t file_rename(store_t *st, const char *path, const char *temp, err_t *err);
rc_t file_sync_dirs(store_t *st, err_t *err);
void file_forget_dirs(store_t *st);

/* file_stream.c */

/*
 * The directory that the first len bytes of path name, opened without
 * following links and without making anything; -1 and errno.  "" is the root.
 */
int file_find_dir(const store_t *st, const char *path, size_t len);

rc_t file_begin(store_t *st, const char *path, const char *type,
    store_put_t **put, err_t *err);
rc_t file_append(store_put_t *put, const void *data, size_t len, err_t *err);
rc_t file_commit(store_put_t *put, err_t *err);
void file_abort(store_put_t *put);
rc_t file_stat(store_t *st, const char *path, store_stat_t *stat, err_t *err);
rc_t file_get(store_t *st, const char *path, uint64_t offset,
    store_get_t **get, err_t *err);
rc_t file_read(store_get_t *get, void *buf, size_t len, size_t *n,
    err_t *err);
void file_get_close(store_get_t *get);

/* file_list.c */
rc_t file_remove(store_t *st, const char *const *paths, size_t n, err_t *err);
rc_t file_list(store_t *st, const char *prefix, const char *after,
    store_found_pt found, void *ctx, err_t *err);
rc_t file_list_dirs(store_t *st, const char *prefix, store_found_pt found,
    void *ctx, err_t *err);

#endif /* SLUICE_STORE_FILE_LOCAL_H */
