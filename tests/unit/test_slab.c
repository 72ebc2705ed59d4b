/*
 * test_slab.c: what was received is what a store holds, wherever slabs end.
 *
 * The multipart parser is fed from a slab as the module does it, with bodies
 * that come whole, in chunks with framing between, and in pieces down to one
 * byte; rooms, sizes and the order in which stores are freed are random, from
 * a seed.  A store is compared when it is closed and again when it is freed.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "multipart.h"
#include "slab.h"

#define BOUNDARY  "x-boundary-of-forty-characters-0123456789"
#define FILES     40


static sluice_slab_pool_t  pool;
static size_t              reading, lent;
static uint64_t            seed;


typedef struct {
    sluice_slab_store_t   store;
    const char           *want;
    size_t                len;
    int                   open;
} kept_t;

typedef struct {
    sluice_slab_reader_t  reader;
    sluice_multipart_t    parser;
    kept_t                kept[FILES];
    int                   n;            /* files begun */
    int                   refuse;       /* each so many-th file */
    int                   free_early;
    char                 *body;
    size_t                len;
    size_t                largest;      /* of the blocks */
} upload_t;


static uint32_t
chance(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;

    return (uint32_t) (seed >> 33) % below;
}


static void
begin(upload_t *up)
{
    memset(up, 0, sizeof(upload_t));
    up->reader.pool = &pool;
}


/* n bytes that are all 'a', as from a socket, with room for more behind. */
static unsigned char *
receive_a(upload_t *up, const sluice_slab_hint_t *hint, size_t n)
{
    unsigned char  *p;

    assert_int_equal(sluice_slab_room(&up->reader, hint), 0);
    p = up->reader.slab->last;
    memset(p, 'a', n);
    sluice_slab_received(&up->reader, n);
    sluice_slab_feed(&up->reader, p);

    return p;
}


static void
check(kept_t *kept)
{
    assert_int_equal(kept->store.len, kept->len);
    assert_memory_equal(kept->store.data, kept->want, kept->len);
}


static int
part_begin(void *ctx, const sluice_multipart_part_t *part)
{
    upload_t  *up = ctx;

    (void) part;

    up->kept[up->n].store.pool = &pool;
    up->kept[up->n].open = 1;
    up->n++;

    return 0;
}


static int
part_data(void *ctx, const char *data, size_t len)
{
    kept_t    *kept;
    upload_t  *up = ctx;

    kept = &up->kept[up->n - 1];

    if (!kept->open) {
        return 0;
    }

    assert_int_equal(sluice_slab_append(&up->reader, &kept->store,
                                        (const unsigned char *) data, len), 0);

    /* a file that is refused on its way */
    if (up->refuse && up->n % up->refuse == 0 && kept->store.len > 1000) {
        sluice_slab_free(&kept->store);
        kept->open = 0;
    }

    return 0;
}


static int
part_end(void *ctx)
{
    int        i;
    kept_t    *kept;
    upload_t  *up = ctx;

    kept = &up->kept[up->n - 1];

    if (!kept->open) {
        return 0;
    }

    /* nothing that a parser emits needs a slab of its own */
    assert_false(kept->store.own);

    sluice_slab_close(&kept->store);
    check(kept);
    kept->open = 2;

    if (up->free_early && chance(2)) {
        i = chance(up->n);

        if (up->kept[i].open == 2) {
            check(&up->kept[i]);
            sluice_slab_free(&up->kept[i].store);
            up->kept[i].open = 0;
        }
    }

    return 0;
}


static const sluice_multipart_events_t  events = {
    part_begin, part_data, part_end
};


/* Random bytes, with what looks like a delimiter's beginning among them. */
static void
fill(char *p, size_t len)
{
    size_t  i, n;

    for (i = 0; i < len; /* void */ ) {

        if (chance(40) == 0) {
            n = 1 + chance(sizeof("\r\n--" BOUNDARY) - 2);
            n = (n < len - i) ? n : len - i;
            memcpy(p + i, "\r\n--" BOUNDARY, n);
            i += n;
            continue;
        }

        p[i++] = (char) ('a' + chance(26));
    }
}


static void
make(upload_t *up, int files, size_t most)
{
    int     i;
    size_t  size;
    char   *p;

    memset(up, 0, sizeof(upload_t));
    up->reader.pool = &pool;
    up->body = malloc(files * (most + 200) + 100);
    p = up->body;

    for (i = 0; i < files; i++) {
        size = chance(4) ? chance(most) : chance(100);
        p += sprintf(p, "%s--" BOUNDARY "\r\nContent-Disposition: form-data; "
                     "name=\"f\"; filename=\"%d\"\r\n\r\n", i ? "\r\n" : "",
                     i);
        fill(p, size);
        up->kept[i].want = p;
        up->kept[i].len = size;
        p += size;
    }

    p += sprintf(p, "\r\n--" BOUNDARY "--\r\n");
    up->len = p - up->body;

    sluice_multipart_init(&up->parser,
                          &(sluice_multipart_str_t) {
                              BOUNDARY, sizeof(BOUNDARY) - 1
                          }, NULL, &events, up);
}


