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


typedef enum {
    RECORD_SPECVERSION,
    RECORD_TYPE,
    RECORD_ID,
    RECORD_SUBJECT,
    RECORD_CONTENT_TYPE,
    RECORD_CUSTOMER,
    RECORD_SHA256,
    RECORD_SIZE,
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
    [RECORD_SIZE]         = { SLUICE_H_SIZE, 20, 1 },
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


/* ce_size as the module writes it: decimal, without leading zeros. */
static int
record_size_is(const record_header_t *h, size_t len)
{
    char  text[24];

    (void) snprintf(text, sizeof(text), "%zu", len);

    return record_equals(h, text);
}


rc_t
record_read(record_t *rec, err_t *err)
{
    const record_header_t  *h[RECORD_HEADERS] = { NULL };
    rc_t                    rc = record_collect(rec, h, err);

    if (rc != RC_OK) {
        return rc;
    }

    if (!record_equals(h[RECORD_SPECVERSION], SLUICE_SPECVERSION)) {
        return err_set(err, RC_REJECT, "%s is not %s", SLUICE_H_SPECVERSION,
                       SLUICE_SPECVERSION);
    }
    if (!record_equals(h[RECORD_TYPE], SLUICE_TYPE_FILE)) {
        return err_set(err, RC_REJECT, "%s is \"%.*s\", not %s", SLUICE_H_TYPE,
                       (int) h[RECORD_TYPE]->len, h[RECORD_TYPE]->value,
                       SLUICE_TYPE_FILE);
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
    if (!record_size_is(h[RECORD_SIZE], rec->len)) {
        return err_set(err, RC_REJECT, "%s is \"%.*s\", the value has %zu "
                       "bytes", SLUICE_H_SIZE, (int) h[RECORD_SIZE]->len,
                       h[RECORD_SIZE]->value, rec->len);
    }
    if (rec->ts_ms < 0 || rec->ts_ms > RECORD_TS_MAX) {
        return err_set(err, RC_REJECT, "the timestamp %" PRId64 " is no time",
                       rec->ts_ms);
    }

    rec->id = h[RECORD_ID]->value;
    rec->id_len = h[RECORD_ID]->len;
    rec->type = h[RECORD_CONTENT_TYPE]->value;
    rec->type_len = h[RECORD_CONTENT_TYPE]->len;

    rec->name = h[RECORD_SUBJECT] != NULL ? h[RECORD_SUBJECT]->value : "";
    rec->name_len = h[RECORD_SUBJECT] != NULL ? h[RECORD_SUBJECT]->len : 0;
    rec->customer = h[RECORD_CUSTOMER] != NULL ? h[RECORD_CUSTOMER]->value
                                               : "";
    rec->customer_len = h[RECORD_CUSTOMER] != NULL ? h[RECORD_CUSTOMER]->len
                                                   : 0;

    memcpy(rec->sha256, h[RECORD_SHA256]->value, SLUICE_SHA256_HEX);
    rec->sha256[SLUICE_SHA256_HEX] = '\0';
    return RC_OK;
}


rc_t
record_verify(const record_t *rec, err_t *err)
{
    static const char  digits[] = "0123456789abcdef";

    unsigned char  hash[EVP_MAX_MD_SIZE];
    char           hex[SLUICE_SHA256_HEX + 1];
    int            ok;

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
