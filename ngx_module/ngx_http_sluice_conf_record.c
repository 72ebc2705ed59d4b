/*
 * ngx_http_sluice_conf_record.c: what an operator adds to the records.
 *
 * Owns the setters of sluice_header and sluice_field, and which names of
 * headers are taken.  The values are made by ngx_http_sluice_record.c and
 * ngx_http_sluice_form_text.c.
 */

#include "ngx_http_sluice_conf.h"


static char *ngx_http_sluice_conf_header_name(ngx_conf_t *cf,
    ngx_str_t *name);
static char *ngx_http_sluice_conf_field_header(ngx_conf_t *cf,
    ngx_http_sluice_field_t *field);


char *
ngx_http_sluice_conf_header(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    ngx_str_t                 *value;
    ngx_http_sluice_header_t  *header;

    value = cf->args->elts;

    if (ngx_http_sluice_conf_header_name(cf, &value[1]) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (slcf->headers == NGX_CONF_UNSET_PTR) {
        slcf->headers = ngx_array_create(cf->pool, 4,
                                         sizeof(ngx_http_sluice_header_t));
        if (slcf->headers == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    header = ngx_array_push(slcf->headers);
    if (header == NULL) {
        return NGX_CONF_ERROR;
    }

    header->key = value[1];

    return ngx_http_sluice_conf_complex(cf, &value[2], &header->value);
}


char *
ngx_http_sluice_conf_field(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    ngx_str_t                *value;
    ngx_uint_t                i;
    ngx_http_sluice_field_t  *field;

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs the name of a field";
    }

    if (slcf->fields == NGX_CONF_UNSET_PTR) {
        slcf->fields = ngx_array_create(cf->pool, 4,
                                        sizeof(ngx_http_sluice_field_t));
        if (slcf->fields == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    field = slcf->fields->elts;

    for (i = 0; i < slcf->fields->nelts; i++) {
        if (field[i].name.len == value[1].len
            && ngx_memcmp(field[i].name.data, value[1].data, value[1].len)
               == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "field \"%V\" is named twice", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    field = ngx_array_push(slcf->fields);
    if (field == NULL) {
        return NGX_CONF_ERROR;
    }

    field->name = value[1];

    if (cf->args->nelts == 2) {
        return ngx_http_sluice_conf_field_header(cf, field);
    }

    field->header = value[2];

    return ngx_http_sluice_conf_header_name(cf, &field->header);
}


/* The field's own name, in the letters that names of headers have. */
static char *
ngx_http_sluice_conf_field_header(ngx_conf_t *cf,
    ngx_http_sluice_field_t *field)
{
    u_char  c, *p;
    size_t  i;

    p = ngx_pnalloc(cf->pool, field->name.len + 1);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    field->header.data = p;
    field->header.len = field->name.len;

    for (i = 0; i < field->name.len; i++) {
        c = field->name.data[i];

        *p++ = ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                || (c >= '0' && c <= '9') || c == '.' || c == '_')
               ? c : '-';
    }

    *p = '\0';

    return ngx_http_sluice_conf_header_name(cf, &field->header);
}


static char *
ngx_http_sluice_conf_header_name(ngx_conf_t *cf, ngx_str_t *name)
{
    u_char  *p;

    for (p = name->data; *p != '\0'; p++) {
        if (*p <= 0x20 || *p >= 0x7f) {
            break;
        }
    }

    if (name->len == 0 || *p != '\0') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid header name \"%V\"", name);
        return NGX_CONF_ERROR;
    }

    if (ngx_strncasecmp(name->data, (u_char *) SLUICE_H_RESERVED_CE,
                        sizeof(SLUICE_H_RESERVED_CE) - 1) == 0
        || ngx_strncasecmp(name->data, (u_char *) SLUICE_H_RESERVED_ERROR,
                           sizeof(SLUICE_H_RESERVED_ERROR) - 1) == 0
        || ngx_strcasecmp(name->data, (u_char *) SLUICE_H_CONTENT_TYPE) == 0
        || ngx_strcasecmp(name->data, (u_char *) SLUICE_H_TRACEPARENT) == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "header \"%V\" is set by the module itself", name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
