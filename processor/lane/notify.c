/*
 * notify.c: the payload of the channel sluice_summary, and its NOTIFY.
 *
 * Owns the payload's form: docs/processor.md, "Notifications".  Does not
 * decide when it is sent.
 */

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lane/notify.h"

/* PostgreSQL takes 7999 bytes; the rest is for the pipeline and the frame. */
#define NOTIFY_BYTES  7600

static const char notify_sql[] =
    "SELECT pg_notify('" NOTIFY_CHANNEL "', $1::text)";


/* Escapes with backslashes; names hold no control characters. */
static size_t
notify_quoted(const char *name, size_t len)
{
    size_t n = len + 3;                        /* quotes and comma */

    for (size_t i = 0; i < len; i++) {
        n += name[i] == '"' || name[i] == '\\';
    }

    return n;
}


void
notify_customer(notify_t *n, const char *customer, size_t len)
{
    if (n->everyone || !members_add(&n->customers, customer, len, NULL)) {
        return;
    }

    n->bytes += notify_quoted(customer, len);

    if (n->bytes > NOTIFY_BYTES) {
        notify_everyone(n);
    }
}


void
notify_everyone(notify_t *n)
{
    members_reset(&n->customers);
    n->bytes = 0;
    n->everyone = 1;
}


int
notify_is_due(const notify_t *n)
{
    return n->everyone || n->customers.n > 0;
}


static char *
notify_payload(const notify_t *n, const char *pipeline)
{
    if (n->everyone) {
        return mem_printf("{\"pipeline\":\"%s\"}", pipeline);
    }

    char  *names = mem_alloc(n->bytes + 1), *at = names;

    for (size_t i = 0; i < n->customers.n; i++) {
        if (i > 0) {
            *at++ = ',';
        }

        *at++ = '"';

        for (const char *s = n->customers.texts[i]; *s != '\0'; s++) {
            if (*s == '"' || *s == '\\') {
                *at++ = '\\';
            }
            *at++ = *s;
        }

        *at++ = '"';
    }

    *at = '\0';

    char *payload = mem_printf("{\"pipeline\":\"%s\",\"customers\":[%s]}",
                               pipeline, names);

    free(names);

    return payload;
}


rc_t
notify_send(notify_t *n, pg_t *pg, const char *pipeline, err_t *err)
{
    char        *payload = notify_payload(n, pipeline);
    const char  *params[] = { payload };
    pg_result_t  result;
    rc_t         rc = pg_exec(pg, notify_sql, 1, params, &result, err);

    free(payload);
    members_reset(&n->customers);
    n->bytes = 0;
    n->everyone = 0;

    return rc;
}


void
notify_free(notify_t *n)
{
    members_free(&n->customers);
}
