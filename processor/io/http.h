/*
 * http.h: a few documents over HTTP, for monitors.
 *
 * One thread answers, with documents that are made whole before the first
 * byte is sent: a client that reads slowly holds its own connection and
 * nothing else.  Knows no metric.
 */

#ifndef SLUICE_IO_HTTP_H
#define SLUICE_IO_HTTP_H

#include <stdio.h>

#include "base/conf.h"
#include "base/err.h"

typedef struct {
    char  *listen;             /* "off" */
} http_conf_t;

extern const conf_row_t http_rows[];

typedef struct http_s  http_t;

/* What the client likes better, of the two that one path may have. */
typedef enum { HTTP_TEXT = 0, HTTP_OPENMETRICS } http_accept_e;

/*
 * Writes the document to out and returns its status; *type is text/plain
 * unless it is set.  Called by the server's thread.
 */
typedef int (*http_handler_pt)(void *ctx, http_accept_e accept, FILE *out,
    const char **type);

typedef struct {
    const char       *path;    /* NULL ends the table */
    http_handler_pt   handler;
} http_route_t;

rc_t http_check(const http_conf_t *conf, err_t *err);
int http_is_off(const http_conf_t *conf);

/* routes, ctx and conf are borrowed until close.  RC_OK or RC_REJECT. */
rc_t http_open(http_t **http, const http_conf_t *conf,
    const http_route_t *routes, void *ctx, err_t *err);
void http_close(http_t *http);

#endif /* SLUICE_IO_HTTP_H */
