/*
 * test_multipart_corpus.c: bodies, and what the parser must make of them.
 *
 * A claim is a pair of files of multipart_corpus/: NAME.body, and what it must
 * come to in NAME.expect.  The first line there names the boundary, the others
 * are as multipart_told.h writes them.  Each body is fed whole, in two slices
 * cut at every place, and in slices of every small size.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "multipart_told.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static char *
read_file(const char *path, size_t *len)
{
    char  *data;
    FILE  *file;

    file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("cannot open %s", path);
    }

    data = calloc(1, TOLD_MAX);
    assert_non_null(data);
    *len = fread(data, 1, TOLD_MAX - 1, file);
    fclose(file);

    return data;
}


static void
check_corpus_file(const char *folder, const char *name)
{
    char    path[1024], boundary[80], *body, *expect, *want;
    size_t  len, expect_len, n;

    snprintf(path, sizeof(path), "%s/%s.body", folder, name);
    body = read_file(path, &len);
    snprintf(path, sizeof(path), "%s/%s.expect", folder, name);
    expect = read_file(path, &expect_len);

    assert_int_equal(sscanf(expect, "boundary %79s", boundary), 1);
    want = strchr(expect, '\n') + 1;

    told_start(boundary, NULL);
    told_feed_slices(body, len, len, len);
    told_check(name, want, "whole", 0);

    for (n = 1; n < len; n++) {
        told_start(boundary, NULL);
        told_feed_slices(body, len, n, len);
        told_check(name, want, "cut at", n);
    }

    for (n = 1; n < 100 && n < len; n++) {
        told_start(boundary, NULL);
        told_feed_slices(body, len, n, n);
        told_check(name, want, "in slices of", n);
    }

    free(body);
    free(expect);
}


static void
test_every_split_of_the_corpus_gives_the_expected_events(void **state)
{
    DIR            *dir;
    char            folder[400], name[256], *slash;
    size_t          len;
    unsigned        files;
    struct dirent  *entry;

    (void) state;

    snprintf(folder, sizeof(folder), "%s", __FILE__);
    slash = strrchr(folder, '/');
    assert_non_null(slash);
    snprintf(slash, folder + sizeof(folder) - slash, "/multipart_corpus");

    dir = opendir(folder);
    assert_non_null(dir);

    for (files = 0; (entry = readdir(dir)) != NULL; /* void */) {
        len = strlen(entry->d_name);

        if (len < 6 || strcmp(entry->d_name + len - 5, ".body") != 0) {
            continue;
        }

        snprintf(name, sizeof(name), "%.*s", (int) len - 5, entry->d_name);
        check_corpus_file(folder, name);
        files++;
    }

    closedir(dir);
    assert_true(files > 80);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(
            test_every_split_of_the_corpus_gives_the_expected_events)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
