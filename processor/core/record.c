/*
 * record.c: one message of the uploads topic, read and checked.
 *
 * Owns what a record must look like to be counted.  Does not hash unless
 * asked, log or decide where a refused record goes.
 *
 * The module writes only what passes here.  But a topic has other writers, and
 * a NUL in a name would make PostgreSQL refuse a whole window.
 */

#include "core/record.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "core/path.h"


typedef enum {
    RECORD_SPECVERSION,
    RECORD_TYPE,
    RECORD_ID,
    RECORD_SUBJECT,
    RECORD_CONTENT_TYPE,
    RECORD_CUSTOMER,
    RECORD_SHA256,
    RECORD_SIZE,
    RECORD_DATAREF,
    RECORD_IDEMPOTENCYKEY,
    RECORD_REDRIVEN,
    RECORD_HEADERS
} record_header_e;


static const struct {
    const char  *name;
    size_t       max;
    int          required;
} record_table[RECORD_HEADERS] = {
    [RECORD_SPECVERSION]  = { SLUICE_H_SPECVERSION, 16, 1 },
    [RECORD_TYPE]         = { SLUICE_H_TYPE, 64, 1 },
    [RECORD_ID]           = { SLUICE_H_ID, RECORD_ID_MAX, 1 },
    [RECORD_SUBJECT]      = { SLUICE_H_SUBJECT, SLUICE_NAME_MAX, 0 },
    [RECORD_CONTENT_TYPE] = { SLUICE_H_CONTENT_TYPE, RECORD_TYPE_MAX, 1 },
    [RECORD_CUSTOMER]     = { SLUICE_H_CUSTOMER, SLUICE_CUSTOMER_MAX, 0 },
    [RECORD_SHA256]       = { SLUICE_H_SHA256, SLUICE_SHA256_HEX, 1 },
    [RECORD_SIZE]         = { SLUICE_H_SIZE, 18, 1 },
    [RECORD_DATAREF]      = { SLUICE_H_DATAREF, PATH_OBJECT_MAX - 1, 0 },
    [RECORD_IDEMPOTENCYKEY] = { SLUICE_H_IDEMPOTENCYKEY,
                                SLUICE_IDEMPOTENCY_MAX, 0 },
    [RECORD_REDRIVEN]     = { SLUICE_H_REDRIVEN, 6, 0 },
};


static rc_t
record_collect(const record_t *rec, const record_header_t **found, err_t *err)
{
    for (size_t i = 0; i < rec->nheaders; i++) {
        const record_header_t  *h = &rec->headers[i];

        for (int k = 0; k < RECORD_HEADERS; k++) {
            if (strcmp(h->name, record_table[k].name) != 0) {
                continue;
            }
            if (found[k] != NULL) {
                return err_set(err, RC_REJECT, "header %s comes twice",
                               h->name);
            }
            if (h->len > record_table[k].max) {
                return err_set(err, RC_REJECT,
                               "header %s has %zu bytes, more than %zu",
                               h->name, h->len, record_table[k].max);
            }
            if (h->value == NULL || !utf8_text_is_plain(h->value, h->len)) {
                return err_set(err, RC_REJECT, "header %s is no UTF-8 text "
                               "without control characters", h->name);
            }
            found[k] = h;
        }
    }

    for (int k = 0; k < RECORD_HEADERS; k++) {
        if (record_table[k].required && found[k] == NULL) {
            return err_set(err, RC_REJECT, "header %s is missing",
                           record_table[k].name);
        }
    }
    return RC_OK;
}


static int
record_equals(const record_header_t *h, const char *s)
{
    return h->len == strlen(s) && memcmp(h->value, s, h->len) == 0;
}


/* Visible ASCII, at least one character. */
static int
record_is_token(const record_header_t *h)
{
    for (size_t i = 0; i < h->len; i++) {
        if (h->value[i] <= ' ' || h->value[i] > '~') {
            return 0;
        }
    }
    return h->len > 0;
}


static int
record_is_sha256(const record_header_t *h)
{
    for (size_t i = 0; i < h->len; i++) {
        char  c = h->value[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return 0;
        }
    }
    return h->len == SLUICE_SHA256_HEX;
}


