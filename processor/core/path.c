/*
 * path.c: names of objects, set members and rows.
 *
 * Owns the percent-encoding of customers, the date part of object paths and
 * the types' file extensions.  Opens nothing: a path is only text here.
 *
 * Every name is built from parts whose length and alphabet are known, so that
 * none can climb out of the store, collide with another customer's, or
 * overrun its buffer.
 */

#include "core/path.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/window.h"

#define PATH_DATE_LEN  (sizeof("2026/11/20/12/00:30") - 1)

static const char  path_hex_lower[] = "0123456789abcdef";
static const char  path_hex_upper[] = "0123456789ABCDEF";


static int
path_is_safe(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')
           || (c >= '0' && c <= '9') || c == '_' || c == '-';
}


/* Needs room for three bytes a byte; returns the end. */
static char *
path_encode(char *p, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char  c = (unsigned char) s[i];

        if (path_is_safe(c)) {
            *p++ = (char) c;
        } else {
            *p++ = '%';
            *p++ = path_hex_upper[c >> 4];
            *p++ = path_hex_upper[c & 15];
        }
    }
    return p;
}


void
path_member(const record_t *rec, char member[PATH_MEMBER_MAX])
{
    assert(rec->customer_len <= SLUICE_CUSTOMER_MAX);

    char  *p = path_encode(member, rec->customer, rec->customer_len);

    *p++ = '/';
    memcpy(p, rec->sha256, SLUICE_SHA256_HEX + 1);
}


/* The value of an upper-case hex digit, or -1: one spelling of each name. */
static int
path_nibble(char c)
{
    const char  *p = c != '\0' ? strchr(path_hex_upper, c) : NULL;

    return p != NULL ? (int) (p - path_hex_upper) : -1;
}


int
path_member_parse(const char *member, size_t len,
    char customer[SLUICE_CUSTOMER_MAX + 1], char sha256[SLUICE_SHA256_HEX + 1])
{
    size_t  n = 0;

    if (len < SLUICE_SHA256_HEX + 1) {
        return -1;
    }

    size_t       end = len - SLUICE_SHA256_HEX - 1;
    const char  *hex = member + end + 1;

    if (member[end] != '/') {
        return -1;
    }
    for (size_t i = 0; i < SLUICE_SHA256_HEX; i++) {
        if (hex[i] == '\0' || strchr(path_hex_lower, hex[i]) == NULL) {
            return -1;
        }
    }

    for (size_t i = 0; i < end; i++) {
        unsigned char  c = (unsigned char) member[i];

        if (n == SLUICE_CUSTOMER_MAX) {
            return -1;
        }

        if (c == '%') {
            if (end - i < 3) {
                return -1;
            }

            int  high = path_nibble(member[i + 1]);
            int  low = path_nibble(member[i + 2]);

            if (high < 0 || low < 0) {
                return -1;
            }
            c = (unsigned char) (high << 4 | low);
            if (c == '\0' || path_is_safe(c)) {
                return -1;
            }
            i += 2;

        } else if (!path_is_safe(c)) {
            return -1;
        }

        customer[n++] = (char) c;
    }

    customer[n] = '\0';
    memcpy(sha256, hex, SLUICE_SHA256_HEX);
    sha256[SLUICE_SHA256_HEX] = '\0';
    return 0;
}


static char *
path_copy(char *p, const char *s, size_t n)
{
    memcpy(p, s, n);
    return p + n;
}


void
path_object(const char *prefix, int64_t window_ms, const record_t *rec,
    char path[PATH_OBJECT_MAX])
{
    const char  *ext = path_extension(rec->type, rec->type_len);
    char         t[WINDOW_LABEL_LEN];
    char        *p = path;

    assert(strlen(prefix) <= PATH_PREFIX_MAX);
    assert(rec->customer_len <= SLUICE_CUSTOMER_MAX);

    if (prefix[0] != '\0') {
        p = path_copy(p, prefix, strlen(prefix));
        *p++ = '/';
    }

    if (rec->customer_len > 0) {
        p = path_copy(p, "c-", 2);
        p = path_encode(p, rec->customer, rec->customer_len);
        *p++ = '/';
    }

    /* 20261120T120030Z becomes 2026/11/20/12/00:30 */
    window_label(window_ms, t);
    p = path_copy(p, t, 4);
    *p++ = '/';
    p = path_copy(p, t + 4, 2);
    *p++ = '/';
    p = path_copy(p, t + 6, 2);
    *p++ = '/';
    p = path_copy(p, t + 9, 2);
    *p++ = '/';
    p = path_copy(p, t + 11, 2);
    *p++ = ':';
    p = path_copy(p, t + 13, 2);
    *p++ = '/';

    p = path_copy(p, rec->sha256, SLUICE_SHA256_HEX);
    *p++ = '.';
    memcpy(p, ext, strlen(ext) + 1);
}


/* YYYY/MM/DD/HH/MM:SS to the label that it was made of; digits unchecked. */
static void
path_date_label(const char *date, char label[WINDOW_LABEL_LEN])
{
    char  *p = path_copy(label, date, 4);

    p = path_copy(p, date + 5, 2);
    p = path_copy(p, date + 8, 2);
    *p++ = 'T';
    p = path_copy(p, date + 11, 2);
    p = path_copy(p, date + 14, 2);
    p = path_copy(p, date + 17, 2);
    memcpy(p, "Z", 2);
}


