/*
 * http.c: the server, by libmicrohttpd.
 *
 * Owns the listening socket, the choice of a format and the limits: so many
 * connections, so long for a request, GET and HEAD alone.  Does not know what
 * the documents say.
 *
 * It has no passwords and no TLS.  A unix socket is for the group of the
 * process; an address that others reach is the operator's to protect.
 */

#include "io/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

#define HTTP_CONNECTIONS  64
#define HTTP_TIMEOUT_S    10         /* without a byte in either direction */
#define HTTP_MEMORY       16384      /* of a connection */
#define HTTP_BACKLOG      64
#define HTTP_UNIX         "unix:"

struct http_s {
    const http_route_t  *routes;
    void                *ctx;
    struct MHD_Daemon   *daemon;
    const char          *path;       /* of a unix socket, or NULL */
};

const conf_row_t http_rows[] = {
    { "listen", CONF_STR, offsetof(http_conf_t, listen), "off", 0, 0, NULL, 0,
      "Where `/metrics`, `/healthz`, `/readyz` and `/backlog` are answered: "
      "HOST:PORT, [V6]:PORT, unix:/PATH, or off. There is no password: keep "
      "it to this host, or behind a proxy that asks for one." },

    { NULL, CONF_STR, 0, NULL, 0, 0, NULL, 0, NULL }
};


int
http_is_off(const http_conf_t *conf)
{
    return strcmp(conf->listen, "off") == 0;
}


/* HOST:PORT or [V6]:PORT in two; 0: it is neither. */
static int
http_split(const char *listen, char host[256], char port[8])
{
    const char  *colon = strrchr(listen, ':');
    size_t       len;

    if (colon == NULL || strlen(colon + 1) >= 6
        || strspn(colon + 1, "0123456789") != strlen(colon + 1)
        || atoi(colon + 1) < 1 || atoi(colon + 1) > 65535)
    {
        return 0;
    }

    (void) snprintf(port, 8, "%s", colon + 1);
    len = (size_t) (colon - listen);

    if (len > 2 && listen[0] == '[' && listen[len - 1] == ']') {
        listen++;
        len -= 2;

    } else if (memchr(listen, ':', len) != NULL) {
        return 0;
    }

    if (len == 0 || len >= 256) {
        return 0;
    }

    memcpy(host, listen, len);
    host[len] = '\0';

    return 1;
}


rc_t
http_check(const http_conf_t *conf, err_t *err)
{
    struct sockaddr_un  un;
    char                host[256], port[8];
    size_t              skip = strlen(HTTP_UNIX);

    if (http_is_off(conf)) {
        return RC_OK;
    }

    if (strncmp(conf->listen, HTTP_UNIX, skip) == 0) {
        if (conf->listen[skip] == '/'
            && strlen(conf->listen + skip) < sizeof(un.sun_path))
        {
            return RC_OK;
        }

        return err_set(err, RC_REJECT, "[http] listen \"%s\": the socket needs "
                       "a path from the root, shorter than %zu bytes",
                       conf->listen, sizeof(un.sun_path));
    }

    if (!http_split(conf->listen, host, port)) {
        return err_set(err, RC_REJECT, "[http] listen \"%s\" is none of "
                       "HOST:PORT, [V6]:PORT, unix:/PATH and off",
                       conf->listen);
    }

    return RC_OK;
}


/*
 * A file that a killed process left is replaced; one that somebody listens at
 * is not.
 */
static int
http_listen_unix(const char *path, err_t *err)
{
    struct sockaddr_un  un = { .sun_family = AF_UNIX };
    struct stat         st;
    int                 fd;

    (void) snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd == -1) {
        goto failed;
    }

    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        if (connect(fd, (struct sockaddr *) &un, sizeof(un)) == 0) {
            errno = EADDRINUSE;
            goto failed;
        }

        if (errno == ECONNREFUSED) {
            (void) unlink(path);
        }
    }

    if (bind(fd, (struct sockaddr *) &un, sizeof(un)) == 0
        && chmod(path, 0660) == 0 && listen(fd, HTTP_BACKLOG) == 0)
    {
        return fd;
    }

failed:
    (void) err_set(err, RC_REJECT, "[http] listen unix:%s: %s", path,
                   strerror(errno));

    if (fd != -1) {
        (void) close(fd);
    }

    return -1;
}


static int
http_listen_inet(const char *text, err_t *err)
{
    struct addrinfo   hints = { .ai_socktype = SOCK_STREAM,
                                .ai_flags = AI_PASSIVE };
    struct addrinfo  *list = NULL, *a;
    char              host[256], port[8];
    int               fd = -1, code, on = 1, why = 0;

    if (!http_split(text, host, port)) {
        (void) err_set(err, RC_REJECT, "[http] listen \"%s\" is no address",
                       text);
        return -1;
    }

    code = getaddrinfo(host, port, &hints, &list);
    if (code != 0) {
        (void) err_set(err, RC_REJECT, "[http] listen %s: %s", text,
                       gai_strerror(code));
        return -1;
    }

    for (a = list; a != NULL && fd == -1; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC,
                    a->ai_protocol);

        if (fd == -1) {
            why = errno;
            continue;
        }

        (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));

        if (bind(fd, a->ai_addr, a->ai_addrlen) != 0
            || listen(fd, HTTP_BACKLOG) != 0)
        {
            why = errno;
            (void) close(fd);
            fd = -1;
        }
    }

    freeaddrinfo(list);

    if (fd == -1) {
        (void) err_set(err, RC_REJECT, "[http] listen %s: %s", text,
                       strerror(why));
    }

    return fd;
}


