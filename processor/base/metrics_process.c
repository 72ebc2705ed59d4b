/*
 * metrics_process.c: what the kernel knows of this process.
 *
 * Owns the process_ metrics, with the names and meanings that Prometheus'
 * clients have agreed on.  What can't be read is left out.
 */

#include "base/metrics_local.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char  *name;
    const char  *type;
    const char  *help;
} metrics_process_rows[] = {
    { "process_cpu_seconds", "counter", "CPU time used, user's and kernel's." },
    { "process_resident_memory_bytes", "gauge", "Memory in RAM." },
    { "process_virtual_memory_bytes", "gauge", "Address space." },
    { "process_open_fds", "gauge", "Open files and connections." },
    { "process_max_fds", "gauge", "How many there may be." },
    { "process_start_time_seconds", "gauge",
      "When the process began, in seconds since the epoch." }
};

#define METRICS_PROCESS  (sizeof(metrics_process_rows)                        \
                          / sizeof(metrics_process_rows[0]))


/* The n-th field of /proc/self/stat, counted as in proc(5); -1: not there. */
static double
metrics_process_stat(int n)
{
    char    text[1024], *p;
    FILE   *file = fopen("/proc/self/stat", "re");
    size_t  len;

    if (file == NULL) {
        return -1;
    }

    len = fread(text, 1, sizeof(text) - 1, file);
    (void) fclose(file);
    text[len] = '\0';

    /* The name, second, may hold blanks and brackets. */
    p = strrchr(text, ')');

    for (int i = 2; p != NULL && i < n; i++) {
        p = strchr(p + 1, ' ');
    }

    return p == NULL ? -1 : strtod(p, NULL);
}


static double
metrics_process_cpu(void)
{
    struct rusage  u;

    if (getrusage(RUSAGE_SELF, &u) != 0) {
        return -1;
    }

    return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec)
           + (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}


static double
metrics_process_fds(void)
{
    DIR  *dir = opendir("/proc/self/fd");
    int   n = 0;

    if (dir == NULL) {
        return -1;
    }

    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        n += e->d_name[0] != '.';
    }

    (void) closedir(dir);

    return n - 1;                        /* the directory's own */
}


/* The kernel tells it by a clock that counts from its own start. */
static double
metrics_process_start(void)
{
    struct timespec  boot, now;
    double           ticks = metrics_process_stat(22);

    if (ticks < 0 || clock_gettime(CLOCK_BOOTTIME, &boot) != 0
        || clock_gettime(CLOCK_REALTIME, &now) != 0)
    {
        return -1;
    }

    return (double) (now.tv_sec - boot.tv_sec)
           + (double) (now.tv_nsec - boot.tv_nsec) / 1e9
           + ticks / (double) sysconf(_SC_CLK_TCK);
}


void
metrics_process(FILE *out, int openmetrics)
{
    double         values[METRICS_PROCESS];
    double         pages = metrics_process_stat(24);
    struct rlimit  fds;

    values[0] = metrics_process_cpu();
    values[1] = pages < 0 ? -1 : pages * (double) sysconf(_SC_PAGESIZE);
    values[2] = metrics_process_stat(23);
    values[3] = metrics_process_fds();
    values[4] = getrlimit(RLIMIT_NOFILE, &fds) == 0 ? (double) fds.rlim_cur
                                                    : -1;
    values[5] = metrics_process_start();

    for (size_t i = 0; i < METRICS_PROCESS; i++) {
        const char  *type = metrics_process_rows[i].type;
        const char  *name = metrics_process_rows[i].name;

        if (values[i] >= 0) {
            metrics_head(out, openmetrics, name, type,
                         metrics_process_rows[i].help);
            fprintf(out, "%s%s %.*f\n", name, type[0] == 'c' ? "_total" : "",
                    i == 0 || i == 5 ? 3 : 0, values[i]);
        }
    }
}


void
metrics_process_reference(FILE *out)
{
    for (size_t i = 0; i < METRICS_PROCESS; i++) {
        const char *type = metrics_process_rows[i].type;

        fprintf(out, "| `%s%s` | %s | | %s |\n", metrics_process_rows[i].name,
                type[0] == 'c' ? "_total" : "", type,
                metrics_process_rows[i].help);
    }
}
