/*
 * ngx_http_sluice_form_text.c: the text fields of a form.
 *
 * Owns what becomes of a part that is no file: its size is counted against
 * sluice_max_field_size, its bytes are skipped.  Only of a field that
 * sluice_field names some bytes are kept, in memory that is taken once for the
 * form, so that however many come they hold no more of it.  Does not see
 * files; the records' headers are ngx_http_sluice_record.c's.
 */

#include "ngx_http_sluice.h"
#include "header_text.h"

/* more than fits a header: where it is cut no character is halved */
#define NGX_HTTP_SLUICE_FORM_TEXT_KEPT  (SLUICE_HEADER_MAX + 4)


static ngx_str_t *ngx_http_sluice_form_text_value(
    ngx_http_sluice_form_t *form, ngx_uint_t i);


int
ngx_http_sluice_form_text_begin(ngx_http_sluice_form_t *form,
    const sluice_multipart_part_t *head)
{
    ngx_uint_t                i;
    ngx_array_t              *fields;
    ngx_http_sluice_field_t  *field;

    form->in_text = 1;
    form->text.size = 0;
    form->text.kept.len = 0;
    form->text.value = NULL;

    fields = form->upload.slcf->fields;
    if (fields == NULL) {
        return 0;
    }

    field = fields->elts;

    for (i = 0; i < fields->nelts; i++) {

        if (field[i].name.len == head->name.len
            && ngx_memcmp(field[i].name.data, head->name.data, head->name.len)
               == 0)
        {
            form->text.value = ngx_http_sluice_form_text_value(form, i);
            return (form->text.value != NULL) ? 0 : 1;
        }
    }

    return 0;
}


/* Where the value of a field goes; NULL: no memory. */
static ngx_str_t *
ngx_http_sluice_form_text_value(ngx_http_sluice_form_t *form, ngx_uint_t i)
{
    ngx_str_t   *kept, *value;
    ngx_pool_t  *pool;

    pool = form->upload.request->pool;
    kept = &form->text.kept;

    if (form->values == NULL) {
        form->values = ngx_pcalloc(pool, form->upload.slcf->fields->nelts
                                         * sizeof(ngx_str_t));
        if (form->values == NULL) {
            return NULL;
        }
    }

    if (kept->data == NULL) {
        kept->data = ngx_pnalloc(pool, NGX_HTTP_SLUICE_FORM_TEXT_KEPT);
        if (kept->data == NULL) {
            return NULL;
        }
    }

    value = &form->values[i];

    if (value->data == NULL) {
        value->data = ngx_pnalloc(pool, SLUICE_HEADER_MAX);
        if (value->data == NULL) {
            return NULL;
        }
    }

    return value;
}


int
ngx_http_sluice_form_text_data(ngx_http_sluice_form_t *form,
    const char *bytes, size_t len)
{
    ngx_str_t                 *kept;
    ngx_http_sluice_upload_t  *up;

    form->text.size += len;

    if (form->text.size > form->upload.slcf->max_field_size) {
        up = &form->upload;
        up->status = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        up->slug = "limit";
        up->title = "Over a limit";
        ngx_str_set(&up->detail, "A text field is larger than"
                    " sluice_max_field_size allows.");
        return 1;
    }

    if (form->text.value != NULL) {
        kept = &form->text.kept;
        len = ngx_min(len, NGX_HTTP_SLUICE_FORM_TEXT_KEPT - kept->len);
        ngx_memcpy(kept->data + kept->len, bytes, len);
        kept->len += len;
    }

    return 0;
}


/* The last field of a name counts, for the files behind it. */
int
ngx_http_sluice_form_text_end(ngx_http_sluice_form_t *form)
{
    ngx_str_t  *kept, *value;

    form->in_text = 0;

    value = form->text.value;
    kept = &form->text.kept;

    if (value != NULL) {
        value->len = sluice_header_text((char *) value->data,
                                        SLUICE_HEADER_MAX,
                                        (char *) kept->data, kept->len);
    }

    return 0;
}
