/* Time, medians, and the one form in which every benchmark prints what it measured. */
#ifndef CBM_BENCH_FIGURES_H
#define CBM_BENCH_FIGURES_H

#include <stddef.h>
#include <stdint.h>

int64_t bench_now_ns(void);
double bench_median(double *values, size_t count); /* sorts them */

/* A line "NAME VALUE UNIT" on standard output. Names are words joined by dots: the table and the JSON are made by them. */
void bench_figure(double value, const char *unit, const char *name, ...) __attribute__((format(printf, 3, 4)));

#endif