/* What is kept is what lies in the lists. */
static void
check_pool(void)
{
    size_t          kept = 0;
    unsigned        i, n;
    sluice_slab_t  *slab;

    for (i = 0; i < SLUICE_SLAB_CLASSES; i++) {
        for (n = 0, slab = pool.unused[i]; slab != NULL; slab = slab->next) {
            kept += slab->size;
            n++;
        }

        assert_int_equal(pool.n[i], n);
        assert_true(pool.least[i] <= n);
    }

    assert_int_equal(pool.kept, kept);
    assert_true(pool.kept <= pool.keep);
}


static void
finish(upload_t *up)
{
    int     i;
    size_t  kept;

    assert_int_equal(sluice_multipart_finish(&up->parser),
                     SLUICE_MULTIPART_END);

    if (chance(2)) {
        sluice_slab_leave(&up->reader);
    }

    for (i = up->n - 1; i >= 0; i--) {
        if (up->kept[i].open) {
            check(&up->kept[i]);
            sluice_slab_free(&up->kept[i].store);
        }
    }

    sluice_slab_leave(&up->reader);
    free(up->body);

    assert_int_equal(reading, 0);
    assert_int_equal(lent, 0);
    assert_int_equal(pool.readers, 0);

    check_pool();

    if (chance(3) == 0) {
        kept = sluice_slab_pool_trim(&pool);
        assert_int_equal(kept, pool.kept);
        check_pool();
    }
}


static void
feed(upload_t *up, const unsigned char *p, size_t len)
{
    sluice_slab_feed(&up->reader, p);

    assert_true(sluice_multipart_feed(&up->parser, (const char *) p, len)
                <= SLUICE_MULTIPART_END);
}


/* Makes room and tells how much of it is filled, at most most. */
static size_t
room(upload_t *up, size_t rest, size_t most)
{
    size_t              size;
    sluice_slab_t      *slab;
    sluice_slab_hint_t  hint;

    if (chance(8) == 0) {
        sluice_slab_rest(&up->reader);
    }

    hint.rest = chance(3) ? rest : SLUICE_SLAB_UNKNOWN;
    hint.waiting = chance(3) ? chance(300000) : 0;
    hint.max = 16384 + chance(500000);
    hint.store = chance(400000);

    assert_int_equal(sluice_slab_room(&up->reader, &hint), 0);

    slab = up->reader.slab;
    size = (size_t) (slab->end - slab->last);
    assert_true(size > 0);
    up->largest = (up->largest > slab->size) ? up->largest : slab->size;

    size = (size < rest) ? size : rest;

    return chance(4) ? 1 + chance(size < most ? size : most)
                     : (size < most ? size : most);
}


static void
receive(upload_t *up, size_t most)
{
    size_t          n, at;
    unsigned char  *p;

    for (at = 0; at < up->len; at += n) {
        n = room(up, up->len - at, most);
        p = up->reader.slab->last;
        memcpy(p, up->body + at, n);
        sluice_slab_received(&up->reader, n);
        feed(up, p, n);
    }
}


/* The same with framing between: what is received isn't all fed. */
static void
receive_chunks(upload_t *up, size_t chunk, size_t most)
{
    size_t          n, at, in, len, left, piece;
    char           *wire;
    unsigned char  *p, *kind;

    wire = malloc(up->len * (chunk < 20 ? 8 : 2) + 100);
    kind = malloc(up->len * (chunk < 20 ? 8 : 2) + 100);

    for (at = 0, len = 0; at < up->len; at += n) {
        n = 1 + chance((uint32_t) chunk);
        n = (n < up->len - at) ? n : up->len - at;

        in = sprintf(wire + len, "%zx\r\n", n);
        memset(kind + len, 0, in);
        memcpy(wire + len + in, up->body + at, n);
        memset(kind + len + in, 1, n);
        memcpy(wire + len + in + n, "\r\n", 2);
        memset(kind + len + in + n, 0, 2);
        len += in + n + 2;
    }

    for (at = 0; at < len; at += n) {
        n = room(up, len - at, most);
        p = up->reader.slab->last;
        memcpy(p, wire + at, n);
        sluice_slab_received(&up->reader, n);

        for (left = 0; left < n; left += piece) {
            for (piece = 1; left + piece < n
                 && kind[at + left + piece] == kind[at + left]; piece++)
            {
                /* void */
            }

            if (kind[at + left]) {
                feed(up, p + left, piece);
            }
        }
    }

    free(wire);
    free(kind);
}


