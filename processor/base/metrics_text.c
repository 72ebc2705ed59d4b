/*
 * metrics_text.c: what was counted, as text.
 *
 * Owns the names, types, help and labels, and the two formats: Prometheus'
 * 0.0.4, and OpenMetrics 1.0 for who asks for it by name.  Does not count.
 *
 * No label has a value that a client chooses.  Topics are the operator's, the
 * number of lines follows from the partitions at hand.
 */

#include "base/metrics_local.h"

#include <inttypes.h>
#include <string.h>

typedef struct {
    const char  *name;                   /* NULL: no label */
    const char  *values[METRICS_LABELS_MAX];
} metrics_label_t;

typedef struct {
    const char             *name;
    metrics_type_e          type;
    const metrics_label_t  *label;       /* of a row */
    int64_t                 scale;       /* of a field */
    const char             *help;
} metrics_desc_t;

static const metrics_label_t  metrics_label_NONE = { NULL, { "" } };

static const metrics_label_t  metrics_label_VERDICT = { "verdict", {
    "counted", "late", "dead", "skipped", "repeat", "twice"
} };

static const metrics_label_t  metrics_label_STEP = { "step", {
    "take", "ask", "put", "ledger", "send", "apply", "flush", "close",
    "check", "commit", "assemble", "other"
} };

static const metrics_label_t  metrics_label_SEEN = { "seen", {
    "new", "known"
} };

static const metrics_label_t  metrics_label_STATE_KEPT = { "state", {
    "kept", "none"
} };

static const metrics_label_t  metrics_label_LEAVING = { "how", {
    "order", "lost"
} };

static const metrics_label_t  metrics_label_WHY = { "why", {
    "watermark", "idle"
} };

static const metrics_label_t  metrics_label_LARGE = { "end", {
    "whole", "aborted", "expired", "dead"
} };

static const metrics_label_t  metrics_label_RESULT = { "result", {
    "ok", "failed"
} };

static const char *const  metrics_states[METRICS_STATES] = {
    "taking", "active", "stopped"
};

