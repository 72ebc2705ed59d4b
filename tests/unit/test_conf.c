/* test_conf.c: base/conf.c and base/secret.c */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/conf.h"
#include "base/secret.h"


typedef struct {
    char     *name;
    int64_t   lanes, size_bytes, window_ms, level, on;
} plain_t;

typedef struct {
    conf_props_t  props;
} props_t;


static const conf_row_t  plain_rows[] = {
    { "name", CONF_STR, offsetof(plain_t, name), NULL, 0, 0, NULL, 0,
      "A name." },
    { "lanes", CONF_INT, offsetof(plain_t, lanes), "2", 1, 64, NULL, 0,
      "Threads." },
    { "size", CONF_SIZE, offsetof(plain_t, size_bytes), "8m", 1024, 1 << 30,
      NULL, 0, "Bytes." },
    { "window", CONF_TIME, offsetof(plain_t, window_ms), "30s", 1000,
      86400000, NULL, 1, "Length." },
    { "level", CONF_ENUM, offsetof(plain_t, level), "info", 0, 0,
      "error|info|debug", 1, "Words." },
    { "on", CONF_BOOL, offsetof(plain_t, on), "off", 0, 0, NULL, 0, "Or off." },
    { NULL, CONF_STR, 0, NULL, 0, 0, NULL, 0, NULL }
};

static const conf_row_t  props_rows[] = {
    { "PROPERTY", CONF_PROPS, offsetof(props_t, props), "", 0, 0, NULL, 0,
      "Any." },
    { NULL, CONF_STR, 0, NULL, 0, 0, NULL, 0, NULL }
};

static plain_t  plain;
static props_t  props;
static char     path[64];
static err_t    err;

static const conf_section_t  sections[] = {
    { "plain", plain_rows, &plain },
    { "props", props_rows, &props },
    { NULL, NULL, NULL }
};


static rc_t
load(const char *text, size_t len)
{
    FILE  *file;

    strcpy(path, "/tmp/sluice-conf-XXXXXX");

    int  fd = mkstemp(path);

    assert_true(fd >= 0);
    file = fdopen(fd, "w");
    assert_int_equal(fwrite(text, 1, len, file), len);
    fclose(file);

    rc_t  rc = conf_load(path, sections, &err);

    unlink(path);
    return rc;
}


static void
refused(const char *text, int line, const char *word)
{
    char  at[100];

    assert_int_equal(load(text, strlen(text)), RC_REJECT);
    assert_null(plain.name);
    assert_null(props.props.keys);

    if (line > 0) {
        (void) snprintf(at, sizeof(at), "%s:%d: ", path, line);
    } else {
        (void) snprintf(at, sizeof(at), "%s: ", path);
    }
    if (strncmp(err.text, at, strlen(at)) != 0
        || strstr(err.text, word) == NULL)
    {
        fail_msg("\"%s\" doesn't begin with \"%s\" or lacks \"%s\"", err.text,
                 at, word);
    }
}


static void
accepted(const char *text)
{
    if (load(text, strlen(text)) != RC_OK) {
        fail_msg("%s", err.text);
    }
}


static void
test_defaults_fill_what_is_not_set(void **state)
{
    (void) state;

    accepted("[plain]\nname = a b\n");
    assert_string_equal(plain.name, "a b");
    assert_int_equal(plain.lanes, 2);
    assert_int_equal(plain.size_bytes, 8 << 20);
    assert_int_equal(plain.window_ms, 30000);
    assert_int_equal(plain.level, 1);
    assert_int_equal(plain.on, 0);
    assert_int_equal(props.props.n, 0);
    conf_free(sections);
    assert_null(plain.name);
}


static void
test_units(void **state)
{
    (void) state;

    accepted("; comment\n\n[plain]\nname=x\nsize = 300K\nwindow = 1500ms\n"
             "level = debug\non = on\n# end\n");
    assert_int_equal(plain.size_bytes, 300 << 10);
    assert_int_equal(plain.window_ms, 1500);
    assert_int_equal(plain.level, 2);
    assert_int_equal(plain.on, 1);
    conf_free(sections);

    accepted("[plain]\nname=x\nsize = 4096\nwindow = 1d\n");
    assert_int_equal(plain.size_bytes, 4096);
    assert_int_equal(plain.window_ms, 86400000);
    conf_free(sections);
}


static void
test_bad_values_name_line_setting_and_value(void **state)
{
    (void) state;

    refused("[plain]\nname = x\nlanes = many\n", 3, "lanes = \"many\"");
    refused("[plain]\nname = x\nlanes = 0\n", 3, "1 and 64");
    refused("[plain]\nname = x\nlanes = 65\n", 3, "1 and 64");
    refused("[plain]\nname = x\nlanes = -1\n", 3, "number");
    refused("[plain]\nname = x\nlanes = 2k\n", 3, "number");
    refused("[plain]\nname = x\nlanes =\n", 3, "number");
    refused("[plain]\nname = x\nsize = 1t\n", 3, "unit");
    refused("[plain]\nname = x\nsize = 99999999999g\n", 3, "large");
    refused("[plain]\nname = x\nsize = 99999999999999999999\n", 3, "large");
    refused("[plain]\nname = x\nsize = 1023\n", 3, "1k and 1g");
    refused("[plain]\nname = x\nwindow = 30\n", 3, "unit");
    refused("[plain]\nname = x\nwindow = 2d\n", 3, "1s and 1d");
    refused("[plain]\nname = x\nlevel = inf\n", 3, "error|info|debug");
    refused("[plain]\nname = x\non = yes\n", 3, "neither");
}


