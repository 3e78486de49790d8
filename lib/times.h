/* Arithmetic on times that cannot overflow: what is later than the end of time is never. */
#ifndef CORE_TIMES_H
#define CORE_TIMES_H

#include "cbm_core.h"

static inline int64_t core_time_add(int64_t time_ns, int64_t duration_ns)
{
    return time_ns > 0 && duration_ns >= CBM_CORE_NEVER_NS - time_ns ? CBM_CORE_NEVER_NS : time_ns + duration_ns;
}

static inline int64_t core_time_add_ms(int64_t time_ns, uint32_t duration_ms)
{
    return core_time_add(time_ns, duration_ms * CBM_CORE_NS_PER_MS);
}

static inline int64_t core_time_add_s(int64_t time_ns, uint32_t duration_s)
{
    return core_time_add(time_ns, duration_s * CBM_CORE_NS_PER_S);
}

static inline int64_t core_time_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t core_time_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* From now until `time_ns`; 0 when it has passed. */
static inline int64_t core_time_left(int64_t time_ns, int64_t now_ns)
{
    return time_ns > now_ns ? time_ns - now_ns : 0;
}

#endif