static int
setup(void **state)
{
    (void) state;

    reading = 0;
    lent = 0;
    sluice_slab_pool_init(&pool, 4000000, &reading, &lent);

    return 0;
}


static int
teardown(void **state)
{
    (void) state;

    sluice_slab_pool_close(&pool);
    assert_int_equal(pool.kept, 0);

    return 0;
}


static void
test_files_are_whole_however_a_body_is_received(void **state)
{
    int              i;
    upload_t         up;
    static const size_t  most[] = { 1, 7, 100, 1460, 65536, 1000000 };
    static const size_t  chunks[] = { 1, 5, 80, 3000, 100000 };

    (void) state;

    for (i = 0; i < 300; i++) {
        seed = i;
        make(&up, 1 + chance(FILES), i % 3 ? 3000 : 200000);
        up.refuse = i % 4;
        up.free_early = i & 1;

        if (i % 2) {
            receive(&up, up.len > 200000 ? most[2 + i % 4] : most[i % 6]);

        } else {
            receive_chunks(&up, chunks[up.len > 200000 ? 2 + i % 3 : i % 5],
                           most[up.len > 200000 ? 2 + i % 4 : i % 6]);
        }

        finish(&up);
    }
}


static void
test_a_block_is_no_larger_than_what_can_come(void **state)
{
    upload_t            up;
    sluice_slab_hint_t  hint = {
        10000000, 250000, SLUICE_SLAB_LARGEST, 300000
    };

    (void) state;

    begin(&up);

    assert_int_equal(sluice_slab_room(&up.reader, &hint), 0);
    assert_int_equal(reading, 262144);
    assert_true(up.reader.slab->end - up.reader.slab->last >= 250000);

    sluice_slab_leave(&up.reader);
    assert_int_equal(reading, 0);
}


static void
test_a_slow_sender_costs_at_most_twice_what_it_sent(void **state)
{
    upload_t             up;
    unsigned char       *p;
    unsigned char        byte[100] = { 0 };
    sluice_slab_hint_t   hint = {
        100, 1000000, SLUICE_SLAB_LARGEST, SLUICE_SLAB_UNKNOWN
    };
    sluice_slab_store_t  store = { .pool = &pool };

    (void) state;

    begin(&up);

    while (store.len < 900000) {
        assert_int_equal(sluice_slab_room(&up.reader, &hint), 0);
        p = up.reader.slab->last;
        memcpy(p, byte, sizeof(byte));
        sluice_slab_received(&up.reader, sizeof(byte));
        sluice_slab_feed(&up.reader, p);
        assert_int_equal(sluice_slab_append(&up.reader, &store, p,
                                            sizeof(byte)), 0);
        hint.rest -= sizeof(byte);

        /* a class may be a quarter larger than asked for */
        assert_true(reading <= SLUICE_SLAB_FIRST + store.len * 5 / 2);
    }

    sluice_slab_free(&store);
    sluice_slab_leave(&up.reader);
}


static void
test_what_is_lent_counts_until_the_last_store_is_freed(void **state)
{
    upload_t             up;
    unsigned char       *p;
    sluice_slab_hint_t   hint = { 0, SLUICE_SLAB_UNKNOWN, 65536, 4096 };
    sluice_slab_store_t  a = { .pool = &pool }, b = { .pool = &pool };

    (void) state;

    begin(&up);
    p = receive_a(&up, &hint, 2000);
    assert_int_equal(sluice_slab_append(&up.reader, &a, p, 1000), 0);
    sluice_slab_close(&a);
    assert_int_equal(sluice_slab_append(&up.reader, &b, p + 1000, 1000), 0);
    sluice_slab_close(&b);
    assert_ptr_equal(a.data, p);
    assert_ptr_equal(b.data, p + 1000);

    assert_int_equal(reading, SLUICE_SLAB_FIRST);
    sluice_slab_leave(&up.reader);
    assert_int_equal(reading, 0);
    assert_int_equal(lent, SLUICE_SLAB_FIRST);

    sluice_slab_free(&a);
    assert_int_equal(lent, SLUICE_SLAB_FIRST);
    sluice_slab_free(&b);
    assert_int_equal(lent, 0);
}


