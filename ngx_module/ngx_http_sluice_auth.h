/*
 * ngx_http_sluice_auth.h: signed tokens, as nginx's half of jws.h and jwt.h.
 *
 * A location names key files; a token is verified by what they hold when it
 * comes.  Who may pass is ngx_http_sluice_jwt.c's, what an upload token allows
 * ngx_http_sluice_token.c's.
 */

#ifndef NGX_HTTP_SLUICE_AUTH_H
#define NGX_HTTP_SLUICE_AUTH_H

#include "ngx_http_sluice.h"
#include "jws.h"
#include "jwt.h"

#pragma GCC visibility push(hidden)

#define NGX_HTTP_SLUICE_AUTH_FILES  8       /* by directive and location */

/* A file as it was when it was read. */
typedef struct {
    ngx_file_uniq_t               uniq;
    off_t                         size;
    struct timespec               mtime;
} ngx_http_sluice_auth_seen_t;

typedef struct {
    ngx_str_t                     name;     /* full; NUL-terminated */
    sluice_jwk_alg_e              alg;      /* ANY: the keys say it */
    sluice_jwk_set_t             *set;      /* the last good ones */
    ngx_http_sluice_auth_seen_t   seen;     /* good or not */
    ngx_err_t                     err;      /* it could not be opened */
    time_t                        checked;
} ngx_http_sluice_auth_file_t;

struct ngx_http_sluice_auth_conf_s {
    ngx_array_t                  *jwt;      /* auth_file_t; NULL: no JWT */
    ngx_array_t                  *token;    /* likewise, of upload tokens */
    ngx_array_t                  *issuers;  /* sluice_jwt_str_t */
    ngx_array_t                  *audiences;
    time_t                        leeway;

    u_char                       *conf_file;  /* where token's key stands */
    ngx_uint_t                    conf_line;
};

typedef enum {
    NGX_HTTP_SLUICE_AUTH_JWT = 0,
    NGX_HTTP_SLUICE_AUTH_UPLOAD
} ngx_http_sluice_auth_kind_e;

/*
 * ngx_http_sluice_auth.c
 *
 * open() reads a file for the first time, when the configuration is read:
 * NGX_ERROR is logged.
 *
 * verify() looks at the location's files again, at most once a second each,
 * and judges a token by them, by the clock and by issuer and audience.  A
 * token for uploads is no other, and the other way round.  NGX_OK with *jws,
 * the caller's to clear; NGX_DECLINED with *why, static.
 *
 * bearer() finds the token of the Authorization header: NGX_DECLINED if there
 * is none.  challenge() puts WWW-Authenticate into the answer; invalid: a
 * token came.  NGX_ERROR: no memory.
 */
ngx_int_t ngx_http_sluice_auth_open(ngx_conf_t *cf,
    ngx_http_sluice_auth_file_t *file);
ngx_int_t ngx_http_sluice_auth_verify(ngx_http_request_t *r,
    ngx_http_sluice_auth_kind_e kind, ngx_str_t *token, sluice_jws_t *jws,
    const char **why);
ngx_int_t ngx_http_sluice_auth_bearer(ngx_http_request_t *r,
    ngx_str_t *token);
ngx_int_t ngx_http_sluice_auth_challenge(ngx_http_request_t *r,
    ngx_uint_t invalid);

#pragma GCC visibility pop

#endif /* NGX_HTTP_SLUICE_AUTH_H */
