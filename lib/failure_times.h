/* The times of the last failures, as many as open the breaker: the memory of the rule `failures`. */
#ifndef CORE_FAILURE_TIMES_H
#define CORE_FAILURE_TIMES_H

#include <stdint.h>

typedef struct core_failure_times {
    int64_t window_ns;
    uint32_t capacity;
    uint32_t oldest;
    uint32_t count;
    int64_t times[]; /* a ring, oldest first */
} core_failure_times;

core_failure_times *core_failure_times_new(uint32_t capacity, int64_t window_ns); /* NULL: no memory */
/* Takes over the newest of `from` that fit. */
void core_failure_times_copy(core_failure_times *to, const core_failure_times *from);
void core_failure_times_clear(core_failure_times *times);
/* Counts one; the oldest is dropped when there is no room: it cannot change that there are enough to open. */
void core_failure_times_add(core_failure_times *times, int64_t now_ns);
/* How many are less than window_ns old. O(1) amortized over the failures. */
uint32_t core_failure_times_count(core_failure_times *times, int64_t now_ns);
/* When the newest will be too old to count; 0: there is none. */
int64_t core_failure_times_end(const core_failure_times *times);

#endif
