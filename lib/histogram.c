#include "histogram.h"

#include <stdlib.h>

#define NS_PER_US 1000
#define STEP_BITS 3 /* 2^3 is CORE_HISTOGRAM_STEPS */

static core_histogram *new_histogram(void)
{
    core_histogram *histogram = calloc(1, sizeof(*histogram));

    if (histogram != NULL) {
        histogram->least_ns = INT64_MAX;
    }
    return histogram;
}

/* Up to 2 x steps microseconds a bucket each; above, the bits behind the leading one pick the step. */
static uint32_t bucket_of(int64_t duration_ns)
{
    uint64_t us = (uint64_t)duration_ns / NS_PER_US;
    uint32_t doublings;
    uint32_t bucket;

    if (us < CORE_HISTOGRAM_STEPS) {
        return (uint32_t)us;
    }
    doublings = 63 - STEP_BITS - (uint32_t)__builtin_clzll(us);
    bucket = doublings * CORE_HISTOGRAM_STEPS + (uint32_t)(us >> doublings);
    return bucket < CORE_HISTOGRAM_BUCKETS ? bucket : CORE_HISTOGRAM_BUCKETS - 1;
}

/* The middle of a bucket. */
static double middle_ns(uint32_t bucket)
{
    uint32_t doublings = bucket < 2 * CORE_HISTOGRAM_STEPS ? 0 : bucket / CORE_HISTOGRAM_STEPS - 1;
    uint64_t low_us = (uint64_t)(bucket - doublings * CORE_HISTOGRAM_STEPS) << doublings;

    return ((double)low_us + (double)(UINT64_C(1) << doublings) / 2) * NS_PER_US;
}

static void halve(core_histogram *histogram)
{
    for (uint32_t i = 0; i < CORE_HISTOGRAM_BUCKETS; i++) {
        histogram->counts[i] /= 2;
    }
}

static void add(core_histogram *histogram, int64_t duration_ns, uint64_t count)
{
    uint32_t *bucket = &histogram->counts[bucket_of(duration_ns)];

    if (count > UINT32_MAX / 2) {
        count = UINT32_MAX / 2;
    }
    if (count > UINT32_MAX - *bucket) {
        halve(histogram); /* keeps the shape, which is all that percentiles need */
    }
    *bucket += (uint32_t)count;
    histogram->least_ns = duration_ns < histogram->least_ns ? duration_ns : histogram->least_ns;
    histogram->most_ns = duration_ns > histogram->most_ns ? duration_ns : histogram->most_ns;
}

void core_histogram_add(core_histogram **histogram, int64_t duration_ns, uint64_t count)
{
    if (*histogram == NULL) {
        *histogram = new_histogram();
    }
    if (*histogram != NULL) {
        add(*histogram, duration_ns, count);
    }
}

double core_histogram_percentile_ms(const core_histogram *histogram, uint32_t thousandths)
{
    uint64_t total = 0;
    uint64_t rank;
    double ns = 0;

    for (uint32_t i = 0; histogram != NULL && i < CORE_HISTOGRAM_BUCKETS; i++) {
        total += histogram->counts[i];
    }
    if (total == 0) {
        return -1;
    }
    rank = (total * thousandths + 999) / 1000;
    for (uint32_t i = 0; i < CORE_HISTOGRAM_BUCKETS; i++) {
        if (histogram->counts[i] >= rank) {
            ns = middle_ns(i);
            break;
        }
        rank -= histogram->counts[i];
    }
    if (ns < (double)histogram->least_ns) {
        ns = (double)histogram->least_ns;
    }
    if (ns > (double)histogram->most_ns) {
        ns = (double)histogram->most_ns;
    }
    return ns / 1e6;
}
