/*
 * slab.c: memory that bytes are received into, and stay in.
 *
 * Owns blocks, who refers to them, and where a store's bytes lie.  Does not
 * receive, and does not know what is received.
 *
 * What makes it safe to leave bytes in place, or to move them down in the slab
 * without a look at what else lies there: bytes are fed in the order in which
 * they were received, only the last store of a reader is appended to, and
 * between reader->used, where the last store ends, and the bytes that are
 * appended now nothing is needed any more.  That may be the framing of chunks,
 * headers of parts, or bytes held back by the parser, which has a copy.
 */

#include "slab.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/*
 * The sanitizer knows what malloc() gave and free() took: there a block is
 * never mapped, and never kept.
 */
#if defined(__SANITIZE_ADDRESS__)
#define SLUICE_SLAB_MAPPED  ((size_t) -1)
#define SLUICE_SLAB_KEEPS   0
#else
#define SLUICE_SLAB_MAPPED  SLUICE_SLAB_FIRST
#define SLUICE_SLAB_KEEPS   1
#endif

#define SLUICE_SLAB_PAGE    4096

/* Room that is not worth a call to receive into, unless no more comes. */
#define SLUICE_SLAB_LITTLE  4096

#define sluice_slab_min(a, b)  (((a) < (b)) ? (a) : (b))
#define sluice_slab_max(a, b)  (((a) > (b)) ? (a) : (b))

/* An address behind the header that vectors can be loaded from. */
#define SLUICE_SLAB_HEADER  64


static unsigned char *
sluice_slab_start(sluice_slab_t *slab)
{
    return (unsigned char *) slab + SLUICE_SLAB_HEADER;
}


/* Whether p is one of the bytes received, at whatever address else it lies. */
static unsigned
sluice_slab_has(sluice_slab_t *slab, const unsigned char *p)
{
    return (uintptr_t) p >= (uintptr_t) sluice_slab_start(slab)
           && (uintptr_t) p < (uintptr_t) slab->last;
}


/* Four sizes to each doubling, so that at most a fifth of a block is waste. */
static size_t
sluice_slab_class_size(unsigned i)
{
    return ((size_t) SLUICE_SLAB_FIRST / 4 * (4 + i % 4)) << (i / 4);
}


static unsigned
sluice_slab_class(size_t size)
{
    unsigned  i;

    for (i = 0; i < SLUICE_SLAB_CLASSES; i++) {
        if (size <= sluice_slab_class_size(i)) {
            break;
        }
    }

    return i;
}


void
sluice_slab_pool_init(sluice_slab_pool_t *pool, size_t keep, size_t *reading,
    size_t *lent)
{
    memset(pool, 0, sizeof(sluice_slab_pool_t));

    pool->keep = SLUICE_SLAB_KEEPS ? keep : 0;
    pool->reading = reading;
    pool->lent = lent;
}


/*
 * Mapped blocks go back to the system when they are freed, wherever they lie;
 * in malloc()'s heap one small block above them would keep them all.
 */
