#include "deadlines.h"

#include "breaker.h"

#include <stdlib.h>

void core_deadlines_deinit(core_deadlines *deadlines)
{
    free(deadlines->heap);
    *deadlines = (core_deadlines){.count = 0};
}

int core_deadlines_reserve(core_deadlines *deadlines, uint32_t capacity)
{
    struct core_breaker **heap;

    if (capacity <= deadlines->capacity) {
        return CBM_CORE_OK;
    }
    heap = realloc(deadlines->heap, capacity * sizeof(*heap));
    if (heap == NULL) {
        return CBM_CORE_E_NOMEM;
    }
    deadlines->heap = heap;
    deadlines->capacity = capacity;
    return CBM_CORE_OK;
}

static void put(core_deadlines *deadlines, uint32_t at, struct core_breaker *breaker)
{
    deadlines->heap[at] = breaker;
    breaker->rest->heap_index = at;
}

static void sift_up(core_deadlines *deadlines, uint32_t at, struct core_breaker *breaker)
{
    while (at > 0 && deadlines->heap[(at - 1) / 2]->rest->deadline_ns > breaker->rest->deadline_ns) {
        put(deadlines, at, deadlines->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(deadlines, at, breaker);
}

static void sift_down(core_deadlines *deadlines, uint32_t at, struct core_breaker *breaker)
{
    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child + 1 < deadlines->count &&
            deadlines->heap[child + 1]->rest->deadline_ns < deadlines->heap[child]->rest->deadline_ns) {
            child++;
        }
        if (child >= deadlines->count || deadlines->heap[child]->rest->deadline_ns >= breaker->rest->deadline_ns) {
            break;
        }
        put(deadlines, at, deadlines->heap[child]);
        at = child;
    }
    put(deadlines, at, breaker);
}

static void take_out(core_deadlines *deadlines, struct core_breaker *breaker)
{
    uint32_t at = breaker->rest->heap_index;
    struct core_breaker *last;

    if (at == CORE_NOT_IN_HEAP) {
        return;
    }
    breaker->rest->heap_index = CORE_NOT_IN_HEAP;
    last = deadlines->heap[--deadlines->count];
    if (last == breaker) {
        return;
    }
    sift_down(deadlines, at, last);
    sift_up(deadlines, last->rest->heap_index, last);
}

void core_deadlines_set(core_deadlines *deadlines, struct core_breaker *breaker, int64_t deadline_ns)
{
    if (breaker->rest->deadline_ns == deadline_ns) {
        return;
    }
    take_out(deadlines, breaker);
    breaker->rest->deadline_ns = deadline_ns;
    if (deadline_ns != CBM_CORE_NEVER_NS) {
        sift_up(deadlines, deadlines->count++, breaker);
    }
}

struct core_breaker *core_deadlines_first(const core_deadlines *deadlines)
{
    return deadlines->count > 0 ? deadlines->heap[0] : NULL;
}