static void
test_unknown_names_are_refused(void **state)
{
    (void) state;

    refused("[plain]\nname = x\nwimdow = 30s\n", 3, "wimdow");
    refused("[plain]\nname = x\n[plian]\n", 3, "[plian]");
    refused("name = x\n", 1, "no section");
    refused("[plain]\nname = x\njust words\n", 3, "neither");
    refused("[plain\nname = x\n", 1, "section");
}


static void
test_duplicates_are_refused(void **state)
{
    (void) state;

    refused("[plain]\nname = x\nname = y\n", 3, "twice");
    refused("[plain]\nname = x\n[props]\n[plain]\nname = y\n", 5, "twice");
    refused("[plain]\nname = x\n[props]\na.b = 1\na.b = 1\n", 5, "line 4");
}


static void
test_required_settings(void **state)
{
    (void) state;

    refused("[plain]\nlanes = 1\n", 0, "name in [plain] is required");
    refused("", 0, "required");
}


static void
test_properties_are_verbatim_with_their_lines(void **state)
{
    (void) state;

    accepted("[plain]\nname = x\n[props]\nbootstrap.servers = a:1,b:2\n"
             "ssl.ca.location = /etc/x=y.pem\n");
    assert_int_equal(props.props.n, 2);
    assert_string_equal(props.props.keys[0], "bootstrap.servers");
    assert_string_equal(props.props.values[0], "a:1,b:2");
    assert_string_equal(props.props.values[1], "/etc/x=y.pem");
    assert_int_equal(props.props.lines[1], 5);
    conf_free(sections);
}


static void
test_a_list_goes_on_after_a_comma(void **state)
{
    (void) state;

    accepted("[plain]\nname = x\n[props]\nservers = a:1,\n  ; comment\n\n"
             "    b:2,\n\tc=3\nother = 1\n");
    assert_int_equal(props.props.n, 2);
    assert_string_equal(props.props.values[0], "a:1,b:2,c=3");
    assert_string_equal(props.props.values[1], "1");
    conf_free(sections);

    accepted("[plain]\nname = x,\n");
    assert_string_equal(plain.name, "x,");
    conf_free(sections);
}


static void
test_an_indented_setting_is_no_continuation(void **state)
{
    (void) state;

    refused("[plain]\nname = x\n lanes = 3\n", 3, "blank");
    refused("[plain]\n  name = x\n", 2, "blank");
}


static void
test_long_lines_and_nul_bytes_are_refused(void **state)
{
    char  text[400];
    int   n = snprintf(text, sizeof(text), "[plain]\nname = %0250d\n", 1);

    (void) state;

    refused(text, 2, "longer");

    assert_true(n > 0);
    assert_int_equal(load("[plain]\nname = x\0y\nlanes = 3\n", 28), RC_REJECT);
}


static void
test_a_missing_file_is_named(void **state)
{
    (void) state;

    assert_int_equal(conf_load("/nowhere/x.ini", sections, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "/nowhere/x.ini: No such file"));
}


static void
test_reference_has_a_row_for_each_setting(void **state)
{
    char    *text = NULL;
    size_t   len;
    FILE    *out = open_memstream(&text, &len);

    (void) state;

    conf_reference(out, sections);
    fclose(out);

    assert_non_null(strstr(text, "## [plain]"));
    assert_non_null(strstr(text, "| `name` | text | required | no | A name. |"));
    assert_non_null(strstr(text, "| `size` | size, 1k to 1g | `8m` | no |"));
    assert_non_null(strstr(text, "| `window` | time, 1s to 1d | `30s` | yes"));
    assert_non_null(strstr(text, "| `level` | error, info, debug | `info`"));
    free(text);
}


static rc_t
secret(const char *text, size_t len, char **out)
{
    FILE  *file;

    strcpy(path, "/tmp/sluice-secret-XXXXXX");
    file = fdopen(mkstemp(path), "w");
    assert_int_equal(fwrite(text, 1, len, file), len);
    fclose(file);

    rc_t  rc = secret_read(path, out, &err);

    unlink(path);
    return rc;
}


static void
test_secret_is_the_first_line(void **state)
{
    static char  big[5000];

    char  *s = NULL;

    (void) state;

    assert_int_equal(secret("pa ss\r\nmore", 11, &s), RC_OK);
    assert_string_equal(s, "pa ss");
    secret_free(s);

    assert_int_equal(secret("pass", 4, &s), RC_OK);
    assert_string_equal(s, "pass");
    secret_free(s);

    assert_int_equal(secret("\nx", 2, &s), RC_RETRY);
    memset(big, 'a', sizeof(big));
    assert_int_equal(secret(big, sizeof(big), &s), RC_RETRY);
    assert_int_equal(secret_read("/nowhere/secret", &s, &err), RC_RETRY);
    assert_int_equal(secret_read("", &s, &err), RC_OK);
    assert_null(s);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_defaults_fill_what_is_not_set),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_bad_values_name_line_setting_and_value),
        cmocka_unit_test(test_unknown_names_are_refused),
        cmocka_unit_test(test_duplicates_are_refused),
        cmocka_unit_test(test_required_settings),
        cmocka_unit_test(test_properties_are_verbatim_with_their_lines),
        cmocka_unit_test(test_a_list_goes_on_after_a_comma),
        cmocka_unit_test(test_an_indented_setting_is_no_continuation),
        cmocka_unit_test(test_long_lines_and_nul_bytes_are_refused),
        cmocka_unit_test(test_a_missing_file_is_named),
        cmocka_unit_test(test_reference_has_a_row_for_each_setting),
        cmocka_unit_test(test_secret_is_the_first_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
