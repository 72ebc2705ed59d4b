/*
 * redis_tls.c: TLS on a connection to Redis.
 *
 * Owns nothing that lasts: certificates are read at every connect, so that
 * rotated ones are taken over without a restart.  The server's certificate
 * must be signed by one of ours and bear the name we know the server by;
 * hiredis alone would look at the signature only.  Without hiredis_ssl
 * (libhiredis before 1.0) it is built without, and redis_check() says so.
 */

#include "io/redis_local.h"

#ifdef SLUICE_REDIS_TLS

#include <errno.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>


int
redis_tls_is_built(void)
{
    return 1;
}


/* Who we trust and who we are.  Returns what was wrong, or NULL. */
static const char *
redis_tls_files(SSL_CTX *ctx, const redis_conf_t *conf)
{
    if (conf->tls_ca[0] == '\0') {
        if (SSL_CTX_set_default_verify_paths(ctx) != 1) {
            return "the system's authorities";
        }
    } else if (SSL_CTX_load_verify_locations(ctx, conf->tls_ca, NULL) != 1) {
        return conf->tls_ca;
    }

    if (conf->tls_cert[0] == '\0') {
        return NULL;
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, conf->tls_cert) != 1) {
        return conf->tls_cert;
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, conf->tls_key, SSL_FILETYPE_PEM) != 1
        || SSL_CTX_check_private_key(ctx) != 1)
    {
        return conf->tls_key;
    }
    return NULL;
}


/* A certificate tells names from addresses, and so does SNI. */
static int
redis_tls_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM  *param = SSL_get0_param(ssl);

    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1) {
        return 1;
    }
    X509_VERIFY_PARAM_set_hostflags(param,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1
           && SSL_set_tlsext_host_name(ssl, name) == 1;
}


static rc_t
redis_tls_fail(redis_link_t *link, const char *what, err_t *err)
{
    unsigned long  code = ERR_peek_last_error();
    const char    *why = code != 0 ? ERR_reason_error_string(code) : NULL;

    return err_set(err, RC_RETRY, "redis %s: tls: %s: %s",
                   link->place.address, what,
                   why != NULL ? why : "failed");
}


static rc_t
redis_tls_handshake(redis_link_t *link, SSL *ssl, err_t *err)
{
    long  verdict;

    errno = 0;
    if (redisInitiateSSL(link->ctx, ssl) == REDIS_OK) {
        return RC_OK;                        /* the connection has ssl now */
    }

    verdict = SSL_get_verify_result(ssl);
    if (verdict != X509_V_OK) {
        (void) err_set(err, RC_RETRY, "redis %s: tls: %s",
                       link->place.address,
                       X509_verify_cert_error_string(verdict));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        (void) err_set(err, RC_RETRY, "redis %s: tls: no answer in time",
                       link->place.address);
    } else {
        (void) err_set(err, RC_RETRY, "redis %s: tls: %s",
                       link->place.address, link->ctx->errstr);
    }
    SSL_free(ssl);
    return RC_RETRY;
}


rc_t
redis_tls_start(redis_link_t *link, err_t *err)
{
    const redis_conf_t  *conf = link->conf;
    const char          *name, *bad;
    SSL_CTX             *ctx;                              /* owned */
    SSL                 *ssl = NULL;                       /* owned */
    rc_t                 rc;

    name = conf->tls_name[0] != '\0' ? conf->tls_name : link->place.host;

    ERR_clear_error();
    ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL) {
        return redis_tls_fail(link, "SSL_CTX_new", err);
    }

    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    bad = redis_tls_files(ctx, conf);

    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
        rc = redis_tls_fail(link, "TLS 1.2", err);
    } else if (bad != NULL) {
        rc = redis_tls_fail(link, bad, err);
    } else if ((ssl = SSL_new(ctx)) == NULL || !redis_tls_name(ssl, name)) {
        rc = redis_tls_fail(link, name, err);
        SSL_free(ssl);
    } else {
        rc = redis_tls_handshake(link, ssl, err);
    }

    SSL_CTX_free(ctx);                       /* ssl holds it as well */
    return rc;
}

#else

int
redis_tls_is_built(void)
{
    return 0;
}


rc_t
redis_tls_start(redis_link_t *link, err_t *err)
{
    return err_set(err, RC_RETRY, "redis %s: this build has no TLS for Redis",
                   link->place.address);
}

#endif
