#include "failure_times.h"

#include "times.h"

#include <stdlib.h>

core_failure_times *core_failure_times_new(uint32_t capacity, int64_t window_ns)
{
    core_failure_times *times = malloc(sizeof(*times) + capacity * sizeof(times->times[0]));

    if (times != NULL) {
        times->window_ns = window_ns;
        times->capacity = capacity;
        core_failure_times_clear(times);
    }
    return times;
}

/* The index of the i-th, oldest first. */
static uint32_t place(const core_failure_times *times, uint32_t i)
{
    uint32_t to_the_end = times->capacity - times->oldest;

    return i < to_the_end ? times->oldest + i : i - to_the_end;
}

void core_failure_times_copy(core_failure_times *to, const core_failure_times *from)
{
    uint32_t skipped = from->count > to->capacity ? from->count - to->capacity : 0;

    core_failure_times_clear(to);
    for (uint32_t i = skipped; i < from->count; i++) {
        core_failure_times_add(to, from->times[place(from, i)]);
    }
}

void core_failure_times_clear(core_failure_times *times)
{
    times->oldest = 0;
    times->count = 0;
}

static void drop_oldest(core_failure_times *times)
{
    times->oldest = place(times, 1);
    times->count--;
}

void core_failure_times_add(core_failure_times *times, int64_t now_ns)
{
    if (times->count == times->capacity) {
        drop_oldest(times);
    }
    times->times[place(times, times->count)] = now_ns;
    times->count++;
}

uint32_t core_failure_times_count(core_failure_times *times, int64_t now_ns)
{
    while (times->count > 0 && now_ns - times->times[times->oldest] >= times->window_ns) {
        drop_oldest(times);
    }
    return times->count;
}

int64_t core_failure_times_end(const core_failure_times *times)
{
    return times->count == 0 ? 0 : core_time_add(times->times[place(times, times->count - 1)], times->window_ns);
}