/* q of a type in an Accept header, in thousandths; 0: not named. */
static int
http_quality(const char *accept, const char *type)
{
    size_t len = strlen(type);

    for (const char *p = accept; *p != '\0'; p += *p == ',') {
        size_t       n = strcspn(p, ",");
        size_t       blank = strspn(p, " \t");
        const char  *q;

        if (n - blank >= len && strncasecmp(p + blank, type, len) == 0) {
            char item[256];

            (void) snprintf(item, sizeof(item), "%.*s", (int) n, p);
            q = strstr(item, ";q=");

            return q != NULL ? (int) (strtod(q + 3, NULL) * 1000) : 1000;
        }

        p += n;
    }

    return 0;
}


static http_accept_e
http_accept(struct MHD_Connection *connection)
{
    const char  *accept;
    int          open;

    accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                         MHD_HTTP_HEADER_ACCEPT);
    if (accept == NULL) {
        return HTTP_TEXT;
    }

    open = http_quality(accept, "application/openmetrics-text");

    return open > 0 && open >= http_quality(accept, "text/plain")
           ? HTTP_OPENMETRICS : HTTP_TEXT;
}


/* body is taken over. */
static enum MHD_Result
http_reply(struct MHD_Connection *connection, int status, const char *type,
    char *body, size_t len)
{
    struct MHD_Response  *response;
    enum MHD_Result       rc;

    response = MHD_create_response_from_buffer_with_free_callback(len, body,
                                                                  free);
    if (response == NULL) {
        free(body);
        return MHD_NO;
    }

    (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                                   type);
    (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
                                   "no-store");

    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        (void) MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW,
                                       "GET, HEAD");
    }

    rc = MHD_queue_response(connection, (unsigned int) status, response);
    MHD_destroy_response(response);

    return rc;
}


static int
http_document(const http_t *http, struct MHD_Connection *connection,
    const char *path, FILE *out, const char **type)
{
    for (const http_route_t *r = http->routes; r->path != NULL; r++) {
        if (strcmp(r->path, path) == 0) {
            return r->handler(http->ctx, http_accept(connection), out, type);
        }
    }

    fputs("not found\n", out);

    return MHD_HTTP_NOT_FOUND;
}


/*
 * Called once with the headers, then with the body if there is one, which is
 * read and dropped, then again.
 */
static enum MHD_Result
http_request(void *ctx, struct MHD_Connection *connection, const char *path,
    const char *method, const char *version, const char *data, size_t *len,
    void **state)
{
    const http_t *http = ctx;
    const char   *type = "text/plain; charset=utf-8";
    char         *body = NULL;
    size_t        size = 0;
    int           status;
    FILE         *out;

    (void) version;
    (void) data;

    if (*state == NULL) {
        *state = ctx;
        return MHD_YES;
    }

    if (*len > 0) {
        *len = 0;
        return MHD_YES;
    }

    out = open_memstream(&body, &size);
    if (out == NULL) {
        return MHD_NO;
    }

    if (strcmp(method, MHD_HTTP_METHOD_GET) == 0
        || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0)
    {
        status = http_document(http, connection, path, out, &type);

    } else {
        fputs("only GET and HEAD\n", out);
        status = MHD_HTTP_METHOD_NOT_ALLOWED;
    }

    if (fclose(out) != 0) {
        free(body);
        return MHD_NO;
    }

    return http_reply(connection, status, type, body, size);
}


rc_t
http_open(http_t **out, const http_conf_t *conf, const http_route_t *routes,
    void *ctx, err_t *err)
{
    size_t   skip = strlen(HTTP_UNIX);
    int      is_unix = strncmp(conf->listen, HTTP_UNIX, skip) == 0;
    int      fd = is_unix ? http_listen_unix(conf->listen + skip, err)
                          : http_listen_inet(conf->listen, err);
    http_t  *http;

    if (fd == -1) {
        return RC_REJECT;
    }

    http = mem_zalloc(sizeof(*http));
    http->routes = routes;
    http->ctx = ctx;
    http->path = is_unix ? conf->listen + skip : NULL;
    http->daemon = MHD_start_daemon(
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL,
        http_request, http,
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned int) HTTP_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int) HTTP_TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) HTTP_MEMORY,
        MHD_OPTION_END);

    if (http->daemon == NULL) {
        (void) close(fd);
        free(http);
        return err_set(err, RC_REJECT, "[http] listen %s: the server does not "
                       "start", conf->listen);
    }

    *out = http;
    return RC_OK;
}


void
http_close(http_t *http)
{
    if (http == NULL) {
        return;
    }

    MHD_stop_daemon(http->daemon);

    if (http->path != NULL) {
        (void) unlink(http->path);
    }

    free(http);
}
