/*
 * ngx_http_discard_module.c: the least that a streaming upload costs nginx.
 *
 * Reads a request body unbuffered, looks at nothing and answers 204.  What the
 * real module costs above this is parsing, hashing and Kafka.  For the bench
 * only, never installed.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


static void
ngx_http_discard_read(ngx_http_request_t *r)
{
    ngx_int_t     rc;
    ngx_chain_t  *cl, *next;

    for ( ;; ) {
        for (cl = r->request_body->bufs; cl != NULL; cl = next) {
            next = cl->next;
            cl->buf->pos = cl->buf->last;
            ngx_free_chain(r->pool, cl);
        }

        r->request_body->bufs = NULL;

        if (!r->reading_body) {
            break;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            ngx_http_finalize_request(r, rc);
            return;
        }

        if (r->request_body->bufs == NULL && r->reading_body) {
            return;
        }
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    ngx_http_finalize_request(r, ngx_http_send_header(r));
}


static void
ngx_http_discard_start(ngx_http_request_t *r)
{
    r->read_event_handler = ngx_http_discard_read;
    ngx_http_discard_read(r);
}


static ngx_int_t
ngx_http_discard_handler(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    r->request_body_no_buffering = 1;
    rc = ngx_http_read_client_request_body(r, ngx_http_discard_start);

    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}


static char *
ngx_http_discard_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_discard_handler;

    return NGX_CONF_OK;
}


static ngx_command_t  ngx_http_discard_commands[] = {

    { ngx_string("discard_body"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_discard_set,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_discard_module_ctx = {
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
};


ngx_module_t  ngx_http_discard_module = {
    NGX_MODULE_V1,
    &ngx_http_discard_module_ctx,
    ngx_http_discard_commands,
    NGX_HTTP_MODULE,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NGX_MODULE_V1_PADDING
};
