/*
 * record.h: one message of the uploads topic, read and checked.
 *
 * Turns a message's headers into typed, bounded fields, and refuses what could
 * be refused later by PostgreSQL or the store (UTF-8, NUL, lengths), so that a
 * poisoned record never blocks a close.  Borrows everything from the message.
 *
 * A message is a file with its bytes, or a reference: the name of bytes that
 * lie in the store already, with an empty value.
 */

#ifndef SLUICE_CORE_RECORD_H
#define SLUICE_CORE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sluice_wire.h"

#define RECORD_ID_MAX    128
#define RECORD_ONCE_MAX  (4 + SLUICE_IDEMPOTENCY_MAX)  /* bytes of once */
#define RECORD_TYPE_MAX  127
#define RECORD_TS_MAX    INT64_C(253402300799999)      /* the year 9999 */

typedef struct {
    const char  *name;                      /* NUL-terminated */
    const char  *value;                     /* not NUL-terminated */
    size_t       len;
} record_header_t;

typedef struct {
    /* set by who reads the message; borrowed from it */
    int32_t                 partition;
    int64_t                 offset;
    int64_t                 ts_ms;
    const void             *key;            /* NULL: the record has none */
    size_t                  key_len;
    const void             *value;          /* NULL: a null value */
    size_t                  len;
    const record_header_t  *headers;
    size_t                  nheaders;

    /* set by record_read(): slices of the headers */
    const char             *id;             /* ce_id */
    size_t                  id_len;
    const char             *name;           /* ce_subject, may be empty */
    size_t                  name_len;
    const char             *type;           /* content-type */
    size_t                  type_len;
    const char             *customer;       /* may be empty */
    size_t                  customer_len;
    int64_t                 size;           /* of the file */
    const char             *object;         /* ce_dataref; NULL: inline */
    size_t                  object_len;
    const char             *key_once;       /* ce_idempotencykey, or NULL */
    size_t                  key_once_len;
    int                     redriven;       /* how often; 0: never */
    char                    sha256[SLUICE_SHA256_HEX + 1];
} record_t;

/*
 * RC_OK, or RC_REJECT with the reason: unknown ce_type, missing or repeated
 * header, a hash that is not 64 lower-case hex digits or differs from the
 * key, invalid UTF-8, control or bidi characters, a value over its limit, a
 * size that is not the value's, a ce_dataref that is no name this record's
 * bytes could have, no timestamp.  ce_subject and ce_customer may be absent,
 * which is the same as empty.  The bytes are not hashed here.
 */
rc_t record_read(record_t *rec, err_t *err);

/*
 * Hash the value and compare with ce_sha256: RC_OK or RC_REJECT.  RC_OK for a
 * reference: whoever stored the bytes hashed them.
 */
rc_t record_verify(const record_t *rec, err_t *err);

/*
 * The name under which it counts once, for a record that can come twice by
 * right: "key:<Idempotency-Key>", or "id:<ce_id>" of a reference or of what
 * was put back.  Returns its length; 0: this record needs none.
 */
size_t record_once(const record_t *rec, char once[RECORD_ONCE_MAX + 1]);

#endif /* SLUICE_CORE_RECORD_H */
