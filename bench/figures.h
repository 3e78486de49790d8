/* Medians, and a table that is printed and may be written as JSON too. */
#ifndef CBM_BENCH_FIGURES_H
#define CBM_BENCH_FIGURES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int64_t bench_now_ns(void);
double bench_median(double *values, size_t count); /* sorts them */

/* One line of the result: what was measured, the figure and its unit, and the spread over the rounds. */
void bench_json_open(FILE *json, const char *benchmark);
void bench_json_figure(FILE *json, const char *name, double value, const char *unit, double low, double high);
void bench_json_close(FILE *json);

#endif
