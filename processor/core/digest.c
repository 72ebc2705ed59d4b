/*
 * digest.c: SHA-256 of bytes that come in pieces.
 *
 * OpenSSL without a usable SHA-256 ends the process, as being without memory
 * does: nothing could be verified.
 */

#include "core/digest.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/mem.h"

struct digest_s {
    EVP_MD_CTX  *md;
};


digest_t *
digest_new(void)
{
    digest_t  *digest = mem_alloc(sizeof(*digest));

    digest->md = EVP_MD_CTX_new();
    if (digest->md == NULL
        || EVP_DigestInit_ex(digest->md, EVP_sha256(), NULL) != 1)
    {
        abort();
    }
    return digest;
}


void
digest_add(digest_t *digest, const void *data, size_t len)
{
    if (EVP_DigestUpdate(digest->md, data, len) != 1) {
        abort();
    }
}


void
digest_end(digest_t *digest, char hex[SLUICE_SHA256_HEX + 1])
{
    static const char  digits[] = "0123456789abcdef";

    unsigned char  hash[EVP_MAX_MD_SIZE];

    if (EVP_DigestFinal_ex(digest->md, hash, NULL) != 1) {
        abort();
    }
    for (int i = 0; i < SLUICE_SHA256_LEN; i++) {
        hex[2 * i] = digits[hash[i] >> 4];
        hex[2 * i + 1] = digits[hash[i] & 15];
    }
    hex[SLUICE_SHA256_HEX] = '\0';
}


void
digest_free(digest_t *digest)
{
    if (digest != NULL) {
        EVP_MD_CTX_free(digest->md);
        free(digest);
    }
}
