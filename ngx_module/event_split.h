/*
 * event_split.h: one body cut into events, as its bytes arrive.
 *
 * A body is one event, or one for each line, or one for each element of the
 * JSON array that it is.  Bytes go in, in slices of any size; any split of the
 * input gives the same events.  Nothing is copied, allocated or logged, and no
 * byte of an event is changed.
 *
 * Of JSON only as much is read as tells where an element ends: strings with
 * their escapes, brackets, commas.  What a receiver's parser takes for the
 * elements are therefore the events; whether each is good JSON is for the
 * receiver to say.  RFC 8259.
 */

#ifndef SLUICE_EVENT_SPLIT_H
#define SLUICE_EVENT_SPLIT_H

#include <stddef.h>
#include <stdint.h>

/* nginx opens modules with RTLD_GLOBAL: our names must not meet others'. */
#pragma GCC visibility push(hidden)

#define SLUICE_EVENT_SPLIT_DEPTH  64       /* brackets open in an element */

typedef enum {
    SLUICE_EVENT_SPLIT_WHOLE = 0,          /* the body as it is */
    SLUICE_EVENT_SPLIT_LINES,              /* at LF or CR LF; empty ones are
                                              no events */
    SLUICE_EVENT_SPLIT_ARRAY
} sluice_event_split_mode_e;

/*
 * The next bytes of an event; it is over when last is set.  len may be 0 then,
 * and only then: that an event was over showed too late.  An event has at
 * least one byte.  bytes die when the function returns; a result other than 0
 * stops the splitter.
 */
typedef int (*sluice_event_split_pt)(void *ctx, const char *bytes, size_t len,
    int last);

typedef enum {
    SLUICE_EVENT_SPLIT_MORE = 0,           /* all bytes used */
    SLUICE_EVENT_SPLIT_END,                /* of finish(): the body was whole */
    SLUICE_EVENT_SPLIT_STOP,               /* the caller's function asked */
    SLUICE_EVENT_SPLIT_BAD,                /* malformed: answer 400 */
    SLUICE_EVENT_SPLIT_LIMIT               /* nested too deep: 413 */
} sluice_event_split_rc_e;

/* Held by value by the caller; the members are the splitter's own. */
typedef struct {
    sluice_event_split_pt      emit;
    void                      *ctx;
    const char                *why;
    sluice_event_split_mode_e  mode;
    sluice_event_split_rc_e    rc;         /* the last; errors stay */
    unsigned                   state;
    uint32_t                   depth;
    uint64_t                   objects;    /* by depth: is it { or [ */
    unsigned                   open:1;     /* an event has bytes, not its end */
    unsigned                   cr:1;       /* held back: an LF may follow */
} sluice_event_split_t;

/* ctx is passed to emit. */
void sluice_event_split_init(sluice_event_split_t *split,
    sluice_event_split_mode_e mode, sluice_event_split_pt emit, void *ctx);

/*
 * Push the next bytes: MORE, or an error, which is then the answer to every
 * further call.  buf is borrowed for this call; len may be 0.
 */
sluice_event_split_rc_e sluice_event_split_feed(sluice_event_split_t *split,
    const char *buf, size_t len);

/*
 * The body is over: END, or an error.  A CR that ends the body counts as the
 * end of its line.
 */
sluice_event_split_rc_e sluice_event_split_finish(
    sluice_event_split_t *split);

/* One sentence for the client, static; "" before BAD or LIMIT. */
const char *sluice_event_split_why(const sluice_event_split_t *split);

#pragma GCC visibility pop

#endif /* SLUICE_EVENT_SPLIT_H */