static sluice_slab_t *
sluice_slab_map(size_t size)
{
    void           *block;
    sluice_slab_t  *slab;

    block = MAP_FAILED;

    if (size >= SLUICE_SLAB_MAPPED) {
        block = mmap(NULL, size, PROT_READ|PROT_WRITE,
                     MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
    }

    if (block != MAP_FAILED) {
        slab = block;
        slab->mapped = 1;

    } else {
        /* the process has as many mappings as it may have */
        slab = malloc(size);
        if (slab == NULL) {
            return NULL;
        }

        slab->mapped = 0;
    }

    slab->size = size;
    slab->end = (unsigned char *) slab + size;

    return slab;
}


static void
sluice_slab_unmap(sluice_slab_t *slab)
{
    if (slab->mapped) {
        (void) munmap(slab, slab->size);

    } else {
        free(slab);
    }
}


/* One that is up to a half larger will do, as its pages are there already. */
static sluice_slab_t *
sluice_slab_unused(sluice_slab_pool_t *pool, unsigned i)
{
    unsigned        end;
    sluice_slab_t  *slab;

    end = sluice_slab_min(i + 3, SLUICE_SLAB_CLASSES);

    for ( /* void */ ; i < end; i++) {

        slab = pool->unused[i];

        if (slab != NULL) {
            pool->unused[i] = slab->next;
            pool->kept -= slab->size;
            pool->n[i]--;
            pool->least[i] = sluice_slab_min(pool->least[i], pool->n[i]);

            return slab;
        }
    }

    return NULL;
}


/* A slab of one reference that counts as being filled. */
static sluice_slab_t *
sluice_slab_new(sluice_slab_pool_t *pool, size_t size)
{
    unsigned        i;
    sluice_slab_t  *slab;

    i = sluice_slab_class(size);
    slab = sluice_slab_unused(pool, i);

    if (slab == NULL) {

        if (i == SLUICE_SLAB_CLASSES) {
            size = (size + SLUICE_SLAB_PAGE - 1)
                   & ~((size_t) SLUICE_SLAB_PAGE - 1);

        } else {
            size = sluice_slab_class_size(i);
        }

        slab = sluice_slab_map(size);
        if (slab == NULL) {
            return NULL;
        }
    }

    slab->last = sluice_slab_start(slab);
    slab->reader = NULL;
    slab->refs = 1;
    slab->reading = 1;
    *pool->reading += slab->size;

    return slab;
}


static void
sluice_slab_lend(sluice_slab_pool_t *pool, sluice_slab_t *slab)
{
    slab->reading = 0;
    *pool->reading -= slab->size;
    *pool->lent += slab->size;
}


static void
sluice_slab_unref(sluice_slab_pool_t *pool, sluice_slab_t *slab)
{
    size_t                *used;
    unsigned               i;
    sluice_slab_reader_t  *reader;

    slab->refs--;

    reader = slab->reader;

    if (slab->refs == 1 && reader != NULL && reader->rests) {
        reader->slab = NULL;
        reader->pool->readers--;
        slab->refs = 0;
    }

    if (slab->refs > 0) {
        return;
    }

    used = slab->reading ? pool->reading : pool->lent;
    *used -= slab->size;

    i = sluice_slab_class(slab->size);

    if (i == SLUICE_SLAB_CLASSES || pool->kept + slab->size > pool->keep) {
        sluice_slab_unmap(slab);
        return;
    }

    slab->next = pool->unused[i];
    pool->unused[i] = slab;
    pool->kept += slab->size;
    pool->n[i]++;
}


size_t
sluice_slab_pool_trim(sluice_slab_pool_t *pool)
{
    unsigned         i, left;
    sluice_slab_t   *slab, **link;

    for (i = 0; i < SLUICE_SLAB_CLASSES; i++) {

        /* the last of the list have lain there longest */
        link = &pool->unused[i];

        for (left = pool->n[i] - pool->least[i]; left > 0; left--) {
            link = &(*link)->next;
        }

        while (*link != NULL) {
            slab = *link;
            *link = slab->next;
            pool->kept -= slab->size;
            pool->n[i]--;
            sluice_slab_unmap(slab);
        }

        pool->least[i] = pool->n[i];
    }

    return pool->kept;
}


void
sluice_slab_pool_close(sluice_slab_pool_t *pool)
{
    pool->keep = 0;

    (void) sluice_slab_pool_trim(pool);
    (void) sluice_slab_pool_trim(pool);
}


/* To a slab's start. */
static void
sluice_slab_move(sluice_slab_store_t *store, sluice_slab_t *slab)
{
    memmove(sluice_slab_start(slab), store->data, store->len);

    store->data = sluice_slab_start(slab);
}


/*
 * The reader's store, if any, begins its slab now.  gap bytes of it may be in
 * the parser; where they are as many, what comes next is received at the place
 * where it belongs.
 */
static void
sluice_slab_begin(sluice_slab_reader_t *reader, size_t gap)
{
    reader->used = sluice_slab_start(reader->slab);

    if (reader->store != NULL) {
        reader->used += reader->store->len;
    }

    reader->slab->last = reader->used + gap;
    reader->feed = reader->slab->last;
}


static size_t
sluice_slab_room_size(sluice_slab_reader_t *reader,
    const sluice_slab_hint_t *hint, size_t gap)
{
    size_t  need, room, max, len, more;

    need = SLUICE_SLAB_HEADER + gap;
    room = SLUICE_SLAB_FIRST - need;

    /* what is moved must at least double until it is moved again */
    if (reader->store != NULL) {
        len = reader->store->len;
        more = (hint->store > len) ? hint->store - len : 0;

        need += len;
        room = sluice_slab_max(room, sluice_slab_min(len, more));
    }

    max = (hint->max > need) ? hint->max - need : 0;
    max = sluice_slab_max(max, room);

    room = sluice_slab_max(room, sluice_slab_min(hint->waiting, max));

    return need + sluice_slab_max(1, sluice_slab_min(room, hint->rest));
}


int
sluice_slab_room(sluice_slab_reader_t *reader, const sluice_slab_hint_t *hint)
{
    size_t                gap, little;
    sluice_slab_t        *slab, *old;
    sluice_slab_store_t  *store;

    reader->rests = 0;

    old = reader->slab;
    store = reader->store;
    gap = SLUICE_SLAB_GAP;

    if (old != NULL) {

        if (store == NULL && old->refs == 1) {
            reader->used = sluice_slab_start(old);
        }

        /* behind the last store is what nobody wants, and what is held back */
        gap = sluice_slab_min(gap, (size_t) (old->last - reader->used));
        old->last = reader->used + gap;

        little = sluice_slab_max(SLUICE_SLAB_LITTLE, old->size / 64);
        little = sluice_slab_min(little, hint->rest);

        if (old->end > old->last && (size_t) (old->end - old->last) >= little)
        {
            return 0;
        }

        if (store != NULL && old->refs == 2
            && store->len + gap < (old->size - SLUICE_SLAB_HEADER) / 2)
        {
            /* the stores before it are gone */
            sluice_slab_move(store, old);
            sluice_slab_begin(reader, gap);
            return 0;
        }

        if (store == NULL) {
            gap = SLUICE_SLAB_GAP;
        }
    }

    slab = sluice_slab_new(reader->pool,
                           sluice_slab_room_size(reader, hint, gap));
    if (slab == NULL) {
        return -1;
    }

    if (store != NULL) {
        sluice_slab_move(store, slab);
        store->slab = slab;
        slab->refs++;
        sluice_slab_unref(reader->pool, old);
    }

    /* without its store, which goes on */
    reader->store = NULL;
    sluice_slab_leave(reader);

    reader->slab = slab;
    reader->store = store;
    reader->pool->readers++;
    slab->reader = reader;
    sluice_slab_begin(reader, gap);

    return 0;
}


void
sluice_slab_received(sluice_slab_reader_t *reader, size_t len)
{
    reader->slab->last += len;
}


void
sluice_slab_feed(sluice_slab_reader_t *reader, const unsigned char *bytes)
{
    reader->feed = (unsigned char *) bytes;
}


void
sluice_slab_rest(sluice_slab_reader_t *reader)
{
    if (reader->slab != NULL && reader->slab->refs == 1) {
        sluice_slab_leave(reader);
    }

    reader->rests = 1;
}


void
sluice_slab_leave(sluice_slab_reader_t *reader)
{
    sluice_slab_t  *slab;

    slab = reader->slab;
    if (slab == NULL) {
        return;
    }

    if (reader->store != NULL) {
        reader->store->reader = NULL;
        reader->store = NULL;
    }

    reader->slab = NULL;
    reader->pool->readers--;
    slab->reader = NULL;

    if (slab->refs > 1) {
        sluice_slab_lend(reader->pool, slab);
    }

    sluice_slab_unref(reader->pool, slab);
}


/* Where the bytes can be in the reader's slab; -1: nowhere. */
static int
sluice_slab_place(sluice_slab_reader_t *reader, sluice_slab_store_t *store,
    const unsigned char *bytes, size_t len, unsigned char **place)
{
    unsigned char  *at, *before;

    if (reader == NULL || reader->slab == NULL) {
        return -1;
    }

    if (sluice_slab_has(reader->slab, bytes)) {
        at = (unsigned char *) bytes;
        before = at;

    } else {
        /*
         * Held back: they were received just before what is fed now, or the
         * gap was left for them.
         */
        if (len > SLUICE_SLAB_GAP
            || len > (size_t) (reader->feed - reader->used))
        {
            return -1;
        }

        at = reader->feed - len;
        before = at;
    }

    if (store->slab != NULL) {

        if (store->reader != reader) {
            return -1;
        }

        at = store->data + store->len;
    }

    /* down, never up: what follows the bytes is still to be fed */
    if (at < reader->used || at > before) {
        return -1;
    }

    *place = at;

    return 0;
}


static void
sluice_slab_forget(sluice_slab_store_t *store)
{
    if (store->reader != NULL) {
        store->reader->used = store->data;
        store->reader->store = NULL;
        store->reader = NULL;
    }

    sluice_slab_unref(store->pool, store->slab);
}


/* Into a slab of its own; it grows by doubling. */
static int
sluice_slab_copy(sluice_slab_store_t *store, const unsigned char *bytes,
    size_t len)
{
    sluice_slab_t  *slab;

    slab = store->slab;

    if (!store->own || (size_t) (slab->end - slab->last) < len) {

        slab = sluice_slab_new(store->pool,
                               SLUICE_SLAB_HEADER + 2 * store->len + len);
        if (slab == NULL) {
            return -1;
        }

        if (store->data != NULL) {
            memcpy(slab->last, store->data, store->len);
            sluice_slab_forget(store);
        }

        store->slab = slab;
        store->data = slab->last;
        store->own = 1;

        slab->last += store->len;
    }

    memcpy(slab->last, bytes, len);
    slab->last += len;
    store->len += len;

    return 0;
}


int
sluice_slab_append(sluice_slab_reader_t *reader, sluice_slab_store_t *store,
    const unsigned char *bytes, size_t len)
{
    unsigned char  *at;

    if (len == 0) {
        return 0;
    }

    if (store->own
        || sluice_slab_place(reader, store, bytes, len, &at) != 0)
    {
        return sluice_slab_copy(store, bytes, len);
    }

    if (at != bytes) {
        memmove(at, bytes, len);
    }

    if (store->slab == NULL) {

        /* one store at a time: another that is still open must copy now */
        if (reader->store != NULL) {
            reader->store->reader = NULL;
        }

        reader->store = store;
        reader->slab->refs++;

        store->reader = reader;
        store->slab = reader->slab;
        store->data = at;
    }

    store->len += len;
    reader->used = at + len;

    return 0;
}


void
sluice_slab_close(sluice_slab_store_t *store)
{
    if (store->reader != NULL) {
        store->reader->store = NULL;
        store->reader = NULL;
    }

    if (store->own) {
        store->own = 0;
        sluice_slab_lend(store->pool, store->slab);
    }
}


void
sluice_slab_free(sluice_slab_store_t *store)
{
    if (store->slab == NULL) {
        return;
    }

    sluice_slab_forget(store);

    store->slab = NULL;
    store->data = NULL;
    store->len = 0;
    store->own = 0;
}
