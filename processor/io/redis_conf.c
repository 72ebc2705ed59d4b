/*
 * redis_conf.c: the settings of Redis, and addresses.
 *
 * Owns the rows of [redis], what one row alone can't check, and how a server
 * is named: in the configuration, by a sentinel, and in a redirect.
 */

#include "io/redis_local.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const char  redis_unix[] = "unix:";


const conf_row_t  redis_rows[] = {
    { "mode", CONF_ENUM, offsetof(redis_conf_t, mode), "standalone",
      0, 0, "standalone|sentinel|cluster", 0,
      "One server; the master that sentinels name; a cluster." },
    { "address", CONF_STR, offsetof(redis_conf_t, address), "127.0.0.1:6379",
      0, 0, NULL, 0,
      "host:port, [v6]:port or unix:/path of the server. mode sentinel: the "
      "sentinels; cluster: some of its nodes; both separated by commas." },
    { "username", CONF_STR, offsetof(redis_conf_t, username), "",
      0, 0, NULL, 0, "ACL user; needs password_file." },
    { "password_file", CONF_STR, offsetof(redis_conf_t, password_file), "",
      0, 0, NULL, 0,
      "File whose first line is the password, read at every connect." },
    { "db", CONF_INT, offsetof(redis_conf_t, db), "0", 0, 1000000, NULL, 0,
      "Database number; a cluster has only 0." },
    { "timeout", CONF_TIME, offsetof(redis_conf_t, timeout_ms), "5s",
      100, 60000, NULL, 0,
      "Bound of a reply, and of a connect, which gets 10 s at most; then the "
      "lane tries again." },
    { "sentinel_master", CONF_STR, offsetof(redis_conf_t, sentinel_master), "",
      0, 0, NULL, 0, "The name the sentinels know the master by." },
    { "sentinel_username", CONF_STR,
      offsetof(redis_conf_t, sentinel_username), "", 0, 0, NULL, 0,
      "ACL user of the sentinels; needs sentinel_password_file." },
    { "sentinel_password_file", CONF_STR,
      offsetof(redis_conf_t, sentinel_password_file), "", 0, 0, NULL, 0,
      "As password_file, for the sentinels. Empty: they ask for none." },
    { "tls", CONF_BOOL, offsetof(redis_conf_t, tls), "off", 0, 0, NULL, 0,
      "TLS 1.2 or later, to servers and sentinels. Needs a build with "
      "hiredis_ssl." },
    { "tls_ca", CONF_STR, offsetof(redis_conf_t, tls_ca), "", 0, 0, NULL, 0,
      "PEM file of the authorities that may sign the servers' certificates. "
      "Empty: the system's." },
    { "tls_cert", CONF_STR, offsetof(redis_conf_t, tls_cert), "", 0, 0, NULL,
      0, "PEM file of our certificate, where the servers want one." },
    { "tls_key", CONF_STR, offsetof(redis_conf_t, tls_key), "", 0, 0, NULL, 0,
      "PEM file of its key." },
    { "tls_name", CONF_STR, offsetof(redis_conf_t, tls_name), "",
      0, 0, NULL, 0,
      "The name every server's certificate must bear. Empty: the host that "
      "was connected to, which sentinels and clusters give as an address." },
    { NULL, CONF_STR, 0, NULL, 0, 0, NULL, 0, NULL }
};


void
redis_place_set(redis_place_t *place, const char *host, size_t len, int port)
{
    place->host = mem_strndup(host, len);
    place->port = port;

    if (port == 0) {
        place->address = mem_printf("unix:%s", place->host);
    } else if (strchr(place->host, ':') != NULL) {
        place->address = mem_printf("[%s]:%d", place->host, port);
    } else {
        place->address = mem_printf("%s:%d", place->host, port);
    }
}


void
redis_place_free(redis_place_t *place)
{
    free(place->address);
    free(place->host);
    memset(place, 0, sizeof(*place));
}


