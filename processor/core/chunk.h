/*
 * chunk.h: one message of the chunks topic, read and checked.
 *
 * A piece of a large file, or the mark that there will be no more of it:
 * docs/design.md, section 2, "Large files".  Only what putting the pieces
 * together needs; the rest of the headers is checked as the reference that
 * they become.  Borrows everything from the message.
 */

#ifndef SLUICE_CORE_CHUNK_H
#define SLUICE_CORE_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/record.h"

#define CHUNK_NUMBER_MAX  UINT64_C(1000000000)
#define CHUNK_SIZE_MAX    UINT64_C(1000000000000000)

typedef struct {
    int          is_abort;
    const char  *id;                    /* ce_id, which is the key */
    size_t       id_len;
    const char  *customer;              /* may be empty */
    size_t       customer_len;
    const char  *type;                  /* content-type; empty in an abort */
    size_t       type_len;
    uint64_t     number;                /* ce_chunk */
    int          is_last;
    uint64_t     size;                  /* of the whole file, with is_last */
    char         sha256[SLUICE_SHA256_HEX + 1];          /* the same */
} chunk_t;

/*
 * RC_OK, or RC_REJECT with the reason: another ce_type, a header missing,
 * twice or too long, a number that is none, a key that is not ce_id, a null
 * value or, in an abort, one that has bytes.
 */
rc_t chunk_read(const record_t *rec, chunk_t *chunk, err_t *err);

/* Whether the header is a piece's own, and not the file's. */
int chunk_header_is_own(const char *name);

#endif /* SLUICE_CORE_CHUNK_H */