/*
 * Takes prefix and time out of the path, makes the path again, and compares:
 * whatever is odd about it can't come out the same.
 */
int
path_object_is(const char *path, size_t len, const record_t *rec)
{
    char     again[PATH_OBJECT_MAX], prefix[PATH_PREFIX_MAX + 1];
    char     label[WINDOW_LABEL_LEN];
    int64_t  window_ms;
    size_t   tail, name, from;

    /* Whatever the time, the part behind the prefix has the same length. */
    path_object("", 0, rec, again);
    tail = strlen(again);
    name = strlen(strrchr(again, '/'));

    if (len < tail || len > tail + PATH_PREFIX_MAX + 1 || len == tail + 1) {
        return 0;
    }

    from = len > tail ? len - tail - 1 : 0;
    memcpy(prefix, path, from);
    prefix[from] = '\0';

    if (strlen(prefix) != from || !path_prefix_is_valid(prefix)) {
        return 0;
    }

    path_date_label(path + len - name - PATH_DATE_LEN, label);
    if (window_parse(label, &window_ms) != 0) {
        return 0;
    }

    path_object(prefix, window_ms, rec, again);

    return strlen(again) == len && memcmp(again, path, len) == 0;
}


int
path_prefix_is_valid(const char *prefix)
{
    size_t  len = strlen(prefix);

    if (len == 0) {
        return 1;
    }
    if (len > PATH_PREFIX_MAX || prefix[len - 1] == '/') {
        return 0;
    }

    /* What comes before the date is a customer's alone. */
    const char  *last = strrchr(prefix, '/');

    if (strncmp(last != NULL ? last + 1 : prefix, "c-", 2) == 0) {
        return 0;
    }

    for (size_t i = 0; i < len; i++) {
        char  c = prefix[i];

        /* A component can't begin with a dot: no "..", nothing hidden. */
        if (i == 0 || prefix[i - 1] == '/') {
            if (!path_is_safe((unsigned char) c)) {
                return 0;
            }
        } else if (c != '/' && c != '.' && !path_is_safe((unsigned char) c)) {
            return 0;
        }
    }
    return 1;
}


const char *
path_extension(const char *type, size_t len)
{
    /* What the module's sniffer can answer, and what is often uploaded. */
    static const struct {
        const char  *type;
        const char  *ext;
    } table[] = {
        { "image/jpeg", "jpg" },
        { "image/png", "png" },
        { "image/gif", "gif" },
        { "image/webp", "webp" },
        { "image/avif", "avif" },
        { "image/heic", "heic" },
        { "image/heif", "heif" },
        { "image/tiff", "tiff" },
        { "image/bmp", "bmp" },
        { "image/x-icon", "ico" },
        { "image/vnd.microsoft.icon", "ico" },
        { "image/jxl", "jxl" },
        { "image/jp2", "jp2" },
        { "video/mp4", "mp4" },
        { "video/webm", "webm" },
        { "video/quicktime", "mov" },
        { "video/avi", "avi" },
        { "video/3gpp", "3gp" },
        { "video/3gpp2", "3g2" },
        { "video/x-matroska", "mkv" },
        { "audio/mpeg", "mp3" },
        { "audio/wave", "wav" },
        { "audio/aiff", "aiff" },
        { "audio/basic", "au" },
        { "audio/midi", "mid" },
        { "audio/mp4", "m4a" },
        { "audio/flac", "flac" },
        { "application/ogg", "ogx" },
        { "application/pdf", "pdf" },
        { "application/postscript", "ps" },
        { "application/zip", "zip" },
        { "application/gzip", "gz" },
        { "application/x-gzip", "gz" },
        { "application/x-rar-compressed", "rar" },
        { "application/x-7z-compressed", "7z" },
        { "application/json", "json" },
        { "text/plain", "txt" },
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strlen(table[i].type) == len
            && memcmp(table[i].type, type, len) == 0)
        {
            return table[i].ext;
        }
    }
    return "bin";
}


void
path_id(const char *pipeline, int64_t window_ms, const char *customer,
    const char *sha256, char id[PATH_ID_LEN])
{
    unsigned char   hash[EVP_MAX_MD_SIZE];
    char            number[24];
    EVP_MD_CTX     *md = EVP_MD_CTX_new();
    int             n = snprintf(number, sizeof(number), "\n%lld\n",
                                 (long long) window_ms);

    if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1
        || EVP_DigestUpdate(md, pipeline, strlen(pipeline)) != 1
        || EVP_DigestUpdate(md, number, (size_t) n) != 1
        || EVP_DigestUpdate(md, customer, strlen(customer)) != 1
        || EVP_DigestUpdate(md, "\n", 1) != 1
        || EVP_DigestUpdate(md, sha256, strlen(sha256)) != 1
        || EVP_DigestFinal_ex(md, hash, NULL) != 1)
    {
        /* Only without memory or a usable OpenSSL. */
        abort();
    }
    EVP_MD_CTX_free(md);

    hash[6] = (unsigned char) ((hash[6] & 0x0f) | 0x80);      /* version 8 */
    hash[8] = (unsigned char) ((hash[8] & 0x3f) | 0x80);      /* variant */

    char  *p = id;

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }
        *p++ = path_hex_lower[hash[i] >> 4];
        *p++ = path_hex_lower[hash[i] & 15];
    }
    *p = '\0';
}