static const metrics_desc_t  metrics_rows[METRICS_ROWS] = {
#define METRICS_ROW(id, type, label, name, help)                              \
    { name, METRICS_##type, &metrics_label_##label, 1, help },
#define METRICS_FIELD(id, type, scale, name, help)
#include "base/metrics_list.h"
#undef METRICS_ROW
#undef METRICS_FIELD
};

static const metrics_desc_t  metrics_fields[METRICS_FIELDS] = {
#define METRICS_ROW(id, type, label, name, help)
#define METRICS_FIELD(id, type, scale, name, help)                            \
    { name, METRICS_##type, NULL, scale, help },
#include "base/metrics_list.h"
#undef METRICS_ROW
#undef METRICS_FIELD
};

#define METRICS_PREFIX  "sluice_processor_"


int
metrics_is_times(metrics_row_e row)
{
    return metrics_rows[row].type == METRICS_TIMES;
}


unsigned int
metrics_step(const char *name)
{
    for (unsigned int i = 0; i < METRICS_STEPS; i++) {
        if (strcmp(metrics_label_STEP.values[i], name) == 0) {
            return i;
        }
    }

    return METRICS_STEP_OTHER;
}


static const char *
metrics_type(metrics_type_e type)
{
    switch (type) {
    case METRICS_COUNTER:
        return "counter";
    case METRICS_TIMES:
        return "histogram";
    default:
        return "gauge";
    }
}


/* Prometheus' own format counts the suffix to a counter's name. */
void
metrics_head(FILE *out, int openmetrics, const char *name, const char *type,
    const char *help)
{
    const char *suffix = strcmp(type, "counter") == 0 && !openmetrics
                         ? "_total" : "";

    fprintf(out, "# TYPE %s%s %s\n# HELP %s%s %s\n", name, suffix, type,
            name, suffix, help);
}


/* value / scale, without the noise of a binary fraction. */
static void
metrics_value(FILE *out, int64_t value, int64_t scale)
{
    uint64_t  v = value < 0 ? -(uint64_t) value : (uint64_t) value;
    int       digits = scale == 1000000 ? 6 : 3;

    if (scale == 1) {
        fprintf(out, " %" PRId64 "\n", value);
        return;
    }

    fprintf(out, " %s%" PRIu64 ".%0*" PRIu64 "\n", value < 0 ? "-" : "",
            v / (uint64_t) scale, digits, v % (uint64_t) scale);
}


static void
metrics_write_times(FILE *out, const metrics_desc_t *d, metrics_row_e row,
    unsigned int label)
{
    metrics_times_t  times;
    char             labels[64] = "";
    uint64_t         n = 0;

    /* All from one copy, so that +Inf and the count agree. */
    metrics_times(row, label, &times);

    if (d->label->name != NULL) {
        (void) snprintf(labels, sizeof(labels), "%s=\"%s\"", d->label->name,
                        d->label->values[label]);
    }

    for (size_t i = 0; i <= METRICS_BUCKETS; i++) {
        char le[24] = "+Inf";

        if (i < METRICS_BUCKETS) {
            double s = (double) metrics_bounds_us[i] / 1e6;

            /* As floats are written: 1.0, 0.00025. */
            (void) snprintf(le, sizeof(le), s < 1 ? "%g" : "%.1f", s);
        }

        n += times.buckets[i];
        fprintf(out, METRICS_PREFIX "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n",
                d->name, labels, labels[0] != '\0' ? "," : "", le, n);
    }

    const char *open = labels[0] != '\0' ? "{" : "";
    const char *close = labels[0] != '\0' ? "}" : "";

    fprintf(out, METRICS_PREFIX "%s_sum%s%s%s", d->name, open, labels, close);
    metrics_value(out, (int64_t) times.us, 1000000);
    fprintf(out, METRICS_PREFIX "%s_count%s%s%s %" PRIu64 "\n", d->name, open,
            labels, close, n);
}


static void
metrics_write_row(FILE *out, int openmetrics, metrics_row_e row)
{
    const metrics_desc_t  *d = &metrics_rows[row];
    char                   name[100];

    (void) snprintf(name, sizeof(name), METRICS_PREFIX "%s", d->name);
    metrics_head(out, openmetrics, name, metrics_type(d->type), d->help);

    for (unsigned int i = 0; i < METRICS_LABELS_MAX
                             && d->label->values[i] != NULL; i++)
    {
        if (d->type == METRICS_TIMES) {
            metrics_write_times(out, d, row, i);
            continue;
        }

        fprintf(out, "%s%s", name, d->type == METRICS_COUNTER ? "_total" : "");

        if (d->label->name != NULL) {
            fprintf(out, "{%s=\"%s\"}", d->label->name, d->label->values[i]);
        }

        metrics_value(out, metrics_sum(row, i), 1);
    }
}


/* One line; more is the label that not every field has. */
static void
metrics_write_at(FILE *out, const metrics_at_t *at, const metrics_desc_t *d,
    const char *name, const char *label, int64_t value)
{
    fprintf(out, METRICS_PREFIX "%s{topic=\"%s\",", d->name, at->topic);

    if (at->partition >= 0) {
        fprintf(out, "partition=\"%" PRId32 "\",", at->partition);
    }

    fprintf(out, "lane=\"%d\"", at->lane);

    if (name != NULL) {
        fprintf(out, ",%s=\"%s\"", name, label);
    }

    fputc('}', out);
    metrics_value(out, value, d->scale);
}


static void
metrics_write_field(FILE *out, int openmetrics, metrics_field_e field)
{
    const metrics_desc_t  *d = &metrics_fields[field];
    metrics_at_t           at = { NULL, 0, NULL, 0, 0 };
    char                   name[100];

    if (d->name[0] == '\0') {
        return;
    }

    (void) snprintf(name, sizeof(name), METRICS_PREFIX "%s", d->name);
    metrics_head(out, openmetrics, name, metrics_type(d->type), d->help);

    while (metrics_next(&at)) {
        int64_t value = metrics_get(at.slot, field);

        if (value == METRICS_UNKNOWN || !metrics_slot_is(&at)) {
            continue;
        }

        if (d->type == METRICS_STATE) {
            for (int i = 0; i < METRICS_STATES; i++) {
                metrics_write_at(out, &at, d, "state", metrics_states[i],
                                 i == value);
            }

        } else if (d->type == METRICS_CURRENT) {
            metrics_write_at(out, &at, d, "step",
                             metrics_label_STEP.values[value], 1);

        } else {
            metrics_write_at(out, &at, d, NULL, NULL, value);
        }
    }
}


void
metrics_write(FILE *out, int openmetrics, const char *version)
{
    for (unsigned int i = 0; i < METRICS_ROWS; i++) {
        metrics_write_row(out, openmetrics, (metrics_row_e) i);
    }

    for (unsigned int i = 0; i < METRICS_FIELDS; i++) {
        metrics_write_field(out, openmetrics, (metrics_field_e) i);
    }

    metrics_head(out, openmetrics, METRICS_PREFIX "build_info", "gauge",
                 "1, with the version.");
    fprintf(out, METRICS_PREFIX "build_info{version=\"%s\"} 1\n", version);

    metrics_process(out, openmetrics);

    if (openmetrics) {
        fputs("# EOF\n", out);
    }
}


static void
metrics_reference_row(FILE *out, const metrics_desc_t *d, const char *labels)
{
    if (d->name[0] != '\0') {
        fprintf(out, "| `" METRICS_PREFIX "%s%s` | %s | %s | %s |\n", d->name,
                d->type == METRICS_COUNTER ? "_total" : "",
                metrics_type(d->type), labels, d->help);
    }
}


void
metrics_reference(FILE *out)
{
    fputs("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n", out);

    for (size_t i = 0; i < METRICS_ROWS; i++) {
        const metrics_desc_t *d = &metrics_rows[i];

        metrics_reference_row(out, d, d->label->name == NULL
                                      ? "" : d->label->name);
    }

    for (size_t i = 0; i < METRICS_FIELDS; i++) {
        const metrics_desc_t *d = &metrics_fields[i];

        metrics_reference_row(out, d,
                              strncmp(d->name, "lane_", 5) == 0
                              ? "topic, lane"
                              : d->type == METRICS_STATE
                              ? "topic, partition, lane, state"
                              : d->type == METRICS_CURRENT
                              ? "topic, partition, lane, step"
                              : "topic, partition, lane");
    }

    fputs("| `" METRICS_PREFIX "build_info` | gauge | version | 1, with the "
          "version. |\n", out);
    metrics_process_reference(out);
}
