/*
 * ngx_http_sluice_apikey.c: $sluice_api_key_hash, for a map of API keys.
 *
 * Owns the variable: SHA-256, in lower-case hex, of the header X-API-Key.  A
 * configuration then holds hashes and no keys, and what takes time in the
 * map's comparing tells nothing of a key.  A hash without salt is right for
 * keys that are long and random, and for nothing that a person chose.
 */

#include "ngx_http_sluice.h"

#include <openssl/evp.h>


static ngx_int_t ngx_http_sluice_apikey_hash(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


ngx_http_variable_t  ngx_http_sluice_apikey_vars[] = {

    { ngx_string("sluice_api_key_hash"), NULL, ngx_http_sluice_apikey_hash, 0,
      0, 0 },

      ngx_http_null_variable
};


static ngx_int_t
ngx_http_sluice_apikey_hash(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char       digest[EVP_MAX_MD_SIZE];
    ngx_str_t   *key;

    key = ngx_http_sluice_reply_get(r, "x-api-key");

    if (key == NULL || key->len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (!EVP_Digest(key->data, key->len, digest, NULL, EVP_sha256(), NULL)) {
        return NGX_ERROR;
    }

    v->data = ngx_pnalloc(r->pool, SLUICE_SHA256_HEX);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(v->data, digest, SLUICE_SHA256_LEN);

    v->len = SLUICE_SHA256_HEX;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
