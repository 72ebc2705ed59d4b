/*
 * ngx_http_sluice_form.c: multipart/form-data, the format of uploads.
 *
 * Owns the parser of a request and its limits, and says in HTTP's words what
 * is wrong with a body.  What a file is, and what becomes of it, is
 * ngx_http_sluice_part.c's; the answer ngx_http_sluice_form_reply.c's.
 */

#include "ngx_http_sluice_conf.h"

/* what the header of a part with a file takes, names in full */
#define NGX_HTTP_SLUICE_FORM_FILE_HEADER  512


static ngx_int_t ngx_http_sluice_form_open(ngx_http_sluice_upload_t *up);
static ngx_int_t ngx_http_sluice_form_start(ngx_http_sluice_form_t *form,
    sluice_multipart_str_t *boundary);
static ngx_int_t ngx_http_sluice_form_feed(ngx_http_sluice_upload_t *up,
    u_char *bytes, size_t len);
static ngx_int_t ngx_http_sluice_form_finish(ngx_http_sluice_upload_t *up);
static int ngx_http_sluice_form_begin(void *data,
    const sluice_multipart_part_t *head);
static int ngx_http_sluice_form_data(void *data, const char *bytes,
    size_t len);
static int ngx_http_sluice_form_end(void *data);
static const char *ngx_http_sluice_form_limit(ngx_http_sluice_form_t *form);
static ngx_int_t ngx_http_sluice_form_parsed(ngx_http_sluice_form_t *form,
    sluice_multipart_rc_e rc);
static void ngx_http_sluice_form_drop(ngx_http_sluice_upload_t *up);
static void ngx_http_sluice_form_detach(ngx_http_sluice_upload_t *up);


static const ngx_http_sluice_format_t  ngx_http_sluice_form = {
    sizeof(ngx_http_sluice_form_t),
    ngx_http_sluice_form_open,
    ngx_http_sluice_form_feed,
    ngx_http_sluice_form_finish,
    ngx_http_sluice_form_drop,
    ngx_http_sluice_form_detach,
    ngx_http_sluice_form_reply
};


const sluice_multipart_events_t  ngx_http_sluice_form_events = {
    ngx_http_sluice_form_begin,
    ngx_http_sluice_form_data,
    ngx_http_sluice_form_end
};


char *
ngx_http_sluice_form_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (cf->args->nelts == 2) {
        return ngx_http_sluice_conf_off(cf, conf, &value[1]);
    }

    return ngx_http_sluice_conf_topic(cf, conf, &value[1], &value[2],
                                      &ngx_http_sluice_form);
}


static ngx_int_t
ngx_http_sluice_form_open(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_form_t *form = (ngx_http_sluice_form_t *) up;

    int                      rc;
    ngx_str_t               *type;
    const char              *why;
    ngx_table_elt_t         *header;
    sluice_multipart_str_t   boundary;

    rc = -1;
    why = "";
    header = up->request->headers_in.content_type;

    if (header != NULL) {
        type = &header->value;
        rc = sluice_multipart_boundary((char *) type->data, type->len,
                                       &boundary, &why);
    }

    if (rc == -1) {
        up->status = NGX_HTTP_UNSUPPORTED_MEDIA_TYPE;
        up->slug = "content-type";
        up->title = "Not multipart/form-data";
        ngx_str_set(&up->detail, "Files are taken as multipart/form-data.");
        return NGX_DECLINED;
    }

    if (rc != 0) {
        up->status = NGX_HTTP_BAD_REQUEST;
        up->slug = "malformed";
        up->title = "Malformed body";
        up->detail.data = (u_char *) why;
        up->detail.len = ngx_strlen(why);
        return NGX_DECLINED;
    }

    return ngx_http_sluice_form_start(form, &boundary);
}