int
redis_place_parse(redis_place_t *place, const char *text, size_t len, int bare)
{
    const char  *colon = memrchr(text, ':', len);
    const char  *from = text, *to = colon, *p;
    long         port = 0;

    if (colon == NULL) {
        return -1;
    }

    if (len > 0 && *from == '[') {
        if (to == from || to[-1] != ']') {
            return -1;
        }
        from++;
        to--;
    } else if (!bare && memchr(from, ':', (size_t) (to - from)) != NULL) {
        return -1;
    }

    for (p = colon + 1; p < text + len && *p >= '0' && *p <= '9'; p++) {
        port = port * 10 + (*p - '0');
        if (port > 65535) {
            return -1;
        }
    }

    /* In a redirect an empty host is the one that was asked. */
    if (p < text + len || port == 0 || to < from || (to == from && !bare)) {
        return -1;
    }

    redis_place_set(place, from, (size_t) (to - from), (int) port);
    return 0;
}


static rc_t
redis_place_add(redis_place_t **places, size_t *n, const char *text,
    size_t len, err_t *err)
{
    const size_t   word = sizeof(redis_unix) - 1;
    redis_place_t  place = { 0 };

    if (len > word && strncmp(text, redis_unix, word) == 0) {
        redis_place_set(&place, text + word, len - word, 0);
    } else if (redis_place_parse(&place, text, len, 0) != 0) {
        return err_set(err, RC_REJECT, "redis address \"%.*s\" is none of "
                       "host:port, [v6]:port, unix:/path", (int) len, text);
    }

    *places = mem_grow(*places, *n + 1, sizeof(redis_place_t));
    (*places)[(*n)++] = place;
    return RC_OK;
}


rc_t
redis_places(const redis_conf_t *conf, redis_place_t **places, size_t *n,
    err_t *err)
{
    const char  *p = conf->address;
    rc_t         rc = RC_OK;

    *places = NULL;
    *n = 0;

    while (rc == RC_OK) {
        p += strspn(p, " \t\n");

        size_t  len = strcspn(p, ","), text = len;

        while (text > 0 && strchr(" \t\n", p[text - 1]) != NULL) {
            text--;
        }
        rc = redis_place_add(places, n, p, text, err);
        if (p[len] == '\0') {
            break;
        }
        p += len + 1;
    }

    if (rc != RC_OK) {
        while (*n > 0) {
            redis_place_free(&(*places)[--*n]);
        }
        free(*places);
        *places = NULL;
    }
    return rc;
}


static rc_t
redis_check_mode(const redis_conf_t *conf, const redis_place_t *places,
    size_t n, err_t *err)
{
    if (conf->mode == REDIS_STANDALONE && n > 1) {
        return err_set(err, RC_REJECT, "[redis] address lists several servers; "
                       "that needs mode = sentinel or mode = cluster");
    }
    for (size_t i = 0; i < n; i++) {
        if (places[i].port == 0 && (conf->mode != REDIS_STANDALONE
                                    || conf->tls))
        {
            return err_set(err, RC_REJECT, "[redis] address %s: a socket goes "
                           "neither with sentinels, nor with a cluster, nor "
                           "with tls", places[i].address);
        }
    }
    if (conf->mode == REDIS_SENTINEL && conf->sentinel_master[0] == '\0') {
        return err_set(err, RC_REJECT, "[redis] mode = sentinel needs "
                       "sentinel_master");
    }
    if (conf->mode == REDIS_CLUSTER && conf->db != 0) {
        return err_set(err, RC_REJECT, "[redis] a cluster has no db %d",
                       (int) conf->db);
    }
    return RC_OK;
}


rc_t
redis_check(const redis_conf_t *conf, err_t *err)
{
    redis_place_t  *places = NULL;                         /* owned */
    size_t          n = 0;
    rc_t            rc;

    rc = redis_places(conf, &places, &n, err);
    if (rc == RC_OK) {
        rc = redis_check_mode(conf, places, n, err);
    }
    while (n > 0) {
        redis_place_free(&places[--n]);
    }
    free(places);
    if (rc != RC_OK) {
        return rc;
    }

    if (conf->tls && !redis_tls_is_built()) {
        return err_set(err, RC_REJECT, "[redis] tls: this build has no TLS for "
                       "Redis; it needs libhiredis 1.0 or later with "
                       "hiredis_ssl when it is made");
    }
    if ((conf->tls_cert[0] == '\0') != (conf->tls_key[0] == '\0')) {
        return err_set(err, RC_REJECT, "[redis] tls_cert and tls_key go "
                       "together");
    }
    return RC_OK;
}
