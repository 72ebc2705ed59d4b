/*
 * chunk.c: one message of the chunks topic, read and checked.
 *
 * Owns what a piece of a file must say about itself.  Does not know what came
 * before it: order, sums and hashes are for who puts the pieces together.
 */

#include "core/chunk.h"

#include <string.h>


typedef enum {
    CHUNK_SPECVERSION,
    CHUNK_TYPE,
    CHUNK_ID,
    CHUNK_CONTENT_TYPE,
    CHUNK_CUSTOMER,
    CHUNK_NUMBER,
    CHUNK_LAST,
    CHUNK_SHA256,
    CHUNK_SIZE,
    CHUNK_HEADERS
} chunk_header_e;


static const struct {
    const char  *name;
    size_t       max;
} chunk_table[CHUNK_HEADERS] = {
    [CHUNK_SPECVERSION]  = { SLUICE_H_SPECVERSION, 16 },
    [CHUNK_TYPE]         = { SLUICE_H_TYPE, 64 },
    [CHUNK_ID]           = { SLUICE_H_ID, RECORD_ID_MAX },
    [CHUNK_CONTENT_TYPE] = { SLUICE_H_CONTENT_TYPE, RECORD_TYPE_MAX },
    [CHUNK_CUSTOMER]     = { SLUICE_H_CUSTOMER, SLUICE_CUSTOMER_MAX },
    [CHUNK_NUMBER]       = { SLUICE_H_CHUNK, 20 },
    [CHUNK_LAST]         = { SLUICE_H_LAST, 8 },
    [CHUNK_SHA256]       = { SLUICE_H_SHA256, SLUICE_SHA256_HEX },
    [CHUNK_SIZE]         = { SLUICE_H_SIZE, 20 },
};


int
chunk_header_is_own(const char *name)
{
    return strcmp(name, SLUICE_H_TYPE) == 0
           || strcmp(name, SLUICE_H_CHUNK) == 0
           || strcmp(name, SLUICE_H_LAST) == 0;
}


static rc_t
chunk_collect(const record_t *rec, const record_header_t **found, err_t *err)
{
    for (size_t i = 0; i < rec->nheaders; i++) {
        const record_header_t  *h = &rec->headers[i];

        for (int k = 0; k < CHUNK_HEADERS; k++) {
            if (strcmp(h->name, chunk_table[k].name) != 0) {
                continue;
            }
            if (found[k] != NULL) {
                return err_set(err, RC_REJECT, "header %s comes twice",
                               h->name);
            }
            if (h->value == NULL || h->len > chunk_table[k].max) {
                return err_set(err, RC_REJECT,
                               "header %s has %zu bytes, more than %zu",
                               h->name, h->len, chunk_table[k].max);
            }
            found[k] = h;
        }
    }
    return RC_OK;
}


static int
chunk_equals(const record_header_t *h, const char *s)
{
    return h != NULL && h->len == strlen(s) && memcmp(h->value, s, h->len) == 0;
}


/* Visible ASCII, at least one character. */
static int
chunk_is_token(const record_header_t *h)
{
    if (h == NULL || h->len == 0) {
        return 0;
    }
    for (size_t i = 0; i < h->len; i++) {
        if (h->value[i] <= ' ' || h->value[i] > '~') {
            return 0;
        }
    }
    return 1;
}


/* Decimal without leading zeros, as the module writes it.  0, or -1. */
static int
chunk_number(const record_header_t *h, uint64_t max, uint64_t *out)
{
    uint64_t  n = 0;

    if (h == NULL || h->len == 0 || (h->value[0] == '0' && h->len > 1)) {
        return -1;
    }
    for (size_t i = 0; i < h->len; i++) {
        if (h->value[i] < '0' || h->value[i] > '9') {
            return -1;
        }
        n = n * 10 + (uint64_t) (h->value[i] - '0');
        if (n > max) {
            return -1;
        }
    }
    *out = n;
    return 0;
}


static int
chunk_is_sha256(const record_header_t *h)
{
    if (h == NULL || h->len != SLUICE_SHA256_HEX) {
        return 0;
    }
    for (size_t i = 0; i < h->len; i++) {
        char  c = h->value[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return 0;
        }
    }
    return 1;
}


