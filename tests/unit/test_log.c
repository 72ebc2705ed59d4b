/* test_log.c: base/log.c */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static int   pipe_fd[2];
static char  line[8192];


static int
setup(void **state)
{
    (void) state;
    log_level_set(LOG_LEVEL_INFO);
    if (pipe(pipe_fd) != 0) {
        return -1;
    }
    log_fd_set(pipe_fd[1]);
    return 0;
}


static int
teardown(void **state)
{
    (void) state;
    log_fd_set(STDERR_FILENO);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
    return 0;
}


/* What was written, without its timestamp. */
static const char *
written(void)
{
    ssize_t  n;

    /* So that nothing written is an empty line, not a wait. */
    assert_int_equal(write(pipe_fd[1], "\n", 1), 1);
    n = read(pipe_fd[0], line, sizeof(line) - 1);
    assert_true(n > 0);
    line[n - 1] = '\0';
    if (n == 1) {
        return "";
    }
    assert_memory_equal(line, "ts=20", 5);
    assert_int_equal(line[26], 'Z');
    return line + 28;
}


static void
test_a_line_is_logfmt(void **state)
{
    (void) state;

    log_info("lane", "closed", LS("window", "20261120T120030Z"),
             LI("rows", 640), LI("late", -1));
    assert_string_equal(written(), "level=info mod=lane msg=closed "
                        "window=20261120T120030Z rows=640 late=-1\n");

    log_warn("lane", "stalled");
    assert_string_equal(written(), "level=warn mod=lane msg=stalled\n");
}


static void
test_levels_above_the_set_one_are_silent(void **state)
{
    (void) state;

    log_debug("lane", "no");
    assert_string_equal(written(), "");
    log_level_set(LOG_LEVEL_DEBUG);
    log_debug("lane", "yes");
    assert_string_equal(written(), "level=debug mod=lane msg=yes\n");
    log_level_set(LOG_LEVEL_ERROR);
    log_warn("lane", "no");
    assert_string_equal(written(), "");
}


static void
test_a_name_can_not_forge_a_line(void **state)
{
    (void) state;

    log_info("lane", "late", LS("name", "a\nts=1 level=error\r\t\"\\x"));
    assert_string_equal(written(), "level=info mod=lane msg=late "
                        "name=\"a\\nts=1 level=error\\r\\t\\\"\\\\x\"\n");
}


static void
test_control_bidi_and_broken_bytes_are_escaped(void **state)
{
    (void) state;

    log_info("m", "x", LS("a", "\x1b[2J"), LS("b", "\xe2\x80\xae" "gpj"),
             LS("c", "\xff\xc3"), LS("d", "\xc2\x85"), LS("e", "caf\xc3\xa9"));
    assert_string_equal(written(), "level=info mod=m msg=x a=\"\\x1b[2J\" "
                        "b=\"\\u202egpj\" c=\"\\xff\\xc3\" d=\"\\u0085\" "
                        "e=\"caf\xc3\xa9\"\n");
}


static void
test_empty_null_and_equals_are_quoted(void **state)
{
    (void) state;

    log_info("m", "two words", LS("a", ""), LS("b", NULL), LS("c", "x=y"));
    assert_string_equal(written(), "level=info mod=m msg=\"two words\" a=\"\" "
                        "b=\"\" c=\"x=y\"\n");
}


static void
test_long_lines_are_cut_with_their_quotes_closed(void **state)
{
    char    big[3000];
    size_t  quotes = 0;

    (void) state;

    for (int kind = 0; kind < 3; kind++) {
        memset(big, kind == 0 ? 'a' : kind == 1 ? '\n' : '"', sizeof(big));
        big[sizeof(big) - 1] = '\0';

        log_info("m", "x", LS("a", big), LS("b", big), LS("c", big),
                 LS("d", big), LS("e", big), LI("f", 1));

        const char  *text = written();
        size_t       len = strlen(line);

        assert_true(len <= 4096);
        assert_int_equal(line[len - 1], '\n');
        assert_int_equal(strchr(text, '\n') - line, len - 1);
        assert_non_null(strstr(text, "...\""));

        quotes = 0;
        for (const char *p = text; *p != '\0'; p++) {
            if (*p == '\\') {
                p++;
            } else if (*p == '"') {
                quotes++;
            }
        }
        assert_int_equal(quotes % 2, 0);
    }
}


static void
test_level_names(void **state)
{
    log_level_e  level;

    (void) state;

    assert_int_equal(log_level_parse("debug", &level), 0);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_int_equal(log_level_parse("error", &level), 0);
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_int_equal(log_level_parse("Info", &level), -1);
    assert_int_equal(log_level_parse("", &level), -1);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_a_line_is_logfmt, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_levels_above_the_set_one_are_silent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_name_can_not_forge_a_line,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_control_bidi_and_broken_bytes_are_escaped, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_empty_null_and_equals_are_quoted, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_long_lines_are_cut_with_their_quotes_closed, setup,
            teardown),
        cmocka_unit_test(test_level_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
