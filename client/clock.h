/* CLOCK_MONOTONIC in nanoseconds: the one clock of the library. */
#ifndef CBM_CLIENT_CLOCK_H
#define CBM_CLIENT_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CBM_NS_PER_US INT64_C(1000)
#define CBM_NS_PER_MS INT64_C(1000000)
#define CBM_NS_PER_S INT64_C(1000000000)

static inline int64_t cbm_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * CBM_NS_PER_S + now.tv_nsec;
}

/* Cheaper, and behind by up to a tick of the system. */
static inline int64_t cbm_clock_coarse_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * CBM_NS_PER_S + now.tv_nsec;
}

static inline struct timespec cbm_clock_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / CBM_NS_PER_S, .tv_nsec = ns % CBM_NS_PER_S};
}

#endif
