#include "time_window.h"

#include "times.h"

#include <stdlib.h>

/* Totals times a thousand must fit into 64 bits: 3600 seconds of this are below 2^52. */
#define CALLS_A_SECOND_MAX (UINT64_C(1) << 40)

core_time_window *core_time_window_new(uint32_t size)
{
    core_time_window *window = malloc(sizeof(*window) + size * sizeof(window->seconds[0]));

    if (window != NULL) {
        window->size = size;
        core_time_window_clear(window);
    }
    return window;
}

static uint32_t place(const core_time_window *window, uint32_t i)
{
    uint32_t to_the_end = window->size - window->oldest;

    return i < to_the_end ? window->oldest + i : i - to_the_end;
}

void core_time_window_clear(core_time_window *window)
{
    window->oldest = 0;
    window->count = 0;
    window->totals = (core_second){.second = 0};
}

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

static void add_to(core_second *second, uint64_t calls, uint64_t failures, uint64_t slow)
{
    second->calls += calls;
    second->failures += failures;
    second->slow += slow;
}

static void drop_oldest(core_time_window *window)
{
    const core_second *oldest = &window->seconds[window->oldest];

    window->totals.calls -= oldest->calls;
    window->totals.failures -= oldest->failures;
    window->totals.slow -= oldest->slow;
    window->oldest = place(window, 1);
    window->count--;
}

static void advance_to(core_time_window *window, int64_t second)
{
    while (window->count > 0 && window->seconds[window->oldest].second <= second - window->size) {
        drop_oldest(window);
    }
}

void core_time_window_advance(core_time_window *window, int64_t now_ns)
{
    advance_to(window, now_ns / CBM_CORE_NS_PER_S);
}

/* The entry of a second, made when it is not there; NULL when it lies before the window. */
static core_second *second_at(core_time_window *window, int64_t second)
{
    uint32_t behind = window->count; /* entries before the place */

    while (behind > 0 && window->seconds[place(window, behind - 1)].second > second) {
        behind--;
    }
    if (behind > 0 && window->seconds[place(window, behind - 1)].second == second) {
        return &window->seconds[place(window, behind - 1)];
    }
    if (behind < window->count && second <= window->seconds[place(window, window->count - 1)].second - window->size) {
        return NULL;
    }
    advance_to(window, second);
    if (behind > window->count) {
        behind = window->count;
    }
    for (uint32_t i = window->count; i > behind; i--) {
        window->seconds[place(window, i)] = window->seconds[place(window, i - 1)];
    }
    window->count++;
    window->seconds[place(window, behind)] = (core_second){.second = second};
    return &window->seconds[place(window, behind)];
}

void core_time_window_add(core_time_window *window, uint64_t calls, uint64_t failures, uint64_t slow, int64_t at_ns)
{
    core_second *second = second_at(window, at_ns / CBM_CORE_NS_PER_S);
    uint64_t room;

    if (second == NULL) {
        return;
    }
    room = CALLS_A_SECOND_MAX - second->calls;
    calls = at_most(calls, room);
    failures = at_most(failures, room);
    slow = at_most(slow, room);
    add_to(second, calls, failures, slow);
    add_to(&window->totals, calls, failures, slow);
}

void core_time_window_copy(core_time_window *to, const core_time_window *from)
{
    core_time_window_clear(to);
    for (uint32_t i = 0; i < from->count; i++) {
        const core_second *second = &from->seconds[place(from, i)];

        core_time_window_add(to, second->calls, second->failures, second->slow, second->second * CBM_CORE_NS_PER_S);
    }
}

int64_t core_time_window_end(const core_time_window *window)
{
    if (window->count == 0) {
        return 0;
    }
    return core_time_add_s(window->seconds[place(window, window->count - 1)].second * CBM_CORE_NS_PER_S, window->size);
}