static rc_t
chunk_read_piece(const record_t *rec, const record_header_t **h,
    chunk_t *chunk, err_t *err)
{
    if (rec->value == NULL) {
        return err_set(err, RC_REJECT, "the value is null");
    }
    if (!chunk_is_token(h[CHUNK_CONTENT_TYPE])) {
        return err_set(err, RC_REJECT, "%s is no visible ASCII text",
                       SLUICE_H_CONTENT_TYPE);
    }
    if (chunk_number(h[CHUNK_NUMBER], CHUNK_NUMBER_MAX, &chunk->number) != 0) {
        return err_set(err, RC_REJECT, "%s is no number", SLUICE_H_CHUNK);
    }

    chunk->type = h[CHUNK_CONTENT_TYPE]->value;
    chunk->type_len = h[CHUNK_CONTENT_TYPE]->len;

    if (h[CHUNK_LAST] == NULL) {
        return RC_OK;
    }
    if (!chunk_equals(h[CHUNK_LAST], SLUICE_LAST)) {
        return err_set(err, RC_REJECT, "%s is not %s", SLUICE_H_LAST,
                       SLUICE_LAST);
    }
    if (!chunk_is_sha256(h[CHUNK_SHA256])) {
        return err_set(err, RC_REJECT, "%s is not 64 lower-case hex digits",
                       SLUICE_H_SHA256);
    }
    if (chunk_number(h[CHUNK_SIZE], CHUNK_SIZE_MAX, &chunk->size) != 0) {
        return err_set(err, RC_REJECT, "%s is no number", SLUICE_H_SIZE);
    }

    chunk->is_last = 1;
    memcpy(chunk->sha256, h[CHUNK_SHA256]->value, SLUICE_SHA256_HEX);
    return RC_OK;
}


rc_t
chunk_read(const record_t *rec, chunk_t *chunk, err_t *err)
{
    const record_header_t  *h[CHUNK_HEADERS] = { NULL };
    rc_t                    rc = chunk_collect(rec, h, err);

    memset(chunk, 0, sizeof(*chunk));

    if (rc != RC_OK) {
        return rc;
    }
    if (!chunk_equals(h[CHUNK_SPECVERSION], SLUICE_SPECVERSION)) {
        return err_set(err, RC_REJECT, "%s is not %s", SLUICE_H_SPECVERSION,
                       SLUICE_SPECVERSION);
    }
    if (!chunk_is_token(h[CHUNK_ID])) {
        return err_set(err, RC_REJECT, "%s is no visible ASCII text",
                       SLUICE_H_ID);
    }
    if (rec->key == NULL || rec->key_len != h[CHUNK_ID]->len
        || memcmp(rec->key, h[CHUNK_ID]->value, rec->key_len) != 0)
    {
        return err_set(err, RC_REJECT, "the key is not %s", SLUICE_H_ID);
    }

    chunk->id = h[CHUNK_ID]->value;
    chunk->id_len = h[CHUNK_ID]->len;
    chunk->type = "";
    chunk->customer = "";
    if (h[CHUNK_CUSTOMER] != NULL) {
        chunk->customer = h[CHUNK_CUSTOMER]->value;
        chunk->customer_len = h[CHUNK_CUSTOMER]->len;
    }

    if (chunk_equals(h[CHUNK_TYPE], SLUICE_TYPE_CHUNK)) {
        return chunk_read_piece(rec, h, chunk, err);
    }
    if (!chunk_equals(h[CHUNK_TYPE], SLUICE_TYPE_ABORT)) {
        return err_set(err, RC_REJECT, "%s is neither %s nor %s",
                       SLUICE_H_TYPE, SLUICE_TYPE_CHUNK, SLUICE_TYPE_ABORT);
    }
    if (rec->len > 0) {
        return err_set(err, RC_REJECT, "%s has bytes", SLUICE_TYPE_ABORT);
    }
    chunk->is_abort = 1;
    return RC_OK;
}