/* Decimal, without sign or leading zeros, as we write it; -1: it is not. */
static int64_t
record_number(const record_header_t *h)
{
    int64_t  n = 0;

    if (h->len == 0 || (h->value[0] == '0' && h->len > 1)) {
        return -1;
    }

    for (size_t i = 0; i < h->len; i++) {
        if (h->value[i] < '0' || h->value[i] > '9') {
            return -1;
        }
        n = n * 10 + (h->value[i] - '0');
    }
    return n;
}


/* What every record has to have. */
static rc_t
record_check(const record_t *rec, const record_header_t **h, err_t *err)
{
    if (!record_equals(h[RECORD_SPECVERSION], SLUICE_SPECVERSION)) {
        return err_set(err, RC_REJECT, "%s is not %s", SLUICE_H_SPECVERSION,
                       SLUICE_SPECVERSION);
    }
    if (!record_is_token(h[RECORD_ID])) {
        return err_set(err, RC_REJECT, "%s is no visible ASCII text",
                       SLUICE_H_ID);
    }
    if (!record_is_token(h[RECORD_CONTENT_TYPE])) {
        return err_set(err, RC_REJECT, "%s is no visible ASCII text",
                       SLUICE_H_CONTENT_TYPE);
    }
    if (!record_is_sha256(h[RECORD_SHA256])) {
        return err_set(err, RC_REJECT, "%s is not 64 lower-case hex digits",
                       SLUICE_H_SHA256);
    }
    if (rec->key == NULL || rec->key_len != SLUICE_SHA256_HEX
        || memcmp(rec->key, h[RECORD_SHA256]->value, SLUICE_SHA256_HEX) != 0)
    {
        return err_set(err, RC_REJECT, "the key is not %s", SLUICE_H_SHA256);
    }
    if (rec->value == NULL) {
        return err_set(err, RC_REJECT, "the value is null");
    }
    if (rec->ts_ms < 0 || rec->ts_ms > RECORD_TS_MAX) {
        return err_set(err, RC_REJECT, "the timestamp %" PRId64 " is no time",
                       rec->ts_ms);
    }
    if (h[RECORD_IDEMPOTENCYKEY] != NULL && h[RECORD_IDEMPOTENCYKEY]->len == 0)
    {
        return err_set(err, RC_REJECT, "%s is empty", SLUICE_H_IDEMPOTENCYKEY);
    }
    if (h[RECORD_REDRIVEN] != NULL && rec->redriven < 1) {
        return err_set(err, RC_REJECT, "%s is no number from 1",
                       SLUICE_H_REDRIVEN);
    }
    return RC_OK;
}


static void
record_fill(record_t *rec, const record_header_t **h)
{
    const record_header_t  *once = h[RECORD_IDEMPOTENCYKEY];
    const record_header_t  *name = h[RECORD_SUBJECT];
    const record_header_t  *customer = h[RECORD_CUSTOMER];

    rec->id = h[RECORD_ID]->value;
    rec->id_len = h[RECORD_ID]->len;
    rec->type = h[RECORD_CONTENT_TYPE]->value;
    rec->type_len = h[RECORD_CONTENT_TYPE]->len;

    rec->name = name != NULL ? name->value : "";
    rec->name_len = name != NULL ? name->len : 0;
    rec->customer = customer != NULL ? customer->value : "";
    rec->customer_len = customer != NULL ? customer->len : 0;

    rec->size = record_number(h[RECORD_SIZE]);
    rec->object = NULL;
    rec->object_len = 0;
    rec->key_once = once != NULL ? once->value : NULL;
    rec->key_once_len = once != NULL ? once->len : 0;

    memcpy(rec->sha256, h[RECORD_SHA256]->value, SLUICE_SHA256_HEX);
    rec->sha256[SLUICE_SHA256_HEX] = '\0';
}


/* Its bytes are its value. */
static rc_t
record_read_file(record_t *rec, const record_header_t **h, err_t *err)
{
    if (h[RECORD_DATAREF] != NULL) {
        return err_set(err, RC_REJECT, "%s stands in a %s", SLUICE_H_DATAREF,
                       SLUICE_TYPE_FILE);
    }
    if (rec->size != (int64_t) rec->len) {
        return err_set(err, RC_REJECT, "%s is \"%.*s\", the value has %zu "
                       "bytes", SLUICE_H_SIZE, (int) h[RECORD_SIZE]->len,
                       h[RECORD_SIZE]->value, rec->len);
    }
    return RC_OK;
}


