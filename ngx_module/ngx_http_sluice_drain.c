/*
 * ngx_http_sluice_drain.c: uploads switched off, for maintenance.
 *
 * Owns sluice_drain: a file whose existence refuses uploads and events before
 * their body.  Those under way are not touched.  Does not refuse, that is
 * ngx_http_sluice_upload.c's.
 *
 * A file is looked for when somebody wants to know, at most once a second and
 * worker, and no timer runs for it.
 */

#include "ngx_http_sluice_monitor.h"


struct ngx_http_sluice_drain_s {
    ngx_str_t    file;             /* NUL-terminated */
    time_t       checked;          /* a worker's */
    ngx_err_t    err;              /* the last one but "not there" */
    unsigned     is_there:1;
};


char *
ngx_http_sluice_drain_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_sluice_loc_conf_t *slcf = conf;

    ngx_str_t                    *value;
    ngx_uint_t                    i;
    ngx_http_sluice_drain_t     **drains, *drain;
    ngx_http_sluice_main_conf_t  *smcf;

    if (slcf->drain != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "must not be empty";
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        slcf->drain = NULL;
        return NGX_CONF_OK;
    }

    if (ngx_conf_full_name(cf->cycle, &value[1], 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    smcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_sluice_module);
    drains = smcf->drains.elts;

    for (i = 0; i < smcf->drains.nelts; i++) {
        if (ngx_strcmp(drains[i]->file.data, value[1].data) == 0) {
            slcf->drain = drains[i];
            return NGX_CONF_OK;
        }
    }

    drain = ngx_pcalloc(cf->pool, sizeof(ngx_http_sluice_drain_t));
    drains = ngx_array_push(&smcf->drains);

    if (drain == NULL || drains == NULL) {
        return NGX_CONF_ERROR;
    }

    drain->file = value[1];
    drain->checked = -1;

    *drains = drain;
    slcf->drain = drain;

    return NGX_CONF_OK;
}


ngx_uint_t
ngx_http_sluice_drain_on(ngx_http_sluice_drain_t *drain)
{
    ngx_err_t        err;
    ngx_file_info_t  fi;

    if (drain == NULL) {
        return 0;
    }

    if (drain->checked == ngx_time()) {
        return drain->is_there;
    }

    drain->checked = ngx_time();
    drain->is_there = (ngx_file_info(drain->file.data, &fi)
                       != NGX_FILE_ERROR);

    err = drain->is_there ? 0 : ngx_errno;

    if (err == NGX_ENOENT || err == NGX_ENOTDIR) {
        err = 0;
    }

    /* a directory that workers may not enter would never drain */
    if (err != 0 && err != drain->err) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, err,
                      "sluice: can't look for the drain file \"%V\"",
                      &drain->file);
    }

    drain->err = err;

    return drain->is_there;
}


ngx_uint_t
ngx_http_sluice_drain_any(ngx_http_sluice_main_conf_t *smcf)
{
    ngx_uint_t                 i, on;
    ngx_http_sluice_drain_t  **drains;

    on = 0;
    drains = smcf->drains.elts;

    for (i = 0; i < smcf->drains.nelts; i++) {
        on |= ngx_http_sluice_drain_on(drains[i]);
    }

    return on;
}
