/*
 * secret.h: a password out of a file.
 *
 * Secrets stand in files of their own or in what systemd's LoadCredential=
 * puts beside the process, never in argv, the environment or a DSN.
 */

#ifndef SLUICE_BASE_SECRET_H
#define SLUICE_BASE_SECRET_H

#include "base/err.h"

/*
 * The first line of the file, without its end.  *secret is owned; free it with
 * secret_free(), which wipes it and takes NULL.  An empty path gives NULL.
 * RC_RETRY when it can't be read: credentials are rotated while we run.
 */
rc_t secret_read(const char *path, char **secret, err_t *err);
void secret_free(char *secret);

#endif /* SLUICE_BASE_SECRET_H */
