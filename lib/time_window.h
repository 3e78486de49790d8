/* Outcomes by whole seconds, with running totals: the memory of the rule `time_window`. */
#ifndef CORE_TIME_WINDOW_H
#define CORE_TIME_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

typedef struct core_second {
    int64_t second;
    uint64_t calls;
    uint64_t failures;
    uint64_t slow;
} core_second;

/* Only seconds in which something happened are kept: at most `size` of them, the newest and those less than `size` before it. */
typedef struct core_time_window {
    uint32_t size;
    uint32_t oldest;
    uint32_t count;
    core_second totals;    /* `second` is not used */
    core_second seconds[]; /* a ring, oldest first */
} core_time_window;

core_time_window *core_time_window_new(uint32_t size); /* NULL: no memory */
/* Takes over the newest of `from` that fit. */
void core_time_window_copy(core_time_window *to, const core_time_window *from);
void core_time_window_clear(core_time_window *window);
/* Drops the seconds that the window ending in now's second does not reach. O(1) amortized. */
void core_time_window_advance(core_time_window *window, int64_t now_ns);
/*
 * Records `calls` outcomes, `failures` and `slow` of them so, in the second of at_ns. That may lie before the newest second
 * (counts that come in late); what lies before the whole window is dropped.
 */
void core_time_window_add(core_time_window *window, uint64_t calls, uint64_t failures, uint64_t slow, int64_t at_ns);
/* When the newest second with a failure or slow call, or a later one, leaves the window; 0: the window is empty. */
int64_t core_time_window_end(const core_time_window *window);

#endif
