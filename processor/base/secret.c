/*
 * secret.c: a password out of a file.
 *
 * Owns the copy in memory until it is wiped.  Read at every connect, so that a
 * rotated password is taken over without a restart.
 */

#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

#define SECRET_MAX  4096


rc_t
secret_read(const char *path, char **secret, err_t *err)
{
    char     buf[SECRET_MAX];
    size_t   len = 0;
    ssize_t  n;

    if (path == NULL || path[0] == '\0') {
        *secret = NULL;
        return RC_OK;
    }

    int  fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return err_set(err, RC_RETRY, "password file %s: %s", path,
                       strerror(errno));
    }

    while (len < sizeof(buf)
           && (n = read(fd, buf + len, sizeof(buf) - len)) != 0)
    {
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            int  e = errno;

            close(fd);
            return err_set(err, RC_RETRY, "password file %s: %s", path,
                           strerror(e));
        }
        len += (size_t) n;
    }
    close(fd);

    char  *end = memchr(buf, '\n', len);

    if (end == NULL && len == sizeof(buf)) {
        return err_set(err, RC_RETRY, "password file %s: its first line is "
                       "too long", path);
    }
    if (end != NULL) {
        len = (size_t) (end - buf);
    }
    if (len > 0 && buf[len - 1] == '\r') {
        len--;
    }
    if (len == 0) {
        return err_set(err, RC_RETRY, "password file %s: its first line is "
                       "empty", path);
    }

    *secret = mem_strndup(buf, len);
    explicit_bzero(buf, sizeof(buf));
    return RC_OK;
}


void
secret_free(char *secret)
{
    if (secret != NULL) {
        explicit_bzero(secret, strlen(secret));
        free(secret);
    }
}
