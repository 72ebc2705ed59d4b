/*
 * idempotency_key.c: the key in an Idempotency-Key header.
 *
 * Owns its grammar.  What the key is good for is said in docs/design.md.
 */

#include "idempotency_key.h"


static size_t
sluice_idempotency_key_quoted(char *key, const char *p, const char *last)
{
    size_t  n;

    for (n = 0; p < last && *p != '"'; p++) {

        if (*p == '\\') {
            p++;

            if (p == last || (*p != '"' && *p != '\\')) {
                return 0;
            }
        }

        if (*p < 0x20 || *p > 0x7e || n == SLUICE_IDEMPOTENCY_KEY_MAX) {
            return 0;
        }

        key[n++] = *p;
    }

    if (p == last) {
        return 0;
    }

    /* parameters, which say nothing here; a comma would begin another key */

    for (p++; p < last; p++) {
        if (*p < 0x20 || *p > 0x7e || *p == ',') {
            return 0;
        }
    }

    return n;
}


/* As clients send it that do not quote: what could be more than a key isn't. */
static size_t
sluice_idempotency_key_bare(char *key, const char *p, const char *last)
{
    size_t  n;

    for (n = 0; p < last; p++) {

        if (*p <= 0x20 || *p > 0x7e || *p == '"' || *p == '\\' || *p == ','
            || *p == ';' || n == SLUICE_IDEMPOTENCY_KEY_MAX)
        {
            return 0;
        }

        key[n++] = *p;
    }

    return n;
}


size_t
sluice_idempotency_key(char *key, const char *value, size_t len)
{
    const char  *last;

    last = value + len;

    while (value < last && (*value == ' ' || *value == '\t')) {
        value++;
    }

    while (value < last && (last[-1] == ' ' || last[-1] == '\t')) {
        last--;
    }

    if (value < last && *value == '"') {
        return sluice_idempotency_key_quoted(key, value + 1, last);
    }

    return sluice_idempotency_key_bare(key, value, last);
}
