#include "figures.h"

#include <stdlib.h>
#include <time.h>

static int figures_written;

int64_t bench_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(double *values, size_t count)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof(*values), compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void bench_json_open(FILE *json, const char *benchmark)
{
    figures_written = 0;
    if (json)
        fprintf(json, "{\"benchmark\": \"%s\", \"figures\": [", benchmark);
}

void bench_json_figure(FILE *json, const char *name, double value, const char *unit, double low, double high)
{
    if (json)
        fprintf(json, "%s\n  {\"name\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", \"low\": %.4g, \"high\": %.4g}",
                figures_written++ ? "," : "", name, value, unit, low, high);
}

void bench_json_close(FILE *json)
{
    if (json)
        fprintf(json, "\n]}\n");
}
