/*
 * test_metrics.c: what many threads count is summed, and read as text.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/metrics.h"

#define THREADS  4
#define TURNS    100000


static char *
text(int openmetrics)
{
    char    *data = NULL;
    size_t   len = 0;
    FILE    *out = open_memstream(&data, &len);

    assert_non_null(out);
    metrics_write(out, openmetrics, "1.2.3");
    assert_int_equal(fclose(out), 0);

    return data;
}


static void
assert_says(const char *all, const char *line)
{
    if (strstr(all, line) == NULL) {
        fail_msg("no \"%s\" in:\n%s", line, all);
    }
}


static void *
count(void *arg)
{
    (void) arg;

    for (int i = 0; i < TURNS; i++) {
        metrics_add(METRIC_RECORDS, METRICS_VERDICT_LATE, 2);
    }

    return NULL;
}


static void
test_threads_counts_are_summed_and_outlive_them(void **state)
{
    pthread_t threads[THREADS];

    (void) state;

    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    }

    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }

    assert_int_equal(metrics_sum(METRIC_RECORDS, METRICS_VERDICT_LATE),
                     2 * THREADS * TURNS);
    assert_int_equal(metrics_sum(METRIC_RECORDS, METRICS_VERDICT_DEAD), 0);

    char *all = text(0);

    assert_says(all, "# TYPE sluice_processor_records_total counter\n");
    assert_says(all, "sluice_processor_records_total{verdict=\"late\"} "
                     "800000\n");
    assert_says(all, "sluice_processor_records_total{verdict=\"dead\"} 0\n");
    free(all);
}


static void
test_a_histograms_buckets_add_up(void **state)
{
    int64_t now = metrics_clock();

    (void) state;

    metrics_time(METRIC_STEP, METRICS_STEP_ASK, now - 2000);
    metrics_time(METRIC_STEP, METRICS_STEP_ASK, now - 700000);
    metrics_time(METRIC_STEP, METRICS_STEP_ASK, now - 900000000);

    char *all = text(0);

    assert_says(all, "# TYPE sluice_processor_step_seconds histogram\n");
    assert_says(all, "sluice_processor_step_seconds_bucket{step=\"ask\","
                     "le=\"0.001\"} 0\n");
    assert_says(all, "sluice_processor_step_seconds_bucket{step=\"ask\","
                     "le=\"1.0\"} 2\n");
    assert_says(all, "sluice_processor_step_seconds_bucket{step=\"ask\","
                     "le=\"120.0\"} 2\n");
    assert_says(all, "sluice_processor_step_seconds_bucket{step=\"ask\","
                     "le=\"+Inf\"} 3\n");
    assert_says(all, "sluice_processor_step_seconds_count{step=\"ask\"} 3\n");
    assert_says(all, "sluice_processor_step_seconds_sum{step=\"ask\"} 900.7");
    assert_says(all, "sluice_processor_batch_seconds_count 0\n");
    free(all);
}


static void
test_a_slot_is_written_while_it_is_open(void **state)
{
    metrics_slot_t  *slot = metrics_slot_open("uploads", 3, 1), *again;
    metrics_at_t     at = { NULL, 0, NULL, 0, 0 };

    (void) state;

    metrics_set(slot, METRICS_FIELD_LAG, 17);
    metrics_set(slot, METRICS_FIELD_LAG_MS, 61005);
    metrics_set(slot, METRICS_FIELD_STATE, METRICS_STATE_ACTIVE);
    metrics_set(slot, METRICS_FIELD_FAILED_STEP, METRICS_STEP_PUT);

    char *all = text(0);

    assert_says(all, "sluice_processor_lag_messages{topic=\"uploads\","
                     "partition=\"3\",lane=\"1\"} 17\n");
    assert_says(all, "sluice_processor_lag_seconds{topic=\"uploads\","
                     "partition=\"3\",lane=\"1\"} 61.005\n");
    assert_says(all, "lane=\"1\",state=\"active\"} 1\n");
    assert_says(all, "lane=\"1\",state=\"stopped\"} 0\n");
    assert_says(all, "lane=\"1\",step=\"put\"} 1\n");
    assert_null(strstr(all, "sluice_processor_end_offset{"));
    free(all);

    assert_int_equal(metrics_next(&at), 1);
    assert_int_equal(at.partition, 3);
    assert_int_equal(metrics_slot_is(&at), 1);

    metrics_slot_close(slot);
    assert_int_equal(metrics_slot_is(&at), 0);

    again = metrics_slot_open("uploads", -1, 0);
    assert_ptr_equal(again, slot);
    assert_int_equal(metrics_get(again, METRICS_FIELD_LAG), METRICS_UNKNOWN);
    metrics_set(again, METRICS_FIELD_OWNED, 2);

    all = text(0);
    assert_says(all, "sluice_processor_lane_partitions{topic=\"uploads\","
                     "lane=\"0\"} 2\n");
    assert_null(strstr(all, "partition=\"3\""));
    free(all);

    metrics_slot_close(again);
    metrics_slot_close(NULL);
}


static void
test_openmetrics_names_a_counter_without_its_suffix(void **state)
{
    char *all = text(1);

    (void) state;

    assert_says(all, "# TYPE sluice_processor_batches counter\n");
    assert_says(all, "sluice_processor_batches_total 0\n");
    assert_says(all, "sluice_processor_build_info{version=\"1.2.3\"} 1\n");
    assert_says(all, "# TYPE process_cpu_seconds counter\n");
    assert_says(all, "\nprocess_resident_memory_bytes ");
    assert_string_equal(all + strlen(all) - 6, "# EOF\n");
    free(all);
}


static void
test_steps_are_known_by_name(void **state)
{
    (void) state;

    assert_int_equal(metrics_step("take"), METRICS_STEP_TAKE);
    assert_int_equal(metrics_step("commit"), METRICS_STEP_COMMIT);
    assert_int_equal(metrics_step("assemble"), METRICS_STEP_ASSEMBLE);
    assert_int_equal(metrics_step("dance"), METRICS_STEP_OTHER);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_counts_are_summed_and_outlive_them),
        cmocka_unit_test(test_a_histograms_buckets_add_up),
        cmocka_unit_test(test_a_slot_is_written_while_it_is_open),
        cmocka_unit_test(test_openmetrics_names_a_counter_without_its_suffix),
        cmocka_unit_test(test_steps_are_known_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
