/* Durations on a logarithmic scale: eight steps for each doubling, from a microsecond to a day and a half. */
#ifndef CORE_HISTOGRAM_H
#define CORE_HISTOGRAM_H

#include <stdint.h>

#define CORE_HISTOGRAM_STEPS 8 /* for each doubling: a percentile is off by at most a sixteenth */
#define CORE_HISTOGRAM_DOUBLINGS 35
#define CORE_HISTOGRAM_BUCKETS (CORE_HISTOGRAM_STEPS * CORE_HISTOGRAM_DOUBLINGS)

typedef struct core_histogram {
    int64_t least_ns, most_ns;
    uint32_t counts[CORE_HISTOGRAM_BUCKETS];
} core_histogram;

/* Makes *histogram at need, and does without when there is no memory. */
void core_histogram_add(core_histogram **histogram, int64_t duration_ns, uint64_t count);
/* The duration below which so many thousandths of those recorded lie, in ms; -1: none was recorded, or NULL. */
double core_histogram_percentile_ms(const core_histogram *histogram, uint32_t thousandths);

#endif
