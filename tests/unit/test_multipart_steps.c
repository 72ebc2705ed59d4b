/*
 * test_multipart_steps.c: the parser's work grows no faster than its input.
 *
 * Not by a clock: the parser is compiled into this program with a counter in
 * each basic block (-fsanitize-coverage=trace-pc, see the Makefile), and the
 * bytes that the C library looks at on its behalf are added.  So a step is the
 * same on every machine and in every run.  What is fed is what brought other
 * parsers down: dense line ends, beginnings of the delimiter, escapes, junk
 * around the parts, many small parts; whole and in slices of many sizes.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#if defined(__clang__)
#define uncounted  __attribute__((no_sanitize("coverage")))
#else
#define uncounted  __attribute__((no_sanitize_coverage))
#endif


void __sanitizer_cov_trace_pc(void);

static uint64_t  steps;


uncounted void
__sanitizer_cov_trace_pc(void)
{
    steps++;
}


uncounted static void *
counted_memchr(const void *s, int c, size_t n)
{
    const char  *found;

    found = memchr(s, c, n);
    steps += found != NULL ? (size_t) (found - (const char *) s) : n;

    return (void *) found;
}


uncounted static int
counted_memcmp(const void *a, const void *b, size_t n)
{
    steps += n;

    return memcmp(a, b, n);
}


uncounted static void *
counted_memcpy(void *to, const void *from, size_t n)
{
    steps += n;

    return memcpy(to, from, n);
}


uncounted static size_t
counted_strlen(const char *s)
{
    size_t  n;

    n = strlen(s);
    steps += n;

    return n;
}


#define memchr  counted_memchr
#define memcmp  counted_memcmp
#define memcpy  counted_memcpy
#define strlen  counted_strlen

#include "multipart.c"
#include "multipart_find.c"
#include "multipart_header.c"

#undef memchr
#undef memcmp
#undef memcpy
#undef strlen


#define SMALL  (64u << 10)
#define HEAD   "Content-Disposition: form-data; name=\"f\"\r\n\r\n"

/* What a byte may cost at most; a slice of one byte is a call of its own. */
#define STEPS_A_BYTE   24
#define STEPS_A_SLICE  200


typedef struct {
    const char  *name;
    const char  *boundary;
    const char  *begin;
    const char  *pattern;        /* repeated; NULL: beginnings of delimiters */
    size_t       prefix;         /* how long these are */
    const char  *end;
} hostile_t;


uncounted static int
on_begin(void *ctx, const sluice_multipart_part_t *part)
{
    (void) ctx;
    (void) part;

    return 0;
}


uncounted static int
on_data(void *ctx, const char *data, size_t len)
{
    (void) ctx;
    (void) data;
    (void) len;

    return 0;
}


uncounted static int
on_end(void *ctx)
{
    (void) ctx;

    return 0;
}


static const sluice_multipart_events_t  events = { on_begin, on_data, on_end };

static char  body[2 * SMALL + 1024];


/* About size bytes of it. */
uncounted static size_t
make(const hostile_t *h, size_t size)
{
    char         delim[80];
    size_t       n, len;
    const char  *pattern;

    snprintf(delim, sizeof(delim), "\r\n--%s", h->boundary);
    pattern = h->pattern != NULL ? h->pattern : delim;
    n = h->pattern != NULL ? strlen(pattern) : h->prefix;

    len = strlen(h->begin);
    memcpy(body, h->begin, len);

    for ( /* void */ ; len + n <= size; len += n) {
        memcpy(body + len, pattern, n);
    }

    n = strlen(h->end);
    memcpy(body + len, h->end, n);

    return len + n;
}


uncounted static uint64_t
count(const hostile_t *h, size_t size, size_t slice,
    sluice_multipart_rc_e *rc)
{
    size_t                     at, n, len;
    sluice_multipart_t         mp;
    sluice_multipart_str_t     boundary;
    sluice_multipart_limits_t  limits = {
        .header_total = UINT32_MAX, .parts = UINT32_MAX
    };

    len = make(h, size);
    boundary.data = h->boundary;
    boundary.len = strlen(h->boundary);

    sluice_multipart_init(&mp, &boundary, &limits, &events, NULL);
    *rc = SLUICE_MULTIPART_MORE;
    steps = 0;

    for (at = 0; at < len; at += n) {
        n = len - at < slice ? len - at : slice;
        *rc = sluice_multipart_feed(&mp, body + at, n);
    }

    *rc = sluice_multipart_finish(&mp);

    return steps;
}


#define B70  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"

static const size_t  slices[] = { 1, 2, 5, 73, 74, 75, 1000, 4096, 1u << 30 };

