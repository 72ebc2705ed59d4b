/*
 * test_multipart_splits.c: the fuzzer's corpus, cut at every place.
 *
 * What the fuzzer found worth keeping has no expectation beside it, so the body
 * fed whole is what its pieces are measured by: two of them cut at every place,
 * and one for each byte.  The files' last five bytes choose the boundary, as in
 * tests/fuzz/fuzz_multipart.c.  Pieces are heap blocks of their exact size, so
 * ASan sees a read beyond one.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "multipart.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define LOG_MAX    (1u << 18)
#define INPUT_MAX  16384


typedef struct {
    unsigned char  bytes[LOG_MAX];
    size_t         len;
    uint32_t       data;         /* bytes of the part at hand */
} run_log_t;


static run_log_t  whole, pieces;


static void
put(run_log_t *log, const void *bytes, size_t len)
{
    assert_true(len <= LOG_MAX - log->len);

    if (len != 0) {
        memcpy(log->bytes + log->len, bytes, len);
        log->len += len;
    }
}


static void
put_string(run_log_t *log, const sluice_multipart_str_t *str)
{
    uint32_t  len;

    len = str->data != NULL ? str->len : UINT32_MAX;
    put(log, &len, sizeof(len));
    put(log, str->data, str->len);
}


static int
on_begin(void *ctx, const sluice_multipart_part_t *part)
{
    unsigned char   flags;
    run_log_t      *log = ctx;

    flags = part->has_filename | part->has_filename_star << 1;
    log->data = 0;

    put(log, "B", 1);
    put(log, &flags, 1);
    put_string(log, &part->name);
    put_string(log, &part->filename);
    put_string(log, &part->content_type);

    return 0;
}


static int
on_data(void *ctx, const char *data, size_t len)
{
    run_log_t  *log = ctx;

    assert_true(len > 0);
    log->data += len;
    put(log, data, len);

    return 0;
}


static int
on_end(void *ctx)
{
    run_log_t  *log = ctx;

    put(log, "E", 1);
    put(log, &log->data, sizeof(log->data));

    return 0;
}


static const sluice_multipart_events_t  events = { on_begin, on_data, on_end };


/* Slices of size bytes, the first of them of first bytes. */
static void
run(run_log_t *log, const char *boundary, const char *body, size_t len,
    size_t first, size_t size)
{
    char                      *copy;
    size_t                     n;
    sluice_multipart_t         mp;
    sluice_multipart_rc_e      rc;
    sluice_multipart_str_t     str;
    sluice_multipart_limits_t  limits = { .header_total = 8192, .parts = 20 };

    str.data = boundary;
    str.len = strlen(boundary);
    log->len = 0;
    log->data = 0;

    memset(&mp, 0xa5, sizeof(mp));
    sluice_multipart_init(&mp, &str, &limits, &events, log);

    for (n = first; len > 0; n = size) {
        n = n < len ? n : len;
        copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, body, n);
        (void) sluice_multipart_feed(&mp, copy, n);
        free(copy);
        body += n;
        len -= n;
    }

    rc = sluice_multipart_finish(&mp);
    put(log, &log->data, sizeof(log->data));
    put(log, &rc, sizeof(rc));
    put(log, sluice_multipart_why(&mp), strlen(sluice_multipart_why(&mp)));
}


static void
compare(const char *name, const char *how, size_t at)
{
    if (whole.len != pieces.len
        || memcmp(whole.bytes, pieces.bytes, whole.len) != 0)
    {
        fail_msg("%s: %s %zu: other events than whole", name, how, at);
    }
}


static void
check_file(const char *folder, const char *name)
{
    char               path[1024], body[INPUT_MAX];
    FILE              *file;
    size_t             len, n;
    const char        *boundary;
    static const char  longest[] = "01234567890123456789012345678901234"
                                   "56789012345678901234567890123456789";
    static const char *const  boundaries[] = {
        "AaB03x", "b", "--", "a-----------------------------------------b",
        longest
    };

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rb");
    assert_non_null(file);
    len = fread(body, 1, sizeof(body), file);
    fclose(file);

    if (len < 6) {
        return;
    }

    len -= 5;
    boundary = boundaries[(unsigned char) body[len] % 5];

    run(&whole, boundary, body, len, len, len);
    run(&pieces, boundary, body, len, 1, 1);
    compare(name, "in slices of", 1);

    for (n = 1; n < len; n++) {
        run(&pieces, boundary, body, len, n, len);
        compare(name, "cut at", n);
    }
}


static void
test_every_cut_of_the_fuzzers_corpus_gives_the_same_events(void **state)
{
    DIR            *dir;
    char            folder[400], *slash;
    unsigned        i, files;
    struct dirent  *entry;

    (void) state;

    snprintf(folder, sizeof(folder), "%s", __FILE__);

    /* .../tests/unit/FILE: the corpus is a sibling of unit/ */
    for (i = 0; i < 2; i++) {
        slash = strrchr(folder, '/');
        assert_non_null(slash);
        *slash = '\0';
    }

    strncat(folder, "/fuzz/corpus/multipart",
            sizeof(folder) - strlen(folder) - 1);

    dir = opendir(folder);
    assert_non_null(dir);

    for (files = 0; (entry = readdir(dir)) != NULL; /* void */) {
        if (entry->d_name[0] != '.') {
            check_file(folder, entry->d_name);
            files++;
        }
    }

    closedir(dir);
    assert_true(files > 15);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(
            test_every_cut_of_the_fuzzers_corpus_gives_the_same_events)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
