/*
 * multipart_told.h: what the multipart parser told, as text.
 *
 * For the parser's tests.  Starts it, feeds it slices, each a heap block of
 * its exact size, so that ASan sees a read beyond one, and writes down:
 *
 *     part name="f" filename="a.jpg" type="image/jpeg"
 *     data "..."
 *     end
 *     END
 */

#ifndef MULTIPART_TOLD_H
#define MULTIPART_TOLD_H

#include <stddef.h>

#include "multipart.h"

#define TOLD_MAX   (1u << 20)
#define TOLD_HEAD  "Content-Disposition: form-data; name=\"f\"\r\n\r\n"

typedef struct {
    char      text[TOLD_MAX];
    size_t    len;
    unsigned  in_data;
    unsigned  begun;
    unsigned  ended;
    unsigned  stop_at;           /* the event that asks to stop; 0: none */
    unsigned  events;
} told_t;

extern told_t                           told;
extern sluice_multipart_t               told_parser;
extern const sluice_multipart_events_t  told_events;

/* Begins with nothing told; limits may be NULL. */
void told_start(const char *boundary, const sluice_multipart_limits_t *limits);

sluice_multipart_rc_e told_feed(const char *data, size_t len);

/* In slices of size bytes, the first of them of first bytes. */
sluice_multipart_rc_e told_feed_slices(const char *data, size_t len,
    size_t first, size_t size);

/* Byte by byte without end; how many bytes the parser took. */
size_t told_feed_until_refused(const char *pattern, sluice_multipart_rc_e *rc);

/* Writes down as the events do, for what is expected. */
void told_text(const char *text);
void told_bytes(const char *data, size_t len);

/*
 * Ends the body and compares: all that was told, with the result in its last
 * line, is want.  name, how and n say which case it is.
 */
void told_check(const char *name, const char *want, const char *how, size_t n);

#endif /* MULTIPART_TOLD_H */