static ngx_int_t
ngx_http_sluice_form_start(ngx_http_sluice_form_t *form,
    sluice_multipart_str_t *boundary)
{
    ngx_int_t                         rc;
    ngx_http_sluice_loc_conf_t       *slcf;
    sluice_multipart_limits_t         limits;
    const sluice_multipart_events_t  *events;

    slcf = form->upload.slcf;
    events = &ngx_http_sluice_form_events;

    form->max_file_size = slcf->max_file_size;
    form->max_files = slcf->max_files;
    form->types = slcf->types;

    if (ngx_list_init(&form->files, form->upload.request->pool, 8,
                      sizeof(ngx_http_sluice_file_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    limits.parts = slcf->max_parts;
    limits.header_bytes = slcf->max_header_size;
    limits.header_total = slcf->max_header_total;

    /* sluice_max_files is to be what a client with many files runs into */

    if (limits.parts == 0) {
        limits.parts = ngx_max(slcf->max_files * 2, SLUICE_MULTIPART_PARTS);
    }

    if (limits.header_total == 0) {
        limits.header_total = ngx_max(slcf->max_files
                                      * NGX_HTTP_SLUICE_FORM_FILE_HEADER,
                                      SLUICE_MULTIPART_HEADER_TOTAL);
    }

    rc = ngx_http_sluice_form_token(form, &events);
    if (rc != NGX_OK) {
        return rc;
    }

    /* by itself and not zeroed: what no header needs of it is never touched */
    form->parser = ngx_palloc(form->upload.request->pool,
                              sizeof(sluice_multipart_t));
    if (form->parser == NULL) {
        return NGX_ERROR;
    }

    sluice_multipart_init(form->parser, boundary, &limits, events, form);

    return ngx_http_sluice_part_open(form);
}


/*
 * Every part with a filename is a file.  filename* is no name (RFC 7578 4.2),
 * but shows that a file was meant.
 */
static int
ngx_http_sluice_form_begin(void *data, const sluice_multipart_part_t *head)
{
    ngx_http_sluice_form_t *form = data;

    ngx_http_sluice_count(stars, head->has_filename_star);

    if (head->has_filename || head->has_filename_star) {
        return ngx_http_sluice_part_begin(form, head);
    }

    return ngx_http_sluice_form_text_begin(form, head);
}


static int
ngx_http_sluice_form_data(void *data, const char *bytes, size_t len)
{
    ngx_http_sluice_form_t *form = data;

    return form->in_text ? ngx_http_sluice_form_text_data(form, bytes, len)
                         : ngx_http_sluice_part_data(form, bytes, len);
}


static int
ngx_http_sluice_form_end(void *data)
{
    ngx_http_sluice_form_t *form = data;

    return form->in_text ? ngx_http_sluice_form_text_end(form)
                         : ngx_http_sluice_part_end(form);
}


static ngx_int_t
ngx_http_sluice_form_feed(ngx_http_sluice_upload_t *up, u_char *bytes,
    size_t len)
{
    ngx_http_sluice_form_t *form = (ngx_http_sluice_form_t *) up;

    return ngx_http_sluice_form_parsed(form,
               sluice_multipart_feed(form->parser, (char *) bytes, len));
}


static ngx_int_t
ngx_http_sluice_form_finish(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_form_t *form = (ngx_http_sluice_form_t *) up;

    ngx_int_t  rc;

    rc = ngx_http_sluice_form_parsed(form,
                                     sluice_multipart_finish(form->parser));

    if (rc == NGX_OK && form->token_due) {
        return ngx_http_sluice_form_token_missed(form);
    }

    return rc;
}


static ngx_int_t
ngx_http_sluice_form_parsed(ngx_http_sluice_form_t *form,
    sluice_multipart_rc_e rc)
{
    const char                *why;
    ngx_http_sluice_upload_t  *up;

    up = &form->upload;
    why = sluice_multipart_why(form->parser);

    switch (rc) {

    case SLUICE_MULTIPART_MORE:
    case SLUICE_MULTIPART_END:
        return NGX_OK;

    case SLUICE_MULTIPART_STOP:
        return (up->status != 0) ? NGX_DECLINED : NGX_ERROR;

    case SLUICE_MULTIPART_LIMIT:
        up->status = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        up->slug = "limit";
        up->title = "Over a limit";
        why = ngx_http_sluice_form_limit(form);
        break;

    case SLUICE_MULTIPART_ENCODING:
        up->status = NGX_HTTP_UNSUPPORTED_MEDIA_TYPE;
        up->slug = "encoding";
        up->title = "Encoding not supported";
        break;

    default:
        up->status = NGX_HTTP_BAD_REQUEST;
        up->slug = "malformed";
        up->title = "Malformed body";
    }

    up->detail.data = (u_char *) why;
    up->detail.len = ngx_strlen(why);

    return NGX_DECLINED;
}


/* The parser's words do not know our directives. */
static const char *
ngx_http_sluice_form_limit(ngx_http_sluice_form_t *form)
{
    switch (sluice_multipart_limit(form->parser)) {

    case SLUICE_MULTIPART_LIMIT_PARTS:
        return "The form has more parts than sluice_max_parts allows.";

    case SLUICE_MULTIPART_LIMIT_HEADER:
        return "The header of a part is longer than sluice_max_header_size"
               " allows.";

    case SLUICE_MULTIPART_LIMIT_HEADER_TOTAL:
        return "The headers of all parts together are longer than the total of"
               " sluice_max_header_size allows.";

    default:
        return sluice_multipart_why(form->parser);
    }
}


static void
ngx_http_sluice_form_drop(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_part_drop((ngx_http_sluice_form_t *) up);
}


static void
ngx_http_sluice_form_detach(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_form_t *form = (ngx_http_sluice_form_t *) up;

    ngx_http_sluice_part_detach(form);
    ngx_http_sluice_part_close(form);
}
