/*
 * ngx_http_sluice_auth.c: tokens verified by the keys in a location's files.
 *
 * Owns the reading of key files, in the master and again in each worker when
 * they change, so that keys are rotated without a reload.  A file that has
 * become bad leaves the old keys in force and is named in the log once.  Does
 * not refuse anybody: its callers do.
 *
 * A file is looked at when a token comes and the second is a new one; a file
 * is small and local, so that is one stat(), and seldom a read.
 */

#include "ngx_http_sluice_auth.h"


static void ngx_http_sluice_auth_cleanup(void *data);
static void ngx_http_sluice_auth_refresh(ngx_http_sluice_auth_file_t *file,
    ngx_log_t *log);
static ngx_int_t ngx_http_sluice_auth_read(ngx_http_sluice_auth_file_t *file,
    u_char *data, size_t *len);
static void ngx_http_sluice_auth_see(ngx_http_sluice_auth_seen_t *seen,
    ngx_file_info_t *fi);
static ngx_int_t ngx_http_sluice_auth_load(ngx_http_sluice_auth_file_t *file,
    ngx_uint_t level, ngx_log_t *log);


ngx_int_t
ngx_http_sluice_auth_open(ngx_conf_t *cf, ngx_http_sluice_auth_file_t *file)
{
    ngx_pool_cleanup_t  *cln;

    if (ngx_conf_full_name(cf->cycle, &file->name, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_sluice_auth_cleanup;
    cln->data = file;

    return ngx_http_sluice_auth_load(file, NGX_LOG_EMERG, cf->log);
}


static void
ngx_http_sluice_auth_cleanup(void *data)
{
    ngx_http_sluice_auth_file_t *file = data;

    sluice_jwk_free(file->set);
    file->set = NULL;
}


ngx_int_t
ngx_http_sluice_auth_verify(ngx_http_request_t *r,
    ngx_http_sluice_auth_kind_e kind, ngx_str_t *token, sluice_jws_t *jws,
    const char **why)
{
    ngx_uint_t                    i;
    ngx_array_t                  *files;
    sluice_jwk_set_t             *sets[NGX_HTTP_SLUICE_AUTH_FILES];
    sluice_jwt_rules_t            rules;
    ngx_http_sluice_loc_conf_t   *slcf;
    ngx_http_sluice_auth_conf_t  *auth;
    ngx_http_sluice_auth_file_t  *file;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);
    auth = slcf->auth;

    files = (kind == NGX_HTTP_SLUICE_AUTH_UPLOAD) ? auth->token : auth->jwt;
    file = files->elts;

    for (i = 0; i < files->nelts; i++) {
        ngx_http_sluice_auth_refresh(&file[i], r->connection->log);
        sets[i] = file[i].set;
    }

    if (sluice_jws_verify(jws, (char *) token->data, token->len, sets,
                          files->nelts, why)
        != 0)
    {
        return NGX_DECLINED;
    }

    if (sluice_jwt_is_upload(jws->header)
        != (kind == NGX_HTTP_SLUICE_AUTH_UPLOAD))
    {
        *why = (kind == NGX_HTTP_SLUICE_AUTH_UPLOAD)
               ? "\"typ\" is not upload+jwt"
               : "an upload token is good for uploads only";

        sluice_jws_clear(jws);
        return NGX_DECLINED;
    }

    ngx_memzero(&rules, sizeof(sluice_jwt_rules_t));

    if (auth->issuers != NULL) {
        rules.issuers = auth->issuers->elts;
        rules.nissuers = auth->issuers->nelts;
    }

    if (auth->audiences != NULL) {
        rules.audiences = auth->audiences->elts;
        rules.naudiences = auth->audiences->nelts;
    }

    rules.leeway_s = auth->leeway;

    if (sluice_jwt_check(jws->claims, &rules, ngx_time(), why) != 0) {
        sluice_jws_clear(jws);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static void
ngx_http_sluice_auth_refresh(ngx_http_sluice_auth_file_t *file,
    ngx_log_t *log)
{
    ngx_err_t                    err;
    ngx_file_info_t              fi;
    ngx_http_sluice_auth_seen_t  now;

    if (file->checked == ngx_time()) {
        return;
    }

    file->checked = ngx_time();

    if (ngx_file_info(file->name.data, &fi) == NGX_FILE_ERROR) {

        err = ngx_errno;

        if (err != file->err) {
            file->err = err;
            ngx_log_error(NGX_LOG_ERR, log, err,
                          "sluice: the keys of \"%V\" stay as they were: "
                          ngx_file_info_n " failed", &file->name);
        }

        return;
    }

    ngx_memzero(&now, sizeof(ngx_http_sluice_auth_seen_t));
    ngx_http_sluice_auth_see(&now, &fi);

    if (file->err == 0
        && ngx_memcmp(&now, &file->seen, sizeof(ngx_http_sluice_auth_seen_t))
           == 0)
    {
        return;
    }

    if (ngx_http_sluice_auth_load(file, NGX_LOG_ERR, log) == NGX_OK) {
        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "sluice: keys read again from \"%V\" n=%uz",
                      &file->name, file->set->n);
    }
}


/* What is logged never quotes the file. */
static ngx_int_t
ngx_http_sluice_auth_load(ngx_http_sluice_auth_file_t *file,
    ngx_uint_t level, ngx_log_t *log)
{
    char               why[SLUICE_JWK_WHY];
    size_t             len;
    u_char            *data;
    ngx_err_t          err;
    ngx_int_t          rc;
    sluice_jwk_set_t  *set;

    data = ngx_alloc(SLUICE_JWK_FILE_MAX + 1, log);
    if (data == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_sluice_auth_read(file, data, &len);

    if (rc != NGX_OK) {
        err = (rc == NGX_DECLINED) ? 0 : ngx_errno;

        if (err == 0 || err != file->err) {
            ngx_log_error(level, log, err,
                          "sluice: cannot read keys from \"%V\"%s",
                          &file->name,
                          err == 0 ? ": it is not a file" : "");
        }

        file->err = err;
        ngx_free(data);
        return NGX_ERROR;
    }

    file->err = 0;

    set = sluice_jwk_read((char *) data, len, file->alg, why);

    ngx_explicit_memzero(data, len);
    ngx_free(data);

    if (set == NULL) {
        ngx_log_error(level, log, 0, "sluice: no keys in \"%V\": %s%s",
                      &file->name, why,
                      file->set == NULL ? "" : "; the old ones stay");
        return NGX_ERROR;
    }

    sluice_jwk_free(file->set);
    file->set = set;

    return NGX_OK;
}


/* NGX_DECLINED: not a regular file; NGX_ERROR with ngx_errno. */
static ngx_int_t
ngx_http_sluice_auth_read(ngx_http_sluice_auth_file_t *file, u_char *data,
    size_t *len)
{
    ssize_t          n;
    ngx_fd_t         fd;
    ngx_err_t        err;
    ngx_int_t        rc;
    ngx_file_info_t  fi;

    /* a FIFO must not stop the worker */
    fd = ngx_open_file(file->name.data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;
    *len = 0;

    if (ngx_fd_info(fd, &fi) != NGX_FILE_ERROR) {

        ngx_http_sluice_auth_see(&file->seen, &fi);
        rc = ngx_is_file(&fi) ? NGX_OK : NGX_DECLINED;
    }

    /* one byte more than is allowed shows that there is more */
    while (rc == NGX_OK && *len < SLUICE_JWK_FILE_MAX + 1) {

        n = ngx_read_fd(fd, data + *len, SLUICE_JWK_FILE_MAX + 1 - *len);

        if (n == 0) {
            break;
        }

        if (n == -1) {
            rc = NGX_ERROR;
            break;
        }

        *len += n;
    }

    err = ngx_errno;
    (void) ngx_close_file(fd);
    ngx_set_errno(err);

    return rc;
}


static void
ngx_http_sluice_auth_see(ngx_http_sluice_auth_seen_t *seen,
    ngx_file_info_t *fi)
{
    seen->uniq = ngx_file_uniq(fi);
    seen->size = ngx_file_size(fi);
    seen->mtime = fi->st_mtim;
}


ngx_int_t
ngx_http_sluice_auth_bearer(ngx_http_request_t *r, ngx_str_t *token)
{
    size_t   len;
    u_char  *p;

    if (r->headers_in.authorization == NULL) {
        return NGX_DECLINED;
    }

    p = r->headers_in.authorization->value.data;
    len = r->headers_in.authorization->value.len;

    if (len < sizeof("Bearer ") - 1
        || ngx_strncasecmp(p, (u_char *) "Bearer ", sizeof("Bearer ") - 1)
           != 0)
    {
        return NGX_DECLINED;
    }

    p += sizeof("Bearer ") - 1;
    len -= sizeof("Bearer ") - 1;

    /* RFC 9110 11.4: one space or more */
    while (len > 0 && *p == ' ') {
        p++;
        len--;
    }

    token->data = p;
    token->len = len;

    return NGX_OK;
}


/* RFC 6750 3: no error where no token came. */
ngx_int_t
ngx_http_sluice_auth_challenge(ngx_http_request_t *r, ngx_uint_t invalid)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_http_sluice_header_last(h);
    ngx_str_set(&h->key, "WWW-Authenticate");

    if (invalid) {
        ngx_str_set(&h->value,
                    "Bearer realm=\"sluice\", error=\"invalid_token\"");

    } else {
        ngx_str_set(&h->value, "Bearer realm=\"sluice\"");
    }

    /* "satisfy any" takes it back when another module lets the client in */
    r->headers_out.www_authenticate = h;

    return NGX_OK;
}