static const hostile_t  linear[] = {
    { "letters", "b", "--b\r\n" HEAD, "x", 0, "\r\n--b--" },
    { "CR LF", "b", "--b\r\n" HEAD, "\r\n", 0, "\r\n--b--" },
    { "LF", "b", "--b\r\n" HEAD, "\n", 0, "\r\n--b--" },
    { "CR", "b", "--b\r\n" HEAD, "\r", 0, "\r\n--b--" },
    { "CR LF - -", "b", "--b\r\n" HEAD, "\r\n--", 0, "\r\n--b--" },
    { "CR and the last character", "b", "--b\r\n" HEAD, "\rb", 0,
      "\r\n--b--" },
    { "delimiters but for the end", B70, "--" B70 "\r\n" HEAD, NULL, 73,
      "\r\n--" B70 "--" },
    { "half delimiters", B70, "--" B70 "\r\n" HEAD, NULL, 37,
      "\r\n--" B70 "--" },
    { "five bytes of delimiters", B70, "--" B70 "\r\n" HEAD, NULL, 5,
      "\r\n--" B70 "--" },
    { "empty parts", "b", "", "--b\r\n" HEAD "\r\n", 0, "--b--" },
    { "parts with escapes in their names", "b", "",
      "--b\r\nContent-Disposition: form-data; name=\"\\\"\\\"\\\"\\\"\\\"\\\""
      "%22%22%22%0D%0A\\\\\\\\\\\\\\\\\"; ;;;; ;; ; filename*=a\r\n\r\n\r\n",
      0, "--b--" },
    { "parts with many headers", "b", "",
      "--b\r\nContent-Disposition: form-data; name=\"f\"\r\nA:\r\nB:\r\nC:\r\n"
      "D:\r\nE:\r\nF:\r\nG:\r\nH:\r\nI:\r\nJ:\r\nK:\r\nL:\r\nM:\r\nN:\r\n"
      "O:\r\n\r\n\r\n", 0, "--b--" }
};


static void
test_twice_the_input_is_at_most_twice_the_steps(void **state)
{
    size_t                 i, k, slice;
    uint64_t               once, twice;
    sluice_multipart_rc_e  rc;

    (void) state;

    for (i = 0; i < sizeof(linear) / sizeof(linear[0]); i++) {
        for (k = 0; k < sizeof(slices) / sizeof(slices[0]); k++) {
            slice = slices[k];
            once = count(&linear[i], SMALL, slice, &rc);
            assert_int_equal(rc, SLUICE_MULTIPART_END);
            twice = count(&linear[i], 2 * SMALL, slice, &rc);
            assert_int_equal(rc, SLUICE_MULTIPART_END);

            if (once == 0) {
                fail_msg("no step was counted: built without trace-pc");
            }

            if (twice * 10 > once * 21) {
                fail_msg("%s in slices of %zu: %llu, then %llu steps",
                         linear[i].name, slice, (unsigned long long) once,
                         (unsigned long long) twice);
            }

            if (once > SMALL * STEPS_A_BYTE
                       + (SMALL / slice + 1) * STEPS_A_SLICE)
            {
                fail_msg("%s in slices of %zu: %llu steps for %u bytes",
                         linear[i].name, slice, (unsigned long long) once,
                         SMALL);
            }
        }
    }
}


static const hostile_t  refused[] = {
    { "preamble", "b", "", "x", 0, "" },
    { "preamble of CR LF", "b", "", "\r\n", 0, "" },
    { "preamble of beginnings", B70, "", NULL, 73, "" },
    { "escapes in a name", "b",
      "--b\r\nContent-Disposition: form-data; name=\"", "\\\"", 0, "" },
    { "semicolons", "b", "--b\r\nContent-Disposition: form-data", ";", 0, "" },
    { "header lines", "b", "--b\r\n", "X:\r\n", 0, "" },
    { "a line without end", "b", "--b\r\n", "X", 0, "" },
    { "blanks after a delimiter", "b", "--b", " ", 0, "" }
};


/* What is over a limit is not looked at any more, however much of it comes. */
static void
test_what_is_refused_costs_the_same_however_long_it_is(void **state)
{
    size_t                 i, k;
    uint64_t               once, twice;
    sluice_multipart_rc_e  rc;

    (void) state;

    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        for (k = 0; k < sizeof(slices) / sizeof(slices[0]); k++) {
            once = count(&refused[i], SMALL, slices[k], &rc);
            assert_true(rc > SLUICE_MULTIPART_STOP);
            twice = count(&refused[i], 2 * SMALL, slices[k], &rc);
            assert_true(rc > SLUICE_MULTIPART_STOP);

            /* a call for each slice that still comes, and no more */
            if (twice > once + 4 * (SMALL / slices[k] + 1)) {
                fail_msg("%s in slices of %zu: %llu, then %llu steps",
                         refused[i].name, slices[k],
                         (unsigned long long) once,
                         (unsigned long long) twice);
            }
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_twice_the_input_is_at_most_twice_the_steps),
        cmocka_unit_test(
            test_what_is_refused_costs_the_same_however_long_it_is)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
