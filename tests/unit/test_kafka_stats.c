/*
 * test_kafka_stats.c: the number of partitions in librdkafka's statistics.
 *
 * The documents have the shape that librdkafka 2.0 and 2.8 emit, with the
 * values that could mislead a walk put in on purpose.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kafka_stats.h"


static const char  stats[] =
    "{ \"name\": \"sluice#producer-1\", \"client_id\": \"sluice\", "
    "\"ts\":7187, \"msg_cnt\":0, \"brokers\":{ \"a:9092/1\": { "
    "\"name\":\"a:9092/1\", \"toppars\":{ \"uploads-0\": { "
    "\"topic\":\"uploads\", \"partition\":0} } } }, "
    "\"topics\":{ \"other\": { \"topic\":\"other\", \"partitions\":{ "
    "\"0\": {\"partition\":0} } }, "
    "\"uploads\": { \"topic\":\"uploads\", \"age\":104, "
    "\"batchsize\": {\"min\":0, \"max\":1}, \"partitions\":{ "
    "\"0\": { \"partition\":0, \"a\":[1,{\"b\":\"}\"}]}, "
    "\"1\": { \"partition\":1, \"x\":\"\\\"{[\"}, "
    "\"2\": { \"partition\":2}, "
    "\"-1\": { \"partition\":-1} } }, "
    "\"none\": { \"topic\":\"none\", \"partitions\":{ "
    "\"-1\": { \"partition\":-1} } }, "
    "\"empty\": { \"partitions\":{} } }, \"tx\":1 }";


static int
partitions(const char *json, const char *topic)
{
    return sluice_kafka_stats_partitions(json, strlen(json), topic,
                                         strlen(topic));
}


static void
test_partitions_are_counted_without_the_unassigned(void **state)
{
    (void) state;

    assert_int_equal(partitions(stats, "uploads"), 3);
    assert_int_equal(partitions(stats, "other"), 1);
}


static void
test_a_topic_that_is_not_known_has_none(void **state)
{
    (void) state;

    assert_int_equal(partitions(stats, "none"), 0);
    assert_int_equal(partitions(stats, "empty"), 0);
    assert_int_equal(partitions(stats, "upload"), 0);
    assert_int_equal(partitions(stats, "uploads2"), 0);
    assert_int_equal(partitions(stats, "topic"), 0);
}


static void
test_what_is_no_statistics_has_none(void **state)
{
    (void) state;

    assert_int_equal(partitions("", "uploads"), 0);
    assert_int_equal(partitions("[]", "uploads"), 0);
    assert_int_equal(partitions("{}", "uploads"), 0);
    assert_int_equal(partitions("{\"topics\":1}", "uploads"), 0);
    assert_int_equal(partitions("{\"topics\":{\"uploads\":[]}}", "uploads"),
                     0);
    assert_int_equal(partitions("{\"topics\" {", "uploads"), 0);
    assert_int_equal(partitions("{\"topics\":{\"uploads\":{\"partitions\":\""
                                "x\"}}}", "uploads"), 0);
}


static void
test_a_document_cut_anywhere_is_read_within_bounds(void **state)
{
    int      n;
    char    *copy;
    size_t   len;

    (void) state;

    /* a block of the exact size, so that ASan sees a read beyond */
    for (len = 1; len < sizeof(stats) - 1; len++) {
        copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, stats, len);
        n = sluice_kafka_stats_partitions(copy, len, "uploads", 7);
        free(copy);
        assert_in_range(n, 0, 3);
    }
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partitions_are_counted_without_the_unassigned),
        cmocka_unit_test(test_a_topic_that_is_not_known_has_none),
        cmocka_unit_test(test_what_is_no_statistics_has_none),
        cmocka_unit_test(test_a_document_cut_anywhere_is_read_within_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