/* Its bytes lie in the store, and only where they could have been put. */
static rc_t
record_read_reference(record_t *rec, const record_header_t **h, err_t *err)
{
    const record_header_t  *object = h[RECORD_DATAREF];

    if (object == NULL) {
        return err_set(err, RC_REJECT, "header %s is missing",
                       SLUICE_H_DATAREF);
    }
    if (!path_object_is(object->value, object->len, rec)) {
        return err_set(err, RC_REJECT, "%s is no name of an object with this "
                       "customer, hash and type", SLUICE_H_DATAREF);
    }
    if (rec->size < 0) {
        return err_set(err, RC_REJECT, "%s is no number of bytes",
                       SLUICE_H_SIZE);
    }
    if (rec->len != 0) {
        return err_set(err, RC_REJECT, "a %s has a value of %zu bytes",
                       SLUICE_TYPE_REFERENCE, rec->len);
    }

    rec->object = object->value;
    rec->object_len = object->len;
    return RC_OK;
}


rc_t
record_read(record_t *rec, err_t *err)
{
    const record_header_t  *h[RECORD_HEADERS] = { NULL };
    rc_t                    rc = record_collect(rec, h, err);

    /* Also of what is refused: its next letter says so. */
    rec->redriven = h[RECORD_REDRIVEN] != NULL
                    ? (int) record_number(h[RECORD_REDRIVEN]) : 0;

    if (rc == RC_OK) {
        rc = record_check(rec, h, err);
    }
    if (rc != RC_OK) {
        return rc;
    }

    record_fill(rec, h);

    if (record_equals(h[RECORD_TYPE], SLUICE_TYPE_FILE)) {
        return record_read_file(rec, h, err);
    }
    if (record_equals(h[RECORD_TYPE], SLUICE_TYPE_REFERENCE)) {
        return record_read_reference(rec, h, err);
    }

    return err_set(err, RC_REJECT, "%s is \"%.*s\", not %s or %s",
                   SLUICE_H_TYPE, (int) h[RECORD_TYPE]->len,
                   h[RECORD_TYPE]->value, SLUICE_TYPE_FILE,
                   SLUICE_TYPE_REFERENCE);
}


size_t
record_once(const record_t *rec, char once[RECORD_ONCE_MAX + 1])
{
    int  n = 0;

    if (rec->key_once != NULL) {
        n = snprintf(once, RECORD_ONCE_MAX + 1, "key:%.*s",
                     (int) rec->key_once_len, rec->key_once);

    } else if (rec->object != NULL || rec->redriven > 0) {
        n = snprintf(once, RECORD_ONCE_MAX + 1, "id:%.*s", (int) rec->id_len,
                     rec->id);
    }
    return (size_t) n;
}


rc_t
record_verify(const record_t *rec, err_t *err)
{
    static const char  digits[] = "0123456789abcdef";

    unsigned char  hash[EVP_MAX_MD_SIZE];
    char           hex[SLUICE_SHA256_HEX + 1];
    int            ok;

    if (rec->object != NULL) {
        return RC_OK;
    }

    ok = EVP_Digest(rec->value, rec->len, hash, NULL, EVP_sha256(), NULL);
    if (ok != 1) {
        return err_set(err, RC_RETRY, "OpenSSL can't compute SHA-256");
    }

    for (int i = 0; i < SLUICE_SHA256_LEN; i++) {
        hex[2 * i] = digits[hash[i] >> 4];
        hex[2 * i + 1] = digits[hash[i] & 15];
    }
    hex[SLUICE_SHA256_HEX] = '\0';

    if (memcmp(hex, rec->sha256, SLUICE_SHA256_HEX) != 0) {
        return err_set(err, RC_REJECT, "the bytes hash to %.12s, %s says "
                       "%.12s", hex, SLUICE_H_SHA256, rec->sha256);
    }
    return RC_OK;
}
