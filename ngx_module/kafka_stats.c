/*
 * kafka_stats.c: a walk through librdkafka's statistics.
 *
 * Owns just enough JSON to step over members: no tree, no allocation, no
 * numbers.  Does not validate; a document that ends early gives NULL, which
 * all callers pass on.
 */

#include <string.h>

#include "kafka_stats.h"


static const char *
stats_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) {
        p++;
    }

    return p;
}


/* p at the opening quote; returns what follows the closing one, or NULL. */
static const char *
stats_string(const char *p, const char *end)
{
    for (p++; p < end; p++) {

        if (*p == '\\') {
            p++;

        } else if (*p == '"') {
            return p + 1;
        }
    }

    return NULL;
}


/* p at a value of any kind; returns what follows it, or NULL. */
static const char *
stats_value(const char *p, const char *end)
{
    int  depth = 0;

    while (p < end) {

        if (*p == '"') {
            p = stats_string(p, end);
            if (p == NULL) {
                return NULL;
            }

            if (depth == 0) {
                return p;
            }

            continue;
        }

        if (*p == '{' || *p == '[') {
            depth++;

        } else if (*p == '}' || *p == ']') {
            if (depth == 0) {
                return p;
            }

            if (--depth == 0) {
                return p + 1;
            }

        } else if (*p == ',' && depth == 0) {
            return p;
        }

        p++;
    }

    return NULL;
}


/*
 * Step over one member.  *pp is behind '{' or a former member; afterwards it
 * is behind this one.  Sets key to the slice between the quotes and returns
 * the beginning of the value, or NULL at the object's end.
 */
static const char *
stats_member(const char **pp, const char *end, const char **key,
    size_t *key_len)
{
    const char  *p, *value;

    p = stats_blank(*pp, end);
    if (p < end && *p == ',') {
        p = stats_blank(p + 1, end);
    }

    if (p == end || *p != '"') {
        return NULL;
    }

    *key = p + 1;
    p = stats_string(p, end);
    if (p == NULL) {
        return NULL;
    }

    *key_len = p - *key - 1;

    p = stats_blank(p, end);
    if (p == end || *p != ':') {
        return NULL;
    }

    value = stats_blank(p + 1, end);
    *pp = stats_value(value, end);

    return (*pp == NULL) ? NULL : value;
}


/* p at '{'; returns the object that is the member's value, or NULL. */
static const char *
stats_object(const char *p, const char *end, const char *name, size_t len)
{
    size_t       key_len;
    const char  *key, *value;

    if (p == NULL || p == end || *p != '{') {
        return NULL;
    }

    p++;

    while ((value = stats_member(&p, end, &key, &key_len)) != NULL) {
        if (key_len == len && memcmp(key, name, len) == 0) {
            return value;
        }
    }

    return NULL;
}


int
sluice_kafka_stats_partitions(const char *json, size_t len,
    const char *topic, size_t topic_len)
{
    int          n;
    size_t       key_len;
    const char  *p, *end, *key;

    end = json + len;

    p = stats_object(stats_blank(json, end), end, "topics", 6);
    p = stats_object(p, end, topic, topic_len);
    p = stats_object(p, end, "partitions", 10);

    if (p == NULL || *p != '{') {
        return 0;
    }

    p++;
    n = 0;

    while (stats_member(&p, end, &key, &key_len) != NULL) {
        if (key_len > 0 && key[0] != '-') {
            n++;
        }
    }

    return n;
}
