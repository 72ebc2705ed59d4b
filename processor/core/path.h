/*
 * path.h: names of objects, set members and rows.
 *
 * Everything here is a function of window, customer, hash and type; nothing a
 * client says is part of it but its customer's name, percent-encoded outside
 * [A-Za-z0-9_-].
 */

#ifndef SLUICE_CORE_PATH_H
#define SLUICE_CORE_PATH_H

#include <stddef.h>
#include <stdint.h>

#include "core/record.h"

#define PATH_CUSTOMER_MAX  (SLUICE_CUSTOMER_MAX * 3 + 1)
#define PATH_MEMBER_MAX    (PATH_CUSTOMER_MAX + 1 + SLUICE_SHA256_HEX + 1)
#define PATH_PREFIX_MAX    256
#define PATH_OBJECT_MAX    1024
#define PATH_ID_LEN        37

/* <encoded customer>/<sha256>; an empty customer gives "/<sha256>". */
void path_member(const record_t *rec, char member[PATH_MEMBER_MAX]);

/*
 * The other way round.  Sets customer (decoded, NUL-terminated) and sha256.
 * 0, or -1 when it is no member of ours.
 */
int path_member_parse(const char *member, size_t len,
    char customer[SLUICE_CUSTOMER_MAX + 1],
    char sha256[SLUICE_SHA256_HEX + 1]);

/*
 * [prefix/][c-<customer>/]YYYY/MM/DD/HH/MM:SS/<sha256>.<ext>, the time being
 * the window's start, UTC.  prefix has passed path_prefix_is_valid().
 */
void path_object(const char *prefix, int64_t window_ms, const record_t *rec,
    char path[PATH_OBJECT_MAX]);

/*
 * 1 when path, len bytes, is what path_object() makes of rec for some valid
 * prefix and some time: a name by which the bytes may be stored already.  All
 * that is believed of it is the prefix and the time.
 */
int path_object_is(const char *path, size_t len, const record_t *rec);

/*
 * A prefix from the configuration: empty, or components of [A-Za-z0-9_.-] that
 * don't begin with a dot, no slash at either end, at most PATH_PREFIX_MAX; the
 * last doesn't begin with "c-", or it could be taken for a customer.
 */
int path_prefix_is_valid(const char *prefix);

/* "jpg" for image/jpeg; "bin" for what the table doesn't know. */
const char *path_extension(const char *type, size_t len);

/*
 * The row's public id: a UUID (version 8, RFC 9562 5.8) made of the first 16
 * bytes of SHA-256("<pipeline>\n<window ms>\n<customer>\n<sha256>").
 */
void path_id(const char *pipeline, int64_t window_ms, const char *customer,
    const char *sha256, char id[PATH_ID_LEN]);

#endif /* SLUICE_CORE_PATH_H */
