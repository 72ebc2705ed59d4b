/*
 * tool.h: the commands of sluice-processor, beside the daemon.
 *
 *   sluice-processor COMMAND [-c FILE] [--json] ...
 *
 * A command is a file of this directory and a row in table.c.  main.c reads
 * and checks the configuration; a command opens the connections it needs
 * itself, works, prints and ends.  It joins no group: what it changes, it
 * changes under the fences that lanes respect.
 */

#ifndef SLUICE_TOOL_TOOL_H
#define SLUICE_TOOL_TOOL_H

#include <stdint.h>

#include "base/err.h"
#include "core/store.h"
#include "io/kafka.h"
#include "io/pg.h"
#include "io/redis.h"
#include "lane/lane.h"

/* Exit codes. */
#define TOOL_OK      0
#define TOOL_FOUND   1               /* something is wrong, or nothing done */
#define TOOL_FAILED  2               /* could not run */

/* All of it is borrowed and outlives the command. */
typedef struct {
    const lane_conf_t   *conf;       /* checked */
    const kafka_conf_t  *kafka;
    const redis_conf_t  *redis;
    const pg_conf_t     *pg;
    const store_ops_t   *store;      /* the one that is configured */
    const void          *store_conf;
    int                  json;       /* print JSON */
} tool_env_t;

typedef struct {
    const char  *name;
    const char  *usage;              /* its arguments, for --help */
    const char  *help;               /* one line */

    /* argv[0] is the name; -c FILE and --json are gone.  Returns the exit
     * code.  Standard output is the result's, all else goes to stderr. */
    int        (*run)(const tool_env_t *env, int argc, char **argv);
} tool_t;

extern const tool_t  tool_adopt;
extern const tool_t  tool_erase;
extern const tool_t  tool_purge;
extern const tool_t  tool_redrive;
extern const tool_t  tool_set_window;
extern const tool_t  tool_verify;
extern const tool_t  tool_windows;

/* table.c: all commands, ended by NULL. */
extern const tool_t *const tool_table[];

/* What is the same for all commands, taken out of argv. */
typedef struct {
    const char  *path;               /* -c; NULL */
    int          json;
    int          help;
} tool_common_t;

const tool_t *tool_find(const char *name);                  /* or NULL */

/* argv is put together again without them.  0, or -1: -c without a file. */
int tool_common(tool_common_t *common, int *argc, char **argv);

/* "sluice-processor NAME: TEXT" on stderr; both return TOOL_FAILED. */
int tool_fail(const tool_t *tool, const err_t *err);
int tool_usage(const tool_t *tool);

/* Text of a number within bounds, or of a time ("30s", "7d") in ms: 0, or -1
 * when it is none. */
int tool_int(const char *text, int64_t min, int64_t max, int64_t *out);
int tool_time(const char *text, int64_t *out_ms);

#endif /* SLUICE_TOOL_TOOL_H */
