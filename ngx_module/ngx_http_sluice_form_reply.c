/*
 * ngx_http_sluice_form_reply.c: the answer to a form.
 *
 * Owns the verdict on an upload whose files are all known: 202, 303 or the
 * matching error, and the list of the files.  Does not send: that is
 * ngx_http_sluice_reply.c's.
 *
 * A 202 never hides a file that may be lost: when a file failed by our fault,
 * or its fate isn't known, the answer is 503, with every file's own status.
 */

#include "ngx_http_sluice.h"

/* an entry of "files" but for its name: names, marks, the longest values */
#define NGX_HTTP_SLUICE_FORM_ENTRY  320


static void ngx_http_sluice_form_judge(ngx_http_sluice_form_t *form);
static ngx_int_t ngx_http_sluice_form_members(ngx_http_sluice_form_t *form,
    ngx_str_t *members);
static u_char *ngx_http_sluice_form_entry(u_char *p,
    ngx_http_sluice_upload_t *up, ngx_http_sluice_file_t *file);


const ngx_http_sluice_reason_t
    ngx_http_sluice_reasons[NGX_HTTP_SLUICE_REASONS] =
{
    { "too_large", NGX_HTTP_REQUEST_ENTITY_TOO_LARGE },
    { "type_not_allowed", NGX_HTTP_UNSUPPORTED_MEDIA_TYPE },
    { "empty", 422 },
    { "incomplete", NGX_HTTP_BAD_REQUEST },
    { "unavailable", NGX_HTTP_SERVICE_UNAVAILABLE }
};


ngx_int_t
ngx_http_sluice_form_reply(ngx_http_sluice_upload_t *up)
{
    ngx_http_sluice_form_t *form = (ngx_http_sluice_form_t *) up;

    ngx_int_t  rc;
    ngx_str_t  members;

    ngx_http_sluice_form_judge(form);

    if (up->status == NGX_HTTP_ACCEPTED) {

        rc = ngx_http_sluice_reply_redirect(up);
        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    if (ngx_http_sluice_form_members(form, &members) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_sluice_reply_upload(up, &members);
}


/* Sets up->status and, for an error, its words. */
static void
ngx_http_sluice_form_judge(ngx_http_sluice_form_t *form)
{
    ngx_uint_t                 i, accepted, status, refusal;
    ngx_list_part_t           *part;
    ngx_http_sluice_file_t    *file;
    ngx_http_sluice_upload_t  *up;

    up = &form->upload;

    if (up->status != 0) {
        return;
    }

    if (up->unavailable) {
        up->status = NGX_HTTP_SERVICE_UNAVAILABLE;
        up->slug = "unavailable";
        up->title = "Files could not be stored";
        ngx_str_set(&up->detail, "Not every file is known to be stored: see "
                    "the status of each.");
        return;
    }

    accepted = 0;
    refusal = 0;

    for (part = &form->files.part; part != NULL; part = part->next) {
        file = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (file[i].status == NGX_HTTP_SLUICE_FILE_ACCEPTED) {
                accepted++;
                continue;
            }

            status = ngx_http_sluice_reasons[file[i].reason].status;
            refusal = (refusal == 0 || refusal == status) ? status : 422;
        }
    }

    if (accepted > 0) {
        up->status = NGX_HTTP_ACCEPTED;
        return;
    }

    if (refusal == 0) {
        up->status = 422;
        up->slug = "no-files";
        up->title = "No file in the form";
        ngx_str_set(&up->detail, "The form has no part with a filename.");
        return;
    }

    up->status = refusal;
    up->slug = "all-rejected";
    up->title = "No file was accepted";
    ngx_str_set(&up->detail, "Every file was rejected: see the reason of "
                "each.");
}


/* "upload":...,"files":[...] */
static ngx_int_t
ngx_http_sluice_form_members(ngx_http_sluice_form_t *form,
    ngx_str_t *members)
{
    size_t                     len;
    u_char                    *p;
    ngx_uint_t                 i;
    ngx_list_part_t           *part;
    ngx_http_sluice_file_t    *file;
    ngx_http_sluice_upload_t  *up;

    up = &form->upload;

    len = sizeof("\"upload\":\"\",\"files\":[]") + NGX_HTTP_SLUICE_UUID_LEN;

    for (part = &form->files.part; part != NULL; part = part->next) {
        file = part->elts;

        for (i = 0; i < part->nelts; i++) {
            len += NGX_HTTP_SLUICE_FORM_ENTRY + file[i].name.len
                   + ngx_escape_json(NULL, file[i].name.data,
                                     file[i].name.len);
        }
    }

    p = ngx_pnalloc(up->request->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    members->data = p;

    p = ngx_sprintf(p, "\"upload\":\"%*s\",\"files\":[",
                    (size_t) NGX_HTTP_SLUICE_UUID_LEN, up->uuid);

    for (part = &form->files.part; part != NULL; part = part->next) {
        file = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (p[-1] == '}') {
                *p++ = ',';
            }

            p = ngx_http_sluice_form_entry(p, up, &file[i]);
        }
    }

    *p++ = ']';
    members->len = p - members->data;

    return NGX_OK;
}


static u_char *
ngx_http_sluice_form_entry(u_char *p, ngx_http_sluice_upload_t *up,
    ngx_http_sluice_file_t *file)
{
    p = ngx_sprintf(p, "{\"id\":\"%*s/%ui\",\"name\":\"",
                    (size_t) NGX_HTTP_SLUICE_UUID_LEN, up->uuid,
                    file->number);

    p = (u_char *) ngx_escape_json(p, file->name.data, file->name.len);
    *p++ = '"';

    if (file->type != NULL) {
        p = ngx_sprintf(p, ",\"type\":\"%s\"", file->type);
    }

    if (file->hashed) {
        p = ngx_sprintf(p, ",\"size\":%O,\"sha256\":\"%*s\"", file->size,
                        (size_t) SLUICE_SHA256_HEX, file->sha256);
    }

    switch (file->status) {

    case NGX_HTTP_SLUICE_FILE_ACCEPTED:
        return ngx_sprintf(p, ",\"status\":\"accepted\"}");

    case NGX_HTTP_SLUICE_FILE_REJECTED:
        return ngx_sprintf(p, ",\"status\":\"rejected\",\"reason\":\"%s\"}",
                           ngx_http_sluice_reasons[file->reason].name);

    default:
        return ngx_sprintf(p, ",\"status\":\"unknown\"}");
    }
}
