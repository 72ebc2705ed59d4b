/*
 * slab.h: memory that bytes are received into, and stay in.
 *
 * A slab is one block.  Its reader, an upload, fills it from its start; what
 * of the bytes is to be kept becomes a store, a slice of the slab, at the
 * place where they were received.  Reader and stores hold a reference each,
 * and the last to leave gives the slab back to the pool.
 *
 * Plain C: knows no socket, no request and no parser.  Nothing is locked.
 */

#ifndef SLUICE_SLAB_H
#define SLUICE_SLAB_H

#include <stddef.h>

/* nginx opens modules with RTLD_GLOBAL: our names must not meet others'. */
#pragma GCC visibility push(hidden)

/*
 * The most that a parser may hold back and give out later from a copy of its
 * own: multipart's delimiter, CR LF - - and 70 characters, less one.
 */
#define SLUICE_SLAB_GAP      73

#define SLUICE_SLAB_FIRST    16384         /* bytes of the smallest block */
#define SLUICE_SLAB_LARGEST  1048576       /* unless one store needs more */
#define SLUICE_SLAB_CLASSES  25            /* sizes, from first to largest */
#define SLUICE_SLAB_UNKNOWN  ((size_t) -1)

typedef struct sluice_slab_s         sluice_slab_t;
typedef struct sluice_slab_pool_s    sluice_slab_pool_t;
typedef struct sluice_slab_store_s   sluice_slab_store_t;
typedef struct sluice_slab_reader_s  sluice_slab_reader_t;

struct sluice_slab_s {
    sluice_slab_t         *next;           /* in the pool */
    unsigned char         *last;           /* behind what was received */
    unsigned char         *end;
    size_t                 size;           /* of the block */
    sluice_slab_reader_t  *reader;         /* NULL: it has left, or is none */
    unsigned               refs;
    unsigned               reading:1;      /* in *pool->reading, else *lent */
    unsigned               mapped:1;
};

/*
 * Where blocks come from.  reading and lent are the caller's counters of the
 * bytes in blocks: those that are still filled, and those that only wait for
 * their stores to be freed.  A block counts whole.
 */
struct sluice_slab_pool_s {
    void                  *data;           /* the caller's */
    size_t                *reading;
    size_t                *lent;
    size_t                 readers;        /* that have a slab */
    size_t                 kept;           /* bytes of unused blocks */
    size_t                 keep;           /* and the most of them */
    sluice_slab_t         *unused[SLUICE_SLAB_CLASSES];
    unsigned               n[SLUICE_SLAB_CLASSES];
    unsigned               least[SLUICE_SLAB_CLASSES];  /* since trim() */
};

/* The bytes of one message.  Zeroed and given its pool it is empty. */
struct sluice_slab_store_s {
    sluice_slab_pool_t    *pool;
    sluice_slab_reader_t  *reader;         /* while it appends without copy */
    sluice_slab_t         *slab;           /* NULL: empty */
    unsigned char         *data;
    size_t                 len;
    unsigned               own:1;          /* alone in a slab, and filling it */
};

/* Zeroed and given its pool it has no slab. */
struct sluice_slab_reader_s {
    sluice_slab_pool_t    *pool;
    sluice_slab_t         *slab;           /* filled at slab->last */
    sluice_slab_store_t   *store;          /* the last one, being appended to */
    unsigned char         *feed;           /* what is fed now begins here */
    unsigned char         *used;           /* and what stores have ends here */
    unsigned               rests:1;
};

/* What is known of the bytes to come. */
typedef struct {
    size_t                 waiting;        /* are likely to be there already */
    size_t                 rest;           /* all of them, or ..._UNKNOWN */
    size_t                 max;            /* a block for them, if possible */
    size_t                 store;          /* no store becomes longer */
} sluice_slab_hint_t;

/* keep: bytes of unused blocks that may be kept.  close() frees them. */
void sluice_slab_pool_init(sluice_slab_pool_t *pool, size_t keep,
    size_t *reading, size_t *lent);
void sluice_slab_pool_close(sluice_slab_pool_t *pool);

/*
 * Free the blocks that lay unused since the last call.  Returns the bytes that
 * are still kept: while there are some it is to be called again.
 */
size_t sluice_slab_pool_trim(sluice_slab_pool_t *pool);

/*
 * Make room to receive into: slab->last to slab->end, one byte at least.  All
 * that was received before must have been fed.  May move the reader, and the
 * store that is being appended to, to another slab.  Returns 0, or -1 without
 * memory: then nothing has changed.
 */
int sluice_slab_room(sluice_slab_reader_t *reader,
    const sluice_slab_hint_t *hint);

/* len bytes were received at slab->last.  Each piece of them is announced by
 * feed() before it is appended from. */
void sluice_slab_received(sluice_slab_reader_t *reader, size_t len);
void sluice_slab_feed(sluice_slab_reader_t *reader,
    const unsigned char *bytes);

/* The reader waits: until the next room() its slab is given back as soon as
 * nothing lies in it. */
void sluice_slab_rest(sluice_slab_reader_t *reader);

/* The reader is over.  Its stores stay. */
void sluice_slab_leave(sluice_slab_reader_t *reader);

/*
 * Append bytes to a store.  Those that the reader has just received stay where
 * they are, or are moved down to the store's end in the same slab; so do those
 * that a parser has held back.  All others are copied, and the store has a
 * slab of its own from then on; reader may be NULL for that.  Returns 0, or -1
 * without memory.
 */
int sluice_slab_append(sluice_slab_reader_t *reader,
    sluice_slab_store_t *store, const unsigned char *bytes, size_t len);

/* No more is appended: data stays where it is. */
void sluice_slab_close(sluice_slab_store_t *store);

/* Give the bytes back, closed or not; the store is empty then. */
void sluice_slab_free(sluice_slab_store_t *store);

#pragma GCC visibility pop

#endif /* SLUICE_SLAB_H */
