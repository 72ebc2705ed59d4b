/*
 * log.h: structured logs, logfmt, one line a write.
 *
 *   ts=2025-01-31T12:00:30.012Z level=info mod=lane msg=closed window=...
 *
 * Values are quoted and escaped here, so that a file name can't forge a line.
 * The level may be changed at run time; level and fd are process-wide.
 */

#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include <stdint.h>

typedef enum {
    LOG_LEVEL_ERROR = 0,   /* someone gets up */
    LOG_LEVEL_WARN,        /* someone looks tomorrow */
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,        /* the process's timeline */
    LOG_LEVEL_DEBUG        /* per record */
} log_level_e;

typedef enum { LOG_END = 0, LOG_STR, LOG_INT } log_kind_e;

typedef struct {
    const char  *key;
    log_kind_e   kind;
    const char  *str;
    int64_t      num;
} log_field_t;

#define LS(k, v)  ((log_field_t) { (k), LOG_STR, (v), 0 })
#define LI(k, v)  ((log_field_t) { (k), LOG_INT, NULL, (int64_t) (v) })

/* 0, or -1 when the name is unknown. */
int log_level_parse(const char *name, log_level_e *level);
void log_level_set(log_level_e level);
log_level_e log_level_get(void);
void log_fd_set(int fd);

void log_write(log_level_e level, const char *mod, const char *msg,
    const log_field_t *fields);

/* log_info("lane", "closed", LS("window", s), LI("rows", n)); */
#define log_at(level, mod, msg, ...)                                          \
    do {                                                                      \
        if ((level) <= log_level_get()) {                                     \
            log_write((level), (mod), (msg), (const log_field_t[])            \
                      { __VA_ARGS__ __VA_OPT__(,) { 0 } });                   \
        }                                                                     \
    } while (0)

#define log_error(mod, msg, ...)                                              \
    log_at(LOG_LEVEL_ERROR, mod, msg __VA_OPT__(,) __VA_ARGS__)
#define log_warn(mod, msg, ...)                                               \
    log_at(LOG_LEVEL_WARN, mod, msg __VA_OPT__(,) __VA_ARGS__)
#define log_notice(mod, msg, ...)                                             \
    log_at(LOG_LEVEL_NOTICE, mod, msg __VA_OPT__(,) __VA_ARGS__)
#define log_info(mod, msg, ...)                                               \
    log_at(LOG_LEVEL_INFO, mod, msg __VA_OPT__(,) __VA_ARGS__)
#define log_debug(mod, msg, ...)                                              \
    log_at(LOG_LEVEL_DEBUG, mod, msg __VA_OPT__(,) __VA_ARGS__)

#endif /* SLUICE_BASE_LOG_H */
