/*
 * monitor.h: what monitors ask the process, and the thread that finds it out.
 *
 *   /metrics   all that is counted
 *   /healthz   live: every lane's loop turns
 *   /readyz    every lane is in the group and works at what it was given
 *   /backlog   what is left to do, for autoscalers
 *
 * Reads what the lanes tell and never calls into one.
 */

#ifndef SLUICE_LANE_MONITOR_H
#define SLUICE_LANE_MONITOR_H

#include "base/err.h"
#include "io/http.h"
#include "io/kafka.h"

typedef struct monitor_s  monitor_t;

/* Borrowed until close: everything.  RC_OK or RC_REJECT. */
rc_t monitor_open(monitor_t **monitor, const http_conf_t *http,
    const kafka_conf_t *kafka, const char *version, err_t *err);
void monitor_close(monitor_t *monitor);

#endif /* SLUICE_LANE_MONITOR_H */
