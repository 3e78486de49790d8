/* The last outcomes, two bits each, with running totals: the memory of the rule `count_window`. */
#ifndef CORE_COUNT_WINDOW_H
#define CORE_COUNT_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

typedef struct core_count_window {
    uint32_t size;
    uint32_t next; /* where the next outcome goes; when the window is full, the oldest stands there */
    uint32_t count;
    uint32_t failures;
    uint32_t slow;
    uint64_t bits[]; /* pairs of words: 64 outcomes' failures, then their slow calls */
} core_count_window;

core_count_window *core_count_window_new(uint32_t size); /* NULL: no memory */
/* Takes over the newest of `from` that fit. */
void core_count_window_copy(core_count_window *to, const core_count_window *from);
void core_count_window_clear(core_count_window *window);
void core_count_window_add(core_count_window *window, bool failure, bool slow);
/* The same as `count` times _add(window, false, false), 64 at a time. */
void core_count_window_add_successes(core_count_window *window, uint64_t count);
/* What the oldest outcome is; false and false while the window is not full. */
void core_count_window_oldest(const core_count_window *window, bool *failure, bool *slow);

#endif