static void
test_bytes_from_elsewhere_are_copied(void **state)
{
    char                 big[5000];
    upload_t             up;
    unsigned char       *p;
    sluice_slab_hint_t   hint = { 0, SLUICE_SLAB_UNKNOWN, 65536, 4096 };
    sluice_slab_store_t  a = { .pool = &pool }, b = { .pool = &pool };

    (void) state;

    begin(&up);
    memset(big, 'x', sizeof(big));

    /* without a reader */
    assert_int_equal(sluice_slab_append(NULL, &a, (unsigned char *) big, 10),
                     0);
    assert_int_equal(sluice_slab_append(NULL, &a, (unsigned char *) big,
                                        sizeof(big)), 0);
    assert_true(a.own);
    assert_int_equal(a.len, 10 + sizeof(big));
    assert_true(reading > 0);
    sluice_slab_close(&a);
    assert_int_equal(reading, 0);
    sluice_slab_free(&a);

    /* in the middle of what is received: nothing of it is overwritten */
    assert_int_equal(sluice_slab_room(&up.reader, &hint), 0);
    p = up.reader.slab->last;
    memset(p, 'r', 200);
    sluice_slab_received(&up.reader, 200);
    sluice_slab_feed(&up.reader, p);
    assert_int_equal(sluice_slab_append(&up.reader, &a, p, 100), 0);
    assert_int_equal(sluice_slab_append(&up.reader, &a,
                                        (unsigned char *) big, 50), 0);
    assert_int_equal(sluice_slab_append(&up.reader, &a, p + 100, 100), 0);
    assert_int_equal(p[100], 'r');
    assert_int_equal(a.data[99], 'r');
    assert_int_equal(a.data[100], 'x');
    assert_int_equal(a.data[149], 'x');
    assert_int_equal(a.data[249], 'r');

    /* two at a time */
    assert_int_equal(sluice_slab_append(&up.reader, &b, p + 150, 10), 0);
    assert_int_equal(sluice_slab_append(&up.reader, &a, p + 160, 40), 0);
    assert_int_equal(a.len, 290);
    assert_int_equal(b.len, 10);

    sluice_slab_free(&a);
    sluice_slab_leave(&up.reader);
    assert_int_equal(reading, 0);
    assert_int_equal(lent, SLUICE_SLAB_FIRST);
    assert_int_equal(b.data[9], 'r');
    assert_int_equal(sluice_slab_append(NULL, &b, (unsigned char *) big, 5),
                     0);
    assert_int_equal(b.data[14], 'x');
    sluice_slab_free(&b);
    assert_int_equal(reading, 0);
    assert_int_equal(lent, 0);
}


static void
test_a_reader_that_rests_keeps_nothing_once_all_is_freed(void **state)
{
    upload_t             up;
    unsigned char       *p;
    sluice_slab_hint_t   hint = { 0, SLUICE_SLAB_UNKNOWN, 65536, 4096 };
    sluice_slab_store_t  a = { .pool = &pool };

    (void) state;

    begin(&up);
    p = receive_a(&up, &hint, 100);
    assert_int_equal(sluice_slab_append(&up.reader, &a, p, 100), 0);
    sluice_slab_close(&a);

    sluice_slab_rest(&up.reader);
    assert_int_equal(reading, SLUICE_SLAB_FIRST);
    sluice_slab_free(&a);
    assert_int_equal(reading, 0);
    assert_int_equal(pool.readers, 0);

    assert_int_equal(sluice_slab_room(&up.reader, &hint), 0);
    assert_int_equal(reading, SLUICE_SLAB_FIRST);
    sluice_slab_leave(&up.reader);
}


static void
test_unused_blocks_are_kept_and_then_given_back(void **state)
{
    upload_t            up;
    sluice_slab_hint_t  hint = { 100000, 100000, 200000, 4096 };

    (void) state;

    begin(&up);

    assert_int_equal(sluice_slab_room(&up.reader, &hint), 0);
    sluice_slab_rest(&up.reader);
    assert_null(up.reader.slab);

    if (pool.keep == 0) {
        return;                     /* the sanitizer wants to see them freed */
    }

    assert_true(pool.kept > 0);

    /* used since: kept for another round */
    assert_true(sluice_slab_pool_trim(&pool) > 0);
    assert_int_equal(sluice_slab_room(&up.reader, &hint), 0);
    assert_int_equal(pool.kept, 0);
    sluice_slab_leave(&up.reader);

    assert_true(sluice_slab_pool_trim(&pool) > 0);
    assert_int_equal(sluice_slab_pool_trim(&pool), 0);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(
            test_files_are_whole_however_a_body_is_received, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_block_is_no_larger_than_what_can_come, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_slow_sender_costs_at_most_twice_what_it_sent, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            test_what_is_lent_counts_until_the_last_store_is_freed, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            test_bytes_from_elsewhere_are_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_reader_that_rests_keeps_nothing_once_all_is_freed, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            test_unused_blocks_are_kept_and_then_given_back, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
