/*
 * ngx_http_sluice_tenant.c: whose a request is.
 *
 * Owns the reading of sluice_customer for one request.  Who writes and who
 * reads asks here, so that a tenant is the same in both.  What the directive
 * may say is checked by ngx_http_sluice_module.c.
 */

#include "ngx_http_sluice_auth.h"
#include "header_text.h"


static size_t ngx_http_sluice_tenant_encoded(ngx_str_t *customer);


ngx_int_t
ngx_http_sluice_tenant_get(ngx_http_request_t *r, ngx_str_t *customer)
{
    ngx_http_sluice_loc_conf_t  *slcf;

    slcf = ngx_http_get_module_loc_conf(r, ngx_http_sluice_module);

    ngx_str_null(customer);

    /* an upload token names its own, when it comes */
    if (slcf->customer == NULL || slcf->auth->token != NULL) {
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, slcf->customer, customer) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_sluice_tenant_check(customer);
}


ngx_int_t
ngx_http_sluice_tenant_check(ngx_str_t *customer)
{
    size_t  len;
    char    text[SLUICE_CUSTOMER_MAX];

    if (customer->len == 0 || customer->len > SLUICE_CUSTOMER_MAX
        || ngx_http_sluice_tenant_encoded(customer)
           > SLUICE_CUSTOMER_ENCODED_MAX)
    {
        return NGX_DECLINED;
    }

    /* made fit for a header, two customers could become one */
    len = sluice_header_text(text, sizeof(text), (char *) customer->data,
                             customer->len);

    if (len != customer->len || ngx_memcmp(text, customer->data, len) != 0) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* Its length as the processor writes it in an object's path. */
static size_t
ngx_http_sluice_tenant_encoded(ngx_str_t *customer)
{
    size_t  i, len;
    u_char  c;

    len = 0;

    for (i = 0; i < customer->len; i++) {
        c = customer->data[i];

        len += ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                || (c >= '0' && c <= '9') || c == '_' || c == '-') ? 1 : 3;
    }

    return len;
}
