/* The manager's rate limiter: at most so many operations in any window, exactly. */
#ifndef CORE_LIMITER_H
#define CORE_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

/* The times of the operations in the window, oldest first, in a ring. maximum 0: off. */
typedef struct core_limiter {
    int64_t *times;
    uint32_t maximum;
    uint32_t oldest;
    uint32_t count;
    int64_t window_ns;
} core_limiter;

int core_limiter_init(core_limiter *limiter, uint32_t maximum, uint32_t window_ms);
void core_limiter_deinit(core_limiter *limiter);

/*
 * Whether one more operation fits into the window that ends now. Decision on the spec: a timestamp exactly one window old
 * no longer counts (its "older than" leaves it in for that instant).
 */
bool core_limiter_has_room(core_limiter *limiter, int64_t now_ns);
/* Counts one. There must be room. */
void core_limiter_take(core_limiter *limiter, int64_t now_ns);
/* How long until there is room; 0: there is. */
int64_t core_limiter_wait_ns(core_limiter *limiter, int64_t now_ns);
/* How long the oldest operation in the window still counts; 0: there is none. After core_limiter_has_room. */
int64_t core_limiter_oldest_ns(const core_limiter *limiter, int64_t now_ns);
uint32_t core_limiter_count(core_limiter *limiter, int64_t now_ns);
void core_limiter_clear(core_limiter *limiter);

#endif
